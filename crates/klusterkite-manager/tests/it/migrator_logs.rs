//! What migrators say: while they say it, after a restart, only to whom may read it.

use std::io::{BufRead as _, BufReader, Read};

use klusterkite_api::privileges::Privilege;
use klusterkite_wire::ConfigurationId;
use serde_json::{Value, json};

use crate::executor::with_two_versions;
use crate::fleet::{migrate, migration_eventually};
use crate::harness::Server;

const PATH: &str = "/api/v1/migrations/1/logs";

fn open(server: &Server, query: &str) -> BufReader<Box<dyn Read>> {
    let request = server.agent().get(server.url(&format!("{PATH}{query}")));
    let token = server.token("admin");
    let request = request.header("authorization", format!("Bearer {token}"));
    let response = request.call().unwrap();
    assert_eq!(response.status(), 200);
    let media_type = &response.headers()["content-type"];
    assert_eq!(media_type, "application/x-ndjson");
    BufReader::new(Box::new(response.into_body().into_reader()))
}

/// Returns the next line; `None` at the end.
fn next(lines: &mut BufReader<Box<dyn Read>>) -> Option<Value> {
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line).unwrap() == 0 {
            return None;
        }
        if !line.trim().is_empty() {
            return Some(serde_json::from_str(&line).unwrap());
        }
    }
}

fn texts(lines: &[Value]) -> Vec<(&str, &str)> {
    lines
        .iter()
        .map(|line| {
            (
                line["stream"].as_str().unwrap(),
                line["line"].as_str().unwrap(),
            )
        })
        .collect()
}

#[test]
fn lines_come_while_the_migrator_runs_and_stay_after_a_restart_of_the_manager() {
    let (server, resources) = with_two_versions(|_| {});
    resources.mode("talk");
    migrate(&server, ConfigurationId(2), &Value::Null);
    let expected = [
        ("log", "warn: slow: postgres://app:***@db/main"),
        ("stderr", "from stderr"),
        ("progress", "1 of 3"),
    ];

    // It runs until the mode changes, so these lines come before its end.
    let mut live = open(
        &server,
        "?follow=true&template=resources&migrator=Db&resource=main",
    );
    let said: Vec<Value> = (0..3).map(|_| next(&mut live).unwrap()).collect();
    assert_eq!(texts(&said), expected);
    assert_eq!(said[0]["resourceCode"], "main");
    assert_eq!(said[0]["migratorTypeName"], "Db");

    resources.mode("ok");
    migration_eventually(&server, "paused");
    drop(live);

    let server = server.restart();
    let mut kept = open(&server, "");
    let kept: Vec<Value> = std::iter::from_fn(|| next(&mut kept)).collect();
    assert_eq!(texts(&kept), expected);
    let after = kept[1]["cursor"].as_str().unwrap();
    let mut rest = open(&server, &format!("?after={after}"));
    let rest: Vec<Value> = std::iter::from_fn(|| next(&mut rest)).collect();
    assert_eq!(texts(&rest), expected[2..]);
    let mut other = open(&server, "?migrator=Site");
    assert_eq!(next(&mut other), None);
}

#[test]
fn a_followed_answer_ends_with_the_migration() {
    let (server, _resources) = with_two_versions(|_| {});
    migrate(&server, ConfigurationId(2), &json!({"mode": "manual"}));
    let mut live = open(&server, "?follow=true");
    crate::fleet::operation_eventually(&server, "cancel");
    let cancel = "/api/v1/migrations/current/cancel";
    server.admin("POST", cancel, Value::Null).done();
    assert_eq!(next(&mut live), None);
}

#[test]
fn lines_are_for_those_who_may_read_migrations() {
    let (server, _resources) = with_two_versions(|_| {});
    let unknown = server.admin("GET", "/api/v1/migrations/9/logs", Value::Null);
    unknown.problem(404, "notFound");
    let token = server.user("events", &[Privilege::EventQuery], &[]);
    for path in [PATH, "/api/v1/cluster/resources/logs"] {
        let answer = server.request("GET", path).bearer(&token).send();
        answer.problem(403, "forbidden");
    }
    let mine = server.admin("GET", "/api/v1/cluster/resources/logs?after=x", Value::Null);
    mine.problem(400, "invalid");
    let mine = server.admin("GET", "/api/v1/cluster/resources/logs", Value::Null);
    assert_eq!((mine.status, mine.text.as_str()), (200, ""));
}
