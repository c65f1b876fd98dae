//! The story: from version 1 to version 2 and back, resources and manager included, while clients are served.

use serde_json::{Value, json};

use klusterkite_tests::client::Watcher;

use crate::support::{TestCluster, assert_in_order, log_of, migrate, wait_until_idle};

#[test]
fn the_cluster_moves_to_version_2_and_back_without_a_failed_request() {
    let test = TestCluster::start("hello", 3);
    let operator = test.operator();
    for answer in test.answers("/version") {
        assert!(answer.contains("1.0.0"), "{answer}");
    }
    let requests = Watcher::requests(operator.clone(), "hello", "/version");
    let probes = Watcher::probes(test.cluster.ports.clone(), "/ready");

    let second = test.ready_version_2(&operator);
    plan_names_everything(&test, second);
    migrate(&operator, second);
    let forward = test.migration_ended(&operator);
    assert_eq!(
        forward["state"],
        "completed",
        "{forward:#}\n{}",
        test.kept()
    );
    let moved = [
        ("resourceMoved", "Hello.Db"),
        ("nodesStarted", ""),
        ("resourceMoved", "Hello.Site"),
        ("finished", ""),
    ];
    assert_in_order(&log_of(&operator, &forward), &moved);
    everything_is_on(&test, "2.0.0", "0.2.0", second);

    migrate(&operator, 1);
    let back = test.migration_ended(&operator);
    assert_eq!(back["state"], "completed", "{back:#}\n{}", test.kept());
    let moved = [
        ("resourceMoved", "Hello.Site"),
        ("nodesStarted", ""),
        ("resourceMoved", "Hello.Db"),
        ("finished", ""),
    ];
    assert_in_order(&log_of(&operator, &back), &moved);
    everything_is_on(&test, "1.0.0", "0.1.0", 1);

    let (requests, probes) = (requests.stop(), probes.stop());
    assert_eq!(
        requests.failures,
        Vec::<String>::new(),
        "of {} requests\n{}",
        requests.requests,
        test.kept()
    );
    assert!(
        requests.requests > 1000,
        "only {} requests were sent",
        requests.requests
    );
    assert!(
        probes.fewest >= Some(2),
        "only {:?} ports answered at once\n{}",
        probes.fewest,
        test.kept()
    );
    manager_moved_last(&operator.get("/events?from=0&limit=1000").unwrap());
    let mut test = test;
    test.cluster.stop().unwrap();
}

/// The plan tells the nodes to restart, the lowest ready count and the moves of resources.
fn plan_names_everything(test: &TestCluster, to: i64) {
    let operator = test.operator();
    wait_until_idle(&operator);
    let plan = operator
        .post("/migrations/plan", json!({ "toConfigurationId": to }))
        .unwrap();
    assert_eq!(plan["blockers"], json!([]), "{plan:#}");
    let templates = plan["nodes"]["templates"].as_array().unwrap();
    let hello = templates
        .iter()
        .find(|template| template["template"] == "hello")
        .unwrap();
    assert_eq!(hello["restart"].as_array().unwrap().len(), 3, "{plan:#}");
    assert_eq!(hello["lowestReady"], 2, "{plan:#}");
    assert_eq!(hello["floor"], 2, "{plan:#}");
    let code = |moves: &Value| {
        moves[0]["migratorTypeName"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(code(&plan["beforeNodes"]), "Hello.Db", "{plan:#}");
    assert_eq!(code(&plan["afterNodes"]), "Hello.Site", "{plan:#}");
}

fn everything_is_on(test: &TestCluster, sample: &str, own: &str, configuration: i64) {
    for answer in test.answers("/version") {
        assert!(answer.contains(sample), "{answer} is not {sample}");
    }
    let nodes = test.operator().get("/nodes").unwrap();
    let nodes = nodes["items"].as_array().unwrap();
    assert_eq!(nodes.len(), 4);
    for node in nodes {
        assert_eq!(node["configurationId"], configuration, "{node:#}");
        assert_eq!(node["status"], "ready", "{node:#}");
        let modules = node["modules"].as_array().unwrap();
        let own_modules = modules.iter().filter(|module| {
            module["id"]
                .as_str()
                .unwrap_or_default()
                .starts_with("KlusterKite.")
        });
        for module in own_modules {
            assert_eq!(module["version"], own, "{node:#}");
        }
    }
    let pointer = std::fs::read_link(test.cluster.system().join("site/current")).unwrap();
    let site = if sample == "2.0.0" {
        "site-2"
    } else {
        "site-1"
    };
    assert!(
        pointer.to_string_lossy().contains(site),
        "{}",
        pointer.display()
    );
}

/// In each roll the manager's own node is told to stop after all others.
fn manager_moved_last(events: &Value) {
    let stops: Vec<String> = events["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["kind"] == "nodeStopOrdered")
        .map(|event| event["message"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(stops.len(), 8, "{stops:#?}");
    for roll in stops.chunks(4) {
        let of_manager = |stop: &String| stop.contains("`clusterManager`");
        assert!(roll[..3].iter().all(|stop| !of_manager(stop)), "{stops:#?}");
        assert!(of_manager(&roll[3]), "{stops:#?}");
    }
}
