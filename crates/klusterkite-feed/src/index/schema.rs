//! The tables of the index, and how an older index becomes a newer one.

use sqlx::{Sqlite, SqlitePool, Transaction};

use crate::Error;

/// What makes each schema of the one before it; the first makes one of an empty file.
const STEPS: [&str; 3] = [PACKAGES, SYMBOLS_AND_UPSTREAMS, PURGED_BY_HAND];

/// The schema that this program writes; kept in SQLite's `user_version`.
const SCHEMA: i64 = STEPS.len() as i64;

const PACKAGES: &str = "
CREATE TABLE packages (
    id_lower TEXT NOT NULL,
    version_lower TEXT NOT NULL,
    id TEXT NOT NULL,
    version TEXT NOT NULL,
    sha512 TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    listed INTEGER NOT NULL,
    published TEXT NOT NULL,
    prerelease INTEGER NOT NULL,
    semver2 INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    nuspec TEXT NOT NULL,
    manifest TEXT,
    files TEXT NOT NULL,
    title_lower TEXT NOT NULL,
    tags_lower TEXT NOT NULL,
    authors_lower TEXT NOT NULL,
    owners_lower TEXT NOT NULL,
    description_lower TEXT NOT NULL,
    types_lower TEXT NOT NULL,
    PRIMARY KEY (id_lower, version_lower)
) STRICT;
CREATE TABLE purged (
    id_lower TEXT NOT NULL,
    version_lower TEXT NOT NULL,
    sha512 TEXT NOT NULL,
    PRIMARY KEY (id_lower, version_lower)
) STRICT;
CREATE TABLE undecided (sha512 TEXT PRIMARY KEY) STRICT;
CREATE TABLE pins (
    cluster TEXT NOT NULL,
    id_lower TEXT NOT NULL,
    version_lower TEXT NOT NULL,
    PRIMARY KEY (cluster, id_lower, version_lower)
) STRICT;
CREATE INDEX pins_by_package ON pins (id_lower, version_lower);
";

/// `upstream` is the name of the feed that a package was fetched from; NULL for what was pushed here.
const SYMBOLS_AND_UPSTREAMS: &str = "
CREATE TABLE symbols (
    id_lower TEXT NOT NULL,
    version_lower TEXT NOT NULL,
    sha512 TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    published TEXT NOT NULL,
    PRIMARY KEY (id_lower, version_lower)
) STRICT;
CREATE TABLE symbols_purged (
    id_lower TEXT NOT NULL,
    version_lower TEXT NOT NULL,
    sha512 TEXT NOT NULL,
    PRIMARY KEY (id_lower, version_lower)
) STRICT;
CREATE TABLE undecided_blobs (
    kind TEXT NOT NULL,
    sha512 TEXT NOT NULL,
    PRIMARY KEY (kind, sha512)
) STRICT;
INSERT INTO undecided_blobs (kind, sha512) SELECT 'package', sha512 FROM undecided;
DROP TABLE undecided;
ALTER TABLE undecided_blobs RENAME TO undecided;
ALTER TABLE packages ADD COLUMN upstream TEXT;
ALTER TABLE purged ADD COLUMN upstream TEXT;
";

/// What rules of retention removed may be fetched from its upstream again; what a person removed
/// may not.
const PURGED_BY_HAND: &str = "
ALTER TABLE purged ADD COLUMN by_hand INTEGER NOT NULL DEFAULT 1;
";

/// Refuses an index that is not of this program's schema.
pub(super) async fn check(pool: &SqlitePool) -> Result<(), Error> {
    let found: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(pool)
        .await
        .map_err(Error::index("read the schema of"))?;
    match found {
        SCHEMA => Ok(()),
        older if older < SCHEMA => Err(Error::IndexTooOld {
            found,
            known: SCHEMA,
        }),
        _ => Err(Error::IndexTooNew {
            found,
            known: SCHEMA,
        }),
    }
}

/// Writes the schema's number again, which changes nothing.
pub(super) async fn write_version(
    transaction: &mut Transaction<'static, Sqlite>,
) -> Result<(), Error> {
    let sql = format!("PRAGMA user_version = {SCHEMA}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
        .execute(&mut **transaction)
        .await
        .map(drop)
        .map_err(Error::index("write"))
}

/// Makes the tables that are missing; an index of a newer program is refused.
pub(super) async fn update(transaction: &mut Transaction<'static, Sqlite>) -> Result<(), Error> {
    let found: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(&mut **transaction)
        .await
        .map_err(Error::index("read the schema of"))?;
    let done = usize::try_from(found).ok().filter(|_| found <= SCHEMA);
    let done = done.ok_or(Error::IndexTooNew {
        found,
        known: SCHEMA,
    })?;
    for (step, sql) in STEPS.iter().enumerate().skip(done) {
        sqlx::raw_sql(*sql)
            .execute(&mut **transaction)
            .await
            .map_err(Error::index("create the tables of"))?;
        // The number stands in the file's header and is part of the transaction.
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
            "PRAGMA user_version = {}",
            step + 1
        )))
        .execute(&mut **transaction)
        .await
        .map_err(Error::index("number the schema of"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

    use super::*;
    use crate::blobs::Kind;
    use crate::index::Index;

    #[tokio::test]
    async fn an_index_of_the_first_schema_keeps_what_it_knows() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("index.sqlite");
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true);
        let old = SqlitePool::connect_with(options).await.unwrap();
        let hash = "ab".repeat(64);
        for sql in [
            PACKAGES.to_owned(),
            format!("INSERT INTO undecided VALUES ('{hash}')"),
            "PRAGMA user_version = 1".to_owned(),
        ] {
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
                .execute(&old)
                .await
                .unwrap();
        }
        old.close().await;
        let index = Index::open(&path).await.unwrap();
        let undecided = index.undecided().await.unwrap();
        assert_eq!(undecided.len(), 1);
        assert_eq!(
            (undecided[0].0, undecided[0].1.hex()),
            (Kind::Package, hash)
        );
    }

    #[tokio::test]
    async fn an_index_of_a_newer_program_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("index.sqlite");
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true);
        let newer = SqlitePool::connect_with(options).await.unwrap();
        sqlx::raw_sql("PRAGMA user_version = 1000")
            .execute(&newer)
            .await
            .unwrap();
        newer.close().await;
        let error = Index::open(&path).await.unwrap_err();
        assert!(
            matches!(error, Error::IndexTooNew { found: 1000, .. }),
            "{error}"
        );
    }
}
