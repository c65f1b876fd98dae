//! A manager with thousands of nodes: simulated launchers speak its real protocol over TLS from a process of their
//! own. Beside it what others do for the same: serf for noticing that a node is lost, etcd for keeping leases.

pub(super) mod cluster;
pub(super) mod etcd;
mod journal;
mod rolling;
mod serf;

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use klusterkite_tests::local::LocalCluster;
use klusterkite_tests::process::wait_until;

use super::figure::{Bar, Figure, Of, Samples, all_held, missed};
use crate::tools::build_release;
use cluster::{Crowd, Limits, manager, total};
use journal::Journal;

/// Largest number of nodes.
const NODES: usize = 10_000;

/// The number that shows whether the cost of a node grows; they are updated, too.
const FEW_NODES: usize = 1_000;

/// How long the manager is watched while nothing changes.
const STEADY: Duration = Duration::from_secs(40);

/// Questions per second, for this many seconds.
const ASKS: (usize, usize) = (2_000, 3);

/// Nodes that fall silent at once.
const LOST: usize = 100;

/// How many times the least possible a rolling update may take.
const ROLLING_TIMES_MAX: f64 = 1.15;

/// How often the rolling update is measured when it is measured alone.
const ROLLING_ROUNDS: usize = 3;

/// Life of a lease at ten thousand nodes.
const LEASE: Duration = Duration::from_secs(10);

/// Measures joining, idling, asking, losing and updating nodes; fails after all figures when one missed its bar.
pub(crate) fn nodes(as_json: bool) -> Result<()> {
    build_release()?;
    let serf = serf::Serf::measure()?;
    let etcd = etcd::leases()?;
    let few = Few::measure()?;
    let many = Many::measure()?;
    let most = |bar| vec![Bar::Most(bar, Of::Units)];
    let figure = |name, unit, ours, peer, bars| Figure {
        name,
        unit,
        ours: Samples::new(vec![ours]),
        peer,
        limit: None,
        bars,
    };
    let alone = |name, unit, ours, bars| figure(name, unit, ours, None, bars);
    let of_serf = |read: fn(&serf::Serf) -> f64| {
        let sample = |serf| Samples::new(vec![read(serf)]);
        serf.as_ref().map(|serf| ("serf", sample(serf)))
    };
    let of_etcd = |read: fn(&etcd::Leases) -> f64| {
        let sample = |etcd| Samples::new(vec![read(etcd)]);
        etcd.as_ref().map(|etcd| ("etcd", sample(etcd)))
    };
    let per_thousand = |percent: f64, nodes: usize| percent * 1000.0 / nodes as f64;
    let steady = &many.steady;
    let of_few = per_thousand(few.steady.percent, FEW_NODES);
    let figures = [
        alone("nodesJoin", "s", many.join_seconds, most(10.0)),
        alone("nodesJoinAskP99", "ms", many.join_ask_p99, vec![]),
        alone("nodesAskP99", "ms", many.ask_p99, most(50.0)),
        alone("nodesIdle", "% of a core", steady.percent, most(15.0)),
        figure(
            "nodesHeartbeat",
            "µs of a core",
            steady.beat_micros,
            of_etcd(|etcd| etcd.renewal_micros),
            most(10.0),
        ),
        figure(
            "nodesMemory",
            "MiB",
            steady.memory_mib,
            of_etcd(|etcd| etcd.memory_mib),
            most(250.0),
        ),
        figure(
            "nodesLossSeen",
            "s",
            many.loss_seconds,
            of_serf(|serf| serf.loss_seconds),
            most(LEASE.as_secs_f64() + 2.0),
        ),
        figure(
            "nodesIdlePerThousand",
            "% of a core",
            per_thousand(steady.percent, NODES),
            of_serf(|serf| serf.agent_percent * 1000.0),
            most(of_few),
        ),
        alone("nodesIdlePerThousandOfFew", "% of a core", of_few, vec![]),
        figure(
            "nodesMemoryPerNode",
            "KiB",
            steady.memory_mib * 1024.0 / NODES as f64,
            of_serf(|serf| serf.agent_mib * 1024.0),
            vec![],
        ),
        alone(
            "nodesRollingUpdate",
            "times the least possible",
            few.rolling_times,
            most(ROLLING_TIMES_MAX),
        ),
    ];
    all_held(&missed(&figures, as_json))
}

/// Measures the rolling update alone, some times.
pub(crate) fn rolling(as_json: bool) -> Result<()> {
    build_release()?;
    let times: Result<Vec<f64>> = (0..ROLLING_ROUNDS).map(|_| rolling_times()).collect();
    Figure {
        name: "nodesRollingUpdate",
        unit: "times the least possible",
        ours: Samples::new(times?),
        peer: None,
        limit: None,
        bars: vec![Bar::Most(ROLLING_TIMES_MAX, Of::Units)],
    }
    .report(as_json)
}

fn rolling_times() -> Result<f64> {
    let limits = Limits::of(FEW_NODES, 0);
    let mut cluster = cluster::start("bench-rolling", limits, true)?;
    let operator = cluster.operator()?;
    let mut crowd = Crowd::start(&cluster, FEW_NODES)?;
    crowd.tell("join")?;
    let times = rolling::update(&operator, &mut crowd, FEW_NODES)?;
    Journal::check(&operator, limits)?;
    drop(crowd);
    cluster.stop()?;
    Ok(times)
}

/// What the manager costs while nothing changes.
struct Steady {
    percent: f64,
    /// Everything that the manager did in that time, by heartbeat.
    beat_micros: f64,
    memory_mib: f64,
}

impl Steady {
    fn measure(cluster: &LocalCluster, crowd: &mut Crowd) -> Result<Self> {
        let manager = manager(cluster)?;
        // What came with the join ends.
        sleep(LEASE / 2);
        let beats = crowd.number("beats", "/beats")?;
        let (before, started) = (manager.cpu_seconds()?, Instant::now());
        sleep(STEADY);
        let (cpu, passed) = (manager.cpu_seconds()? - before, started.elapsed());
        let beats = crowd.number("beats", "/beats")? - beats;
        Ok(Self {
            percent: cpu / passed.as_secs_f64() * 100.0,
            beat_micros: cpu * 1e6 / beats,
            memory_mib: manager.resident_mib()?,
        })
    }
}

/// What a thousand nodes cost.
struct Few {
    steady: Steady,
    rolling_times: f64,
}

impl Few {
    fn measure() -> Result<Self> {
        let limits = Limits::of(FEW_NODES, 0);
        let mut cluster = cluster::start("bench-nodes", limits, true)?;
        let operator = cluster.operator()?;
        let mut crowd = Crowd::start(&cluster, FEW_NODES)?;
        crowd.tell("join")?;
        let steady = Steady::measure(&cluster, &mut crowd)?;
        let rolling_times = rolling::update(&operator, &mut crowd, FEW_NODES)?;
        Journal::check(&operator, limits)?;
        drop(crowd);
        cluster.stop()?;
        Ok(Self {
            steady,
            rolling_times,
        })
    }
}

/// What ten thousand nodes cost.
struct Many {
    join_seconds: f64,
    join_ask_p99: f64,
    steady: Steady,
    ask_p99: f64,
    loss_seconds: f64,
}

impl Many {
    fn measure() -> Result<Self> {
        let limits = Limits::of(NODES, ASKS.0 * ASKS.1);
        let mut cluster = cluster::start("bench-nodes", limits, true)?;
        let operator = cluster.operator()?;
        let mut crowd = Crowd::start(&cluster, NODES)?;
        let joined = crowd.tell("join")?;
        let number = |pointer: &str| joined.pointer(pointer).and_then(serde_json::Value::as_f64);
        let (Some(join_seconds), Some(join_ask_p99)) = (number("/seconds"), number("/asked/p99"))
        else {
            bail!("the crowd told no times: {joined}");
        };
        ensure!(
            total(&operator, "/nodes?status=ready&limit=1")? > NODES as u64,
            "the manager does not count all nodes as ready"
        );
        let steady = Steady::measure(&cluster, &mut crowd)?;
        let ask_p99 = crowd.number(&format!("ask {} {}", ASKS.0, ASKS.1), "/times/p99")?;
        crowd.tell(&format!("freeze {LOST}"))?;
        let frozen = Instant::now();
        let mut seen = Ok(0);
        let noticed = wait_until(LEASE * 6, || {
            seen = total(&operator, "/nodes?status=unreachable&limit=1");
            !matches!(seen, Ok(count) if count < LOST as u64)
        });
        let loss_seconds = frozen.elapsed().as_secs_f64();
        ensure!(noticed, "of {LOST} lost nodes are reported: {seen:?}");
        seen?;
        let told = Journal::check(&operator, limits)?.nodes();
        ensure!(told >= NODES, "the journal tells of {told} nodes");
        drop(crowd);
        cluster.stop()?;
        Ok(Self {
            join_seconds,
            join_ask_p99,
            steady,
            ask_p99,
            loss_seconds,
        })
    }
}
