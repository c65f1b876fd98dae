//! Measures the two decisions that have to be fast, and prints `NAME SAMPLE…` for each; `cargo xtask bench
//! decision` compares them with their bars.

#![expect(clippy::print_stdout, reason = "it is a program")]

use std::collections::BTreeMap;
use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use klusterkite_core::plan::assignment::{Ask, Occupancy, Occupant, assign};
use klusterkite_core::plan::migration::{MigrationContext, MigrationState, next};
use klusterkite_core::plan::resources::{Side, TemplateReading};
use klusterkite_core::plan::rollout::{Node, NodeStatus, RolloutInput, Running, rollout, short};
use klusterkite_core::release::{FrozenPackages, Release};
use klusterkite_core::settings::Settings;
use klusterkite_core::time::Timestamp;
use klusterkite_wire::{ConfigurationId, Incarnation, NodeId, TemplateCode};
use serde_json::json;

/// How often everything is measured.
const ROUNDS: usize = 15;

/// Size of the cluster.
const NODES: usize = 10_000;
const TEMPLATES: usize = 20;
const MIGRATORS: usize = 10;
const RESOURCES: usize = 1_000;

/// Questions of containers in a round.
const QUESTIONS: usize = 20_000;

/// Any moment, long after the nodes became ready.
const NOW: Timestamp = Timestamp(1_000_000_000);

fn main() -> Result<(), Box<dyn Error>> {
    let (mut steps, mut answers) = (Vec::new(), Vec::new());
    let releases = [release(1, "v1")?, release(2, "v2")?];
    let releases = BTreeMap::from(releases.map(|release| (release.id, release)));
    let nodes = nodes()?;
    let (before, after) = (readings("p1")?, readings("p1,p2,p3")?);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        black_box(step(&releases, &nodes, &before, &after));
        steps.push(start.elapsed().as_secs_f64() * 1000.0);
        answers.push(questions(&releases[&ConfigurationId(2)], &nodes)?);
    }
    let shown = |samples: &[f64]| {
        let samples: Vec<String> = samples
            .iter()
            .map(|sample| format!("{sample:.4}"))
            .collect();
        samples.join(" ")
    };
    println!("stepDecision {}", shown(&steps));
    println!("assignmentDecision {}", shown(&answers));
    Ok(())
}

/// Decides everything that one round of the manager's loop decides; returns how much there was to do.
fn step(
    releases: &BTreeMap<ConfigurationId, Release>,
    nodes: &[Node],
    before: &[TemplateReading],
    after: &[TemplateReading],
) -> usize {
    let (source, active) = (
        &releases[&ConfigurationId(1)],
        &releases[&ConfigurationId(2)],
    );
    let (requests, gates, deadlines) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let plan = rollout(&RolloutInput {
        now: NOW,
        active,
        other: Some(source),
        releases,
        nodes,
        requests: &requests,
        waiting: &[],
        gates: &gates,
        paused: None,
        holds: &[],
        resource_moving: false,
        deadlines: &deadlines,
    });
    let running = nodes.iter().map(|node| Running {
        template: &node.template,
        status: node.status,
        status_since: node.status_since,
        leaves: false,
    });
    let missing_nodes = !short(active, NOW, running).is_empty();
    let state = MigrationState::new(source, active, before, after);
    let context = MigrationContext {
        active: Side::Source,
        obsolete_nodes: false,
        missing_nodes,
        busy: false,
        paused: false,
        preparing: false,
    };
    black_box(next(&state, context, Side::Destination));
    plan.acts.len() + plan.obsolete.len()
}

/// Answers containers beside ten thousand nodes; returns answers per second.
fn questions(release: &Release, nodes: &[Node]) -> Result<f64, Box<dyn Error>> {
    let occupants = nodes.iter().map(|node| Occupant {
        id: &node.id,
        runs: Some(&node.template),
        becomes: None,
        keeps: None,
    });
    let occupancy = Occupancy::new(occupants);
    let ask = Ask {
        node_id: id(NODES + 1),
        container_type: "worker-3".parse()?,
        runtime: "linux-x64".parse()?,
        cordoned: false,
        draw: 7,
    };
    let start = Instant::now();
    for _ in 0..QUESTIONS {
        let taken = occupancy.beside(black_box(&ask.node_id));
        black_box(assign(release, &ask, &taken));
    }
    Ok(QUESTIONS as f64 / start.elapsed().as_secs_f64())
}

fn code(index: usize) -> String {
    format!("template-{index}")
}

/// Makes a release in which every other template depends on `version`.
fn release(number: i64, version: &str) -> Result<Release, Box<dyn Error>> {
    let mut frozen = serde_json::Map::new();
    let template = |index: usize| {
        let text = if index.is_multiple_of(2) { version } else { "" };
        json!({
            "code": code(index), "configuration": text, "minimumRequiredInstances": 400,
            "containerTypes": [format!("worker-{}", index % 5)],
            "rollout": { "batch": "10%" },
        })
    };
    for index in 0..TEMPLATES {
        frozen.insert(code(index), json!({ "linux-x64": [] }));
    }
    let templates: Vec<_> = (0..TEMPLATES).map(template).collect();
    let settings: Settings = serde_json::from_value(json!({
        "nodeTemplates": templates, "migratorTemplates": [{ "code": "db" }], "runtimes": ["linux-x64"],
    }))?;
    let frozen: FrozenPackages = serde_json::from_value(json!({ "nodeTemplates": frozen }))?;
    Ok(Release::new(ConfigurationId(number), &settings, &frozen)?)
}

fn id(index: usize) -> NodeId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&(index as u64).to_be_bytes());
    NodeId::from_random_bytes(bytes)
}

fn nodes() -> Result<Vec<Node>, Box<dyn Error>> {
    let mut nodes = Vec::new();
    for index in 0..NODES {
        let template = index % TEMPLATES;
        let code: TemplateCode = code(template).parse()?;
        nodes.push(Node {
            id: id(index),
            incarnation: Incarnation(1),
            container_type: format!("worker-{}", template % 5).parse()?,
            runtime: "linux-x64".parse()?,
            template: code,
            configuration_id: ConfigurationId(1),
            status: NodeStatus::Ready,
            status_since: Timestamp(1),
            started: Timestamp(index as u64),
            cordoned: false,
            prefetched: None,
            stop: None,
        });
    }
    Ok(nodes)
}

fn readings(points: &str) -> Result<Vec<TemplateReading>, Box<dyn Error>> {
    let points: Vec<&str> = points.split(',').collect();
    let resources: Vec<_> = (0..RESOURCES / MIGRATORS)
        .map(|index| json!({ "code": format!("resource-{index}"), "name": "", "currentPoint": "p1" }))
        .collect();
    let mut migrators = Vec::new();
    for index in 0..MIGRATORS {
        migrators.push(serde_json::from_value(json!({
            "typeName": format!("migrator-{index}"),
            "description": {
                "protocol": 1, "name": "", "dependencyType": "codeDependsOnResource", "points": points,
            },
            "resources": resources,
        }))?);
    }
    Ok(vec![TemplateReading {
        template: "db".parse()?,
        migrators,
        error: None,
    }])
}
