use std::io;

use klusterkite_wire::LeaderEpoch;

/// What went wrong, and on which object.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no database.
    #[error("there is no database `{path}`; run `klusterkite-seeder` once to create it")]
    NotFound {
        /// Path of the database.
        path: String,
    },
    /// The file is there but holds no cluster.
    #[error(
        "`{path}` is not seeded: it holds no cluster; move the file away and run `klusterkite-seeder` to create it"
    )]
    NotSeeded {
        /// Path of the database.
        path: String,
    },
    /// Another process holds the database.
    #[error(
        "another manager or seeder holds `{path}`; with SQLite there is one manager at a time, so stop the other one"
    )]
    Locked {
        /// Path of the lock file.
        path: String,
    },
    /// The database was written by a release that this one cannot work beside.
    #[error(
        "`{path}` has schema {version}, which needs a release that knows schema {compatible}; this one knows {ours}"
    )]
    Newer {
        /// Path of the database.
        path: String,
        /// Schema of the database.
        version: i64,
        /// Oldest schema that a release must know to work with it.
        compatible: i64,
        /// Schema of this release.
        ours: i64,
    },
    /// Another leader has taken over: nothing was written, and this one has to stop leading.
    #[error("the leader with epoch {epoch} was replaced by the one with epoch {current}")]
    Fenced {
        /// Epoch of the caller.
        epoch: LeaderEpoch,
        /// Epoch in the database.
        current: LeaderEpoch,
    },
    /// The disk or the quota is full: nothing was written.
    #[error("the disk of `{path}` is full; make room, nothing of this change was written")]
    Full {
        /// Path of the database.
        path: String,
        /// The cause.
        source: sqlx::Error,
    },
    /// A foreign program keeps the database locked: nothing was written.
    #[error("`{path}` is locked by another program; end it, nothing of this change was written")]
    Busy {
        /// Path of the database.
        path: String,
        /// The cause.
        source: sqlx::Error,
    },
    /// The file is damaged or no database.
    #[error("`{path}` is damaged or not a database; restore it from a backup")]
    Corrupt {
        /// Path of the database.
        path: String,
        /// The cause.
        source: sqlx::Error,
    },
    /// The database refused a statement or failed.
    #[error("cannot {action} `{path}`")]
    Database {
        /// What was being done.
        action: &'static str,
        /// Path of the database.
        path: String,
        /// The cause.
        source: sqlx::Error,
    },
    /// A file beside the database failed.
    #[error("cannot {action} `{path}`")]
    File {
        /// What was being done.
        action: &'static str,
        /// Path of the file.
        path: String,
        /// The cause.
        source: io::Error,
    },
    /// A stored row cannot be understood.
    #[error("row `{key}` of table `{table}` cannot be read: its `{column}` {reason}")]
    Row {
        /// Table.
        table: &'static str,
        /// First column of the row.
        key: String,
        /// Column.
        column: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A value does not fit its column.
    #[error("{what} {value} is too large to be stored")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// The value.
        value: u64,
    },
    /// A commit would break a rule that must hold whatever the caller thinks: nothing was written.
    #[error("the change was refused: there would be {count} {what}, and there may be one")]
    Invariant {
        /// What there is one of.
        what: &'static str,
        /// How many there would be.
        count: i64,
    },
}
