//! A service directory with a folder of scripts, and the program running in it.

use std::fs;
use std::path::{Path, PathBuf};
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
    /// Makes a service directory with one database, `main`.
    pub(crate) fn new(database: Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("scripts")).unwrap();
        let section = json!({ "folder": "scripts", "databases": { "main": database } });
        Self { directory, section }
    }

    /// Makes a service directory with one SQLite database, `main`.
    pub(crate) fn sqlite() -> Self {
        let mut place = Self::new(Value::Null);
        let file = place.path("main.db");
        place.section["databases"]["main"] = json!({ "file": file });
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns the section of the settings, to be changed.
    pub(crate) fn section(&mut self) -> &mut Value {
        &mut self.section
    }

    /// Writes scripts: their names without `.sql`, and their texts.
    pub(crate) fn scripts(&self, scripts: &[(&str, &str)]) {
        for (name, text) in scripts {
            let file = self.path("scripts").join(format!("{name}.sql"));
            fs::write(file, text).unwrap();
        }
    }

    pub(crate) fn remove_script(&self, name: &str) {
        fs::remove_file(self.path("scripts").join(format!("{name}.sql"))).unwrap();
    }

    pub(crate) fn migrator(&self) -> Running {
        let mut running = self.start("migrate");
        running.initialize().unwrap();
        running
    }

    /// Starts the program with one of its commands.
    pub(crate) fn start(&self, command: &str) -> Running {
        let settings = self.path("settings.json");
        let text = json!({ "Test": { "Databases": self.section } }).to_string();
        fs::write(&settings, text).unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_klusterkite-migrator-sql"));
        program
            .args([command, "Test.Databases"])
            .current_dir(self.directory.path())
            .env("KLUSTERKITE_CONFIG", settings);
        Running::start(&mut program).unwrap()
    }

    /// Runs the seeder once.
    pub(crate) fn seed(&self) -> Result<Value, String> {
        self.start("seed").call("seed", Value::Null)
    }

    /// Returns where the database is, as a fresh migrator reads it; not created: `-`.
    pub(crate) fn point(&self) -> String {
        self.migrator().point("main").unwrap()
    }

    /// Moves the database with a fresh migrator.
    pub(crate) fn migrate(&self, point: &str) -> Result<(), String> {
        self.migrator().migrate(point, 1, false).map(drop)
    }

    /// Asks the SQLite database.
    pub(crate) fn query(&self, sql: &str) -> String {
        query(&self.path("main.db"), sql)
    }
}

/// Asks a SQLite database: rows joined by `;`, their first columns as text.
pub(crate) fn query(file: &Path, sql: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        use sqlx::Connection as _;
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
        let mut connection = sqlx::SqliteConnection::connect_with(&options)
            .await
            .unwrap();
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        let rows: Vec<Option<String>> = sqlx::query_scalar(sql)
            .fetch_all(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        let rows: Vec<String> = rows.into_iter().map(Option::unwrap_or_default).collect();
        rows.join(";")
    })
}

/// Moves the database `main`.
pub(crate) trait Moves {
    fn migrate(&mut self, point: &str, fence: u64, dry_run: bool) -> Result<Value, String>;
}

impl Moves for Running {
    fn migrate(&mut self, point: &str, fence: u64, dry_run: bool) -> Result<Value, String> {
        let order =
            json!({ "resource": "main", "point": point, "fence": fence, "dryRun": dry_run });
        self.call("migrate", order)
    }
}
