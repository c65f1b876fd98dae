//! Rows: what the tables hold. Times are Unix milliseconds; nested values are stored as JSON text.

use std::collections::BTreeMap;

use klusterkite_core::configuration::ConfigurationState;
use klusterkite_core::plan::assignment::Explanation;
use klusterkite_core::plan::resources::Side;
use klusterkite_core::plan::rollout::{NodeStatus, StopReason, Target};
use klusterkite_core::reason::Refusal;
use klusterkite_core::release::FrozenPackages;
use klusterkite_core::settings::Settings;
use klusterkite_wire::link::{Containment, Endpoint, Module, ProcessReport};
use klusterkite_wire::start::CrashReport;
use klusterkite_wire::{
    ConfigurationId, ContainerType, Incarnation, MigratorName, NodeId, OrderId, Point,
    ResourceCode, Runtime, TemplateCode,
};
use serde::{Deserialize, Serialize};

/// A configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigurationRow {
    /// Id.
    pub id: ConfigurationId,
    /// Name for people.
    pub name: String,
    /// Major version label.
    pub major_version: i64,
    /// Minor version label.
    pub minor_version: i64,
    /// Notes.
    pub notes: String,
    /// State.
    pub state: ConfigurationState,
    /// Marked as stable.
    pub is_stable: bool,
    /// Creation.
    pub created: u64,
    /// First time the cluster moved to it.
    pub started: Option<u64>,
    /// Last time the cluster moved away from it.
    pub finished: Option<u64>,
    /// Grows with each change.
    pub revision: i64,
    /// What an operator wrote.
    pub settings: Settings,
    /// Resolved packages; present from Ready on.
    pub frozen: Option<FrozenPackages>,
}

/// A node id with what it runs; the row stays when the node is gone, because it holds the secret.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeRow {
    /// Node id.
    pub id: NodeId,
    /// SHA-256 of the node secret, hexadecimal.
    pub secret_hash: String,
    /// SHA-256 of the node token, hexadecimal.
    pub token_hash: Option<String>,
    /// Newest incarnation that has spoken to a manager; older ones are fenced.
    pub incarnation: Incarnation,
    /// Kind of the container.
    pub container_type: ContainerType,
    /// Runtime.
    pub runtime: Runtime,
    /// What it runs or is going to run; absent: gone, or waiting for a template.
    pub run: Option<NodeRun>,
    /// The container gets no new work.
    pub cordoned: bool,
    /// Last template of the node id: a `persistent` template goes back to it.
    pub last_template: Option<TemplateCode>,
    /// How it crashed last.
    pub last_crash: Option<CrashReport>,
}

/// What a node runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRun {
    /// Incarnation of this run; larger than the row's until the node has spoken.
    pub incarnation: Incarnation,
    /// Template.
    pub template: TemplateCode,
    /// Configuration.
    pub configuration_id: ConfigurationId,
    /// State.
    pub status: NodeStatus,
    /// Why it is in that state.
    #[serde(default)]
    pub reason: Option<String>,
    /// Since when.
    pub status_since: u64,
    /// When this incarnation was first seen.
    pub started: u64,
    /// Why it has its template; absent when it started without asking.
    #[serde(default)]
    pub explanation: Option<Explanation>,
    /// What its `hello` said; absent until it joined.
    #[serde(default)]
    pub joined: Option<NodeJoined>,
}

/// What a node said about itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeJoined {
    /// Host name or IP address.
    pub address: String,
    /// Roles.
    pub roles: Vec<String>,
    /// Packages.
    pub modules: Vec<Module>,
    /// Endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Processes.
    pub processes: Vec<ProcessReport>,
    /// How what it starts is held together.
    #[serde(default)]
    pub containment: Option<Containment>,
}

/// An order to a node.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderRow {
    /// Order id.
    pub id: OrderId,
    /// Node.
    pub node_id: NodeId,
    /// Incarnation that was told.
    pub incarnation: Incarnation,
    /// Kind and what belongs to it.
    pub kind: OrderRowKind,
    /// When it was stored.
    pub ordered: u64,
    /// Open orders count against the budget and are sent again.
    pub state: OrderState,
}

impl OrderRow {
    /// Tells whether the order still counts.
    pub fn is_open(&self) -> bool {
        matches!(self.state, OrderState::Open | OrderState::Accepted)
    }
}

/// Kinds of stored orders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum OrderRowKind {
    /// Fetch the packages of a target.
    Prefetch {
        /// The target.
        target: Target,
    },
    /// Stop, and start the target afterwards.
    Stop {
        /// Why.
        reason: StopReason,
        /// What comes next; absent: ask.
        target: Option<Target>,
        /// The reason in words, with what it was about; absent in orders of older releases.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
}

/// States of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "state",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum OrderState {
    /// Stored; sent until acknowledged.
    Open,
    /// The node carries it out.
    Accepted,
    /// Carried out: a prefetch is there; a stop's replacement is stable or nothing comes back.
    Done,
    /// Refused or given up.
    Failed {
        /// Why.
        reason: String,
    },
}

impl OrderState {
    /// Tells whether the order is still being sent or carried out.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Open | Self::Accepted)
    }
}

/// What an operator asked of a node; it waits for the budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRow {
    /// Node.
    pub node_id: NodeId,
    /// True: drain (stop and stay away); false: restart.
    pub drain: bool,
    /// Without regard to the budget.
    pub force: bool,
    /// Incarnation that it is about.
    pub incarnation: Incarnation,
}

/// Failure gate of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateRow {
    /// Template.
    pub template: TemplateCode,
    /// New instances that failed to become stable.
    pub failed: u32,
    /// Last failure.
    pub reason: Option<String>,
    /// Milliseconds left until the progress deadline; absent: not running.
    pub progress_left_ms: Option<u64>,
}

/// A migration.
#[derive(Debug, Clone, PartialEq)]
pub struct MigrationRow {
    /// Id.
    pub id: i64,
    /// `preparing`, `ready`, `paused`, `completed`, `failed`, `rolledBack`: spelled as in the API.
    pub state: String,
    /// True until it ended; at most one is.
    pub active: bool,
    /// Source.
    pub from: ConfigurationId,
    /// Destination.
    pub to: ConfigurationId,
    /// True: automatic mode.
    pub automatic: bool,
    /// True: the first failure of an automatic migration sends it back.
    pub rollback_on_failure: bool,
    /// Where an automatic migration is going to.
    pub goal: Side,
    /// Start.
    pub started: u64,
    /// End.
    pub finished: Option<u64>,
    /// Why it is paused or failed.
    pub reason: Option<Refusal>,
}

/// One line of the migration log.
#[derive(Debug, Clone, PartialEq)]
pub struct MigrationLogRow {
    /// Number.
    pub id: i64,
    /// Migration; absent for repairs without one.
    pub migration_id: Option<i64>,
    /// When.
    pub at: u64,
    /// Machine code.
    pub kind: String,
    /// Migrator template.
    pub template: Option<TemplateCode>,
    /// Migrator.
    pub migrator: Option<MigratorName>,
    /// Resource.
    pub resource: Option<ResourceCode>,
    /// Point before.
    pub from_point: Option<Point>,
    /// Point asked for.
    pub to_point: Option<Point>,
    /// One sentence.
    pub message: String,
}

/// A line that a migrator said while it moved a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigratorLineRow {
    /// Migration; 0 for moves without one.
    pub migration_id: i64,
    /// When the manager heard it.
    pub at: u64,
    /// Migrator template.
    pub template: TemplateCode,
    /// Migrator.
    pub migrator: MigratorName,
    /// Resource.
    pub resource: ResourceCode,
    /// Where it was said: `stderr`, `log`, `progress`, `executor`.
    pub stream: String,
    /// The line.
    pub line: String,
}

/// Says whose lines are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinesOf {
    /// Migration; 0: moves without one.
    pub migration_id: i64,
    /// Only this migrator template.
    pub template: Option<TemplateCode>,
    /// Only this migrator.
    pub migrator: Option<MigratorName>,
    /// Only this resource.
    pub resource: Option<ResourceCode>,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// Number.
    pub id: i64,
    /// When.
    pub at: u64,
    /// Machine code.
    pub kind: String,
    /// Who.
    pub actor: String,
    /// Object.
    pub object: String,
    /// One sentence.
    pub message: String,
    /// Values of the sentence.
    pub params: BTreeMap<String, String>,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRow {
    /// Login, unique (B48).
    pub login: String,
    /// argon2id hash in PHC form.
    pub password_hash: String,
    /// Blocked.
    pub is_blocked: bool,
    /// Names of roles.
    pub roles: Vec<String>,
}

/// A role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleRow {
    /// Name, unique.
    pub name: String,
    /// Privileges that it gives, by their names.
    pub allowed: Vec<String>,
    /// Privileges that it takes away.
    pub denied: Vec<String>,
}

/// Credentials of launchers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRow {
    /// Client id.
    pub id: String,
    /// SHA-256 of the secret (256 random bits need no slow hash), hexadecimal.
    pub secret_hash: String,
    /// Container types that it may ask for.
    pub container_types: Vec<ContainerType>,
}

/// A token of a user or client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// SHA-256 of the token, hexadecimal.
    pub hash: String,
    /// Kind.
    pub kind: TokenKind,
    /// Login or client id.
    pub subject: String,
    /// Hash of the token that it belongs to: revoking one ends both.
    pub family: String,
    /// End of life.
    pub expires: u64,
}

/// Kinds of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TokenKind {
    /// Access token of a user.
    UserAccess,
    /// Refresh token of a user, for one use.
    UserRefresh,
    /// Access token of a launcher client.
    ClientAccess,
}
