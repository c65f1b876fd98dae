//! Registrations and searches: what people and the visual tools look at.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Query as UrlQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use klusterkite_nuget::v3::{
    CatalogEntry, Completion, RegistrationIndex, RegistrationItem, RegistrationLeaf,
    RegistrationPage, SearchAnswer, SearchHit, SearchPackageType, SearchVersion,
};
use klusterkite_nuget::{PackageId, Version};

use super::Caller;
use super::answer::Refusal;
use super::document::Document;
use super::fetch::{parse_document, parse_id, parse_version};
use super::links::Links;
use crate::Error;
use crate::feed::{Feed, not_found};
use crate::index::{PackageRow, Query};

/// The largest number of versions whose metadata stands in the index itself, and of versions on a
/// page, as nuget.org has them.
const INLINE_VERSIONS_MAX: usize = 127;
const PAGE_VERSIONS: usize = 64;

/// The largest page of a search, as nuget.org has it.
const TAKE_MAX: u32 = 1000;
const TAKE_DEFAULT: u32 = 20;

/// Returns all versions of a package: with their metadata, or in pages if there are many.
pub(super) async fn registration(
    State(feed): State<Arc<Feed>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let links = Links::new(&feed, &headers);
    let packages = packages(&feed, &parse_id(&id)?).await?;
    let inline = packages.len() <= INLINE_VERSIONS_MAX;
    let pages = packages
        .chunks(PAGE_VERSIONS)
        .map(|versions| page(&links, versions, inline));
    let items: Vec<RegistrationPage> = pages.collect();
    let index = RegistrationIndex {
        id: links.registration(&packages[0].id),
        count: items.len(),
        items,
    };
    Ok(caller.answer_listing(&feed, Document::json(&index).with_tag(), &headers))
}

/// Returns the versions between two others.
pub(super) async fn registration_page(
    State(feed): State<Arc<Feed>>,
    Extension(caller): Extension<Caller>,
    Path((id, lower, upper)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (lower, upper) = (parse_version(&lower)?, parse_document(&upper)?);
    let mut packages = packages(&feed, &parse_id(&id)?).await?;
    packages.retain(|package| package.version >= lower && package.version <= upper);
    // Pages move when versions are pushed; a page of an older index must stay a bounded document.
    packages.truncate(INLINE_VERSIONS_MAX);
    if packages.is_empty() {
        let what = format!("page `{lower}` to `{upper}` of package `{id}`");
        return Err(Error::NotFound { what }.into());
    }
    let page = page(&Links::new(&feed, &headers), &packages, true);
    Ok(caller.answer_listing(&feed, Document::json(&page).with_tag(), &headers))
}

/// Returns one version's own document.
pub(super) async fn registration_leaf(
    State(feed): State<Arc<Feed>>,
    Extension(caller): Extension<Caller>,
    Path((id, leaf)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (id, version) = (parse_id(&id)?, parse_document(&leaf)?);
    let package = feed
        .package(&id, &version)
        .await?
        .ok_or_else(|| not_found(&id, &version))?;
    let links = Links::new(&feed, &headers);
    let leaf = RegistrationLeaf {
        id: links.registration_leaf(&id, &version),
        catalog_entry: links.facts(&id, &version),
        listed: package.listed,
        package_content: links.package(&id, &version),
        published: package.published,
        registration: links.registration(&id),
    };
    Ok(caller.answer_listing(&feed, Document::json(&leaf).with_tag(), &headers))
}

/// All versions of a package, at least one.
async fn packages(feed: &Feed, id: &PackageId) -> Result<Vec<PackageRow>, Error> {
    let packages = feed.packages(id).await?;
    if packages.is_empty() {
        return Err(Error::NotFound {
            what: format!("package `{id}`"),
        });
    }
    Ok(packages)
}

/// Makes a page of at least one version.
fn page(links: &Links, packages: &[PackageRow], inline: bool) -> RegistrationPage {
    let (first, last) = (&packages[0], &packages[packages.len() - 1]);
    RegistrationPage {
        id: links.registration_page(&first.id, &first.version, &last.version),
        count: packages.len(),
        lower: first.version.to_string(),
        upper: last.version.to_string(),
        parent: Some(links.registration(&first.id)),
        items: inline.then(|| {
            packages
                .iter()
                .map(|package| item(links, package))
                .collect()
        }),
    }
}

fn item(links: &Links, package: &PackageRow) -> RegistrationItem {
    let PackageRow {
        id,
        version,
        metadata,
        ..
    } = package;
    let content = links.package(id, version);
    RegistrationItem {
        id: links.registration_leaf(id, version),
        catalog_entry: CatalogEntry {
            url: links.facts(id, version),
            id: id.clone(),
            version: version.clone(),
            authors: metadata.authors.clone(),
            description: metadata.description.clone(),
            title: metadata.title.clone(),
            summary: metadata.summary.clone(),
            tags: metadata.tags.clone(),
            project_url: metadata.project_url.clone(),
            icon_url: metadata.icon_url.clone(),
            license_url: metadata.license_url.clone(),
            license_expression: metadata.license_expression.clone(),
            min_client_version: metadata.min_client_version.clone(),
            require_license_acceptance: metadata.require_license_acceptance,
            listed: package.listed,
            published: Some(package.published.clone()),
            dependency_groups: metadata.dependency_groups.clone(),
            package_content: Some(content.clone()),
        },
        package_content: content,
        registration: Some(links.registration(id)),
    }
}

/// Searches for packages.
pub(super) async fn search(
    State(feed): State<Arc<Feed>>,
    UrlQuery(parameters): UrlQuery<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let query = parse_query(&parameters, Query::parse)?;
    let links = Links::new(&feed, &headers);
    let found = feed.search(&query, &upstream_query(&parameters)).await?;
    let here = found
        .here
        .iter()
        .filter_map(|packages| hit(&links, packages));
    let elsewhere = found.elsewhere.into_iter();
    let elsewhere = elsewhere.map(|hit| relinked(&links, hit));
    let answer = SearchAnswer {
        total_hits: found.total,
        data: here.chain(elsewhere).collect(),
    };
    Ok(Document::json(&answer).answer(&headers, None))
}

/// Makes the addresses of another feed's answer ours.
fn relinked(links: &Links, mut hit: SearchHit) -> SearchHit {
    for version in &mut hit.versions {
        version.id = links.registration_leaf(&hit.id, &version.version);
    }
    hit.url = links.registration(&hit.id);
    hit.registration = links.registration(&hit.id);
    hit
}

/// Writes a search anew for other feeds, without its page.
fn upstream_query(parameters: &BTreeMap<String, String>) -> String {
    let mut query = format!(
        "q={}",
        encoded(parameter(parameters, "q").unwrap_or_default())
    );
    for name in ["prerelease", "semVerLevel", "packageType"] {
        if let Some(value) = parameter(parameters, name) {
            query.push('&');
            query.push_str(name);
            query.push('=');
            query.push_str(&encoded(value));
        }
    }
    query
}

/// Encodes a text as a value of a query.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            for digit in [byte >> 4, byte & 15] {
                encoded.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
            }
        }
    }
    encoded
}

fn hit(links: &Links, packages: &[Arc<PackageRow>]) -> Option<SearchHit> {
    let PackageRow {
        id,
        version,
        metadata,
        ..
    } = &**packages.last()?;
    let versions = packages.iter().map(|package| SearchVersion {
        id: links.registration_leaf(&package.id, &package.version),
        version: package.version.clone(),
        // This feed counts no downloads; the protocol wants the member.
        downloads: 0,
    });
    let authors = metadata
        .authors
        .split(',')
        .map(str::trim)
        .filter(|author| !author.is_empty());
    let types = metadata
        .package_types
        .iter()
        .map(|name| SearchPackageType { name: name.clone() });
    let mut package_types: Vec<_> = types.collect();
    if package_types.is_empty() {
        package_types.push(SearchPackageType {
            name: "Dependency".to_owned(),
        });
    }
    Some(SearchHit {
        url: links.registration(id),
        id: id.clone(),
        version: version.clone(),
        versions: versions.collect(),
        description: metadata.description.clone(),
        authors: authors.map(str::to_owned).collect(),
        title: metadata.title.clone(),
        summary: metadata.summary.clone(),
        tags: metadata.tags.clone(),
        project_url: metadata.project_url.clone(),
        icon_url: metadata.icon_url.clone(),
        license_url: metadata.license_url.clone(),
        registration: links.registration(id),
        total_downloads: 0,
        verified: false,
        package_types,
    })
}

/// Completes a part of an id (`q`), or lists the versions of one (`id`).
pub(super) async fn autocomplete(
    State(feed): State<Arc<Feed>>,
    UrlQuery(parameters): UrlQuery<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let query = parse_query(&parameters, Query::parse_id_parts)?;
    if let Some(id) = parameter(&parameters, "id") {
        let mut packages = match id.parse() {
            Ok(id) => feed.packages(&id).await?,
            Err(_) => Vec::new(),
        };
        packages.retain(|package| query.shows(package));
        let versions = packages.iter().map(|package| package.version.to_string());
        let completion = Completion {
            total_hits: None,
            data: versions.collect(),
        };
        return Ok(Document::json(&completion).answer(&headers, None));
    }
    let found = feed.search(&query, &upstream_query(&parameters)).await?;
    let here = found
        .here
        .iter()
        .filter_map(|packages| Some(packages.last()?.id.to_string()));
    let elsewhere = found.elsewhere.iter().map(|hit| hit.id.to_string());
    let completion = Completion {
        total_hits: Some(found.total),
        data: here.chain(elsewhere).collect(),
    };
    Ok(Document::json(&completion).answer(&headers, None))
}

/// Returns a parameter by its name, case aside: clients differ.
fn parameter<'a>(parameters: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    let found = parameters
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name));
    found
        .map(|(_, value)| value.as_str())
        .filter(|value| !value.is_empty())
}

fn parse_query(
    parameters: &BTreeMap<String, String>,
    parse: fn(&str) -> Query,
) -> Result<Query, Error> {
    let number = |name: &str, default: u32| match parameter(parameters, name) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| {
            Error::BadRequest(format!("`{name}` must be a whole number, not `{text}`"))
        }),
    };
    let semver2 = match parameter(parameters, "semVerLevel") {
        None => false,
        Some(level) => level
            .parse::<Version>()
            .is_ok_and(|level| level.major() >= 2),
    };
    // Both names are in the protocol's documentation.
    let package_type =
        parameter(parameters, "packageType").or_else(|| parameter(parameters, "packageTypes"));
    let mut query = parse(parameter(parameters, "q").unwrap_or_default());
    query.prerelease =
        parameter(parameters, "prerelease").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    query.semver2 = semver2;
    query.package_type = package_type.map(str::to_owned);
    query.skip = number("skip", 0)?;
    query.take = number("take", TAKE_DEFAULT)?.min(TAKE_MAX);
    Ok(query)
}
