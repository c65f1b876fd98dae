//! Rolling updates, restarts and drains on simulated nodes.

use klusterkite_wire::link::{AckState, OrderKind};
use serde_json::{Value, json};

use crate::fleet::{
    Container, cluster_state, events, led, migrate, migration_eventually, newest_migration,
    operation_eventually, other_text, ready, refusal, waits_for,
};
use crate::harness::{Server, eventually};

fn fleet(server: &Server, nodes: u8) -> Vec<Container<'_>> {
    (1..=nodes)
        .map(|number| Container::new(server, number).started())
        .collect()
}

fn gate(server: &Server) -> u32 {
    let state = server.block_on(server.cluster.read());
    let gate = state.gates.get(&"hello".parse().unwrap());
    gate.map_or(0, |gate| gate.failed)
}

#[test]
fn an_automatic_migration_replaces_node_after_node_and_completes() {
    let server = led(|hello, _| {
        hello.minimum_required_instances = 1;
        hello.rollout.batch = "1".to_owned();
    });
    let mut nodes = fleet(&server, 2);
    migrate(&server, ready(&server, 2, other_text), &Value::Null);
    // Oldest first, one at a time.
    for node in &mut nodes {
        let stop = node.told_to_stop();
        assert_eq!(stop.next.as_ref().unwrap().configuration_id.0, 2);
        // Node, API and history say why, not only that: the settings differ.
        assert!(stop.reason.contains("settings"), "{}", stop.reason);
        assert_eq!(node.shown()["order"]["why"], json!(stop.reason));
        let explained = node.explained();
        assert_eq!(explained["order"]["why"], json!(stop.reason));
        let object = format!("node:{}", node.id);
        let told = events(&server, "nodeStopOrdered");
        let told = told.iter().find(|event| event["object"] == *object);
        assert_eq!(told.unwrap()["params"]["why"], json!(stop.reason));
        assert_eq!(newest_migration(&server)["state"], "ready");
        node.replaced(&stop);
    }
    migration_eventually(&server, "completed");
    for node in &nodes {
        let shown = node.shown();
        assert_eq!(
            (&shown["configurationId"], &shown["status"]),
            (&json!(2), &json!("ready"))
        );
    }
    let states = [1, 2].map(|id| server.row(id).unwrap().state.to_string());
    assert_eq!(states, ["Archived", "Active"]);
}

#[test]
fn finish_is_refused_while_no_node_has_moved_yet() {
    let server = led(|_, _| {});
    let _nodes = fleet(&server, 1);
    let to = ready(&server, 2, other_text);
    migrate(&server, to, &json!({"mode": "manual"}));
    operation_eventually(&server, "updateNodesToDestination");
    let body = json!({"target": "destination"});
    let path = "/api/v1/migrations/current";
    server.admin("POST", &format!("{path}/nodes"), body).done();
    let finish = server.admin("POST", &format!("{path}/finish"), Value::Null);
    finish.problem(409, "nodesObsolete");
}

#[test]
fn nodes_of_a_removed_template_leave_and_the_migration_completes_without_them() {
    let server = led(|_, _| {});
    let mut nodes = fleet(&server, 2);
    let to = ready(&server, 2, |row| {
        row.settings.node_templates.remove(1);
        let frozen = row.frozen.as_mut().unwrap();
        frozen.node_templates.remove(&"hello".parse().unwrap());
    });
    migrate(&server, to, &Value::Null);
    // One after another: the template's batch.
    for node in &mut nodes {
        let stop = node.told_to_stop();
        assert!(stop.next.is_none());
        node.leaves();
        node.ask().problem(503, "noTemplateForContainer");
    }
    migration_eventually(&server, "completed");
}

#[test]
fn a_prefetch_that_fails_is_shown() {
    let server = led(|_, _| {});
    let mut node = Container::new(&server, 1).started();
    migrate(&server, ready(&server, 2, other_text), &Value::Null);
    let prefetch = node.order();
    assert_eq!(prefetch.kind, OrderKind::Prefetch);
    node.ack(&prefetch, AckState::Refused, Some("the feed is away"));
    eventually("the reason is shown", || {
        let state = cluster_state(&server);
        let waiting = state["waitingOn"].as_array().unwrap();
        let mut sentences = waiting.iter().map(|wait| wait["message"].as_str().unwrap());
        sentences.any(|sentence| sentence.contains("the feed is away"))
    });
    assert_eq!(gate(&server), 0, "the node serves as before");
    assert_eq!(events(&server, "orderRefused").len(), 1);
}

#[test]
fn a_failed_start_pauses_the_update_and_resume_goes_on() {
    let server = led(|hello, _| hello.rollout.batch = "1".to_owned());
    let mut nodes = fleet(&server, 2);
    migrate(&server, ready(&server, 2, other_text), &Value::Null);
    let stop = nodes[0].told_to_stop();
    nodes[0].leaves();
    nodes[0].starts(stop.next.unwrap(), Some("it crashed"));
    let paused = migration_eventually(&server, "paused");
    assert_eq!(paused["reason"]["code"], "failureGate");
    let sentence = paused["reason"]["message"].as_str().unwrap();
    assert!(sentence.contains("it crashed"), "{sentence}");
    assert!(refusal(&server, "pause").is_object());

    server
        .admin("POST", "/api/v1/migrations/current/resume", Value::Null)
        .done();
    for node in &mut nodes {
        let stop = node.told_to_stop();
        node.replaced(&stop);
    }
    migration_eventually(&server, "completed");
}

#[test]
fn a_failed_start_rolls_back_when_that_was_asked() {
    let server = led(|hello, _| hello.rollout.batch = "1".to_owned());
    let mut nodes = fleet(&server, 2);
    let to = ready(&server, 2, other_text);
    migrate(&server, to, &json!({"onFailure": "rollback"}));
    let stop = nodes[0].told_to_stop();
    nodes[0].replaced(&stop);
    let stop = nodes[1].told_to_stop();
    nodes[1].leaves();
    nodes[1].starts(stop.next.unwrap(), Some("it crashed"));
    // Only the one that had moved goes back.
    let stop = nodes[0].told_to_stop();
    assert_eq!(stop.next.as_ref().unwrap().configuration_id.0, 1);
    nodes[0].replaced(&stop);
    migration_eventually(&server, "rolledBack");
    let states = [1, 2].map(|id| server.row(id).unwrap().state.to_string());
    assert_eq!(states, ["Active", "Faulted"]);
}

#[test]
fn a_failure_that_is_reported_again_counts_once() {
    let server = led(|hello, _| hello.rollout.max_failed = 5);
    let mut node = Container::new(&server, 1).started();
    let running = node.start.clone().unwrap();
    node.operator("restart", false).done();
    let stop = node.told_to_stop();
    node.leaves();
    node.incarnation += 1;
    let next = stop.next.unwrap();
    for _ in 0..3 {
        node.report(&running, Some((&next, "it crashed")));
    }
    assert_eq!(gate(&server), 1);
}

#[test]
fn a_failed_restart_without_a_migration_holds_the_template_until_it_is_resumed() {
    let server = led(|hello, _| hello.rollout.batch = "1".to_owned());
    let mut nodes = fleet(&server, 2);
    for node in &nodes {
        node.operator("restart", false).done();
    }
    let prefetch = nodes[1].order();
    nodes[1].ack(&prefetch, AckState::Done, None);
    let stop = nodes[0].told_to_stop();
    nodes[0].leaves();
    nodes[0].starts(stop.next.unwrap(), Some("it crashed"));
    waits_for(&server, "failureGate");
    assert!(nodes[1].shown()["order"].is_null());
    assert_eq!(gate(&server), 1);
    operation_eventually(&server, "resume");
    server
        .admin("POST", "/api/v1/migrations/current/resume", Value::Null)
        .done();
    let stop = nodes[1].told_to_stop();
    nodes[1].replaced(&stop);
    eventually("it goes on", || nodes[1].shown()["order"].is_null());
    assert_eq!(gate(&server), 0);
}

#[test]
fn a_progress_deadline_that_has_passed_starts_anew_after_resume() {
    let server = led(|hello, _| {
        hello.rollout.batch = "1".to_owned();
        hello.rollout.progress_deadline_seconds = 1;
    });
    let mut nodes = fleet(&server, 2);
    migrate(&server, ready(&server, 2, other_text), &Value::Null);
    nodes[0].told_to_stop();
    let paused = migration_eventually(&server, "paused");
    assert_eq!(paused["reason"]["code"], "progressDeadline");
    eventually("there is time again", || {
        // On a busy machine the second may be over before this test looks again.
        if newest_migration(&server)["state"] == "paused" {
            let path = "/api/v1/migrations/current/resume";
            server.admin("POST", path, Value::Null).done();
        }
        let state = server.block_on(server.cluster.read());
        let left = state.volatile.progress.get(&"hello".parse().unwrap());
        left.is_some_and(|left| !left.is_zero())
    });
}

#[test]
fn a_restart_waits_for_the_minimum_unless_it_is_forced() {
    let server = led(|hello, _| {
        hello.minimum_required_instances = 1;
        hello.rollout.surge = 0;
    });
    let mut node = Container::new(&server, 1).started();
    node.operator("restart", false).done();
    let prefetch = node.order();
    node.ack(&prefetch, AckState::Done, None);
    // Asked from now on: what is shown before the next plan must not stay.
    eventually("the template says what it waits for", || {
        let templates = server.admin("GET", "/api/v1/templates", Value::Null).done();
        let mut templates = templates["items"].as_array().unwrap().iter();
        let hello = templates.find(|template| template["code"] == "hello");
        let waits = hello.unwrap()["waitingOn"].to_string();
        waits.contains("needsContainer")
    });
    waits_for(&server, "needsContainer");
    assert!(node.shown()["order"].is_null());
    let waits = node.explained()["waitingOn"].to_string();
    assert!(waits.contains("needsContainer"), "{waits}");

    let accepted = node.operator("restart", true).done();
    let sentence = accepted["message"].as_str().unwrap();
    assert!(sentence.contains("at once"), "{sentence}");
    let stop = node.told_to_stop();
    assert!(stop.reason.contains("whatever the minimum says"));
    let asked = events(&server, "nodeRestartAsked");
    let forced: Vec<_> = asked
        .iter()
        .map(|event| &event["params"]["force"])
        .collect();
    assert_eq!(forced, ["false", "true"], "who forced is in the history");
    assert_eq!(asked[1]["actor"], asked[0]["actor"]);
    node.operator("restart", false).problem(409, "replacing");
    node.replaced(&stop);
    eventually("the order is closed", || node.shown()["order"].is_null());
    let state = server.block_on(server.cluster.read());
    assert!(state.requests.is_empty());
}

#[test]
fn a_restart_that_waits_is_forgotten_when_the_node_starts_again_by_itself() {
    let server = led(|hello, _| hello.minimum_required_instances = 1);
    let mut node = Container::new(&server, 1).started();
    node.operator("restart", false).done();
    node.vanish();
    let mut node = node.started();
    assert!(node.beats());
    eventually("the request is gone", || {
        let state = server.block_on(server.cluster.read());
        state.requests.is_empty()
    });
    assert!(node.shown()["order"].is_null());
}

#[test]
fn a_drained_container_stays_empty_until_it_is_uncordoned() {
    let server = led(|_, _| {});
    let mut node = Container::new(&server, 1).started();
    node.operator("drain", false).done();
    let stop = node.told_to_stop();
    assert!(stop.next.is_none());
    assert_eq!(node.shown()["cordoned"], json!(true));
    node.leaves();
    eventually("it is gone", || node.shown().is_null());
    node.ask().problem(503, "cordoned");
    node.operator("cordon", false)
        .problem(409, "nothingChanges");
    let listed = containers(&server, "?state=cordoned");
    assert_eq!(listed[0]["nodeId"], json!(node.id), "{listed}");
    assert_eq!(listed[0]["lastTemplate"], "hello");
    let uncordon = |operation: &&Value| operation["id"] == "uncordon";
    let operations = listed[0]["operations"].as_array().unwrap();
    assert_eq!(
        operations.iter().find(uncordon).unwrap()["allowed"],
        json!(true)
    );
    node.operator("uncordon", false).done();
    assert_eq!(containers(&server, "?state=cordoned"), json!([]));
    node.ask().done();
    let state = server.block_on(server.cluster.read());
    assert!(state.orders.open().next().is_none());
}

#[test]
fn templates_count_starts_failures_and_the_time_to_be_ready() {
    let server = led(|hello, _| hello.rollout.batch = "1".to_owned());
    let counted = |name: &str| {
        let templates = server.admin("GET", "/api/v1/templates", Value::Null).done();
        let templates = templates["items"].as_array().unwrap();
        let hello = templates
            .iter()
            .find(|template| template["code"] == "hello");
        hello.unwrap()["statistics"][name].clone()
    };
    let mut node = Container::new(&server, 1).started();
    assert_eq!(
        (counted("starts"), counted("becameReady")),
        (json!(1), json!(1))
    );
    assert!(
        counted("timeToReadyMaxMs").as_u64().unwrap()
            <= counted("timeToReadyTotalMs").as_u64().unwrap()
    );
    assert!(counted("since").as_str().unwrap().starts_with("20"));

    node.vanish();
    node.incarnation += 1;
    node.ask_after_crash("signal 11").done();
    assert_eq!(
        (counted("crashes"), counted("starts")),
        (json!(1), json!(2))
    );

    let mut other = Container::new(&server, 2).started();
    other.operator("restart", false).done();
    let stop = other.told_to_stop();
    other.leaves();
    other.starts(stop.next.unwrap(), Some("it crashed"));
    assert_eq!(counted("failedStarts"), json!(1));
    let metrics = server.admin("GET", "/metrics", Value::Null);
    let line = "klusterkite_template_failed_starts_total{template=\"hello\"} 1";
    assert!(metrics.text.contains(line), "{}", metrics.text);
}

fn containers(server: &Server, query: &str) -> Value {
    let path = format!("/api/v1/containers{query}");
    server.admin("GET", &path, Value::Null).done()["items"].clone()
}

#[test]
fn containers_in_which_nothing_runs_are_listed_with_the_reason() {
    let server = led(|hello, _| hello.maximum_needed_instances = Some(1));
    let mut first = Container::new(&server, 2).started();
    let mut spare = Container::new(&server, 3);
    let sentence = spare.ask().problem(503, "clusterFull");
    first.leaves();
    eventually("it is gone", || first.shown().is_null());
    let silent = first.id.to_string();
    let of = |state: &str| containers(&server, &format!("?state={state}"));
    let waiting = of("waiting");
    assert_eq!(waiting[0]["nodeId"], json!(spare.id));
    assert_eq!(waiting[0]["reason"], json!(sentence));
    assert_eq!(waiting[0]["operations"], json!([]), "nobody knows it yet");
    let away = of("away");
    let mut ids = away.as_array().unwrap().iter().map(|it| &it["nodeId"]);
    assert!(ids.any(|id| id == silent.as_str()), "{away}");

    // Page by page they are all there, once, in the order of their ids.
    let mut paged = Vec::new();
    let mut query = "?limit=1".to_owned();
    loop {
        let path = format!("/api/v1/containers{query}");
        let page = server.admin("GET", &path, Value::Null).done();
        assert_eq!(page["total"], 3, "the harness knows one more: {page}");
        paged.push(page["items"][0]["nodeId"].as_str().unwrap().to_owned());
        match page["nextCursor"].as_str() {
            Some(cursor) => query = format!("?limit=1&cursor={cursor}"),
            None => break,
        }
    }
    assert!(paged.is_sorted() && paged.len() == 3, "{paged:?}");
    assert!(paged.contains(&silent));
    let answer = server.admin("GET", "/api/v1/containers?state=x", Value::Null);
    assert_eq!(answer.status, 400, "{}", answer.text);
}

#[test]
fn a_crash_is_told_also_when_no_work_follows() {
    let server = led(|_, _| {});
    let mut node = Container::new(&server, 1).started();
    node.operator("cordon", false).done();
    node.vanish();
    node.incarnation += 1;
    for _ in 0..2 {
        node.ask_after_crash("signal 11").problem(503, "cordoned");
    }
    let told = events(&server, "nodeCrashed");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        containers(&server, "?state=cordoned")[0]["lastCrash"],
        "signal 11"
    );
}

#[test]
fn a_drain_and_a_restart_of_one_node_are_a_drain() {
    let server = led(|hello, _| hello.minimum_required_instances = 1);
    let mut node = Container::new(&server, 1).started();
    node.operator("drain", false).done();
    node.operator("restart", true).done();
    let stop = node.told_to_stop();
    assert!(stop.next.is_none(), "it is not to come back");
}

#[test]
fn what_is_above_a_lowered_maximum_stops() {
    let server = led(|_, _| {});
    let mut nodes = fleet(&server, 2);
    let to = ready(&server, 2, |row| {
        crate::fleet::template(&mut row.settings).maximum_needed_instances = Some(1);
    });
    migrate(&server, to, &Value::Null);
    // The newest is missed least.
    let stop = nodes[1].told_to_stop();
    assert!(stop.next.is_none());
    nodes[1].leaves();
    nodes[1].ask().problem(503, "clusterFull");
    migration_eventually(&server, "completed");
    assert!(nodes[0].beats());
}

#[test]
fn the_order_of_a_node_that_never_comes_back_does_not_stay_for_ever() {
    let server = led(|hello, config| {
        hello.rollout.batch = "1".to_owned();
        config.lease_minimum = std::time::Duration::from_secs(1);
        config.evict_after = std::time::Duration::from_millis(1);
    });
    let mut node = Container::new(&server, 1).started();
    migrate(&server, ready(&server, 2, other_text), &Value::Null);
    node.told_to_stop();
    node.vanish();
    eventually("the order is closed", || {
        let state = server.block_on(server.cluster.read());
        state.nodes[&node.id].run.is_none() && state.orders.open().next().is_none()
    });
    assert_eq!(events(&server, "nodeGivenUp").len(), 1);
}
