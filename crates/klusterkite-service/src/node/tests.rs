use std::collections::BTreeSet;

use klusterkite_wire::start::StartConfiguration;
use klusterkite_wire::{ConfigurationId, LeaderEpoch};

use super::*;

mod stop;

/// A node with a clock; what it does is told as text.
struct Bench {
    node: Node,
    now: Duration,
}

impl Bench {
    /// Starts a node of processes `a`, `b`, … with these rules.
    fn new(rules: &[ProcessRules], has_launcher: bool) -> Self {
        let mut node = Node::new(rules.to_vec(), has_launcher, Some(STOP_LIMIT));
        node.start();
        let now = Duration::ZERO;
        Self { node, now }
    }

    /// A ready node of one process.
    fn ready(rules: ProcessRules) -> Self {
        let mut bench = Self::new(&[rules], true);
        bench.put(Event::Started { process: 0 });
        bench
    }

    fn put(&mut self, event: Event) -> String {
        let actions = self.node.handle(self.now, event);
        let texts: Vec<String> = actions.iter().map(show).collect();
        texts.join(", ")
    }

    /// Sends a signal to end so much later that it is another one.
    fn terminate_again(&mut self) -> String {
        self.now += SAME_SIGNAL;
        self.put(Event::Terminate)
    }

    /// Lets the time pass until the node has something to do; says how many milliseconds passed.
    fn pass(&mut self) -> String {
        let before = self.now;
        self.now = self.node.deadline().expect("the node waits for a time");
        let waited = self.now.saturating_sub(before).as_millis();
        format!("{waited} ms: {}", self.put(Event::TimePassed))
    }
}

fn rules() -> ProcessRules {
    ProcessRules {
        name: "a".to_owned(),
        waits_for_ready: false,
        readiness_failures: 3,
        liveness_failures: 2,
        watchdog: None,
        restarts: 0,
        grace: Duration::from_secs(10),
        drain: Duration::from_secs(2),
        hook: None,
        after: Vec::new(),
    }
}

/// Time that the launcher gives for a stop by a signal.
const STOP_LIMIT: Duration = Duration::from_secs(30);

fn show(action: &Action) -> String {
    match action {
        Action::Start { process } => format!("start {process}"),
        Action::Signal { process } => format!("signal {process}"),
        Action::Kill { process } => format!("kill {process}"),
        Action::RunHook { process } => format!("hook {process}"),
        Action::EndHook { process } => format!("end hook {process}"),
        Action::Report(report) => {
            let states: Vec<String> = report
                .processes
                .iter()
                .map(|process| format!("{:?}", process.state))
                .collect();
            format!("report {:?}[{}]", report.status, states.join(" "))
        }
        Action::Answer {
            order_id, state, ..
        } => format!("{state:?} {order_id}"),
        Action::TellLauncher(HostMessage::Ready) => "launcher: ready".to_owned(),
        Action::TellLauncher(HostMessage::Prefetch { order_id, .. }) => {
            format!("launcher: prefetch {order_id}")
        }
        Action::TellLauncher(HostMessage::Stays { order_id }) => {
            format!("launcher: stays {order_id}")
        }
        Action::TellLauncher(HostMessage::Stopping { order_id, next }) => {
            format!("launcher: stopping {order_id} next {}", next.is_some())
        }
        Action::Leave(ending) => format!(
            "leave {}",
            if ending.ordered { "ordered" } else { "failed" }
        ),
    }
}

fn order(id: i64, kind: OrderKind) -> Order {
    Order {
        id: OrderId(id),
        epoch: LeaderEpoch(1),
        kind,
        reason: "update".to_owned(),
        deadline_seconds: 60,
        next: Some(StartConfiguration {
            node_template: "t".parse().unwrap(),
            configuration_id: ConfigurationId(8),
            configuration: String::new(),
            packages: Vec::new(),
            package_source: String::new(),
            seeds: Vec::new(),
            entry_point: String::new(),
            start_deadline_seconds: 60,
            node_token: None,
        }),
    }
}

fn ordered(id: i64, kind: OrderKind) -> Event {
    Event::Order(Box::new(order(id, kind)))
}

fn stored(id: i64, error: Option<&str>) -> Event {
    Event::Launcher(LauncherMessage::Stopping {
        order_id: OrderId(id),
        error: error.map(ToOwned::to_owned),
    })
}

fn ended(process: usize) -> Event {
    let exit = "exit 3".to_owned();
    Event::Ended { process, exit }
}

const CLEARED: Event = Event::Cleared { process: 0 };

#[test]
fn a_node_is_ready_when_all_its_processes_are() {
    let waiting = ProcessRules {
        waits_for_ready: true,
        ..rules()
    };
    let mut node = Node::new(vec![rules(), waiting.clone()], true, None);
    let actions: Vec<String> = node.start().iter().map(show).collect();
    assert_eq!(
        actions.join(", "),
        "start 0, start 1, report Starting[Starting Starting]"
    );
    let mut bench = Bench::new(&[rules(), waiting], true);
    assert_eq!(
        bench.put(Event::Started { process: 0 }),
        "report Starting[Ready Starting]"
    );
    assert_eq!(bench.put(Event::Started { process: 1 }), "");
    assert_eq!(
        bench.put(Event::SaidReady { process: 1 }),
        "launcher: ready, report Ready[Ready Ready]"
    );
    assert_eq!(bench.node.deadline(), None);
}

#[test]
fn a_node_without_processes_is_ready_at_once_and_stops_at_once() {
    let mut node = Node::new(Vec::new(), true, None);
    let actions: Vec<String> = node.start().iter().map(show).collect();
    assert_eq!(actions.join(", "), "launcher: ready, report Ready[]");
    let actions = node.handle(Duration::ZERO, Event::Terminate);
    let actions: Vec<String> = actions.iter().map(show).collect();
    assert_eq!(
        actions.join(", "),
        "report Draining[], report Stopping[], leave ordered"
    );
}

#[test]
fn readiness_is_lost_after_failures_in_a_row_and_comes_back() {
    let mut bench = Bench::new(
        &[ProcessRules {
            waits_for_ready: true,
            ..rules()
        }],
        true,
    );
    let good = || Event::Readiness {
        process: 0,
        result: Ok(()),
    };
    let bad = || Event::Readiness {
        process: 0,
        result: Err("no answer".to_owned()),
    };
    assert_eq!(bench.put(bad()), "report Starting[Starting]");
    assert_eq!(
        bench.node.report().reason.as_deref(),
        Some("process `a` is not ready: no answer")
    );
    assert_eq!(bench.put(bad()), "");
    assert_eq!(bench.put(good()), "launcher: ready, report Ready[Ready]");
    assert_eq!(bench.put(bad()), "");
    assert_eq!(bench.put(bad()), "");
    assert_eq!(bench.put(good()), "");
    assert_eq!(bench.put(bad()), "");
    assert_eq!(bench.put(bad()), "");
    assert_eq!(bench.put(bad()), "report Starting[Starting]");
    assert_eq!(bench.put(good()), "report Ready[Ready]");
}

#[test]
fn a_stop_order_is_stored_withdrawn_drained_signalled_and_answered_in_this_order() {
    let mut bench = Bench::ready(rules());
    assert_eq!(
        bench.put(ordered(1, OrderKind::Stop)),
        "launcher: stopping 1 next true"
    );
    assert_eq!(
        bench.put(stored(1, None)),
        "Accepted 1, report Draining[Ready]"
    );
    assert_eq!(bench.pass(), "2000 ms: signal 0, report Stopping[Stopping]");
    assert_eq!(bench.put(ended(0)), "report Stopping[Stopping]");
    assert_eq!(
        bench.put(CLEARED),
        "report Stopping[Ended], Done 1, leave ordered"
    );
    assert_eq!(bench.put(Event::Terminate), "");
}

#[test]
fn a_process_that_ignores_its_signal_is_killed_after_its_grace() {
    let mut bench = Bench::ready(rules());
    bench.put(ordered(1, OrderKind::Stop));
    bench.put(stored(1, None));
    bench.pass();
    assert_eq!(bench.pass(), "10000 ms: kill 0");
    assert_eq!(bench.put(ended(0)), "report Stopping[Stopping]");
    assert_eq!(
        bench.put(CLEARED),
        "report Stopping[Ended], Done 1, leave ordered"
    );
}

#[test]
fn a_process_that_hangs_in_the_kernel_does_not_hold_the_node() {
    let mut bench = Bench::ready(rules());
    bench.put(Event::Terminate);
    bench.pass();
    assert_eq!(bench.pass(), "10000 ms: kill 0");
    assert_eq!(
        bench.pass(),
        "5000 ms: report Stopping[Ended], leave ordered"
    );
}

#[test]
fn what_a_process_leaves_behind_has_the_rest_of_the_grace() {
    let mut bench = Bench::ready(rules());
    bench.put(Event::Terminate);
    bench.pass();
    bench.put(ended(0));
    assert_eq!(bench.pass(), "10000 ms: kill 0");
    assert_eq!(bench.put(CLEARED), "report Stopping[Ended], leave ordered");
}

#[test]
fn the_deadline_of_an_order_bounds_drain_delay_and_grace() {
    let cases = [
        // deadline, drain, grace → drain, until kill
        (60, 2, 10, 2000, 10_000),
        (20, 30, 10, 8000, 10_000),
        (8, 2, 10, 0, 6000),
        (1, 2, 10, 0, 0),
    ];
    for (deadline_seconds, drain, grace, drained, killed) in cases {
        let mut bench = Bench::ready(ProcessRules {
            drain: Duration::from_secs(drain),
            grace: Duration::from_secs(grace),
            ..rules()
        });
        bench.put(Event::Order(Box::new(Order {
            deadline_seconds,
            ..order(1, OrderKind::Stop)
        })));
        let said = bench.put(stored(1, None));
        if drained == 0 {
            assert!(said.contains("report Draining[Ready], signal 0"), "{said}");
        } else {
            let expected = format!("{drained} ms: signal 0, report Stopping[Stopping]");
            assert_eq!(bench.pass(), expected);
        }
        assert_eq!(bench.pass(), format!("{killed} ms: kill 0"));
    }
}

#[test]
fn a_stop_order_is_refused_when_what_comes_next_is_not_safe() {
    let mut bench = Bench::ready(rules());
    bench.put(ordered(1, OrderKind::Stop));
    assert_eq!(bench.put(stored(1, Some("disk full"))), "Refused 1");
    bench.put(ordered(2, OrderKind::Stop));
    assert_eq!(bench.put(stored(1, None)), "");
    assert_eq!(bench.put(ordered(3, OrderKind::Stop)), "Refused 3");
    assert_eq!(bench.pass(), "30000 ms: Refused 2");
    // The launcher has stored it at last: it must not take the node for one that stops.
    assert_eq!(bench.put(stored(2, None)), "launcher: stays 2");
    assert_eq!(bench.put(stored(2, Some("disk full"))), "");
    bench.put(ordered(4, OrderKind::Stop));
    assert_eq!(bench.put(Event::LauncherGone), "Refused 4");
    assert_eq!(bench.put(ordered(5, OrderKind::Stop)), "Refused 5");
    assert_eq!(bench.node.report().status, ReportedStatus::Ready);
    let without_next = Order {
        next: None,
        ..order(6, OrderKind::Stop)
    };
    assert_eq!(
        bench.put(Event::Order(Box::new(without_next))),
        "Accepted 6, report Draining[Ready]"
    );
    assert_eq!(bench.put(ordered(7, OrderKind::Stop)), "Refused 7");
}

#[test]
fn a_drain_order_withdraws_the_node_and_keeps_it_running() {
    let mut bench = Bench::ready(rules());
    assert_eq!(
        bench.put(ordered(1, OrderKind::Drain)),
        "report Draining[Ready], Done 1"
    );
    assert_eq!(bench.node.deadline(), None);
    bench.put(ordered(2, OrderKind::Stop));
    assert_eq!(bench.put(stored(2, None)), "Accepted 2");
    assert_eq!(bench.pass(), "2000 ms: signal 0, report Stopping[Stopping]");
}

#[test]
fn a_prefetch_is_passed_on_and_answered_as_the_launcher_says() {
    let mut bench = Bench::ready(rules());
    let prefetched = |id: i64, error: Option<&str>| {
        Event::Launcher(LauncherMessage::Prefetched {
            order_id: OrderId(id),
            error: error.map(ToOwned::to_owned),
        })
    };
    let passed_on = bench.put(ordered(1, OrderKind::Prefetch));
    assert_eq!(passed_on, "launcher: prefetch 1");
    assert_eq!(bench.put(prefetched(2, None)), "");
    assert_eq!(bench.put(prefetched(1, None)), "Done 1");
    bench.put(ordered(2, OrderKind::Prefetch));
    assert_eq!(bench.put(prefetched(2, Some("feed is down"))), "Refused 2");
    bench.put(ordered(3, OrderKind::Prefetch));
    assert_eq!(bench.pass(), "60000 ms: Refused 3");
    bench.put(ordered(4, OrderKind::Prefetch));
    assert_eq!(bench.put(Event::LauncherGone), "Refused 4");
    assert_eq!(bench.put(ordered(5, OrderKind::Prefetch)), "Refused 5");
    assert_eq!(bench.node.report().status, ReportedStatus::Ready);
}

#[test]
fn a_process_that_dies_is_restarted_within_its_budget_and_then_fails_the_node() {
    let mut bench = Bench::ready(ProcessRules {
        restarts: 2,
        ..rules()
    });
    assert_eq!(bench.put(ended(0)), "kill 0, report Starting[Stopping]");
    assert_eq!(bench.put(CLEARED), "report Starting[Ended]");
    assert_eq!(
        bench.node.report().reason.as_deref(),
        Some("process `a` ended (exit 3) and is restarted, 1 of 2 times")
    );
    assert_eq!(bench.pass(), "200 ms: start 0, report Starting[Starting]");
    assert_eq!(
        bench.put(Event::Started { process: 0 }),
        "report Ready[Ready]"
    );
    bench.put(ended(0));
    bench.put(CLEARED);
    assert_eq!(bench.pass(), "400 ms: start 0, report Starting[Starting]");
    assert_eq!(bench.put(ended(0)), "kill 0, report Failed[Stopping]");
    assert_eq!(
        bench.node.report().reason.as_deref(),
        Some("process `a` ended (exit 3) and its 2 restarts are used up")
    );
    assert_eq!(bench.put(CLEARED), "report Failed[Ended], leave failed");
}

#[test]
fn one_dead_process_stops_the_others_without_a_drain_delay() {
    let mut bench = Bench::new(&[rules(), rules()], true);
    bench.put(Event::Started { process: 0 });
    bench.put(Event::Started { process: 1 });
    assert_eq!(
        bench.put(ended(0)),
        "kill 0, report Failed[Stopping Ready], signal 1, report Failed[Stopping Stopping]"
    );
    bench.put(CLEARED);
    bench.put(ended(1));
    assert_eq!(
        bench.put(Event::Cleared { process: 1 }),
        "report Failed[Ended Ended], leave failed"
    );
}

#[test]
fn a_process_that_is_not_alive_is_stopped_and_counts_as_dead() {
    let mut bench = Bench::ready(ProcessRules {
        restarts: 1,
        ..rules()
    });
    let dead = || Event::Liveness {
        process: 0,
        result: Err("no answer".to_owned()),
    };
    assert_eq!(bench.put(dead()), "");
    let alive = Event::Liveness {
        process: 0,
        result: Ok(()),
    };
    assert_eq!(bench.put(alive), "");
    assert_eq!(bench.put(dead()), "");
    assert_eq!(bench.put(dead()), "signal 0, report Starting[Stopping]");
    assert_eq!(bench.put(dead()), "");
    assert_eq!(bench.pass(), "10000 ms: kill 0");
    bench.put(ended(0));
    bench.put(CLEARED);
    assert_eq!(
        bench.node.report().reason.as_deref(),
        Some(
            "process `a` ended (stopped because its liveness probe failed: no answer; exit 3) \
             and is restarted, 1 of 1 times"
        )
    );
    assert_eq!(bench.pass(), "200 ms: start 0, report Starting[Starting]");
}

#[test]
fn a_process_that_promised_to_say_that_it_is_alive_has_to() {
    let mut bench = Bench::ready(ProcessRules {
        watchdog: Some(Duration::from_secs(6)),
        ..rules()
    });
    bench.now += Duration::from_secs(5);
    bench.put(Event::SaidAlive { process: 0 });
    assert_eq!(bench.pass(), "6000 ms: signal 0, report Starting[Stopping]");
}

#[test]
fn the_first_signal_stops_the_node_and_the_second_kills_at_once() {
    let mut bench = Bench::ready(rules());
    assert_eq!(bench.put(Event::Terminate), "report Draining[Ready]");
    assert_eq!(
        bench.terminate_again(),
        "signal 0, kill 0, report Stopping[Stopping]"
    );
    bench.put(ended(0));
    assert_eq!(bench.put(CLEARED), "report Stopping[Ended], leave ordered");
}

#[test]
fn the_signals_of_a_dying_launcher_and_of_the_next_one_do_not_kill() {
    // The kernel tells of each dying thread of the launcher, before and after its socket ends.
    for events in [
        vec![Event::LauncherGone, Event::Terminate],
        vec![Event::Terminate, Event::LauncherGone],
        vec![
            Event::Terminate,
            Event::Terminate,
            Event::LauncherGone,
            Event::Terminate,
        ],
    ] {
        let mut bench = Bench::ready(rules());
        for event in events {
            bench.put(event);
        }
        assert_eq!(bench.node.report().status, ReportedStatus::Draining);
        assert_eq!(
            bench.terminate_again(),
            "signal 0, report Stopping[Stopping]"
        );
        assert_eq!(bench.terminate_again(), "kill 0");
    }
}

#[test]
fn a_signal_ends_the_drain_delay_of_an_order() {
    let mut bench = Bench::ready(rules());
    bench.put(ordered(1, OrderKind::Stop));
    bench.put(stored(1, None));
    assert_eq!(
        bench.put(Event::Terminate),
        "signal 0, report Stopping[Stopping]"
    );
}

#[test]
fn an_order_that_is_stored_while_the_node_stops_is_answered_too() {
    let mut bench = Bench::ready(rules());
    bench.put(ordered(1, OrderKind::Stop));
    bench.put(Event::Terminate);
    assert_eq!(bench.put(stored(1, None)), "Accepted 1");
    bench.pass();
    bench.put(ended(0));
    assert_eq!(
        bench.put(CLEARED),
        "report Stopping[Ended], Done 1, leave ordered"
    );
}

#[test]
fn a_fenced_node_stops_and_does_not_count_as_ordered() {
    let mut bench = Bench::ready(rules());
    assert_eq!(bench.put(Event::Fenced), "report Draining[Ready]");
    assert_eq!(bench.put(Event::Fenced), "");
    bench.pass();
    bench.put(ended(0));
    assert_eq!(bench.put(CLEARED), "report Stopping[Ended], leave failed");
}

#[test]
fn a_node_that_was_never_ready_has_nothing_to_drain() {
    let mut bench = Bench::new(
        &[ProcessRules {
            waits_for_ready: true,
            ..rules()
        }],
        true,
    );
    bench.put(Event::Started { process: 0 });
    assert_eq!(
        bench.put(Event::Terminate),
        "report Draining[Starting], signal 0, report Stopping[Stopping]"
    );
}

#[test]
fn a_process_that_waits_for_its_restart_is_not_started_by_a_stopping_node() {
    let mut bench = Bench::ready(ProcessRules {
        restarts: 5,
        ..rules()
    });
    bench.put(ended(0));
    bench.put(CLEARED);
    assert_eq!(
        bench.put(Event::Terminate),
        "report Draining[Ended], leave ordered"
    );
}

/// What the shell would know about the processes while random things happen.
struct Model {
    node: Node,
    now: Duration,
    random: u64,
    /// Per process: whether its main process runs, and whether something of its group does.
    runs: Vec<(bool, bool)>,
    killed: BTreeSet<usize>,
    hooks: BTreeSet<usize>,
    told: ReportedStatus,
    stops: bool,
    left: bool,
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut model = Self {
            node: Node::new(Vec::new(), true, None),
            now: Duration::ZERO,
            random: seed,
            runs: Vec::new(),
            killed: BTreeSet::new(),
            hooks: BTreeSet::new(),
            told: ReportedStatus::Starting,
            stops: false,
            left: false,
        };
        let count = 1 + model.below(3);
        let rules: Vec<ProcessRules> = (0..count)
            .map(|place| ProcessRules {
                after: (0..place as usize)
                    .filter(|_| model.below(2) == 0)
                    .collect(),
                hook: (model.below(2) == 0).then_some(Duration::from_secs(3)),
                waits_for_ready: model.below(2) == 0,
                restarts: model.below(4) as u32,
                watchdog: (model.below(4) == 0).then_some(Duration::from_secs(30)),
                ..rules()
            })
            .collect();
        model.runs = vec![(false, false); rules.len()];
        model.node = Node::new(rules, model.below(4) != 0, Some(STOP_LIMIT));
        let actions = model.node.start();
        model.carry_out(actions, false);
        model
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % bound
    }

    fn put(&mut self, event: Event) {
        // A process that is not alive is signalled while the node is published.
        let single = matches!(event, Event::Liveness { .. } | Event::TimePassed);
        let actions = self.node.handle(self.now, event);
        self.carry_out(actions, single);
    }

    fn carry_out(&mut self, actions: Vec<Action>, single: bool) {
        for action in actions {
            assert!(!self.left, "{action:?} after the end");
            match action {
                Action::Start { process } => {
                    assert!(!self.stops, "a stopping node starts nothing");
                    assert!(!self.runs[process].1, "nothing of the last run is left");
                    self.runs[process] = (true, true);
                    self.put(Event::Started { process });
                }
                Action::Signal { .. } => {
                    let published =
                        matches!(self.told, ReportedStatus::Starting | ReportedStatus::Ready);
                    assert!(single || !published, "signalled before it was withdrawn");
                }
                Action::RunHook { process } => {
                    let published =
                        matches!(self.told, ReportedStatus::Starting | ReportedStatus::Ready);
                    assert!(!published, "a hook before it was withdrawn");
                    self.hooks.insert(process);
                }
                Action::EndHook { process } => {
                    assert!(self.hooks.remove(&process), "a hook runs");
                }
                Action::Kill { process } => {
                    self.killed.insert(process);
                }
                Action::Report(report) => self.told = report.status,
                Action::Answer { state, .. } => self.stops |= state == AckState::Accepted,
                Action::TellLauncher(_) => {}
                Action::Leave(_) => {
                    self.left = true;
                    assert!(self.runs.iter().all(|(_, group)| !group), "{:?}", self.runs);
                }
            }
        }
    }

    /// Lets a process end if it runs, and its group if only that is left.
    fn end(&mut self, process: usize) {
        match self.runs[process] {
            (true, _) => {
                self.runs[process].0 = false;
                self.put(ended(process));
            }
            (false, true) => {
                self.runs[process].1 = false;
                self.put(Event::Cleared { process });
            }
            (false, false) => self.put(Event::Cleared { process }),
        }
    }

    fn step(&mut self) {
        let process = self.below(self.runs.len() as u64) as usize;
        let id = 1 + self.below(5) as i64;
        let result = if self.below(2) == 0 {
            Ok(())
        } else {
            Err("no".to_owned())
        };
        match self.below(16) {
            0..=3 => self.end(process),
            4 | 5 => self.put(Event::Readiness { process, result }),
            6 => self.put(Event::Liveness { process, result }),
            7 => self.put(Event::SaidReady { process }),
            8 if self.hooks.remove(&process) => self.put(Event::HookEnded { process }),
            8 if self.below(4) == 0 => self.put(Event::SaidStopping { process }),
            8 => self.put(Event::SaidAlive { process }),
            9 => self.put(ordered(id, OrderKind::Prefetch)),
            10 => self.put(ordered(id, OrderKind::Drain)),
            11 if self.below(8) == 0 => self.put(ordered(id, OrderKind::Stop)),
            12 => self.put(stored(id, None)),
            13 if self.below(16) == 0 => self.put(Event::LauncherGone),
            14 if self.below(32) == 0 => {
                self.stops = true;
                self.put(Event::Fenced);
            }
            _ => {
                // What is killed ends before the node gives it up.
                for process in std::mem::take(&mut self.killed) {
                    self.end(process);
                    self.end(process);
                }
                if let Some(deadline) = self.node.deadline() {
                    self.now = self.now.max(deadline);
                    self.put(Event::TimePassed);
                }
            }
        }
        let failed = self.told == ReportedStatus::Failed;
        self.stops |= failed;
    }
}

#[test]
fn whatever_happens_nothing_is_started_twice_or_too_late_and_the_node_can_be_ended() {
    for seed in 0..3000 {
        let mut model = Model::new(seed);
        for _ in 0..200 {
            model.step();
        }
        model.stops = true;
        for _ in 0..3 {
            model.put(Event::Terminate);
        }
        for process in 0..model.runs.len() {
            model.end(process);
            model.end(process);
        }
        assert!(model.left, "seed {seed}");
        assert_eq!(model.node.deadline(), None, "seed {seed}");
    }
}
