//! Links and leases: what is lost, what comes back, what a restart of the manager leaves unconfirmed.

use std::time::Duration;

use klusterkite_wire::link::{ManagerMessage, NodeMessage, ReportedStatus};
use serde_json::Value;

use crate::fleet::{Container, cluster_state, events, led, other_text, ready, report, waits_for};
use crate::harness::{Server, eventually};

const LEASE: Duration = Duration::from_secs(1);

#[test]
fn a_node_whose_lease_ends_is_unreachable_and_then_gone() {
    let server = led(|_, config| {
        config.lease_minimum = LEASE;
        config.evict_after = LEASE;
    });
    let mut node = Container::new(&server, 1).started();
    node.vanish();
    node.eventually_is("unreachable");
    eventually("it is given up", || node.shown().is_null());
    assert_eq!(events(&server, "nodeUnreachable").len(), 1);
    assert_eq!(events(&server, "nodeGone").len(), 1);
}

#[test]
fn an_unreachable_node_that_comes_back_is_taken_in_again() {
    let server = led(|_, config| config.lease_minimum = LEASE);
    let mut node = Container::new(&server, 1).started();
    // It does not beat: its link ends with its lease.
    node.eventually_is("unreachable");
    while node.hear().is_some() {}
    node.connect(ReportedStatus::Ready);
    node.eventually_is("ready");
    assert!(events(&server, "nodeGone").is_empty());
}

#[test]
fn a_link_that_breaks_is_not_a_death() {
    let server = led(|_, _| {});
    let mut node = Container::new(&server, 1).started();
    node.vanish();
    node.connect(ReportedStatus::Ready);
    assert!(node.beats());
    assert!(events(&server, "nodeUnreachable").is_empty());
}

#[test]
fn the_answer_to_a_heartbeat_says_that_what_came_before_is_stored() {
    let server = led(|_, _| {});
    let mut node = Container::new(&server, 1).started();
    for _ in 0..20 {
        for (status, shown) in [
            (ReportedStatus::Draining, "draining"),
            (ReportedStatus::Ready, "ready"),
        ] {
            node.say(&NodeMessage::Status(report(status)));
            assert!(node.beats());
            assert_eq!(node.shown()["status"], shown);
        }
    }
}

#[test]
fn of_two_links_of_one_incarnation_the_newer_one_counts() {
    let server = led(|_, _| {});
    let mut node = Container::new(&server, 1).started();
    let mut again = Container::new(&server, 1);
    (again.incarnation, again.start) = (node.incarnation, node.start.clone());
    again.connect(ReportedStatus::Ready);
    assert_eq!(node.hear(), None, "the older link is closed");
    assert!(again.beats());
}

#[test]
fn a_newer_incarnation_fences_the_older_one_at_once() {
    let server = led(|_, _| {});
    let mut node = Container::new(&server, 1).started();
    let mut newer = Container::new(&server, 1);
    newer.incarnation = node.incarnation;
    newer.ask().done();
    assert_eq!(node.hear(), Some(ManagerMessage::Fenced));
    assert_eq!(node.hear(), None);
    assert_eq!(newer.shown()["status"], "assigned");
}

#[test]
fn a_node_cannot_say_that_it_is_an_incarnation_that_was_given_no_token() {
    let server = led(|_, _| {});
    let mut node = Container::new(&server, 1);
    node.ask().done();
    assert_eq!(node.connect_as(u64::MAX, ReportedStatus::Ready), None);
    node.connect(ReportedStatus::Ready);
}

#[test]
fn a_mass_failure_holds_every_voluntary_act_until_the_nodes_are_back() {
    let server = led(|hello, config| {
        hello.rollout.batch = "1".to_owned();
        config.lease_minimum = Duration::from_secs(2);
    });
    let mut lost: Vec<_> = (1..=3)
        .map(|number| Container::new(&server, number).started())
        .collect();
    let mut survivor = Container::new(&server, 4).started();
    eventually("three are lost", || {
        assert!(survivor.beats());
        lost.iter()
            .all(|node| node.shown()["status"] == "unreachable")
    });
    waits_for(&server, "massFailure");
    survivor.operator("restart", false).done();
    waits_for(&server, "massFailure");
    assert!(survivor.beats());
    assert!(survivor.shown()["order"].is_null());
    for node in &mut lost {
        node.connect(ReportedStatus::Ready);
    }
    eventually("the brake opens", || {
        assert!(survivor.beats());
        for node in &mut lost {
            assert!(node.beats());
        }
        let state = cluster_state(&server);
        let waiting = state["waitingOn"].as_array().unwrap();
        waiting.iter().all(|wait| wait["code"] != "massFailure")
    });
}

#[test]
fn after_a_restart_of_the_manager_nodes_are_unconfirmed_until_they_speak() {
    let server = led(|_, _| {});
    let node = Container::new(&server, 1).started();
    let mut other = Container::new(&server, 2).started();
    let (id, start, incarnation) = (node.id.clone(), node.start.clone(), node.incarnation);
    other.ask().done();
    drop((node, other));
    let server = server.restart();
    // Nodes of another configuration: only the hold keeps them from being told.
    let mut node = Container::new(&server, 1);
    (node.start, node.incarnation) = (start, incarnation);
    assert_eq!(node.id, id);
    server.lead();
    node.eventually_is("unconfirmed");
    node.operator("restart", false).done();
    let sentence = waits_for(&server, "unconfirmed");
    assert!(sentence.contains("started: 1;"), "{sentence}");
    let assigned = Container::new(&server, 2);
    assert_eq!(assigned.shown()["status"], "assigned");

    node.connect(ReportedStatus::Ready);
    node.eventually_is("ready");
    // What was asked before is done now.
    node.told_to_stop();
}

#[test]
fn a_node_that_was_unreachable_before_a_restart_of_the_manager_gets_its_time_to_speak() {
    let server = led(|_, config| {
        config.lease_minimum = LEASE;
        config.evict_after = Duration::from_millis(1);
    });
    let node = Container::new(&server, 1).started();
    // Stored as if the manager had gone right after the lease ended.
    let id = node.id.clone();
    let row = server.block_on(server.cluster.read()).nodes[&id].clone();
    let mut node = node;
    node.vanish();
    let (start, incarnation) = (node.start.clone(), node.incarnation);
    drop(node);
    let server = server.restart();
    let mut run = row.run.clone().unwrap();
    run.status = klusterkite_core::plan::rollout::NodeStatus::Unreachable;
    run.status_since = 0;
    server.put(klusterkite_store::Change::NodePut(
        klusterkite_store::rows::NodeRow {
            run: Some(run),
            ..row
        },
    ));
    server.lead();
    let mut node = Container::new(&server, 1);
    (node.start, node.incarnation) = (start, incarnation);
    node.eventually_is("unconfirmed");
    node.connect(ReportedStatus::Ready);
    assert_eq!(node.shown()["status"], "ready");
}

#[test]
fn an_order_is_sent_again_to_a_node_that_lost_its_link() {
    let server = led(|_, _| {});
    let mut node = Container::new(&server, 1).started();
    node.vanish();
    node.operator("restart", true).done();
    eventually("the prefetch is ordered", || {
        let state = server.block_on(server.cluster.read());
        state.orders.of(&node.id).next().is_some()
    });
    node.connect(ReportedStatus::Ready);
    let stop = node.told_to_stop();
    node.vanish();
    node.connect(ReportedStatus::Ready);
    assert_eq!(node.order().id, stop.id, "and once more until it is gone");
    node.replaced(&stop);
    eventually("the order is closed", || node.shown()["order"].is_null());
    assert_eq!(node.shown()["status"], "ready");
}

#[test]
fn a_node_of_an_older_configuration_that_comes_back_is_brought_up_without_a_migration() {
    let server = Server::start_with(|seed, config| {
        crate::fleet::prepare(seed, config, |_, _| {});
    });
    let old = ready(&server, 2, other_text);
    server.lead();
    let mut node = Container::new(&server, 1);
    node.ask().done();
    node.start.as_mut().unwrap().configuration_id = old;
    node.connect(ReportedStatus::Ready);
    eventually("it is obsolete", || {
        node.shown()["isObsolete"] == Value::Bool(true)
    });
    let stop = node.told_to_stop();
    assert_eq!(stop.next.as_ref().unwrap().configuration_id.0, 1);
    node.replaced(&stop);
    eventually("it is up to date", || {
        let shown = node.shown();
        shown["isObsolete"] == Value::Bool(false) && shown["order"].is_null()
    });
}
