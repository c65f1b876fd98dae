//! Handlers of `…/logs`: what migrators said, one JSON object a line.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use klusterkite_api::migrations::MigratorLine;
use klusterkite_store::rows::LinesOf;

use crate::auth::Bearer;
use crate::fault::Fault;
use crate::http::Api;
use crate::http::input::{Parameters, PathId};
use crate::migrator_logs::LineReader;

/// When a client without a place comes back.
const RETRY_AFTER: Duration = Duration::from_secs(10);

pub(super) async fn of_migration(
    State(api): State<Api>,
    bearer: Bearer,
    PathId(id): PathId<i64>,
    parameters: Parameters,
) -> Result<Response, Fault> {
    lines(&api, bearer, id, &parameters).await
}

pub(super) async fn without_migration(
    State(api): State<Api>,
    bearer: Bearer,
    parameters: Parameters,
) -> Result<Response, Fault> {
    lines(&api, bearer, 0, &parameters).await
}

async fn lines(
    api: &Api,
    bearer: Bearer,
    migration_id: i64,
    parameters: &Parameters,
) -> Result<Response, Fault> {
    let of = LinesOf {
        migration_id,
        template: parameters.parsed("template")?,
        migrator: parameters.parsed("migrator")?,
        resource: parameters.parsed("resource")?,
    };
    let after = parameters.parsed("after")?.unwrap_or(0);
    let follows = parameters.parsed("follow")?.unwrap_or(false);
    let place = Arc::clone(&api.streams).try_acquire_owned();
    let place = place.map_err(|_| Fault::TooMany {
        retry_after: RETRY_AFTER,
    })?;
    let reader = LineReader::new(&api.cluster, bearer, of, after, follows).await?;
    let lines = reader.into_stream().map(move |line| {
        // The place is given back when the stream is dropped.
        let _ = &place;
        Ok::<_, Infallible>(written(line.as_ref()))
    });
    // nginx passes an answer with this header on as it comes.
    let headers = [
        (CONTENT_TYPE.as_str(), "application/x-ndjson"),
        ("x-accel-buffering", "no"),
    ];
    Ok((headers, Body::from_stream(lines)).into_response())
}

fn written(line: Option<&MigratorLine>) -> Bytes {
    let mut text = line.map_or_else(Vec::new, |line| {
        serde_json::to_vec(line).expect("a line has only text for keys")
    });
    text.push(b'\n');
    text.into()
}
