//! A cluster that carries out what the planner says, in steps of five seconds.

use std::collections::BTreeMap;
use std::time::Duration;

use klusterkite_core::plan::assignment::{Answer, Ask, Occupancy, Occupant, Taken, assign};
use klusterkite_core::plan::rollout::{
    Act, Node, NodeStatus, RolloutPlan, StopReason, Target, WaitingContainer,
};
use klusterkite_core::time::Timestamp;
use klusterkite_wire::{Incarnation, TemplateCode};

use crate::world::World;

const TICK: Duration = Duration::from_secs(5);

impl World {
    /// Plans, writes the plan down and lets five seconds pass. Returns the plan.
    pub(crate) fn tick(&mut self) -> RolloutPlan {
        let plan = self.plan();
        self.write_down(&plan);
        for act in &plan.acts {
            if let Act::Prefetch { node, target } = act {
                self.find(node).prefetched = Some(target.clone());
            }
        }
        self.now = self.now + TICK;
        self.move_nodes();
        self.answer_containers(&plan.surge);
        plan
    }

    /// Ticks until nothing is to be done any more, or the limit is reached. Returns the last plan.
    pub(crate) fn settle(
        &mut self,
        ticks_max: usize,
        mut each: impl FnMut(&Self, &RolloutPlan),
    ) -> RolloutPlan {
        let mut quiet = 0;
        let mut plan = RolloutPlan::default();
        for _ in 0..ticks_max {
            let before = self.nodes.clone();
            plan = self.tick();
            each(self, &plan);
            // Quiet for longer than anything takes to become stable.
            quiet = if plan.acts.is_empty() && before == self.nodes {
                quiet + 1
            } else {
                0
            };
            if quiet > 4 {
                break;
            }
        }
        plan
    }

    /// Counts the ready nodes of a template that were not told to stop.
    pub(crate) fn ready(&self, template: &TemplateCode) -> u32 {
        let serves = |node: &&Node| {
            let leaves = node
                .stop
                .as_ref()
                .is_some_and(|order| order.incarnation == node.incarnation);
            node.template == *template && node.status == NodeStatus::Ready && !leaves
        };
        self.nodes.iter().filter(serves).count() as u32
    }

    fn move_nodes(&mut self) {
        let now = self.now;
        let mut left = Vec::new();
        for mut node in std::mem::take(&mut self.nodes) {
            let leaves = node
                .stop
                .clone()
                .filter(|order| order.incarnation == node.incarnation);
            match (leaves, node.status) {
                (Some(_), NodeStatus::Starting | NodeStatus::Ready | NodeStatus::Failed) => {
                    set(&mut node, NodeStatus::Draining, now);
                }
                (Some(order), _) => {
                    let Some(target) = order.target else {
                        if order.reason != StopReason::Drain {
                            self.waiting.push(container(&node));
                        }
                        continue;
                    };
                    start(&mut node, target, now);
                }
                (None, NodeStatus::Starting) => set(&mut node, NodeStatus::Ready, now),
                (None, NodeStatus::Assigned) => set(&mut node, NodeStatus::Starting, now),
                (None, _) => {}
            }
            left.push(node);
        }
        self.nodes = left;
    }

    fn answer_containers(&mut self, surge: &BTreeMap<TemplateCode, u32>) {
        for container in std::mem::take(&mut self.waiting) {
            let occupants = self.nodes.iter().map(|node| Occupant {
                id: &node.id,
                runs: Some(holds(node)),
                becomes: None,
                keeps: None,
            });
            let taken = Taken {
                surge: surge.clone(),
                migrating: true,
                ..Occupancy::new(occupants).beside(&container.node_id)
            };
            let ask = Ask {
                node_id: container.node_id.clone(),
                container_type: container.container_type.clone(),
                runtime: container.runtime.clone(),
                cordoned: false,
                draw: self.now.0,
            };
            match assign(&self.releases[&self.active], &ask, &taken) {
                Answer::Wait { .. } => self.waiting.push(container),
                Answer::Start { template, .. } => {
                    let target = Target {
                        template,
                        configuration_id: self.active,
                    };
                    let mut node = fresh(container, target.clone(), self.now);
                    node.status = NodeStatus::Assigned;
                    self.nodes.push(node);
                }
            }
        }
    }
}

/// Returns the template whose slot a node holds: what it is told to become, or what it is.
fn holds(node: &Node) -> &TemplateCode {
    let target = node.stop.as_ref().and_then(|order| order.target.as_ref());
    target.map_or(&node.template, |target| &target.template)
}

fn set(node: &mut Node, status: NodeStatus, now: Timestamp) {
    (node.status, node.status_since) = (status, now);
}

fn start(node: &mut Node, target: Target, now: Timestamp) {
    node.incarnation = Incarnation(node.incarnation.0 + 1);
    (node.template, node.configuration_id) = (target.template, target.configuration_id);
    node.started = now;
    set(node, NodeStatus::Starting, now);
}

fn container(node: &Node) -> WaitingContainer {
    let Node {
        id,
        container_type,
        runtime,
        ..
    } = node.clone();
    WaitingContainer {
        node_id: id,
        container_type,
        runtime,
    }
}

fn fresh(container: WaitingContainer, target: Target, now: Timestamp) -> Node {
    let WaitingContainer {
        node_id,
        container_type,
        runtime,
    } = container;
    Node {
        id: node_id,
        incarnation: Incarnation(now.0),
        container_type,
        runtime,
        template: target.template,
        configuration_id: target.configuration_id,
        status: NodeStatus::Assigned,
        status_since: now,
        started: now,
        cordoned: false,
        prefetched: None,
        stop: None,
    }
}
