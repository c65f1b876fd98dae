//! Resources: what migrators report, and where each resource stands.
//!
//! A resource moves along the line of its migrator's points. Without a migration every resource has to be
//! at the last point of the Active configuration's migrator ([`IdleState`]); during one, two
//! configurations have an opinion ([`MigrationState`](super::migration::MigrationState)).

mod idle;

pub use idle::IdleState;
pub(crate) use idle::by_priority;

use std::fmt;

use klusterkite_wire::migrator::{DependencyType, DescribedMigrator};
use klusterkite_wire::{MigratorName, Point, ResourceCode, TemplateCode};
use serde::{Deserialize, Serialize};

/// Names one end of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Side {
    /// The configuration that the migration comes from; without a migration, the Active one.
    Source,
    /// The configuration that the migration leads to.
    Destination,
}

impl Side {
    /// Returns the other end.
    pub fn other(self) -> Self {
        match self {
            Self::Source => Self::Destination,
            Self::Destination => Self::Source,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Source => "source",
            Self::Destination => "destination",
        })
    }
}

/// What the executor of one migrator template reported.
#[derive(Debug, Clone, PartialEq)]
pub struct TemplateReading {
    /// The migrator template.
    pub template: TemplateCode,
    /// Its migrators in the order of its setting.
    pub migrators: Vec<DescribedMigrator>,
    /// Why the executor could not be asked at all.
    pub error: Option<String>,
}

/// Says what could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReadError {
    /// The configuration whose migrator failed.
    pub side: Side,
    /// The migrator template.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub template: TemplateCode,
    /// The migrator; absent: the whole template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub migrator: Option<MigratorName>,
    /// What happened.
    pub message: String,
}

/// Names one resource in the whole cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResourceKey {
    /// The migrator template.
    #[serde(rename = "templateCode")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub template: TemplateCode,
    /// The migrator.
    #[serde(rename = "migratorTypeName")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub migrator: MigratorName,
    /// The resource.
    #[serde(rename = "resourceCode")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub resource: ResourceCode,
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.template, self.migrator, self.resource)
    }
}

/// One movement of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResourceMove {
    /// The resource.
    #[serde(flatten)]
    pub key: ResourceKey,
    /// The configuration whose migrator does it.
    pub executor: Side,
    /// The end of the migration to which it moves.
    pub target: Side,
    /// The point to which it moves.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub point: Point,
}

/// Says in which of the two configurations something exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Presence {
    /// Only in the destination.
    New,
    /// In both.
    Present,
    /// Only in the source.
    Obsolete,
}

/// Says which way a migrator's points lead from the source to the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Direction {
    /// The destination continues the source's line.
    Upgrade,
    /// The source continues the destination's line.
    Downgrade,
    /// Nothing has to move.
    Stay,
    /// The two lines part.
    Undefined,
}

/// Says where a resource stands between the two configurations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ResourcePosition {
    /// It does not exist yet.
    NotCreated,
    /// It is where the source wants it.
    Source,
    /// It is between, and some migrator can move it.
    InScope,
    /// It is at a point that no migrator can move it from.
    OutOfScope,
    /// It is where the destination wants it.
    Destination,
    /// It is where both want it.
    SourceAndDestination,
    /// The destination does not know it; it is left alone.
    Obsolete,
}

/// One migrator template with where its resources stand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TemplateState {
    /// The template.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub code: TemplateCode,
    /// Where it exists.
    pub position: Presence,
    /// Its migrators.
    pub migrators: Vec<MigratorState>,
}

/// One migrator with where its resources stand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MigratorState {
    /// Name in the setting and the manifest.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub type_name: MigratorName,
    /// Name for people.
    pub name: String,
    /// Where it exists.
    pub position: Presence,
    /// Which way its resources move.
    pub direction: Direction,
    /// On which side of the nodes they move: `codeDependsOnResource` or `resourceDependsOnCode`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub dependency_type: DependencyType,
    /// Order among migrators.
    pub priority: f64,
    /// The longer of the two lines of points, oldest first.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub points: Vec<Point>,
    /// Points that cannot be left downward.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub irreversible: Vec<Point>,
    /// Its resources.
    pub resources: Vec<ResourceState>,
}

/// One resource and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResourceState {
    /// Code, unique inside the migrator.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub code: ResourceCode,
    /// Name for people.
    pub name: String,
    /// Where it is; `None`: not created.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub current_point: Option<Point>,
    /// Where the source wants it; `None`: the source does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub source_point: Option<Point>,
    /// Where the destination wants it; `None`: the destination does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub destination_point: Option<Point>,
    /// Where it stands.
    pub position: ResourcePosition,
    /// Whose migrator can move it to the source's point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_source_executor: Option<Side>,
    /// Whose migrator can move it to the destination's point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_destination_executor: Option<Side>,
}

impl ResourceState {
    /// Returns whose migrator can move it to an end.
    pub fn executor_to(&self, target: Side) -> Option<Side> {
        match target {
            Side::Source => self.to_source_executor,
            Side::Destination => self.to_destination_executor,
        }
    }

    /// Returns where an end wants it.
    pub fn point_at(&self, side: Side) -> Option<&Point> {
        match side {
            Side::Source => self.source_point.as_ref(),
            Side::Destination => self.destination_point.as_ref(),
        }
    }
}

/// Collects what could not be read of the templates of one configuration.
pub(crate) fn read_errors(side: Side, readings: &[TemplateReading]) -> Vec<ReadError> {
    let mut errors = Vec::new();
    for reading in readings {
        let mut add = |migrator: Option<&MigratorName>, message: &str| {
            let (template, message) = (reading.template.clone(), message.to_owned());
            errors.push(ReadError {
                side,
                template,
                migrator: migrator.cloned(),
                message,
            });
        };
        if let Some(error) = &reading.error {
            add(None, error);
        }
        for migrator in &reading.migrators {
            for error in &migrator.errors {
                add(Some(&migrator.type_name), error);
            }
            let flaw = match &migrator.description {
                None if migrator.errors.is_empty() => "the migrator did not describe itself",
                Some(description) if description.points.is_empty() => "the migrator has no points",
                _ => continue,
            };
            add(Some(&migrator.type_name), flaw);
        }
    }
    errors
}
