//! The feed over HTTP.

mod answer;
mod browse;
mod document;
mod facts;
mod fetch;
mod health;
mod links;
mod multipart;
mod observe;
mod paced;
mod problem;
mod publish;

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, HttpBody as _};
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderMap, Method};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use axum::{Extension, Router};
use hyper::body::Incoming;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;

use crate::Error;
use crate::counters::count;
use crate::feed::Feed;
use crate::keys::{Key, Scope};
use crate::serve::Outgoing;
use answer::Refusal;
use document::{Document, Place};
use links::Links;
use observe::{Observed, RouteName, Served};
use paced::Paced;

pub(crate) use document::Documents;
pub(crate) use observe::Observer;

/// Pins come as one JSON document: 100,000 versions of 80 bytes.
const PINS_BYTES_MAX: usize = 8 << 20;

/// A feed that answers requests.
#[derive(Clone)]
pub(crate) struct App {
    feed: Arc<Feed>,
    router: TowerToHyperService<Router>,
}

/// The client at the other end of a connection.
pub(crate) struct Client {
    app: App,
    peer: IpAddr,
    outgoing: Option<Outgoing>,
}

impl App {
    pub(crate) fn new(feed: Arc<Feed>) -> Self {
        Self {
            router: TowerToHyperService::new(router(&feed)),
            feed,
        }
    }

    /// Starts to serve a client; `outgoing` if its connection can send files by itself.
    pub(crate) fn client(&self, peer: IpAddr, outgoing: Option<Outgoing>) -> Client {
        Client {
            app: self.clone(),
            peer,
            outgoing,
        }
    }
}

impl Client {
    /// Answers one request.
    pub(crate) async fn answer(
        &self,
        request: hyper::Request<Incoming>,
    ) -> Result<Response, Infallible> {
        let feed = &self.app.feed;
        let mut request = request.map(|body| {
            if body.is_end_stream() {
                Body::empty()
            } else {
                Body::new(Paced::new(Body::new(body)))
            }
        });
        let address = feed.proxies.client(self.peer, request.headers_mut());
        let observed = Observed::new(
            &feed.observer,
            address,
            request.method(),
            request.uri().path(),
        );
        let mut caller = Caller {
            address,
            outgoing: self.outgoing.clone(),
            place: None,
        };
        let response = if let Some(response) = self.lately(&mut caller, &request) {
            response
        } else {
            request.extensions_mut().insert(caller);
            let answer = self.app.router.call(request).await;
            let response = answer.unwrap_or_else(|never| match never {});
            answer::only_problems(response).await
        };
        Ok(observed.answered(response))
    }

    /// Answers with a document that was served lately, else notes where the next one is to be kept.
    fn lately(&self, caller: &mut Caller, request: &Request) -> Option<Response> {
        let feed = &self.app.feed;
        let key = key_of(feed, request)?;
        let generation = feed.index.generation();
        let Some(document) = feed.documents.get(&key, generation) else {
            caller.place = Some(Place {
                key: key.into(),
                generation,
            });
            return None;
        };
        let (mut response, key) = match allowed(feed, caller, request) {
            Ok(key) => (
                document.answer(request.headers(), caller.outgoing.as_ref()),
                key.map(|key| Arc::clone(key.name())),
            ),
            Err(error) => (Refusal::from(error).into_response(), None),
        };
        response.extensions_mut().insert(Served {
            route: Some(RouteName::Fixed(LATELY)),
            key,
        });
        Some(response)
    }
}

/// Returns by which name a document is kept that a request asks for, if it is of a kind that is.
/// Documents with links depend on how the client calls the feed.
fn key_of<'a>(feed: &Feed, request: &'a Request) -> Option<Cow<'a, str>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    let path = request.uri().path();
    if path.starts_with("/v3/flat/") || path.starts_with("/v3/facts/") {
        return Some(path.into());
    }
    let has_links = path.starts_with("/v3/registration/") || path == "/v3/index.json";
    has_links.then(|| format!("{} {path}", Links::new(feed, request.headers()).base()).into())
}

/// The route of the documents that were answered from memory, in the counters.
const LATELY: &str = "lately";

/// Makes the router of a feed: the NuGet V3 protocol and what ours adds to it.
///
/// Every route but `/healthz` and `/readyz` needs a key with a scope, also routes that do not exist.
fn router(feed: &Arc<Feed>) -> Router {
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
        .route(
            FACTS_OF_MANY,
            post(facts::of_many).layer(DefaultBodyLimit::max(facts::QUERY_BYTES_MAX)),
        )
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
        .route(METRICS, get(health::metrics))
        .fallback(answer::no_route)
        .method_not_allowed_fallback(answer::no_method)
        .layer(middleware::from_fn_with_state(Arc::clone(feed), authorize))
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .with_state(Arc::clone(feed))
}

/// Who a request comes from.
#[derive(Clone)]
struct Caller {
    address: IpAddr,
    outgoing: Option<Outgoing>,
    /// Where the document is to be kept that this request asks for.
    place: Option<Place>,
}

impl Caller {
    /// Answers with a document, and keeps it for whoever asks for the same next.
    fn answer_with(&self, feed: &Feed, document: Document, headers: &HeaderMap) -> Response {
        let document = Arc::new(document);
        if let Some(place) = &self.place {
            feed.documents.put(place.clone(), &document);
        }
        document.answer(headers, self.outgoing.as_ref())
    }

    /// Answers with a document that lists versions. It is kept only if all of them are here: other
    /// feeds change without telling.
    fn answer_listing(&self, feed: &Feed, document: Document, headers: &HeaderMap) -> Response {
        if feed.upstreams.is_empty() {
            self.answer_with(feed, document, headers)
        } else {
            document.answer(headers, None)
        }
    }
}

/// The key that a request was allowed with.
#[derive(Clone)]
struct Writer(Key);

async fn authorize(
    State(feed): State<Arc<Feed>>,
    Extension(caller): Extension<Caller>,
    mut request: Request,
    next: Next,
) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let route = route.cloned().map(RouteName::Matched);
    let mut name = None;
    let mut response = match allowed(&feed, &caller, &request) {
        Ok(key) => {
            if let Some(key) = key {
                name = Some(Arc::clone(key.name()));
                request.extensions_mut().insert(Writer(key.clone()));
            }
            next.run(request).await
        }
        Err(error) => {
            answer::drain(&mut request.into_body().into_data_stream()).await;
            Refusal::from(error).into_response()
        }
    };
    response
        .extensions_mut()
        .insert(Served { route, key: name });
    response
}

/// Decides whether a request may be answered; the only place that does.
fn allowed<'a>(
    feed: &'a Feed,
    caller: &Caller,
    request: &Request,
) -> Result<Option<&'a Key>, Error> {
    let allowed = feed.keys.authorize(request.headers(), scope_of(request));
    if !matches!(allowed, Err(Error::KeyUnknown)) {
        return allowed;
    }
    count(&feed.counters.wrong_keys);
    match feed.wrong_keys.note(caller.address, Instant::now()) {
        None => allowed,
        Some(wait) => Err(Error::TooManyWrongKeys {
            seconds: wait.as_secs().max(1),
        }),
    }
}

/// The path of the counters.
const METRICS: &str = "/metrics";

/// The path of a question that is too long for an address.
const FACTS_OF_MANY: &str = "/v3/facts";

/// Says which scope a request needs; the only place that does.
fn scope_of(request: &Request) -> Scope {
    match *request.method() {
        Method::GET | Method::HEAD if request.uri().path() == METRICS => Scope::Metrics,
        Method::POST if request.uri().path() == FACTS_OF_MANY => Scope::Read,
        Method::GET | Method::HEAD => Scope::Read,
        Method::DELETE if publish::is_purge(request.uri().query()) => Scope::Purge,
        Method::PUT if request.uri().path().starts_with("/pins/") => Scope::Pin,
        Method::PUT => Scope::Push,
        _ => Scope::Unlist,
    }
}
