//! What a section of the settings says.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use klusterkite_wire::migrator::DependencyType;
use klusterkite_wire::{Point, ResourceCode};
use serde::Deserialize;

/// Most points and most resources of one section.
const ENTRIES_MAX: usize = 10_000;

/// A program and its arguments.
pub(crate) type CommandLine = Vec<String>;

/// A section.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Settings {
    /// Name for people; default: the path of the section.
    pub(crate) name: Option<String>,
    #[serde(default = "code_depends_on_resource")]
    pub(crate) dependency_type: DependencyType,
    #[serde(default)]
    pub(crate) priority: f64,
    /// The line of points, oldest first.
    pub(crate) points: Vec<PointSettings>,
    /// Prints the point where a resource is; nothing: it is not created.
    pub(crate) current: CommandLine,
    /// Moves a resource from wherever it is to a point, in one go.
    pub(crate) migrate: Option<CommandLine>,
    /// Applies one point, for points without a command of their own.
    pub(crate) up: Option<CommandLine>,
    /// Takes one point back, for points without a command of their own.
    pub(crate) down: Option<CommandLine>,
    /// The resources.
    pub(crate) resources: BTreeMap<ResourceCode, ResourceSettings>,
}

/// A point: its name, or what is special about it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum PointSettings {
    Name(Point),
    #[serde(rename_all = "camelCase")]
    Special(SpecialPoint),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SpecialPoint {
    pub(crate) point: Point,
    #[serde(default)]
    pub(crate) irreversible: bool,
    pub(crate) up: Option<CommandLine>,
    pub(crate) down: Option<CommandLine>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ResourceSettings {
    /// Name for people; default: the code.
    pub(crate) name: Option<String>,
    /// Variables of its commands.
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
}

fn code_depends_on_resource() -> DependencyType {
    DependencyType::CodeDependsOnResource
}

impl PointSettings {
    pub(crate) fn point(&self) -> &Point {
        match self {
            Self::Name(point) => point,
            Self::Special(special) => &special.point,
        }
    }

    fn special(&self) -> Option<&SpecialPoint> {
        match self {
            Self::Name(_) => None,
            Self::Special(special) => Some(special),
        }
    }
}

impl Settings {
    pub(crate) fn load(section: &str) -> anyhow::Result<Self> {
        let settings: Self = klusterkite_migrator::stdio::section(section)?;
        settings
            .check()
            .with_context(|| format!("the settings `{section}` cannot be used"))?;
        Ok(settings)
    }

    fn check(&self) -> anyhow::Result<()> {
        for (name, count) in [
            ("points", self.points.len()),
            ("resources", self.resources.len()),
        ] {
            ensure!(
                (1..=ENTRIES_MAX).contains(&count),
                "`{name}` has {count} entries, not 1 to {ENTRIES_MAX}"
            );
        }
        ensure!(!self.current.is_empty(), "`current` names no program");
        let specials = || self.points.iter().filter_map(PointSettings::special);
        let steps = [&self.up, &self.down].into_iter().flatten();
        let steps = steps.chain(specials().flat_map(|point| point.up.iter().chain(&point.down)));
        if let Some(migrate) = &self.migrate {
            ensure!(!migrate.is_empty(), "`migrate` names no program");
            ensure!(
                steps.count() == 0,
                "`migrate` does whole moves, so that there is nothing to do for `up` and `down`"
            );
            return Ok(());
        }
        let mut steps = steps;
        ensure!(
            steps.all(|command| !command.is_empty()),
            "one of `up` and `down` names no program"
        );
        for point in self.points() {
            if self.up_of(&point).is_none() {
                bail!(
                    "nothing says how to go to `{point}`: give `migrate`, `up`, or an `up` of the point"
                );
            }
        }
        Ok(())
    }

    /// Lists the points, oldest first.
    pub(crate) fn points(&self) -> Vec<Point> {
        let points = self.points.iter();
        points.map(|point| point.point().clone()).collect()
    }

    /// Lists the points that cannot be left downward: those that say so, and those that no command takes back.
    pub(crate) fn irreversible(&self) -> Vec<Point> {
        let stuck = self.points.iter().filter(|point| {
            let is_declared = point.special().is_some_and(|special| special.irreversible);
            is_declared || (self.migrate.is_none() && self.down_of(point.point()).is_none())
        });
        stuck.map(|point| point.point().clone()).collect()
    }

    pub(crate) fn up_of(&self, point: &Point) -> Option<&CommandLine> {
        let own = self
            .special_of(point)
            .and_then(|special| special.up.as_ref());
        own.or(self.up.as_ref())
    }

    pub(crate) fn down_of(&self, point: &Point) -> Option<&CommandLine> {
        let own = self
            .special_of(point)
            .and_then(|special| special.down.as_ref());
        own.or(self.down.as_ref())
    }

    fn special_of(&self, point: &Point) -> Option<&SpecialPoint> {
        let found = self.points.iter().find(|known| known.point() == point);
        found.and_then(PointSettings::special)
    }
}
