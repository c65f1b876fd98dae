//! What a node costs while nothing happens, and how soon a crash is seen and a node is there: a launcher with its service
//! host, and other supervisors with the same process.

mod node;
mod peers;

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Result;

use self::node::Node;
use self::peers::Peer;
use super::figure::{Bar, Figure, Of, Samples};
use super::process::Process;
use super::sleeper;
use crate::dist::static_launcher;
use crate::tools::{C_COMPILER, build_release, fresh, need, target};

/// How often everything but the idle minute is measured.
const ROUNDS: usize = 5;

/// How long nothing happens.
const IDLE: Duration = Duration::from_mins(1);

/// What starts has come to rest after this time.
const REST: Duration = Duration::from_secs(5);

/// Most memory of launcher and service host together, in KiB.
const RSS_KIB_MAX: f64 = 14.0 * 1024.0;

/// Most of a processor that both take together, in percent: what is shown as 0.0.
const CPU_PERCENT_MAX: f64 = 0.05;

/// How long after a crash the host may know of it, in milliseconds.
const SEEN_MAX: f64 = 5.0;

/// How much longer than `exec` of the process the start of a node may take, in milliseconds.
const START_MAX: f64 = 30.0;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Measures everything, and fails when a bar is missed.
pub(crate) fn idle(as_json: bool) -> Result<()> {
    need(&[C_COMPILER])?;
    let launcher = static_launcher()?;
    let programs = build_release()?;
    let directory = fresh(target().join("bench-idle"))?;
    let program = sleeper::build(&directory)?;
    let mut peers = Vec::new();
    for kind in peers::KINDS {
        match Peer::start(kind, &directory, &program) {
            Ok(peer) => peers.push(peer),
            Err(missing) => eprintln!("{} is not measured: {missing:#}", kind.name()),
        }
    }
    let mut node = Node::start(&directory, &programs, launcher, &program)?;
    let resting = rest(&node, &peers);

    let mut measured = Measured::default();
    measured.peer_restarts.resize(peers.len(), Vec::new());
    for _ in 0..ROUNDS {
        measured.exec.push(node::exec(&directory, &program)?);
        measured.starts.push(node.start_again()?);
        let crash = node.crash()?;
        measured.seen.push(crash.seen);
        measured.restarts.push(crash.restarted);
        for (peer, restarts) in peers.iter().zip(&mut measured.peer_restarts) {
            restarts.push(peer.crash()?);
        }
    }
    node.stop()?;
    let names: Vec<&str> = peers.iter().map(|peer| peer.kind.name()).collect();
    drop(peers);
    report(&resting, &measured, &names, as_json)
}

/// What a side takes while nothing happens.
#[derive(Debug, Clone, Copy)]
struct Resting {
    rss_kib: f64,
    cpu_percent: f64,
}

/// Lets all sides rest at the same time; ours is the first.
fn rest(node: &Node, peers: &[Peer]) -> Vec<Resting> {
    std::thread::sleep(REST);
    let sides: Vec<Vec<u32>> = std::iter::once(node.processes())
        .chain(peers.iter().map(Peer::processes))
        .collect();
    let before: Vec<f64> = sides.iter().map(|side| seconds_of(side)).collect();
    let begin = Instant::now();
    std::thread::sleep(IDLE);
    let time = begin.elapsed().as_secs_f64();
    let each = sides.iter().zip(before);
    each.map(|(side, before)| Resting {
        rss_kib: side
            .iter()
            .filter_map(|id| super::launcher::rss_kib(*id).ok())
            .sum(),
        cpu_percent: (seconds_of(side) - before) / time * 100.0,
    })
    .collect()
}

/// Processor time of some processes.
fn seconds_of(processes: &[u32]) -> f64 {
    let each = processes.iter();
    each.filter_map(|id| Process(*id).cpu_seconds().ok()).sum()
}

/// Milliseconds, a sample a round.
#[derive(Debug, Default)]
struct Measured {
    exec: Vec<f64>,
    starts: Vec<f64>,
    seen: Vec<f64>,
    restarts: Vec<f64>,
    peer_restarts: Vec<Vec<f64>>,
}

fn report(resting: &[Resting], measured: &Measured, peers: &[&str], as_json: bool) -> Result<()> {
    let figure = |name: &str, unit, ours: f64, bars| {
        Figure {
            name,
            unit,
            ours: Samples::new(vec![ours]),
            peer: None,
            limit: None,
            bars,
        }
        .report(as_json)
    };
    let [ours, others @ ..] = resting else {
        unreachable!("our side is always there");
    };
    let mut told = vec![
        figure(
            "nodeIdleRss",
            "KiB",
            ours.rss_kib,
            vec![Bar::Most(RSS_KIB_MAX, Of::Units)],
        ),
        figure(
            "nodeIdleCpu",
            "%",
            ours.cpu_percent,
            vec![Bar::Most(CPU_PERCENT_MAX, Of::Units)],
        ),
    ];
    for (name, side) in peers.iter().zip(others) {
        told.push(figure(
            &format!("{name}IdleRss"),
            "KiB",
            side.rss_kib,
            Vec::new(),
        ));
        told.push(figure(
            &format!("{name}IdleCpu"),
            "%",
            side.cpu_percent,
            Vec::new(),
        ));
    }
    let exec = Samples::new(measured.exec.clone());
    let start_max = START_MAX + exec.median();
    let rounds = |name: &str, ours: &[f64], limit, bars| {
        Figure {
            name,
            unit: "ms",
            ours: Samples::new(ours.to_vec()),
            peer: None,
            limit,
            bars,
        }
        .report(as_json)
    };
    told.push(rounds(
        "nodeStart",
        &measured.starts,
        Some(("exec of the process", exec)),
        vec![Bar::Most(start_max, Of::Units)],
    ));
    told.push(rounds(
        "crashSeen",
        &measured.seen,
        None,
        vec![Bar::Most(SEEN_MAX, Of::Units)],
    ));
    told.push(rounds(
        "crashRestarted",
        &measured.restarts,
        None,
        Vec::new(),
    ));
    for (name, restarts) in peers.iter().zip(&measured.peer_restarts) {
        told.push(rounds(
            &format!("{name}CrashRestarted"),
            restarts,
            None,
            Vec::new(),
        ));
    }
    told.into_iter().collect()
}

/// Returns a process and all below it, but for the sleepers.
fn tree(root: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(id) = open.pop() {
        let is_sleeper = fs::read_link(format!("/proc/{id}/exe"))
            .is_ok_and(|program| program.file_name().is_some_and(|name| name == "sleeper"));
        if !is_sleeper && !found.contains(&id) {
            found.push(id);
            open.extend(children(id));
        }
    }
    found
}

fn children(id: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{id}/task")) else {
        return Vec::new();
    };
    let lists =
        tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|id| id.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}
