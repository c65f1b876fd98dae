//! The clients: `wrk` for rates, threads of our own for pushes and for a steady load.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::servers::{KEY, Server};
use crate::tools::target;

/// How long one run of `wrk` takes.
const RUN: &str = "-d1s";

/// Clients of a steady load.
const PACED_CLIENTS: usize = 8;

/// Room for an answer of a search, and for its head.
const ANSWER_BYTES: usize = 1 << 20;
const HEAD_BYTES_MAX: usize = 1 << 10;

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
    let request = ureq::http::Request::builder()
        .method(push.method)
        .uri(server.url(push.path))
        .header("X-NuGet-ApiKey", KEY)
        .header("Content-Type", push.content_type)
        .body([push.before, package, push.after].concat())?;
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

/// Asks at a steady rate, whatever the answers take; returns the 99th percentile of the time from when a
/// request was due until its answer was there, in milliseconds.
pub(super) fn paced(url: &str, queries: &[String], rate: f64, duration: Duration) -> Result<f64> {
    let total = (rate * duration.as_secs_f64()) as usize;
    let next = AtomicUsize::new(0);
    let started = Instant::now() + Duration::from_millis(20);
    let times = thread::scope(|scope| {
        let clients: Vec<_> = (0..PACED_CLIENTS)
            .map(|_| {
                scope.spawn(|| -> Result<Vec<Duration>> {
                    pin_to_client_processor()?;
                    let (mut connection, mut times) = (Connection::open(url)?, Vec::new());
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= total {
                            return Ok(times);
                        }
                        let due = started + Duration::from_secs_f64(number as f64 / rate);
                        thread::sleep(due.saturating_duration_since(Instant::now()));
                        let query = &queries[number % queries.len()];
                        connection.search(query)?;
                        times.push(due.elapsed());
                    }
                })
            })
            .collect();
        let times: Result<Vec<Vec<Duration>>> = clients
            .into_iter()
            .map(|client| client.join().expect("a client does not panic"))
            .collect();
        times
    })?;
    let mut times: Vec<Duration> = times.into_iter().flatten().collect();
    times.sort_unstable();
    let p99 = times
        .get(times.len() * 99 / 100)
        .context("nothing was asked")?;
    Ok(p99.as_secs_f64() * 1e3)
}

/// A kept connection that costs less than what is measured: only for answers of our own server.
struct Connection {
    stream: TcpStream,
    path: String,
    answer: Vec<u8>,
}

impl Connection {
    /// Opens a connection to the server of an address.
    fn open(url: &str) -> Result<Self> {
        let rest = url.strip_prefix("http://").context("no address of http")?;
        let (host, path) = rest.split_once('/').context("an address without a path")?;
        let stream = TcpStream::connect(host)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_mins(1)))?;
        Ok(Self {
            stream,
            path: format!("/{path}"),
            answer: vec![0; ANSWER_BYTES],
        })
    }

    /// Searches and reads the answer to its end.
    fn search(&mut self, query: &str) -> Result<()> {
        let request = format!(
            "GET {}?q={query} HTTP/1.1\r\nHost: bench\r\n\r\n",
            self.path
        );
        self.stream.write_all(request.as_bytes())?;
        let mut read = 0;
        let whole = loop {
            let count = self.stream.read(&mut self.answer[read..])?;
            ensure!(count > 0, "the feed closed the connection");
            read += count;
            let start = &self.answer[..read.min(HEAD_BYTES_MAX)];
            let Some(end) = start.windows(4).position(|window| window == b"\r\n\r\n") else {
                continue;
            };
            let head = std::str::from_utf8(&start[..end])?;
            ensure!(head.starts_with("HTTP/1.1 200"), "the feed answers {head}");
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.context("no content-length")?.parse()?;
            break end + 4 + length;
        };
        let rest = self
            .answer
            .get_mut(read..whole)
            .context("an answer too large")?;
        Ok(self.stream.read_exact(rest)?)
    }
}

/// Keeps the calling thread off the server's processor.
fn pin_to_client_processor() -> Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(1);
    rustix::thread::sched_setaffinity(None, &set).context("cannot choose processor 1")
}
