//! A whole cluster on this machine.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use klusterkite_tests::local::{LocalCluster, Options};
use lexopt::Arg;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::tools::{C_COMPILER, PYTHON, build_programs, need, root, target};

/// Pause between two looks at signals and programs.
const LOOK_PAUSE: Duration = Duration::from_millis(200);

/// Pause between two looks at the command of `--run`, whose end somebody waits for.
const RUN_LOOK_PAUSE: Duration = Duration::from_millis(20);

/// Exit code after Ctrl-C, as a shell has it.
const INTERRUPTED: u8 = 130;

/// Most worker containers: one machine carries no more.
const NODES_MAX: usize = 100;

/// Names a directory that was made here, and may be emptied here.
const MARKER: &str = ".klusterkite-dev";

/// Builds everything, runs a cluster, and stops it at the end of `--run`, or at Ctrl-C.
pub(crate) fn dev(arguments: &mut lexopt::Parser) -> Result<ExitCode> {
    let asked = Asked::parse(arguments)?;
    need(&[C_COMPILER])?;
    if asked.sample == "clock-py" {
        need(&[PYTHON])?;
    }
    make_directory(&asked)?;
    println!("building …");
    build_programs()?;
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, interrupted.clone())?;
    }
    let is_interrupted = || interrupted.load(Ordering::Relaxed);
    println!("starting a cluster in {} …", asked.directory.display());
    let Some(mut cluster) = start(&asked, &is_interrupted)? else {
        println!("stopped before the cluster was ready");
        return Ok(ExitCode::from(INTERRUPTED));
    };
    let code = if let Some(command) = &asked.run {
        run_in(&cluster, command, &is_interrupted)?
    } else {
        println!("{}", explained(&cluster, &asked.directory));
        wait(&mut cluster, &is_interrupted)?;
        0
    };
    // The result of `--run` stays what stdout ends with.
    eprintln!("stopping …");
    cluster.stop()?;
    Ok(ExitCode::from(code))
}

/// Starts a cluster and waits until it is ready; `None` when it was interrupted, then nothing runs.
fn start(asked: &Asked, is_interrupted: &dyn Fn() -> bool) -> Result<Option<LocalCluster>> {
    let cluster = LocalCluster::launch(Options {
        directory: asked.directory.clone(),
        programs: target().join("debug"),
        launcher: None,
        repository: root(),
        sample: asked.sample.clone(),
        workers: asked.nodes,
        tls: asked.tls,
    });
    // Ctrl-C ends what the start was running as well; that is no error of its own.
    let mut cluster = match cluster {
        Err(_) if is_interrupted() => return Ok(None),
        cluster => cluster?,
    };
    if cluster.wait_until_ready_unless(is_interrupted)? {
        return Ok(Some(cluster));
    }
    cluster.stop()?;
    Ok(None)
}

struct Asked {
    nodes: usize,
    directory: PathBuf,
    keep: bool,
    run: Option<String>,
    sample: String,
    tls: bool,
}

impl Asked {
    fn parse(arguments: &mut lexopt::Parser) -> Result<Self> {
        let mut asked = Self {
            nodes: 3,
            directory: target().join("dev"),
            keep: false,
            run: None,
            sample: "hello".to_owned(),
            tls: false,
        };
        while let Some(argument) = arguments.next()? {
            match argument {
                Arg::Long("nodes") => {
                    let value = arguments.value()?.to_string_lossy().into_owned();
                    asked.nodes = value
                        .parse()
                        .with_context(|| format!("--nodes {value} is not a number"))?;
                }
                Arg::Long("dir") => asked.directory = std::path::absolute(arguments.value()?)?,
                Arg::Long("keep") => asked.keep = true,
                Arg::Long("tls") => asked.tls = true,
                Arg::Long("run") => {
                    asked.run = Some(arguments.value()?.to_string_lossy().into_owned());
                }
                Arg::Long("sample") => {
                    asked.sample = arguments.value()?.to_string_lossy().into_owned();
                }
                other => bail!("{}; see `cargo xtask help`", other.unexpected()),
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
            "there is no sample `{}`; there are `hello` and `clock-py`",
            asked.sample
        );
        Ok(asked)
    }
}

/// Empties the directory, unless it is to be kept; deletes nothing that was not made here.
fn make_directory(asked: &Asked) -> Result<()> {
    let directory = &asked.directory;
    let shown = directory.display();
    let unreadable = || format!("cannot use {shown} as --dir");
    if directory.exists() {
        let is_empty = directory
            .read_dir()
            .with_context(unreadable)?
            .next()
            .is_none();
        ensure!(
            is_empty || directory.join(MARKER).exists(),
            "{shown} is not empty and was not made by `cargo xtask dev`: delete it yourself, or give another --dir"
        );
        let running = LocalCluster::processes_in(directory);
        ensure!(
            running.is_empty(),
            "a cluster runs in {shown}: stop it, or give another --dir (processes {running:?})"
        );
        if asked.keep {
            LocalCluster::ports_are_free(directory)?;
        } else {
            std::fs::remove_dir_all(directory).with_context(|| format!("cannot empty {shown}"))?;
        }
    }
    std::fs::create_dir_all(directory).with_context(unreadable)?;
    std::fs::write(directory.join(MARKER), "").with_context(unreadable)
}

/// Runs a command of the shell in the cluster's environment and returns its exit code.
fn run_in(cluster: &LocalCluster, command: &str, is_interrupted: &dyn Fn() -> bool) -> Result<u8> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .envs(cluster.environment())
        .spawn()
        .with_context(|| format!("cannot run `{command}`"))?;
    let mut is_told = false;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if is_interrupted() && !is_told {
            klusterkite_tests::process::terminate(child.id());
            is_told = true;
        }
        std::thread::sleep(RUN_LOOK_PAUSE);
    };
    // As a shell says it: 128 and the number of the signal.
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// Waits for Ctrl-C, and notices when a program ends by itself.
fn wait(cluster: &mut LocalCluster, is_interrupted: &dyn Fn() -> bool) -> Result<()> {
    loop {
        std::thread::sleep(LOOK_PAUSE);
        // Ctrl-C reaches the programs too: whoever has ended by then is no failure.
        if is_interrupted() {
            return Ok(());
        }
        if let Err(ended) = cluster.still_runs() {
            std::thread::sleep(LOOK_PAUSE);
            return if is_interrupted() { Ok(()) } else { Err(ended) };
        }
    }
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
