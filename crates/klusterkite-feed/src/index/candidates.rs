//! What a decision about retention looks at.

use klusterkite_nuget::VersionRange;
use klusterkite_nuget::v3::DependencyGroup;
use serde::Deserialize;

use super::Index;
use crate::Error;
use crate::retention::{Candidate, Pin};

/// The part of a row's metadata that says what the package needs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Needs {
    #[serde(default)]
    dependency_groups: Vec<DependencyGroup>,
}

/// Id, version, size, listed, whether from upstream, seconds of publishing, metadata.
type Row = (String, String, i64, i64, i64, i64, String);

impl Index {
    /// Reads all versions and all pins, as of one moment.
    pub(crate) async fn candidates(&self) -> Result<(Vec<Candidate>, Vec<Pin>), Error> {
        let failed = || Error::index("read");
        let mut transaction = self.pool.begin().await.map_err(failed())?;
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, version, size, listed, upstream IS NOT NULL, unixepoch(published), metadata
             FROM packages",
        )
        .fetch_all(&mut *transaction)
        .await
        .map_err(failed())?;
        let pins: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT cluster, id_lower, version_lower FROM pins ORDER BY cluster, id_lower, version_lower",
        )
        .fetch_all(&mut *transaction)
        .await
        .map_err(failed())?;
        let candidates = rows.into_iter().map(candidate);
        let pins = pins.into_iter().map(|(cluster, id, version)| {
            let unreadable = || Error::Row { object: id.clone() };
            Ok(Pin {
                cluster,
                version: version.parse().map_err(|_| unreadable())?,
                id: id.parse().map_err(|_| unreadable())?,
            })
        });
        Ok((
            candidates.collect::<Result<_, _>>()?,
            pins.collect::<Result<_, _>>()?,
        ))
    }
}

fn candidate(row: Row) -> Result<Candidate, Error> {
    let (id, version, size, listed, is_upstream, published, metadata) = row;
    let unreadable = || Error::Row { object: id.clone() };
    let needs: Needs = serde_json::from_str(&metadata).map_err(|_| unreadable())?;
    let groups = needs.dependency_groups.into_iter();
    let dependencies = groups
        .flat_map(|group| group.dependencies)
        .map(|need| (need.id, need.range.unwrap_or_else(VersionRange::any)));
    Ok(Candidate {
        version: version.parse().map_err(|_| unreadable())?,
        size: u64::try_from(size).map_err(|_| unreadable())?,
        listed: listed != 0,
        is_upstream: is_upstream != 0,
        published,
        dependencies: dependencies.collect(),
        id: id.parse().map_err(|_| unreadable())?,
    })
}
