//! Migrations.

use klusterkite_core::plan::migration::Step;
use klusterkite_core::plan::resources::Side;
use klusterkite_core::reason::{Operation, Refusal};
use klusterkite_wire::{ConfigurationId, MigratorName, Point, ResourceCode, TemplateCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// States of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum MigrationStatus {
    /// Resources of both sides are being read.
    Preparing,
    /// Operations are allowed, or run.
    Ready,
    /// Held by an operator or a failure; `resume` goes on.
    Paused,
    /// The cluster is at the destination.
    Completed,
    /// Ended with an error that no step can mend.
    Failed,
    /// The cluster is back at the source.
    RolledBack,
}

/// Who releases the steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum MigrationMode {
    /// The operator releases each step.
    #[default]
    Manual,
    /// All steps run; the first failure stops.
    Automatic,
}

/// What an automatic migration does at its first failure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnFailure {
    /// Pauses with the reason.
    #[default]
    Pause,
    /// Goes back to the source.
    Rollback,
}

/// A migration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Migration {
    /// Id.
    pub id: i64,
    /// State.
    pub state: MigrationStatus,
    /// Source.
    pub from_configuration_id: ConfigurationId,
    /// Destination.
    pub to_configuration_id: ConfigurationId,
    /// Who releases the steps.
    pub mode: MigrationMode,
    /// What happens at the first failure.
    pub on_failure: OnFailure,
    /// Where an automatic migration is going to.
    pub goal: Side,
    /// When it started, RFC 3339.
    pub started: String,
    /// When it ended, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<String>,
    /// Computed step, while it is active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
    /// Why it is paused or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Refusal>,
    /// What can be done.
    #[serde(default)]
    pub operations: Vec<Operation>,
}

/// Starts a migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MigrationCreate {
    /// Destination.
    pub to_configuration_id: ConfigurationId,
    /// Who releases the steps.
    #[serde(default)]
    pub mode: MigrationMode,
    /// Refuses when the plan with this id is no longer the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_id: Option<String>,
    /// What happens at the first failure.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Accepts a Faulted destination.
    #[serde(default)]
    pub retry_faulted: bool,
}

/// Asks for a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanRequest {
    /// Destination.
    pub to_configuration_id: ConfigurationId,
}

/// What a migration would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MigrationPlan {
    /// Id made of the plan's inputs; give it to the start.
    pub plan_id: String,
    /// Source.
    pub from_configuration_id: ConfigurationId,
    /// Destination.
    pub to_configuration_id: ConfigurationId,
    /// Steps, moves of resources, restarts of nodes, blockers.
    #[serde(flatten)]
    pub plan: klusterkite_core::plan::migration::MigrationPlan,
}

/// Chooses the end that the nodes move to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodesRequest {
    /// Wanted end.
    pub target: Side,
}

/// Moves resources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourcesRequest {
    /// Resources to move; the manager sorts them.
    pub resources: Vec<ResourceRequest>,
}

/// Moves one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceRequest {
    /// Migrator template.
    pub template_code: TemplateCode,
    /// Migrator.
    pub migrator_type_name: MigratorName,
    /// Resource.
    pub resource_code: ResourceCode,
    /// Wanted end; without a migration the goal is the last point and this is ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Side>,
}

/// One line that a migrator said while it moved a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MigratorLine {
    /// Give it as `after` to go on behind this line.
    pub cursor: String,
    /// When the manager heard it, RFC 3339.
    pub at: String,
    /// `stderr`, `log` or `progress` of the migrator, or `note` of executor and manager.
    pub stream: String,
    /// The line, without secrets that are recognised in URLs and parameters of connections.
    pub line: String,
    /// Migrator template.
    pub template_code: TemplateCode,
    /// Migrator.
    pub migrator_type_name: MigratorName,
    /// Resource.
    pub resource_code: ResourceCode,
}

/// One line of a migration's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MigrationLogEntry {
    /// Number, growing.
    pub id: i64,
    /// Migration; absent for repairs without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration_id: Option<i64>,
    /// When, RFC 3339.
    pub at: String,
    /// `started`, `resourceStarted`, `resourceMoved`, `resourceFailed`, `log`, `nodesStarted`, `paused`, `finished`, …
    pub kind: String,
    /// Migrator template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_code: Option<TemplateCode>,
    /// Migrator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrator_type_name: Option<MigratorName>,
    /// Resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_code: Option<ResourceCode>,
    /// Point before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_point: Option<Point>,
    /// Point asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_point: Option<Point>,
    /// One sentence.
    pub message: String,
}
