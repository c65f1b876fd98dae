//! Answers that are lines of a log: one JSON object a line, as long as somebody reads.

use axum::BoxError;
use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use futures_util::{Stream, StreamExt as _};
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

/// Answers with lines as they come; nothing instead of a line says that the answer lives, and is an empty line.
pub(super) fn answer<T: Serialize, E: Into<BoxError>>(
    place: OwnedSemaphorePermit,
    lines: impl Stream<Item = Result<Option<T>, E>> + Send + 'static,
) -> Response {
    let lines = lines.map(move |line| {
        // The place is given back when the stream is dropped.
        let _ = &place;
        line.map(|line| written(line.as_ref()))
    });
    // nginx passes an answer with this header on as it comes.
    let headers = [
        (CONTENT_TYPE.as_str(), "application/x-ndjson"),
        ("x-accel-buffering", "no"),
    ];
    (headers, Body::from_stream(lines)).into_response()
}

fn written(line: Option<&impl Serialize>) -> Bytes {
    let mut text = line.map_or_else(Vec::new, |line| {
        serde_json::to_vec(line).expect("a line has only text for keys")
    });
    text.push(b'\n');
    text.into()
}
