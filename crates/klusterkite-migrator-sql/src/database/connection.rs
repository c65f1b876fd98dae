//! A connection to either kind of database, with what differs between them.

use std::io;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use sqlx::error::DatabaseError;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _};
use tokio::time::{Instant, sleep, timeout};

use super::Found;
use crate::history::{Entry, How};
use crate::settings::Place;

/// Longest wait for PostgreSQL to take a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause between two tries to get the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// Code of PostgreSQL for a database that does not exist.
const INVALID_CATALOG_NAME: &str = "3D000";

/// Records of one database at most: as many as a folder has points.
const ENTRIES_MAX: usize = 10_000;

/// An open connection.
pub(crate) enum Connection {
    Postgres {
        connection: PgConnection,
        /// What every statement begins with anew: role, search path and limits.
        session: String,
        schema: String,
    },
    Sqlite(SqliteConnection),
}

/// Tells whether the server is there and the database is not.
pub(crate) fn is_missing_database(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.as_deref() == Some(INVALID_CATALOG_NAME)
}

/// Makes an error that says each thing once.
pub(crate) fn plain(error: sqlx::Error) -> anyhow::Error {
    match error {
        sqlx::Error::Database(error) => anyhow!("{}", error.message().trim()),
        other => other.into(),
    }
}

/// Runs one query of either database with its values and gives what the driver gives.
macro_rules! on_either {
    ($self:expr, $connection:ident => $run:expr) => {
        match $self {
            Connection::Postgres {
                connection: $connection,
                ..
            } => $run.map_err(plain),
            Connection::Sqlite($connection) => $run.map_err(plain),
        }
    };
}

impl Connection {
    /// Connects; `for_moves`: as somebody who changes the schema, and may make a SQLite file.
    pub(crate) async fn open(
        place: &Place,
        lock_timeout: Duration,
        for_moves: bool,
    ) -> Result<Self, sqlx::Error> {
        match place {
            Place::Sqlite(file) => {
                let options = SqliteConnectOptions::new()
                    .filename(file)
                    .create_if_missing(for_moves)
                    .busy_timeout(lock_timeout)
                    .synchronous(SqliteSynchronous::Full)
                    // Tables that are rebuilt are dropped, which must not empty those that refer to them.
                    .foreign_keys(!for_moves)
                    .disable_statement_logging();
                Ok(Self::Sqlite(options.connect().await?))
            }
            Place::Postgres(options) => {
                let mut connection =
                    timeout(CONNECT_TIMEOUT, options.connect())
                        .await
                        .map_err(|_| {
                            let silence = format!("no answer within {CONNECT_TIMEOUT:?}");
                            io::Error::new(io::ErrorKind::TimedOut, silence)
                        })??;
                let schema: Option<String> = sqlx::query_scalar("SELECT current_schema()::text")
                    .fetch_one(&mut connection)
                    .await?;
                // A server that checks its clients ends the statement of a migrator that was killed.
                let session = format!(
                    "RESET ROLE; RESET ALL; SET lock_timeout = {};
                     SELECT set_config(name, '1s', false) FROM pg_settings
                     WHERE name = 'client_connection_check_interval'",
                    lock_timeout.as_millis()
                );
                let mut opened = Self::Postgres {
                    connection,
                    session,
                    schema: schema.unwrap_or_default(),
                };
                opened.settle().await?;
                Ok(opened)
            }
        }
    }

    pub(crate) async fn close(self) {
        // It was only read, or everything is committed: a close that fails loses nothing.
        let _ = match self {
            Self::Postgres { connection, .. } => connection.close().await,
            Self::Sqlite(connection) => connection.close().await,
        };
    }

    /// Runs a text of any number of statements.
    pub(crate) async fn run(&mut self, sql: impl Into<String>) -> Result<(), sqlx::Error> {
        // The texts are our own, and scripts of a package whose hash was checked.
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.into()));
        match self {
            Self::Postgres { connection, .. } => sql.execute(connection).await.map(drop),
            Self::Sqlite(connection) => sql.execute(connection).await.map(drop),
        }
    }

    /// Takes back what a script has set for its session.
    pub(crate) async fn settle(&mut self) -> Result<(), sqlx::Error> {
        match self {
            Self::Postgres { session, .. } => {
                let session = session.clone();
                self.run(session).await
            }
            Self::Sqlite(_) => Ok(()),
        }
    }

    pub(crate) async fn begin(&mut self) -> anyhow::Result<()> {
        let begin = match self {
            Self::Postgres { .. } => "BEGIN",
            Self::Sqlite(_) => "BEGIN IMMEDIATE",
        };
        self.run(begin).await.map_err(plain)
    }

    pub(crate) async fn commit(&mut self) -> anyhow::Result<()> {
        self.run("COMMIT").await.map_err(plain).context("COMMIT")
    }

    /// Returns the full name of a table of records.
    pub(crate) fn table(&self, name: &str) -> String {
        match self {
            Self::Postgres { schema, .. } => format!("\"{}\".{name}", schema.replace('"', "\"\"")),
            Self::Sqlite(_) => name.to_owned(),
        }
    }

    /// Keeps every other migrator of the same records away until the connection ends.
    ///
    /// SQLite has no such lock: there every transaction takes the database, and looks whether it is where it was left.
    pub(crate) async fn lock(&mut self, table: &str, lock_timeout: Duration) -> anyhow::Result<()> {
        let full = self.table(table);
        let Self::Postgres { connection, .. } = self else {
            return Ok(());
        };
        let deadline = Instant::now() + lock_timeout;
        loop {
            let locked: bool =
                sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended($1, 0))")
                    .bind(format!("klusterkite {full}"))
                    .fetch_one(&mut *connection)
                    .await
                    .map_err(plain)?;
            if locked {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!(
                    "another migrator holds the lock of `{table}` for more than {lock_timeout:?}"
                );
            }
            sleep(LOCK_PAUSE).await;
        }
    }

    /// Looks what there is.
    pub(super) async fn look(&mut self, table: &str) -> anyhow::Result<Found> {
        let full = self.table(table);
        let (is_recorded, is_empty): (bool, bool) = match self {
            Self::Postgres {
                connection, schema, ..
            } => {
                if schema.is_empty() {
                    bail!("no schema of its search path exists");
                }
                // Tables of extensions are nobody's data.
                sqlx::query_as(
                    "SELECT to_regclass($1) IS NOT NULL, NOT EXISTS (
                         SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                         WHERE n.nspname = $2 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT EXISTS (
                             SELECT 1 FROM pg_depend d
                             WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'))",
                )
                .bind(&full)
                .bind(&*schema)
                .fetch_one(connection)
                .await
            }
            Self::Sqlite(connection) => {
                sqlx::query_as(
                    "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = $1),
                         NOT EXISTS (SELECT 1 FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%')",
                )
                .bind(table)
                .fetch_one(connection)
                .await
            }
        }
        .map_err(plain)?;
        match (is_recorded, is_empty) {
            (true, _) => Ok(Found::Recorded(self.entries(&full).await?)),
            (false, true) => Ok(Found::Nothing),
            (false, false) => Ok(Found::Unrecorded),
        }
    }

    /// Reads the records.
    pub(super) async fn entries(&mut self, full: &str) -> anyhow::Result<Vec<Entry>> {
        let sql = format!(
            "SELECT point, checksum, how FROM {full} ORDER BY position LIMIT {}",
            ENTRIES_MAX + 1
        );
        let rows: Vec<(String, String, String)> =
            on_either!(self, c => sqlx::query_as(AssertSqlSafe(sql)).fetch_all(c).await)?;
        if rows.len() > ENTRIES_MAX {
            bail!("`{full}` has more than {ENTRIES_MAX} records");
        }
        let entry = |(point, checksum, how): (String, String, String)| {
            let known = How::parse(&how);
            Ok(Entry {
                point: point.parse()?,
                checksum,
                how: known.with_context(|| {
                    format!("`{full}` has a record of the unknown kind `{how}`")
                })?,
            })
        };
        rows.into_iter().map(entry).collect()
    }

    /// Writes a record at its position, instead of one of the same point.
    pub(super) async fn put(
        &mut self,
        full: &str,
        position: i64,
        entry: &Entry,
        unix_ms: i64,
    ) -> anyhow::Result<()> {
        self.remove(full, entry).await?;
        let sql = format!(
            "INSERT INTO {full} (position, point, checksum, how, unix_ms) VALUES ($1, $2, $3, $4, $5)"
        );
        on_either!(self, c => sqlx::query(AssertSqlSafe(sql))
            .bind(position)
            .bind(entry.point.as_str())
            .bind(&entry.checksum)
            .bind(entry.how.as_str())
            .bind(unix_ms)
            .execute(c)
            .await
            .map(drop))
    }

    /// Removes the record of a point.
    pub(super) async fn remove(&mut self, full: &str, entry: &Entry) -> anyhow::Result<()> {
        let sql = format!("DELETE FROM {full} WHERE point = $1");
        on_either!(self, c => sqlx::query(AssertSqlSafe(sql))
            .bind(entry.point.as_str())
            .execute(c)
            .await
            .map(drop))
    }

    /// Returns one number.
    pub(super) async fn number(&mut self, sql: String) -> anyhow::Result<i64> {
        on_either!(self, c => sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(c).await)
    }

    /// Counts references to rows that are not there; PostgreSQL never has any.
    pub(super) async fn broken_references(&mut self) -> anyhow::Result<i64> {
        match self {
            Self::Postgres { .. } => Ok(0),
            Self::Sqlite(_) => {
                let sql = "SELECT count(*) FROM pragma_foreign_key_check";
                self.number(sql.to_owned()).await
            }
        }
    }
}
