//! Plays random histories: `histories [--kind migrations|nodes] [--count N] [--seed S] [--threads N] [--mutation NAME]`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

use std::env;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use klusterkite_sim::cluster::{Invariant, Mutation};
use klusterkite_sim::history::{Failure, Kind, play, shrink};

/// How many histories a thread takes at a time.
const CHUNK: u64 = 1000;

fn main() -> ExitCode {
    let (count, seed) = (option("--count", 100_000), option("--seed", 1));
    let threads = option("--threads", 2);
    let (kind, mutation) = (kind(), mutation());
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let start = Instant::now();
    let work = || work(kind, (seed, count), mutation, &next, &stop);
    let failures: Vec<Failure> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let done = workers.into_iter().map(std::thread::ScopedJoinHandle::join);
        done.filter_map(|done| done.expect("a worker does not panic"))
            .collect()
    });
    let played = next.load(Ordering::Relaxed).min(count);
    let seconds = start.elapsed().as_secs_f64();
    if failures.is_empty() {
        println!(
            "{played} histories of {kind} from seed {seed} in {seconds:.1} s: no invariant is broken"
        );
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
    kind: Kind,
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
            match play(kind, seed + index, mutation.map(|(mutation, _)| mutation)) {
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

fn kind() -> Kind {
    let name = text("--kind").unwrap_or_else(|| Kind::Migrations.to_string());
    let known = Kind::ALL.into_iter().find(|kind| kind.to_string() == name);
    known.unwrap_or_else(|| panic!("`{name}` is no kind of history"))
}

/// Returns the mistake that is made on purpose, with the invariant that it breaks.
fn mutation() -> Option<(Mutation, Invariant)> {
    let name = text("--mutation")?;
    let mut all = Mutation::ALL.iter().copied();
    let known = all.find(|(mutation, _)| format!("{mutation:?}") == name);
    Some(known.unwrap_or_else(|| panic!("`{name}` is no mutation")))
}

fn text(name: &str) -> Option<String> {
    env::args().skip_while(|argument| argument != name).nth(1)
}

fn option(name: &str, default: u64) -> u64 {
    text(name).map_or(default, |value| {
        value
            .parse()
            .unwrap_or_else(|_| panic!("`{name}` is a number"))
    })
}
