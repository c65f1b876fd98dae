use std::fs;

use klusterkite_wire::start::StartConfiguration;
use serde_json::{Value, json};

use crate::cluster::Container;
use crate::server::Response;

/// A container that runs release 1 of configuration 1, ready.
fn running() -> Container {
    let mut container = Container::new();
    container.answer_with(&container.release(1, ""));
    container.launch();
    container.wait_for_ready(1);
    container
}

fn answers(container: &Container, kind: &str) -> Value {
    container.wait_for(kind, || {
        container
            .notes("answers")
            .into_iter()
            .find(|answer| answer["type"] == kind)
    })
}

#[test]
fn a_next_is_prefetched_and_started_without_asking() {
    let mut container = running();
    let next = container.release(2, "");
    container.host_says(&json!({"type": "prefetch", "orderId": 5, "next": next}));
    assert_eq!(
        answers(&container, "prefetched"),
        json!({"type": "prefetched", "orderId": 5})
    );

    // From here on nobody answers, and the feed is gone: nothing is needed of them.
    container.everything_goes_down();
    let asked = container.requests("/configuration");
    container.stop_with_next(&next);
    assert_eq!(
        answers(&container, "stopping"),
        json!({"type": "stopping", "orderId": 1})
    );
    let start = container.wait_for_ready(2);
    assert_eq!(start["start"]["NodeManager"]["ConfigurationId"], 2);
    assert_eq!(start["token"], Value::Null);
    assert_eq!(container.requests("/configuration"), asked);
    assert_eq!(container.current(), "2");
    container.wait_for("the end of the next", || {
        (!container.path("next.json").exists()).then_some(())
    });
    container.stop();
}

#[test]
fn the_node_that_was_started_as_next_gets_its_token_by_request() {
    let mut container = running();
    container.stop_with_next(&container.release(2, ""));
    let start = container.wait_for_ready(2);
    let token = container.path("current/node-token");
    container.wait_for("the token", || {
        fs::read_to_string(&token)
            .ok()
            .filter(|text| text == "by request")
    });
    let request = container.wait_for_request("/token");
    assert_eq!(request["configurationId"], 2);
    assert_eq!(
        request["incarnation"],
        start["start"]["NodeManager"]["Incarnation"]
    );
    let previous = container.notes("starts")[0]["start"]["NodeManager"]["Incarnation"].clone();
    assert_eq!(request["lastIncarnation"], previous);
    container.stop();
}

#[test]
fn a_prefetch_that_fails_says_why() {
    let mut container = running();
    let mut next = container.release(2, "");
    next.packages[0].size += 1;
    container.host_says(&json!({"type": "prefetch", "orderId": 6, "next": next}));
    let answer = answers(&container, "prefetched");
    assert_eq!(answer["orderId"], 6);
    assert!(
        answer["error"]
            .as_str()
            .unwrap()
            .contains("KlusterKite.Core.Service 2.0.0"),
        "{answer}"
    );
    container.stop();
}

/// The next fails in some way; release 1 must run again and the manager must hear why.
fn goes_back(next: impl Fn(&Container) -> StartConfiguration, reason: &str) -> Value {
    let mut container = running();
    let next = next(&container);
    container.stop_with_next(&next);
    let start = container.wait_for(reason, || {
        let starts = container.notes("starts");
        let back = |start: &Value| start["start"]["NodeManager"]["ConfigurationId"] == 1;
        starts.get(1..)?.iter().find(|start| back(start)).cloned()
    });
    assert_eq!(
        start["directory"],
        container.notes("starts")[0]["directory"]
    );
    assert_eq!(container.current(), "1");
    let failure = container.wait_for("the failure report", || {
        let request = container.wait_for_request("/token");
        (request["failure"] != Value::Null).then_some(request)
    });
    assert_eq!(failure["configurationId"], 1, "what runs now");
    assert_eq!(
        failure["incarnation"],
        start["start"]["NodeManager"]["Incarnation"]
    );
    let failure = failure["failure"].clone();
    assert_eq!(failure["configurationId"], next.configuration_id.0);
    assert_eq!(failure["nodeTemplate"], "orders");
    assert!(
        failure["reason"].as_str().unwrap().contains(reason),
        "{failure}"
    );
    container.wait_for("the end of the failure", || {
        (container.state()["failure"] == Value::Null).then_some(())
    });
    assert!(!container.path("next.json").exists());
    assert_eq!(container.requests("/configuration"), 1, "nobody was asked");
    // It is not tried again.
    let starts = container.notes("starts").len();
    container.stop();
    assert_eq!(container.notes("starts").len(), starts);
    failure
}

#[test]
fn a_next_that_never_becomes_ready_is_given_up() {
    let failure = goes_back(
        |container| StartConfiguration {
            start_deadline_seconds: 1,
            ..container.release(2, "never-ready")
        },
        "not ready within 1 s",
    );
    assert_eq!(failure["crash"]["exit"], "exit 0", "it obeyed");
}

#[test]
fn a_next_that_ends_before_it_is_ready_is_given_up_with_its_last_words() {
    let failure = goes_back(
        |container| container.release(2, "print exit-3"),
        "ended before it was ready: exit 3",
    );
    let lines = failure["crash"]["lastLines"].as_array().unwrap().clone();
    assert!(lines.contains(&json!("words on stderr")), "{lines:?}");
}

#[test]
fn a_next_that_is_not_the_frozen_package_is_given_up_and_never_started() {
    goes_back(
        |container| {
            let mut next = container.release(2, "");
            next.packages[0].sha512 = container.release(3, "").packages[0].sha512.clone();
            next
        },
        "could not be installed",
    );
}

#[test]
fn a_next_without_its_entry_point_is_given_up() {
    let failure = goes_back(
        |container| StartConfiguration {
            entry_point: "missing".to_owned(),
            ..container.release(2, "")
        },
        "ended before it was ready: exit 127",
    );
    assert!(
        failure.to_string().contains("cannot run `missing`"),
        "{failure}"
    );
}

#[test]
fn a_failure_is_told_even_if_the_manager_is_away_for_long_and_the_launcher_is_killed() {
    let mut container = running();
    container.manager.lock().unwrap().node_token = Response::new(502, "");
    container.stop_with_next(&container.release(2, "exit-3"));
    let back = |start: &Value| start["start"]["NodeManager"]["ConfigurationId"] == 1;
    container.wait_for("the way back", || {
        container
            .notes("starts")
            .get(2)
            .filter(|start| back(start))
            .map(drop)
    });
    container.kill();
    assert_ne!(container.state()["failure"], Value::Null);
    container.manager.lock().unwrap().node_token = Response::new(200, r#"{"nodeToken": "late"}"#);
    container.launch();
    container.wait_for("the failure report", || {
        (container.state()["failure"] == Value::Null).then_some(())
    });
    let request = container.wait_for_request("/token");
    assert_eq!(
        request["failure"]["reason"],
        "ended before it was ready: exit 3"
    );
    container.stop();
}

#[test]
fn a_next_outlives_a_launcher_that_is_killed() {
    let mut container = running();
    container.everything_goes_down();
    // The launcher is stopped, so that it stores the next and is killed before it acts on it.
    let mut next = container.release(2, "");
    next.packages.clear();
    next.entry_point = "sleep".to_owned();
    container.kill();
    container.wait_for("the host's end", || {
        container.running().is_empty().then_some(())
    });
    let pending = json!({"orderId": 1, "start": next, "backTo": 1, "tries": 0});
    fs::write(container.path("next.json"), pending.to_string()).unwrap();
    container.launch();
    // `sleep` without an argument ends at once: the way back is release 1.
    container.wait_for_log("ended before it was ready");
    container.wait_for_ready(2);
    assert_eq!(container.current(), "1");
    assert!(container.log().contains("(Previous)"));
    container.stop();
}

#[test]
fn an_ordered_stop_without_a_next_asks_at_once() {
    let mut container = Container::new();
    container.configure("backoffMin = 1h, backoffMax = 1h");
    container.answer_with(&container.release(1, ""));
    container.launch();
    container.wait_for_ready(1);
    container.answer_with(&container.release(2, ""));
    container.host_says(&json!({"type": "stopping", "orderId": 1}));
    let start = container.wait_for_ready(2);
    assert_eq!(start["start"]["NodeManager"]["ConfigurationId"], 2);
    assert_eq!(
        container.wait_for_request("/configuration")["crash"],
        Value::Null
    );
    container.stop();
}

#[test]
fn a_next_that_cannot_be_stored_is_refused_and_the_node_goes_on() {
    let mut container = running();
    // A directory in the place of the temporary file stands for any failure to write.
    fs::create_dir(container.path(".next.json.tmp")).unwrap();
    container.stop_with_next(&container.release(2, ""));
    let answer = answers(&container, "stopping");
    assert!(
        answer["error"].as_str().unwrap().contains("next.json"),
        "{answer}"
    );
    assert_eq!(container.running().len(), 1);
    container.stop();
}

#[test]
fn old_releases_and_packages_go_when_a_new_one_is_ready() {
    let mut container = Container::new();
    container.configure("packageCacheSize = 0");
    container.answer_with(&container.release(1, ""));
    container.launch();
    container.wait_for_ready(1);
    for configuration in 2..5 {
        container.stop_with_next(&container.release(configuration, ""));
        container.wait_for_ready(usize::try_from(configuration).unwrap());
    }
    let releases = || fs::read_dir(container.path("releases")).unwrap().count();
    container.wait_for("tidiness", || {
        (releases() == 1 && container.stored().len() == 1).then_some(())
    });
    assert_eq!(container.current(), "4");
    container.stop();
}
