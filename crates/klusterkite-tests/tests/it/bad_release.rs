//! Releases that never become ready: the launcher goes back, the update pauses, the minimum holds, and both
//! ways out work.

use std::fs;
use std::path::Path;

use klusterkite_tests::api::Operator;
use klusterkite_tests::client::Watcher;
use serde_json::{Value, json};

use crate::support::{TestCluster, migrate, ready_newest, repository};

#[test]
fn a_service_that_never_becomes_ready_pauses_the_update_and_can_be_rolled_back() {
    let mut test = TestCluster::start("hello", 3);
    let operator = test.operator();
    let probes = Watcher::probes(test.cluster.ports.clone(), "/ready");
    publish_broken_hello(&test, "2.0.0");
    let bad = ready_newest(&operator);
    migrate(&operator, bad);
    let paused = test.migration_ended(&operator);
    assert_eq!(paused["state"], "paused", "{paused:#}\n{}", test.kept());
    let reason = paused["reason"]["message"].as_str().unwrap();
    assert!(reason.contains("did not become ready"), "{reason}");

    // The operator looks at it and tries again: the same node fails again, and the update pauses again.
    operator
        .post("/migrations/current/resume", json!({}))
        .unwrap();
    let again = test.migration_ended(&operator);
    assert_eq!(again["state"], "paused", "{again:#}\n{}", test.kept());

    operator
        .post("/migrations/current/rollback", json!({}))
        .unwrap();
    let back = test.migration_ended(&operator);
    assert_eq!(back["state"], "rolledBack", "{back:#}\n{}", test.kept());
    // The node that failed may still be starting the release before.
    test.cluster.wait_until_ready().unwrap();
    let versions = test.answers("/version");
    assert!(
        versions.iter().all(|answer| answer.contains("1.0.0")),
        "{versions:?}"
    );
    let fewest = probes.stop().fewest;
    assert!(
        fewest >= Some(2),
        "only {fewest:?} ports answered at once\n{}",
        test.kept()
    );
    test.cluster.stop().unwrap();
}

#[test]
fn a_manager_that_never_becomes_ready_gives_way_to_the_one_before() {
    let mut test = TestCluster::start("hello", 2);
    let operator = test.operator();
    publish_broken_manager(&test, "0.2.0");
    let bad = ready_newest(&operator);
    migrate(&operator, bad);
    let paused = test.migration_ended(&operator);
    assert_eq!(paused["state"], "paused", "{paused:#}\n{}", test.kept());
    let manager = manager_node(&operator);
    assert_eq!(manager["configurationId"], 1, "{manager:#}");

    operator
        .post("/migrations/current/rollback", json!({}))
        .unwrap();
    let back = test.migration_ended(&operator);
    assert_eq!(back["state"], "rolledBack", "{back:#}\n{}", test.kept());
    let state = operator.get("/cluster/state").unwrap();
    assert_eq!(state["activeConfigurationId"], 1, "{state:#}");
    test.cluster.stop().unwrap();
}

fn manager_node(operator: &Operator) -> Value {
    let nodes = operator.get("/nodes?template=clusterManager").unwrap();
    nodes["items"][0].clone()
}

/// Packs a Hello whose program answers nothing.
fn publish_broken_hello(test: &TestCluster, version: &str) {
    let directory = tempfile::tempdir().unwrap();
    copy(
        &repository().join("samples/hello/packages/Hello/1.0.0"),
        directory.path(),
    );
    let manifest = directory.path().join("klusterkite.hocon");
    let text = fs::read_to_string(&manifest)
        .unwrap()
        .replace("command = [hello]", "command = [sleep, \"1000\"]");
    fs::write(&manifest, text).unwrap();
    test.cluster
        .pack_and_push(directory.path(), version)
        .unwrap();
}

/// Packs a manager that listens nowhere.
fn publish_broken_manager(test: &TestCluster, version: &str) {
    let directory = tempfile::tempdir().unwrap();
    copy(
        &repository().join("packages/KlusterKite.NodeManager"),
        directory.path(),
    );
    let manifest = directory.path().join("klusterkite.hocon");
    let text = fs::read_to_string(&manifest).unwrap().replace(
        "command = [\"klusterkite-manager\"]",
        "command = [sleep, \"1000\"]",
    );
    assert!(text.contains("sleep"));
    fs::write(&manifest, text).unwrap();
    test.cluster
        .pack_and_push(directory.path(), version)
        .unwrap();
}

fn copy(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp")
        .arg("-r")
        .arg(from.join("."))
        .arg(to)
        .status()
        .unwrap();
    assert!(status.success());
}
