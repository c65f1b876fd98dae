//! What the manager does when launchers ask and nodes speak.

use std::time::Duration;

use klusterkite_core::plan::assignment::{
    Answer, Ask, Occupancy, Occupant, Taken, WaitCode, assign,
};
use klusterkite_core::plan::rollout::{NodeStatus, RequestKind, Running, Target, speaks_against};
use klusterkite_wire::{Incarnation, NodeId, OrderId, TemplateCode};

use super::leader::WaitingRow;
use super::store::{NodeRow, OrderKind, RunRow};
use super::{Cluster, Mutation, ShownTarget, say};

/// A container that waits is forgotten when it has not asked for this many of its waits.
const WAITS_UNTIL_FORGOTTEN: u32 = 3;

/// The manager refuses a node that has been replaced, or whose token it never gave.
pub(super) struct Refused;

impl Cluster {
    /// Answers a launcher: what it should be, or when to ask again.
    pub(super) fn ask(
        &mut self,
        index: usize,
        incarnation: Incarnation,
    ) -> Result<Target, Duration> {
        let id = super::node_id(index);
        let container = &self.containers[index];
        let (container_type, runtime) = (container.kind.clone(), container.runtime.clone());
        let fixed = self.fixed.clone();
        let active = self.store.active();
        let Some(release) = active.and_then(|id| fixed.releases.get(&id)) else {
            return Err(fixed.pace.retry);
        };
        self.new_node_failed(&id, incarnation);
        let known = self.store.nodes.get(&id);
        let before = known.map_or(Incarnation(0), |node| node.incarnation);
        let drains = self.store.requests.get(&id);
        let ask = Ask {
            node_id: id.clone(),
            container_type: container_type.clone(),
            runtime: runtime.clone(),
            cordoned: known.is_some_and(|node| node.cordoned)
                || drains.is_some_and(|request| request.kind == RequestKind::Drain),
            draw: self.now.0 ^ incarnation.0,
        };
        let taken = self.taken(&id);
        let answer = self.mutate_answer(release, assign(release, &ask, &taken), &ask);
        match answer {
            Answer::Start { template, why } => {
                self.check_assignment(&template, &id);
                let configuration_id = release.id;
                say!(
                    self,
                    "{id} becomes {template}@{configuration_id}: {}",
                    why.sentence.split(';').next().unwrap_or_default()
                );
                let target = Target {
                    template,
                    configuration_id,
                };
                let run = RunRow {
                    incarnation,
                    target: target.clone(),
                    status: NodeStatus::Assigned,
                    status_since: self.now,
                    started: self.now,
                };
                let row = NodeRow {
                    incarnation: before,
                    container_type,
                    runtime,
                    run: Some(run),
                    cordoned: false,
                    last_template: Some(target.template.clone()),
                };
                self.store.nodes.insert(id.clone(), row);
                if let Some(leader) = &mut self.leader {
                    leader.waiting.remove(&id);
                    leader.fence(&id, incarnation);
                }
                Ok(target)
            }
            Answer::Wait {
                code, retry_after, ..
            } => {
                self.ran_before(&id, incarnation);
                let until = self.now + retry_after * WAITS_UNTIL_FORGOTTEN;
                if let Some(leader) = self.leader.as_mut().filter(|_| code != WaitCode::Cordoned) {
                    leader.waiting.insert(
                        id,
                        WaitingRow {
                            container_type,
                            runtime,
                            until,
                        },
                    );
                }
                Err(retry_after)
            }
        }
    }

    /// Counts a node that came with the running migration and ended by itself before it was stable.
    fn new_node_failed(&mut self, id: &NodeId, incarnation: Incarnation) {
        let crashed = self.containers[super::index_of(id)].crashed;
        let active = self.store.active().and_then(|id| self.release(id));
        let run = self.store.nodes.get(id).and_then(|node| node.run.as_ref());
        let run = run.filter(|run| run.incarnation < incarnation);
        let (true, Some(active), Some(run), Some(_)) =
            (crashed, active, run, &self.store.migration)
        else {
            return;
        };
        let ended = Running {
            template: &run.target.template,
            status: run.status,
            status_since: run.status_since,
            leaves: self.store.leaves(id, run),
        };
        if speaks_against(active, run.target.configuration_id, ended, self.now) {
            let template = run.target.template.clone();
            let reason = format!("node `{id}` ended by itself");
            say!(self, "{reason}");
            self.store.gate_failed(&template, reason);
        }
    }

    /// A launcher that asks has no node any more, also when nothing follows what ran before; nor has the order
    /// that told it what to become.
    fn ran_before(&mut self, id: &NodeId, incarnation: Incarnation) {
        let stop = self.store.stop_of(id).map(|(order, _, _)| order);
        let stop = stop.filter(|order| order.incarnation < incarnation);
        if let Some(order) = stop.map(|order| order.id) {
            self.store.order_end(order, true);
        }
        let Some(node) = self.store.nodes.get_mut(id) else {
            return;
        };
        if node
            .run
            .as_ref()
            .is_some_and(|run| run.incarnation < incarnation)
        {
            node.run = None;
            if let Some(leader) = &mut self.leader {
                leader.forget(id);
            }
        }
    }

    /// Collects what counts when a template is chosen for `asking`.
    fn taken(&self, asking: &NodeId) -> Taken {
        let occupants = self.store.nodes.iter().map(|(id, node)| {
            let run = node.run.as_ref();
            let incarnation = run.map_or(node.incarnation, |run| run.incarnation);
            let stop = self.store.stop_of(id);
            let stop = stop.filter(|(order, _, _)| order.incarnation == incarnation);
            Occupant {
                id,
                runs: run.map(|run| &run.target.template),
                becomes: stop.and_then(|(_, _, target)| Some(&target?.template)),
                keeps: self.persistent(node),
            }
        });
        let surge = self.leader.as_ref().map(|leader| leader.surge.clone());
        Taken {
            surge: surge.unwrap_or_default(),
            migrating: self.store.migration.is_some(),
            ..Occupancy::new(occupants).beside(asking)
        }
    }

    fn persistent<'a>(&self, node: &'a NodeRow) -> Option<&'a TemplateCode> {
        let template = node.last_template.as_ref().filter(|_| !node.cordoned)?;
        let release = self.release(self.store.active()?)?;
        let persistent = release.node_templates.get(template)?.persistent;
        persistent.then_some(template)
    }

    /// Takes in a node that started without asking, with the report of a start that failed before.
    pub(super) fn take_in(
        &mut self,
        index: usize,
        incarnation: Incarnation,
        target: &Target,
        failure: Option<&Target>,
    ) -> Result<(), Refused> {
        let id = super::node_id(index);
        let known = self.store.nodes.get(&id);
        if known.is_some_and(|node| incarnation < node.incarnation) {
            return Err(Refused);
        }
        let same_run = known
            .and_then(|node| node.run.clone())
            .filter(|run| run.incarnation == incarnation);
        let cordoned = known.is_some_and(|node| node.cordoned);
        if let Some(failed) = failure {
            self.start_failed(&id, failed, same_run.is_some());
        }
        let run = same_run.unwrap_or_else(|| RunRow {
            incarnation,
            target: target.clone(),
            status: NodeStatus::Starting,
            status_since: self.now,
            started: self.now,
        });
        let container = &self.containers[index];
        let row = NodeRow {
            incarnation,
            container_type: container.kind.clone(),
            runtime: container.runtime.clone(),
            run: Some(run),
            cordoned,
            last_template: Some(target.template.clone()),
        };
        self.store.nodes.insert(id.clone(), row);
        if let Some(leader) = &mut self.leader {
            leader.waiting.remove(&id);
            leader.fence(&id, incarnation);
        }
        Ok(())
    }

    /// Closes the order of a replacement that went back and counts it, once.
    fn start_failed(&mut self, id: &NodeId, failed: &Target, is_known: bool) {
        let stop = self.store.stop_of(id);
        let stop = stop
            .filter(|(_, _, target)| *target == Some(failed))
            .map(|(order, _, _)| order.id);
        match stop {
            Some(order_id) => self.store.order_end(order_id, false),
            None if is_known => return,
            None => {}
        }
        let reason = format!(
            "node `{id}` went back: `{}` of configuration {} did not become ready",
            failed.template, failed.configuration_id
        );
        say!(self, "{reason}");
        // What the cluster has left meanwhile may fail: it does not hold the way back.
        if self.store.active() == Some(failed.configuration_id) {
            self.store.gate_failed(&failed.template, reason);
        }
    }

    /// Takes the `hello` of a node.
    pub(super) fn hello(
        &mut self,
        index: usize,
        incarnation: Incarnation,
        target: &Target,
        status: NodeStatus,
    ) -> Result<(), Refused> {
        let id = super::node_id(index);
        let Some(node) = self.store.nodes.get_mut(&id) else {
            return Err(Refused);
        };
        let newest = node.run.as_ref().map_or(node.incarnation, |run| {
            run.incarnation.max(node.incarnation)
        });
        let left = self.leader.as_ref().and_then(|leader| leader.left.get(&id));
        if left == Some(&incarnation) {
            return Err(Refused);
        }
        let accepts_old = self.mutation == Some(Mutation::CountFenced);
        if incarnation > newest || (incarnation < newest && !accepts_old) {
            return Err(Refused);
        }
        let same_run = node
            .run
            .as_ref()
            .filter(|run| run.incarnation == incarnation && run.status == status);
        let since = same_run.map_or(self.now, |run| run.status_since);
        let started = node
            .run
            .as_ref()
            .filter(|run| run.incarnation == incarnation)
            .map_or(self.now, |run| run.started);
        node.run = Some(RunRow {
            incarnation,
            target: target.clone(),
            status,
            status_since: since,
            started,
        });
        node.incarnation = incarnation;
        node.last_template = Some(target.template.clone());
        let until = self.now + self.fixed.temper.lease;
        if let Some(leader) = &mut self.leader {
            leader.unconfirmed.remove(&id);
            leader.losses.remove(&id);
            leader.leases.insert(id.clone(), until);
            leader.sessions.insert(id.clone(), incarnation);
        }
        self.orders_send_again(&id, incarnation);
        Ok(())
    }

    /// Takes a report of a node about itself.
    pub(super) fn report(&mut self, index: usize, incarnation: Incarnation, status: NodeStatus) {
        let id = super::node_id(index);
        let now = self.now;
        let Some(run) = self.run_mut(&id, incarnation) else {
            return;
        };
        if run.status != status {
            (run.status, run.status_since) = (status, now);
            let target = run.target.clone();
            match status {
                NodeStatus::Ready => say!(self, "{id} is ready as {}", ShownTarget(&target)),
                NodeStatus::Failed => say!(self, "{id} fails as {}", ShownTarget(&target)),
                _ => {}
            }
        }
    }

    fn run_mut(&mut self, id: &NodeId, incarnation: Incarnation) -> Option<&mut RunRow> {
        let run = self.store.nodes.get_mut(id)?.run.as_mut()?;
        (run.incarnation == incarnation).then_some(run)
    }

    /// Renews the leases of all nodes that can speak.
    pub(super) fn heartbeats(&mut self) {
        let until = self.now + self.fixed.temper.lease;
        let Some(leader) = &mut self.leader else {
            return;
        };
        for (index, container) in self.containers.iter_mut().enumerate() {
            let Some(incarnation) = container.speaks() else {
                continue;
            };
            let id = super::node_id(index);
            let run = self.store.nodes.get(&id).and_then(|node| node.run.as_ref());
            let is_known = run.is_some_and(|run| {
                run.incarnation == incarnation && run.status != NodeStatus::Unreachable
            });
            if is_known && leader.sessions.get(&id) == Some(&incarnation) {
                leader.leases.insert(id, until);
            } else {
                // An unreachable node that speaks again has to introduce itself again.
                container.disconnect();
            }
        }
    }

    /// Lets what killed launchers left renew its leases; it ends when it is refused, or when its time is over.
    pub(super) fn strays_speak(&mut self) {
        let until = self.now + self.fixed.temper.lease;
        for index in 0..self.containers.len() {
            let container = &self.containers[index];
            let Some(stray) = container.stray.clone() else {
                continue;
            };
            if stray.until <= self.now {
                self.containers[index].stray = None;
                continue;
            }
            let Some(leader) = self.leader.as_mut().filter(|_| container.linked) else {
                continue;
            };
            let id = super::node_id(index);
            if leader.sessions.get(&id) == Some(&stray.incarnation) {
                leader.leases.insert(id, until);
            } else if self
                .hello(index, stray.incarnation, &stray.target, stray.status)
                .is_err()
            {
                say!(self, "what the launcher before left of {id} is fenced");
                self.containers[index].stray = None;
            }
        }
    }

    /// Renews the assignment of a container whose packages load.
    pub(super) fn progress_report(&mut self, index: usize) {
        let id = super::node_id(index);
        let run = self.store.nodes.get(&id).and_then(|node| node.run.as_ref());
        let is_assigned = run.is_some_and(|run| run.status == NodeStatus::Assigned);
        if let Some(leader) = self.leader.as_mut().filter(|_| is_assigned) {
            leader.leases.insert(id, self.now);
        }
    }

    /// Takes what a node says about an order.
    pub(super) fn acknowledge(&mut self, index: usize, order_id: OrderId, done: bool) {
        let id = super::node_id(index);
        let Some(order) = self.store.orders.get(&order_id) else {
            return;
        };
        if order.node != id {
            return;
        }
        match (&order.kind, done) {
            (OrderKind::Prefetch(_), true) => self.store.order_end(order_id, true),
            (OrderKind::Prefetch(_), false) => {
                self.store.order_end(order_id, false);
                say!(self, "{id} cannot fetch its next packages");
                if let Some(leader) = &mut self.leader {
                    leader.prefetch_failures.insert(id, self.now);
                }
            }
            // The order of a stop stays open until the replacement is stable.
            (OrderKind::Stop { .. }, _) => {}
        }
    }

    /// Takes the clean leave of a node.
    pub(super) fn bye(&mut self, index: usize, incarnation: Incarnation) {
        let id = super::node_id(index);
        let stop = self.store.stop_of(&id);
        let stop = stop.filter(|(order, _, _)| order.incarnation == incarnation);
        let next = stop.and_then(|(_, _, target)| target.cloned());
        let now = self.now;
        if self.run_mut(&id, incarnation).is_none() {
            return;
        }
        say!(self, "{id} leaves");
        if let Some(node) = self.store.nodes.get_mut(&id) {
            node.run = next.map(|target| RunRow {
                incarnation,
                target,
                status: NodeStatus::Assigned,
                status_since: now,
                started: now,
            });
        }
        if let Some(leader) = &mut self.leader {
            leader.forget(&id);
            leader.left.insert(id, incarnation);
        }
    }
}
