//! Bugs of the original that must not come back, by their numbers.

use std::collections::BTreeMap;

use klusterkite_api::operations::{Method, OPERATIONS};
use klusterkite_api::privileges::Privilege;
use klusterkite_core::configuration::ConfigurationState;
use klusterkite_core::plan::resources::Side;
use klusterkite_store::rows::{ConfigurationRow, MigrationRow};
use klusterkite_store::{Change, Seed, Store};
use klusterkite_wire::ConfigurationId;
use serde_json::{Value, json};

use crate::fleet::Container;
use crate::harness::{NODE, PASSWORD, Server, user};

#[test]
fn b2_the_mark_stable_takes_the_value_that_was_asked_for() {
    let server = Server::start();
    let path = "/api/v1/configurations/1/stable";
    for wanted in [true, false, true] {
        let answer = server
            .admin("POST", path, json!({"isStable": wanted}))
            .ok(200);
        assert_eq!(answer["isStable"], wanted);
        server
            .admin("POST", path, json!({"isStable": wanted}))
            .problem(409, "nothingChanges");
    }
    server
        .admin("POST", path, json!({}))
        .problem(400, "invalid");
}

/// Every call on every configuration that is not a Draft: content and labels stay as they are.
#[test]
fn b3_no_call_changes_a_configuration_that_is_not_a_draft() {
    use ConfigurationState::{Archived, Faulted, Obsolete, Ready};
    let server = Server::start();
    let mut rows = BTreeMap::from([(1, server.row(1).unwrap())]);
    for (id, state) in [(2, Ready), (3, Archived), (4, Obsolete), (5, Faulted)] {
        rows.insert(id, server.configuration(id, state));
    }
    let bodies = [
        Value::Null,
        json!({}),
        json!({"name": "x", "notes": "x", "majorVersion": 9, "minorVersion": 9, "settings": {}}),
        json!({"isStable": true}),
    ];
    for (id, before) in &rows {
        for operation in OPERATIONS
            .iter()
            .filter(|o| o.path.starts_with("/api/v1/configurations/{id}"))
        {
            for body in &bodies {
                let path = operation.path.replace("{id}", &id.to_string());
                let call = server
                    .request(operation.method.as_str(), &path)
                    .bearer(&server.token("admin"));
                let call = call.header("if-match", "*");
                let answer = if body.is_null() {
                    call.send()
                } else {
                    call.json(body).send()
                };
                assert_ne!(answer.status, 500, "{}", answer.text);

                let after = server.row(*id).unwrap();
                let kept = (
                    &after.settings,
                    &after.frozen,
                    &after.name,
                    &after.notes,
                    after.major_version,
                    after.minor_version,
                );
                let expected = (
                    &before.settings,
                    &before.frozen,
                    &before.name,
                    &before.notes,
                    before.major_version,
                    before.minor_version,
                );
                assert_eq!(
                    kept,
                    expected,
                    "{} {path} {body}",
                    operation.method.as_str()
                );
                let legal =
                    after.state == before.state || (before.state, after.state) == (Ready, Obsolete);
                assert!(
                    legal,
                    "{:?} became {:?} by {path}",
                    before.state, after.state
                );
            }
        }
    }
}

#[test]
fn b10_whoever_may_look_may_not_migrate() {
    let server = Server::start();
    let token = server.user("watcher", &[Privilege::GetResourceState], &[]);
    server
        .request("GET", "/api/v1/cluster/state")
        .bearer(&token)
        .send()
        .ok(200);
    for path in [
        "/api/v1/migrations",
        "/api/v1/migrations/current/cancel",
        "/api/v1/cluster/recheck",
    ] {
        let answer = server
            .request("POST", path)
            .bearer(&token)
            .json(&json!({}))
            .send();
        assert!(
            answer
                .problem(403, "forbidden")
                .contains("`MigrateCluster`"),
            "{path}"
        );
    }
}

#[test]
fn b21_the_target_of_the_running_migration_cannot_be_made_obsolete() {
    let server = Server::start();
    server.configuration(2, ConfigurationState::Ready);
    server.put(Change::MigrationPut(MigrationRow {
        id: 1,
        state: "ready".to_owned(),
        active: true,
        from: ConfigurationId(1),
        to: ConfigurationId(2),
        automatic: false,
        rollback_on_failure: false,
        goal: Side::Destination,
        started: 1,
        finished: None,
        reason: None,
    }));
    server
        .admin("POST", "/api/v1/configurations/2/obsolete", Value::Null)
        .problem(409, "targetOfMigration");
    let shown = server
        .admin("GET", "/api/v1/configurations/2", Value::Null)
        .ok(200);
    let operations = shown["operations"].as_array().unwrap();
    let code =
        |id: &str| operations.iter().find(|o| o["id"] == id).unwrap()["reason"]["code"].clone();
    assert_eq!(code("setObsolete"), "targetOfMigration");
    assert_eq!(code("migrate"), "migrationRuns");
}

#[test]
fn b27_errors_name_real_fields_and_show_no_trace() {
    let server = Server::start();
    let wrong = [
        server.admin("POST", "/api/v1/configurations", json!({"name": 1})),
        server.admin("GET", "/api/v1/configurations/0", Value::Null),
        server.admin(
            "POST",
            "/api/v1/migrations",
            json!({"toConfigurationId": 1}),
        ),
    ];
    for answer in wrong {
        assert!(answer.status >= 400, "{}", answer.text);
        let problem = answer.json();
        assert_ne!(problem["field"], "null");
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        for trace in ["panicked", ".rs:", "src/", "sqlx", "SELECT"] {
            assert!(!answer.text.contains(trace), "{}", answer.text);
        }
    }
}

#[test]
fn b42_check_ready_obsolete_and_stable_need_token_and_privilege() {
    let server = Server::start();
    let token = server.user(
        "reader",
        &[
            Privilege::ConfigurationQuery,
            Privilege::ConfigurationUpdate,
        ],
        &[],
    );
    for call in ["check", "ready", "obsolete", "stable"] {
        let path = format!("/api/v1/configurations/1/{call}");
        server
            .request("POST", &path)
            .json(&json!({"isStable": true}))
            .send()
            .problem(401, "unauthorized");
        let answer = server
            .request("POST", &path)
            .bearer(&token)
            .json(&json!({"isStable": true}))
            .send();
        answer.problem(403, "forbidden");
    }
    assert!(!server.row(1).unwrap().is_stable);
}

#[test]
fn b43_a_stranger_reads_neither_users_nor_roles() {
    let server = Server::start();
    for path in ["users", "roles", "clients", "privileges"] {
        let answer = server.request("GET", &format!("/api/v1/{path}")).send();
        answer.problem(401, "unauthorized");
        assert!(!answer.text.contains("admin"));
    }
}

#[test]
fn b45_an_unknown_login_and_a_wrong_password_get_the_same_refusal() {
    let server = Server::start();
    let login = |login: &str, password: &str| {
        let form = [
            ("grant_type", "password"),
            ("username", login),
            ("password", password),
        ];
        let answer = server.request("POST", "/oauth/token").form(&form).send();
        (answer.status, answer.text)
    };
    let wrong = login("admin", "wrong");
    assert_eq!(wrong.0, 400);
    // The password of another user is no password of this one.
    assert_eq!(login("nobody", PASSWORD), wrong);
    assert_eq!(login("", ""), wrong);
    assert_eq!(login("Admin", PASSWORD), wrong);
    assert_eq!(login("admin", PASSWORD).0, 200);
}

#[test]
fn b48_two_users_cannot_share_a_login() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start();
    let seed = Seed {
        configuration: server.row(1).unwrap(),
        users: vec![user("admin"), user("admin")],
        roles: Vec::new(),
        clients: Vec::new(),
    };
    let created = runtime.block_on(Store::create(&directory.path().join("x.db"), &seed));
    assert!(created.is_err());
}

#[test]
fn b49_reading_methods_change_nothing_and_what_is_missing_is_404() {
    let server = Server::start();
    for operation in OPERATIONS
        .iter()
        .filter(|operation| operation.method != Method::Get)
    {
        let readable = OPERATIONS
            .iter()
            .any(|o| o.path == operation.path && o.method == Method::Get);
        // `plan` looks like the id of a migration to a reader.
        if readable || operation.path.ends_with("/plan") {
            continue;
        }
        let path = operation
            .path
            .replace("{id}", "1")
            .replace("{nodeId}", NODE);
        let answer = server.admin("GET", &path, Value::Null);
        assert!(
            matches!(answer.status, 400 | 405),
            "GET {path}: {}",
            answer.text
        );
    }
    for path in ["configurations/9", "migrations/9", "migrations/current"] {
        server
            .admin("GET", &format!("/api/v1/{path}"), Value::Null)
            .problem(404, "notFound");
    }
}

#[test]
fn b50_the_list_of_privileges_is_published_under_a_privilege_that_exists() {
    let server = Server::start();
    let token = server.user("lister", &[Privilege::GetPrivilegesList], &[]);
    let list = server
        .request("GET", "/api/v1/privileges")
        .bearer(&token)
        .send()
        .ok(200);
    assert_eq!(list["total"], Privilege::ALL.len());
    assert!(
        list["items"]
            .as_array()
            .unwrap()
            .contains(&json!("GetPrivilegesList"))
    );
}

#[test]
fn b51_blocking_a_user_and_changing_a_role_work_on_tokens_that_exist() {
    let server = Server::start();
    let token = server.user("fired", &[Privilege::UserQuery], &[]);
    let status = |path: &str| server.request("GET", path).bearer(&token).send().status;
    assert_eq!(status("/api/v1/users"), 200);
    server
        .cluster
        .accounts()
        .write()
        .roles
        .get_mut("fired")
        .unwrap()
        .allowed
        .clear();
    assert_eq!((status("/api/v1/users"), status("/api/v1/me")), (403, 200));
    server
        .cluster
        .accounts()
        .write()
        .users
        .get_mut("fired")
        .unwrap()
        .is_blocked = true;
    assert_eq!(status("/api/v1/me"), 401);
}

#[test]
fn b39_without_an_active_configuration_the_manager_says_so_and_goes_on() {
    let server = Server::start();
    server.lead();
    let active = server.row(1).unwrap();
    server.put(Change::ConfigurationPut(ConfigurationRow {
        state: ConfigurationState::Archived,
        ..active.clone()
    }));
    let mut container = Container::new(&server, 1);
    for _ in 0..2 {
        container.ask().problem(503, "noActiveConfiguration");
    }
    for path in ["/cluster/state", "/templates", "/nodes", "/containers"] {
        let path = format!("/api/v1{path}");
        server.admin("GET", &path, Value::Null).done();
    }
    server.put(Change::ConfigurationPut(active));
    container.ask().done();
}
