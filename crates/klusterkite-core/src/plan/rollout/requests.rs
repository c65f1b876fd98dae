//! What operators asked of single nodes.

use super::draft::{Draft, Wish};
use super::{Node, RequestKind, StopReason};
use crate::reason::ReasonCode;

/// Stops the nodes that an operator wants stopped whatever the budget says.
pub(super) fn forced(draft: &mut Draft<'_>) {
    for wish in wishes(draft, true) {
        draft.force(&wish);
    }
}

/// Stops the nodes that an operator wants stopped when the budget allows.
pub(super) fn within_budget(draft: &mut Draft<'_>) {
    for wish in wishes(draft, false) {
        draft.ask(&wish);
    }
}

fn wishes<'a>(draft: &mut Draft<'a>, force: bool) -> Vec<Wish<'a>> {
    let facts = draft.facts;
    let drains = |node: &&Node| {
        let request = facts.input.requests.get(&node.id);
        request.is_some_and(|request| request.kind == RequestKind::Drain && request.force == force)
    };
    for node in facts.input.nodes.iter().filter(drains) {
        if facts.is_only_manager(node) {
            let message = "the only manager stays: its container could not be given work again";
            let message = message.to_owned();
            draft.wait(ReasonCode::OnlyManager, &node.template, Some(node), message);
        }
    }
    let wish = |node: &'a Node| {
        let request = facts.input.requests.get(&node.id)?;
        let stays = request.kind == RequestKind::Drain && facts.is_only_manager(node);
        if request.force != force || !facts.is_stoppable(node) || stays {
            return None;
        }
        let (reason, target) = match request.kind {
            RequestKind::Restart => (StopReason::Restart, facts.becomes(node)),
            RequestKind::Drain => (StopReason::Drain, None),
        };
        Some(Wish {
            node,
            reason,
            target,
        })
    };
    facts.input.nodes.iter().filter_map(wish).collect()
}
