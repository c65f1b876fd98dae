//! Documents of the NuGet V3 protocol, and the one that our feed adds to them.
//!
//! Names and shapes are the protocol's. Optional members are left out when they are empty, and
//! unknown members are ignored, so that documents of other feeds can be read.

use serde::{Deserialize, Serialize};

use crate::{PackageId, Sha256Hash, Sha512Hash, Version, VersionRange};

/// The `@type` of the resource that serves [`PackageFacts`] at `{@id}/{lower id}/{lower version}.json`.
pub const FACTS_TYPE: &str = "KlusterKitePackageFacts/1.0.0";

/// The `@type` of the resource that answers a posted [`FactsQuery`] with a [`FactsAnswer`].
pub const FACTS_OF_MANY_TYPE: &str = "KlusterKitePackageFactsOfMany/1.0.0";

/// Types of search resources, best first; older feeds know only the later ones.
pub const SEARCH_TYPES: &[&str] = &[
    "SearchQueryService/3.5.0",
    "SearchQueryService/3.4.0",
    "SearchQueryService/3.0.0-rc",
    "SearchQueryService/3.0.0-beta",
    "SearchQueryService",
];

/// Types of registration resources, those that show all versions first.
pub const REGISTRATION_TYPES: &[&str] = &[
    "RegistrationsBaseUrl/3.6.0",
    "RegistrationsBaseUrl/Versioned",
    "RegistrationsBaseUrl/3.4.0",
    "RegistrationsBaseUrl/3.0.0-rc",
    "RegistrationsBaseUrl/3.0.0-beta",
    "RegistrationsBaseUrl",
];

/// How many packages one [`FactsQuery`] may name: a query then stays below 256 KiB.
pub const FACTS_QUERY_MAX: usize = 1000;

/// The service index: where a feed's resources are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceIndex {
    /// The protocol's version; its major number must be 3.
    pub version: String,
    /// The resources.
    pub resources: Vec<Resource>,
}

/// One resource of a feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// The absolute URL.
    #[serde(rename = "@id")]
    pub id: String,
    /// The kinds of resource that the URL serves.
    #[serde(rename = "@type", deserialize_with = "one_or_many")]
    pub kinds: Vec<String>,
    /// The oldest client that this entry is for.
    #[serde(
        rename = "clientVersion",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub client_version: Option<String>,
}

impl ServiceIndex {
    /// Returns the URL of the first of the kinds that the feed has, without a trailing slash.
    /// Clients name the kinds that they know, in the order of preference.
    pub fn resource(&self, kinds: &[&str]) -> Option<&str> {
        let find = |kind: &&str| {
            self.resources
                .iter()
                .find(|resource| resource.kinds.iter().any(|known| known == kind))
        };
        kinds
            .iter()
            .find_map(find)
            .map(|resource| resource.id.trim_end_matches('/'))
    }

    /// Returns the flat container's URL without a trailing slash.
    pub fn package_base_address(&self) -> Option<&str> {
        self.resource(&["PackageBaseAddress/3.0.0"])
    }
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}

/// The versions of a package in the flat container, lowest first, unlisted ones too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlatVersions {
    /// Lower case, normalized, without metadata.
    pub versions: Vec<String>,
}

/// Returns the path of a package's file below the flat container's URL.
pub fn flat_package_path(id: &PackageId, version: &Version) -> String {
    let (id, version) = (id.lower(), version.lower());
    format!("{id}/{version}/{id}.{version}.nupkg")
}

/// All versions of a package with their metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationIndex {
    /// This document's URL.
    #[serde(rename = "@id", default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// How many pages there are.
    pub count: usize,
    /// The pages, lowest versions first.
    pub items: Vec<RegistrationPage>,
}

/// Some consecutive versions of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationPage {
    /// This page's URL; a document of its own if `items` is absent.
    #[serde(rename = "@id")]
    pub id: String,
    /// How many versions the page has.
    pub count: usize,
    /// The lowest version.
    pub lower: String,
    /// The highest version.
    pub upper: String,
    /// The index that the page belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// The versions; absent if they must be fetched from the page's URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<RegistrationItem>>,
}

/// One version of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistrationItem {
    /// The URL of the version's own document.
    #[serde(rename = "@id")]
    pub id: String,
    /// The version's metadata.
    pub catalog_entry: CatalogEntry,
    /// The URL of the package's file.
    pub package_content: String,
    /// The URL of the registration index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration: Option<String>,
}

/// The document of one version, whose metadata stands elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistrationLeaf {
    /// This document's URL.
    #[serde(rename = "@id")]
    pub id: String,
    /// The URL of the metadata.
    pub catalog_entry: String,
    /// Whether the version is shown in searches.
    pub listed: bool,
    /// The URL of the package's file.
    pub package_content: String,
    /// When the version was published, RFC 3339.
    pub published: String,
    /// The URL of the registration index.
    pub registration: String,
}

/// The metadata of one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CatalogEntry {
    /// The URL of this metadata.
    #[serde(rename = "@id")]
    pub url: String,
    /// The package's id.
    pub id: PackageId,
    /// The version with its metadata.
    pub version: Version,
    /// The authors, separated by commas.
    #[serde(default)]
    pub authors: String,
    /// What the package is.
    #[serde(default)]
    pub description: String,
    /// A name to show instead of the id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// A short description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// Words to search for.
    #[serde(default, deserialize_with = "one_or_many")]
    pub tags: Vec<String>,
    /// The project's home page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_url: Option<String>,
    /// The icon's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icon_url: Option<String>,
    /// The license's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license_url: Option<String>,
    /// The license as an SPDX expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license_expression: Option<String>,
    /// The oldest NuGet client that can use the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_client_version: Option<String>,
    /// Whether a user must accept the license.
    #[serde(default)]
    pub require_license_acceptance: bool,
    /// Whether the version is shown in searches; absent means yes.
    #[serde(default = "yes")]
    pub listed: bool,
    /// When the version was published, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<String>,
    /// What the version needs.
    #[serde(default)]
    pub dependency_groups: Vec<DependencyGroup>,
    /// The URL of the package's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package_content: Option<String>,
}

fn yes() -> bool {
    true
}

/// What a package needs under one target framework.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DependencyGroup {
    /// The framework; absent stands for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_framework: Option<String>,
    /// The packages that are needed.
    #[serde(default)]
    pub dependencies: Vec<Dependency>,
}

/// A package that is needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// Its id.
    pub id: PackageId,
    /// The versions that will do; absent stands for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<VersionRange>,
}

impl From<&crate::DependencyGroup> for DependencyGroup {
    fn from(group: &crate::DependencyGroup) -> Self {
        let dependencies = group.dependencies.iter();
        Self {
            target_framework: group.target_framework.clone(),
            dependencies: dependencies
                .map(|dependency| Dependency {
                    id: dependency.id.clone(),
                    range: Some(dependency.range.clone()),
                })
                .collect(),
        }
    }
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SearchAnswer {
    /// How many packages match, whatever part of them is in `data`.
    pub total_hits: u64,
    /// The asked part.
    pub data: Vec<SearchHit>,
}

/// One package that a search found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SearchHit {
    /// The URL of the registration index.
    #[serde(rename = "@id", default, skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// The package's id.
    pub id: PackageId,
    /// The highest version that matches.
    pub version: Version,
    /// All versions that match, lowest first.
    pub versions: Vec<SearchVersion>,
    /// What the package is.
    #[serde(default)]
    pub description: String,
    /// The authors.
    #[serde(default, deserialize_with = "one_or_many")]
    pub authors: Vec<String>,
    /// A name to show instead of the id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// A short description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// Words to search for.
    #[serde(default, deserialize_with = "one_or_many")]
    pub tags: Vec<String>,
    /// The project's home page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_url: Option<String>,
    /// The icon's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icon_url: Option<String>,
    /// The license's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license_url: Option<String>,
    /// The URL of the registration index.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub registration: String,
    /// How often the package was fetched.
    #[serde(default)]
    pub total_downloads: u64,
    /// Whether the owner is verified.
    #[serde(default)]
    pub verified: bool,
    /// What kinds of package it is.
    #[serde(default)]
    pub package_types: Vec<SearchPackageType>,
}

/// One version of a package that a search found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchVersion {
    /// The URL of the version's registration document.
    #[serde(rename = "@id")]
    pub id: String,
    /// The version with its metadata.
    pub version: Version,
    /// How often it was fetched.
    #[serde(default)]
    pub downloads: u64,
}

/// A kind of package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchPackageType {
    /// Such as `Dependency`.
    pub name: String,
}

/// What an autocompletion found: ids or versions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Completion {
    /// How many there are; only given for ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_hits: Option<u64>,
    /// The ids or versions.
    pub data: Vec<String>,
}

/// Everything about one package that a configuration's check needs, without its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PackageFacts {
    /// The package's id.
    pub id: PackageId,
    /// The version with its metadata.
    pub version: Version,
    /// The hash of the `.nupkg`.
    pub sha512: Sha512Hash,
    /// The size of the `.nupkg` in bytes.
    pub size: u64,
    /// Whether the version is shown in searches.
    pub listed: bool,
    /// When the version was published, RFC 3339.
    pub published: String,
    /// The authors, separated by commas.
    #[serde(default)]
    pub authors: String,
    /// What the package is.
    #[serde(default)]
    pub description: String,
    /// A name to show instead of the id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Words to search for.
    #[serde(default)]
    pub tags: Vec<String>,
    /// What the version needs.
    #[serde(default)]
    pub dependency_groups: Vec<DependencyGroup>,
    /// The files in the package.
    pub files: Vec<FileFacts>,
    /// The text of the root `klusterkite.hocon`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
}

/// Asks for the facts of several packages at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactsQuery {
    /// At most [`FACTS_QUERY_MAX`] packages.
    pub packages: Vec<PackageKey>,
}

/// Names one version of a package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PackageKey {
    /// The package's id.
    pub id: PackageId,
    /// The version.
    pub version: Version,
}

/// Answers a [`FactsQuery`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactsAnswer {
    /// The facts of packages that the feed has.
    pub packages: Vec<PackageFacts>,
    /// Packages that were not looked at, because the answer would have become too large or too late:
    /// ask again. There are fewer than in the query.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<PackageKey>,
}

/// One file of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFacts {
    /// The path inside the package.
    pub path: String,
    /// The unpacked size in bytes.
    pub size: u64,
    /// The hash of the unpacked file.
    pub sha256: Sha256Hash,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_found_by_the_clients_order_of_kinds() {
        let json = r#"{"version": "3.0.0", "resources": [
            {"@id": "http://a/flat/", "@type": "PackageBaseAddress/3.0.0", "comment": "x"},
            {"@id": "http://a/old", "@type": ["Search", "Search/3.0.0-beta"]},
            {"@id": "http://a/new", "@type": "Search/3.4.0"}]}"#;
        let index: ServiceIndex = serde_json::from_str(json).unwrap();
        assert_eq!(index.package_base_address(), Some("http://a/flat"));
        assert_eq!(
            index.resource(&["Search/3.4.0", "Search"]),
            Some("http://a/new")
        );
        assert_eq!(
            index.resource(&["Other", "Search/3.0.0-beta"]),
            Some("http://a/old")
        );
        assert_eq!(index.resource(&["search"]), None);
    }

    #[test]
    fn documents_of_other_feeds_are_read() {
        let json = r#"{"@id": "u", "catalogEntry": {"@id": "c", "id": "A", "version": "1.0+x", "tags": "a",
            "dependencyGroups": [{"dependencies": [{"id": "B", "range": "[1.0, )"}, {"id": "C"}]}]},
            "packageContent": "p", "extra": 1}"#;
        let item: RegistrationItem = serde_json::from_str(json).unwrap();
        assert!(item.catalog_entry.listed);
        assert_eq!(item.catalog_entry.tags, ["a"]);
        assert_eq!(
            item.catalog_entry.dependency_groups[0].dependencies[1].range,
            None
        );
    }

    #[test]
    fn the_path_of_a_package_is_lower_case() {
        let path = flat_package_path(&"Acme.X".parse().unwrap(), &"1.0-RC.1+m".parse().unwrap());
        assert_eq!(path, "acme.x/1.0.0-rc.1/acme.x.1.0.0-rc.1.nupkg");
    }
}
