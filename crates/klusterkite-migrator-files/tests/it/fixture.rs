//! A service directory with versions of a site, and the program running in it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use klusterkite_tests::migrator::Running;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A service directory, and beside it what outlives it.
pub(crate) struct Place {
    directory: TempDir,
    section: Value,
}

impl Place {
    /// Makes a service directory whose versions have an `index.html` with their own name.
    pub(crate) fn new(points: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let site = directory.path().join("www");
        let section = json!({ "folder": "site", "sites": { "main": { "directory": site } } });
        let place = Self { directory, section };
        for point in points {
            place.version(point, point);
        }
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn section(&mut self) -> &mut Value {
        &mut self.section
    }

    /// Writes a version of the site.
    pub(crate) fn version(&self, point: &str, index: &str) {
        let assets = self.path("site").join(point).join("assets");
        fs::create_dir_all(&assets).unwrap();
        fs::write(assets.join("style.css"), point).unwrap();
        fs::write(self.path("site").join(point).join("index.html"), index).unwrap();
    }

    pub(crate) fn remove_version(&self, point: &str) {
        fs::remove_dir_all(self.path("site").join(point)).unwrap();
    }

    /// Returns what a web server would serve.
    pub(crate) fn served(&self) -> String {
        fs::read_to_string(self.path("www/current/index.html")).unwrap()
    }

    /// Lists the versions that are kept, and whatever else is beside them.
    pub(crate) fn kept(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("www/points")).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    pub(crate) fn start(&self) -> Running {
        let settings = self.path("settings.json");
        fs::write(
            &settings,
            json!({ "Test": { "Site": self.section } }).to_string(),
        )
        .unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_klusterkite-migrator-files"));
        command
            .arg("Test.Site")
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
