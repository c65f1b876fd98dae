//! Plays random histories: `histories [--count N] [--seed S] [--threads N] [--mutation NAME]`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

use std::env;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use klusterkite_sim::cluster::{Invariant, Mutation};
use klusterkite_sim::history::{Failure, play, shrink};

/// How many histories a thread takes at a time.
const CHUNK: u64 = 1000;

fn main() -> ExitCode {
    let (count, seed) = (option("--count", 100_000), option("--seed", 1));
    let threads = option("--threads", 2);
    let mutation = mutation();
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let start = Instant::now();
    let work = || work((seed, count), mutation, &next, &stop);
    let failures: Vec<Failure> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let done = workers.into_iter().map(std::thread::ScopedJoinHandle::join);
        done.filter_map(|done| done.expect("a worker does not panic"))
            .collect()
    });
    let played = next.load(Ordering::Relaxed).min(count);
    let seconds = start.elapsed().as_secs_f64();
    if failures.is_empty() {
        println!("{played} histories from seed {seed} in {seconds:.1} s: no invariant is broken");
        return ExitCode::SUCCESS;
    }
    for failure in failures {
        let small = shrink(&failure);
        eprintln!(
            "seed {}: {}: {}",
            small.seed, small.invariant, small.message
        );
        println!("{}", small.text);
    }
    ExitCode::FAILURE
}

fn work(
    (seed, count): (u64, u64),
    mutation: Option<(Mutation, Invariant)>,
    next: &AtomicU64,
    stop: &AtomicBool,
) -> Option<Failure> {
    while !stop.load(Ordering::Relaxed) {
        let from = next.fetch_add(CHUNK, Ordering::Relaxed);
        if from >= count {
            break;
        }
        for index in from..(from + CHUNK).min(count) {
            let expected = |failure: &Failure| {
                mutation.is_none_or(|(_, invariant)| invariant == failure.invariant)
            };
            match play(seed + index, mutation.map(|(mutation, _)| mutation)) {
                Ok(Some(failure)) if expected(&failure) => {
                    stop.store(true, Ordering::Relaxed);
                    return Some(failure);
                }
                Ok(_) => {}
                Err(error) => panic!("seed {}: {error}", seed + index),
            }
        }
    }
    None
}

/// Returns the mistake that is made on purpose, with the invariant that it breaks.
fn mutation() -> Option<(Mutation, Invariant)> {
    let name = env::args()
        .skip_while(|argument| argument != "--mutation")
        .nth(1)?;
    let mut all = Mutation::ALL.iter().copied();
    let known = all.find(|(mutation, _)| format!("{mutation:?}") == name);
    Some(known.unwrap_or_else(|| panic!("`{name}` is no mutation")))
}

fn option(name: &str, default: u64) -> u64 {
    let mut arguments = env::args().skip_while(|argument| argument != name);
    let value = arguments.nth(1);
    value.map_or(default, |value| {
        value
            .parse()
            .unwrap_or_else(|_| panic!("`{name}` is a number"))
    })
}
