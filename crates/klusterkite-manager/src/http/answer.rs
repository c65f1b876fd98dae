//! Answers: faults become problem documents, each request gets an id and a line in the log.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::Json;
use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use klusterkite_wire::problem::PROBLEM_MEDIA_TYPE;
use klusterkite_wire::{Problem, chain};
use tracing::Instrument as _;

use crate::fault::Fault;
use crate::http::input::drop_body;

/// Name of the header that carries the request id.
const REQUEST_ID: &str = "x-request-id";

/// Longest path in the log, in bytes.
const LOGGED_PATH_BYTES: usize = 200;

/// What a handler answers.
pub(super) type Answer<T> = Result<Json<T>, Fault>;

/// A refused request: what the client is told, and what only the log is told.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    problem: Box<Problem>,
    causes: Option<String>,
}

impl Refused {
    /// Makes a refusal by the protocol itself.
    pub(super) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        let problem = Box::new(Problem::new(status.as_u16(), code, detail));
        Self {
            problem,
            causes: None,
        }
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        let causes = match &fault {
            Fault::Store(error) => Some(chain(error)),
            _ => None,
        };
        Self {
            problem: Box::new(fault.problem()),
            causes,
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.problem.status);
        let mut response = status
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            .into_response();
        // `observe` writes the body, because it knows the request id.
        response.extensions_mut().insert(self);
        response
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let retry_after = self.retry_after();
        let is_unauthorized = matches!(self, Self::Unauthorized(_));
        let mut response = Refused::from(self).into_response();
        if let Some(wait) = retry_after {
            // Rounded up: a client that comes early is refused again.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if is_unauthorized {
            let challenge = HeaderValue::from_static("Bearer realm=\"klusterkite\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// Who called; the guard says so to the log.
#[derive(Debug, Clone)]
pub(super) struct Caller(pub(super) String);

/// Answers unknown paths.
pub(super) async fn no_such_path(request: Request) -> Refused {
    drop_body(request).await;
    Refused::new(
        StatusCode::NOT_FOUND,
        "notFound",
        "there is no such path; see /api/openapi.json",
    )
}

/// Answers known paths with a method that they do not have.
pub(super) async fn no_such_method(request: Request) -> Refused {
    drop_body(request).await;
    let detail = "the path does not have this method; `Allow` lists those that it has";
    Refused::new(StatusCode::METHOD_NOT_ALLOWED, "methodNotAllowed", detail)
}

/// Gives the request an id, writes problem documents and the log.
pub(super) async fn observe(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let request_id = request_id();
    let method = request.method().clone();
    let path: String = request
        .uri()
        .path()
        .chars()
        .take(LOGGED_PATH_BYTES)
        .collect();
    let span = tracing::info_span!("request", id = request_id);
    let mut response = next.run(request).instrument(span.clone()).await;

    let _in_span = span.enter();
    let caller = response.extensions_mut().remove::<Caller>();
    let caller = caller.map_or_else(String::new, |Caller(name)| name);
    let status = response.status();
    let milliseconds = started.elapsed().as_millis() as u64;
    if let Some(refused) = response.extensions_mut().remove::<Refused>() {
        let Refused {
            mut problem,
            causes,
        } = refused;
        if let Some(causes) = causes {
            tracing::error!(%method, path, caller, "{causes}");
        }
        tracing::info!(%method, path, caller, code = problem.code, milliseconds, "refused: {}", problem.detail);
        problem.request_id = Some(request_id.clone());
        write_problem(&mut response, &problem);
    } else if method.is_safe() || !caller.starts_with("user:") {
        // What launchers and nodes get is told by its events.
        tracing::debug!(%method, path, caller, status = status.as_u16(), milliseconds, "answered");
    } else {
        tracing::info!(%method, path, caller, status = status.as_u16(), milliseconds, "answered");
    }
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !headers.contains_key(CACHE_CONTROL) {
        // Configurations and tokens must not outlive a login in some cache.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    let id = HeaderValue::from_str(&request_id).expect("hexadecimal digits are a header value");
    headers.insert(REQUEST_ID, id);
    response
}

/// Returns the next id: the first one of a process is random, so that those of two managers differ.
fn request_id() -> String {
    static FIRST: LazyLock<u64> = LazyLock::new(crate::secrets::random_number);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{:016x}", FIRST.wrapping_add(count))
}

fn write_problem(response: &mut Response, problem: &Problem) {
    let body = serde_json::to_vec(problem).expect("a problem has only text for keys");
    let media_type = HeaderValue::from_static(PROBLEM_MEDIA_TYPE);
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    *response.body_mut() = body.into();
}
