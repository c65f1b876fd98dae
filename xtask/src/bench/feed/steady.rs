//! A steady load: requests are due at fixed moments, whatever the answers take.
//!
//! The time of an answer counts from the moment at which its request was due, so nothing that had to wait is
//! hidden. One thread on processor 1 does everything; how late it is itself is a figure of its own.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long a server may take for an answer.
const ANSWER_MAX: Duration = Duration::from_mins(1);

/// Room for an answer, and for its head.
const ANSWER_BYTES: usize = 256 << 10;
const HEAD_BYTES_MAX: usize = 1 << 10;

/// A load on our own server.
pub(super) struct Steady<'a> {
    pub(super) url: &'a str,
    /// What is asked for in turn.
    pub(super) queries: &'a [String],
    /// Requests per second.
    pub(super) rate: f64,
    pub(super) connections: usize,
    pub(super) duration: Duration,
}

/// 99th percentiles, in milliseconds.
pub(super) struct Times {
    /// From when a request was due until its answer was there.
    pub(super) answer: f64,
    /// From when a request was due until it was sent, of those for which a connection was free.
    pub(super) late: f64,
}

impl Steady<'_> {
    /// Asks on a thread of its own.
    pub(super) fn run(&self) -> Result<Times> {
        thread::scope(|scope| {
            let client = scope.spawn(|| self.ask());
            client.join().expect("the client does not panic")
        })
    }

    fn ask(&self) -> Result<Times> {
        pin_to_client_processor()?;
        let total = (self.rate * self.duration.as_secs_f64()) as usize;
        let rest = self.url.strip_prefix("http://");
        let (host, path) = rest
            .and_then(|rest| rest.split_once('/'))
            .context("no address of http with a path")?;
        let streams = (0..self.connections).map(|_| connect(host));
        let streams = streams.collect::<Result<Vec<TcpStream>>>()?;
        let mut sockets: Vec<PollFd<'_>> = streams
            .iter()
            .map(|stream| PollFd::new(stream, PollFlags::IN))
            .collect();
        let mut connections: Vec<_> = streams.iter().map(Connection::new).collect();
        let mut idle: VecDeque<usize> = (0..self.connections).collect();

        let (mut answers, mut late) = (Vec::with_capacity(total), Vec::with_capacity(total));
        let started = Instant::now();
        let due = |number: usize| started + Duration::from_secs_f64(number as f64 / self.rate);
        let (mut next, mut is_held) = (0, false);
        while answers.len() < total {
            while next < total && due(next) <= Instant::now() {
                let Some(free) = idle.pop_front() else {
                    is_held = true;
                    break;
                };
                let query = &self.queries[next % self.queries.len()];
                connections[free].send(path, query, due(next))?;
                if !std::mem::take(&mut is_held) {
                    late.push(due(next).elapsed());
                }
                next += 1;
            }
            let wait = if next < total && !idle.is_empty() {
                due(next).saturating_duration_since(Instant::now())
            } else {
                ANSWER_MAX
            };
            let wait = Timespec::try_from(wait).context("a wait without end")?;
            let ready = poll(&mut sockets, Some(&wait))?;
            ensure!(ready > 0 || !idle.is_empty(), "the feed does not answer");
            let ready = (0..self.connections).filter(|one| !sockets[*one].revents().is_empty());
            for one in ready {
                if let Some(due) = connections[one].receive()? {
                    answers.push(due.elapsed());
                    idle.push_back(one);
                }
            }
        }
        Ok(Times {
            answer: p99(answers)?,
            late: p99(late)?,
        })
    }
}

fn connect(host: &str) -> Result<TcpStream> {
    let stream = TcpStream::connect(host)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// A kept connection that costs less than what is measured.
struct Connection<'a> {
    stream: &'a TcpStream,
    /// When the request was due whose answer is awaited.
    due: Option<Instant>,
    answer: Vec<u8>,
    read: usize,
}

impl<'a> Connection<'a> {
    fn new(stream: &'a TcpStream) -> Self {
        Self {
            stream,
            due: None,
            answer: vec![0; ANSWER_BYTES],
            read: 0,
        }
    }

    fn send(&mut self, path: &str, query: &str, due: Instant) -> Result<()> {
        (self.due, self.read) = (Some(due), 0);
        let request = format!("GET /{path}?q={query} HTTP/1.1\r\nHost: bench\r\n\r\n");
        // Nothing else is under way, so there is room for all of it.
        Ok(self.stream.write_all(request.as_bytes())?)
    }

    /// Reads what is there; returns when the request was due once its answer is whole.
    fn receive(&mut self) -> Result<Option<Instant>> {
        let room = &mut self.answer[self.read..];
        ensure!(
            !room.is_empty(),
            "an answer of more than {ANSWER_BYTES} bytes"
        );
        match self.stream.read(room) {
            Ok(0) => bail!("the feed closed the connection"),
            Ok(count) => self.read += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let start = &self.answer[..self.read.min(HEAD_BYTES_MAX)];
        let Some(end) = start.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = std::str::from_utf8(&start[..end])?;
        ensure!(head.starts_with("HTTP/1.1 200"), "the feed answers {head}");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.context("no content-length")?.parse()?;
        if self.read < end + 4 + length {
            return Ok(None);
        }
        Ok(self.due.take())
    }
}

fn p99(mut times: Vec<Duration>) -> Result<f64> {
    times.sort_unstable();
    let p99 = times.get(times.len() * 99 / 100);
    Ok(p99.context("nothing was asked")?.as_secs_f64() * 1e3)
}

/// Keeps the calling thread off the server's processor.
fn pin_to_client_processor() -> Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(1);
    rustix::thread::sched_setaffinity(None, &set).context("cannot choose processor 1")
}
