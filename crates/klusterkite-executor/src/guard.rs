//! The small process between the executor and a migrator, which outlives a killed executor long enough to clean up.
//!
//! `klusterkite-executor guard PID PROGRAM ARGUMENT…`: started by the process `PID` as the leader of a new process group, runs the
//! program in that group with its own stdin, stdout and stderr, and ends with the program's exit code (128 + signal after
//! a signal). When process `PID` ends first, by whatever signal, it kills the program.
//!
//! It is the parent of everything that the program leaves, in whatever session: before it ends it has killed all of it
//! and seen it end. As long as it runs it has the lock open under which the program moves resources ([`crate::lock`]).

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, ExitStatus};
use std::thread;
use std::time::Duration;

use klusterkite_processes::{adopt_orphans, kill_descendants};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, getppid, pidfd_open};

use crate::Error;

/// First argument that makes the program a guard.
pub const ARGUMENT: &str = "guard";

/// Exit code when the program could not be started, as in a shell.
const NOT_STARTED: u8 = 127;

/// Pause before what does not end is killed once more: a process that waits for a dead disk ends with the wait.
const KILL_AGAIN: Duration = Duration::from_millis(200);

/// Runs a guard with the arguments after [`ARGUMENT`]; ends with the exit code of its program.
pub fn run(mut arguments: impl Iterator<Item = OsString>) -> Result<ExitCode, Error> {
    let usage = |problem: &str| Error::BadParams {
        method: ARGUMENT.to_owned(),
        problem: problem.to_owned(),
    };
    let parent = arguments
        .next()
        .and_then(|pid| pid.to_str()?.parse().ok())
        .and_then(Pid::from_raw)
        .ok_or_else(|| usage("the first argument is not a process id"))?;
    let program = arguments
        .next()
        .ok_or_else(|| usage("no program is given"))?;
    adopt_orphans().map_err(Error::Adopt)?;
    // In this order: a parent that ended before the pidfd was opened is no longer our parent after it.
    let parent_fd = pidfd_open(parent, PidfdFlags::empty());
    let parent_fd = match parent_fd {
        Ok(fd) if getppid() == Some(parent) => fd,
        _ => return Err(Error::ManagerGone),
    };
    let mut child = match Command::new(&program).args(arguments).spawn() {
        Ok(child) => child,
        Err(error) => return Ok(not_started(&program, &error)),
    };
    release_pipes();
    // Without a pidfd nothing can be watched; better no migrator than one that cannot be stopped.
    let Ok(child_fd) = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) else {
        return Ok(end());
    };
    loop {
        let mut fds = [
            PollFd::new(&child_fd, PollFlags::IN),
            PollFd::new(&parent_fd, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Ok(end()),
        }
        if !fds[0].revents().is_empty() {
            let status = child.wait();
            let killed = end();
            return Ok(status.map_or(killed, |status| ExitCode::from(exit_code(status))));
        }
        if !fds[1].revents().is_empty() {
            return Ok(end());
        }
    }
}

/// Gives stdin and stdout to the program alone, so that its end and nothing else closes them.
fn release_pipes() {
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        // When it fails the pipes close with the guard, a moment after the program.
        let _ = rustix::stdio::dup2_stdin(null.as_fd());
        let _ = rustix::stdio::dup2_stdout(null.as_fd());
    }
}

/// Kills everything below this process and returns when nothing of it runs any more, however long that takes.
fn end() -> ExitCode {
    while let Err(error) = kill_descendants() {
        // Nobody may be left to read it.
        let _ = writeln!(std::io::stderr(), "cannot end a migrator: {error}");
        thread::sleep(KILL_AGAIN);
    }
    ExitCode::FAILURE
}

fn not_started(program: &OsString, error: &std::io::Error) -> ExitCode {
    let program = program.display();
    let _ = writeln!(std::io::stderr(), "cannot start `{program}`: {error}");
    ExitCode::from(NOT_STARTED)
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}

/// Tells how a guard, and with it its program, ended.
pub(crate) fn describe_status(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) if code > 128 && code < 255 => format!("signal {}", code - 128),
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown status".to_owned(),
    }
}
