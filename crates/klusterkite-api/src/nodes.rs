//! Nodes and templates.

use klusterkite_core::plan::assignment::Explanation;
use klusterkite_core::plan::rollout::NodeStatus;
use klusterkite_core::reason::{Operation, Waiting};
use klusterkite_wire::link::{Containment, Endpoint, Module, ProcessReport};
use klusterkite_wire::{
    ConfigurationId, ContainerType, Incarnation, NodeId, Runtime, TemplateCode,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Node id.
    pub node_id: NodeId,
    /// Template.
    pub template: TemplateCode,
    /// Kind of its container.
    pub container_type: ContainerType,
    /// Runtime (RID).
    pub runtime: Runtime,
    /// Configuration that it was made from.
    pub configuration_id: ConfigurationId,
    /// State.
    pub status: NodeStatus,
    /// Why it is in that state, when there is more to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// It has to restart to fit the Active configuration.
    pub is_obsolete: bool,
    /// Why it has to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obsolete_reason: Option<String>,
    /// Incarnation.
    pub incarnation: Incarnation,
    /// Host name or IP address; empty until it has joined.
    pub address: String,
    /// Roles.
    pub roles: Vec<String>,
    /// Packages that it is made of.
    pub modules: Vec<Module>,
    /// HTTP endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Processes.
    pub processes: Vec<ProcessReport>,
    /// How what it starts is held together, and which limits are enforced; absent until it has joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containment: Option<Containment>,
    /// Since when it is in its state, RFC 3339.
    pub since: String,
    /// Its container gets no new work.
    pub cordoned: bool,
    /// An order that is not finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<NodeOrder>,
    /// What an operator asked for and the budget does not allow yet: `restart`, `drain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    /// How it crashed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_crash: Option<String>,
    /// What can be done with it (`restart`, `drain`, `cordon`, `uncordon`).
    #[serde(default)]
    pub operations: Vec<Operation>,
}

/// A container in which nothing runs, as far as the manager knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Id of the node that ran there, or would.
    pub node_id: NodeId,
    /// Kind of the container.
    pub container_type: ContainerType,
    /// Runtime (RID).
    pub runtime: Runtime,
    /// Whether it gets no work, finds none, or is silent.
    pub state: ContainerState,
    /// Why nothing runs there, one sentence.
    pub reason: String,
    /// Template of the last node there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_template: Option<TemplateCode>,
    /// How that crashed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_crash: Option<String>,
    /// What can be done with it (`restart`, `drain`, `cordon`, `uncordon`).
    #[serde(default)]
    pub operations: Vec<Operation>,
}

/// Says why nothing runs in a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ContainerState {
    /// An operator took it out of service.
    Cordoned,
    /// Its launcher asks, and there is no work for it: spare capacity.
    Waiting,
    /// It does not ask.
    Away,
}

/// An order to a node that is not finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeOrder {
    /// `update`, `restart`, `drain`, `surplus`, `redistribution`, `templateRemoved`.
    pub reason: String,
    /// That in words, with what it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// When it was given, RFC 3339.
    pub ordered: String,
    /// Configuration that comes next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_configuration_id: Option<ConfigurationId>,
}

/// Says why a node has its template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeExplanation {
    /// The node.
    pub node_id: NodeId,
    /// The decision with candidates, counts and rule; absent when it started without asking.
    pub assignment: Option<Explanation>,
    /// One sentence.
    pub sentence: String,
    /// Why it has to restart to fit the Active configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obsolete_reason: Option<String>,
    /// The stop order that is not finished, with its reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<NodeOrder>,
    /// What the manager waits for, as far as it concerns this node or its template.
    pub waiting_on: Vec<Waiting>,
}

/// Asks for a restart, drain or cordon.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeRequest {
    /// Does it even when the template drops below its minimum; needs `UpgradeNode.Force`, is audited.
    #[serde(default)]
    pub force: bool,
}

/// Counts of a template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Template {
    /// Template code.
    pub code: TemplateCode,
    /// Name for people.
    pub name: String,
    /// Minimum.
    pub minimum: u32,
    /// Maximum; absent: unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum: Option<u32>,
    /// Priority.
    pub priority: f64,
    /// Container types that may run it.
    pub container_types: Vec<ContainerType>,
    /// Ready nodes with a valid lease.
    pub ready: u32,
    /// Assigned or starting nodes.
    pub starting: u32,
    /// Nodes that have to restart to fit the Active configuration.
    pub obsolete: u32,
    /// Nodes with an unfinished stop order.
    pub upgrading: u32,
    /// Nodes whose lease ended.
    pub unreachable: u32,
    /// What the manager waits for, as far as it concerns this template.
    #[serde(default)]
    pub waiting_on: Vec<Waiting>,
    /// What happened to its nodes since this manager leads.
    #[serde(default)]
    pub statistics: TemplateStatistics,
}

/// Counts what happened to the nodes of a template since a manager leads; another one starts at zero.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateStatistics {
    /// Since when it is counted, RFC 3339.
    pub since: String,
    /// Starts: each new incarnation is one.
    pub starts: u64,
    /// Starts that became ready.
    pub became_ready: u64,
    /// Starts that did not become ready in time, or were refused.
    pub failed_starts: u64,
    /// Nodes that ended by themselves.
    pub crashes: u64,
    /// Leases that ended.
    pub lost: u64,
    /// Milliseconds from the moment at which the manager first heard of a start until it was ready, all together.
    pub time_to_ready_total_ms: u64,
    /// The longest of these times, in milliseconds.
    pub time_to_ready_max_ms: u64,
}

/// One line that a process of a node wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeLine {
    /// Give it as `after` to go on behind this line; `0` for lines of a crash report.
    pub cursor: String,
    /// When the node read it, RFC 3339.
    pub at: String,
    /// Process of the manifest; `klusterkite-service` for the service host itself.
    pub process: String,
    /// `stdout` or `stderr`; `crash` for the last lines of a node that is not connected.
    pub stream: String,
    /// The line.
    pub line: String,
}
