//! Runs the simulated cluster.

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use lexopt::Arg;

use crate::tools::{cargo, run};

/// Plays scenarios: `cargo xtask scenario [--update] FILE…`.
pub(crate) fn scenario(arguments: &mut lexopt::Parser) -> Result<ExitCode> {
    let mut passed = Vec::new();
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Value(file) => passed.push(file.to_string_lossy().into_owned()),
            Arg::Long("update") => passed.push("--update".to_owned()),
            other => return Err(other.unexpected()).context("see `cargo xtask help`"),
        }
    }
    ensure!(
        passed.iter().any(|argument| !argument.starts_with("--")),
        "say which scenario: a file of `crates/klusterkite-sim/scenarios`"
    );
    example("klusterkite-sim", "scenario", "dev", &passed)
}

/// Plays random histories: `cargo xtask histories [--kind K] [--count N] [--seed S] [--threads N]`.
pub(crate) fn histories(arguments: &mut lexopt::Parser) -> Result<ExitCode> {
    let passed = options(arguments, &["kind", "count", "seed", "threads"])?;
    example("klusterkite-sim", "histories", "release", &passed)
}

/// Searches the models: `cargo xtask explore [--cluster NAME] [--events N] [--transitions N] [--threads N]`.
pub(crate) fn explore(arguments: &mut lexopt::Parser) -> Result<ExitCode> {
    let passed = options(arguments, &["cluster", "events", "transitions", "threads"])?;
    example("klusterkite-model", "explore", "release", &passed)
}

fn options(arguments: &mut lexopt::Parser, known: &[&str]) -> Result<Vec<String>> {
    let mut passed = Vec::new();
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long(option) if known.contains(&option) => {
                passed.push(format!("--{option}"));
                let value = arguments.value()?;
                passed.push(value.to_string_lossy().into_owned());
            }
            other => return Err(other.unexpected()).context("see `cargo xtask help`"),
        }
    }
    Ok(passed)
}

/// The programs of the simulation are examples of its crates, so that this program stays small.
fn example(package: &str, name: &str, profile: &str, passed: &[String]) -> Result<ExitCode> {
    let mut command = cargo(&["run", "--quiet", "--locked", "--package", package]);
    command.args(["--example", name, "--profile", profile, "--"]);
    run(command.args(passed))?;
    Ok(ExitCode::SUCCESS)
}
