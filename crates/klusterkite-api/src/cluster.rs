//! State of the cluster: what a client polls.

use klusterkite_core::plan::migration::Step;
use klusterkite_core::plan::resources::{ReadError, ResourceKey, TemplateState};
use klusterkite_core::reason::{Operation, Waiting};
use klusterkite_wire::ConfigurationId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::migrations::Migration;

/// State of the cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterState {
    /// An operation runs (reading or moving resources).
    pub busy: bool,
    /// What runs, when busy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy_with: Option<String>,
    /// Computed step of the migration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_step: Option<Step>,
    /// Steps of the migration, in order.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// What can be done, with reasons where it cannot.
    pub operations: Vec<Operation>,
    /// Active configuration; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_configuration_id: Option<ConfigurationId>,
    /// Running migration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<Migration>,
    /// Resources that can be moved now, in the order in which they would be.
    pub migratable_resources: Vec<ResourceKey>,
    /// Migrator templates with their migrators and resources.
    pub templates: Vec<TemplateState>,
    /// Errors of the last reading of resources.
    #[serde(default)]
    pub resource_errors: Vec<ReadError>,
    /// What the manager waits for.
    pub waiting_on: Vec<Waiting>,
}

/// An operation was accepted and runs; the state tells how it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    /// One sentence.
    pub message: String,
}
