//! How a node stops: withdraw, drain delay, hooks, signals, grace, kill, leave; one deadline bounds it all.

use std::time::Duration;

use klusterkite_wire::link::AckState;

use super::process::{Process, ProcessRules, Stage};
use super::{Action, Cause, KILL_RESERVE, Node, Phase, SAME_SIGNAL, answer};

impl Node {
    /// The first signal stops the node (or ends a drain delay that goes on), the second one kills at once.
    ///
    /// One that the kernel sends when the launcher dies does not count, because the next launcher in this container
    /// sends another one: together they must not kill.
    pub(super) fn terminate(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let is_the_same = |last| now.saturating_sub(last) < SAME_SIGNAL;
        if self.last_termination.is_some_and(is_the_same) {
            return;
        }
        self.last_termination = Some(now);
        if self.orphaned {
            self.orphaned = false;
        } else {
            self.terminations += 1;
        }
        if self.terminations > 1 {
            self.begin_signals(now, actions);
            self.kill_all(now, actions);
            return;
        }
        let deadline = self.stop_limit.map(|limit| now + limit);
        if matches!(self.phase, Phase::Running { .. }) {
            let mut cause =
                Cause::unordered("the node was told to end by a signal".to_owned(), None);
            cause.ending.ordered = true;
            cause.deadline = deadline;
            self.begin_stop(now, cause, actions);
        } else {
            self.hurry(deadline);
            self.begin_signals(now, actions);
        }
    }

    fn kill_all(&mut self, now: Duration, actions: &mut Vec<Action>) {
        for process in 0..self.processes.len() {
            let stage = self.processes[process].stage;
            if matches!(stage, Stage::Hooked { .. }) {
                actions.push(Action::EndHook { process });
            }
            if matches!(stage, Stage::Hooked { .. } | Stage::Stopping { .. }) {
                actions.push(Action::Kill { process });
                self.process(process).stage = Stage::killed(now);
            }
        }
    }

    /// Bounds a stop that is under way by another deadline, if that is earlier.
    fn hurry(&mut self, deadline: Option<Duration>) {
        let Some(deadline) = deadline else { return };
        let (Phase::Draining { cause, .. } | Phase::Stopping { cause }) = &mut self.phase else {
            return;
        };
        let deadline = cause.deadline.map_or(deadline, |known| known.min(deadline));
        cause.deadline = Some(deadline);
        let latest = deadline.saturating_sub(KILL_RESERVE);
        for process in &mut self.processes {
            match &mut process.stage {
                Stage::Hooked { until } => {
                    *until = (*until).min(latest.saturating_sub(process.rules.grace));
                }
                Stage::Stopping {
                    kill_at: Some(kill_at),
                    ..
                } => *kill_at = (*kill_at).min(latest),
                _ => {}
            }
        }
    }

    /// Withdraws the node's endpoints, and goes on to the signals after the drain delay.
    pub(super) fn begin_stop(&mut self, now: Duration, cause: Cause, actions: &mut Vec<Action>) {
        if !matches!(self.phase, Phase::Running { .. }) {
            return;
        }
        if cause.ending.process.is_some() {
            self.phase = Phase::Stopping { cause };
            self.tell(actions);
            self.signal_all(now, actions);
            return;
        }
        // Nobody was sent to a node that was never ready.
        let drain = if self.was_ready {
            self.longest(|rules| rules.drain)
        } else {
            Duration::ZERO
        };
        let mut until = now + drain;
        if let Some(deadline) = cause.deadline {
            let rest = self.longest(ProcessRules::stop_time);
            let latest = deadline.saturating_sub(rest + KILL_RESERVE);
            until = until.min(latest).max(now);
        }
        let deadline = cause.deadline;
        self.phase = Phase::Draining { until, cause };
        // A process that is being stopped already may have more time than the node has.
        self.hurry(deadline);
        for process in &mut self.processes {
            if matches!(process.stage, Stage::Queued | Stage::Waiting { .. }) {
                process.stage = Stage::Ended;
            }
        }
        self.tell(actions);
        if until <= now {
            self.begin_signals(now, actions);
        } else {
            self.leave_when_ended(actions);
        }
    }

    fn longest(&self, time: impl Fn(&ProcessRules) -> Duration) -> Duration {
        let times = self.processes.iter().map(|process| time(&process.rules));
        times.max().unwrap_or_default()
    }

    /// Ends the drain delay.
    pub(super) fn begin_signals(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let Phase::Draining { cause, .. } = &self.phase else {
            return;
        };
        self.phase = Phase::Stopping {
            cause: cause.clone(),
        };
        self.signal_all(now, actions);
    }

    fn signal_all(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let Phase::Stopping { cause } = &self.phase else {
            return;
        };
        let latest = cause.latest();
        for process in 0..self.processes.len() {
            let one = self.process(process);
            match (one.stage, one.rules.hook) {
                (Stage::Queued | Stage::Waiting { .. }, _) => one.stage = Stage::Ended,
                (Stage::Starting | Stage::Ready { .. }, Some(hook)) => {
                    let latest = latest.saturating_sub(one.rules.grace);
                    let until = (now + hook).min(latest).max(now);
                    one.stage = Stage::Hooked { until };
                    actions.push(Action::RunHook { process });
                }
                (Stage::Starting | Stage::Ready { .. }, None) => {
                    self.signal(now, process, actions);
                }
                (Stage::Hooked { .. } | Stage::Stopping { .. } | Stage::Ended, _) => {}
            }
        }
        self.leave_when_ended(actions);
    }

    /// Asks a process of a stopping node to end.
    pub(super) fn signal(&mut self, now: Duration, process: usize, actions: &mut Vec<Action>) {
        let Phase::Stopping { cause } = &self.phase else {
            return;
        };
        let latest = cause.latest();
        let one = self.process(process);
        one.signalled(now, (now + one.rules.grace).min(latest));
        actions.push(Action::Signal { process });
    }

    /// A process that was signalled needs longer; the deadline of the node's stop holds.
    pub(super) fn said_more_time(&mut self, now: Duration, process: usize, time: Duration) {
        let latest = match &self.phase {
            Phase::Draining { cause, .. } | Phase::Stopping { cause } => cause.latest(),
            Phase::Running { .. } | Phase::Left => Duration::MAX,
        };
        self.process(process).said_more_time(now, time, latest);
    }

    pub(super) fn hook_ended(&mut self, now: Duration, process: usize, actions: &mut Vec<Action>) {
        if matches!(self.processes[process].stage, Stage::Hooked { .. }) {
            self.signal(now, process, actions);
        }
    }

    pub(super) fn leave_when_ended(&mut self, actions: &mut Vec<Action>) {
        let ended = |process: &Process| matches!(process.stage, Stage::Ended);
        if !self.processes.iter().all(ended) {
            return;
        }
        let cause = match &self.phase {
            Phase::Draining { cause, .. } | Phase::Stopping { cause } => cause.clone(),
            Phase::Running { .. } | Phase::Left => return,
        };
        self.tell(actions);
        if let Some(order_id) = cause.order_id {
            actions.push(answer(order_id, AckState::Done));
        }
        actions.push(Action::Leave(cause.ending));
        self.phase = Phase::Left;
    }
}
