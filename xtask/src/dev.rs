//! A whole cluster on this machine.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use klusterkite_tests::local::{LocalCluster, Options};
use lexopt::Arg;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::tools::{cargo, root, run, target};

/// Pause between two looks at signals and programs.
const LOOK_PAUSE: Duration = Duration::from_millis(200);

/// Most worker containers: one machine carries no more.
const NODES_MAX: usize = 100;

/// Builds everything, runs a cluster, and stops it at the end of `--run`, or at Ctrl-C.
pub(crate) fn dev(arguments: &mut lexopt::Parser) -> Result<ExitCode> {
    let asked = Asked::parse(arguments)?;
    println!("building …");
    run(&mut cargo(&["build", "--workspace", "--bins", "--locked"]))?;
    make_directory(&asked)?;
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, interrupted.clone())?;
    }
    println!("starting a cluster in {} …", asked.directory.display());
    let mut cluster = LocalCluster::start(Options {
        directory: asked.directory.clone(),
        programs: target().join("debug"),
        launcher: None,
        repository: root(),
        sample: asked.sample.clone(),
        workers: asked.nodes,
    })?;
    let code = if let Some(command) = &asked.run {
        run_in(&cluster, command)?
    } else {
        println!("{}", explained(&cluster, &asked.directory));
        wait(&mut cluster, &interrupted)?;
        0
    };
    println!("stopping …");
    cluster.stop()?;
    Ok(ExitCode::from(code))
}

struct Asked {
    nodes: usize,
    directory: PathBuf,
    keep: bool,
    run: Option<String>,
    sample: String,
}

impl Asked {
    fn parse(arguments: &mut lexopt::Parser) -> Result<Self> {
        let mut asked = Self {
            nodes: 3,
            directory: target().join("dev"),
            keep: false,
            run: None,
            sample: "hello".to_owned(),
        };
        while let Some(argument) = arguments.next()? {
            match argument {
                Arg::Long("nodes") => asked.nodes = arguments.value()?.to_string_lossy().parse()?,
                Arg::Long("dir") => asked.directory = std::path::absolute(arguments.value()?)?,
                Arg::Long("keep") => asked.keep = true,
                Arg::Long("run") => {
                    asked.run = Some(arguments.value()?.to_string_lossy().into_owned());
                }
                Arg::Long("sample") => {
                    asked.sample = arguments.value()?.to_string_lossy().into_owned();
                }
                other => bail!("dev does not know {other:?}; see `cargo xtask help`"),
            }
        }
        ensure!(
            (1..=NODES_MAX).contains(&asked.nodes),
            "--nodes is 1 to {NODES_MAX}"
        );
        let sample = root()
            .join("samples")
            .join(&asked.sample)
            .join("cluster.json");
        ensure!(
            sample.exists(),
            "there is no sample `{}`: {} is missing",
            asked.sample,
            sample.display()
        );
        Ok(asked)
    }
}

/// Empties the directory, unless it is to be kept; deletes nothing that is not a cluster's.
fn make_directory(asked: &Asked) -> Result<()> {
    let directory = &asked.directory;
    let is_cluster = directory.join("ports.json").exists();
    let is_empty = !directory.exists() || directory.read_dir()?.next().is_none();
    ensure!(
        is_cluster || is_empty,
        "{} is not empty and not the directory of a cluster; give another --dir",
        directory.display()
    );
    if is_cluster && !asked.keep {
        std::fs::remove_dir_all(directory)
            .with_context(|| format!("cannot empty {}", directory.display()))?;
    }
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot create {}", directory.display()))
}

/// Runs a command of the shell in the cluster's environment and returns its exit code.
fn run_in(cluster: &LocalCluster, command: &str) -> Result<u8> {
    let status = Command::new("sh")
        .args(["-c", command])
        .envs(cluster.environment())
        .status()
        .with_context(|| format!("cannot run `{command}`"))?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1))
}

/// Waits for Ctrl-C, and notices when a program ends by itself.
fn wait(cluster: &mut LocalCluster, interrupted: &AtomicBool) -> Result<()> {
    while !interrupted.load(Ordering::Relaxed) {
        std::thread::sleep(LOOK_PAUSE);
        cluster.feed.still_runs()?;
        for launcher in cluster.launchers.values_mut() {
            launcher.still_runs()?;
        }
    }
    Ok(())
}

fn explained(cluster: &LocalCluster, directory: &Path) -> String {
    let ports: Vec<String> = cluster
        .ports
        .iter()
        .map(|port| format!("http://127.0.0.1:{port}/"))
        .collect();
    format!(
        "
the cluster runs
  manager       {url}
  feed          {feed}
  services      {ports}
  credentials   {seed}/credentials.json
  logs          {logs}

in another shell:
  . {directory}/environment
  klusterkite status
  klusterkite node list

to move it to version 2 and back: docs/how-to/story.md
Ctrl-C stops everything",
        url = cluster.manager_url(),
        feed = cluster.feed_url(),
        ports = ports.join(" "),
        seed = directory.join("seed").display(),
        logs = cluster.logs().display(),
        directory = directory.display(),
    )
}
