//! Launcher → manager: "what should I be?".

use serde::{Deserialize, Serialize};

use crate::{ConfigurationId, ContainerType, Incarnation, NodeId, Runtime, Secret, TemplateCode};

/// Program that a template without an `entryPoint` of its own starts.
pub const DEFAULT_ENTRY_POINT: &str = "klusterkite-service";

/// How many last output lines a crash report carries at most.
pub const CRASH_LINES_MAX: usize = 50;

/// Longest output line in a crash report, in bytes; longer ones are cut.
pub const CRASH_LINE_BYTES_MAX: usize = 2048;

/// Exit codes by which a program says that starting it again does not help before something else changes: `EX_CONFIG`
/// of `sysexits.h`, and what s6 and runit take for "failed for good".
pub const PERMANENT_EXIT_CODES: [u8; 2] = [78, 125];

/// Seconds between a launcher's own TERM and its killing the node, when its configuration does not say: container
/// platforms kill after 10 to 30 s.
pub const STOP_GRACE_SECONDS: u32 = 30;

/// Time over which a launcher counts how often its node ended by itself.
pub const CRASH_LOOP_SECONDS: u64 = 600;

/// How many ends within [`CRASH_LOOP_SECONDS`] make a crash loop.
pub const CRASH_LOOP_CRASHES: u32 = 5;

/// Tells whether an end as crash reports describe it says that starting again does not help.
pub fn is_permanent(exit: &str) -> bool {
    let code = exit
        .strip_prefix("exit ")
        .and_then(|rest| rest.parse().ok());
    code.is_some_and(|code: u8| PERMANENT_EXIT_CODES.contains(&code))
}

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
    /// How often a node of this launcher ended by itself in the last ten minutes, this time included; 0: not counted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub crashes: u32,
}

impl CrashReport {
    /// Makes a report without output.
    pub fn of(exit: String) -> Self {
        Self {
            exit,
            last_lines: Vec::new(),
            crashes: 0,
        }
    }

    /// Tells whether the node ends again and again.
    pub fn is_loop(&self) -> bool {
        self.crashes >= CRASH_LOOP_CRASHES
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
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
