//! The database and its own record of the points that it has.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use klusterkite_migrator::points::Step;
use klusterkite_wire::Point;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection, Executor};
use tokio::runtime::Runtime;

use crate::content::Migration;

/// Longest wait for another writer; the service itself writes nothing.
const BUSY_WAIT: Duration = Duration::from_secs(10);

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS hello_points (position INTEGER PRIMARY KEY, point TEXT NOT NULL UNIQUE);
    CREATE TABLE IF NOT EXISTS hello_fence (id INTEGER PRIMARY KEY CHECK (id = 1), fence INTEGER NOT NULL);
    INSERT INTO hello_fence VALUES (1, 0) ON CONFLICT DO NOTHING;
";

const LAST_POINT: &str = "SELECT point FROM hello_points ORDER BY position DESC LIMIT 1";

/// A SQLite file.
pub(crate) struct Database {
    path: PathBuf,
    runtime: Runtime,
}

impl Database {
    pub(crate) fn new(path: PathBuf) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self { path, runtime })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the last applied point; a missing or empty database has none, and stays missing (bug B53 of the original).
    pub(crate) fn point(&self) -> anyhow::Result<Option<Point>> {
        if !self.path.try_exists()? {
            return Ok(None);
        }
        self.runtime.block_on(async {
            let mut connection = self.connect(self.options()).await?;
            let known: Option<String> = sqlx::query_scalar(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name = 'hello_points'",
            )
            .fetch_optional(&mut connection)
            .await?;
            let point = match known {
                Some(_) => last_point(&mut connection).await?,
                None => None,
            };
            connection.close().await?;
            Ok(point)
        })
    }

    /// Opens the database for a move, and makes it when it is missing.
    pub(crate) fn open(&self) -> anyhow::Result<Open<'_>> {
        let options = self
            .options()
            .create_if_missing(true)
            // Readers go on while a point is applied.
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let connection = self.runtime.block_on(async {
            let mut connection = self.connect(options).await?;
            connection.execute(sqlx::raw_sql(TABLES)).await?;
            anyhow::Ok(connection)
        })?;
        Ok(Open {
            runtime: &self.runtime,
            connection,
        })
    }

    fn options(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(&self.path)
            .create_if_missing(false)
            .busy_timeout(BUSY_WAIT)
    }

    async fn connect(&self, options: SqliteConnectOptions) -> anyhow::Result<SqliteConnection> {
        SqliteConnection::connect_with(&options)
            .await
            .with_context(|| format!("cannot open the database `{}`", self.path.display()))
    }
}

/// A database that is being moved.
pub(crate) struct Open<'a> {
    runtime: &'a Runtime,
    connection: SqliteConnection,
}

impl Open<'_> {
    /// Carries out one step in one transaction, or nothing of it.
    ///
    /// Refused when the database is not where the step begins, or was moved with a larger fence before.
    pub(crate) fn step(
        &mut self,
        step: &Step,
        from: Option<&Point>,
        line: &[Migration],
        fence: i64,
    ) -> anyhow::Result<()> {
        self.runtime.block_on(async {
            let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
            let last_fence: i64 = sqlx::query_scalar("SELECT fence FROM hello_fence")
                .fetch_one(&mut *transaction)
                .await?;
            if fence < last_fence {
                bail!("the order is old: its fence is {fence}, the database was moved with {last_fence}");
            }
            let found = last_point(&mut transaction).await?;
            if found.as_ref() != from {
                bail!("another program moves the database: it is at {found:?}, not at {from:?}");
            }
            let (point, record) = match step {
                Step::Up(point) => (
                    point,
                    "INSERT INTO hello_points (position, point)
                     SELECT COALESCE(MAX(position), 0) + 1, $1 FROM hello_points",
                ),
                Step::Down(point) => (point, "DELETE FROM hello_points WHERE point = $1"),
            };
            let migration = line
                .iter()
                .find(|migration| migration.point == *point)
                .with_context(|| format!("point `{point}` has no SQL"))?;
            let sql = match step {
                Step::Up(_) => &migration.up,
                Step::Down(_) => &migration.down,
            };
            // The SQL is content of this package, whose hash was checked.
            sqlx::raw_sql(AssertSqlSafe(sql.clone()))
                .execute(&mut *transaction)
                .await
                .with_context(|| format!("the SQL of {step:?} failed"))?;
            sqlx::query(record)
                .bind(point.as_str())
                .execute(&mut *transaction)
                .await?;
            sqlx::query("UPDATE hello_fence SET fence = $1")
                .bind(fence)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            Ok(())
        })
    }
}

async fn last_point(connection: &mut SqliteConnection) -> anyhow::Result<Option<Point>> {
    let point: Option<String> = sqlx::query_scalar(LAST_POINT)
        .fetch_optional(connection)
        .await?;
    point.map(|point| Ok(point.parse()?)).transpose()
}
