//! Packages, their files' list, and health.

use std::io::SeekFrom;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    IF_RANGE, RANGE,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use klusterkite_nuget::v3::{FlatVersions, PackageFacts};
use klusterkite_nuget::{PackageId, Version};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::answer::{Json, Refusal};
use crate::Error;
use crate::blobs::Kind;
use crate::feed::{Feed, not_found};

/// The bytes of a package that are in memory at once for one download.
const CHUNK_BYTES: usize = 256 * 1024;

/// Answers if the feed can read its index.
pub(super) async fn health(State(feed): State<Arc<Feed>>) -> Result<&'static str, Refusal> {
    feed.index.ping().await?;
    Ok("ok\n")
}

/// Lists the versions of a package.
pub(super) async fn versions(
    State(feed): State<Arc<Feed>>,
    Path(id): Path<String>,
) -> Result<Json<FlatVersions>, Refusal> {
    let id = parse_id(&id)?;
    let versions = feed.versions(&id).await?;
    if versions.is_empty() {
        return Err(Error::NotFound {
            what: format!("package `{id}`"),
        }
        .into());
    }
    Ok(Json(FlatVersions { versions }))
}

/// Returns everything about one version.
pub(super) async fn facts(
    State(feed): State<Arc<Feed>>,
    Path((id, file)): Path<(String, String)>,
) -> Result<Json<PackageFacts>, Refusal> {
    let (id, version) = (parse_id(&id)?, parse_document(&file)?);
    feed.find(&id, &version).await?;
    let facts = feed.index.facts(&id, &version).await?;
    facts
        .map(Json)
        .ok_or_else(|| not_found(&id, &version).into())
}

/// Returns a package's `.nupkg`, `.nuspec` or `.snupkg`.
pub(super) async fn file(
    State(feed): State<Arc<Feed>>,
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
        return Ok(([(CONTENT_TYPE, "application/xml")], nuspec).into_response());
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
    blob(&feed, kind, &id, &version, &headers).await
}

/// Returns the bytes of a package or of its symbols.
async fn blob(
    feed: &Arc<Feed>,
    kind: Kind,
    id: &PackageId,
    version: &Version,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
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
        return Err(absent.into());
    };
    let path = feed.blobs.path(kind, &hash);
    let mut file = match File::open(&path).await {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // Purged since the index was read, or lost.
            let error = match feed.index.blob(id, version).await? {
                None => not_found(id, version),
                Some(_) => Error::BlobMissing {
                    id: id.clone(),
                    version: version.clone(),
                },
            };
            return Err(error.into());
        }
        Err(error) => return Err(Error::file("open", &path)(error).into()),
    };
    let size = file
        .metadata()
        .await
        .map_err(Error::file("read", &path))?
        .len();

    // A version's bytes never change, so its hash is its tag for ever.
    let tag = format!("\"{}\"", hash.hex());
    let common = [
        (ETAG, tag.clone()),
        (
            CACHE_CONTROL,
            "private, max-age=31536000, immutable".to_owned(),
        ),
        (ACCEPT_RANGES, "bytes".to_owned()),
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
    ];
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if header(IF_NONE_MATCH).is_some_and(|tags| tags.split(',').any(|known| known.trim() == tag)) {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    let range = header(RANGE).filter(|_| header(IF_RANGE).is_none_or(|known| known == tag));
    let (start, length, status) = match range.map(|range| parse_range(range, size)) {
        None | Some(Range::Whole) => (0, size, StatusCode::OK),
        Some(Range::Part { start, length }) => (start, length, StatusCode::PARTIAL_CONTENT),
        Some(Range::Beyond) => {
            let range = [(CONTENT_RANGE, format!("bytes */{size}"))];
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, range).into_response());
        }
    };
    if start > 0 {
        file.seek(SeekFrom::Start(start))
            .await
            .map_err(Error::file("read", &path))?;
    }
    let mut response = (status, common, stream_file(file, length)).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, length.into());
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {start}-{}/{size}", start + length - 1);
        headers.insert(
            CONTENT_RANGE,
            range.parse().expect("numbers are a valid header"),
        );
    }
    Ok(response)
}

/// Sends `length` bytes of a file; a shorter file breaks the connection, so that the client sees it.
fn stream_file(file: File, length: u64) -> Body {
    let chunks = stream::try_unfold((file, length), |(mut file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let mut chunk = vec![0; left.min(CHUNK_BYTES as u64) as usize];
        let count = file.read(&mut chunk).await?;
        if count == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
        }
        chunk.truncate(count);
        Ok(Some((Bytes::from(chunk), (file, left - count as u64))))
    });
    Body::from_stream(chunks)
}

/// What a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
enum Range {
    /// Everything; also for ranges that this feed does not serve in parts.
    Whole,
    Part {
        start: u64,
        length: u64,
    },
    Beyond,
}

/// Reads a single range (RFC 9110, 14.1.2); several at once are answered with everything.
fn parse_range(text: &str, size: u64) -> Range {
    let Some((first, last)) = text
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
    else {
        return Range::Whole;
    };
    let number = |text: &str| text.trim().parse::<u64>();
    match (number(first), number(last)) {
        (Ok(first), _) if first >= size => Range::Beyond,
        (Ok(first), Ok(last)) if last >= first => Range::Part {
            start: first,
            length: last.min(size - 1) - first + 1,
        },
        (Ok(first), Err(_)) if last.trim().is_empty() => Range::Part {
            start: first,
            length: size - first,
        },
        (Err(_), Ok(0)) if first.trim().is_empty() => Range::Beyond,
        (Err(_), Ok(count)) if first.trim().is_empty() && size > 0 => {
            let length = count.min(size);
            Range::Part {
                start: size - length,
                length,
            }
        }
        _ => Range::Whole,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_http_defines_them() {
        let part = |start, length| Range::Part { start, length };
        for (text, size, range) in [
            ("bytes=0-9", 100, part(0, 10)),
            ("bytes=90-", 100, part(90, 10)),
            ("bytes=90-1000", 100, part(90, 10)),
            ("bytes=-10", 100, part(90, 10)),
            ("bytes=-1000", 100, part(0, 100)),
            ("bytes=100-", 100, Range::Beyond),
            ("bytes=-0", 100, Range::Beyond),
            ("bytes=0-", 0, Range::Beyond),
            ("bytes=-5", 0, Range::Whole),
            ("bytes=5-2", 100, Range::Whole),
            ("bytes=0-1,5-6", 100, Range::Whole),
            ("lines=0-1", 100, Range::Whole),
            ("bytes=a-b", 100, Range::Whole),
        ] {
            assert_eq!(parse_range(text, size), range, "{text}");
        }
    }
}
