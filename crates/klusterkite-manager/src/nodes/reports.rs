//! What nodes say about themselves and about their orders.

use klusterkite_core::plan::rollout::{NodeStatus, Target};
use klusterkite_core::time::Timestamp;
use klusterkite_store::Change;
use klusterkite_store::rows::{NodeRow, NodeRun, OrderRow, OrderRowKind, OrderState};
use klusterkite_wire::link::{AckState, NodeReport, ReportedStatus};
use klusterkite_wire::{Incarnation, NodeId, OrderId};

use super::running;
use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::state::Draft;

impl Cluster {
    /// Takes a report of a node about itself.
    pub(crate) async fn node_report(
        &self,
        id: &NodeId,
        incarnation: Incarnation,
        report: NodeReport,
    ) -> Result<(), Fault> {
        self.transact_together(|draft| {
            let Some((node, run)) = running(draft.state, id, incarnation) else {
                return Ok(());
            };
            let now = draft.now;
            let run = reported(run.clone(), report, now);
            if Some(&run) == node.run.as_ref() {
                return Ok(());
            }
            node_event(draft, node, &run);
            draft.put(Change::NodePut(NodeRow {
                run: Some(run),
                ..node.clone()
            }));
            Ok(())
        })
        .await
    }

    /// Takes what a node says about an order.
    pub(crate) async fn node_ack(
        &self,
        id: &NodeId,
        order_id: OrderId,
        ack: AckState,
        reason: Option<String>,
    ) -> Result<(), Fault> {
        self.transact_together(|draft| {
            let order = draft.state.orders.get(order_id);
            if let Some(order) = order.filter(|order| order.node_id == *id && order.state.is_open())
            {
                acknowledge(draft, order, ack, reason);
            }
            Ok(())
        })
        .await
    }

    /// Takes the clean leave of a node.
    pub(crate) async fn node_bye(
        &self,
        id: &NodeId,
        incarnation: Incarnation,
        reason: &str,
    ) -> Result<(), Fault> {
        self.transact_together(|draft| {
            let Some((node, run)) = running(draft.state, id, incarnation) else {
                return Ok(());
            };
            let stop = draft.state.orders.stop_of(id);
            let stop = stop.filter(|stop| stop.order.incarnation == incarnation);
            let next = stop.and_then(|stop| stop.target);
            let next = next.map(|target| expected(run, target.clone(), draft.now));
            draft.put(Change::NodePut(NodeRow {
                run: next,
                ..node.clone()
            }));
            let message = format!("node `{id}` of template `{}` left: {reason}", run.template);
            draft.event("nodeLeft", "manager", format!("node:{id}"), message);
            let id = id.clone();
            draft.remember(move |volatile| {
                volatile.forget(&id);
                volatile.left.insert(id, incarnation);
            });
            Ok(())
        })
        .await
    }
}

/// Returns a run with what its node reported.
pub(super) fn reported(mut run: NodeRun, report: NodeReport, now: Timestamp) -> NodeRun {
    let status = match report.status {
        ReportedStatus::Starting => NodeStatus::Starting,
        ReportedStatus::Ready => NodeStatus::Ready,
        ReportedStatus::Draining => NodeStatus::Draining,
        ReportedStatus::Stopping => NodeStatus::Stopping,
        ReportedStatus::Failed => NodeStatus::Failed,
    };
    if run.status != status {
        run.status = status;
        run.status_since = now.0;
    }
    run.reason = report.reason;
    if let Some(joined) = &mut run.joined {
        joined.processes = report.processes;
    }
    run
}

/// Writes an event when the status of a node changes.
pub(super) fn node_event(draft: &mut Draft<'_>, node: &NodeRow, run: &NodeRun) {
    let before = node
        .run
        .as_ref()
        .filter(|before| before.incarnation == run.incarnation);
    if before.is_some_and(|before| before.status == run.status) {
        return;
    }
    let kind = match run.status {
        NodeStatus::Ready => "nodeReady",
        NodeStatus::Failed => "nodeFailed",
        NodeStatus::Draining => "nodeDraining",
        NodeStatus::Stopping => "nodeStopping",
        _ => "nodeStarting",
    };
    let mut message = format!(
        "node `{}` of template `{}`, configuration {}: {}",
        node.id,
        run.template,
        run.configuration_id,
        kind.trim_start_matches("node").to_lowercase()
    );
    if let Some(reason) = &run.reason {
        message = format!("{message} ({reason})");
    }
    draft.event(kind, "manager", format!("node:{}", node.id), message);
}

/// Makes the run of a node that stopped in order to become `target`: its slot is kept until it speaks.
fn expected(run: &NodeRun, target: Target, now: Timestamp) -> NodeRun {
    NodeRun {
        incarnation: run.incarnation,
        template: target.template,
        configuration_id: target.configuration_id,
        status: NodeStatus::Assigned,
        reason: None,
        status_since: now.0,
        started: now.0,
        explanation: run.explanation.clone(),
        joined: None,
    }
}

/// Writes down what became of an order.
fn acknowledge(draft: &mut Draft<'_>, order: &OrderRow, ack: AckState, reason: Option<String>) {
    let is_prefetch = matches!(order.kind, OrderRowKind::Prefetch { .. });
    let state = match ack {
        AckState::Accepted => OrderState::Accepted,
        // The order of a stop stays open until the replacement is stable.
        AckState::Done if !is_prefetch => OrderState::Accepted,
        AckState::Done => OrderState::Done,
        AckState::Refused => {
            let reason = reason.unwrap_or_else(|| "the node gave no reason".to_owned());
            refused(draft, order, &reason);
            OrderState::Failed { reason }
        }
    };
    if order.state != state {
        draft.put(Change::OrderPut(OrderRow {
            state,
            ..order.clone()
        }));
    }
}

fn refused(draft: &mut Draft<'_>, order: &OrderRow, reason: &str) {
    let (id, now) = (order.node_id.clone(), draft.now);
    let message = match &order.kind {
        OrderRowKind::Prefetch { .. } => {
            let message = format!("node `{id}` refused to fetch packages: {reason}");
            let (id, reason) = (id.clone(), reason.to_owned());
            draft.remember(move |volatile| {
                volatile.prefetch_failures.insert(id, (now, reason));
            });
            message
        }
        OrderRowKind::Stop { target, .. } => {
            let message = format!("node `{id}` refused to stop: {reason}");
            let active = draft.state.active_id();
            if let Some(target) = target
                && active == Some(target.configuration_id)
            {
                draft.gate_failed(&target.template, &message);
            }
            message
        }
    };
    draft.event("orderRefused", "manager", format!("node:{id}"), message);
}
