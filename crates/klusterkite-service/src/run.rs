//! The frame of the program: logging, settings, runtime, exit code.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Mutex;

use anyhow::{Context, Result};
use klusterkite_processes::shim::{self, Failure};
use klusterkite_wire::start::PERMANENT_EXIT_CODES;
use tracing_subscriber::filter::LevelFilter;

use crate::directory::ServiceDirectory;
use crate::host;
use crate::node::Ending;
use crate::output::{Output, Stream};

/// The node failed: a process ended, a newer incarnation exists, the machine refused something.
const EXIT_FAILED: u8 = 1;

/// The argument is wrong.
const EXIT_USAGE: u8 = 2;

/// The service directory is wrong, or a process said so of its part: starting again does not help.
const EXIT_PERMANENT: u8 = PERMANENT_EXIT_CODES[0];

const USAGE: &str =
    "usage: klusterkite-service (no arguments): a launcher starts it in a service directory\n";

/// Variable with the level of the host's own log: `off`, `error`, `warn`, `info` (default), `debug`, `trace`.
const VARIABLE_LOG: &str = "KLUSTERKITE_LOG";

/// Threads for what blocks (writing the members, asking for names): a few, for a short time.
const BLOCKING_THREADS_MAX: usize = 4;

/// Runs the program in the working directory.
pub(crate) fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    if arguments
        .next()
        .is_some_and(|first| first == shim::ARGUMENT)
    {
        return become_program(arguments);
    }
    let output = Output::start();
    if let Some(word) = env::args_os().nth(1) {
        let code = answer(&word, &output);
        output.finish();
        return code;
    }
    start_log(&output);
    let code = match ServiceDirectory::load() {
        Err(error) => fail(&output, EXIT_PERMANENT, &error),
        Ok(directory) => match run(directory, &output) {
            Err(error) => fail(&output, EXIT_FAILED, &error),
            Ok(ending) if ending.ordered => ExitCode::SUCCESS,
            Ok(ending) if ending.permanent => ExitCode::from(EXIT_PERMANENT),
            Ok(_) => ExitCode::from(EXIT_FAILED),
        },
    };
    output.finish();
    code
}

/// Becomes the program of a process; this process is its shim.
fn become_program(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let say = |text: &str| {
        // Its output is the output of the process; there is nobody else to tell.
        let _ = writeln!(io::stderr(), "{text}");
    };
    match shim::run(arguments, say) {
        Failure::Usage => {
            say(USAGE.trim_end());
            ExitCode::from(EXIT_USAGE)
        }
        Failure::CannotRun { program, error } => {
            say(&format!("cannot run `{}`: {error}", program.display()));
            ExitCode::from(shim::CANNOT_RUN)
        }
    }
}

/// Answers an argument: the host takes none to run.
fn answer(word: &OsStr, output: &Output) -> ExitCode {
    if word == "--version" {
        let line = format!("klusterkite-service {}\n", env!("CARGO_PKG_VERSION"));
        output.line(Stream::Out, line.into_bytes());
        return ExitCode::SUCCESS;
    }
    output.line(Stream::Err, USAGE.as_bytes().to_vec());
    ExitCode::from(EXIT_USAGE)
}

fn run(directory: ServiceDirectory, output: &Output) -> Result<Ending> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build()
        .context("no runtime")?;
    let ending = runtime.block_on(host::run(directory, output.clone()));
    // A thread that waits for a disk or a name server does not hold the exit.
    runtime.shutdown_background();
    ending
}

fn start_log(output: &Output) {
    let level = env::var(VARIABLE_LOG)
        .ok()
        .and_then(|level| level.parse().ok())
        .unwrap_or(LevelFilter::INFO);
    let writer = Mutex::new(output.clone());
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_target(false)
        .with_writer(writer)
        .init();
}

/// Says what is wrong, with all causes.
fn fail(output: &Output, code: u8, error: &anyhow::Error) -> ExitCode {
    let line = format!("the node cannot run: {error:#}\n");
    output.line(Stream::Err, line.into_bytes());
    ExitCode::from(code)
}
