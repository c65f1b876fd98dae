//! Nodes that are lost or given up, and what becomes of the orders and requests about them.

use std::time::Duration;

use klusterkite_core::plan::leases::{Heard, Lease, Patience, lease};
use klusterkite_core::plan::rollout::{NodeStatus, Outcome, outcome_without_run};
use klusterkite_core::time::Timestamp;
use klusterkite_store::Change;
use klusterkite_store::rows::{NodeRow, NodeRun, OrderRow, OrderRowKind, OrderState, RequestRow};
use klusterkite_wire::NodeId;

use super::acts::close;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::fault::Fault;
use crate::lease;
use crate::progress;
use crate::state::{Draft, State, Volatile};

/// How often leases are looked at: a node is noticed to be lost so much later.
const LEASES_EVERY: Duration = Duration::from_secs(1);

impl Cluster {
    /// Writes down which nodes were lost, and which assignments came to nothing.
    pub(super) async fn leases_end(&self) -> Result<(), Fault> {
        let config = self.config();
        self.transact(|draft| {
            let (state, now) = (draft.state, draft.now);
            for node in state.nodes.values() {
                let Some(run) = &node.run else { continue };
                match lease_of(state, &node.id, run, now, config) {
                    Lease::Valid => {}
                    Lease::Lost => unreachable(draft, node, run),
                    Lease::Gone(why) => gone(draft, node, run, why),
                }
            }
            Ok(())
        })
        .await?;
        self.note(|state| {
            let now = self.now();
            state.volatile.leases_at = now + LEASES_EVERY;
            if waits_end(&mut state.volatile, now) {
                state.changed();
            }
        })
        .await;
        Ok(())
    }

    /// Ends orders and requests about runs that are not there any more.
    pub(super) async fn orders_end(&self) -> Result<(), Fault> {
        self.transact(|draft| {
            orders_end(draft);
            requests_end(draft);
            Ok(())
        })
        .await
    }
}

/// Ends the time of nodes that have not spoken since this manager started, and of containers that wait. Tells whether
/// it was over for any.
fn waits_end(volatile: &mut Volatile, now: Timestamp) -> bool {
    let before = (volatile.unconfirmed.len(), volatile.waiting.len());
    if volatile.unconfirmed_until <= now {
        volatile.unconfirmed.clear();
    }
    volatile.waiting.retain(|_, waiting| waiting.until > now);
    before != (volatile.unconfirmed.len(), volatile.waiting.len())
}

/// Judges the lease of a node.
fn lease_of(state: &State, id: &NodeId, run: &NodeRun, now: Timestamp, config: &Config) -> Lease {
    let volatile = &state.volatile;
    let is_unconfirmed = volatile.unconfirmed.contains(id);
    let heard = Heard {
        status: run.status,
        status_since: Timestamp(run.status_since),
        lease: volatile.leases.get(id).map(lease::Lease::end),
        unconfirmed_until: is_unconfirmed.then_some(volatile.unconfirmed_until),
        replaces: state.orders.stop_of(id).is_some(),
    };
    let patience = Patience {
        join_timeout: config.join_timeout,
        failover_lease: config.failover_lease,
        evict_after: config.evict_after,
    };
    lease(&heard, &patience, now)
}

fn unreachable(draft: &mut Draft<'_>, node: &NodeRow, run: &NodeRun) {
    let (id, now) = (node.id.clone(), draft.now);
    let message = format!(
        "node `{id}` of template `{}` does not answer any more",
        run.template
    );
    draft.event("nodeUnreachable", "manager", format!("node:{id}"), message);
    let run = NodeRun {
        status: NodeStatus::Unreachable,
        status_since: now.0,
        reason: Some("its lease ended".to_owned()),
        ..run.clone()
    };
    draft.put(Change::NodePut(NodeRow {
        run: Some(run),
        ..node.clone()
    }));
    draft.remember(move |volatile| {
        // Its link, if there still is one, ends: a machine without power never closes its socket.
        volatile.forget(&id);
        volatile.losses.insert(id, now);
    });
}

fn gone(draft: &mut Draft<'_>, node: &NodeRow, run: &NodeRun, why: &str) {
    let id = node.id.clone();
    let message = format!("node `{id}` of template `{}` is gone: {why}", run.template);
    draft.event("nodeGone", "manager", format!("node:{id}"), message);
    draft.put(Change::NodePut(NodeRow {
        run: None,
        ..node.clone()
    }));
    let stop = draft.state.orders.stop_of(&id);
    if run.status == NodeStatus::Assigned && stop.is_none() {
        let template = run.template.clone();
        draft.remember(move |volatile| volatile.statistics.start_failed(&template));
    }
    if let Some(stop) = stop {
        let outcome = match stop.target {
            Some(_) => Outcome::GivenUp,
            None => Outcome::Gone,
        };
        close(draft, &id, stop.order.id, outcome);
    }
    draft.remember(move |volatile| volatile.forget(&id));
}

/// Tells whether some order or request is about a run that is not there any more.
pub(super) fn is_any_over(state: &State, now: Timestamp) -> bool {
    let order_is_over = |order| order_over(state, order, now).is_some();
    let request_is_over = |request| request_is_over(state, request);
    state.orders.open().any(order_is_over) || state.requests.values().any(request_is_over)
}

/// Says how an order ends, when it is about a run that is not there any more.
fn order_over(state: &State, order: &OrderRow, now: Timestamp) -> Option<Outcome> {
    let node = state.nodes.get(&order.node_id);
    let run = node.and_then(|node| node.run.as_ref());
    match &order.kind {
        OrderRowKind::Prefetch { .. } => run
            .is_none_or(|run| run.incarnation != order.incarnation)
            .then_some(Outcome::Gone),
        // The planner sees only what runs or is about to.
        OrderRowKind::Stop { target, .. } if run.is_none() => {
            let age = now.since(Timestamp(order.ordered));
            let deadline = target
                .as_ref()
                .map(|target| progress::whole(state, &target.template));
            outcome_without_run(target.as_ref(), age, deadline.unwrap_or_default())
        }
        OrderRowKind::Stop { .. } => None,
    }
}

/// Ends the orders about runs that are not there any more.
fn orders_end(draft: &mut Draft<'_>) {
    let state = draft.state;
    for order in state.orders.open() {
        let Some(outcome) = order_over(state, order, draft.now) else {
            continue;
        };
        match &order.kind {
            // The next plan orders what the next run needs.
            OrderRowKind::Prefetch { .. } => {
                let reason = "the node ended before it had fetched the packages".to_owned();
                draft.put(Change::OrderPut(OrderRow {
                    state: OrderState::Failed { reason },
                    ..order.clone()
                }));
            }
            OrderRowKind::Stop { .. } => close(draft, &order.node_id, order.id, outcome),
        }
    }
}

/// Tells whether what was asked of a node has come about: a node that started again was restarted, and a container
/// that is to be drained and is empty is drained.
fn request_is_over(state: &State, request: &RequestRow) -> bool {
    let node = state.nodes.get(&request.node_id);
    let run = node.and_then(|node| node.run.as_ref());
    run.is_none_or(|run| run.incarnation != request.incarnation && !request.drain)
}

/// Ends the requests about runs that are not there any more.
fn requests_end(draft: &mut Draft<'_>) {
    let state = draft.state;
    for request in state.requests.values() {
        if !request_is_over(state, request) {
            continue;
        }
        draft.put(Change::RequestDelete(request.node_id.clone()));
        let node = state.nodes.get(&request.node_id);
        if let Some(node) = node.filter(|_| request.drain) {
            draft.put(Change::NodePut(NodeRow {
                cordoned: true,
                ..node.clone()
            }));
        }
    }
}
