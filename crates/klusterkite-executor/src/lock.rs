//! The lock that lets one executor move at a time: an advisory lock on a file that all executors of a manager share.
//!
//! The kernel gives it back when the last process ends that has the open file, however it ends. The executor hands
//! the open file on to the guard of each migrator that moves, and with it to everything that the migrator starts: so
//! the lock of a killed executor is not free before its migrators are gone. Processes that close what they inherit
//! are still below their guard, which has the file open until it has seen the last of them end. When guards are
//! killed as well, the next executor finds what they left by a [`marker`] and ends it before it moves anything.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use klusterkite_processes::{Process, kill_marked};
use rustix::io::{FdFlags, fcntl_setfd};

/// Longest text that is read from a lock file, in bytes: who holds it.
const HOLDER_BYTES_MAX: u64 = 200;

/// Variable in the environment of everything that moves resources; its value names executor and lock file.
pub const MARKER: &str = "KLUSTERKITE_MOVES_FOR";

/// The right to move resources; given back when it is dropped and all that inherited it have ended.
#[derive(Debug)]
pub struct MoveLock {
    /// Held open, and with it locked.
    _file: File,
    marker: String,
}

impl MoveLock {
    /// Returns the value of [`MARKER`] for migrators that move under this lock.
    pub fn marker(&self) -> &str {
        &self.marker
    }
}

/// What trying to lock gave.
#[derive(Debug)]
pub enum Tried {
    /// The lock is ours.
    Locked(MoveLock),
    /// Somebody else has it; what they say about themselves.
    HeldBy(Holder),
}

/// Who took a lock last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    text: String,
    path: PathBuf,
}

impl Holder {
    /// Kills what a holder left that has ended; nothing happens while it runs, or when nobody knows who it is.
    ///
    /// Returns how many processes there were.
    pub fn end_left_overs(&self) -> io::Result<usize> {
        match self.process() {
            Some((pid, start_time)) if !runs(pid, start_time) => {
                kill_marked(&format!("{MARKER}={}", self.marker()))
            }
            _ => Ok(0),
        }
    }

    fn marker(&self) -> String {
        format!("{} of {}", self.text, self.path.display())
    }

    fn process(&self) -> Option<(i32, u64)> {
        let rest = self.text.strip_prefix("process ")?;
        let (pid, start_time) = rest.split_once(" started at tick ")?;
        Some((pid.parse().ok()?, start_time.parse().ok()?))
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text.as_str() {
            "" => f.write_str("unknown process"),
            text => f.write_str(text),
        }
    }
}

fn runs(pid: i32, start_time: u64) -> bool {
    Process::read(pid).is_some_and(|process| process.start_time == start_time)
}

/// Tries to lock; never waits for another executor. Whoever gets the lock has ended first what the holder before left.
pub fn try_lock(path: &Path) -> io::Result<Tried> {
    let mut file = File::options()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .open(path)?;
    let locked = match file.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => false,
        Err(TryLockError::Error(error)) => return Err(error),
    };
    // One name for one file, however the settings spell it.
    let path = path.canonicalize()?;
    let text = holder(&mut file)?;
    let before = Holder { text, path };
    if !locked {
        return Ok(Tried::HeldBy(before));
    }
    // Before our name replaces theirs: when we are killed in between, the next one still finds it.
    before.end_left_overs()?;
    let own = Process::own().ok_or_else(|| io::Error::other("`/proc` does not show us"))?;
    let text = format!("process {} started at tick {}", own.pid, own.start_time);
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{text}")?;
    // From now on it is inherited.
    fcntl_setfd(&file, FdFlags::empty())?;
    let ours = Holder { text, ..before };
    Ok(Tried::Locked(MoveLock {
        _file: file,
        marker: ours.marker(),
    }))
}

fn holder(file: &mut File) -> io::Result<String> {
    let mut text = String::new();
    file.take(HOLDER_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_had_by_one_and_names_its_holder() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("executor.lock");
        let Tried::Locked(first) = try_lock(&path).unwrap() else {
            panic!("nobody has it");
        };
        let Tried::HeldBy(holder) = try_lock(&path).unwrap() else {
            panic!("locked twice");
        };
        let own = Process::own().unwrap();
        let expected = format!("process {} started at tick {}", own.pid, own.start_time);
        assert_eq!(holder.to_string(), expected);
        assert_eq!(holder.process(), Some((own.pid, own.start_time)));
        assert_eq!(first.marker(), holder.marker());
        assert_eq!(holder.end_left_overs().unwrap(), 0, "it runs");
        drop(first);
        assert!(matches!(try_lock(&path).unwrap(), Tried::Locked(_)));
    }
}
