//! The token endpoint (RFC 6749) and the end of tokens (RFC 7009).

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use klusterkite_api::access::{RevokeForm, TokenError, TokenForm};
use klusterkite_wire::Secret;
use serde::de::DeserializeOwned;

use crate::auth::Grant;
use crate::fault::Fault;
use crate::http::Api;
use crate::http::answer::Refused;
use crate::http::input::{Peer, read};

/// Gives a token.
pub(super) async fn create(
    State(api): State<Api>,
    Peer(address): Peer,
    request: Request,
) -> Result<Response, TokenFault> {
    let headers = request.headers().clone();
    let form: TokenForm = form(request).await?;
    let grant = match form.grant_type.as_str() {
        "password" => {
            let (Some(login), Some(password)) = (form.username, form.password) else {
                return Err(TokenFault::Invalid("give `username` and `password`"));
            };
            api.grants
                .password(&api.cluster, &login, password, address)
                .await?
        }
        "refresh_token" => {
            let token = form
                .refresh_token
                .ok_or(TokenFault::Invalid("give `refresh_token`"))?;
            api.grants.refresh(&api.cluster, &token, address).await?
        }
        "client_credentials" => {
            let basic = basic(&headers)?;
            let in_form = form.client_id.zip(form.client_secret);
            let (id, secret) = match (basic, in_form) {
                (Some(_), Some(_)) => {
                    return Err(TokenFault::Invalid(
                        "give the client once: in the form or as Basic",
                    ));
                }
                (Some(client), None) | (None, Some(client)) => client,
                (None, None) => {
                    return Err(TokenFault::Invalid("give `client_id` and `client_secret`"));
                }
            };
            match api
                .grants
                .client(&api.cluster, &id, &secret, address)
                .await?
            {
                Grant::Denied => return Err(TokenFault::Client),
                given @ Grant::Given(_) => given,
            }
        }
        _ => return Err(TokenFault::Unsupported),
    };
    match grant {
        Grant::Given(answer) => Ok(Json(answer).into_response()),
        Grant::Denied => Err(TokenFault::Grant),
    }
}

/// Ends a token; the answer does not tell whether there was one.
pub(super) async fn revoke(State(api): State<Api>, request: Request) -> Result<(), TokenFault> {
    let form: RevokeForm = form(request).await?;
    Ok(api.grants.revoke(&api.cluster, &form.token).await?)
}

/// Why there is no token.
pub(super) enum TokenFault {
    /// Something is missing or given twice.
    Invalid(&'static str),
    /// Wrong client or secret.
    Client,
    /// Wrong password or refresh token, or a blocked user.
    Grant,
    /// Another kind of grant.
    Unsupported,
    /// Not an answer of OAuth: too many tries, the store failed.
    Other(Fault),
    /// The request cannot be read.
    Refused(Refused),
}

impl From<Fault> for TokenFault {
    fn from(fault: Fault) -> Self {
        Self::Other(fault)
    }
}

impl From<Refused> for TokenFault {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl IntoResponse for TokenFault {
    fn into_response(self) -> Response {
        let (status, error, description) = match self {
            Self::Invalid(description) => (StatusCode::BAD_REQUEST, "invalid_request", description),
            Self::Client => (
                StatusCode::UNAUTHORIZED,
                "invalid_client",
                "wrong client or secret",
            ),
            Self::Grant => (
                StatusCode::BAD_REQUEST,
                "invalid_grant",
                "wrong login, password or refresh token, or the user is blocked",
            ),
            Self::Unsupported => (
                StatusCode::BAD_REQUEST,
                "unsupported_grant_type",
                "use `password`, `refresh_token` or `client_credentials`",
            ),
            Self::Other(fault) => return fault.into_response(),
            Self::Refused(refused) => return refused.into_response(),
        };
        let body = TokenError {
            error: error.to_owned(),
            error_description: Some(description.to_owned()),
        };
        let mut response = (status, Json(body)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"klusterkite\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// Reads a form; parameters in the query string were refused before, because those stand in logs.
async fn form<T: DeserializeOwned>(request: Request) -> Result<T, TokenFault> {
    let media_type = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let is_form = media_type.is_some_and(|text| {
        let essence = text.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
    });
    if !is_form {
        return Err(TokenFault::Invalid(
            "send a form: application/x-www-form-urlencoded",
        ));
    }
    let bytes = read(request).await?;
    serde_urlencoded::from_bytes(&bytes)
        .map_err(|_| TokenFault::Invalid("a parameter is missing, given twice or not readable"))
}

/// Reads client credentials from the header (RFC 6749 2.3.1).
fn basic(headers: &HeaderMap) -> Result<Option<(String, Secret)>, TokenFault> {
    let Some(header) = headers.get(AUTHORIZATION) else {
        return Ok(None);
    };
    let read = || {
        let (scheme, pair) = header.to_str().ok()?.split_once(' ')?;
        let pair = scheme
            .eq_ignore_ascii_case("basic")
            .then(|| STANDARD.decode(pair.trim()))?;
        let pair = String::from_utf8(pair.ok()?).ok()?;
        let (id, secret) = pair.split_once(':')?;
        Some((id.to_owned(), Secret::new(secret)))
    };
    read().map(Some).ok_or(TokenFault::Invalid(
        "`Authorization` has to be `Basic` with id and secret",
    ))
}
