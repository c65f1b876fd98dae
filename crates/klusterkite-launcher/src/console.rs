//! The launcher's own log and the output of the host, on stdout and stderr.
//!
//! One thread writes. Whoever has a line waits a moment for a sink that is slow; one that is stuck
//! must not stop the node, so lines are dropped, and counted, until it takes something again.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::cycle::Level;
use klusterkite_wire::time::rfc3339;

/// Lines that may wait to be written: a burst at a crash; at the longest line this is 1 MiB.
const LINES_MAX: usize = 128;

/// How often, a millisecond apart, a line is offered to a sink before that counts as stuck.
const OFFERS_MAX: u32 = 250;

/// Longest wait for a stuck sink at the end.
const FLUSH_MAX: Duration = Duration::from_secs(1);

const USAGE: &str = "Usage: klusterkite-launcher [CONFIG]

Asks the manager what to be, fetches the packages, starts the service host,
and starts over when it has ended.

  CONFIG         configuration file, HOCON (default: ./config.hocon)
  -h, --help     print this
  -V, --version  print the version
";

static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);
static DROPPED: AtomicU64 = AtomicU64::new(0);
static STUCK: AtomicBool = AtomicBool::new(false);
static SENDER: OnceLock<SyncSender<Job>> = OnceLock::new();

/// Where a line goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}

enum Job {
    Line(Stream, Vec<u8>),
    Flush(SyncSender<()>),
}

/// Starts the writing thread; until then lines are written by whoever says them.
pub(crate) fn start(level: Level) -> io::Result<()> {
    LEVEL.store(level as u8, Ordering::Relaxed);
    let (sender, receiver) = sync_channel(LINES_MAX);
    thread::Builder::new()
        .name("console".to_owned())
        .spawn(move || write_all(&receiver))?;
    let _ = SENDER.set(sender);
    Ok(())
}

pub(crate) fn say(level: Level, text: &impl Display) {
    if level as u8 > LEVEL.load(Ordering::Relaxed) {
        return;
    }
    let name = match level {
        Level::Error => "ERROR",
        Level::Warn => "WARN",
        Level::Info => "INFO",
        Level::Debug => "DEBUG",
    };
    let line = format!("{} {name} launcher: {text}\n", timestamp(SystemTime::now()));
    forward(Stream::Err, line.into_bytes());
}

pub(crate) fn error(text: impl Display) {
    say(Level::Error, &text);
}

pub(crate) fn warn(text: impl Display) {
    say(Level::Warn, &text);
}

pub(crate) fn info(text: impl Display) {
    say(Level::Info, &text);
}

/// Hands on a line, with its newline.
pub(crate) fn forward(stream: Stream, line: Vec<u8>) {
    let Some(sender) = SENDER.get() else {
        return write(stream, &line);
    };
    let mut job = Job::Line(stream, line);
    for _ in 0..OFFERS_MAX {
        job = match sender.try_send(job) {
            Err(TrySendError::Full(job)) if !STUCK.load(Ordering::Relaxed) => job,
            Ok(()) => return,
            Err(_) => break,
        };
        thread::sleep(Duration::from_millis(1));
    }
    STUCK.store(true, Ordering::Relaxed);
    DROPPED.fetch_add(1, Ordering::Relaxed);
}

/// Waits until everything said so far is written, but not for ever.
pub(crate) fn flush() {
    let (sender, written) = sync_channel(1);
    if let Some(console) = SENDER.get()
        && console.try_send(Job::Flush(sender)).is_ok()
    {
        let _ = written.recv_timeout(FLUSH_MAX);
    }
}

pub(crate) fn usage() -> ExitCode {
    write(Stream::Out, USAGE.as_bytes());
    ExitCode::SUCCESS
}

pub(crate) fn version() -> ExitCode {
    write(
        Stream::Out,
        concat!("klusterkite-launcher ", env!("CARGO_PKG_VERSION"), "\n").as_bytes(),
    );
    ExitCode::SUCCESS
}

pub(crate) fn usage_error(option: &str) -> ExitCode {
    write(
        Stream::Err,
        format!("unknown option `{option}`\n\n{USAGE}").as_bytes(),
    );
    ExitCode::from(2)
}

fn write_all(receiver: &Receiver<Job>) {
    for job in receiver {
        match job {
            Job::Line(stream, line) => write(stream, &line),
            Job::Flush(done) => {
                let _ = done.send(());
            }
        }
        STUCK.store(false, Ordering::Relaxed);
        let dropped = DROPPED.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let text =
                format!("{dropped} lines were dropped: nobody reads the output fast enough\n");
            write(Stream::Err, text.as_bytes());
        }
    }
}

fn write(stream: Stream, line: &[u8]) {
    // There is nowhere to report that the log cannot be written.
    let _ = match stream {
        Stream::Out => {
            let mut out = io::stdout().lock();
            out.write_all(line).and_then(|()| out.flush())
        }
        Stream::Err => io::stderr().lock().write_all(line),
    };
}

/// Writes a time as RFC 3339 in UTC, with milliseconds.
fn timestamp(time: SystemTime) -> String {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    rfc3339(since.as_millis() as u64)
}
