//! A service directory with the content of one package version, and the migrator running in it.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use klusterkite_migrator::client::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A service directory, and beside it what outlives it.
pub(crate) struct Place {
    directory: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { directory }
    }

    /// Returns the path of what the migrator moves.
    pub(crate) fn resource(&self) -> PathBuf {
        self.directory.path().join("site")
    }

    /// Starts the migrator of a package version.
    pub(crate) fn start(&self, version: &str) -> Running {
        let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packages/Hello.Site");
        self.start_in(&package.join(version).join("content"))
    }

    /// Starts the migrator with other content.
    pub(crate) fn start_in(&self, content: &Path) -> Running {
        let settings = self.directory.path().join("settings.json");
        let resource = self.resource();
        let text =
            serde_json::to_vec(&json!({ "Hello": { "Site": { "Directory": resource } } })).unwrap();
        std::fs::write(&settings, text).unwrap();
        Running::start(content, &settings)
    }
}

/// A running migrator; killed at the end.
pub(crate) struct Running {
    child: Child,
    client: Client<BufReader<ChildStdout>, ChildStdin>,
    pub(crate) log: Vec<String>,
}

impl Running {
    fn start(content: &Path, settings: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hello-site-migrator"))
            .current_dir(content)
            .env("KLUSTERKITE_CONFIG", settings)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let client = Client::new(stdout, child.stdin.take().unwrap());
        let log = Vec::new();
        Self { child, client, log }
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn call(&mut self, method: &str, params: Value) -> Result<Value, String> {
        let log = &mut self.log;
        let called = self.client.call(method, params, |message| {
            let params = message.params.as_ref();
            let text = params.and_then(|params| params.get("message")?.as_str());
            log.extend(text.map(str::to_owned));
        });
        called.map_err(|error| error.to_string())
    }

    pub(crate) fn initialize(&mut self) -> Result<Value, String> {
        self.call("initialize", json!({ "protocol": 1 }))
    }

    /// Returns where the resource is, as text; not created: `-`.
    pub(crate) fn point(&mut self) -> String {
        self.initialize().unwrap();
        let resources = self.call("resources", Value::Null).unwrap();
        assert_eq!(resources[0].get("error"), None, "{resources}");
        let point = resources[0]["currentPoint"].as_str();
        point.unwrap_or("-").to_owned()
    }

    pub(crate) fn migrate(&mut self, point: &str, fence: u64) -> Result<Value, String> {
        self.initialize().unwrap();
        let params = json!({ "resource": "hello-site", "point": point, "fence": fence });
        self.call("migrate", params)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Kills a process at once, wherever it is.
pub(crate) fn kill(process_id: u32) {
    let killed = Command::new("kill")
        .args(["-KILL", &process_id.to_string()])
        .status();
    assert!(killed.unwrap().success());
}
