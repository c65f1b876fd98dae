//! Clocks on the wall that jump.
//!
//! A machine has one of them, so that a library gives the programs another one. Clocks that only go on cannot jump
//! while a program runs; what a program does with one that is another after its restart, other tests say.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use klusterkite_tests::process::wait_until;
use serde_json::json;

use super::stage::{LEASE, PATIENCE, compile, hello_on_hosts, lasting, node_on, nodes, pass};

const DAY: i64 = 24 * 60 * 60;

#[test]
fn clocks_that_jump_by_days_end_no_lease_and_fence_nobody() {
    let template = json!({ "minimumRequiredInstances": 1, "maximumNeededInstances": 2 });
    let Some(mut test) = hello_on_hosts(2, &template, 3) else {
        return;
    };
    let library = test.directory().join("jump.so");
    compile("jump.c", &["-shared", "-fPIC"], &library);
    let file = test.directory().join("jump");
    fs::write(&file, 0_i64.to_ne_bytes()).unwrap();
    let clock = File::options().write(true).open(&file).unwrap();
    let jump = |seconds: i64| clock.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();

    for name in ["worker-1", "worker-2", "manager"] {
        let mut launcher = test.cluster.launchers.remove(name).unwrap();
        launcher.stop().unwrap();
        let mut command = test.cluster.launcher_command(name);
        command.env("LD_PRELOAD", &library).env("CLOCK_JUMP", &file);
        test.cluster.start_launcher_by(name, &mut command).unwrap();
    }
    test.cluster.wait_until_ready().unwrap();
    let operator = test.operator();
    let before = nodes(&operator);
    assert_eq!(before.len(), 2, "{before:?}");

    for days in [1, -2, 400] {
        jump(days * DAY);
        pass(lasting(Duration::from_secs(40), LEASE * 2));
        assert_eq!(nodes(&operator), before, "{days} days\n{}", test.kept());
    }
    // A launcher that starts long before its last start is a newer one all the same.
    jump(-400 * DAY);
    let old = node_on(&test, &operator, "worker-1").unwrap();
    let mut launcher = test.cluster.launchers.remove("worker-1").unwrap();
    launcher.stop().unwrap();
    let mut command = test.cluster.launcher_command("worker-1");
    command.env("LD_PRELOAD", &library).env("CLOCK_JUMP", &file);
    test.cluster
        .start_launcher_by("worker-1", &mut command)
        .unwrap();
    let newer = wait_until(PATIENCE, || {
        let node = node_on(&test, &operator, "worker-1");
        node.is_some_and(|node| node.incarnation > old.incarnation && node.status == "ready")
    });
    assert!(newer, "{:?}\n{}", nodes(&operator), test.kept());
    let log = fs::read_to_string(test.cluster.logs().join("worker-1.log")).unwrap();
    let years: std::collections::BTreeSet<&str> =
        log.lines().filter_map(|line| line.get(..4)).collect();
    assert!(years.len() >= 2, "the clock did not jump: {years:?}");
    test.cluster.stop().unwrap();
}
