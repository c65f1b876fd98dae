//! One process of a node, in the eyes of the state machine.

use std::time::Duration;

use klusterkite_wire::link::{ProcessReport, ProcessState};

use super::KILL_TIME_MAX;

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
    /// Time between withdrawing the node's endpoints and the stop signal.
    pub(crate) drain: Duration,
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
    /// Failed readiness or liveness probes in a row.
    readiness_failures: u32,
    liveness_failures: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Will be restarted.
    Waiting { until: Duration },
    /// Started or about to be, not ready.
    Starting,
    /// Ready; `watchdog` is when it has to have said that it is alive.
    Ready { watchdog: Option<Duration> },
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
            stage: Stage::Starting,
            restarts: 0,
            exit: None,
            blame: None,
            unready: None,
            readiness_failures: 0,
            liveness_failures: 0,
        }
    }

    /// Begins another run.
    pub(super) fn begin(&mut self) {
        self.stage = Stage::Starting;
        self.blame = None;
        self.unready = None;
        self.readiness_failures = 0;
        self.liveness_failures = 0;
    }

    pub(super) fn report(&self) -> ProcessReport {
        let state = match self.stage {
            Stage::Starting => ProcessState::Starting,
            Stage::Ready { .. } => ProcessState::Ready,
            Stage::Stopping { .. } => ProcessState::Stopping,
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
            Stage::Waiting { until } => Some(until),
            Stage::Ready { watchdog } => watchdog,
            Stage::Stopping { kill_at, give_up } => kill_at.or(give_up),
            Stage::Starting | Stage::Ended => None,
        }
    }

    /// Says why it is not ready, if there is more to say than that it has just been started.
    pub(super) fn waiting_for(&self) -> Option<String> {
        let name = &self.rules.name;
        match (&self.stage, &self.unready, &self.exit) {
            (Stage::Starting, Some(unready), _) => {
                Some(format!("process `{name}` is not ready: {unready}"))
            }
            (Stage::Waiting { .. } | Stage::Starting, _, Some(exit)) => Some(format!(
                "process `{name}` ended ({}) and is restarted, {} of {} times",
                self.how(exit),
                self.restarts,
                self.rules.restarts
            )),
            _ => None,
        }
    }

    /// Says how it ended for good.
    pub(super) fn ending(&self) -> String {
        let exit = self.exit.as_deref().unwrap_or("not started");
        let restarts = match self.rules.restarts {
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
        if self.stage == Stage::Starting {
            self.unready = None;
            self.stage = Stage::Ready {
                watchdog: self.rules.watchdog.map(|watchdog| now + watchdog),
            };
        }
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
            (Err(why), Stage::Starting) => self.unready = Some(why),
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
