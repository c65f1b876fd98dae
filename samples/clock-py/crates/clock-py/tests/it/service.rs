//! The service: routes, readiness and the graceful stop.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

/// Longest wait for an answer of the service.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A running service; killed at the end.
struct Service {
    child: Child,
    agent: ureq::Agent,
    address: String,
}

impl Service {
    fn start(place: &TempDir, version: &str) -> Self {
        let settings = place.path().join(format!("settings-{version}.json"));
        let clock = json!({ "Host": "127.0.0.1", "Port": "0", "State": state(place) });
        fs::write(&settings, json!({ "Clock": clock }).to_string()).unwrap();
        let mut child = Command::new("python3")
            .arg("clock_service.py")
            .current_dir(crate::content("Clock", version))
            .env("KLUSTERKITE_CONFIG", settings)
            .env("KLUSTERKITE_NODE_ID", "node-1")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        stderr.read_line(&mut line).unwrap();
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        assert!(line.contains("listens on 127.0.0.1:"), "{line}");
        let (_, address) = line.trim().rsplit_once(' ').unwrap();
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let agent = config.timeout_global(Some(TIMEOUT)).build().new_agent();
        let address = address.to_owned();
        Self {
            child,
            agent,
            address,
        }
    }

    fn get(&self, path: &str) -> (u16, String, bool) {
        let url = format!("http://{}{path}", self.address);
        let mut response = self.agent.get(&url).call().unwrap();
        let closes = response
            .headers()
            .get("connection")
            .is_some_and(|value| value == "close");
        let text = response.body_mut().read_to_string().unwrap();
        (response.status().as_u16(), text, closes)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn state(place: &TempDir) -> PathBuf {
    place.path().join("clock.json")
}

#[test]
fn it_is_ready_when_its_state_has_the_points_it_needs() {
    let place = tempfile::tempdir().unwrap();
    let (first, second) = (
        Service::start(&place, "1.0.0"),
        Service::start(&place, "2.0.0"),
    );
    assert_eq!(first.get("/ready").0, 503);
    assert_eq!(first.get("/version").1, "1.0.0\n");
    assert_eq!(first.get("/nothing").0, 404);

    let zone = json!({ "points": ["0001_zone"], "fence": 1, "zoneMinutes": 60 });
    fs::write(state(&place), zone.to_string()).unwrap();
    assert_eq!(first.get("/ready").0, 200);
    let (status, text, _) = first.get("/");
    assert_eq!(status, 200);
    assert!(
        text.contains("+01:00\nversion 1.0.0\nnode node-1\npoint 0001_zone\n"),
        "{text}"
    );
    let (status, text, _) = second.get("/ready");
    assert_eq!(
        (status, text.as_str()),
        (503, "the state is not at point `0002_format` yet\n")
    );

    // The state moves first: the old version works on the new state.
    let format = json!({
        "points": ["0001_zone", "0002_format"], "fence": 2, "zoneMinutes": 60, "format": "in %Y"
    });
    fs::write(state(&place), format.to_string()).unwrap();
    assert_eq!(first.get("/").0, 200);
    let (status, text, _) = second.get("/");
    assert_eq!(status, 200);
    assert!(text.starts_with("in 20"), "{text}");
}

#[test]
fn after_term_requests_are_answered_and_connections_closed() {
    let place = tempfile::tempdir().unwrap();
    let mut service = Service::start(&place, "1.0.0");
    assert!(!service.get("/version").2);
    let process_id = service.child.id().to_string();
    let killed = Command::new("kill").args(["-TERM", &process_id]).status();
    assert!(killed.unwrap().success());
    while service.get("/ready").1 != "stopping\n" {}
    let (status, _, closes) = service.get("/version");
    assert_eq!(status, 200);
    assert!(closes);
    assert!(service.child.wait().unwrap().success());
}
