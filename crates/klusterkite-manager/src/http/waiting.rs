//! What is answered while there is no cluster to ask about.

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::middleware::from_fn;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use crate::fault::Fault;
use crate::http::input::drop_body;
use crate::http::{answer, health};

/// Makes a router that refuses everything but the question whether the process is alive.
pub(super) fn router(code: &'static str, sentence: &'static str) -> Router {
    let refuse = move |request: Request| refuse(request, code, sentence);
    Router::new()
        .route("/healthz", get(health::healthz))
        .fallback(refuse)
        .layer(from_fn(answer::observe))
}

async fn refuse(request: Request, code: &'static str, sentence: &'static str) -> Response {
    drop_body(request).await;
    let message = sentence.to_owned();
    let mut response = Fault::Unavailable { code, message }.into_response();
    // The next request has to meet the cluster, which another router answers for.
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}
