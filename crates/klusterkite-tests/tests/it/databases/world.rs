//! A service directory with scripts for five databases, and executors that run in it.

use std::fs;
use std::io::BufReader;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use klusterkite_migrator::client::Client;
use klusterkite_tests::postgres::Postgres;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::programs;

/// Longest wait for something that takes moments, on a machine that is busy.
pub(crate) const DEADLINE: Duration = Duration::from_mins(2);

pub(crate) const DATABASES: usize = 5;
pub(crate) const POINTS: usize = 20;

pub(crate) struct World {
    directory: TempDir,
    server: Option<Postgres>,
    /// Grows with every order, as the manager's does.
    fence: AtomicU64,
}

/// What the schema is at some points; all databases have the same.
pub(crate) struct Reference {
    pub(crate) first: String,
    pub(crate) before: String,
    pub(crate) last: String,
}

pub(crate) fn point(number: usize) -> String {
    format!("{number:04}_step")
}

impl World {
    pub(crate) fn postgres() -> Self {
        let server = Postgres::start().unwrap();
        for number in 0..=DATABASES {
            let sql = format!("CREATE DATABASE \"main-{number}\"");
            server.sql("postgres", &sql).unwrap();
        }
        Self::new(Some(server))
    }

    pub(crate) fn sqlite() -> Self {
        Self::new(None)
    }

    fn new(server: Option<Postgres>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let world = Self {
            directory,
            server,
            fence: AtomicU64::new(1),
        };
        for place in ["service/packages/Acme.Db", "service/scripts", "data"] {
            fs::create_dir_all(world.path(place)).unwrap();
        }
        let program = world.path("service/klusterkite-migrator-sql");
        std::os::unix::fs::symlink(programs().join("klusterkite-migrator-sql"), program).unwrap();
        let manifest =
            r#"migrators { "Acme.Db" { command = [klusterkite-migrator-sql, migrate, Acme.Db] } }"#;
        let manifest_file = world.path("service/packages/Acme.Db/klusterkite.hocon");
        fs::write(manifest_file, manifest).unwrap();
        let settings = world.settings(0..=DATABASES).to_string();
        fs::write(world.path("service/service.hocon"), settings).unwrap();
        fs::write(world.path("service/start.hocon"), "").unwrap();
        world.write_scripts(&world.path("service/scripts"), POINTS);
        world
    }

    /// Writes the scripts of the first points into a directory.
    pub(crate) fn write_scripts(&self, directory: &Path, points: usize) {
        for number in 1..=points {
            let file = |way: &str| directory.join(format!("{}.{way}.sql", point(number)));
            fs::write(file("up"), self.up_script(number)).unwrap();
            let down = format!("DROP VIEW v{number};\nDROP TABLE t{number};");
            fs::write(file("down"), down).unwrap();
        }
    }

    /// Returns the settings of a migrator of some of the databases.
    pub(crate) fn settings(&self, numbers: RangeInclusive<usize>) -> Value {
        let databases: serde_json::Map<String, Value> = numbers
            .map(|number| {
                let settings = if let Some(server) = &self.server {
                    json!({ "url": server.url("postgres", &format!("main-{number}")) })
                } else {
                    fs::create_dir_all(self.file(number).parent().unwrap()).unwrap();
                    json!({ "file": self.file(number) })
                };
                (format!("main-{number}"), settings)
            })
            .collect();
        json!({
            "KlusterKite": { "NodeManager": { "Migrators": ["Acme.Db"] } },
            "Acme": { "Db": { "folder": "scripts", "lockTimeout": "60s", "databases": databases } },
        })
    }

    /// Makes point 13 of a SQLite database write for longer than a test waits, or not.
    pub(crate) fn set_pace(&self, number: usize, rows: i64) {
        let sql = format!("UPDATE pace SET n = {rows}");
        sqlite(&self.file(number), async move |connection| {
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
                .execute(connection)
                .await
                .unwrap();
        });
    }

    pub(crate) fn server(&self) -> &Postgres {
        self.server.as_ref().unwrap()
    }

    pub(crate) fn server_mut(&mut self) -> &mut Postgres {
        self.server.as_mut().unwrap()
    }

    /// Returns the file of a SQLite database, in a directory of its own.
    pub(crate) fn file(&self, number: usize) -> PathBuf {
        self.path(&format!("databases/{number}/main.db"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns a script of several statements, in whose middle PostgreSQL asks for the gate of point 13, and SQLite
    /// writes there as many rows as its first table says.
    pub(crate) fn up_script(&self, number: usize) -> String {
        let gate = match (&self.server, number) {
            (Some(_), 13) => "SELECT pg_advisory_xact_lock(4711);\n",
            (None, 1) => "CREATE TABLE pace (n INTEGER NOT NULL);\nINSERT INTO pace VALUES (0);\n",
            (None, 13) => {
                "INSERT INTO t13 WITH RECURSIVE c (x) AS (SELECT 100 UNION ALL SELECT x + 1 FROM c \
                 WHERE x < (SELECT n FROM pace)) SELECT x, x FROM c;\n"
            }
            _ => "",
        };
        format!(
            "CREATE TABLE t{number} (id INTEGER PRIMARY KEY, number INTEGER NOT NULL);
INSERT INTO t{number} VALUES (1, {number});
{gate}CREATE INDEX i{number} ON t{number} (number);
CREATE VIEW v{number} AS SELECT number FROM t{number};"
        )
    }

    pub(crate) fn write_up(&self, number: usize, script: &str) {
        let file = format!("service/scripts/{}.up.sql", point(number));
        fs::write(self.path(&file), script).unwrap();
    }

    pub(crate) fn executor(&self) -> Executor {
        Executor::start(&self.path("service"), &self.path("data"))
    }

    /// Moves the databases after the first two to the last point.
    pub(crate) fn go_on(&self) -> Result<(), String> {
        self.go_on_with(&mut self.executor())
    }

    pub(crate) fn go_on_with(&self, executor: &mut Executor) -> Result<(), String> {
        self.go_up(executor, 3..=DATABASES)
    }

    /// Moves databases to the last point, one after another, and stops at the first failure, as the manager does.
    fn go_up(
        &self,
        executor: &mut Executor,
        mut numbers: RangeInclusive<usize>,
    ) -> Result<(), String> {
        numbers.try_for_each(|number| self.migrate(executor, number, POINTS))
    }

    fn migrate(&self, executor: &mut Executor, number: usize, to: usize) -> Result<(), String> {
        let fence = self.fence.fetch_add(1, Ordering::Relaxed);
        let order = json!({ "migrator": "Acme.Db", "resource": format!("main-{number}"), "point": point(to), "fence": fence });
        executor.call("migrate", order).map(drop)
    }

    /// Reads where every database is: its code with its point, `-` when it is not created, or why that is not known.
    pub(crate) fn describe(&self) -> Vec<(String, String)> {
        let described = self.executor().call("describe", Value::Null).unwrap();
        let migrator = &described[0];
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let resources = migrator["resources"].as_array().unwrap().iter();
        let mut found: Vec<(String, String)> = resources
            .map(|resource| (text(&resource["code"]), text(&resource["currentPoint"])))
            .collect();
        for error in migrator["errors"].as_array().into_iter().flatten() {
            found.push((String::new(), text(error)));
        }
        // The one that only gives the reference is left out.
        found.retain(|(code, error)| code != "main-0" && !error.contains("`main-0`"));
        found
    }

    /// Moves the first two databases to the end, and one that gives the reference.
    pub(crate) fn begin(&self) -> Reference {
        let reference = self.reference();
        self.go_up(&mut self.executor(), 1..=2).unwrap();
        reference
    }

    /// Moves a database that nothing happens to, 0, and returns its schema at the points that count.
    pub(crate) fn reference(&self) -> Reference {
        let mut executor = self.executor();
        let mut at = |number: usize| {
            self.migrate(&mut executor, 0, number).unwrap();
            self.schema(0)
        };
        Reference {
            first: at(1),
            before: at(12),
            last: at(POINTS),
        }
    }

    /// Moves the databases up while `happen` lets something happen, and sees that all ends well.
    pub(crate) fn prove(&self, happen: impl FnOnce(&Self)) {
        let reference = self.begin();
        happen(self);
        self.finish(&reference);
    }

    /// Sees where the databases are after what happened, goes on to the end, and back again.
    pub(crate) fn finish(&self, reference: &Reference) {
        let described = self.describe();
        let points: Vec<&str> = described.iter().map(|(_, point)| point.as_str()).collect();
        let (last, before) = (point(POINTS), point(12));
        assert_eq!(points, [&last, &last, &before, "-", "-"]);
        assert_eq!(
            self.schema(3),
            reference.before,
            "nothing of the point is there"
        );
        self.go_up(&mut self.executor(), 1..=DATABASES).unwrap();
        let described = self.describe();
        assert!(
            described.iter().all(|(_, point)| *point == last),
            "{described:?}"
        );
        for number in 1..=DATABASES {
            assert_eq!(self.schema(number), reference.last, "database {number}");
        }
        let mut executor = self.executor();
        for number in (1..=DATABASES).rev() {
            self.migrate(&mut executor, number, 1).unwrap();
            assert_eq!(self.schema(number), reference.first, "database {number}");
        }
    }

    /// Returns the schema of a database as text.
    pub(crate) fn schema(&self, number: usize) -> String {
        match &self.server {
            Some(server) => server.schema(&format!("main-{number}")).unwrap(),
            None => sqlite_schema(&self.file(number)),
        }
    }
}

fn sqlite_schema(file: &Path) -> String {
    let sql = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type, name";
    let rows = sqlite(file, async move |connection| {
        let rows = sqlx::query_scalar(sql).fetch_all(connection).await;
        let rows: Vec<String> = rows.unwrap();
        rows
    });
    rows.join(";\n")
}

/// Does something with a connection of its own to a file.
fn sqlite<T>(file: &Path, act: impl AsyncFnOnce(&mut sqlx::SqliteConnection) -> T) -> T {
    use sqlx::Connection as _;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
        let connection = sqlx::SqliteConnection::connect_with(&options).await;
        let mut connection = connection.unwrap();
        let done = act(&mut connection).await;
        connection.close().await.unwrap();
        done
    })
}

/// A running executor; its stdin closes at the end, which is enough to end everything.
pub(crate) struct Executor {
    child: Child,
    client: Option<Client<BufReader<ChildStdout>, ChildStdin>>,
}

impl Executor {
    fn start(service: &Path, data: &Path) -> Self {
        let mut child = Command::new(programs().join("klusterkite-executor"))
            .current_dir(service)
            .env("KLUSTERKITE_DATA", data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let client = Some(Client::new(stdout, child.stdin.take().unwrap()));
        Self { child, client }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn call(&mut self, method: &str, params: Value) -> Result<Value, String> {
        let client = self.client.as_mut().unwrap();
        let called = client.call(method, params, |_| {});
        called.map_err(|error| error.to_string())
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.client = None;
        let _ = self.child.wait();
    }
}
