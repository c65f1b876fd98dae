//! What processes of nodes write, read through the manager.

use std::io::Read as _;
use std::thread::{self, JoinHandle};

use klusterkite_wire::link::{
    LogChunk, LogLine, LogRequest, LogStream, ManagerMessage, NodeMessage, ReportedStatus,
};
use serde_json::Value;

use crate::fleet::{Container, led};
use crate::harness::{Server, eventually};

/// Reads an answer to its end in another thread: status and lines, or the problem.
fn read(server: &Server, id: &str, query: &str) -> JoinHandle<(u16, Vec<Value>)> {
    let agent = server.agent().clone();
    let url = server.url(&format!("/api/v1/nodes/{id}/logs{query}"));
    let bearer = format!("Bearer {}", server.token("admin"));
    thread::spawn(move || {
        let response = agent
            .get(url)
            .header("authorization", bearer)
            .call()
            .unwrap();
        let status = response.status().as_u16();
        let mut text = String::new();
        let mut body = response.into_body().into_reader();
        body.read_to_string(&mut text).unwrap();
        let lines = text.lines().filter(|line| !line.is_empty());
        (
            status,
            lines
                .map(|line| serde_json::from_str(line).unwrap())
                .collect(),
        )
    })
}

fn next_request(container: &mut Container<'_>) -> LogRequest {
    loop {
        match container.hear() {
            Some(ManagerMessage::Logs(request)) => return request,
            Some(_) => {}
            None => panic!("the link ended"),
        }
    }
}

fn give(container: &mut Container<'_>, request: u64, lines: &[(u64, &str)]) {
    let cursor = lines.last().map_or(9, |(cursor, _)| *cursor);
    let lines = lines.iter().map(|(cursor, line)| LogLine {
        cursor: *cursor,
        at: 1_700_000_000_000,
        process: "hello".to_owned(),
        stream: LogStream::Stdout,
        line: (*line).to_owned(),
    });
    let lines = lines.collect();
    container.say(&NodeMessage::Logs(LogChunk {
        request,
        lines,
        cursor,
    }));
}

#[test]
fn lines_of_a_node_come_through_its_link_piece_by_piece() {
    let server = led(|_, _| {});
    let mut node = Container::new(&server, 1).started();
    let id = node.id.to_string();

    let last = read(&server, &id, "?lines=2&process=hello");
    let request = next_request(&mut node);
    assert_eq!((request.lines, request.after), (2, None));
    assert_eq!(request.process.as_deref(), Some("hello"));
    give(
        &mut node,
        request.request + 1000,
        &[(1, "an answer to nobody")],
    );
    give(&mut node, request.request, &[(7, "seven"), (8, "eight")]);
    let (status, lines) = last.join().unwrap();
    assert_eq!(status, 200);
    let texts: Vec<&str> = lines
        .iter()
        .map(|line| line["line"].as_str().unwrap())
        .collect();
    assert_eq!(texts, ["seven", "eight"]);
    assert_eq!(lines[1]["cursor"], "8");
    assert_eq!(lines[1]["process"], "hello");
    assert_eq!(lines[1]["at"], "2023-11-14T22:13:20.000Z");

    // After a cursor everything is asked for, until nothing comes.
    let rest = read(&server, &id, "?after=7");
    let request = next_request(&mut node);
    assert_eq!(request.after, Some(7));
    give(&mut node, request.request, &[(8, "eight")]);
    let request = next_request(&mut node);
    assert_eq!(request.after, Some(8));
    give(&mut node, request.request, &[]);
    assert_eq!(rest.join().unwrap().1.len(), 1);
}

#[test]
fn a_follower_waits_for_a_node_that_is_replaced() {
    let server = led(|_, _| {});
    let mut node = Container::new(&server, 1).started();
    let follower = read(&server, &node.id.to_string(), "?follow=true");
    let request = next_request(&mut node);
    give(&mut node, request.request, &[(7, "before")]);
    let request = next_request(&mut node);
    assert!(request.wait_seconds > 0);
    give(&mut node, request.request, &[]);
    let request = next_request(&mut node);
    give(&mut node, request.request, &[]);
    node.vanish();
    node.connect(ReportedStatus::Ready);
    let request = next_request(&mut node);
    assert_eq!(request.after, Some(9));
    give(&mut node, request.request, &[(10, "after")]);
    let request = next_request(&mut node);
    assert_eq!(request.after, Some(10));
    // Nobody waits for the follower: it would go on as long as the node is known.
    drop(follower);
}

#[test]
fn what_stands_against_reading_a_node_is_an_answer() {
    let server = led(|_, _| {});
    let mut node = Container::new(&server, 1).started();
    let id = node.id.to_string();
    let problem = |query: &str, id: &str| {
        let (status, lines) = read(&server, id, query).join().unwrap();
        (
            status,
            lines[0]["code"].as_str().unwrap_or_default().to_owned(),
        )
    };
    let nobody = "00000000-0000-4000-8000-00000000000f";
    assert_eq!(problem("", nobody).0, 404);
    assert_eq!(problem("?lines=0", &id), (400, "invalid".to_owned()));
    assert_eq!(problem("?after=x", &id).0, 400);

    // Four readers have places; the fifth is told to come back.
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let reader = read(&server, &id, "");
            (reader, next_request(&mut node).request)
        })
        .collect();
    assert_eq!(problem("", &id).0, 429);
    for (reader, request) in readers {
        give(&mut node, request, &[(1, "x")]);
        assert_eq!(reader.join().unwrap().0, 200);
    }

    node.vanish();
    eventually("it is noticed that the link has ended", || {
        problem("", &id) == (409, "nodeNotConnected".to_owned())
    });
}
