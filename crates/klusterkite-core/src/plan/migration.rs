//! Moving the cluster from one configuration to another: resources that the code depends on, then the
//! nodes, then the resources that depend on the code. Each step can be taken back.
//!
//! Nothing about a migration's progress is stored here: its state is computed from what the migrators of
//! both configurations report, which configuration is Active, and whether nodes are obsolete. A rollback
//! is the same walk in the other direction.

mod automatic;
mod build;
mod course;
mod drive;
mod operations;
mod phases;
mod preview;
pub(crate) mod refusals;
mod steps;

pub use automatic::{Next, next};
pub use course::{may_roll_back, operations};
pub use drive::{
    Course, Drive, EXECUTOR_DEATHS_MAX, Ended, Turn, drive, ended, executor_deaths,
    failed_move_holds, holds_nodes, is_left, turn,
};
pub use operations::{MigrationContext, operations_without_state};
pub use preview::{MigrationPlan, MoveKind, PlannedMove, blocked, plan};
pub use steps::Step;

use serde::{Deserialize, Serialize};

use crate::plan::resources::{
    MigratorState, ReadError, ResourceKey, ResourceState, TemplateReading, TemplateState,
};
use crate::release::Release;

/// Where the resources stand between two configurations.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MigrationState {
    /// Migrator templates: those of the destination by priority, highest first, then those that only the
    /// source has.
    pub templates: Vec<TemplateState>,
    /// What could not be read.
    pub errors: Vec<ReadError>,
}

impl MigrationState {
    /// Compares what the executors of both configurations reported.
    pub fn new(
        source: &Release,
        destination: &Release,
        source_readings: &[TemplateReading],
        destination_readings: &[TemplateReading],
    ) -> Self {
        build::state(source, destination, source_readings, destination_readings)
    }

    /// Returns the state of one resource with its migrator.
    pub fn resource(&self, key: &ResourceKey) -> Option<(&MigratorState, &ResourceState)> {
        self.entries()
            .find(|entry| entry.is(key))
            .map(|entry| (entry.migrator, entry.resource))
    }

    fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.templates.iter().flat_map(|template| {
            template.migrators.iter().flat_map(move |migrator| {
                migrator.resources.iter().map(move |resource| Entry {
                    template,
                    migrator,
                    resource,
                })
            })
        })
    }
}

/// One resource with everything above it.
#[derive(Clone, Copy)]
struct Entry<'a> {
    template: &'a TemplateState,
    migrator: &'a MigratorState,
    resource: &'a ResourceState,
}

impl Entry<'_> {
    fn key(&self) -> ResourceKey {
        ResourceKey {
            template: self.template.code.clone(),
            migrator: self.migrator.type_name.clone(),
            resource: self.resource.code.clone(),
        }
    }

    fn is(&self, key: &ResourceKey) -> bool {
        self.template.code == key.template
            && self.migrator.type_name == key.migrator
            && self.resource.code == key.resource
    }
}
