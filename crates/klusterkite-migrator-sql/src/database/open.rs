//! A database that is being moved, point by point.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow, bail, ensure};
use sqlx::postgres::{PgDatabaseError, PgErrorPosition};

use super::connection::{Connection, plain};
use crate::history::{Entry, How};
use crate::line::{Migration, Script};
use crate::statements::{line_of, statements};

/// A database that nobody else moves, with its records.
pub(crate) struct Open {
    connection: Connection,
    points: String,
    fence: String,
    /// The records as this program left them.
    entries: Vec<Entry>,
}

/// Which way a step goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Up,
    Down,
}

impl Way {
    /// Says how the record of the point is after the step; `None`: there is none.
    fn end(self) -> Option<How> {
        match self {
            Self::Up => Some(How::Applied),
            Self::Down => None,
        }
    }
}

impl Open {
    /// Makes the tables of records unless they are there.
    pub(super) async fn start(
        mut connection: Connection,
        table: &str,
        entries: Vec<Entry>,
        is_recorded: bool,
    ) -> anyhow::Result<Self> {
        let points = connection.table(table);
        let fence = connection.table(&format!("{table}_fence"));
        if !is_recorded {
            let tables = format!(
                "CREATE TABLE {points} (position BIGINT PRIMARY KEY, point TEXT NOT NULL UNIQUE,
                     checksum TEXT NOT NULL, how TEXT NOT NULL, unix_ms BIGINT NOT NULL);
                 CREATE TABLE {fence} (id BIGINT PRIMARY KEY CHECK (id = 1), fence BIGINT NOT NULL);
                 INSERT INTO {fence} VALUES (1, 0);"
            );
            connection.begin().await?;
            connection
                .run(tables)
                .await
                .map_err(plain)
                .with_context(|| format!("cannot make the table `{table}`"))?;
            for (position, entry) in (1..).zip(&entries) {
                connection.put(&points, position, entry, unix_ms()).await?;
            }
            connection.commit().await?;
        }
        Ok(Self {
            connection,
            points,
            fence,
            entries,
        })
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) async fn close(self) {
        self.connection.close().await;
    }

    /// Carries out one step. Of a script in a transaction everything happens or nothing.
    pub(crate) async fn step(
        &mut self,
        migration: &Migration,
        way: Way,
        fence: i64,
    ) -> anyhow::Result<()> {
        let script = match way {
            Way::Up => Some(&migration.up),
            Way::Down => migration.down.as_ref(),
        };
        let script = script.with_context(|| format!("`{}` has no way back", migration.point))?;
        let stepped = if script.in_transaction {
            self.step_whole(migration, way, script, fence).await
        } else {
            self.step_in_pieces(migration, way, script, fence).await
        };
        if stepped.is_err() {
            // Without an open transaction, or without a connection, there is nothing to take back.
            let _ = self.connection.run("ROLLBACK").await;
        }
        stepped
    }

    async fn step_whole(
        &mut self,
        migration: &Migration,
        way: Way,
        script: &Script,
        fence: i64,
    ) -> anyhow::Result<()> {
        self.connection.begin().await?;
        self.guard(fence).await?;
        let broken = self.connection.broken_references().await?;
        let ran = self.connection.run(script.text.as_str()).await;
        ran.map_err(|error| located(error, script, &script.text, 1))?;
        self.connection.settle().await.map_err(plain)?;
        let now_broken = self.connection.broken_references().await?;
        ensure!(
            now_broken <= broken,
            "`{}` leaves {} rows that refer to rows which are not there",
            script.file,
            now_broken - broken
        );
        let end = way.end();
        self.record(migration, end).await?;
        self.connection.commit().await?;
        self.remember(migration, end);
        Ok(())
    }

    /// Runs a script statement by statement; a record says meanwhile that its point was begun.
    async fn step_in_pieces(
        &mut self,
        migration: &Migration,
        way: Way,
        script: &Script,
        fence: i64,
    ) -> anyhow::Result<()> {
        self.mark(migration, Some(How::Begun), fence).await?;
        for statement in statements(&script.text) {
            let ran = self.connection.run(statement.text).await;
            ran.map_err(|error| located(error, script, statement.text, statement.line))
                .context(
                    "the script runs without transaction, and what it did before stays; the next move repeats it",
                )?;
        }
        self.connection.settle().await.map_err(plain)?;
        self.mark(migration, way.end(), fence).await
    }

    async fn mark(
        &mut self,
        migration: &Migration,
        how: Option<How>,
        fence: i64,
    ) -> anyhow::Result<()> {
        self.connection.begin().await?;
        self.guard(fence).await?;
        self.record(migration, how).await?;
        self.connection.commit().await?;
        self.remember(migration, how);
        Ok(())
    }

    /// Refuses an order that is older than the last one, and a database that somebody else has moved.
    async fn guard(&mut self, fence: i64) -> anyhow::Result<()> {
        let last = format!("SELECT fence FROM {}", self.fence);
        let last = self.connection.number(last).await?;
        ensure!(
            fence >= last,
            "the order is old: its fence is {fence}, the database was moved with {last}"
        );
        let found = self.connection.entries(&self.points).await?;
        if found != self.entries {
            bail!("another program has moved the database meanwhile");
        }
        let store = format!("UPDATE {} SET fence = {fence}", self.fence);
        self.connection.run(store).await.map_err(plain)
    }

    async fn record(&mut self, migration: &Migration, how: Option<How>) -> anyhow::Result<()> {
        let entry = |how| Entry {
            point: migration.point.clone(),
            checksum: migration.up.checksum.clone(),
            how,
        };
        match how {
            None => {
                let gone = entry(How::Applied);
                self.connection.remove(&self.points, &gone).await
            }
            Some(how) => {
                let position = i64::try_from(self.place(migration) + 1)?;
                let entry = entry(how);
                let points = self.points.clone();
                self.connection
                    .put(&points, position, &entry, unix_ms())
                    .await
            }
        }
    }

    fn remember(&mut self, migration: &Migration, how: Option<How>) {
        let place = self.place(migration);
        self.entries.truncate(place);
        self.entries.extend(how.map(|how| Entry {
            point: migration.point.clone(),
            checksum: migration.up.checksum.clone(),
            how,
        }));
    }

    /// Returns the place of a point in the records: its own, or the one behind the last.
    fn place(&self, migration: &Migration) -> usize {
        let mut entries = self.entries.iter();
        let place = entries.position(|entry| entry.point == migration.point);
        place.unwrap_or(self.entries.len())
    }
}

/// Says what the database said, and at which line of the script.
fn located(error: sqlx::Error, script: &Script, sent: &str, first_line: usize) -> anyhow::Error {
    let sqlx::Error::Database(database) = &error else {
        return anyhow::Error::new(error).context(format!("`{}` was cut off", script.file));
    };
    let postgres = database.try_downcast_ref::<PgDatabaseError>();
    let position = postgres.and_then(PgDatabaseError::position);
    let place = match position {
        Some(PgErrorPosition::Original(character)) => {
            let before = sent.char_indices().nth(character.saturating_sub(1));
            let byte = before.map_or(sent.len(), |(byte, _)| byte);
            format!(" line {}", first_line + line_of(sent, byte) - 1)
        }
        _ if first_line > 1 => format!(" line {first_line}"),
        _ => String::new(),
    };
    let detail = postgres.and_then(PgDatabaseError::detail);
    let detail = detail.map_or_else(String::new, |detail| format!(" ({detail})"));
    anyhow!("`{}`{place}: {}{detail}", script.file, database.message())
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}
