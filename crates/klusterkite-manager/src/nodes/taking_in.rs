//! Nodes that started without asking: told so before, or by their fallback; and the manager's own node.

use klusterkite_core::plan::rollout::{NodeStatus, Target};
use klusterkite_store::Change;
use klusterkite_store::rows::{ClientRow, NodeRow, NodeRun, OrderRow, OrderState};
use klusterkite_wire::start::{NodeTokenAnswer, NodeTokenRequest, StartFailure};
use klusterkite_wire::{Incarnation, NodeId, Secret};

use super::identity::{allowed_container_type, proves_history, proves_identity};
use crate::cluster::Cluster;
use crate::config::OwnNode;
use crate::fault::Fault;
use crate::secrets::{hash, random_secret};
use crate::state::Draft;

impl Cluster {
    /// Gives a token to a node that started without asking, and takes the report of a failed start.
    pub async fn node_token(
        &self,
        client: &ClientRow,
        id: NodeId,
        request: NodeTokenRequest,
    ) -> Result<NodeTokenAnswer, Fault> {
        allowed_container_type(client, &request.container_type)?;
        let token = random_secret();
        self.transact_together(|draft| take_in(draft, id, request, &token))
            .await?;
        Ok(NodeTokenAnswer { node_token: token })
    }

    /// Counts the manager's own node from its start, before it says `hello`.
    pub(crate) async fn own_node_put(&self) -> Result<(), Fault> {
        let Some(own) = self.config().own.clone() else {
            return Ok(());
        };
        self.transact(|draft| {
            let row = own_row(draft, &own);
            draft.put(Change::NodePut(row));
            draft.remember(move |volatile| {
                volatile.unconfirmed.remove(&own.id);
            });
            Ok(())
        })
        .await
    }
}

/// Takes in a node that started without asking.
fn take_in(
    draft: &mut Draft<'_>,
    id: NodeId,
    request: NodeTokenRequest,
    token: &Secret,
) -> Result<(), Fault> {
    let known = draft.state.nodes.get(&id);
    if let Some(node) = known {
        proves_identity(node, &request.node_secret)?;
        proves_history(node, request.incarnation, request.last_incarnation)?;
    }
    let same_run = known
        .and_then(|node| node.run.clone())
        .filter(|run| run.incarnation == request.incarnation);
    if let Some(failure) = &request.failure {
        start_failed(draft, &id, failure, same_run.is_some());
    }
    let run = same_run.unwrap_or_else(|| NodeRun {
        incarnation: request.incarnation,
        template: request.node_template.clone(),
        configuration_id: request.configuration_id,
        status: NodeStatus::Starting,
        reason: None,
        status_since: draft.now.0,
        started: draft.now.0,
        explanation: None,
        joined: None,
    });
    let crash = request.failure.and_then(|failure| failure.crash);
    draft.put(Change::NodePut(NodeRow {
        id: id.clone(),
        secret_hash: hash(&request.node_secret),
        token_hash: Some(hash(token)),
        incarnation: request.incarnation,
        container_type: request.container_type,
        runtime: request.runtime,
        run: Some(run),
        cordoned: known.is_some_and(|node| node.cordoned),
        last_template: Some(request.node_template),
        last_crash: crash.or_else(|| known.and_then(|node| node.last_crash.clone())),
    }));
    let incarnation = request.incarnation;
    draft.remember(move |volatile| {
        volatile.waiting.remove(&id);
        volatile.fence(&id, incarnation);
    });
    Ok(())
}

/// Closes the order of a `next` that did not become ready and counts it in the failure gate, once: a
/// launcher that did not hear the answer reports again.
fn start_failed(draft: &mut Draft<'_>, id: &NodeId, failure: &StartFailure, is_known: bool) {
    let message = format!(
        "node `{id}` went back: `{}` of configuration {} did not become ready: {}",
        failure.node_template, failure.configuration_id, failure.reason
    );
    let failed = Target {
        template: failure.node_template.clone(),
        configuration_id: failure.configuration_id,
    };
    let stop = draft.state.orders.stop_of(id);
    match stop.filter(|stop| stop.target == Some(&failed)) {
        Some(stop) => {
            let reason = failure.reason.clone();
            draft.put(Change::OrderPut(OrderRow {
                state: OrderState::Failed { reason },
                ..stop.order.clone()
            }));
        }
        None if is_known => return,
        None => {}
    }
    // What the cluster has left meanwhile may fail: it does not hold the way back.
    if draft.state.active_id() == Some(failure.configuration_id) {
        draft.gate_failed(&failure.node_template, &message);
    }
    let template = failure.node_template.clone();
    draft.remember(move |volatile| volatile.statistics.start_failed(&template));
    draft.event("nodeStartFailed", "manager", format!("node:{id}"), message);
}

/// Makes the row of the manager's own node.
fn own_row(draft: &Draft<'_>, own: &OwnNode) -> NodeRow {
    let known = draft.state.nodes.get(&own.id);
    let same_run = known
        .and_then(|node| node.run.clone())
        .filter(|run| run.incarnation == own.incarnation);
    let run = same_run.unwrap_or_else(|| NodeRun {
        incarnation: own.incarnation,
        template: own.template.clone(),
        configuration_id: own.configuration_id,
        status: NodeStatus::Starting,
        reason: None,
        status_since: draft.now.0,
        started: draft.now.0,
        explanation: None,
        joined: None,
    });
    NodeRow {
        id: own.id.clone(),
        secret_hash: known
            .map(|node| node.secret_hash.clone())
            .unwrap_or_default(),
        token_hash: known.and_then(|node| node.token_hash.clone()),
        incarnation: known.map_or(Incarnation(0), |node| node.incarnation),
        container_type: own.container_type.clone(),
        runtime: own.runtime.clone(),
        run: Some(run),
        cordoned: known.is_some_and(|node| node.cordoned),
        last_template: Some(own.template.clone()),
        last_crash: known.and_then(|node| node.last_crash.clone()),
    }
}
