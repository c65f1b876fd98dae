//! Processes that do not behave.

use std::fs;

use klusterkite_tests::process::{processes_below, signal, wait_until};
use rustix::process::Signal;

use super::stage::{PATIENCE, node_on, processes_on_hosts};
use crate::support::TestCluster;

/// Each of them is one process of the node.
const MANIFEST: &str = r#"
priority = role
processes {
  daemon {
    # Its child has a session of its own and loses its parent.
    command = [sh, "-c", "(setsid sh -c 'exec sleep 1001' &); exec sleep 1002"]
    stop { grace = 500ms }
  }
  deaf {
    command = [sh, "-c", "trap '' TERM; while :; do sleep 1003; done"]
    stop { grace = 500ms }
  }
  mute {
    command = [sh, "-c", "exec >&- 2>&-; exec sleep 1004"]
    stop { grace = 500ms }
  }
}
"#;

#[test]
fn nothing_is_left_of_processes_that_fork_ignore_term_or_close_their_output() {
    let Some(mut test) = processes_on_hosts(4, MANIFEST) else {
        return;
    };
    let operator = test.operator();
    for host in ["worker-1", "worker-2", "worker-3", "worker-4"] {
        let running = running(&test, host);
        for second in 1001..=1004 {
            let name = second.to_string();
            assert!(running.contains(&name), "{name} does not run: {running:?}");
        }
    }
    let before = node_on(&test, &operator, "worker-1").unwrap();
    let mut launcher = test.cluster.launchers.remove("worker-1").unwrap();
    launcher.stop().unwrap();
    let left = processes_below(&test.cluster.container("worker-1"));
    assert_eq!(left, [0; 0], "{}", test.kept());
    test.cluster.start_launcher("worker-1").unwrap();
    let again = wait_until(PATIENCE, || {
        let node = node_on(&test, &operator, "worker-1");
        node.is_some_and(|node| node.incarnation > before.incarnation && node.status == "ready")
    });
    assert!(again, "{}", test.kept());

    // A host that is killed takes nothing with it: its launcher does.
    let before = node_on(&test, &operator, "worker-2").unwrap();
    let old = processes_below(&test.cluster.container("worker-2"));
    let launcher = test.cluster.launchers["worker-2"].id();
    for id in klusterkite_tests::process::processes_with("klusterkite-service") {
        if old.contains(&id) {
            signal(id, Signal::KILL);
        }
    }
    let again = wait_until(PATIENCE, || {
        let node = node_on(&test, &operator, "worker-2");
        node.is_some_and(|node| node.incarnation > before.incarnation && node.status == "ready")
    });
    assert!(again, "{}", test.kept());
    let now = processes_below(&test.cluster.container("worker-2"));
    let left: Vec<&u32> = old
        .iter()
        .filter(|id| **id != launcher && now.contains(id))
        .collect();
    assert!(left.is_empty(), "{left:?}\n{}", test.kept());
    test.cluster.stop().unwrap();
}

/// Returns the last arguments of what runs on a host.
fn running(test: &TestCluster, host: &str) -> Vec<String> {
    let ids = processes_below(&test.cluster.container(host));
    ids.iter()
        .filter_map(|id| {
            let line = fs::read_to_string(format!("/proc/{id}/cmdline")).ok()?;
            let last = line.trim_end_matches('\0').rsplit('\0').next()?;
            Some(last.to_owned())
        })
        .collect()
}
