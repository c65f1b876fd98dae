//! `PROGRAM __exec OPTIONS… -- PROGRAM ARGUMENTS…`: becomes a child's program.
//!
//! What has to be done between fork and exec is done here instead, in a process of its own with one thread: joining
//! control groups, a session of its own, limits, no blocked signals, and a TERM from the kernel when the parent dies.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::SigSet;
use rustix::process::{
    Resource, Rlimit, Signal, getppid, set_parent_process_death_signal, setrlimit, setsid,
};

use crate::control_group::join;

/// The first argument that makes a program a shim.
pub const ARGUMENT: &str = "__exec";

/// What a shell exits with when it cannot run a program.
pub const CANNOT_RUN: u8 = 127;

/// The program that makes a child, whatever happened to its file meanwhile.
const OWN_PROGRAM: &str = "/proc/self/exe";

const JOIN: &str = "--join";
const SESSION: &str = "--session-of";
const PROCESSES: &str = "--processes";
const END: &str = "--";

/// What a shim does before it becomes the program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Files through which it joins control groups.
    pub joins: Vec<PathBuf>,
    /// Process id of its parent, if it gets a session of its own and a TERM when the parent dies.
    pub session_of: Option<u32>,
    /// Most processes that its user may have, all together. The kernel does not keep the superuser to it.
    pub user_processes: Option<u32>,
}

impl Plan {
    /// Returns the command that carries the plan out in this program's own shim.
    pub fn command(&self, program: &OsStr) -> Command {
        let mut command = Command::new(OWN_PROGRAM);
        command.arg(ARGUMENT);
        for file in &self.joins {
            command.arg(JOIN).arg(file);
        }
        if let Some(parent) = self.session_of {
            command.arg(SESSION).arg(parent.to_string());
        }
        if let Some(processes) = self.user_processes {
            command.arg(PROCESSES).arg(processes.to_string());
        }
        command.arg(END).arg(program);
        command
    }

    /// Reads the arguments after [`ARGUMENT`]; leaves the program and its arguments.
    fn read(arguments: &mut impl Iterator<Item = OsString>) -> Option<Self> {
        let mut plan = Self::default();
        loop {
            let option = arguments.next()?;
            if option == END {
                return Some(plan);
            }
            let value = arguments.next()?;
            let number = || value.to_str()?.parse().ok();
            match option.to_str()? {
                JOIN => plan.joins.push(PathBuf::from(&value)),
                SESSION => plan.session_of = Some(number()?),
                PROCESSES => plan.user_processes = Some(number()?),
                _ => return None,
            }
        }
    }
}

/// Why a shim did not become a program.
#[derive(Debug)]
pub enum Failure {
    /// The arguments are no plan.
    Usage,
    /// The program could not be run.
    CannotRun {
        /// The program.
        program: OsString,
        /// Why.
        error: io::Error,
    },
}

/// Replaces this process by the program; returns only if that fails. `warn` is told what could not be done.
pub fn run(mut arguments: impl Iterator<Item = OsString>, warn: impl Fn(&str)) -> Failure {
    let Some(plan) = Plan::read(&mut arguments) else {
        return Failure::Usage;
    };
    let Some(program) = arguments.next() else {
        return Failure::Usage;
    };
    for file in &plan.joins {
        // The node runs on without it: its descendants are found in other ways.
        if let Err(error) = join(file.as_os_str()) {
            let path = file.parent().unwrap_or(Path::new("")).display();
            warn(&format!("cannot join control group `{path}`: {error}"));
        }
    }
    let error = match become_program(&plan, &program, arguments) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    Failure::CannotRun { program, error }
}

fn become_program(
    plan: &Plan,
    program: &OsString,
    arguments: impl Iterator<Item = OsString>,
) -> io::Result<std::convert::Infallible> {
    if let Some(parent) = plan.session_of {
        setsid()?;
        set_parent_process_death_signal(Some(Signal::TERM))?;
        // If the parent died before that call, the signal will never come.
        let present = getppid().map(|pid| pid.as_raw_nonzero().get());
        if present != i32::try_from(parent).ok() {
            return Err(io::Error::other("the launcher has ended"));
        }
    }
    if let Some(processes) = plan.user_processes {
        let limit = Some(u64::from(processes));
        setrlimit(
            Resource::Nproc,
            Rlimit {
                current: limit,
                maximum: limit,
            },
        )?;
    }
    SigSet::empty().thread_set_mask()?;
    Err(Command::new(program).args(arguments).exec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_as_it_was_written() {
        let plan = Plan {
            joins: vec!["/a/cgroup.procs".into(), "/b c/cgroup.procs".into()],
            session_of: Some(42),
            user_processes: Some(7),
        };
        for plan in [plan, Plan::default()] {
            let mut command = plan.command(OsStr::new("program"));
            command.arg("--").arg("x");
            let mut arguments = command.get_args().map(ToOwned::to_owned);
            assert_eq!(arguments.next(), Some(ARGUMENT.into()));
            assert_eq!(Plan::read(&mut arguments), Some(plan));
            let rest: Vec<OsString> = arguments.collect();
            assert_eq!(rest, ["program", "--", "x"]);
        }
    }

    #[test]
    fn what_is_no_plan_is_refused() {
        for arguments in [
            &[][..],
            &["--join"],
            &["--join", "a"],
            &["--session-of", "x", "--", "p"],
            &["p"],
        ] {
            let mut arguments = arguments.iter().map(OsString::from);
            assert_eq!(Plan::read(&mut arguments), None);
        }
    }
}
