//! The operator API, as a test or script calls it: JSON in, JSON out.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use klusterkite_tls::{Agents, Trust};
use klusterkite_wire::Secret;
use serde_json::{Value, json};
use ureq::Agent;
use ureq::config::ConfigBuilder;
use ureq::typestate::AgentScope;

/// A logged-in operator.
#[derive(Debug, Clone)]
pub struct Operator {
    url: String,
    token: Secret,
    agent: Agent,
}

/// Status and body of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Body; null when it is empty or not JSON.
    pub body: Value,
}

impl Operator {
    /// Logs in with a password.
    pub fn log_in(url: &str, login: &str, password: &Secret, trust: &Trust) -> Result<Self> {
        let agent = agent_for(url, trust)?;
        let form = [
            ("grant_type", "password"),
            ("username", login),
            ("password", password.reveal()),
        ];
        let mut answer = agent.post(format!("{url}/oauth/token")).send_form(form)?;
        let status = answer.status();
        let body: Value = answer.body_mut().read_json()?;
        let token = body["access_token"]
            .as_str()
            .with_context(|| format!("no token: {status} {body}"))?;
        Ok(Self {
            url: url.to_owned(),
            token: Secret::new(token),
            agent,
        })
    }

    /// Reads a resource below `/api/v1`.
    pub fn get(&self, path: &str) -> Result<Value> {
        self.call("GET", path, None)?.succeeded(path)
    }

    /// Posts to a resource below `/api/v1`.
    pub fn post(&self, path: &str, body: Value) -> Result<Value> {
        self.call("POST", path, Some(body))?.succeeded(path)
    }

    /// Calls anything below `/api/v1`.
    pub fn call(&self, method: &str, path: &str, body: Option<Value>) -> Result<Answer> {
        let (url, bearer) = (
            format!("{}/api/v1{path}", self.url),
            format!("Bearer {}", self.token.reveal()),
        );
        let agent = &self.agent;
        let sent = match (method, body) {
            ("GET", _) => agent.get(&url).header("authorization", &bearer).call(),
            ("DELETE", _) => agent.delete(&url).header("authorization", &bearer).call(),
            ("PATCH", body) => agent
                .patch(&url)
                .header("authorization", &bearer)
                .send_json(body.unwrap_or(json!({}))),
            ("POST", Some(body)) => agent
                .post(&url)
                .header("authorization", &bearer)
                .send_json(body),
            ("POST", None) => agent
                .post(&url)
                .header("authorization", &bearer)
                .send_empty(),
            _ => bail!("`{method}` is not a method of the API"),
        };
        let mut answer = sent.with_context(|| format!("{method} {url}"))?;
        let status = answer.status().as_u16();
        let text = answer.body_mut().read_to_string()?;
        Ok(Answer {
            status,
            body: serde_json::from_str(&text).unwrap_or(Value::Null),
        })
    }
}

impl Answer {
    fn succeeded(self, path: &str) -> Result<Value> {
        if (200..300).contains(&self.status) {
            return Ok(self.body);
        }
        bail!("{path}: {} {}", self.status, self.body);
    }
}

/// Makes an HTTP agent that hands on error statuses and gives up in time.
pub fn agent() -> Agent {
    settings().build().into()
}

/// Makes such an agent for a URL that may be of a server with TLS.
pub fn agent_for(url: &str, trust: &Trust) -> Result<Agent> {
    Ok(Agents::new(trust.clone(), settings).get(url)?)
}

fn settings() -> ConfigBuilder<AgentScope> {
    Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_mins(1)))
}
