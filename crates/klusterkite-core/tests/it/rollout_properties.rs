//! What holds for every cluster: never below the floor by a voluntary act, always to an end, always with a reason.

use std::collections::BTreeMap;

use klusterkite_core::plan::rollout::{NodeStatus, RolloutPlan};
use klusterkite_core::reason::ReasonCode;
use klusterkite_wire::TemplateCode;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::world::{World, manager};

/// Ticks after which even the largest of these clusters has settled: each node takes some ticks, one after another.
const TICKS_MAX: usize = 600;

const CODES: [&str; 4] = ["alpha", "beta", "gamma", "delta"];

/// Describes one template: whether it exists in both releases and how it looks there.
#[derive(Debug, Clone)]
struct Kind {
    from: Option<Value>,
    to: Option<Value>,
}

prop_compose! {
    fn shape()(
        minimum in 0_u32..4, more in 0_u32..3, unlimited in any::<bool>(), batch in select(vec!["1", "2", "10%", "50%"]),
        surge in 1_u32..3, canary in 0_u32..3, priority in 0_u32..4, gpu in any::<bool>()
    ) -> Value {
        let maximum = if unlimited { Value::Null } else { json!(minimum + more) };
        let container_type = if gpu { "gpu" } else { "worker" };
        json!({ "minimumRequiredInstances": minimum, "maximumNeededInstances": maximum, "priority": f64::from(priority),
            "containerTypes": [container_type], "rollout": { "batch": batch, "surge": surge, "canary": canary } })
    }
}

fn kind(code: &'static str) -> impl Strategy<Value = Kind> {
    (shape(), shape(), any::<bool>(), 0_u32..8).prop_map(
        move |(mut from, mut other, changes, presence)| {
            from["code"] = json!(code);
            from["configuration"] = json!("v1");
            let mut to = from.clone();
            if changes {
                to["configuration"] = json!("v2");
                to["minimumRequiredInstances"] = other["minimumRequiredInstances"].take();
                to["maximumNeededInstances"] = other["maximumNeededInstances"].take();
                to["rollout"] = other["rollout"].take();
            }
            Kind {
                from: (presence != 0).then_some(from),
                to: (presence != 1).then_some(to),
            }
        },
    )
}

fn kinds() -> impl Strategy<Value = Vec<Kind>> {
    (
        kind(CODES[0]),
        kind(CODES[1]),
        kind(CODES[2]),
        kind(CODES[3]),
        1_usize..5,
    )
        .prop_map(|(a, b, c, d, count)| [a, b, c, d].into_iter().take(count).collect())
}

/// Gives every template a maximum: one without would take every container that another may need.
fn limited(mut kinds: Vec<Kind>) -> Vec<Kind> {
    let templates = kinds
        .iter_mut()
        .flat_map(|kind| [&mut kind.from, &mut kind.to])
        .flatten();
    for template in templates.filter(|template| template["maximumNeededInstances"].is_null()) {
        template["maximumNeededInstances"] =
            json!(template["minimumRequiredInstances"].as_u64().unwrap_or(0) + 1);
    }
    kinds
}

/// Makes a cluster that has settled in release 1 with containers of both types, and then activates release 2.
fn migrating(kinds: &[Kind], workers: u32, gpus: u32) -> World {
    let mut from: Vec<Value> = kinds.iter().filter_map(|kind| kind.from.clone()).collect();
    let mut to: Vec<Value> = kinds.iter().filter_map(|kind| kind.to.clone()).collect();
    from.push(manager("v1"));
    to.push(manager("v2"));
    let mut world = World::new(&from, &to).spare("manager");
    for _ in 0..workers {
        world = world.spare("worker");
    }
    for _ in 0..gpus {
        world = world.spare("gpu");
    }
    (world.active, world.other) = (world.other.unwrap(), None);
    world.settle(TICKS_MAX, |_, _| {});
    swap(&mut world);
    world
}

/// Activates the other release.
fn swap(world: &mut World) {
    let other = world
        .releases
        .keys()
        .copied()
        .find(|id| *id != world.active)
        .unwrap();
    world.other = Some(world.active);
    world.active = other;
    world.gates.clear();
}

fn floors(world: &World) -> BTreeMap<TemplateCode, u32> {
    let mut floors = BTreeMap::new();
    for release in [Some(world.active), world.other]
        .into_iter()
        .flatten()
        .map(|id| &world.releases[&id])
    {
        for (code, template) in &release.node_templates {
            let floor = floors.entry(code.clone()).or_insert(0);
            *floor = template.minimum.max(*floor);
        }
    }
    floors
}

/// Runs to the end and proves on the way that no template that was at its floor falls below it.
fn settle_above_floors(world: &mut World) -> RolloutPlan {
    let floors = floors(world);
    let mut reached: BTreeMap<TemplateCode, bool> = BTreeMap::new();
    for (code, floor) in &floors {
        reached.insert(code.clone(), world.ready(code) >= *floor);
    }
    world.settle(TICKS_MAX, |world, _| {
        for (code, floor) in &floors {
            let is_present = world.releases[&world.active]
                .node_templates
                .contains_key(code);
            let ready = world.ready(code);
            // A removed template may go below when its replacements are there.
            assert!(
                !is_present || !reached[code] || ready >= *floor,
                "{code}: {ready} of {floor}\n{world:#?}"
            );
            if ready >= *floor {
                reached.insert(code.clone(), true);
            }
        }
    })
}

/// Reasons for which a cluster may stay as it is: somebody has to bring a container.
fn needs_somebody(plan: &RolloutPlan) -> bool {
    let blocked = [
        ReasonCode::NeedsContainer,
        ReasonCode::BelowMinimum,
        ReasonCode::ReplacementsMissing,
    ];
    plan.waiting
        .iter()
        .any(|waiting| blocked.contains(&waiting.code))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn an_update_never_goes_below_the_floor_and_ends_or_says_what_it_needs(
        kinds in kinds(), workers in 0_u32..14, gpus in 0_u32..14
    ) {
        let mut world = migrating(&kinds, workers, gpus);
        let plan = settle_above_floors(&mut world);
        prop_assert!(plan.acts.is_empty(), "still acts: {plan:#?}");
        prop_assert!(plan.obsolete.is_empty() || needs_somebody(&plan), "{plan:#?}\n{world:#?}");
    }

    #[test]
    fn with_enough_containers_every_update_and_its_rollback_end(kinds in kinds().prop_map(limited), turn in 0_usize..30) {
        // Every template's maximum with surge fits, twice over, so nothing ever waits for a container.
        let mut world = migrating(&kinds, 60, 60);
        for _ in 0..turn {
            world.tick();
        }
        swap(&mut world);
        settle_above_floors(&mut world);
        swap(&mut world);
        let plan = settle_above_floors(&mut world);
        prop_assert!(plan.obsolete.is_empty(), "{plan:#?}");
        // With the migration the source's minimum ends too.
        world.other = None;
        let plan = settle_above_floors(&mut world);
        prop_assert!(plan.acts.is_empty() && plan.surge.is_empty() && plan.waiting.is_empty(), "{plan:#?}");
        for (code, template) in &world.releases[&world.active].node_templates {
            let ready = world.ready(code);
            prop_assert!(ready >= template.minimum && template.maximum.is_none_or(|maximum| ready <= maximum));
        }
    }

    #[test]
    fn assignments_never_exceed_the_maximum_and_fill_minimums_first(kinds in kinds(), workers in 0_u32..14, gpus in 0_u32..14) {
        let mut world = migrating(&kinds, workers, gpus);
        swap(&mut world);
        world.other = None;
        world.settle(TICKS_MAX, |_, _| {});
        let release = &world.releases[&world.active];
        let count = |code: &TemplateCode| world.nodes.iter().filter(|node| node.template == *code).count() as u32;
        for template in release.node_templates.values() {
            prop_assert!(template.maximum.is_none_or(|maximum| count(&template.code) <= maximum), "I6\n{world:?}");
            if count(&template.code) >= template.minimum {
                continue;
            }
            // L2: nobody of less importance has more than it must while another one lacks a container that fits.
            for other in release.node_templates.values().filter(|other| other.container_types == template.container_types) {
                prop_assert!(count(&other.code) <= other.minimum, "{} starves beside {}\n{world:?}", template.code, other.code);
            }
        }
    }

    #[test]
    fn whatever_nodes_do_the_plan_is_sound_and_explained(
        kinds in kinds(), workers in 0_u32..9,
        events in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..6), 0..40)
    ) {
        let mut world = migrating(&kinds, workers, 3);
        for (index, event) in events {
            // `plan`, and so every tick, lints the plan and plans again.
            world.tick();
            if world.nodes.is_empty() {
                continue;
            }
            let at = index.index(world.nodes.len());
            let now = world.now;
            let node = &mut world.nodes[at];
            match event {
                0 => node.status = NodeStatus::Failed,
                1 => node.status = NodeStatus::Unreachable,
                2 => node.status = NodeStatus::Unconfirmed,
                3 => node.cordoned = !node.cordoned,
                4 => {
                    node.incarnation.0 += 1;
                    (node.status, node.status_since, node.started) = (NodeStatus::Starting, now, now);
                }
                _ => { world.nodes.remove(at); }
            }
        }
    }
}
