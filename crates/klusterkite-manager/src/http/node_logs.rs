//! Handler of `/nodes/{nodeId}/logs`: what processes wrote, one JSON object a line.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use klusterkite_api::nodes::NodeLine;
use klusterkite_wire::NodeId;
use klusterkite_wire::link::LOG_LINES_MAX;

use crate::auth::Bearer;
use crate::fault::Fault;
use crate::http::Api;
use crate::http::input::{Parameters, PathId};
use crate::node_logs::{NodeLineReader, Wanted};

/// When a client without a place comes back.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Lines that an answer begins with when nobody says how many.
const LINES: u32 = 100;

pub(super) async fn lines(
    State(api): State<Api>,
    bearer: Bearer,
    PathId(id): PathId<NodeId>,
    parameters: Parameters,
) -> Result<Response, Fault> {
    let lines = parameters.parsed("lines")?.unwrap_or(LINES);
    if !(1..=LOG_LINES_MAX).contains(&lines) {
        return Err(Fault::invalid(
            "lines",
            format!("give 1 to {LOG_LINES_MAX}"),
        ));
    }
    let wanted = Wanted {
        id,
        after: parameters.parsed("after")?,
        lines,
        process: parameters.text("process").map(str::to_owned),
        follows: parameters.parsed("follow")?.unwrap_or(false),
    };
    let place = Arc::clone(&api.streams).try_acquire_owned();
    let place = place.map_err(|_| Fault::TooMany {
        retry_after: RETRY_AFTER,
    })?;
    let reader = NodeLineReader::new(&api.cluster, bearer, wanted).await?;
    let lines = reader.into_stream().map(move |line| {
        // The place is given back when the stream is dropped.
        let _ = &place;
        line.map(|line| written(line.as_ref()))
    });
    // nginx passes an answer with this header on as it comes.
    let headers = [
        (CONTENT_TYPE.as_str(), "application/x-ndjson"),
        ("x-accel-buffering", "no"),
    ];
    Ok((headers, Body::from_stream(lines)).into_response())
}

fn written(line: Option<&NodeLine>) -> Bytes {
    let mut text = line.map_or_else(Vec::new, |line| {
        serde_json::to_vec(line).expect("a line has only text for keys")
    });
    text.push(b'\n');
    text.into()
}
