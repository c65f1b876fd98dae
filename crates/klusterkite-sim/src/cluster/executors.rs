//! Executors and the resources that they move, and what the manager hears of both.

use std::collections::VecDeque;

use klusterkite_core::plan::resources::{ResourceKey, ResourceMove, Side, TemplateReading};
use klusterkite_core::time::Timestamp;
use klusterkite_wire::migrator::{
    DescribedMigrator, MIGRATOR_PROTOCOL, MigratorDescription, ResourceDescription,
};
use klusterkite_wire::{ConfigurationId, Point};

use super::{Cluster, MigratorSetup, Mutation, say};

/// The limit of a call: the time of so many points.
const HANG_POINTS: u32 = 60;

/// An executor that moves a resource.
#[derive(Debug, Clone)]
pub(super) struct Executor {
    /// The leader that started it.
    pub(super) epoch: u64,
    pub(super) planned: ResourceMove,
    /// Number of the journal's line: grows with every move.
    pub(super) fence: i64,
    /// Points that are still before it.
    pub(super) path: VecDeque<Point>,
    pub(super) next_at: Timestamp,
    /// Set when its manager is gone: it ends then at the latest.
    pub(super) orphan_until: Option<Timestamp>,
    /// It does not answer; its call ends when its limit is over.
    pub(super) hung: bool,
}

/// How a move ended, as the manager hears it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    Done,
    /// The migrator said no.
    Failed(&'static str),
    /// The executor died.
    Broken,
}

impl Executor {
    pub(super) fn is_orphan(&self) -> bool {
        self.orphan_until.is_some()
    }
}

impl Cluster {
    /// Starts an executor on a move.
    pub(super) fn executor_start(&mut self, epoch: u64, planned: ResourceMove, fence: i64) {
        let mut path = self.path(&planned);
        if self.faults.lying.contains(&planned.key) {
            path.pop_back();
        }
        self.executors.push(Executor {
            epoch,
            planned,
            fence,
            path,
            next_at: self.now + self.fixed.pace.point,
            orphan_until: None,
            hung: false,
        });
    }

    /// Lists the points from where a resource is to where it goes, on the line of the migrator that moves it.
    fn path(&self, planned: &ResourceMove) -> VecDeque<Point> {
        let Some(line) = self.line(planned) else {
            return VecDeque::new();
        };
        let place = |point: &Point| line.iter().position(|other| other == point);
        let current = self.resources.get(&planned.key).and_then(Option::as_ref);
        let (from, to) = (current.and_then(place), place(&planned.point));
        match (from, to) {
            (None, Some(to)) if current.is_none() => line[..=to].iter().cloned().collect(),
            (Some(from), Some(to)) if from <= to => line[from + 1..=to].iter().cloned().collect(),
            (Some(from), Some(to)) => line[to..from].iter().rev().cloned().collect(),
            (None, _) | (_, None) => VecDeque::new(),
        }
    }

    /// Returns the points of the migrator that carries a move out.
    fn line(&self, planned: &ResourceMove) -> Option<&[Point]> {
        let id = match &self.store.migration {
            Some(migration) => migration.end(planned.executor),
            None => self.store.active()?,
        };
        let migrator = self.migrator(id, &planned.key)?;
        Some(&migrator.points)
    }

    /// Returns a migrator of a configuration.
    pub(super) fn migrator(
        &self,
        id: ConfigurationId,
        key: &ResourceKey,
    ) -> Option<&MigratorSetup> {
        let templates = self.fixed.migrators.get(&id)?;
        let mut migrators = templates.get(&key.template)?.iter();
        migrators.find(|migrator| migrator.name == key.migrator)
    }

    /// Tells whether an executor does not have to wait for another one to end.
    fn has_the_lock(&self, index: usize) -> bool {
        index == 0 || self.mutation == Some(Mutation::NoLock)
    }

    pub(super) fn executor_is_due(&self, index: usize) -> bool {
        self.executors
            .get(index)
            .is_some_and(|executor| executor.next_at <= self.now && self.has_the_lock(index))
    }

    pub(super) fn executor_overdue(&self, index: usize) -> bool {
        let executor = self.executors.get(index);
        executor
            .is_some_and(|executor| executor.orphan_until.is_some_and(|until| until <= self.now))
    }

    /// Moves the resource by one point, or ends.
    pub(super) fn executor_step(&mut self, index: usize) {
        let executor = self.executors[index].clone();
        let key = executor.planned.key.clone();
        if self.faults.hanging.contains(&key) && !executor.hung {
            let limit = self.fixed.pace.point * HANG_POINTS;
            let executor = &mut self.executors[index];
            (executor.hung, executor.next_at) = (true, self.now + limit);
            return;
        }
        let moved = if executor.hung {
            Moved::Failed("it took too long")
        } else if let Some(point) = executor.path.front() {
            if self.faults.points.contains(&(key.clone(), point.clone())) {
                Moved::Failed("an error at the next point")
            } else {
                self.check_touch(index);
                self.resources.insert(key, Some(point.clone()));
                let next_at = self.now + self.fixed.pace.point;
                let executor = &mut self.executors[index];
                executor.path.pop_front();
                executor.next_at = next_at;
                if !executor.path.is_empty() {
                    return;
                }
                self.result(index)
            }
        } else {
            self.result(index)
        };
        self.executor_ends(index, moved);
    }

    /// Compares where the resource is with where it was to go.
    fn result(&self, index: usize) -> Moved {
        let planned = &self.executors[index].planned;
        let current = self.resources.get(&planned.key).and_then(Option::as_ref);
        if current == Some(&planned.point) {
            Moved::Done
        } else {
            Moved::Failed("the migrator moved it to another point")
        }
    }

    fn executor_ends(&mut self, index: usize, moved: Moved) {
        let executor = self.executors.remove(index);
        let leader = self.leader.as_ref().map(|leader| leader.epoch);
        if leader == Some(executor.epoch) {
            self.move_ended(&executor.planned, moved);
        }
    }

    /// Ends an executor without a manager.
    pub(super) fn executor_end(&mut self, index: usize) {
        self.executors.remove(index);
    }

    /// Kills the executor that works for the manager.
    pub(super) fn executor_crash(&mut self) -> bool {
        let index = self
            .executors
            .iter()
            .position(|executor| !executor.is_orphan());
        if let Some(index) = index {
            say!(self, "the executor dies");
            self.executor_ends(index, Moved::Broken);
        }
        index.is_some()
    }

    /// Reads the resources of a configuration as its executors do.
    pub(super) fn readings(&self, id: ConfigurationId) -> Vec<TemplateReading> {
        let templates = self.fixed.migrators.get(&id).into_iter().flatten();
        let reading =
            |(template, migrators): (&klusterkite_wire::TemplateCode, &Vec<MigratorSetup>)| {
                TemplateReading {
                    template: template.clone(),
                    migrators: migrators
                        .iter()
                        .map(|migrator| self.described(template, migrator))
                        .collect(),
                    error: None,
                }
            };
        templates.map(reading).collect()
    }

    fn described(
        &self,
        template: &klusterkite_wire::TemplateCode,
        migrator: &MigratorSetup,
    ) -> DescribedMigrator {
        let name = migrator.name.to_string();
        let mut described = DescribedMigrator {
            type_name: migrator.name.clone(),
            description: None,
            resources: Vec::new(),
            errors: Vec::new(),
        };
        if self.faults.unreadable.contains(&name) {
            described.errors.push("it does not answer".to_owned());
            return described;
        }
        described.description = Some(MigratorDescription {
            protocol: MIGRATOR_PROTOCOL,
            name,
            dependency_type: migrator.dependency,
            priority: migrator.priority,
            points: migrator.points.clone(),
            irreversible: migrator.irreversible.clone(),
        });
        let resources = migrator.resources.iter().map(|code| {
            let key = ResourceKey {
                template: template.clone(),
                migrator: migrator.name.clone(),
                resource: code.clone(),
            };
            ResourceDescription {
                code: code.clone(),
                name: code.to_string(),
                current_point: self.resources.get(&key).cloned().flatten(),
            }
        });
        described.resources = resources.collect();
        described
    }

    /// Returns what a side of the running migration calls a resource's goal.
    pub(super) fn goal_of(&self, key: &ResourceKey, side: Side) -> Option<&Point> {
        let migration = self.store.migration.as_ref()?;
        let migrator = self.migrator(migration.end(side), key)?;
        let knows = migrator.resources.contains(&key.resource);
        migrator.points.last().filter(|_| knows)
    }
}
