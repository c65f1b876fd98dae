//! Nodes that are lost or given up, and what becomes of the orders and requests about them.

use klusterkite_core::plan::rollout::{NodeStatus, Outcome};
use klusterkite_core::time::Timestamp;
use klusterkite_store::Change;
use klusterkite_store::rows::{NodeRow, NodeRun, OrderRow, OrderRowKind, OrderState};
use klusterkite_wire::NodeId;

use super::acts::close;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::fault::Fault;
use crate::progress;
use crate::state::{Draft, State};

impl Cluster {
    /// Writes down which nodes were lost, and which assignments came to nothing.
    pub(super) async fn leases_end(&self) -> Result<(), Fault> {
        let config = self.config().clone();
        self.transact(|draft| {
            let (state, now) = (draft.state, draft.now);
            for node in state.nodes.values() {
                let Some(run) = &node.run else { continue };
                match lease_of(state, &node.id, run, now, &config) {
                    Lease::Valid => {}
                    Lease::Lost => unreachable(draft, node, run),
                    Lease::Gone(why) => gone(draft, node, run, why),
                }
            }
            draft.remember(move |volatile| {
                if volatile.unconfirmed_until <= now {
                    volatile.unconfirmed.clear();
                }
                volatile.waiting.retain(|_, waiting| waiting.until > now);
            });
            Ok(())
        })
        .await?;
        self.transact(|draft| {
            orders_end(draft);
            requests_end(draft);
            Ok(())
        })
        .await
    }
}

/// What a lease says about a node.
enum Lease {
    Valid,
    Lost,
    Gone(&'static str),
}

fn lease_of(state: &State, id: &NodeId, run: &NodeRun, now: Timestamp, config: &Config) -> Lease {
    let volatile = &state.volatile;
    let since = Timestamp(run.status_since);
    let is_unconfirmed = volatile.unconfirmed.contains(id);
    if is_unconfirmed && now < volatile.unconfirmed_until {
        return Lease::Valid;
    }
    match run.status {
        NodeStatus::Assigned => {
            let renewed = volatile.leases.get(id).copied().unwrap_or(since).max(since);
            // An order that it carries out ends by the planner.
            let replaces = state.orders.stop_of(id).is_some();
            if replaces || now.since(renewed) < config.join_timeout {
                Lease::Valid
            } else {
                Lease::Gone("it did not join in time")
            }
        }
        NodeStatus::Unreachable if now.since(since) < config.evict_after => Lease::Valid,
        NodeStatus::Unreachable => Lease::Gone("it was unreachable for too long"),
        _ if is_unconfirmed => Lease::Lost,
        _ => match volatile.leases.get(id) {
            Some(end) if now < *end => Lease::Valid,
            // Its token was given, its link is not there yet.
            None if now.since(since) < config.failover_lease => Lease::Valid,
            Some(_) | None => Lease::Lost,
        },
    }
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
    if let Some(stop) = draft.state.orders.stop_of(&id) {
        let outcome = match stop.target {
            Some(_) => Outcome::GivenUp,
            None => Outcome::Gone,
        };
        close(draft, &id, stop.order.id, outcome);
    }
    draft.remember(move |volatile| volatile.forget(&id));
}

/// Ends the orders about runs that are not there any more.
fn orders_end(draft: &mut Draft<'_>) {
    let state = draft.state;
    for order in state.orders.open() {
        let node = state.nodes.get(&order.node_id);
        let run = node.and_then(|node| node.run.as_ref());
        match &order.kind {
            // The next plan orders what the next run needs.
            OrderRowKind::Prefetch { .. } => {
                if run.is_none_or(|run| run.incarnation != order.incarnation) {
                    let reason = "the node ended before it had fetched the packages".to_owned();
                    draft.put(Change::OrderPut(OrderRow {
                        state: OrderState::Failed { reason },
                        ..order.clone()
                    }));
                }
            }
            // The planner sees only what runs or is about to. A replacement that left may still go back and
            // say why; that it does not come at all is known after the time that it had.
            OrderRowKind::Stop { target: None, .. } if run.is_none() => {
                close(draft, &order.node_id, order.id, Outcome::Gone);
            }
            OrderRowKind::Stop {
                target: Some(target),
                ..
            } if run.is_none() => {
                let age = draft.now.since(Timestamp(order.ordered));
                if age >= progress::whole(state, &target.template) {
                    close(draft, &order.node_id, order.id, Outcome::GivenUp);
                }
            }
            OrderRowKind::Stop { .. } => {}
        }
    }
}

/// Ends the requests about runs that are not there any more: a node that started again was restarted, and
/// a container that is to be drained and is empty is drained.
fn requests_end(draft: &mut Draft<'_>) {
    let state = draft.state;
    for request in state.requests.values() {
        let node = state.nodes.get(&request.node_id);
        let run = node.and_then(|node| node.run.as_ref());
        let same_run = run.is_some_and(|run| run.incarnation == request.incarnation);
        if same_run || (request.drain && run.is_some()) {
            continue;
        }
        draft.put(Change::RequestDelete(request.node_id.clone()));
        if let Some(node) = node.filter(|_| request.drain) {
            draft.put(Change::NodePut(NodeRow {
                cordoned: true,
                ..node.clone()
            }));
        }
    }
}
