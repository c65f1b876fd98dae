//! Processes as `/proc` shows them: finding and ending everything that a program has started.
//!
//! A program that starts foreign ones is a subreaper ([`adopt_orphans`]) or process 1, so that whatever they start, in
//! however many sessions, stays its descendant until it ends. What a killed program left is found by a *marker*: a
//! variable in the environment of everything below it.
//!
//! Where the container allows it, a [`ControlGroup`] holds what a program has started: nothing leaves it, it is killed at
//! once, it is empty when the kernel says so, and it can have limits. [`shim`] is what runs between fork and exec.
//!
//! Whoever kills here waits until the processes are gone: "killed" means that nothing of them runs any more.

mod control_group;
mod limits;
mod places;
pub mod shim;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, pidfd_open, pidfd_send_signal,
    set_child_subreaper, waitpid,
};

pub use control_group::ControlGroup;
pub use limits::{Controller, Limits};

/// How long killed processes may take to end: uninterruptible sleep on a dead disk does not end.
const KILL_MAX: Duration = Duration::from_secs(10);

/// Pause between two looks at `/proc`.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Largest environment that is searched for the marker.
const ENVIRONMENT_BYTES_MAX: u64 = 2 << 20;

/// Bytes of `/proc/<pid>/stat` that are read: a name of 64, and 51 numbers, of which the long ones are not needed.
const STAT_BYTES_MAX: usize = 1 << 10;

/// One process; the start time tells it from a later one with the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Process id.
    pub pid: i32,
    parent: i32,
    /// When it started, in clock ticks since the machine did.
    pub start_time: u64,
}

impl Process {
    /// Returns this process.
    pub fn own() -> Option<Self> {
        Self::read(getpid().as_raw_nonzero().get())
    }

    /// Looks at a process; `None` when it has ended, also when nobody has collected it yet.
    pub fn read(pid: i32) -> Option<Self> {
        let stat = read_stat(pid).ok()?;
        Self::parse(pid, &stat)
    }

    /// Parses a line of `/proc/<pid>/stat`; `None` for one that has ended and waits to be reaped.
    fn parse(pid: i32, stat: &str) -> Option<Self> {
        Self::parse_any(pid, stat).and_then(|(process, is_dead)| (!is_dead).then_some(process))
    }

    /// Parses a line of `/proc/<pid>/stat`, and tells whether the process has ended and waits to be reaped.
    fn parse_any(pid: i32, stat: &str) -> Option<(Self, bool)> {
        // The name in parentheses may hold anything, also parentheses and spaces.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let is_dead = matches!(*fields.first()?, "Z" | "X");
        let process = Self {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            start_time: fields.get(19)?.parse().ok()?,
        };
        Some((process, is_dead))
    }

    /// Tells whether it still runs, it and no later one with its id.
    pub fn runs(self) -> bool {
        Self::read(self.pid).is_some_and(|now| now.start_time == self.start_time)
    }

    /// Sends a signal, if this is still the process that was seen.
    fn signal(self, signal: Signal) -> io::Result<()> {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(());
        };
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if !self.runs() {
            return Ok(());
        }
        match pidfd_send_signal(pidfd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Reads `/proc/<pid>/stat`, at once: the kernel tells no length before, and a few bytes at a time cost several times as much.
///
/// A process may have a name that is not text; it is found all the same.
pub fn read_stat(pid: i32) -> io::Result<String> {
    let mut bytes = [0; STAT_BYTES_MAX];
    let length = File::open(format!("/proc/{pid}/stat"))?.read(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

/// Makes this process the parent of every descendant whose parent ends.
pub fn adopt_orphans() -> io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Collects adopted processes that have ended; those in `known` are left to whoever started and waits for them.
pub fn reap_orphans(known: &[Pid]) -> io::Result<()> {
    let own = getpid();
    for pid in pids()? {
        let stat = read_stat(pid).unwrap_or_default();
        let dead = Process::parse_any(pid, &stat)
            .filter(|(process, is_dead)| *is_dead && Pid::from_raw(process.parent) == Some(own));
        let pid = dead.and_then(|_| Pid::from_raw(pid));
        if let Some(pid) = pid.filter(|pid| !known.contains(pid)) {
            // It is ours and dead, so this neither waits nor fails.
            waitpid(Some(pid), WaitOptions::NOHANG)?;
        }
    }
    Ok(())
}

/// Kills all descendants of this process and waits until they have ended.
pub fn kill_descendants() -> io::Result<()> {
    let own = getpid().as_raw_nonzero().get();
    kill_all(|| below(own))
}

/// Kills a process with all its descendants and waits until they have ended. Somebody else may start a process
/// with the same id, unless it is a child that nobody has waited for.
pub fn kill_tree(root: Pid) -> io::Result<()> {
    let root = root.as_raw_nonzero().get();
    kill_all(|| {
        let mut processes = below(root)?;
        processes.extend(Process::read(root));
        Ok(processes)
    })
}

/// Kills all other processes whose environment holds a marker (`NAME=value`) and waits until they have ended;
/// returns how many processes there were.
pub fn kill_marked(marker: &str) -> io::Result<usize> {
    let found = marked(marker)?.len();
    if found > 0 {
        kill_all(|| marked(marker))?;
    }
    Ok(found)
}

/// Returns the processes whose environment holds a marker (`NAME=value`) and that are not older than `first`: of
/// thousands of processes only the environments of the youngest are read.
pub fn marked_since(first: Process, marker: &str) -> io::Result<Vec<Process>> {
    let processes = all()?.into_iter();
    let younger = processes.filter(|process| process.start_time >= first.start_time);
    Ok(younger
        .filter(|process| has_marker(process.pid, marker.as_bytes()))
        .collect())
}

/// Kills what [`marked_since`] finds and waits until it has ended.
pub fn kill_marked_since(first: Process, marker: &str) -> io::Result<()> {
    kill_all(|| marked_since(first, marker))
}

/// Ends all other processes whose environment holds a marker (`NAME=value`): asks, waits for `grace`, kills. `hurry`
/// ends the waiting. Returns how many processes there were.
pub fn end_marked(
    marker: &str,
    grace: Duration,
    hurry: &mut dyn FnMut() -> bool,
) -> io::Result<usize> {
    let found = marked(marker)?;
    if found.is_empty() {
        return Ok(0);
    }
    // The host knows how to stop its processes in order; whatever lost its host is asked itself.
    let pids: BTreeSet<i32> = found.iter().map(|process| process.pid).collect();
    for root in found
        .iter()
        .filter(|process| !pids.contains(&process.parent))
    {
        // Who cannot be asked cannot be killed either, which says so.
        let _ = root.signal(Signal::TERM);
    }
    let deadline = Instant::now() + grace;
    while Instant::now() < deadline && !hurry() && !marked(marker)?.is_empty() {
        thread::sleep(LOOK_EVERY);
    }
    kill_all(|| marked(marker))?;
    Ok(found.len())
}

/// Kills processes until none is left, for [`KILL_MAX`] at most.
fn kill_all(list: impl Fn() -> io::Result<Vec<Process>>) -> io::Result<()> {
    kill_until(Instant::now() + KILL_MAX, list)
}

/// Kills processes until none is left. They are stopped first, so that none starts another one
/// unseen; at the deadline those that were seen are killed although more come. Who cannot be signalled is left alone, and
/// is the error when the others have ended.
fn kill_until(deadline: Instant, list: impl Fn() -> io::Result<Vec<Process>>) -> io::Result<()> {
    let mut stopped: BTreeSet<Process> = BTreeSet::new();
    let mut refused: BTreeMap<Process, io::Error> = BTreeMap::new();
    loop {
        // One whose parent has ended is not listed any more, and still has to end.
        let mut processes: BTreeSet<Process> = list()?.into_iter().collect();
        processes.extend(stopped.iter().filter(|process| process.runs()));
        processes.retain(|process| !refused.contains_key(process));
        if processes.is_empty() {
            return refused.pop_first().map_or(Ok(()), |(process, error)| {
                let text = format!("process {} cannot be killed: {error}", process.pid);
                Err(io::Error::new(error.kind(), text))
            });
        }
        let fresh: Vec<Process> = processes
            .iter()
            .filter(|process| stopped.insert(**process))
            .copied()
            .collect();
        let is_late = Instant::now() > deadline;
        for process in &fresh {
            if let Err(error) = process.signal(Signal::STOP) {
                refused.insert(*process, error);
            }
        }
        if fresh.is_empty() || is_late {
            for process in &processes {
                if let Err(error) = process.signal(Signal::KILL) {
                    refused.insert(*process, error);
                }
            }
            thread::sleep(LOOK_EVERY);
        }
        if is_late {
            let pids: Vec<String> = processes.iter().map(|one| one.pid.to_string()).collect();
            return Err(io::Error::other(format!(
                "processes do not end: {}",
                pids.join(", ")
            )));
        }
    }
}

fn below(root: i32) -> io::Result<Vec<Process>> {
    let mut children: BTreeMap<i32, Vec<Process>> = BTreeMap::new();
    for process in all()? {
        children.entry(process.parent).or_default().push(process);
    }
    let mut found = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            parents.push(child.pid);
            found.push(child);
        }
    }
    Ok(found)
}

fn marked(marker: &str) -> io::Result<Vec<Process>> {
    let own = getpid().as_raw_nonzero().get();
    let processes = all()?.into_iter().filter(|process| process.pid != own);
    Ok(processes
        .filter(|process| has_marker(process.pid, marker.as_bytes()))
        .collect())
}

fn has_marker(pid: i32, marker: &[u8]) -> bool {
    use std::io::Read as _;
    let mut environment = Vec::new();
    // Another user's processes cannot be read; they are not ours either.
    let read = fs::File::open(format!("/proc/{pid}/environ")).and_then(|file| {
        file.take(ENVIRONMENT_BYTES_MAX)
            .read_to_end(&mut environment)
    });
    read.is_ok()
        && environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == marker)
}

fn all() -> io::Result<Vec<Process>> {
    Ok(pids()?.into_iter().filter_map(Process::read).collect())
}

fn pids() -> io::Result<Vec<i32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        pids.extend(name.to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    Ok(pids)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_confuse_the_fields() {
        let rest = "1 10 10 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 1";
        let stat = format!("42 (a) Z (b) S {rest}");
        let process = Process::parse(42, &stat).unwrap();
        assert_eq!((process.parent, process.start_time), (1, 987_654));
        assert_eq!(Process::parse(42, &format!("42 (a) Z {rest}")), None);
        assert_eq!(Process::parse(42, "42 (a)"), None);
        assert_eq!(Process::parse(42, ""), None);
    }

    #[test]
    fn a_process_whose_name_is_not_text_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join(OsStr::from_bytes(b"\xff) Z"));
        symlink("/bin/sleep", &program).unwrap();
        let mut child = std::process::Command::new(&program)
            .arg("1000")
            .spawn()
            .unwrap();
        let found = Process::read(i32::try_from(child.id()).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        let own = Process::own().unwrap();
        assert_eq!(found.map(|found| found.parent), Some(own.pid));
    }

    fn child(program: &[&str], variable: (&str, &str)) -> (std::process::Child, Process) {
        let mut command = std::process::Command::new(program[0]);
        command.args(&program[1..]).env(variable.0, variable.1);
        let child = command.spawn().unwrap();
        let seen = Process::read(i32::try_from(child.id()).unwrap()).unwrap();
        (child, seen)
    }

    #[test]
    fn a_process_id_that_was_given_to_another_process_gets_no_signal() {
        let (mut child, seen) = child(&["sleep", "1000"], ("A", "b"));
        let another = Process {
            start_time: seen.start_time - 1,
            ..seen
        };
        another.signal(Signal::KILL).unwrap();
        assert!(seen.runs() && !another.runs());
        assert!(child.try_wait().unwrap().is_none());
        seen.signal(Signal::KILL).unwrap();
        child.wait().unwrap();
        // Nobody has the id now.
        seen.signal(Signal::KILL).unwrap();
    }

    #[test]
    fn what_carries_a_mark_is_found_whatever_its_session() {
        let value = std::process::id().to_string();
        let mark = format!("KLUSTERKITE_TEST_MARK={value}");
        let first = Process::own().unwrap();
        let variable = ("KLUSTERKITE_TEST_MARK", value.as_str());
        let (mut child, seen) = child(&["setsid", "sleep", "1000"], variable);
        let deadline = Instant::now() + Duration::from_secs(30);
        while marked_since(first, &mark).unwrap().is_empty() && Instant::now() < deadline {
            thread::sleep(LOOK_EVERY);
        }
        assert_eq!(marked_since(first, &mark).unwrap(), [seen]);
        assert!(
            marked_since(first, "KLUSTERKITE_TEST_MARK=x")
                .unwrap()
                .is_empty()
        );
        kill_marked_since(first, &mark).unwrap();
        assert!(!seen.runs());
        child.wait().unwrap();
    }

    #[test]
    fn processes_that_come_faster_than_they_are_stopped_are_killed_at_the_deadline() {
        let children = std::cell::RefCell::new(Vec::new());
        let list = || {
            let next = child(&["sleep", "1000"], ("A", "b"));
            children.borrow_mut().push(next);
            Ok(children.borrow().iter().map(|(_, seen)| *seen).collect())
        };
        let killed = kill_until(Instant::now() + LOOK_EVERY * 5, list);
        assert!(killed.is_err());
        for (mut child, _) in children.into_inner() {
            assert!(!child.wait().unwrap().success());
        }
    }

    #[test]
    fn the_test_itself_is_a_process() {
        let own = getpid().as_raw_nonzero().get();
        assert!(all().unwrap().iter().any(|process| process.pid == own));
    }
}
