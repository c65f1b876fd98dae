//! A service directory with a tool, and the program running in it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use klusterkite_tests::migrator::Running;
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
        let mut command = Command::new(env!("CARGO_BIN_EXE_klusterkite-migrator-command"));
        command
            .arg("Test.Tool")
            .current_dir(self.directory.path())
            .env("KLUSTERKITE_CONFIG", settings);
        Running::start(&mut command).unwrap()
    }

    pub(crate) fn point(&self) -> Result<String, String> {
        let mut running = self.start();
        running.initialize()?;
        running.point("main")
    }

    pub(crate) fn migrate(&self, point: &str, fence: u64) -> Result<Vec<String>, String> {
        let mut running = self.start();
        running.initialize()?;
        let order = json!({ "resource": "main", "point": point, "fence": fence });
        running.call("migrate", order)?;
        Ok(std::mem::take(&mut running.log))
    }
}
