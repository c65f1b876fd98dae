use std::fmt::{Display, Write as _};
use std::time::Duration;

use klusterkite_api::operations::{Access, Method as ApiMethod, Operation, WaitsFor};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::Method;

use super::{ApiClient, LineStream, json};
use crate::http::{Answer, Call, encoded};
use crate::{Error, Kind};

/// Time for an answer from the manager's memory and store: it gives up itself after 30 s.
const TIME: Duration = Duration::from_secs(35);

/// Time for an answer that waits for something to happen, a minute at most.
const WAIT_TIME: Duration = Duration::from_secs(75);

/// Time for an answer that needs the feed: a check of a large configuration reads all of it.
const FEED_TIME: Duration = Duration::from_mins(2);

/// A call of one operation, built piece by piece.
#[must_use = "a call does nothing until it is sent"]
pub struct OperationCall<'c> {
    client: &'c ApiClient,
    operation: &'static Operation,
    /// Path with the parameters that were given so far.
    path: String,
    query: String,
    body: Option<Vec<u8>>,
    if_match: Option<String>,
}

impl<'c> OperationCall<'c> {
    pub(super) fn new(client: &'c ApiClient, operation: &'static Operation) -> Self {
        let path = operation.path.to_owned();
        Self {
            client,
            operation,
            path,
            query: String::new(),
            body: None,
            if_match: None,
        }
    }

    /// Fills a parameter of the path.
    pub fn path(mut self, name: &str, value: impl Display) -> Self {
        self.path = self
            .path
            .replace(&format!("{{{name}}}"), &encoded(&value.to_string()));
        self
    }

    /// Adds a parameter to the query.
    pub fn query(mut self, name: &str, value: impl Display) -> Self {
        let separator = if self.query.is_empty() { '?' } else { '&' };
        let value = encoded(&value.to_string());
        // Writing to a string does not fail.
        let _ = write!(self.query, "{separator}{name}={value}");
        self
    }

    /// Adds a parameter to the query, if there is one.
    pub fn query_optional(self, name: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Sets the body.
    pub fn body(mut self, body: &impl Serialize) -> Self {
        self.body = Some(json(body));
        self
    }

    /// Names the revision that a change is based on.
    pub fn if_match(mut self, revision: i64) -> Self {
        self.if_match = Some(format!("\"{revision}\""));
        self
    }

    /// Sends the call; `()` reads an answer without content.
    pub fn send<T: DeserializeOwned>(self) -> Result<T, Error> {
        self.answer()?.json("what the API describes")
    }

    /// Sends the call and reads its answer line by line, for operations that answer with JSON lines.
    pub fn lines<T: DeserializeOwned>(self) -> LineStream<'c, T> {
        let url = format!("{}{}{}", self.client.origin, self.path, self.query);
        LineStream::new(self.client, url)
    }

    /// Sends the call and returns the answer as text.
    pub fn send_text(self) -> Result<String, Error> {
        Ok(String::from_utf8_lossy(&self.answer()?.body).into_owned())
    }

    fn answer(&self) -> Result<Answer, Error> {
        match self.once() {
            // The token ended earlier than expected (revoked, another clock): once with a new one.
            Err(error) if error.kind() == Kind::Unauthenticated && self.needs_token() => {
                let session = self.client.session().ok_or(error)?;
                self.client.renew(&session)?;
                self.once()
            }
            answer => answer,
        }
    }

    fn once(&self) -> Result<Answer, Error> {
        debug_assert!(
            !self.path.contains('{'),
            "a parameter of {} is missing",
            self.path
        );
        let url = format!("{}{}{}", self.client.origin, self.path, self.query);
        let mut headers = vec![("accept", "application/json".to_owned())];
        if self.needs_token()
            && let Some(token) = self.client.access_token()?
        {
            headers.push(("authorization", format!("Bearer {}", token.reveal())));
        }
        if let Some(revision) = &self.if_match {
            headers.push(("if-match", revision.clone()));
        }
        // A POST without a body says so: some proxies refuse one without a length.
        let has_body = matches!(self.operation.method, ApiMethod::Post | ApiMethod::Patch);
        let body = match &self.body {
            Some(body) => Some(("application/json", body.as_slice())),
            None if has_body => Some(("application/json", b"".as_slice())),
            None => None,
        };
        let is_idempotent = matches!(self.operation.method, ApiMethod::Get | ApiMethod::Delete);
        let method = method(self.operation.method);
        self.client.http.send(&Call {
            method,
            url: &url,
            headers,
            body,
            is_idempotent,
            time: Some(self.time()),
        })
    }

    /// Returns how long the whole answer may take: a little longer than the manager gives itself.
    fn time(&self) -> Duration {
        match self.operation.id.waits_for() {
            WaitsFor::Store => TIME,
            WaitsFor::Feed => FEED_TIME,
            WaitsFor::Change => WAIT_TIME,
        }
    }

    fn needs_token(&self) -> bool {
        self.operation.access != Access::Open
    }
}

fn method(method: ApiMethod) -> Method {
    match method {
        ApiMethod::Get => Method::GET,
        ApiMethod::Post => Method::POST,
        ApiMethod::Patch => Method::PATCH,
        ApiMethod::Delete => Method::DELETE,
    }
}
