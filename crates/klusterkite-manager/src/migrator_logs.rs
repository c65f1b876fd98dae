//! What migrators say while they move resources: written while they say it, read later or as it comes.
//!
//! A migrator never waits for these lines, and neither does its move: what comes faster than the store takes it,
//! or is longer than somebody reads, is cut or left out, and the log says so. How many are kept is the store's
//! decision ([`klusterkite_store::LINES_OF_RESOURCE_MAX`], [`klusterkite_store::LINES_MAX`]).

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use klusterkite_api::migrations::MigratorLine;
use klusterkite_api::privileges::Privilege;
use klusterkite_core::plan::resources::ResourceKey;
use klusterkite_store::rows::{LinesOf, MigratorLineRow};
use klusterkite_wire::chain;
use klusterkite_wire::migrator::LineStream;
use klusterkite_wire::time::rfc3339;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::auth::{Bearer, still_holds};
use crate::cluster::Cluster;
use crate::fault::Fault;

/// Longest line that is kept, in bytes; the rest of a longer one is cut off.
const LINE_BYTES_MAX: usize = 4 << 10;

/// Lines that wait for the store at most: what an executor passes on at once, in short lines.
const QUEUE_MAX: usize = 4096;

/// Lines that are stored in one transaction at most.
const BATCH_MAX: usize = 512;

/// Pause after each transaction: the store belongs to the decisions, and nobody reads faster.
const WRITE_PAUSE: Duration = Duration::from_millis(100);

/// Lines that a reader takes from the store at once.
const CHUNK: u32 = 256;

/// How often a followed answer says that it lives, and looks whether its bearer may still read.
const ALIVE_EVERY: Duration = Duration::from_secs(5);

/// Writes the lines of one move.
pub(crate) struct LineWriter {
    cluster: Cluster,
    row: MigratorLineRow,
    queue: Sender<MigratorLineRow>,
    ending: Arc<Notify>,
    writer: JoinHandle<()>,
    left_out: u64,
}

impl LineWriter {
    /// Starts to write for the move of a resource, in a migration or without one.
    pub(crate) fn start(cluster: &Cluster, migration_id: Option<i64>, key: &ResourceKey) -> Self {
        let (queue, lines) = mpsc::channel(QUEUE_MAX);
        let ending = Arc::new(Notify::new());
        let writer = store_lines(cluster.clone(), lines, Arc::clone(&ending));
        Self {
            cluster: cluster.clone(),
            row: MigratorLineRow {
                migration_id: migration_id.unwrap_or(0),
                at: 0,
                template: key.template.clone(),
                migrator: key.migrator.clone(),
                resource: key.resource.clone(),
                stream: String::new(),
                line: String::new(),
            },
            queue,
            ending,
            writer: tokio::spawn(writer),
            left_out: 0,
        }
    }

    /// Hands a line to the store; never waits.
    pub(crate) fn write(&mut self, stream: LineStream, line: &str) {
        let row = self.row(stream, line);
        if self.queue.try_send(row).is_err() {
            self.left_out += 1;
        }
    }

    /// Ends when everything is stored, or could not be.
    pub(crate) async fn end(self) {
        self.ending.notify_one();
        if self.left_out > 0 {
            let line = format!("{} lines came too fast and were left out", self.left_out);
            let row = self.row(LineStream::Note, &line);
            // Only a writer that has ended takes nothing, and that is told below.
            let _ = self.queue.send(row).await;
        }
        drop(self.queue);
        if let Err(error) = self.writer.await {
            tracing::error!("the writer of a migrator's lines ended: {error}");
        }
    }

    fn row(&self, stream: LineStream, line: &str) -> MigratorLineRow {
        MigratorLineRow {
            at: self.cluster.now().0,
            stream: stream.as_str().to_owned(),
            line: cut(without_passwords(line)),
            ..self.row.clone()
        }
    }
}

async fn store_lines(cluster: Cluster, mut lines: Receiver<MigratorLineRow>, ending: Arc<Notify>) {
    let mut rows = Vec::new();
    let mut is_ending = false;
    while lines.recv_many(&mut rows, BATCH_MAX).await > 0 {
        let stored = cluster
            .store()
            .migrator_lines_append(cluster.epoch(), &rows)
            .await;
        if let Err(error) = stored {
            let lost = rows.len();
            tracing::error!("{lost} lines of a migrator are lost: {}", chain(&error));
        }
        rows.clear();
        cluster.lines().send_modify(|times| *times += 1);
        if !is_ending {
            tokio::select! {
                () = sleep(WRITE_PAUSE) => {}
                () = ending.notified() => is_ending = true,
            }
        }
    }
}

/// Cuts a line between two characters.
fn cut(mut line: String) -> String {
    if line.len() > LINE_BYTES_MAX {
        line.truncate(line.floor_char_boundary(LINE_BYTES_MAX));
        line.push('…');
    }
    line
}

/// Characters that end a URL or a parameter in a text.
fn ends_word(character: char) -> bool {
    character.is_whitespace() || matches!(character, '"' | '\'' | '`' | '<' | '>')
}

/// Hides the passwords of connections: in URLs (`scheme://user:password@host`) and parameters (`password=…`).
///
/// A migrator should not write them; drivers quote what they were given in their errors all the same.
fn without_passwords(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    for word in line.split_inclusive(ends_word) {
        let mut from = 0;
        for (found, password) in passwords(word) {
            // What only seems to begin in a hidden password is part of it.
            if found >= from {
                shown.push_str(&word[from..password.start]);
                shown.push_str("***");
                from = password.end;
            }
        }
        shown.push_str(&word[from..]);
    }
    shown
}

/// Finds what may be passwords in a word, in their order, each with the place of what announces it. A line may be one
/// word of a megabyte, so every character is looked at a few times only.
fn passwords(word: &str) -> Vec<(usize, Range<usize>)> {
    let word = word.trim_end_matches(ends_word);
    let places = |of: &[char]| -> Vec<usize> {
        let places = word.match_indices(of);
        places.map(|(place, _)| place).collect()
    };
    let next = |places: &[usize], from: usize| {
        let index = places.partition_point(|place| *place < from);
        places.get(index).copied()
    };
    let (colons, ends) = (places(&[':']), places(&[';', '&']));
    let host = word.rfind('@').unwrap_or(0);
    let in_urls = word.match_indices("://").filter_map(|(found, scheme)| {
        let colon = next(&colons, found + scheme.len())?;
        Some((found, colon + 1..host))
    });
    let lower = word.to_ascii_lowercase();
    let in_parameters = ["password=", "pwd="].into_iter().flat_map(|name| {
        lower.match_indices(name).map(|(found, name)| {
            let start = found + name.len();
            (found, start..next(&ends, start).unwrap_or(word.len()))
        })
    });
    let mut passwords: Vec<_> = in_urls
        .chain(in_parameters)
        .filter(|(_, password)| !password.is_empty())
        .collect();
    passwords.sort_by_key(|(_, password)| password.start);
    passwords
}

/// Reads lines in their order: those that are stored, and those that come if that is wanted.
pub struct LineReader {
    cluster: Cluster,
    bearer: Bearer,
    of: LinesOf,
    after: i64,
    follows: bool,
    changed: watch::Receiver<u64>,
    waiting: VecDeque<(i64, MigratorLineRow)>,
}

impl LineReader {
    /// Starts after a line; fails when there is no such migration.
    pub async fn new(
        cluster: &Cluster,
        bearer: Bearer,
        of: LinesOf,
        after: i64,
        follows: bool,
    ) -> Result<Self, Fault> {
        if of.migration_id != 0 {
            let migration = cluster.store().migration(of.migration_id).await?;
            migration.ok_or_else(|| Fault::not_found("migration", of.migration_id))?;
        }
        Ok(Self {
            changed: cluster.lines().subscribe(),
            cluster: cluster.clone(),
            bearer,
            of,
            after,
            follows,
            waiting: VecDeque::new(),
        })
    }

    /// Makes a stream of lines. `None` says that the stream lives; it ends after the last line, or, if more may
    /// come and that is wanted, when the migration has ended or the bearer may not read any more.
    pub fn into_stream(self) -> impl Stream<Item = Option<MigratorLine>> {
        stream::unfold(self, |mut reader| async move {
            let item = reader.next().await?;
            Some((item, reader))
        })
    }

    async fn next(&mut self) -> Option<Option<MigratorLine>> {
        loop {
            if let Some((id, row)) = self.waiting.pop_front() {
                return Some(Some(shown(id, row)));
            }
            if !still_holds(&self.cluster, &self.bearer, Privilege::MigrationQuery) {
                return None;
            }
            // In this order: what is said before the migration ends is read after it was seen to have ended.
            let goes_on = self.follows && self.may_say_more().await;
            self.changed.mark_unchanged();
            let rows = self
                .cluster
                .store()
                .migrator_lines(&self.of, self.after, CHUNK);
            match rows.await {
                Ok(rows) => self.waiting.extend(rows),
                Err(error) => {
                    tracing::error!("the lines of migrators cannot be read: {}", chain(&error));
                    return None;
                }
            }
            if let Some((last, _)) = self.waiting.back() {
                self.after = *last;
                continue;
            }
            if !goes_on {
                return None;
            }
            if timeout(ALIVE_EVERY, self.changed.changed()).await.is_err() {
                return Some(None);
            }
        }
    }

    /// Tells whether the migration runs; moves without a migration may always come.
    async fn may_say_more(&self) -> bool {
        let state = self.cluster.read().await;
        let runs = state.migration.as_ref().map(|migration| migration.id);
        self.of.migration_id == 0 || runs == Some(self.of.migration_id)
    }
}

fn shown(id: i64, row: MigratorLineRow) -> MigratorLine {
    MigratorLine {
        cursor: id.to_string(),
        at: rfc3339(row.at),
        stream: row.stream,
        line: row.line,
        template_code: row.template,
        migrator_type_name: row.migrator,
        resource_code: row.resource,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_connections_are_hidden_and_nothing_else() {
        for (line, expected) in [
            ("all is well at 12:30", "all is well at 12:30"),
            (
                "cannot connect to postgres://app:s3cr/t:x@db:5432/main, again",
                "cannot connect to postgres://app:***@db:5432/main, again",
            ),
            (
                "'mysql://a:b@c' and \"amqp://d:e@f\"",
                "'mysql://a:***@c' and \"amqp://d:***@f\"",
            ),
            ("https://host/path:1 a@b", "https://host/path:1 a@b"),
            ("https://user@host/x", "https://user@host/x"),
            (
                "host=db Password=geheim user=x",
                "host=db Password=*** user=x",
            ),
            ("Server=db;Pwd=a&b;Db=c", "Server=db;Pwd=***&b;Db=c"),
            ("?user=a&password=b&x=1", "?user=a&password=***&x=1"),
            ("password=", "password="),
            ("://:@://:@ß", "://:***@ß"),
        ] {
            assert_eq!(without_passwords(line), expected);
        }
    }

    #[test]
    fn a_megabyte_of_passwords_in_one_word_is_hidden_like_a_few() {
        for (part, hidden) in [("pwd=x;", "pwd=***;"), ("Password=ä&", "Password=***&")] {
            let times = (1 << 20) / part.len();
            assert_eq!(without_passwords(&part.repeat(times)), hidden.repeat(times));
        }
        // Neither of these ends before the end of the word.
        for (part, end, hidden) in [
            ("://", "a@b", "://:***@b"),
            ("password=", "x", "password=***"),
            ("://", "", ""),
        ] {
            let line = part.repeat((1 << 20) / part.len()) + end;
            let expected = if hidden.is_empty() { &line } else { hidden };
            assert_eq!(without_passwords(&line), expected);
        }
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        assert_eq!(cut("ä".to_owned()), "ä");
        let line = cut("x".to_owned() + &"ä".repeat(LINE_BYTES_MAX));
        assert_eq!(line.len(), LINE_BYTES_MAX - 1 + '…'.len_utf8());
        assert!(line.ends_with("ä…"));
    }
}
