use klusterkite_wire::start::StartConfiguration;
use klusterkite_wire::{ConfigurationId, OrderId};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const DAY_MS: u64 = 24 * 3600 * 1000;

fn policy() -> Policy {
    Policy {
        url_count: 2,
        away_tries: 3,
        away_pause: SECOND,
        backoff_min: SECOND,
        backoff_max: 60 * SECOND,
        backoff_reset: 60 * SECOND,
        stop_grace: 30 * SECOND,
        last_known_good_max_age: Some(24 * 3600 * SECOND),
        has_fallback: false,
        runs_stop_action: false,
    }
}

fn start(template: &str, configuration: i64) -> StartConfiguration {
    StartConfiguration {
        node_template: template.parse().unwrap(),
        configuration_id: ConfigurationId(configuration),
        configuration: String::new(),
        packages: Vec::new(),
        package_source: "http://feed/v3/index.json".to_owned(),
        seeds: Vec::new(),
        entry_point: "klusterkite-service".to_owned(),
        start_deadline_seconds: 20,
        node_token: None,
    }
}

fn answer(configuration: i64) -> Event {
    Event::Answered(Answer::Start(Box::new(start("orders", configuration))))
}

fn away() -> Event {
    Event::Answered(Answer::Away {
        reason: "connection refused".to_owned(),
    })
}

fn wait(seconds: u32) -> Event {
    Event::Answered(Answer::Wait {
        code: "clusterFull".to_owned(),
        pause: seconds * SECOND,
    })
}

fn crash(exit: &str) -> CrashReport {
    CrashReport {
        exit: exit.to_owned(),
        last_lines: vec!["last words".to_owned()],
        crashes: 0,
    }
}

fn crash_number(crashes: u32, exit: &str) -> CrashReport {
    CrashReport {
        crashes,
        ..crash(exit)
    }
}

fn ended(exit: &str) -> Event {
    Event::Ended(crash(exit))
}

fn next(configuration: i64, back_to: u64) -> Next {
    Next {
        order_id: OrderId(1),
        start: start("orders", configuration),
        back_to: Some(ReleaseNumber(back_to)),
        tries: 0,
    }
}

/// A cycle with a clock, and shorthands for what it does.
struct Script {
    cycle: Cycle,
    monotonic: Duration,
    unix_milliseconds: u64,
    random: u64,
}

impl Script {
    fn new(policy: Policy, state: State, next: Option<Next>) -> (Self, Vec<String>) {
        let mut script = Self {
            cycle: Cycle::new(policy, state, next),
            monotonic: Duration::from_secs(1000),
            unix_milliseconds: 100 * DAY_MS,
            random: 0,
        };
        let actions = script.cycle.begin(script.now());
        (script, shorten(actions))
    }

    fn fresh() -> (Self, Vec<String>) {
        Self::new(policy(), State::default(), None)
    }

    /// A launcher that runs release 1 of configuration 1, ready.
    fn ready() -> Self {
        let (mut script, _) = Self::fresh();
        script.on(answer(1));
        script.on(Event::Installed(ReleaseNumber(1)));
        script.on(Event::Ready);
        script
    }

    fn now(&self) -> Moment {
        let Self {
            monotonic,
            unix_milliseconds,
            random,
            ..
        } = *self;
        Moment {
            monotonic,
            unix_milliseconds,
            random,
        }
    }

    fn on(&mut self, event: Event) -> Vec<String> {
        shorten(self.cycle.handle(event, self.now()))
    }

    fn pass(&mut self, time: Duration) {
        self.monotonic += time;
        self.unix_milliseconds += u64::try_from(time.as_millis()).unwrap();
    }

    /// Lets the time pass up to the deadline; returns how long that was and what follows.
    fn tick(&mut self) -> (Duration, Vec<String>) {
        let deadline = self.cycle.deadline().unwrap();
        let time = deadline.saturating_sub(self.monotonic);
        self.pass(time);
        (time, self.on(Event::Tick))
    }

    /// Restarts the launcher: only what is stored stays.
    fn restart(&mut self) -> Vec<String> {
        let state = serde_json::to_string(self.cycle.state()).unwrap();
        let next = serde_json::to_string(&self.cycle.next).unwrap();
        let state = serde_json::from_str(&state).unwrap();
        let next = serde_json::from_str(&next).unwrap();
        self.cycle = Cycle::new(self.cycle.policy.clone(), state, next);
        shorten(self.cycle.begin(self.now()))
    }

    /// All URLs are away in all rounds; returns what is done then.
    fn everybody_is_away(&mut self) -> Vec<String> {
        for _ in 0..2 {
            assert_eq!(self.on(away()), ["store state", "ask 1"]);
            assert_eq!(self.on(away()), [""; 0]);
            assert_eq!(self.tick().1, ["store state", "ask 0"]);
        }
        assert_eq!(self.on(away()), ["store state", "ask 1"]);
        self.on(away())
    }
}

fn shorten(actions: Vec<Action>) -> Vec<String> {
    let text = |action| match action {
        Action::Say(..) => None,
        Action::StoreState => Some("store state".to_owned()),
        Action::StoreNext => Some("store next".to_owned()),
        Action::Ask { url } => Some(format!("ask {url}")),
        Action::Install(Install::Answer(start)) => {
            Some(format!("install {}", start.configuration_id))
        }
        Action::Install(Install::Next(start)) => {
            Some(format!("install next {}", start.configuration_id))
        }
        Action::Install(Install::Fallback) => Some("install fallback".to_owned()),
        Action::Install(Install::Release(release)) => Some(format!("use release {}", release.0)),
        Action::Run { release, origin } => Some(format!("run {} {origin:?}", release.0)),
        Action::Terminate => Some("terminate".to_owned()),
        Action::Kill => Some("kill".to_owned()),
        Action::Tidy => Some("tidy".to_owned()),
        Action::StartStopCommand => Some("stop action".to_owned()),
        Action::Exit { success } => Some(format!("exit {success}")),
    };
    actions.into_iter().filter_map(text).collect()
}

#[test]
fn a_fresh_launcher_asks_installs_and_runs() {
    let (mut script, begun) = Script::fresh();
    assert_eq!(begun, ["store state", "ask 0"]);
    assert_eq!(script.on(answer(7)), ["store state", "install 7"]);
    let run = script.on(Event::Installed(ReleaseNumber(1)));
    assert_eq!(run, ["store state", "run 1 Answer"]);
    assert_eq!(script.on(Event::Ready), ["store state", "tidy"]);
    assert_eq!(script.cycle.state().good.unwrap().release, ReleaseNumber(1));
}

#[test]
fn each_request_has_a_new_incarnation_that_is_stored_before() {
    let (mut script, _) = Script::fresh();
    let first = script.cycle.state().incarnation.unwrap();
    assert_eq!(first, Incarnation(script.unix_milliseconds));
    assert_eq!(script.cycle.state().last_incarnation, None);
    // The clock goes back; the incarnation does not.
    script.unix_milliseconds -= DAY_MS;
    assert_eq!(script.on(away()), ["store state", "ask 1"]);
    assert_eq!(
        script.cycle.state().incarnation,
        Some(Incarnation(first.0 + 1))
    );
    assert_eq!(script.cycle.state().last_incarnation, Some(first));
}

#[test]
fn a_manager_that_says_wait_makes_nothing_start_and_the_last_known_good_forgotten() {
    let mut script = Script::ready();
    script.on(ended("signal 11"));
    script.tick();
    script.random = 255;
    assert_eq!(script.on(wait(10)), ["store state"]);
    assert_eq!(script.cycle.state().good, None);
    assert_eq!(
        script.cycle.state().crash,
        None,
        "the manager has heard of it"
    );
    let (pause, then) = script.tick();
    assert!(pause > 10 * SECOND && pause < 13 * SECOND, "{pause:?}");
    assert_eq!(then, ["store state", "ask 0"]);
    // Nothing is left that could be started without an answer.
    assert_eq!(script.everybody_is_away(), [""; 0]);
}

#[test]
fn a_manager_that_says_at_once_is_not_hammered() {
    let (mut script, _) = Script::fresh();
    script.on(wait(0));
    assert_eq!(script.tick().0, SECOND);
}

#[test]
fn too_many_requests_are_waited_for_and_forget_nothing() {
    let mut script = Script::ready();
    script.on(ended("exit 1"));
    script.tick();
    script.on(Event::Answered(Answer::Later { pause: 5 * SECOND }));
    assert_eq!(
        script.tick(),
        (
            5 * SECOND,
            vec!["store state".to_owned(), "ask 0".to_owned()]
        )
    );
    assert!(script.cycle.state().good.is_some());
    assert!(script.cycle.state().crash.is_some());
}

#[test]
fn a_refused_launcher_starts_nothing_and_asks_less_and_less_often() {
    let mut script = Script::ready();
    script.on(ended("exit 1"));
    script.tick();
    script.random = u64::MAX / 2;
    let mut longest = Duration::ZERO;
    for _ in 0..20 {
        let refused = Answer::Refused {
            reason: "409 nodeIdInUse".to_owned(),
        };
        assert_eq!(script.on(Event::Answered(refused)), [""; 0]);
        let (pause, then) = script.tick();
        assert!(pause >= SECOND && pause <= 60 * SECOND, "{pause:?}");
        longest = longest.max(pause);
        assert_eq!(then, ["store state", "ask 0"]);
    }
    assert!(longest > 10 * SECOND, "{longest:?}");
}

#[test]
fn the_last_known_good_runs_after_three_rounds_without_an_answer() {
    let mut script = Script::ready();
    script.on(ended("signal 9"));
    script.tick();
    assert_eq!(script.everybody_is_away(), ["store state", "use release 1"]);
    let run = script.on(Event::Installed(ReleaseNumber(1)));
    assert_eq!(run, ["store state", "run 1 LastKnownGood"]);
}

#[test]
fn what_was_never_ready_is_no_last_known_good() {
    let (mut script, _) = Script::fresh();
    script.on(answer(1));
    script.on(Event::Installed(ReleaseNumber(1)));
    script.on(ended("exit 1"));
    script.tick();
    assert_eq!(script.everybody_is_away(), [""; 0]);
    assert_eq!(script.tick().1, ["store state", "ask 0"]);
}

#[test]
fn the_last_known_good_is_not_started_after_a_day_unless_the_policy_says_so() {
    for (max_age, hours, expected) in [
        (Some(24 * 3600 * SECOND), 23, "use release 1"),
        (Some(24 * 3600 * SECOND), 25, "install fallback"),
        (None, 10_000, "use release 1"),
    ] {
        let mut script = Script::ready();
        script.cycle.policy.last_known_good_max_age = max_age;
        script.cycle.policy.has_fallback = true;
        // A long run counts: the age is that of the last moment it ran.
        script.pass(1000 * 3600 * SECOND);
        script.on(ended("signal 9"));
        script.pass(hours * 3600 * SECOND);
        script.restart();
        assert_eq!(
            script.everybody_is_away(),
            ["store state", expected],
            "{hours}"
        );
    }
}

#[test]
fn while_a_node_runs_the_time_is_noted_for_a_launcher_that_is_killed() {
    let mut script = Script::ready();
    for _ in 0..3 {
        assert_eq!(script.tick(), (TOUCH_EVERY, vec!["store state".to_owned()]));
    }
    let good = script.cycle.state().good.unwrap();
    assert_eq!(good.last_ran_unix_milliseconds, script.unix_milliseconds);
}

#[test]
fn a_fallback_is_started_when_there_is_nothing_better_and_then_asked_again() {
    let (mut script, _) = Script::fresh();
    script.cycle.policy.has_fallback = true;
    assert_eq!(
        script.everybody_is_away(),
        ["store state", "install fallback"]
    );
    assert_eq!(
        script.on(Event::NotInstalled("disk full".to_owned())),
        ["store state"]
    );
    assert_eq!(script.tick().1, ["store state", "ask 0"]);
    script.everybody_is_away();
    let run = script.on(Event::Installed(ReleaseNumber(1)));
    assert_eq!(run, ["store state", "run 1 Fallback"]);
}

#[test]
fn a_last_known_good_that_cannot_be_installed_makes_room_for_the_fallback() {
    let mut script = Script::ready();
    script.cycle.policy.has_fallback = true;
    script.on(ended("signal 9"));
    script.tick();
    script.everybody_is_away();
    let then = script.on(Event::NotInstalled("gone".to_owned()));
    assert_eq!(then, ["store state", "install fallback"]);
}

#[test]
fn a_crash_is_reported_and_backed_off_from_longer_each_time_up_to_the_limit() {
    let (mut script, _) = Script::fresh();
    script.random = u64::MAX / 3;
    let mut last = Duration::ZERO;
    for _ in 0..12 {
        script.on(answer(1));
        script.on(Event::Installed(ReleaseNumber(1)));
        assert_eq!(script.on(ended("exit 3")), ["store state"]);
        let exit = script
            .cycle
            .state()
            .crash
            .as_ref()
            .map(|crash| crash.exit.as_str());
        assert_eq!(exit, Some("exit 3"));
        let (pause, then) = script.tick();
        assert!(
            pause >= SECOND && pause <= (last * 3).clamp(SECOND, 60 * SECOND),
            "{pause:?}"
        );
        last = pause;
        assert_eq!(then, ["store state", "ask 0"]);
    }
}

#[test]
fn the_back_off_outlives_the_launcher() {
    let mut script = Script::ready();
    script.cycle.state.backoff_milliseconds = 20_000;
    script.random = 40_000;
    script.on(ended("exit 3"));
    script.pass(SECOND);
    assert_eq!(script.restart(), [""; 0]);
    let (pause, then) = script.tick();
    assert_eq!(pause, 40 * SECOND);
    assert_eq!(then, ["store state", "ask 0"]);
    assert_eq!(script.cycle.state().crash, Some(crash_number(1, "exit 3")));
    // A clock that was set back by a day does not stop the launcher for a day.
    script.unix_milliseconds -= DAY_MS;
    script.restart();
    assert!(script.tick().0 <= 60 * SECOND);
}

#[test]
fn a_minute_of_readiness_ends_the_back_off() {
    let mut script = Script::ready();
    script.cycle.state.backoff_milliseconds = 20_000;
    assert_eq!(script.tick(), (60 * SECOND, vec!["store state".to_owned()]));
    assert_eq!(script.cycle.state().backoff_milliseconds, 0);
    script.random = u64::MAX;
    script.on(ended("exit 3"));
    assert_eq!(script.tick().0, SECOND);
}

#[test]
fn an_ordered_stop_without_a_next_asks_at_once() {
    let mut script = Script::ready();
    assert_eq!(script.on(Event::Stopping { next: None }), [""; 0]);
    assert_eq!(script.on(ended("exit 0")), ["store state", "ask 0"]);
    assert_eq!(script.cycle.state().crash, None);
}

#[test]
fn a_stop_that_is_taken_back_kills_nothing_and_leaves_no_next() {
    let order_id = OrderId(1);
    for next in [Some(next(2, 1)), None] {
        let mut script = Script::ready();
        let was_stored = next.is_some();
        script.on(Event::Stopping { next });
        let actions = script.on(Event::Stays { order_id });
        assert_eq!(actions.contains(&"store next".to_owned()), was_stored);
        assert_eq!(script.cycle.next(), None);
        script.pass(STOPPING_MAX * 2);
        assert!(!script.on(Event::Tick).contains(&"kill".to_owned()));
        // It was not ordered, so that its end is a crash.
        script.on(ended("exit 3"));
        assert_eq!(script.cycle.state().crash.clone().unwrap().exit, "exit 3");
    }
}

#[test]
fn a_stop_is_not_taken_back_by_the_order_before_it() {
    let mut script = Script::ready();
    script.on(Event::Stopping {
        next: Some(next(2, 1)),
    });
    let order_id = OrderId(7);
    assert_eq!(script.on(Event::Stays { order_id }), [""; 0]);
    assert!(script.cycle.next().is_some());
}

#[test]
fn a_next_is_started_without_asking() {
    let mut script = Script::ready();
    assert_eq!(script.cycle.way_back(), Some(ReleaseNumber(1)));
    script.on(Event::Stopping {
        next: Some(next(2, 1)),
    });
    let then = script.on(ended("exit 0"));
    assert_eq!(then, ["store next", "store state", "install next 2"]);
    let run = script.on(Event::Installed(ReleaseNumber(2)));
    assert_eq!(run, ["store state", "run 2 Next"]);
    assert_eq!(
        script.on(Event::Ready),
        ["store state", "store next", "tidy"]
    );
    assert_eq!(script.cycle.next(), None);
    assert_eq!(script.cycle.state().good.unwrap().release, ReleaseNumber(2));
    assert_eq!(script.cycle.state().failure, None);
}

fn failure_of(script: &Script) -> (i64, String) {
    let failure = script.cycle.state().failure.clone().unwrap();
    (failure.configuration_id.0, failure.reason)
}

#[test]
fn a_next_that_is_not_ready_in_time_is_stopped_and_the_previous_release_runs() {
    let mut script = Script::ready();
    script.on(Event::Stopping {
        next: Some(next(2, 1)),
    });
    script.on(ended("exit 0"));
    script.on(Event::Installed(ReleaseNumber(2)));
    assert_eq!(script.tick(), (20 * SECOND, vec!["terminate".to_owned()]));
    // Ready too late is not ready.
    assert_eq!(script.on(Event::Ready), [""; 0]);
    assert_eq!(script.tick(), (30 * SECOND, vec!["kill".to_owned()]));
    let then = script.on(ended("signal 9"));
    assert_eq!(then, ["store state", "store next", "use release 1"]);
    assert_eq!(failure_of(&script), (2, "not ready within 20 s".to_owned()));
    let run = script.on(Event::Installed(ReleaseNumber(1)));
    assert_eq!(run, ["store state", "run 1 Previous"]);
    assert_eq!(script.on(Event::FailureReported), ["store state"]);
    assert_eq!(script.cycle.state().failure, None);
}

#[test]
fn a_next_that_ends_before_it_is_ready_is_a_failure_with_its_last_words() {
    let mut script = Script::ready();
    script.on(Event::Stopping {
        next: Some(next(2, 1)),
    });
    script.on(ended("exit 0"));
    script.on(Event::Installed(ReleaseNumber(2)));
    assert_eq!(
        script.on(ended("exit 3")),
        ["store state", "store next", "use release 1"]
    );
    assert_eq!(
        failure_of(&script),
        (2, "ended before it was ready: exit 3".to_owned())
    );
    let crash = script.cycle.state().failure.clone().unwrap().crash.unwrap();
    assert_eq!(crash.last_lines, ["last words"]);
}

#[test]
fn a_next_that_cannot_be_installed_is_a_failure() {
    let mut script = Script::ready();
    script.on(Event::Stopping {
        next: Some(next(2, 1)),
    });
    script.on(ended("exit 0"));
    let then = script.on(Event::NotInstalled("wrong hash".to_owned()));
    assert_eq!(then, ["store state", "store next", "use release 1"]);
    assert_eq!(
        failure_of(&script),
        (2, "could not be installed: wrong hash".to_owned())
    );
}

#[test]
fn a_next_survives_a_restart_of_the_launcher_but_not_for_ever() {
    let mut script = Script::ready();
    script.on(Event::Stopping {
        next: Some(next(2, 1)),
    });
    for _ in 0..NEXT_TRIES_MAX {
        assert_eq!(
            script.restart(),
            ["store next", "store state", "install next 2"]
        );
        script.on(Event::Installed(ReleaseNumber(2)));
    }
    assert_eq!(
        script.restart(),
        ["store state", "store next", "use release 1"]
    );
    assert_eq!(failure_of(&script).0, 2);
    // The next start asks, and the failure is still to be told.
    assert_eq!(script.restart(), ["store state", "ask 0"]);
    assert_eq!(failure_of(&script).0, 2);
}

#[test]
fn a_crash_between_storing_a_failure_and_removing_its_next_does_not_try_it_again() {
    let mut script = Script::ready();
    script.on(Event::Stopping {
        next: Some(next(2, 1)),
    });
    script.on(ended("exit 0"));
    script.on(Event::Installed(ReleaseNumber(2)));
    script.on(ended("exit 3"));
    script.cycle.next = Some(next(2, 1));
    assert_eq!(script.restart(), ["store next", "store state", "ask 0"]);
    assert_eq!(script.cycle.next(), None);
}

#[test]
fn a_next_that_crashes_after_it_was_ready_is_an_ordinary_crash() {
    let mut script = Script::ready();
    script.on(Event::Stopping {
        next: Some(next(2, 1)),
    });
    script.on(ended("exit 0"));
    script.on(Event::Installed(ReleaseNumber(2)));
    script.on(Event::Ready);
    assert_eq!(script.on(ended("exit 3")), ["store state"]);
    assert_eq!(script.cycle.state().failure, None);
    assert_eq!(script.tick().1, ["store state", "ask 0"]);
}

#[test]
fn another_next_may_come_before_the_first_one_is_ready() {
    let mut script = Script::ready();
    script.on(Event::Stopping {
        next: Some(next(2, 1)),
    });
    script.on(ended("exit 0"));
    script.on(Event::Installed(ReleaseNumber(2)));
    assert_eq!(
        script.cycle.way_back(),
        Some(ReleaseNumber(1)),
        "2 was not ready yet"
    );
    script.on(Event::Stopping {
        next: Some(next(3, 1)),
    });
    let then = script.on(ended("exit 0"));
    assert_eq!(then, ["store next", "store state", "install next 3"]);
    assert_eq!(script.cycle.state().failure, None);
}

#[test]
fn a_stop_signal_stops_the_node_then_kills_it_then_ends() {
    let mut script = Script::ready();
    assert_eq!(script.on(Event::StopSignal), ["terminate"]);
    assert_eq!(script.tick(), (30 * SECOND, vec!["kill".to_owned()]));
    assert_eq!(script.on(ended("signal 9")), ["store state", "exit true"]);
    assert_eq!(script.cycle.state().crash, None);

    let mut script = Script::ready();
    script.on(Event::StopSignal);
    assert_eq!(
        script.on(Event::StopSignal),
        ["kill"],
        "the second signal does not wait"
    );
}

#[test]
fn a_stop_signal_ends_a_launcher_that_runs_nothing_at_once() {
    let (mut script, _) = Script::fresh();
    assert_eq!(script.on(Event::StopSignal), ["exit true"]);
    let (mut script, _) = Script::fresh();
    script.on(answer(1));
    assert_eq!(script.on(Event::StopSignal), ["exit true"]);
    // What the worker says afterwards starts nothing.
    assert_eq!(script.on(Event::Installed(ReleaseNumber(1))), [""; 0]);
}

#[test]
fn with_a_stop_action_a_node_that_ends_ends_the_launcher() {
    for event in [Event::Stopping { next: None }, Event::Tick] {
        let mut script = Script::ready();
        script.cycle.policy.runs_stop_action = true;
        script.on(event);
        assert_eq!(script.on(ended("exit 0")), ["store state", "stop action"]);
        assert_eq!(
            script.on(Event::StopActionEnded { success: false }),
            ["exit false"]
        );
    }
}

#[test]
fn state_that_cannot_be_stored_stops_what_was_to_follow() {
    let (mut script, _) = Script::fresh();
    assert_eq!(script.on(Event::NotStored), [""; 0]);
    assert_eq!(
        script.tick(),
        (SECOND, vec!["store state".to_owned(), "ask 0".to_owned()])
    );
}

#[test]
fn state_of_this_version_can_be_read_by_the_next_one() {
    let state: State = serde_json::from_str(
        r#"{"incarnation": 5, "lastIncarnation": 4, "release": 3,
            "good": {"release": 2, "lastRanUnixMilliseconds": 1},
            "crash": {"exit": "exit 3", "lastLines": ["x"]}, "failure": null,
            "backoffMilliseconds": 7, "retryAtUnixMilliseconds": 9, "unknown": true}"#,
    )
    .unwrap();
    assert_eq!(state.release, Some(ReleaseNumber(3)));
    assert_eq!(
        serde_json::from_str::<State>("{}").unwrap(),
        State::default()
    );
}

/// Any sequence of events: no panic, always a way on, and nothing runs that was not installed.
#[test]
fn no_sequence_of_events_stops_the_cycle() {
    for seed in 1..2_000_u64 {
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut draw = move |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let (mut script, _) = Script::fresh();
        script.cycle.policy.has_fallback = draw(2) == 0;
        for _ in 0..60 {
            script.random = draw(u64::MAX);
            script.pass(Duration::from_millis(draw(40_000)));
            let event = match draw(11) {
                0 => Event::Tick,
                1 => answer(draw(3) as i64),
                2 => wait(draw(100) as u32),
                3 => away(),
                4 => Event::Installed(ReleaseNumber(draw(5))),
                5 => Event::NotInstalled("x".to_owned()),
                6 => Event::Ready,
                7 => Event::Stopping {
                    next: (draw(2) == 0).then(|| next(draw(3) as i64, draw(5))),
                },
                8 => ended("exit 1"),
                9 => Event::Stays {
                    order_id: OrderId(1),
                },
                _ => Event::NotStored,
            };
            let was_installing = matches!(script.cycle.phase, Phase::Installing { .. });
            let is_installed = matches!(event, Event::Installed(_));
            let last = script.on(event);
            let runs = last.iter().any(|action| action.starts_with("run "));
            assert!(
                !runs || (was_installing && is_installed),
                "seed {seed}: {last:?}"
            );
            let goes_on = script.cycle.deadline().is_some()
                || matches!(
                    script.cycle.phase,
                    Phase::Asking { .. } | Phase::Installing { .. } | Phase::Running(_)
                );
            assert!(goes_on, "seed {seed}: stuck after {last:?}");
        }
    }
}

#[test]
fn crashes_within_ten_minutes_are_counted_and_told_over_restarts_of_the_launcher() {
    let (mut script, _) = Script::fresh();
    for count in 1..=CRASH_LOOP_CRASHES {
        script.on(answer(1));
        script.on(Event::Installed(ReleaseNumber(1)));
        script.on(ended("exit 3"));
        let crash = script.cycle.state().crash.clone().unwrap();
        assert_eq!(
            (crash.crashes, crash.is_loop()),
            (count, count == CRASH_LOOP_CRASHES)
        );
        script.restart();
        script.tick();
    }
    script.pass(Duration::from_secs(CRASH_LOOP_SECONDS));
    script.on(answer(1));
    script.on(Event::Installed(ReleaseNumber(1)));
    script.on(ended("exit 3"));
    assert_eq!(script.cycle.state().crash, Some(crash_number(1, "exit 3")));
    // A clock that was set back tells nothing about the last minutes.
    script.tick();
    script.unix_milliseconds -= DAY_MS;
    script.on(answer(1));
    script.on(Event::Installed(ReleaseNumber(1)));
    script.on(ended("exit 3"));
    assert_eq!(script.cycle.state().crash, Some(crash_number(1, "exit 3")));
}

#[test]
fn an_exit_code_that_says_that_a_restart_does_not_help_is_backed_off_from_as_long_as_possible() {
    for exit in ["exit 78", "exit 125"] {
        let (mut script, _) = Script::fresh();
        script.on(answer(1));
        script.on(Event::Installed(ReleaseNumber(1)));
        script.on(ended(exit));
        assert_eq!(script.tick().0, 60 * SECOND, "{exit}");
    }
}

#[test]
fn a_node_that_ends_well_without_an_order_has_failed() {
    let mut script = Script::ready();
    script.on(ended("exit 0"));
    assert_eq!(script.cycle.state().crash, Some(crash_number(1, "exit 0")));
    assert!(script.tick().0 >= SECOND);
}
