//! A cluster in a few words, and the plan for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use klusterkite_core::plan::rollout::{
    Act, Gate, Node, NodeStatus, Outcome, Request, RequestKind, RolloutInput, RolloutPlan,
    StopOrder, StopReason, Target, WaitingContainer, lint, rollout,
};
use klusterkite_core::reason::{ReasonCode, Refusal, Waiting};
use klusterkite_core::release::{FrozenPackages, Release};
use klusterkite_core::settings::Settings;
use klusterkite_core::time::Timestamp;
use klusterkite_wire::{ConfigurationId, Incarnation, NodeId, OrderId, TemplateCode};
use serde_json::{Value, json};

/// Everything that a rollout depends on, owned.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) releases: BTreeMap<ConfigurationId, Release>,
    pub(crate) active: ConfigurationId,
    pub(crate) other: Option<ConfigurationId>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) requests: BTreeMap<NodeId, Request>,
    pub(crate) waiting: Vec<WaitingContainer>,
    pub(crate) gates: BTreeMap<TemplateCode, Gate>,
    pub(crate) paused: Option<Refusal>,
    pub(crate) holds: Vec<Waiting>,
    pub(crate) resource_moving: bool,
    pub(crate) deadlines: BTreeMap<TemplateCode, Duration>,
}

/// Long ago enough that every ready node is stable.
pub(crate) const NOW: Timestamp = Timestamp(1_000_000_000);

/// Makes a release of templates given as settings JSON; `worker` on `linux-x64` unless a template says otherwise.
pub(crate) fn release(id: i64, templates: &[Value]) -> Release {
    let mut list = Vec::new();
    let mut frozen = serde_json::Map::new();
    for template in templates {
        let mut template = template.clone();
        if template.get("containerTypes").is_none() {
            template["containerTypes"] = json!(["worker"]);
        }
        let code = template["code"].as_str().unwrap().to_owned();
        frozen.insert(code, json!({ "linux-x64": [] }));
        list.push(template);
    }
    let settings: Settings =
        serde_json::from_value(json!({ "nodeTemplates": list, "runtimes": ["linux-x64"] }))
            .unwrap();
    let frozen: FrozenPackages =
        serde_json::from_value(json!({ "nodeTemplates": frozen })).unwrap();
    Release::new(ConfigurationId(id), &settings, &frozen).unwrap()
}

/// Describes a template `web` whose settings text is `version`.
pub(crate) fn web(version: &str, minimum: u32, batch: &str) -> Value {
    json!({ "code": "web", "configuration": version, "minimumRequiredInstances": minimum, "rollout": { "batch": batch } })
}

/// Describes the manager's template.
pub(crate) fn manager(version: &str) -> Value {
    json!({ "code": "manager", "configuration": version, "maximumNeededInstances": 1, "containerTypes": ["manager"],
        "rollout": { "surge": 0 }, "packageRequirements": [{ "id": "KlusterKite.NodeManager" }] })
}

/// Sets a field of a template, by a JSON pointer from its root.
pub(crate) fn with(mut template: Value, field: &str, value: Value) -> Value {
    template[field] = value;
    template
}

pub(crate) fn id(number: u32) -> NodeId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    NodeId::from_random_bytes(bytes)
}

pub(crate) fn code(text: &str) -> TemplateCode {
    text.parse().unwrap()
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for release in self.releases.values() {
            let mark = if release.id == self.active {
                "active"
            } else {
                ""
            };
            writeln!(f, "release {} {mark} (other: {:?})", release.id, self.other)?;
            for template in release.node_templates.values() {
                writeln!(
                    f,
                    "  {} {:?}: {}..{:?}, priority {}, {:?}, {:?}",
                    template.code,
                    template.configuration,
                    template.minimum,
                    template.maximum,
                    template.priority,
                    template.container_types,
                    template.rollout
                )?;
            }
        }
        for node in &self.nodes {
            writeln!(
                f,
                "node {} {} of {}: {:?}, prefetched {:?}, stop {:?}",
                number(&node.id),
                node.template,
                node.configuration_id,
                node.status,
                node.prefetched,
                node.stop
            )?;
        }
        write!(
            f,
            "waiting: {:?}",
            self.waiting
                .iter()
                .map(|container| number(&container.node_id))
                .collect::<Vec<_>>()
        )
    }
}

impl World {
    /// Makes a cluster that moves from release 1 to release 2, without nodes.
    pub(crate) fn new(from: &[Value], to: &[Value]) -> Self {
        let releases = [release(1, from), release(2, to)];
        Self {
            now: NOW,
            releases: releases
                .into_iter()
                .map(|release| (release.id, release))
                .collect(),
            active: ConfigurationId(2),
            other: Some(ConfigurationId(1)),
            nodes: Vec::new(),
            requests: BTreeMap::new(),
            waiting: Vec::new(),
            gates: BTreeMap::new(),
            paused: None,
            holds: Vec::new(),
            resource_moving: false,
            deadlines: BTreeMap::new(),
        }
    }

    /// Adds ready, stable nodes of release 1 that are prepared for release 2; earlier ones are older.
    pub(crate) fn nodes(mut self, template: &str, count: u32) -> Self {
        for _ in 0..count {
            self.add(template, 1);
        }
        self
    }

    /// Adds ready, stable nodes of release 2.
    pub(crate) fn new_nodes(mut self, template: &str, count: u32) -> Self {
        for _ in 0..count {
            self.add(template, 2);
        }
        self
    }

    fn add(&mut self, template: &str, configuration: i64) {
        let number = self.nodes.len() as u32 + 1;
        let container_type = if template == "manager" {
            "manager"
        } else {
            "worker"
        };
        self.nodes.push(Node {
            id: id(number),
            incarnation: Incarnation(1),
            container_type: container_type.parse().unwrap(),
            runtime: "linux-x64".parse().unwrap(),
            template: code(template),
            configuration_id: ConfigurationId(configuration),
            status: NodeStatus::Ready,
            status_since: Timestamp(u64::from(number)),
            started: Timestamp(u64::from(number)),
            cordoned: false,
            prefetched: Some(Target {
                template: code(template),
                configuration_id: self.active,
            }),
            stop: None,
        });
    }

    /// Adds a container that waits for work.
    pub(crate) fn spare(mut self, container_type: &str) -> Self {
        self.waiting.push(WaitingContainer {
            node_id: id(1000 + self.waiting.len() as u32),
            container_type: container_type.parse().unwrap(),
            runtime: "linux-x64".parse().unwrap(),
        });
        self
    }

    /// Changes the nth node, counted from 1.
    pub(crate) fn node(mut self, number: u32, change: impl FnOnce(&mut Node)) -> Self {
        change(&mut self.nodes[number as usize - 1]);
        self
    }

    pub(crate) fn status(self, number: u32, status: NodeStatus) -> Self {
        self.node(number, |node| node.status = status)
    }

    pub(crate) fn request(mut self, number: u32, kind: RequestKind, force: bool) -> Self {
        self.requests.insert(id(number), Request { kind, force });
        self
    }

    pub(crate) fn failed(mut self, template: &str, failed: u32) -> Self {
        self.gates.insert(
            code(template),
            Gate {
                failed,
                reason: Some("it crashed".to_owned()),
            },
        );
        self
    }

    pub(crate) fn input(&self) -> RolloutInput<'_> {
        RolloutInput {
            now: self.now,
            active: &self.releases[&self.active],
            other: self.other.map(|id| &self.releases[&id]),
            releases: &self.releases,
            nodes: &self.nodes,
            requests: &self.requests,
            waiting: &self.waiting,
            gates: &self.gates,
            paused: self.paused.clone(),
            holds: &self.holds,
            resource_moving: self.resource_moving,
            deadlines: &self.deadlines,
        }
    }

    /// Plans, and proves that the plan is sound and that planning again adds nothing.
    pub(crate) fn plan(&self) -> RolloutPlan {
        let input = self.input();
        let plan = rollout(&input);
        let contradictions = lint(&input, &plan);
        assert!(
            contradictions.is_empty(),
            "{contradictions:#?}\n{plan:#?}\n{self:#?}"
        );
        let waits: BTreeSet<_> = plan.waiting.iter().collect();
        assert_eq!(waits.len(), plan.waiting.len(), "{:#?}", plan.waiting);
        let mut after = self.clone();
        after.write_down(&plan);
        let again = rollout(&after.input());
        let new: Vec<&Act> = again
            .acts
            .iter()
            .filter(|act| !matches!(act, Act::Prefetch { .. }))
            .collect();
        assert!(
            new.is_empty(),
            "planning again adds {new:#?}\nto {plan:#?}\nin {self:#?}"
        );
        plan
    }

    /// Records a plan's acts as the manager's store does, before anything happens.
    pub(crate) fn write_down(&mut self, plan: &RolloutPlan) {
        for act in &plan.acts {
            match act {
                Act::Prefetch { .. } => {}
                Act::Stop {
                    node,
                    reason,
                    target,
                } => {
                    self.requests.remove(node);
                    let now = self.now;
                    let node = self.find(node);
                    let (incarnation, target) = (node.incarnation, target.clone());
                    node.stop = Some(StopOrder {
                        order_id: OrderId(1),
                        incarnation,
                        reason: *reason,
                        target,
                        ordered: now,
                    });
                }
                Act::CloseOrder { node, outcome, .. } => {
                    let target = self.find(node).stop.take().and_then(|order| order.target);
                    if *outcome == Outcome::GivenUp
                        && let Some(target) = target
                    {
                        self.gates.entry(target.template).or_default().failed += 1;
                    }
                }
                Act::Pause { reason, .. } => self.paused = Some(reason.clone()),
            }
        }
    }

    pub(crate) fn find(&mut self, id: &NodeId) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.id == *id).unwrap()
    }
}

/// Lists the stops of a plan as node numbers with reasons.
pub(crate) fn stops(plan: &RolloutPlan) -> Vec<(u32, StopReason)> {
    let stop = |act: &Act| match act {
        Act::Stop { node, reason, .. } => Some((number(node), *reason)),
        _ => None,
    };
    plan.acts.iter().filter_map(stop).collect()
}

/// Lists the numbers of the nodes that stop.
pub(crate) fn stopped(plan: &RolloutPlan) -> Vec<u32> {
    stops(plan).into_iter().map(|(number, _)| number).collect()
}

pub(crate) fn prefetched(plan: &RolloutPlan) -> Vec<u32> {
    let prefetch = |act: &Act| match act {
        Act::Prefetch { node, .. } => Some(number(node)),
        _ => None,
    };
    plan.acts.iter().filter_map(prefetch).collect()
}

/// Lists what a plan waits for.
pub(crate) fn waits(plan: &RolloutPlan) -> Vec<ReasonCode> {
    plan.waiting.iter().map(|waiting| waiting.code).collect()
}

fn number(node: &NodeId) -> u32 {
    u32::from_str_radix(&node.as_str()[..8], 16).unwrap()
}
