//! Routes, readiness and the graceful stop.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{AssertSqlSafe, Connection};
use tempfile::TempDir;

/// Longest wait for an answer of the service.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A running service; killed at the end.
struct Service {
    child: Child,
    address: String,
}

impl Service {
    fn start(place: &Place, version: &str, port: &serde_json::Value) -> Self {
        let settings = place.0.path().join("settings.json");
        let hello = json!({ "Host": "127.0.0.1", "Port": port, "Database": place.database() });
        fs::write(&settings, json!({ "Hello": hello }).to_string()).unwrap();
        let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packages/Hello");
        let mut child = Command::new(env!("CARGO_BIN_EXE_hello"))
            .current_dir(packages.join(version).join("content"))
            .env("KLUSTERKITE_CONFIG", settings)
            .env("KLUSTERKITE_NODE_ID", "node-1")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        stderr.read_line(&mut line).unwrap();
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        let (_, address) = line.trim().rsplit_once(' ').unwrap();
        let address = address.to_owned();
        assert!(line.contains("listens on 127.0.0.1:"), "{line}");
        Self { child, address }
    }

    fn get(&self, path: &str) -> (u16, String) {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .build()
            .new_agent();
        let url = format!("http://{}{path}", self.address);
        let mut response = agent.get(&url).call().unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        (response.status().as_u16(), text)
    }

    fn terminate(&self) {
        let process_id = self.child.id().to_string();
        let killed = Command::new("kill").args(["-TERM", &process_id]).status();
        assert!(killed.unwrap().success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn database(&self) -> PathBuf {
        self.0.path().join("hello.db")
    }

    /// Applies points of version 2 as the migrator would.
    fn apply(&self, points: &[&str]) {
        let content = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../packages/Hello.Db/2.0.0/content/hello-db");
        let mut sql = "CREATE TABLE IF NOT EXISTS hello_points \
            (position INTEGER PRIMARY KEY, point TEXT NOT NULL UNIQUE);"
            .to_owned();
        for point in points {
            let up = fs::read_to_string(content.join(format!("{point}.up.sql"))).unwrap();
            sql.push_str(&up);
            let record = format!("INSERT INTO hello_points (point) VALUES ('{point}');");
            sql.push_str(&record);
        }
        let options = SqliteConnectOptions::new()
            .filename(self.database())
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
            let sql = sqlx::raw_sql(AssertSqlSafe(sql));
            sql.execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        });
    }
}

#[test]
fn it_is_ready_when_its_database_has_the_points_it_needs() {
    let place = Place::new();
    let first = Service::start(&place, "1.0.0", &json!(0));
    let second = Service::start(&place, "2.0.0", &json!("0"));
    assert_eq!(first.get("/ready").0, 503);
    assert!(!place.database().exists(), "the service made a database");
    assert_eq!(first.get("/version"), (200, "1.0.0\n".to_owned()));

    place.apply(&["0001_visitors", "0002_greetings"]);
    assert_eq!(first.get("/ready"), (200, "ready\n".to_owned()));
    let text = "Hello\nversion 1.0.0\nnode node-1\nschema 0002_greetings\n";
    assert_eq!(first.get("/"), (200, text.to_owned()));
    let early = "the database is not at point `0003_languages` yet\n";
    assert_eq!(second.get("/ready"), (503, early.to_owned()));
    assert_eq!(second.get("/"), (503, early.to_owned()));

    // The schema moves first: the old version works on the new schema.
    place.apply(&["0003_languages"]);
    let text = "Hello, Hallo, Bonjour\nversion 1.0.0\nnode node-1\nschema 0003_languages\n";
    assert_eq!(first.get("/"), (200, text.to_owned()));
    assert_eq!(second.get("/ready").0, 200);
}

/// Reads one response with its body from an open connection.
fn read_response(connection: &mut BufReader<TcpStream>) -> String {
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        assert_ne!(
            connection.read_line(&mut text).unwrap(),
            0,
            "closed early: {text}"
        );
    }
    let lower = text.to_lowercase();
    let (_, rest) = lower.split_once("content-length: ").unwrap();
    let length: usize = rest.lines().next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    connection.read_exact(&mut body).unwrap();
    text + std::str::from_utf8(&body).unwrap()
}

#[test]
fn after_term_open_connections_are_answered_and_asked_to_close() {
    let place = Place::new();
    place.apply(&["0001_visitors", "0002_greetings"]);
    let mut service = Service::start(&place, "1.0.0", &json!(0));
    let connection = TcpStream::connect(&service.address).unwrap();
    connection.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut connection = BufReader::new(connection);
    let request = b"GET / HTTP/1.1\r\nHost: hello\r\n\r\n";
    connection.get_mut().write_all(request).unwrap();
    let before = read_response(&mut connection);
    assert!(
        !before.to_lowercase().contains("connection: close"),
        "{before}"
    );

    service.terminate();
    while service.get("/ready").1 != "stopping\n" {}
    connection.get_mut().write_all(request).unwrap();
    let after = read_response(&mut connection);
    assert!(after.starts_with("HTTP/1.1 200"), "{after}");
    assert!(
        after.to_lowercase().contains("connection: close"),
        "{after}"
    );
    assert_eq!(connection.read(&mut [0]).unwrap(), 0);
    assert!(service.child.wait().unwrap().success());
}

#[test]
fn bad_settings_are_named() {
    let place = Place::new();
    let settings = place.0.path().join("settings.json");
    for (text, expected) in [
        ("{}", "the setting `Hello.Host` is missing"),
        (r#"{"Hello": {"Host": "h", "Port": 70000}}"#, "`Hello.Port`"),
        (r#"{"Hello": {"Host": "h", "Port": "x"}}"#, "`Hello.Port`"),
        ("[", "cannot parse"),
    ] {
        fs::write(&settings, text).unwrap();
        let content =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packages/Hello/1.0.0/content");
        let output = Command::new(env!("CARGO_BIN_EXE_hello"))
            .current_dir(content)
            .env("KLUSTERKITE_CONFIG", &settings)
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success());
        assert!(stderr.contains(expected), "{text}: {stderr}");
    }
}
