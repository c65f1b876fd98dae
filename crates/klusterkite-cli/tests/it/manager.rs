//! A manager whose answers a test writes down, and a command in an environment of its own.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::server::{Reply, Request, Server};

pub(crate) const PASSWORD: &str = "correct horse battery";

pub(crate) struct Manager {
    pub(crate) server: Server,
    directory: TempDir,
}

impl Manager {
    /// Starts a manager that gives tokens to `admin` and answers calls below `/api/v1` with `answer`, which gets
    /// method, path with query, and request.
    pub(crate) fn start(
        answer: impl Fn(&str, &str, &Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::with_tokens(3600, answer)
    }

    /// Starts one whose tokens live for some seconds; only the newest is good.
    pub(crate) fn with_tokens(
        seconds: u64,
        answer: impl Fn(&str, &str, &Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let issued = Arc::new(AtomicU32::new(0));
        let server = Server::start(move |_, request| {
            if request.target == "/oauth/token" {
                return token(request, &issued, seconds);
            }
            if request.target == "/oauth/revoke" {
                return Reply::new(200, "");
            }
            let newest = format!("Bearer token-{}", issued.load(Ordering::SeqCst));
            if request.header("authorization") != newest {
                return problem(401, "tokenUnknown", "the token is unknown or has ended");
            }
            let path = request.target.strip_prefix("/api/v1").unwrap();
            answer(&request.method, path, request)
        });
        Self {
            server,
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn session(&self) -> PathBuf {
        self.path("config/session.json")
    }

    /// Returns a command that may log in by itself.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = self.bare(line);
        command
            .env("KLUSTERKITE_USER", "admin")
            .env("KLUSTERKITE_PASSWORD", PASSWORD);
        command
    }

    /// Returns a command without user and password.
    pub(crate) fn bare(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_klusterkite"));
        command
            .args(line.split_whitespace())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("KLUSTERKITE_URL", self.server.url())
            .env("KLUSTERKITE_SESSION", self.session())
            .current_dir(self.directory.path());
        command
    }

    pub(crate) fn run(&self, line: &str) -> Ran {
        Ran::of(&mut self.command(line))
    }

    /// Returns the calls below `/api/v1` as `METHOD path`.
    pub(crate) fn calls(&self) -> Vec<String> {
        let requests = self.server.requests();
        let calls = requests.iter().filter_map(|request| {
            Some(format!(
                "{} {}",
                request.method,
                request.target.strip_prefix("/api/v1")?
            ))
        });
        calls.collect()
    }
}

/// How a command ended and what it wrote.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn of(command: &mut Command) -> Self {
        let Output {
            status,
            stdout,
            stderr,
        } = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self {
            code: status.code().unwrap(),
            out: text(stdout),
            err: text(stderr),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

fn token(request: &Request, issued: &AtomicU32, seconds: u64) -> Reply {
    let form = String::from_utf8_lossy(&request.body).into_owned();
    let current = issued.load(Ordering::SeqCst);
    let by_password = form
        == format!(
            "grant_type=password&username=admin&password={}",
            PASSWORD.replace(' ', "%20")
        );
    let by_refresh = form == format!("grant_type=refresh_token&refresh_token=refresh-{current}");
    if !by_password && !by_refresh {
        let error =
            json!({ "error": "invalid_grant", "error_description": "login or password is wrong" });
        return Reply::new(400, error.to_string());
    }
    let number = issued.fetch_add(1, Ordering::SeqCst) + 1;
    ok(
        &json!({ "access_token": format!("token-{number}"), "token_type": "bearer", "expires_in": seconds,
        "refresh_token": format!("refresh-{number}") }),
    )
}

pub(crate) fn ok(body: &Value) -> Reply {
    Reply::new(200, body.to_string()).header("content-type", "application/json")
}

pub(crate) fn problem(status: u16, code: &str, detail: &str) -> Reply {
    let body = json!({ "status": status, "code": code, "title": "", "detail": detail });
    Reply::new(status, body.to_string()).header("content-type", "application/problem+json")
}

pub(crate) fn page(items: &Value) -> Reply {
    ok(&json!({ "items": items, "total": items.as_array().unwrap().len() }))
}

pub(crate) fn configuration(id: i64, state: &str) -> Value {
    json!({ "id": id, "name": "First", "majorVersion": 1, "minorVersion": 0, "notes": "", "state": state,
        "isStable": false, "created": "2026-11-22T12:00:00Z", "revision": 3,
        "settings": { "nugetFeed": "http://feed/v3/index.json", "runtimes": ["linux-x64"] } })
}

pub(crate) fn migration(state: &str) -> Value {
    let finished = (state == "completed").then_some("2026-11-22T12:05:00Z");
    json!({ "id": 4, "state": state, "fromConfigurationId": 1, "toConfigurationId": 2, "mode": "automatic",
        "onFailure": "pause", "goal": "destination", "started": "2026-11-22T12:00:00Z", "finished": finished,
        "reason": (state == "paused").then(|| json!({ "code": "failureGate", "message": "hello never became ready" })) })
}

pub(crate) fn cluster(step: Option<&str>) -> Value {
    json!({ "busy": false, "currentStep": step, "steps": [], "operations": [], "activeConfigurationId": 1,
        "migratableResources": [{ "templateCode": "hello", "migratorTypeName": "Hello.Db", "resourceCode": "schema" }],
        "templates": [], "waitingOn": [] })
}

pub(crate) fn node(id: &str) -> Value {
    json!({ "nodeId": id, "template": "hello", "containerType": "worker", "runtime": "linux-x64",
        "configurationId": 1, "status": "ready", "isObsolete": false, "incarnation": 5, "address": "10.0.0.7",
        "roles": [], "modules": [], "endpoints": [], "processes": [], "since": "2026-11-22T12:00:00Z",
        "cordoned": false })
}

pub(crate) fn container(id: &str) -> Value {
    json!({ "nodeId": id, "containerType": "worker", "runtime": "linux-x64", "state": "cordoned",
        "reason": "it is out of service", "lastTemplate": "hello" })
}
