//! Programs that are started, logged to a file, and certainly stopped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a program may take to end after TERM.
const END_TIMEOUT: Duration = Duration::from_mins(1);

/// Pause between two looks at something that is waited for.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// A running program; it is killed when this is dropped.
#[derive(Debug)]
pub struct Program {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Program {
    /// Starts a program; its output is appended to `<logs>/<name>.log`.
    pub fn start(name: &str, logs: &Path, command: &mut Command) -> Result<Self> {
        let log = logs.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {name}: {command:?}"))?;
        Ok(Self {
            name: name.to_owned(),
            log,
            child,
        })
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Tells whether the program still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Fails when the program has ended, with the end of its log.
    pub fn still_runs(&mut self) -> Result<()> {
        if self.runs() {
            return Ok(());
        }
        bail!(
            "{} ended; its log ends with:\n{}",
            self.name,
            tail(&self.log)
        );
    }

    /// Kills the program at once, without a chance to clean up.
    pub fn kill(&mut self) -> Result<()> {
        self.child
            .kill()
            .with_context(|| format!("cannot kill {}", self.name))?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks the program to end and waits until it has; kills it when it takes too long.
    pub fn stop(&mut self) -> Result<()> {
        self.terminate();
        let ended = wait_until(END_TIMEOUT, || !self.runs());
        if !ended {
            self.kill()?;
            bail!(
                "{} did not end within {} s of TERM",
                self.name,
                END_TIMEOUT.as_secs()
            );
        }
        Ok(())
    }

    /// Asks the program to end.
    pub fn terminate(&mut self) {
        if self.runs() {
            signal(self.child.id(), Signal::TERM);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.runs() {
            // Both fail only when it has ended meanwhile.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Asks a process that may be gone to end.
pub fn terminate(pid: u32) {
    signal(pid, Signal::TERM);
}

/// Sends a signal to a process that may be gone.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It fails only when the process is gone.
        let _ = kill_process(pid, signal);
    }
}

/// Looks again and again until something is so; false when it is not in time.
pub fn wait_until(time: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + time;
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(LOOK_PAUSE);
    }
}

/// Returns the ids of the processes whose command line contains a text.
pub fn processes_with(text: &str) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| {
        let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line)
            .replace('\0', " ")
            .contains(text)
    })
    .collect()
}

/// Returns the ids of the processes whose working directory lies below a directory.
pub fn processes_below(directory: &Path) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| {
        std::fs::read_link(format!("/proc/{id}/cwd")).is_ok_and(|cwd| cwd.starts_with(directory))
    })
    .collect()
}

/// Returns the last lines of a log.
pub fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
