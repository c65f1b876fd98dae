//! The operator's command line.
//!
//! `klusterkite <noun> <verb>`: a command calls the operator API or the feed and renders the answer. Tables
//! are for people and may change; `--output json` is the API's own JSON and does not.
//!
//! Architecture invariant: nothing here decides anything about the cluster; whatever is shown as allowed,
//! refused or awaited was computed by the manager.

pub mod arguments;
mod commands;
mod context;
pub mod exit;
mod input;
pub mod pack;
pub mod render;
mod session;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::arguments::Arguments;
use crate::context::Context;
use crate::exit::Exit;

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    // clap takes a variable such as KLUSTERKITE_URL for an argument, and would only say what is missing.
    if std::env::args_os().len() == 1 {
        let help = Arguments::command().render_help();
        // There is nobody left to tell when stderr is closed.
        let _ = write!(io::stderr(), "{help}");
        return Exit::Usage.into();
    }
    let arguments = Arguments::parse();
    let mut context = Context::new(arguments.global);
    let result = context.run_with_login(|context| commands::run(&arguments.command, context));
    let exit = match &result {
        Ok(exit) => *exit,
        Err(error) => Exit::of(error),
    };
    if let Err(error) = &result
        && exit != Exit::Done
    {
        // There is nobody left to tell when stderr is closed.
        let _ = writeln!(io::stderr(), "error: {}", exit::sentence(error));
        if let Some(hint) = exit.hint(error) {
            let _ = writeln!(io::stderr(), "hint: {hint}");
        }
    }
    exit.into()
}
