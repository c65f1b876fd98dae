//! Migrations with resources, step by step and by themselves, with an executor that misbehaves.

use std::time::Duration;

use klusterkite_wire::ConfigurationId;
use serde_json::{Value, json};

use crate::executor::{Resources, with_two_versions};
use crate::fleet::{
    Container, cluster_state, events, migrate, migration_eventually, newest_migration,
    operation_eventually, refusal,
};
use crate::harness::{Answer, Server, eventually};

const TO: ConfigurationId = ConfigurationId(2);

fn post(server: &Server, path: &str, body: Value) -> Answer {
    server.admin("POST", &format!("/api/v1/migrations/current/{path}"), body)
}

fn resource(migrator: &str, target: &str) -> Value {
    json!({"templateCode": "resources", "migratorTypeName": migrator, "resourceCode": "main", "target": target})
}

/// Returns the step and the operations that are allowed, sorted.
fn step(server: &Server) -> (String, Vec<String>) {
    let state = cluster_state(server);
    let operations = state["operations"].as_array().unwrap().iter();
    let allowed = operations.filter(|operation| operation["allowed"] == true);
    let mut allowed: Vec<_> = allowed
        .map(|operation| operation["id"].as_str().unwrap().to_owned())
        .collect();
    allowed.sort();
    let step = state["currentStep"].as_str().unwrap_or_default().to_owned();
    (step, allowed)
}

#[track_caller]
fn step_eventually(server: &Server, wanted: &str, allowed: &[&str]) {
    let mut last = (String::new(), Vec::new());
    let deadline = std::time::Instant::now() + crate::harness::DEADLINE;
    while last.0 != wanted || last.1 != allowed {
        assert!(
            std::time::Instant::now() < deadline,
            "{wanted} {allowed:?}: {last:?}"
        );
        std::thread::sleep(Duration::from_millis(5));
        last = step(server);
    }
}

#[test]
fn a_manual_migration_goes_step_by_step_and_every_other_step_is_refused_with_a_reason() {
    let (server, resources) = with_two_versions(|_| {});
    let mut node = Container::new(&server, 1).started();
    migrate(&server, TO, &json!({"mode": "manual"}));

    step_eventually(
        &server,
        "start",
        &["cancel", "migrateResources", "pause", "recheck"],
    );
    post(&server, "finish", Value::Null).problem(409, "wrongStep");
    post(&server, "nodes", json!({"target": "destination"})).problem(409, "wrongStep");
    post(&server, "nodes", json!({"target": "source"})).problem(409, "nothingChanges");
    let body = json!({"resources": [resource("Site", "destination")]});
    post(&server, "resources", body).problem(409, "resourceNotMigratable");
    let again = json!({"toConfigurationId": 2});
    let again = server.admin("POST", "/api/v1/migrations", again);
    again.problem(409, "migrationRuns");

    let body = json!({"resources": [resource("Db", "destination")]});
    post(&server, "resources", body).done();
    step_eventually(
        &server,
        "preNodeResourcesUpdated",
        &[
            "migrateResources",
            "pause",
            "recheck",
            "updateNodesToDestination",
        ],
    );
    assert_eq!(resources.points(), ["p2", "p1"]);
    post(&server, "cancel", Value::Null).problem(409, "wrongStep");

    post(&server, "nodes", json!({"target": "destination"})).done();
    step_eventually(
        &server,
        "nodesUpdating",
        &["pause", "recheck", "updateNodesToSource"],
    );
    let body = json!({"resources": [resource("Site", "destination")]});
    post(&server, "resources", body).problem(409, "nodesObsolete");
    post(&server, "finish", Value::Null).problem(409, "nodesObsolete");
    let stop = node.told_to_stop();
    node.replaced(&stop);

    step_eventually(
        &server,
        "nodesUpdated",
        &[
            "migrateResources",
            "pause",
            "recheck",
            "updateNodesToSource",
        ],
    );
    post(&server, "finish", Value::Null).problem(409, "wrongStep");
    let body = json!({"resources": [resource("Site", "destination")]});
    post(&server, "resources", body).done();
    step_eventually(
        &server,
        "finish",
        &["finish", "migrateResources", "pause", "recheck"],
    );
    post(&server, "nodes", json!({"target": "source"})).problem(409, "wrongStep");
    let finished = post(&server, "finish", Value::Null).done();
    assert_eq!(finished["state"], "completed");
    assert_eq!(resources.lines("moves"), ["Db p2", "Site p2"]);
    post(&server, "finish", Value::Null).problem(409, "noMigration");
}

#[test]
fn a_manual_migration_goes_back_the_same_way_and_is_cancelled() {
    let (server, resources) = with_two_versions(|_| {});
    migrate(&server, TO, &json!({"mode": "manual"}));
    operation_eventually(&server, "migrateResources");
    for target in ["destination", "source"] {
        let body = json!({"resources": [resource("Db", target)]});
        post(&server, "resources", body).done();
        operation_eventually(&server, "migrateResources");
    }
    assert_eq!(resources.lines("moves"), ["Db p2", "Db p1"]);
    operation_eventually(&server, "cancel");
    post(&server, "cancel", Value::Null).done();
    let states = [1, 2].map(|id| server.row(id).unwrap().state.to_string());
    assert_eq!(states, ["Active", "Ready"]);
}

#[test]
fn an_automatic_migration_moves_resources_and_nodes_in_order() {
    let (server, resources) = with_two_versions(|_| {});
    let mut node = Container::new(&server, 1).started();
    migrate(&server, TO, &Value::Null);
    let stop = node.told_to_stop();
    assert_eq!(resources.lines("moves"), ["Db p2"], "Site waits for nodes");
    node.replaced(&stop);
    migration_eventually(&server, "completed");
    assert_eq!(resources.lines("moves"), ["Db p2", "Site p2"]);
    let log = server.admin("GET", "/api/v1/migrations/1/log", Value::Null);
    let log = log.done();
    let lines = log["items"].as_array().unwrap().iter();
    let kinds: Vec<_> = lines.map(|line| line["kind"].as_str().unwrap()).collect();
    let expected = [
        "started",
        "analysed",
        "resourceStarted",
        "resourceMoved",
        "nodesStarted",
        "resourceStarted",
        "resourceMoved",
        "finished",
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn a_migrator_that_fails_pauses_and_resume_tries_again() {
    let (server, resources) = with_two_versions(|_| {});
    operation_eventually(&server, "createMigration");
    resources.mode("fail");
    migrate(&server, TO, &Value::Null);
    let paused = migration_eventually(&server, "paused");
    let sentence = paused["reason"]["message"].as_str().unwrap();
    assert!(sentence.contains("the disk is full"), "{sentence}");
    resources.mode("ok");
    post(&server, "resume", Value::Null).done();
    migration_eventually(&server, "completed");
}

#[test]
fn a_migrator_that_fails_after_the_nodes_sends_everything_back_when_that_was_asked() {
    let (server, resources) = with_two_versions(|_| {});
    let mut node = Container::new(&server, 1).started();
    migrate(&server, TO, &json!({"onFailure": "rollback"}));
    let stop = node.told_to_stop();
    resources.mode("fail");
    node.replaced(&stop);
    let stop = node.told_to_stop();
    assert_eq!(stop.next.as_ref().unwrap().configuration_id.0, 1);
    resources.mode("ok");
    node.replaced(&stop);
    migration_eventually(&server, "rolledBack");
    assert_eq!(resources.lines("moves"), ["Db p2", "Db p1"]);
    assert_eq!(resources.points(), ["p1", "p1"]);
}

#[test]
fn an_executor_that_dies_three_times_pauses_the_migration() {
    let (server, resources) = with_two_versions(|_| {});
    operation_eventually(&server, "createMigration");
    resources.mode("die");
    migrate(&server, TO, &Value::Null);
    migration_eventually(&server, "paused");
    assert_eq!(resources.lines("deaths").len(), 3);
    resources.mode("ok");
    post(&server, "resume", Value::Null).done();
    migration_eventually(&server, "completed");
}

#[test]
fn an_executor_that_hangs_is_ended_and_leaves_nothing_busy() {
    let (server, resources) =
        with_two_versions(|config| config.move_timeout = Duration::from_millis(300));
    operation_eventually(&server, "createMigration");
    resources.mode("hang");
    migrate(&server, TO, &json!({"mode": "manual"}));
    operation_eventually(&server, "migrateResources");
    let body = json!({"resources": [resource("Db", "destination")]});
    post(&server, "resources", body).done();
    assert_eq!(refusal(&server, "cancel")["code"], "busy");
    operation_eventually(&server, "cancel");
    assert_eq!(resources.points(), ["p1", "p1"]);
}

#[test]
fn reading_that_hangs_is_ended_and_tried_again() {
    let (server, resources) =
        with_two_versions(|config| config.read_timeout = Duration::from_millis(500));
    operation_eventually(&server, "createMigration");
    resources.mode("hang-reading");
    server
        .admin("POST", "/api/v1/cluster/recheck", Value::Null)
        .done();
    eventually("the reason is shown", || {
        refusal(&server, "createMigration")["code"] == "analysisFailed"
    });
    resources.mode("ok");
    server
        .admin("POST", "/api/v1/cluster/recheck", Value::Null)
        .done();
    operation_eventually(&server, "createMigration");
}

/// B24.
#[test]
fn a_plan_whose_asker_goes_away_leaves_nothing_busy() {
    let (server, resources) = with_two_versions(|_| {});
    operation_eventually(&server, "createMigration");
    resources.mode("wait");
    server.block_on(async {
        let request = klusterkite_api::migrations::PlanRequest {
            to_configuration_id: TO,
        };
        let plan = server.cluster.migration_plan(request);
        let given_up = tokio::time::timeout(Duration::from_millis(50), plan).await;
        assert!(given_up.is_err());
    });
    assert_eq!(refusal(&server, "createMigration")["code"], "busy");
    resources.mode("ok");
    operation_eventually(&server, "createMigration");
}

#[test]
fn a_manager_that_ends_in_the_middle_of_a_migration_goes_on_with_it() {
    let (server, resources) = with_two_versions(|_| {});
    operation_eventually(&server, "createMigration");
    resources.mode("fail");
    migrate(&server, TO, &Value::Null);
    migration_eventually(&server, "paused");
    let server = server.restart();
    server.lead();
    let resources = Resources::of(&server);
    resources.mode("ok");
    assert_eq!(newest_migration(&server)["state"], "paused");
    operation_eventually(&server, "resume");
    post(&server, "resume", Value::Null).done();
    migration_eventually(&server, "completed");
    assert_eq!(resources.points(), ["p2", "p2"]);
}

#[test]
fn a_failed_move_keeps_the_rest_of_a_request_from_starting() {
    let (server, resources) = with_two_versions(|_| {});
    migrate(&server, TO, &Value::Null);
    migration_eventually(&server, "completed");
    // Both lag now: a repair of two resources.
    for migrator in ["Db", "Site"] {
        resources.put(migrator, "p1");
    }
    server
        .admin("POST", "/api/v1/cluster/recheck", Value::Null)
        .done();
    resources.mode("fail");
    let body = json!({"resources": [resource("Site", "source"), resource("Db", "source")]});
    eventually("both have been read and are asked for", || {
        let path = "/api/v1/cluster/resources";
        server.admin("POST", path, body.clone()).status != 409
    });
    operation_eventually(&server, "migrateResources");
    assert_eq!(resources.points(), ["p1", "p1"]);
    assert_eq!(events(&server, "resourceFailed").len(), 1);
}
