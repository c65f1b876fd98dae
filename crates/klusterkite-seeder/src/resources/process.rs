//! One run of a seeder: a process group that is asked, answers, and is gone afterwards.

use std::io::BufReader;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use klusterkite_migrator::client::Client;
use klusterkite_wire::migrator::{
    InitializeParams, LogParams, MIGRATOR_PROTOCOL, SeedResult, SeederDescription,
};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

use super::directory::Launch;
use crate::settings::ENVIRONMENT;

/// Most lines of a seeder's log that are passed on.
const LOG_LINES_MAX: usize = 1000;

/// What a seeder did.
pub(crate) struct Seeded {
    pub(crate) seed: SeedResult,
    pub(crate) log: Vec<String>,
}

/// Starts a seeder, lets it seed, and ends it; its stderr is ours. After `limit` its process group is killed.
pub(crate) fn run(launch: &Launch, limit: Duration) -> anyhow::Result<Seeded> {
    let mut command = Command::new(&launch.program);
    for (variable, _) in ENVIRONMENT {
        // Passwords of the cluster are nothing for the program of a package.
        command.env_remove(variable);
    }
    let mut child = command
        .args(&launch.arguments)
        .envs(&launch.environment)
        .current_dir(&launch.directory)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", launch.program.display()))?;
    let group = child.id();
    let (over, is_over) = mpsc::channel::<()>();
    let guard = thread::spawn(move || {
        // The sender is dropped when the seeder has answered or ended.
        let is_late = is_over.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout);
        if is_late {
            kill(group);
        }
        is_late
    });
    let asked = ask(&mut child);
    drop(over);
    let is_late = guard.join().unwrap_or(false);
    // Whatever it has started goes with it. Its number is its own until it is waited for.
    kill(group);
    let status = child.wait();
    if is_late {
        return Err(anyhow!(
            "it took longer than {} s and was killed",
            limit.as_secs()
        ));
    }
    asked.map_err(|error| match status {
        Ok(status) if !status.success() => error.context(format!("it ended: {status}")),
        _ => error,
    })
}

fn ask(child: &mut Child) -> anyhow::Result<Seeded> {
    let stdin = child.stdin.take().context("it has no stdin")?;
    let stdout = child.stdout.take().context("it has no stdout")?;
    let mut client = Client::new(BufReader::new(stdout), stdin);
    let params = json!(InitializeParams {
        protocol: MIGRATOR_PROTOCOL
    });
    let described = client.call("initialize", params, |_| {})?;
    let described: SeederDescription =
        serde_json::from_value(described).context("`initialize` is not answered by a seeder")?;
    anyhow::ensure!(
        described.protocol == MIGRATOR_PROTOCOL,
        "it speaks protocol {}, not {MIGRATOR_PROTOCOL}",
        described.protocol
    );
    let mut log = Vec::new();
    let seed = client.call("seed", Value::Null, |message| {
        let params = message.params.clone().unwrap_or_default();
        if message.method.as_deref() == Some("log")
            && log.len() < LOG_LINES_MAX
            && let Ok(LogParams { message, .. }) = serde_json::from_value(params)
        {
            log.push(message);
        }
    })?;
    let seed = serde_json::from_value(seed).context("`seed` is not answered as it should be")?;
    // It may end by itself; it is ended in any case.
    let _ = client.call("shutdown", Value::Null, |_| {});
    Ok(Seeded { seed, log })
}

fn kill(group: u32) {
    if let Some(group) = i32::try_from(group).ok().and_then(Pid::from_raw) {
        // It fails only when everybody is gone.
        let _ = kill_process_group(group, Signal::KILL);
    }
}
