//! The loop: look at leases, plan, write, act.
//!
//! The same path serves start, retry and the return of the leader: nothing remembers what happened,
//! everything is computed from the state.

mod acts;
mod facts;
mod leases;
mod sweep;

pub(crate) use facts::{node, shown_status, waiting};

use std::time::{Duration, Instant};

use klusterkite_core::plan::rollout::{NodeStatus, RolloutPlan, lint, rollout};
use klusterkite_core::reason::{ReasonCode, Waiting};
use klusterkite_core::time::Timestamp;
use klusterkite_store::Error;
use klusterkite_wire::link::{Member, Members};
use klusterkite_wire::{LeaderEpoch, OrderId, chain};

use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::lease::Lease;
use crate::nodes::order_message;
use crate::progress;
use crate::state::State;
use acts::{PREFETCH_RETRY, write};
use facts::{Facts, holds, paused};

/// The loop runs at least this often: stability is noticed no later.
const TICK: Duration = Duration::from_millis(250);

impl Cluster {
    /// Runs the loop until the store says that another manager leads, or fails for good.
    pub async fn lead(&self) -> Result<(), Fault> {
        self.take_over().await?;
        let (mut said, mut pace) = (String::new(), Pace::Calm);
        loop {
            let started = Instant::now();
            match self.tick().await {
                Err(Fault::Store(error)) if matches!(*error, Error::Fenced { .. }) => {
                    return Err(Fault::Store(error));
                }
                Err(fault) => {
                    // Said once: on a full disk it would come back four times a second.
                    let failed = chain(&fault);
                    if failed != said {
                        tracing::error!("the loop cannot go on now: {failed}");
                        said = failed;
                    }
                }
                Ok(goes_on) => {
                    pace = goes_on;
                    if !said.is_empty() {
                        tracing::info!("the loop goes on");
                        said.clear();
                    }
                }
            }
            tokio::time::sleep((started.elapsed() * pace.rest_times()).min(TICK)).await;
            // Either wakes it; a nudge that came meanwhile is not lost.
            let _ = tokio::time::timeout(TICK, self.nudged()).await;
        }
    }

    /// Starts to lead: whatever ran before this manager is unconfirmed until it speaks.
    async fn take_over(&self) -> Result<(), Fault> {
        let (now, lease) = (self.now(), self.config().failover_lease);
        self.remember(|state| {
            let State {
                nodes, volatile, ..
            } = state;
            for node in nodes.values() {
                match &node.run {
                    // What it has left of its time is not stored: it gets all of it again.
                    Some(run) if run.status == NodeStatus::Assigned => {
                        volatile.leases.insert(node.id.clone(), Lease::until(now));
                    }
                    Some(_) => {
                        volatile.unconfirmed.insert(node.id.clone());
                    }
                    None => {}
                }
            }
            volatile.unconfirmed_until = now + lease;
            volatile.progress_at = now;
            volatile.statistics.begin(now);
            volatile.recheck = true;
        })
        .await;
        self.own_node_put().await
    }

    /// Does what is due; tells at which pace the loop goes on.
    ///
    /// Every look at the state may wait for a commit of somebody else, so there are few of them.
    async fn tick(&self) -> Result<Pace, Fault> {
        let mut due = self.look().await;
        if due.leases {
            self.leases_end().await?;
            due = self.look().await;
        }
        if due.orders {
            self.orders_end().await?;
            due = self.look().await;
        }
        if due.sweep {
            self.sweep().await?;
        }
        if due.plan {
            let (plan, orders) = self.plan_and_write().await?;
            due.replaces |= !orders.is_empty();
            self.publish_and_send(plan, &orders).await;
        }
        self.migration_step().await?;
        Ok(if due.replaces {
            Pace::Quick
        } else {
            Pace::Calm
        })
    }

    /// Looks at what is due, and counts the time of updates.
    async fn look(&self) -> Due {
        let (now, mass_failure_part) = (self.now(), self.config().mass_failure_part);
        self.note(|state| {
            self.links_counted(state.volatile.sessions.len());
            let is_settled = state.volatile.settled == Some(state.revision);
            if !is_settled {
                let held =
                    paused(state).is_some() || !holds(state, now, mass_failure_part).is_empty();
                progress::count(state, now, held);
            }
            Due {
                leases: now >= state.volatile.leases_at,
                orders: leases::is_any_over(state, now),
                sweep: now >= state.volatile.sweep_at,
                plan: !is_settled,
                replaces: state.migration.is_some() || state.orders.open().next().is_some(),
            }
        })
        .await
    }

    /// Plans on the state and commits what the plan does; the orders are to be sent.
    async fn plan_and_write(&self) -> Result<(Option<Planned>, Vec<OrderId>), Fault> {
        let mass_failure_part = self.config().mass_failure_part;
        self.transact(|draft| {
            let Some(active) = draft.state.active() else {
                return Ok((None, Vec::new()));
            };
            let facts = Facts::collect(draft.state, draft.now, mass_failure_part);
            let input = facts.input(draft.state, active, draft.now);
            let mut plan = rollout(&input);
            if !plan.acts.is_empty() {
                let contradictions = lint(&input, &plan);
                if !contradictions.is_empty() {
                    tracing::error!(?contradictions, acts = ?plan.acts, "a plan is not carried out, it breaks an invariant: report this");
                    plan.acts.clear();
                }
            }
            progress::write(draft, &progress::stable(draft.state, &plan.acts));
            let orders = plan
                .acts
                .iter()
                .filter_map(|act| write(draft, &plan, act))
                .collect();
            let revision = draft.state.revision;
            Ok((Some(Planned { revision, plan }), orders))
        })
        .await
    }

    /// Keeps what the plan said for those who ask, tells the members, and sends the orders.
    async fn publish_and_send(&self, planned: Option<Planned>, orders: &[OrderId]) {
        self.note(|state| {
            let now = self.now();
            keep(state, planned, now);
            // Clients hear that a node leaves before the node does.
            self.members_tell(members_of(state), now);
            send(state, orders, self.epoch());
        })
        .await;
    }

    fn members_tell(&self, members: Vec<Member>, now: Timestamp) {
        let version = {
            let watched = self.members();
            let shown = watched.borrow();
            let is_new = shown.members != members || shown.version == 0;
            is_new.then(|| now.0.max(shown.version + 1))
        };
        if let Some(version) = version {
            self.members_publish(Members { version, members });
        }
    }
}

/// Keeps what the plan said for those who ask.
fn keep(state: &mut State, planned: Option<Planned>, now: Timestamp) {
    let Some(Planned { revision, plan }) = planned else {
        return;
    };
    for template in progress::stable(state, &plan.acts) {
        state.volatile.progress.remove(&template);
    }
    state.volatile.settled = is_settled(state, &plan).then_some(revision);
    state.volatile.published += 1;
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

/// Sends orders to the nodes that are there; the others get theirs after their next `hello`.
fn send(state: &mut State, orders: &[OrderId], epoch: LeaderEpoch) {
    for id in orders {
        let Some(order) = state.orders.get(*id) else {
            continue;
        };
        let (node, incarnation) = (order.node_id.clone(), order.incarnation);
        let Some(message) = order_message(state, order, epoch) else {
            continue;
        };
        let session = state.volatile.sessions.get(&node);
        let session = session.filter(|session| session.incarnation == incarnation);
        let message = Box::new(message);
        if session.is_some_and(|session| session.sender.try_send(message).is_err()) {
            // It does not read: without its session the link ends, and it hears the order when it is back.
            state.volatile.sessions.remove(&node);
        }
    }
}

/// What is due.
struct Due {
    leases: bool,
    orders: bool,
    sweep: bool,
    plan: bool,
    /// Nodes are being replaced: what each of them does lets others begin.
    replaces: bool,
}

/// How soon the loop works again when there is something to do.
#[derive(Clone, Copy)]
enum Pace {
    Calm,
    Quick,
}

impl Pace {
    /// Returns how many times as long as it worked the loop rests, a tick at most: what it decides on is held
    /// meanwhile.
    fn rest_times(self) -> u32 {
        match self {
            // Ten thousand nodes that come at once are one change to plan with, not as many.
            Self::Calm => 9,
            // Each node that is ready lets the next one stop: half of the time is theirs.
            Self::Quick => 1,
        }
    }
}

/// A plan, and of which state.
struct Planned {
    revision: u64,
    plan: RolloutPlan,
}

/// Tells whether the next plan on the same state is the same at whatever time: nobody is replaced, waited for or held.
fn is_settled(state: &State, plan: &RolloutPlan) -> bool {
    let RolloutPlan {
        acts,
        surge,
        obsolete,
        waiting,
    } = plan;
    let nothing_planned =
        acts.is_empty() && surge.is_empty() && obsolete.is_empty() && waiting.is_empty();
    nothing_planned
        && state.migration.is_none()
        && state.requests.is_empty()
        && state.orders.open().next().is_none()
        && state.volatile.progress.is_empty()
        && state.volatile.prefetch_failures.is_empty()
}

/// Says which nodes could not fetch what they become.
fn prefetch_failures(state: &mut State, now: Timestamp) -> Vec<Waiting> {
    let failures = &mut state.volatile.prefetch_failures;
    failures.retain(|_, (at, _)| now.since(*at) < PREFETCH_RETRY * 2);
    let waiting = failures.iter().map(|(id, (_, reason))| {
        let message =
            format!("node `{id}` cannot fetch its next packages and tries again: {reason}");
        Waiting::new(ReasonCode::Prefetching, message).with("node", id)
    });
    waiting.collect()
}

/// Lists the nodes that serve: ready, and not told to stop.
fn members_of(state: &State) -> Vec<Member> {
    let member = |row: &klusterkite_store::rows::NodeRow| {
        let run = row.run.as_ref()?;
        let joined = run.joined.as_ref()?;
        let stop = state.orders.stop_of(&row.id);
        let leaves = stop.is_some_and(|stop| stop.order.incarnation == run.incarnation);
        (run.status == NodeStatus::Ready && !leaves).then(|| Member {
            node_id: row.id.clone(),
            template: run.template.clone(),
            roles: joined.roles.clone(),
            address: joined.address.clone(),
            endpoints: joined.endpoints.clone(),
        })
    };
    state.nodes.values().filter_map(member).collect()
}
