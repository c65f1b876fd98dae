//! Orders as messages.

use klusterkite_core::plan::rollout::StopReason;
use klusterkite_store::rows::{OrderRow, OrderRowKind};
use klusterkite_wire::link::{ManagerMessage, Order, OrderKind, STOP_DEADLINE_SECONDS};
use klusterkite_wire::{Incarnation, LeaderEpoch, NodeId};

use crate::state::State;

/// Returns the orders that a node has to hear again after it connected.
///
/// What it carries out already it is told again too: it answers again and does it once.
pub(super) fn open_orders(
    state: &State,
    id: &NodeId,
    incarnation: Incarnation,
    epoch: LeaderEpoch,
) -> Vec<ManagerMessage> {
    let open = state.orders.of(id).filter(|order| order.state.is_open());
    let mine = open.filter(|order| order.incarnation == incarnation);
    mine.filter_map(|order| order_message(state, order, epoch))
        .collect()
}

/// Makes the message of an order; `None` when its target has no packages for the node's runtime.
pub(crate) fn order_message(
    state: &State,
    order: &OrderRow,
    epoch: LeaderEpoch,
) -> Option<ManagerMessage> {
    let node = state.nodes.get(&order.node_id)?;
    let (kind, target, reason) = match &order.kind {
        OrderRowKind::Prefetch { target } => (
            OrderKind::Prefetch,
            Some(target),
            "packages of what comes next".to_owned(),
        ),
        OrderRowKind::Stop {
            reason,
            target,
            why,
        } => (
            OrderKind::Stop,
            target.as_ref(),
            why.clone()
                .unwrap_or_else(|| stop_sentence(*reason).to_owned()),
        ),
    };
    let next = match target {
        None => None,
        Some(target) => {
            let release = state.releases.get(&target.configuration_id)?;
            let draw = crate::secrets::random_number();
            Some(release.start_configuration(&target.template, &node.runtime, draw)?)
        }
    };
    let order = Order {
        id: order.id,
        epoch,
        kind,
        reason,
        deadline_seconds: STOP_DEADLINE_SECONDS,
        next,
    };
    Some(ManagerMessage::Order(Box::new(order)))
}

/// Says why a node stops, when nothing more is known.
pub(crate) fn stop_sentence(reason: StopReason) -> &'static str {
    match reason {
        StopReason::Update => "the node does not fit the Active configuration",
        StopReason::Restart => "an operator asked for a restart",
        StopReason::Drain => "an operator drains the container",
        StopReason::Surplus => "the template has more nodes than its maximum",
        StopReason::Redistribution => "another template needs the container",
        StopReason::TemplateRemoved => "the Active configuration has no such template",
    }
}
