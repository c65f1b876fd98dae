//! Output of the host and its processes: one thread writes, nobody who writes to it waits.
//!
//! A launcher that does not read must stop neither the processes nor the heartbeats, so lines that find no place
//! are dropped and counted.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use klusterkite_wire::link::LOG_OF_HOST;
use klusterkite_wire::start::{CRASH_LINE_BYTES_MAX, CRASH_LINES_MAX};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use crate::journal::Journal;

/// Longest line that is forwarded in one piece, in bytes; longer ones are split.
const LINE_BYTES_MAX: usize = 8 << 10;

/// How many lines may wait: with the longest ones 4 MiB.
const QUEUE_LENGTH: usize = 512;

/// How long the last lines may take to be written.
const FINISH_TIME_MAX: Duration = Duration::from_secs(1);

/// Where a line goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

enum Message {
    Line(Stream, Vec<u8>),
    Finish(SyncSender<()>),
}

/// The way to the host's own standard output and standard error.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
    journal: Arc<OnceLock<Journal>>,
}

impl Output {
    /// Starts the thread that writes.
    pub(crate) fn start() -> Self {
        let (queue, messages) = mpsc::sync_channel(QUEUE_LENGTH);
        thread::spawn(move || write_all(&messages));
        Self::new(queue)
    }

    fn new(queue: SyncSender<Message>) -> Self {
        Self {
            queue,
            dropped: Arc::default(),
            journal: Arc::default(),
        }
    }

    /// Notes all lines from now on in a journal, too.
    pub(crate) fn note_in(&self, journal: Journal) {
        // There is one host in a program.
        let _ = self.journal.set(journal);
    }

    /// Writes a line, which ends with a line feed, as soon as possible.
    pub(crate) fn line(&self, stream: Stream, line: Vec<u8>) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let text = format!("{dropped} lines were dropped, because nobody reads the output\n");
            let message = Message::Line(Stream::Err, text.into_bytes());
            if self.queue.try_send(message).is_err() {
                self.dropped.fetch_add(dropped, Ordering::Relaxed);
            }
        }
        if self.queue.try_send(Message::Line(stream, line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until everything so far is written, but not for long.
    pub(crate) fn finish(&self) {
        if let Some(journal) = self.journal.get() {
            journal.finish();
        }
        let (done, wait) = mpsc::sync_channel(1);
        if self.queue.try_send(Message::Finish(done)).is_ok() {
            // Nobody reads: what is left is lost with the process.
            let _ = wait.recv_timeout(FINISH_TIME_MAX);
        }
    }
}

fn write_all(messages: &Receiver<Message>) {
    for message in messages {
        // An output that is closed takes nothing; the node runs on.
        match message {
            Message::Line(Stream::Out, line) => {
                let _ = io::stdout().write_all(&line);
            }
            Message::Line(Stream::Err, line) => {
                let _ = io::stderr().write_all(&line);
            }
            Message::Finish(done) => {
                let _ = done.try_send(());
            }
        }
    }
}

/// Takes log lines of the host.
impl Write for Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(journal) = self.journal.get() {
            journal.push(LOG_OF_HOST, Stream::Err, line.trim_ascii_end());
        }
        self.line(Stream::Err, line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The last lines of a process, for the report when it ends.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tail {
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl Tail {
    fn push(&self, line: &[u8]) {
        let line = &line[..line.len().min(CRASH_LINE_BYTES_MAX)];
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= CRASH_LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(String::from_utf8_lossy(line).into_owned());
    }

    /// Returns the last lines, oldest first.
    pub(crate) fn lines(&self) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().cloned().collect()
    }
}

/// Forwards what a process writes, line by line with its name, until everything that holds the pipe has closed it.
pub(crate) async fn forward(
    source: impl AsyncRead + Unpin,
    name: String,
    stream: Stream,
    output: Output,
    tail: Tail,
) {
    let mut reader = BufReader::with_capacity(4 << 10, source);
    let mut line = Vec::new();
    // A pipe that cannot be read any more has no more to say.
    while let Ok(chunk) = reader.fill_buf().await {
        if chunk.is_empty() {
            break;
        }
        let room = &chunk[..chunk.len().min(LINE_BYTES_MAX - line.len())];
        let end = room.iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(&room[..end.unwrap_or(room.len())]);
        let taken = end.map_or(room.len(), |end| end + 1);
        reader.consume(taken);
        if end.is_some() || line.len() >= LINE_BYTES_MAX {
            emit(&line, &name, stream, &output, &tail);
            line.clear();
        }
    }
    if !line.is_empty() {
        emit(&line, &name, stream, &output, &tail);
    }
}

fn emit(line: &[u8], name: &str, stream: Stream, output: &Output, tail: &Tail) {
    tail.push(line);
    if let Some(journal) = output.journal.get() {
        journal.push(name, stream, line);
    }
    let mut text = format!("[{name}] ").into_bytes();
    text.extend_from_slice(line);
    text.push(b'\n');
    output.line(stream, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines_of(text: &[u8]) -> Vec<String> {
        let (queue, messages) = mpsc::sync_channel(QUEUE_LENGTH);
        let output = Output::new(queue);
        let tail = Tail::default();
        forward(text, "a".to_owned(), Stream::Out, output, tail).await;
        messages
            .iter()
            .map(|message| match message {
                Message::Line(_, line) => String::from_utf8(line).unwrap(),
                Message::Finish(_) => panic!("nobody finishes"),
            })
            .collect()
    }

    #[tokio::test]
    async fn lines_get_the_name_of_their_process() {
        assert_eq!(lines_of(b"x\n\ny").await, ["[a] x\n", "[a] \n", "[a] y\n"]);
    }

    #[tokio::test]
    async fn a_line_without_end_is_split_and_not_kept() {
        let text = vec![b'x'; LINE_BYTES_MAX * 3 + 1];
        let lines = lines_of(&text).await;
        let lengths: Vec<usize> = lines
            .iter()
            .map(|line| line.len() - "[a] \n".len())
            .collect();
        assert_eq!(lengths, [LINE_BYTES_MAX, LINE_BYTES_MAX, LINE_BYTES_MAX, 1]);
    }

    #[test]
    fn lines_that_find_no_place_are_counted_and_said() {
        let (queue, messages) = mpsc::sync_channel(2);
        let output = Output::new(queue);
        for _ in 0..5 {
            output.line(Stream::Out, b"x\n".to_vec());
        }
        assert_eq!(output.dropped.load(Ordering::Relaxed), 3);
        assert_eq!(messages.try_iter().count(), 2);
        output.line(Stream::Out, b"y\n".to_vec());
        let Message::Line(stream, text) = messages.try_recv().unwrap() else {
            panic!("a line comes first");
        };
        assert_eq!(stream, Stream::Err);
        assert!(text.starts_with(b"3 lines were dropped"));
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let tail = Tail::default();
        for number in 0..1000 {
            tail.push(number.to_string().as_bytes());
        }
        let lines = tail.lines();
        assert_eq!(lines.len(), CRASH_LINES_MAX);
        assert_eq!(lines.last().map(String::as_str), Some("999"));
    }
}
