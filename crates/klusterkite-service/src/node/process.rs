//! One process of a node, in the eyes of the state machine.

use std::time::Duration;

use klusterkite_wire::link::{ProcessReport, ProcessState};
use klusterkite_wire::start::is_permanent;

use super::{KILL_TIME_MAX, MORE_TIME_MAX};

/// What the manifest says about a process, as far as its states are concerned.
#[derive(Debug, Clone)]
pub(crate) struct ProcessRules {
    /// Name in the manifest.
    pub(crate) name: String,
    /// Whether it is ready only when a probe or the process itself says so.
    pub(crate) waits_for_ready: bool,
    /// Failed readiness probes in a row after which a ready process is not ready any more.
    pub(crate) readiness_failures: u32,
    /// Failed liveness probes in a row after which a ready process is stopped.
    pub(crate) liveness_failures: u32,
    /// Time within which a ready process has to say that it is alive.
    pub(crate) watchdog: Option<Duration>,
    /// How often it may be restarted in place.
    pub(crate) restarts: u32,
    /// Time between the stop signal and the kill.
    pub(crate) grace: Duration,
    /// Time between withdrawing the node's endpoints and the stop hook or signal.
    pub(crate) drain: Duration,
    /// Time for the stop hook, if there is one.
    pub(crate) hook: Option<Duration>,
    /// Processes that have to be ready before it starts.
    pub(crate) after: Vec<usize>,
}

impl ProcessRules {
    /// Returns how long a stop may take after the drain delay.
    pub(super) fn stop_time(&self) -> Duration {
        self.hook.unwrap_or_default() + self.grace
    }
}

#[derive(Debug)]
pub(super) struct Process {
    pub(super) rules: ProcessRules,
    pub(super) stage: Stage,
    pub(super) restarts: u32,
    /// How it ended last.
    pub(super) exit: Option<String>,
    /// Why it was stopped while the node runs.
    pub(super) blame: Option<String>,
    /// What the last readiness probe said, when it failed.
    unready: Option<String>,
    /// It said that it is about to end: nothing makes it ready again.
    is_leaving: bool,
    /// Until when it may ask for more time, once it was signalled.
    more_time_until: Duration,
    /// Failed readiness or liveness probes in a row.
    readiness_failures: u32,
    liveness_failures: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Will be started when those before it are ready.
    Queued,
    /// Will be restarted.
    Waiting { until: Duration },
    /// Started or about to be, not ready.
    Starting,
    /// Ready; `watchdog` is when it has to have said that it is alive.
    Ready { watchdog: Option<Duration> },
    /// Its stop hook runs.
    Hooked { until: Duration },
    /// Signalled (then `kill_at`) or killed (then `give_up`); something of its group may still run.
    Stopping {
        kill_at: Option<Duration>,
        give_up: Option<Duration>,
    },
    /// Nothing of it runs, and it is not started again.
    Ended,
}

impl Stage {
    /// The group is being killed.
    pub(super) fn killed(now: Duration) -> Self {
        Self::Stopping {
            kill_at: None,
            give_up: Some(now + KILL_TIME_MAX),
        }
    }
}

impl Process {
    pub(super) fn new(rules: ProcessRules) -> Self {
        Self {
            rules,
            stage: Stage::Queued,
            restarts: 0,
            exit: None,
            blame: None,
            unready: None,
            is_leaving: false,
            more_time_until: Duration::ZERO,
            readiness_failures: 0,
            liveness_failures: 0,
        }
    }

    /// Begins another run.
    pub(super) fn begin(&mut self) {
        self.stage = Stage::Starting;
        self.blame = None;
        self.unready = None;
        self.is_leaving = false;
        self.readiness_failures = 0;
        self.liveness_failures = 0;
    }

    pub(super) fn report(&self) -> ProcessReport {
        let state = match self.stage {
            Stage::Queued | Stage::Starting => ProcessState::Starting,
            Stage::Ready { .. } => ProcessState::Ready,
            Stage::Hooked { .. } | Stage::Stopping { .. } => ProcessState::Stopping,
            Stage::Waiting { .. } | Stage::Ended => ProcessState::Ended,
        };
        ProcessReport {
            name: self.rules.name.clone(),
            state,
            restarts: self.restarts,
            exit: self.exit.clone(),
        }
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        match self.stage {
            Stage::Waiting { until } | Stage::Hooked { until } => Some(until),
            Stage::Ready { watchdog } => watchdog,
            Stage::Stopping { kill_at, give_up } => kill_at.or(give_up),
            Stage::Queued | Stage::Starting | Stage::Ended => None,
        }
    }

    /// Says why it is not ready, if there is more to say than that it has just been started.
    pub(super) fn waiting_for(&self) -> Option<String> {
        let name = &self.rules.name;
        match (&self.stage, &self.unready, &self.exit) {
            (Stage::Starting, Some(unready), _) => {
                Some(format!("process `{name}` is not ready: {unready}"))
            }
            (Stage::Waiting { .. } | Stage::Queued | Stage::Starting, _, Some(exit)) => {
                Some(format!(
                    "process `{name}` ended ({}) and is restarted, {} of {} times",
                    self.how(exit),
                    self.restarts,
                    self.rules.restarts
                ))
            }
            _ => None,
        }
    }

    /// Says how it ended for good.
    pub(super) fn ending(&self) -> String {
        let exit = self.exit.as_deref().unwrap_or("not started");
        let restarts = match self.rules.restarts {
            _ if is_permanent(exit) => "that code says that a restart does not help".to_owned(),
            0 => "it may not be restarted in place".to_owned(),
            1 => "its one restart is used up".to_owned(),
            many => format!("its {many} restarts are used up"),
        };
        format!(
            "process `{}` ended ({}) and {restarts}",
            self.rules.name,
            self.how(exit)
        )
    }

    fn how(&self, exit: &str) -> String {
        match &self.blame {
            Some(blame) => format!("stopped because {blame}; {exit}"),
            None => exit.to_owned(),
        }
    }

    pub(super) fn started(&mut self, now: Duration) {
        if !self.rules.waits_for_ready {
            self.said_ready(now);
        }
    }

    pub(super) fn said_ready(&mut self, now: Duration) {
        if self.stage == Stage::Starting && !self.is_leaving {
            self.unready = None;
            self.stage = Stage::Ready {
                watchdog: self.rules.watchdog.map(|watchdog| now + watchdog),
            };
        }
    }

    /// It ends soon: nobody is to be sent to it any more.
    pub(super) fn said_stopping(&mut self) {
        if matches!(self.stage, Stage::Starting | Stage::Ready { .. }) {
            self.is_leaving = true;
            self.unready = Some("it said `STOPPING=1`".to_owned());
            self.stage = Stage::Starting;
        }
    }

    /// It was asked to end, and is killed when it has not by then.
    pub(super) fn signalled(&mut self, now: Duration, kill_at: Duration) {
        self.more_time_until = kill_at.saturating_add(MORE_TIME_MAX);
        self.stage = Stage::Stopping {
            kill_at: Some(kill_at.max(now)),
            give_up: None,
        };
    }

    /// Its end takes `time` from now; never longer than until `latest`, and never shorter than it was given already.
    pub(super) fn said_more_time(&mut self, now: Duration, time: Duration, latest: Duration) {
        if let Stage::Stopping {
            kill_at: Some(kill_at),
            ..
        } = &mut self.stage
        {
            let until = now.saturating_add(time).min(self.more_time_until);
            *kill_at = until.min(latest).max(*kill_at);
        }
    }

    /// Tells whether it may be started once more in place.
    pub(super) fn may_be_restarted(&self) -> bool {
        let permanent = self.exit.as_deref().is_some_and(is_permanent);
        self.restarts < self.rules.restarts && !permanent
    }

    pub(super) fn said_alive(&mut self, now: Duration) {
        if let Stage::Ready { watchdog } = &mut self.stage {
            *watchdog = self.rules.watchdog.map(|time| now + time);
        }
    }

    pub(super) fn readiness(&mut self, now: Duration, result: Result<(), String>) {
        match (result, self.stage) {
            (Ok(()), Stage::Starting | Stage::Ready { .. }) => {
                self.readiness_failures = 0;
                self.said_ready(now);
            }
            (Err(why), Stage::Starting) if !self.is_leaving => self.unready = Some(why),
            (Err(why), Stage::Ready { .. }) => {
                self.readiness_failures += 1;
                if self.readiness_failures >= self.rules.readiness_failures {
                    self.unready = Some(why);
                    self.stage = Stage::Starting;
                }
            }
            _ => {}
        }
    }

    /// Returns why the process has to be stopped, if it has.
    pub(super) fn liveness(&mut self, result: Result<(), String>) -> Option<String> {
        // A process that is still starting may not answer yet.
        if !matches!(self.stage, Stage::Ready { .. }) {
            return None;
        }
        let Err(why) = result else {
            self.liveness_failures = 0;
            return None;
        };
        self.liveness_failures += 1;
        let dead = self.liveness_failures >= self.rules.liveness_failures;
        dead.then(|| format!("its liveness probe failed: {why}"))
    }
}
