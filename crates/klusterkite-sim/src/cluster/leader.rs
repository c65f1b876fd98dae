//! The loop of the manager: leases, orders, plan, acts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use klusterkite_core::plan::leases::{Census, Heard, Lease, MASS_FAILURE_HOLD, holds, lease};
use klusterkite_core::plan::migration::holds_nodes;
use klusterkite_core::plan::progress;
use klusterkite_core::plan::resources::{ResourceMove, TemplateReading};
use klusterkite_core::plan::rollout::{
    Act, Gate, Node, NodeStatus, Outcome, Request, RolloutInput, RolloutPlan, Running, StopReason,
    Target, WaitingContainer, lint, outcome_without_run, rollout, short,
};
use klusterkite_core::reason::{Refusal, Waiting};
use klusterkite_core::time::Timestamp;
use klusterkite_wire::{
    ConfigurationId, ContainerType, Incarnation, NodeId, OrderId, Runtime, TemplateCode,
};

use super::containers::Message;
use super::store::{OrderKind, OrderState, Phase};
use super::{Cluster, Invariant, ShownTarget, say};

/// What the leader knows and nobody else: lost in a crash, learnt again.
#[derive(Debug, Clone)]
pub(super) struct Leader {
    pub(super) epoch: u64,
    pub(super) sessions: BTreeMap<NodeId, Incarnation>,
    pub(super) leases: BTreeMap<NodeId, Timestamp>,
    pub(super) unconfirmed: BTreeSet<NodeId>,
    pub(super) unconfirmed_until: Timestamp,
    pub(super) waiting: BTreeMap<NodeId, WaitingRow>,
    pub(super) losses: BTreeMap<NodeId, Timestamp>,
    /// Incarnations that said goodbye.
    pub(super) left: BTreeMap<NodeId, Incarnation>,
    pub(super) readings: BTreeMap<ConfigurationId, Vec<TemplateReading>>,
    pub(super) busy: Option<Busy>,
    pub(super) recheck: bool,
    pub(super) recheck_at: Option<Timestamp>,
    pub(super) create_after: Timestamp,
    pub(super) moves: VecDeque<ResourceMove>,
    pub(super) executor_deaths: u32,
    pub(super) progress: BTreeMap<TemplateCode, Duration>,
    pub(super) progress_at: Timestamp,
    pub(super) waiting_on: Vec<Waiting>,
    pub(super) surge: BTreeMap<TemplateCode, u32>,
    pub(super) prefetch_failures: BTreeMap<NodeId, Timestamp>,
    pub(super) told_paused: BTreeSet<TemplateCode>,
}

/// A container that asked and got nothing.
#[derive(Debug, Clone)]
pub(super) struct WaitingRow {
    pub(super) container_type: ContainerType,
    pub(super) runtime: Runtime,
    pub(super) until: Timestamp,
}

/// What the manager is busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Busy {
    Reading { until: Timestamp },
    Moving,
}

impl Leader {
    /// Forgets a node that has left or is given up.
    pub(super) fn forget(&mut self, id: &NodeId) {
        self.sessions.remove(id);
        self.leases.remove(id);
        self.unconfirmed.remove(id);
        self.losses.remove(id);
        self.prefetch_failures.remove(id);
    }

    /// Ends the link of an incarnation that is not the newest one any more, and its lease.
    pub(super) fn fence(&mut self, id: &NodeId, newest: Incarnation) {
        self.unconfirmed.remove(id);
        self.losses.remove(id);
        self.leases.remove(id);
        self.left
            .retain(|other, left| other != id || *left >= newest);
        if self.sessions.get(id).is_some_and(|old| *old < newest) {
            self.sessions.remove(id);
        }
    }
}

/// Everything that a plan depends on, as owned values.
pub(super) struct Facts {
    pub(super) nodes: Vec<Node>,
    requests: BTreeMap<NodeId, Request>,
    pub(super) waiting: Vec<WaitingContainer>,
    gates: BTreeMap<TemplateCode, Gate>,
    paused: Option<Refusal>,
    holds: Vec<Waiting>,
}

impl Cluster {
    /// Starts a manager, which takes over what the store holds.
    pub(super) fn leader_start(&mut self) {
        self.store.epoch += 1;
        let until = self.now + self.fixed.temper.patience.failover_lease;
        let mut leader = Leader {
            epoch: self.store.epoch,
            sessions: BTreeMap::new(),
            leases: BTreeMap::new(),
            unconfirmed: BTreeSet::new(),
            unconfirmed_until: until,
            waiting: BTreeMap::new(),
            losses: BTreeMap::new(),
            left: BTreeMap::new(),
            readings: BTreeMap::new(),
            busy: None,
            recheck: true,
            recheck_at: None,
            create_after: self.now,
            moves: VecDeque::new(),
            executor_deaths: 0,
            progress: BTreeMap::new(),
            progress_at: self.now,
            waiting_on: Vec::new(),
            surge: BTreeMap::new(),
            prefetch_failures: BTreeMap::new(),
            told_paused: BTreeSet::new(),
        };
        for (id, node) in &self.store.nodes {
            match &node.run {
                Some(run) if run.status == NodeStatus::Assigned => {
                    leader.leases.insert(id.clone(), self.now);
                }
                Some(_) => {
                    leader.unconfirmed.insert(id.clone());
                }
                None => {}
            }
        }
        say!(self, "manager {} leads", leader.epoch);
        self.leader = Some(leader);
    }

    /// Ends the manager without warning: links break, its executor goes on for a moment.
    pub(super) fn leader_crash(&mut self) {
        let Some(leader) = self.leader.take() else {
            return;
        };
        say!(self, "manager {} is gone", leader.epoch);
        let until = self.now + self.fixed.pace.orphan;
        for executor in &mut self.executors {
            executor.orphan_until.get_or_insert(until);
        }
        for container in &mut self.containers {
            container.disconnect();
        }
    }

    /// Runs the loop once.
    pub(super) fn leader_tick(&mut self) {
        if self.leader.is_none() {
            return;
        }
        self.leases_end();
        self.orders_end();
        self.requests_end();
        self.progress_count();
        let orders = self.plan_and_write();
        self.orders_send(&orders);
        self.migration_step();
    }

    fn leader_mut(&mut self) -> &mut Leader {
        self.leader.as_mut().expect("only a leader runs the loop")
    }

    fn leases_end(&mut self) {
        let (now, patience) = (self.now, self.fixed.temper.patience);
        let Some(leader) = &self.leader else { return };
        let mut ended = Vec::new();
        for (id, node) in &self.store.nodes {
            let Some(run) = &node.run else { continue };
            let is_unconfirmed = leader.unconfirmed.contains(id);
            let heard = Heard {
                status: run.status,
                status_since: run.status_since,
                lease: leader.leases.get(id).copied(),
                unconfirmed_until: is_unconfirmed.then_some(leader.unconfirmed_until),
                replaces: self.store.stop_of(id).is_some(),
            };
            match lease(&heard, &patience, now) {
                Lease::Valid => {}
                Lease::Lost => ended.push((id.clone(), None)),
                Lease::Gone(why) => ended.push((id.clone(), Some(why))),
            }
        }
        for (id, gone) in ended {
            match gone {
                None => self.node_lost(&id),
                Some(why) => self.node_gone(&id, why),
            }
        }
        let leader = self.leader_mut();
        if leader.unconfirmed_until <= now {
            leader.unconfirmed.clear();
        }
        leader.waiting.retain(|_, waiting| waiting.until > now);
    }

    fn node_lost(&mut self, id: &NodeId) {
        say!(self, "{id} does not answer any more");
        let now = self.now;
        let node = self.store.nodes.get_mut(id);
        if let Some(run) = node.and_then(|node| node.run.as_mut()) {
            (run.status, run.status_since) = (NodeStatus::Unreachable, now);
        }
        let leader = self.leader_mut();
        leader.forget(id);
        leader.losses.insert(id.clone(), now);
        // Its side of the connection ends with the lease, too: what was on its way comes never.
        self.containers[super::index_of(id)].inbox.clear();
    }

    fn node_gone(&mut self, id: &NodeId, why: &str) {
        say!(self, "{id} is given up: {why}");
        if let Some(node) = self.store.nodes.get_mut(id) {
            node.run = None;
        }
        let stop = self.store.stop_of(id);
        if let Some((order_id, has_target)) =
            stop.map(|(order, _, target)| (order.id, target.is_some()))
        {
            let outcome = if has_target {
                Outcome::GivenUp
            } else {
                Outcome::Gone
            };
            self.order_close(id, order_id, outcome);
        }
        self.leader_mut().forget(id);
    }

    /// Ends the orders about runs that are not there any more.
    fn orders_end(&mut self) {
        let mut closed = Vec::new();
        let mut failed = Vec::new();
        for order in self.store.open_orders() {
            let node = self.store.nodes.get(&order.node);
            let run = node.and_then(|node| node.run.as_ref());
            match &order.kind {
                OrderKind::Prefetch(_) => {
                    if run.is_none_or(|run| run.incarnation != order.incarnation) {
                        failed.push(order.id);
                    }
                }
                OrderKind::Stop { target, .. } if run.is_none() => {
                    let age = self.now.since(order.ordered);
                    let deadline = target.as_ref().map(|target| self.whole(&target.template));
                    let outcome =
                        outcome_without_run(target.as_ref(), age, deadline.unwrap_or_default());
                    closed.extend(outcome.map(|outcome| (order.node.clone(), order.id, outcome)));
                }
                OrderKind::Stop { .. } => {}
            }
        }
        for id in failed {
            self.store.order_end(id, false);
        }
        for (node, id, outcome) in closed {
            self.order_close(&node, id, outcome);
        }
        self.store.orders_tidy();
    }

    fn order_close(&mut self, node: &NodeId, order_id: OrderId, outcome: Outcome) {
        let Some(order) = self.store.orders.get(&order_id) else {
            return;
        };
        let target = match &order.kind {
            OrderKind::Stop { target, .. } => target.clone(),
            OrderKind::Prefetch(_) => None,
        };
        self.store.order_end(order_id, true);
        let active = self.store.active();
        let failed = target.filter(|target| active == Some(target.configuration_id));
        if let Some(target) = failed.filter(|_| outcome == Outcome::GivenUp) {
            let reason = format!(
                "node `{node}` did not become stable as `{}` in time",
                target.template
            );
            say!(self, "{reason}");
            self.store.gate_failed(&target.template, reason);
        }
    }

    /// Ends the requests about runs that are not there any more.
    fn requests_end(&mut self) {
        let nodes = &mut self.store.nodes;
        self.store.requests.retain(|id, request| {
            let drain = request.kind == klusterkite_core::plan::rollout::RequestKind::Drain;
            let node = nodes.get_mut(id);
            let run = node.as_ref().and_then(|node| node.run.as_ref());
            let same_run = run.is_some_and(|run| run.incarnation == request.incarnation);
            if same_run || (drain && run.is_some()) {
                return true;
            }
            if let Some(node) = node.filter(|_| drain) {
                node.cordoned = true;
            }
            false
        });
    }

    /// Returns the time that the update of a template has without a newly stable node.
    fn whole(&self, template: &TemplateCode) -> Duration {
        let release = self.store.active().and_then(|id| self.release(id));
        let template = release.and_then(|release| release.node_templates.get(template));
        template.map_or(Duration::from_mins(10), |template| {
            template.rollout.progress_deadline
        })
    }

    fn progress_count(&mut self) {
        let paused = self.paused();
        let held = paused.is_some() || !self.holds().is_empty();
        let targets = self
            .store
            .open_orders()
            .filter_map(|order| match &order.kind {
                OrderKind::Stop { target, .. } => target.as_ref(),
                OrderKind::Prefetch(_) => None,
            });
        let mut moving: BTreeSet<_> = targets.map(|target| target.template.clone()).collect();
        let migration = self.store.migration.as_ref();
        if migration.is_some_and(|migration| self.store.active() == Some(migration.to)) {
            moving.extend(self.short_templates());
        }
        let now = self.now;
        let mut left = std::mem::take(&mut self.leader_mut().progress);
        let passed = now.since(self.leader_mut().progress_at);
        let passed = if held { Duration::ZERO } else { passed };
        progress::count(&mut left, moving, passed, |template| {
            let stored = self.store.gates.get(template);
            stored
                .and_then(|gate| gate.progress_left)
                .unwrap_or_else(|| self.whole(template))
        });
        for (template, left) in &left {
            let gate = self.store.gates.entry(template.clone()).or_default();
            gate.progress_left = Some(*left);
        }
        let leader = self.leader_mut();
        (leader.progress, leader.progress_at) = (left, now);
    }

    /// Lists the templates that have fewer stable nodes than their minimum.
    pub(super) fn short_templates(&self) -> Vec<TemplateCode> {
        let Some(active) = self.store.active().and_then(|id| self.release(id)) else {
            return Vec::new();
        };
        let running = self.store.nodes.iter().filter_map(|(id, node)| {
            let run = node.run.as_ref()?;
            Some(Running {
                template: &run.target.template,
                status: if self.is_unconfirmed(id) {
                    NodeStatus::Unconfirmed
                } else {
                    run.status
                },
                status_since: run.status_since,
                leaves: self.store.leaves(id, run),
            })
        });
        let short = short(active, self.now, running).into_iter();
        short.map(|(template, _)| template.code.clone()).collect()
    }

    fn is_unconfirmed(&self, id: &NodeId) -> bool {
        let leader = self.leader.as_ref();
        leader.is_some_and(|leader| leader.unconfirmed.contains(id))
    }

    fn paused(&self) -> Option<Refusal> {
        let migration = self.store.migration.as_ref()?;
        holds_nodes(migration.course(), self.store.active_side()?)
    }

    fn holds(&self) -> Vec<Waiting> {
        let Some(leader) = &self.leader else {
            return Vec::new();
        };
        let is_recent = |at: &&Timestamp| self.now.since(**at) < MASS_FAILURE_HOLD;
        let census = Census {
            running: self
                .store
                .nodes
                .values()
                .filter(|node| node.run.is_some())
                .count(),
            unconfirmed: leader.unconfirmed.len(),
            unconfirmed_until: leader.unconfirmed_until,
            lost: leader.losses.values().filter(is_recent).count(),
            mass_failure_part: self.fixed.temper.mass_failure_part,
        };
        holds(&census, self.now)
    }

    pub(super) fn facts(&self) -> Facts {
        let (store, leader) = (&self.store, self.leader.as_ref());
        let nodes = store
            .nodes
            .iter()
            .filter_map(|(id, row)| store.node(id, row, self.is_unconfirmed(id)));
        let requests = store.requests.iter().map(|(id, row)| {
            let (kind, force) = (row.kind, row.force);
            (id.clone(), Request { kind, force })
        });
        let waiting = leader.into_iter().flat_map(|leader| &leader.waiting);
        let waiting = waiting.map(|(id, row)| WaitingContainer {
            node_id: id.clone(),
            container_type: row.container_type.clone(),
            runtime: row.runtime.clone(),
        });
        let gates = store.gates.iter().map(|(code, row)| {
            let (failed, reason) = (row.failed, row.reason.clone());
            (code.clone(), Gate { failed, reason })
        });
        Facts {
            nodes: nodes.collect(),
            requests: requests.collect(),
            waiting: waiting.collect(),
            gates: gates.collect(),
            paused: self.paused(),
            holds: self.holds(),
        }
    }

    /// Plans and writes down what the plan does; returns the orders that are to be sent.
    fn plan_and_write(&mut self) -> Vec<OrderId> {
        let Some(active) = self.store.active() else {
            return Vec::new();
        };
        let facts = self.facts();
        let fixed = self.fixed.clone();
        let progress = self.leader_mut().progress.clone();
        let other = self.store.migration.as_ref().map(|migration| {
            if migration.from == active {
                migration.to
            } else {
                migration.from
            }
        });
        let input = RolloutInput {
            now: self.now,
            active: &fixed.releases[&active],
            other: other.and_then(|id| fixed.releases.get(&id)),
            releases: &fixed.releases,
            nodes: &facts.nodes,
            requests: &facts.requests,
            waiting: &facts.waiting,
            gates: &facts.gates,
            paused: facts.paused.clone(),
            holds: &facts.holds,
            resource_moving: self
                .leader
                .as_ref()
                .is_some_and(|leader| leader.busy == Some(Busy::Moving)),
            deadlines: &progress,
        };
        let mut plan = rollout(&input);
        for contradiction in lint(&input, &plan) {
            self.monitor.found(Invariant::Lint, contradiction);
        }
        self.mutate_plan(&facts, &mut plan);
        self.check_plan(&plan);
        self.plan_publish(&plan);
        let acts = std::mem::take(&mut plan.acts);
        acts.iter().filter_map(|act| self.act_write(act)).collect()
    }

    /// Keeps what the plan said for those who ask.
    fn plan_publish(&mut self, plan: &RolloutPlan) {
        for act in &plan.acts {
            let Act::CloseOrder {
                node,
                outcome: Outcome::Stable,
                ..
            } = act
            else {
                continue;
            };
            let row = self.store.nodes.get(node);
            let Some(template) = row
                .and_then(|row| row.run.as_ref())
                .map(|run| run.target.template.clone())
            else {
                continue;
            };
            say!(self, "{node} is stable");
            let whole = self.whole(&template);
            self.leader_mut().progress.remove(&template);
            let gate = self.store.gates.entry(template).or_default();
            gate.progress_left = Some(whole);
        }
        let leader = self.leader_mut();
        leader.waiting_on.clone_from(&plan.waiting);
        leader.surge.clone_from(&plan.surge);
    }

    fn act_write(&mut self, act: &Act) -> Option<OrderId> {
        match act {
            Act::Prefetch { node, target } => self.prefetch_write(node, target),
            Act::Stop {
                node,
                reason,
                target,
            } => Some(self.stop_write(node, *reason, target.as_ref())),
            Act::CloseOrder {
                node,
                order_id,
                outcome,
            } => {
                self.order_close(node, *order_id, *outcome);
                None
            }
            Act::Pause { template, reason } => {
                self.pause_write(template, reason);
                None
            }
        }
    }

    fn prefetch_write(&mut self, id: &NodeId, target: &Target) -> Option<OrderId> {
        let incarnation = self.store.nodes.get(id)?.run.as_ref()?.incarnation;
        let kind = OrderKind::Prefetch(target.clone());
        let under_way = self.store.open_orders().any(|order| {
            order.node == *id && order.incarnation == incarnation && order.kind == kind
        });
        let failed = self.leader_mut().prefetch_failures.get(id).copied();
        let retry = self.fixed.temper.retry;
        let just_failed = failed.is_some_and(|at| self.now.since(at) < retry);
        if under_way || just_failed {
            return None;
        }
        Some(self.store.order_put(id, kind, self.now))
    }

    fn stop_write(&mut self, id: &NodeId, reason: StopReason, target: Option<&Target>) -> OrderId {
        let what = match target {
            Some(target) => format!(" and to become {}", ShownTarget(target)),
            None => String::new(),
        };
        say!(self, "{id} is told to stop ({reason:?}){what}");
        self.store.requests.remove(id);
        if reason == StopReason::Drain
            && let Some(node) = self.store.nodes.get_mut(id)
        {
            node.cordoned = true;
        }
        let target = target.cloned();
        self.store
            .order_put(id, OrderKind::Stop { reason, target }, self.now)
    }

    fn pause_write(&mut self, template: &TemplateCode, reason: &Refusal) {
        if let Some(migration) = &mut self.store.migration
            && migration.phase == Phase::Ready
        {
            (migration.phase, migration.reason) = (Phase::Paused, Some(reason.clone()));
            say!(self, "the migration is paused: {}", reason.message);
            return;
        }
        if self.leader_mut().told_paused.insert(template.clone()) {
            say!(self, "the update is paused: {}", reason.message);
            let gate = self.store.gates.entry(template.clone()).or_default();
            gate.reason.get_or_insert_with(|| reason.message.clone());
        }
    }

    fn orders_send(&mut self, orders: &[OrderId]) {
        for id in orders {
            let Some(order) = self.store.orders.get(id) else {
                continue;
            };
            let (node, incarnation) = (order.node.clone(), order.incarnation);
            let Some(leader) = &self.leader else { return };
            if leader.sessions.get(&node) == Some(&incarnation) {
                let message = Message::new(leader.epoch, order);
                self.containers[super::index_of(&node)].send(message);
            }
        }
    }

    /// Sends the orders that a node has to hear again after it connected.
    pub(super) fn orders_send_again(&mut self, id: &NodeId, incarnation: Incarnation) {
        let open = self
            .store
            .orders_of(id)
            .filter(|order| order.incarnation == incarnation && order.state == OrderState::Open);
        let orders: Vec<OrderId> = open.map(|order| order.id).collect();
        self.orders_send(&orders);
    }
}
