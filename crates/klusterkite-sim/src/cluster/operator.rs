//! What operators ask, and what breaks.

use klusterkite_core::configuration::{ConfigurationContext, ConfigurationState, Trigger, allowed};
use klusterkite_core::plan::migration::{self, operations_without_state};
use klusterkite_core::plan::resources::{ResourceKey, Side};
use klusterkite_core::plan::rollout::{RequestKind, Target};
use klusterkite_core::reason::{Operation, ReasonCode, Refusal};
use klusterkite_wire::{ConfigurationId, Point};

use super::store::{MigrationRow, Phase, RequestRow};
use super::{Cluster, say};

/// What an operator asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Starts a migration.
    Migrate {
        /// Where to.
        to: ConfigurationId,
        /// The manager releases the steps.
        automatic: bool,
        /// A failure sends it back.
        rollback: bool,
        /// Also to a Faulted configuration.
        retry: bool,
    },
    /// Does something to a configuration itself.
    Configuration(ConfigurationId, Trigger),
    /// Ends the migration at its source.
    Cancel,
    /// Ends the migration at its destination.
    Finish,
    /// Holds the migration.
    Pause,
    /// Goes on.
    Resume,
    /// Sends an automatic migration back.
    Rollback,
    /// Moves the nodes to an end.
    Nodes(Side),
    /// Moves resources of the migration.
    Resources(Vec<(ResourceKey, Side)>),
    /// Moves lagging resources without a migration.
    Repair(Vec<ResourceKey>),
    /// Reads all resources again.
    Recheck,
    /// Makes a Ready configuration obsolete.
    SetObsolete(ConfigurationId),
    /// Something about one node.
    Node(usize, NodeAct),
}

/// What an operator asks about one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeAct {
    /// Stop and start again.
    Restart {
        /// Whatever the budget says.
        force: bool,
    },
    /// Stop and leave the container empty.
    Drain {
        /// Whatever the budget says.
        force: bool,
    },
    /// No new work.
    Cordon,
    /// Work again.
    Uncordon,
}

/// What breaks, or is repaired, outside of the manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The process of a node dies.
    Crash(usize),
    /// The launcher of a container dies, and its node goes on for a while beside the next one.
    Kill(usize),
    /// The link of a node breaks, with what is on its way to it.
    Reset(usize),
    /// The clock of a container is set by so many seconds.
    Clock(usize, i64),
    /// A container loses its power.
    Off(usize),
    /// It has power again.
    On(usize),
    /// A container loses its network.
    Cut(usize),
    /// It has network again.
    Heal(usize),
    /// The next answer to a container is lost.
    Deaf(usize),
    /// A late word of the run before reaches the manager.
    Ghost(usize),
    /// The manager dies.
    ManagerCrash,
    /// A manager starts.
    ManagerStart,
    /// Another manager takes over from one that dies.
    Failover,
    /// The executor that moves a resource dies.
    ExecutorCrash,
    /// Nodes of a target fail (or do not any more).
    Failing(Target, bool),
    /// Packages of a target cannot be fetched (or can again).
    Unfetchable(Target, bool),
    /// Moves to a point fail (or do not any more).
    Point(ResourceKey, Point, bool),
    /// Moves of a resource end elsewhere.
    Lying(ResourceKey, bool),
    /// Moves of a resource do not end.
    Hanging(ResourceKey, bool),
    /// A migrator cannot be read.
    Unreadable(String, bool),
}

impl Cluster {
    /// Asks as an operator does.
    ///
    /// # Errors
    ///
    /// Fails with the manager's refusal.
    pub fn operate(&mut self, asked: &Asked) -> Result<(), Refusal> {
        if self.leader.is_none() {
            return Err(Refusal::new(ReasonCode::Busy, "no manager answers"));
        }
        let done = match asked {
            Asked::Migrate {
                to,
                automatic,
                rollback,
                retry,
            } => self.migrate(*to, *automatic, *rollback, *retry),
            Asked::Cancel => self.end_by_hand("cancel", Side::Source),
            Asked::Finish => self.end_by_hand("finish", Side::Destination),
            Asked::Pause => self.pause(),
            Asked::Resume => self.resume(),
            Asked::Rollback => self.roll_back(),
            Asked::Nodes(side) => self.nodes_by_hand(*side),
            Asked::Resources(moves) => self.resources_by_hand(moves),
            Asked::Repair(keys) => self.repair(keys),
            Asked::Recheck => self.recheck(),
            Asked::SetObsolete(id) => self.set_obsolete(*id),
            Asked::Configuration(id, trigger) => self.configuration(*id, *trigger),
            Asked::Node(index, act) => self.node_act(*index, *act),
        };
        self.watch();
        done
    }

    /// Breaks or repairs something.
    pub fn break_or_repair(&mut self, fault: &Fault) {
        match fault {
            Fault::Crash(index) => self.node_crash(*index),
            Fault::Kill(index) => self.launcher_kill(*index),
            Fault::Reset(index) => self.containers[*index].disconnect(),
            Fault::Clock(index, seconds) => self.clock_jump(*index, *seconds),
            Fault::Off(index) => self.container_off(*index),
            Fault::On(index) => self.container_on(*index),
            // What is on its way comes when the network is back before anybody noticed: a connection loses no message.
            Fault::Cut(index) => self.containers[*index].linked = false,
            Fault::Heal(index) => self.containers[*index].linked = true,
            Fault::Deaf(index) => self.containers[*index].deaf = true,
            Fault::Ghost(index) => self.ghost_speaks(*index),
            Fault::ManagerCrash => self.leader_crash(),
            Fault::ManagerStart if self.leader.is_none() => self.leader_start(),
            Fault::ManagerStart => {}
            Fault::Failover => {
                self.leader_crash();
                self.leader_start();
            }
            Fault::ExecutorCrash => {
                self.executor_crash();
            }
            Fault::Failing(target, on) => put(&mut self.faults.failing, target.clone(), *on),
            Fault::Unfetchable(target, on) => {
                put(&mut self.faults.unfetchable, target.clone(), *on);
            }
            Fault::Point(key, point, on) => {
                put(&mut self.faults.points, (key.clone(), point.clone()), *on);
            }
            Fault::Lying(key, on) => put(&mut self.faults.lying, key.clone(), *on),
            Fault::Hanging(key, on) => put(&mut self.faults.hanging, key.clone(), *on),
            Fault::Unreadable(name, on) => put(&mut self.faults.unreadable, name.clone(), *on),
        }
        self.watch();
    }

    /// Repairs everything that is broken outside of the manager, and starts one.
    pub fn repair_all(&mut self) {
        self.faults = super::Faults::default();
        for index in 0..self.containers.len() {
            self.containers[index].linked = true;
            self.containers[index].deaf = false;
            self.container_on(index);
        }
        if self.leader.is_none() && !self.fixed.self_hosted {
            self.leader_start();
        }
    }

    /// Lists the operations on the cluster with the reasons why they are not allowed.
    pub fn operations(&self) -> Vec<Operation> {
        let busy = self.is_busy();
        let mut operations = match &self.store.migration {
            Some(migration) => migration::operations(
                migration.course(),
                self.migration_state().as_ref(),
                self.context(),
            ),
            None => match self.idle_state() {
                Some(idle) => idle.operations(busy, self.obsolete_nodes()),
                None => operations_without_state(busy, false, false),
            },
        };
        let gates = self.store.gates.values();
        let failed = gates
            .clone()
            .any(|gate| gate.failed > 0 || gate.reason.is_some());
        if self.store.migration.is_none() && failed {
            for operation in &mut operations {
                if operation.id == "resume" {
                    *operation = Operation::new("resume", Ok(()));
                }
            }
        }
        operations
    }

    fn allow(&self, id: &str) -> Result<(), Refusal> {
        let listed = self.operations().into_iter();
        let mut listed = listed.filter(|operation| operation.id == id);
        let listed = listed
            .next()
            .expect("every operation that is asked for is in the list");
        listed.reason.map_or(Ok(()), Err)
    }

    fn migrate(
        &mut self,
        to: ConfigurationId,
        automatic: bool,
        rollback_on_failure: bool,
        retry_faulted: bool,
    ) -> Result<(), Refusal> {
        let Some(row) = self.store.configurations.get(&to) else {
            return Err(Refusal::new(
                ReasonCode::WrongState,
                "no such configuration",
            ));
        };
        let state = row.state;
        self.allow("createMigration")?;
        let trigger = Trigger::Target { retry_faulted };
        allowed(state, trigger, &ConfigurationContext::default())?;
        let Some(from) = self.store.active() else {
            return Err(Refusal::new(
                ReasonCode::ResourcesUnknown,
                "nothing is Active",
            ));
        };
        self.store.last_migration += 1;
        self.store.ended = None;
        self.store.migration = Some(MigrationRow {
            from,
            to,
            phase: Phase::Preparing,
            automatic,
            rollback_on_failure,
            goal: Side::Destination,
            reason: None,
        });
        self.migration_changed(true);
        say!(self, "a migration from {from} to {to} begins");
        Ok(())
    }

    fn end_by_hand(&mut self, operation: &str, side: Side) -> Result<(), Refusal> {
        self.allow(operation)?;
        self.check_end(side);
        self.migration_end(side);
        Ok(())
    }

    fn migration_mut(&mut self) -> Result<&mut MigrationRow, Refusal> {
        let none = || Refusal::new(ReasonCode::NoMigration, "no migration runs");
        self.store.migration.as_mut().ok_or_else(none)
    }

    fn pause(&mut self) -> Result<(), Refusal> {
        self.allow("pause")?;
        if let Some(leader) = &mut self.leader {
            leader.moves.clear();
        }
        let migration = self.migration_mut()?;
        (migration.phase, migration.reason) = (Phase::Paused, None);
        say!(self, "an operator pauses the migration");
        Ok(())
    }

    fn resume(&mut self) -> Result<(), Refusal> {
        self.allow("resume")?;
        self.goes_on();
        if let Some(migration) = &mut self.store.migration {
            (migration.phase, migration.reason) = (Phase::Ready, None);
        }
        say!(self, "an operator resumes");
        Ok(())
    }

    fn roll_back(&mut self) -> Result<(), Refusal> {
        self.allow("rollback")?;
        let migration = self.migration_mut()?;
        (migration.goal, migration.phase, migration.reason) = (Side::Source, Phase::Ready, None);
        self.goes_on();
        say!(self, "an operator sends the migration back");
        Ok(())
    }

    /// Forgets what went wrong so far.
    fn goes_on(&mut self) {
        self.gates_forget();
        if let Some(leader) = &mut self.leader {
            leader.moves.clear();
            leader.executor_deaths = 0;
        }
    }

    fn nodes_by_hand(&mut self, side: Side) -> Result<(), Refusal> {
        self.allow(match side {
            Side::Destination => "updateNodesToDestination",
            Side::Source => "updateNodesToSource",
        })?;
        self.note_by_hand();
        self.switch(side)?;
        let migration = self.migration_mut()?;
        if side == Side::Source {
            // Who sends the nodes back does not want them held.
            (migration.phase, migration.reason) = (Phase::Ready, None);
        }
        Ok(())
    }

    fn resources_by_hand(&mut self, asked: &[(ResourceKey, Side)]) -> Result<(), Refusal> {
        self.allow("migrateResources")?;
        let unread = || Refusal::new(ReasonCode::ResourcesUnknown, "not read yet");
        let resources = self.migration_state().ok_or_else(unread)?;
        let moves = resources.moves(asked, self.context())?;
        self.note_by_hand();
        if let Some(leader) = &mut self.leader {
            leader.moves = moves.into();
        }
        Ok(())
    }

    fn repair(&mut self, keys: &[ResourceKey]) -> Result<(), Refusal> {
        if self.store.migration.is_some() {
            return Err(Refusal::new(ReasonCode::MigrationRuns, "a migration runs"));
        }
        self.allow("migrateResources")?;
        let unread = || Refusal::new(ReasonCode::ResourcesUnknown, "not read yet");
        let moves = self.idle_state().ok_or_else(unread)?.moves(keys)?;
        if let Some(leader) = &mut self.leader {
            leader.moves = moves.into();
        }
        Ok(())
    }

    fn recheck(&mut self) -> Result<(), Refusal> {
        self.allow("recheck")?;
        if let Some(leader) = &mut self.leader {
            leader.recheck = true;
        }
        Ok(())
    }

    /// Changes what a configuration is, or says why not; what its settings say does not matter here.
    fn configuration(&mut self, id: ConfigurationId, trigger: Trigger) -> Result<(), Refusal> {
        let Some(row) = self.store.configurations.get_mut(&id) else {
            let message = "no such configuration";
            return Err(Refusal::new(ReasonCode::WrongState, message));
        };
        let context = ConfigurationContext {
            is_stable: row.is_stable,
            ..ConfigurationContext::default()
        };
        row.state = allowed(row.state, trigger, &context)?;
        match trigger {
            Trigger::SetStable(stable) => row.is_stable = stable,
            Trigger::Delete => drop(self.store.configurations.remove(&id)),
            _ => {}
        }
        Ok(())
    }

    fn set_obsolete(&mut self, id: ConfigurationId) -> Result<(), Refusal> {
        let migration = self.store.migration.as_ref();
        let context = ConfigurationContext {
            is_migration_target: migration.is_some_and(|migration| migration.to == id),
            ..ConfigurationContext::default()
        };
        let rows = &mut self.store.configurations;
        let Some(row) = rows.get_mut(&id) else {
            return Err(Refusal::new(
                ReasonCode::WrongState,
                "no such configuration",
            ));
        };
        row.state = allowed(row.state, Trigger::SetObsolete, &context)?;
        debug_assert_eq!(row.state, ConfigurationState::Obsolete);
        Ok(())
    }

    fn node_act(&mut self, index: usize, act: NodeAct) -> Result<(), Refusal> {
        let id = super::node_id(index);
        let Some(node) = self.store.nodes.get_mut(&id) else {
            return Err(Refusal::new(ReasonCode::WrongState, "no such node"));
        };
        let (kind, force) = match act {
            NodeAct::Cordon => {
                node.cordoned = true;
                return Ok(());
            }
            NodeAct::Uncordon => {
                node.cordoned = false;
                self.store
                    .requests
                    .retain(|other, row| *other != id || row.kind != RequestKind::Drain);
                return Ok(());
            }
            NodeAct::Restart { force } => (RequestKind::Restart, force),
            NodeAct::Drain { force } => (RequestKind::Drain, force),
        };
        let Some(incarnation) = node.run.as_ref().map(|run| run.incarnation) else {
            let message = "nothing runs in the container";
            return Err(Refusal::new(ReasonCode::NothingChanges, message));
        };
        if self.store.stop_of(&id).is_some() {
            let message = "the node is being replaced already";
            return Err(Refusal::new(ReasonCode::Replacing, message));
        }
        let before = self.store.requests.get(&id);
        let drains = before.is_some_and(|before| before.kind == RequestKind::Drain);
        let row = RequestRow {
            kind: if drains { RequestKind::Drain } else { kind },
            force: force || before.is_some_and(|before| before.force),
            incarnation,
        };
        self.store.requests.insert(id, row);
        Ok(())
    }
}

fn put<T: Ord>(set: &mut std::collections::BTreeSet<T>, item: T, on: bool) {
    if on {
        set.insert(item);
    } else {
        set.remove(&item);
    }
}
