//! Processes of the node: each in a process group of its own, watched until nothing of the group is left.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{env, fs, io};

use anyhow::{Context, Result, bail};
use klusterkite_processes::shim::Plan;
use klusterkite_processes::{ControlGroup, Process, kill_marked_since, marked_since, read_stat};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, pidfd_open,
    test_kill_process_group, waitid,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::process::{ChildStderr, ChildStdout};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{self, JoinHandle};
use tokio::time;

use crate::containment::Place;
use crate::node::Event;
use crate::output::{Output, Stream, Tail, forward};

/// Pauses between two looks at a group whose main process has ended.
const LOOK_PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

/// What is needed to run programs of one process of the manifest.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// Name in the manifest.
    pub(crate) name: String,
    /// Program and arguments.
    pub(crate) command: Vec<String>,
    /// What its environment has beside the host's own.
    pub(crate) variables: BTreeMap<String, String>,
    /// Service directory, absolute.
    pub(crate) directory: PathBuf,
}

impl Program {
    /// Prepares a program in a process group of its own: one of the service directory, or else one of the `PATH`.
    pub(crate) fn command(&self, command: &[String], plan: &Plan) -> Result<Command> {
        let Some((name, arguments)) = command.split_first() else {
            bail!("the command is empty");
        };
        let program = find(&self.directory, name)?;
        let mut prepared = if *plan == Plan::default() {
            Command::new(program)
        } else {
            // The shim could only say it in the output of the process.
            if !is_program(&program, self.path()) {
                bail!("`{name}` is neither in the service directory nor in `PATH`");
            }
            plan.command(program.as_os_str())
        };
        prepared
            .args(arguments)
            .current_dir(&self.directory)
            .envs(&self.variables)
            .process_group(0);
        Ok(prepared)
    }

    /// Returns the `PATH` of the program.
    fn path(&self) -> Option<OsString> {
        let own = self.variables.get("PATH").map(OsString::from);
        own.or_else(|| env::var_os("PATH"))
    }
}

/// Tells whether a program that was found is one, or one of the `PATH`.
fn is_program(program: &Path, path: Option<OsString>) -> bool {
    let is_file = |file: &Path| {
        fs::metadata(file)
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    if program.as_os_str().as_encoded_bytes().contains(&b'/') {
        return is_file(program);
    }
    let path = path.unwrap_or_default();
    env::split_paths(&path).any(|directory| is_file(&directory.join(program)))
}

fn find(directory: &Path, name: &str) -> Result<PathBuf> {
    let own = directory.join(name);
    let Ok(metadata) = fs::metadata(&own) else {
        return Ok(PathBuf::from(name));
    };
    if metadata.is_dir() {
        return Ok(PathBuf::from(name));
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        bail!("`{}` is not executable", own.display());
    }
    Ok(own)
}

/// A process that was started and that is not known to have ended with everything that it started.
#[derive(Debug)]
pub(crate) struct Running {
    hold: Arc<Hold>,
    tasks: Vec<JoinHandle<()>>,
}

/// What holds a process and everything that it started together.
#[derive(Debug)]
struct Hold {
    /// Process group. Its leader is reaped last, so that the number cannot become another group's.
    group: u32,
    /// The leader as it was started.
    leader: Option<Process>,
    /// Variable that only descendants have.
    mark: String,
    control_group: Option<ControlGroup>,
    /// Whatever is found from now on is killed.
    is_killed: AtomicBool,
}

impl Running {
    /// Lets a task end together with this process.
    pub(crate) fn attach(&mut self, task: JoinHandle<()>) {
        self.tasks.push(task);
    }

    /// Sends a signal to the whole group; a group that is gone needs none.
    pub(crate) fn signal(&self, signal: Signal) {
        signal_group(self.hold.group, signal);
    }

    /// Kills the process and everything that it started.
    pub(crate) fn kill(&self) {
        self.hold.is_killed.store(true, Ordering::SeqCst);
        self.hold.kill();
    }

    /// Ends the probes.
    pub(crate) fn end_tasks(&mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end_tasks();
    }
}

impl Hold {
    fn kill(&self) {
        if let Some(group) = &self.control_group
            && let Err(error) = group.kill()
        {
            tracing::warn!(%error, "a control group could not be killed");
        }
        kill_group(self.group);
    }

    /// Kills what has left the process group, where there is no control group that it could not leave.
    fn kill_marked(&self) {
        if let (None, Some(leader)) = (&self.control_group, self.leader)
            && let Err(error) = kill_marked_since(leader, &self.mark)
        {
            tracing::warn!(%error, "descendants could not be killed");
        }
    }

    /// Says whether anything runs; what cannot be known, for want of file descriptors, counts as running.
    fn runs(&self) -> bool {
        let is_populated = match (&self.control_group, self.leader) {
            (Some(group), _) => group.is_populated(),
            (None, Some(leader)) => marked_since(leader, &self.mark).map(|found| !found.is_empty()),
            (None, None) => Ok(false),
        };
        is_populated.unwrap_or(true) || group_runs(self.group)
    }
}

/// Starts a process; its end comes as [`Event::Ended`] and [`Event::Cleared`]. Returns the tasks that forward its output.
pub(crate) fn start(
    process: usize,
    program: &Program,
    place: Place,
    output: &Output,
    tail: &Tail,
    events: mpsc::Sender<Event>,
) -> Result<(Running, Vec<JoinHandle<()>>)> {
    let (name, value) = &place.mark;
    let mut child = program
        .command(&program.command, &place.plan)?
        .env(name, value)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("`{}`", program.command[0]))?;
    let hold = Arc::new(Hold {
        group: child.id(),
        leader: Process::read(Pid::from_child(&child).as_raw_nonzero().get()),
        mark: format!("{name}={value}"),
        control_group: place.group,
        is_killed: AtomicBool::new(false),
    });
    let watched = watched(&child);
    let forwards = forward_all(
        child.stdout.take().map(OwnedFd::from),
        child.stderr.take().map(OwnedFd::from),
        &program.name,
        output,
        tail,
    );
    let tasks = Vec::new();
    let running = Running {
        hold: Arc::clone(&hold),
        tasks,
    };
    let (watched, forwards) = match (watched, forwards) {
        (Ok(watched), Ok(forwards)) => (watched, forwards),
        (Err(error), _) | (_, Err(error)) => {
            running.kill();
            // It was killed: this takes no time.
            let _ = child.wait();
            return Err(error).context("it cannot be watched");
        }
    };
    tokio::spawn(watch(process, child, watched, hold, events));
    Ok((running, forwards))
}

/// Opens what the kernel makes readable when a child ends.
fn watched(child: &Child) -> io::Result<AsyncFd<OwnedFd>> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    #[expect(
        deprecated,
        reason = "an owned descriptor stays the same as long as it is registered; what replaces this is unsafe"
    )]
    AsyncFd::with_interest(pidfd, Interest::READABLE)
}

/// Starts the tasks that forward what a child writes.
fn forward_all(
    out: Option<OwnedFd>,
    err: Option<OwnedFd>,
    name: &str,
    output: &Output,
    tail: &Tail,
) -> io::Result<Vec<JoinHandle<()>>> {
    let mut forwards = Vec::new();
    for (stream, pipe) in [(Stream::Out, out), (Stream::Err, err)] {
        let Some(pipe) = pipe else { continue };
        let pipe = pipe::Receiver::from_owned_fd(pipe)?;
        let (name, output, tail) = (name.to_owned(), output.clone(), tail.clone());
        forwards.push(tokio::spawn(forward(pipe, name, stream, output, tail)));
    }
    Ok(forwards)
}

/// A stop hook that runs; it is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct RunningHook {
    _life: oneshot::Sender<()>,
}

/// Runs a stop hook; its end, whatever it is, comes as [`Event::HookEnded`].
pub(crate) fn start_hook(
    process: usize,
    program: Program,
    output: &Output,
    tail: &Tail,
    events: mpsc::Sender<Event>,
) -> RunningHook {
    let (life, ended) = oneshot::channel();
    let (output, tail) = (output.clone(), tail.clone());
    tokio::spawn(async move {
        let name = program.name.clone();
        if let Err(error) = run_hook(&program, &output, &tail, ended).await {
            tracing::warn!(process = name, "its stop hook failed: {error:#}");
        }
        // The receiver is gone only when the host ends.
        let _ = events.send(Event::HookEnded { process }).await;
    });
    RunningHook { _life: life }
}

async fn run_hook(
    program: &Program,
    output: &Output,
    tail: &Tail,
    ended: oneshot::Receiver<()>,
) -> Result<()> {
    let mut command = program.command(&program.command, &Plan::default())?;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = tokio::process::Command::from(command)
        .spawn()
        .with_context(|| format!("`{}`", program.command[0]))?;
    let group = child.id().context("it ended while it was started")?;
    let out = child
        .stdout
        .take()
        .map(ChildStdout::into_owned_fd)
        .transpose()?;
    let err = child
        .stderr
        .take()
        .map(ChildStderr::into_owned_fd)
        .transpose()?;
    forward_all(out, err, &program.name, output, tail)?;
    let status = tokio::select! {
        status = child.wait() => Some(status),
        _ = ended => None,
    };
    kill_group(group);
    match status {
        Some(status) if status.as_ref().is_ok_and(ExitStatus::success) => Ok(()),
        Some(status) => {
            let status = status.context("its end is not known")?;
            bail!("{}", describe(status.code(), status.signal()))
        }
        None => bail!("it was killed, because it did not end in time"),
    }
}

/// Waits for the main process, then until nothing is left of what it started.
async fn watch(
    process: usize,
    mut child: Child,
    watched: AsyncFd<OwnedFd>,
    hold: Arc<Hold>,
    events: mpsc::Sender<Event>,
) {
    let exit = match ended(&watched).await {
        Ok(status) => {
            let exit = describe(status.exit_status(), status.terminating_signal());
            let kills = hold.control_group.as_ref();
            match kills.map_or(0, ControlGroup::out_of_memory_kills) {
                0 => exit,
                _ => format!("{exit}, memory was short: its limit is too low, or it leaks"),
            }
        }
        Err(error) => format!("its end is not known: {error}"),
    };
    // The receiver is gone only when the host ends.
    let _ = events.send(Event::Ended { process, exit }).await;
    // The host says so first: looking through all processes of the machine takes milliseconds.
    task::yield_now().await;
    let (mut pause, pause_max) = LOOK_PAUSES;
    while runs(&hold).await {
        if hold.is_killed.load(Ordering::SeqCst) {
            // Who was started after the last kill is killed by the next.
            hold.kill();
            let hold = Arc::clone(&hold);
            let _ = task::spawn_blocking(move || hold.kill_marked()).await;
        }
        time::sleep(pause).await;
        pause = (pause * 2).min(pause_max);
    }
    // It has ended: this takes no time.
    let _ = child.wait();
    if let Some(group) = &hold.control_group {
        group.remove();
    }
    let _ = events.send(Event::Cleared { process }).await;
}

/// Looks, beside the loop of the host, whether anything runs; what cannot be known counts as running.
async fn runs(hold: &Arc<Hold>) -> bool {
    let hold = Arc::clone(hold);
    let runs = task::spawn_blocking(move || hold.runs());
    runs.await.unwrap_or(true)
}

/// Waits for the end of a child and leaves it as a zombie, so that nobody else gets its number.
async fn ended(watched: &AsyncFd<OwnedFd>) -> io::Result<WaitIdStatus> {
    loop {
        let mut ready = watched.readable().await?;
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        if let Some(status) = waitid(WaitId::PidFd(watched.as_fd()), options)? {
            return Ok(status);
        }
        ready.clear_ready();
    }
}

/// Describes an end as crash reports do: `exit 3`, `signal 11`.
fn describe(code: Option<i32>, signal: Option<i32>) -> String {
    match (code, signal) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

fn signal_group(group: u32, signal: Signal) {
    if let Some(group) = pid(group) {
        // The only error here is that the group is gone.
        let _ = kill_process_group(group, signal);
    }
}

/// Kills a process group.
pub(crate) fn kill_group(group: u32) {
    signal_group(group, Signal::KILL);
}

fn pid(group: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(group).ok()?)
}

/// Says whether a process of the group runs. Zombies do not: they wait for a parent that is not this host.
fn group_runs(group: u32) -> bool {
    let Some(group) = pid(group) else {
        return false;
    };
    if test_kill_process_group(group).is_err() {
        return false;
    }
    let Ok(entries) = fs::read_dir("/proc") else {
        // Without /proc the kernel's word has to do.
        return true;
    };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.parse().ok());
        process
            .is_some_and(|process| read_stat(process).is_ok_and(|stat| runs_in_group(&stat, group)))
    })
}

/// Reads state and process group of a line of `/proc/<pid>/stat`.
fn runs_in_group(stat: &str, group: Pid) -> bool {
    // The name in parentheses may hold anything, parentheses included.
    let Some((_, fields)) = stat.rsplit_once(')') else {
        return false;
    };
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next().unwrap_or("Z");
    let group_text = fields.nth(1).unwrap_or_default();
    !matches!(state, "Z" | "X") && group_text == group.as_raw_nonzero().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zombie_or_a_stranger_does_not_run_in_the_group() {
        let group = Pid::from_raw(7).unwrap();
        assert!(runs_in_group("9 (a) S 1 7 7 0", group));
        assert!(runs_in_group("9 (a) b) Z 1 8) R 1 7 7 0", group));
        assert!(!runs_in_group("9 (a) Z 1 7 7 0", group));
        assert!(!runs_in_group("9 (a) S 7 8 7 0", group));
        assert!(!runs_in_group("", group));
    }

    #[test]
    fn programs_of_the_service_directory_come_first() {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join("sh");
        assert_eq!(find(directory.path(), "sh").unwrap(), Path::new("sh"));
        fs::write(&own, "#!/bin/sh\n").unwrap();
        assert!(find(directory.path(), "sh").is_err());
        fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find(directory.path(), "sh").unwrap(), own);
        assert_eq!(
            find(directory.path(), "/bin/sh").unwrap(),
            Path::new("/bin/sh")
        );
    }
}
