use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use klusterkite_api::access::Me;
use klusterkite_api::cluster::Accepted;
use klusterkite_api::nodes::NodeRequest;
use klusterkite_api::operations::OperationId;
use klusterkite_client::api::{ApiClient, Session};
use klusterkite_client::{Kind, Retry};
use klusterkite_wire::Secret;
use serde_json::{Value, json};

use crate::server::{Reply, Request, Server};

/// Does not wait between tries.
const QUICK: Retry = Retry {
    tries: 3,
    pause: Duration::ZERO,
};

fn ok(body: &Value) -> Reply {
    Reply::new(200, body.to_string())
}

fn tokens(number: u32, seconds: u64) -> Reply {
    ok(
        &json!({ "access_token": format!("a{number}"), "token_type": "bearer", "expires_in": seconds,
        "refresh_token": format!("r{number}") }),
    )
}

fn me() -> Reply {
    ok(&json!({ "name": "admin", "kind": "user", "privileges": ["MigrateCluster"] }))
}

fn client(server: &Server) -> ApiClient {
    ApiClient::new(&format!("{}/", server.url()), QUICK).unwrap()
}

fn body(request: &Request) -> String {
    String::from_utf8(request.body.clone()).unwrap()
}

#[test]
fn a_login_sends_a_form_and_its_token_goes_along_with_every_call() {
    let server = Server::start(|_, request| match request.target.as_str() {
        "/oauth/token" => tokens(1, 3600),
        _ => me(),
    });
    let client = client(&server);
    let session = client.login("a dmin", &Secret::new("p&w=1")).unwrap();
    assert_eq!(session.user, "a dmin");
    let me: Me = client.operation(OperationId::MeGet).send().unwrap();
    assert_eq!(me.name, "admin");
    let requests = server.requests();
    assert_eq!(
        body(&requests[0]),
        "grant_type=password&username=a%20dmin&password=p%26w%3D1"
    );
    assert_eq!(requests[1].target, "/api/v1/me");
    assert_eq!(requests[1].header("authorization"), "Bearer a1");
    assert!(
        !format!("{session:?}").contains("a1"),
        "a session does not print its tokens"
    );
}

#[test]
fn a_wrong_password_is_what_401_is_everywhere_else() {
    let server = Server::start(|_, _| {
        Reply::new(
            400,
            r#"{"error": "invalid_grant", "error_description": "wrong login or password"}"#,
        )
    });
    let error = client(&server)
        .login("admin", &Secret::new("hunter2"))
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthenticated);
    assert_eq!(error.problem().unwrap().code, "invalid_grant");
    let text = format!("{error} {error:?}");
    assert!(
        text.contains("wrong login or password") && !text.contains("hunter2"),
        "{text}"
    );
    assert_eq!(server.requests().len(), 1, "a login is not repeated");
}

#[test]
fn a_token_that_ends_is_renewed_and_the_new_session_is_kept_before_it_is_used() {
    let issued = AtomicU32::new(0);
    let server = Server::start(move |_, request| match request.target.as_str() {
        "/oauth/token" => tokens(issued.fetch_add(1, Ordering::SeqCst) + 1, 3600),
        // The first token was revoked.
        _ if request.header("authorization") == "Bearer a1" => Reply::new(401, ""),
        _ => me(),
    });
    let kept = Arc::<Mutex<Vec<Session>>>::default();
    let keeper = {
        let kept = Arc::clone(&kept);
        move |session: &Session| {
            kept.lock().unwrap().push(session.clone());
            Ok(())
        }
    };
    let client = client(&server).with_keeper(Box::new(keeper));
    client.login("admin", &Secret::new("password")).unwrap();
    client.operation(OperationId::MeGet).send::<Me>().unwrap();
    let kept = kept.lock().unwrap();
    let tokens: Vec<_> = kept
        .iter()
        .map(|session| session.access_token.reveal())
        .collect();
    assert_eq!(tokens, ["a1", "a2"]);
    let requests = server.requests();
    assert_eq!(
        body(&requests[2]),
        "grant_type=refresh_token&refresh_token=r1"
    );
    assert_eq!(requests[3].header("authorization"), "Bearer a2");
}

#[test]
fn a_session_that_cannot_be_kept_is_not_used() {
    let server = Server::start(|_, _| tokens(1, 3600));
    let keeper = |_: &Session| Err(std::io::Error::other("disk full"));
    let client = client(&server).with_keeper(Box::new(keeper));
    client.login("admin", &Secret::new("password")).unwrap_err();
    assert_eq!(client.session(), None);
}

#[test]
fn paths_and_queries_carry_values_and_bodies_are_json() {
    let server = Server::start(|_, _| Reply::new(202, r#"{"message": "it will"}"#));
    let client = client(&server);
    let call = client
        .operation(OperationId::NodeDrain)
        .path("nodeId", "a/b");
    let accepted: Accepted = call.body(&NodeRequest { force: true }).send().unwrap();
    assert_eq!(accepted.message, "it will");
    let call = client
        .operation(OperationId::MemberList)
        .query("role", "a&b");
    call.query_optional("wait", None::<&str>)
        .send::<Value>()
        .unwrap();
    let requests = server.requests();
    assert_eq!(requests[0].target, "/api/v1/nodes/a%2Fb/drain");
    assert_eq!(body(&requests[0]), r#"{"force":true}"#);
    assert_eq!(requests[1].target, "/api/v1/members?role=a%26b");
}

#[test]
fn reading_is_repeated_when_the_manager_is_away_and_writing_is_not() {
    let server = Server::start(|_, _| Reply::new(503, ""));
    let client = client(&server);
    let error = client
        .operation(OperationId::MeGet)
        .send::<Me>()
        .unwrap_err();
    assert_eq!((error.kind(), server.requests().len()), (Kind::Away, 3));
    client
        .operation(OperationId::MigrationFinish)
        .send::<Value>()
        .unwrap_err();
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn an_answer_without_content_is_nothing() {
    let server = Server::start(|_, _| Reply::new(204, ""));
    let call = client(&server);
    call.operation(OperationId::ConfigurationDelete)
        .path("id", 2)
        .send::<()>()
        .unwrap();
    let request = server.requests().pop().unwrap();
    assert_eq!(
        (request.method.as_str(), request.target.as_str()),
        ("DELETE", "/api/v1/configurations/2")
    );
}

#[test]
fn events_go_on_after_a_break_without_a_gap() {
    let event = |id: i64| json!({ "id": id, "at": "t", "kind": "k", "actor": "a", "object": "o", "message": "m" });
    let server = Server::start(move |_, request| {
        let last: i64 = request.header("last-event-id").parse().unwrap_or(0);
        // Each connection breaks off after two events and a half.
        let (one, two) = (last + 1, last + 2);
        let text = format!(
            "id: {one}\ndata: {}\n\nid: {two}\ndata: {}\n\nid: {}\ndata: {{",
            event(one),
            event(two),
            two + 1
        );
        Reply::new(200, text).header("content-type", "text/event-stream")
    });
    let client = client(&server);
    let ids: Vec<i64> = client
        .events(Some(5))
        .take(4)
        .map(|event| event.unwrap().id)
        .collect();
    assert_eq!(ids, [6, 7, 8, 9]);
    let starts: Vec<String> = server
        .requests()
        .iter()
        .map(|request| request.header("last-event-id").to_owned())
        .collect();
    assert_eq!(starts, ["5", "7"]);
}

#[test]
fn a_stream_that_is_refused_ends_with_the_refusal() {
    let server = Server::start(|_, _| {
        Reply::new(
            403,
            r#"{"status": 403, "code": "forbidden", "detail": "needs `Event.Query`"}"#,
        )
    });
    let error = client(&server).events(None).next().unwrap().unwrap_err();
    assert_eq!(error.kind(), Kind::Forbidden);
}
