//! Ready-made migrator of web sites and assets: whole directories, published by an atomic switch.
//!
//! `klusterkite-migrator-files SECTION` publishes what the section of the settings describes; `docs/how-to/migrators.md`
//! shows it from the user's side.
//!
//! - [`settings`]: what a section says, and the points that come from it.
//! - [`tree`]: a directory with everything in it: digest, copy.
//! - [`site`]: where a site is published: `current` and the versions behind it.
//! - [`migrator`]: the program.

mod migrator;
mod settings;
mod site;
mod tree;

use std::process::ExitCode;

use anyhow::Context;
use klusterkite_migrator::stdio::run_migrator;

fn main() -> ExitCode {
    let section = std::env::args().nth(1);
    let section = section.context(
        "the command is `klusterkite-migrator-files SECTION`, with the path of a section of the settings",
    );
    run_migrator(section.and_then(|section| migrator::FilesMigrator::load(&section)))
}
