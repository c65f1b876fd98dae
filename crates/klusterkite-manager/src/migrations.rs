//! Migrations: reading and moving resources, moving nodes, forward and back.
//!
//! The step is always computed from what is there; the migration row holds only what was decided: the two
//! ends, the mode, where it is going to, and whether it is held.

mod calls;
mod moving;
mod planning;
mod view;

use std::time::Duration;

use klusterkite_core::plan::migration::{
    Course, Drive, MigrationContext, MigrationState, Turn, drive, turn,
};
use klusterkite_core::plan::resources::{ResourceMove, Side};
use klusterkite_core::plan::rollout::{self, Running, StopReason};
use klusterkite_core::reason::Refusal;
use klusterkite_core::release::Release;
use klusterkite_core::time::Timestamp;
use klusterkite_store::Change;
use klusterkite_store::rows::{
    MigrationLogRow, MigrationRow, NodeRow, NodeRun, OrderRow, OrderRowKind,
};
use klusterkite_wire::{ConfigurationId, TemplateCode};
use tokio::task::JoinHandle;

use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::rollout::shown_status;
use crate::state::{Busy, Draft, State};

/// The two ends of a migration, when both are known.
pub(crate) struct Ends<'a> {
    pub(crate) migration: &'a MigrationRow,
    pub(crate) source: &'a Release,
    pub(crate) destination: &'a Release,
    now: Timestamp,
}

impl<'a> Ends<'a> {
    /// Returns the ends of the running migration.
    pub(crate) fn of(state: &'a State, now: Timestamp) -> Option<Self> {
        let migration = state.migration.as_ref()?;
        let source = state.releases.get(&migration.from)?;
        let destination = state.releases.get(&migration.to)?;
        Some(Self {
            migration,
            source,
            destination,
            now,
        })
    }

    /// Returns the end that is Active now.
    pub(crate) fn active(&self, state: &State) -> Side {
        if state.active_id() == Some(self.migration.to) {
            Side::Destination
        } else {
            Side::Source
        }
    }

    /// Returns the release at one end.
    pub(crate) fn release(&self, side: Side) -> &'a Release {
        match side {
            Side::Source => self.source,
            Side::Destination => self.destination,
        }
    }

    /// Computes the state of the resources, when both sides have been read.
    pub(crate) fn resources(&self, state: &State) -> Option<MigrationState> {
        let source = state.volatile.readings.get(&self.migration.from)?;
        let destination = state.volatile.readings.get(&self.migration.to)?;
        Some(MigrationState::new(
            self.source,
            self.destination,
            source,
            destination,
        ))
    }

    /// Returns what besides the resources decides about operations.
    pub(crate) fn context(&self, state: &State) -> MigrationContext {
        MigrationContext {
            active: self.active(state),
            obsolete_nodes: obsolete_nodes(state),
            missing_nodes: !short_templates(state, self.now).is_empty(),
            busy: state.busy_with().is_some(),
            paused: self.migration.state == "paused",
            preparing: self.migration.state == "preparing",
        }
    }
}

/// Tells whether some node does not run the Active configuration, or has just been told to and is not stable yet.
///
/// Computed when asked: between a switch of the Active configuration and the next plan it is right, too.
pub(crate) fn obsolete_nodes(state: &State) -> bool {
    let moving = |order: &OrderRow| {
        let reason = match &order.kind {
            OrderRowKind::Stop { reason, .. } => *reason,
            OrderRowKind::Prefetch { .. } => return false,
        };
        matches!(reason, StopReason::Update | StopReason::TemplateRemoved)
    };
    let is_obsolete = |row: &NodeRow| {
        row.run
            .as_ref()
            .is_some_and(|run| obsolete(state, row, run))
    };
    state.orders.open().any(moving) || state.nodes.values().any(is_obsolete)
}

fn obsolete(state: &State, row: &NodeRow, run: &NodeRun) -> bool {
    let of_node = (&run.template, run.configuration_id, &row.runtime);
    let active = state.active();
    active.is_none_or(|active| rollout::obsolete(active, &state.releases, of_node).is_some())
}

/// Lists the templates of the Active configuration that have fewer stable nodes than their minimum.
pub(crate) fn short_templates(state: &State, now: Timestamp) -> Vec<TemplateCode> {
    let Some(active) = state.active() else {
        return Vec::new();
    };
    let running = state.nodes.values().filter_map(|row| {
        let run = row.run.as_ref()?;
        let stop = state.orders.stop_of(&row.id);
        Some(Running {
            template: &run.template,
            status: shown_status(state, &row.id, run.status),
            status_since: Timestamp(run.status_since),
            leaves: stop.is_some_and(|stop| stop.order.incarnation == run.incarnation),
        })
    });
    let short = rollout::short(active, now, running).into_iter();
    short.map(|(template, _)| template.code.clone()).collect()
}

/// Appends a line to the log of a migration.
pub(crate) fn log(draft: &mut Draft<'_>, migration_id: i64, kind: &str, message: &str) {
    let row = MigrationLogRow {
        id: draft.next_migration_log_id(),
        migration_id: Some(migration_id),
        at: draft.now.0,
        kind: kind.to_owned(),
        template: None,
        migrator: None,
        resource: None,
        from_point: None,
        to_point: None,
        message: message.to_owned(),
    };
    draft.put(Change::MigrationLogAppend(row));
}

/// After a bug in reading or moving, resources are read again after this time.
const AFTER_A_BUG: Duration = Duration::from_secs(10);

/// What the loop does next for resources and migration.
enum Task {
    Nothing,
    Read(Vec<Release>),
    Move(Box<(ResourceMove, Release)>),
    Switch(Side),
    End(Side),
    Turn(Refusal),
}

impl Cluster {
    /// Takes the next step of reading and moving, if there is one.
    pub(crate) async fn migration_step(&self) -> Result<(), Fault> {
        let now = self.now();
        let next = |state: &mut State| {
            let task = next_task(state, now);
            if !matches!(task, Task::Nothing) {
                state.changed();
            }
            task
        };
        match self.note(next).await {
            Task::Nothing => Ok(()),
            Task::Read(releases) => {
                let cluster = self.clone();
                self.while_busy(async move { cluster.resources_read(releases).await });
                Ok(())
            }
            Task::Move(planned) => {
                let cluster = self.clone();
                let (planned, release) = *planned;
                self.while_busy(async move { cluster.resource_move(planned, release).await });
                Ok(())
            }
            Task::Switch(_) | Task::End(_) | Task::Turn(_) => self.transact(decide_again).await,
        }
    }

    /// Runs in the background what the cluster was marked busy with. However it ends, also by a bug, the
    /// cluster is not busy with it any more (B24), and reads its resources again.
    pub(crate) fn while_busy<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<Option<T>> {
        let (cluster, work) = (self.clone(), tokio::spawn(work));
        tokio::spawn(async move {
            match work.await {
                Ok(done) => Some(done),
                Err(error) => {
                    let after = cluster.now() + AFTER_A_BUG;
                    let what = cluster
                        .remember(|state| {
                            state.volatile.moves.clear();
                            state.volatile.recheck_at = Some(after);
                            state.volatile.moves_after = after;
                            state.volatile.busy.take()
                        })
                        .await;
                    let what = what.map_or_else(String::new, |busy| busy.what);
                    tracing::error!("{what} ended by a bug, report this: {error}");
                    None
                }
            }
        })
    }
}

/// Carries out what an automatic migration does next, as the state is now: an operator may have been faster.
fn decide_again(draft: &mut Draft<'_>) -> Result<(), Fault> {
    let reason = match automatic(draft.state, draft.now) {
        Task::Switch(side) => match switch_nodes(draft, side, "manager") {
            Err(Fault::Refused(reason)) => reason,
            switched => return switched,
        },
        Task::End(side) => return calls::end(draft, side, "manager").map(|_| ()),
        Task::Turn(reason) => reason,
        Task::Nothing | Task::Read(_) | Task::Move(_) => return Ok(()),
    };
    turn_back(draft, &reason)
}

/// Chooses the next task and marks the cluster as busy with it.
fn next_task(state: &mut State, now: Timestamp) -> Task {
    if state.volatile.busy.is_some() {
        return Task::Nothing;
    }
    let due = state.volatile.recheck_at.is_some_and(|at| at <= now);
    let is_unread = |release: &Release| !state.volatile.readings.contains_key(&release.id);
    let is_held = state.volatile.recheck_at.is_some() && !due;
    if state.volatile.recheck || due || (!is_held && releases_to_read(state).any(is_unread)) {
        let releases = releases_to_read(state).cloned().collect();
        state.volatile.recheck = false;
        state.volatile.recheck_at = None;
        state.volatile.busy = Some(Busy {
            what: "reading resources".to_owned(),
            moves: false,
        });
        return Task::Read(releases);
    }
    let task = match (asked_move(state, now), automatic(state, now)) {
        (Some(asked), _) => asked,
        (None, Task::Move(_)) if now < state.volatile.moves_after => Task::Nothing,
        (None, task) => task,
    };
    if let Task::Move(planned) = &task {
        let key = &planned.0.key;
        let what = format!(
            "moving resource `{}` of `{}` to `{}`",
            key.resource, key.migrator, planned.0.point
        );
        state.volatile.busy = Some(Busy { what, moves: true });
    }
    task
}

fn releases_to_read(state: &State) -> impl Iterator<Item = &Release> {
    let (first, second) = match &state.migration {
        Some(migration) => (Some(migration.from), Some(migration.to)),
        None => (state.active_id(), None),
    };
    let ids = first.into_iter().chain(second);
    ids.filter_map(|id| state.releases.get(&id))
}

/// Takes the next move that an operator asked for.
fn asked_move(state: &mut State, now: Timestamp) -> Option<Task> {
    let planned = state.volatile.moves.pop_front()?;
    let release = match Ends::of(state, now) {
        Some(ends) => ends.release(planned.executor).clone(),
        None => state.active()?.clone(),
    };
    Some(Task::Move(Box::new((planned, release))))
}

/// Chooses what an automatic migration does next.
fn automatic(state: &State, now: Timestamp) -> Task {
    let Some(ends) = Ends::of(state, now) else {
        return Task::Nothing;
    };
    let resources = ends.resources(state);
    match drive(
        course(ends.migration),
        resources.as_ref(),
        ends.context(state),
    ) {
        Drive::Wait => Task::Nothing,
        Drive::Move(planned) => {
            let release = ends.release(planned.executor).clone();
            Task::Move(Box::new((planned, release)))
        }
        Drive::Switch(side) => Task::Switch(side),
        Drive::End(side) => Task::End(side),
        Drive::Turn(reason) => Task::Turn(reason),
    }
}

/// Returns what was decided about a migration.
pub(crate) fn course(migration: &MigrationRow) -> Course<'_> {
    Course {
        automatic: migration.automatic,
        preparing: migration.state == "preparing",
        paused: migration.state == "paused",
        failure: migration.reason.as_ref(),
        rollback_on_failure: migration.rollback_on_failure,
        goal: migration.goal,
    }
}

/// Makes one end the Active configuration: from now on the rolling update leads there.
pub(crate) fn switch_nodes(draft: &mut Draft<'_>, side: Side, actor: &str) -> Result<(), Fault> {
    use klusterkite_core::configuration::{
        ConfigurationContext, ConfigurationState, Trigger, allowed,
    };
    let state = draft.state;
    let Some(ends) = Ends::of(state, draft.now) else {
        return Err(calls::no_migration());
    };
    let (migration, now) = (ends.migration.clone(), draft.now);
    let (to, from) = match side {
        Side::Destination => (migration.to, migration.from),
        Side::Source => (migration.from, migration.to),
    };
    let row = |id: ConfigurationId| {
        state
            .configurations
            .get(&id)
            .cloned()
            .ok_or_else(|| Fault::not_found("configuration", id))
    };
    let (mut leaving, mut coming) = (row(from)?, row(to)?);
    let context = ConfigurationContext::default();
    let leave = match side {
        Side::Destination => Trigger::Leave,
        Side::Source => {
            let ran_before = leaving.finished.is_some();
            let before = if ran_before {
                ConfigurationState::Archived
            } else {
                ConfigurationState::Ready
            };
            Trigger::TurnBack { before }
        }
    };
    leaving.state = allowed(leaving.state, leave, &context)?;
    leaving.finished = Some(now.0);
    leaving.revision += 1;
    coming.state = allowed(coming.state, Trigger::Activate, &context)?;
    coming.started = coming.started.or(Some(now.0));
    coming.revision += 1;
    draft.put(Change::ConfigurationPut(leaving));
    draft.put(Change::ConfigurationPut(coming));
    draft.gates_forget();
    let message = format!("nodes move from configuration {from} to {to}");
    log(draft, migration.id, "nodesStarted", &message);
    draft.event(
        "nodesStarted",
        actor,
        format!("migration:{}", migration.id),
        message,
    );
    Ok(())
}

/// Sends a failed automatic migration back, or holds it.
fn turn_back(draft: &mut Draft<'_>, reason: &Refusal) -> Result<(), Fault> {
    let Some(migration) = draft.state.migration.clone() else {
        return Ok(());
    };
    let id = migration.id;
    let goes_back = turn(course(&migration)) == Turn::Back;
    let (row, kind, what) = if goes_back {
        let state = "ready".to_owned();
        (
            MigrationRow {
                goal: Side::Source,
                state,
                reason: None,
                ..migration
            },
            "rollback",
            "goes back",
        )
    } else {
        let state = "paused".to_owned();
        let reason = Some(reason.clone());
        (
            MigrationRow {
                state,
                reason,
                ..migration
            },
            "paused",
            "is paused",
        )
    };
    draft.put(Change::MigrationPut(row));
    if goes_back {
        draft.gates_forget();
    }
    let message = format!("migration {id} {what}: {}", reason.message);
    log(draft, id, kind, &message);
    draft.event(
        "migrationTurned",
        "manager",
        format!("migration:{id}"),
        message,
    );
    Ok(())
}
