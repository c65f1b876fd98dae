//! `klusterkite-launcher __exec PARENT PROGRAM ARGUMENTS…`: becomes a child's program.
//!
//! What has to be done between fork and exec is done here instead, in a process of its own with one
//! thread: a session of its own, no blocked signals, and a TERM from the kernel when the launcher
//! dies. A launcher that was killed so does not leave a node that nobody watches.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nix::sys::signal::SigSet;
use rustix::process::{Signal, getppid, set_parent_process_death_signal, setsid};

use crate::console;

/// The first argument that makes the launcher a shim.
pub(crate) const ARGUMENT: &str = "__exec";

/// What a shell exits with when it cannot run a program.
const CANNOT_RUN: u8 = 127;

/// Replaces this process by the program; returns only if that fails.
pub(crate) fn run(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let parent = arguments
        .next()
        .and_then(|text| text.to_str()?.parse::<i32>().ok());
    let (Some(parent), Some(program)) = (parent, arguments.next()) else {
        return console::usage_error(ARGUMENT);
    };
    match become_program(parent, &program, arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::error(format_args!("cannot run `{}`: {error}", program.display()));
            ExitCode::from(CANNOT_RUN)
        }
    }
}

fn become_program(
    parent: i32,
    program: &OsString,
    arguments: impl Iterator<Item = OsString>,
) -> std::io::Result<()> {
    setsid()?;
    set_parent_process_death_signal(Some(Signal::TERM))?;
    // If the launcher died before that call, the signal will never come.
    if getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(parent) {
        return Err(std::io::Error::other("the launcher has ended"));
    }
    SigSet::empty().thread_set_mask()?;
    Err(Command::new(program).args(arguments).exec())
}
