//! What operators ask of nodes.

use std::collections::BTreeMap;

use klusterkite_api::cluster::Accepted;
use klusterkite_api::nodes::NodeRequest;
use klusterkite_core::plan::rollout::StopReason;
use klusterkite_core::reason::{Operation, ReasonCode, Refusal};
use klusterkite_store::Change;
use klusterkite_store::rows::{NodeRow, RequestRow};
use klusterkite_wire::NodeId;

use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::state::{Draft, State};

impl Cluster {
    /// Restarts a node as soon as the budget allows, or at once when forced.
    pub async fn node_restart(
        &self,
        id: &NodeId,
        request: NodeRequest,
        actor: &str,
    ) -> Result<Accepted, Fault> {
        self.node_request(id, false, request, actor).await
    }

    /// Stops a node as soon as the budget allows, or at once when forced, and cordons its container.
    pub async fn node_drain(
        &self,
        id: &NodeId,
        request: NodeRequest,
        actor: &str,
    ) -> Result<Accepted, Fault> {
        self.node_request(id, true, request, actor).await
    }

    async fn node_request(
        &self,
        id: &NodeId,
        drain: bool,
        NodeRequest { force }: NodeRequest,
        actor: &str,
    ) -> Result<Accepted, Fault> {
        let (kind, what) = if drain {
            ("nodeDrainAsked", "drain")
        } else {
            ("nodeRestartAsked", "restart")
        };
        self.transact(|draft| {
            let node = draft
                .state
                .nodes
                .get(id)
                .ok_or_else(|| Fault::not_found("node", id))?;
            stoppable(draft.state, node)?;
            let run = node.run.as_ref().expect("a stoppable node runs");
            let incarnation = run.incarnation;
            // What is waiting already is not taken back by the way: a drain restarts, too.
            let before = draft.state.requests.get(id);
            let drain = drain || before.is_some_and(|before| before.drain);
            let force = force || before.is_some_and(|before| before.force);
            draft.put(Change::RequestPut(RequestRow {
                node_id: id.clone(),
                drain,
                force,
                incarnation,
            }));
            let forced = if force {
                ", whatever the minimum says"
            } else {
                ""
            };
            let message = format!("{actor} asked to {what} node `{id}`{forced}");
            let params = BTreeMap::from([("force".to_owned(), force.to_string())]);
            draft.event_with(kind, actor, format!("node:{id}"), message, params);
            Ok(())
        })
        .await?;
        let when = if force {
            "at once, whatever the minimum says"
        } else {
            "as soon as the budget of its template allows"
        };
        Ok(Accepted {
            message: format!("node `{id}` will {what} {when}"),
        })
    }

    /// Gives a container no new work; what runs in it goes on.
    pub async fn node_cordon(&self, id: &NodeId, actor: &str) -> Result<Accepted, Fault> {
        self.node_cordoned(id, true, actor).await
    }

    /// Gives a container work again.
    pub async fn node_uncordon(&self, id: &NodeId, actor: &str) -> Result<Accepted, Fault> {
        self.node_cordoned(id, false, actor).await
    }

    async fn node_cordoned(
        &self,
        id: &NodeId,
        cordoned: bool,
        actor: &str,
    ) -> Result<Accepted, Fault> {
        let (kind, what) = if cordoned {
            ("nodeCordoned", "cordoned")
        } else {
            ("nodeUncordoned", "uncordoned")
        };
        self.transact(|draft| {
            let node = draft
                .state
                .nodes
                .get(id)
                .ok_or_else(|| Fault::not_found("node", id))?;
            cordonable(draft.state, node, cordoned)?;
            draft.put(Change::NodePut(NodeRow {
                cordoned,
                ..node.clone()
            }));
            if !cordoned {
                withdraw_drain(draft, id);
            }
            let message = format!("{actor} {what} the container of node `{id}`");
            draft.event(kind, actor, format!("node:{id}"), message);
            Ok(())
        })
        .await?;
        Ok(Accepted {
            message: format!("the container of node `{id}` is {what}"),
        })
    }
}

/// Tells whether an operator asked for a drain that has not begun.
fn drain_waits(state: &State, id: &NodeId) -> bool {
    let request = state.requests.get(id);
    request.is_some_and(|request| request.drain)
}

/// Forgets a drain that has not begun.
fn withdraw_drain(draft: &mut Draft<'_>, id: &NodeId) {
    if drain_waits(draft.state, id) {
        draft.put(Change::RequestDelete(id.clone()));
    }
}

/// Lists what can be done with a node, by the rules that the calls enforce.
pub(crate) fn operations(state: &State, node: &NodeRow) -> Vec<Operation> {
    vec![
        Operation::new("restart", stoppable(state, node)),
        Operation::new("drain", stoppable(state, node)),
        Operation::new("cordon", cordonable(state, node, true)),
        Operation::new("uncordon", cordonable(state, node, false)),
    ]
}

fn stoppable(state: &State, node: &NodeRow) -> Result<(), Refusal> {
    let id = &node.id;
    if node.run.is_none() {
        let message = format!("nothing runs in the container of node `{id}`");
        return Err(Refusal::new(ReasonCode::NothingChanges, message).with("node", id));
    }
    match state.orders.stop_of(id) {
        None => Ok(()),
        Some(stop) => {
            let why = if stop.reason == StopReason::Drain {
                "drains"
            } else {
                "is being replaced"
            };
            let message = format!("node `{id}` {why} already");
            Err(Refusal::new(ReasonCode::Replacing, message).with("node", id))
        }
    }
}

fn cordonable(state: &State, node: &NodeRow, cordoned: bool) -> Result<(), Refusal> {
    // A drain that waits for the budget has not cordoned yet; it can be taken back all the same.
    if node.cordoned != cordoned || (!cordoned && drain_waits(state, &node.id)) {
        return Ok(());
    }
    let is = if cordoned {
        "cordoned already"
    } else {
        "not cordoned"
    };
    let message = format!("the container of node `{}` is {is}", node.id);
    Err(Refusal::new(ReasonCode::NothingChanges, message).with("node", &node.id))
}
