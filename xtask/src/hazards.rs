//! What a cluster on hosts of its own survives, at full length: CI runs the same tests shortened.

use std::process::ExitCode;

use anyhow::{Result, bail};
use lexopt::Arg;

use crate::tools::{
    C_COMPILER, IP, NEXTEST, NFT, RUNC, build_programs, build_static_programs, cargo, need, run,
};

/// Makes the tests last as long as they should.
const LONG: &str = "KLUSTERKITE_HAZARDS";

/// Runs the tests of `crates/klusterkite-tests/tests/it/hosts`, or those whose names contain one of the arguments.
pub(crate) fn hazards(arguments: &mut lexopt::Parser) -> Result<ExitCode> {
    let mut names = Vec::new();
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Value(name) => names.push(format!("test({})", name.to_string_lossy())),
            other => bail!("{}; see `cargo xtask help`", other.unexpected()),
        }
    }
    need(&[C_COMPILER, NEXTEST, IP, NFT, RUNC])?;
    build_static_programs()?;
    build_programs()?;
    let mut filter = "test(/^hosts::/)".to_owned();
    if !names.is_empty() {
        filter = format!("{filter} & ({})", names.join(" | "));
    }
    let mut nextest = cargo(&["nextest", "run", "--locked", "--package=klusterkite-tests"]);
    // One after the other: they are about time, and the machine is to be theirs.
    nextest.args(["--test-threads=1", "--no-capture", "--filterset", &filter]);
    run(nextest.env(LONG, "1"))?;
    Ok(ExitCode::SUCCESS)
}
