//! More nodes than the maximum: after a lowered maximum, an update with spare capacity, or an adoption.

use super::draft::{Draft, Wish};
use super::facts::{Facts, TemplateFacts};
use super::update::least_missed_first;
use super::{Node, StopReason};

/// Stops what is above the maximum, as far as the budget goes.
pub(super) fn shrink(draft: &mut Draft<'_>) {
    let facts = draft.facts;
    for template in facts.templates.values() {
        let excess = excess(facts, template);
        if excess == 0 {
            continue;
        }
        let stoppable = |node: &&&Node| facts.is_stoppable(node) && !draft.is_touched(node);
        let mut nodes: Vec<&Node> = template.nodes.iter().filter(stoppable).copied().collect();
        least_missed_first(facts, &mut nodes);
        for node in nodes.into_iter().take(excess as usize) {
            let wish = Wish {
                node,
                reason: StopReason::Surplus,
                target: None,
            };
            // An obsolete one that has to stay for now is still the update's, which may take spare capacity for it.
            if !facts.is_obsolete(node) || draft.permits(&wish) {
                draft.ask(&wish);
            }
        }
    }
}

/// Returns how many nodes are too many.
///
/// While a migration runs the floor may be above the maximum that it leads to; what is above that maximum
/// stops when the floor has gone. While more nodes are obsolete than too many, the update still needs its spare capacity; the last
/// obsolete ones are not replaced but stopped for good.
fn excess<'a>(facts: &Facts<'a>, template: &TemplateFacts<'a>) -> u32 {
    let Some(maximum) = template.active.and_then(|active| active.maximum) else {
        return 0;
    };
    let excess = template.holders.saturating_sub(maximum.max(template.floor));
    // One that came so that another may be restarted or drained is not too many before that has happened.
    let asked = template
        .nodes
        .iter()
        .filter(|node| facts.input.requests.contains_key(&node.id) && facts.is_stoppable(node));
    let excess = excess.saturating_sub(asked.count() as u32);
    let to_replace = template
        .nodes
        .iter()
        .filter(|node| facts.is_obsolete(node) && facts.holds(node, template.code));
    if to_replace.count() as u32 > excess {
        return excess.saturating_sub(template.rollout.surge);
    }
    excess
}
