//! How many nodes stop, and which.

use std::time::Duration;

use klusterkite_core::plan::rollout::{Act, NodeStatus, RequestKind, StopReason, plan_summary};
use klusterkite_core::reason::{ReasonCode, Refusal, Waiting};
use klusterkite_core::time::Timestamp;
use serde_json::json;

use crate::world::{NOW, World, code, prefetched, stopped, stops, waits, web, with};

fn update(nodes: u32, minimum: u32, batch: &str) -> World {
    World::new(&[web("v1", minimum, batch)], &[web("v2", minimum, batch)]).nodes("web", nodes)
}

#[test]
fn b7_the_minimum_is_tested_after_the_batch_is_chosen() {
    for (nodes, minimum, batch, expected) in [
        (11, 10, "10%", 1),
        (21, 19, "10%", 2),
        (30, 29, "10%", 1),
        (10, 5, "10%", 1),
        (10, 5, "3", 3),
        (10, 8, "3", 2),
        (10, 0, "100%", 10),
        (10, 10, "3", 0),
        (9, 10, "3", 0),
    ] {
        let stopped = stopped(&update(nodes, minimum, batch).plan()).len();
        assert_eq!(
            stopped, expected,
            "{nodes} nodes, minimum {minimum}, batch {batch}"
        );
    }
}

#[test]
fn b6_the_batch_is_a_setting_of_its_own_template() {
    let from = [
        web("v1", 0, "1"),
        with(web("v1", 0, "4"), "code", json!("api")),
    ];
    let to = [
        web("v2", 0, "1"),
        with(web("v2", 0, "4"), "code", json!("api")),
    ];
    let plan = World::new(&from, &to)
        .nodes("web", 6)
        .nodes("api", 6)
        .plan();
    assert_eq!(stopped(&plan), [7, 8, 9, 10, 1]);
}

#[test]
fn the_floor_is_the_higher_minimum_of_both_ends_while_a_migration_runs() {
    for (from, to) in [(3, 1), (1, 3)] {
        let mut world = World::new(&[web("v1", from, "3")], &[web("v2", to, "3")]).nodes("web", 4);
        assert_eq!(stopped(&world.plan()).len(), 1, "minimum {from} → {to}");
        world.other = None;
        assert_eq!(
            stopped(&world.plan()).len(),
            (4 - to as usize).min(3),
            "minimum {to} alone"
        );
    }
}

#[test]
fn nodes_that_match_the_active_configuration_stay() {
    let same = World::new(&[web("v1", 0, "9")], &[web("v1", 0, "9")]).nodes("web", 3);
    let plan = same.plan();
    assert!(
        plan.acts.is_empty() && plan.waiting.is_empty() && plan.obsolete.is_empty(),
        "{plan:?}"
    );
}

#[test]
fn b14_a_node_that_leaves_is_not_waited_for() {
    let mut world = update(1, 0, "1")
        .new_nodes("web", 2)
        .status(1, NodeStatus::Unreachable);
    assert_eq!(
        (world.plan().obsolete.len(), waits(&world.plan())),
        (1, vec![ReasonCode::Unreachable])
    );
    world.nodes.remove(0);
    let plan = world.plan();
    assert!(
        plan.obsolete.is_empty() && plan.waiting.is_empty(),
        "{plan:?}"
    );
}

#[test]
fn going_back_is_the_same_plan_with_the_ends_swapped() {
    let mut world = update(3, 2, "1").new_nodes("web", 1);
    (world.active, world.other) = (world.other.unwrap(), Some(world.active));
    world.nodes[3].prefetched.as_mut().unwrap().configuration_id = world.active;
    assert_eq!(stopped(&world.plan()), [4]);
}

#[test]
fn the_oldest_nodes_go_first_and_those_that_do_not_serve_before_them() {
    let world = update(6, 1, "2").node(4, |node| {
        node.started = Timestamp(0);
    });
    assert_eq!(stopped(&world.plan()), [4, 1]);
    let world = world.status(6, NodeStatus::Failed);
    assert_eq!(stopped(&world.plan()), [6, 4]);
}

#[test]
fn a_node_that_does_not_serve_costs_no_budget() {
    let world = update(3, 3, "1").status(2, NodeStatus::Failed);
    assert_eq!(stopped(&world.plan()), [2]);
}

#[test]
fn a_starting_node_below_the_floor_gets_its_time_before_it_is_replaced() {
    let world = update(2, 2, "1")
        .status(1, NodeStatus::Starting)
        .node(1, |node| node.started = NOW);
    let plan = world.plan();
    assert_eq!(
        (stopped(&plan), waits(&plan)),
        (
            vec![],
            vec![ReasonCode::BelowMinimum, ReasonCode::NeedsContainer]
        )
    );
    let mut late = world;
    late.now = NOW + Duration::from_mins(1);
    assert_eq!(stopped(&late.plan()), [1]);
}

#[test]
fn packages_are_fetched_before_a_node_stops_some_batches_ahead() {
    let mut world = update(10, 0, "2");
    for node in &mut world.nodes {
        node.prefetched = None;
    }
    let plan = world.plan();
    assert_eq!(
        (prefetched(&plan), stopped(&plan)),
        (vec![1, 2, 3, 4], vec![])
    );
    assert!(waits(&plan).contains(&ReasonCode::Prefetching));
    world.nodes[1].prefetched = update(2, 0, "1").nodes[1].prefetched.clone();
    let plan = world.plan();
    assert_eq!(
        (prefetched(&plan), stopped(&plan)),
        (vec![1, 3, 4], vec![2])
    );
}

#[test]
fn at_the_floor_another_node_comes_first() {
    let world = update(2, 2, "1");
    let plan = world.plan();
    assert!(stopped(&plan).is_empty());
    assert_eq!(plan.surge[&code("web")], 3);
    assert_eq!(plan.waiting[0].code, ReasonCode::NeedsContainer);
    assert_eq!(
        plan.waiting[0].message,
        "`web` has 2 ready nodes and must have 2; it needs one more container of type `worker`"
    );
    let plan = world.clone().spare("worker").plan();
    assert!(
        plan.waiting[0]
            .message
            .ends_with("becomes one more when it asks"),
        "{:?}",
        plan.waiting
    );
    assert_eq!(stopped(&world.new_nodes("web", 1).plan()), [1]);
}

#[test]
fn spare_capacity_stays_within_maximum_and_surge() {
    let limited = |maximum: u32, surge: u32, batch: &str| {
        let template = |version| {
            let template = with(
                web(version, 2, batch),
                "maximumNeededInstances",
                json!(maximum),
            );
            with(
                template,
                "rollout",
                json!({ "batch": batch, "surge": surge }),
            )
        };
        World::new(&[template("v1")], &[template("v2")])
            .nodes("web", 2)
            .plan()
            .surge
            .get(&code("web"))
            .copied()
    };
    assert_eq!(limited(2, 0, "1"), None);
    assert_eq!(limited(2, 1, "2"), Some(3));
    assert_eq!(limited(2, 2, "2"), Some(4));
    assert_eq!(limited(2, 2, "1"), Some(3));
    assert_eq!(limited(3, 0, "1"), Some(3));
}

#[test]
fn without_room_for_spare_capacity_the_plan_says_what_to_raise() {
    let template = |version| {
        let template = with(web(version, 2, "1"), "maximumNeededInstances", json!(2));
        with(template, "rollout", json!({ "batch": "1", "surge": 0 }))
    };
    let plan = World::new(&[template("v1")], &[template("v2")])
        .nodes("web", 2)
        .spare("worker")
        .plan();
    assert!(
        plan.waiting[0].message.contains("raise one of them"),
        "{:?}",
        plan.waiting
    );
}

#[test]
fn the_last_obsolete_node_above_the_maximum_is_not_replaced_but_stopped() {
    let template = |version| with(web(version, 2, "1"), "maximumNeededInstances", json!(2));
    let world = World::new(&[template("v1")], &[template("v2")]);
    let plan = world.clone().nodes("web", 2).new_nodes("web", 1).plan();
    assert_eq!(stops(&plan), [(1, StopReason::Update)]);
    let plan = world.nodes("web", 1).new_nodes("web", 2).plan();
    assert_eq!(stops(&plan), [(1, StopReason::Surplus)]);
}

#[test]
fn surplus_above_a_lowered_maximum_stops_within_the_budget() {
    let template = |version, maximum: u32| {
        with(
            web(version, 1, "2"),
            "maximumNeededInstances",
            json!(maximum),
        )
    };
    let world = World::new(&[template("v1", 9)], &[template("v1", 2)]).nodes("web", 6);
    assert_eq!(
        stops(&world.plan()),
        [(6, StopReason::Surplus), (5, StopReason::Surplus)]
    );
    let mut tight = World::new(&[web("v1", 6, "2")], &[template("v1", 2)]).nodes("web", 6);
    assert!(stopped(&tight.plan()).is_empty());
    tight.other = None;
    assert_eq!(stopped(&tight.plan()).len(), 2);
}

#[test]
fn a_surplus_node_that_may_not_stop_is_still_the_updates_which_may_take_spare_capacity_for_it() {
    let limits = |version, minimum, maximum: u32| {
        let web = with(
            web(version, minimum, "50%"),
            "rollout",
            json!({ "batch": "50%", "surge": 2 }),
        );
        with(web, "maximumNeededInstances", json!(maximum))
    };
    let removed = with(web("v1", 0, "2"), "code", json!("removed"));
    let world = World::new(&[limits("v1", 3, 3), removed], &[limits("v2", 0, 0)])
        .nodes("web", 2)
        .new_nodes("web", 3)
        .nodes("removed", 1)
        .status(1, NodeStatus::Unconfirmed)
        .status(3, NodeStatus::Starting)
        .status(4, NodeStatus::Failed);
    let plan = world.plan();
    assert_eq!(
        stops(&plan),
        [(4, StopReason::Surplus), (6, StopReason::TemplateRemoved)]
    );
    assert_eq!(plan.surge[&code("web")], 5);
}

#[test]
fn a_first_wave_proves_itself_before_the_rest_follows() {
    let canary = |version| {
        with(
            web(version, 0, "3"),
            "rollout",
            json!({ "batch": "3", "canary": 1 }),
        )
    };
    let world = World::new(&[canary("v1")], &[canary("v2")]).nodes("web", 5);
    assert_eq!(stopped(&world.plan()), [1]);
    let fresh = world
        .new_nodes("web", 1)
        .node(6, |node| node.status_since = NOW);
    let plan = fresh.plan();
    assert_eq!(
        (stopped(&plan), waits(&plan)),
        (vec![], vec![ReasonCode::Canary])
    );
    let mut proven = fresh;
    proven.now = NOW + Duration::from_secs(10);
    assert_eq!(stopped(&proven.plan()), [1, 2, 3]);
}

#[test]
fn restarts_drains_and_updates_share_one_budget() {
    let world = update(4, 2, "3");
    assert_eq!(stopped(&world.plan()).len(), 2);
    let world = world
        .request(3, RequestKind::Drain, false)
        .request(4, RequestKind::Restart, false);
    assert_eq!(
        stops(&world.plan()),
        [(3, StopReason::Drain), (4, StopReason::Restart)]
    );
    let tight = update(2, 2, "1").request(1, RequestKind::Drain, false);
    let plan = tight.plan();
    assert!(
        stopped(&plan).is_empty() && plan.surge.contains_key(&code("web")),
        "{plan:?}"
    );
}

#[test]
fn force_stops_a_node_whatever_the_budget_pauses_and_holds_say() {
    let mut world = update(1, 1, "1")
        .request(1, RequestKind::Drain, true)
        .failed("web", 3);
    world.paused = Some(Refusal::new(ReasonCode::Paused, "paused"));
    world.holds = vec![Waiting::new(ReasonCode::MassFailure, "many nodes vanished")];
    assert_eq!(stops(&world.plan()), [(1, StopReason::Drain)]);
}

#[test]
fn nothing_voluntary_happens_while_everything_is_held() {
    let mut world = update(9, 0, "9").request(3, RequestKind::Restart, false);
    world.holds = vec![Waiting::new(
        ReasonCode::Unconfirmed,
        "the manager has just started",
    )];
    let plan = world.plan();
    assert!(plan.acts.is_empty());
    assert_eq!(waits(&plan), [ReasonCode::Unconfirmed]);
}

#[test]
fn a_paused_update_stops_nothing_but_operators_still_can() {
    let mut world = update(5, 1, "2").request(2, RequestKind::Restart, false);
    world.paused = Some(Refusal::new(ReasonCode::Paused, "paused by an operator"));
    let plan = world.plan();
    assert_eq!(stops(&plan), [(2, StopReason::Restart)]);
    assert_eq!(waits(&plan), [ReasonCode::Paused]);
}

#[test]
fn too_many_failures_pause_the_update_with_the_last_reason() {
    let world = update(5, 1, "2").failed("web", 1);
    let plan = world.plan();
    assert!(
        matches!(&plan.acts[..], [Act::Pause { reason, .. }] if reason.message.contains("it crashed")),
        "{plan:?}"
    );
    let tolerant = |version| {
        with(
            web(version, 1, "2"),
            "rollout",
            json!({ "batch": "2", "maxFailed": 1 }),
        )
    };
    let world = World::new(&[tolerant("v1")], &[tolerant("v2")])
        .nodes("web", 5)
        .failed("web", 1);
    assert_eq!(stopped(&world.plan()).len(), 2);
}

#[test]
fn an_update_without_progress_pauses_at_its_deadline() {
    let mut world = update(2, 2, "1");
    world.deadlines.insert(code("web"), Duration::from_secs(1));
    assert!(
        !world
            .plan()
            .acts
            .iter()
            .any(|act| matches!(act, Act::Pause { .. }))
    );
    world.deadlines.insert(code("web"), Duration::ZERO);
    let plan = world.plan();
    assert!(
        matches!(&plan.acts[..], [Act::Pause { reason, .. }] if reason.code == ReasonCode::ProgressDeadline)
    );
}

#[test]
fn nodes_out_of_reach_are_named_and_not_counted() {
    for (status, reason) in [
        (NodeStatus::Unreachable, ReasonCode::Unreachable),
        (NodeStatus::Unconfirmed, ReasonCode::Unconfirmed),
        (NodeStatus::Assigned, ReasonCode::Starting),
        (NodeStatus::Stopping, ReasonCode::Replacing),
    ] {
        let plan = update(3, 2, "9").status(1, status).plan();
        assert!(stopped(&plan).is_empty(), "{status:?}");
        assert!(
            waits(&plan).contains(&reason),
            "{status:?}: {:?}",
            plan.waiting
        );
    }
}

#[test]
fn a_cordoned_node_is_not_given_anything_new() {
    let world = update(3, 1, "1").node(1, |node| node.cordoned = true);
    let plan = world.plan();
    assert!(
        matches!(
            &plan.acts[..],
            [Act::Stop {
                reason: StopReason::Update,
                target: None,
                ..
            }]
        ),
        "{plan:?}"
    );
}

#[test]
fn a_summary_tells_before_the_start_what_an_update_does() {
    let world = update(4, 2, "1");
    let releases = &world.releases;
    let (from, to) = (&releases[&world.other.unwrap()], &releases[&world.active]);
    let summary = plan_summary(from, to, releases, &world.nodes, &world.waiting);
    let template = &summary.templates[0];
    assert_eq!(
        (
            template.restart.len(),
            template.ready,
            template.lowest_ready,
            template.floor
        ),
        (4, 4, 3, 2)
    );
    assert_eq!(
        template.restart[0].message,
        "the template's settings changed"
    );
    assert!(summary.blockers.is_empty());

    let tight = update(2, 2, "1");
    let summary = plan_summary(from, to, releases, &tight.nodes, &tight.waiting);
    assert_eq!(summary.templates[0].lowest_ready, 2);
    assert_eq!(summary.blockers[0].code, ReasonCode::NeedsContainer);
    let summary = plan_summary(
        from,
        to,
        releases,
        &tight.nodes,
        &update(0, 0, "1").spare("worker").waiting,
    );
    assert!(summary.blockers.is_empty(), "{:?}", summary.blockers);
    let summary = plan_summary(from, to, releases, &[], &[]);
    assert_eq!(summary.blockers[0].code, ReasonCode::MinimumUnreachable);
}
