//! What every request passes before its handler: who calls, may he, is there room.
//!
//! The only place that decides about access, from the table's `access` alone. Whatever is not granted
//! there is denied.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::RequestExt as _;
use axum::extract::{Query, RawPathParams, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use klusterkite_api::operations::{Access, Operation, OperationId, WaitsFor};
use klusterkite_wire::Secret;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tracing::Instrument as _;

use crate::auth::{Bearer, Subject};
use crate::fault::Fault;
use crate::http::Api;
use crate::http::answer::{Caller, Refused};
use crate::http::input::drop_body;
use crate::http::serve::Turn;

/// How long a request may wait for a place.
const PLACE_TIMEOUT: Duration = Duration::from_secs(5);

/// When those that got no place come back.
const PLACE_RETRY_AFTER: Duration = Duration::from_secs(2);

/// How long an answer may take: the slowest asks a database.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an answer may take that asks the feed about every package of a cluster.
const FEED_TIMEOUT: Duration = Duration::from_secs(110);

/// How long a blocking query may take: the longest wait that it may ask for, and a little.
const WAIT_TIMEOUT: Duration = Duration::from_secs(65);

/// Guards the route of one operation.
#[derive(Clone)]
pub(super) struct Guard {
    pub(super) api: Api,
    pub(super) operation: &'static Operation,
}

/// Lets a request through to its handler, or answers it.
pub(super) async fn guard(
    State(guard): State<Guard>,
    mut request: Request,
    next: Next,
) -> Response {
    let mut caller = None;
    let mut response = match guard.admit(&mut request, &mut caller).await {
        Ok(place) => guard.run(request, next, place).await,
        Err(fault) => {
            drop_body(request).await;
            fault.into_response()
        }
    };
    if let Some(caller) = caller {
        response.extensions_mut().insert(caller);
    }
    response
}

impl Guard {
    async fn admit(
        &self,
        request: &mut Request,
        caller: &mut Option<Caller>,
    ) -> Result<OwnedSemaphorePermit, Fault> {
        let mut places = match self.operation.id {
            OperationId::MemberList => &self.api.waits,
            // Whoever watches the manager has to hear of it just then.
            OperationId::Healthz | OperationId::Readyz => &self.api.operators,
            _ => &self.api.requests,
        };
        if self.operation.access != Access::Open {
            let bearer = self.authenticate(request.headers())?;
            *caller = Some(Caller(bearer.actor()));
            self.authorise(&bearer, request).await?;
            let is_operator = matches!(bearer.subject, Subject::User(_));
            if is_operator && self.operation.id != OperationId::MemberList {
                places = &self.api.operators;
            }
            request.extensions_mut().insert(bearer);
        }
        self.check_query(request.uri())?;
        request.extensions_mut().insert(self.operation);
        let place = place(places).await?;
        if let Some(turn) = request.extensions_mut().remove::<Turn>() {
            turn.end();
        }
        Ok(place)
    }

    fn authenticate(&self, headers: &HeaderMap) -> Result<Bearer, Fault> {
        let token = token(headers).ok_or(Fault::Unauthorized(
            "this needs a token: send `Authorization: Bearer …` with one from `POST /oauth/token`",
        ))?;
        let bearer = self.api.cluster.bearer(&token);
        bearer.ok_or(Fault::Unauthorized(
            "the token is unknown or has expired; get a new one",
        ))
    }

    async fn authorise(&self, bearer: &Bearer, request: &mut Request) -> Result<(), Fault> {
        match (self.operation.access, &bearer.subject) {
            (Access::Open | Access::AnyToken, _) | (Access::NodeOr(_), Subject::Node(_)) => Ok(()),
            (Access::Privilege(privilege) | Access::NodeOr(privilege), _) => {
                bearer.require(privilege)
            }
            (Access::Node, Subject::Node(id)) if names(request, id.as_str()).await => Ok(()),
            (Access::Node, _) => Err(Fault::Denied {
                code: "nodeTokenNeeded",
                message: "this needs the token of the node that the path names".to_owned(),
            }),
        }
    }

    /// Refuses parameters that the operation does not have, so that a mistyped one is not ignored.
    fn check_query(&self, uri: &Uri) -> Result<(), Fault> {
        let pairs =
            Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|error| Fault::Invalid {
                field: None,
                message: error.body_text(),
            })?;
        let mut seen = BTreeSet::new();
        for (name, _) in pairs.0 {
            if !self.operation.query.iter().any(|(known, _)| *known == name) {
                let message =
                    "this is not a query parameter of the operation; see /api/openapi.json";
                return Err(Fault::invalid(&name, message));
            }
            if !seen.insert(name.clone()) {
                return Err(Fault::invalid(&name, "the parameter is given twice"));
            }
        }
        Ok(())
    }

    async fn run(&self, request: Request, next: Next, place: OwnedSemaphorePermit) -> Response {
        let handler = async move {
            let response = next.run(request).await;
            drop(place);
            response
        };
        let mut response = carried_out(self.time_limit(), handler).await;
        if response.status() == StatusCode::OK && self.operation.status != 101 {
            let status = StatusCode::from_u16(self.operation.status);
            *response.status_mut() = status.expect("the table holds statuses");
        }
        response
    }

    fn time_limit(&self) -> Duration {
        match self.operation.id.waits_for() {
            WaitsFor::Store => ANSWER_TIMEOUT,
            WaitsFor::Feed => FEED_TIMEOUT,
            WaitsFor::Change => WAIT_TIMEOUT,
        }
    }
}

/// Waits for a place.
async fn place(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Fault> {
    match timeout(PLACE_TIMEOUT, Arc::clone(places).acquire_owned()).await {
        Ok(place) => Ok(place.expect("the semaphore is never closed")),
        Err(_) => Err(Fault::TooMany {
            retry_after: PLACE_RETRY_AFTER,
        }),
    }
}

/// Runs a handler in a task of its own: a client that goes away, or an answer that takes too long, does not
/// stop a decision half-way between the store and the memory.
async fn carried_out(
    limit: Duration,
    handler: impl Future<Output = Response> + Send + 'static,
) -> Response {
    let task = tokio::spawn(handler.instrument(tracing::Span::current()));
    match timeout(limit, task).await {
        Ok(Ok(response)) => response,
        Ok(Err(panicked)) => {
            tracing::error!("a handler failed: {panicked}");
            let detail = "the manager failed; its log says more under the request id";
            Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).into_response()
        }
        Err(_) => {
            let detail = "the answer took too long; the request may still be carried out";
            Refused::new(StatusCode::GATEWAY_TIMEOUT, "timeout", detail).into_response()
        }
    }
}

/// Returns the bearer token of a request (RFC 6750 2.1; the scheme has no case).
fn token(headers: &HeaderMap) -> Option<Secret> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| Secret::new(token.trim()))
}

/// Tells whether the path names this node.
async fn names(request: &mut Request, id: &str) -> bool {
    let parameters = request.extract_parts::<RawPathParams>().await;
    parameters.is_ok_and(|parameters| parameters.iter().any(|(_, value)| value == id))
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_handler_that_panics_is_an_internal_error() {
        let broken = async { panic!("a broken invariant") };
        let response = carried_out(ANSWER_TIMEOUT, broken).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[tokio::test]
    async fn a_handler_that_takes_too_long_is_finished_all_the_same() {
        let (go, wait) = oneshot::channel();
        let (finished, end) = oneshot::channel();
        let slow = async move {
            wait.await.unwrap();
            finished.send(()).unwrap();
            StatusCode::OK.into_response()
        };
        let response = carried_out(Duration::ZERO, slow).await;
        assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
        go.send(()).unwrap();
        end.await.unwrap();
    }
}
