//! A service directory with a tool, and the program running in it.

use std::fs;
use std::io::BufReader;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use klusterkite_migrator::client::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Knows `get`, `set POINT` and `fail`.
const TOOL: &str = "#!/bin/sh
case $1 in
get) cat \"state-$KLUSTERKITE_RESOURCE\" 2>/dev/null; true ;;
set) echo \"moving to $2\"; echo \"$KLUSTERKITE_DIRECTION $KLUSTERKITE_POINT from=$KLUSTERKITE_FROM $COLOUR\" >> calls
     echo \"$2\" > \"state-$KLUSTERKITE_RESOURCE\" ;;
*) echo broken >&2; exit 3 ;;
esac
";

/// A service directory, and beside it what outlives it.
pub(crate) struct Place {
    directory: TempDir,
    section: Value,
}

impl Place {
    /// Makes a service directory with a tool that keeps the point of a resource in a file, and its settings.
    pub(crate) fn new(section: Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tool = directory.path().join("tool");
        fs::write(&tool, TOOL).unwrap();
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
        Self { directory, section }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn section(&mut self) -> &mut Value {
        &mut self.section
    }

    /// Returns what the tool was asked, one line per call that changed something.
    pub(crate) fn calls(&self) -> String {
        fs::read_to_string(self.path("calls")).unwrap_or_default()
    }

    pub(crate) fn start(&self) -> Running {
        let settings = self.path("settings.json");
        fs::write(
            &settings,
            json!({ "Test": { "Tool": self.section } }).to_string(),
        )
        .unwrap();
        Running::start(self.directory.path(), &settings)
    }

    pub(crate) fn point(&self) -> Result<String, String> {
        let mut running = self.start();
        running.initialize()?;
        let point = running.call("currentPoint", json!({ "resource": "main" }))?;
        Ok(point.as_str().unwrap_or("-").to_owned())
    }

    pub(crate) fn migrate(&self, point: &str, fence: u64) -> Result<Vec<String>, String> {
        let mut running = self.start();
        running.initialize()?;
        let order = json!({ "resource": "main", "point": point, "fence": fence });
        running.call("migrate", order)?;
        Ok(std::mem::take(&mut running.log))
    }
}

/// A running program; killed at the end.
pub(crate) struct Running {
    child: Child,
    client: Client<BufReader<ChildStdout>, ChildStdin>,
    pub(crate) log: Vec<String>,
}

impl Running {
    fn start(directory: &Path, settings: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_klusterkite-migrator-command"))
            .arg("Test.Tool")
            .current_dir(directory)
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
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
