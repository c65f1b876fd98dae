//! The lock that lets one executor move at a time: an advisory lock on a file that all executors of a manager share.
//!
//! The kernel gives it back when its holder ends, however it ends.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

/// Longest text that is read from a lock file, in bytes: a process id and a word.
const HOLDER_BYTES_MAX: u64 = 200;

/// The right to move resources; given back when it is dropped.
#[derive(Debug)]
pub struct MoveLock {
    /// Held open, and with it locked.
    _file: File,
}

/// What trying to lock gave.
#[derive(Debug)]
pub enum Tried {
    /// The lock is ours.
    Locked(MoveLock),
    /// Another process has it; what it says about itself.
    HeldBy(String),
}

/// Tries to lock; never waits.
pub fn try_lock(path: &Path) -> io::Result<Tried> {
    let mut file = File::options()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(Tried::HeldBy(holder(&mut file)?)),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // The text is for people who look who holds it; the lock itself is the kernel's.
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "process {}", std::process::id())?;
    Ok(Tried::Locked(MoveLock { _file: file }))
}

fn holder(file: &mut File) -> io::Result<String> {
    let mut text = String::new();
    file.take(HOLDER_BYTES_MAX).read_to_string(&mut text)?;
    let text = text.trim();
    Ok(if text.is_empty() {
        "unknown process".to_owned()
    } else {
        text.to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_had_by_one_and_names_its_holder() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("executor.lock");
        let first = try_lock(&path).unwrap();
        let Tried::HeldBy(holder) = try_lock(&path).unwrap() else {
            panic!("locked twice");
        };
        assert_eq!(holder, format!("process {}", std::process::id()));
        drop(first);
        assert!(matches!(try_lock(&path).unwrap(), Tried::Locked(_)));
    }
}
