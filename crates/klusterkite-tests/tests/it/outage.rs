//! Manager and feed away: what runs keeps running, and what starts runs what ran last.

use std::time::{Duration, Instant};

use klusterkite_tests::client::{Watcher, get};
use klusterkite_tests::process::wait_until;
use serde_json::json;

use crate::support::TestCluster;

#[test]
fn nodes_serve_and_start_while_manager_and_feed_are_away() {
    let mut test = TestCluster::start("hello", 2);
    let probes = Watcher::probes(test.cluster.ports.clone(), "/ready");
    test.cluster
        .launchers
        .get_mut("manager")
        .unwrap()
        .stop()
        .unwrap();
    test.cluster.feed.stop().unwrap();
    let begin = Instant::now();
    let enough = wait_until(Duration::from_secs(10), || {
        begin.elapsed() > Duration::from_secs(3)
    });
    assert!(
        enough && probes.stop().fewest == Some(2),
        "a node stopped because the manager was away"
    );

    let mut worker = test.cluster.launchers.remove("worker-1").unwrap();
    worker.stop().unwrap();
    test.cluster.start_launcher("worker-1").unwrap();
    let restarted = wait_until(Duration::from_secs(30), || {
        log_of(&test).contains("(LastKnownGood)")
    });
    let log = log_of(&test);
    assert!(restarted, "the last-known-good did not start\n{log}");
    let from_third_try = after_third_try(&log);
    assert!(
        from_third_try <= Duration::from_secs(2),
        "the last-known-good started {from_third_try:?} after the third failed try\n{log}"
    );
    let address = format!("127.0.0.1:{}", test.cluster.ports[0]);
    let answers = wait_until(Duration::from_secs(20), || get(&address, "/ready").is_ok());
    assert!(
        answers,
        "the last-known-good release did not start\n{}",
        test.kept()
    );

    test.cluster.start_feed_again().unwrap();
    test.cluster.start_launcher("manager").unwrap();
    test.cluster.wait_until_ready().unwrap();
    test.cluster.stop().unwrap();
}

/// Returns what the launcher of the first worker has said since both were away.
fn log_of(test: &TestCluster) -> String {
    let path = test.cluster.logs().join("worker-1.log");
    std::fs::read_to_string(path).unwrap()
}

/// Returns the time between the third failed try and the start of the last-known-good.
fn after_third_try(log: &str) -> Duration {
    const DAY: u64 = 24 * 60 * 60 * 1000;
    let milliseconds = |line: &str| {
        // `2026-11-22T19:21:16.529Z …`
        let number = |range: std::ops::Range<usize>| line[range].parse::<u64>().unwrap();
        ((number(11..13) * 60 + number(14..16)) * 60 + number(17..19)) * 1000 + number(20..23)
    };
    let lines: Vec<&str> = log.lines().collect();
    let start = lines
        .iter()
        .position(|line| line.contains("(LastKnownGood)"));
    let start = start.unwrap();
    let mut failed = lines[..start]
        .iter()
        .filter(|line| line.contains("no answer:"));
    let third = failed.next_back().unwrap();
    Duration::from_millis((milliseconds(lines[start]) + DAY - milliseconds(third)) % DAY)
}

#[test]
fn a_stolen_launcher_secret_neither_fences_nor_impersonates_a_node() {
    let mut test = TestCluster::start("hello", 1);
    let operator = test.operator();
    let nodes = operator.get("/nodes?template=hello").unwrap();
    let id = nodes["items"][0]["nodeId"].as_str().unwrap().to_owned();
    let client = test.cluster.credentials().unwrap()["clients"]["worker"].clone();
    let token = client_token(test.cluster.manager_url(), &client);
    let request = json!({
        "nodeId": id, "nodeSecret": "0".repeat(64), "incarnation": 9_999_999_999_999_u64,
        "containerType": "worker", "runtime": "linux-x64",
    });
    let url = format!("{}/api/v1/nodes/configuration", test.cluster.manager_url());
    let mut answer = klusterkite_tests::api::agent()
        .post(&url)
        .header("authorization", format!("Bearer {token}"))
        .send_json(&request)
        .unwrap();
    assert_eq!(answer.status(), 409);
    let problem: serde_json::Value = answer.body_mut().read_json().unwrap();
    assert_eq!(problem["code"], "nodeIdInUse");
    let nodes = operator.get("/nodes?template=hello").unwrap();
    assert_eq!(nodes["items"][0]["status"], "ready");
    test.cluster.stop().unwrap();
}

fn client_token(url: &str, client: &serde_json::Value) -> String {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", client["id"].as_str().unwrap()),
        ("client_secret", client["secret"].as_str().unwrap()),
    ];
    let mut answer = klusterkite_tests::api::agent()
        .post(format!("{url}/oauth/token"))
        .send_form(form)
        .unwrap();
    let body: serde_json::Value = answer.body_mut().read_json().unwrap();
    body["access_token"].as_str().unwrap().to_owned()
}
