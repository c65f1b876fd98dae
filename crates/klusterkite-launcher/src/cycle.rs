//! The launcher's cycle as a pure state machine: events in, actions out.
//!
//! Ask what to be → install it → run it → again. Time and randomness are arguments; nothing here
//! touches a file, a socket or a process, so that every path is a script in the tests.

use std::time::Duration;

use klusterkite_wire::start::{
    CRASH_LOOP_CRASHES, CRASH_LOOP_SECONDS, CrashReport, StartFailure, is_permanent,
};
use klusterkite_wire::{Incarnation, OrderId};

use crate::answer::Answer;

mod message;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use message::{Action, Event, Install, Level, Moment, Origin};
pub(crate) use state::{Good, Next, ReleaseNumber, State};

/// How often a `next` is started before the launcher goes back. More than once, because the
/// container itself may be restarted meanwhile; not often, because nobody is asked.
const NEXT_TRIES_MAX: u32 = 2;

/// Longest time that a host may take to end after it said that it is stopping: longer than any
/// sensible drain.
const STOPPING_MAX: Duration = Duration::from_hours(1);

/// How often the time at which the node last ran is noted: often enough for an age in hours.
const TOUCH_EVERY: Duration = Duration::from_mins(10);

/// How many crashes are counted at most: more than the shortest pauses let happen before they have grown.
const CRASHES_COUNTED_MAX: usize = 100;

/// Longest time to become ready that a start configuration may ask for.
const START_DEADLINE_MAX: Duration = Duration::from_hours(1);

/// What the configuration says about the cycle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    /// How many manager URLs there are; at least 1.
    pub(crate) url_count: usize,
    /// How often all URLs are away before something is started without asking; at least 1.
    pub(crate) away_tries: u32,
    /// Pause between these tries.
    pub(crate) away_pause: Duration,
    /// Shortest pause after a crash.
    pub(crate) backoff_min: Duration,
    /// Longest pause after a crash.
    pub(crate) backoff_max: Duration,
    /// How long a node has to be ready for the pauses to start over.
    pub(crate) backoff_reset: Duration,
    /// Time between asking a host to stop and killing it.
    pub(crate) stop_grace: Duration,
    /// How long ago the last-known-good may have run; `None`: any time.
    pub(crate) last_known_good_max_age: Option<Duration>,
    /// Whether there is a fallback configuration.
    pub(crate) has_fallback: bool,
    /// Whether a node that has ended ends the launcher, after its stop action.
    pub(crate) runs_stop_action: bool,
}

/// The cycle.
#[derive(Debug)]
pub(crate) struct Cycle {
    policy: Policy,
    state: State,
    next: Option<Next>,
    phase: Phase,
    /// The last pause after a refusal or a round without anything to start.
    ask_pause: Duration,
    /// The code of the last answer, if it was to wait.
    told_to_wait: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Asking { round: u32, url: usize },
    Waiting { until: Duration, round: u32 },
    Installing { origin: Origin },
    Running(Run),
    StopAction,
    Done,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    release: ReleaseNumber,
    origin: Origin,
    /// When it has to be ready; only a `next` has somewhere to go back to.
    ready_by: Option<Duration>,
    ready_since: Option<Duration>,
    noted: Duration,
    /// The host was ordered to stop.
    ordered: bool,
    /// Why the launcher stops it.
    cause: Option<StopCause>,
    kill_at: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StopCause {
    Signal,
    NotReadyInTime,
}

type Actions = Vec<Action>;

impl Cycle {
    /// Continues with what the last launcher in this directory left.
    pub(crate) fn new(policy: Policy, state: State, next: Option<Next>) -> Self {
        let phase = Phase::Waiting {
            until: Duration::ZERO,
            round: 0,
        };
        Self {
            policy,
            state,
            next,
            phase,
            ask_pause: Duration::ZERO,
            told_to_wait: None,
        }
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    pub(crate) fn next(&self) -> Option<&Next> {
        self.next.as_ref()
    }

    /// Returns the release to go back to if what comes next fails.
    pub(crate) fn way_back(&self) -> Option<ReleaseNumber> {
        match &self.phase {
            Phase::Running(run) if run.ready_since.is_some() => Some(run.release),
            Phase::Running(run) => self
                .state
                .good
                .map(|good| good.release)
                .or(Some(run.release)),
            _ => None,
        }
    }

    /// Starts the cycle.
    pub(crate) fn begin(&mut self, now: Moment) -> Actions {
        let mut out = Vec::new();
        // The failure is stored before the next is removed; a crash between the two ends here.
        if let (Some(next), Some(failure)) = (&self.next, &self.state.failure)
            && next.start.configuration_id == failure.configuration_id
            && next.start.node_template == failure.node_template
        {
            self.next = None;
            out.push(Action::StoreNext);
        }
        let retry_at = self.state.retry_at_unix_milliseconds.unwrap_or(0);
        let rest = Duration::from_millis(retry_at.saturating_sub(now.unix_milliseconds));
        if self.next.is_none() && !rest.is_zero() {
            // A clock that was set back must not make it longer than any pause.
            let rest = rest.min(self.policy.backoff_max);
            self.wait(rest, 0, now, &mut out);
        } else {
            self.proceed(0, now, &mut out);
        }
        out
    }

    /// Returns when [`Event::Tick`] is due, on the monotonic clock.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Waiting { until, .. } => Some(*until),
            Phase::Running(run) => {
                let due = [
                    run.ready_deadline(),
                    run.kill_at,
                    self.reset_at(run),
                    run.note_at(),
                ];
                due.into_iter().flatten().min()
            }
            _ => None,
        }
    }

    /// Takes an event and returns what is to be done, in this order.
    pub(crate) fn handle(&mut self, event: Event, now: Moment) -> Actions {
        let mut out = Vec::new();
        match event {
            Event::Tick => self.tick(now, &mut out),
            Event::Answered(answer) => self.answered(answer, now, &mut out),
            Event::Installed(release) => self.installed(release, now, &mut out),
            Event::NotInstalled(reason) => self.not_installed(reason, now, &mut out),
            Event::NotStored => {
                let pause = self.longer_pause(now);
                self.wait(pause, 0, now, &mut out);
            }
            Event::Ready => self.ready(now, &mut out),
            Event::Stopping { next } => self.stopping(next, now, &mut out),
            Event::Stays { order_id } => self.stays(order_id, &mut out),
            Event::Ended(report) => self.ended(report, now, &mut out),
            Event::FailureReported => {
                self.state.failure = None;
                out.push(Action::StoreState);
            }
            Event::StopActionEnded { success } => {
                self.phase = Phase::Done;
                out.push(Action::Exit { success });
            }
            Event::StopSignal => self.stop_signal(now, &mut out),
        }
        out
    }

    fn tick(&mut self, now: Moment, out: &mut Actions) {
        let time = now.monotonic;
        match self.phase.clone() {
            Phase::Waiting { until, round } if until <= time => self.proceed(round, now, out),
            Phase::Running(run) => self.tick_running(run, now, out),
            _ => {}
        }
    }

    fn tick_running(&mut self, mut run: Run, now: Moment, out: &mut Actions) {
        let passed = |deadline: Option<Duration>| deadline.is_some_and(|at| at <= now.monotonic);
        if passed(run.kill_at) {
            run.kill_at = None;
            out.push(say(
                Level::Warn,
                "the node did not stop in time: killing it",
            ));
            out.push(Action::Kill);
        }
        if passed(run.ready_deadline()) {
            run.cause = Some(StopCause::NotReadyInTime);
            run.kill_at = Some(now.monotonic + self.policy.stop_grace);
            out.push(say(
                Level::Error,
                "the next node did not become ready in time: stopping it",
            ));
            out.push(Action::Terminate);
        }
        let resets = passed(self.reset_at(&run));
        if resets {
            self.state.backoff_milliseconds = 0;
            self.state.retry_at_unix_milliseconds = None;
        }
        let notes = passed(run.note_at());
        if notes {
            run.noted = now.monotonic;
            self.note_good(&run, now);
        }
        if resets || notes {
            out.push(Action::StoreState);
        }
        self.phase = Phase::Running(run);
    }

    /// Starts what is to be started without asking, or asks.
    fn proceed(&mut self, round: u32, now: Moment, out: &mut Actions) {
        let Some(next) = &mut self.next else {
            return self.ask(round, 0, now, out);
        };
        next.tries += 1;
        if next.tries > NEXT_TRIES_MAX {
            let reason = format!("the launcher ended {NEXT_TRIES_MAX} times while it was started");
            return self.next_failed(reason, None, now, out);
        }
        let start = Box::new(next.start.clone());
        out.push(Action::StoreNext);
        self.install(Origin::Next, Install::Next(start), now, out);
    }

    fn ask(&mut self, round: u32, url: usize, now: Moment, out: &mut Actions) {
        self.phase = Phase::Asking { round, url };
        self.grow_incarnation(now);
        out.push(Action::StoreState);
        out.push(Action::Ask { url });
    }

    fn answered(&mut self, answer: Answer, now: Moment, out: &mut Actions) {
        let Phase::Asking { round, url } = self.phase else {
            return;
        };
        match answer {
            Answer::Start(start) => {
                self.told_to_wait = None;
                self.ask_pause = Duration::ZERO;
                self.state.crash = None;
                let (template, configuration) = (&start.node_template, start.configuration_id);
                out.push(say(
                    Level::Info,
                    format!("the manager answered: `{template}` of configuration {configuration}"),
                ));
                self.phase = Phase::Installing {
                    origin: Origin::Answer,
                };
                out.push(Action::StoreState);
                out.push(Action::Install(Install::Answer(start)));
            }
            Answer::Wait { code, pause } => {
                self.ask_pause = Duration::ZERO;
                // The manager has heard of the crash, and has said that what ran is not wanted.
                let forgets = self.state.crash.is_some() || self.state.good.is_some();
                self.state.crash = None;
                self.state.good = None;
                // It may be told so every second for months.
                if self.told_to_wait.as_ref() != Some(&code) {
                    out.push(say(
                        Level::Info,
                        format!("the manager has nothing to start now: `{code}`"),
                    ));
                    self.told_to_wait = Some(code);
                }
                if forgets {
                    out.push(Action::StoreState);
                }
                self.wait(self.asked_pause(pause, now), 0, now, out);
            }
            Answer::Later { pause } => {
                out.push(say(
                    Level::Warn,
                    "the manager asks for fewer requests (429)",
                ));
                self.wait(self.asked_pause(pause, now), round, now, out);
            }
            Answer::Refused { reason } => {
                out.push(say(
                    Level::Error,
                    format!("the manager refuses this launcher: {reason}"),
                ));
                let pause = self.longer_pause(now);
                self.wait(pause, 0, now, out);
            }
            Answer::Away { reason } => {
                out.push(say(Level::Warn, format!("no answer: {reason}")));
                self.away(round, url, now, out);
            }
        }
    }

    fn away(&mut self, round: u32, url: usize, now: Moment, out: &mut Actions) {
        if url + 1 < self.policy.url_count {
            return self.ask(round, url + 1, now, out);
        }
        if round + 1 < self.policy.away_tries {
            let pause = jittered(self.policy.away_pause, now);
            return self.wait(pause, round + 1, now, out);
        }
        match self.usable_good(now) {
            Some(release) => {
                out.push(say(
                    Level::Warn,
                    "nobody answers: starting what ran here last",
                ));
                self.install(Origin::LastKnownGood, Install::Release(release), now, out);
            }
            None => self.fall_back(now, out),
        }
    }

    fn usable_good(&self, now: Moment) -> Option<ReleaseNumber> {
        let good = self.state.good?;
        let age = now
            .unix_milliseconds
            .saturating_sub(good.last_ran_unix_milliseconds);
        let max = self.policy.last_known_good_max_age;
        max.is_none_or(|max| Duration::from_millis(age) <= max)
            .then_some(good.release)
    }

    fn fall_back(&mut self, now: Moment, out: &mut Actions) {
        if self.policy.has_fallback {
            out.push(say(
                Level::Warn,
                "nobody answers: starting the fallback configuration",
            ));
            self.install(Origin::Fallback, Install::Fallback, now, out);
        } else {
            let reason = "nobody answers, and nothing can be started without an answer: \
                          no node was ready here recently and there is no `fallbackConfiguration`";
            out.push(say(Level::Error, reason));
            let pause = self.longer_pause(now);
            self.wait(pause, 0, now, out);
        }
    }

    /// Installs what nobody was asked for; its incarnation is a new one.
    fn install(&mut self, origin: Origin, what: Install, now: Moment, out: &mut Actions) {
        self.phase = Phase::Installing { origin };
        self.grow_incarnation(now);
        out.push(Action::StoreState);
        out.push(Action::Install(what));
    }

    fn installed(&mut self, release: ReleaseNumber, now: Moment, out: &mut Actions) {
        let Phase::Installing { origin } = self.phase else {
            return;
        };
        let time = now.monotonic;
        let ready_by = match (&self.next, origin) {
            (Some(next), Origin::Next) => {
                let seconds = u64::from(next.start.start_deadline_seconds.max(1));
                Some(time + Duration::from_secs(seconds).min(START_DEADLINE_MAX))
            }
            _ => None,
        };
        self.state.release = Some(release);
        self.phase = Phase::Running(Run {
            release,
            origin,
            ready_by,
            ready_since: None,
            noted: time,
            ordered: false,
            cause: None,
            kill_at: None,
        });
        out.push(Action::StoreState);
        out.push(Action::Run { release, origin });
    }

    fn not_installed(&mut self, reason: String, now: Moment, out: &mut Actions) {
        let Phase::Installing { origin } = self.phase else {
            return;
        };
        out.push(say(Level::Error, format!("cannot install: {reason}")));
        let report = CrashReport::of(format!("could not be installed: {reason}"));
        match origin {
            Origin::Next => self.next_failed(report.exit, None, now, out),
            Origin::LastKnownGood => self.fall_back(now, out),
            Origin::Answer | Origin::Previous | Origin::Fallback => {
                self.back_off(report, now, out);
            }
        }
    }

    fn ready(&mut self, now: Moment, out: &mut Actions) {
        let Phase::Running(run) = &mut self.phase else {
            return;
        };
        if run.ready_since.is_some() || run.cause.is_some() {
            return;
        }
        run.ready_since = Some(now.monotonic);
        run.noted = now.monotonic;
        let run = run.clone();
        self.note_good(&run, now);
        out.push(say(Level::Info, "the node is ready"));
        out.push(Action::StoreState);
        if run.origin == Origin::Next && !run.ordered {
            self.next = None;
            out.push(Action::StoreNext);
        }
        out.push(Action::Tidy);
    }

    fn stopping(&mut self, next: Option<Next>, now: Moment, out: &mut Actions) {
        let Phase::Running(run) = &mut self.phase else {
            return;
        };
        run.ordered = true;
        run.kill_at = run.kill_at.or(Some(now.monotonic + STOPPING_MAX));
        if next.is_none() && self.next.is_some() {
            out.push(Action::StoreNext);
        }
        self.next = next;
    }

    /// Takes an ordered stop back: what runs goes on, and nothing comes next.
    fn stays(&mut self, order_id: OrderId, out: &mut Actions) {
        let Phase::Running(run) = &mut self.phase else {
            return;
        };
        if self
            .next
            .as_ref()
            .is_some_and(|next| next.order_id != order_id)
        {
            return;
        }
        run.ordered = false;
        if run.cause.is_none() {
            run.kill_at = None;
        }
        if self.next.take().is_some() {
            out.push(Action::StoreNext);
        }
        let text = "the node goes on: what comes next was stored too late";
        out.push(say(Level::Warn, text));
    }

    fn ended(&mut self, report: CrashReport, now: Moment, out: &mut Actions) {
        let Phase::Running(run) = self.phase.clone() else {
            return;
        };
        self.note_good(&run, now);
        let before_ready = run.origin == Origin::Next && run.ready_since.is_none();
        match run.cause {
            Some(StopCause::Signal) => {
                self.phase = Phase::Done;
                out.push(Action::StoreState);
                out.push(Action::Exit { success: true });
            }
            Some(StopCause::NotReadyInTime) => {
                let seconds = self
                    .next
                    .as_ref()
                    .map_or(0, |next| next.start.start_deadline_seconds);
                let reason = format!("not ready within {seconds} s");
                self.next_failed(reason, Some(report), now, out);
            }
            None if before_ready && !run.ordered => {
                let reason = format!("ended before it was ready: {}", report.exit);
                out.push(say(Level::Error, format!("the next node {reason}")));
                self.next_failed(reason, Some(report), now, out);
            }
            None if run.ordered => {
                out.push(say(Level::Info, "the node has stopped, as ordered"));
                if self.policy.runs_stop_action {
                    self.stop_action(out);
                } else {
                    self.proceed(0, now, out);
                }
            }
            None => {
                out.push(say(
                    Level::Error,
                    format!("the node ended by itself: {}", report.exit),
                ));
                if self.policy.runs_stop_action {
                    self.count_crash(report, now);
                    self.stop_action(out);
                } else {
                    self.back_off(report, now, out);
                }
            }
        }
    }

    fn stop_action(&mut self, out: &mut Actions) {
        self.phase = Phase::StopAction;
        out.push(Action::StoreState);
        out.push(Action::StartStopCommand);
    }

    /// Goes back to what ran before the next; the manager hears of it as soon as one answers.
    fn next_failed(
        &mut self,
        reason: String,
        crash: Option<CrashReport>,
        now: Moment,
        out: &mut Actions,
    ) {
        let Some(next) = self.next.take() else {
            return self.ask(0, 0, now, out);
        };
        self.state.failure = Some(StartFailure {
            node_template: next.start.node_template,
            configuration_id: next.start.configuration_id,
            reason,
            crash,
        });
        if let Some(release) = next.back_to {
            out.push(say(
                Level::Warn,
                format!("going back to release {}", release.0),
            ));
            self.install(Origin::Previous, Install::Release(release), now, out);
            // The failure is stored before the next is gone.
            let install = out.pop();
            out.push(Action::StoreNext);
            out.extend(install);
        } else {
            out.push(Action::StoreState);
            out.push(Action::StoreNext);
            self.ask(0, 0, now, out);
        }
    }

    fn stop_signal(&mut self, now: Moment, out: &mut Actions) {
        match &mut self.phase {
            Phase::Running(run) if run.cause == Some(StopCause::Signal) => {
                out.push(say(Level::Warn, "told to stop again: killing the node"));
                out.push(Action::Kill);
            }
            Phase::Running(run) => {
                run.cause = Some(StopCause::Signal);
                run.kill_at = Some(now.monotonic + self.policy.stop_grace);
                out.push(say(Level::Info, "told to stop: stopping the node"));
                out.push(Action::Terminate);
            }
            phase => {
                *phase = Phase::Done;
                out.push(say(Level::Info, "told to stop"));
                out.push(Action::Exit { success: true });
            }
        }
    }

    /// Pauses after a crash: decorrelated jitter, kept over restarts of the launcher.
    fn back_off(&mut self, report: CrashReport, now: Moment, out: &mut Actions) {
        let permanent = is_permanent(&report.exit);
        let crashes = self.count_crash(report, now);
        let last = Duration::from_millis(self.state.backoff_milliseconds);
        let mut pause = decorrelated(last, self.policy.backoff_min, self.policy.backoff_max, now);
        if permanent {
            pause = self.policy.backoff_max;
            let text = "its exit code says that starting it again does not help before something is changed";
            out.push(say(Level::Error, text));
        } else if crashes >= CRASH_LOOP_CRASHES {
            let minutes = CRASH_LOOP_SECONDS / 60;
            let text = format!(
                "crash loop: the node ended by itself {crashes} times in {minutes} minutes"
            );
            out.push(say(Level::Error, text));
        }
        let milliseconds = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        self.state.backoff_milliseconds = milliseconds;
        self.state.retry_at_unix_milliseconds = now.unix_milliseconds.checked_add(milliseconds);
        out.push(Action::StoreState);
        self.wait(pause, 0, now, out);
    }

    /// Notes how the node ended, for the next request, and how often that was so lately.
    fn count_crash(&mut self, mut report: CrashReport, now: Moment) -> u32 {
        let present = now.unix_milliseconds;
        let crashes = &mut self.state.crashes_unix_milliseconds;
        // A clock that was set back leaves times to come: they say nothing about the last minutes.
        crashes.retain(|at| *at <= present && present - *at < CRASH_LOOP_SECONDS * 1000);
        crashes.push(present);
        if crashes.len() > CRASHES_COUNTED_MAX {
            crashes.remove(0);
        }
        report.crashes = u32::try_from(crashes.len()).unwrap_or(u32::MAX);
        let count = report.crashes;
        self.state.crash = Some(report);
        count
    }

    fn wait(&mut self, pause: Duration, round: u32, now: Moment, out: &mut Actions) {
        out.push(say(
            Level::Debug,
            format!("asking again in {:.1} s", pause.as_secs_f64()),
        ));
        self.phase = Phase::Waiting {
            until: now.monotonic + pause,
            round,
        };
    }

    /// Returns the pause after a refusal; a run of them makes it longer.
    fn longer_pause(&mut self, now: Moment) -> Duration {
        let Policy {
            backoff_min,
            backoff_max,
            ..
        } = self.policy;
        self.ask_pause = decorrelated(self.ask_pause, backoff_min, backoff_max, now);
        self.ask_pause
    }

    /// Returns the pause that a manager asked for; one that says "at once" is not hammered.
    fn asked_pause(&self, pause: Duration, now: Moment) -> Duration {
        jittered(pause.max(self.policy.backoff_min), now)
    }

    fn grow_incarnation(&mut self, now: Moment) {
        let last = self.state.incarnation;
        self.state.last_incarnation = last;
        self.state.incarnation = Some(last.unwrap_or(Incarnation(0)).next(now.unix_milliseconds));
    }

    fn note_good(&mut self, run: &Run, now: Moment) {
        if run.ready_since.is_some() {
            self.state.good = Some(Good {
                release: run.release,
                last_ran_unix_milliseconds: now.unix_milliseconds,
            });
        }
    }

    fn reset_at(&self, run: &Run) -> Option<Duration> {
        let pending = self.state.backoff_milliseconds > 0;
        run.ready_since
            .filter(|_| pending)
            .map(|since| since + self.policy.backoff_reset)
    }
}

impl Run {
    fn ready_deadline(&self) -> Option<Duration> {
        let waits = self.ready_since.is_none() && !self.ordered && self.cause.is_none();
        self.ready_by.filter(|_| waits)
    }

    fn note_at(&self) -> Option<Duration> {
        self.ready_since.map(|_| self.noted + TOUCH_EVERY)
    }
}

fn say(level: Level, text: impl Into<String>) -> Action {
    Action::Say(level, text.into())
}

/// Returns `pause` and up to a quarter more: who was told to wait does not come early.
fn jittered(pause: Duration, now: Moment) -> Duration {
    let parts = u32::try_from(now.random % 256).unwrap_or(0);
    pause.saturating_add(pause / 4 * parts / 256)
}

/// Returns a random pause between `min` and three times the last one, at most `max`.
fn decorrelated(last: Duration, min: Duration, max: Duration, now: Moment) -> Duration {
    let upper = last.saturating_mul(3).clamp(min, max);
    let span = u64::try_from(upper.saturating_sub(min).as_millis()).unwrap_or(u64::MAX);
    let extra = Duration::from_millis(now.random % span.saturating_add(1));
    (min + extra).min(max)
}
