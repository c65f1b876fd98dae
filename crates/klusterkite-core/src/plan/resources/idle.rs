//! Resources while no migration runs: each has to be at its migrator's last point.

use klusterkite_wire::Point;
use klusterkite_wire::migrator::{MigratorDescription, ResourceDescription};
use serde::{Deserialize, Serialize};

use super::{
    Direction, MigratorState, Presence, ReadError, ResourceKey, ResourceMove, ResourcePosition,
    ResourceState, Side, TemplateReading, TemplateState, read_errors,
};
use crate::plan::migration::refusals;
use crate::reason::{Operation, ReasonCode, Refusal};
use crate::release::Release;

/// Where the resources of the Active configuration stand.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IdleState {
    /// Migrator templates, highest priority first.
    pub templates: Vec<TemplateState>,
    /// Repairs that are possible, in the order in which they have to be done: a resource that lags behind
    /// or does not exist moves to its last point.
    pub migratable: Vec<ResourceMove>,
    /// True when nothing has to be repaired and everything could be read: a migration may be created.
    pub all_at_last_point: bool,
    /// What could not be read.
    pub errors: Vec<ReadError>,
}

impl IdleState {
    /// Judges what the executors of the Active release reported.
    pub fn new(active: &Release, readings: &[TemplateReading]) -> Self {
        let templates: Vec<TemplateState> = by_priority(active, readings)
            .into_iter()
            .map(template_state)
            .collect();
        let errors = read_errors(Side::Source, readings);
        let mut resources = templates
            .iter()
            .flat_map(|template| &template.migrators)
            .flat_map(|migrator| &migrator.resources);
        let all_at_last_point = errors.is_empty()
            && resources.all(|resource| resource.position == ResourcePosition::Source);
        Self {
            migratable: migratable(&templates),
            templates,
            all_at_last_point,
            errors,
        }
    }

    /// Sorts the repairs that an operator asked for; refuses the whole request if one of them is not possible.
    pub fn moves(&self, keys: &[ResourceKey]) -> Result<Vec<ResourceMove>, Refusal> {
        for key in keys {
            if !self.migratable.iter().any(|item| item.key == *key) {
                return Err(refusals::unknown_part(&self.templates, key)
                    .unwrap_or_else(|| self.why_not(key)));
            }
        }
        let moves = self
            .migratable
            .iter()
            .filter(|item| keys.contains(&item.key));
        Ok(moves.cloned().collect())
    }

    /// Says why a resource has nothing to repair.
    fn why_not(&self, key: &ResourceKey) -> Refusal {
        let of_migrator = |migrator: &&MigratorState| migrator.type_name == key.migrator;
        let of_template = |template: &&TemplateState| template.code == key.template;
        let templates = self.templates.iter().filter(of_template);
        let migrators = templates.flat_map(|template| &template.migrators);
        let mut resources = migrators
            .filter(of_migrator)
            .flat_map(|migrator| &migrator.resources);
        let is_lost = resources.any(|resource| {
            resource.code == key.resource && resource.position == ResourcePosition::OutOfScope
        });
        if is_lost {
            refusals::not_migratable(key, "its migrator does not know the point that it is at")
        } else {
            refusals::not_migratable(key, "it is at the last point of its migrator")
        }
    }

    /// Lists the operations on the cluster while no migration runs.
    pub fn operations(&self, busy: bool, obsolete_nodes: bool) -> Vec<Operation> {
        let not_busy = || if busy { Err(refusals::busy()) } else { Ok(()) };
        let create = not_busy().and_then(|()| self.may_create(obsolete_nodes));
        let repair = not_busy().and_then(|()| {
            if self.migratable.is_empty() {
                Err(refusals::nothing_to_migrate())
            } else {
                Ok(())
            }
        });
        let mut operations = vec![
            Operation::new("createMigration", create),
            Operation::new("migrateResources", repair).recommended(),
        ];
        operations.extend(refusals::without_migration());
        operations.push(Operation::new("recheck", Ok(())));
        operations
    }

    /// Tells whether a migration may be created.
    pub fn may_create(&self, obsolete_nodes: bool) -> Result<(), Refusal> {
        if let Some(error) = self.errors.first() {
            return Err(refusals::analysis_failed(error));
        }
        if obsolete_nodes {
            return Err(refusals::nodes_obsolete());
        }
        if !self.all_at_last_point {
            let message =
                "some resource is not at the last point of its migrator; migrate it first";
            return Err(Refusal::new(ReasonCode::ResourcesLag, message));
        }
        Ok(())
    }
}

/// Sorts readings by the priority of their template, highest first.
pub(crate) fn by_priority<'a>(
    release: &Release,
    readings: &'a [TemplateReading],
) -> Vec<&'a TemplateReading> {
    let priority = |reading: &TemplateReading| {
        let template = release.migrator_templates.get(&reading.template);
        template.map_or(f64::NEG_INFINITY, |template| template.priority)
    };
    let mut sorted: Vec<&TemplateReading> = readings.iter().collect();
    sorted.sort_by(|one, other| {
        priority(other)
            .total_cmp(&priority(one))
            .then_with(|| one.template.cmp(&other.template))
    });
    sorted
}

fn template_state(reading: &TemplateReading) -> TemplateState {
    let migrator = |migrator: &klusterkite_wire::migrator::DescribedMigrator| {
        let description = migrator.description.as_ref()?;
        let resources = migrator
            .resources
            .iter()
            .map(|resource| resource_state(description, resource))
            .collect();
        Some(MigratorState {
            type_name: migrator.type_name.clone(),
            name: description.name.clone(),
            position: Presence::Present,
            direction: Direction::Stay,
            dependency_type: description.dependency_type,
            priority: description.priority,
            points: description.points.clone(),
            irreversible: description.irreversible.clone(),
            resources,
        })
    };
    TemplateState {
        code: reading.template.clone(),
        position: Presence::Present,
        migrators: reading.migrators.iter().filter_map(migrator).collect(),
    }
}

fn resource_state(migrator: &MigratorDescription, resource: &ResourceDescription) -> ResourceState {
    let last = migrator.points.last();
    let position = position(&migrator.points, resource.current_point.as_ref());
    let is_behind = matches!(
        position,
        ResourcePosition::NotCreated | ResourcePosition::InScope
    );
    ResourceState {
        code: resource.code.clone(),
        name: resource.name.clone(),
        current_point: resource.current_point.clone(),
        source_point: last.cloned(),
        destination_point: None,
        position,
        to_source_executor: (is_behind && last.is_some()).then_some(Side::Source),
        to_destination_executor: None,
    }
}

fn position(points: &[Point], current: Option<&Point>) -> ResourcePosition {
    match current {
        None => ResourcePosition::NotCreated,
        Some(current) if points.last() == Some(current) => ResourcePosition::Source,
        Some(current) if points.contains(current) => ResourcePosition::InScope,
        Some(_) => ResourcePosition::OutOfScope,
    }
}

/// Lists the resources that can be repaired, by the priority of their migrators, highest first.
fn migratable(templates: &[TemplateState]) -> Vec<ResourceMove> {
    let mut found: Vec<(f64, ResourceMove)> = Vec::new();
    for template in templates {
        for migrator in &template.migrators {
            for resource in &migrator.resources {
                let (Some(executor), Some(point)) =
                    (resource.to_source_executor, &resource.source_point)
                else {
                    continue;
                };
                let key = ResourceKey {
                    template: template.code.clone(),
                    migrator: migrator.type_name.clone(),
                    resource: resource.code.clone(),
                };
                let target = Side::Source;
                found.push((
                    migrator.priority,
                    ResourceMove {
                        key,
                        executor,
                        target,
                        point: point.clone(),
                    },
                ));
            }
        }
    }
    found.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    found.into_iter().map(|(_, item)| item).collect()
}
