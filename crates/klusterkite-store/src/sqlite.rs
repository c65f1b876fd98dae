//! The engine: connections, statements, errors of SQLite.

use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _, TypeInfo as _, ValueRef as _};

use crate::codec::read::Record;
use crate::codec::{Statement, Value};
use crate::{Error, schema, sql};

/// How long a statement waits for a foreign program that holds the database, such as a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Size to which the write-ahead log is cut after a checkpoint, in bytes: a burst does not keep the disk.
const LOG_BYTES: &str = "67108864";

/// Pages of 4 KiB in the write-ahead log after which they are copied into the database: half of the size above, so that
/// ten thousand nodes that come at once are copied a few times and not, as by default, after each four megabytes.
const LOG_PAGES: &str = "8192";

const NOT_A_DATABASE: i32 = 26;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const BUSY: i32 = 5;
const LOCKED: i32 = 6;

/// Says how a database file is opened. `synchronous=FULL`: a commit that returned survives a power cut.
pub(crate) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .pragma("journal_size_limit", LOG_BYTES)
        .pragma("wal_autocheckpoint", LOG_PAGES)
}

/// Returns version and compatible version of the schema; `None` when the file holds no cluster.
pub(crate) async fn schema_version(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<Option<(i64, i64)>, Error> {
    let there = "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'store_schema'";
    if number(connection, there, Vec::new(), path).await? == 0 {
        return Ok(None);
    }
    let records = query(
        connection,
        "store_schema",
        sql::SCHEMA_GET,
        Vec::new(),
        path,
    )
    .await?;
    let Some(mut record) = records.into_iter().next() else {
        return Ok(None);
    };
    Ok(Some((
        record.number("version")?,
        record.number("compatible")?,
    )))
}

/// Brings an older schema to that of this release; refuses one that is too new.
pub(crate) async fn upgrade(connection: &mut SqliteConnection, path: &Path) -> Result<(), Error> {
    let shown = || path.display().to_string();
    let Some((version, compatible)) = schema_version(connection, path).await? else {
        return Err(Error::NotSeeded { path: shown() });
    };
    if compatible > schema::VERSION {
        return Err(Error::Newer {
            path: shown(),
            version,
            compatible,
            ours: schema::VERSION,
        });
    }
    let steps = schema::missing(version);
    if steps.is_empty() {
        return Ok(());
    }
    let failed = |source| sorted(source, "upgrade the schema of", path);
    let mut transaction = connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(failed)?;
    for &step in steps {
        transaction
            .execute(sqlx::raw_sql(step))
            .await
            .map_err(failed)?;
    }
    let values = vec![
        Value::Number(schema::VERSION),
        Value::Number(schema::COMPATIBLE),
    ];
    execute(
        &mut transaction,
        Statement {
            sql: sql::SCHEMA_SET.into(),
            values,
        },
        path,
    )
    .await?;
    transaction.commit().await.map_err(failed)
}

/// Runs a statement that returns nothing.
pub(crate) async fn execute(
    connection: &mut SqliteConnection,
    statement: Statement,
    path: &Path,
) -> Result<(), Error> {
    // Every text is made in `sql`; values are bound.
    let mut query = match statement.sql {
        Cow::Borrowed(sql) => sqlx::query(sql),
        Cow::Owned(sql) => sqlx::query(AssertSqlSafe(sql)),
    };
    for value in statement.values {
        query = bind(query, value);
    }
    query
        .execute(connection)
        .await
        .map_err(|error| sorted(error, "write", path))?;
    Ok(())
}

/// Runs a statement and returns its rows.
pub(crate) async fn query(
    connection: &mut SqliteConnection,
    table: &'static str,
    sql: &'static str,
    values: Vec<Value>,
    path: &Path,
) -> Result<Vec<Record>, Error> {
    let failed = |error| sorted(error, "read", path);
    let mut query = sqlx::query(sql);
    for value in values {
        query = bind(query, value);
    }
    let rows = query.fetch_all(connection).await.map_err(failed)?;
    rows.iter()
        .map(|row| record(table, row).map_err(failed))
        .collect()
}

/// Runs a statement that returns one number.
pub(crate) async fn number(
    connection: &mut SqliteConnection,
    sql: &'static str,
    values: Vec<Value>,
    path: &Path,
) -> Result<i64, Error> {
    let records = query(connection, "", sql, values, path).await?;
    let first = records.into_iter().next();
    let mut record = first.ok_or_else(|| sorted(sqlx::Error::RowNotFound, "read", path))?;
    record.number("")
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

fn bind(query: Query<'_>, value: Value) -> Query<'_> {
    match value {
        Value::Null => query.bind(None::<String>),
        Value::Text(text) => query.bind(text),
        Value::Number(number) => query.bind(number),
        Value::Flag(flag) => query.bind(flag),
    }
}

fn record(table: &'static str, row: &SqliteRow) -> Result<Record, sqlx::Error> {
    let mut values = Vec::with_capacity(row.len());
    for index in 0..row.len() {
        let raw = row.try_get_raw(index)?;
        values.push(if raw.is_null() {
            Value::Null
        } else if raw.type_info().name() == "INTEGER" {
            Value::Number(row.try_get_unchecked(index)?)
        } else {
            Value::Text(row.try_get(index)?)
        });
    }
    Ok(Record::new(table, values))
}

/// Sorts an error of the engine into those that an operator can do something about.
pub(crate) fn sorted(source: sqlx::Error, action: &'static str, path: &Path) -> Error {
    let path = path.display().to_string();
    // The low byte of an extended result code is the code itself (sqlite.org/rescode.html).
    match code(&source).map(|code| code & 0xff) {
        Some(FULL) => Error::Full { path, source },
        Some(BUSY | LOCKED) => Error::Busy { path, source },
        Some(CORRUPT | NOT_A_DATABASE) => Error::Corrupt { path, source },
        _ => Error::Database {
            action,
            path,
            source,
        },
    }
}

fn code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}
