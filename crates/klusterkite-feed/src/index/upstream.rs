//! What the index knows about packages of other feeds.

use std::collections::BTreeSet;

use klusterkite_nuget::{PackageId, Version};

use super::Index;
use crate::Error;

impl Index {
    /// Tells whether a version of the package was ever pushed to this feed, also if all of them
    /// are gone: an id that was ours stays ours.
    pub(crate) async fn is_local(&self, id: &PackageId) -> Result<bool, Error> {
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM packages WHERE id_lower = $1 AND upstream IS NULL)
                 OR EXISTS (SELECT 1 FROM purged WHERE id_lower = $1 AND upstream IS NULL)",
        )
        .bind(id.lower())
        .fetch_one(&self.pool)
        .await
        .map_err(Error::index("read"))
    }

    /// Returns the versions that somebody removed by hand; they are not fetched again.
    pub(crate) async fn removed_by_hand(&self, id: &PackageId) -> Result<BTreeSet<Version>, Error> {
        let texts: Vec<String> = sqlx::query_scalar(
            "SELECT version_lower FROM purged WHERE id_lower = $1 AND by_hand <> 0",
        )
        .bind(id.lower())
        .fetch_all(&self.pool)
        .await
        .map_err(Error::index("read"))?;
        let versions = texts.iter().map(|text| text.parse());
        versions.collect::<Result<_, _>>().map_err(|_| Error::Row {
            object: id.to_string(),
        })
    }
}
