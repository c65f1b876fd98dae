//! Input: everything that a client sends is read here, bounded, and refused with the field to blame.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use axum::body::BodyDataStream;
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Query, RawPathParams, Request};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, IF_MATCH};
use axum::http::request::Parts;
use futures_util::StreamExt as _;
use klusterkite_api::operations::{Operation, OperationId};
use klusterkite_api::page::{PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use tokio::time::timeout;

use crate::auth::Bearer;
use crate::configurations::IfMatch;
use crate::fault::Fault;
use crate::http::answer::Refused;

/// Largest body with settings, in bytes: 10,000 packages and some hundred templates fit.
const SETTINGS_BYTES_MAX: usize = 8 << 20;

/// Largest body of a launcher, in bytes: a crash report with its last lines fits, however they are escaped.
const REPORT_BYTES_MAX: usize = 1 << 20;

/// Largest other body, in bytes.
const BODY_BYTES_MAX: usize = 64 << 10;

/// How long a body may stand still.
const STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How much of a refused body is read all the same, in bytes: a connection that is closed with unread data
/// is reset, and the client loses the answer that says why.
const REFUSED_BYTES_MAX: usize = 2 * SETTINGS_BYTES_MAX;

/// How much of the body of somebody who may not send one is read all the same.
const STRANGERS_BYTES_MAX: usize = BODY_BYTES_MAX;

/// How long that may take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// A JSON body of an operator: whatever is not understood in it is refused, at every depth.
pub(super) struct JsonBody<T>(pub(super) T);

/// A JSON body of a launcher: a newer one may say more than this manager understands.
pub(super) struct LauncherBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Serialize> FromRequest<S> for JsonBody<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refused> {
        let given = read_json(request).await?;
        let value: T = serde_path_to_error::deserialize(&given).map_err(bad_value)?;
        let understood = serde_json::to_value(&value).expect("an API type has only text for keys");
        match not_understood(&given, &understood) {
            Some((field, message)) => Err(Fault::invalid(&field, message).into()),
            None => Ok(Self(value)),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for LauncherBody<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refused> {
        let bytes = read(request).await?;
        // A list would be read as the fields of an object.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(not_an_object(&bytes));
        }
        let mut given = serde_json::Deserializer::from_slice(&bytes);
        let value = serde_path_to_error::deserialize(&mut given).map_err(|error| {
            if error.inner().is_data() {
                bad_value(error)
            } else {
                not_json(error.inner())
            }
        })?;
        given.end().map_err(|error| not_json(&error))?;
        Ok(Self(value))
    }
}

/// Reads a body that is one JSON object, as all bodies of this API are.
async fn read_json(request: Request) -> Result<Value, Refused> {
    let bytes = read(request).await?;
    match serde_json::from_slice(&bytes) {
        Ok(value @ Value::Object(_)) => Ok(value),
        _ => Err(not_an_object(&bytes)),
    }
}

/// Says what a body is that is no JSON object.
fn not_an_object(bytes: &[u8]) -> Refused {
    match serde_json::from_slice::<IgnoredAny>(bytes) {
        Err(error) => not_json(&error),
        Ok(_) => bad_body("the body has to be a JSON object".to_owned()),
    }
}

fn not_json(error: &serde_json::Error) -> Refused {
    bad_body(format!("the body is not JSON: {error}"))
}

fn bad_body(message: String) -> Refused {
    Fault::Invalid {
        field: None,
        message,
    }
    .into()
}

/// Reads a body within the limits of its operation.
pub(super) async fn read(request: Request) -> Result<Vec<u8>, Refused> {
    let operation = request.extensions().get::<&'static Operation>();
    let limit = operation.map_or(BODY_BYTES_MAX, |operation| bytes_max(operation.id));
    let too_large = || {
        let detail = format!("the body is larger than {limit} bytes");
        Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "tooLarge", detail)
    };
    let announced = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    let announced = announced.and_then(|text| text.parse::<usize>().ok());
    let mut chunks = request.into_body().into_data_stream();
    if announced.is_some_and(|size| size > limit) {
        drain(&mut chunks, REFUSED_BYTES_MAX).await;
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    loop {
        match timeout(STALL_TIMEOUT, chunks.next()).await {
            Ok(None) => return Ok(bytes),
            Ok(Some(Ok(chunk))) if bytes.len() + chunk.len() <= limit => bytes.extend(chunk),
            Ok(Some(Ok(_))) => {
                drain(&mut chunks, REFUSED_BYTES_MAX).await;
                return Err(too_large());
            }
            Ok(Some(Err(_))) | Err(_) => {
                let detail = "the body broke off";
                return Err(Refused::new(StatusCode::BAD_REQUEST, "brokenOff", detail));
            }
        }
    }
}

/// Reads what a refused request still has to say, within limits.
pub(super) async fn drop_body(request: Request) {
    drain(
        &mut request.into_body().into_data_stream(),
        STRANGERS_BYTES_MAX,
    )
    .await;
}

async fn drain(chunks: &mut BodyDataStream, bytes_max: usize) {
    let mut bytes = 0;
    let all = async {
        while let Some(Ok(chunk)) = chunks.next().await {
            bytes += chunk.len();
            if bytes > bytes_max {
                return;
            }
        }
    };
    // Too slow: the connection is closed with what is unread.
    let _ = timeout(DRAIN_TIMEOUT, all).await;
}

fn bytes_max(id: OperationId) -> usize {
    use OperationId as Id;
    match id {
        Id::ConfigurationCreate | Id::ConfigurationPatch => SETTINGS_BYTES_MAX,
        Id::NodeConfiguration | Id::NodeTokenCreate => REPORT_BYTES_MAX,
        _ => BODY_BYTES_MAX,
    }
}

fn bad_value(error: serde_path_to_error::Error<serde_json::Error>) -> Refused {
    let path = error.path().to_string();
    let field = (path != ".").then_some(path);
    Fault::Invalid {
        field,
        message: error.into_inner().to_string(),
    }
    .into()
}

/// Returns path and fault of what was given and not understood: unknown fields, and lists in the place of
/// objects, which serde would read as their fields. The depth is bounded by the JSON parser.
fn not_understood(given: &Value, understood: &Value) -> Option<(String, &'static str)> {
    match (given, understood) {
        (Value::Object(given), Value::Object(understood)) => {
            given
                .iter()
                .find_map(|(name, value)| match understood.get(name) {
                    // An absent optional field and one that is `null` are the same.
                    None if value.is_null() => None,
                    None => Some((name.clone(), "there is no such field")),
                    Some(inner) => below(name, value, inner),
                })
        }
        (Value::Array(given), Value::Array(understood)) => {
            let mut pairs = given.iter().zip(understood).enumerate();
            pairs.find_map(|(index, (given, inner))| below(&format!("[{index}]"), given, inner))
        }
        (Value::Array(_), Value::Object(_)) => Some((String::new(), "this has to be an object")),
        _ => None,
    }
}

fn below(name: &str, given: &Value, understood: &Value) -> Option<(String, &'static str)> {
    not_understood(given, understood).map(|(path, message)| (joined(name, &path), message))
}

fn joined(before: &str, path: &str) -> String {
    if path.is_empty() || path.starts_with('[') {
        format!("{before}{path}")
    } else {
        format!("{before}.{path}")
    }
}

/// The parameter in the path.
pub(super) struct PathId<T>(pub(super) T);

impl<S, T> FromRequestParts<S> for PathId<T>
where
    S: Send + Sync,
    T: FromStr<Err: Display>,
{
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let unreadable = || Refused::from(Fault::invalid("path", "the path is not UTF-8"));
        let parameters = RawPathParams::from_request_parts(parts, state).await;
        let parameters = parameters.map_err(|_| unreadable())?;
        let (name, text) = parameters.iter().next().ok_or_else(unreadable)?;
        let id = text
            .parse()
            .map_err(|error: T::Err| Fault::invalid(name, error.to_string()))?;
        Ok(Self(id))
    }
}

/// The query parameters; the guard has refused unknown and repeated ones.
pub(super) struct Parameters(BTreeMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let pairs = pairs.map_err(|error| Fault::invalid("query", error.body_text()))?;
        Ok(Self(pairs.0.into_iter().collect()))
    }
}

impl Parameters {
    /// Returns a parameter as it stands.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Parses a parameter.
    pub(super) fn parsed<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, Fault> {
        let parsed = self.text(name).map(str::parse).transpose();
        parsed.map_err(|error: T::Err| Fault::invalid(name, error.to_string()))
    }

    /// Reads a parameter that names a value of an enum as JSON does.
    pub(super) fn named<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Fault> {
        let value = self
            .text(name)
            .map(|text| serde_json::from_value(Value::from(text)));
        value
            .transpose()
            .map_err(|error| Fault::invalid(name, error.to_string()))
    }

    /// Returns the size of a page.
    pub(super) fn limit(&self) -> Result<u32, Fault> {
        let limit = self.parsed("limit")?.unwrap_or(PAGE_LIMIT_DEFAULT);
        if (1..=PAGE_LIMIT_MAX).contains(&limit) {
            return Ok(limit);
        }
        Err(Fault::invalid(
            "limit",
            format!("a page has 1 to {PAGE_LIMIT_MAX} items"),
        ))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Bearer {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
        // Absent only on open routes, whose handlers do not ask for it.
        let bearer = parts.extensions.get::<Self>().cloned();
        bearer.ok_or(Fault::Unauthorized("this needs a token"))
    }
}

/// Address of the caller.
pub(super) struct Peer(pub(super) IpAddr);

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Ok(Self(
            peer.map_or(unknown, |ConnectInfo(address)| address.ip()),
        ))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
        let Some(header) = parts.headers.get(IF_MATCH) else {
            return Ok(Self::Absent);
        };
        let text = header.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(Self::Any);
        }
        let number = text
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
            .unwrap_or(text);
        let invalid = || Fault::invalid("If-Match", "give the number of a revision, or `*`");
        number.parse().map(Self::Revision).map_err(|_| invalid())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_that_was_not_understood_is_named_by_its_path() {
        let understood = json!({"settings": {"nodeTemplates": [{"code": "a"}, {"code": "b"}]}});
        let cases = [
            (json!({}), None),
            (
                json!({"settings": {"nodeTemplates": [{"code": "x"}]}}),
                None,
            ),
            (json!({"name": null}), None),
            (json!({"nmae": 1}), Some("nmae")),
            (
                json!({"settings": {"templates": []}}),
                Some("settings.templates"),
            ),
            (
                json!({"settings": {"nodeTemplates": [{}, {"minimum": 1}]}}),
                Some("settings.nodeTemplates[1].minimum"),
            ),
            (json!({"settings": []}), Some("settings")),
            (
                json!({"settings": {"nodeTemplates": [[], {}]}}),
                Some("settings.nodeTemplates[0]"),
            ),
        ];
        for (given, expected) in cases {
            let found = not_understood(&given, &understood);
            assert_eq!(
                found.as_ref().map(|(path, _)| path.as_str()),
                expected,
                "{given}"
            );
        }
    }
}
