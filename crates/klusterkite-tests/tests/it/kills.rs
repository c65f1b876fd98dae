//! `kill -9` of every program, in every phase of a migration: the story still ends well.

use std::time::Duration;

use klusterkite_tests::api::Operator;
use klusterkite_tests::process::{processes_with, signal, wait_until};
use rustix::process::Signal;

use crate::support::{TestCluster, migrate};

/// Longest time until a phase of the migration is seen.
const PHASE_TIMEOUT: Duration = Duration::from_mins(2);

#[test]
fn the_migration_ends_well_when_the_manager_is_killed_in_each_phase() {
    let mut test = TestCluster::start("hello", 3);
    let operator = test.operator();
    let second = test.ready_version_2(&operator);
    migrate(&operator, second);
    for (event, object) in [
        ("resourceStarted", "Hello.Db"),
        ("nodesStarted", ""),
        ("nodeStopOrdered", ""),
        ("nodeReady", ""),
        ("resourceStarted", "Hello.Site"),
    ] {
        wait_for_event(&operator, event, object);
        assert!(kill_all(&test, "klusterkite-manager"));
    }
    let forward = test.migration_ended(&operator);
    assert_eq!(
        forward["state"],
        "completed",
        "{forward:#}\n{}",
        test.kept()
    );
    let versions = test.answers("/version");
    assert!(
        versions.iter().all(|answer| answer.contains("2.0.0")),
        "{versions:?}"
    );
    test.cluster.stop().unwrap();
}

#[test]
fn the_migration_ends_well_when_executor_launcher_host_and_feed_are_killed() {
    let mut test = TestCluster::start("hello", 3);
    let operator = test.operator();
    let second = test.ready_version_2(&operator);
    migrate(&operator, second);

    let mut killed = false;
    let executor = wait_until(PHASE_TIMEOUT, || {
        // Executors live for moments: reading again and again makes more of them.
        operator
            .post("/cluster/recheck", serde_json::json!({}))
            .unwrap();
        killed |= kill_all(&test, "klusterkite-executor");
        killed
    });
    assert!(executor, "no executor was seen\n{}", test.kept());

    wait_for_event(&operator, "nodesStarted", "");
    test.cluster.feed.kill().unwrap();
    test.cluster.start_feed_again().unwrap();

    test.cluster
        .launchers
        .get_mut("worker-1")
        .unwrap()
        .kill()
        .unwrap();
    test.cluster.start_launcher("worker-1").unwrap();

    let host = processes_below_container(&test, "worker-2");
    assert!(!host.is_empty());
    for id in host {
        signal(id, Signal::KILL);
    }

    let forward = test.migration_ended(&operator);
    if forward["state"] == "paused" {
        // A node that died in the middle of its replacement counts as failed: the operator goes on.
        operator
            .post("/migrations/current/resume", serde_json::json!({}))
            .unwrap();
        let forward = test.migration_ended(&operator);
        assert_eq!(
            forward["state"],
            "completed",
            "{forward:#}\n{}",
            test.kept()
        );
    }
    // The migration may have ended before the killed node was back.
    test.cluster.wait_until_ready().unwrap();
    let versions = test.answers("/version");
    assert!(
        versions.iter().all(|answer| answer.contains("2.0.0")),
        "{versions:?}\n{}",
        test.kept()
    );
    test.cluster.stop().unwrap();
}

/// Waits until something of the kind has happened to an object, whether the manager answers all the time or not.
fn wait_for_event(operator: &Operator, kind: &str, object: &str) {
    let seen = wait_until(PHASE_TIMEOUT, || {
        let events = operator.get("/events?from=0&limit=1000");
        events.is_ok_and(|events| {
            let events = events["items"].as_array().cloned().unwrap_or_default();
            events.iter().any(|event| {
                let of = event["object"].as_str().unwrap_or_default();
                event["kind"] == kind && of.contains(object)
            })
        })
    });
    assert!(seen, "`{kind}` was not seen");
}

/// Kills the processes of a program; false when there is none.
pub(crate) fn kill_all(test: &TestCluster, program: &str) -> bool {
    let processes = processes_of(test, program);
    for id in &processes {
        signal(*id, Signal::KILL);
    }
    !processes.is_empty()
}

/// Returns the processes of a program that belong to this cluster.
pub(crate) fn processes_of(test: &TestCluster, program: &str) -> Vec<u32> {
    let below = klusterkite_tests::process::processes_below(&test.cluster.container(""));
    processes_with(program)
        .into_iter()
        .filter(|id| below.contains(id))
        .collect()
}

/// Returns the service hosts of a container.
fn processes_below_container(test: &TestCluster, name: &str) -> Vec<u32> {
    let below = klusterkite_tests::process::processes_below(&test.cluster.container(name));
    processes_with("klusterkite-service")
        .into_iter()
        .filter(|id| below.contains(id))
        .collect()
}
