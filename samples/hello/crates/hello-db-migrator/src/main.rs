//! Sample migrator: the SQLite schema of hello.
//!
//! The code is the same in every version of the package; the points and their SQL are content.

mod content;
mod database;
mod migrator;

use std::process::ExitCode;

use klusterkite_migrator::stdio::run_migrator;

fn main() -> ExitCode {
    run_migrator(migrator::HelloDb::load())
}
