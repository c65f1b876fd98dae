//! Launchers that ask, nodes that join, report and leave.

use std::collections::BTreeMap;

use klusterkite_core::plan::assignment::{Answer, Ask, Held, WaitCode, assign};
use klusterkite_core::plan::rollout::{NodeStatus, StopReason, Target};
use klusterkite_core::time::Timestamp;
use klusterkite_store::Change;
use klusterkite_store::rows::{
    ClientRow, GateRow, NodeJoined, NodeRow, NodeRun, OrderRow, OrderRowKind, OrderState,
};
use klusterkite_wire::link::{AckState, Hello, ManagerMessage, NodeReport, ReportedStatus};
use klusterkite_wire::start::{
    NodeTokenAnswer, NodeTokenRequest, ProgressReport, StartConfiguration, StartFailure,
    StartRequest,
};
use klusterkite_wire::{ContainerType, Incarnation, NodeId, OrderId, Secret, TemplateCode};

use crate::cluster::Cluster;
use crate::config::OwnNode;
use crate::fault::Fault;
use crate::secrets::{hash, random_secret, same};
use crate::state::{Draft, Session, State, WaitingContainer};

/// A container that waits is forgotten when it has not asked for this many of its waits.
const WAITS_UNTIL_FORGOTTEN: u32 = 3;

impl Cluster {
    /// Answers a launcher: what it should be, or that it has to wait.
    pub async fn node_configuration(
        &self,
        client: &ClientRow,
        request: StartRequest,
    ) -> Result<StartConfiguration, Fault> {
        allowed_container_type(client, &request.container_type)?;
        let token = random_secret();
        let draw = crate::secrets::random_number();
        let (actor, id) = (format!("client:{}", client.id), request.node_id.clone());
        let waiting = WaitingContainer {
            container_type: request.container_type.clone(),
            runtime: request.runtime.clone(),
            until: self.now(),
        };
        let answered = self
            .transact(|draft| start(draft, request, &token, draw, &actor))
            .await;
        self.remember(|state| match &answered {
            Err(Fault::Wait {
                retry_after, code, ..
            }) if *code != "cordoned" => {
                let until = waiting.until + *retry_after * WAITS_UNTIL_FORGOTTEN;
                state
                    .volatile
                    .waiting
                    .insert(id.clone(), WaitingContainer { until, ..waiting });
            }
            _ => {
                state.volatile.waiting.remove(&id);
            }
        })
        .await;
        if answered.is_ok() {
            self.fence(&id).await;
        }
        self.nudge();
        answered
    }

    /// Gives a token to a node that started without asking, and takes the report of a failed start.
    pub async fn node_token(
        &self,
        client: &ClientRow,
        id: NodeId,
        request: NodeTokenRequest,
    ) -> Result<NodeTokenAnswer, Fault> {
        allowed_container_type(client, &request.container_type)?;
        let token = random_secret();
        self.transact(|draft| adopt(draft, id.clone(), request, &token))
            .await?;
        self.fence(&id).await;
        Ok(NodeTokenAnswer { node_token: token })
    }

    /// Renews the assignment of a node whose packages load.
    pub async fn node_progress(&self, id: NodeId, report: ProgressReport) -> Result<(), Fault> {
        let now = self.now();
        self.remember(|state| {
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
                state.volatile.leases.insert(id, now);
            }
            Ok(())
        })
        .await
    }

    /// Closes the link of an incarnation that is not the newest one any more.
    async fn fence(&self, id: &NodeId) {
        let old = self
            .remember(|state| {
                let newest = state.nodes.get(id)?.run.as_ref()?.incarnation;
                let session = state.volatile.sessions.get(id)?;
                let is_old = session.incarnation < newest;
                if is_old {
                    state.volatile.sessions.remove(id)
                } else {
                    None
                }
            })
            .await;
        if let Some(session) = old {
            // A full or closed queue: the socket is as good as gone, and its next words find no session.
            let _ = session.sender.try_send(ManagerMessage::Fenced);
        }
    }

    /// Counts the manager's own node from its start, before it says `hello`.
    pub(crate) async fn own_node_put(&self) -> Result<(), Fault> {
        let Some(own) = self.config().own.clone() else {
            return Ok(());
        };
        self.transact(|draft| {
            let row = own_row(draft, &own);
            draft.put(Change::NodePut(row));
            Ok(())
        })
        .await
    }

    /// Takes the `hello` of a node whose token was good. Returns the messages that it gets first.
    pub(crate) async fn node_hello(
        &self,
        id: &NodeId,
        hello: Hello,
        session: Session,
    ) -> Result<Vec<ManagerMessage>, Fault> {
        let incarnation = hello.incarnation;
        let last_order = hello.last_order_id;
        self.transact(|draft| join(draft, id, hello)).await?;
        let (now, epoch) = (self.now(), self.epoch());
        let config = self.config().clone();
        let messages = self
            .remember(|state| {
                let lease = lease_seconds(state, config.lease_minimum.as_secs() as u32);
                let volatile = &mut state.volatile;
                volatile.sessions.insert(id.clone(), session);
                volatile.unconfirmed.remove(id);
                volatile.leases.insert(id.clone(), lease_end(now, lease));
                let heartbeat_seconds = (lease / 3).max(1);
                let welcome = ManagerMessage::Welcome {
                    lease_seconds: lease,
                    heartbeat_seconds,
                    epoch,
                };
                let mut messages = vec![welcome];
                messages.extend(open_orders(state, id, incarnation, last_order, epoch));
                messages
            })
            .await;
        self.nudge();
        Ok(messages)
    }

    /// Renews a lease. Returns its life in seconds, or `None` when the session is not the node's any more.
    pub(crate) async fn node_heartbeat(
        &self,
        id: &NodeId,
        incarnation: Incarnation,
    ) -> Option<u32> {
        let now = self.now();
        let minimum = self.config().lease_minimum.as_secs() as u32;
        let (lease, came_back) = self
            .remember(|state| {
                let session = state.volatile.sessions.get(id)?;
                if session.incarnation != incarnation {
                    return None;
                }
                let lease = lease_seconds(state, minimum);
                state
                    .volatile
                    .leases
                    .insert(id.clone(), lease_end(now, lease));
                let run = state.nodes.get(id)?.run.as_ref()?;
                Some((lease, run.status == NodeStatus::Unreachable))
            })
            .await?;
        // An unreachable node that speaks again has to introduce itself again: its state is unknown.
        (!came_back).then_some(lease)
    }

    /// Takes a report of a node about itself.
    pub(crate) async fn node_report(
        &self,
        id: &NodeId,
        incarnation: Incarnation,
        report: NodeReport,
    ) -> Result<(), Fault> {
        self.transact(|draft| {
            let Some((node, run)) = running(draft.state, id, incarnation) else {
                return Ok(());
            };
            let now = draft.now;
            let run = reported(run.clone(), report, now);
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
        let failure = self
            .transact(|draft| {
                let Some(order) = draft.state.orders.get(&order_id) else {
                    return Ok(None);
                };
                if order.node_id != *id || !order.state.is_open() {
                    return Ok(None);
                }
                acknowledge(draft, order, ack, reason)
            })
            .await?;
        if let Some(reason) = failure {
            let now = self.now();
            let node = id.clone();
            self.remember(|state| state.volatile.prefetch_failures.insert(node, (now, reason)))
                .await;
        }
        Ok(())
    }

    /// Takes the clean leave of a node.
    pub(crate) async fn node_bye(
        &self,
        id: &NodeId,
        incarnation: Incarnation,
        reason: &str,
    ) -> Result<(), Fault> {
        self.transact(|draft| {
            if let Some((node, run)) = running(draft.state, id, incarnation) {
                let next = told_next(draft.state, id, incarnation);
                let next = next.map(|target| expected(run, target.clone(), draft.now));
                draft.put(Change::NodePut(NodeRow {
                    run: next,
                    ..node.clone()
                }));
                let message = format!("node `{id}` of template `{}` left: {reason}", run.template);
                draft.event("nodeLeft", "manager", format!("node:{id}"), message);
            }
            Ok(())
        })
        .await?;
        self.remember(|state| {
            state.volatile.leases.remove(id);
            state.volatile.sessions.remove(id);
        })
        .await;
        Ok(())
    }

    /// Forgets a link that ended; the lease decides about the node.
    pub(crate) async fn node_disconnected(&self, id: &NodeId, incarnation: Incarnation) {
        self.remember(|state| {
            if state.volatile.sessions.get(id).is_some_and(|session| {
                session.incarnation == incarnation && session.sender.is_closed()
            }) {
                state.volatile.sessions.remove(id);
            }
        })
        .await;
    }
}

/// Returns the life of a lease: at most a thousand heartbeats per second over all nodes.
fn lease_seconds(state: &State, minimum: u32) -> u32 {
    minimum.max(state.volatile.sessions.len() as u32 / 1000)
}

fn lease_end(now: Timestamp, seconds: u32) -> Timestamp {
    Timestamp(now.0 + u64::from(seconds) * 1000)
}

fn allowed_container_type(client: &ClientRow, container_type: &ContainerType) -> Result<(), Fault> {
    if client.container_types.contains(container_type) {
        return Ok(());
    }
    Err(Fault::Denied {
        code: "containerTypeNotAllowed",
        message: format!(
            "client `{}` may not ask for containers of type `{container_type}`",
            client.id
        ),
    })
}

fn proves_identity(node: &NodeRow, secret: &Secret) -> Result<(), Fault> {
    // The row of the manager's own node is made before its launcher has spoken.
    if node.secret_hash.is_empty() || same(&node.secret_hash, &hash(secret)) {
        return Ok(());
    }
    let message = format!(
        "node id `{}` came with another secret first; give this container a `node-id` and `node-secret` of its own",
        node.id
    );
    Err(Fault::conflict("nodeIdInUse", message))
}

/// Refuses a cloned disk: it does not know the last incarnation of the original.
fn proves_history(
    node: &NodeRow,
    incarnation: Incarnation,
    last: Option<Incarnation>,
) -> Result<(), Fault> {
    let known = node.incarnation;
    if incarnation >= known && last.is_none_or(|last| last >= known) {
        return Ok(());
    }
    let message = format!(
        "node id `{}` has already run incarnation {known}; this container knows only {}: is its disk a copy?",
        node.id,
        last.unwrap_or(incarnation)
    );
    Err(Fault::conflict("nodeIdInUse", message))
}

/// Decides what a launcher should be.
fn start(
    draft: &mut Draft<'_>,
    request: StartRequest,
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
    let ask = Ask {
        node_id: request.node_id.clone(),
        container_type: request.container_type.clone(),
        runtime: request.runtime.clone(),
        cordoned: known.is_some_and(|node| node.cordoned),
        draw,
    };
    let (template, why) = match assign(release, &ask, &held(state, &request.node_id)) {
        Answer::Start { template, why } => (template, why),
        Answer::Wait {
            code,
            retry_after,
            why,
        } => {
            return Err(Fault::Wait {
                code: wait_code(code),
                message: why.sentence,
                retry_after,
            });
        }
    };
    let mut configuration = release
        .start_configuration(&template, &request.runtime, draw)
        .expect("assign only chooses templates with packages for the runtime");
    configuration.node_token = Some(token.clone());
    let id = &request.node_id;
    if let Some(crash) = &request.crash {
        let message = format!("node `{id}` ended by itself: {}", crash.exit);
        draft.event("nodeCrashed", actor, format!("node:{id}"), message);
    }
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
        id: request.node_id,
        secret_hash: hash(&request.node_secret),
        token_hash: Some(hash(token)),
        incarnation: known.map_or(Incarnation(0), |node| node.incarnation),
        container_type: request.container_type,
        runtime: request.runtime,
        run: Some(run),
        cordoned: false,
        last_template: Some(template),
        last_crash: request
            .crash
            .or_else(|| known.and_then(|node| node.last_crash.clone())),
    }));
    Ok(configuration)
}

/// Takes in a node that started without asking.
fn adopt(
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
    if let Some(failure) = &request.failure {
        start_failed(draft, &id, failure);
    }
    let same_run = known
        .and_then(|node| node.run.clone())
        .filter(|run| run.incarnation == request.incarnation);
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
        id,
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
    Ok(())
}

/// Closes the order of a `next` that did not become ready and counts it in the failure gate.
fn start_failed(draft: &mut Draft<'_>, id: &NodeId, failure: &StartFailure) {
    let state = draft.state;
    let message = format!(
        "node `{id}` went back: `{}` of configuration {} did not become ready: {}",
        failure.node_template, failure.configuration_id, failure.reason
    );
    let failed = Target {
        template: failure.node_template.clone(),
        configuration_id: failure.configuration_id,
    };
    let orders = state
        .orders
        .values()
        .filter(|order| order.node_id == *id && order.state.is_open());
    for order in orders {
        if matches!(&order.kind, OrderRowKind::Stop { target: Some(target), .. } if *target == failed)
        {
            let state = OrderState::Failed {
                reason: failure.reason.clone(),
            };
            draft.put(Change::OrderPut(OrderRow {
                state,
                ..order.clone()
            }));
        }
    }
    gate_failure(draft, &failure.node_template, &message);
    draft.event("nodeStartFailed", "manager", format!("node:{id}"), message);
}

/// Counts a failed start of a template.
pub(crate) fn gate_failure(draft: &mut Draft<'_>, template: &TemplateCode, reason: &str) {
    let before = draft.state.gates.get(template);
    draft.put(Change::GatePut(GateRow {
        template: template.clone(),
        failed: before.map_or(0, |gate| gate.failed) + 1,
        reason: Some(reason.to_owned()),
        progress_left_ms: before.and_then(|gate| gate.progress_left_ms),
    }));
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
    if hello.incarnation < newest {
        let message = format!(
            "incarnation {newest} of node `{id}` has fenced {}",
            hello.incarnation
        );
        return Err(Fault::conflict("fenced", message));
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

/// Returns a run with what its node reported.
fn reported(mut run: NodeRun, report: NodeReport, now: Timestamp) -> NodeRun {
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
fn node_event(draft: &mut Draft<'_>, node: &NodeRow, run: &NodeRun) {
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

/// Returns what a node was told to become after this incarnation.
fn told_next<'a>(state: &'a State, id: &NodeId, incarnation: Incarnation) -> Option<&'a Target> {
    let mut orders = state.orders.values().filter(|order| {
        order.node_id == *id && order.incarnation == incarnation && order.state.is_open()
    });
    orders.find_map(|order| match &order.kind {
        OrderRowKind::Stop { target, .. } => target.as_ref(),
        OrderRowKind::Prefetch { .. } => None,
    })
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

/// Returns a node and its run, when this incarnation is the one that runs.
fn running<'a>(
    state: &'a State,
    id: &NodeId,
    incarnation: Incarnation,
) -> Option<(&'a NodeRow, &'a NodeRun)> {
    let node = state.nodes.get(id)?;
    let run = node
        .run
        .as_ref()
        .filter(|run| run.incarnation == incarnation)?;
    Some((node, run))
}

/// Writes down what became of an order; returns why a prefetch failed.
fn acknowledge(
    draft: &mut Draft<'_>,
    order: &OrderRow,
    ack: AckState,
    reason: Option<String>,
) -> Result<Option<String>, Fault> {
    let is_prefetch = matches!(order.kind, OrderRowKind::Prefetch { .. });
    let state = match ack {
        AckState::Accepted => OrderState::Accepted,
        // The order of a stop stays open until the replacement is stable.
        AckState::Done if !is_prefetch => OrderState::Accepted,
        AckState::Done => OrderState::Done,
        AckState::Refused => {
            let reason = reason.unwrap_or_else(|| "the node gave no reason".to_owned());
            OrderState::Failed { reason }
        }
    };
    let failure = match &state {
        OrderState::Failed { reason } => {
            let what = if is_prefetch {
                "fetch packages"
            } else {
                "stop"
            };
            let message = format!("node `{}` refused to {what}: {reason}", order.node_id);
            draft.event(
                "orderRefused",
                "manager",
                format!("node:{}", order.node_id),
                message.clone(),
            );
            if let OrderRowKind::Stop {
                target: Some(target),
                ..
            } = &order.kind
            {
                gate_failure(draft, &target.template, &message);
            }
            is_prefetch.then(|| reason.clone())
        }
        _ => None,
    };
    if order.state != state {
        draft.put(Change::OrderPut(OrderRow {
            state,
            ..order.clone()
        }));
    }
    Ok(failure)
}

/// Returns the orders that a node has to hear again after it connected.
fn open_orders(
    state: &State,
    id: &NodeId,
    incarnation: Incarnation,
    last: Option<OrderId>,
    epoch: klusterkite_wire::LeaderEpoch,
) -> Vec<ManagerMessage> {
    let mine = state.orders.values().filter(|order| {
        order.node_id == *id && order.incarnation == incarnation && order.state.is_open()
    });
    // What the node carries out already it is told again too: it answers again and does it once.
    let _ = last;
    mine.filter_map(|order| order_message(state, order, epoch))
        .collect()
}

/// Makes the message of an order; `None` when its target has no packages for the node's runtime.
pub(crate) fn order_message(
    state: &State,
    order: &OrderRow,
    epoch: klusterkite_wire::LeaderEpoch,
) -> Option<ManagerMessage> {
    use klusterkite_wire::link::{Order, OrderKind};
    let node = state.nodes.get(&order.node_id)?;
    let (kind, target, reason) = match &order.kind {
        OrderRowKind::Prefetch { target } => (
            OrderKind::Prefetch,
            Some(target),
            "packages of what comes next".to_owned(),
        ),
        OrderRowKind::Stop { reason, target } => (
            OrderKind::Stop,
            target.as_ref(),
            stop_sentence(*reason).to_owned(),
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
        deadline_seconds: ORDER_DEADLINE_SECONDS,
        next,
    };
    Some(ManagerMessage::Order(Box::new(order)))
}

/// Seconds within which a node carries out an order: the longest drain and grace that a manifest may ask for fit.
const ORDER_DEADLINE_SECONDS: u32 = 300;

fn stop_sentence(reason: StopReason) -> &'static str {
    match reason {
        StopReason::Update => "the node does not fit the Active configuration",
        StopReason::Restart => "an operator asked for a restart",
        StopReason::Drain => "an operator drains the container",
        StopReason::Surplus => "the template has more nodes than its maximum",
        StopReason::Redistribution => "another template needs the container",
        StopReason::TemplateRemoved => "the Active configuration has no such template",
    }
}

/// Collects what counts when a template is chosen for `asking`.
fn held(state: &State, asking: &NodeId) -> Held {
    let mut holders = BTreeMap::new();
    let mut reserved = BTreeMap::new();
    for (id, node) in &state.nodes {
        let incarnation = node
            .run
            .as_ref()
            .map_or(node.incarnation, |run| run.incarnation);
        let ordered = told_next(state, id, incarnation).map(|target| &target.template);
        if let Some(template) = ordered {
            reserved.insert(id.clone(), template.clone());
        } else if let Some(template) = persistent(state, node) {
            reserved.insert(id.clone(), template.clone());
        }
        if id == asking {
            continue;
        }
        // A node that was told to become something counts there, also while nothing of it runs.
        let holds = ordered.or_else(|| node.run.as_ref().map(|run| &run.template));
        if let Some(template) = holds {
            holders.insert(id.clone(), template.clone());
        }
    }
    let surge = state.volatile.surge.clone();
    Held {
        holders,
        reserved,
        surge,
        migrating: state.migration.is_some(),
    }
}

/// Returns the persistent template that a node id had.
fn persistent<'a>(state: &'a State, node: &'a NodeRow) -> Option<&'a TemplateCode> {
    let template = node.last_template.as_ref()?;
    let persistent = state.active()?.node_templates.get(template)?.persistent;
    persistent.then_some(template)
}

fn wait_code(code: WaitCode) -> &'static str {
    match code {
        WaitCode::ClusterFull => "clusterFull",
        WaitCode::NoTemplateForContainer => "noTemplateForContainer",
        WaitCode::Cordoned => "cordoned",
    }
}

fn no_active() -> Fault {
    Fault::Unavailable {
        code: "noActiveConfiguration",
        message: "no configuration is Active; seed the database first".to_owned(),
    }
}
