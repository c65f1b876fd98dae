//! Sample migrator: publishes the static site of hello.
//!
//! The site belongs to the code that answers its requests, so it moves after the nodes on the way up and before them on
//! the way back. The code is the same in every version of the package; the sites are content.

mod content;
mod migrator;
mod publish;

use std::process::ExitCode;

use klusterkite_migrator::stdio::run_migrator;

fn main() -> ExitCode {
    run_migrator(migrator::HelloSite::load())
}
