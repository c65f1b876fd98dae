//! What the manager has written down: it outlives every crash.

use std::collections::{BTreeMap, BTreeSet};

use klusterkite_core::configuration::ConfigurationState;
use klusterkite_core::plan::migration::{Course, Ended};
use klusterkite_core::plan::resources::Side;
use klusterkite_core::plan::rollout::{
    Node, NodeStatus, RequestKind, StopOrder, StopReason, Target,
};
use klusterkite_core::reason::Refusal;
use klusterkite_core::time::Timestamp;
use klusterkite_wire::{
    ConfigurationId, ContainerType, Incarnation, NodeId, OrderId, Runtime, TemplateCode,
};

#[derive(Debug, Clone, Default)]
pub(super) struct Store {
    pub(super) configurations: BTreeMap<ConfigurationId, ConfigurationRow>,
    pub(super) nodes: BTreeMap<NodeId, NodeRow>,
    pub(super) orders: BTreeMap<OrderId, OrderRow>,
    /// The same orders by their nodes.
    orders_by_node: BTreeMap<NodeId, BTreeSet<OrderId>>,
    pub(super) requests: BTreeMap<NodeId, RequestRow>,
    pub(super) gates: BTreeMap<TemplateCode, GateRow>,
    pub(super) migration: Option<MigrationRow>,
    /// How the last migration ended.
    pub(super) ended: Option<Ended>,
    pub(super) last_order: i64,
    pub(super) last_migration: i64,
    /// Number of the last line about a move: the fence of executors.
    pub(super) last_journal: i64,
    pub(super) epoch: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct ConfigurationRow {
    pub(super) state: ConfigurationState,
    /// The cluster left it at least once.
    pub(super) was_left: bool,
    pub(super) is_stable: bool,
}

#[derive(Debug, Clone)]
pub(super) struct NodeRow {
    pub(super) incarnation: Incarnation,
    pub(super) container_type: ContainerType,
    pub(super) runtime: Runtime,
    pub(super) run: Option<RunRow>,
    pub(super) cordoned: bool,
    pub(super) last_template: Option<TemplateCode>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RunRow {
    pub(super) incarnation: Incarnation,
    pub(super) target: Target,
    pub(super) status: NodeStatus,
    pub(super) status_since: Timestamp,
    pub(super) started: Timestamp,
}

#[derive(Debug, Clone)]
pub(super) struct OrderRow {
    pub(super) id: OrderId,
    pub(super) node: NodeId,
    pub(super) incarnation: Incarnation,
    pub(super) kind: OrderKind,
    pub(super) ordered: Timestamp,
    pub(super) state: OrderState,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum OrderKind {
    Prefetch(Target),
    Stop {
        reason: StopReason,
        target: Option<Target>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum OrderState {
    Open,
    Done,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct RequestRow {
    pub(super) kind: RequestKind,
    pub(super) force: bool,
    pub(super) incarnation: Incarnation,
}

#[derive(Debug, Clone, Default)]
pub(super) struct GateRow {
    pub(super) failed: u32,
    pub(super) reason: Option<String>,
    pub(super) progress_left: Option<std::time::Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Phase {
    Preparing,
    Ready,
    Paused,
}

#[derive(Debug, Clone)]
pub(super) struct MigrationRow {
    pub(super) from: ConfigurationId,
    pub(super) to: ConfigurationId,
    pub(super) phase: Phase,
    pub(super) automatic: bool,
    pub(super) rollback_on_failure: bool,
    pub(super) goal: Side,
    pub(super) reason: Option<Refusal>,
}

impl MigrationRow {
    pub(super) fn course(&self) -> Course<'_> {
        Course {
            automatic: self.automatic,
            preparing: self.phase == Phase::Preparing,
            paused: self.phase == Phase::Paused,
            failure: self.reason.as_ref(),
            rollback_on_failure: self.rollback_on_failure,
            goal: self.goal,
        }
    }

    pub(super) fn end(&self, side: Side) -> ConfigurationId {
        match side {
            Side::Source => self.from,
            Side::Destination => self.to,
        }
    }
}

impl Store {
    pub(super) fn active(&self) -> Option<ConfigurationId> {
        let mut active = self
            .configurations
            .iter()
            .filter(|(_, row)| row.state == ConfigurationState::Active);
        active.next().map(|(id, _)| *id)
    }

    /// Returns the end of the migration that is Active.
    pub(super) fn active_side(&self) -> Option<Side> {
        let migration = self.migration.as_ref()?;
        Some(if self.active() == Some(migration.to) {
            Side::Destination
        } else {
            Side::Source
        })
    }

    pub(super) fn open_orders(&self) -> impl Iterator<Item = &OrderRow> {
        self.orders
            .values()
            .filter(|order| order.state == OrderState::Open)
    }

    /// Returns the orders of a node, oldest first.
    pub(super) fn orders_of(&self, id: &NodeId) -> impl Iterator<Item = &OrderRow> {
        let orders = self.orders_by_node.get(id).into_iter().flatten();
        orders.filter_map(|id| self.orders.get(id))
    }

    /// Returns the open stop order of a node.
    pub(super) fn stop_of(&self, id: &NodeId) -> Option<(&OrderRow, StopReason, Option<&Target>)> {
        let mut open = self
            .orders_of(id)
            .filter(|order| order.state == OrderState::Open);
        open.find_map(|order| match &order.kind {
            OrderKind::Stop { reason, target } => Some((order, *reason, target.as_ref())),
            OrderKind::Prefetch(_) => None,
        })
    }

    /// Tells whether a node was told to stop and is still the one that was told.
    pub(super) fn leaves(&self, id: &NodeId, run: &RunRow) -> bool {
        self.stop_of(id)
            .is_some_and(|(order, _, _)| order.incarnation == run.incarnation)
    }

    pub(super) fn order_put(&mut self, id: &NodeId, kind: OrderKind, now: Timestamp) -> OrderId {
        self.last_order += 1;
        let order_id = OrderId(self.last_order);
        let of_node = self.orders_by_node.entry(id.clone()).or_default();
        of_node.insert(order_id);
        let run = self.nodes.get(id).and_then(|node| node.run.as_ref());
        self.orders.insert(
            order_id,
            OrderRow {
                id: order_id,
                node: id.clone(),
                incarnation: run.map_or(Incarnation(0), |run| run.incarnation),
                kind,
                ordered: now,
                state: OrderState::Open,
            },
        );
        order_id
    }

    /// Ends an order. A done prefetch is remembered as long as the node that did it runs.
    pub(super) fn order_end(&mut self, id: OrderId, done: bool) {
        let Some(order) = self.orders.get_mut(&id) else {
            return;
        };
        if done && matches!(order.kind, OrderKind::Prefetch(_)) {
            order.state = OrderState::Done;
        } else if let Some(order) = self.orders.remove(&id)
            && let Some(of_node) = self.orders_by_node.get_mut(&order.node)
        {
            of_node.remove(&id);
        }
    }

    /// Forgets what was done by runs that have ended.
    pub(super) fn orders_tidy(&mut self) {
        let (nodes, by_node) = (&self.nodes, &mut self.orders_by_node);
        self.orders.retain(|id, order| {
            let run = nodes.get(&order.node).and_then(|node| node.run.as_ref());
            let is_kept = order.state == OrderState::Open
                || run.is_some_and(|run| run.incarnation == order.incarnation);
            if !is_kept && let Some(of_node) = by_node.get_mut(&order.node) {
                of_node.remove(id);
            }
            is_kept
        });
    }

    pub(super) fn gate_failed(&mut self, template: &TemplateCode, reason: String) {
        let gate = self.gates.entry(template.clone()).or_default();
        gate.failed += 1;
        gate.reason = Some(reason);
    }

    /// Returns a node as the planner sees it.
    pub(super) fn node(&self, id: &NodeId, row: &NodeRow, unconfirmed: bool) -> Option<Node> {
        let run = row.run.as_ref()?;
        let prefetched = self.orders_of(id).filter_map(|order| match &order.kind {
            OrderKind::Prefetch(target)
                if order.incarnation == run.incarnation && order.state == OrderState::Done =>
            {
                Some(target.clone())
            }
            _ => None,
        });
        let stop = self.stop_of(id).map(|(order, reason, target)| StopOrder {
            order_id: order.id,
            incarnation: order.incarnation,
            reason,
            target: target.cloned(),
            ordered: order.ordered,
        });
        Some(Node {
            id: id.clone(),
            incarnation: run.incarnation,
            container_type: row.container_type.clone(),
            runtime: row.runtime.clone(),
            template: run.target.template.clone(),
            configuration_id: run.target.configuration_id,
            status: if unconfirmed {
                NodeStatus::Unconfirmed
            } else {
                run.status
            },
            status_since: run.status_since,
            started: run.started,
            cordoned: row.cordoned,
            prefetched: prefetched.last(),
            stop,
        })
    }
}
