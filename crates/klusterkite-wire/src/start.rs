//! Launcher → manager: "what should I be?".

use serde::{Deserialize, Serialize};

use crate::{ConfigurationId, ContainerType, Incarnation, NodeId, Runtime, Secret, TemplateCode};

/// Program that a template without an `entryPoint` of its own starts.
pub const DEFAULT_ENTRY_POINT: &str = "klusterkite-service";

/// How many last output lines a crash report carries at most.
pub const CRASH_LINES_MAX: usize = 50;

/// Longest output line in a crash report, in bytes; longer ones are cut.
pub const CRASH_LINE_BYTES_MAX: usize = 2048;

/// Asks for a start configuration: `POST /api/v1/nodes/configuration` (client credentials).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct StartRequest {
    /// Identity of the launcher.
    pub node_id: NodeId,
    /// Secret that this node id came with first; another one gets 409 `nodeIdInUse`.
    pub node_secret: Secret,
    /// Incarnation that the node will start with.
    pub incarnation: Incarnation,
    /// Incarnation of the last start, if there was one; lower than the manager knows → 409 (a cloned disk).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_incarnation: Option<Incarnation>,
    /// Kind of the container.
    pub container_type: ContainerType,
    /// Runtime (RID) of the container.
    pub runtime: Runtime,
    /// How the last run ended, when it ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crash: Option<CrashReport>,
}

/// Tells how a service ended that nobody told to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct CrashReport {
    /// `exit 3`, `signal 11`, or why it could not be started.
    pub exit: String,
    /// Last lines of output, oldest first ([`CRASH_LINES_MAX`]).
    #[serde(default)]
    pub last_lines: Vec<String>,
}

/// Everything a launcher needs to start a node; also `next` in orders and the fallback file's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct StartConfiguration {
    /// Template that the node is made from.
    pub node_template: TemplateCode,
    /// Configuration that the template belongs to.
    pub configuration_id: ConfigurationId,
    /// The template's top-level settings, HOCON text.
    pub configuration: String,
    /// Resolved packages, exact and frozen.
    pub packages: Vec<PackageReference>,
    /// URL of the feed's service index.
    pub package_source: String,
    /// Addresses by which services find their own cluster, in random order.
    #[serde(default)]
    pub seeds: Vec<String>,
    /// Program to start in the service directory.
    #[serde(default = "default_entry_point")]
    pub entry_point: String,
    /// Seconds after its start within which the node has to be ready.
    #[serde(default = "default_start_deadline_seconds")]
    pub start_deadline_seconds: u32,
    /// Token for this node id and incarnation; absent in `next` and fallback files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_token: Option<Secret>,
}

/// Names one package with everything needed to verify it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct PackageReference {
    /// NuGet package id.
    pub id: String,
    /// Exact version, normalized.
    pub version: String,
    /// SHA-512 of the `.nupkg`, standard base64.
    pub sha512: String,
    /// Size of the `.nupkg` in bytes.
    pub size: u64,
}

/// Asks for a token after a start without asking: `POST /api/v1/nodes/{nodeId}/token`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct NodeTokenRequest {
    /// Secret of the node id.
    pub node_secret: Secret,
    /// Incarnation that runs now.
    pub incarnation: Incarnation,
    /// Incarnation before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_incarnation: Option<Incarnation>,
    /// Kind of the container.
    pub container_type: ContainerType,
    /// Runtime (RID) of the container.
    pub runtime: Runtime,
    /// Template that runs now.
    pub node_template: TemplateCode,
    /// Configuration that runs now.
    pub configuration_id: ConfigurationId,
    /// A `next` that did not become ready, so that the previous release runs again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<StartFailure>,
}

/// Reports that a start configuration did not become ready within its deadline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct StartFailure {
    /// Template that failed.
    pub node_template: TemplateCode,
    /// Configuration that failed.
    pub configuration_id: ConfigurationId,
    /// What happened, one sentence.
    pub reason: String,
    /// How its process ended, with its last lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crash: Option<CrashReport>,
}

/// Answers a [`NodeTokenRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct NodeTokenAnswer {
    /// Token for this node id and incarnation: good for the link and `/members` until a newer incarnation fences it.
    pub node_token: Secret,
}

/// Reports download progress and so renews an assignment: `POST /api/v1/nodes/{nodeId}/progress`
/// (client credentials; the node secret proves the identity).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ProgressReport {
    /// Secret of the node id.
    pub node_secret: Secret,
    /// What is being done.
    pub phase: ProgressPhase,
    /// Bytes done.
    pub bytes: u64,
    /// Bytes to do.
    pub total: u64,
}

/// Phases of an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub enum ProgressPhase {
    /// Packages are being fetched into the content store.
    Download,
    /// Packages are being extracted into a service directory.
    Extract,
    /// The service host is being started.
    Start,
}

/// Codes of a 503 that tell a launcher to wait and start nothing; any other 503 means "this URL is away".
pub const WAIT_CODES: [&str; 3] = ["clusterFull", "noTemplateForContainer", "cordoned"];

fn default_entry_point() -> String {
    DEFAULT_ENTRY_POINT.to_owned()
}

fn default_start_deadline_seconds() -> u32 {
    60
}
