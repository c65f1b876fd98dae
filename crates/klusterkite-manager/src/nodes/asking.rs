//! Launchers that ask what they should be.

use std::time::Duration;

use klusterkite_core::plan::assignment::{Answer, Ask, Taken, WaitCode, assign, wait_among};
use klusterkite_core::plan::rollout::{NodeStatus, Running, speaks_against};
use klusterkite_core::time::Timestamp;
use klusterkite_store::Change;
use klusterkite_store::rows::{ClientRow, NodeRow, NodeRun, OrderRow, OrderState};
use klusterkite_wire::start::{CrashReport, ProgressReport, StartConfiguration, StartRequest};
use klusterkite_wire::{Incarnation, NodeId, Secret};

use super::identity::{allowed_container_type, proves_history, proves_identity};
use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::lease::Lease;
use crate::secrets::{hash, random_number, random_secret};
use crate::state::{Draft, WaitingContainer};

/// A container that waits is forgotten when it has not asked for this many of its waits.
const WAITS_UNTIL_FORGOTTEN: u32 = 3;

/// It is not forgotten earlier, however often it should ask: a bad line may hold up a question for seconds.
const FORGOTTEN_AFTER_MIN: Duration = Duration::from_secs(15);

impl Cluster {
    /// Answers a launcher: what it should be, or that it has to wait.
    pub async fn node_configuration(
        &self,
        client: &ClientRow,
        request: StartRequest,
    ) -> Result<StartConfiguration, Fault> {
        allowed_container_type(client, &request.container_type)?;
        let (token, draw) = (random_secret(), random_number());
        let actor = format!("client:{}", client.id);
        // Waiting is an answer too: it is remembered by the same decision.
        let answer = self
            .transact_together(|draft| match start(draft, &request, &token, draw, &actor) {
                Err(Fault::Wait {
                    code,
                    message,
                    retry_after,
                }) => {
                    ran_before(draft, &request, &actor);
                    if code != WaitCode::Cordoned.as_str() {
                        waits(draft, &request, &message, retry_after);
                    }
                    Ok(Err(Fault::Wait {
                        code,
                        message,
                        retry_after,
                    }))
                }
                answer => answer.map(Ok),
            })
            .await?;
        self.nudge();
        answer
    }

    /// Renews the assignment of a node whose packages load.
    pub async fn node_progress(&self, id: NodeId, report: ProgressReport) -> Result<(), Fault> {
        let now = self.now();
        self.note(|state| {
            let node = state
                .nodes
                .get(&id)
                .ok_or_else(|| Fault::not_found("node", &id))?;
            proves_identity(node, &report.node_secret)?;
            if node
                .run
                .as_ref()
                .is_some_and(|run| run.status == NodeStatus::Assigned)
            {
                state.volatile.leases.insert(id, Lease::until(now));
            }
            Ok(())
        })
        .await
    }
}

/// Remembers a container that got nothing: it is spare capacity.
fn waits(draft: &mut Draft<'_>, request: &StartRequest, why: &str, retry_after: Duration) {
    let id = request.node_id.clone();
    let waiting = WaitingContainer {
        container_type: request.container_type.clone(),
        runtime: request.runtime.clone(),
        why: why.to_owned(),
        until: draft.now + (retry_after * WAITS_UNTIL_FORGOTTEN).max(FORGOTTEN_AFTER_MIN),
    };
    draft.remember(move |volatile| {
        volatile.waiting.insert(id, waiting);
    });
}

/// Counts a node that came with the running migration and ended by itself before it was stable.
fn new_node_failed(draft: &mut Draft<'_>, request: &StartRequest) {
    let state = draft.state;
    let id = &request.node_id;
    let (Some(crash), Some(active), Some(_)) = (&request.crash, state.active(), &state.migration)
    else {
        return;
    };
    let run = state.nodes.get(id).and_then(|node| node.run.as_ref());
    let Some(run) = run.filter(|run| run.incarnation < request.incarnation) else {
        return;
    };
    let stop = state.orders.stop_of(id);
    let ended = Running {
        template: &run.template,
        status: run.status,
        status_since: Timestamp(run.status_since),
        leaves: stop.is_some_and(|stop| stop.order.incarnation == run.incarnation),
    };
    if speaks_against(active, run.configuration_id, ended, draft.now) {
        let reason = format!("node `{id}` ended by itself: {}", crash.exit);
        draft.gate_failed(&run.template, &reason);
    }
}

/// Tells how what ran before ended by itself, and counts that.
fn crashed(draft: &mut Draft<'_>, request: &StartRequest, actor: &str) -> Option<CrashReport> {
    new_node_failed(draft, request);
    let (id, crash) = (&request.node_id, request.crash.as_ref()?);
    let message = format!("node `{id}` ended by itself: {}", crash.exit);
    draft.event("nodeCrashed", actor, format!("node:{id}"), message);
    let state = draft.state;
    let ended = state.nodes.get(id).and_then(|node| {
        let run = node.run.as_ref().map(|run| &run.template);
        run.or(node.last_template.as_ref())
    });
    if let Some(template) = ended.cloned() {
        draft.remember(move |volatile| volatile.statistics.crashed(&template));
    }
    Some(crash.clone())
}

/// A launcher that asks has no node any more: what ran before is over, also when nothing follows it, and so
/// is the order that told it what to become.
fn ran_before(draft: &mut Draft<'_>, request: &StartRequest, actor: &str) {
    let stop = draft.state.orders.stop_of(&request.node_id);
    let stop = stop.filter(|stop| stop.order.incarnation < request.incarnation);
    if let Some(order) = stop.map(|stop| stop.order.clone()) {
        let state = OrderState::Done;
        draft.put(Change::OrderPut(OrderRow { state, ..order }));
    }
    let Some(node) = draft.state.nodes.get(&request.node_id) else {
        return;
    };
    let is_over = |run: &NodeRun| run.incarnation < request.incarnation;
    if !node.run.as_ref().is_some_and(is_over) {
        return;
    }
    let crash = crashed(draft, request, actor);
    draft.put(Change::NodePut(NodeRow {
        run: None,
        last_crash: crash.or_else(|| node.last_crash.clone()),
        ..node.clone()
    }));
    let id = request.node_id.clone();
    draft.remember(move |volatile| volatile.forget(&id));
}

/// Decides what a launcher should be.
fn start(
    draft: &mut Draft<'_>,
    request: &StartRequest,
    token: &Secret,
    draw: u64,
    actor: &str,
) -> Result<StartConfiguration, Fault> {
    let state = draft.state;
    let known = state.nodes.get(&request.node_id);
    if let Some(node) = known {
        proves_identity(node, &request.node_secret)?;
        proves_history(node, request.incarnation, request.last_incarnation)?;
    }
    let release = state.active().ok_or_else(no_active)?;
    let drains = state.requests.get(&request.node_id);
    let ask = Ask {
        node_id: request.node_id.clone(),
        container_type: request.container_type.clone(),
        runtime: request.runtime.clone(),
        // What an operator drains gets no new work, also when it stopped by itself before it was told to.
        cordoned: known.is_some_and(|node| node.cordoned)
            || drains.is_some_and(|request| request.drain),
        draw,
    };
    let taken = Taken {
        surge: state.volatile.surge.clone(),
        migrating: state.migration.is_some(),
        ..state.occupancy.beside(&request.node_id)
    };
    let (template, why) = match assign(release, &ask, &taken) {
        Answer::Start { template, why } => (template, why),
        Answer::Wait {
            code,
            retry_after,
            why,
        } => {
            return Err(Fault::Wait {
                code: code.as_str(),
                message: why.sentence,
                retry_after: wait_among(retry_after, state.volatile.waiting.len()),
            });
        }
    };
    let mut configuration = release
        .start_configuration(&template, &request.runtime, draw)
        .expect("assign only chooses templates with packages for the runtime");
    configuration.node_token = Some(token.clone());
    let id = &request.node_id;
    let crash = crashed(draft, request, actor);
    let message = format!("container `{id}` becomes `{template}`: {}", why.sentence);
    draft.event("nodeAssigned", actor, format!("node:{id}"), message);
    let run = NodeRun {
        incarnation: request.incarnation,
        template: template.clone(),
        configuration_id: release.id,
        status: NodeStatus::Assigned,
        reason: None,
        status_since: draft.now.0,
        started: draft.now.0,
        explanation: Some(why),
        joined: None,
    };
    draft.put(Change::NodePut(NodeRow {
        id: id.clone(),
        secret_hash: hash(&request.node_secret),
        token_hash: Some(hash(token)),
        incarnation: known.map_or(Incarnation(0), |node| node.incarnation),
        container_type: request.container_type.clone(),
        runtime: request.runtime.clone(),
        run: Some(run),
        cordoned: false,
        last_template: Some(template),
        last_crash: crash.or_else(|| known.and_then(|node| node.last_crash.clone())),
    }));
    let (id, incarnation) = (id.clone(), request.incarnation);
    draft.remember(move |volatile| {
        volatile.waiting.remove(&id);
        volatile.fence(&id, incarnation);
    });
    Ok(configuration)
}

fn no_active() -> Fault {
    Fault::Unavailable {
        code: "noActiveConfiguration",
        message: "no configuration is Active; seed the database first".to_owned(),
    }
}
