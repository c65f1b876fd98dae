//! Ready-made migrator whose points and moves are commands in settings.
//!
//! `klusterkite-migrator-command SECTION` runs the commands that the section of the settings names;
//! `docs/how-to/migrators.md` shows it from the user's side.
//!
//! - [`settings`]: what a section says.
//! - [`command`]: one command with its variables, run to its end.
//! - [`migrator`]: the program.

mod command;
mod migrator;
mod settings;

use std::process::ExitCode;

use anyhow::Context;
use klusterkite_migrator::stdio::run_migrator;

fn main() -> ExitCode {
    let section = std::env::args().nth(1);
    let section = section.context(
        "the command is `klusterkite-migrator-command SECTION`, with the path of a section of the settings",
    );
    run_migrator(section.and_then(|section| migrator::CommandMigrator::load(&section)))
}
