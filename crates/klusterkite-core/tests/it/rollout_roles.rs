//! Templates among each other: the manager last, removed ones late, containers that change their role.

use klusterkite_core::plan::rollout::{Act, NodeStatus, RequestKind, StopReason};
use klusterkite_core::reason::ReasonCode;
use serde_json::{Value, json};

use crate::world::{World, code, manager, prefetched, stopped, stops, waits, web, with};

#[test]
fn the_manager_moves_after_all_others() {
    let world = World::new(
        &[web("v1", 1, "9"), manager("v1")],
        &[web("v2", 1, "9"), manager("v2")],
    );
    let plan = world.clone().nodes("web", 3).nodes("manager", 1).plan();
    assert_eq!(stopped(&plan), [1, 2]);
    assert!(waits(&plan).contains(&ReasonCode::ManagerLast));
    let plan = world.new_nodes("web", 3).nodes("manager", 1).plan();
    assert_eq!(stops(&plan), [(4, StopReason::Update)]);
}

#[test]
fn the_managers_node_stays_while_a_resource_moves() {
    let mut world = World::new(&[manager("v1")], &[manager("v2")]).nodes("manager", 1);
    world.resource_moving = true;
    for world in [world.clone(), world.request(1, RequestKind::Restart, true)] {
        let plan = world.plan();
        assert_eq!(
            (stopped(&plan), waits(&plan)),
            (vec![], vec![ReasonCode::ResourceMoving])
        );
    }
}

#[test]
fn a_manager_under_a_new_name_is_told_what_to_become() {
    let renamed = with(manager("v2"), "code", json!("control"));
    let mut world = World::new(&[manager("v1")], &[renamed]).nodes("manager", 1);
    world.nodes[0].prefetched.as_mut().unwrap().template = code("control");
    let plan = world.plan();
    let [
        Act::Stop {
            target: Some(target),
            ..
        },
    ] = &plan.acts[..]
    else {
        panic!("{plan:?}");
    };
    assert_eq!(target.template, code("control"));
}

fn removed(replaces: &[&str]) -> World {
    let new = json!({ "code": "new", "minimumRequiredInstances": 2, "replaces": replaces });
    World::new(&[web("v1", 2, "9")], &[new])
}

#[test]
fn nodes_of_a_removed_template_stay_until_their_replacements_are_at_their_minimum() {
    let world = removed(&["web"]).nodes("web", 2);
    let plan = world.clone().new_nodes("new", 1).plan();
    assert!(stopped(&plan).is_empty());
    assert!(
        waits(&plan).contains(&ReasonCode::ReplacementsMissing),
        "{:?}",
        plan.waiting
    );
    let plan = world.new_nodes("new", 2).plan();
    assert_eq!(
        stops(&plan),
        [
            (1, StopReason::TemplateRemoved),
            (2, StopReason::TemplateRemoved)
        ]
    );
}

#[test]
fn a_removed_template_goes_after_the_others_and_before_the_manager() {
    let old = with(web("v1", 0, "9"), "code", json!("old"));
    let world = World::new(
        &[web("v1", 0, "9"), old, manager("v1")],
        &[web("v2", 0, "9"), manager("v2")],
    );
    let plan = world
        .clone()
        .nodes("web", 1)
        .nodes("old", 1)
        .nodes("manager", 1)
        .plan();
    assert_eq!(stops(&plan), [(1, StopReason::Update)]);
    assert!(waits(&plan).contains(&ReasonCode::RemovedLast));
    let plan = world
        .new_nodes("web", 1)
        .nodes("old", 1)
        .nodes("manager", 1)
        .plan();
    assert_eq!(stops(&plan), [(2, StopReason::TemplateRemoved)]);
    assert!(waits(&plan).contains(&ReasonCode::ManagerLast));
}

#[test]
fn a_removed_template_gives_its_containers_to_an_update_that_needs_one() {
    let old = with(web("v1", 0, "1"), "code", json!("old"));
    let world = World::new(&[web("v1", 2, "1"), old], &[web("v2", 2, "1")])
        .nodes("web", 2)
        .nodes("old", 1);
    assert_eq!(stops(&world.plan()), [(3, StopReason::TemplateRemoved)]);
}

fn roles(minimum: u32, cheap: Value) -> World {
    let important =
        json!({ "code": "important", "minimumRequiredInstances": minimum, "priority": 9.0 });
    World::new(&[cheap.clone(), important.clone()], &[cheap, important])
}

#[test]
fn a_container_of_a_less_important_template_takes_over_a_missing_role() {
    let world = roles(1, with(web("v1", 1, "1"), "priority", json!(1.0))).nodes("web", 3);
    let plan = world.plan();
    assert_eq!(prefetched(&plan), [3]);
    let prepared = world.node(3, |node| {
        node.prefetched.as_mut().unwrap().template = code("important");
    });
    assert_eq!(stops(&prepared.plan()), [(3, StopReason::Redistribution)]);
}

#[test]
fn a_free_container_takes_the_missing_role_when_there_is_one() {
    let plan = roles(1, web("v1", 1, "1"))
        .nodes("web", 3)
        .spare("worker")
        .plan();
    assert!(plan.acts.is_empty());
    assert_eq!(waits(&plan), [ReasonCode::BelowMinimum]);
}

#[test]
fn nobody_gives_up_a_node_that_it_needs_itself() {
    for cheap in [
        web("v1", 3, "1"),
        with(web("v1", 0, "1"), "persistent", json!(true)),
    ] {
        let plan = roles(1, cheap).nodes("web", 3).plan();
        assert!(plan.acts.is_empty(), "{plan:?}");
        assert!(waits(&plan).contains(&ReasonCode::NeedsContainer));
    }
    let managed = |version| {
        with(
            manager(version),
            "containerTypes",
            json!(["manager", "worker"]),
        )
    };
    let important = json!({ "code": "important", "minimumRequiredInstances": 1, "containerTypes": ["manager"] });
    let plan = World::new(&[managed("v1")], &[managed("v1"), important])
        .nodes("manager", 1)
        .plan();
    assert!(plan.acts.is_empty(), "{plan:?}");
}

#[test]
fn the_least_important_template_gives_first_and_its_newest_node() {
    let middle = with(
        with(web("v1", 0, "9"), "code", json!("middle")),
        "priority",
        json!(5.0),
    );
    let least = with(web("v1", 1, "9"), "priority", json!(1.0));
    let important = json!({ "code": "important", "minimumRequiredInstances": 3, "priority": 9.0 });
    let templates = [middle, least, important];
    let world = World::new(&templates, &templates)
        .nodes("middle", 2)
        .nodes("web", 3);
    assert_eq!(prefetched(&world.plan()), [5, 4, 2]);
}

#[test]
fn a_role_whose_nodes_fail_gets_no_more_containers() {
    let plan = roles(1, web("v1", 0, "1"))
        .nodes("web", 3)
        .failed("important", 1)
        .plan();
    assert!(plan.acts.is_empty(), "{plan:?}");
}

#[test]
fn a_node_that_does_not_serve_is_given_away_first() {
    let world = roles(1, web("v1", 0, "1"))
        .nodes("web", 3)
        .status(1, NodeStatus::Failed);
    assert_eq!(prefetched(&world.plan()), [1]);
}
