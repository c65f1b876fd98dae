//! Handler of `/events`.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::{Stream, StreamExt as _};
use klusterkite_api::events::Event;

use crate::auth::Bearer;
use crate::events::EventReader;
use crate::fault::Fault;
use crate::http::Api;
use crate::http::input::Parameters;

/// Name of the header with which a client resumes a stream.
const LAST_EVENT_ID: &str = "last-event-id";

/// How often a stream without events says that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Pages the history, or streams events when the client accepts that and names no page.
pub(super) async fn list_or_stream(
    State(api): State<Api>,
    bearer: Bearer,
    parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let from: Option<i64> = parameters.parsed("from")?;
    let limit = parameters.limit()?;
    if from.is_none() && accepts_stream(&headers) {
        return stream(&api, bearer, last_event_id(&headers)?).await;
    }
    Ok(Json(api.cluster.event_list(from, limit).await?).into_response())
}

async fn stream(api: &Api, bearer: Bearer, last: Option<i64>) -> Result<Response, Fault> {
    let place = api.stream_place()?;
    let reader = EventReader::new(&api.cluster, bearer, last).await;
    let events = reader.into_stream().map(move |event| {
        // The place is given back when the stream is dropped.
        let _ = &place;
        sent(&event)
    });
    Ok(respond(events))
}

fn respond(
    events: impl Stream<Item = Result<sse::Event, Infallible>> + Send + 'static,
) -> Response {
    let stream = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    // nginx passes an answer with this header on as it comes.
    ([("x-accel-buffering", "no")], stream).into_response()
}

fn sent(event: &Event) -> Result<sse::Event, Infallible> {
    let json = serde_json::to_string(event).expect("an event has only text for keys");
    Ok(sse::Event::default().id(event.id.to_string()).data(json))
}

fn accepts_stream(headers: &HeaderMap) -> bool {
    let accepted = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    accepted
        .flat_map(|value| value.split(','))
        .any(|media_type| {
            media_type.split(';').next().unwrap_or_default().trim() == "text/event-stream"
        })
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<i64>, Fault> {
    let Some(header) = headers.get(LAST_EVENT_ID) else {
        return Ok(None);
    };
    let number = header
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok());
    let invalid = || Fault::invalid("Last-Event-ID", "give the id of an event");
    number.map(Some).ok_or_else(invalid)
}
