//! Several operators at once: exactly one wins.

use serde_json::{Value, json};

use crate::executor::with_two_versions;
use crate::fleet::{migrate, newest_migration, operation_eventually};
use crate::harness::{Answer, Server};

/// Sends the same request from several threads at once; returns the statuses, sorted.
fn at_once(server: &Server, path: &str, body: &Value) -> Vec<u16> {
    let barrier = std::sync::Barrier::new(4);
    let send = || -> Answer {
        let call = server.request("POST", path).bearer(&server.token("admin"));
        let call = if body.is_null() {
            call
        } else {
            call.json(body)
        };
        barrier.wait();
        call.send()
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(send)).collect();
        let answers = threads.into_iter().map(|thread| thread.join().unwrap());
        let mut statuses: Vec<_> = answers
            .map(|answer| {
                if answer.status / 100 == 2 {
                    200
                } else {
                    answer.status
                }
            })
            .collect();
        statuses.sort_unstable();
        statuses
    })
}

const ONE_WINS: [u16; 4] = [200, 409, 409, 409];

#[test]
fn of_several_operators_one_starts_the_migration_one_moves_and_one_ends_it() {
    let (server, resources) = with_two_versions(|_| {});
    operation_eventually(&server, "createMigration");
    let body = json!({"toConfigurationId": 2, "mode": "manual"});
    assert_eq!(at_once(&server, "/api/v1/migrations", &body), ONE_WINS);
    operation_eventually(&server, "migrateResources");

    let moved = json!({"resources": [{"templateCode": "resources", "migratorTypeName": "Db", "resourceCode": "main", "target": "destination"}]});
    let path = "/api/v1/migrations/current";
    resources.mode("wait");
    let statuses = at_once(&server, &format!("{path}/resources"), &moved);
    assert_eq!(statuses, ONE_WINS);
    resources.mode("ok");
    operation_eventually(&server, "updateNodesToDestination");
    let nodes = json!({"target": "destination"});
    let statuses = at_once(&server, &format!("{path}/nodes"), &nodes);
    assert_eq!(statuses, ONE_WINS);
    operation_eventually(&server, "updateNodesToSource");
    let statuses = at_once(&server, &format!("{path}/pause"), &Value::Null);
    assert_eq!(statuses, ONE_WINS);
    assert_eq!(resources.lines("moves"), ["Db p2"]);
}

#[test]
fn a_migration_is_cancelled_once() {
    let (server, _resources) = with_two_versions(|_| {});
    migrate(
        &server,
        klusterkite_wire::ConfigurationId(2),
        &json!({"mode": "manual"}),
    );
    operation_eventually(&server, "cancel");
    let statuses = at_once(&server, "/api/v1/migrations/current/cancel", &Value::Null);
    assert_eq!(statuses, ONE_WINS);
    assert_ne!(newest_migration(&server)["finished"], Value::Null);
}
