//! Links of nodes: hello, heartbeats, leases.

use klusterkite_core::plan::rollout::NodeStatus;
use klusterkite_store::Change;
use klusterkite_store::rows::{NodeJoined, NodeRow, NodeRun};
use klusterkite_wire::link::{Hello, ManagerMessage};
use klusterkite_wire::{Incarnation, NodeId};

use super::orders::open_orders;
use super::reports::{node_event, reported};
use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::lease::Lease;
use crate::state::{Draft, Session};

impl Cluster {
    /// Takes the `hello` of a node whose token was good. Returns its lease and the messages that it gets first.
    pub(crate) async fn node_hello(
        &self,
        id: &NodeId,
        hello: Hello,
        session: Session,
    ) -> Result<(Lease, Vec<ManagerMessage>), Fault> {
        let (incarnation, epoch) = (hello.incarnation, self.epoch());
        let lease_seconds = self.terms().seconds();
        let lease = self.terms().lease();
        let kept = lease.clone();
        self.transact_together(|draft| {
            join(draft, id, hello)?;
            let id = id.clone();
            draft.remember(move |volatile| {
                volatile.unconfirmed.remove(&id);
                volatile.losses.remove(&id);
                volatile.leases.insert(id.clone(), kept);
                volatile.sessions.insert(id, session);
            });
            Ok(())
        })
        .await?;
        let welcome = ManagerMessage::Welcome {
            lease_seconds,
            heartbeat_seconds: (lease_seconds / 3).max(1),
            epoch,
        };
        // Orders from here on come through the session; one that comes both ways is carried out once.
        let orders = open_orders(&*self.read().await, id, incarnation, epoch);
        Ok((lease, [vec![welcome], orders].concat()))
    }

    /// Forgets a link that ended; the lease decides about the node.
    pub(crate) async fn node_disconnected(&self, id: &NodeId, incarnation: Incarnation) {
        self.note(|state| {
            if state.volatile.sessions.get(id).is_some_and(|session| {
                session.incarnation == incarnation && session.sender.is_closed()
            }) {
                state.volatile.sessions.remove(id);
            }
        })
        .await;
    }
}

/// Takes a `hello`.
fn join(draft: &mut Draft<'_>, id: &NodeId, hello: Hello) -> Result<(), Fault> {
    let node = draft
        .state
        .nodes
        .get(id)
        .ok_or_else(|| Fault::not_found("node", id))?;
    let known_run = node.run.as_ref();
    let newest = known_run.map_or(node.incarnation, |run| {
        run.incarnation.max(node.incarnation)
    });
    let has_left = draft.state.volatile.left.get(id) == Some(&hello.incarnation);
    if has_left {
        let message = format!("incarnation {} of node `{id}` has left", hello.incarnation);
        return Err(Fault::conflict("fenced", message));
    }
    if hello.incarnation < newest {
        let message = format!(
            "incarnation {newest} of node `{id}` has fenced {}",
            hello.incarnation
        );
        return Err(Fault::conflict("fenced", message));
    }
    if hello.incarnation > newest {
        // Its token was given to another incarnation.
        let message = format!(
            "incarnation {} of node `{id}` has no token; the newest one known is {newest}",
            hello.incarnation
        );
        return Err(Fault::conflict("incarnationUnknown", message));
    }
    let same_run = known_run.filter(|run| run.incarnation == hello.incarnation);
    let before = NodeRun {
        incarnation: hello.incarnation,
        template: hello.template,
        configuration_id: hello.configuration_id,
        status: same_run.map_or(NodeStatus::Starting, |run| run.status),
        reason: None,
        status_since: same_run.map_or(draft.now.0, |run| run.status_since),
        started: same_run.map_or(draft.now.0, |run| run.started),
        explanation: same_run.and_then(|run| run.explanation.clone()),
        joined: Some(NodeJoined {
            address: hello.address,
            roles: hello.roles,
            modules: hello.modules,
            endpoints: hello.endpoints,
            processes: Vec::new(),
            containment: hello.containment,
        }),
    };
    let run = reported(before, hello.report, draft.now);
    node_event(draft, node, &run);
    draft.put(Change::NodePut(NodeRow {
        incarnation: hello.incarnation,
        container_type: hello.container_type,
        runtime: hello.runtime,
        last_template: Some(run.template.clone()),
        run: Some(run),
        ..node.clone()
    }));
    Ok(())
}
