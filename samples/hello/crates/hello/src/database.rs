//! What the service reads from its database; it never changes the schema.

use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};

/// Connections at most: a request reads twice, for less than a millisecond.
const CONNECTIONS_MAX: u32 = 4;

/// Longest wait for a connection, and for a writer that commits.
const WAIT: Duration = Duration::from_secs(2);

/// The database, opened when it is first needed and found whenever it appears.
#[derive(Clone)]
pub(crate) struct Database {
    pool: SqlitePool,
    needed: Vec<String>,
}

impl Database {
    pub(crate) fn new(path: &Path, needed: Vec<String>) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .busy_timeout(WAIT);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(WAIT)
            .connect_lazy_with(options);
        Self { pool, needed }
    }

    /// Returns the database's point, or fails when a point is missing that this version needs.
    pub(crate) async fn point(&self) -> anyhow::Result<String> {
        let applied: Vec<String> =
            sqlx::query_scalar("SELECT point FROM hello_points ORDER BY position")
                .fetch_all(&self.pool)
                .await?;
        for needed in &self.needed {
            if !applied.contains(needed) {
                bail!("the database is not at point `{needed}` yet");
            }
        }
        match applied.last() {
            Some(point) => Ok(point.clone()),
            None => bail!("the database is not created yet"),
        }
    }

    /// Returns how to say hello, in each language that the database knows.
    pub(crate) async fn greetings(&self) -> anyhow::Result<Vec<String>> {
        let greetings = sqlx::query_scalar("SELECT text FROM greetings ORDER BY id")
            .fetch_all(&self.pool)
            .await?;
        Ok(greetings)
    }
}
