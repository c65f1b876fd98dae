//! Refusals: problems for people and programs.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::BodyDataStream;
use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use hyper::ext::ReasonPhrase;
use klusterkite_wire::problem::PROBLEM_MEDIA_TYPE;
use klusterkite_wire::{Problem, chain};

use super::problem::{problem, status};
use crate::Error;

/// The longest reason phrase: it is one header line, and proxies cut long ones.
const REASON_CHARS_MAX: usize = 250;

/// How much of a refused upload is read so that the client sees the answer instead of a broken
/// connection, and for how long at most. Beyond that the connection is closed.
const DRAIN_BYTES: usize = 64 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// The longest refusal of the framework that is read to be repeated; they are one sentence.
const FRAMEWORK_TEXT_BYTES_MAX: usize = 4096;

/// An error on its way to the client.
pub(super) struct Refusal(Error);

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let request_id = next_request_id();
        let (status, code) = status(&self.0);
        if code == "upstreamAway" {
            // Said once when it goes away; not for each request.
            tracing::debug!(request_id, reason = chain(&self.0), "request failed");
        } else if status.is_server_error() {
            tracing::error!(request_id, error = chain(&self.0), "request failed");
        } else if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND) {
            // NuGet clients ask for everything without a key first, and for what may not be there.
            tracing::debug!(
                request_id,
                status = status.as_u16(),
                reason = chain(&self.0),
                "request refused"
            );
        } else {
            tracing::info!(
                request_id,
                status = status.as_u16(),
                reason = chain(&self.0),
                "request refused"
            );
        }
        let problem = problem(&self.0, &request_id);
        let body = serde_json::to_vec(&problem).expect("a problem has only text keys");
        let mut response = (status, [(CONTENT_TYPE, PROBLEM_MEDIA_TYPE)], body).into_response();
        let headers = response.headers_mut();
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(
                    WWW_AUTHENTICATE,
                    HeaderValue::from_static("Basic realm=\"klusterkite-feed\""),
                );
            }
            StatusCode::INSUFFICIENT_STORAGE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("60"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("10"));
            }
            StatusCode::TOO_MANY_REQUESTS => {
                if let Error::TooManyWrongKeys { seconds } = &self.0 {
                    headers.insert(RETRY_AFTER, (*seconds).into());
                }
            }
            _ => {}
        }
        // NuGet clients show nothing but the reason phrase.
        if let Some(reason) = reason_phrase(&problem.detail) {
            response.extensions_mut().insert(reason);
        }
        response
    }
}

fn reason_phrase(detail: &str) -> Option<ReasonPhrase> {
    let visible = |c: char| {
        if c.is_ascii_graphic() || c == ' ' {
            c
        } else {
            '?'
        }
    };
    let text: String = detail.chars().take(REASON_CHARS_MAX).map(visible).collect();
    ReasonPhrase::try_from(text.into_bytes()).ok()
}

/// Makes an id under which the log tells more about an answer: unique while logs are kept.
fn next_request_id() -> String {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| getrandom::u64().unwrap_or_default());
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{:08x}-{number:x}", *PROCESS as u32)
}

/// Reads and forgets what is left of a body that nobody wants, within bounds.
pub(super) async fn drain(body: &mut BodyDataStream) {
    let reading = async {
        let mut left = DRAIN_BYTES;
        while let Some(Ok(chunk)) = body.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                break;
            }
        }
    };
    // Too slow is as good as too long: the connection is closed.
    let _ = tokio::time::timeout(DRAIN_TIME, reading).await;
}

/// Answers paths that the feed does not have.
pub(super) async fn no_route(request: Request) -> Refusal {
    let what = format!("`{}`", request.uri().path());
    drain(&mut request.into_body().into_data_stream()).await;
    Error::NotFound { what }.into()
}

/// Answers methods that a path does not have.
pub(super) async fn no_method(request: Request) -> Refusal {
    let (method, path) = (
        request.method().to_string(),
        request.uri().path().to_owned(),
    );
    drain(&mut request.into_body().into_data_stream()).await;
    Error::MethodUnknown { method, path }.into()
}

/// Makes problems of the refusals that the framework itself answers (paths and queries that are
/// not UTF-8, bodies that are too large).
pub(super) async fn only_problems(response: Response) -> Response {
    let status = response.status();
    let is_problem = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind == PROBLEM_MEDIA_TYPE);
    if !status.is_client_error() || is_problem {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let text = axum::body::to_bytes(body, FRAMEWORK_TEXT_BYTES_MAX)
        .await
        .unwrap_or_default();
    let detail = match String::from_utf8_lossy(&text).trim() {
        "" => format!("the feed cannot answer this: {status}"),
        text => text.to_owned(),
    };
    let problem = Problem::new(status.as_u16(), "badRequest", detail);
    let body = serde_json::to_vec(&problem).expect("a problem has only text keys");
    parts
        .headers
        .insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_MEDIA_TYPE));
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, body.into())
}
