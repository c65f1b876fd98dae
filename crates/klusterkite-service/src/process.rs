//! Processes of the node: each in a process group of its own, watched until nothing of the group is left.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time;

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
    pub(crate) fn command(&self, command: &[String]) -> Result<Command> {
        let Some((name, arguments)) = command.split_first() else {
            bail!("the command is empty");
        };
        let mut prepared = Command::new(find(&self.directory, name)?);
        prepared
            .args(arguments)
            .current_dir(&self.directory)
            .envs(&self.variables)
            .process_group(0);
        Ok(prepared)
    }
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

/// A process that was started and whose group is not known to be empty.
#[derive(Debug)]
pub(crate) struct Running {
    group: u32,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    /// Lets a task end together with this process.
    pub(crate) fn attach(&mut self, task: JoinHandle<()>) {
        self.tasks.push(task);
    }

    /// Sends a signal to the whole group; a group that is gone needs none.
    pub(crate) fn signal(&self, signal: Signal) {
        signal_group(self.group, signal);
    }

    /// Kills the whole group.
    pub(crate) fn kill(&self) {
        kill_group(self.group);
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

/// Starts a process; its end comes as [`Event::Ended`] and [`Event::Cleared`]. Returns the tasks that forward its output.
pub(crate) fn start(
    process: usize,
    program: &Program,
    output: &Output,
    tail: &Tail,
    events: mpsc::Sender<Event>,
) -> Result<(Running, Vec<JoinHandle<()>>)> {
    let mut child = program
        .command(&program.command)?
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("`{}`", program.command[0]))?;
    let group = child.id().context("it ended while it was started")?;
    let forwards = forward_all(&mut child, &program.name, output, tail);
    tokio::spawn(watch(process, child, group, events));
    let tasks = Vec::new();
    Ok((Running { group, tasks }, forwards))
}

/// Starts the tasks that forward what a child writes.
fn forward_all(child: &mut Child, name: &str, output: &Output, tail: &Tail) -> Vec<JoinHandle<()>> {
    let mut forwards = Vec::new();
    let (out, err) = (child.stdout.take(), child.stderr.take());
    if let Some(out) = out {
        let (name, output, tail) = (name.to_owned(), output.clone(), tail.clone());
        forwards.push(tokio::spawn(forward(out, name, Stream::Out, output, tail)));
    }
    if let Some(err) = err {
        let (name, output, tail) = (name.to_owned(), output.clone(), tail.clone());
        forwards.push(tokio::spawn(forward(err, name, Stream::Err, output, tail)));
    }
    forwards
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
    let mut child = program
        .command(&program.command)?
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("`{}`", program.command[0]))?;
    let group = child.id().context("it ended while it was started")?;
    forward_all(&mut child, &program.name, output, tail);
    let status = tokio::select! {
        status = child.wait() => Some(status),
        _ = ended => None,
    };
    kill_group(group);
    match status {
        Some(status) if status.as_ref().is_ok_and(ExitStatus::success) => Ok(()),
        Some(status) => bail!("{}", describe(status.context("its end is not known")?)),
        None => bail!("it was killed, because it did not end in time"),
    }
}

/// Waits for the main process, then until its group is empty.
async fn watch(process: usize, mut child: Child, group: u32, events: mpsc::Sender<Event>) {
    let exit = match child.wait().await {
        Ok(status) => describe(status),
        Err(error) => format!("its end is not known: {error}"),
    };
    // The receiver is gone only when the host ends.
    let _ = events.send(Event::Ended { process, exit }).await;
    let (mut pause, pause_max) = LOOK_PAUSES;
    while group_runs(group) {
        time::sleep(pause).await;
        pause = (pause * 2).min(pause_max);
    }
    let _ = events.send(Event::Cleared { process }).await;
}

/// Describes an end as crash reports do: `exit 3`, `signal 11`.
fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
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
        let numeric = entry.file_name().as_encoded_bytes()[0].is_ascii_digit();
        numeric
            && fs::read(entry.path().join("stat"))
                .is_ok_and(|stat| runs_in_group(&String::from_utf8_lossy(&stat), group))
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
