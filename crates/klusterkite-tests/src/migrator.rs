//! A migrator or seeder that runs, and is asked as an executor asks it.

use std::io::BufReader;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result};
use klusterkite_migrator::client::Client;
use serde_json::{Value, json};

/// A running migrator; it is killed when this is dropped.
pub struct Running {
    child: Child,
    client: Client<BufReader<ChildStdout>, ChildStdin>,
    /// What it has logged so far, a line each.
    pub log: Vec<String>,
}

impl Running {
    /// Starts a migrator.
    pub fn start(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let stdout = BufReader::new(child.stdout.take().context("no stdout")?);
        let client = Client::new(stdout, child.stdin.take().context("no stdin")?);
        Ok(Self {
            child,
            client,
            log: Vec::new(),
        })
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks and waits for the answer; an error is the migrator's own sentence.
    pub fn call(&mut self, method: &str, params: Value) -> Result<Value, String> {
        let log = &mut self.log;
        let called = self.client.call(method, params, |message| {
            let params = message.params.as_ref();
            let text = params.and_then(|params| params.get("message")?.as_str());
            log.extend(text.map(str::to_owned));
        });
        called.map_err(|error| error.to_string())
    }

    /// Introduces the one who asks.
    pub fn initialize(&mut self) -> Result<Value, String> {
        self.call("initialize", json!({ "protocol": 1 }))
    }

    /// Returns where a resource is; not created: `-`.
    pub fn point(&mut self, resource: &str) -> Result<String, String> {
        let point = self.call("currentPoint", json!({ "resource": resource }))?;
        Ok(point.as_str().unwrap_or("-").to_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, and that is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
