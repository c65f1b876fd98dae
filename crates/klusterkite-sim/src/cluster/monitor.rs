//! The invariants of the design, checked on what happens.
//!
//! Written apart from the planner, from the sentences alone: what counts is read from the store and from the
//! simulated world, never from a plan.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};

use klusterkite_core::configuration::ConfigurationState;
use klusterkite_core::plan::assignment::fits;
use klusterkite_core::plan::resources::{ResourceKey, ResourceMove, Side};
use klusterkite_core::plan::rollout::{Act, NodeStatus, RolloutPlan, StopReason, obsolete};
use klusterkite_core::release::NodeTemplate;
use klusterkite_wire::migrator::DependencyType;
use klusterkite_wire::{NodeId, TemplateCode};

use super::containers::Life;
use super::store::{OrderKind, Phase};
use super::{Cluster, say};

/// How many violations are kept: the first ones tell the story.
const VIOLATIONS_MAX: usize = 8;

/// What has to hold (the list of the design).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// No voluntary stop unless ready after it is at least the floor.
    I1,
    /// At most one Active configuration and one active migration.
    I2,
    /// Nodes move between the resources that come before and after them.
    I3,
    /// A rollback visits resources in reverse.
    I4,
    /// A resource is moved by at most one executor at a time.
    I5,
    /// Assignments never exceed maximum and surge.
    I6,
    /// A fenced incarnation is never counted again.
    I7,
    /// Every migration ends or waits with a reason.
    L1,
    /// A template below its minimum with a fitting free container is filled.
    L2,
    /// The planner's own lint finds nothing.
    Lint,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which one.
    pub invariant: Invariant,
    /// What happened.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.message)
    }
}

/// What is remembered in order to judge.
#[derive(Debug, Clone, Default)]
pub(super) struct Monitor {
    violations: Vec<Violation>,
    /// The newest incarnation of each node that counted.
    counted: BTreeMap<NodeId, u64>,
    /// Resources that this migration has moved toward its destination, in this order; created ones aside.
    done: Vec<ResourceKey>,
    /// An operator moved something in this migration.
    by_hand: bool,
    /// The newest fence that touched a resource.
    fences: BTreeMap<ResourceKey, i64>,
}

impl Monitor {
    pub(super) fn violations(&self) -> &[Violation] {
        &self.violations
    }

    pub(super) fn found(&mut self, invariant: Invariant, message: String) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(Violation { invariant, message });
        }
    }

    pub(super) fn digest(&self, out: &mut impl Hasher) {
        (self.violations.len(), &self.done, self.by_hand).hash(out);
    }
}

impl Cluster {
    fn found(&mut self, invariant: Invariant, message: String) {
        say!(self, "VIOLATION {invariant}: {message}");
        self.monitor.found(invariant, message);
    }

    /// Checks what holds at every moment.
    pub(super) fn watch(&mut self) {
        let rows = self.store.configurations.values();
        let active = rows.filter(|row| row.state == ConfigurationState::Active);
        let active = active.count();
        if active > 1 {
            self.found(Invariant::I2, format!("{active} configurations are Active"));
        }
        let mut counted_again = Vec::new();
        for (id, node) in &self.store.nodes {
            let Some(run) = &node.run else { continue };
            if run.status == NodeStatus::Assigned {
                continue;
            }
            let Some(newest) = self.monitor.counted.get_mut(id) else {
                self.monitor.counted.insert(id.clone(), run.incarnation.0);
                continue;
            };
            if run.incarnation.0 < *newest {
                counted_again.push((id.clone(), run.incarnation, *newest));
            }
            *newest = run.incarnation.0.max(*newest);
        }
        for (id, old, newest) in counted_again {
            let message = format!("{id} counts with incarnation {old} after {newest}");
            self.found(Invariant::I7, message);
        }
    }

    /// Returns what a template is at both ends of the running migration.
    fn ends(&self, code: &TemplateCode) -> Vec<&NodeTemplate> {
        let active = self.store.active();
        let migration = self.store.migration.as_ref();
        let ids = match migration {
            Some(migration) => vec![migration.from, migration.to],
            None => active.into_iter().collect(),
        };
        let releases = ids.into_iter().filter_map(|id| self.release(id));
        releases
            .filter_map(|release| release.node_templates.get(code))
            .collect()
    }

    fn floor(&self, code: &TemplateCode) -> u32 {
        let minimums = self.ends(code).into_iter().map(|template| template.minimum);
        minimums.max().unwrap_or(0)
    }

    fn ready(&self, code: &TemplateCode) -> u32 {
        let unconfirmed = self.leader.as_ref().map(|leader| &leader.unconfirmed);
        let serves = |(id, node): &(&NodeId, &super::store::NodeRow)| {
            node.run.as_ref().is_some_and(|run| {
                run.target.template == *code
                    && run.status == NodeStatus::Ready
                    && !self.store.leaves(id, run)
                    && !unconfirmed.is_some_and(|unconfirmed| unconfirmed.contains(*id))
            })
        };
        self.store.nodes.iter().filter(serves).count() as u32
    }

    /// I1: what the plan stops leaves the floor ready; I6: it fills nothing above maximum and surge.
    pub(super) fn check_plan(&mut self, plan: &RolloutPlan) {
        let mut stops: BTreeMap<TemplateCode, (u32, bool)> = BTreeMap::new();
        for act in &plan.acts {
            let Act::Stop { node, reason, .. } = act else {
                continue;
            };
            let forced = self.store.requests.get(node).is_some_and(|row| row.force);
            let run = self.store.nodes.get(node).and_then(|row| row.run.as_ref());
            let Some(run) = run.filter(|run| run.status == NodeStatus::Ready && !forced) else {
                continue;
            };
            let entry = stops.entry(run.target.template.clone()).or_default();
            entry.0 += 1;
            entry.1 |= *reason == StopReason::TemplateRemoved;
        }
        for (code, (stopped, removed)) in stops {
            let (ready, floor) = (self.ready(&code), self.floor(&code));
            if removed {
                self.check_replacements(&code);
            } else if ready < stopped + floor {
                let message = format!(
                    "{stopped} of {ready} ready nodes of {code} stop, {floor} have to stay"
                );
                self.found(Invariant::I1, message);
            }
        }
        for (code, wanted) in &plan.surge {
            self.check_count(code, *wanted, "is to be filled up to");
        }
    }

    fn check_replacements(&mut self, code: &TemplateCode) {
        let Some(active) = self.store.active().and_then(|id| self.release(id)) else {
            return;
        };
        let templates = active.node_templates.values();
        let short = templates
            .filter(|template| template.replaces.contains(code))
            .find(|template| self.ready(&template.code) < template.minimum);
        if let Some(short) = short.map(|template| template.code.clone()) {
            let message = format!("nodes of {code} stop before {short} takes over");
            self.found(Invariant::I1, message);
        }
    }

    fn check_count(&mut self, code: &TemplateCode, count: u32, what: &str) {
        let floor = self.floor(code);
        let template = self.store.active().and_then(|id| self.release(id));
        let template = template.and_then(|release| release.node_templates.get(code));
        let Some((maximum, surge)) =
            template.and_then(|template| Some((template.maximum?, template.rollout.surge)))
        else {
            return;
        };
        if count > maximum.max(floor) + surge {
            let message = format!("{code} {what} {count}, its maximum is {maximum}");
            self.found(Invariant::I6, message);
        }
    }

    /// I6: an assignment does not exceed maximum and surge.
    pub(super) fn check_assignment(&mut self, code: &TemplateCode, asking: &NodeId) {
        let holds = |(id, node): &(&NodeId, &super::store::NodeRow)| {
            let becomes = self
                .store
                .open_orders()
                .find_map(|order| match &order.kind {
                    OrderKind::Stop {
                        target: Some(target),
                        ..
                    } if order.node == **id
                        && node
                            .run
                            .as_ref()
                            .is_none_or(|run| run.incarnation == order.incarnation) =>
                    {
                        Some(&target.template)
                    }
                    _ => None,
                });
            let runs = node.run.as_ref().map(|run| &run.target.template);
            *id != asking && becomes.or(runs) == Some(code)
        };
        let count = self.store.nodes.iter().filter(holds).count() as u32 + 1;
        self.check_count(code, count, "is filled up to");
    }

    /// Returns when a resource moves: before the nodes, or after them; `None`: not in this migration.
    fn is_before(&self, key: &ResourceKey) -> Option<bool> {
        let migration = self.store.migration.as_ref()?;
        let destination = self.goal_of(key, Side::Destination)?;
        let after = self.migrator(migration.to, key)?;
        let source = self.goal_of(key, Side::Source);
        let upward = match source {
            None => true,
            Some(source) if source == destination => return None,
            Some(source) => after.points.contains(source),
        };
        Some((after.dependency == DependencyType::CodeDependsOnResource) == upward)
    }

    fn keys(&self) -> Vec<ResourceKey> {
        let Some(migration) = &self.store.migration else {
            return Vec::new();
        };
        let templates = self.fixed.migrators.get(&migration.to);
        let mut keys = Vec::new();
        for (template, migrators) in templates.into_iter().flatten() {
            for migrator in migrators {
                keys.extend(migrator.resources.iter().map(|resource| ResourceKey {
                    template: template.clone(),
                    migrator: migrator.name.clone(),
                    resource: resource.clone(),
                }));
            }
        }
        keys
    }

    fn is_at(&self, key: &ResourceKey, side: Side) -> bool {
        let current = self.resources.get(key).and_then(Option::as_ref);
        match self.goal_of(key, side) {
            // What the source does not know, or never had, stays as it is.
            None => true,
            Some(_) if side == Side::Source && current.is_none() => true,
            goal => current == goal,
        }
    }

    /// I3: the nodes move when everything that comes before them has moved.
    pub(super) fn check_switch(&mut self, side: Side) {
        let keys = self.keys().into_iter();
        let mut first = keys.filter(|key| self.is_before(key) == Some(side == Side::Destination));
        let late = first.find(|key| !self.is_at(key, side));
        if let Some(late) = late {
            let message = format!("nodes move to the {side} before {late} is there");
            self.found(Invariant::I3, message);
        }
    }

    fn nodes_move(&self) -> bool {
        let Some(active) = self.store.active().and_then(|id| self.release(id)) else {
            return true;
        };
        self.store.nodes.values().any(|node| {
            node.run.as_ref().is_some_and(|run| {
                let target = &run.target;
                let of_node = (&target.template, target.configuration_id, &node.runtime);
                obsolete(active, &self.fixed.releases, of_node).is_some()
            })
        })
    }

    /// I3 and I4: a resource moves at its time, and back in reverse order.
    pub(super) fn check_move(&mut self, planned: &ResourceMove) {
        let Some(migration) = self.store.migration.clone() else {
            return;
        };
        let (key, active) = (&planned.key, self.store.active_side());
        // Out of order is what an operator repairs in Recovery; the manager itself never gets there.
        let before = self.is_before(key);
        let early = match before {
            Some(true) => active != Some(Side::Source) || self.nodes_move(),
            // On the way back nobody is waited for: nodes that are obsolete then are already where it leads.
            Some(false) => {
                let leads_on = planned.target == Side::Destination;
                active != Some(Side::Destination) || (leads_on && self.nodes_move())
            }
            None => false,
        };
        if early && !self.monitor.by_hand {
            let message = format!(
                "{key} moves to the {} while nodes do not stand",
                planned.target
            );
            self.found(Invariant::I3, message);
        }
        let back = planned.target == Side::Source && migration.goal == Side::Source;
        if back && migration.automatic && !self.monitor.by_hand {
            let mut left = self.monitor.done.iter().rev();
            let last = left.find(|done| !self.is_at(done, Side::Source)).cloned();
            if let Some(last) = last.filter(|last| last != key) {
                let message = format!("{key} goes back before {last}, which moved after it");
                self.found(Invariant::I4, message);
            }
        }
    }

    /// I5: nobody else touches the resource, and nobody older touches it later.
    pub(super) fn check_touch(&mut self, index: usize) {
        let executor = self.executors[index].clone();
        let key = executor.planned.key;
        let newest = self.monitor.fences.entry(key.clone()).or_default();
        let is_stale = executor.fence < *newest;
        *newest = executor.fence.max(*newest);
        let mut others = self.executors.iter().enumerate();
        let shared = others.any(|(other, executor)| other != index && executor.planned.key == key);
        if is_stale || shared {
            self.found(Invariant::I5, format!("two executors touch {key}"));
        }
        let is_forward = executor.planned.target == Side::Destination;
        if is_forward && self.goal_of(&key, Side::Source).is_some() {
            self.monitor.done.retain(|done| *done != key);
            self.monitor.done.push(key);
        }
    }

    pub(super) fn note_moved(&mut self, planned: &ResourceMove) {
        if planned.target == Side::Source {
            self.monitor.done.retain(|done| *done != planned.key);
        }
    }

    pub(super) fn note_by_hand(&mut self) {
        self.monitor.by_hand = true;
    }

    pub(super) fn note_migration(&mut self) {
        self.monitor.done.clear();
        self.monitor.by_hand = false;
    }

    /// I3: a migration ends at an end where everything is.
    pub(super) fn check_end(&mut self, side: Side) {
        let at_end = self.store.active_side() == Some(side);
        let late = self
            .keys()
            .into_iter()
            .find(|key| self.is_before(key).is_some() && !self.is_at(key, side));
        // The source takes a half-created resource as it is.
        let late = late
            .filter(|key| side == Side::Destination || self.goal_of(key, Side::Source).is_some());
        if !at_end || late.is_some() {
            let message = format!("the migration ends at the {side}, which is not reached");
            self.found(Invariant::I3, message);
        }
    }

    /// L1 and L2: what is not as it should be at rest is explained.
    pub fn check_rest(&mut self) {
        let Some(leader) = &self.leader else { return };
        let is_explained = !leader.waiting_on.is_empty();
        let migration = self.store.migration.as_ref();
        let waits = migration.is_none_or(|migration| {
            let operator = !migration.automatic || migration.phase == Phase::Paused;
            operator || migration.reason.is_some() || is_explained
        });
        if !waits {
            let message = "a migration neither ends nor says what it waits for".to_owned();
            self.found(Invariant::L1, message);
        } else if self.nodes_move() && !is_explained {
            let message = "obsolete nodes stay, and nobody says why".to_owned();
            self.found(Invariant::L1, message);
        }
        self.check_filled();
    }

    fn check_filled(&mut self) {
        let (Some(leader), Some(active)) = (
            &self.leader,
            self.store.active().and_then(|id| self.release(id)),
        ) else {
            return;
        };
        let count = |code: &TemplateCode| {
            let nodes = self.store.nodes.values();
            let runs = nodes.filter_map(|node| node.run.as_ref());
            runs.filter(|run| run.target.template == *code).count() as u32
        };
        let mut empty = Vec::new();
        for template in active.node_templates.values() {
            // The place of a persistent template is kept for the container that holds its data.
            let mut rows = self.store.nodes.values();
            let is_kept = template.persistent
                && rows.any(|row| {
                    row.run.is_none()
                        && !row.cordoned
                        && row.last_template.as_ref() == Some(&template.code)
                });
            if count(&template.code) >= template.minimum || is_kept {
                continue;
            }
            let free = leader.waiting.iter().find(|(id, waiting)| {
                let row = self.store.nodes.get(id);
                let container = &self.containers[super::index_of(id)];
                // The manager still waits for one that has lost its power or its network meanwhile.
                let is_there = container.linked && matches!(container.life, Life::Asking { .. });
                is_there
                    && !row.is_some_and(|row| row.cordoned)
                    && fits(template, &waiting.container_type, &waiting.runtime)
            });
            empty.extend(free.map(|(id, _)| (template.code.clone(), id.clone())));
        }
        for (code, id) in empty {
            let message = format!("{code} is below its minimum while {id} waits for work");
            let message = self.named(&message);
            self.found(Invariant::L2, message);
        }
    }
}
