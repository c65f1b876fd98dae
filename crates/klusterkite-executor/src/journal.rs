//! The journal of moves: one JSON line before and one after each, on disk before the next step.
//!
//! It is for people who ask what happened; nothing is decided by it. That nothing of a move that was cut off still runs
//! is what the lock says, and where a resource is, is always asked of its migrator.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use klusterkite_wire::{MigratorName, Point, ResourceCode};
use serde::{Deserialize, Serialize};

/// Size from which on the older half is dropped: thousands of moves, more than anyone reads.
const BYTES_MAX: u64 = 1 << 20;

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// When, in milliseconds since 1970; for people, nothing is decided by it.
    pub at: u64,
    /// Process id of the executor.
    pub executor: u32,
    /// Whether the move begins or ends with this line.
    pub event: Event,
    /// The migrator.
    pub migrator: MigratorName,
    /// The resource.
    pub resource: ResourceCode,
    /// Where it was; absent: not created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Point>,
    /// Where it was to go.
    pub to: Point,
    /// The fence of the manager's order.
    pub fence: u64,
    /// Why the move failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a [`Record`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Event {
    /// The move begins.
    Started,
    /// The move ended, with the record's error or without one.
    Finished,
}

/// An open journal; only the holder of the lock opens it.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    cut_off: Option<Record>,
}

impl Journal {
    /// Opens the journal or makes it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let exists = path.exists();
        if exists && fs::metadata(path)?.len() > BYTES_MAX {
            drop_older_half(path)?;
        }
        let mut file = File::options()
            .create(true)
            .read(true)
            .append(true)
            .open(path)?;
        if !exists {
            sync_directory(path)?;
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        if text.last().is_some_and(|byte| *byte != b'\n') {
            // A writer was cut off in the middle of a line.
            file.write_all(b"\n")?;
        }
        let mut records = text.split(|byte| *byte == b'\n').filter_map(|line| {
            let record: Option<Record> = serde_json::from_slice(line).ok();
            record
        });
        let cut_off = records
            .next_back()
            .filter(|record| record.event == Event::Started);
        Ok(Self {
            path: path.to_owned(),
            file,
            cut_off,
        })
    }

    /// Returns the move that was begun and never ended, if the journal ends with one.
    pub fn cut_off(&self) -> Option<&Record> {
        self.cut_off.as_ref()
    }

    /// Returns the journal's file name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a record; it is on disk when this returns.
    pub fn append(&mut self, record: &Record) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.file.sync_data()
    }
}

/// Returns the name of the journal beside a lock file.
pub fn path_beside(lock_file: &Path) -> PathBuf {
    lock_file.with_extension("journal.jsonl")
}

/// Returns the milliseconds since 1970, 0 before.
pub(crate) fn unix_milliseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |duration| {
        u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
    })
}

/// Replaces the journal by its newer half, whole or not at all.
fn drop_older_half(path: &Path) -> io::Result<()> {
    let text = fs::read(path)?;
    let half = text.len() / 2;
    let start = text[half..].iter().position(|byte| *byte == b'\n');
    let kept = start.map_or(&[][..], |place| &text[half + place + 1..]);
    let temporary = path.with_extension("jsonl.new");
    let mut file = File::create(&temporary)?;
    file.write_all(kept)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_directory(path)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(event: Event, fence: u64) -> Record {
        Record {
            at: 1,
            executor: 2,
            event,
            migrator: "M".parse().unwrap(),
            resource: "r".parse().unwrap(),
            from: None,
            to: "p".parse().unwrap(),
            fence,
            error: None,
        }
    }

    #[test]
    fn a_move_that_was_begun_and_not_ended_is_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("j.jsonl");
        assert_eq!(Journal::open(&path).unwrap().cut_off(), None);
        let mut journal = Journal::open(&path).unwrap();
        journal.append(&record(Event::Started, 1)).unwrap();
        let journal = Journal::open(&path).unwrap();
        assert_eq!(journal.cut_off(), Some(&record(Event::Started, 1)));
        let mut journal = journal;
        journal.append(&record(Event::Finished, 1)).unwrap();
        assert_eq!(Journal::open(&path).unwrap().cut_off(), None);
    }

    #[test]
    fn a_torn_line_is_passed_over_and_the_next_record_gets_its_own_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("j.jsonl");
        let mut journal = Journal::open(&path).unwrap();
        journal.append(&record(Event::Started, 1)).unwrap();
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"{\"at\":1,\"exec")
            .unwrap();
        let mut journal = Journal::open(&path).unwrap();
        assert_eq!(journal.cut_off().map(|record| record.fence), Some(1));
        journal.append(&record(Event::Finished, 1)).unwrap();
        assert_eq!(Journal::open(&path).unwrap().cut_off(), None);
    }

    #[test]
    fn a_large_journal_keeps_its_newer_half() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("j.jsonl");
        let line = format!(
            "{}\n",
            serde_json::to_string(&record(Event::Finished, 1)).unwrap()
        );
        let mut text = line.repeat(BYTES_MAX as usize / line.len() + 1);
        text.push_str(&serde_json::to_string(&record(Event::Started, 9)).unwrap());
        text.push('\n');
        fs::write(&path, &text).unwrap();
        let journal = Journal::open(&path).unwrap();
        assert_eq!(journal.cut_off().map(|record| record.fence), Some(9));
        let kept = fs::read_to_string(&path).unwrap();
        assert!(kept.len() < text.len() * 6 / 10, "{}", kept.len());
        assert!(kept.starts_with("{\"at\""), "{}", &kept[..20]);
    }
}
