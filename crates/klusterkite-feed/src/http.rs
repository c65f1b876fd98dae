//! The feed over HTTP.

mod answer;
mod browse;
mod fetch;
mod links;
mod multipart;
mod problem;
mod publish;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, put};

use crate::feed::Feed;
use crate::keys::{Key, Scope};
use answer::Refusal;

/// Pins come as one JSON document: 100,000 versions of 80 bytes.
const PINS_BYTES_MAX: usize = 8 << 20;

/// Makes the router of a feed: the NuGet V3 protocol and what ours adds to it.
///
/// Every route but `/healthz` needs a key with a scope, also routes that do not exist.
pub fn app(feed: Arc<Feed>) -> Router {
    // NuGet clients add a slash to the address that they push to. The handler counts what it reads.
    let push = put(publish::push).layer(DefaultBodyLimit::disable());
    let push_symbols = put(publish::push_symbols).layer(DefaultBodyLimit::disable());
    Router::new()
        .route("/v3/index.json", get(links::service_index))
        .route("/v3/flat/{id}/index.json", get(fetch::versions))
        .route("/v3/flat/{id}/{version}/{file}", get(fetch::file))
        .route(
            "/v3/registration/{id}/index.json",
            get(browse::registration),
        )
        .route(
            "/v3/registration/{id}/{leaf}",
            get(browse::registration_leaf),
        )
        .route(
            "/v3/registration/{id}/page/{lower}/{upper}",
            get(browse::registration_page),
        )
        .route("/v3/search", get(browse::search))
        .route("/v3/autocomplete", get(browse::autocomplete))
        .route("/v3/facts/{id}/{file}", get(fetch::facts))
        .route("/api/v2/package", push.clone())
        .route("/api/v2/package/", push)
        .route("/api/v2/symbolpackage", push_symbols.clone())
        .route("/api/v2/symbolpackage/", push_symbols)
        .route(
            "/api/v2/package/{id}/{version}",
            axum::routing::delete(publish::remove).post(publish::relist),
        )
        .route(
            "/pins/{cluster}",
            put(publish::pin).layer(DefaultBodyLimit::max(PINS_BYTES_MAX)),
        )
        .fallback(answer::no_route)
        .method_not_allowed_fallback(answer::no_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&feed), authorize))
        .route("/healthz", get(fetch::health))
        .layer(middleware::from_fn(answer::only_problems))
        .layer(middleware::from_fn(answer::log))
        .with_state(feed)
}

/// The key that a request was allowed with.
#[derive(Clone)]
struct Writer(Key);

async fn authorize(
    State(feed): State<Arc<Feed>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let scope = scope_of(&request);
    match feed.keys.authorize(request.headers(), scope) {
        Ok(key) => {
            if let Some(key) = key {
                request.extensions_mut().insert(Writer(key.clone()));
            }
            Ok(next.run(request).await)
        }
        Err(error) => {
            answer::drain(&mut request.into_body().into_data_stream()).await;
            Err(error.into())
        }
    }
}

/// Says which scope a request needs; the only place that does.
fn scope_of(request: &Request) -> Scope {
    match *request.method() {
        Method::GET | Method::HEAD => Scope::Read,
        Method::DELETE if publish::is_purge(request.uri().query()) => Scope::Purge,
        Method::PUT if request.uri().path().starts_with("/pins/") => Scope::Pin,
        Method::PUT => Scope::Push,
        _ => Scope::Unlist,
    }
}
