//! `klusterkite-launcher __exec …`: becomes a child's program.
//!
//! A launcher that was killed so does not leave a node that nobody watches: the kernel ends the child, and nothing has
//! to be done between fork and exec.

use std::ffi::OsString;
use std::process::ExitCode;

use klusterkite_processes::shim::{self, Failure};

use crate::console;

pub(crate) use klusterkite_processes::shim::ARGUMENT;

/// Replaces this process by the program; returns only if that fails.
pub(crate) fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match shim::run(arguments, |text| console::warn(text)) {
        Failure::Usage => console::usage_error(ARGUMENT),
        Failure::CannotRun { program, error } => {
            console::error(format_args!("cannot run `{}`: {error}", program.display()));
            ExitCode::from(shim::CANNOT_RUN)
        }
    }
}
