//! Orders, by number and by node: the loop asks for the orders of every node on every round.

use std::collections::{BTreeMap, BTreeSet};

use klusterkite_core::plan::rollout::{StopReason, Target};
use klusterkite_store::rows::{OrderRow, OrderRowKind, OrderState};
use klusterkite_wire::{Incarnation, NodeId, OrderId};

/// Open orders, and done ones about incarnations that still run.
#[derive(Debug, Default)]
pub struct Orders {
    rows: BTreeMap<OrderId, OrderRow>,
    by_node: BTreeMap<NodeId, BTreeSet<OrderId>>,
}

/// The open stop order of a node.
#[derive(Debug, Clone, Copy)]
pub struct Stop<'a> {
    /// The order.
    pub order: &'a OrderRow,
    /// Why the node stops.
    pub reason: StopReason,
    /// What it becomes; `None`: its container asks again.
    pub target: Option<&'a Target>,
    /// The reason in words.
    pub why: Option<&'a str>,
}

impl Orders {
    /// Takes over what the store holds.
    pub fn from_rows(rows: Vec<OrderRow>) -> Self {
        let mut orders = Self::default();
        for row in rows {
            orders.insert(row);
        }
        orders
    }

    /// Returns an order.
    pub fn get(&self, id: OrderId) -> Option<&OrderRow> {
        self.rows.get(&id)
    }

    /// Returns all orders by number.
    pub fn iter(&self) -> impl Iterator<Item = &OrderRow> {
        self.rows.values()
    }

    /// Returns the open orders by number.
    pub fn open(&self) -> impl Iterator<Item = &OrderRow> {
        self.rows.values().filter(|order| order.state.is_open())
    }

    /// Returns the orders of a node by number.
    pub fn of<'a>(&'a self, node: &NodeId) -> impl Iterator<Item = &'a OrderRow> + use<'a> {
        let ids = self.by_node.get(node).into_iter().flatten();
        ids.filter_map(|id| self.rows.get(id))
    }

    /// Returns the open stop order of a node.
    pub fn stop_of<'a>(&'a self, node: &NodeId) -> Option<Stop<'a>> {
        let mut open = self.of(node).filter(|order| order.state.is_open());
        open.find_map(|order| match &order.kind {
            OrderRowKind::Stop {
                reason,
                target,
                why,
            } => Some(Stop {
                order,
                reason: *reason,
                target: target.as_ref(),
                why: why.as_deref(),
            }),
            OrderRowKind::Prefetch { .. } => None,
        })
    }

    /// Puts an order. Of its node only what is open stays, and what was done for the incarnation that runs.
    pub fn put(&mut self, row: OrderRow, running: Option<Incarnation>) {
        let node = row.node_id.clone();
        self.insert(row);
        let Some(ids) = self.by_node.get_mut(&node) else {
            return;
        };
        let rows = &mut self.rows;
        ids.retain(|id| {
            let stays = rows.get(id).is_some_and(|order| {
                let is_done = order.state == OrderState::Done;
                order.state.is_open() || (is_done && running == Some(order.incarnation))
            });
            if !stays {
                rows.remove(id);
            }
            stays
        });
        if ids.is_empty() {
            self.by_node.remove(&node);
        }
    }

    /// Forgets the orders of a node.
    pub fn forget(&mut self, node: &NodeId) {
        for id in self.by_node.remove(node).unwrap_or_default() {
            self.rows.remove(&id);
        }
    }

    fn insert(&mut self, row: OrderRow) {
        let ids = self.by_node.entry(row.node_id.clone()).or_default();
        ids.insert(row.id);
        self.rows.insert(row.id, row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefetch(id: i64, node: u8, state: OrderState) -> OrderRow {
        OrderRow {
            id: OrderId(id),
            node_id: NodeId::from_random_bytes([node; 16]),
            incarnation: Incarnation(1),
            kind: OrderRowKind::Prefetch {
                target: Target {
                    template: "worker".parse().expect("it is a code"),
                    configuration_id: klusterkite_wire::ConfigurationId(2),
                },
            },
            ordered: 0,
            state,
        }
    }

    fn numbers(orders: &Orders) -> Vec<i64> {
        orders.iter().map(|order| order.id.0).collect()
    }

    #[test]
    fn what_was_done_stays_as_long_as_the_incarnation_runs() {
        let mut orders = Orders::default();
        let running = Some(Incarnation(1));
        orders.put(prefetch(1, 1, OrderState::Done), running);
        orders.put(prefetch(2, 2, OrderState::Open), running);
        orders.put(prefetch(3, 1, OrderState::Open), running);
        assert_eq!(numbers(&orders), [1, 2, 3]);
        orders.put(prefetch(3, 1, OrderState::Open), Some(Incarnation(2)));
        assert_eq!(numbers(&orders), [2, 3]);
        let reason = "no".to_owned();
        orders.put(prefetch(3, 1, OrderState::Failed { reason }), running);
        assert_eq!(numbers(&orders), [2]);
        assert!(
            orders
                .of(&NodeId::from_random_bytes([1; 16]))
                .next()
                .is_none()
        );
    }

    #[test]
    fn a_forgotten_node_leaves_no_order() {
        let rows = vec![
            prefetch(1, 1, OrderState::Open),
            prefetch(2, 2, OrderState::Open),
        ];
        let mut orders = Orders::from_rows(rows);
        orders.forget(&NodeId::from_random_bytes([1; 16]));
        assert_eq!(numbers(&orders), [2]);
    }
}
