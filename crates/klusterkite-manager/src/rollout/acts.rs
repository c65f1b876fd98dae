//! Acts of a plan, written down.

use std::collections::BTreeMap;
use std::time::Duration;

use klusterkite_core::plan::rollout::{Act, Outcome, RolloutPlan, StopReason, Target};
use klusterkite_core::reason::Refusal;
use klusterkite_store::Change;
use klusterkite_store::rows::{GateRow, MigrationRow, NodeRow, OrderRow, OrderRowKind, OrderState};
use klusterkite_wire::{Incarnation, NodeId, OrderId, TemplateCode};

use crate::nodes::stop_sentence;
use crate::state::{Draft, State};

/// A prefetch that failed is tried again after this time.
pub(super) const PREFETCH_RETRY: Duration = Duration::from_secs(10);

/// Writes down one act of a plan; returns the order that is to be sent.
pub(super) fn write(draft: &mut Draft<'_>, plan: &RolloutPlan, act: &Act) -> Option<OrderId> {
    match act {
        Act::Prefetch { node, target } => write_prefetch(draft, node, target),
        Act::Stop {
            node,
            reason,
            target,
        } => {
            let why = why(draft.state, plan, node, *reason, target.as_ref());
            write_stop(draft, node, *reason, target.as_ref(), why)
        }
        Act::CloseOrder {
            node,
            order_id,
            outcome,
        } => {
            close(draft, node, *order_id, *outcome);
            None
        }
        Act::Pause { template, reason } => {
            write_pause(draft, template, reason);
            None
        }
    }
}

/// Orders a prefetch, unless one is under way or has just failed.
fn write_prefetch(draft: &mut Draft<'_>, id: &NodeId, target: &Target) -> Option<OrderId> {
    let state = draft.state;
    let incarnation = state.nodes.get(id)?.run.as_ref()?.incarnation;
    let under_way = state.orders.of(id).any(|order| {
        let same =
            matches!(&order.kind, OrderRowKind::Prefetch { target: other } if other == target);
        same && order.incarnation == incarnation && order.state.is_open()
    });
    let failed = state.volatile.prefetch_failures.get(id);
    let just_failed = failed.is_some_and(|(at, _)| draft.now.since(*at) < PREFETCH_RETRY);
    if under_way || just_failed {
        return None;
    }
    let kind = OrderRowKind::Prefetch {
        target: target.clone(),
    };
    Some(write_order(draft, id, incarnation, kind))
}

fn write_stop(
    draft: &mut Draft<'_>,
    id: &NodeId,
    reason: StopReason,
    target: Option<&Target>,
    why: String,
) -> Option<OrderId> {
    let state = draft.state;
    let row = state.nodes.get(id)?;
    let run = row.run.as_ref()?;
    let code = crate::views::text_of(reason);
    let becomes = target.map_or(String::new(), |target| {
        let Target {
            template,
            configuration_id,
        } = target;
        format!(" and to become `{template}` of configuration {configuration_id}")
    });
    let message = format!(
        "node `{id}` of template `{}` is told to stop ({code}){becomes}: {why}",
        run.template
    );
    let params = BTreeMap::from([("reason".to_owned(), code), ("why".to_owned(), why.clone())]);
    let object = format!("node:{id}");
    draft.event_with("nodeStopOrdered", "manager", object, message, params);
    if state.requests.contains_key(id) {
        draft.put(Change::RequestDelete(id.clone()));
    }
    if reason == StopReason::Drain {
        draft.put(Change::NodePut(NodeRow {
            cordoned: true,
            ..row.clone()
        }));
    }
    let kind = OrderRowKind::Stop {
        reason,
        target: target.cloned(),
        why: Some(why),
    };
    Some(write_order(draft, id, run.incarnation, kind))
}

/// Says in words why a plan stops a node: what differs, who asked, which number is too large or too small.
fn why(
    state: &State,
    plan: &RolloutPlan,
    id: &NodeId,
    reason: StopReason,
    target: Option<&Target>,
) -> String {
    let run = state.nodes.get(id).and_then(|node| node.run.as_ref());
    let template = run.map(|run| &run.template);
    let is_forced = state.requests.get(id).is_some_and(|request| request.force);
    let general = stop_sentence(reason);
    match reason {
        StopReason::Update => plan
            .obsolete
            .get(id)
            .map_or(general.to_owned(), ToString::to_string),
        StopReason::Restart | StopReason::Drain if is_forced => {
            format!("{general}, whatever the minimum says")
        }
        StopReason::Surplus => {
            let active = state.active();
            let templates = active.map(|active| &active.node_templates);
            let settings = templates
                .zip(template)
                .and_then(|(all, template)| all.get(template));
            settings
                .and_then(|settings| settings.maximum)
                .map_or(general.to_owned(), |maximum| {
                    format!("{general} of {maximum}")
                })
        }
        StopReason::Redistribution => match target {
            Some(target) => format!(
                "template `{}` is below its minimum and no free container fits",
                target.template
            ),
            None => general.to_owned(),
        },
        StopReason::Restart | StopReason::Drain | StopReason::TemplateRemoved => general.to_owned(),
    }
}

fn write_order(
    draft: &mut Draft<'_>,
    id: &NodeId,
    incarnation: Incarnation,
    kind: OrderRowKind,
) -> OrderId {
    let order_id = draft.next_order_id();
    draft.put(Change::OrderPut(OrderRow {
        id: order_id,
        node_id: id.clone(),
        incarnation,
        kind,
        ordered: draft.now.0,
        state: OrderState::Open,
    }));
    order_id
}

/// Closes a stop order; one that came to nothing counts in the failure gate.
pub(super) fn close(draft: &mut Draft<'_>, id: &NodeId, order_id: OrderId, outcome: Outcome) {
    let Some(order) = draft.state.orders.get(order_id) else {
        return;
    };
    let state = match outcome {
        Outcome::Stable | Outcome::Gone => OrderState::Done,
        Outcome::GivenUp => OrderState::Failed {
            reason: "no stable replacement in time".to_owned(),
        },
    };
    draft.put(Change::OrderPut(OrderRow {
        state,
        ..order.clone()
    }));
    let target = match &order.kind {
        OrderRowKind::Stop { target, .. } => target.as_ref(),
        OrderRowKind::Prefetch { .. } => None,
    };
    let is_wanted = |target: &&Target| draft.state.active_id() == Some(target.configuration_id);
    let failed = target.filter(is_wanted);
    if let Some(target) = failed.filter(|_| outcome == Outcome::GivenUp) {
        let reason = format!(
            "node `{id}` did not become stable as `{}` in time",
            target.template
        );
        draft.gate_failed(&target.template, &reason);
        let template = target.template.clone();
        draft.remember(move |volatile| volatile.statistics.start_failed(&template));
        draft.event("nodeGivenUp", "manager", format!("node:{id}"), reason);
    }
}

/// Pauses the update. A migration that can be resumed remembers it; without one the failure gate or the
/// deadline holds, and this is only told, once.
fn write_pause(draft: &mut Draft<'_>, template: &TemplateCode, reason: &Refusal) {
    let migration = draft.state.migration.as_ref();
    if let Some(migration) = migration.filter(|migration| migration.state == "ready") {
        let id = migration.id;
        let row = MigrationRow {
            state: "paused".to_owned(),
            reason: Some(reason.clone()),
            ..migration.clone()
        };
        draft.put(Change::MigrationPut(row));
        crate::migrations::log(draft, id, "paused", &reason.message);
        let object = format!("migration:{id}");
        draft.event("migrationPaused", "manager", object, &reason.message);
        return;
    }
    if draft.state.volatile.told_paused.contains(template) {
        return;
    }
    let gate = draft.gate(template);
    if gate.reason.is_none() {
        let reason = Some(reason.message.clone());
        draft.gate_put(GateRow { reason, ..gate });
    }
    let object = format!("template:{template}");
    draft.event("updatePaused", "manager", object, &reason.message);
    let template = template.clone();
    draft.remember(move |volatile| {
        volatile.told_paused.insert(template);
    });
}
