//! The manager's side of migrations: reading, moving, switching, ending.

use klusterkite_core::configuration::{ConfigurationContext, ConfigurationState, Trigger, allowed};
use klusterkite_core::plan::migration::{
    Drive, Ended, MigrationContext, MigrationState, Turn, blocked, drive, ended, executor_deaths,
    failed_move_holds, is_left, turn,
};
use klusterkite_core::plan::resources::{IdleState, ResourceMove, Side};
use klusterkite_core::plan::rollout::{StopReason, obsolete};
use klusterkite_core::reason::{ReasonCode, Refusal};
use klusterkite_wire::ConfigurationId;

use super::executors::Moved;
use super::leader::Busy;
use super::store::{MigrationRow, OrderKind, Phase};
use super::{Cluster, Mutation, say};

impl Cluster {
    /// Compares the resources of both ends, when both have been read.
    pub(super) fn migration_state(&self) -> Option<MigrationState> {
        let migration = self.store.migration.as_ref()?;
        let readings = &self.leader.as_ref()?.readings;
        Some(MigrationState::new(
            self.release(migration.from)?,
            self.release(migration.to)?,
            readings.get(&migration.from)?,
            readings.get(&migration.to)?,
        ))
    }

    /// Judges the resources without a migration, when they have been read.
    pub(super) fn idle_state(&self) -> Option<IdleState> {
        let active = self.store.active()?;
        let readings = self.leader.as_ref()?.readings.get(&active)?;
        Some(IdleState::new(self.release(active)?, readings))
    }

    pub(super) fn is_busy(&self) -> bool {
        let leader = self.leader.as_ref();
        leader.is_some_and(|leader| leader.busy.is_some() || !leader.moves.is_empty())
    }

    pub(super) fn context(&self) -> MigrationContext {
        let phase = self
            .store
            .migration
            .as_ref()
            .map(|migration| migration.phase);
        MigrationContext {
            active: self.store.active_side().unwrap_or(Side::Source),
            obsolete_nodes: self.obsolete_nodes(),
            missing_nodes: !self.short_templates().is_empty(),
            busy: self.is_busy(),
            paused: phase == Some(Phase::Paused),
            preparing: phase == Some(Phase::Preparing),
        }
    }

    /// Tells whether some node does not run the Active configuration, or was told to and is not stable yet.
    pub(super) fn obsolete_nodes(&self) -> bool {
        let moving = |kind: &OrderKind| match kind {
            OrderKind::Stop { reason, .. } => {
                matches!(reason, StopReason::Update | StopReason::TemplateRemoved)
            }
            OrderKind::Prefetch(_) => false,
        };
        let Some(active) = self.store.active().and_then(|id| self.release(id)) else {
            return true;
        };
        self.store.open_orders().any(|order| moving(&order.kind))
            || self.store.nodes.values().any(|node| {
                node.run.as_ref().is_some_and(|run| {
                    let target = &run.target;
                    let of_node = (&target.template, target.configuration_id, &node.runtime);
                    obsolete(active, &self.fixed.releases, of_node).is_some()
                })
            })
    }

    /// Takes the next step of reading and moving, if there is one.
    pub(super) fn migration_step(&mut self) {
        let Some(leader) = &mut self.leader else {
            return;
        };
        if leader.busy.is_some() {
            return;
        }
        let due = leader.recheck_at.is_some_and(|at| at <= self.now);
        let ids = match &self.store.migration {
            Some(migration) => vec![migration.from, migration.to],
            None => self.store.active().into_iter().collect(),
        };
        let unread = ids.iter().any(|id| !leader.readings.contains_key(id));
        let held = leader.recheck_at.is_some() && !due;
        if leader.recheck || due || (!held && unread) {
            (leader.recheck, leader.recheck_at) = (false, None);
            self.reading_start();
            return;
        }
        if let Some(asked) = leader.moves.pop_front() {
            self.move_start(asked);
            return;
        }
        self.automatic();
    }

    fn reading_start(&mut self) {
        let until = self.now + self.fixed.pace.point;
        if let Some(leader) = &mut self.leader {
            leader.busy = Some(Busy::Reading { until });
        }
    }

    pub(super) fn reading_is_due(&self) -> bool {
        let busy = self.leader.as_ref().and_then(|leader| leader.busy);
        let has_lock = self.executors.is_empty() || self.mutation == Some(Mutation::NoLock);
        matches!(busy, Some(Busy::Reading { until }) if until <= self.now) && has_lock
    }

    /// Ends a reading: the analysis of a new migration, and repairs that begin by themselves.
    pub(super) fn resources_read(&mut self) {
        let ids: Vec<ConfigurationId> = match &self.store.migration {
            Some(migration) => vec![migration.from, migration.to],
            None => self.store.active().into_iter().collect(),
        };
        let readings: Vec<_> = ids.iter().map(|id| (*id, self.readings(*id))).collect();
        let failed = readings
            .iter()
            .flat_map(|(_, readings)| readings)
            .flat_map(|reading| &reading.migrators)
            .any(|migrator| !migrator.errors.is_empty());
        let at = self.now + self.fixed.temper.retry;
        if let Some(leader) = &mut self.leader {
            leader.readings = readings.into_iter().collect();
            leader.busy = None;
            leader.recheck_at = failed.then_some(at);
        }
        self.create_missing();
        self.analysed();
    }

    /// Without a migration every resource exists: those that do not are created.
    fn create_missing(&mut self) {
        if self.store.migration.is_some() {
            return;
        }
        let Some(idle) = self.idle_state() else {
            return;
        };
        let is_missing =
            |planned: &&ResourceMove| self.resources.get(&planned.key).is_none_or(Option::is_none);
        let moves: Vec<ResourceMove> = idle.migratable.iter().filter(is_missing).cloned().collect();
        let now = self.now;
        let Some(leader) = &mut self.leader else {
            return;
        };
        if moves.is_empty() || !leader.moves.is_empty() {
            return;
        }
        if now < leader.create_after {
            leader.recheck_at = Some(leader.create_after);
        } else {
            leader.moves = moves.into();
        }
    }

    /// Ends the analysis of a migration that was just created.
    fn analysed(&mut self) {
        let is_preparing = |migration: &MigrationRow| migration.phase == Phase::Preparing;
        if !self.store.migration.as_ref().is_some_and(is_preparing) {
            return;
        }
        let Some(resources) = self.migration_state() else {
            return;
        };
        let judged = blocked(&resources);
        let Some(migration) = &mut self.store.migration else {
            return;
        };
        if let Some(stuck) = judged {
            let refusal = Refusal {
                code: stuck.code,
                message: stuck.message,
                params: stuck.params,
            };
            if migration.reason.as_ref() != Some(&refusal) {
                say!(self, "the analysis failed: {}", refusal.message);
            }
            if let Some(migration) = &mut self.store.migration {
                migration.reason = Some(refusal);
            }
            return;
        }
        (migration.phase, migration.reason) = (Phase::Ready, None);
        say!(self, "the migration is analysed");
    }

    /// Does what an automatic migration does next.
    fn automatic(&mut self) {
        let Some(migration) = self.store.migration.clone() else {
            return;
        };
        // Nothing is compared that is not looked at: most histories are manual or wait for somebody.
        let runs = migration.automatic && migration.phase == Phase::Ready;
        let resources = runs.then(|| self.migration_state()).flatten();
        let decided = drive(migration.course(), resources.as_ref(), self.context());
        let decided = match &resources {
            Some(resources) => self.mutate_drive(decided, resources, &migration),
            None => decided,
        };
        let reason = match decided {
            Drive::Wait => return,
            Drive::Move(planned) => return self.move_start(planned),
            Drive::Switch(side) => match self.switch(side) {
                Ok(()) => return,
                Err(refusal) => refusal,
            },
            Drive::End(side) => return self.migration_end(side),
            Drive::Turn(reason) => reason,
        };
        self.turn_back(&reason);
    }

    /// Writes a move down and starts an executor on it.
    fn move_start(&mut self, planned: ResourceMove) {
        self.check_move(&planned);
        self.store.last_journal += 1;
        let fence = self.store.last_journal;
        let whose = planned.executor;
        say!(
            self,
            "{} moves to {} by the {whose}'s migrator",
            planned.key,
            planned.point
        );
        let Some(leader) = &mut self.leader else {
            return;
        };
        leader.busy = Some(Busy::Moving);
        let epoch = leader.epoch;
        self.executor_start(epoch, planned, fence);
    }

    /// Hears how a move ended, writes it down, and reads again.
    pub(super) fn move_ended(&mut self, planned: &ResourceMove, moved: Moved) {
        let key = &planned.key;
        let after = self.now + self.fixed.temper.retry;
        match moved {
            Moved::Done => {
                say!(self, "{key} is at {}", planned.point);
                self.note_moved(planned);
                if let Some(leader) = &mut self.leader {
                    leader.executor_deaths = 0;
                }
            }
            Moved::Failed(_) | Moved::Broken => {
                let why = match moved {
                    Moved::Failed(why) => why,
                    Moved::Done | Moved::Broken => "its executor died",
                };
                say!(self, "{key} did not move to {}: {why}", planned.point);
                let Some(leader) = &mut self.leader else {
                    return;
                };
                leader.moves.clear();
                leader.create_after = after;
                let migration = self.store.migration.as_ref();
                let course = migration.map(MigrationRow::course);
                let is_left = course.is_some_and(|course| is_left(course, planned.target));
                if !is_left {
                    leader.executor_deaths =
                        executor_deaths(leader.executor_deaths, moved == Moved::Broken);
                }
                let deaths = leader.executor_deaths;
                let message = format!(
                    "resource `{key}` did not move to `{}`: {why}",
                    planned.point
                );
                if let Some(migration) = &mut self.store.migration
                    && failed_move_holds(migration.course(), planned.target, deaths)
                {
                    let refusal = Refusal::new(ReasonCode::ResourceNotMigratable, message);
                    migration.phase = Phase::Paused;
                    migration.reason = Some(refusal.with("resource", key));
                    say!(self, "the migration is paused");
                }
            }
        }
        self.reading_start();
    }

    /// Makes one end the Active configuration.
    pub(super) fn switch(&mut self, side: Side) -> Result<(), Refusal> {
        let Some(migration) = &self.store.migration else {
            return Err(Refusal::new(ReasonCode::NoMigration, "no migration runs"));
        };
        let (to, from) = (migration.end(side), migration.end(side.other()));
        let context = ConfigurationContext::default();
        let (leaving, coming) = (
            self.store.configurations[&from],
            self.store.configurations[&to],
        );
        let leave = match side {
            Side::Destination => Trigger::Leave,
            Side::Source => {
                let before = if leaving.was_left {
                    ConfigurationState::Archived
                } else {
                    ConfigurationState::Ready
                };
                Trigger::TurnBack { before }
            }
        };
        let left = allowed(leaving.state, leave, &context)?;
        let came = allowed(coming.state, Trigger::Activate, &context)?;
        self.check_switch(side);
        let rows = &mut self.store.configurations;
        if let Some(row) = rows.get_mut(&from) {
            row.was_left = true;
            if self.mutation != Some(Mutation::TwoActive) {
                row.state = left;
            }
        }
        if let Some(row) = rows.get_mut(&to) {
            row.state = came;
        }
        self.gates_forget();
        say!(self, "nodes move to configuration {to} (the {side})");
        Ok(())
    }

    /// Sends a failed automatic migration back, or holds it.
    fn turn_back(&mut self, reason: &Refusal) {
        let Some(migration) = &mut self.store.migration else {
            return;
        };
        match turn(migration.course()) {
            Turn::Back => {
                (migration.goal, migration.phase, migration.reason) =
                    (Side::Source, Phase::Ready, None);
                say!(self, "the migration goes back: {}", reason.message);
                self.gates_forget();
            }
            Turn::Hold => {
                (migration.phase, migration.reason) = (Phase::Paused, Some(reason.clone()));
                say!(self, "the migration is paused: {}", reason.message);
            }
        }
    }

    pub(super) fn migration_end(&mut self, side: Side) {
        let Some(migration) = self.store.migration.take() else {
            return;
        };
        let how = ended(side, migration.phase == Phase::Preparing);
        self.store.ended = Some(how);
        let how = match how {
            Ended::Completed => "completed",
            Ended::RolledBack => "rolled back",
            Ended::Cancelled => "cancelled",
        };
        self.gates_forget();
        self.migration_changed(false);
        say!(self, "the migration is {how}");
    }

    pub(super) fn gates_forget(&mut self) {
        self.store.gates.clear();
        if let Some(leader) = &mut self.leader {
            leader.progress.clear();
            leader.told_paused.clear();
            leader.surge.clear();
        }
    }

    /// Forgets what was about the migration before, or about none.
    pub(super) fn migration_changed(&mut self, starts: bool) {
        self.note_migration();
        if let Some(leader) = &mut self.leader {
            leader.moves.clear();
            leader.executor_deaths = 0;
            leader.recheck = true;
            if starts {
                leader.readings.clear();
            }
        }
    }
}
