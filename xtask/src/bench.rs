//! Measures. Each figure is printed as one line of JSON with `--json`.

use std::fs;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use klusterkite_tests::local::{LocalCluster, Options};
use lexopt::Arg;
use serde_json::json;

use crate::dist::static_launcher;
use crate::tools::{C_COMPILER, cargo, need, root, run, target};

/// Largest launcher binary: it is baked into every image.
const LAUNCHER_BYTES_MAX: u64 = 4 << 20;

/// Most memory of a launcher while a service runs.
const LAUNCHER_RSS_KIB_MAX: u64 = 6 << 10;

/// How often the memory is looked at.
const ROUNDS: usize = 7;

pub(crate) fn bench(arguments: &mut lexopt::Parser) -> Result<ExitCode> {
    let (mut name, mut as_json) = (None, false);
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Value(value) if name.is_none() => {
                name = Some(value.to_string_lossy().into_owned());
            }
            Arg::Long("json") => as_json = true,
            other => bail!("{}; see `cargo xtask help`", other.unexpected()),
        }
    }
    match name.as_deref() {
        Some("launcher") => launcher_limits(as_json)?,
        Some("hocon") => hocon(as_json)?,
        _ => bail!("say what to measure: launcher, hocon"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Measures parsing and resolving; the bench is an example of the crate, so that this program stays small.
fn hocon(as_json: bool) -> Result<()> {
    let mut command = cargo(&[
        "run",
        "--quiet",
        "--locked",
        "--release",
        "--package=klusterkite-hocon",
        "--example=bench",
        "--",
    ]);
    run(command.args(as_json.then_some("--json")))
}

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
    run(&mut cargo(&["build", "--workspace", "--bins", "--locked"]))?;
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
    })?;
    let mut measured = Vec::new();
    for _ in 0..ROUNDS {
        measured.push(rss_kib(cluster.launchers["worker-1"].id())?);
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    cluster.stop()?;
    measured.sort_unstable();
    let rss = measured[ROUNDS / 2];
    print(
        "launcherSize",
        "byte",
        bytes,
        LAUNCHER_BYTES_MAX,
        1,
        as_json,
    );
    print(
        "launcherRss",
        "KiB",
        rss,
        LAUNCHER_RSS_KIB_MAX,
        ROUNDS,
        as_json,
    );
    ensure!(
        bytes <= LAUNCHER_BYTES_MAX,
        "the launcher has {bytes} bytes, {LAUNCHER_BYTES_MAX} are allowed"
    );
    ensure!(
        rss <= LAUNCHER_RSS_KIB_MAX,
        "the launcher uses {rss} KiB, {LAUNCHER_RSS_KIB_MAX} are allowed"
    );
    Ok(())
}

fn rss_kib(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

fn print(name: &str, unit: &str, ours: u64, limit: u64, rounds: usize, as_json: bool) {
    if as_json {
        let figure = json!({
            "name": name, "unit": unit, "ours": ours, "peer": null, "limit": limit, "rounds": rounds,
        });
        println!("{figure}");
    } else {
        println!("{name}: {ours} {unit} (limit {limit}, {rounds} rounds)");
    }
}
