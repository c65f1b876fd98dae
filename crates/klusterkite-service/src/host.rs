//! The host: one loop that moves events into the [`Node`] and carries its actions out.

use std::future;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use klusterkite_node::{
    Answer, Introduction, Link, LinkEvent, LinkSettings, MembersFile, MembersService, bind_socket,
};
use klusterkite_wire::link::{LogChunk, LogRequest, ReportedStatus};
use klusterkite_wire::service_directory::{MEMBERS_SOCKET, NODE_TOKEN};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{self, Instant};

use crate::containment::Containment;
use crate::directory::{HostedProcess, ServiceDirectory};
use crate::journal::Journal;
use crate::launcher::Launcher;
use crate::node::{Action, Ending, Event, Node};
use crate::output::{Output, Stream, Tail};
use crate::probe::{watch_liveness, watch_readiness};
use crate::process::{self, Program, Running, RunningHook};
use crate::sockets::{SocketPaths, listen_for_notices};

/// How many events of processes, probes and the launcher may wait; their senders wait then.
const QUEUE_LENGTH: usize = 256;

/// How many requests for output may be open: a manager asks for a few readers.
const LOG_ANSWERS_MAX: usize = 16;

/// How long the output of ended processes is waited for: something outside their groups may hold the pipes for ever.
const OUTPUT_TIME_MAX: Duration = Duration::from_millis(500);

/// How many last lines of a failed process are said again beside the reason.
const LAST_LINES: usize = 20;

/// Runs the node of a service directory, which is the working directory, until it ends.
pub(crate) async fn run(directory: ServiceDirectory, output: Output) -> Result<Ending> {
    let mut signals = Signals::new()?;
    let paths = SocketPaths::new(&directory.path)?;
    let members_socket = bind_socket(Path::new(MEMBERS_SOCKET))?;
    let members_file = directory.data.join(".klusterkite").join("members.json");
    let members = MembersService::start(members_socket, MembersFile::new(members_file));

    let logs = directory.data.join(".klusterkite").join("logs");
    let journal = Journal::start(logs).context("no thread can be started")?;
    output.note_in(journal.clone());
    let (chunks, mut answers) = mpsc::channel(LOG_ANSWERS_MAX);

    let (events, mut inbox) = mpsc::channel(QUEUE_LENGTH);
    let launcher = Launcher::connect(events.clone()).await;
    let processes = directory.processes(&paths);
    let rules = processes.iter().map(|process| process.rules.clone());
    let stop_limit = directory.start.stop_grace;
    if let Some(limit) = stop_limit.filter(|limit| *limit < directory.stop_time) {
        tracing::warn!(
            ?limit,
            stop_time = ?directory.stop_time,
            "a stop by a signal will be cut short: `stopGrace` of the launcher is shorter than drain, hook and grace"
        );
    }
    let mut node = Node::new(rules.collect(), launcher.is_some(), stop_limit);
    let containment = Containment::choose(&directory.start.node_id, &directory.package_limits);
    let (link, mut link_events) =
        Link::start(link_settings(&directory, &containment), node.report());
    let mut slots = Vec::new();
    for (index, process) in processes.into_iter().enumerate() {
        listen_for_notices(index, events.clone())?;
        slots.push(Slot {
            process,
            running: None,
            hook: None,
            tail: Tail::default(),
        });
    }
    let mut host = Host {
        output,
        containment,
        launcher,
        link,
        events,
        slots,
        forwards: Vec::new(),
        logged: None,
    };

    let start = Instant::now();
    let mut actions = node.start();
    loop {
        // Starting a process makes events at once, which belong before those that wait.
        let mut own = Vec::new();
        for action in actions {
            match host.carry_out(action).await {
                Outcome::Nothing => {}
                Outcome::Events(events) => own.extend(events),
                Outcome::Left(ending) => return Ok(host.leave(ending).await),
            }
        }
        if !own.is_empty() {
            actions = Vec::new();
            for event in own {
                actions.extend(node.handle(start.elapsed(), event));
            }
            continue;
        }
        let deadline = node.deadline().map(|deadline| start + deadline);
        let event = tokio::select! {
            () = signals.terminate() => Event::Terminate,
            event = inbox.recv() => event.expect("the host holds a sender"),
            event = next(&mut link_events) => match event {
                LinkEvent::Order(order) => Event::Order(order),
                LinkEvent::Fenced => Event::Fenced,
                LinkEvent::Logs(request) => {
                    give_logs(&journal, request, &chunks);
                    actions = Vec::new();
                    continue;
                }
                LinkEvent::Members(newest) => {
                    members.publish(newest);
                    actions = Vec::new();
                    continue;
                }
            },
            chunk = answers.recv() => {
                host.link.answer_logs(chunk.expect("the host holds a sender")).await;
                actions = Vec::new();
                continue;
            }
            () = passed(deadline) => Event::TimePassed,
        };
        host.observe(&event);
        actions = node.handle(start.elapsed(), event);
    }
}

/// Looks for output in a task of its own; what the manager asks for beyond the limit gets no answer.
fn give_logs(journal: &Journal, request: LogRequest, chunks: &mpsc::Sender<LogChunk>) {
    let Ok(place) = chunks.clone().try_reserve_owned() else {
        tracing::warn!("the manager asks for output too often");
        return;
    };
    let answer = journal.clone().answer(request);
    tokio::spawn(async move {
        place.send(answer.await);
    });
}

fn link_settings(directory: &ServiceDirectory, containment: &Containment) -> LinkSettings {
    let start = directory.start.clone();
    LinkSettings {
        urls: start.urls,
        trust: start.trust,
        node_id: start.node_id,
        token_file: directory.path.join(NODE_TOKEN),
        introduction: Introduction {
            incarnation: start.incarnation,
            template: start.template,
            configuration_id: start.configuration_id,
            container_type: start.container_type,
            runtime: start.runtime,
            address: directory.address.clone(),
            roles: directory.roles.clone(),
            modules: directory.modules.clone(),
            endpoints: directory.endpoints.clone(),
            watch: start.watch,
            containment: Some(containment.told()),
        },
    }
}

/// One process of the manifest, and its run.
struct Slot {
    process: HostedProcess,
    running: Option<Running>,
    hook: Option<RunningHook>,
    tail: Tail,
}

struct Host {
    output: Output,
    containment: Containment,
    launcher: Option<Launcher>,
    link: Link,
    events: mpsc::Sender<Event>,
    slots: Vec<Slot>,
    forwards: Vec<JoinHandle<()>>,
    /// State of the node that was logged last; changes of its processes have lines of their own.
    logged: Option<(ReportedStatus, Option<String>)>,
}

enum Outcome {
    Nothing,
    /// What the action itself made happen, to be handled before anything else.
    Events(Vec<Event>),
    Left(Ending),
}

impl Host {
    async fn carry_out(&mut self, action: Action) -> Outcome {
        match action {
            Action::Start { process } => return Outcome::Events(self.start(process)),
            Action::Signal { process } => {
                let slot = &self.slots[process];
                tracing::info!(process = slot.process.rules.name, "stopping");
                if let Some(running) = &slot.running {
                    running.signal(slot.process.signal);
                }
            }
            Action::RunHook { process } => self.run_hook(process),
            Action::EndHook { process } => self.slots[process].hook = None,
            Action::Kill { process } => {
                if let Some(running) = &self.slots[process].running {
                    running.kill();
                }
            }
            Action::Report(report) => {
                let state = (report.status, report.reason.clone());
                if self.logged.as_ref() != Some(&state) {
                    tracing::info!(status = ?state.0, reason = state.1.as_deref(), "node");
                    self.logged = Some(state);
                }
                self.link.report(report).await;
            }
            Action::Answer {
                order_id,
                state,
                reason,
            } => {
                let why = reason.as_deref();
                tracing::info!(order = order_id.0, state = ?state, reason = why, "order");
                self.link
                    .answer(Answer {
                        order_id,
                        state,
                        reason,
                    })
                    .await;
            }
            Action::TellLauncher(message) => {
                if let Some(launcher) = &self.launcher {
                    launcher.tell(message);
                }
            }
            Action::Leave(ending) => return Outcome::Left(ending),
        }
        Outcome::Nothing
    }

    fn start(&mut self, process: usize) -> Vec<Event> {
        let slot = &mut self.slots[process];
        let hosted = &slot.process;
        let name = &hosted.rules.name;
        self.forwards.retain(|forward| !forward.is_finished());
        let place = self
            .containment
            .place(&hosted.package, name, &hosted.limits);
        let started = process::start(
            process,
            &hosted.program,
            place,
            &self.output,
            &slot.tail,
            self.events.clone(),
        );
        let (mut running, forwards) = match started {
            Ok(started) => started,
            Err(error) => {
                tracing::error!(process = name, "could not be started: {error:#}");
                let exit = format!("could not be started: {error:#}");
                return vec![Event::Ended { process, exit }, Event::Cleared { process }];
            }
        };
        tracing::info!(process = name, "started");
        self.forwards.extend(forwards);
        if let Some(probe) = hosted.readiness.clone() {
            let (program, events) = (hosted.program.clone(), self.events.clone());
            let watch = watch_readiness(process, probe, program, events);
            running.attach(tokio::spawn(watch));
        }
        if let Some(probe) = hosted.liveness.clone() {
            let (program, events) = (hosted.program.clone(), self.events.clone());
            let watch = watch_liveness(process, probe, program, events);
            running.attach(tokio::spawn(watch));
        }
        slot.running = Some(running);
        vec![Event::Started { process }]
    }

    fn run_hook(&mut self, process: usize) {
        let slot = &mut self.slots[process];
        let Some(hook) = &slot.process.hook else {
            return;
        };
        tracing::info!(process = slot.process.rules.name, "running its stop hook");
        let program = Program {
            command: hook.command.clone(),
            ..slot.process.program.clone()
        };
        slot.hook = Some(process::start_hook(
            process,
            program,
            &self.output,
            &slot.tail,
            self.events.clone(),
        ));
    }

    /// Keeps the runs of the processes in step with their events.
    fn observe(&mut self, event: &Event) {
        match event {
            Event::Ended { process, exit } => {
                let slot = &mut self.slots[*process];
                tracing::info!(process = slot.process.rules.name, exit, "ended");
                if let Some(running) = &mut slot.running {
                    running.end_tasks();
                }
            }
            Event::Cleared { process } => self.slots[*process].running = None,
            Event::HookEnded { process } => self.slots[*process].hook = None,
            Event::LauncherGone => {
                tracing::warn!("the launcher is gone; the node keeps running");
                self.launcher = None;
            }
            _ => {}
        }
    }

    /// Says `bye`, waits for the last output, and says why the node failed, if it did.
    async fn leave(self, ending: Ending) -> Ending {
        self.link.leave(ending.reason.clone()).await;
        let until = Instant::now() + OUTPUT_TIME_MAX;
        for forward in self.forwards {
            // What still holds a pipe has left its process group: the launcher's to find.
            let _ = time::timeout_at(until, forward).await;
        }
        self.containment.close();
        if !ending.ordered {
            if let Some(process) = ending.process {
                let slot = &self.slots[process];
                let lines = slot.tail.lines();
                for line in &lines[lines.len().saturating_sub(LAST_LINES)..] {
                    let line = format!("  {}: {line}\n", slot.process.rules.name);
                    self.output.line(Stream::Err, line.into_bytes());
                }
            }
            let line = format!("the node failed: {}\n", ending.reason);
            self.output.line(Stream::Err, line.into_bytes());
        }
        ending
    }
}

/// Signals that tell the host to end.
struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be listened to");
        Ok(Self {
            term: listen(SignalKind::terminate())?,
            int: listen(SignalKind::interrupt())?,
            hup: listen(SignalKind::hangup())?,
        })
    }

    async fn terminate(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
            _ = self.hup.recv() => {}
        }
    }
}

/// Returns what the manager says next; nothing comes any more after `fenced`.
async fn next(link_events: &mut mpsc::Receiver<LinkEvent>) -> LinkEvent {
    match link_events.recv().await {
        Some(event) => event,
        None => future::pending().await,
    }
}

async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => time::sleep_until(deadline).await,
        None => future::pending().await,
    }
}
