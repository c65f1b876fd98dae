//! Packages, and what is in them.

use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use klusterkite_nuget::v3::FlatVersions;
use klusterkite_nuget::{PackageId, Sha512Hash, Version};

use super::Caller;
use super::answer::Refusal;
use super::document::Document;
use crate::Error;
use crate::blobs::{Blobs, Kind};
use crate::feed::{Feed, not_found};

/// The largest package that is kept in memory while it is asked for; larger ones are sent from
/// their files, which costs about as much from this size on.
const MEMORY_BYTES_MAX: u64 = 64 << 10;

/// Lists the versions of a package.
pub(super) async fn versions(
    State(feed): State<Arc<Feed>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let id = parse_id(&id)?;
    let versions = feed.versions(&id).await?;
    if versions.is_empty() {
        return Err(Error::NotFound {
            what: format!("package `{id}`"),
        }
        .into());
    }
    let document = Document::json(&FlatVersions { versions });
    Ok(caller.answer_listing(&feed, document.with_tag(), &headers))
}

/// Returns everything about one version.
pub(super) async fn facts(
    State(feed): State<Arc<Feed>>,
    Extension(caller): Extension<Caller>,
    Path((id, file)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (id, version) = (parse_id(&id)?, parse_document(&file)?);
    feed.find(&id, &version).await?;
    let facts = feed.index.facts(&id, &version).await?;
    let facts = facts.ok_or_else(|| not_found(&id, &version))?;
    Ok(caller.answer_with(&feed, Document::json(&facts).with_tag(), &headers))
}

/// Returns a package's `.nupkg`, `.nuspec` or `.snupkg`.
pub(super) async fn file(
    State(feed): State<Arc<Feed>>,
    Extension(caller): Extension<Caller>,
    Path((id, version, file)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (id, version) = (parse_id(&id)?, parse_version(&version)?);
    let file = file.to_ascii_lowercase();
    if file == format!("{}.nuspec", id.lower()) {
        feed.find(&id, &version).await?;
        let nuspec = feed
            .index
            .nuspec(&id, &version)
            .await?
            .ok_or_else(|| not_found(&id, &version))?;
        let document = Document::text("application/xml", nuspec.into_bytes());
        return Ok(caller.answer_with(&feed, document.with_tag(), &headers));
    }
    let base = format!("{}.{}", id.lower(), version.lower());
    let kind = match file.strip_prefix(&base) {
        Some(".nupkg") => Kind::Package,
        Some(".snupkg") => Kind::Symbols,
        _ => {
            return Err(Error::NotFound {
                what: format!("file `{file}` of package `{id}` `{version}`"),
            }
            .into());
        }
    };
    let document = blob(&feed, kind, &id, &version).await?;
    Ok(caller.answer_with(&feed, document, &headers))
}

/// Returns the bytes of a package or of its symbols.
async fn blob(
    feed: &Arc<Feed>,
    kind: Kind,
    id: &PackageId,
    version: &Version,
) -> Result<Document, Error> {
    let (found, absent) = match kind {
        Kind::Package | Kind::Upstream => (feed.find(id, version).await?, not_found(id, version)),
        Kind::Symbols => {
            let what = format!("symbols of package `{id}` `{version}`");
            let absent = Error::NotFound { what };
            let hash = feed.index.symbols(id, version).await?;
            (hash.map(|hash| (Kind::Symbols, hash)), absent)
        }
    };
    let Some((kind, hash)) = found else {
        return Err(absent);
    };
    let blobs = Arc::clone(&feed.blobs);
    let read = tokio::task::spawn_blocking(move || read_blob(&blobs, kind, &hash));
    match read.await.map_err(Error::Task)?? {
        Some(document) => Ok(document),
        // Purged since the index was read, or lost.
        None => Err(match feed.index.blob(id, version).await? {
            None => not_found(id, version),
            Some(_) => Error::BlobMissing {
                id: id.clone(),
                version: version.clone(),
            },
        }),
    }
}

/// Reads a small file, opens a large one; `None` if there is none.
fn read_blob(blobs: &Blobs, kind: Kind, hash: &Sha512Hash) -> Result<Option<Document>, Error> {
    let path = blobs.path(kind, hash);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::file("open", &path)(error)),
    };
    let size = file.metadata().map_err(Error::file("read", &path))?.len();
    if size > MEMORY_BYTES_MAX {
        return Ok(Some(Document::file(file, size, hash)));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)
        .map_err(Error::file("read", &path))?;
    Ok(Some(Document::bytes(bytes, hash)))
}

/// Parses an id from a path; what is no id is not in the feed.
pub(super) fn parse_id(text: &str) -> Result<PackageId, Error> {
    text.parse().map_err(|_| Error::NotFound {
        what: format!("package `{text}`"),
    })
}

/// Parses a version from a path; what is no version is not in the feed.
pub(super) fn parse_version(text: &str) -> Result<Version, Error> {
    text.parse().map_err(|_| Error::NotFound {
        what: format!("version `{text}`"),
    })
}

/// Parses a version from the name of a JSON document.
pub(super) fn parse_document(file: &str) -> Result<Version, Error> {
    parse_version(file.strip_suffix(".json").unwrap_or(""))
}
