//! Obsolete nodes: who is replaced, in which order.

use std::cmp::Reverse;

use super::draft::{Draft, Wish};
use super::facts::{Facts, TemplateFacts};
use super::{Node, NodeStatus, StopReason};
use crate::reason::ReasonCode;

/// How many batches of nodes fetch ahead of the one that is being replaced.
const PREFETCH_BATCHES: u32 = 2;

/// How many nodes of one template fetch at the same time: what a feed serves without falling behind.
const PREFETCH_NODES_MAX: u32 = 64;

/// Replaces the obsolete nodes of the templates that the Active release has, the manager's aside.
pub(super) fn present_templates(draft: &mut Draft<'_>) {
    let facts = draft.facts;
    for template in facts.templates.values() {
        if template.active.is_some() && !template.is_manager {
            replace(draft, template, StopReason::Update);
        }
    }
}

/// Stops the nodes of templates that the Active release does not have, when nothing needs them any more.
pub(super) fn removed_templates(draft: &mut Draft<'_>) {
    let facts = draft.facts;
    for template in facts.templates.values() {
        if template.active.is_some() || template.is_manager || template.nodes.is_empty() {
            continue;
        }
        if changes_role(draft, template) {
            continue;
        }
        if let Some((code, message)) = still_needed(draft, template) {
            draft.wait(code, template.code, None, message);
            continue;
        }
        draft.waive_floor(template.code);
        replace(draft, template, StopReason::TemplateRemoved);
    }
}

/// Replaces the manager's own node, after all others.
pub(super) fn manager(draft: &mut Draft<'_>) {
    let facts = draft.facts;
    let (managers, others): (Vec<_>, Vec<_>) = facts
        .templates
        .values()
        .partition(|template| template.is_manager);
    let before = others
        .into_iter()
        .find(|template| template.is_moving(facts));
    for template in managers {
        if !template.nodes.iter().any(|node| facts.is_obsolete(node)) {
            continue;
        }
        if let Some(before) = before {
            let message = format!(
                "the manager moves after all other nodes; `{}` is still moving",
                before.code
            );
            draft.wait(ReasonCode::ManagerLast, template.code, None, message);
        } else {
            replace(draft, template, StopReason::Update);
        }
    }
}

/// Stops obsolete nodes of one template as far as the budget goes: those that do not serve first, then the oldest.
fn replace<'a>(draft: &mut Draft<'a>, template: &TemplateFacts<'a>, reason: StopReason) {
    let facts = draft.facts;
    let mut queue = Vec::new();
    for node in template
        .nodes
        .iter()
        .copied()
        .filter(|node| facts.is_obsolete(node))
    {
        if draft.is_touched(node) || facts.open_order(node).is_some() {
            continue;
        }
        if facts.is_stoppable(node) {
            queue.push(node);
        } else {
            let (code, message) = out_of_reach(node);
            draft.wait(code, &node.template, Some(node), message);
        }
    }
    queue.sort_by_key(|node| (facts.is_ready(node), node.started, &node.id));
    fetch_ahead(draft, template, &mut queue);
    for node in queue {
        draft.ask(&Wish {
            node,
            reason,
            target: facts.becomes(node),
        });
    }
}

/// Has the next nodes of the queue fetch what they become, and leaves only those that are done with it.
fn fetch_ahead<'a>(draft: &mut Draft<'a>, template: &TemplateFacts<'a>, queue: &mut Vec<&'a Node>) {
    let facts = draft.facts;
    let ahead = template.batch.saturating_mul(PREFETCH_BATCHES) as usize;
    let mut fetching = 0;
    let mut index = 0;
    let mut later: Vec<&'a Node> = Vec::new();
    queue.retain(|node| {
        index += 1;
        let Some(target) = facts
            .becomes(node)
            .filter(|target| node.prefetched.as_ref() != Some(target))
        else {
            return true;
        };
        if index <= ahead && fetching < PREFETCH_NODES_MAX {
            fetching += 1;
            draft.prefetch(node, target);
        } else {
            later.push(*node);
        }
        false
    });
    if let Some(first) = later.first() {
        let code = template.code;
        let message =
            format!("nodes of `{code}` fetch packages before they are replaced, {ahead} ahead");
        let nodes = later.len() as u32;
        draft.wait_for_nodes(ReasonCode::BatchInFlight, code, (first, nodes), message);
    }
}

/// Tells whether nodes of the template are becoming something else; those come first.
fn changes_role<'a>(draft: &Draft<'a>, template: &TemplateFacts<'a>) -> bool {
    let changes = |node: &'a Node| {
        let order = draft.facts.open_order(node);
        draft.is_touched(node)
            || order.is_some_and(|order| order.reason == StopReason::Redistribution)
    };
    template.nodes.iter().copied().any(changes)
}

/// Returns why nodes of a removed template have to stay.
fn still_needed<'a>(
    draft: &Draft<'a>,
    template: &TemplateFacts<'a>,
) -> Option<(ReasonCode, String)> {
    let facts = draft.facts;
    let replacements = facts.templates.values().filter(|other| {
        other
            .active
            .is_some_and(|active| active.replaces.contains(template.code))
    });
    for other in replacements {
        let minimum = other.active.map_or(0, |active| active.minimum);
        if other.ready < minimum {
            let message = format!(
                "`{}` takes over from `{}` and has {} of at least {minimum} ready nodes",
                other.code, template.code, other.ready
            );
            return Some((ReasonCode::ReplacementsMissing, message));
        }
    }
    let moving = moving_on_their_own(draft, facts)?;
    let message = format!(
        "`{}` is removed after the other templates; `{moving}` is still moving",
        template.code
    );
    Some((ReasonCode::RemovedLast, message))
}

/// Returns a template that is still moving and does not wait for a container that a removed one may free.
fn moving_on_their_own<'a>(draft: &Draft<'a>, facts: &Facts<'a>) -> Option<&'a str> {
    let mut present = facts
        .templates
        .values()
        .filter(|other| other.active.is_some() && !other.is_manager);
    let moving =
        present.find(|other| other.is_moving(facts) && !draft.surge.contains_key(other.code))?;
    Some(moving.code.as_str())
}

fn out_of_reach(node: &Node) -> (ReasonCode, String) {
    let Node {
        id,
        template,
        configuration_id,
        ..
    } = node;
    match node.status {
        NodeStatus::Unreachable => (
            ReasonCode::Unreachable,
            format!(
                "node `{id}` of `{template}` is out of reach; it is replaced when it comes back or is given up"
            ),
        ),
        NodeStatus::Unconfirmed => (
            ReasonCode::Unconfirmed,
            format!("node `{id}` of `{template}` has not been heard of since the manager started"),
        ),
        NodeStatus::Assigned => (
            ReasonCode::Starting,
            format!(
                "node `{id}` of `{template}` is about to start with configuration {configuration_id}"
            ),
        ),
        _ => (
            ReasonCode::Replacing,
            format!("node `{id}` of `{template}` is stopping"),
        ),
    }
}

/// Sorts nodes so that those which are missed least come first: those that would be replaced anyway, and
/// among equals those that do not serve.
pub(super) fn least_missed_first<'a>(facts: &Facts<'a>, nodes: &mut [&'a Node]) {
    nodes.sort_by_key(|node| {
        (
            !facts.is_obsolete(node),
            facts.is_ready(node),
            !node.cordoned,
            Reverse(node.started),
            &node.id,
        )
    });
}
