//! What the processes wrote lately: in files that are rotated by size, and the newest lines in memory.
//!
//! One thread writes; nobody who has a line waits for the disk. The files outlive the node, so that the lines of one that
//! crashed are still there when the next one runs in the same container.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use klusterkite_wire::link::{
    LOG_LINES_MAX, LOG_OF_HOST, LOG_WAIT_SECONDS_MAX, LogChunk, LogLine, LogRequest, LogStream,
};
use tokio::sync::watch;
use tokio::time;

use crate::output::Stream;

/// Size after which a file is put aside, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Files that are kept, the present one included: with it 8 MiB of output per node.
const FILES_MAX: usize = 8;

/// Text of the newest lines that is held in memory, in bytes: what a follower asks for is there.
const RING_BYTES_MAX: usize = 64 << 10;

/// Lines that wait for the disk.
const QUEUE_LENGTH: usize = 512;

/// Bytes that are written at once when many lines wait.
const BATCH_BYTES: usize = 64 << 10;

/// Text of one answer, in bytes: far below the largest frame, and a small part of a slow link's second.
const CHUNK_BYTES_MAX: usize = 256 << 10;

/// How long the last lines may take to be written.
const FINISH_TIME_MAX: Duration = Duration::from_secs(1);

/// Stack of the thread that writes.
const STACK_BYTES: usize = 128 << 10;

/// Mode of the files: output may hold secrets.
const MODE_PRIVATE: u32 = 0o600;

/// The way to the journal of this node.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
enum Message {
    Line(LogLine),
    Finish(SyncSender<()>),
}

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    ring: Mutex<Ring>,
    /// Cursor of the newest line.
    newest: watch::Sender<u64>,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<LogLine>,
    bytes: usize,
    /// Cursor of the newest line that is not in the ring any more.
    before: u64,
}

impl Journal {
    /// Starts the thread that writes into a directory, which is made when there is a line.
    pub(crate) fn start(directory: PathBuf) -> io::Result<Self> {
        let last = last_cursor(&directory);
        // A clock that was set back must not repeat cursors.
        let first = last.saturating_add(1).max(unix_microseconds());
        let (queue, lines) = sync_channel(QUEUE_LENGTH);
        let shared = Arc::new(Shared {
            directory,
            ring: Mutex::new(Ring {
                before: first - 1,
                ..Ring::default()
            }),
            newest: watch::channel(first - 1).0,
            dropped: AtomicU64::new(0),
        });
        let writer = Arc::clone(&shared);
        thread::Builder::new()
            .name("journal".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || write_all(&writer, &lines, first))?;
        Ok(Self { queue, shared })
    }

    /// Notes a line; if the disk is too slow, it is dropped and counted.
    pub(crate) fn push(&self, process: &str, stream: Stream, line: &[u8]) {
        let line = LogLine {
            // Given by the thread that writes.
            cursor: 0,
            at: unix_microseconds() / 1000,
            process: process.to_owned(),
            stream: match stream {
                Stream::Out => LogStream::Stdout,
                Stream::Err => LogStream::Stderr,
            },
            line: String::from_utf8_lossy(line).into_owned(),
        };
        if self.queue.try_send(Message::Line(line)).is_err() {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until everything so far is written, but not for long.
    pub(crate) fn finish(&self) {
        let (done, wait) = sync_channel(1);
        if self.queue.try_send(Message::Finish(done)).is_ok() {
            // The disk is too slow: what is left is lost with the process.
            let _ = wait.recv_timeout(FINISH_TIME_MAX);
        }
    }

    /// Answers a request; waits for a line as long as it says.
    pub(crate) async fn answer(self, request: LogRequest) -> LogChunk {
        let seconds = request.wait_seconds.min(LOG_WAIT_SECONDS_MAX);
        let until = time::Instant::now() + Duration::from_secs(u64::from(seconds));
        let mut newest = self.shared.newest.subscribe();
        let mut after = request.after;
        loop {
            let known = *newest.borrow_and_update();
            let (shared, question) = (Arc::clone(&self.shared), request.clone());
            let read = tokio::task::spawn_blocking(move || shared.read(&question, after));
            let lines = read.await.unwrap_or_default();
            let cursor = match lines.last() {
                Some(last) => last.cursor,
                None => after.unwrap_or(0).max(known),
            };
            let changed = newest.changed();
            if !lines.is_empty() || time::timeout_at(until, changed).await.is_err() {
                return LogChunk {
                    request: request.request,
                    lines,
                    cursor,
                };
            }
            after = Some(cursor);
        }
    }
}

impl Shared {
    fn ring(&self) -> std::sync::MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns lines in their order: the first ones after a cursor, or the last ones.
    fn read(&self, request: &LogRequest, after: Option<u64>) -> Vec<LogLine> {
        let lines_max = request.lines.clamp(1, LOG_LINES_MAX) as usize;
        let fits = |line: &LogLine| {
            let process = request.process.as_ref();
            after.is_none_or(|after| line.cursor > after)
                && process.is_none_or(|process| line.process == *process)
        };
        let mut found: BTreeMap<u64, LogLine> = BTreeMap::new();
        let ring_has_all = {
            let ring = self.ring();
            let lines = ring.lines.iter().filter(|line| fits(line));
            found.extend(lines.map(|line| (line.cursor, line.clone())));
            match after {
                Some(after) => after >= ring.before,
                None => found.len() >= lines_max,
            }
        };
        if !ring_has_all {
            for number in 0..FILES_MAX {
                let lines = read_file(&file_path(&self.directory, number));
                let is_first = lines
                    .first()
                    .is_some_and(|first| after.is_some_and(|after| first.cursor <= after));
                let lines = lines.into_iter().filter(fits);
                found.extend(lines.map(|line| (line.cursor, line)));
                if is_first || (after.is_none() && found.len() >= lines_max) {
                    break;
                }
            }
        }
        let mut bytes = 0;
        let mut has_room = |line: &LogLine| {
            bytes += line.line.len();
            bytes <= CHUNK_BYTES_MAX
        };
        if after.is_some() {
            let lines = found.into_values().take(lines_max);
            lines.take_while(has_room).collect()
        } else {
            let lines = found.into_values().rev().take(lines_max);
            let mut lines: Vec<LogLine> = lines.take_while(&mut has_room).collect();
            lines.reverse();
            lines
        }
    }
}

impl Ring {
    fn push(&mut self, line: LogLine) {
        self.bytes += line.line.len();
        self.lines.push_back(line);
        while self.bytes > RING_BYTES_MAX {
            let Some(oldest) = self.lines.pop_front() else {
                return;
            };
            self.bytes -= oldest.line.len();
            self.before = oldest.cursor;
        }
    }
}

/// The present file, and how much is in it.
struct Writer {
    file: Option<File>,
    bytes: u64,
    has_failed: bool,
}

fn write_all(shared: &Shared, messages: &Receiver<Message>, first: u64) {
    let mut writer = Writer {
        file: None,
        bytes: 0,
        has_failed: false,
    };
    let mut cursor = first;
    while let Ok(message) = messages.recv() {
        let mut batch = Vec::new();
        let mut texts = Vec::new();
        let mut finish = None;
        let mut next = Some(message);
        while let Some(message) = next.take() {
            let mut line = match message {
                Message::Line(line) => line,
                Message::Finish(done) => {
                    finish = Some(done);
                    break;
                }
            };
            line.cursor = cursor;
            cursor += 1;
            serde_json::to_writer(&mut texts, &line).expect("a line has only text for keys");
            texts.push(b'\n');
            batch.push(line);
            let dropped = shared.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                let text =
                    format!("{dropped} lines came too fast for the journal and are not in it");
                next = Some(Message::Line(said_by_host(text)));
            } else if texts.len() < BATCH_BYTES {
                next = messages.try_recv().ok();
            }
        }
        if let Err(error) = writer.write(&shared.directory, &texts) {
            if !writer.has_failed {
                let directory = shared.directory.display();
                tracing::warn!(%directory, %error, "output is kept in memory only");
            }
            writer.has_failed = true;
            writer.file = None;
        } else {
            writer.has_failed = false;
        }
        let mut ring = shared.ring();
        for line in batch {
            ring.push(line);
        }
        drop(ring);
        shared.newest.send_replace(cursor - 1);
        if let Some(done) = finish {
            let _ = done.try_send(());
        }
    }
}

impl Writer {
    fn write(&mut self, directory: &Path, texts: &[u8]) -> io::Result<()> {
        if self.bytes >= FILE_BYTES_MAX {
            self.file = None;
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let (file, bytes) = open(directory)?;
                self.bytes = bytes;
                none.insert(file)
            }
        };
        file.write_all(texts)?;
        self.bytes += texts.len() as u64;
        Ok(())
    }
}

/// Opens the present file; one that is full is put aside.
fn open(directory: &Path) -> io::Result<(File, u64)> {
    fs::create_dir_all(directory)?;
    let path = file_path(directory, 0);
    let bytes = fs::metadata(&path).map_or(0, |file| file.len());
    if bytes >= FILE_BYTES_MAX {
        for number in (0..FILES_MAX - 1).rev() {
            match fs::rename(
                file_path(directory, number),
                file_path(directory, number + 1),
            ) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(MODE_PRIVATE);
    let file = options.open(&path)?;
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}

/// Returns the path of a file; 0 is the present one, higher ones are older.
fn file_path(directory: &Path, number: usize) -> PathBuf {
    directory.join(format!("output.{number}.jsonl"))
}

/// Reads a file; what is no line (cut off by a crash of the machine) is passed over.
fn read_file(path: &Path) -> Vec<LogLine> {
    let mut text = Vec::new();
    let limit = FILE_BYTES_MAX + BATCH_BYTES as u64 * 2;
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut text));
    if read.is_err() {
        return Vec::new();
    }
    let lines = text.split(|byte| *byte == b'\n');
    lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect()
}

fn last_cursor(directory: &Path) -> u64 {
    let files = (0..FILES_MAX).map(|number| read_file(&file_path(directory, number)));
    let lasts = files.filter_map(|lines| lines.last().map(|line| line.cursor));
    lasts.take(1).next().unwrap_or(0)
}

fn said_by_host(line: String) -> LogLine {
    LogLine {
        cursor: 0,
        at: unix_microseconds() / 1000,
        process: LOG_OF_HOST.to_owned(),
        stream: LogStream::Stderr,
        line,
    }
}

fn unix_microseconds() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(after: Option<u64>, lines: u32, wait_seconds: u32) -> LogRequest {
        LogRequest {
            request: 1,
            after,
            process: None,
            lines,
            wait_seconds,
        }
    }

    /// Waits until a line is in the journal.
    async fn written(journal: &Journal, text: &str) -> LogChunk {
        loop {
            let chunk = journal.clone().answer(request(None, 1, 0)).await;
            if chunk.lines.last().is_some_and(|line| line.line == text) {
                return chunk;
            }
            tokio::task::yield_now().await;
        }
    }

    fn texts(chunk: &LogChunk) -> Vec<&str> {
        chunk.lines.iter().map(|line| line.line.as_str()).collect()
    }

    #[tokio::test]
    async fn lines_are_given_from_the_end_or_after_a_cursor_and_of_one_process() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::start(directory.path().join("logs")).unwrap();
        for number in 0..10 {
            let process = if number % 2 == 0 { "a" } else { "b" };
            journal.push(process, Stream::Out, number.to_string().as_bytes());
        }
        written(&journal, "9").await;
        let last = journal.clone().answer(request(None, 3, 0)).await;
        assert_eq!(texts(&last), ["7", "8", "9"]);
        let after = Some(last.lines[0].cursor);
        let rest = journal.clone().answer(request(after, 1, 0)).await;
        assert_eq!(texts(&rest), ["8"]);
        let nothing = journal
            .clone()
            .answer(request(Some(last.cursor), 9, 0))
            .await;
        assert_eq!((texts(&nothing), nothing.cursor), (vec![], last.cursor));
        let mut of_a = request(None, 2, 0);
        of_a.process = Some("a".to_owned());
        assert_eq!(texts(&journal.clone().answer(of_a).await), ["6", "8"]);
        let waiting = tokio::spawn(journal.clone().answer(request(Some(last.cursor), 9, 20)));
        journal.push("a", Stream::Err, b"news");
        let news = waiting.await.unwrap();
        assert_eq!(texts(&news), ["news"]);
        assert_eq!(news.lines[0].stream, LogStream::Stderr);
    }

    #[tokio::test]
    async fn lines_outlive_the_node_and_cursors_go_on() {
        let directory = tempfile::tempdir().unwrap();
        let first = Journal::start(directory.path().to_owned()).unwrap();
        first.push("a", Stream::Out, b"before the crash");
        let before = written(&first, "before the crash").await.cursor;
        let second = Journal::start(directory.path().to_owned()).unwrap();
        second.push("a", Stream::Out, b"after it");
        let after = written(&second, "after it").await.cursor;
        assert!(after > before);
        let all = second.clone().answer(request(Some(before - 1), 9, 0)).await;
        assert_eq!(texts(&all), ["before the crash", "after it"]);
    }

    #[tokio::test]
    async fn files_and_memory_are_bounded_and_what_was_cut_off_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::start(directory.path().to_owned()).unwrap();
        let long = "x".repeat(8000);
        for number in 0..1500 {
            journal.push("a", Stream::Out, format!("{number} {long}").as_bytes());
            while journal.shared.dropped.load(Ordering::Relaxed) > 0 {
                thread::yield_now();
            }
            if number % 100 == 0 {
                written(&journal, &format!("{number} {long}")).await;
            }
        }
        written(&journal, &format!("1499 {long}")).await;
        let files: Vec<u64> = fs::read_dir(directory.path())
            .unwrap()
            .map(|file| file.unwrap().metadata().unwrap().len())
            .collect();
        assert_eq!(files.len(), FILES_MAX);
        assert!(
            files
                .iter()
                .all(|bytes| *bytes < FILE_BYTES_MAX + 2 * BATCH_BYTES as u64)
        );
        assert!(journal.shared.ring().bytes <= RING_BYTES_MAX);
        let chunk = journal.clone().answer(request(Some(0), 1000, 0)).await;
        assert!(chunk.lines.len() <= CHUNK_BYTES_MAX / 8000);
        assert!(
            !chunk.lines[0].line.starts_with("0 "),
            "the oldest lines went"
        );
        let path = file_path(directory.path(), 0);
        let text = fs::read(&path).unwrap();
        fs::write(&path, &text[..text.len() - 10]).unwrap();
        assert!(!read_file(&path).is_empty());
        Journal::start(directory.path().to_owned()).unwrap();
    }
}
