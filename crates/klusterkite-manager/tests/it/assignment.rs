//! What containers become, and when they have to wait.

use klusterkite_core::settings::NodeTemplateSettings;
use serde_json::{Value, json};

use crate::fleet::{Container, led, prepare};
use crate::harness::{Server, eventually};

fn templates(server: &Server) -> Value {
    server.admin("GET", "/api/v1/templates", Value::Null).done()["items"].clone()
}

#[test]
fn minimums_are_filled_by_priority_then_maximums_then_a_container_waits() {
    let server = Server::start_with(|seed, config| {
        prepare(seed, config, |hello, _| {
            (hello.minimum_required_instances, hello.priority) = (1, 5.0);
            hello.maximum_needed_instances = Some(2);
        });
        let settings = &mut seed.configuration.settings;
        let hello = settings.node_templates[1].clone();
        settings.node_templates.push(NodeTemplateSettings {
            code: "urgent".to_owned(),
            priority: 9.0,
            minimum_required_instances: 2,
            maximum_needed_instances: Some(2),
            ..hello
        });
        let frozen = seed.configuration.frozen.as_mut().unwrap();
        let packages = frozen.node_templates[&"hello".parse().unwrap()].clone();
        frozen
            .node_templates
            .insert("urgent".parse().unwrap(), packages);
    });
    server.lead();
    let mut got = Vec::new();
    for number in 1..=4 {
        let mut container = Container::new(&server, number);
        container.ask().done();
        got.push(container.start.unwrap().node_template.to_string());
    }
    assert_eq!(got, ["urgent", "urgent", "hello", "hello"]);

    let mut fifth = Container::new(&server, 5);
    let answer = fifth.ask();
    answer.problem(503, "clusterFull");
    assert!(answer.headers["retry-after"].parse::<u32>().unwrap() > 0);
}

#[test]
fn a_container_that_asks_twice_counts_once() {
    let server = led(|hello, _| hello.maximum_needed_instances = Some(1));
    let mut container = Container::new(&server, 1);
    container.ask().done();
    container.ask_again().done();
    container.ask().done();
    let hello = templates(&server);
    let hello = hello
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["code"] == "hello");
    assert_eq!(hello.unwrap()["starting"], 1);
    Container::new(&server, 2).ask().problem(503, "clusterFull");
}

#[test]
fn an_assignment_expires_unless_progress_is_reported() {
    let join = std::time::Duration::from_millis(600);
    let server = led(|hello, config| {
        hello.maximum_needed_instances = Some(2);
        config.join_timeout = join;
    });
    let (mut silent, mut loading) = (Container::new(&server, 1), Container::new(&server, 2));
    loading.ask().done();
    silent.ask().done();
    eventually("the silent one is given up", || {
        loading.progress().done();
        silent.shown().is_null()
    });
    assert_eq!(loading.shown()["status"], "assigned");
    Container::new(&server, 3).ask().done();
    eventually("the other one is given up when it stops to report", || {
        loading.shown().is_null()
    });
}

#[test]
fn a_copy_of_a_disk_and_a_stolen_secret_get_nothing() {
    let server = led(|_, _| {});
    let mut original = Container::new(&server, 1);
    original.incarnation = 6;
    let mut original = original.started();

    let mut clone = Container::new(&server, 1);
    clone.incarnation = 3;
    clone.ask().problem(409, "nodeIdInUse");
    let mut thief = Container::new(&server, 1);
    thief.incarnation = 7;
    thief.secret = "another".to_owned();
    thief.ask().problem(409, "nodeIdInUse");
    thief.progress().problem(409, "nodeIdInUse");
    assert!(original.beats(), "neither has fenced the original");
}

#[test]
fn a_container_whose_drain_waits_gets_no_new_work_when_its_node_stops_by_itself() {
    let server = led(|hello, _| hello.minimum_required_instances = 1);
    let mut container = Container::new(&server, 1).started();
    container.operator("drain", false).done();
    container.ask().problem(503, "cordoned");
    container.leaves();
    eventually("the empty container is drained", || {
        let state = server.block_on(server.cluster.read());
        state.nodes[&container.id].cordoned && state.requests.is_empty()
    });
    container.operator("uncordon", false).done();
    container.ask().done();
    assert_eq!(container.shown()["cordoned"], json!(false));
}
