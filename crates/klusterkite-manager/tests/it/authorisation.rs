//! Who may call what: every operation of the OpenAPI document.

use std::collections::BTreeSet;

use klusterkite_api::privileges::Privilege;
use klusterkite_store::rows::TokenKind;
use klusterkite_wire::Secret;
use serde_json::Value;

use crate::harness::{NODE, NODE_TOKEN, Server};

/// Operations that need no privilege, as protocols.md names them, and the document itself.
const OPEN: [&str; 4] = [
    "POST /oauth/token",
    "POST /oauth/revoke",
    "GET /healthz",
    "GET /readyz",
];
const ANY_TOKEN: [&str; 2] = ["GET /api/openapi.json", "GET /api/v1/me"];
const OF_NODES: [&str; 2] = ["GET /api/v1/members", "GET /api/v1/nodes/{nodeId}/link"];

struct Operation {
    method: String,
    name: String,
    path: String,
    privilege: Option<Privilege>,
}

/// Reads the operations from the document that the server gives out.
fn operations(server: &Server) -> Vec<Operation> {
    let document = server
        .admin("GET", "/api/openapi.json", Value::Null)
        .ok(200);
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, described) in methods.as_object().unwrap() {
            let method = method.to_ascii_uppercase();
            operations.push(Operation {
                name: format!("{method} {path}"),
                method,
                path: path
                    .replace("{nodeId}", NODE)
                    .replace("{packageId}", "Hello")
                    .replace("{id}", "1"),
                privilege: described["x-privilege"]
                    .as_str()
                    .map(|name| name.parse().unwrap()),
            });
        }
    }
    assert!(operations.len() > 50, "the document is not whole");
    operations
}

#[test]
fn every_operation_answers_401_without_a_valid_token() {
    let server = Server::start();
    let expired = server.token_until("admin", TokenKind::UserAccess, server.cluster.now().0);
    let refresh = server.token_until("admin", TokenKind::UserRefresh, u64::MAX >> 1);
    let of_blocked = server.token("blocked");
    let of_nobody = server.token("nobody");
    let mut open = BTreeSet::new();
    for Operation {
        name, method, path, ..
    } in operations(&server)
    {
        let call = || server.request(&method, &path);
        let bad = ["garbage", &expired, &refresh, &of_blocked, &of_nobody];
        let mut answers = vec![
            call().send(),
            call()
                .header("authorization", "Basic YWRtaW46YWRtaW4=")
                .send(),
            call().header("authorization", "Bearer").send(),
        ];
        answers.extend(bad.map(|token| call().bearer(token).send()));
        if answers.iter().all(|answer| answer.status != 401) {
            open.insert(name);
            continue;
        }
        for answer in answers {
            answer.problem(401, "unauthorized");
            assert!(
                answer.headers["www-authenticate"].starts_with("Bearer"),
                "{name}"
            );
        }
    }
    assert_eq!(open, OPEN.map(str::to_owned).into());
}

#[test]
fn every_operation_answers_403_naming_the_privilege_that_is_missing() {
    let server = Server::start();
    let mut without = BTreeSet::new();
    for Operation {
        name,
        method,
        path,
        privilege,
    } in operations(&server)
    {
        let Some(privilege) = privilege else {
            without.insert(name);
            continue;
        };
        let login = format!("without {privilege}");
        let token = server.user(&login, Privilege::ALL, &[privilege]);
        let answer = server.request(&method, &path).bearer(&token).send();
        let detail = answer.problem(403, "forbidden");
        assert!(
            detail.contains(&format!("`{privilege}`")),
            "{name}: {detail}"
        );
    }
    let mut expected: BTreeSet<_> = OPEN.map(str::to_owned).into();
    expected.extend(ANY_TOKEN.map(str::to_owned));
    expected.insert("GET /api/v1/nodes/{nodeId}/link".to_owned());
    assert_eq!(without, expected);
}

#[test]
fn an_admin_gets_past_the_guard_everywhere_but_where_launchers_and_nodes_go() {
    let server = Server::start();
    for Operation {
        name,
        method,
        path,
        privilege,
    } in operations(&server)
    {
        let answer = server
            .request(&method, &path)
            .bearer(&server.token("admin"))
            .send();
        if privilege == Some(Privilege::GetConfiguration) {
            answer.problem(403, "forbidden");
        } else if name.ends_with("/link") {
            answer.problem(403, "nodeTokenNeeded");
        } else {
            assert!(
                !matches!(answer.status, 401 | 403 | 405 | 500),
                "{name}: {}",
                answer.text
            );
        }
    }
}

#[test]
fn a_launcher_may_only_ask_what_to_start() {
    let server = Server::start();
    let token = server.client_token();
    let mut allowed = BTreeSet::new();
    for Operation {
        name, method, path, ..
    } in operations(&server)
    {
        if server.request(&method, &path).bearer(&token).send().status != 403 {
            allowed.insert(name);
        }
    }
    let mut expected: BTreeSet<_> = OPEN.map(str::to_owned).into();
    expected.extend(ANY_TOKEN.map(str::to_owned));
    expected.insert("POST /api/v1/nodes/configuration".to_owned());
    expected
        .extend(["token", "progress"].map(|call| format!("POST /api/v1/nodes/{{nodeId}}/{call}")));
    assert_eq!(allowed, expected);
}

#[test]
fn a_node_may_only_open_its_link_and_read_members() {
    let server = Server::start();
    let token = NODE_TOKEN;
    let mut allowed = BTreeSet::new();
    for Operation {
        name, method, path, ..
    } in operations(&server)
    {
        if server.request(&method, &path).bearer(token).send().status != 403 {
            allowed.insert(name);
        }
    }
    let mut expected: BTreeSet<_> = OPEN.map(str::to_owned).into();
    expected.extend(ANY_TOKEN.map(str::to_owned));
    expected.extend(OF_NODES.map(str::to_owned));
    assert_eq!(allowed, expected);

    let other = NODE.replace("1111", "2222");
    let link = server
        .request("GET", &format!("/api/v1/nodes/{other}/link"))
        .bearer(token)
        .send();
    link.problem(403, "nodeTokenNeeded");
}

#[test]
fn a_denial_in_one_role_wins_over_any_permission() {
    let server = Server::start();
    let denied = [Privilege::UserQuery];
    let token = server.user("denied", Privilege::ALL, &denied);
    let roles = ["Admin", "denied", "no such role"].map(str::to_owned);
    let accounts = server.cluster.accounts();
    accounts.write().users.get_mut("denied").unwrap().roles = roles.to_vec();
    server
        .request("GET", "/api/v1/users")
        .bearer(&token)
        .send()
        .problem(403, "forbidden");
    let me = server
        .request("GET", "/api/v1/me")
        .bearer(&token)
        .send()
        .ok(200);
    assert!(
        !me["privileges"]
            .as_array()
            .unwrap()
            .contains(&Value::from("User.Query"))
    );
    assert_eq!(
        (&me["kind"], &me["name"]),
        (&Value::from("user"), &Value::from("denied"))
    );
}

#[test]
fn force_needs_its_own_privilege() {
    let server = Server::start();
    let token = server.user("careful", Privilege::ALL, &[Privilege::UpgradeNodeForce]);
    for call in ["restart", "drain"] {
        let path = format!("/api/v1/nodes/{NODE}/{call}");
        let forced = serde_json::json!({"force": true});
        let answer = server
            .request("POST", &path)
            .bearer(&token)
            .json(&forced)
            .send();
        assert!(
            answer
                .problem(403, "forbidden")
                .contains("`UpgradeNode.Force`")
        );
        let asked = serde_json::json!({});
        let answer = server
            .request("POST", &path)
            .bearer(&token)
            .json(&asked)
            .send();
        assert_ne!(answer.status, 403, "{}", answer.text);
    }
}

#[test]
fn no_answer_and_no_list_shows_a_secret() {
    let server = Server::start();
    let hashes = {
        let state = server.block_on(server.cluster.read());
        let accounts = state.accounts.read();
        let users = accounts
            .users
            .values()
            .map(|user| user.password_hash.clone());
        users
            .chain(
                accounts
                    .clients
                    .values()
                    .map(|client| client.secret_hash.clone()),
            )
            .collect::<Vec<_>>()
    };
    for path in [
        "/api/v1/users",
        "/api/v1/clients",
        "/api/v1/roles",
        "/api/v1/me",
        "/api/v1/nodes",
    ] {
        let text = server.admin("GET", path, Value::Null).text;
        assert!(
            hashes.iter().all(|hash| !text.contains(hash)),
            "{path}: {text}"
        );
    }
    assert_eq!(format!("{:?}", Secret::new("x")), "Secret(…)");
}
