//! What operators asked of single nodes.

use super::draft::{Draft, Wish};
use super::{Node, RequestKind, StopReason};

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

fn wishes<'a>(draft: &Draft<'a>, force: bool) -> Vec<Wish<'a>> {
    let facts = draft.facts;
    let wish = |node: &'a Node| {
        let request = facts.input.requests.get(&node.id)?;
        if request.force != force || !facts.is_stoppable(node) {
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
