//! Client of the manager's operator API.

mod call;
mod events;
mod lines;
mod session;
mod sse;
mod stream;

pub use call::OperationCall;
pub use events::EventStream;
pub use lines::LineStream;
pub use session::{Session, SessionKeeper};

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use klusterkite_api::access::{TokenAnswer, TokenError};
use klusterkite_api::operations::{Operation, OperationId};
use klusterkite_wire::{Problem, Secret};
use serde::Serialize;
use ureq::http::Method;

use crate::http::{Call, Http, checked_url, encoded, shown_url};
use crate::{Error, Kind, Retry, Trust};

/// A token is renewed this long before its end, so that it does not end on the way.
const RENEW_BEFORE: Duration = Duration::from_secs(30);

/// Calls the operations of one manager.
pub struct ApiClient {
    /// Origin of the manager, without a slash at its end.
    origin: String,
    http: Http,
    session: Mutex<Option<Session>>,
    keeper: Option<SessionKeeper>,
}

/// A form of the token endpoint.
type Form<'a> = [(&'static str, &'a str)];

impl ApiClient {
    /// Makes a client of the manager at an origin such as `http://10.0.0.5:8080`; nothing is called yet.
    pub fn new(origin: &str, retry: Retry) -> Result<Self, Error> {
        let origin = checked_url(origin)?.trim_end_matches('/').to_owned();
        Ok(Self {
            origin,
            http: Http::new(retry),
            session: Mutex::new(None),
            keeper: None,
        })
    }

    /// Goes on with a session; the client renews its tokens.
    #[must_use]
    pub fn with_session(mut self, session: Session) -> Self {
        self.session = Mutex::new(Some(session));
        self
    }

    /// Calls `keeper` with every new session, before it is used: refresh tokens are good for one use, so
    /// a renewed session that is not kept is lost.
    #[must_use]
    pub fn with_keeper(mut self, keeper: SessionKeeper) -> Self {
        self.keeper = Some(keeper);
        self
    }

    /// Says whose certificates are accepted; without it those of the system's authorities.
    #[must_use]
    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.http = self.http.with_trust(trust);
        self
    }

    /// Returns the manager's origin without user and password.
    pub fn url(&self) -> String {
        shown_url(&self.origin)
    }

    /// Returns the current session.
    pub fn session(&self) -> Option<Session> {
        self.session
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Logs a user in.
    pub fn login(&self, user: &str, password: &Secret) -> Result<Session, Error> {
        let form = [
            ("grant_type", "password"),
            ("username", user),
            ("password", password.reveal()),
        ];
        let answer = self.token(&form, false)?;
        self.keep(Session::new(&self.origin, user, &answer, now_ms()))
    }

    /// Ends the session here and at the manager.
    pub fn logout(&self) -> Result<(), Error> {
        let session = self
            .session
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(session) = session else {
            return Ok(());
        };
        let token = session
            .refresh_token
            .as_ref()
            .unwrap_or(&session.access_token);
        self.form(OperationId::TokenRevoke, &[("token", token.reveal())], true)
            .map(drop)
    }

    /// Starts a call of an operation.
    pub fn operation(&self, id: OperationId) -> OperationCall<'_> {
        OperationCall::new(self, Operation::of(id))
    }

    /// Streams events, beginning after `after`; without it with the next one that happens.
    pub fn events(&self, after: Option<i64>) -> EventStream<'_> {
        EventStream::new(self, after)
    }

    /// Returns a token that is good for a while, renewing the session if need be.
    fn access_token(&self) -> Result<Option<Secret>, Error> {
        let Some(session) = self.session() else {
            return Ok(None);
        };
        if !session.ends_before(now_ms() + millis(RENEW_BEFORE)) {
            return Ok(Some(session.access_token));
        }
        match self.renew(&session) {
            // The old token may still be good; if it is not, the manager says so.
            Err(error) if error.kind() != Kind::Away => Ok(Some(session.access_token)),
            Err(error) => Err(error),
            Ok(session) => Ok(Some(session.access_token)),
        }
    }

    fn renew(&self, session: &Session) -> Result<Session, Error> {
        let refresh = session.refresh_token.as_ref().ok_or_else(|| self.ended())?;
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh.reveal()),
        ];
        let answer = self.token(&form, false)?;
        self.keep(Session::new(&self.origin, &session.user, &answer, now_ms()))
    }

    fn keep(&self, session: Session) -> Result<Session, Error> {
        if let Some(keeper) = &self.keeper {
            keeper(&session).map_err(|source| Error::Session { source })?;
        }
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(session.clone());
        Ok(session)
    }

    fn ended(&self) -> Error {
        let problem = Problem::new(401, "sessionEnded", "the session has ended; log in again");
        Error::Refused {
            url: self.url(),
            problem: Box::new(problem),
        }
    }

    fn token(&self, form: &Form<'_>, is_idempotent: bool) -> Result<TokenAnswer, Error> {
        self.form(OperationId::TokenCreate, form, is_idempotent)?
            .json("a token answer (RFC 6749)")
    }

    fn form(
        &self,
        id: OperationId,
        form: &Form<'_>,
        is_idempotent: bool,
    ) -> Result<crate::http::Answer, Error> {
        let url = format!("{}{}", self.origin, Operation::of(id).path);
        let pairs: Vec<String> = form
            .iter()
            .map(|(name, value)| format!("{name}={}", encoded(value)))
            .collect();
        let body = pairs.join("&");
        let call = Call {
            method: Method::POST,
            url: &url,
            headers: Vec::new(),
            body: Some(("application/x-www-form-urlencoded", body.as_bytes())),
            is_idempotent,
            time: None,
        };
        self.http.send(&call).map_err(explained)
    }
}

/// Gives the errors of the token endpoint (RFC 6749 5.2) the shape of all others.
fn explained(error: Error) -> Error {
    let Error::Refused { url, mut problem } = error else {
        return error;
    };
    if problem.code.is_empty()
        && let Ok(token_error) = serde_json::from_str::<TokenError>(&problem.detail)
    {
        problem.detail = token_error.error_description.unwrap_or_default();
        problem.code = token_error.error;
        // A wrong password is 400 in that RFC; for callers it is what 401 is everywhere else.
        if problem.code == "invalid_grant" || problem.code == "invalid_client" {
            problem.status = 401;
        }
    }
    Error::Refused { url, problem }
}

fn now_ms() -> u64 {
    millis(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
    )
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Writes a body; types of the API have text keys and no foreign serializers.
fn json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("types of the API serialize")
}
