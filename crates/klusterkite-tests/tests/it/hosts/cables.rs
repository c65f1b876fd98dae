//! Cables: pulled, and losing every third frame.

use std::time::{Duration, Instant};

use klusterkite_tests::process::wait_until;
use serde_json::json;

use super::stage::{
    LEASE, PATIENCE, hello_on_hosts, lasting, node_on, nodes, pass, probe_inside, serves,
    wait_for_status,
};

#[test]
fn a_node_that_is_cut_off_serves_on_is_adopted_and_never_doubled() {
    // Three nodes on four workers: one container waits, and would take the place of a node that is given up.
    let template = json!({ "rollout": { "surge": 0 } });
    let Some(mut test) = hello_on_hosts(4, &template, 4) else {
        return;
    };
    let operator = test.operator();
    let hosts = ["worker-1", "worker-2", "worker-3", "worker-4"];
    let (running, waiting): (Vec<&str>, Vec<&str>) = hosts
        .into_iter()
        .partition(|host| node_on(&test, &operator, host).is_some());
    assert_eq!(waiting.len(), 1, "{:?}", nodes(&operator));
    let (cut, asked, other) = (running[0], running[1], running[2]);
    let [before, asked_before, other_before] =
        [cut, asked, other].map(|host| node_on(&test, &operator, host).unwrap());
    let probes = probe_inside(&test, cut);

    test.cluster.network().unwrap().cut(cut).unwrap();
    wait_for_status(&test, &operator, cut, "unreachable");
    // Two are left, and two are the minimum: a restart has to wait.
    operator
        .post(&format!("/nodes/{}/restart", asked_before.id), json!({}))
        .unwrap();
    let (begin, time) = (Instant::now(), lasting(Duration::from_mins(2), LEASE));
    while begin.elapsed() < time {
        let seen = nodes(&operator);
        assert_eq!(seen.len(), 3, "{seen:?}");
        for expected in [&asked_before, &other_before] {
            assert!(seen.contains(expected), "{seen:?} lacks {expected:?}");
        }
        pass(Duration::from_millis(100));
    }
    assert!(serves(&test, asked) && serves(&test, other) && !serves(&test, cut));

    test.cluster.network().unwrap().mend(cut).unwrap();
    let adopted = wait_for_status(&test, &operator, cut, "ready");
    assert_eq!(adopted, before, "it is the same node as before");
    let restarted = wait_until(PATIENCE, || {
        let node = node_on(&test, &operator, asked);
        node.is_some_and(|node| {
            node.incarnation > asked_before.incarnation && node.status == "ready"
        })
    });
    assert!(restarted, "{:?}\n{}", nodes(&operator), test.kept());
    assert_eq!(probes.stop().fewest, Some(1), "it served all the time");
    assert_eq!(nodes(&operator).len(), 3);
    assert_eq!(node_on(&test, &operator, waiting[0]), None);
    test.cluster.stop().unwrap();
}

#[test]
fn a_cluster_works_while_every_third_frame_is_lost() {
    let template = json!({ "minimumRequiredInstances": 3, "maximumNeededInstances": 4 });
    let Some(mut test) = hello_on_hosts(4, &template, 5) else {
        return;
    };
    let operator = test.operator();
    let before = nodes(&operator);
    let probes: Vec<_> = (1..=4)
        .map(|worker| probe_inside(&test, &format!("worker-{worker}")))
        .collect();
    if let Err(error) = test.cluster.network().unwrap().lose(30) {
        eprintln!("skipped: {error:#}: apt install nftables");
        return;
    }
    let asked = node_on(&test, &operator, "worker-1").unwrap();
    operator
        .post(&format!("/nodes/{}/restart", asked.id), json!({}))
        .unwrap();
    let restarted = wait_until(PATIENCE * 3, || {
        let node = node_on(&test, &operator, "worker-1");
        node.is_some_and(|node| node.incarnation > asked.incarnation && node.status == "ready")
    });
    assert!(restarted, "{:?}\n{}", nodes(&operator), test.kept());
    pass(lasting(Duration::from_mins(2), LEASE));
    test.cluster.network().unwrap().lose(0).unwrap();

    test.cluster.wait_until_ready().unwrap();
    for (worker, probes) in (1..=4).zip(probes) {
        let fewest = probes.stop().fewest;
        let expected = usize::from(worker != 1);
        assert_eq!(fewest, Some(expected), "worker-{worker}\n{}", test.kept());
    }
    for node in nodes(&operator) {
        let same = before.contains(&node) || node.id == asked.id;
        assert!(same, "{node:?} was none of {before:?}");
    }
    test.cluster.stop().unwrap();
}
