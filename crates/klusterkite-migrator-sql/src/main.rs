//! Ready-made migrator and seeder of SQL databases: PostgreSQL and SQLite.
//!
//! `klusterkite-migrator-sql migrate SECTION` moves the databases of a section of the settings along the scripts of a
//! folder; `klusterkite-migrator-sql seed SECTION` creates those databases and their roles. `docs/how-to/migrators.md`
//! shows both from the user's side.
//!
//! - [`settings`]: what a section says.
//! - [`line`]: the folder as a line of points; [`statements`] looks into its scripts.
//! - [`history`]: what a database says about its points, held against the line. Pure.
//! - [`database`]: a database that is read, locked and changed.
//! - [`migrator`] and [`seeder`]: the two programs.

mod database;
mod history;
mod line;
mod migrator;
mod seeder;
mod settings;
mod statements;

use std::process::ExitCode;

use anyhow::bail;
use klusterkite_migrator::stdio::{run_migrator, run_seeder};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["migrate", section] => run_migrator(migrator::SqlMigrator::load(section)),
        ["seed", section] => run_seeder(seeder::SqlSeeder::load(section)),
        _ => run_migrator::<migrator::SqlMigrator, _>(usage()),
    }
}

/// Says what is wrong with the command of the manifest, where an operator sees it.
fn usage() -> anyhow::Result<migrator::SqlMigrator> {
    bail!(
        "the command is `klusterkite-migrator-sql migrate SECTION` or `… seed SECTION`, with the path of a section of the settings"
    )
}
