//! Forward and back again and again, under load: nothing fails, and nothing is left behind.

mod footprint;
mod sample;

use std::time::Duration;

use klusterkite_tests::client::{Seen, Watcher};
use serde_json::Value;

use crate::support::{TestCluster, log_of, migrate, ready_newest, wait_until_idle};
use footprint::Footprint;

/// Switches, when `KLUSTERKITE_SWITCHES` says nothing else: as many as take little more than a minute, mostly in drains.
/// `cargo xtask switches` does more.
const SWITCHES: u32 = 8;

/// Switches after which everything that is kept for a while is there: releases, caches, connections.
const WARM_UP: u32 = 4;

/// The services, and the paths that their clients ask for.
const SERVICES: [(&str, &str); 2] = [("hello", "/"), ("clock", "/")];

/// How long a footprint is looked at before the load goes on.
const LOOK: Duration = Duration::from_secs(3);

/// How long connections and threads that nobody needs any more may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(40);

#[test]
fn a_cluster_switched_forward_and_back_again_and_again_fails_no_request_and_leaves_nothing() {
    let switches = switches();
    let sample = sample::hello_and_clock();
    let mut test = TestCluster::start(&sample.path().to_string_lossy(), 4);
    let operator = test.operator();
    test.cluster.publish("0.1.0", "2.0.0").unwrap();
    let second = ready_newest(&operator);
    let mut clients = Clients::start(&test);
    let mut before = None;
    for switch in 1..=switches {
        let to = if switch % 2 == 1 { second } else { 1 };
        migrate(&operator, to);
        let ended = test.migration_ended(&operator);
        assert_eq!(
            ended["state"],
            "completed",
            "switch {switch}: {ended:#}\n{}",
            test.kept()
        );
        everything_moved(&test, &ended, switch);
        if switch == WARM_UP {
            clients.stop(&test);
            wait_until_idle(&operator);
            before = Some(Footprint::most(test.directory(), LOOK));
            clients = Clients::start(&test);
        }
    }
    clients.stop(&test);
    wait_until_idle(&operator);
    let before = before.unwrap();
    let after = Footprint::least(test.directory(), END_TIMEOUT, &before);
    let grown = after.grown_since(&before);
    assert!(
        grown.is_empty(),
        "after {switches} switches there is more than after {WARM_UP}:\n{grown:#?}\n{}",
        test.kept()
    );
    test.cluster.stop().unwrap();
}

/// Returns how often the cluster is switched; it ends where it began.
fn switches() -> u32 {
    let asked = std::env::var("KLUSTERKITE_SWITCHES").ok();
    let switches = asked.map_or(SWITCHES, |text| text.parse().unwrap());
    assert!(
        switches > WARM_UP,
        "fewer switches than {WARM_UP} show nothing"
    );
    switches + switches % 2
}

/// Four resources moved, and four nodes, and the services are what they should be.
fn everything_moved(test: &TestCluster, migration: &Value, switch: u32) {
    let log = log_of(&test.operator(), migration);
    let moved = log.iter().filter(|(kind, _)| kind == "resourceMoved");
    assert_eq!(moved.count(), 4, "switch {switch}: {log:#?}");
    let version = if switch % 2 == 1 { "2.0.0" } else { "1.0.0" };
    for answer in test.answers("/version") {
        assert!(answer.contains(version), "switch {switch}: {answer}");
    }
}

/// Clients of all services; each follows the members of its service and asks without pause.
struct Clients(Vec<Watcher>);

impl Clients {
    fn start(test: &TestCluster) -> Self {
        let watchers = SERVICES.iter();
        Self(
            watchers
                .map(|(role, path)| Watcher::requests(test.operator(), role, path))
                .collect(),
        )
    }

    /// Ends the load; fails when one request did.
    fn stop(&mut self, test: &TestCluster) {
        for ((role, path), watcher) in SERVICES.iter().zip(self.0.drain(..)) {
            let Seen {
                requests, failures, ..
            } = watcher.stop();
            assert!(requests > 100, "only {requests} requests of {role}{path}");
            assert_eq!(
                failures,
                Vec::<String>::new(),
                "of {requests} requests of {role}{path}\n{}",
                test.kept()
            );
        }
    }
}
