//! Node ↔ manager: one WebSocket per node, one JSON message per text frame.

use serde::{Deserialize, Serialize};

use crate::start::StartConfiguration;
use crate::{
    ConfigurationId, ContainerType, Incarnation, LeaderEpoch, NodeId, OrderId, Runtime,
    TemplateCode,
};

/// Version of this protocol, sent in `hello`.
pub const LINK_PROTOCOL: u32 = 1;

/// Largest frame that a manager accepts, in bytes: a crash report and some hundred lines of output fit.
pub const FRAME_BYTES_MAX: usize = 4 << 20;

/// Largest frame that a node accepts from its manager, in bytes: ten thousand members fit, each with some roles and endpoints.
pub const MANAGER_FRAME_BYTES_MAX: usize = 16 << 20;

/// Seconds within which a node carries out an order: the longest drain delay, hook and grace of a node have to fit.
pub const STOP_DEADLINE_SECONDS: u32 = 300;

/// Seconds of a stop's deadline that a service host keeps for killing and leaving.
pub const STOP_RESERVE_SECONDS: u32 = 2;

/// What a node says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum NodeMessage {
    /// First message after each connect.
    Hello(Box<Hello>),
    /// Renews the lease.
    Heartbeat {
        /// Counts up; the manager's `lease` answers with it. With very many nodes it answers only every second of
        /// those that follow nothing but heartbeats; an answer stands for all heartbeats before it.
        seq: u64,
    },
    /// Sent when something changed.
    Status(NodeReport),
    /// Answers an order.
    Ack {
        /// The order.
        order_id: OrderId,
        /// What became of it.
        state: AckState,
        /// Why it was refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Answers [`ManagerMessage::Logs`].
    Logs(LogChunk),
    /// A clean leave: the node is gone as soon as this arrives.
    Bye {
        /// Why the node leaves.
        reason: String,
    },
}

/// Introduces a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// [`LINK_PROTOCOL`].
    pub protocol: u32,
    /// Incarnation of this run.
    pub incarnation: Incarnation,
    /// Template that the node is made from.
    pub template: TemplateCode,
    /// Configuration of the template.
    pub configuration_id: ConfigurationId,
    /// Kind of the container.
    pub container_type: ContainerType,
    /// Runtime (RID).
    pub runtime: Runtime,
    /// Host name or IP address by which other nodes reach this one.
    pub address: String,
    /// Roles of the node's packages.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Packages that the node is made of.
    #[serde(default)]
    pub modules: Vec<Module>,
    /// HTTP endpoints that the node offers.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
    /// Roles whose members the node wants to be told; `*` for all.
    #[serde(default)]
    pub watch: Vec<String>,
    /// How what the node starts is held together; a node of an older release does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containment: Option<Containment>,
    /// What the node is now.
    pub report: NodeReport,
    /// Last order that was carried out or is being carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_order_id: Option<OrderId>,
}

/// Says how what a node starts is held together, and which limits its container can enforce.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Containment {
    /// The rung of the ladder.
    pub level: ContainmentLevel,
    /// What can be limited: `cpu`, `memory`, `pids`.
    #[serde(default)]
    pub limits: Vec<String>,
    /// Why it is no higher rung.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Rungs of the ladder on which a node holds together what it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub enum ContainmentLevel {
    /// Control groups of the unified hierarchy: one for each process.
    ControlGroups,
    /// Process groups, adoption by the launcher, and a mark in the environment.
    ProcessGroups,
}

/// Names a package of a running node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Module {
    /// Package id.
    pub id: String,
    /// Exact version.
    pub version: String,
    /// SHA-512 of the package, base64.
    #[serde(default)]
    pub sha512: String,
}

/// Describes an HTTP endpoint of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Name in the manifest.
    pub name: String,
    /// TCP port on the node's address.
    pub port: u16,
    /// Public host name on the entry, `default` for any.
    pub host: String,
    /// Path prefix on the entry.
    pub route: String,
}

/// Tells the state of a node and its processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct NodeReport {
    /// State of the node.
    pub status: ReportedStatus,
    /// Why it is so, when it is not simply well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// States of the processes.
    #[serde(default)]
    pub processes: Vec<ProcessReport>,
}

/// States that a node reports about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub enum ReportedStatus {
    /// Processes are starting; not ready yet.
    Starting,
    /// All processes are ready.
    Ready,
    /// Takes no new work, endpoints are withdrawn.
    Draining,
    /// Processes are being stopped.
    Stopping,
    /// A process ended or cannot become ready.
    Failed,
}

/// Tells the state of one process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ProcessReport {
    /// Name in the manifest.
    pub name: String,
    /// State of the process.
    pub state: ProcessState,
    /// How often it was restarted in place.
    pub restarts: u32,
    /// How it ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<String>,
}

/// States of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub enum ProcessState {
    /// Started, not ready yet.
    Starting,
    /// Ready.
    Ready,
    /// Being stopped.
    Stopping,
    /// Ended.
    Ended,
}

/// What became of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub enum AckState {
    /// Stored by the node; it is being carried out.
    Accepted,
    /// Carried out.
    Done,
    /// Not carried out.
    Refused,
}

/// What a manager says to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum ManagerMessage {
    /// Answers `hello`.
    Welcome {
        /// Life of a lease in seconds.
        lease_seconds: u32,
        /// Pause between heartbeats in seconds, before jitter.
        heartbeat_seconds: u32,
        /// Epoch of the leader; older orders are refused.
        epoch: LeaderEpoch,
    },
    /// Tells the node to do something.
    Order(Box<Order>),
    /// Answers a heartbeat.
    Lease {
        /// Life of a lease in seconds.
        lease_seconds: u32,
        /// Number of the heartbeat.
        seq: u64,
    },
    /// Asks for output of the node's processes; a node that does not know the message does not answer.
    Logs(LogRequest),
    /// Tells who is there, for the roles that the node watches.
    Members(Members),
    /// A newer incarnation of this node id exists: the node stops itself.
    Fenced,
    /// Another manager is the leader; this one closes.
    Moved {
        /// URL of the leader.
        url: String,
    },
}

/// Asks for lines of output; each request is answered once, so that whoever reads slowly asks slowly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct LogRequest {
    /// Comes back in the answer.
    pub request: u64,
    /// Only lines after this cursor, oldest first; without it the last ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Only lines of this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// Most lines of the answer; the node may give fewer.
    pub lines: u32,
    /// How long to wait for a line if there is none yet, in seconds.
    #[serde(default)]
    pub wait_seconds: u32,
}

/// Lines of output of a node's processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct LogChunk {
    /// The request.
    pub request: u64,
    /// The lines, oldest first.
    pub lines: Vec<LogLine>,
    /// Where to go on: lines up to here were given, or are not of the process that was asked for.
    pub cursor: u64,
}

/// One line of output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct LogLine {
    /// Grows with each line of the node, over its restarts too.
    pub cursor: u64,
    /// When it was read, in Unix milliseconds.
    pub at: u64,
    /// Process of the manifest, or [`LOG_OF_HOST`].
    pub process: String,
    /// Where it was written.
    pub stream: LogStream,
    /// The line, without its end.
    pub line: String,
}

/// Where a line of output was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Name under which the service host's own log is found among the output of processes.
pub const LOG_OF_HOST: &str = "klusterkite-service";

/// Most lines of a [`LogChunk`].
pub const LOG_LINES_MAX: u32 = 1000;

/// Longest time that a node waits for a line, in seconds.
pub const LOG_WAIT_SECONDS_MAX: u32 = 20;

/// Tells a node to do something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Number of the order; a repeated one is answered again, not carried out again.
    pub id: OrderId,
    /// Epoch of the leader that gave it.
    pub epoch: LeaderEpoch,
    /// What to do.
    pub kind: OrderKind,
    /// Why, one sentence.
    pub reason: String,
    /// Seconds within which it has to be done.
    pub deadline_seconds: u32,
    /// What to start afterwards (`stop`), or what to fetch packages for (`prefetch`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<StartConfiguration>,
}

/// Kinds of orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub enum OrderKind {
    /// De-publish, drain, stop the processes, leave, exit.
    Stop,
    /// De-publish and take no new work, but keep running.
    Drain,
    /// Fetch the packages of `next` while the node runs.
    Prefetch,
}

/// Lists ready nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Members {
    /// Grows with each change.
    pub version: u64,
    /// Ready nodes, ordered by node id.
    pub members: Vec<Member>,
}

/// One ready node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Node id.
    pub node_id: NodeId,
    /// Template.
    pub template: TemplateCode,
    /// Roles.
    pub roles: Vec<String>,
    /// Host name or IP address.
    pub address: String,
    /// HTTP endpoints.
    pub endpoints: Vec<Endpoint>,
}
