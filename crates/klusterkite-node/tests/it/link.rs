use std::path::Path;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use klusterkite_node::{Answer, Introduction, Link, LinkEvent, LinkSettings, Trust};
use klusterkite_tls::testing::{Authority, Ends, front};
use klusterkite_wire::link::{
    AckState, Endpoint, Hello, ManagerMessage, Member, Members, NodeMessage, NodeReport, Order,
    OrderKind, ReportedStatus,
};
use klusterkite_wire::{ConfigurationId, Incarnation, LeaderEpoch, OrderId, Problem};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;

const NODE: &str = "00000000-0000-4000-8000-000000000001";

/// One side of a link as the manager sees it.
struct Manager {
    socket: WebSocketStream<TcpStream>,
}

impl Manager {
    /// Accepts connections, refuses those with another token, and returns the first good one.
    async fn accept(listener: &TcpListener, token: &str) -> Self {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let expected = format!("Bearer {token}");
            #[expect(clippy::result_large_err, reason = "the callback's type is given")]
            let check = |request: &Request, response: Response| {
                let bearer = request.headers().get("authorization");
                assert_eq!(request.uri().path(), format!("/api/v1/nodes/{NODE}/link"));
                if bearer.is_some_and(|bearer| bearer == expected.as_str()) {
                    return Ok(response);
                }
                let mut refusal = ErrorResponse::new(None);
                *refusal.status_mut() = StatusCode::UNAUTHORIZED;
                Err(refusal)
            };
            if let Ok(socket) = tokio_tungstenite::accept_hdr_async(stream, check).await {
                return Self { socket };
            }
        }
    }

    /// Accepts a connection and welcomes the node.
    async fn welcome(listener: &TcpListener) -> (Self, Hello) {
        let mut manager = Self::accept(listener, "secret").await;
        let Some(NodeMessage::Hello(hello)) = manager.receive().await else {
            panic!("the first message is a hello");
        };
        manager
            .send(&ManagerMessage::Welcome {
                lease_seconds: 60,
                heartbeat_seconds: 1,
                epoch: LeaderEpoch(1),
            })
            .await;
        (manager, *hello)
    }

    async fn send(&mut self, message: &ManagerMessage) {
        let text = serde_json::to_string(message).unwrap();
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// Returns the next message that is not a heartbeat; `None` when the node has closed.
    async fn receive(&mut self) -> Option<NodeMessage> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    let message = serde_json::from_str(&text).unwrap();
                    if !matches!(message, NodeMessage::Heartbeat { .. }) {
                        return Some(message);
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

fn settings(urls: Vec<String>, token_file: &Path) -> LinkSettings {
    LinkSettings {
        urls,
        trust: Trust::System,
        node_id: NODE.parse().unwrap(),
        token_file: token_file.to_owned(),
        introduction: Introduction {
            incarnation: Incarnation(5),
            template: "orders".parse().unwrap(),
            configuration_id: ConfigurationId(7),
            container_type: "worker".parse().unwrap(),
            runtime: "linux-x64".parse().unwrap(),
            address: None,
            roles: Vec::new(),
            modules: Vec::new(),
            endpoints: Vec::new(),
            watch: Vec::new(),
            containment: None,
        },
    }
}

fn report(status: ReportedStatus) -> NodeReport {
    NodeReport {
        status,
        reason: None,
        processes: Vec::new(),
    }
}

fn order(id: i64) -> Order {
    Order {
        id: OrderId(id),
        epoch: LeaderEpoch(1),
        kind: OrderKind::Stop,
        reason: "update".to_owned(),
        deadline_seconds: 60,
        next: None,
    }
}

/// Runs a test on the runtime that nodes use, with a limit so that a failure is not a hang.
fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            tokio::time::timeout(Duration::from_secs(30), test)
                .await
                .expect("the test ends in time");
        });
}

#[test]
fn an_order_goes_to_the_node_and_its_answer_and_bye_to_the_manager() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let token = directory.path().join("node-token");
        std::fs::write(&token, "secret\n").unwrap();
        let (listener, url) = listen().await;
        let (link, mut events) = Link::start(
            settings(vec![url], &token),
            report(ReportedStatus::Starting),
        );
        let (mut manager, hello) = Manager::welcome(&listener).await;
        assert_eq!(hello.address, "127.0.0.1");
        link.report(report(ReportedStatus::Ready)).await;
        let ready = NodeMessage::Status(report(ReportedStatus::Ready));
        assert_eq!(manager.receive().await, Some(ready));

        manager
            .send(&ManagerMessage::Order(Box::new(order(1))))
            .await;
        let event = events.recv().await.unwrap();
        assert_eq!(event, LinkEvent::Order(Box::new(order(1))));
        link.answer(Answer {
            order_id: OrderId(1),
            state: AckState::Done,
            reason: None,
        })
        .await;
        let ack = NodeMessage::Ack {
            order_id: OrderId(1),
            state: AckState::Done,
            reason: None,
        };
        assert_eq!(manager.receive().await, Some(ack));
        let manager_side = async {
            let bye = NodeMessage::Bye {
                reason: "update".to_owned(),
            };
            assert_eq!(manager.receive().await, Some(bye));
            assert_eq!(manager.receive().await, None);
        };
        tokio::join!(link.leave("update".to_owned()), manager_side);
    });
}

#[test]
fn ten_thousand_members_with_endpoints_reach_a_node() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let token = directory.path().join("node-token");
        std::fs::write(&token, "secret\n").unwrap();
        let (listener, url) = listen().await;
        let (_link, mut events) =
            Link::start(settings(vec![url], &token), report(ReportedStatus::Ready));
        let (mut manager, _) = Manager::welcome(&listener).await;
        let endpoint = Endpoint {
            name: "orders-public".to_owned(),
            port: 8080,
            host: "orders.shop.example.com".to_owned(),
            route: "/api/orders".to_owned(),
        };
        let member = Member {
            node_id: NODE.parse().unwrap(),
            template: "orders".parse().unwrap(),
            roles: ["orders", "web", "metrics"].map(str::to_owned).to_vec(),
            address: "node-1.cluster.example.com".to_owned(),
            endpoints: vec![endpoint; 4],
        };
        let members = Members {
            version: 1,
            members: vec![member; 10_000],
        };
        manager.send(&ManagerMessage::Members(members)).await;
        let Some(LinkEvent::Members(told)) = events.recv().await else {
            panic!("the members are told");
        };
        assert_eq!(told.members.len(), 10_000);
    });
}

#[test]
fn garbage_from_a_manager_is_passed_over_and_its_next_order_is_obeyed() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let token = directory.path().join("node-token");
        std::fs::write(&token, "secret\n").unwrap();
        let (listener, url) = listen().await;
        let (_link, mut events) =
            Link::start(settings(vec![url], &token), report(ReportedStatus::Ready));
        let (mut manager, _) = Manager::welcome(&listener).await;
        for frame in [
            Message::text(""),
            Message::text("\u{0}{{"),
            Message::text("[".repeat(50_000)),
            Message::text(r#"{"type":"dance"}"#),
            Message::text(r#"{"type":"order","id":"x"}"#),
            Message::text(r#"{"type":"lease","leaseSeconds":-1,"seq":1e99}"#),
            Message::binary(vec![0xff; 1000]),
        ] {
            manager.socket.send(frame).await.unwrap();
        }
        manager
            .send(&ManagerMessage::Order(Box::new(order(1))))
            .await;
        let event = events.recv().await.unwrap();
        assert_eq!(event, LinkEvent::Order(Box::new(order(1))));

        // A frame beyond the limit ends the link, and the node comes back.
        let _ = manager
            .socket
            .send(Message::text("x".repeat(32 << 20)))
            .await;
        drop(manager);
        let (_manager, hello) = Manager::welcome(&listener).await;
        assert_eq!(hello.last_order_id, Some(OrderId(1)));
    });
}

#[test]
fn the_token_is_waited_for_and_read_again_after_a_refusal() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let token = directory.path().join("node-token");
        let (listener, url) = listen().await;
        let (_link, _events) = Link::start(
            settings(vec![url], &token),
            report(ReportedStatus::Starting),
        );
        tokio::task::yield_now().await;
        std::fs::write(&token, "old").unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        drop(stream);
        std::fs::write(&token, "new").unwrap();
        let mut manager = Manager::accept(&listener, "new").await;
        assert!(matches!(
            manager.receive().await,
            Some(NodeMessage::Hello(_))
        ));
    });
}

#[test]
fn a_manager_that_comes_back_is_told_the_state_of_now() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let token = directory.path().join("node-token");
        std::fs::write(&token, "secret").unwrap();
        let (listener, url) = listen().await;
        let dead = "http://127.0.0.1:1".to_owned();
        let (link, mut events) = Link::start(
            settings(vec![dead, url], &token),
            report(ReportedStatus::Starting),
        );
        let (manager, hello) = Manager::welcome(&listener).await;
        assert_eq!(hello.report, report(ReportedStatus::Starting));
        drop(manager);
        link.report(report(ReportedStatus::Ready)).await;
        let (mut manager, hello) = Manager::welcome(&listener).await;
        assert_eq!(hello.report, report(ReportedStatus::Ready));
        manager.send(&ManagerMessage::Fenced).await;
        assert_eq!(events.recv().await, Some(LinkEvent::Fenced));
        assert_eq!(manager.receive().await, None);
        link.leave("fenced".to_owned()).await;
    });
}

#[test]
fn a_refused_connection_that_names_a_newer_incarnation_fences_the_node() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let token = directory.path().join("node-token");
        std::fs::write(&token, "secret").unwrap();
        let (listener, url) = listen().await;
        let (_link, mut events) =
            Link::start(settings(vec![url], &token), report(ReportedStatus::Ready));
        for code in ["nodeUnknown", "fenced"] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            let body = serde_json::to_string(&Problem::new(409, code, "why")).unwrap();
            let answer = format!(
                "HTTP/1.1 409 Conflict\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        assert_eq!(events.recv().await, Some(LinkEvent::Fenced));
    });
}

#[test]
fn a_node_that_does_not_take_its_events_still_reports() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let token = directory.path().join("node-token");
        std::fs::write(&token, "secret").unwrap();
        let (listener, url) = listen().await;
        let (link, _events) = Link::start(
            settings(vec![url], &token),
            report(ReportedStatus::Starting),
        );
        let (mut manager, _) = Manager::welcome(&listener).await;
        for id in 1..=200 {
            manager
                .send(&ManagerMessage::Order(Box::new(order(id))))
                .await;
        }
        link.report(report(ReportedStatus::Ready)).await;
        let ready = NodeMessage::Status(report(ReportedStatus::Ready));
        assert_eq!(manager.receive().await, Some(ready));
    });
}

#[test]
fn a_link_over_tls_reaches_a_manager_of_the_own_authority_and_tells_nobody_else_its_token() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let token = directory.path().join("node-token");
        std::fs::write(&token, "secret").unwrap();
        let authority = Authority::new("ours");
        let ca = authority.write(directory.path());
        let files = authority.write_identity(directory.path(), &["127.0.0.1"], Ends::Late);
        let (listener, _) = listen().await;
        let ours = front(&files, listener.local_addr().unwrap());
        let elsewhere = tempfile::tempdir().unwrap();
        let files = Authority::new("stranger");
        let files = files.write_identity(elsewhere.path(), &["127.0.0.1"], Ends::Late);
        let (strangers, _) = listen().await;
        let stranger = front(&files, strangers.local_addr().unwrap());

        let urls = [stranger, ours].map(|address| format!("https://{address}"));
        let settings = LinkSettings {
            trust: Trust::Authorities(vec![ca]),
            ..settings(urls.to_vec(), &token)
        };
        let (_link, _events) = Link::start(settings, report(ReportedStatus::Ready));
        let (_manager, hello) = Manager::welcome(&listener).await;
        assert_eq!(hello.incarnation, Incarnation(5));
        let (mut heard, _) = strangers.accept().await.unwrap();
        let mut bytes = Vec::new();
        let _ = heard.read_to_end(&mut bytes).await;
        assert_eq!(bytes, [0; 0]);
    });
}
