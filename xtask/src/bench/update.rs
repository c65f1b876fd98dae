//! A rolling update of 20 processes, two at a time: our cluster, and Docker Swarm on the same machine.

mod cluster;
mod swarm;

use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context as _, Result};

use self::cluster::Ours;
use self::swarm::Swarm;
use super::figure::{Bar, Figure, Of, Samples};
use super::sleeper::{self, Stamps, fewest, milliseconds_to_last};
use crate::dist::static_launcher;
use crate::tools::{C_COMPILER, build_release, fresh, need, target};

/// Processes that are replaced.
const PROCESSES: usize = 20;

/// How many are replaced at once.
const BATCH: usize = 2;

/// How often each side is measured.
const ROUNDS: usize = 5;

/// How often Swarm's slow way is measured: it takes half a minute.
const SLOW_ROUNDS: usize = 3;

/// What part of Swarm's time an update without surge may take.
const STOP_FIRST_FACTOR_MAX: f64 = 0.2;

/// What part of Swarm's time an update with surge may take.
const START_FIRST_FACTOR_MAX: f64 = 1.0;

/// How long one update may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// Which of two processes is first: the end of the old one, or the start of the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    StopFirst,
    StartFirst,
}

/// Measures both ways, and fails when a bar is missed.
pub(crate) fn update(as_json: bool) -> Result<()> {
    need(&[C_COMPILER])?;
    let launcher = static_launcher()?;
    let programs = build_release()?;
    let directory = fresh(target().join("bench-update"))?;
    let sleeper = sleeper::build(&directory)?;
    let swarm = match Swarm::start(&directory, &sleeper) {
        Ok(swarm) => Some(swarm),
        Err(missing) => {
            eprintln!("Docker Swarm is not measured: {missing:#}");
            None
        }
    };
    let mut cluster = Ours::start(&directory, &programs, launcher, &sleeper)?;
    let mut limits = Vec::new();
    let mut sides: [Sides; 2] = Default::default();
    for round in 0..ROUNDS {
        limits.push(limit(&directory, &sleeper)?);
        for (order, sides) in [Order::StopFirst, Order::StartFirst]
            .into_iter()
            .zip(&mut sides)
        {
            sides.ours.push(cluster.update(order)?);
            let is_slow = order == Order::StopFirst && round >= SLOW_ROUNDS;
            if let Some(swarm) = swarm.as_ref().filter(|_| !is_slow) {
                sides.swarm.push(swarm.update(order)?);
            }
        }
    }
    cluster.stop()?;
    drop(swarm);
    let [stop_first, start_first] = sides;
    // Both are told, also when the first misses its bar.
    let told = [
        stop_first.report("updateStopFirst", STOP_FIRST_FACTOR_MAX, &limits, as_json),
        start_first.report("updateStartFirst", START_FIRST_FACTOR_MAX, &limits, as_json),
    ];
    told.into_iter().collect()
}

/// Milliseconds of one way, by side.
#[derive(Debug, Default)]
struct Sides {
    ours: Vec<f64>,
    swarm: Vec<f64>,
}

impl Sides {
    fn report(self, name: &str, factor: f64, limits: &[f64], as_json: bool) -> Result<()> {
        let is_measured = !self.swarm.is_empty();
        Figure {
            name,
            unit: "ms",
            ours: Samples::new(self.ours),
            peer: is_measured.then(|| ("Docker Swarm", Samples::new(self.swarm))),
            limit: Some(("the processes alone", Samples::new(limits.to_vec()))),
            bars: Vec::from_iter(is_measured.then_some(Bar::Most(factor, Of::Peer))),
        }
        .report(as_json)
    }
}

/// Replaces the processes without anything around them: TERM, wait for the end, start, wait for the first act.
fn limit(directory: &Path, sleeper: &Path) -> Result<f64> {
    let stamps = Stamps::new(directory.join("limit.stamps"))?;
    let start = |tag: &str| -> Result<Child> {
        Command::new(sleeper)
            .arg(tag)
            .env("SLEEPER_LOG", stamps.path())
            .spawn()
            .context("cannot start the sleeper")
    };
    let mut processes: Vec<Child> = (0..PROCESSES).map(|_| start("v1")).collect::<Result<_>>()?;
    stamps.wait_for("v1", PROCESSES, PATIENCE)?;
    let begin = sleeper::now()?;
    for (batch, wanted) in processes.chunks_mut(BATCH).zip((BATCH..).step_by(BATCH)) {
        for process in &mut *batch {
            klusterkite_tests::process::terminate(process.id());
        }
        for process in &mut *batch {
            process.wait()?;
            *process = start("v2")?;
        }
        // Without a pause: the pause would be longer than what is measured.
        while stamps.starts("v2").len() < wanted {
            std::thread::yield_now();
        }
    }
    let milliseconds = milliseconds_to_last(&stamps.starts("v2"), begin);
    for process in &mut processes {
        process.kill()?;
        process.wait()?;
    }
    Ok(milliseconds)
}

/// Returns how long an update took, after a look at whether it was one.
fn measured(stamps: &Stamps, tag: &str, begin: u128, floor: usize) -> Result<f64> {
    let starts = stamps.wait_for(tag, PROCESSES, PATIENCE)?;
    let at_once = fewest(&stamps.all(), begin);
    anyhow::ensure!(
        at_once >= floor,
        "only {at_once} of {PROCESSES} processes ran at once, {floor} have to"
    );
    Ok(milliseconds_to_last(&starts, begin))
}
