//! Events: paged history, streams that resume, streams that end.

use std::io::{BufRead as _, BufReader, Read};

use futures_util::StreamExt as _;
use klusterkite_api::privileges::Privilege;
use klusterkite_manager::events::EventReader;
use klusterkite_wire::Secret;
use serde_json::{Value, json};

use crate::harness::{Answer, Server};

fn stream(server: &Server, token: &str, last: Option<i64>) -> Lines {
    let mut request = server
        .agent()
        .get(server.url("/api/v1/events"))
        .header("accept", "text/event-stream")
        .header("authorization", format!("Bearer {token}"));
    if let Some(last) = last {
        request = request.header("last-event-id", last.to_string());
    }
    let response = request.call().unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    Lines(BufReader::new(Box::new(response.into_body().into_reader())))
}

/// The events of a stream.
struct Lines(BufReader<Box<dyn Read>>);

impl Iterator for Lines {
    type Item = (i64, Value);

    fn next(&mut self) -> Option<Self::Item> {
        let (mut id, mut data) = (None, None);
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).ok()? == 0 {
                return None;
            }
            match line.trim_end().split_once(':') {
                Some(("id", text)) => id = Some(text.trim().parse().unwrap()),
                Some(("data", text)) => data = Some(serde_json::from_str(text).unwrap()),
                _ if line.trim_end().is_empty() && data.is_some() => return Some((id?, data?)),
                _ => {}
            }
        }
    }
}

fn make(server: &Server) -> Answer {
    server.admin("POST", "/api/v1/configurations", json!({}))
}

#[test]
fn every_change_says_who_did_what_to_what() {
    let server = Server::start();
    let id = make(&server).ok(201)["id"].clone();
    let path = format!("/api/v1/configurations/{id}");
    let patch = server
        .request("PATCH", &path)
        .bearer(&server.token("admin"))
        .header("if-match", "1");
    patch.json(&json!({"notes": "n"})).send().ok(200);
    server.admin("DELETE", &path, Value::Null).ok(204);
    server
        .admin(
            "POST",
            "/api/v1/configurations/1/stable",
            json!({"isStable": true}),
        )
        .ok(200);

    let page = server
        .admin("GET", "/api/v1/events?from=1", Value::Null)
        .ok(200);
    let events = page["items"].as_array().unwrap();
    let kinds: Vec<_> = events
        .iter()
        .map(|event| event["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "configurationCreated",
            "configurationUpdated",
            "configurationDeleted",
            "configurationStable"
        ]
    );
    for event in events {
        assert_eq!(event["actor"], "user:admin");
        assert!(
            event["object"]
                .as_str()
                .unwrap()
                .starts_with("configuration:")
        );
    }
    assert_eq!(page["total"], events.len());
}

#[test]
fn the_history_is_paged_from_any_event() {
    let server = Server::start();
    for _ in 0..7 {
        make(&server).ok(201);
    }
    let mut ids = Vec::new();
    let mut from = "1".to_owned();
    loop {
        let page = server
            .admin(
                "GET",
                &format!("/api/v1/events?from={from}&limit=3"),
                Value::Null,
            )
            .ok(200);
        ids.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|event| event["id"].as_i64().unwrap()),
        );
        match page["nextCursor"].as_str() {
            Some(cursor) => cursor.clone_into(&mut from),
            None => break,
        }
    }
    assert_eq!(ids, (1..=7).collect::<Vec<_>>());
    let newest = server
        .admin("GET", "/api/v1/events?limit=2", Value::Null)
        .ok(200);
    assert_eq!(newest["items"][0]["id"], 6);
}

#[test]
fn a_stream_resumes_after_the_last_event_and_goes_on_live() {
    let server = Server::start();
    for _ in 0..5 {
        make(&server).ok(201);
    }
    let mut resumed = stream(&server, &server.token("admin"), Some(2));
    let ids: Vec<_> = resumed.by_ref().take(3).map(|(id, _)| id).collect();
    assert_eq!(ids, [3, 4, 5]);
    let mut live = stream(&server, &server.token("admin"), None);
    make(&server).ok(201);
    for stream in [&mut resumed, &mut live] {
        let (id, event) = stream.next().unwrap();
        assert_eq!(
            (id, &event["id"], &event["kind"]),
            (6, &json!(6), &json!("configurationCreated"))
        );
    }
}

#[test]
fn a_slow_reader_gets_what_it_missed_from_the_store() {
    let server = Server::start();
    let token = server.token("admin");
    server.block_on(async {
        let bearer = server.cluster.bearer(&Secret::new(token)).unwrap();
        let reader = EventReader::new(&server.cluster, bearer, None).await;
        // More than the channel of live events holds.
        for n in 1..=1500 {
            let event = server.cluster.transact(|draft| {
                draft.event("test", "test", "test", n.to_string());
                Ok(())
            });
            event.await.unwrap();
        }
        let ids: Vec<_> = reader
            .into_stream()
            .take(1500)
            .map(|event| event.id)
            .collect()
            .await;
        assert_eq!(ids, (1..=1500).collect::<Vec<_>>());
    });
}

#[test]
fn b51_a_stream_ends_when_its_reader_is_blocked() {
    let server = Server::start();
    let token = server.user("reader", &[Privilege::EventQuery], &[]);
    let mut events = stream(&server, &token, Some(0));
    server
        .cluster
        .accounts()
        .write()
        .users
        .get_mut("reader")
        .unwrap()
        .is_blocked = true;
    make(&server).ok(201);
    assert_eq!(events.next(), None);
}

#[test]
fn a_wrong_last_event_id_is_refused_and_one_of_the_future_is_the_newest() {
    let server = Server::start();
    let call = server
        .request("GET", "/api/v1/events")
        .bearer(&server.token("admin"));
    let answer = call
        .header("accept", "text/event-stream")
        .header("last-event-id", "x")
        .send();
    answer.problem(400, "invalid");
    let mut events = stream(&server, &server.token("admin"), Some(99));
    make(&server).ok(201);
    assert_eq!(events.next().unwrap().0, 1);
}

#[test]
fn members_are_answered_at_once_or_after_the_wait() {
    let server = Server::start();
    let members = server.admin("GET", "/api/v1/members", Value::Null).ok(200);
    assert_eq!(members, json!({"version": 0, "members": []}));
    let waited = server
        .admin(
            "GET",
            "/api/v1/members?index=0&wait=1s&role=orders",
            Value::Null,
        )
        .ok(200);
    assert_eq!(waited["version"], 0);
}
