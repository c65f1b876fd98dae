//! When a stop order ends.

use std::time::Duration;

use klusterkite_core::plan::rollout::{Act, Node, NodeStatus, Outcome, StopOrder, StopReason};
use klusterkite_core::reason::ReasonCode;
use klusterkite_wire::{ConfigurationId, Incarnation, OrderId};

use crate::world::{NOW, World, stopped, waits, web};

fn update(nodes: u32, minimum: u32, batch: &str) -> World {
    World::new(&[web("v1", minimum, batch)], &[web("v2", minimum, batch)]).nodes("web", nodes)
}

/// Gives a node an open order to become release 2.
fn ordered(node: &mut Node) {
    node.stop = Some(StopOrder {
        order_id: OrderId(7),
        incarnation: node.incarnation,
        reason: StopReason::Update,
        target: node.prefetched.clone(),
        ordered: NOW,
    });
}

/// The ordered node came back as release 2 and is ready since now.
fn replaced(node: &mut Node) {
    ordered(node);
    node.incarnation = Incarnation(2);
    node.configuration_id = ConfigurationId(2);
    node.status_since = NOW;
}

fn outcome(world: &World) -> Option<Outcome> {
    world.plan().acts.iter().find_map(|act| match act {
        Act::CloseOrder {
            outcome,
            order_id: OrderId(7),
            ..
        } => Some(*outcome),
        _ => None,
    })
}

#[test]
fn a_node_that_was_told_to_stop_does_not_count_as_ready_and_holds_its_place_in_the_batch() {
    let world = update(4, 2, "1").node(1, ordered);
    let plan = world.plan();
    assert_eq!(
        (stopped(&plan), waits(&plan)),
        (
            vec![],
            vec![ReasonCode::BatchInFlight, ReasonCode::Replacing]
        )
    );
    let tight = update(3, 2, "2").node(1, ordered);
    assert!(stopped(&tight.plan()).is_empty());
}

#[test]
fn b32_an_order_is_open_until_its_replacement_is_stable_however_long_that_takes() {
    let mut world = update(4, 2, "1").node(1, replaced);
    let plan = world.plan();
    assert!(stopped(&plan).is_empty());
    assert!(waits(&plan).contains(&ReasonCode::NotStable));
    world.now = NOW + Duration::from_secs(10);
    assert_eq!(outcome(&world), Some(Outcome::Stable));
    assert_eq!(stopped(&world.plan()), [2]);

    let mut slow = update(4, 2, "1")
        .node(1, ordered)
        .status(1, NodeStatus::Draining);
    slow.now = NOW + Duration::from_hours(10);
    assert_eq!(outcome(&slow), None);
}

#[test]
fn a_replacement_that_counts_as_ready_lets_others_of_a_larger_batch_go() {
    let world = update(4, 3, "2").node(1, replaced);
    assert_eq!(stopped(&world.plan()), [2]);
}

#[test]
fn a_node_that_went_back_to_its_previous_release_closes_its_order_as_given_up() {
    let back = |node: &mut Node| {
        replaced(node);
        node.configuration_id = ConfigurationId(1);
    };
    assert_eq!(
        outcome(&update(4, 2, "1").node(1, back)),
        Some(Outcome::GivenUp)
    );
}

#[test]
fn a_node_that_never_comes_back_is_given_up_after_the_progress_deadline() {
    let mut world = update(4, 2, "1")
        .node(1, ordered)
        .status(1, NodeStatus::Assigned);
    assert_eq!(outcome(&world), None);
    world.now = NOW + Duration::from_mins(10);
    assert_eq!(outcome(&world), Some(Outcome::GivenUp));
    world.holds = vec![klusterkite_core::reason::Waiting::new(
        ReasonCode::MassFailure,
        "held",
    )];
    assert_eq!(outcome(&world), None);
}

#[test]
fn an_order_without_a_successor_ends_when_the_node_is_gone() {
    let drained = |node: &mut Node| {
        ordered(node);
        node.stop.as_mut().unwrap().target = None;
    };
    let world = update(4, 2, "1").node(1, drained);
    assert_eq!(outcome(&world), None);
    let world = world.node(1, |node| node.incarnation = Incarnation(2));
    assert_eq!(outcome(&world), Some(Outcome::Gone));
}

#[test]
fn an_order_outlives_the_managers_restart_until_the_node_has_spoken() {
    let mut world = update(4, 2, "1")
        .node(1, replaced)
        .status(1, NodeStatus::Unconfirmed);
    world.now = NOW + Duration::from_hours(1);
    assert_eq!(outcome(&world), None);
}

#[test]
fn a_replacement_of_a_configuration_that_is_no_longer_wanted_still_closes_its_order() {
    let mut world = update(4, 2, "1").node(1, replaced);
    (world.active, world.other) = (world.other.unwrap(), Some(world.active));
    world.now = NOW + Duration::from_secs(10);
    assert_eq!(outcome(&world), Some(Outcome::Stable));
}
