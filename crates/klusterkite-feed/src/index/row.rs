//! One row of the index.

use std::time::{SystemTime, UNIX_EPOCH};

use klusterkite_nuget::v3::{CatalogEntry, Dependency, DependencyGroup, FileFacts, PackageFacts};
use klusterkite_nuget::{License, Nuspec, PackageId, Sha512Hash, Version, VersionRange};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use crate::Error;
use crate::blobs::Kind;

pub(super) const SELECT_BY_ID: &str = "
SELECT id, version, listed, published, prerelease, semver2, metadata
FROM packages WHERE id_lower = $1";

pub(super) const SELECT_BY_VERSION: &str = "
SELECT id, version, listed, published, prerelease, semver2, metadata
FROM packages WHERE id_lower = $1 AND version_lower = $2";

const INSERT: &str = "
INSERT INTO packages (id_lower, version_lower, id, version, sha512, size, listed, published, prerelease,
    semver2, metadata, nuspec, manifest, files, title_lower, tags_lower, authors_lower, owners_lower,
    description_lower, types_lower, upstream)
VALUES ($1, $2, $3, $4, $5, $6, $20, strftime('%Y-%m-%dT%H:%M:%fZ', $7, 'unixepoch'), $8, $9, $10, $11, $12, $13,
    $14, $15, $16, $17, $18, $19, $21)";

/// What the protocol's documents show of a nuspec.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub(crate) authors: String,
    pub(crate) description: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) summary: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) project_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) icon_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) license_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) license_expression: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) min_client_version: Option<String>,
    #[serde(default)]
    pub(crate) require_license_acceptance: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) package_types: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) dependency_groups: Vec<DependencyGroup>,
}

impl From<&Nuspec> for Metadata {
    fn from(nuspec: &Nuspec) -> Self {
        let types = nuspec.package_types.iter().map(|kind| kind.name.clone());
        let license_expression = match &nuspec.license {
            Some(License::Expression(expression)) => Some(expression.clone()),
            _ => None,
        };
        Self {
            authors: nuspec.authors.clone(),
            description: nuspec.description.clone(),
            title: nuspec.title.clone(),
            summary: nuspec.summary.clone(),
            tags: nuspec.tags.clone(),
            project_url: nuspec.project_url.clone(),
            icon_url: nuspec.icon_url.clone(),
            license_url: nuspec.license_url.clone(),
            license_expression,
            min_client_version: nuspec.min_client_version.clone(),
            require_license_acceptance: nuspec.require_license_acceptance,
            package_types: types.collect(),
            dependency_groups: nuspec
                .dependency_groups
                .iter()
                .map(DependencyGroup::from)
                .collect(),
        }
    }
}

/// One version of a package, without its long texts.
#[derive(Clone, Debug)]
pub(crate) struct PackageRow {
    pub(crate) id: PackageId,
    pub(crate) version: Version,
    pub(crate) listed: bool,
    /// RFC 3339.
    pub(crate) published: String,
    pub(crate) prerelease: bool,
    /// Whether only clients that know SemVer 2 can use it.
    pub(crate) semver2: bool,
    pub(crate) metadata: Metadata,
}

impl PackageRow {
    pub(super) fn read(row: &SqliteRow) -> Result<Self, Error> {
        let failed = || Error::index("read");
        let text = |column: &str| row.try_get::<String, _>(column).map_err(failed());
        let number = |column: &str| row.try_get::<i64, _>(column).map_err(failed());
        let id = text("id")?;
        let unreadable = || Error::Row { object: id.clone() };
        Ok(Self {
            version: text("version")?.parse().map_err(|_| unreadable())?,
            listed: number("listed")? != 0,
            published: text("published")?,
            prerelease: number("prerelease")? != 0,
            semver2: number("semver2")? != 0,
            metadata: serde_json::from_str(&text("metadata")?).map_err(|_| unreadable())?,
            id: id.parse().map_err(|_| unreadable())?,
        })
    }

    pub(super) fn into_facts(
        self,
        sha512: Sha512Hash,
        size: u64,
        files: Vec<FileFacts>,
        manifest: Option<String>,
    ) -> PackageFacts {
        PackageFacts {
            id: self.id,
            version: self.version,
            sha512,
            size,
            listed: self.listed,
            published: self.published,
            authors: self.metadata.authors,
            description: self.metadata.description,
            title: self.metadata.title,
            tags: self.metadata.tags,
            dependency_groups: self.metadata.dependency_groups,
            files,
            manifest,
        }
    }
}

impl From<CatalogEntry> for PackageRow {
    /// Makes a row of what another feed says about a version.
    fn from(entry: CatalogEntry) -> Self {
        let mut needs = entry
            .dependency_groups
            .iter()
            .flat_map(|group| &group.dependencies);
        let is_semver2 =
            |need: &Dependency| need.range.as_ref().is_some_and(VersionRange::is_semver2);
        Self {
            prerelease: entry.version.is_prerelease(),
            semver2: entry.version.is_semver2() || needs.any(is_semver2),
            listed: entry.listed,
            // What NuGet's own feed says of versions whose time it does not tell.
            published: entry
                .published
                .unwrap_or_else(|| "1900-01-01T00:00:00Z".to_owned()),
            metadata: Metadata {
                authors: entry.authors,
                description: entry.description,
                title: entry.title,
                summary: entry.summary,
                tags: entry.tags,
                project_url: entry.project_url,
                icon_url: entry.icon_url,
                license_url: entry.license_url,
                license_expression: entry.license_expression,
                min_client_version: entry.min_client_version,
                require_license_acceptance: entry.require_license_acceptance,
                package_types: Vec::new(),
                dependency_groups: entry.dependency_groups,
            },
            id: entry.id,
            version: entry.version,
        }
    }
}

/// A package that is to be listed.
#[derive(Clone, Debug)]
pub(crate) struct NewPackage {
    pub(crate) sha512: Sha512Hash,
    pub(crate) size: u64,
    pub(crate) published: SystemTime,
    pub(crate) nuspec: Nuspec,
    pub(crate) nuspec_text: String,
    pub(crate) manifest: Option<String>,
    pub(crate) files: Vec<FileFacts>,
    /// Whether searches show it.
    pub(crate) listed: bool,
    /// The name of the feed that it was fetched from; nothing if it was pushed here.
    pub(crate) upstream: Option<String>,
}

impl NewPackage {
    /// Returns what the package's bytes are.
    pub(crate) fn kind(&self) -> Kind {
        Kind::of_package(self.upstream.is_some())
    }

    pub(super) async fn insert(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<(), sqlx::Error> {
        let nuspec = &self.nuspec;
        let metadata = Metadata::from(nuspec);
        let lower = |text: &Option<String>| text.as_deref().unwrap_or_default().to_lowercase();
        let description = format!(
            "{}\n{}",
            nuspec.description,
            metadata.summary.as_deref().unwrap_or_default()
        );
        let mut dependencies = nuspec
            .dependency_groups
            .iter()
            .flat_map(|group| &group.dependencies);
        let semver2 = nuspec.version.is_semver2()
            || dependencies.any(|dependency| dependency.range.is_semver2());
        let published = self
            .published
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs_f64();
        let encode = |error: serde_json::Error| sqlx::Error::Encode(Box::new(error));
        sqlx::query(INSERT)
            .bind(nuspec.id.lower())
            .bind(nuspec.version.lower())
            .bind(nuspec.id.as_str())
            .bind(nuspec.version.full())
            .bind(self.sha512.hex())
            .bind(self.size as i64)
            .bind(published)
            .bind(i64::from(nuspec.version.is_prerelease()))
            .bind(i64::from(semver2))
            .bind(serde_json::to_string(&metadata).map_err(encode)?)
            .bind(&self.nuspec_text)
            .bind(&self.manifest)
            .bind(serde_json::to_string(&self.files).map_err(encode)?)
            .bind(lower(&nuspec.title))
            .bind(words(&nuspec.tags))
            .bind(nuspec.authors.to_lowercase())
            .bind(lower(&nuspec.owners))
            .bind(description.to_lowercase())
            .bind(words(&package_types(&metadata)))
            .bind(i64::from(self.listed))
            .bind(&self.upstream)
            .execute(connection)
            .await
            .map(drop)
    }
}

/// A package that names no type is a dependency.
fn package_types(metadata: &Metadata) -> Vec<String> {
    if metadata.package_types.is_empty() {
        vec!["Dependency".to_owned()]
    } else {
        metadata.package_types.clone()
    }
}

/// Joins words so that a whole word can be found between blanks.
fn words(words: &[String]) -> String {
    format!(" {} ", words.join(" ").to_lowercase())
}
