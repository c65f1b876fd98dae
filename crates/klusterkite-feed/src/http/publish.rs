//! Changes: push of packages and symbols, unlist, relist, purge, pins.

use std::sync::Arc;

use axum::Extension;
use axum::body::BodyDataStream;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use klusterkite_nuget::{PackageId, Version};
use klusterkite_wire::chain;
use serde::Deserialize;

use super::Writer;
use super::answer::{Refusal, drain};
use super::fetch::{parse_id, parse_version};
use super::links::Links;
use super::multipart::FirstPart;
use crate::Error;
use crate::blobs::Received;
use crate::counters::count;
use crate::feed::Feed;

/// The longest name of a cluster, in bytes.
const CLUSTER_BYTES_MAX: usize = 128;

/// Receives and publishes a package.
pub(super) async fn push(
    State(feed): State<Arc<Feed>>,
    Extension(Writer(key)): Extension<Writer>,
    request: Request,
) -> Result<Response, Refusal> {
    let links = Links::new(&feed, request.headers());
    let received = receive(&feed, request).await?;
    let (id, version) = uncancelled(async move {
        let published = feed.publish(received, &key).await?;
        count(&feed.counters.pushes);
        Ok(published)
    })
    .await?;
    tracing::info!(%id, %version, "published");
    Ok((
        StatusCode::CREATED,
        [(LOCATION, links.package(&id, &version))],
    )
        .into_response())
}

/// Receives and publishes the symbols of a package.
pub(super) async fn push_symbols(
    State(feed): State<Arc<Feed>>,
    Extension(Writer(key)): Extension<Writer>,
    request: Request,
) -> Result<Response, Refusal> {
    let links = Links::new(&feed, request.headers());
    let received = receive(&feed, request).await?;
    let publish = async move {
        let published = feed.publish_symbols(received, &key).await?;
        count(&feed.counters.symbols);
        Ok(published)
    };
    let (id, version) = uncancelled(publish).await?;
    tracing::info!(%id, %version, "published symbols");
    Ok((
        StatusCode::CREATED,
        [(LOCATION, links.symbols(&id, &version))],
    )
        .into_response())
}

/// Writes the first part of the body to disk: names differ between clients, further parts have no
/// meaning in the protocol.
async fn receive(feed: &Feed, request: Request) -> Result<Received, Error> {
    let content_type = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let part = FirstPart::new(content_type.unwrap_or_default());
    let mut body = request.into_body().into_data_stream();
    let received = match part {
        Ok(part) => read_part(feed, part, &mut body).await,
        Err(error) => Err(error),
    };
    drain(&mut body).await;
    received
}

async fn read_part(
    feed: &Feed,
    mut part: FirstPart,
    body: &mut BodyDataStream,
) -> Result<Received, Error> {
    let broken = |reason: &str| Error::UploadBroken {
        reason: reason.to_owned(),
    };
    let limit = feed.package_bytes_max;
    let mut upload = feed.receive().await?;
    while !part.is_complete() {
        let chunk = body.next().await;
        let chunk = chunk.ok_or_else(|| broken("the body has no end of the package"))?;
        let chunk = chunk.map_err(|error| broken(&chain(&error)))?;
        let data = part.push(&chunk)?;
        if upload.size() + data.len() as u64 > limit {
            return Err(Error::PackageTooLarge { limit });
        }
        upload.write(&data.earlier).await?;
        upload.write(data.now).await?;
    }
    upload.finish().await
}

/// Unlists a version, or purges it if the query says so.
pub(super) async fn remove(
    State(feed): State<Arc<Feed>>,
    Extension(Writer(key)): Extension<Writer>,
    Path((id, version)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<StatusCode, Refusal> {
    let (id, version) = (parse_id(&id)?, parse_version(&version)?);
    let purge = is_purge(query.as_deref());
    uncancelled(async move {
        if purge {
            feed.purge(&id, &version, &key).await?;
            tracing::info!(%id, %version, "purged");
        } else {
            feed.set_listed(&id, &version, false, &key).await?;
            tracing::info!(%id, %version, "unlisted");
        }
        Ok(())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists a version again.
pub(super) async fn relist(
    State(feed): State<Arc<Feed>>,
    Extension(Writer(key)): Extension<Writer>,
    Path((id, version)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    let (id, version) = (parse_id(&id)?, parse_version(&version)?);
    uncancelled(async move {
        feed.set_listed(&id, &version, true, &key).await?;
        tracing::info!(%id, %version, "listed");
        Ok(())
    })
    .await?;
    Ok(StatusCode::OK)
}

/// A version that a cluster needs.
#[derive(Deserialize)]
pub(super) struct Pin {
    id: PackageId,
    version: Version,
}

/// Replaces the versions that a cluster pins.
pub(super) async fn pin(
    State(feed): State<Arc<Feed>>,
    Extension(Writer(key)): Extension<Writer>,
    Path(cluster): Path<String>,
    body: Result<axum::body::Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<StatusCode, Refusal> {
    let is_name = !cluster.is_empty()
        && cluster.len() <= CLUSTER_BYTES_MAX
        && cluster
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if !is_name {
        let expected = "is not a cluster's name: 1 to 128 letters, digits, `.`, `_` and `-`";
        return Err(Error::BadRequest(format!("`{cluster}` {expected}")).into());
    }
    let body = body.map_err(|error| {
        Error::BadRequest(format!("the pins cannot be read: {}", error.body_text()))
    })?;
    let pins: Vec<Pin> = serde_json::from_slice(&body).map_err(|error| {
        Error::BadRequest(format!(
            "the body must be a JSON list of {{id, version}}: {error}"
        ))
    })?;
    let pins: Vec<_> = pins.into_iter().map(|pin| (pin.id, pin.version)).collect();
    feed.pin(&cluster, &pins, &key).await?;
    tracing::info!(cluster, count = pins.len(), "pinned");
    Ok(StatusCode::NO_CONTENT)
}

/// Tells whether a DELETE asks for the bytes to be removed.
pub(super) fn is_purge(query: Option<&str>) -> bool {
    query.is_some_and(|query| query.split('&').any(|pair| pair == "purge=true"))
}

/// Runs a change to its end even if the client goes away.
async fn uncancelled<T: Send + 'static>(
    change: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    tokio::spawn(change).await.map_err(Error::Task)?
}
