//! Measures. Each figure is printed as one line of JSON with `--json`; a missed bar ends the command with an error.

mod check;
mod decision;
mod feed;
mod fetch;
mod figure;
mod herd;
mod idle;
mod launcher;
mod nodes;
mod process;
mod recheck;
mod sleeper;
mod update;

use std::net::TcpListener;
use std::process::ExitCode;

use anyhow::{Result, bail};
use lexopt::Arg;

use crate::tools::{cargo, run};
pub(crate) use launcher::launcher_limits;

pub(crate) fn bench(arguments: &mut lexopt::Parser) -> Result<ExitCode> {
    let (mut name, mut only, mut as_json) = (None, None, false);
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Value(value) if name.is_none() => {
                name = Some(value.to_string_lossy().into_owned());
            }
            Arg::Long("json") => as_json = true,
            Arg::Long("only") if name.as_deref() == Some("feed") => {
                only = Some(arguments.value()?.to_string_lossy().into_owned());
            }
            other => bail!("{}; see `cargo xtask help`", other.unexpected()),
        }
    }
    match name.as_deref() {
        Some("launcher") => launcher_limits(as_json)?,
        Some("hocon") => hocon(as_json)?,
        Some("fetch") => fetch::fetch(as_json)?,
        Some("feed") => feed::feed(as_json, only.as_deref())?,
        Some("check") => check::check(as_json)?,
        Some("decision") => decision::decision(as_json)?,
        Some("nodes") => nodes::nodes(as_json)?,
        Some("rolling") => nodes::rolling(as_json)?,
        Some("herd") => herd::herd(as_json)?,
        Some("recheck") => recheck::recheck(as_json)?,
        Some("update") => update::update(as_json)?,
        Some("idle") => idle::idle(as_json)?,
        _ => bail!(
            "say what to measure: launcher, hocon, check, decision, fetch, feed, nodes, rolling, herd, recheck, update, idle"
        ),
    }
    Ok(ExitCode::SUCCESS)
}

/// Measures parsing and resolving; the bench is an example of the crate, so that this program stays small.
fn hocon(as_json: bool) -> Result<()> {
    let mut command = cargo(&[
        "run",
        "--quiet",
        "--locked",
        "--release",
        "--package=klusterkite-hocon",
        "--example=bench",
        "--",
    ]);
    run(command.args(as_json.then_some("--json")))
}

/// Finds a port that nobody uses.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
