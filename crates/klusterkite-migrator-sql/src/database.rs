//! One database: read as it is, or opened for moves by one migrator at a time.

mod connection;
mod open;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use klusterkite_wire::{Point, ResourceCode};

use crate::history::{self, Entry};
use crate::line::Migration;
use crate::settings::{DatabaseSettings, Place, Settings};

pub(crate) use connection::{Connection, is_missing_database, plain};
pub(crate) use open::{Open, Way};

/// A database of the settings.
pub(crate) struct Database {
    pub(crate) code: ResourceCode,
    place: Place,
    table: String,
    lock_timeout: Duration,
    baseline: Option<Point>,
}

/// What a look at a database found.
enum Found {
    /// No database, or one without a table.
    Nothing,
    /// Tables, but no records.
    Unrecorded,
    Recorded(Vec<Entry>),
}

impl Database {
    pub(crate) fn new(
        code: &ResourceCode,
        settings: &DatabaseSettings,
        section: &Settings,
    ) -> anyhow::Result<Self> {
        let place = settings
            .place()
            .with_context(|| format!("the settings of the database `{code}` cannot be used"))?;
        Ok(Self {
            code: code.clone(),
            place,
            table: section.table.clone(),
            lock_timeout: section.lock_timeout,
            baseline: settings.baseline.clone(),
        })
    }

    /// Says what and where it is, without a secret.
    pub(crate) fn shown(&self) -> String {
        match &self.place {
            Place::Postgres(options) => {
                let host = options.get_socket().map_or_else(
                    || options.get_host().to_owned(),
                    |path| path.display().to_string(),
                );
                let name = options.get_database().unwrap_or_default();
                format!(
                    "PostgreSQL `{name}` on `{host}`, port {}",
                    options.get_port()
                )
            }
            Place::Sqlite(file) => format!("SQLite `{}`", file.display()),
        }
    }

    /// Returns the SQLite file, if it is one.
    pub(crate) fn file(&self) -> Option<&Path> {
        match &self.place {
            Place::Sqlite(file) => Some(file),
            Place::Postgres(_) => None,
        }
    }

    /// Reads the history, and changes nothing; a database that is not there has none (bug B53 of the original).
    pub(crate) async fn read(&self, line: &[Migration]) -> anyhow::Result<Vec<Entry>> {
        let found = self.look().await.with_context(|| self.shown())?;
        let entries = self.entries(found, line).with_context(|| self.shown())?;
        history::check(line, &entries).with_context(|| self.shown())?;
        Ok(entries)
    }

    /// Records the points of the baseline in a database that has tables and no records; tells which point that was.
    pub(crate) async fn record_baseline(
        &self,
        line: &[Migration],
    ) -> anyhow::Result<Option<Point>> {
        let found = self.look().await.with_context(|| self.shown())?;
        if self.baseline.is_none() || !matches!(found, Found::Unrecorded) {
            return Ok(None);
        }
        self.open(line).await?.close().await;
        Ok(self.baseline.clone())
    }

    async fn look(&self) -> anyhow::Result<Found> {
        if self.file().is_some_and(|file| !file.exists()) {
            return Ok(Found::Nothing);
        }
        let mut connection = match Connection::open(&self.place, self.lock_timeout, false).await {
            Err(error) if is_missing_database(&error) => return Ok(Found::Nothing),
            opened => opened.map_err(plain).context("cannot connect")?,
        };
        let found = connection.look(&self.table).await;
        connection.close().await;
        found
    }

    fn entries(&self, found: Found, line: &[Migration]) -> anyhow::Result<Vec<Entry>> {
        match (found, &self.baseline) {
            (Found::Nothing, _) => Ok(Vec::new()),
            (Found::Recorded(entries), _) => Ok(entries),
            (Found::Unrecorded, Some(point)) => history::baseline(line, point),
            (Found::Unrecorded, None) => bail!(
                "it has tables, but no `{}` that says which points it has: if it is the right database, give its \
                 point as `baseline`",
                self.table
            ),
        }
    }

    /// Opens the database for moves: locked, with its tables of records.
    pub(crate) async fn open(&self, line: &[Migration]) -> anyhow::Result<Open> {
        let opened = async {
            let mut connection = match Connection::open(&self.place, self.lock_timeout, true).await
            {
                Err(error) if is_missing_database(&error) => {
                    bail!("the database does not exist: its seeder creates it")
                }
                opened => opened.map_err(plain).context("cannot connect")?,
            };
            connection.lock(&self.table, self.lock_timeout).await?;
            let found = connection.look(&self.table).await?;
            let is_recorded = matches!(found, Found::Recorded(_));
            let entries = self.entries(found, line)?;
            history::check(line, &entries)?;
            Open::start(connection, &self.table, entries, is_recorded).await
        };
        opened.await.with_context(|| self.shown())
    }
}
