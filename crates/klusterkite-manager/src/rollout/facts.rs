//! What the planner looks at.

use std::collections::BTreeMap;
use std::time::Duration;

use klusterkite_core::plan::leases::{self, Census, MASS_FAILURE_HOLD};
use klusterkite_core::plan::migration::holds_nodes;
use klusterkite_core::plan::resources::Side;
use klusterkite_core::plan::rollout::{
    Gate, Node, NodeStatus, Request, RequestKind, RolloutInput, StopOrder, WaitingContainer,
};
use klusterkite_core::reason::{Refusal, Waiting};
use klusterkite_core::release::Release;
use klusterkite_core::time::Timestamp;
use klusterkite_store::rows::{NodeRow, OrderRowKind, OrderState};
use klusterkite_wire::{NodeId, TemplateCode};

use crate::migrations::course;
use crate::state::State;

/// What the planner looks at, as owned values.
pub(super) struct Facts {
    nodes: Vec<Node>,
    requests: BTreeMap<NodeId, Request>,
    waiting: Vec<WaitingContainer>,
    gates: BTreeMap<TemplateCode, Gate>,
    holds: Vec<Waiting>,
    deadlines: BTreeMap<TemplateCode, Duration>,
}

impl Facts {
    pub(super) fn collect(state: &State, now: Timestamp, mass_failure_part: f64) -> Self {
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
            waiting: waiting(state),
            gates: gates.collect(),
            holds: holds(state, now, mass_failure_part),
            deadlines: state.volatile.progress.clone(),
        }
    }

    pub(super) fn input<'a>(
        &'a self,
        state: &'a State,
        active: &'a Release,
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
            paused: paused(state),
            holds: &self.holds,
            resource_moving: state.volatile.busy.as_ref().is_some_and(|busy| busy.moves),
            deadlines: &self.deadlines,
        }
    }
}

/// Returns why a migration holds the update of nodes.
pub(super) fn paused(state: &State) -> Option<Refusal> {
    let migration = state.migration.as_ref()?;
    let active = if state.active_id() == Some(migration.to) {
        Side::Destination
    } else {
        Side::Source
    };
    holds_nodes(course(migration), active)
}

/// Collects what forbids every voluntary act.
pub(super) fn holds(state: &State, now: Timestamp, mass_failure_part: f64) -> Vec<Waiting> {
    let volatile = &state.volatile;
    let running = state.nodes.values().filter(|node| node.run.is_some());
    let lost = volatile.losses.values();
    let lost = lost.filter(|at| now.since(**at) < MASS_FAILURE_HOLD);
    let census = Census {
        running: running.count(),
        unconfirmed: volatile.unconfirmed.len(),
        unconfirmed_until: volatile.unconfirmed_until,
        lost: lost.count(),
        mass_failure_part,
    };
    leases::holds(&census, now)
}

/// Returns the containers that wait, as the planner sees them.
pub(crate) fn waiting(state: &State) -> Vec<WaitingContainer> {
    let waiting = state.volatile.waiting.iter();
    let seen = waiting.map(|(id, waiting)| WaitingContainer {
        node_id: id.clone(),
        container_type: waiting.container_type.clone(),
        runtime: waiting.runtime.clone(),
    });
    seen.collect()
}

/// Returns a node as the planner sees it.
pub(crate) fn node(state: &State, row: &NodeRow) -> Option<Node> {
    let run = row.run.as_ref()?;
    let done = state
        .orders
        .of(&row.id)
        .filter(|order| order.incarnation == run.incarnation && order.state == OrderState::Done);
    let prefetched = done.filter_map(|order| match &order.kind {
        OrderRowKind::Prefetch { target } => Some(target.clone()),
        OrderRowKind::Stop { .. } => None,
    });
    let stop = state.orders.stop_of(&row.id).map(|stop| StopOrder {
        order_id: stop.order.id,
        incarnation: stop.order.incarnation,
        reason: stop.reason,
        target: stop.target.cloned(),
        ordered: Timestamp(stop.order.ordered),
    });
    Some(Node {
        id: row.id.clone(),
        incarnation: run.incarnation,
        container_type: row.container_type.clone(),
        runtime: row.runtime.clone(),
        template: run.template.clone(),
        configuration_id: run.configuration_id,
        status: shown_status(state, &row.id, run.status),
        status_since: Timestamp(run.status_since),
        started: Timestamp(run.started),
        cordoned: row.cordoned,
        prefetched: prefetched.last(),
        stop,
    })
}

/// Returns the status of a node: what it said last, unless this manager has not heard of it yet.
pub(crate) fn shown_status(state: &State, id: &NodeId, said: NodeStatus) -> NodeStatus {
    if state.volatile.unconfirmed.contains(id) {
        NodeStatus::Unconfirmed
    } else {
        said
    }
}
