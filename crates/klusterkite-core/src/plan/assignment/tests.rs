use std::collections::BTreeMap;

use klusterkite_wire::ConfigurationId;
use serde_json::{Value, json};

use super::*;
use crate::release::FrozenPackages;
use crate::settings::Settings;

fn node(number: u8) -> NodeId {
    NodeId::from_random_bytes([number; 16])
}

fn code(text: &str) -> TemplateCode {
    text.parse().unwrap()
}

/// Makes a release of templates `(code, minimum, maximum, priority)` for `worker` containers on `linux-x64`.
fn release(templates: &[(&str, u32, Option<u32>, f64)], assignment: &str) -> Release {
    let template = |(code, minimum, maximum, priority): &(&str, u32, Option<u32>, f64)| {
        json!({ "code": code, "containerTypes": ["worker"], "minimumRequiredInstances": minimum,
            "maximumNeededInstances": maximum, "priority": priority })
    };
    let list: Vec<Value> = templates.iter().map(template).collect();
    let settings: Settings =
        serde_json::from_value(json!({ "nodeTemplates": list, "assignment": assignment })).unwrap();
    let frozen: serde_json::Map<String, Value> = templates
        .iter()
        .map(|template| (template.0.to_owned(), json!({ "linux-x64": [] })))
        .collect();
    let frozen: FrozenPackages =
        serde_json::from_value(json!({ "nodeTemplates": frozen })).unwrap();
    Release::new(ConfigurationId(1), &settings, &frozen).unwrap()
}

fn ask(number: u8) -> Ask {
    Ask {
        node_id: node(number),
        container_type: "worker".parse().unwrap(),
        runtime: "linux-x64".parse().unwrap(),
        cordoned: false,
        draw: 0,
    }
}

/// Who has what, node by node.
#[derive(Default)]
struct Held {
    holders: BTreeMap<NodeId, TemplateCode>,
    reserved: BTreeMap<NodeId, TemplateCode>,
    surge: BTreeMap<TemplateCode, u32>,
    migrating: bool,
}

/// Decides beside what others than the container that asks have.
fn assign(release: &Release, ask: &Ask, held: &Held) -> Answer {
    // A node id in both is set twice to the same.
    let ids = held.holders.keys().chain(held.reserved.keys());
    let occupants = ids.map(|id| Occupant {
        id,
        runs: held.holders.get(id),
        becomes: None,
        keeps: held.reserved.get(id),
    });
    let taken = Taken {
        surge: held.surge.clone(),
        migrating: held.migrating,
        ..Occupancy::new(occupants).beside(&ask.node_id)
    };
    super::assign(release, ask, &taken)
}

/// Node ids 100, 101, … hold the listed templates.
fn held(templates: &[&str]) -> Held {
    let holders = templates
        .iter()
        .zip(100..)
        .map(|(template, number)| (node(number), code(template)))
        .collect();
    Held {
        holders,
        ..Held::default()
    }
}

fn started(answer: Answer) -> (String, Rule) {
    match answer {
        Answer::Start { template, why } => (template.to_string(), why.rule),
        Answer::Wait { code, why, .. } => (code.to_string(), why.rule),
    }
}

#[test]
fn templates_below_their_minimum_come_first_by_priority_then_shortage_then_code() {
    let three = release(
        &[
            ("a", 1, None, 1.0),
            ("b", 2, None, 5.0),
            ("c", 9, None, 5.0),
        ],
        "strict",
    );
    for (holders, expected) in [
        (&[][..], ("c", Rule::BelowMinimum)),
        (
            &["c", "c", "c", "c", "c", "c", "c", "c"],
            ("b", Rule::BelowMinimum),
        ),
        (
            &["b", "c", "c", "c", "c", "c", "c", "c", "c"],
            ("b", Rule::BelowMinimum),
        ),
        (
            &["b", "b", "c", "c", "c", "c", "c", "c", "c", "c", "c"],
            ("a", Rule::BelowMinimum),
        ),
        (
            &["a", "b", "b", "c", "c", "c", "c", "c", "c", "c", "c", "c"],
            ("b", Rule::Spare),
        ),
    ] {
        let (template, rule) = started(assign(&three, &ask(1), &held(holders)));
        assert_eq!((template.as_str(), rule), expected, "{holders:?}");
    }
}

#[test]
fn spare_containers_fill_templates_up_to_their_maximum() {
    let two = release(
        &[("small", 0, Some(1), 9.0), ("never", 0, Some(0), 99.0)],
        "strict",
    );
    assert_eq!(started(assign(&two, &ask(1), &held(&[]))).0, "small");
    assert_eq!(
        started(assign(&two, &ask(1), &held(&["small"]))),
        ("clusterFull".into(), Rule::Full)
    );
}

#[test]
fn a_container_without_a_template_for_it_is_told_so() {
    let one = release(&[("a", 1, None, 1.0)], "strict");
    let other_type = Ask {
        container_type: "gpu".parse().unwrap(),
        ..ask(1)
    };
    let other_runtime = Ask {
        runtime: "win-x64".parse().unwrap(),
        ..ask(1)
    };
    for ask in [other_type, other_runtime] {
        assert_eq!(
            started(assign(&one, &ask, &held(&[]))).0,
            "noTemplateForContainer"
        );
    }
    let cordoned = Ask {
        cordoned: true,
        ..ask(1)
    };
    assert_eq!(started(assign(&one, &cordoned, &held(&[]))).0, "cordoned");
}

#[test]
fn waiting_is_short_while_a_migration_runs() {
    let one = release(&[("a", 0, Some(0), 1.0)], "strict");
    for (migrating, expected) in [(false, RETRY_AFTER_FULL), (true, RETRY_AFTER_MIGRATING)] {
        let Answer::Wait { retry_after, .. } = assign(
            &one,
            &ask(1),
            &Held {
                migrating,
                ..Held::default()
            },
        ) else {
            panic!("the template takes nobody");
        };
        assert_eq!(retry_after, expected);
    }
}

#[test]
fn few_waiting_containers_ask_often_and_many_do_not() {
    for (waiting, seconds) in [(0, 1), (2, 1), (1_500, 10), (10_000, 60)] {
        let wait = super::wait_among(RETRY_AFTER_FULL, waiting);
        assert_eq!(wait.as_secs(), seconds, "{waiting} wait");
    }
    let wait = super::wait_among(RETRY_AFTER_MIGRATING, 10_000);
    assert_eq!(wait, RETRY_AFTER_MIGRATING);
}

#[test]
fn b33_asking_again_does_not_count_twice() {
    let one = release(&[("a", 0, Some(1), 1.0)], "strict");
    let mut held = held(&[]);
    held.holders.insert(node(1), code("a"));
    assert_eq!(started(assign(&one, &ask(1), &held)).0, "a");
    assert_eq!(started(assign(&one, &ask(2), &held)).0, "clusterFull");
}

#[test]
fn a_kept_slot_goes_to_its_node_and_to_nobody_else() {
    let two = release(&[("a", 0, Some(1), 1.0), ("b", 0, Some(1), 9.0)], "strict");
    let mut held = held(&[]);
    held.reserved.insert(node(1), code("a"));
    let Answer::Start { template, why } = assign(&two, &ask(1), &held) else {
        panic!("the slot is kept");
    };
    assert!(template == code("a") && why.kept_slot, "{why:?}");
    held.holders.insert(node(100), code("b"));
    assert_eq!(started(assign(&two, &ask(2), &held)).0, "clusterFull");
}

#[test]
fn a_kept_slot_does_not_beat_another_template_below_its_minimum() {
    let two = release(&[("a", 0, None, 9.0), ("b", 1, None, 1.0)], "strict");
    let mut held = held(&[]);
    held.reserved.insert(node(1), code("a"));
    assert_eq!(
        started(assign(&two, &ask(1), &held)),
        ("b".into(), Rule::BelowMinimum)
    );
}

#[test]
fn an_update_that_needs_spare_capacity_comes_before_other_spare_use() {
    let two = release(&[("a", 1, Some(1), 1.0), ("b", 0, None, 9.0)], "strict");
    let mut held = held(&["a"]);
    held.surge.insert(code("a"), 2);
    assert_eq!(
        started(assign(&two, &ask(1), &held)),
        ("a".into(), Rule::Surge)
    );
    held.holders.insert(node(101), code("a"));
    assert_eq!(
        started(assign(&two, &ask(1), &held)),
        ("b".into(), Rule::Spare)
    );
}

#[test]
fn b11_strict_assignment_never_gambles() {
    let two = release(&[("a", 0, None, 1.0), ("b", 0, None, 1.1)], "strict");
    for draw in 0..100 {
        assert_eq!(
            started(assign(&two, &Ask { draw, ..ask(1) }, &held(&[]))).0,
            "b"
        );
    }
}

#[test]
fn b11_weighted_assignment_follows_the_priorities_and_without_any_is_even() {
    let share = |priorities: (f64, f64)| {
        let two = release(
            &[("a", 0, None, priorities.0), ("b", 0, None, priorities.1)],
            "weighted",
        );
        (0..1000)
            .filter(|draw| {
                started(assign(
                    &two,
                    &Ask {
                        draw: *draw,
                        ..ask(1)
                    },
                    &held(&[]),
                ))
                .0 == "a"
            })
            .count()
    };
    assert!(
        (650..850).contains(&share((3.0, 1.0))),
        "{}",
        share((3.0, 1.0))
    );
    assert!(
        (400..600).contains(&share((0.0, 0.0))),
        "{}",
        share((0.0, 0.0))
    );
    assert_eq!(share((0.0, 1.0)), 0);
}

#[test]
fn the_answer_says_why() {
    let one = release(&[("a", 2, Some(3), 1.0)], "strict");
    let Answer::Start { why, .. } = assign(&one, &ask(1), &held(&["a"])) else {
        panic!("the template needs a node");
    };
    assert_eq!(
        why.sentence,
        "it has 1 of at least 2 nodes; no other template was a candidate"
    );
    assert_eq!(why.candidates[0].count, 1);
}
