//! `cargo xtask`: everything that is done with this repository.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it is a command line program"
)]

mod bench;
mod ci;
mod dev;
mod dist;
mod tidy;
mod tools;

use std::process::ExitCode;

use anyhow::{Result, bail};
use lexopt::Arg;

const USAGE: &str = "\
cargo xtask COMMAND

  ci                 what guards main: format, lints, tidy, all tests, licences; prints the time of each stage
  test               all tests
  tidy               dependency direction, file sizes, forbidden things
  dev [OPTIONS]      builds everything and runs a whole cluster on this machine
      --nodes N      worker containers (3)
      --dir DIR      where it lives (target/dev); made anew unless --keep
      --keep         keeps what is in DIR
      --run CMD      runs CMD in the cluster's environment and ends with its exit code
      --sample NAME  hello (default) or clock-py
  dist               release binaries and packages in target/dist
  bench NAME         launcher [--json]: measures, in release";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let mut arguments = lexopt::Parser::from_env();
    let command = match arguments.next()? {
        Some(Arg::Value(command)) => command.to_string_lossy().into_owned(),
        _ => bail!("no command\n\n{USAGE}"),
    };
    match command.as_str() {
        "ci" => ci::ci(),
        "test" => ci::test(),
        "tidy" => tidy::tidy(),
        "dev" => dev::dev(&mut arguments),
        "dist" => dist::dist(),
        "bench" => bench::bench(&mut arguments),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        other => bail!("`{other}` is not a command\n\n{USAGE}"),
    }
}
