//! Bad input: every body, path and query.

use klusterkite_api::openapi::Body;
use klusterkite_api::operations::{Method, OPERATIONS, OperationId};
use serde_json::{Value, json};

use crate::harness::{NODE, Server};

/// Bodies of launchers: a newer one may send fields that this manager does not know.
const OF_LAUNCHERS: [OperationId; 3] = [
    OperationId::NodeConfiguration,
    OperationId::NodeTokenCreate,
    OperationId::NodeProgress,
];

fn path(template: &str) -> String {
    template
        .replace("{nodeId}", NODE)
        .replace("{packageId}", "Hello")
        .replace("{id}", "1")
}

#[test]
fn every_json_body_is_refused_with_the_field_to_blame() {
    let server = Server::start();
    let deep = "[".repeat(100_000);
    let large = format!("{{\"name\": \"{}\"}}", "x".repeat(9 << 20));
    let mut bodies = 0;
    for operation in OPERATIONS {
        let Body::Typed("application/json", _) = operation.request else {
            continue;
        };
        bodies += 1;
        let of_launcher = OF_LAUNCHERS.contains(&operation.id);
        let token = if of_launcher {
            server.client_token()
        } else {
            server.token("admin")
        };
        let send = |body: &str| {
            let call = server
                .request(operation.method.as_str(), &path(operation.path))
                .bearer(&token);
            call.header("if-match", "1")
                .text("application/json", body)
                .send()
        };
        let small = &deep[..60_000];
        for body in [
            "",
            "{",
            "nul",
            "[]",
            "\"x\"",
            "{}{}",
            "\u{0}",
            small,
            "{\"a\": 1e999}",
        ] {
            let answer = send(body);
            answer.problem(400, "invalid");
        }
        if of_launcher {
            assert!(!send("{\"noSuchField\": 1}").text.contains("noSuchField"));
        } else {
            let detail = send("{\"noSuchField\": 1}").text;
            assert!(
                detail.contains("noSuchField"),
                "{}: {detail}",
                operation.path
            );
        }
        send(&large).problem(413, "tooLarge");
    }
    assert!(bodies > 10, "only {bodies} operations have a body");
}

#[test]
fn a_wrong_value_deep_in_the_settings_is_named_by_its_path() {
    let server = Server::start();
    let cases = [
        (
            json!({"settings": {"nodeTemplates": [{"priority": "high"}]}}),
            "settings.nodeTemplates[0].priority",
        ),
        (
            json!({"settings": {"packages": [{"id": "A"}, {"version": 1}]}}),
            "settings.packages[1].version",
        ),
        (
            json!({"settings": {"nodeTemplate": []}}),
            "settings.nodeTemplate",
        ),
        (
            json!({"settings": {"nodeTemplates": [{"rollout": {"bach": "1"}}]}}),
            "settings.nodeTemplates[0].rollout.bach",
        ),
        (json!({"majorVersion": -1}), "majorVersion"),
        (json!({"minorVersion": 1_000_001}), "minorVersion"),
        (json!({"name": " "}), "name"),
        (json!({"name": "a\nb"}), "name"),
        (json!({"name": "x".repeat(201)}), "name"),
        (json!({"copyOf": 1, "settings": {}}), "copyOf"),
    ];
    for (body, field) in cases {
        let answer = server.admin("POST", "/api/v1/configurations", body.clone());
        answer.problem(400, "invalid");
        assert_eq!(answer.json()["field"], field, "{body}");
    }
}

#[test]
fn unknown_paths_methods_ids_and_parameters_are_problems() {
    let server = Server::start();
    let get = |path: &str| server.admin("GET", path, Value::Null);
    for path in [
        "/",
        "/api",
        "/api/v1",
        "/api/v1/configurations/",
        "/api/v2/me",
        "/api/v1/../v1/me",
        "/%00",
    ] {
        get(path).problem(404, "notFound");
    }
    for path in ["x", "1.5", "99999999999999999999", "%FF", "1%2F2", "%00"] {
        let answer = get(&format!("/api/v1/configurations/{path}"));
        answer.problem(400, "invalid");
    }
    for path in [
        "configurations/77",
        "migrations/77",
        "packages/No.Such",
        &format!("nodes/{}", NODE.replace('1', "2")),
    ] {
        get(&format!("/api/v1/{path}")).problem(404, "notFound");
    }
    get("/api/v1/nodes/not-a-uuid").problem(400, "invalid");
    let queries = [
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=1&limit=2",
        "cursor=x",
        "state=Active",
        "stat=draft",
    ];
    for query in queries {
        let answer = get(&format!("/api/v1/configurations?{query}"));
        answer.problem(400, "invalid");
        let field = query.split('=').next().unwrap();
        assert_eq!(answer.json()["field"], field);
    }
    for query in ["wait=61s", "wait=-1", "wait=x", "index=x"] {
        get(&format!("/api/v1/members?{query}")).problem(400, "invalid");
    }
    for query in ["cursor=x", "cursor=a/b", "status=sleepy", "template=a%2Fb"] {
        get(&format!("/api/v1/nodes?{query}")).problem(400, "invalid");
    }
}

#[test]
fn a_wrong_method_is_405_with_the_right_ones() {
    let server = Server::start();
    for operation in OPERATIONS {
        let answer = server.request("PUT", &path(operation.path)).send();
        answer.problem(405, "methodNotAllowed");
        let method = operation.method.as_str();
        assert!(
            answer.headers["allow"].contains(method),
            "{}: {:?}",
            operation.path,
            answer.headers
        );
    }
}

#[test]
fn a_head_that_is_too_large_ends_the_connection_and_not_the_manager() {
    let server = Server::start();
    let call = server
        .request("GET", "/healthz")
        .header("x-large", &"x".repeat(30 << 10))
        .send();
    assert_eq!(call.status, 200);
    let much = server
        .request("GET", "/healthz")
        .header("x-large", &"x".repeat(60 << 10))
        .send();
    assert_eq!(much.status, 431);
    assert_eq!(server.request("GET", "/healthz").send().status, 200);
}

#[test]
fn success_has_the_status_of_the_table() {
    let server = Server::start();
    let made = server.admin("POST", "/api/v1/configurations", json!({}));
    made.ok(201);
    let id = made.json()["id"].clone();
    let deleted = server.admin(
        "DELETE",
        &format!("/api/v1/configurations/{id}"),
        Value::Null,
    );
    assert_eq!((deleted.status, deleted.text.as_str()), (204, ""));
    assert!(
        OPERATIONS
            .iter()
            .any(|operation| operation.method == Method::Delete)
    );
}

#[test]
fn health_and_metrics_answer() {
    let server = Server::start();
    for path in ["/healthz", "/readyz"] {
        let answer = server.request("GET", path).send();
        assert_eq!((answer.status, answer.text.as_str()), (200, "ok\n"));
    }
    let metrics = server.admin("GET", "/metrics", Value::Null);
    assert_eq!(metrics.status, 200);
    assert!(
        metrics
            .text
            .contains("klusterkite_active_configuration 1\n"),
        "{}",
        metrics.text
    );
    assert!(
        metrics
            .text
            .contains("klusterkite_template_minimum{template=\"hello\"} 0\n"),
        "{}",
        metrics.text
    );
}
