//! What a launcher does before it starts something: fetch, verify, unpack; and the start when everything is there.

mod manager;
mod sides;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use self::manager::Manager;
use self::sides::{Place, Side};
use super::figure::{Bar, Figure, Of, Samples};
use crate::dist::static_launcher;
use crate::nuget_exe;
use crate::tools::{BSDTAR, C_COMPILER, MONO, NPM, UNZIP, cargo, fresh, need, run, target};

/// How often each side is measured.
const ROUNDS: usize = 7;

/// How much longer than `unzip` and one sync the whole may take.
const UNZIP_FACTOR_MAX: f64 = 1.5;

/// What part of the time of nuget.exe the whole may take.
const NUGET_EXE_FACTOR_MAX: f64 = 0.2;

/// How long a start with everything there may take until the node's program runs, in milliseconds.
const WARM_START_MAX: f64 = 20.0;

/// Most memory of a launcher after it has fetched and unpacked everything, in KiB.
const RSS_KIB_MAX: f64 = 6.0 * 1024.0;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(1);

const KEY: &str = "bench-key-0123456789";

/// Measures fetching and starting, and fails when a bar is missed.
pub(crate) fn fetch(as_json: bool) -> Result<()> {
    need(&[C_COMPILER, MONO, NPM, UNZIP, BSDTAR])?;
    let nuget_exe = nuget_exe::install()?;
    let programs = Programs::build()?;
    let directory = fresh(target().join("bench-fetch"))?;
    let packages = directory.join("packages");
    let with_host = directory.join("with-host");
    fs::create_dir_all(&packages)?;
    fs::create_dir_all(&with_host)?;
    run(programs.fetch().arg("make").arg(&packages))?;
    run(programs
        .fetch()
        .arg("make")
        .arg(&with_host)
        .arg(&programs.fetch))?;
    let feed = Feed::start(&programs.feed, &directory)?;
    run(programs
        .fetch()
        .arg("push")
        .arg(&with_host)
        .args([&feed.url, KEY]))?;
    let start = start_configuration(&packages, &feed.url)?;
    fs::write(packages.join("start.json"), start.to_string())?;

    for (name, place) in [
        ("Ext4", Place::new(directory.join("place"))?),
        ("Tmpfs", Place::in_memory()?),
    ] {
        let side = |kind| Side::new(kind, &packages, &programs.fetch, &nuget_exe, &feed.url);
        measure(name, &place, side, as_json)?;
    }
    starts(
        &programs.launcher,
        &directory.join("container"),
        &start_configuration(&with_host, &feed.url)?,
        as_json,
    )
}

/// Measures all sides at one place, in turn, so that a disturbance of the machine meets all of them.
fn measure(
    name: &str,
    place: &Place,
    side: impl Fn(sides::Kind) -> Side,
    as_json: bool,
) -> Result<()> {
    let sides: Vec<Side> = sides::KINDS
        .into_iter()
        .map(side)
        .filter(Side::is_there)
        .collect();
    let mut samples = vec![Vec::new(); sides.len()];
    for _ in 0..ROUNDS {
        for (side, samples) in sides.iter().zip(&mut samples) {
            samples.push(side.measure(place)?);
        }
    }
    let of = |kind: sides::Kind| {
        let found = sides
            .iter()
            .zip(&samples)
            .find(|(side, _)| side.kind == kind);
        found.map(|(side, samples)| (side.name(), Samples::new(samples.clone())))
    };
    let (_, ours) = of(sides::Kind::Ours).context("ours was not measured")?;
    Figure {
        name: &format!("fetch{name}"),
        unit: "ms",
        ours: ours.clone(),
        peer: of(sides::Kind::NugetExe),
        limit: of(sides::Kind::Unzip),
        bars: vec![
            Bar::Most(UNZIP_FACTOR_MAX, Of::Limit),
            Bar::Most(NUGET_EXE_FACTOR_MAX, Of::Peer),
        ],
    }
    .report(as_json)?;
    for (suffix, kind) in [
        ("Bsdtar", sides::Kind::Bsdtar),
        ("Ripunzip", sides::Kind::Ripunzip),
        ("Copy", sides::Kind::Copy),
    ] {
        if let Some(limit) = of(kind) {
            Figure {
                name: &format!("fetch{name}Beside{suffix}"),
                unit: "ms",
                ours: ours.clone(),
                peer: None,
                limit: Some(limit),
                bars: Vec::new(),
            }
            .report(as_json)?;
        }
    }
    Ok(())
}

/// Measures the launcher itself, from its start to that of the node's program: with nothing there, and with
/// everything.
fn starts(launcher: &Path, container: &Path, start: &Value, as_json: bool) -> Result<()> {
    let manager = Manager::start(start)?;
    let (mut cold, mut warm, mut direct, mut rss) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        if container.exists() {
            fs::remove_dir_all(container)?;
        }
        fs::create_dir_all(container)?;
        let config = container.join("config.hocon");
        let text = format!(
            "nodeManagerUrl = \"{}\", apiClientId = bench, apiClientSecret = bench, log = warn\n\
             workingDirectory = \"{}\"\n",
            manager.url,
            container.display()
        );
        fs::write(&config, text)?;
        let data = container.join("data");
        for samples in [&mut cold, &mut warm] {
            let begin = SystemTime::now();
            let mut running = Running(Command::new(launcher).arg(&config).spawn()?);
            samples.push(started(&data, begin)?);
            rss.push(memory_kib(running.0.id())?);
            running.stop()?;
        }
        let host = container.join("current/bench-host");
        let begin = SystemTime::now();
        let running = Command::new(host).env("KLUSTERKITE_DATA", &data).spawn()?;
        let _running = Running(running);
        direct.push(started(&data, begin)?);
    }
    Figure {
        name: "launcherColdStart",
        unit: "ms",
        ours: Samples::new(cold),
        peer: None,
        limit: None,
        bars: Vec::new(),
    }
    .report(as_json)?;
    Figure {
        name: "launcherWarmStart",
        unit: "ms",
        ours: Samples::new(warm),
        peer: None,
        limit: Some(("the program itself", Samples::new(direct))),
        bars: vec![Bar::Most(WARM_START_MAX, Of::Units)],
    }
    .report(as_json)?;
    Figure {
        name: "launcherRssAfterFetch",
        unit: "KiB",
        ours: Samples::new(rss),
        peer: None,
        limit: None,
        bars: vec![Bar::Most(RSS_KIB_MAX, Of::Units)],
    }
    .report(as_json)
}

/// Waits until the node's program says when it was started; returns the milliseconds since `begin`.
fn started(data: &Path, begin: SystemTime) -> Result<f64> {
    let path = data.join("started");
    let deadline = Instant::now() + PATIENCE;
    let text = loop {
        if let Ok(text) = fs::read_to_string(&path) {
            break text;
        }
        ensure!(Instant::now() < deadline, "the launcher starts nothing");
        std::thread::sleep(Duration::from_millis(2));
    };
    fs::remove_file(&path)?;
    let begin = begin.duration_since(SystemTime::UNIX_EPOCH)?;
    let nanoseconds = text.trim().parse::<u128>()? - begin.as_nanos();
    Ok(nanoseconds as f64 / 1e6)
}

fn memory_kib(process: u32) -> Result<f64> {
    // What the launcher does after the start of the node ends first.
    std::thread::sleep(Duration::from_millis(300));
    super::launcher::rss_kib(process)
}

/// Reads what `make` has written and names the feed in it.
fn start_configuration(packages: &Path, feed: &str) -> Result<Value> {
    let mut start: Value = serde_json::from_slice(&fs::read(packages.join("start.json"))?)?;
    start["packageSource"] = format!("{feed}/v3/index.json").into();
    Ok(start)
}

/// What is measured, as it is shipped.
struct Programs {
    fetch: PathBuf,
    feed: PathBuf,
    launcher: PathBuf,
}

impl Programs {
    fn build() -> Result<Self> {
        let launcher = static_launcher()?;
        run(&mut cargo(&[
            "build",
            "--release",
            "--locked",
            "--package=klusterkite-feed",
        ]))?;
        run(&mut cargo(&[
            "build",
            "--profile=launcher",
            "--locked",
            "--package=klusterkite-install",
            "--example=fetch",
        ]))?;
        Ok(Self {
            fetch: target().join("launcher/examples/fetch"),
            feed: target().join("release/klusterkite-feed"),
            launcher,
        })
    }

    fn fetch(&self) -> Command {
        Command::new(&self.fetch)
    }
}

/// A process that is ended when it is dropped.
struct Running(Child);

impl Running {
    /// Asks it to stop and waits for its end.
    fn stop(&mut self) -> Result<()> {
        run(Command::new("kill").arg(self.0.id().to_string()))?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Our feed.
struct Feed {
    _process: Running,
    url: String,
}

impl Feed {
    fn start(program: &Path, directory: &Path) -> Result<Self> {
        let settings = directory.join("feed.hocon");
        let text = format!(
            "listen = \"127.0.0.1:0\", directory = feed, addressFile = address, anonymousRead = true\n\
             keys = [{{ name = bench, key = {KEY}, scopes = [read, push] }}]\n"
        );
        fs::write(&settings, text)?;
        let log = fs::File::create(directory.join("feed.log"))?;
        let process = Command::new(program)
            .arg(&settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let process = Running(process);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let address = fs::read_to_string(directory.join("address")).unwrap_or_default();
            if !address.trim().is_empty() {
                let address = address.trim();
                let url = if address.starts_with("http") {
                    address.to_owned()
                } else {
                    format!("http://{address}")
                };
                return Ok(Self {
                    _process: process,
                    url,
                });
            }
            ensure!(Instant::now() < deadline, "the feed does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
