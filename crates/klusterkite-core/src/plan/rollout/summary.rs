//! What an update would do to the nodes, told before it starts.

use std::collections::{BTreeMap, BTreeSet};

use klusterkite_wire::{ConfigurationId, NodeId, TemplateCode};
use serde::{Deserialize, Serialize};

use super::facts::{Facts, TemplateFacts};
use super::{Node, RolloutInput, WaitingContainer, surge};
use crate::plan::assignment::fits;
use crate::plan::compatibility::RestartReason;
use crate::reason::{ReasonCode, Waiting};
use crate::release::Release;
use crate::time::Timestamp;

/// Says what a move between two releases does to the nodes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlanSummary {
    /// Every template of both releases.
    pub templates: Vec<TemplateSummary>,
    /// What keeps the move from coming to its end as things are now.
    pub blockers: Vec<Waiting>,
}

/// Says what a move between two releases does to the nodes of one template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TemplateSummary {
    /// The template.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub template: TemplateCode,
    /// Nodes that are restarted, oldest first.
    pub restart: Vec<NodeRestart>,
    /// Nodes that are ready now.
    pub ready: u32,
    /// The lowest number of ready nodes during the move, crashes aside.
    pub lowest_ready: u32,
    /// The number of ready nodes that the move never goes below.
    pub floor: u32,
}

/// Says which node is restarted and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeRestart {
    /// The node.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub node_id: NodeId,
    /// Why it cannot run on.
    pub reason: RestartReason,
    /// The reason as a sentence.
    pub message: String,
}

/// Tells what moving the nodes from one release to another would do.
///
/// `releases` are those that the nodes run, `waiting` the containers without work.
pub fn plan_summary(
    from: &Release,
    to: &Release,
    releases: &BTreeMap<ConfigurationId, Release>,
    nodes: &[Node],
    waiting: &[WaitingContainer],
) -> PlanSummary {
    let (requests, gates, deadlines) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let input = RolloutInput {
        now: Timestamp::default(),
        active: to,
        other: Some(from),
        releases,
        nodes,
        requests: &requests,
        waiting,
        gates: &gates,
        paused: None,
        holds: &[],
        resource_moving: false,
        deadlines: &deadlines,
    };
    let facts = Facts::new(&input);
    let templates = facts.templates.values();
    PlanSummary {
        templates: templates
            .clone()
            .map(|template| summary(&facts, template))
            .collect(),
        blockers: templates
            .flat_map(|template| blockers(&facts, template))
            .collect(),
    }
}

fn summary(facts: &Facts<'_>, template: &TemplateFacts<'_>) -> TemplateSummary {
    let mut nodes = template.nodes.clone();
    nodes.sort_by_key(|node| (node.started, &node.id));
    let restart = |node: &Node| {
        let reason = facts.obsolete.get(&node.id)?.clone();
        Some(NodeRestart {
            node_id: node.id.clone(),
            message: reason.to_string(),
            reason,
        })
    };
    TemplateSummary {
        template: template.code.clone(),
        restart: nodes.into_iter().filter_map(restart).collect(),
        ready: template.ready,
        lowest_ready: lowest_ready(facts, template),
        floor: if template.active.is_some() {
            template.floor
        } else {
            0
        },
    }
}

fn lowest_ready(facts: &Facts<'_>, template: &TemplateFacts<'_>) -> u32 {
    if template.active.is_none() {
        return 0;
    }
    let at_once = template.batch.min(ready_to_replace(facts, template));
    // At the floor an additional node comes before the first one stops.
    template
        .ready
        .saturating_sub(at_once)
        .max(template.floor)
        .min(template.ready)
}

fn ready_to_replace(facts: &Facts<'_>, template: &TemplateFacts<'_>) -> u32 {
    template
        .nodes
        .iter()
        .filter(|node| facts.is_obsolete(node) && facts.is_ready(node))
        .count() as u32
}

fn blockers(facts: &Facts<'_>, template: &TemplateFacts<'_>) -> Vec<Waiting> {
    let Some(active) = template.active else {
        return Vec::new();
    };
    let code = template.code;
    let mut blockers = Vec::new();
    let containers = containers(facts, |container_type, runtime| {
        fits(active, container_type, runtime)
    });
    if containers < active.minimum as usize {
        let message = format!(
            "`{code}` must have {} nodes, and {containers} containers can run it",
            active.minimum
        );
        blockers.push(Waiting::new(ReasonCode::MinimumUnreachable, message).with("template", code));
    }
    let to_replace = ready_to_replace(facts, template);
    if to_replace > 0
        && template.ready <= template.floor
        && !surge::is_possible(facts, template, to_replace)
    {
        let message = surge::sentence(facts, template);
        blockers.push(Waiting::new(ReasonCode::NeedsContainer, message).with("template", code));
    }
    for node in template.nodes.iter().filter(|node| facts.is_obsolete(node)) {
        if !active.packages.contains_key(&node.runtime) {
            let message = format!(
                "`{code}` has no packages for runtime `{}` of node `{}`",
                node.runtime, node.id
            );
            let blocker = Waiting::new(ReasonCode::NoPackages, message).with("template", code);
            blockers.push(
                blocker
                    .with("node", &node.id)
                    .with("runtime", &node.runtime),
            );
        }
    }
    blockers
}

/// Counts containers, with and without a node, that pass a test.
fn containers(
    facts: &Facts<'_>,
    passes: impl Fn(&klusterkite_wire::ContainerType, &klusterkite_wire::Runtime) -> bool,
) -> usize {
    let nodes = facts.input.nodes.iter().filter(|node| !node.cordoned);
    let nodes = nodes.map(|node| (&node.id, &node.container_type, &node.runtime));
    let waiting = facts.input.waiting.iter();
    let waiting = waiting.map(|container| {
        (
            &container.node_id,
            &container.container_type,
            &container.runtime,
        )
    });
    let passing = nodes
        .chain(waiting)
        .filter(|(_, container_type, runtime)| passes(container_type, runtime));
    passing.map(|(id, _, _)| id).collect::<BTreeSet<_>>().len()
}
