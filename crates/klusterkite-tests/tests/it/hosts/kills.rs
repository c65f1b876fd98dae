//! `kill -9` of everything on the hosts, one after the other.

use klusterkite_tests::api::Operator;
use klusterkite_tests::process::{processes_below, processes_with, signal, wait_until};
use rustix::process::Signal;
use serde_json::json;

use super::stage::{PATIENCE, Seen, hello_on_hosts, node_on, nodes, serves};
use crate::support::TestCluster;

#[test]
fn everything_on_five_hosts_is_killed_in_turn_and_comes_back() {
    let template = json!({ "minimumRequiredInstances": 3, "maximumNeededInstances": 4 });
    let Some(mut test) = hello_on_hosts(4, &template, 5) else {
        return;
    };
    let operator = test.operator();
    let before = nodes(&operator);

    for (host, program) in [
        ("worker-1", "hello"),
        ("worker-2", "klusterkite-service"),
        ("manager", "klusterkite-manager"),
        ("manager", "klusterkite-service"),
    ] {
        let killed = node_on(&test, &operator, host);
        kill(&test, host, program);
        comes_back(&mut test, &operator, host, killed.as_ref());
    }
    // A launcher, and a host that loses its power: whoever watches the machine starts the launcher again.
    for (host, all) in [("worker-3", false), ("worker-4", true), ("manager", true)] {
        let killed = node_on(&test, &operator, host);
        let below = processes_below(&test.cluster.container(host));
        let launcher = test.cluster.launchers.get_mut(host).unwrap();
        launcher.kill().unwrap();
        if all {
            // What the kernel has not ended with the launcher.
            for id in below {
                signal(id, Signal::KILL);
            }
        }
        test.cluster.start_launcher(host).unwrap();
        comes_back(&mut test, &operator, host, killed.as_ref());
    }
    test.cluster.feed.kill().unwrap();
    test.cluster.start_feed_again().unwrap();
    test.cluster.still_runs().unwrap();

    let after = nodes(&operator);
    assert_eq!(after.len(), before.len(), "{after:?}");
    for node in &after {
        let same = before.iter().find(|one| one.id == node.id);
        let is_newer = same.is_some_and(|same| node.incarnation > same.incarnation);
        assert!(is_newer, "{node:?} follows none of {before:?}");
    }
    test.cluster.stop().unwrap();
}

/// Kills one program that a launcher runs.
pub(super) fn kill(test: &TestCluster, host: &str, program: &str) {
    let below = processes_below(&test.cluster.container(host));
    let launcher = test.cluster.launchers[host].id();
    let killed: Vec<u32> = processes_with(program)
        .into_iter()
        .filter(|id| below.contains(id) && *id != launcher)
        .collect();
    assert!(!killed.is_empty(), "no `{program}` runs on {host}");
    for id in killed {
        signal(id, Signal::KILL);
    }
}

/// Waits until the node on a host is a newer one, all are ready, and all workers serve.
fn comes_back(test: &mut TestCluster, operator: &Operator, host: &str, killed: Option<&Seen>) {
    let back = wait_until(PATIENCE, || {
        let node = node_on(test, operator, host);
        let is_newer = killed.is_none_or(|killed| {
            node.is_some_and(|node| node.incarnation > killed.incarnation && node.status == "ready")
        });
        is_newer && (1..=4).all(|worker| serves(test, &format!("worker-{worker}")))
    });
    assert!(
        back,
        "{host} does not come back: {:?}\n{}",
        nodes(operator),
        test.kept()
    );
    test.cluster.wait_until_ready().unwrap();
}
