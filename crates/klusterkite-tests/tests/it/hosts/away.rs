//! The manager and the feed away for long; that they are away for moments is `outage.rs`.

use std::time::Duration;

use serde_json::json;

use super::stage::{hello_on_hosts, is_long, nodes, pass, probe_inside};

#[test]
fn nodes_serve_on_while_the_manager_is_gone_for_five_minutes_and_are_adopted() {
    if !is_long() {
        eprintln!("skipped: `cargo xtask hazards` runs it");
        return;
    }
    let template = json!({ "minimumRequiredInstances": 3, "maximumNeededInstances": 4 });
    let Some(mut test) = hello_on_hosts(4, &template, 5) else {
        return;
    };
    let operator = test.operator();
    let before = nodes(&operator);
    let probes: Vec<_> = (1..=4)
        .map(|worker| probe_inside(&test, &format!("worker-{worker}")))
        .collect();
    test.cluster
        .launchers
        .get_mut("manager")
        .unwrap()
        .stop()
        .unwrap();
    test.cluster.feed.stop().unwrap();
    pass(Duration::from_mins(5));
    test.cluster.start_feed_again().unwrap();
    test.cluster.start_launcher("manager").unwrap();
    test.cluster.wait_until_ready().unwrap();
    for probes in probes {
        assert_eq!(probes.stop().fewest, Some(1), "{}", test.kept());
    }
    assert_eq!(nodes(&operator), before, "they are the same nodes");
    test.cluster.stop().unwrap();
}
