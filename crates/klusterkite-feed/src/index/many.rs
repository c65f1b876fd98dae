//! Facts of many packages in one read.

use futures_util::TryStreamExt as _;
use klusterkite_nuget::v3::{FactsAnswer, FileFacts, PackageFacts, PackageKey};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::row::PackageRow;
use super::{Index, parse_hash};
use crate::Error;

/// The join is written as one that keeps the order of the query.
const SELECT: &str = "
SELECT packages.id AS id, version, sha512, size, listed, published, prerelease, semver2, metadata, files, manifest,
    wanted.key AS place
FROM json_each($1) AS wanted CROSS JOIN packages
ON id_lower = json_extract(wanted.value, '$[0]') AND version_lower = json_extract(wanted.value, '$[1]')";

impl Index {
    /// Returns everything about those of the packages that are there, until their texts have more
    /// than `bytes`; what was not looked at then is left.
    pub(crate) async fn facts_of_many(
        &self,
        mut packages: Vec<PackageKey>,
        bytes: usize,
    ) -> Result<FactsAnswer, Error> {
        let keys = packages.iter();
        let keys = keys.map(|key| (key.id.lower(), key.version.lower()));
        let keys = serde_json::to_string(&keys.collect::<Vec<_>>()).expect("texts are JSON");
        let mut rows = sqlx::query(SELECT).bind(keys).fetch(&self.pool);
        let mut answer = FactsAnswer::default();
        let mut size = 0;
        let mut seen = packages.len();
        while let Some(row) = rows.try_next().await.map_err(Error::index("read"))? {
            let place: i64 = row.try_get("place").map_err(Error::index("read"))?;
            let (facts, length) = read(&row)?;
            answer.packages.push(facts);
            size += length;
            if size > bytes {
                seen = place as usize + 1;
                break;
            }
        }
        answer.left = packages.split_off(seen.min(packages.len()));
        Ok(answer)
    }
}

/// Reads a package's facts, and how long the texts are that grow with it.
fn read(row: &SqliteRow) -> Result<(PackageFacts, usize), Error> {
    let failed = || Error::index("read");
    let package = PackageRow::read(row)?;
    let unreadable = || Error::Row {
        object: package.id.to_string(),
    };
    let files: &str = row.try_get("files").map_err(failed())?;
    let manifest: Option<String> = row.try_get("manifest").map_err(failed())?;
    let sha512 = parse_hash(row.try_get("sha512").map_err(failed())?)?;
    let size: i64 = row.try_get("size").map_err(failed())?;
    let size = u64::try_from(size).map_err(|_| unreadable())?;
    let length = files.len() + manifest.as_ref().map_or(0, String::len);
    let files: Vec<FileFacts> = serde_json::from_str(files).map_err(|_| unreadable())?;
    Ok((package.into_facts(sha512, size, files, manifest), length))
}
