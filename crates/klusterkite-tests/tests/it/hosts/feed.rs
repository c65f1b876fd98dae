//! A feed behind a bad line.

use std::net::SocketAddr;
use std::path::Path;

use klusterkite_tests::client::Watcher;
use klusterkite_tests::hosts::{Line, Proxy};
use serde_json::json;

use super::stage::hello_on_hosts;
use crate::support::migrate;

#[test]
fn an_update_comes_through_a_feed_that_is_slow_and_resets_connections() {
    let template = json!({
        "minimumRequiredInstances": 2, "maximumNeededInstances": 4,
        "rollout": { "batch": "2", "minStableSeconds": 0 },
    });
    let Some(mut test) = hello_on_hosts(4, &template, 5) else {
        return;
    };
    let operator = test.operator();
    for package in ["Hello", "Hello.Db", "Hello.Site"] {
        let directory = test.cluster.sample().join("packages").join(package);
        publish(&test, &directory.join("2.0.0"));
    }
    let feed: SocketAddr = server_of(test.cluster.feed_url());
    let line = Line {
        speed: 8 << 20,
        reset_after: 1 << 20,
    };
    let network = test.cluster.network().unwrap();
    let proxy = Proxy::start(network.address(), feed, line).unwrap();

    let mut settings = operator.get("/configurations/1").unwrap()["settings"].clone();
    settings["nugetFeed"] = json!(format!("http://{}/v3/index.json", proxy.address()));
    for package in settings["packages"].as_array_mut().unwrap() {
        if package["id"].as_str().unwrap().starts_with("Hello") {
            package["version"] = json!("2.0.0");
        }
    }
    let next = json!({ "name": "next", "settings": settings });
    let id = operator.post("/configurations", next).unwrap()["id"].as_i64();
    let id = id.unwrap();
    operator
        .post(&format!("/configurations/{id}/ready"), json!({}))
        .unwrap();
    let probes = Watcher::probes_at(test.cluster.addresses(), "/ready");
    migrate(&operator, id);
    let ended = test.migration_ended(&operator);
    assert_eq!(ended["state"], "completed", "{ended:#}\n{}", test.kept());
    let versions = test.answers("/version");
    assert!(
        versions.iter().all(|answer| answer.contains("2.0.0")),
        "{versions:?}"
    );
    let fewest = probes.stop().fewest;
    assert!(fewest >= Some(2), "{fewest:?}\n{}", test.kept());
    assert!(proxy.resets() >= 4, "{} resets", proxy.resets());
    test.cluster.stop().unwrap();
}

fn publish(test: &crate::support::TestCluster, directory: &Path) {
    test.cluster.pack_and_push(directory, "2.0.0").unwrap();
}

/// Returns the server of a URL.
fn server_of(url: &str) -> SocketAddr {
    url.split('/').nth(2).unwrap().parse().unwrap()
}
