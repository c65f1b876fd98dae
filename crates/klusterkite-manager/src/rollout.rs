//! The loop: look at leases, plan, write, act.
//!
//! The same path serves start, retry and the return of the leader: nothing remembers what happened,
//! everything is computed from the state.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use klusterkite_core::plan::rollout::{
    Act, Gate, Node, NodeStatus, Outcome, Request, RequestKind, RolloutInput, RolloutPlan,
    StopOrder, StopReason, Target, WaitingContainer, rollout,
};
use klusterkite_core::reason::{ReasonCode, Refusal, Waiting};
use klusterkite_core::time::Timestamp;
use klusterkite_store::Change;
use klusterkite_store::rows::{
    GateRow, MigrationRow, NodeRow, NodeRun, OrderRow, OrderRowKind, OrderState,
};
use klusterkite_wire::link::{Member, Members};
use klusterkite_wire::{NodeId, OrderId, TemplateCode};

use crate::cluster::Cluster;
use crate::fault::{Fault, chain};
use crate::nodes::{gate_failure, order_message};
use crate::progress;
use crate::state::{Draft, State};

/// The loop runs at least this often: leases and stability are noticed no later.
const TICK: Duration = Duration::from_millis(250);

/// A prefetch that failed is tried again after this time.
const PREFETCH_RETRY: Duration = Duration::from_secs(10);

/// At least so many nodes have to vanish at once to be a mass failure.
const MASS_FAILURE_MIN: usize = 3;

/// A mass failure holds voluntary acts as long as it is this recent.
const MASS_FAILURE_HOLD: Duration = Duration::from_mins(1);

impl Cluster {
    /// Runs the loop until the store says that another manager leads, or fails for good.
    pub async fn lead(&self) -> Result<(), Fault> {
        self.take_over().await?;
        let mut said = String::new();
        loop {
            match self.tick().await {
                Err(Fault::Store(error @ klusterkite_store::Error::Fenced { .. })) => {
                    return Err(error.into());
                }
                Err(fault) => {
                    // Said once: on a full disk it would come back four times a second.
                    let failed = chain(&fault);
                    if failed != said {
                        tracing::error!("the loop cannot go on now: {failed}");
                        said = failed;
                    }
                }
                Ok(()) if said.is_empty() => {}
                Ok(()) => {
                    tracing::info!("the loop goes on");
                    said.clear();
                }
            }
            // Either wakes it; a nudge that came meanwhile is not lost.
            let _ = tokio::time::timeout(TICK, self.nudged()).await;
        }
    }

    /// Starts to lead: whatever ran before this manager is unconfirmed until it speaks.
    async fn take_over(&self) -> Result<(), Fault> {
        let (now, lease) = (self.now(), self.config().failover_lease);
        self.remember(|state| {
            let runs = |node: &&NodeRow| {
                node.run
                    .as_ref()
                    .is_some_and(|run| run.status != NodeStatus::Assigned)
            };
            let unconfirmed = state
                .nodes
                .values()
                .filter(runs)
                .map(|node| node.id.clone());
            state.volatile.unconfirmed = unconfirmed.collect();
            state.volatile.unconfirmed_until = now + lease;
            state.volatile.progress_at = now;
            state.volatile.recheck = true;
        })
        .await;
        self.own_node_put().await?;
        if let Some(own) = &self.config().own {
            let id = own.id.clone();
            self.remember(|state| state.volatile.unconfirmed.remove(&id))
                .await;
        }
        Ok(())
    }

    async fn tick(&self) -> Result<(), Fault> {
        self.leases_end().await?;
        let now = self.now();
        self.remember(|state| {
            let held = state
                .migration
                .as_ref()
                .is_some_and(|migration| migration.state == "paused");
            progress::count(state, now, held);
        })
        .await;
        let (plan, orders) = self.plan_and_write().await?;
        // Clients hear that a node leaves before the node does.
        self.publish(plan).await;
        self.send_orders(&orders).await;
        self.migration_step().await
    }

    /// Writes down which nodes were lost, and which assignments came to nothing.
    async fn leases_end(&self) -> Result<(), Fault> {
        let config = self.config().clone();
        let lost = self
            .transact(|draft| {
                let (state, now) = (draft.state, draft.now);
                let mut lost = Vec::new();
                for node in state.nodes.values() {
                    let Some(run) = &node.run else { continue };
                    match lease_of(state, &node.id, run, now, &config) {
                        Lease::Valid => {}
                        Lease::Lost => {
                            lost.push(node.id.clone());
                            unreachable(draft, node, run);
                        }
                        Lease::Gone(why) => gone(draft, node, run, why),
                    }
                }
                forget_prefetches(draft);
                Ok(lost)
            })
            .await?;
        let now = self.now();
        self.remember(|state| {
            let volatile = &mut state.volatile;
            for id in lost {
                volatile.leases.remove(&id);
                volatile.unconfirmed.remove(&id);
                volatile.losses.push(now);
            }
            if volatile.unconfirmed_until <= now {
                volatile.unconfirmed.clear();
            }
            volatile
                .losses
                .retain(|at| now.since(*at) < MASS_FAILURE_HOLD);
            volatile.waiting.retain(|_, waiting| waiting.until > now);
        })
        .await;
        Ok(())
    }

    /// Plans on the state and commits what the plan does; the orders are to be sent.
    async fn plan_and_write(&self) -> Result<(Option<RolloutPlan>, Vec<OrderId>), Fault> {
        let mass_failure_part = self.config().mass_failure_part;
        self.transact(|draft| {
            let Some(active) = draft.state.active() else {
                return Ok((None, Vec::new()));
            };
            let facts = Facts::collect(draft.state, draft.now, mass_failure_part);
            let plan = rollout(&facts.input(draft.state, active, draft.now));
            progress::write(draft, &progress::stable(draft.state, &plan.acts));
            let orders = plan
                .acts
                .iter()
                .filter_map(|act| write(draft, act))
                .collect();
            Ok((Some(plan), orders))
        })
        .await
    }

    async fn send_orders(&self, orders: &[OrderId]) {
        let state = self.read().await;
        for order in orders.iter().filter_map(|id| state.orders.get(id)) {
            let Some(session) = state.volatile.sessions.get(&order.node_id) else {
                continue;
            };
            if session.incarnation != order.incarnation {
                continue;
            }
            if let Some(message) = order_message(&state, order, self.epoch()) {
                // A full or closed queue: the order is in the store and is sent after the next hello.
                let _ = session.sender.try_send(message);
            }
        }
    }

    /// Keeps what the plan said for those who ask, and tells the members.
    async fn publish(&self, plan: Option<RolloutPlan>) {
        let now = self.now();
        let members = self
            .remember(|state| {
                if let Some(plan) = plan {
                    for template in progress::stable(state, &plan.acts) {
                        state.volatile.progress.remove(&template);
                    }
                    let mut waiting_on = plan.waiting;
                    waiting_on.extend(prefetch_failures(state, now));
                    state.volatile.waiting_on = waiting_on;
                    state.volatile.surge = plan.surge;
                    let sentences = plan
                        .obsolete
                        .into_iter()
                        .map(|(id, why)| (id, why.to_string()));
                    state.volatile.obsolete = sentences.collect();
                }
                members_of(state)
            })
            .await;
        let shown = self.members().borrow().clone();
        if shown.members != members || shown.version == 0 {
            let version = self.now().0.max(shown.version + 1);
            self.members_publish(Members { version, members });
        }
    }
}

/// What a lease says about a node.
enum Lease {
    Valid,
    Lost,
    Gone(&'static str),
}

fn lease_of(
    state: &State,
    id: &NodeId,
    run: &NodeRun,
    now: Timestamp,
    config: &crate::config::Config,
) -> Lease {
    let volatile = &state.volatile;
    let since = Timestamp(run.status_since);
    match run.status {
        NodeStatus::Assigned => {
            let renewed = volatile.leases.get(id).copied().unwrap_or(since).max(since);
            let replaces = state
                .orders
                .values()
                .any(|order| order.node_id == *id && order.state.is_open());
            if replaces || now.since(renewed) < config.join_timeout {
                Lease::Valid
            } else {
                Lease::Gone("it did not join in time")
            }
        }
        NodeStatus::Unreachable if now.since(since) < config.evict_after => Lease::Valid,
        NodeStatus::Unreachable => Lease::Gone("it was unreachable for too long"),
        _ if volatile.unconfirmed.contains(id) => {
            if now < volatile.unconfirmed_until {
                Lease::Valid
            } else {
                Lease::Lost
            }
        }
        _ => match volatile.leases.get(id) {
            Some(end) if now < *end => Lease::Valid,
            // Its token was given, its link is not there yet.
            None if now.since(since) < config.failover_lease => Lease::Valid,
            Some(_) | None => Lease::Lost,
        },
    }
}

/// Closes the prefetches of runs that have ended: the next plan orders what the next run needs.
fn forget_prefetches(draft: &mut Draft<'_>) {
    let state = draft.state;
    for order in state.orders.values().filter(|order| order.state.is_open()) {
        let run = state
            .nodes
            .get(&order.node_id)
            .and_then(|node| node.run.as_ref());
        let runs = run.is_some_and(|run| run.incarnation == order.incarnation);
        if matches!(order.kind, OrderRowKind::Prefetch { .. }) && !runs {
            let reason = "the node ended before it had fetched the packages".to_owned();
            draft.put(Change::OrderPut(OrderRow {
                state: OrderState::Failed { reason },
                ..order.clone()
            }));
        }
    }
}

fn unreachable(draft: &mut Draft<'_>, node: &NodeRow, run: &NodeRun) {
    let message = format!(
        "node `{}` of template `{}` does not answer any more",
        node.id, run.template
    );
    draft.event(
        "nodeUnreachable",
        "manager",
        format!("node:{}", node.id),
        message,
    );
    let run = NodeRun {
        status: NodeStatus::Unreachable,
        status_since: draft.now.0,
        reason: Some("its lease ended".to_owned()),
        ..run.clone()
    };
    draft.put(Change::NodePut(NodeRow {
        run: Some(run),
        ..node.clone()
    }));
}

fn gone(draft: &mut Draft<'_>, node: &NodeRow, run: &NodeRun, why: &str) {
    let message = format!(
        "node `{}` of template `{}` is gone: {why}",
        node.id, run.template
    );
    draft.event("nodeGone", "manager", format!("node:{}", node.id), message);
    draft.put(Change::NodePut(NodeRow {
        run: None,
        ..node.clone()
    }));
}

/// What the planner looks at, as owned values.
struct Facts {
    nodes: Vec<Node>,
    requests: BTreeMap<NodeId, Request>,
    waiting: Vec<WaitingContainer>,
    gates: BTreeMap<TemplateCode, Gate>,
    holds: Vec<Waiting>,
    deadlines: BTreeMap<TemplateCode, Duration>,
}

impl Facts {
    fn collect(state: &State, now: Timestamp, mass_failure_part: f64) -> Self {
        let nodes = state
            .nodes
            .values()
            .filter_map(|row| node(state, row))
            .collect();
        let requests = state.requests.values().map(|row| {
            let kind = if row.drain {
                RequestKind::Drain
            } else {
                RequestKind::Restart
            };
            (
                row.node_id.clone(),
                Request {
                    kind,
                    force: row.force,
                },
            )
        });
        let waiting = state
            .volatile
            .waiting
            .iter()
            .map(|(id, waiting)| WaitingContainer {
                node_id: id.clone(),
                container_type: waiting.container_type.clone(),
                runtime: waiting.runtime.clone(),
            });
        let gates = state.gates.values().map(|row| {
            (
                row.template.clone(),
                Gate {
                    failed: row.failed,
                    reason: row.reason.clone(),
                },
            )
        });
        Self {
            nodes,
            requests: requests.collect(),
            waiting: waiting.collect(),
            gates: gates.collect(),
            holds: holds(state, now, mass_failure_part),
            deadlines: state.volatile.progress.clone(),
        }
    }

    fn input<'a>(
        &'a self,
        state: &'a State,
        active: &'a klusterkite_core::release::Release,
        now: Timestamp,
    ) -> RolloutInput<'a> {
        let other = state.migration.as_ref().and_then(|migration| {
            let other = if migration.from == active.id {
                migration.to
            } else {
                migration.from
            };
            state.releases.get(&other)
        });
        RolloutInput {
            now,
            active,
            other,
            releases: &state.releases,
            nodes: &self.nodes,
            requests: &self.requests,
            waiting: &self.waiting,
            gates: &self.gates,
            paused: state.migration.as_ref().and_then(paused),
            holds: &self.holds,
            resource_moving: state.volatile.busy.as_ref().is_some_and(|busy| busy.moves),
            deadlines: &self.deadlines,
        }
    }
}

/// Returns why a migration holds the update of nodes.
fn paused(migration: &MigrationRow) -> Option<Refusal> {
    if migration.state != "paused" {
        return None;
    }
    let given = migration.reason.clone();
    Some(
        given.unwrap_or_else(|| {
            Refusal::new(ReasonCode::Paused, "an operator paused the migration")
        }),
    )
}

/// Collects what forbids every voluntary act.
fn holds(state: &State, now: Timestamp, mass_failure_part: f64) -> Vec<Waiting> {
    let mut holds = Vec::new();
    let volatile = &state.volatile;
    if !volatile.unconfirmed.is_empty() {
        let message = format!(
            "nodes that have not spoken since this manager started: {}; they have {} s left",
            volatile.unconfirmed.len(),
            volatile.unconfirmed_until.since(now).as_secs()
        );
        holds.push(Waiting::new(ReasonCode::Unconfirmed, message));
    }
    let running = state
        .nodes
        .values()
        .filter(|node| node.run.is_some())
        .count();
    let lost = volatile.losses.len();
    if lost >= MASS_FAILURE_MIN && lost as f64 > running as f64 * mass_failure_part {
        let message = format!(
            "{lost} of {running} nodes vanished within {} s: nothing is stopped until they are back or given up",
            MASS_FAILURE_HOLD.as_secs()
        );
        holds.push(Waiting::new(ReasonCode::MassFailure, message));
    }
    holds
}

/// Returns a node as the planner sees it.
pub(crate) fn node(state: &State, row: &NodeRow) -> Option<Node> {
    let run = row.run.as_ref()?;
    let orders = || {
        state
            .orders
            .values()
            .filter(|order| order.node_id == row.id)
    };
    let prefetched = orders()
        .filter(|order| order.incarnation == run.incarnation && order.state == OrderState::Done);
    let mut prefetched = prefetched.filter_map(|order| match &order.kind {
        OrderRowKind::Prefetch { target } => Some(target.clone()),
        OrderRowKind::Stop { .. } => None,
    });
    let stop = orders()
        .filter(|order| order.state.is_open())
        .find_map(|order| match &order.kind {
            OrderRowKind::Stop { reason, target } => Some(StopOrder {
                order_id: order.id,
                incarnation: order.incarnation,
                reason: *reason,
                target: target.clone(),
                ordered: Timestamp(order.ordered),
            }),
            OrderRowKind::Prefetch { .. } => None,
        });
    Some(Node {
        id: row.id.clone(),
        incarnation: run.incarnation,
        container_type: row.container_type.clone(),
        runtime: row.runtime.clone(),
        template: run.template.clone(),
        configuration_id: run.configuration_id,
        status: shown_status(state, &row.id, run),
        status_since: Timestamp(run.status_since),
        started: Timestamp(run.started),
        cordoned: row.cordoned,
        prefetched: prefetched.next_back(),
        stop,
    })
}

/// Returns the status of a node: what it said last, unless this manager has not heard of it yet.
pub(crate) fn shown_status(state: &State, id: &NodeId, run: &NodeRun) -> NodeStatus {
    let unconfirmed = state.volatile.unconfirmed.contains(id);
    if unconfirmed {
        NodeStatus::Unconfirmed
    } else {
        run.status
    }
}

/// Writes down one act; returns the order that is to be sent.
fn write(draft: &mut Draft<'_>, act: &Act) -> Option<OrderId> {
    match act {
        Act::Prefetch { node, target } => write_prefetch(draft, node, target),
        Act::Stop {
            node,
            reason,
            target,
        } => write_stop(draft, node, *reason, target.as_ref()),
        Act::CloseOrder {
            node,
            order_id,
            outcome,
        } => {
            write_close(draft, node, *order_id, *outcome);
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
    let under_way = state.orders.values().any(|order| {
        let same =
            matches!(&order.kind, OrderRowKind::Prefetch { target: other } if other == target);
        same && order.node_id == *id && order.incarnation == incarnation && order.state.is_open()
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
) -> Option<OrderId> {
    let state = draft.state;
    let row = state.nodes.get(id)?;
    let run = row.run.as_ref()?;
    let why = crate::views::text_of(reason);
    let message = match target {
        Some(target) => format!(
            "node `{id}` of template `{}` is told to stop ({why}) and to become `{}` of configuration {}",
            run.template, target.template, target.configuration_id
        ),
        None => format!(
            "node `{id}` of template `{}` is told to stop ({why})",
            run.template
        ),
    };
    draft.event("nodeStopOrdered", "manager", format!("node:{id}"), message);
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
    };
    Some(write_order(draft, id, run.incarnation, kind))
}

fn write_order(
    draft: &mut Draft<'_>,
    id: &NodeId,
    incarnation: klusterkite_wire::Incarnation,
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

fn write_close(draft: &mut Draft<'_>, id: &NodeId, order_id: OrderId, outcome: Outcome) {
    let Some(order) = draft.state.orders.get(&order_id) else {
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
    if outcome != Outcome::GivenUp {
        return;
    }
    let OrderRowKind::Stop {
        target: Some(target),
        ..
    } = &order.kind
    else {
        return;
    };
    let reason = format!(
        "node `{id}` did not become stable as `{}` in time",
        target.template
    );
    gate_failure(draft, &target.template, &reason);
    draft.event("nodeGivenUp", "manager", format!("node:{id}"), reason);
}

/// Pauses the update: a migration remembers it, and so does the template's gate.
fn write_pause(draft: &mut Draft<'_>, template: &TemplateCode, reason: &Refusal) {
    if let Some(migration) = draft.state.migration.clone() {
        if migration.state == "paused" {
            return;
        }
        let (state, id) = ("paused".to_owned(), migration.id);
        let row = MigrationRow {
            state,
            reason: Some(reason.clone()),
            ..migration
        };
        draft.put(Change::MigrationPut(row));
        crate::migrations::log(draft, id, "paused", &reason.message);
        draft.event(
            "migrationPaused",
            "manager",
            format!("migration:{id}"),
            &reason.message,
        );
        return;
    }
    let known = draft.state.gates.get(template);
    if known.is_some_and(|gate| gate.reason.is_some()) {
        return;
    }
    draft.put(Change::GatePut(GateRow {
        template: template.clone(),
        failed: known.map_or(0, |gate| gate.failed),
        reason: Some(reason.message.clone()),
        progress_left_ms: known.and_then(|gate| gate.progress_left_ms),
    }));
    draft.event(
        "updatePaused",
        "manager",
        format!("template:{template}"),
        &reason.message,
    );
}

/// Says which nodes could not fetch what they become.
fn prefetch_failures(state: &mut State, now: Timestamp) -> Vec<Waiting> {
    let obsolete: BTreeSet<NodeId> = state.nodes.keys().cloned().collect();
    let failures = &mut state.volatile.prefetch_failures;
    failures.retain(|id, (at, _)| obsolete.contains(id) && now.since(*at) < PREFETCH_RETRY * 2);
    let waiting = failures.iter().map(|(id, (_, reason))| {
        let message =
            format!("node `{id}` cannot fetch its next packages and tries again: {reason}");
        Waiting::new(ReasonCode::Prefetching, message).with("node", id)
    });
    waiting.collect()
}

/// Lists the nodes that serve: ready, and not told to stop.
fn members_of(state: &State) -> Vec<Member> {
    let stopping = |row: &NodeRow, run: &NodeRun| {
        state.orders.values().any(|order| {
            order.node_id == row.id
                && order.incarnation == run.incarnation
                && order.state.is_open()
                && matches!(order.kind, OrderRowKind::Stop { .. })
        })
    };
    let member = |row: &NodeRow| {
        let run = row
            .run
            .as_ref()
            .filter(|run| run.status == NodeStatus::Ready)?;
        let joined = run.joined.as_ref().filter(|_| !stopping(row, run))?;
        Some(Member {
            node_id: row.id.clone(),
            template: run.template.clone(),
            roles: joined.roles.clone(),
            address: joined.address.clone(),
            endpoints: joined.endpoints.clone(),
        })
    };
    state.nodes.values().filter_map(member).collect()
}
