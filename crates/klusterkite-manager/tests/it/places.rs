//! Room for requests: launchers that take all of theirs do not keep operators waiting.

use std::io::Write as _;
use std::net::TcpStream;

use klusterkite_api::privileges::Privilege;
use serde_json::{Value, json};

use crate::harness::{Server, eventually};

/// More than are answered at a time.
const LAUNCHERS: usize = 600;

#[test]
fn operators_are_answered_while_launchers_take_every_place() {
    let server = Server::start();
    let (token, reader) = (
        server.client_token(),
        server.user("reader", &[Privilege::GetActiveNodeDescriptions], &[]),
    );
    let head = format!(
        "POST /api/v1/nodes/configuration HTTP/1.1\r\nhost: manager\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: 100\r\n\r\n"
    );
    // They say that they ask, and then nothing: each has a place until its time is over.
    let silent: Vec<TcpStream> = (0..LAUNCHERS)
        .map(|_| {
            let mut stream = TcpStream::connect(server.address()).unwrap();
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    eventually("a launcher is told to come back", || {
        let ask = server.request("POST", "/api/v1/nodes/configuration");
        let answer = ask.bearer(&token).json(&json!({})).send();
        answer.status == 429
    });
    let nodes = server
        .request("GET", "/api/v1/nodes")
        .bearer(&reader)
        .send();
    assert_ne!(nodes.ok(200), Value::Null);
    let health = server.request("GET", "/healthz").send();
    assert_eq!((health.status, health.text.as_str()), (200, "ok\n"));
    drop(silent);
}
