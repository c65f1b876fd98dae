//! What takes long: asking, installing, prefetching; each in a thread that reports by an event.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use klusterkite_install::{Cancel, FetchProgress};
use klusterkite_wire::socket::LauncherMessage;
use klusterkite_wire::start::{ProgressReport, StartConfiguration, StartRequest};
use klusterkite_wire::{Incarnation, OrderId};
use rustix::process::setpriority_process;

use super::Launcher;
use crate::answer::Answer;
use crate::console;
use crate::cycle::{Event, Install, Level};
use crate::event::ShellEvent;
use crate::release::Progress;
use crate::socket::Replies;

/// Age of a hash after which a stored package is read again.
const CHECK_AGE: Duration = Duration::from_hours(24);

/// How often it is looked whether there are such packages.
const CHECK_EVERY: Duration = Duration::from_hours(1);

/// Rest after each MiB that is read: about a tenth of one processor at most.
const CHECK_PAUSE: Duration = Duration::from_millis(30);

/// Priority at which everybody else comes first.
const CHECK_PRIORITY: i32 = 19;

/// Stack of threads that only read, ask and wait.
const STACK_BYTES: usize = 256 << 10;

/// How often progress is reported.
const REPORT_EVERY: Duration = Duration::from_secs(1);

impl Launcher {
    /// Asks what to be; the answer comes as an event.
    pub(super) fn start_asking(&self, url: usize) -> Option<Event> {
        let state = self.cycle.state();
        let request = StartRequest {
            node_id: self.identity.node_id.clone(),
            node_secret: self.identity.node_secret.clone(),
            incarnation: state.incarnation.unwrap_or(Incarnation(0)),
            last_incarnation: state.last_incarnation,
            container_type: self.config.container_type.clone(),
            runtime: self.config.runtime.clone(),
            crash: state.crash.clone(),
        };
        let (manager, sender) = (Arc::clone(&self.manager), self.sender.clone());
        let ask = move || {
            // Nobody listens to a launcher that ends; so for every `send` here.
            let _ = sender.send(ShellEvent::Answered(manager.ask(url, &request)));
        };
        let started = thread::Builder::new()
            .stack_size(STACK_BYTES)
            .name("ask".to_owned())
            .spawn(ask);
        let error = started.err()?;
        let reason = format!("cannot start a thread: {error}");
        Some(Event::Answered(Answer::Away { reason }))
    }

    /// Installs; the release comes as an event.
    pub(super) fn start_installing(&self, what: Install) -> Option<Event> {
        let (releases, sender) = (self.releases.clone(), self.sender.clone());
        let progress: Arc<Progress> = Arc::new(Mutex::new(None));
        let done = Cancel::new();
        if matches!(what, Install::Answer(_)) {
            self.start_reporting(Arc::clone(&progress), done.clone());
        }
        let install = move || {
            let result = releases.install(&what, &progress, &Cancel::new());
            done.cancel();
            let result = result.map_err(|error| format!("{error:#}"));
            let _ = sender.send(ShellEvent::Installed(result));
        };
        let started = thread::Builder::new()
            .stack_size(STACK_BYTES)
            .name("install".to_owned())
            .spawn(install);
        let error = started.err()?;
        Some(Event::NotInstalled(format!(
            "cannot start a thread: {error}"
        )))
    }

    /// Tells the manager how far the installation is, so that it keeps the place for this node.
    fn start_reporting(&self, progress: Arc<Progress>, done: Cancel) {
        let (manager, identity, url) = (Arc::clone(&self.manager), self.identity.clone(), self.url);
        let report = move || {
            while !done.wait(REPORT_EVERY) {
                let latest = progress
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take();
                let Some((phase, fetched)) = latest else {
                    continue;
                };
                let report = ProgressReport {
                    node_secret: identity.node_secret.clone(),
                    phase,
                    bytes: fetched.bytes,
                    total: fetched.total,
                };
                if let Err(error) = manager.progress(url, &identity.node_id, &report) {
                    let text = format!("the progress could not be reported: {error}");
                    console::say(Level::Debug, &text);
                }
            }
        };
        if let Err(error) = thread::Builder::new()
            .stack_size(STACK_BYTES)
            .name("progress".to_owned())
            .spawn(report)
        {
            console::warn(format_args!("the progress will not be reported: {error}"));
        }
    }

    /// Fetches the packages of what may come next and answers the host; a former prefetch ends.
    pub(super) fn start_prefetch(
        &mut self,
        order_id: OrderId,
        next: StartConfiguration,
        replies: Replies,
    ) {
        let Some(node) = &mut self.node else { return };
        node.prefetch.cancel();
        node.prefetch = Cancel::new();
        self.prefetched.clone_from(&next.packages);
        // What updates that never came have left makes room.
        self.tidy();
        let Some(node) = &self.node else { return };
        let cancel = node.prefetch.clone();
        let releases = self.releases.clone();
        let answer = replies.clone();
        let fetch = move || {
            let told = Mutex::new(Instant::now());
            let progress = |fetched: FetchProgress| {
                let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                if told.elapsed() < REPORT_EVERY {
                    return;
                }
                *told = Instant::now();
                let (bytes, total) = (fetched.bytes, fetched.total);
                replies.send(&LauncherMessage::Progress {
                    order_id,
                    bytes,
                    total,
                });
            };
            let result = releases.fetch(&next, &progress, &cancel);
            let error = result.err().map(|error| format!("{error:#}"));
            match &error {
                None => console::info(format_args!(
                    "the packages of `{}` of configuration {} are here",
                    next.node_template, next.configuration_id
                )),
                Some(error) => console::warn(format_args!("cannot prefetch: {error}")),
            }
            replies.send(&LauncherMessage::Prefetched { order_id, error });
        };
        if let Err(error) = thread::Builder::new()
            .stack_size(STACK_BYTES)
            .name("prefetch".to_owned())
            .spawn(fetch)
        {
            let error = Some(format!("cannot start a thread: {error}"));
            answer.send(&LauncherMessage::Prefetched { order_id, error });
        }
    }

    /// Looks for damage in the content store while a ready node runs, at the lowest priority. What
    /// is damaged is said, removed, and fetched again.
    pub(super) fn start_checking_store(&mut self) {
        let Some(node) = self.node.as_mut().filter(|node| !node.checks_store) else {
            return;
        };
        node.checks_store = true;
        let cancel = node.cancel.clone();
        let releases = self.releases.clone();
        let release = self.cycle.state().release;
        let check = move || {
            // Of this thread only. Where it is not allowed, the rests have to do.
            let _ = setpriority_process(None, CHECK_PRIORITY);
            loop {
                let result = releases.check_store(release, CHECK_AGE, CHECK_PAUSE, &cancel);
                match result {
                    Err(_) if cancel.is_cancelled() => return,
                    Err(error) => {
                        console::warn(format_args!("cannot check the content store: {error:#}"));
                    }
                    Ok(()) => {}
                }
                if cancel.wait(CHECK_EVERY) {
                    return;
                }
            }
        };
        if let Err(error) = thread::Builder::new()
            .stack_size(STACK_BYTES)
            .name("check".to_owned())
            .spawn(check)
        {
            console::warn(format_args!("the store will not be checked: {error}"));
        }
    }
}
