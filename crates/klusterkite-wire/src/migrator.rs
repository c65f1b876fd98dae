//! Executor ↔ migrator and manager ↔ executor: JSON-RPC 2.0, one message per line, on stdin and stdout.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{MigratorName, Point, ResourceCode};

/// Version of the migrator protocol, sent in `initialize`.
pub const MIGRATOR_PROTOCOL: u32 = 1;

/// Largest line that either side accepts, in bytes.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// One JSON-RPC message: request (`id` and `method`), notification (`method` only) or response (`id` and `result` or `error`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RpcMessage {
    /// Always `2.0`.
    pub jsonrpc: String,
    /// Number of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// Method of a request or notification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Value>,
    /// Result of a successful call; `Some(Value::Null)` when the call returned null.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub result: Option<Value>,
    /// Error of a failed call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RpcError>,
}

/// Error of a failed call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RpcError {
    /// JSON-RPC code: -32700 parse, -32601 unknown method, -32602 bad parameters, -32000 failed.
    pub code: i64,
    /// One sentence: what failed, on which object.
    pub message: String,
    /// More, for the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

impl RpcMessage {
    /// Makes a request.
    pub fn request(id: u64, method: &str, params: Value) -> Self {
        Self {
            id: Some(id),
            method: Some(method.to_owned()),
            params: Some(params),
            ..Self::empty()
        }
    }

    /// Makes a notification.
    pub fn notification(method: &str, params: Value) -> Self {
        Self {
            method: Some(method.to_owned()),
            params: Some(params),
            ..Self::empty()
        }
    }

    /// Makes the response to a request that worked.
    pub fn result(id: u64, result: Value) -> Self {
        Self {
            id: Some(id),
            result: Some(result),
            ..Self::empty()
        }
    }

    /// Makes the response to a request that failed.
    pub fn error(id: Option<u64>, code: i64, message: impl Into<String>) -> Self {
        let error = RpcError {
            code,
            message: message.into(),
            data: None,
        };
        Self {
            id,
            error: Some(error),
            ..Self::empty()
        }
    }

    fn empty() -> Self {
        let jsonrpc = "2.0".to_owned();
        Self {
            jsonrpc,
            id: None,
            method: None,
            params: None,
            result: None,
            error: None,
        }
    }
}

/// Reads `null` as a present value, so that a null result differs from no result.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Says on which side of the nodes a resource moves (seed).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub enum DependencyType {
    /// Upgraded before the nodes, downgraded after them (a database schema).
    CodeDependsOnResource,
    /// Upgraded after the nodes, downgraded before them (a web site).
    ResourceDependsOnCode,
}

/// Parameters of `initialize`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct InitializeParams {
    /// [`MIGRATOR_PROTOCOL`].
    pub protocol: u32,
}

/// Result of `initialize`: what a migrator is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct MigratorDescription {
    /// [`MIGRATOR_PROTOCOL`].
    pub protocol: u32,
    /// Name for people.
    pub name: String,
    /// Side of the nodes on which its resources move.
    pub dependency_type: DependencyType,
    /// Order among migrators: descending on upgrade, ascending on downgrade.
    #[serde(default)]
    pub priority: f64,
    /// The line of points, oldest first.
    pub points: Vec<Point>,
    /// Points that cannot be left downward again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub irreversible: Vec<Point>,
}

/// Result of a seeder's `initialize`: what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeederDescription {
    /// [`MIGRATOR_PROTOCOL`].
    pub protocol: u32,
    /// Name for people.
    pub name: String,
}

/// One item of the result of `resources`, as a migrator gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceAnswer {
    /// Code, unique inside the migrator.
    pub code: ResourceCode,
    /// Name for people.
    pub name: String,
    /// Where the resource is; null: not created.
    #[serde(default)]
    pub current_point: Option<Point>,
    /// Why its point could not be read; the other resources are answered all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One resource of a [`DescribedMigrator`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ResourceDescription {
    /// Code, unique inside the migrator.
    pub code: ResourceCode,
    /// Name for people.
    pub name: String,
    /// Where the resource is; null: not created.
    pub current_point: Option<Point>,
}

/// Parameters of `currentPoint`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct CurrentPointParams {
    /// The resource.
    pub resource: ResourceCode,
}

/// Parameters of `migrate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct MigrateParams {
    /// The resource.
    pub resource: ResourceCode,
    /// The point to move it to.
    pub point: Point,
    /// Grows with each move that the manager orders; a migrator may refuse a smaller one than it saw.
    pub fence: u64,
    /// Says what would be done without doing it.
    #[serde(default)]
    pub dry_run: bool,
}

/// Result of `migrate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct MigrateResult {
    /// Where the resource is now.
    pub point: Point,
}

/// Notification `log`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct LogParams {
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// The line.
    pub message: String,
}

/// Executor → manager, notification `log`: a migrator's own [`LogParams`], or a line that came another way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecutorLogParams {
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// The line.
    pub message: String,
    /// Where it was said; without it by the notification `log`.
    #[serde(default)]
    pub stream: LineStream,
    /// Who wrote it to stderr.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrator: Option<MigratorName>,
}

/// Where a line about a move was said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LineStream {
    /// The migrator's notification `log`.
    #[default]
    Log,
    /// The migrator's stderr.
    Stderr,
    /// The migrator's notification `progress`.
    Progress,
    /// A remark of executor or manager.
    Note,
}

impl LineStream {
    /// Returns the name as it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Stderr => "stderr",
            Self::Progress => "progress",
            Self::Note => "note",
        }
    }
}

/// Notification `progress`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ProgressParams {
    /// Done so far, in units of the migrator.
    pub done: u64,
    /// To do in all.
    pub total: u64,
}

/// Result of a seeder's `seed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct SeedResult {
    /// False when everything was there already.
    pub changed: bool,
    /// What was done, one sentence.
    pub message: String,
}

/// Manager → executor, method `describe` (no parameters): starts every migrator of the template, reads its points and
/// all resources. Result: one item per migrator of the setting `KlusterKite.NodeManager.Migrators`, in its order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct DescribedMigrator {
    /// Name in the setting and the manifest.
    pub type_name: MigratorName,
    /// What it is; absent when it could not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<MigratorDescription>,
    /// Its resources, those that could be read.
    #[serde(default)]
    pub resources: Vec<ResourceDescription>,
    /// Why it, or some of its resources, could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
}

/// Manager → executor, method `currentPoint`: reads one resource. Result: its point, or null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecutorCurrentPointParams {
    /// The migrator.
    pub migrator: MigratorName,
    /// The resource.
    pub resource: ResourceCode,
}

/// Manager → executor, method `migrate`: moves one resource. Result: [`MigrateResult`]. `log` and `progress`
/// notifications come meanwhile. A failed call is an [`RpcError`] whose message names migrator and resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ExecutorMigrateParams {
    /// The migrator.
    pub migrator: MigratorName,
    /// What to move and where.
    #[serde(flatten)]
    pub migrate: MigrateParams,
}
