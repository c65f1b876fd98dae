//! What guards main.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lexopt::Arg;

use crate::tools::{
    C_COMPILER, CERT_SYNC, IP, MONO, NEXTEST, NFT, NPM, POSTGRES, PYTHON, RUNC, Tool,
    build_programs, build_static_programs, cargo, need, root, run,
};

/// What the tests run.
const TEST_TOOLS: &[Tool] = &[
    C_COMPILER, NEXTEST, PYTHON, MONO, CERT_SYNC, NPM, POSTGRES, IP, NFT, RUNC,
];

/// The seed of property tests, by the variable that proptest reads: a change is judged by what it changes, not by
/// what chance finds in something else. `cargo nextest run` takes another seed each time.
const PROPERTY_SEED: (&str, &str) = ("PROPTEST_RNG_SEED", "1");

/// Runs every stage, prints the time of each, and fails at the end when one of them failed.
pub(crate) fn ci() -> Result<ExitCode> {
    need(TEST_TOOLS)?;
    let mut stages = Stages::default();
    stages.run("format", || run(&mut cargo(&["fmt", "--all", "--check"])));
    stages.run("tidy", || crate::tidy::tidy().map(|_| ()));
    stages.run("clippy", || {
        let arguments = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--locked",
            "--",
            "-D",
            "warnings",
        ];
        run(&mut cargo(&arguments))
    });
    stages.run("licences", licences);
    stages.run("doctest", || {
        run(&mut cargo(&[
            "test",
            "--workspace",
            "--doc",
            "--locked",
            "--quiet",
        ]))
    });
    stages.run("test", || test().map(|_| ()));
    stages.run("fuzz", crate::fuzz::short);
    stages.run("launcher", || crate::bench::launcher_limits(false));
    stages.report()
}

/// Runs all tests: unit, property, scenario, conformance and end to end.
pub(crate) fn test() -> Result<ExitCode> {
    need(TEST_TOOLS)?;
    // The end-to-end tests start the programs of the workspace, samples included.
    build_static_programs()?;
    build_programs()?;
    crate::nuget_exe::install()?;
    let mut tests = cargo(&["nextest", "run", "--workspace", "--locked"]);
    if std::env::var_os(PROPERTY_SEED.0).is_none() {
        tests.env(PROPERTY_SEED.0, PROPERTY_SEED.1);
    }
    run(&mut tests)?;
    Ok(ExitCode::SUCCESS)
}

/// Switches a cluster forward and back: `cargo xtask switches [--count N]`.
pub(crate) fn switches(arguments: &mut lexopt::Parser) -> Result<ExitCode> {
    let mut count = "20".to_owned();
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("count") => count = arguments.value()?.to_string_lossy().into_owned(),
            other => return Err(other.unexpected()).context("see `cargo xtask help`"),
        }
    }
    build_programs()?;
    let mut test = cargo(&[
        "test",
        "--locked",
        "--package=klusterkite-tests",
        "--test=it",
    ]);
    test.args(["--", "switches", "--nocapture"])
        .env("KLUSTERKITE_SWITCHES", count);
    run(&mut test)?;
    Ok(ExitCode::SUCCESS)
}

/// Checks licences, duplicates and bans, when the tool is there: `cargo install cargo-deny`.
fn licences() -> Result<()> {
    let there = Command::new("cargo-deny").arg("--version").output();
    if there.is_err() {
        if std::env::var_os("CI").is_some() {
            bail!("`cargo-deny` is missing: install it with `cargo install --locked cargo-deny`");
        }
        println!("skipped: `cargo-deny` is not installed");
        return Ok(());
    }
    let arguments = ["--offline", "check", "licenses", "bans", "sources"];
    run(Command::new("cargo-deny")
        .args(arguments)
        .current_dir(root()))
}

#[derive(Default)]
struct Stages {
    done: Vec<(&'static str, Duration, Result<()>)>,
}

impl Stages {
    fn run(&mut self, name: &'static str, stage: impl FnOnce() -> Result<()>) {
        println!("== {name}");
        let start = Instant::now();
        let result = stage();
        self.done.push((name, start.elapsed(), result));
    }

    fn report(self) -> Result<ExitCode> {
        println!("\n== stages");
        let mut failed = false;
        for (name, time, result) in self.done {
            match result {
                Ok(()) => println!("{:>8.1} s  {name}", time.as_secs_f32()),
                Err(error) => {
                    failed = true;
                    println!("{:>8.1} s  {name}: FAILED: {error:#}", time.as_secs_f32());
                }
            }
        }
        Ok(if failed {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    }
}
