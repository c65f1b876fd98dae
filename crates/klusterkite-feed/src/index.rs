//! The list of packages, in SQLite.
//!
//! Every change is one transaction, durable when it returns. Bytes on disk and rows agree through
//! the table `undecided`: a kind and hash stands there from before its file appears until its row is
//! written, and from when its row is removed until its file is gone. So after any crash the files
//! to remove are known, and a file that no row knows is never removed on suspicion.

mod candidates;
mod catalog;
mod many;
mod row;
mod schema;
mod search;
mod symbols;
mod upstream;

use std::path::Path;
use std::sync::Arc;

use klusterkite_nuget::v3::{FileFacts, PackageFacts};
use klusterkite_nuget::{PackageId, Sha512Hash, Version};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, SqlitePool, Transaction};

use crate::Error;
use crate::blobs::Kind;

use catalog::Shared;
pub(crate) use row::{NewPackage, PackageRow};
pub(crate) use search::{Query, Versions};
pub(crate) use symbols::NewSymbols;

/// Connections to the index: readers do not wait for each other, and more than this would not be
/// faster on any disk.
const CONNECTIONS: u32 = 8;

/// The index of a feed.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    pool: SqlitePool,
    shared: Arc<Shared>,
}

impl Index {
    /// Opens the index, and makes an empty one if there is none.
    pub(crate) async fn open(path: &Path) -> Result<Self, Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            // The feed's writers queue before they come here; only a reader that checkpoints can
            // be in the way, and for milliseconds.
            .busy_timeout(std::time::Duration::from_secs(10));
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .connect_with(options)
            .await;
        let index = Self {
            pool: pool.map_err(Error::index("open"))?,
            shared: Arc::default(),
        };
        index.create().await?;
        Ok(index)
    }

    /// Opens an index to read it, beside the process that serves it if there is one.
    pub(crate) async fn open_to_read(path: &Path) -> Result<Self, Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .pragma("query_only", "ON")
            .busy_timeout(std::time::Duration::from_secs(10));
        let pool = SqlitePoolOptions::new().connect_with(options).await;
        let index = Self {
            pool: pool.map_err(Error::index("open"))?,
            shared: Arc::default(),
        };
        schema::check(&index.pool).await?;
        Ok(index)
    }

    async fn create(&self) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        schema::update(&mut transaction).await?;
        commit(transaction).await
    }

    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, Error> {
        // Immediate: a transaction that reads first and writes later could fail in between.
        self.pool
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(Error::index("begin a change of"))
    }

    /// Makes every further insert fail, as a broken disk would.
    #[cfg(test)]
    pub(crate) async fn break_packages(&self) {
        let trigger = "CREATE TRIGGER broken BEFORE INSERT ON packages BEGIN SELECT RAISE(ABORT, 'broken'); END";
        sqlx::raw_sql(trigger).execute(&self.pool).await.unwrap();
    }

    /// Writes what is there already, to see whether the index can be written.
    pub(crate) async fn check_writable(&self) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        schema::write_version(&mut transaction).await?;
        commit(transaction).await
    }

    /// Returns how many versions there are and the bytes of all packages.
    pub(crate) async fn totals(&self) -> Result<(u64, u64), Error> {
        let totals: (i64, i64) =
            sqlx::query_as("SELECT count(*), coalesce(sum(size), 0) FROM packages")
                .fetch_one(&self.pool)
                .await
                .map_err(Error::index("read"))?;
        Ok((totals.0 as u64, totals.1 as u64))
    }

    /// Makes further inserts of one package fail.
    #[cfg(test)]
    pub(crate) async fn break_package(&self, id_lower: &str) {
        let trigger = format!(
            "CREATE TRIGGER broken_one BEFORE INSERT ON packages WHEN NEW.id_lower = '{id_lower}'
             BEGIN SELECT RAISE(ABORT, 'broken'); END"
        );
        let trigger = sqlx::AssertSqlSafe(trigger);
        sqlx::raw_sql(trigger).execute(&self.pool).await.unwrap();
    }

    /// Closes all connections, so that the write-ahead log is folded into the file.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    /// Returns all versions of a package, lowest first.
    pub(crate) async fn packages(&self, id: &PackageId) -> Result<Vec<PackageRow>, Error> {
        let rows = sqlx::query(row::SELECT_BY_ID)
            .bind(id.lower())
            .fetch_all(&self.pool)
            .await;
        let rows = rows.map_err(Error::index("read"))?;
        let mut packages = rows
            .iter()
            .map(PackageRow::read)
            .collect::<Result<Vec<_>, _>>()?;
        packages.sort_by(|a, b| a.version.cmp(&b.version));
        Ok(packages)
    }

    /// Returns one version of a package.
    pub(crate) async fn package(
        &self,
        id: &PackageId,
        version: &Version,
    ) -> Result<Option<PackageRow>, Error> {
        let row = sqlx::query(row::SELECT_BY_VERSION)
            .bind(id.lower())
            .bind(version.lower())
            .fetch_optional(&self.pool)
            .await
            .map_err(Error::index("read"))?;
        row.as_ref().map(PackageRow::read).transpose()
    }

    /// Returns the versions of a package in lower case, lowest first, unlisted ones too.
    pub(crate) async fn versions(&self, id: &PackageId) -> Result<Vec<String>, Error> {
        let texts: Vec<String> =
            sqlx::query_scalar("SELECT version_lower FROM packages WHERE id_lower = $1")
                .bind(id.lower())
                .fetch_all(&self.pool)
                .await
                .map_err(Error::index("read"))?;
        let unreadable = |_| Error::Row {
            object: id.to_string(),
        };
        let versions = texts
            .iter()
            .map(|text| text.parse())
            .collect::<Result<Vec<Version>, _>>();
        let mut versions = versions.map_err(unreadable)?;
        versions.sort();
        Ok(versions.iter().map(Version::lower).collect())
    }

    /// Returns where a package's bytes are.
    pub(crate) async fn blob(
        &self,
        id: &PackageId,
        version: &Version,
    ) -> Result<Option<(Kind, Sha512Hash)>, Error> {
        let found: Option<(String, bool)> = sqlx::query_as(
            "SELECT sha512, upstream IS NOT NULL FROM packages
             WHERE id_lower = $1 AND version_lower = $2",
        )
        .bind(id.lower())
        .bind(version.lower())
        .fetch_optional(&self.pool)
        .await
        .map_err(Error::index("read"))?;
        let Some((hex, is_upstream)) = found else {
            return Ok(None);
        };
        Ok(Some((Kind::of_package(is_upstream), parse_hash(&hex)?)))
    }

    /// Returns a package's nuspec as it is in the package.
    pub(crate) async fn nuspec(
        &self,
        id: &PackageId,
        version: &Version,
    ) -> Result<Option<String>, Error> {
        sqlx::query_scalar("SELECT nuspec FROM packages WHERE id_lower = $1 AND version_lower = $2")
            .bind(id.lower())
            .bind(version.lower())
            .fetch_optional(&self.pool)
            .await
            .map_err(Error::index("read"))
    }

    /// Returns everything about one version of a package.
    pub(crate) async fn facts(
        &self,
        id: &PackageId,
        version: &Version,
    ) -> Result<Option<PackageFacts>, Error> {
        let Some(package) = self.package(id, version).await? else {
            return Ok(None);
        };
        let found: Option<(String, Option<String>, String, i64)> = sqlx::query_as(
            "SELECT files, manifest, sha512, size FROM packages
             WHERE id_lower = $1 AND version_lower = $2",
        )
        .bind(id.lower())
        .bind(version.lower())
        .fetch_optional(&self.pool)
        .await
        .map_err(Error::index("read"))?;
        let Some((files, manifest, hex, size)) = found else {
            return Ok(None);
        };
        let unreadable = || Error::Row {
            object: id.to_string(),
        };
        let files: Vec<FileFacts> = serde_json::from_str(&files).map_err(|_| unreadable())?;
        let size = u64::try_from(size).map_err(|_| unreadable())?;
        let sha512 = parse_hash(&hex)?;
        Ok(Some(package.into_facts(sha512, size, files, manifest)))
    }

    /// Announces that the bytes of a hash are about to appear.
    pub(crate) async fn undecided_add(&self, kind: Kind, hash: &Sha512Hash) -> Result<(), Error> {
        self.undecided_add_all(&[(kind, *hash)]).await
    }

    /// Announces that the bytes of these hashes are about to appear.
    pub(crate) async fn undecided_add_all(
        &self,
        blobs: &[(Kind, Sha512Hash)],
    ) -> Result<(), Error> {
        let failed = || Error::index("announce a package in");
        let mut transaction = self.begin().await?;
        for (kind, hash) in blobs {
            sqlx::query(
                "INSERT INTO undecided (kind, sha512) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            )
            .bind(kind.as_str())
            .bind(hash.hex())
            .execute(&mut *transaction)
            .await
            .map_err(failed())?;
        }
        commit(transaction).await
    }

    /// Forgets an announced hash, whose bytes are gone.
    pub(crate) async fn undecided_remove(
        &self,
        kind: Kind,
        hash: &Sha512Hash,
    ) -> Result<(), Error> {
        sqlx::query("DELETE FROM undecided WHERE kind = $1 AND sha512 = $2")
            .bind(kind.as_str())
            .bind(hash.hex())
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(Error::index("tidy"))
    }

    /// Lists the announced hashes: what an interrupted push or purge left.
    pub(crate) async fn undecided(&self) -> Result<Vec<(Kind, Sha512Hash)>, Error> {
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT kind, sha512 FROM undecided ORDER BY kind, sha512")
                .fetch_all(&self.pool)
                .await
                .map_err(Error::index("read"))?;
        let blobs = rows
            .iter()
            .map(|(kind, hex)| Ok((parse_kind(kind)?, parse_hash(hex)?)));
        blobs.collect()
    }

    /// Tells whether packages or symbols with these bytes are listed.
    pub(crate) async fn has_bytes(&self, hash: &Sha512Hash) -> Result<bool, Error> {
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM packages WHERE sha512 = $1)
                 OR EXISTS (SELECT 1 FROM symbols WHERE sha512 = $1)",
        )
        .bind(hash.hex())
        .fetch_one(&self.pool)
        .await
        .map_err(Error::index("read"))
    }

    /// Lists the hashes of all packages or symbols, in order.
    pub(crate) async fn all_hashes(&self, kind: Kind) -> Result<Vec<Sha512Hash>, Error> {
        let sql = match kind {
            Kind::Package => "SELECT sha512 FROM packages WHERE upstream IS NULL ORDER BY sha512",
            Kind::Upstream => {
                "SELECT sha512 FROM packages WHERE upstream IS NOT NULL ORDER BY sha512"
            }
            Kind::Symbols => "SELECT sha512 FROM symbols ORDER BY sha512",
        };
        let texts: Vec<String> = sqlx::query_scalar(sql)
            .fetch_all(&self.pool)
            .await
            .map_err(Error::index("read"))?;
        texts.iter().map(|text| parse_hash(text)).collect()
    }

    /// Refuses a version that exists or was purged with other bytes.
    pub(crate) async fn check_new(
        &self,
        id: &PackageId,
        version: &Version,
        hash: &Sha512Hash,
    ) -> Result<(), Error> {
        if self.blob(id, version).await?.is_some() {
            return Err(Error::VersionExists {
                id: id.clone(),
                version: version.clone(),
            });
        }
        let purged: Option<String> = sqlx::query_scalar(
            "SELECT sha512 FROM purged WHERE id_lower = $1 AND version_lower = $2",
        )
        .bind(id.lower())
        .bind(version.lower())
        .fetch_optional(&self.pool)
        .await
        .map_err(Error::index("read"))?;
        match purged {
            Some(purged) if purged != hash.hex() => Err(Error::VersionPurged {
                id: id.clone(),
                version: version.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Lists a package whose bytes are on disk.
    pub(crate) async fn insert(&self, package: &NewPackage) -> Result<(), Error> {
        self.insert_all(&[package]).await
    }

    /// Lists packages whose bytes are on disk: all or, if that fails, none.
    pub(crate) async fn insert_all(&self, packages: &[&NewPackage]) -> Result<(), Error> {
        let failed = || Error::index("add a package to");
        let versions = packages.iter();
        let versions = versions.map(|package| (&package.nuspec.id, &package.nuspec.version));
        let _change = self.change(versions);
        let mut transaction = self.begin().await?;
        for package in packages {
            package.insert(&mut transaction).await.map_err(failed())?;
            for sql in [
                "DELETE FROM undecided WHERE kind <> 'symbols' AND sha512 = $1",
                "DELETE FROM purged WHERE sha512 = $1",
            ] {
                sqlx::query(sql)
                    .bind(package.sha512.hex())
                    .execute(&mut *transaction)
                    .await
                    .map_err(failed())?;
            }
        }
        commit(transaction).await
    }

    /// Shows or hides a version; returns whether it exists.
    pub(crate) async fn set_listed(
        &self,
        id: &PackageId,
        version: &Version,
        listed: bool,
    ) -> Result<bool, Error> {
        let _change = self.change([(id, version)]);
        let done = sqlx::query(
            "UPDATE packages SET listed = $3 WHERE id_lower = $1 AND version_lower = $2",
        )
        .bind(id.lower())
        .bind(version.lower())
        .bind(i64::from(listed))
        .execute(&self.pool)
        .await
        .map_err(Error::index("change"))?;
        Ok(done.rows_affected() > 0)
    }

    /// Removes a version that no cluster pins, with its symbols, and remembers the hashes; returns
    /// them, whose bytes are undecided from then on. Nothing if there is no such version.
    ///
    /// A version that went `by_hand` is not fetched from another feed again.
    pub(crate) async fn purge(
        &self,
        id: &PackageId,
        version: &Version,
        by_hand: bool,
    ) -> Result<Vec<(Kind, Sha512Hash)>, Error> {
        let failed = || Error::index("purge a package in");
        let _change = self.change([(id, version)]);
        let mut transaction = self.begin().await?;
        let clusters: Vec<String> = sqlx::query_scalar(
            "SELECT cluster FROM pins WHERE id_lower = $1 AND version_lower = $2 ORDER BY cluster",
        )
        .bind(id.lower())
        .bind(version.lower())
        .fetch_all(&mut *transaction)
        .await
        .map_err(failed())?;
        if !clusters.is_empty() {
            let clusters: Vec<String> = clusters
                .iter()
                .map(|cluster| format!("`{cluster}`"))
                .collect();
            let clusters = clusters.join(", ");
            return Err(Error::VersionPinned {
                id: id.clone(),
                version: version.clone(),
                clusters,
            });
        }
        let mut blobs = Vec::new();
        // What is remembered first is what the removal then returns.
        for (remember, remove) in [
            (
                "INSERT OR REPLACE INTO purged (id_lower, version_lower, sha512, upstream, by_hand)
                 SELECT id_lower, version_lower, sha512, upstream, $3 FROM packages
                 WHERE id_lower = $1 AND version_lower = $2",
                "DELETE FROM packages WHERE id_lower = $1 AND version_lower = $2
                 RETURNING sha512, iif(upstream IS NULL, 'package', 'upstream')",
            ),
            (
                "INSERT OR REPLACE INTO symbols_purged (id_lower, version_lower, sha512)
                 SELECT id_lower, version_lower, sha512 FROM symbols
                 WHERE id_lower = $1 AND version_lower = $2 AND $3 IN (0, 1)",
                "DELETE FROM symbols WHERE id_lower = $1 AND version_lower = $2
                 RETURNING sha512, 'symbols'",
            ),
        ] {
            sqlx::query(remember)
                .bind(id.lower())
                .bind(version.lower())
                .bind(i64::from(by_hand))
                .execute(&mut *transaction)
                .await
                .map_err(failed())?;
            let removed: Option<(String, String)> = sqlx::query_as(remove)
                .bind(id.lower())
                .bind(version.lower())
                .fetch_optional(&mut *transaction)
                .await
                .map_err(failed())?;
            if let Some((hex, kind)) = removed {
                sqlx::query(
                    "INSERT INTO undecided (kind, sha512) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                )
                .bind(&kind)
                .bind(&hex)
                .execute(&mut *transaction)
                .await
                .map_err(failed())?;
                blobs.push((parse_kind(&kind)?, parse_hash(&hex)?));
            }
        }
        commit(transaction).await?;
        Ok(blobs)
    }

    /// Removes the row of a package or of symbols whose bytes are lost.
    pub(crate) async fn remove(&self, kind: Kind, hash: &Sha512Hash) -> Result<(), Error> {
        let _change = self.change_any();
        let sql = match kind {
            Kind::Package | Kind::Upstream => "DELETE FROM packages WHERE sha512 = $1",
            Kind::Symbols => "DELETE FROM symbols WHERE sha512 = $1",
        };
        sqlx::query(sql)
            .bind(hash.hex())
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(Error::index("change"))
    }

    /// Lists the ids that a cluster pins.
    pub(crate) async fn pinned_by(&self, cluster: &str) -> Result<Vec<PackageId>, Error> {
        let texts: Vec<String> =
            sqlx::query_scalar("SELECT DISTINCT id_lower FROM pins WHERE cluster = $1")
                .bind(cluster)
                .fetch_all(&self.pool)
                .await
                .map_err(Error::index("read"))?;
        let ids = texts.into_iter().map(|text| {
            let id = text.parse();
            id.map_err(|_| Error::Row { object: text })
        });
        ids.collect()
    }

    /// Replaces the versions that a cluster needs.
    pub(crate) async fn pins_replace(
        &self,
        cluster: &str,
        pins: &[(PackageId, Version)],
    ) -> Result<(), Error> {
        let failed = || Error::index("change the pins in");
        let mut transaction = self.begin().await?;
        sqlx::query("DELETE FROM pins WHERE cluster = $1")
            .bind(cluster)
            .execute(&mut *transaction)
            .await
            .map_err(failed())?;
        for (id, version) in pins {
            sqlx::query("INSERT INTO pins (cluster, id_lower, version_lower) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
                .bind(cluster)
                .bind(id.lower())
                .bind(version.lower())
                .execute(&mut *transaction)
                .await
                .map_err(failed())?;
        }
        commit(transaction).await
    }
}

async fn commit(transaction: Transaction<'static, Sqlite>) -> Result<(), Error> {
    transaction
        .commit()
        .await
        .map_err(Error::index("commit a change of"))
}

fn parse_hash(hex: &str) -> Result<Sha512Hash, Error> {
    Sha512Hash::from_hex(hex).map_err(|_| Error::Row {
        object: hex.to_owned(),
    })
}

fn parse_kind(text: &str) -> Result<Kind, Error> {
    let kind = Kind::ALL.into_iter().find(|known| known.as_str() == text);
    kind.ok_or_else(|| Error::Row {
        object: text.to_owned(),
    })
}
