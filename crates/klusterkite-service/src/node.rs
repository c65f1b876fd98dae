//! The life of a node as a pure state machine: events and the time in, actions and the next deadline out.
//!
//! ```text
//! running ──stop order stored, signal, fenced, failure──► draining ──delay over──► stopping ──all ended──► left
//!                                                                        each process: hook ► signal ► grace ► kill
//! ```
//!
//! Running, a node is `starting` until all its processes are ready, `ready` while they are, or `draining` after a
//! drain order. The status that withdraws the node's endpoints is always told before the first process is signalled.

mod process;
mod stop;

use std::collections::BTreeMap;
use std::time::Duration;

use klusterkite_wire::OrderId;
use klusterkite_wire::link::{
    AckState, NodeReport, Order, OrderKind, ReportedStatus, STOP_RESERVE_SECONDS,
};
use klusterkite_wire::socket::{HostMessage, LauncherMessage};
use klusterkite_wire::start::is_permanent;

pub(crate) use self::process::ProcessRules;
use self::process::{Process, Stage};

/// How long the launcher may take to store what comes next: it writes one file.
const STORE_TIME_MAX: Duration = Duration::from_secs(30);

/// Part of a stop order's deadline that is kept for killing and leaving.
const KILL_RESERVE: Duration = Duration::from_secs(STOP_RESERVE_SECONDS as u64);

/// How long killed processes may take to disappear; one that hangs in the kernel must not hold the node.
const KILL_TIME_MAX: Duration = Duration::from_secs(5);

/// Signals to end that are closer than this are one: when a launcher is killed, the kernel sends its host one for
/// each thread of the launcher that it finds dying.
const SAME_SIGNAL: Duration = Duration::from_millis(250);

/// How much longer than its grace a process may say that its end takes (`EXTEND_TIMEOUT_USEC=`) where no deadline of the
/// node bounds that: one that asks again and again must not hold its node for ever.
const MORE_TIME_MAX: Duration = Duration::from_mins(10);

/// How many prefetch orders may be open; a manager gives one at a time.
const PREFETCHES_MAX: usize = 8;

/// First pause before a process is restarted in place; it doubles with each restart.
const RESTART_PAUSE_MIN: Duration = Duration::from_millis(200);

/// Longest pause before a process is restarted in place.
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(30);

/// What happened to the node.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// A process was started.
    Started { process: usize },
    /// The main process of a process group ended, or could not be started.
    Ended { process: usize, exit: String },
    /// Nothing of an ended process's group is left.
    Cleared { process: usize },
    /// A readiness probe answered.
    Readiness {
        process: usize,
        result: Result<(), String>,
    },
    /// A liveness probe answered.
    Liveness {
        process: usize,
        result: Result<(), String>,
    },
    /// A process said `READY=1`.
    SaidReady { process: usize },
    /// A process said `WATCHDOG=1`.
    SaidAlive { process: usize },
    /// A process said `STOPPING=1`.
    SaidStopping { process: usize },
    /// A process said `EXTEND_TIMEOUT_USEC=…`: its end takes this much longer from now.
    SaidMoreTime { process: usize, time: Duration },
    /// The stop hook of a process ended, could not be started, or was killed.
    HookEnded { process: usize },
    /// The manager ordered something.
    Order(Box<Order>),
    /// The launcher said something.
    Launcher(LauncherMessage),
    /// The launcher is gone.
    LauncherGone,
    /// A newer incarnation of this node exists.
    Fenced,
    /// The host was told to end by a signal.
    Terminate,
    /// The deadline passed.
    TimePassed,
}

/// What the shell has to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Start a process in its own group.
    Start { process: usize },
    /// Run the stop hook of a process.
    RunHook { process: usize },
    /// Kill the stop hook of a process.
    EndHook { process: usize },
    /// Send a process's stop signal to its group.
    Signal { process: usize },
    /// Kill a process's group.
    Kill { process: usize },
    /// Tell the manager the node's state.
    Report(NodeReport),
    /// Answer an order.
    Answer {
        order_id: OrderId,
        state: AckState,
        reason: Option<String>,
    },
    /// Tell the launcher something.
    TellLauncher(HostMessage),
    /// Say `bye` and exit.
    Leave(Ending),
}

/// How a node ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    /// Why, one sentence.
    pub(crate) reason: String,
    /// Whether it ended as it was told to.
    pub(crate) ordered: bool,
    /// The process that is to blame.
    pub(crate) process: Option<usize>,
    /// Whether that process said that a restart does not help.
    pub(crate) permanent: bool,
}

/// The node.
#[derive(Debug)]
pub(crate) struct Node {
    processes: Vec<Process>,
    phase: Phase,
    /// A stop order that the launcher has not stored yet, and until when it may.
    storing: Option<(Box<Order>, Duration)>,
    prefetches: BTreeMap<OrderId, Duration>,
    has_launcher: bool,
    /// How long a stop by a signal may take before the launcher kills.
    stop_limit: Option<Duration>,
    was_ready: bool,
    terminations: u32,
    /// When the latest signal to end came that was not the same as the one before.
    last_termination: Option<Duration>,
    /// The launcher died, and the signal that the kernel may send then has not come.
    orphaned: bool,
    told: Option<NodeReport>,
}

#[derive(Debug)]
enum Phase {
    Running { drained: Option<String> },
    Draining { until: Duration, cause: Cause },
    Stopping { cause: Cause },
    Left,
}

/// Why the node stops, and until when it has to be done.
#[derive(Debug, Clone)]
struct Cause {
    order_id: Option<OrderId>,
    deadline: Option<Duration>,
    ending: Ending,
}

impl Node {
    /// Makes a node of processes that are to be started in this order.
    pub(crate) fn new(
        processes: Vec<ProcessRules>,
        has_launcher: bool,
        stop_limit: Option<Duration>,
    ) -> Self {
        Self {
            processes: processes.into_iter().map(Process::new).collect(),
            phase: Phase::Running { drained: None },
            storing: None,
            prefetches: BTreeMap::new(),
            has_launcher,
            stop_limit,
            was_ready: false,
            terminations: 0,
            last_termination: None,
            orphaned: false,
            told: None,
        }
    }

    /// Starts the processes that wait for no other one.
    pub(crate) fn start(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        self.start_queued(&mut actions);
        self.say_changes(&mut actions);
        actions
    }

    /// Returns the state of the node as the manager is told it.
    pub(crate) fn report(&self) -> NodeReport {
        let (status, reason) = match &self.phase {
            Phase::Running {
                drained: Some(reason),
            } => (ReportedStatus::Draining, Some(reason.clone())),
            Phase::Running { drained: None } if self.all_ready() => (ReportedStatus::Ready, None),
            Phase::Running { drained: None } => (ReportedStatus::Starting, self.waiting_for()),
            Phase::Draining { cause, .. } => {
                (ReportedStatus::Draining, Some(cause.ending.reason.clone()))
            }
            Phase::Stopping { cause } if cause.ending.process.is_some() => {
                (ReportedStatus::Failed, Some(cause.ending.reason.clone()))
            }
            Phase::Stopping { cause } => {
                (ReportedStatus::Stopping, Some(cause.ending.reason.clone()))
            }
            Phase::Left => (ReportedStatus::Stopping, None),
        };
        NodeReport {
            status,
            reason,
            processes: self.processes.iter().map(Process::report).collect(),
        }
    }

    /// Returns when [`Event::TimePassed`] is due, on the clock that `handle` is called with.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let phase = match self.phase {
            Phase::Draining { until, .. } => Some(until),
            Phase::Left => return None,
            _ => None,
        };
        let storing = self.storing.as_ref().map(|(_, until)| *until);
        let processes = self.processes.iter().filter_map(Process::deadline);
        let prefetches = self.prefetches.values().copied();
        processes
            .chain(prefetches)
            .chain(phase)
            .chain(storing)
            .min()
    }

    /// Takes one event at the time `now` (monotonic, from any start) and says what to do, in this order.
    pub(crate) fn handle(&mut self, now: Duration, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        if matches!(self.phase, Phase::Left) {
            return actions;
        }
        match event {
            Event::Started { process } => self.process(process).started(now),
            Event::Ended { process, exit } => self.ended(now, process, exit, &mut actions),
            Event::Cleared { process } => self.cleared(now, process, &mut actions),
            Event::Readiness { process, result } => self.process(process).readiness(now, result),
            Event::Liveness { process, result } => {
                if let Some(why) = self.process(process).liveness(result) {
                    self.not_alive(now, process, why, &mut actions);
                }
            }
            Event::SaidReady { process } => self.process(process).said_ready(now),
            Event::SaidAlive { process } => self.process(process).said_alive(now),
            Event::SaidStopping { process } => self.process(process).said_stopping(),
            Event::SaidMoreTime { process, time } => self.said_more_time(now, process, time),
            Event::HookEnded { process } => self.hook_ended(now, process, &mut actions),
            Event::Order(order) => self.order(now, order, &mut actions),
            Event::Launcher(message) => self.launcher_said(now, message, &mut actions),
            Event::LauncherGone => self.launcher_gone(now, &mut actions),
            Event::Fenced => {
                let reason = "a newer incarnation of this node exists".to_owned();
                self.begin_stop(now, Cause::unordered(reason, None), &mut actions);
            }
            Event::Terminate => self.terminate(now, &mut actions),
            Event::TimePassed => self.time_passed(now, &mut actions),
        }
        if !matches!(self.phase, Phase::Left) {
            self.start_queued(&mut actions);
            self.say_changes(&mut actions);
        }
        actions
    }

    /// Starts the processes whose turn it is.
    fn start_queued(&mut self, actions: &mut Vec<Action>) {
        if !matches!(self.phase, Phase::Running { .. }) {
            return;
        }
        for process in 0..self.processes.len() {
            let one = &self.processes[process];
            if one.stage == Stage::Queued && self.first_unready(one).is_none() {
                self.process(process).begin();
                actions.push(Action::Start { process });
            }
        }
    }

    /// Returns a process that has to be ready before this one starts, and is not.
    fn first_unready(&self, process: &Process) -> Option<&Process> {
        let mut before = process
            .rules
            .after
            .iter()
            .map(|place| &self.processes[*place]);
        before.find(|before| !matches!(before.stage, Stage::Ready { .. }))
    }

    fn process(&mut self, process: usize) -> &mut Process {
        &mut self.processes[process]
    }

    fn all_ready(&self) -> bool {
        self.processes
            .iter()
            .all(|process| matches!(process.stage, Stage::Ready { .. }))
    }

    /// Says for what the node waits, when a process had the chance to become ready and did not.
    fn waiting_for(&self) -> Option<String> {
        let own = self.processes.iter().find_map(Process::waiting_for);
        own.or_else(|| {
            let queued = |process: &&Process| process.stage == Stage::Queued;
            let queued = self.processes.iter().find(queued)?;
            let before = self.first_unready(queued)?;
            let (name, before) = (&queued.rules.name, &before.rules.name);
            Some(format!("process `{name}` waits until `{before}` is ready"))
        })
    }

    /// Tells the launcher once that the release is good, and the manager each change.
    fn say_changes(&mut self, actions: &mut Vec<Action>) {
        if !self.was_ready && self.all_ready() {
            self.was_ready = true;
            if self.has_launcher {
                actions.push(Action::TellLauncher(HostMessage::Ready));
            }
        }
        self.tell(actions);
    }

    /// Tells the manager the state, if it changed.
    fn tell(&mut self, actions: &mut Vec<Action>) {
        let report = self.report();
        if self.told.as_ref() != Some(&report) {
            self.told = Some(report.clone());
            actions.push(Action::Report(report));
        }
    }

    fn ended(&mut self, now: Duration, process: usize, exit: String, actions: &mut Vec<Action>) {
        let running = matches!(self.phase, Phase::Running { .. });
        let ended = self.process(process);
        ended.exit = Some(exit);
        match &mut ended.stage {
            // What the main process left behind has the rest of the grace.
            Stage::Stopping { .. } if !running => {}
            stage => {
                if matches!(stage, Stage::Hooked { .. }) {
                    actions.push(Action::EndHook { process });
                }
                actions.push(Action::Kill { process });
                ended.stage = Stage::killed(now);
            }
        }
        if running && !ended.may_be_restarted() {
            let mut cause = Cause::unordered(ended.ending(), Some(process));
            cause.ending.permanent = ended.exit.as_deref().is_some_and(is_permanent);
            self.begin_stop(now, cause, actions);
        }
    }

    fn cleared(&mut self, now: Duration, process: usize, actions: &mut Vec<Action>) {
        let running = matches!(self.phase, Phase::Running { .. });
        let cleared = self.process(process);
        if !matches!(cleared.stage, Stage::Stopping { .. }) {
            return;
        }
        if running {
            // With used-up restarts the node would have left this phase when the process ended.
            let doublings = cleared.restarts.min(16);
            let pause = RESTART_PAUSE_MIN * 2_u32.pow(doublings);
            cleared.restarts += 1;
            cleared.stage = Stage::Waiting {
                until: now + pause.min(RESTART_PAUSE_MAX),
            };
            return;
        }
        cleared.stage = Stage::Ended;
        self.leave_when_ended(actions);
    }

    fn not_alive(&mut self, now: Duration, process: usize, why: String, actions: &mut Vec<Action>) {
        let dead = self.process(process);
        dead.blame = Some(why);
        dead.signalled(now, now + dead.rules.grace);
        actions.push(Action::Signal { process });
    }

    fn order(&mut self, now: Duration, order: Box<Order>, actions: &mut Vec<Action>) {
        match order.kind {
            OrderKind::Prefetch => self.prefetch(now, &order, actions),
            OrderKind::Drain => {
                if let Phase::Running { drained } = &mut self.phase {
                    *drained = Some(order.reason.clone());
                    self.tell(actions);
                }
                actions.push(answer(order.id, AckState::Done));
            }
            OrderKind::Stop => self.stop(now, order, actions),
        }
    }

    fn prefetch(&mut self, now: Duration, order: &Order, actions: &mut Vec<Action>) {
        let Some(next) = order.next.clone() else {
            let reason = "a prefetch order without a start configuration";
            actions.push(refuse(order.id, reason));
            return;
        };
        if !self.has_launcher {
            let reason = "there is no launcher that could fetch packages";
            actions.push(refuse(order.id, reason));
            return;
        }
        if self.prefetches.len() >= PREFETCHES_MAX {
            let reason = "too many prefetch orders are open";
            actions.push(refuse(order.id, reason));
            return;
        }
        self.prefetches.insert(order.id, now + time_of(order));
        actions.push(Action::TellLauncher(HostMessage::Prefetch {
            order_id: order.id,
            next: Box::new(next),
        }));
    }

    fn stop(&mut self, now: Duration, order: Box<Order>, actions: &mut Vec<Action>) {
        if self.storing.is_some() || !matches!(self.phase, Phase::Running { .. }) {
            actions.push(refuse(order.id, "the node is being stopped already"));
            return;
        }
        if !self.has_launcher {
            if order.next.is_some() {
                let reason = "there is no launcher that could start what comes next";
                actions.push(refuse(order.id, reason));
                return;
            }
            self.stored(now, order, actions);
            return;
        }
        actions.push(Action::TellLauncher(HostMessage::Stopping {
            order_id: order.id,
            next: order.next.clone().map(Box::new),
        }));
        let until = now + STORE_TIME_MAX.min(time_of(&order));
        self.storing = Some((order, until));
    }

    /// Carries out a stop order whose `next` is safe.
    fn stored(&mut self, now: Duration, order: Box<Order>, actions: &mut Vec<Action>) {
        actions.push(answer(order.id, AckState::Accepted));
        match &mut self.phase {
            Phase::Running { .. } => {
                let cause = Cause {
                    order_id: Some(order.id),
                    deadline: Some(now + time_of(&order)),
                    ending: Ending {
                        reason: order.reason,
                        ordered: true,
                        process: None,
                        permanent: false,
                    },
                };
                self.begin_stop(now, cause, actions);
            }
            Phase::Draining { cause, .. } | Phase::Stopping { cause } => {
                cause.order_id = Some(order.id);
            }
            Phase::Left => {}
        }
    }

    fn launcher_said(
        &mut self,
        now: Duration,
        message: LauncherMessage,
        actions: &mut Vec<Action>,
    ) {
        match message {
            LauncherMessage::Progress { .. } => {}
            LauncherMessage::Prefetched { order_id, error } => {
                if self.prefetches.remove(&order_id).is_some() {
                    actions.push(match error {
                        None => answer(order_id, AckState::Done),
                        Some(error) => refuse(order_id, &error),
                    });
                }
            }
            LauncherMessage::Stopping { order_id, error } => {
                let Some((order, _)) = self.storing.take_if(|(order, _)| order.id == order_id)
                else {
                    // It came too late and was refused: the manager counts on this node, so the launcher has to, too.
                    if error.is_none()
                        && self.storing.is_none()
                        && matches!(self.phase, Phase::Running { .. })
                    {
                        actions.push(Action::TellLauncher(HostMessage::Stays { order_id }));
                    }
                    return;
                };
                match error {
                    None => self.stored(now, order, actions),
                    Some(error) => actions.push(refuse(order_id, &error)),
                }
            }
        }
    }

    fn launcher_gone(&mut self, now: Duration, actions: &mut Vec<Action>) {
        self.has_launcher = false;
        // The signal of the launcher's death comes before or after the end of its socket.
        self.orphaned = self.terminations == 0;
        self.terminations = 0;
        for order_id in std::mem::take(&mut self.prefetches).into_keys() {
            actions.push(refuse(order_id, "the launcher ended"));
        }
        if let Some((order, _)) = self.storing.take() {
            if matches!(self.phase, Phase::Running { .. }) {
                self.stop(now, order, actions);
            } else {
                actions.push(refuse(order.id, "the launcher ended"));
            }
        }
    }

    fn time_passed(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let late = |until: &Duration| *until <= now;
        let overdue: Vec<OrderId> = self
            .prefetches
            .iter()
            .filter(|(_, until)| late(until))
            .map(|(id, _)| *id)
            .collect();
        for order_id in overdue {
            self.prefetches.remove(&order_id);
            let reason = "the launcher did not fetch the packages in time";
            actions.push(refuse(order_id, reason));
        }
        if let Some((order, _)) = self.storing.take_if(|(_, until)| late(until)) {
            let reason = "the launcher did not store what comes next in time";
            actions.push(refuse(order.id, reason));
        }
        for process in 0..self.processes.len() {
            self.process_time_passed(now, process, actions);
        }
        if let Phase::Draining { until, .. } = &self.phase
            && late(until)
        {
            self.begin_signals(now, actions);
        }
    }

    fn process_time_passed(&mut self, now: Duration, process: usize, actions: &mut Vec<Action>) {
        let one = self.process(process);
        if one.deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        match one.stage {
            Stage::Waiting { .. } => one.stage = Stage::Queued,
            Stage::Hooked { .. } => {
                actions.push(Action::EndHook { process });
                self.signal(now, process, actions);
            }
            Stage::Ready { .. } => {
                let why = "it said no `WATCHDOG=1` in time".to_owned();
                self.not_alive(now, process, why, actions);
            }
            Stage::Stopping {
                kill_at: Some(_), ..
            } => {
                actions.push(Action::Kill { process });
                one.stage = Stage::killed(now);
            }
            // It hangs in the kernel: nothing more can be done from here.
            Stage::Stopping { .. } => self.cleared(now, process, actions),
            Stage::Queued | Stage::Starting | Stage::Ended => {}
        }
    }
}

impl Cause {
    /// Returns when the last process has to be killed so that the node has left at the deadline.
    fn latest(&self) -> Duration {
        self.deadline.map_or(Duration::MAX, |deadline| {
            deadline.saturating_sub(KILL_RESERVE)
        })
    }

    fn unordered(reason: String, process: Option<usize>) -> Self {
        Self {
            order_id: None,
            deadline: None,
            ending: Ending {
                reason,
                ordered: false,
                process,
                permanent: false,
            },
        }
    }
}

fn time_of(order: &Order) -> Duration {
    Duration::from_secs(u64::from(order.deadline_seconds))
}

fn answer(order_id: OrderId, state: AckState) -> Action {
    Action::Answer {
        order_id,
        state,
        reason: None,
    }
}

fn refuse(order_id: OrderId, reason: &str) -> Action {
    Action::Answer {
        order_id,
        state: AckState::Refused,
        reason: Some(reason.to_owned()),
    }
}

#[cfg(test)]
mod tests;
