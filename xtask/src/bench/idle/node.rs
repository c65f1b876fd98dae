//! Our side: a launcher and its service host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use klusterkite_tests::local::{LocalCluster, Options};
use klusterkite_tests::process::{signal, wait_until};
use rustix::process::Signal;
use serde_json::json;

use super::{PATIENCE, tree};
use crate::bench::sleeper::{self, Stamps, milliseconds_to_last};
use crate::tools::root;

const TAG: &str = "node";

const CONTAINER: &str = "worker-1";

/// A cluster with one worker.
pub(super) struct Node {
    cluster: LocalCluster,
    stamps: Stamps,
}

/// What followed a crash, in milliseconds after it.
pub(super) struct Crash {
    /// The host had said so, and its launcher had handed that on.
    pub(super) seen: f64,
    /// The next process had written its stamp.
    pub(super) restarted: f64,
}

impl Node {
    pub(super) fn start(
        directory: &Path,
        programs: &Path,
        launcher: PathBuf,
        program: &Path,
    ) -> Result<Self> {
        let stamps = Stamps::new(directory.join("node.stamps"))?;
        let sample = directory.join("sample");
        let template = json!({
            "configuration": sleeper::settings(stamps.path(), TAG),
            "minimumRequiredInstances": 1, "maximumNeededInstances": 1,
        });
        sleeper::write_sample(&sample, program, &template)?;
        let cluster = LocalCluster::start(Options {
            directory: directory.join("cluster"),
            programs: programs.to_owned(),
            launcher: Some(launcher),
            repository: root(),
            sample: sample.display().to_string(),
            workers: 1,
            tls: false,
        })?;
        Ok(Self { cluster, stamps })
    }

    pub(super) fn processes(&self) -> Vec<u32> {
        tree(self.cluster.launchers[CONTAINER].id())
    }

    /// Stops the launcher and starts it again, with everything in its store; returns the milliseconds until the
    /// process runs.
    pub(super) fn start_again(&mut self) -> Result<f64> {
        let mut launcher = self.cluster.launchers.remove(CONTAINER);
        launcher.as_mut().context("the launcher runs")?.stop()?;
        let before = self.stamps.starts(TAG).len();
        let begin = sleeper::now()?;
        self.cluster.start_launcher(CONTAINER)?;
        let starts = self.stamps.wait_for(TAG, before + 1, PATIENCE)?;
        Ok(milliseconds_to_last(&starts, begin))
    }

    /// Kills the process; how soon that is seen is read from the log of the launcher.
    pub(super) fn crash(&self) -> Result<Crash> {
        self.wait_until_ready()?;
        let log = self.cluster.logs().join(format!("{CONTAINER}.log"));
        let before = self.stamps.starts(TAG);
        let process = before.last().context("the process runs")?.process;
        let said = fs::read(&log)?.len();
        let (begin, clock) = (sleeper::now()?, Instant::now());
        signal(process, Signal::KILL);
        let seen = loop {
            let text = fs::read(&log)?;
            let news = String::from_utf8_lossy(text.get(said..).unwrap_or_default()).into_owned();
            if news.contains("ended (signal 9)") {
                break clock.elapsed();
            }
            ensure!(
                clock.elapsed() < PATIENCE,
                "nobody says that the process ended"
            );
            // Without a pause: it would be as long as what is measured.
            std::thread::yield_now();
        };
        let starts = self.stamps.wait_for(TAG, before.len() + 1, PATIENCE)?;
        Ok(Crash {
            seen: seen.as_secs_f64() * 1e3,
            restarted: milliseconds_to_last(&starts, begin),
        })
    }

    pub(super) fn stop(&mut self) -> Result<()> {
        self.cluster.stop()
    }

    fn wait_until_ready(&self) -> Result<()> {
        let operator = self.cluster.operator()?;
        let ready = wait_until(PATIENCE, || {
            let nodes = operator.get("/nodes?template=sleeper");
            nodes.is_ok_and(|nodes| nodes["items"][0]["status"] == "ready")
        });
        ensure!(ready, "the node does not become ready");
        Ok(())
    }
}

/// Starts the process itself; returns the milliseconds until it has written its stamp.
pub(super) fn exec(directory: &Path, program: &Path) -> Result<f64> {
    let stamps = Stamps::new(directory.join("exec.stamps"))?;
    let begin = sleeper::now()?;
    let mut process = Command::new(program)
        .arg(TAG)
        .env("SLEEPER_LOG", stamps.path())
        .spawn()?;
    let starts = stamps.wait_for(TAG, 1, PATIENCE)?;
    process.kill()?;
    process.wait()?;
    Ok(milliseconds_to_last(&starts, begin))
}
