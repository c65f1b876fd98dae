//! Throws mutated inputs at the crates that read what others wrote.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use lexopt::Arg;

use crate::tools::{cargo, run};

/// How many inputs CI tries: enough to meet every kind of mutation of every seed, in seconds.
const CI_COUNT: &str = "20000";

/// Runs `cargo xtask fuzz NAME [OPTIONS]`; the options are the fuzzer's own.
pub(crate) fn fuzz(arguments: &mut lexopt::Parser) -> Result<ExitCode> {
    let (mut name, mut options) = (None, Vec::new());
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Value(value) if name.is_none() => {
                name = Some(value.to_string_lossy().into_owned());
            }
            Arg::Long(option @ ("count" | "seed" | "from")) => {
                options.push(format!("--{option}"));
                let value = arguments.value()?;
                options.push(value.to_string_lossy().into_owned());
            }
            other => return Err(other.unexpected()).context("see `cargo xtask help`"),
        }
    }
    match name.as_deref() {
        Some("hocon") => hocon("fuzz", &options)?,
        _ => bail!("say what to fuzz: hocon"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Tries some inputs in the build of the tests, which has the largest stack frames.
pub(crate) fn short() -> Result<()> {
    hocon("dev", &["--count".to_owned(), CI_COUNT.to_owned()])
}

fn hocon(profile: &str, options: &[String]) -> Result<()> {
    let mut command = cargo(&[
        "run",
        "--quiet",
        "--locked",
        "--package=klusterkite-hocon",
        "--example=fuzz",
    ]);
    command.args(["--profile", profile, "--"]).args(options);
    run(&mut command)
}
