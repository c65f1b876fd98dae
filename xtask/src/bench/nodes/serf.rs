//! serf: a membership by gossip, with an agent on every machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use klusterkite_tests::process::{Program, wait_until};
use serde_json::Value;

use crate::bench::free_port;
use crate::bench::process::Process;
use crate::tools::{self, fresh, is_there, target};

/// Agents on this machine.
const AGENTS: usize = 20;

/// Agents that are killed, one after another.
const KILLED: usize = 3;

/// How long idle agents are watched.
const IDLE: Duration = Duration::from_secs(15);

/// How long a change may take to be known.
const KNOWN_MAX: Duration = Duration::from_mins(1);

/// What serf does.
pub(super) struct Serf {
    /// From the death of an agent until another one calls it failed.
    pub(super) loss_seconds: f64,
    /// What an idle agent takes of a core.
    pub(super) agent_percent: f64,
    pub(super) agent_mib: f64,
}

impl Serf {
    /// Measures agents with the settings for a local network; nothing when serf is not installed, and says so.
    pub(super) fn measure() -> Result<Option<Self>> {
        if !is_there(&tools::SERF) {
            return Ok(None);
        }
        let directory = fresh(target().join("bench-nodes-serf"))?;
        let first = Agent::start(&directory, 0, None)?;
        let mut agents = Vec::new();
        for number in 1..AGENTS {
            agents.push(Agent::start(&directory, number, Some(&first))?);
        }
        let mut alive = AGENTS;
        ensure!(
            wait_until(KNOWN_MAX, || first.counts_alive() == Some(alive)),
            "{AGENTS} agents of serf have not found each other"
        );
        sleep(Duration::from_secs(3));
        let used = || -> Result<f64> {
            let each = agents.iter().map(|agent| agent.process().cpu_seconds());
            each.sum()
        };
        let (before, started) = (used()?, Instant::now());
        sleep(IDLE);
        let cpu = (used()? - before) / started.elapsed().as_secs_f64();
        let agent_percent = cpu * 100.0 / agents.len() as f64;
        let agent_mib = first.process().resident_mib()?;
        let mut losses = Vec::new();
        for _ in 0..KILLED {
            let mut killed = agents.pop().context("no agent is left")?;
            killed.program.kill()?;
            let died = Instant::now();
            alive -= 1;
            ensure!(
                wait_until(KNOWN_MAX, || first.counts_alive() == Some(alive)),
                "serf does not notice a killed agent"
            );
            losses.push(died.elapsed().as_secs_f64());
        }
        losses.sort_by(f64::total_cmp);
        Ok(Some(Self {
            loss_seconds: losses[KILLED / 2],
            agent_percent,
            agent_mib,
        }))
    }
}

struct Agent {
    program: Program,
    bind: String,
    rpc: String,
}

impl Agent {
    fn start(directory: &Path, number: usize, first: Option<&Self>) -> Result<Self> {
        let address = || Ok::<_, anyhow::Error>(format!("127.0.0.1:{}", free_port()?));
        let (bind, rpc) = (address()?, address()?);
        let mut command = Command::new("serf");
        command
            .args(["agent", "-log-level=warn"])
            .arg(format!("-node=agent-{number}"))
            .arg(format!("-bind={bind}"))
            .arg(format!("-rpc-addr={rpc}"));
        if let Some(first) = first {
            command.arg(format!("-retry-join={}", first.bind));
        }
        let directory = PathBuf::from(directory);
        let program = Program::start(&format!("serf-{number}"), &directory, &mut command)?;
        Ok(Self { program, bind, rpc })
    }

    fn process(&self) -> Process {
        Process(self.program.id())
    }

    /// Counts the agents that this one believes to be alive.
    fn counts_alive(&self) -> Option<usize> {
        let output = Command::new("serf")
            .args(["members", "-format=json", "-status=alive"])
            .arg(format!("-rpc-addr={}", self.rpc))
            .stderr(Stdio::null())
            .output()
            .ok()?;
        let members: Value = serde_json::from_slice(&output.stdout).ok()?;
        Some(members["members"].as_array()?.len())
    }
}
