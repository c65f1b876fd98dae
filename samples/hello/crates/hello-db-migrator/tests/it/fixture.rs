//! A service directory with the content of one package version, and the migrator running in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use klusterkite_tests::migrator::Running;
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
        self.directory.path().join("hello.db")
    }

    /// Starts the migrator of a package version.
    pub(crate) fn start(&self, version: &str) -> Running {
        let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packages/Hello.Db");
        self.start_in(&package.join(version).join("content"))
    }

    /// Starts the migrator with other content.
    pub(crate) fn start_in(&self, content: &Path) -> Running {
        let settings = self.directory.path().join("settings.json");
        let resource = self.resource();
        let text = serde_json::to_vec(&json!({ "Hello": { "Database": resource } })).unwrap();
        std::fs::write(&settings, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_hello-db-migrator"));
        command
            .current_dir(content)
            .env("KLUSTERKITE_CONFIG", settings);
        Running::start(&mut command).unwrap()
    }
}

/// Reads and moves the resource of the sample.
pub(crate) trait Moves {
    /// Returns where the resource is, as text; not created: `-`.
    fn place(&mut self) -> String;
    fn migrate(&mut self, point: &str, fence: u64) -> Result<Value, String>;
}

impl Moves for Running {
    fn place(&mut self) -> String {
        self.initialize().unwrap();
        let resources = self.call("resources", Value::Null).unwrap();
        assert_eq!(resources[0].get("error"), None, "{resources}");
        let point = resources[0]["currentPoint"].as_str();
        point.unwrap_or("-").to_owned()
    }

    fn migrate(&mut self, point: &str, fence: u64) -> Result<Value, String> {
        self.initialize().unwrap();
        let params = json!({ "resource": "hello-db", "point": point, "fence": fence });
        self.call("migrate", params)
    }
}

/// Kills a process at once, wherever it is.
pub(crate) fn kill(process_id: u32) {
    let killed = Command::new("kill")
        .args(["-KILL", &process_id.to_string()])
        .status();
    assert!(killed.unwrap().success());
}
