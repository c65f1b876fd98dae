//! A whole cluster over TLS with an own authority: feed, seeder, launchers, manager, links, command line.

use std::fs;

use serde_json::Value;

use klusterkite_tests::local::output;

use crate::support::{TestCluster, migrate};

#[test]
fn a_cluster_with_an_own_authority_migrates_over_tls() {
    let mut test = TestCluster::start_secure("hello", 3);
    assert!(test.cluster.manager_url().starts_with("https://"));
    let operator = test.operator();
    let second = test.ready_version_2(&operator);
    migrate(&operator, second);
    let ended = test.migration_ended(&operator);
    assert_eq!(ended["state"], "completed", "{ended:#}\n{}", test.kept());
    for answer in test.answers("/version") {
        assert!(answer.contains("2.0.0"), "{answer}");
    }

    let nodes = output(&mut test.cluster.cli(&["node", "list", "--output", "json"])).unwrap();
    let nodes: Value = serde_json::from_str(&nodes).unwrap();
    let ready = |node: &Value| node["status"] == "ready";
    assert!(
        nodes["items"].as_array().unwrap().iter().all(ready),
        "{nodes:#}"
    );

    // Without the authority nobody is believed.
    let session = test.directory().join("other-session.json");
    let mut other = test.cluster.cli(&["status"]);
    other
        .env_remove("KLUSTERKITE_CA")
        .env("KLUSTERKITE_SESSION", session);
    let refused = other.output().unwrap();
    assert!(!refused.status.success());
    let text = String::from_utf8(refused.stderr).unwrap();
    let expected = ["is not signed by", "has no list of authorities"];
    assert!(expected.iter().any(|part| text.contains(part)), "{text}");

    let start = test
        .cluster
        .container("worker-1")
        .join("current/start.hocon");
    let start: Value = serde_json::from_slice(&fs::read(start).unwrap()).unwrap();
    let ca = test.directory().join("tls/ca.pem");
    let told = &start["KlusterKite"]["NodeManager"]["Tls"]["Ca"];
    assert_eq!(told[0].as_str(), ca.to_str(), "{start:#}");
    test.cluster.stop().unwrap();
}
