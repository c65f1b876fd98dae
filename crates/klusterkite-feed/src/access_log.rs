//! Where the lines of requests go: standard output, standard error or a file.
//!
//! A thread of its own writes them, so that no request waits for a slow disk or a full pipe; lines
//! that it cannot take in time are lost, and counted.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use crate::Error;

/// Lines that wait to be written: a tenth of a second of the most requests that one core answers.
const WAITING_MAX: usize = 8192;

/// Where an access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLogTarget {
    /// Nowhere.
    None,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The end of a file. It may be copied and truncated while the feed runs.
    File(PathBuf),
}

/// An access log that is open.
#[derive(Debug)]
pub(crate) struct AccessLog {
    /// Always there until it is dropped.
    lines: Option<SyncSender<Vec<u8>>>,
    lost: Arc<AtomicU64>,
    writer: Option<JoinHandle<()>>,
}

impl AccessLog {
    /// Opens the log; `None` if there is to be none.
    pub(crate) fn open(target: &AccessLogTarget) -> Result<Option<Self>, Error> {
        let out: Box<dyn Write + Send> = match target {
            AccessLogTarget::None => return Ok(None),
            AccessLogTarget::Stdout => Box::new(io::stdout()),
            AccessLogTarget::Stderr => Box::new(io::stderr()),
            AccessLogTarget::File(path) => {
                let file = File::options().create(true).append(true).open(path);
                Box::new(file.map_err(Error::file("open the access log", path))?)
            }
        };
        let (lines, waiting) = sync_channel(WAITING_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&lost);
        let writer = thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_all(out, &waiting, &counter))
            .map_err(|source| Error::File {
                operation: "start a thread of",
                path: "the access log".into(),
                source,
            })?;
        Ok(Some(Self {
            lines: Some(lines),
            lost,
            writer: Some(writer),
        }))
    }

    /// Takes a line, if there is room.
    pub(crate) fn write(&self, line: Vec<u8>) {
        let sent = self.lines.as_ref().map(|lines| lines.try_send(line));
        if let Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) = sent {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns how many lines could not be written.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        // Without a sender the thread writes what waits and ends.
        self.lines = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn write_all(mut out: Box<dyn Write + Send>, waiting: &Receiver<Vec<u8>>, lost: &AtomicU64) {
    let mut batch = Vec::new();
    let mut was_failing = false;
    while let Ok(line) = waiting.recv() {
        batch.clear();
        batch.extend_from_slice(&line);
        let mut count = 1;
        for line in waiting.try_iter().take(WAITING_MAX) {
            batch.extend_from_slice(&line);
            count += 1;
        }
        let written = out.write_all(&batch).and_then(|()| out.flush());
        if let Err(error) = &written {
            lost.fetch_add(count, Ordering::Relaxed);
            if !was_failing {
                tracing::error!(%error, "the access log cannot be written; lines are lost");
            }
        }
        was_failing = written.is_err();
    }
}
