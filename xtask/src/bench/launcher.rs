//! Size and memory of the launcher.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use klusterkite_tests::local::{LocalCluster, Options};

use super::figure::{Bar, Figure, Of, Samples};
use crate::dist::static_launcher;
use crate::tools::{C_COMPILER, build_programs, need, root, target};

/// Largest launcher binary: it is baked into every image.
const LAUNCHER_BYTES_MAX: f64 = (4 << 20) as f64;

/// Most memory of a launcher while a service runs.
const LAUNCHER_RSS_KIB_MAX: f64 = (6 << 10) as f64;

/// How often the memory is looked at.
const ROUNDS: usize = 7;

/// Measures size and memory of the static launcher, and fails when one is over its limit.
pub(crate) fn launcher_limits(as_json: bool) -> Result<()> {
    need(&[C_COMPILER])?;
    let launcher = static_launcher()?;
    let bytes = fs::metadata(&launcher)?.len();
    let linked = Command::new("ldd")
        .arg(&launcher)
        .output()
        .context("cannot run ldd")?;
    let linked = String::from_utf8_lossy(&linked.stdout).into_owned();
    ensure!(
        !linked.contains("libc.so"),
        "the launcher is not static:\n{linked}"
    );
    build_programs()?;
    let directory = target().join("bench-launcher");
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    let mut cluster = LocalCluster::start(Options {
        directory,
        programs: target().join("debug"),
        launcher: Some(launcher),
        repository: root(),
        sample: "hello".to_owned(),
        workers: 1,
        tls: false,
    })?;
    let mut measured = Vec::new();
    for _ in 0..ROUNDS {
        measured.push(rss_kib(cluster.launchers["worker-1"].id())?);
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    cluster.stop()?;
    Figure {
        name: "launcherSize",
        unit: "byte",
        ours: Samples::new(vec![bytes as f64]),
        peer: None,
        limit: None,
        bars: vec![Bar::Most(LAUNCHER_BYTES_MAX, Of::Units)],
    }
    .report(as_json)?;
    Figure {
        name: "launcherRss",
        unit: "KiB",
        ours: Samples::new(measured),
        peer: None,
        limit: None,
        bars: vec![Bar::Most(LAUNCHER_RSS_KIB_MAX, Of::Units)],
    }
    .report(as_json)
}

pub(super) fn rss_kib(process: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
