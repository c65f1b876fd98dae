//! Symbols of packages in the index.

use std::time::{SystemTime, UNIX_EPOCH};

use klusterkite_nuget::{PackageId, Sha512Hash, Version};

use super::{Index, NewPackage, commit, parse_hash};
use crate::Error;

/// Symbols that are to be listed.
#[derive(Clone, Debug)]
pub(crate) struct NewSymbols {
    pub(crate) id: PackageId,
    pub(crate) version: Version,
    pub(crate) sha512: Sha512Hash,
    pub(crate) size: u64,
    pub(crate) published: SystemTime,
}

impl From<&NewPackage> for NewSymbols {
    fn from(package: &NewPackage) -> Self {
        Self {
            id: package.nuspec.id.clone(),
            version: package.nuspec.version.clone(),
            sha512: package.sha512,
            size: package.size,
            published: package.published,
        }
    }
}

impl Index {
    /// Returns the hash of the symbols of a version.
    pub(crate) async fn symbols(
        &self,
        id: &PackageId,
        version: &Version,
    ) -> Result<Option<Sha512Hash>, Error> {
        let hex: Option<String> = sqlx::query_scalar(
            "SELECT sha512 FROM symbols WHERE id_lower = $1 AND version_lower = $2",
        )
        .bind(id.lower())
        .bind(version.lower())
        .fetch_optional(&self.pool)
        .await
        .map_err(Error::index("read"))?;
        hex.as_deref().map(parse_hash).transpose()
    }

    /// Refuses symbols without their package, a second time, or with other bytes than were
    /// removed with the package.
    pub(crate) async fn check_new_symbols(&self, symbols: &NewSymbols) -> Result<(), Error> {
        let (id, version) = (&symbols.id, &symbols.version);
        if self.blob(id, version).await?.is_none() {
            return Err(Error::PackageMissing {
                id: id.clone(),
                version: version.clone(),
            });
        }
        if self.symbols(id, version).await?.is_some() {
            return Err(Error::SymbolsExist {
                id: id.clone(),
                version: version.clone(),
            });
        }
        let purged: Option<String> = sqlx::query_scalar(
            "SELECT sha512 FROM symbols_purged WHERE id_lower = $1 AND version_lower = $2",
        )
        .bind(id.lower())
        .bind(version.lower())
        .fetch_optional(&self.pool)
        .await
        .map_err(Error::index("read"))?;
        match purged {
            Some(purged) if purged != symbols.sha512.hex() => Err(Error::SymbolsPurged {
                id: id.clone(),
                version: version.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Lists symbols whose bytes are on disk; their package must be there.
    pub(crate) async fn symbols_insert(&self, symbols: &NewSymbols) -> Result<(), Error> {
        let failed = || Error::index("add symbols to");
        let published = symbols
            .published
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs_f64();
        let mut transaction = self.begin().await?;
        let done = sqlx::query(
            "INSERT INTO symbols (id_lower, version_lower, sha512, size, published)
             SELECT id_lower, version_lower, $3, $4, strftime('%Y-%m-%dT%H:%M:%fZ', $5, 'unixepoch')
             FROM packages WHERE id_lower = $1 AND version_lower = $2",
        )
        .bind(symbols.id.lower())
        .bind(symbols.version.lower())
        .bind(symbols.sha512.hex())
        .bind(symbols.size as i64)
        .bind(published)
        .execute(&mut *transaction)
        .await
        .map_err(failed())?;
        if done.rows_affected() == 0 {
            return Err(Error::PackageMissing {
                id: symbols.id.clone(),
                version: symbols.version.clone(),
            });
        }
        for sql in [
            "DELETE FROM undecided WHERE kind = 'symbols' AND sha512 = $1",
            "DELETE FROM symbols_purged WHERE sha512 = $1",
        ] {
            sqlx::query(sql)
                .bind(symbols.sha512.hex())
                .execute(&mut *transaction)
                .await
                .map_err(failed())?;
        }
        commit(transaction).await
    }

    /// Lists the ids and versions whose package is lost while their symbols are there.
    pub(crate) async fn symbols_alone(&self) -> Result<Vec<(String, String)>, Error> {
        sqlx::query_as(
            "SELECT id_lower, version_lower FROM symbols
             EXCEPT SELECT id_lower, version_lower FROM packages ORDER BY 1, 2",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(Error::index("read"))
    }
}
