mod lines;

pub use lines::{LINES_MAX, LINES_OF_RESOURCE_MAX};

use std::path::{Path, PathBuf};

use klusterkite_wire::LeaderEpoch;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::Mutex;

use crate::codec::read::{self, Record};
use crate::codec::{CONFIGURATION_COUNTER, ORDER_COUNTER, Statement, Value, write};
use crate::files::{self, Lock};
use crate::rows::{EventRow, MigrationLogRow, MigrationRow};
use crate::sqlite::{execute, number, options, query, schema_version, sorted, upgrade};
use crate::{Change, Error, Seed, Snapshot, schema, sql};

/// Connections that serve histories while the writer writes: pages of events and logs are short queries.
const READERS: u32 = 2;

/// The database of one cluster, held by this process.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    writer: Mutex<SqliteConnection>,
    readers: SqlitePool,
    _lock: Lock,
}

/// What became of an attempt to create a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// It was created.
    Seeded,
    /// It was there already; nothing was changed.
    AlreadyThere,
}

/// A part of a list and how long the whole list is.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// Rows.
    pub rows: Vec<T>,
    /// Number of rows on all pages.
    pub total: u64,
}

impl Store {
    /// Creates the database with its first rows. It appears as a whole or not at all, whenever this
    /// process is killed.
    pub async fn create(path: &Path, seed: &Seed) -> Result<Created, Error> {
        if Self::is_seeded(path).await? {
            return Ok(Created::AlreadyThere);
        }
        let _lock = Lock::take(path)?;
        // Another seeder may have been faster.
        if Self::is_seeded(path).await? {
            return Ok(Created::AlreadyThere);
        }
        let statements = write::seed(seed)?;
        let draft = files::start(path)?;
        let mut connection = connect(&options(&draft), &draft).await?;
        let failed = |source| sorted(source, "create", &draft);
        let mut transaction = connection
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(failed)?;
        for step in schema::STEPS {
            sqlx::raw_sql(step)
                .execute(&mut *transaction)
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
            &draft,
        )
        .await?;
        for statement in statements {
            execute(&mut transaction, statement, &draft).await?;
        }
        check_invariants(&mut transaction, &draft).await?;
        transaction.commit().await.map_err(failed)?;
        connection.close().await.map_err(failed)?;
        files::finish(&draft, path)?;
        Ok(Created::Seeded)
    }

    /// Tells whether there is a database with a cluster in it; needs no lock and changes nothing.
    ///
    /// Fails when there is a file that holds no cluster: it is never overwritten.
    pub async fn is_seeded(path: &Path) -> Result<bool, Error> {
        match files::size(path)? {
            None => return Ok(false),
            Some(0) => {
                return Err(Error::NotSeeded {
                    path: path.display().to_string(),
                });
            }
            Some(_) => {}
        }
        let mut connection = connect(&options(path), path).await?;
        let version = schema_version(&mut connection, path).await?;
        connection
            .close()
            .await
            .map_err(|source| sorted(source, "read", path))?;
        match version {
            Some(_) => Ok(true),
            None => Err(Error::NotSeeded {
                path: path.display().to_string(),
            }),
        }
    }

    /// Opens the database and holds it until the store is dropped; an older schema is upgraded.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        if files::size(path)?.is_none() {
            return Err(Error::NotFound {
                path: path.display().to_string(),
            });
        }
        let lock = Lock::take(path)?;
        if !Self::is_seeded(path).await? {
            return Err(Error::NotFound {
                path: path.display().to_string(),
            });
        }
        let options = options(path);
        let mut writer = connect(&options, path).await?;
        upgrade(&mut writer, path).await?;
        // Only a database that is ours for sure gets a write-ahead log.
        writer
            .close()
            .await
            .map_err(|source| sorted(source, "open", path))?;
        let options = options.journal_mode(SqliteJournalMode::Wal);
        let writer = connect(&options, path).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_lazy_with(options.pragma("query_only", "ON"));
        Ok(Self {
            path: path.to_owned(),
            writer: Mutex::new(writer),
            readers,
            _lock: lock,
        })
    }

    /// Returns the path of the database.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes `holder` the leader and returns its epoch: larger than every one before, and at least `unix_ms`.
    pub async fn leader_acquire(&self, holder: &str, unix_ms: u64) -> Result<LeaderEpoch, Error> {
        let values = vec![write::time(unix_ms)?, Value::Text(holder.to_owned())];
        let mut writer = self.writer.lock().await;
        let epoch = number(&mut writer, sql::EPOCH_TAKE, values, &self.path).await?;
        Ok(leader_epoch(epoch))
    }

    /// Fails when another manager than the caller leads; waits for no writer.
    pub async fn check_leader(&self, epoch: LeaderEpoch) -> Result<(), Error> {
        let mut reader = self.reader().await?;
        check_epoch(&mut reader, epoch, &self.path).await
    }

    /// Applies all changes or none of them, provided that the caller still leads.
    ///
    /// When this returns, they survive the end of the process and of the power.
    pub async fn commit(&self, epoch: LeaderEpoch, changes: &[Change]) -> Result<(), Error> {
        let statements = write::changes(changes)?;
        let path = &self.path;
        let failed = |source| sorted(source, "write", path);
        let mut writer = self.writer.lock().await;
        // Immediate: a transaction that reads first and then wants to write fails without waiting.
        let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        check_epoch(&mut transaction, epoch, path).await?;
        for statement in statements {
            execute(&mut transaction, statement, path).await?;
        }
        if changes.iter().any(needs_check) {
            check_invariants(&mut transaction, path).await?;
        }
        transaction.commit().await.map_err(failed)
    }

    /// Loads everything that the manager holds in memory, as of one moment.
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        let path = &self.path;
        let failed = |source| sorted(source, "read", path);
        let mut writer = self.writer.lock().await;
        let mut transaction = writer.begin().await.map_err(failed)?;
        let db = &mut *transaction;
        let mut snapshot = Snapshot {
            configurations: all(
                db,
                "configurations",
                sql::CONFIGURATIONS,
                read::configuration,
                path,
            )
            .await?,
            nodes: all(db, "nodes", sql::NODES, read::node, path).await?,
            orders: all(db, "orders", sql::ORDERS, read::order, path).await?,
            requests: all(db, "requests", sql::REQUESTS, read::request, path).await?,
            gates: all(db, "gates", sql::GATES, read::gate, path).await?,
            migration: all(
                db,
                "migrations",
                sql::MIGRATION_ACTIVE,
                read::migration,
                path,
            )
            .await?
            .pop(),
            users: all(db, "users", sql::USERS, read::user, path).await?,
            roles: all(db, "roles", sql::ROLES, read::role, path).await?,
            clients: all(db, "clients", sql::CLIENTS, read::client, path).await?,
            tokens: all(db, "tokens", sql::TOKENS, read::token, path).await?,
            last_event_id: number(db, sql::EVENTS_LAST, Vec::new(), path).await?,
            last_migration_id: number(db, sql::MIGRATIONS_LAST, Vec::new(), path).await?,
            last_migration_log_id: number(db, sql::LOG_LAST, Vec::new(), path).await?,
            last_order_id: 0,
            last_configuration_id: 0,
        };
        for mut counter in query(db, "counters", sql::COUNTERS, Vec::new(), path).await? {
            let name = counter.text("name")?;
            let value = counter.number("value")?;
            match name.as_str() {
                CONFIGURATION_COUNTER => snapshot.last_configuration_id = value,
                ORDER_COUNTER => snapshot.last_order_id = value,
                // A newer release may count more.
                _ => {}
            }
        }
        transaction.commit().await.map_err(failed)?;
        Ok(snapshot)
    }

    /// Returns the events after an id, oldest first.
    pub async fn events(&self, after: i64, limit: u32) -> Result<Page<EventRow>, Error> {
        let values = vec![Value::Number(after), Value::Number(limit.into())];
        self.page(
            ("events", sql::EVENTS_AFTER, values),
            read::event,
            (sql::EVENTS_COUNT, Vec::new()),
        )
        .await
    }

    /// Returns the events before an id, newest first; without one from the newest.
    pub async fn events_before(
        &self,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Page<EventRow>, Error> {
        let values = vec![
            Value::Number(before.unwrap_or(i64::MAX)),
            Value::Number(limit.into()),
        ];
        self.page(
            ("events", sql::EVENTS_BEFORE, values),
            read::event,
            (sql::EVENTS_COUNT, Vec::new()),
        )
        .await
    }

    /// Returns the migrations before an id, newest first; without one from the newest.
    pub async fn migrations(
        &self,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Page<MigrationRow>, Error> {
        let values = vec![
            Value::Number(before.unwrap_or(i64::MAX)),
            Value::Number(limit.into()),
        ];
        let select = ("migrations", sql::MIGRATIONS_BEFORE, values);
        self.page(select, read::migration, (sql::MIGRATIONS_COUNT, Vec::new()))
            .await
    }

    /// Returns a migration.
    pub async fn migration(&self, id: i64) -> Result<Option<MigrationRow>, Error> {
        let mut reader = self.reader().await?;
        let values = vec![Value::Number(id)];
        let records = query(
            &mut reader,
            "migrations",
            sql::MIGRATION_GET,
            values,
            &self.path,
        )
        .await?;
        records.into_iter().next().map(read::migration).transpose()
    }

    /// Returns the log of a migration after an entry's id, oldest first.
    pub async fn migration_log(
        &self,
        migration: i64,
        after: i64,
        limit: u32,
    ) -> Result<Page<MigrationLogRow>, Error> {
        let values = vec![
            Value::Number(migration),
            Value::Number(after),
            Value::Number(limit.into()),
        ];
        let select = ("migration_log", sql::LOG_OF_MIGRATION, values);
        self.page(
            select,
            read::log,
            (sql::LOG_COUNT, vec![Value::Number(migration)]),
        )
        .await
    }

    /// Lets go of the database in an orderly way; dropping the store loses nothing either.
    pub async fn close(self) -> Result<(), Error> {
        self.readers.close().await;
        let failed = |source| sorted(source, "close", &self.path);
        self.writer.into_inner().close().await.map_err(failed)
    }

    async fn page<T>(
        &self,
        (table, select, values): (&'static str, &'static str, Vec<Value>),
        decode: fn(Record) -> Result<T, Error>,
        (count, count_values): (&'static str, Vec<Value>),
    ) -> Result<Page<T>, Error> {
        let mut reader = self.reader().await?;
        let records = query(&mut reader, table, select, values, &self.path).await?;
        let rows = records.into_iter().map(decode).collect::<Result<_, _>>()?;
        let total = number(&mut reader, count, count_values, &self.path).await?;
        Ok(Page {
            rows,
            total: u64::try_from(total).unwrap_or(0),
        })
    }

    async fn reader(&self) -> Result<sqlx::pool::PoolConnection<sqlx::Sqlite>, Error> {
        self.readers
            .acquire()
            .await
            .map_err(|source| sorted(source, "read", &self.path))
    }
}

async fn connect(options: &SqliteConnectOptions, path: &Path) -> Result<SqliteConnection, Error> {
    options
        .connect()
        .await
        .map_err(|source| sorted(source, "open", path))
}

async fn all<T>(
    connection: &mut SqliteConnection,
    table: &'static str,
    select: &'static str,
    decode: fn(Record) -> Result<T, Error>,
    path: &Path,
) -> Result<Vec<T>, Error> {
    let records = query(connection, table, select, Vec::new(), path).await?;
    records.into_iter().map(decode).collect()
}

/// Tells whether a change could break what [`check_invariants`] looks at.
fn needs_check(change: &Change) -> bool {
    matches!(
        change,
        Change::ConfigurationPut(_) | Change::MigrationPut(_)
    )
}

/// Refuses a second Active configuration and a second active migration (invariant I2), at the end of a
/// transaction, so that the order of its changes does not matter.
async fn check_invariants(connection: &mut SqliteConnection, path: &Path) -> Result<(), Error> {
    let rules = [
        ("Active configurations", sql::CONFIGURATIONS_ACTIVE_COUNT),
        ("active migrations", sql::MIGRATIONS_ACTIVE_COUNT),
    ];
    for (what, count) in rules {
        let count = number(connection, count, Vec::new(), path).await?;
        if count > 1 {
            return Err(Error::Invariant { what, count });
        }
    }
    Ok(())
}

/// Fails when another manager than the one of this epoch leads.
async fn check_epoch(
    connection: &mut SqliteConnection,
    epoch: LeaderEpoch,
    path: &Path,
) -> Result<(), Error> {
    let current = number(connection, sql::EPOCH_GET, Vec::new(), path).await?;
    let current = leader_epoch(current);
    if current != epoch {
        return Err(Error::Fenced { epoch, current });
    }
    Ok(())
}

fn leader_epoch(stored: i64) -> LeaderEpoch {
    // Epochs start at 0 and only grow.
    LeaderEpoch(u64::try_from(stored).unwrap_or(0))
}
