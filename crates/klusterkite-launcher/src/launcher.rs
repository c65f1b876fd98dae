//! The shell around the cycle: one loop takes events, asks the cycle what to do, and does it.
//!
//! Whatever takes long runs in a thread of its own and reports by an event. Children are started
//! and reaped by the loop's thread only.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use klusterkite_install::{Cancel, ContentStore, file, read_release};
use klusterkite_processes::ControlGroup;
use klusterkite_wire::Secret;
use klusterkite_wire::service_directory::{NODE_TOKEN, START_SETTINGS};
use klusterkite_wire::socket::{HostMessage, LauncherMessage};
use klusterkite_wire::start::{
    CrashReport, NodeTokenRequest, PackageReference, StartConfiguration,
};

use crate::config::{Config, meaningless, variable_of};
use crate::console;
use crate::containment::{self, Containment, joins};
use crate::cycle::{Action, Cycle, Event, Install, Moment, Next, Origin, ReleaseNumber};
use crate::directory::{Directory, FILE_MODE, Identity, SECRET_MODE};
use crate::event::{EVENTS_MAX, RunNumber, Sender, ShellEvent};
use crate::host::{self, Host, program_path};
use crate::manager::Manager;
use crate::node_token::TokenJob;
use crate::random;
use crate::release::Releases;
use crate::signals;
use crate::socket::{Replies, Socket};

mod start_settings;
mod work;

/// Longest wait for an event, so that a deadline on the monotonic clock is not missed for long
/// after the machine slept.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// Exit code of a wrong configuration.
const CONFIGURATION_ERROR: u8 = 2;

/// Set in the environment of every host; its descendants inherit it. By it a launcher finds what a
/// killed launcher of the same directory left.
const MARKER: &str = "KLUSTERKITE_LAUNCHED_BY";

/// Tells the host whether it may use control groups; the same as the key `controlGroups` in the environment.
const CONTROL_GROUPS_VARIABLE: &str = "KLUSTERKITE_CONTROL_GROUPS";

/// Names the directory that outlives restarts to the node's processes.
const DATA_VARIABLE: &str = "KLUSTERKITE_DATA";

/// Runs until a signal or the stop action ends it.
pub(crate) fn run(config_path: &Path) -> ExitCode {
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let config = match Config::load(config_path, &environment) {
        Ok(config) => config,
        Err(errors) => {
            for error in &errors {
                console::error(format_args!("configuration: {error}"));
            }
            return ExitCode::from(CONFIGURATION_ERROR);
        }
    };
    let ended = Launcher::start(config).and_then(Launcher::run);
    if let Err(error) = &ended {
        console::error(format_args!("{error:#}"));
    }
    console::flush();
    if matches!(ended, Ok(true)) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

struct Launcher {
    config: Config,
    directory: Directory,
    identity: Identity,
    containment: Containment,
    manager: Arc<Manager>,
    releases: Releases,
    cycle: Cycle,
    sender: Sender,
    receiver: Receiver<ShellEvent>,
    started: Instant,
    /// Number of the present or last run.
    run: RunNumber,
    node: Option<Node>,
    stop_action: Option<Host>,
    /// Manager that was asked last.
    url: usize,
    /// Token of the answer that is being installed.
    answer_token: Option<Secret>,
    /// Packages that the host let us fetch, until something that uses them runs.
    prefetched: Vec<PackageReference>,
    /// Whether and how well the launcher has ended.
    exit: Option<bool>,
}

/// Says at the start which files are not there that are needed on a bad day: they may still come.
fn say_missing_files(config: &Config) {
    let named = [
        ("fallbackConfiguration", config.fallback.as_slice()),
        ("feedCredentialFile", config.feed_credential_file.as_slice()),
        ("tls.ca", config.trust.files()),
    ];
    for (key, paths) in named {
        for path in paths.iter().filter(|path| !path.exists()) {
            console::warn(format_args!(
                "configuration: `{key}` names `{}`, which does not exist yet",
                path.display()
            ));
        }
    }
}

/// A running node and what belongs to its run.
struct Node {
    host: Host,
    group: Option<ControlGroup>,
    _socket: Socket,
    /// Ends the threads of this run.
    cancel: Cancel,
    /// Ends the prefetch that is under way.
    prefetch: Cancel,
    /// Whether the stored packages are being looked at.
    checks_store: bool,
}

impl Launcher {
    fn start(config: Config) -> Result<Self> {
        signals::unblock().context("cannot unblock signals")?;
        console::start(config.log).context("cannot start a thread")?;
        for key in &config.unknown_keys {
            console::warn(format_args!("configuration: {}", meaningless(key)));
        }
        say_missing_files(&config);
        klusterkite_processes::adopt_orphans().context("cannot adopt orphaned processes")?;
        let directory = Directory::open(&config.working_directory)?;
        let identity = directory.identity()?;
        let (state, next) = (directory.load_state()?, directory.load_next()?);
        let store = ContentStore::open(directory.store())?;
        let (sender, receiver) = sync_channel(EVENTS_MAX);
        signals::start(sender.clone()).context("cannot start a thread")?;
        let manager = Arc::new(Manager::new(&config));
        let releases = Releases {
            directory: directory.releases(),
            store,
            runtime: config.runtime.clone(),
            fallback: config.fallback.clone(),
            feed_credential_file: config.feed_credential_file.clone(),
            mirrors: config.package_mirrors.clone(),
            connect_timeout: config.connect_timeout,
            trust: config.trust.clone(),
        };
        let cycle = Cycle::new(config.policy.clone(), state, next);
        Ok(Self {
            containment: Containment::choose(&identity.node_id, config.control_groups),
            config,
            directory,
            identity,
            manager,
            releases,
            cycle,
            sender,
            receiver,
            started: Instant::now(),
            run: RunNumber(0),
            node: None,
            stop_action: None,
            url: 0,
            answer_token: None,
            prefetched: Vec::new(),
            exit: None,
        })
    }

    /// Runs the cycle; returns whether it ended well.
    fn run(mut self) -> Result<bool> {
        console::info(format_args!(
            "launcher {} of node {}, container type `{}`, runtime `{}`",
            env!("CARGO_PKG_VERSION"),
            self.identity.node_id,
            self.config.container_type,
            self.config.runtime
        ));
        if self.end_left_overs()? {
            return Ok(true);
        }
        let actions = self.cycle.begin(self.now());
        self.perform(actions);
        while self.exit.is_none() {
            let wait = self.cycle.deadline().map_or(LOOK_EVERY, |deadline| {
                deadline
                    .saturating_sub(self.started.elapsed())
                    .min(LOOK_EVERY)
            });
            match self.receiver.recv_timeout(wait) {
                Ok(event) => self.on(event),
                Err(RecvTimeoutError::Timeout) => self.feed(Event::Tick),
                Err(RecvTimeoutError::Disconnected) => unreachable!("the loop holds a sender"),
            }
        }
        if self.kill_tree() {
            self.directory.note_end();
        }
        self.containment.close();
        Ok(self.exit == Some(true))
    }

    /// Takes down what a launcher that was killed has left in this directory, so that ports and
    /// files are free. Returns whether a signal came meanwhile.
    fn end_left_overs(&self) -> Result<bool> {
        if self.directory.was_ended() {
            return Ok(false);
        }
        let mut told_to_stop = false;
        let mut hurry = || {
            while let Ok(event) = self.receiver.try_recv() {
                told_to_stop |= matches!(event, ShellEvent::StopSignal);
            }
            told_to_stop
        };
        let grace = self.config.policy.stop_grace;
        let marker = format!("{MARKER}={}", self.identity.node_id);
        let count = klusterkite_processes::end_marked(&marker, grace, &mut hurry)
            .and_then(|count| Ok(count + self.containment.end_left_overs()?))
            .context("cannot end what the last launcher of this directory has left")?;
        if count > 0 {
            console::warn(format_args!(
                "the last launcher of this directory was killed: {count} processes that it left were ended"
            ));
        }
        Ok(told_to_stop)
    }

    fn now(&self) -> Moment {
        let unix = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Moment {
            monotonic: self.started.elapsed(),
            unix_milliseconds: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
            random: random::number(),
        }
    }

    fn on(&mut self, event: ShellEvent) {
        match event {
            ShellEvent::StopSignal => self.feed(Event::StopSignal),
            ShellEvent::ChildrenChanged => self.reap(),
            ShellEvent::Answered(answer) => self.feed(Event::Answered(answer)),
            ShellEvent::Installed(Ok(release)) => self.feed(Event::Installed(release)),
            ShellEvent::Installed(Err(reason)) => self.feed(Event::NotInstalled(reason)),
            ShellEvent::Host {
                run,
                message,
                replies,
            } => {
                if run == self.run && self.node.is_some() {
                    self.on_host(message, &replies);
                }
            }
            ShellEvent::TokenWritten {
                run,
                failure_reported,
            } => {
                if run == self.run && failure_reported {
                    self.feed(Event::FailureReported);
                }
            }
        }
    }

    fn feed(&mut self, event: Event) {
        let actions = self.cycle.handle(event, self.now());
        self.perform(actions);
    }

    fn perform(&mut self, actions: Vec<Action>) {
        let mut queue = VecDeque::from(actions);
        while let Some(action) = queue.pop_front() {
            match self.act(action) {
                Ok(None) => {}
                Ok(Some(event)) => queue.extend(self.cycle.handle(event, self.now())),
                Err(error) => {
                    console::error(format_args!("{error:#}"));
                    // Nothing may start on state that a crash would forget.
                    let starts = |action: &Action| {
                        matches!(
                            action,
                            Action::Ask { .. } | Action::Install(_) | Action::Run { .. }
                        )
                    };
                    if queue.iter().any(starts) {
                        queue.clear();
                        queue.extend(self.cycle.handle(Event::NotStored, self.now()));
                    }
                }
            }
        }
    }

    /// Does one thing; the event is what came of it at once. An error is one of storing.
    fn act(&mut self, action: Action) -> Result<Option<Event>> {
        match action {
            Action::StoreState => self.directory.store_state(self.cycle.state())?,
            Action::StoreNext => self.directory.store_next(self.cycle.next())?,
            Action::Ask { url } => {
                self.url = url;
                return Ok(self.start_asking(url));
            }
            Action::Install(what) => {
                if let Install::Answer(start) = &what {
                    self.answer_token.clone_from(&start.node_token);
                }
                self.make_room(&what);
                return Ok(self.start_installing(what));
            }
            Action::Run { release, origin } => {
                if let Err(error) = self.start_node(release, origin) {
                    self.kill_tree();
                    let exit = format!("could not be started: {error:#}");
                    return Ok(Some(Event::Ended(CrashReport::of(exit))));
                }
            }
            Action::Terminate => {
                if let Some(node) = &self.node
                    && let Err(error) = node.host.terminate()
                {
                    console::error(format_args!("cannot stop the node: {error}"));
                }
            }
            Action::Kill => {
                self.kill_tree();
            }
            Action::Tidy => self.tidy(),
            Action::StartStopCommand => return Ok(self.start_stop_action()),
            Action::Exit { success } => self.exit = Some(success),
            Action::Say(level, text) => console::say(level, &text),
        }
        Ok(None)
    }

    fn start_node(&mut self, release: ReleaseNumber, origin: Origin) -> Result<()> {
        let path = self.releases.path(release);
        let start = read_release(&path)?.context("the release is gone")?;
        self.run = RunNumber(self.run.0 + 1);
        let settings = start_settings::render(
            &start,
            &self.identity.node_id,
            self.cycle.state().incarnation,
            &self.config,
            random::number,
        );
        // These are written before every start, so a crash of the machine may take them.
        file::write(&path.join(START_SETTINGS), settings.as_bytes(), FILE_MODE)?;

        let token = self
            .answer_token
            .take()
            .filter(|_| origin == Origin::Answer);
        let token_path = path.join(NODE_TOKEN);
        match &token {
            Some(token) => {
                file::write(&token_path, token.reveal().as_bytes(), SECRET_MODE)?;
            }
            None => {
                file::remove(&token_path)?;
            }
        }
        let target = Path::new("releases").join(release.0.to_string());
        file::switch_link(&self.directory.current(), &target)?;

        let socket = Socket::open(&path, self.run, self.sender.clone())
            .with_context(|| format!("cannot listen in `{}`", path.display()))?;
        let data = self.directory.data();
        let program = program_path(&path, &start.entry_point);
        let group = self.containment.group(self.run.0);
        let host = self
            .start_child(
                program.as_os_str(),
                &[],
                &path,
                &[(DATA_VARIABLE, data.as_os_str())],
                joins(group.as_ref()),
            )
            .with_context(|| format!("cannot run `{}`", program.display()))?;
        let cancel = Cancel::new();
        console::info(format_args!(
            "started `{}` of configuration {} as process {}, release {} ({origin:?})",
            start.node_template,
            start.configuration_id,
            host.pid.as_raw_nonzero(),
            release.0
        ));
        if token.is_none() || self.cycle.state().failure.is_some() {
            let token_file = token.is_none().then_some(token_path);
            let job = self.token_job(&start, token_file, cancel.clone());
            if let Err(error) = job.start() {
                console::error(format_args!("cannot ask for a node token: {error}"));
            }
        }
        self.node = Some(Node {
            host,
            group,
            _socket: socket,
            cancel,
            prefetch: Cancel::new(),
            checks_store: false,
        });
        Ok(())
    }

    fn start_child(
        &self,
        program: &OsStr,
        arguments: &[String],
        directory: &Path,
        variables: &[(&str, &OsStr)],
        joins: Vec<PathBuf>,
    ) -> std::io::Result<Host> {
        let mut environment = variables.to_vec();
        environment.push((MARKER, OsStr::new(self.identity.node_id.as_str())));
        let groups = self.containment.has_groups().to_string();
        environment.push((CONTROL_GROUPS_VARIABLE, OsStr::new(&groups)));
        // The secret of the launcher is none of the node's business.
        let secret = variable_of("apiClientSecret");
        Host::start(
            program,
            arguments,
            directory,
            &environment,
            &[&secret],
            joins,
        )
    }

    fn token_job(
        &self,
        start: &StartConfiguration,
        file: Option<std::path::PathBuf>,
        cancel: Cancel,
    ) -> TokenJob {
        let state = self.cycle.state();
        TokenJob {
            manager: Arc::clone(&self.manager),
            node_id: self.identity.node_id.clone(),
            request: NodeTokenRequest {
                node_secret: self.identity.node_secret.clone(),
                incarnation: state
                    .incarnation
                    .unwrap_or(klusterkite_wire::Incarnation(0)),
                last_incarnation: state.last_incarnation,
                container_type: self.config.container_type.clone(),
                runtime: self.config.runtime.clone(),
                node_template: start.node_template.clone(),
                configuration_id: start.configuration_id,
                failure: state.failure.clone(),
            },
            file,
            run: self.run,
            pause: self.config.policy.away_pause,
            sender: self.sender.clone(),
            cancel,
        }
    }

    fn start_stop_action(&mut self) -> Option<Event> {
        let command = self.config.stop_action.clone().unwrap_or_default();
        let (program, arguments) = command.split_first()?;
        console::info(format_args!(
            "running the stop action `{}`",
            command.join(" ")
        ));
        let directory = self.directory.data();
        match self.start_child(OsStr::new(program), arguments, &directory, &[], Vec::new()) {
            Ok(child) => {
                self.stop_action = Some(child);
                None
            }
            Err(error) => {
                console::error(format_args!("cannot run the stop action: {error}"));
                Some(Event::StopActionEnded { success: false })
            }
        }
    }

    /// Takes the children that have ended.
    fn reap(&mut self) {
        for (pid, exit) in host::reap() {
            if self.node.as_ref().is_some_and(|node| node.host.pid == pid) {
                let report = self.end_node(exit);
                self.feed(Event::Ended(report));
            } else if self
                .stop_action
                .as_ref()
                .is_some_and(|child| child.pid == pid)
            {
                console::info(format_args!("the stop action ended: {exit}"));
                self.stop_action = None;
                self.feed(Event::StopActionEnded {
                    success: exit == "exit 0",
                });
            }
        }
    }

    /// Ends what belongs to the run of a host that has ended, and what it left.
    fn end_node(&mut self, exit: String) -> CrashReport {
        let Some(node) = self.node.take() else {
            return CrashReport::of(exit);
        };
        node.cancel.cancel();
        node.prefetch.cancel();
        containment::kill(node.group.as_ref());
        CrashReport {
            last_lines: node.host.last_lines(),
            ..CrashReport::of(exit)
        }
    }

    fn on_host(&mut self, message: HostMessage, replies: &Replies) {
        match message {
            HostMessage::Ready => {
                self.feed(Event::Ready);
                self.start_checking_store();
            }
            HostMessage::Prefetch { order_id, next } => {
                self.start_prefetch(order_id, *next, replies.clone());
            }
            HostMessage::Stays { order_id } => self.feed(Event::Stays { order_id }),
            HostMessage::Stopping { order_id, next } => {
                let next = next.map(|start| Next {
                    order_id,
                    start: StartConfiguration {
                        node_token: None,
                        ..*start
                    },
                    back_to: self.cycle.way_back(),
                    tries: 0,
                });
                let stored = match &next {
                    Some(_) => self.directory.store_next(next.as_ref()),
                    None => Ok(()),
                };
                let error = stored.as_ref().err().map(|error| format!("{error:#}"));
                replies.send(&LauncherMessage::Stopping { order_id, error });
                match stored {
                    Ok(()) => self.feed(Event::Stopping { next }),
                    Err(error) => {
                        console::error(format_args!("cannot store what comes next: {error:#}"));
                    }
                }
            }
        }
    }

    /// Ends everything that the launcher has started; tells whether that is so.
    fn kill_tree(&self) -> bool {
        let node = self.node.as_ref();
        containment::kill(node.and_then(|node| node.group.as_ref()))
    }

    /// Removes what is not needed by what runs, by what comes next and by the last prefetch.
    fn tidy(&self) {
        self.remove_unneeded(&self.needed_releases(), &[]);
    }

    /// Removes what a node that keeps failing, with one configuration after another, leaves behind.
    fn make_room(&self, what: &Install) {
        let mut keep = self.needed_releases();
        let mut packages: &[PackageReference] = &[];
        match what {
            Install::Release(release) => {
                keep.insert(*release);
            }
            Install::Answer(start) | Install::Next(start) => packages = &start.packages,
            Install::Fallback => {}
        }
        self.remove_unneeded(&keep, packages);
    }

    /// Removes releases that are not to be kept, and packages beyond the size of the store that
    /// nothing needs.
    fn remove_unneeded(&self, keep: &BTreeSet<ReleaseNumber>, packages: &[PackageReference]) {
        let mut pinned = self.prefetched.clone();
        pinned.extend_from_slice(packages);
        let next = self.cycle.next();
        pinned.extend(
            next.into_iter()
                .flat_map(|next| next.start.packages.clone()),
        );
        let removed = self.releases.remove_others(keep).and_then(|()| {
            self.releases
                .collect_garbage(keep, pinned, self.config.package_cache_bytes)
        });
        if let Err(error) = removed {
            console::warn(format_args!("cannot tidy up: {error:#}"));
        }
    }

    fn needed_releases(&self) -> BTreeSet<ReleaseNumber> {
        let state = self.cycle.state();
        let mut needed = BTreeSet::new();
        needed.extend(state.release);
        needed.extend(state.good.map(|good| good.release));
        needed.extend(self.cycle.next().and_then(|next| next.back_to));
        needed
    }
}
