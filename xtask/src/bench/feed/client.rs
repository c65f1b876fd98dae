//! The clients: `wrk` for rates, threads of our own for pushes.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::servers::{KEY, Server};
use crate::tools::target;

/// How long one run of `wrk` takes.
const RUN: &str = "-d1s";

/// Largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// A run of `wrk` on processor 1.
pub(super) struct Wrk<'a> {
    url: &'a str,
    connections: usize,
    queries: &'a [String],
}

/// What a run found.
pub(super) struct Run {
    /// Requests per second.
    pub(super) rate: f64,
    /// All requests.
    pub(super) requests: f64,
}

impl<'a> Wrk<'a> {
    pub(super) fn new(url: &'a str, connections: usize) -> Self {
        Self {
            url,
            connections,
            queries: &[],
        }
    }

    /// Adds `?q=` with each of these in turn.
    pub(super) fn with_queries(self, queries: &'a [String]) -> Self {
        Self { queries, ..self }
    }

    pub(super) fn run(&self) -> Result<Run> {
        let mut command = Command::new("taskset");
        let connections = format!("-c{}", self.connections);
        command.args([
            "-c",
            "1",
            "wrk",
            "-t1",
            &connections,
            RUN,
            "--timeout",
            "20s",
        ]);
        if !self.queries.is_empty() {
            let list: Vec<String> = self
                .queries
                .iter()
                .map(|query| format!("\"{query}\""))
                .collect();
            let script = target().join("bench-feed/queries.lua");
            let text = format!(
                "local queries = {{{}}}\nlocal next = 0\nrequest = function()\n  next = next % #queries + 1\n  \
                 return wrk.format(nil, wrk.path .. \"?q=\" .. queries[next])\nend\n",
                list.join(", ")
            );
            std::fs::write(&script, text)?;
            command.arg("-s").arg(script);
        }
        let output = command.arg(self.url).output().context("cannot run wrk")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success() && !text.contains("Non-2xx") && !text.contains("Socket errors"),
            "wrk on {}: {text}{}",
            self.url,
            String::from_utf8_lossy(&output.stderr)
        );
        let number = |before: Option<&str>, after: Option<&str>| -> Option<f64> {
            let line = text.lines().find(|line| {
                before.is_none_or(|mark| line.contains(mark))
                    && after.is_none_or(|mark| line.contains(mark))
            })?;
            line.split_whitespace()
                .find_map(|word| word.parse::<f64>().ok())
        };
        Ok(Run {
            rate: number(Some("Requests/sec:"), None).context("wrk gave no rate")?,
            requests: number(None, Some("requests in")).context("wrk gave no count")?,
        })
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_mins(1)))
        .build()
        .into()
}

/// Fetches a document.
pub(super) fn get(url: &str) -> Result<Vec<u8>> {
    let mut answer = agent().get(url).call().with_context(|| url.to_owned())?;
    Ok(answer
        .body_mut()
        .with_config()
        .limit(ANSWER_BYTES_MAX)
        .read_to_vec()?)
}

/// Pushes one package.
pub(super) fn push(server: &dyn Server, package: &[u8]) -> Result<()> {
    push_with(&agent(), server, package)
}

fn push_with(agent: &ureq::Agent, server: &dyn Server, package: &[u8]) -> Result<()> {
    let push = server.push();
    let length = push.before.len() + package.len() + push.after.len();
    // A copy of the package would cost a tenth of what is measured.
    let mut body = push.before.chain(package).chain(push.after);
    let request = ureq::http::Request::builder()
        .method(push.method)
        .uri(server.url(push.path))
        .header("X-NuGet-ApiKey", KEY)
        .header("Content-Type", push.content_type)
        .header("Content-Length", length)
        .body(ureq::SendBody::from_reader(&mut body))?;
    let mut answer = agent
        .run(request)
        .with_context(|| format!("push to {}", server.name()))?;
    answer.body_mut().read_to_vec()?;
    Ok(())
}

/// Pushes the packages of several clients at the same time; returns packages per second.
pub(super) fn push_all(server: &dyn Server, packages: &[Vec<Vec<u8>>]) -> Result<f64> {
    at_once(packages, |_, own| {
        let agent = agent();
        own.iter()
            .try_for_each(|package| push_with(&agent, server, package))
    })
}

/// Writes the packages of several clients to files and syncs each; returns packages per second.
pub(super) fn write_all(directory: &Path, packages: &[Vec<Vec<u8>>]) -> Result<f64> {
    fs::create_dir_all(directory)?;
    let rate = at_once(packages, |client, own| {
        for (number, package) in own.iter().enumerate() {
            let mut file = File::create(directory.join(format!("{client}-{number}")))?;
            file.write_all(package)?;
            file.sync_data()?;
        }
        Ok(())
    });
    fs::remove_dir_all(directory)?;
    rate
}

/// Lets every client do its work at the same time; returns packages per second.
fn at_once(
    packages: &[Vec<Vec<u8>>],
    work: impl Fn(usize, &[Vec<u8>]) -> Result<()> + Sync,
) -> Result<f64> {
    let started = Instant::now();
    thread::scope(|scope| {
        let work = &work;
        let clients: Vec<_> = packages
            .iter()
            .enumerate()
            .map(|(client, own)| scope.spawn(move || work(client, own)))
            .collect();
        clients
            .into_iter()
            .try_for_each(|client| client.join().expect("a client does not panic"))
    })?;
    let count: usize = packages.iter().map(Vec::len).sum();
    Ok(count as f64 / started.elapsed().as_secs_f64())
}
