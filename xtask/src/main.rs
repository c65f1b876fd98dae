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
mod fuzz;
mod hazards;
mod nuget_exe;
mod sim;
mod tidy;
mod tools;

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use lexopt::Arg;

const USAGE: &str = "\
cargo xtask COMMAND

  ci                 what guards main: format, lints, tidy, all tests, licences; prints the time of each stage
  test               all tests
  tidy               dependency direction, file sizes, forbidden things
  dev [OPTIONS]      builds everything and runs a whole cluster on this machine
      --nodes N      worker containers (3)
      --dir DIR      where it lives (target/dev); made anew unless --keep
      --keep         goes on with the cluster that is in DIR
      --run CMD      runs CMD in the cluster's environment, stops the cluster and ends with CMD's exit code
      --sample NAME  hello (default) or clock-py
      --tls          manager and feed speak TLS, with an authority made for this cluster
  hazards [NAME…]    a cluster on hosts of its own, at full length: cables, feeds, kills, processes (needs root)
  dist               release binaries and packages in target/dist
<<<<<<< HEAD
  bench NAME         launcher, hocon, check, decision, fetch, feed, nodes, herd, recheck, update, idle [--json]: measures, in release
      --only PART    of feed: downloads, searches or pushes
=======
  bench NAME         launcher, hocon, check, decision, fetch, feed, nodes, rolling, herd, recheck, update, idle [--json]: measures, in release
>>>>>>> 71dea51 (manager: the loop looks at the state seldom, and rests little while nodes are replaced)
  scenario FILE…     plays scenarios of the simulated cluster and prints what happens
      --update       writes what happens into the files
  histories          random histories of simulated clusters; stops at the first that breaks an invariant
      --kind K       migrations (default) or nodes
      --count N      how many (100000)
      --seed S       the first seed (1)
      --threads N    at the same time (2)
  explore            every order of events in small clusters; stops at the first that breaks an invariant
      --cluster NAME only one: automatic, rollback, manual, nodes, full
      --events N     acts of operators and failures at most, at any moments (2)
      --transitions N  gives up after so many transitions (20000000)
      --threads N    at the same time (2)
  switches           a cluster of processes forward and back under load; nothing fails, nothing is left
      --count N      how often (20)
  fuzz hocon         mutated inputs; fails on the first that panics, takes too long or breaks a rule
      --count N      how many (100000)
      --seed S       which ones (1)
      --from I       the number of the first one (0), to repeat a failure";

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
    if std::env::args().any(|argument| argument == "--help" || argument == "-h") {
        println!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    }
    let mut arguments = lexopt::Parser::from_env();
    let command = match arguments.next()? {
        Some(Arg::Value(command)) => command.to_string_lossy().into_owned(),
        _ => bail!("no command\n\n{USAGE}"),
    };
    match command.as_str() {
        "dev" => return dev::dev(&mut arguments),
        "hazards" => return hazards::hazards(&mut arguments),
        "fuzz" => return fuzz::fuzz(&mut arguments),
        "scenario" => return sim::scenario(&mut arguments),
        "explore" => return sim::explore(&mut arguments),
        "switches" => return ci::switches(&mut arguments),
        "histories" => return sim::histories(&mut arguments),
        "bench" => return bench::bench(&mut arguments),
        _ => {}
    }
    if let Some(argument) = arguments.next()? {
        return Err(argument.unexpected()).with_context(|| format!("`{command}` has no options"));
    }
    match command.as_str() {
        "ci" => ci::ci(),
        "test" => ci::test(),
        "tidy" => tidy::tidy(),
        "dist" => dist::dist(),
        "help" => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        other => bail!("`{other}` is not a command\n\n{USAGE}"),
    }
}
