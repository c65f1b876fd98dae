//! Two sets of readings → one state (rules of the original, section 2.4, with B16 and B18 mended).

use klusterkite_wire::Point;
use klusterkite_wire::migrator::{DescribedMigrator, MigratorDescription, ResourceDescription};

use super::MigrationState;
use crate::plan::resources::{
    Direction, MigratorState, Presence, ResourcePosition, ResourceState, Side, TemplateReading,
    TemplateState, by_priority, read_errors,
};
use crate::release::Release;

pub(super) fn state(
    source: &Release,
    destination: &Release,
    source_readings: &[TemplateReading],
    destination_readings: &[TemplateReading],
) -> MigrationState {
    let before = by_priority(source, source_readings);
    let after = by_priority(destination, destination_readings);
    let mut errors = read_errors(Side::Source, source_readings);
    errors.extend(read_errors(Side::Destination, destination_readings));
    let templates = pair(before, after, |reading| &reading.template);
    MigrationState {
        templates: templates.into_iter().map(template).collect(),
        errors,
    }
}

/// Something that exists in the source, the destination or both.
#[derive(Clone, Copy)]
enum Pair<T> {
    New(T),
    Both { before: T, after: T },
    Obsolete(T),
}

impl<T: Copy> Pair<T> {
    fn presence(self) -> Presence {
        match self {
            Self::New(_) => Presence::New,
            Self::Both { .. } => Presence::Present,
            Self::Obsolete(_) => Presence::Obsolete,
        }
    }

    fn before(self) -> Option<T> {
        match self {
            Self::New(_) => None,
            Self::Both { before, .. } | Self::Obsolete(before) => Some(before),
        }
    }

    fn after(self) -> Option<T> {
        match self {
            Self::New(after) | Self::Both { after, .. } => Some(after),
            Self::Obsolete(_) => None,
        }
    }

    /// Returns the destination's, or else the source's.
    fn newest(self) -> T {
        match self {
            Self::New(one) | Self::Both { after: one, .. } | Self::Obsolete(one) => one,
        }
    }
}

/// Matches two lists by a key: in the order of the destination's, then what only the source has.
fn pair<'a, T, K: PartialEq + 'a>(
    before: Vec<&'a T>,
    after: Vec<&'a T>,
    key: impl Fn(&'a T) -> &'a K,
) -> Vec<Pair<&'a T>> {
    let find =
        |list: &[&'a T], wanted: &'a T| list.iter().copied().find(|item| key(item) == key(wanted));
    let with_source = |item: &&'a T| match find(&before, item) {
        Some(before) => Pair::Both {
            before,
            after: item,
        },
        None => Pair::New(*item),
    };
    let only_source = before.iter().filter(|item| find(&after, item).is_none());
    after
        .iter()
        .map(with_source)
        .chain(only_source.map(|item| Pair::Obsolete(*item)))
        .collect()
}

fn template(readings: Pair<&TemplateReading>) -> TemplateState {
    let (before, after) = (described(readings.before()), described(readings.after()));
    let migrators = pair(before, after, |migrator| &migrator.type_name);
    TemplateState {
        code: readings.newest().template.clone(),
        position: readings.presence(),
        migrators: migrators.into_iter().filter_map(migrator).collect(),
    }
}

/// Lists the migrators that described themselves; the others are errors and have no place in the state.
fn described(reading: Option<&TemplateReading>) -> Vec<&DescribedMigrator> {
    let migrators = reading.into_iter().flat_map(|reading| &reading.migrators);
    migrators
        .filter(|migrator| migrator.description.is_some())
        .collect()
}

/// The points of both sides; empty where the migrator does not exist.
#[derive(Clone, Copy)]
struct Lines<'a> {
    source: &'a [Point],
    destination: &'a [Point],
}

fn migrator(migrators: Pair<&DescribedMigrator>) -> Option<MigratorState> {
    let lines = Lines {
        source: points(migrators.before()),
        destination: points(migrators.after()),
    };
    let description = migrators.newest().description.as_ref()?;
    let resources = resources(migrators, lines);
    Some(MigratorState {
        type_name: migrators.newest().type_name.clone(),
        name: description.name.clone(),
        position: migrators.presence(),
        direction: direction(migrators.presence(), lines, &resources),
        dependency_type: description.dependency_type,
        priority: description.priority,
        points: if lines.source.len() > lines.destination.len() {
            lines.source
        } else {
            lines.destination
        }
        .to_vec(),
        irreversible: irreversible(migrators),
        resources,
    })
}

fn points(migrator: Option<&DescribedMigrator>) -> &[Point] {
    let description = migrator.and_then(|migrator| migrator.description.as_ref());
    description.map_or(&[], |description| &description.points)
}

/// Collects the points that either side calls irreversible: the one that moves a resource may be either.
fn irreversible(migrators: Pair<&DescribedMigrator>) -> Vec<Point> {
    let descriptions = [migrators.before(), migrators.after()]
        .into_iter()
        .flatten();
    let mut points: Vec<Point> = Vec::new();
    for description in descriptions.filter_map(|migrator| migrator.description.as_ref()) {
        let MigratorDescription { irreversible, .. } = description;
        points.extend(
            irreversible
                .iter()
                .filter(|point| !points.contains(point))
                .cloned()
                .collect::<Vec<_>>(),
        );
    }
    points
}

/// Compares the lines as lists, exactly (B18).
fn direction(presence: Presence, lines: Lines<'_>, resources: &[ResourceState]) -> Direction {
    let moves = |resource: &ResourceState| {
        !matches!(
            resource.position,
            ResourcePosition::NotCreated | ResourcePosition::Obsolete
        )
    };
    if presence != Presence::Present
        || !resources.iter().any(moves)
        || lines.source == lines.destination
    {
        Direction::Stay
    } else if lines.destination.starts_with(lines.source) {
        Direction::Upgrade
    } else if lines.source.starts_with(lines.destination) {
        Direction::Downgrade
    } else {
        Direction::Undefined
    }
}

fn resources(migrators: Pair<&DescribedMigrator>, lines: Lines<'_>) -> Vec<ResourceState> {
    let (before, after) = (
        described_resources(migrators.before()),
        described_resources(migrators.after()),
    );
    let pairs = pair(before, after, |resource| &resource.code);
    pairs
        .into_iter()
        .map(|resource| resource_state(resource, lines))
        .collect()
}

fn described_resources(migrator: Option<&DescribedMigrator>) -> Vec<&ResourceDescription> {
    migrator
        .into_iter()
        .flat_map(|migrator| &migrator.resources)
        .collect()
}

fn resource_state(resource: Pair<&ResourceDescription>, lines: Lines<'_>) -> ResourceState {
    let current_point = [resource.after(), resource.before()]
        .into_iter()
        .flatten()
        .find_map(|reading| reading.current_point.clone());
    let presence = resource.presence();
    let source_point = lines
        .source
        .last()
        .filter(|_| presence != Presence::New)
        .cloned();
    let destination_point = lines
        .destination
        .last()
        .filter(|_| presence != Presence::Obsolete)
        .cloned();
    let current = current_point.as_ref();
    let to_source_executor = to_source(presence, lines, current);
    let to_destination_executor = to_destination(presence, lines, current);
    let position = match (current, &source_point, &destination_point) {
        (None, _, _) => ResourcePosition::NotCreated,
        (_, _, None) => ResourcePosition::Obsolete,
        (current, source, destination) => {
            match (source.as_ref() == current, destination.as_ref() == current) {
                (true, true) => ResourcePosition::SourceAndDestination,
                (true, false) => ResourcePosition::Source,
                (false, true) => ResourcePosition::Destination,
                (false, false) if to_source_executor.or(to_destination_executor).is_some() => {
                    ResourcePosition::InScope
                }
                (false, false) => ResourcePosition::OutOfScope,
            }
        }
    };
    ResourceState {
        code: resource.newest().code.clone(),
        name: resource.newest().name.clone(),
        current_point,
        source_point,
        destination_point,
        position,
        to_source_executor,
        to_destination_executor,
    }
}

/// Returns whose migrator can move a resource to the destination's last point: the one with the longer line.
fn to_destination(presence: Presence, lines: Lines<'_>, current: Option<&Point>) -> Option<Side> {
    let last = lines.destination.last()?;
    if presence == Presence::Obsolete || current == Some(last) {
        return None;
    }
    let Some(current) = current else {
        // B16: a resource that does not exist is created by the configuration that wants it.
        return Some(Side::Destination);
    };
    if presence == Presence::New || lines.destination.contains(current) {
        return Some(Side::Destination);
    }
    (lines.source.contains(current) && lines.source.contains(last)).then_some(Side::Source)
}

/// Returns whose migrator can move a resource to the source's last point: the one with the longer line.
fn to_source(presence: Presence, lines: Lines<'_>, current: Option<&Point>) -> Option<Side> {
    let (last, current) = (lines.source.last()?, current?);
    if presence == Presence::New || current == last {
        return None;
    }
    let destination_can = presence == Presence::Present
        && lines.destination.contains(current)
        && lines.destination.contains(last);
    if destination_can {
        return Some(Side::Destination);
    }
    lines.source.contains(current).then_some(Side::Source)
}
