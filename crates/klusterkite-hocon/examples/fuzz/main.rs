//! Mutated inputs without a panic: `cargo xtask fuzz hocon [--count N] [--seed S] [--from I]`.
//!
//! The inputs follow from seed and number, so a number that fails is run again with `--from`. They run on
//! a thread with the stack that the crate promises to need; an overflow ends the process, and the number
//! is at most [`PROGRESS_EVERY`] after the last one that was reported.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it is a command line program"
)]

mod corpus;
mod exercise;
mod mutate;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use exercise::{Reached, exercise};
use mutate::Input;

/// The stack that the crate promises to need, in bytes.
const STACK_BYTES: usize = 2 << 20;

/// How long one input may take. The worst ones take tens of milliseconds; the rest is for slow builds on
/// busy machines.
const INPUT_TIME_MAX: Duration = Duration::from_secs(10);

/// After how many inputs progress is reported.
const PROGRESS_EVERY: u64 = 10_000;

fn main() -> ExitCode {
    match Options::of_arguments().and_then(|options| fuzz(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Clone, Copy)]
struct Options {
    count: u64,
    seed: u64,
    from: u64,
}

impl Options {
    fn of_arguments() -> Result<Self, String> {
        let mut options = Self {
            count: 100_000,
            seed: 1,
            from: 0,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let value = arguments.next().and_then(|value| value.parse().ok());
            let option = match name.as_str() {
                "--count" => &mut options.count,
                "--seed" => &mut options.seed,
                "--from" => &mut options.from,
                _ => return Err(format!("unknown option `{name}`")),
            };
            *option = value.ok_or_else(|| format!("`{name}` needs a number"))?;
        }
        Ok(options)
    }
}

/// What all inputs came to.
#[derive(Default)]
struct Totals {
    parsed: u64,
    resolved: u64,
    slowest: (Duration, u64),
}

fn fuzz(options: &Options) -> Result<(), String> {
    let corpus: Arc<[String]> = corpus::texts()?.into();
    let current = Arc::new(AtomicU64::new(options.from));
    let (done, result) = mpsc::channel();
    let start = Instant::now();
    let (worker_corpus, worker_current, options) =
        (Arc::clone(&corpus), Arc::clone(&current), *options);
    let worker = thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(move || {
            // The receiver is gone only when this process ends.
            let _ = done.send(run(&options, &worker_corpus, &worker_current));
        })
        .map_err(|error| error.to_string())?;
    let mut last_seen = (options.from, Instant::now());
    let totals = loop {
        match result.recv_timeout(INPUT_TIME_MAX / 10) {
            Ok(outcome) => break outcome?,
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let _ = worker.join();
                let number = current.load(Ordering::Relaxed);
                return Err(failure("it panics", &options, number, &corpus));
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let number = current.load(Ordering::Relaxed);
                if number != last_seen.0 {
                    last_seen = (number, Instant::now());
                } else if last_seen.1.elapsed() > INPUT_TIME_MAX {
                    return Err(failure("it takes too long", &options, number, &corpus));
                }
            }
        }
    };
    println!(
        "{} inputs of seed {} from {} texts in {:.1} s: {} parsed, {} of them resolved; \
         the slowest, {}, took {:.1} ms; no panic",
        options.count,
        options.seed,
        corpus.len(),
        start.elapsed().as_secs_f64(),
        totals.parsed,
        totals.resolved,
        totals.slowest.1,
        totals.slowest.0.as_secs_f64() * 1e3,
    );
    Ok(())
}

fn run(options: &Options, corpus: &[String], current: &AtomicU64) -> Result<Totals, String> {
    let mut totals = Totals::default();
    for number in options.from..options.from + options.count {
        current.store(number, Ordering::Relaxed);
        if number > options.from && number % PROGRESS_EVERY == 0 {
            eprintln!("{number} …");
        }
        let input = Input::new(options.seed, number, corpus);
        let start = Instant::now();
        let reached =
            exercise(&input).map_err(|problem| failure(&problem, options, number, corpus))?;
        totals.slowest = totals.slowest.max((start.elapsed(), number));
        totals.parsed += u64::from(reached != Reached::Refused);
        totals.resolved += u64::from(reached == Reached::Resolved);
    }
    Ok(totals)
}

fn failure(problem: &str, options: &Options, number: u64, corpus: &[String]) -> String {
    let input = Input::new(options.seed, number, corpus);
    format!(
        "input {number} of seed {}: {problem}\n{input:#?}",
        options.seed
    )
}
