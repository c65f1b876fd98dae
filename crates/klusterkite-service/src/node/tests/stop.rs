//! The order of starts, and stops with hooks and deadlines.

use super::*;

#[test]
fn a_process_starts_when_those_before_it_are_ready() {
    let waiting = ProcessRules {
        waits_for_ready: true,
        ..rules()
    };
    let after = |after: &[usize]| ProcessRules {
        after: after.to_vec(),
        ..waiting.clone()
    };
    let mut node = Node::new(
        vec![waiting.clone(), after(&[0]), after(&[0, 1])],
        true,
        None,
    );
    let actions: Vec<String> = node.start().iter().map(show).collect();
    assert_eq!(
        actions,
        ["start 0", "report Starting[Starting Starting Starting]"]
    );
    let now = Duration::ZERO;
    let mut bench = Bench { node, now };
    let reason = |bench: &Bench| bench.node.report().reason;
    assert_eq!(
        reason(&bench).as_deref(),
        Some("process `a` waits until `a` is ready")
    );
    assert_eq!(bench.put(Event::Started { process: 0 }), "");
    assert_eq!(
        bench.put(Event::SaidReady { process: 0 }),
        "start 1, report Starting[Ready Starting Starting]"
    );
    bench.put(Event::Started { process: 1 });
    assert_eq!(
        bench.put(Event::SaidReady { process: 1 }),
        "start 2, report Starting[Ready Ready Starting]"
    );
    // What runs is not touched when one before it is not ready any more.
    assert_eq!(
        bench.put(Event::SaidStopping { process: 0 }),
        "report Starting[Starting Ready Starting]"
    );
}

#[test]
fn a_stopping_node_starts_nothing_that_still_waits_for_its_turn() {
    let queued = ProcessRules {
        after: vec![0],
        ..rules()
    };
    let first = ProcessRules {
        waits_for_ready: true,
        ..rules()
    };
    let mut bench = Bench::new(&[first, queued], true);
    bench.put(Event::Started { process: 0 });
    assert_eq!(
        bench.put(Event::Terminate),
        "report Draining[Starting Ended], signal 0, report Stopping[Stopping Ended]"
    );
    bench.put(ended(0));
    assert_eq!(
        bench.put(CLEARED),
        "report Stopping[Ended Ended], leave ordered"
    );
}

#[test]
fn a_process_that_says_that_it_stops_is_withdrawn_and_does_not_come_back() {
    let mut bench = Bench::ready(ProcessRules {
        waits_for_ready: false,
        ..rules()
    });
    let process = 0;
    assert_eq!(
        bench.put(Event::SaidStopping { process }),
        "report Starting[Starting]"
    );
    assert_eq!(bench.put(Event::SaidReady { process }), "");
    let result = Ok(());
    assert_eq!(bench.put(Event::Readiness { process, result }), "");
    assert_eq!(
        bench.node.report().reason.as_deref(),
        Some("process `a` is not ready: it said `STOPPING=1`")
    );
}

fn with_hook() -> ProcessRules {
    ProcessRules {
        hook: Some(Duration::from_secs(5)),
        ..rules()
    }
}

#[test]
fn the_stop_hook_runs_between_the_drain_delay_and_the_signal() {
    let mut bench = Bench::ready(with_hook());
    bench.put(ordered(1, OrderKind::Stop));
    bench.put(stored(1, None));
    assert_eq!(bench.pass(), "2000 ms: hook 0, report Stopping[Stopping]");
    assert_eq!(bench.put(Event::HookEnded { process: 0 }), "signal 0");
    assert_eq!(bench.pass(), "10000 ms: kill 0");
}

#[test]
fn a_stop_hook_that_hangs_is_killed_and_the_stop_goes_on() {
    let mut bench = Bench::ready(with_hook());
    bench.put(Event::Terminate);
    assert_eq!(bench.pass(), "2000 ms: hook 0, report Stopping[Stopping]");
    assert_eq!(bench.pass(), "5000 ms: end hook 0, signal 0");
    assert_eq!(bench.put(Event::HookEnded { process: 0 }), "");
    assert_eq!(bench.pass(), "10000 ms: kill 0");
}

#[test]
fn a_process_that_ends_during_its_stop_hook_ends_the_hook() {
    let mut bench = Bench::ready(with_hook());
    bench.put(Event::Terminate);
    bench.pass();
    assert_eq!(
        bench.put(ended(0)),
        "end hook 0, kill 0, report Stopping[Stopping]"
    );
    assert_eq!(bench.put(CLEARED), "report Stopping[Ended], leave ordered");
}

#[test]
fn one_deadline_bounds_drain_delay_hook_and_grace() {
    let long = ProcessRules {
        drain: Duration::from_hours(1),
        hook: Some(Duration::from_secs(20)),
        grace: Duration::from_secs(30),
        ..rules()
    };
    let mut bench = Bench::ready(long.clone());
    bench.put(ordered(1, OrderKind::Stop));
    bench.put(stored(1, None));
    // The order has 60 s; 2 of them are kept, 20 are the hook's and 30 the grace.
    assert_eq!(bench.pass(), "8000 ms: hook 0, report Stopping[Stopping]");
    assert_eq!(bench.pass(), "20000 ms: end hook 0, signal 0");
    assert_eq!(bench.pass(), "30000 ms: kill 0");

    // A signal has the 30 s of the launcher, less than hook and grace need.
    let mut bench = Bench::ready(long.clone());
    assert_eq!(
        bench.put(Event::Terminate),
        "report Draining[Ready], hook 0, report Stopping[Stopping]"
    );
    assert_eq!(bench.pass(), "0 ms: end hook 0, signal 0");
    assert_eq!(bench.pass(), "28000 ms: kill 0");

    // One that comes during an ordered stop makes it shorter.
    let grace = Duration::from_hours(1);
    let mut bench = Bench::ready(ProcessRules { grace, ..rules() });
    let mut order = order(1, OrderKind::Stop);
    order.deadline_seconds = 7200;
    bench.put(Event::Order(Box::new(order)));
    bench.put(stored(1, None));
    assert_eq!(bench.pass(), "2000 ms: signal 0, report Stopping[Stopping]");
    assert_eq!(bench.put(Event::Terminate), "");
    assert_eq!(bench.pass(), "28000 ms: kill 0");
}

#[test]
fn a_second_signal_kills_the_stop_hook_too() {
    let mut bench = Bench::ready(with_hook());
    bench.put(Event::Terminate);
    bench.pass();
    assert_eq!(bench.put(Event::Terminate), "end hook 0, kill 0");
}

#[test]
fn an_exit_code_that_says_that_a_restart_does_not_help_is_believed() {
    let mut bench = Bench::ready(ProcessRules {
        restarts: 5,
        ..rules()
    });
    let exit = "exit 78".to_owned();
    bench.put(Event::Ended { process: 0, exit });
    assert_eq!(bench.node.report().status, ReportedStatus::Failed);
    let reason = "process `a` ended (exit 78) and that code says that a restart does not help";
    assert_eq!(bench.node.report().reason.as_deref(), Some(reason));
    let left = bench.node.handle(bench.now, CLEARED);
    assert!(matches!(&left[..], [.., Action::Leave(ending)] if ending.permanent));
}

#[test]
fn a_process_that_needs_longer_to_end_says_so_again_and_again() {
    let process = 0;
    let more = |seconds| Event::SaidMoreTime {
        process,
        time: Duration::from_secs(seconds),
    };
    let mut bench = Bench::ready(ProcessRules {
        drain: Duration::ZERO,
        ..rules()
    });
    // It has not been asked to end.
    assert_eq!(bench.put(more(15)), "");
    assert_eq!(bench.node.deadline(), None);
    bench.put(Event::Terminate);
    let grace = rules().grace;
    assert_eq!(bench.node.deadline(), Some(grace));
    // Less than it has is not taken from it.
    bench.put(more(1));
    assert_eq!(bench.node.deadline(), Some(grace));
    bench.now += Duration::from_secs(9);
    bench.put(more(15));
    assert_eq!(bench.node.deadline(), Some(Duration::from_secs(24)));
    // The deadline of the stop holds, whatever it says.
    bench.put(more(u64::MAX));
    let latest = STOP_LIMIT.saturating_sub(KILL_RESERVE);
    assert_eq!(bench.node.deadline(), Some(latest));
    assert_eq!(bench.pass(), "19000 ms: kill 0");
    // Once killed it has nothing to say.
    bench.put(more(60));
    assert_eq!(bench.node.deadline(), Some(latest + KILL_TIME_MAX));
}

#[test]
fn more_time_ends_where_no_deadline_bounds_it_and_at_a_second_signal() {
    let process = 0;
    let time = Duration::MAX;
    let rules = ProcessRules {
        liveness_failures: 1,
        restarts: 1,
        ..rules()
    };
    let dead = || Event::Liveness {
        process,
        result: Err("no answer".to_owned()),
    };
    let mut bench = Bench::ready(rules.clone());
    bench.put(dead());
    for _ in 0..3 {
        bench.put(Event::SaidMoreTime { process, time });
        bench.now += Duration::from_secs(1);
    }
    let most = rules.grace + MORE_TIME_MAX;
    assert_eq!(bench.node.deadline(), Some(most));
    // A stop of the node takes it along.
    bench.put(Event::Terminate);
    bench.put(Event::SaidMoreTime { process, time });
    let latest = (bench.now + STOP_LIMIT).saturating_sub(KILL_RESERVE);
    let until = |bench: &Bench| match bench.node.processes[0].stage {
        Stage::Stopping { kill_at, .. } => kill_at,
        _ => None,
    };
    assert_eq!(until(&bench), Some(latest));
    let told = bench.terminate_again();
    assert!(told.contains("kill 0"), "{told}");
}
