//! Spare capacity: when nothing of a template can stop at its floor, one more node has to come first.

use std::collections::BTreeSet;

use super::draft::Draft;
use super::facts::{Facts, TemplateFacts};
use super::{Node, NodeStatus, WaitingContainer};
use crate::plan::assignment::fits;
use crate::reason::ReasonCode;

/// Asks for more nodes of the templates whose floor keeps nodes from being stopped.
pub(super) fn grow(draft: &mut Draft<'_>) {
    let facts = draft.facts;
    let held: Vec<_> = draft
        .held_by_floor
        .iter()
        .map(|(code, count)| (*code, *count))
        .collect();
    for (code, held) in held {
        let Some(template) = facts.templates.get(code) else {
            continue;
        };
        let missing = missing(facts, template, held);
        // Nodes that this very plan gives away make room.
        let holders = draft.holders(code);
        let wanted = holders + missing.min(room(template, holders));
        if wanted > holders {
            draft.surge.insert(code.clone(), wanted);
        }
        if missing > 0 {
            draft.forget_wait(ReasonCode::AtMinimum, code);
            draft.wait(
                ReasonCode::NeedsContainer,
                code,
                None,
                sentence(facts, template),
            );
        }
    }
}

/// Returns how many more nodes let the update go on, beyond those that are on their way.
fn missing<'a>(facts: &Facts<'a>, template: &TemplateFacts<'a>, held: u32) -> u32 {
    let on_the_way = |node: &&&'a Node| {
        let comes = matches!(node.status, NodeStatus::Assigned | NodeStatus::Starting);
        let returns = facts
            .open_order(node)
            .is_some_and(|order| order.target.is_some());
        !facts.is_ready(node) && (comes || returns)
    };
    let coming = template.nodes.iter().filter(on_the_way).count() as u32;
    let step = template.batch.min(template.rollout.surge.max(1)).min(held);
    (template.floor + step).saturating_sub(template.ready + coming)
}

/// Returns how many more nodes the template may have beside those that hold it (I6).
fn room(template: &TemplateFacts<'_>, holders: u32) -> u32 {
    match template.active {
        None => 0,
        Some(active) => match active.maximum {
            Some(maximum) => maximum
                .max(template.floor)
                .saturating_add(template.rollout.surge)
                .saturating_sub(holders),
            None => template.rollout.surge.max(1),
        },
    }
}

/// Tells whether the nodes that let the update go on can come as things are.
pub(super) fn is_possible(facts: &Facts<'_>, template: &TemplateFacts<'_>, held: u32) -> bool {
    missing(facts, template, held) == 0
        || (room(template, template.holders) > 0 && free_container(facts, template).is_some())
}

/// Says what the template needs before one of its nodes can stop.
pub(super) fn sentence(facts: &Facts<'_>, template: &TemplateFacts<'_>) -> String {
    let TemplateFacts {
        code, ready, floor, ..
    } = template;
    let at = format!("`{code}` has {ready} ready nodes and must have {floor}");
    let Some(active) = template.active else {
        return format!("{at}, and no template of the configuration takes over from it");
    };
    if room(template, template.holders) == 0 {
        return format!("{at}, and its maximum and `surge` allow no other; raise one of them");
    }
    let types: BTreeSet<&str> = active
        .container_types
        .iter()
        .map(klusterkite_wire::ContainerType::as_str)
        .collect();
    let types = types.into_iter().collect::<Vec<_>>().join("` or `");
    match free_container(facts, template) {
        Some(container) => format!(
            "{at}; container `{}` becomes one more when it asks",
            container.node_id
        ),
        None => format!("{at}; it needs one more container of type `{types}`"),
    }
}

fn free_container<'a>(
    facts: &Facts<'a>,
    template: &TemplateFacts<'a>,
) -> Option<&'a WaitingContainer> {
    let active = template.active?;
    facts
        .input
        .waiting
        .iter()
        .find(|container| fits(active, &container.container_type, &container.runtime))
}
