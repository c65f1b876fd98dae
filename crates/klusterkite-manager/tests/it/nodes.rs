//! Launchers that ask, nodes that join, operators who look: over the real routes and a real WebSocket.

use futures_util::{SinkExt as _, StreamExt as _};
use klusterkite_core::time::Timestamp;
use klusterkite_wire::link::{
    Containment, ContainmentLevel, Hello, ManagerMessage, NodeMessage, NodeReport, ReportedStatus,
};
use klusterkite_wire::start::StartConfiguration;
use klusterkite_wire::{Incarnation, NodeId};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::harness::{Answer, CLIENT_SECRET, DEADLINE, Server, eventually};

const LAUNCHER: &str = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee";

fn start_request(secret: &str, incarnation: u64) -> Value {
    json!({
        "nodeId": LAUNCHER, "nodeSecret": secret, "incarnation": incarnation,
        "containerType": "worker", "runtime": "linux-x64",
    })
}

/// Asks as a launcher does: a token first.
fn ask(server: &Server, request: &Value) -> Answer {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "worker"),
        ("client_secret", CLIENT_SECRET),
    ];
    let token = server
        .request("POST", "/oauth/token")
        .form(&form)
        .send()
        .ok(200);
    let call = server.request("POST", "/api/v1/nodes/configuration");
    call.bearer(token["access_token"].as_str().unwrap())
        .json(request)
        .send()
}

fn started(server: &Server, incarnation: u64) -> StartConfiguration {
    let answer = ask(server, &start_request("a secret", incarnation)).ok(200);
    serde_json::from_value(answer).unwrap()
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn connect(server: &Server, token: &str) -> Result<Socket, Error> {
    let url = server
        .url(&format!("/api/v1/nodes/{LAUNCHER}/link"))
        .replace("http://", "ws://");
    let mut request = url.into_client_request().unwrap();
    request
        .headers_mut()
        .insert("authorization", format!("Bearer {token}").parse().unwrap());
    connect_async(request).await.map(|(socket, _)| socket)
}

async fn send(socket: &mut Socket, message: &NodeMessage) {
    socket
        .send(Message::text(serde_json::to_string(message).unwrap()))
        .await
        .unwrap();
}

async fn receive(socket: &mut Socket) -> ManagerMessage {
    loop {
        let message = tokio::time::timeout(DEADLINE, socket.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        if let Message::Text(text) = message {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

fn hello(start: &StartConfiguration, incarnation: u64) -> NodeMessage {
    NodeMessage::Hello(Box::new(Hello {
        protocol: 1,
        incarnation: Incarnation(incarnation),
        template: start.node_template.clone(),
        configuration_id: start.configuration_id,
        container_type: "worker".parse().unwrap(),
        runtime: "linux-x64".parse().unwrap(),
        address: "10.0.0.7".to_owned(),
        roles: vec!["greeter".to_owned()],
        modules: Vec::new(),
        endpoints: Vec::new(),
        watch: Vec::new(),
        containment: Some(Containment {
            level: ContainmentLevel::ControlGroups,
            limits: vec!["pids".to_owned()],
            reason: None,
        }),
        report: NodeReport {
            status: ReportedStatus::Ready,
            reason: None,
            processes: Vec::new(),
        },
        last_order_id: None,
    }))
}

#[test]
fn a_launcher_asks_its_node_joins_and_members_are_told() {
    let server = Server::start();
    server.lead();
    let start = started(&server, 1);
    assert_eq!(start.node_template.as_str(), "hello");
    let token = start.node_token.clone().unwrap().reveal().to_owned();

    let before = server
        .request("GET", "/api/v1/members")
        .bearer(&token)
        .send()
        .ok(200);
    let version = before["version"].as_u64().unwrap();
    let path = format!("/api/v1/members?role=greeter&wait=20s&index={version}");
    let (members, mut socket) = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| server.request("GET", &path).bearer(&token).send().ok(200));
        let socket = server.block_on(async {
            let mut socket = connect(&server, &token).await.unwrap();
            send(&mut socket, &hello(&start, 1)).await;
            assert!(matches!(
                receive(&mut socket).await,
                ManagerMessage::Welcome { .. }
            ));
            socket
        });
        (waiting.join().unwrap(), socket)
    });
    assert!(members["version"].as_u64().unwrap() > version);
    assert_eq!(members["members"][0]["nodeId"], LAUNCHER);
    assert_eq!(members["members"][0]["address"], "10.0.0.7");
    let others = server
        .admin("GET", "/api/v1/members?role=other", Value::Null)
        .ok(200);
    assert_eq!(others["members"], json!([]));

    let node = server
        .admin("GET", &format!("/api/v1/nodes/{LAUNCHER}"), Value::Null)
        .ok(200);
    assert_eq!(
        (&node["template"], &node["status"]),
        (&json!("hello"), &json!("ready"))
    );
    assert_eq!(
        node["containment"],
        json!({"level": "controlGroups", "limits": ["pids"]})
    );
    let list = server
        .admin(
            "GET",
            "/api/v1/nodes?template=hello&status=ready",
            Value::Null,
        )
        .ok(200);
    assert_eq!(list["total"], 1);
    let explained = server
        .admin(
            "GET",
            &format!("/api/v1/nodes/{LAUNCHER}/explain"),
            Value::Null,
        )
        .ok(200);
    assert!(!explained["sentence"].as_str().unwrap().is_empty());

    let bye = NodeMessage::Bye {
        reason: "test".to_owned(),
    };
    server.block_on(send(&mut socket, &bye));
    eventually("the node has left", || {
        let members = server.admin("GET", "/api/v1/members", Value::Null).ok(200);
        members["members"] == json!([])
    });
}

#[test]
fn a_node_that_sends_garbage_is_told_why_and_harms_nobody() {
    let server = Server::start();
    server.lead();
    let start = started(&server, 1);
    let token = start.node_token.clone().unwrap().reveal().to_owned();
    let good = serde_json::to_string(&hello(&start, 1)).unwrap();
    let future = good.replace("\"protocol\":1", "\"protocol\":9");
    let garbage = [
        (Message::text(""), "not valid"),
        (Message::text("\u{0}\u{1}{{"), "not valid"),
        (Message::text("[".repeat(50_000)), "not valid"),
        (Message::text(&good[..good.len() / 2]), "not valid"),
        (Message::text(r#"{"type":"dance"}"#), "not valid"),
        (
            Message::text(r#"{"type":"heartbeat","seq":-1}"#),
            "not valid",
        ),
        (
            Message::text(r#"{"type":"heartbeat","seq":1}"#),
            "not hello",
        ),
        (Message::text(future), "protocol 9"),
        (Message::binary(vec![0xff; 1000]), "binary"),
    ];
    server.block_on(async {
        for (frame, expected) in garbage {
            let mut socket = connect(&server, &token).await.unwrap();
            socket.send(frame).await.unwrap();
            let closed = tokio::time::timeout(DEADLINE, socket.next()).await.unwrap();
            match closed {
                Some(Ok(Message::Close(Some(frame)))) => {
                    assert!(frame.reason.contains(expected), "{frame:?}");
                }
                other => panic!("{expected}: {other:?}"),
            }
        }
        // More than any message has: the link ends, how the socket says so does not matter.
        let mut socket = connect(&server, &token).await.unwrap();
        let _ = socket.send(Message::text("x".repeat(32 << 20))).await;
        while let Ok(Some(Ok(_))) = tokio::time::timeout(DEADLINE, socket.next()).await {}

        let mut socket = connect(&server, &token).await.unwrap();
        send(&mut socket, &hello(&start, 1)).await;
        assert!(matches!(
            receive(&mut socket).await,
            ManagerMessage::Welcome { .. }
        ));
        // Garbage after the introduction ends the link and not the node.
        socket.send(Message::text("garbage")).await.unwrap();
        while let Ok(Some(Ok(_))) = tokio::time::timeout(DEADLINE, socket.next()).await {}
        let mut socket = connect(&server, &token).await.unwrap();
        send(&mut socket, &hello(&start, 1)).await;
        assert!(matches!(
            receive(&mut socket).await,
            ManagerMessage::Welcome { .. }
        ));
    });
}

#[test]
fn a_newer_incarnation_ends_the_token_of_the_older_one() {
    let server = Server::start();
    server.lead();
    let old = started(&server, 1).node_token.unwrap().reveal().to_owned();
    let new = started(&server, 2).node_token.unwrap().reveal().to_owned();
    let status = |token: &str| {
        server
            .request("GET", "/api/v1/members")
            .bearer(token)
            .send()
            .status
    };
    assert_eq!((status(&old), status(&new)), (401, 200));
    let refused = server.block_on(connect(&server, &old));
    let Err(Error::Http(response)) = refused else {
        panic!("the link of a fenced incarnation was opened");
    };
    assert_eq!(response.status(), 401);
}

#[test]
fn a_stolen_launcher_secret_does_not_take_over_another_node_id() {
    let server = Server::start();
    server.lead();
    started(&server, 1);
    ask(&server, &start_request("another secret", 2)).problem(409, "nodeIdInUse");
    let answer = {
        let mut request = start_request("a secret", 2);
        request["containerType"] = json!("manager");
        ask(&server, &request)
    };
    answer.problem(403, "containerTypeNotAllowed");
}

#[test]
fn a_link_without_an_upgrade_is_a_problem() {
    let server = Server::start();
    server.lead();
    let token = started(&server, 1).node_token.unwrap();
    let path = format!("/api/v1/nodes/{LAUNCHER}/link");
    let answer = server.request("GET", &path).bearer(token.reveal()).send();
    answer.problem(400, "webSocketNeeded");
}

/// Asks for all pages of a list of nodes, two nodes a page; each says how many there are on all of them.
fn paged(server: &Server, query: &str) -> Vec<String> {
    let (mut seen, mut total) = (Vec::new(), None);
    let mut cursor = String::new();
    loop {
        let path = format!("/api/v1/nodes?limit=2{query}{cursor}");
        let page = server.admin("GET", &path, Value::Null).ok(200);
        assert_eq!(
            total.get_or_insert_with(|| page["total"].clone()),
            &page["total"]
        );
        let items = page["items"].as_array().unwrap().iter();
        seen.extend(items.map(|node| node["nodeId"].as_str().unwrap().to_owned()));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={}", next.replace('/', "%2F")),
            None => break,
        }
    }
    assert_eq!(total, Some(json!(seen.len())), "{query}");
    seen
}

#[test]
fn nodes_are_paged_by_template_and_id() {
    let server = Server::start();
    server.lead();
    let mut expected = Vec::new();
    for n in 0..5_u8 {
        let id = NodeId::from_random_bytes([n; 16]);
        let mut request = start_request("a secret", 1);
        request["nodeId"] = json!(id);
        ask(&server, &request).ok(200);
        expected.push(id.to_string());
    }
    for query in ["", "&template=hello", "&status=assigned"] {
        assert_eq!(paged(&server, query), expected, "{query}");
    }
    for query in ["&template=other", "&status=ready", "&status=unconfirmed"] {
        assert!(paged(&server, query).is_empty(), "{query}");
    }

    let silent = [expected.remove(3), expected.remove(0)];
    let ids = silent.each_ref().map(|id| id.parse().unwrap());
    server.block_on(server.cluster.remember(|state| {
        state.volatile.unconfirmed_until = Timestamp(u64::MAX);
        state.volatile.unconfirmed.extend(ids);
    }));
    assert_eq!(paged(&server, "&status=assigned"), expected);
    let unconfirmed = paged(&server, "&status=unconfirmed&template=hello");
    assert_eq!(unconfirmed, [&*silent[1], &*silent[0]]);
    assert_eq!(paged(&server, "").len(), 5);
}
