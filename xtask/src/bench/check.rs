//! The check of a large configuration, and the resolution of 1,000 packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use klusterkite_tests::local::{LocalCluster, Options};
use serde_json::Value;

use super::figure::{Bar, Figure, Of, Samples};
use crate::tools::{C_COMPILER, PYTHON, build_release, cargo, fresh, need, root, run, target};

/// How often everything is measured.
const ROUNDS: usize = 9;

/// Longest check when the manager knows nothing of the packages, in milliseconds.
const COLD_MS_MAX: f64 = 1000.0;

/// Longest check when the manager knows the packages, in milliseconds.
const WARM_MS_MAX: f64 = 50.0;

/// Longest resolution of packages that are known, in milliseconds.
const INDEX_MS_MAX: f64 = 5.0;

/// Longest resolution of packages that are files, in milliseconds, the start of the process with it.
const FILES_MS_MAX: f64 = 60.0;

/// Makes wheels with the dependencies of the packages of a directory, for the peer.
const WHEELS: &str = r#"
import pathlib, re, sys, zipfile
packages, wheels = map(pathlib.Path, sys.argv[1:])
for path in packages.glob("*.nupkg"):
    with zipfile.ZipFile(path) as package:
        nuspec = package.read(next(n for n in package.namelist() if n.endswith(".nuspec"))).decode()
    name = re.search("<id>(.*?)</id>", nuspec)[1].lower().replace(".", "_")
    needs = [i.lower().replace(".", "-") for i in re.findall('<dependency id="(.*?)"', nuspec)]
    info = f"{name}-1.0.0.dist-info"
    lines = "".join(f"Requires-Dist: {need}>=1.0.0\n" for need in needs)
    files = {
        f"{name}/__init__.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0.0\n{lines}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: b\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(wheels / f"{name}-1.0.0-py3-none-any.whl", "w") as wheel:
        for file, text in files.items():
            wheel.writestr(file, text)
        wheel.writestr(f"{info}/RECORD", "".join(f"{file},,\n" for file in files) + f"{info}/RECORD,,\n")
"#;

/// Measures in release and fails when a bar is missed.
pub(super) fn check(as_json: bool) -> Result<()> {
    need(&[C_COMPILER, PYTHON])?;
    let examples = ["--example=resolve", "--example=check"];
    let built = [
        "--package=klusterkite-nuget",
        "--package=klusterkite-client",
    ];
    let release = ["build", "--release", "--locked", "--quiet"];
    run(cargo(&release).args(built).args(examples))?;
    build_release()?;
    let directory = fresh(target().join("bench-check"))?;
    let packages = directory.join("nupkg");
    fs::create_dir_all(&packages)?;
    run(resolver().arg("make").arg(&packages))?;
    // Every bar is looked at, also when another one is missed.
    let resolved = resolution(&directory, &packages, as_json);
    let checked = configuration(&directory, &packages, as_json);
    resolved.and(checked)
}

fn resolver() -> Command {
    Command::new(target().join("release/examples/resolve"))
}

/// Measures the resolver alone, and beside uv.
fn resolution(directory: &Path, packages: &Path, as_json: bool) -> Result<()> {
    let lines = resolver().arg("index").output()?;
    ensure!(lines.status.success(), "the resolver failed");
    let lines = String::from_utf8(lines.stdout)?;
    let samples: Result<Vec<f64>, _> = lines.lines().map(str::parse).collect();
    let index = Figure {
        name: "resolveFromIndex",
        unit: "ms",
        ours: Samples::new(samples?),
        peer: None,
        limit: None,
        bars: vec![Bar::Most(INDEX_MS_MAX, Of::Units)],
    };
    let indexed = index.report(as_json);

    let uv = Uv::prepare(directory, packages);
    if let Err(error) = &uv {
        eprintln!("without the peer uv: {error:#}");
    }
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    // The first round brings the files into memory and does not count.
    for round in 0..=ROUNDS {
        let mine = timed(resolver().arg("cold").arg(packages))?;
        let theirs = uv.as_ref().ok().map(|uv| timed(&mut uv.compile()));
        if round > 0 {
            ours.push(mine);
            peer.extend(theirs.transpose()?);
        }
    }
    let mut bars = vec![Bar::Most(FILES_MS_MAX, Of::Units)];
    if uv.is_ok() {
        bars.push(Bar::Most(1.0, Of::Peer));
    }
    let files = Figure {
        name: "resolveFromFiles",
        unit: "ms",
        ours: Samples::new(ours),
        peer: uv.is_ok().then(|| ("uv pip compile", Samples::new(peer))),
        limit: None,
        bars,
    };
    indexed.and(files.report(as_json))
}

/// A resolver for Python, which does the same work on wheels.
struct Uv {
    program: PathBuf,
    wheels: PathBuf,
    requirements: PathBuf,
}

impl Uv {
    /// Installs it beside the other things that benches need, and makes its wheels.
    fn prepare(directory: &Path, packages: &Path) -> Result<Self> {
        let environment = target().join("bench-uv");
        let program = environment.join("bin/uv");
        if !program.exists() {
            run(Command::new("python3")
                .args(["-m", "venv"])
                .arg(&environment))?;
            let mut install = Command::new(environment.join("bin/pip"));
            run(install.args(["install", "--quiet", "uv"]))?;
        }
        let wheels = directory.join("wheels");
        fs::create_dir_all(&wheels)?;
        run(Command::new("python3")
            .args(["-c", WHEELS])
            .arg(packages)
            .arg(&wheels))?;
        let requirements = directory.join("requirements.in");
        fs::write(&requirements, "dep-k0000\n")?;
        Ok(Self {
            program,
            wheels,
            requirements,
        })
    }

    fn compile(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args([
            "pip",
            "compile",
            "--quiet",
            "--no-cache",
            "--no-index",
            "--find-links",
        ]);
        command.arg(&self.wheels).arg(&self.requirements);
        command
    }
}

/// Times a process from its start to its end.
fn timed(command: &mut Command) -> Result<f64> {
    let start = Instant::now();
    let output = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    let time = start.elapsed().as_secs_f64() * 1000.0;
    ensure!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(time)
}

/// Measures checks by a manager of a cluster with a feed of its own.
fn configuration(directory: &Path, packages: &Path, as_json: bool) -> Result<()> {
    let mut cluster = LocalCluster::start(Options {
        directory: directory.join("cluster"),
        programs: target().join("release"),
        launcher: None,
        repository: root(),
        sample: "hello".to_owned(),
        workers: 0,
        tls: false,
    })?;
    let mut measure = Command::new(target().join("release/examples/check"));
    measure.arg(packages).arg(ROUNDS.to_string());
    let output = measure.envs(cluster.environment()).output();
    cluster.stop()?;
    let output = output?;
    ensure!(
        output.status.success(),
        "the checks failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let measured: Value = serde_json::from_slice(&output.stdout)?;
    let samples = |name: &str| -> Result<Samples> {
        let samples = measured[name].as_array().context("no samples")?;
        Ok(Samples::new(
            samples.iter().filter_map(Value::as_f64).collect(),
        ))
    };
    let cold = Figure {
        name: "checkCold",
        unit: "ms",
        ours: samples("cold")?,
        peer: None,
        limit: Some(("the feed's answers alone", samples("feed")?)),
        bars: vec![Bar::Most(COLD_MS_MAX, Of::Units)],
    };
    let warm = Figure {
        name: "checkWarm",
        unit: "ms",
        ours: samples("warm")?,
        peer: None,
        limit: None,
        bars: vec![Bar::Most(WARM_MS_MAX, Of::Units)],
    };
    let cold = cold.report(as_json);
    cold.and(warm.report(as_json))
}
