//! Looks for contradictions between a plan and the situation that it was made for.
//!
//! Written apart from the planner, from the invariants alone, so that a mistake has to be made twice to
//! go unseen. Every test of the planner runs it.

use std::collections::{BTreeMap, BTreeSet};

use klusterkite_wire::{NodeId, TemplateCode};

use super::{Act, Node, NodeStatus, RolloutInput, RolloutPlan, StopReason, Target};
use crate::release::NodeTemplate;

/// Returns every contradiction; empty for a sound plan.
pub fn lint(input: &RolloutInput<'_>, plan: &RolloutPlan) -> Vec<String> {
    let nodes = input.nodes.iter().map(|node| (&node.id, node)).collect();
    let closed = plan.acts.iter().filter_map(|act| match act {
        Act::CloseOrder { node, .. } => Some(node),
        _ => None,
    });
    let linter = Linter {
        input,
        plan,
        nodes,
        closed: closed.collect(),
    };
    [
        linter.acts_are_possible(),
        linter.floors_hold(),
        linter.nothing_is_hasty(),
        linter.surge_is_bounded(),
        linter.waits_are_explained(),
    ]
    .concat()
}

struct Linter<'a> {
    input: &'a RolloutInput<'a>,
    plan: &'a RolloutPlan,
    nodes: BTreeMap<&'a NodeId, &'a Node>,
    closed: BTreeSet<&'a NodeId>,
}

impl<'a> Linter<'a> {
    /// Each node gets at most one prefetch or stop, hears it, has no order yet and is prepared for its target.
    fn acts_are_possible(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut seen = BTreeSet::new();
        for act in &self.plan.acts {
            let (Act::Prefetch { node: id, .. } | Act::Stop { node: id, .. }) = act else {
                continue;
            };
            let Some(node) = self.nodes.get(id) else {
                found.push(format!("an act is about the unknown node `{id}`"));
                continue;
            };
            if !seen.insert(id) {
                found.push(format!("two acts are about node `{id}`"));
            }
            if self.has_open_order(node) {
                found.push(format!(
                    "an act is about node `{id}`, which has an open order"
                ));
            }
            if !matches!(
                node.status,
                NodeStatus::Starting | NodeStatus::Ready | NodeStatus::Failed
            ) {
                found.push(format!("an act is about node `{id}`, which hears nothing"));
            }
            if let Act::Stop {
                target: Some(target),
                ..
            } = act
                && node.prefetched.as_ref() != Some(target)
            {
                found.push(format!(
                    "node `{id}` stops before it fetched what it becomes"
                ));
            }
            if let Act::Prefetch { target, .. }
            | Act::Stop {
                target: Some(target),
                ..
            } = act
                && !self.can_become(node, target)
            {
                found.push(format!("node `{id}` cannot become `{}`", target.template));
            }
        }
        found
    }

    /// I1: what remains ready is at least the floor, and a batch is not exceeded.
    fn floors_hold(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut stops: BTreeMap<&TemplateCode, u32> = BTreeMap::new();
        for (node, reason, _) in self.stops() {
            let waived = reason == StopReason::TemplateRemoved || self.is_forced(node);
            if self.is_ready(node) && !waived {
                *stops.entry(&node.template).or_default() += 1;
            }
        }
        for (template, stops) in stops {
            let of_template = || {
                self.input
                    .nodes
                    .iter()
                    .filter(|node| node.template == *template)
            };
            let ready = of_template().filter(|node| self.is_ready(node)).count() as u32;
            let in_flight = of_template()
                .filter(|node| self.has_open_order(node))
                .count() as u32;
            let floor = self
                .ends()
                .filter_map(|end| end.node_templates.get(template))
                .map(|t| t.minimum)
                .max()
                .unwrap_or(0);
            if ready < floor + stops {
                found.push(format!("I1: {stops} of {ready} ready nodes of `{template}` stop, and {floor} have to remain"));
            }
            let size = of_template().count() as u32;
            let batch = self
                .template(template)
                .map_or(1, |template| template.rollout.batch.size(size));
            if in_flight + stops > batch {
                found.push(format!("{stops} nodes of `{template}` stop while {in_flight} are in flight, {batch} may be"));
            }
        }
        found
    }

    /// Holds, pauses, gates, moving resources and the manager's turn are respected.
    fn nothing_is_hasty(&self) -> Vec<String> {
        let mut found = Vec::new();
        let others_move = self.input.nodes.iter().any(|node| {
            !self.is_manager(node)
                && (self.plan.obsolete.contains_key(&node.id) || self.has_open_order(node))
        });
        let pauses = self
            .plan
            .acts
            .iter()
            .any(|act| matches!(act, Act::Pause { .. }));
        for (node, reason, _) in self.stops() {
            let id = &node.id;
            let asked = matches!(reason, StopReason::Restart | StopReason::Drain);
            if self.input.resource_moving && self.is_manager(node) {
                found.push(format!(
                    "I5: the manager's node `{id}` stops while a resource moves"
                ));
            }
            if self.is_forced(node) {
                continue;
            }
            if !self.input.holds.is_empty() {
                found.push(format!("node `{id}` stops while everything is held"));
            }
            if !asked && (self.input.paused.is_some() || pauses) {
                found.push(format!("node `{id}` stops while the update is paused"));
            }
            let max_failed = self
                .template(&node.template)
                .map_or(0, |template| template.rollout.max_failed);
            if self
                .input
                .gates
                .get(&node.template)
                .is_some_and(|gate| gate.failed > max_failed)
            {
                found.push(format!(
                    "node `{id}` stops though new nodes of `{}` fail",
                    node.template
                ));
            }
            if reason == StopReason::Update && self.is_manager(node) && others_move {
                found.push(format!("the manager's node `{id}` moves before the others"));
            }
        }
        found
    }

    /// I6: a template is never filled above its maximum (or floor) and surge.
    fn surge_is_bounded(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (code, wanted) in &self.plan.surge {
            let Some(template) = self.input.active.node_templates.get(code) else {
                found.push(format!(
                    "`{code}` is to be filled and is not in the configuration"
                ));
                continue;
            };
            let floor = self
                .ends()
                .filter_map(|end| end.node_templates.get(code))
                .map(|t| t.minimum)
                .max()
                .unwrap_or(0);
            if let Some(maximum) = template.maximum
                && *wanted > maximum.max(floor) + template.rollout.surge
            {
                found.push(format!(
                    "I6: `{code}` is to be filled up to {wanted}, above {maximum} and its surge"
                ));
            }
        }
        found
    }

    /// L1: whatever is not as it should be is acted on or explained.
    fn waits_are_explained(&self) -> Vec<String> {
        let settled = self.plan.obsolete.is_empty()
            && self
                .input
                .nodes
                .iter()
                .all(|node| !self.has_open_order(node));
        let silent = self.plan.waiting.is_empty() && self.plan.acts.is_empty();
        if settled || !silent {
            Vec::new()
        } else {
            vec!["something is to be done, and the plan neither acts nor says why".to_owned()]
        }
    }

    fn stops(&self) -> impl Iterator<Item = (&'a Node, StopReason, Option<&'a Target>)> {
        self.plan.acts.iter().filter_map(|act| match act {
            Act::Stop {
                node,
                reason,
                target,
            } => Some((*self.nodes.get(node)?, *reason, target.as_ref())),
            _ => None,
        })
    }

    fn ends(&self) -> impl Iterator<Item = &'a crate::release::Release> {
        [Some(self.input.active), self.input.other]
            .into_iter()
            .flatten()
    }

    fn template(&self, code: &TemplateCode) -> Option<&'a NodeTemplate> {
        self.ends()
            .chain(self.input.releases.values())
            .find_map(|release| release.node_templates.get(code))
    }

    fn is_manager(&self, node: &Node) -> bool {
        self.template(&node.template)
            .is_some_and(|template| template.is_manager)
    }

    fn is_forced(&self, node: &Node) -> bool {
        self.input
            .requests
            .get(&node.id)
            .is_some_and(|request| request.force)
    }

    fn has_open_order(&self, node: &Node) -> bool {
        node.stop.is_some() && !self.closed.contains(&node.id)
    }

    fn is_ready(&self, node: &Node) -> bool {
        let leaves = self.has_open_order(node)
            && node
                .stop
                .as_ref()
                .is_some_and(|order| order.incarnation == node.incarnation);
        node.status == NodeStatus::Ready && !leaves
    }

    fn can_become(&self, node: &Node, target: &Target) -> bool {
        let template = self.input.active.node_templates.get(&target.template);
        target.configuration_id == self.input.active.id
            && template.is_some_and(|template| {
                template.container_types.contains(&node.container_type)
                    && template.packages.contains_key(&node.runtime)
            })
    }
}
