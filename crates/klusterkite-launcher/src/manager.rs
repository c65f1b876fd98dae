//! The HTTP client of the manager's API: token, configuration, node token, progress.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use klusterkite_tls::Agents;
use klusterkite_wire::start::{
    NodeTokenAnswer, NodeTokenRequest, ProgressReport, StartConfiguration, StartRequest,
};
use klusterkite_wire::{NodeId, Secret, chain};
use serde::{Deserialize, Serialize};
use ureq::http::Response;
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use ureq::typestate::WithBody;
use ureq::{Agent, Body, RequestBuilder};

use crate::answer::{Answer, Endpoint, Reply, Verdict, classify};
use crate::config::Config;

/// Largest body of an answer: a start configuration is settings text and some hundred packages.
const BODY_BYTES_MAX: u64 = 16 << 20;

/// Bytes of a connection's buffers.
const BUFFER_BYTES: usize = 8 << 10;

/// Longest wait that a manager may ask for: its next answer may be another one.
const WAIT_MAX: Duration = Duration::from_mins(10);

/// How long before its end a token is not used any more.
const TOKEN_MARGIN: Duration = Duration::from_secs(30);

/// Longest text of an unreadable answer that a message repeats, in characters.
const SHOWN_CHARS_MAX: usize = 200;

/// The managers of the cluster, by index as in the configuration.
pub(crate) struct Manager {
    agents: Agents,
    urls: Vec<String>,
    authentication_url: Option<String>,
    client_id: String,
    client_secret: Secret,
    wait_pause: Duration,
    token: Mutex<Option<AccessToken>>,
}

struct AccessToken {
    text: Secret,
    until: Instant,
}

/// What a request brought.
struct Exchange {
    endpoint: Endpoint,
    url: String,
    outcome: Outcome,
}

enum Outcome {
    Nothing(String),
    /// Not even the connection is there, for a reason that names the URL.
    Insecure(String),
    Answered {
        status: u16,
        retry_after: Option<Duration>,
        body: Vec<u8>,
    },
}

/// What is read of an error's body: a problem document, or OAuth's form of it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorBody {
    code: Option<String>,
    detail: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

impl Manager {
    pub(crate) fn new(config: &Config) -> Self {
        let timeout = config.request_timeout;
        let connect_timeout = config.connect_timeout;
        let settings = move || {
            Agent::config_builder()
                .http_status_as_error(false)
                .max_redirects(0)
                .max_redirects_will_error(false)
                .proxy(None)
                // Requests are rare; a kept connection would mostly be one to a manager that is gone.
                .max_idle_connections(0)
                .timeout_connect(Some(connect_timeout))
                .timeout_global(Some(timeout))
                .input_buffer_size(BUFFER_BYTES)
                .output_buffer_size(BUFFER_BYTES)
                .user_agent(concat!("klusterkite-launcher/", env!("CARGO_PKG_VERSION")))
        };
        Self {
            agents: Agents::new(config.trust.clone(), settings),
            urls: config.manager_urls.clone(),
            authentication_url: config.authentication_url.clone(),
            client_id: config.client_id.clone(),
            client_secret: config.client_secret.clone(),
            wait_pause: config.wait_pause,
            token: Mutex::new(None),
        }
    }

    pub(crate) fn url_count(&self) -> usize {
        self.urls.len()
    }

    /// Asks what to be.
    pub(crate) fn ask(&self, url: usize, request: &StartRequest) -> Answer {
        let exchange = match self.post(url, "/api/v1/nodes/configuration", request) {
            Ok(exchange) => exchange,
            Err(failed) => failed,
        };
        match exchange.verdict() {
            Verdict::Good => match exchange.parse::<StartConfiguration>() {
                Ok(start) => Answer::Start(Box::new(start)),
                Err(reason) => Answer::Refused { reason },
            },
            Verdict::Wait => {
                let code = exchange.error_body().code.unwrap_or_default();
                Answer::Wait {
                    code,
                    pause: exchange.pause(self.wait_pause),
                }
            }
            Verdict::Later => Answer::Later {
                pause: exchange.pause(self.wait_pause),
            },
            Verdict::Refused => Answer::Refused {
                reason: exchange.describe(),
            },
            Verdict::Away => Answer::Away {
                reason: exchange.describe(),
            },
        }
    }

    /// Gets the token of a node that was started without asking.
    pub(crate) fn node_token(
        &self,
        url: usize,
        node_id: &NodeId,
        request: &NodeTokenRequest,
    ) -> Result<Secret, String> {
        let exchange = self.post(url, &format!("/api/v1/nodes/{node_id}/token"), request);
        match exchange {
            Ok(exchange) if exchange.verdict() == Verdict::Good => exchange
                .parse::<NodeTokenAnswer>()
                .map(|answer| answer.node_token),
            Ok(exchange) | Err(exchange) => Err(exchange.describe()),
        }
    }

    /// Reports how far an installation is.
    pub(crate) fn progress(
        &self,
        url: usize,
        node_id: &NodeId,
        report: &ProgressReport,
    ) -> Result<(), String> {
        match self.post(url, &format!("/api/v1/nodes/{node_id}/progress"), report) {
            Ok(exchange) if exchange.is_success() => Ok(()),
            Ok(exchange) | Err(exchange) => Err(exchange.describe()),
        }
    }

    /// Sends a request with the launcher's token; `Err` is the exchange that brought no token. A
    /// token that is not accepted any more is replaced once.
    fn post(&self, url: usize, path: &str, body: &impl Serialize) -> Result<Exchange, Exchange> {
        let cached = self.cached_token();
        let fresh = cached.is_none();
        let token = cached.map_or_else(|| self.fetch_token(url), Ok)?;
        let exchange = self.send(url, path, &token, body);
        if fresh || !matches!(exchange.outcome, Outcome::Answered { status: 401, .. }) {
            return Ok(exchange);
        }
        let token = self.fetch_token(url)?;
        Ok(self.send(url, path, &token, body))
    }

    fn send(&self, url: usize, path: &str, token: &Secret, body: &impl Serialize) -> Exchange {
        let url = format!("{}{path}", self.urls[url]);
        let outcome = match serde_json::to_vec(body) {
            Ok(body) => self.call(&url, |request| {
                request
                    .header(AUTHORIZATION, format!("Bearer {}", token.reveal()))
                    .header(CONTENT_TYPE, "application/json")
                    .send(&body[..])
            }),
            Err(error) => Outcome::Nothing(error.to_string()),
        };
        Exchange {
            endpoint: Endpoint::Manager,
            url,
            outcome,
        }
    }

    /// Sends a POST, by a secure connection if the URL wants one.
    fn call(
        &self,
        url: &str,
        send: impl FnOnce(RequestBuilder<WithBody>) -> Result<Response<Body>, ureq::Error>,
    ) -> Outcome {
        let insecure = |error: klusterkite_tls::Error| Outcome::Insecure(chain(&error));
        let agent = match self.agents.get(url) {
            Ok(agent) => agent,
            Err(error) => return insecure(error),
        };
        match send(agent.post(url)) {
            Ok(response) => receive(response),
            Err(error) => match self.agents.explain(url, &error) {
                Some(explained) => insecure(explained),
                None => Outcome::Nothing(error.to_string()),
            },
        }
    }

    fn cached_token(&self) -> Option<Secret> {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        token
            .as_ref()
            .filter(|token| Instant::now() < token.until)
            .map(|token| token.text.clone())
    }

    fn fetch_token(&self, url: usize) -> Result<Secret, Exchange> {
        #[derive(Deserialize)]
        struct TokenAnswer {
            access_token: Secret,
            #[serde(default)]
            expires_in: u64,
        }
        let url = match &self.authentication_url {
            Some(url) => url.clone(),
            None => format!("{}/oauth/token", self.urls[url]),
        };
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.client_id),
            ("client_secret", self.client_secret.reveal()),
        ];
        let outcome = self.call(&url, |request| request.send_form(form));
        let mut exchange = Exchange {
            endpoint: Endpoint::Token,
            url,
            outcome,
        };
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if exchange.verdict() != Verdict::Good {
            return Err(exchange);
        }
        match exchange.parse::<TokenAnswer>() {
            Ok(answer) => {
                let life = Duration::from_secs(answer.expires_in.min(86_400));
                // A short life is used up to nine tenths.
                let life = life.saturating_sub(TOKEN_MARGIN).max(life / 10 * 9);
                let token = AccessToken {
                    text: answer.access_token.clone(),
                    until: Instant::now() + life,
                };
                *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
                Ok(answer.access_token)
            }
            Err(reason) => {
                // A token endpoint that answers 200 with something else: a wrong URL.
                exchange.outcome = Outcome::Answered {
                    status: 400,
                    retry_after: None,
                    body: reason.into(),
                };
                Err(exchange)
            }
        }
    }
}

impl Exchange {
    fn verdict(&self) -> Verdict {
        match &self.outcome {
            Outcome::Nothing(_) | Outcome::Insecure(_) => classify(self.endpoint, Reply::Nothing),
            Outcome::Answered { status, .. } => {
                let code = self.error_body().code;
                classify(
                    self.endpoint,
                    Reply::Status {
                        status: *status,
                        code: code.as_deref(),
                    },
                )
            }
        }
    }

    fn is_success(&self) -> bool {
        matches!(
            self.outcome,
            Outcome::Answered {
                status: 200..=299,
                ..
            }
        )
    }

    fn parse<T: for<'de> Deserialize<'de>>(&self) -> Result<T, String> {
        let body: &[u8] = match &self.outcome {
            Outcome::Answered { body, .. } => body,
            Outcome::Nothing(_) | Outcome::Insecure(_) => &[],
        };
        serde_json::from_slice(body)
            .map_err(|error| format!("the answer of `{}` cannot be understood: {error}", self.url))
    }

    fn error_body(&self) -> ErrorBody {
        match &self.outcome {
            Outcome::Answered { body, .. } => serde_json::from_slice(body).unwrap_or_default(),
            Outcome::Nothing(_) | Outcome::Insecure(_) => ErrorBody::default(),
        }
    }

    /// Returns how long to wait, as the answer says.
    fn pause(&self, default: Duration) -> Duration {
        match &self.outcome {
            Outcome::Answered {
                retry_after: Some(pause),
                ..
            } => (*pause).min(WAIT_MAX),
            _ => default,
        }
    }

    /// Says what came back, for people.
    fn describe(&self) -> String {
        let url = &self.url;
        let (status, body) = match &self.outcome {
            Outcome::Nothing(reason) => return format!("`{url}`: {reason}"),
            Outcome::Insecure(reason) => return reason.clone(),
            Outcome::Answered { status, body, .. } => (status, body),
        };
        let error = self.error_body();
        let code = error.code.or(error.error);
        let detail = error.detail.or(error.error_description);
        match (code, detail) {
            (Some(code), Some(detail)) => format!("`{url}` answered {status} `{code}`: {detail}"),
            (Some(code), None) => format!("`{url}` answered {status} `{code}`"),
            (None, _) => {
                let text = String::from_utf8_lossy(body);
                let text: String = text.trim().chars().take(SHOWN_CHARS_MAX).collect();
                format!("`{url}` answered {status} {text:?}")
            }
        }
    }
}

fn receive(mut response: Response<Body>) -> Outcome {
    let status = response.status().as_u16();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok());
    let retry_after = retry_after
        .and_then(|text| text.trim().parse().ok())
        .map(Duration::from_secs);
    match response
        .body_mut()
        .with_config()
        .limit(BODY_BYTES_MAX)
        .read_to_vec()
    {
        Ok(body) => Outcome::Answered {
            status,
            retry_after,
            body,
        },
        Err(error) => Outcome::Nothing(error.to_string()),
    }
}
