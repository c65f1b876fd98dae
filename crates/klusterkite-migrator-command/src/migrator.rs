//! The migrator: which commands, in which order.

use anyhow::{Context, ensure};
use klusterkite_migrator::points::{Step, steps};
use klusterkite_migrator::{Answer, Level, Migrator, Progress, Resource};
use klusterkite_wire::migrator::{MIGRATOR_PROTOCOL, MigrateParams, MigratorDescription};
use klusterkite_wire::{Point, ResourceCode};

use crate::command::{Variables, answer, run};
use crate::settings::{CommandLine, ResourceSettings, Settings};

/// Moves the resources of one section.
pub(crate) struct CommandMigrator {
    name: String,
    settings: Settings,
}

/// One command of a move, and where it ends.
struct Leg<'a> {
    command: &'a CommandLine,
    /// The point that is applied, taken back or gone to.
    point: &'a Point,
    direction: &'static str,
    to: &'a Point,
}

impl CommandMigrator {
    pub(crate) fn load(section: &str) -> anyhow::Result<Self> {
        let settings = Settings::load(section)?;
        Ok(Self {
            name: settings.name.clone().unwrap_or_else(|| section.to_owned()),
            settings,
        })
    }

    fn resource(&self, code: &ResourceCode) -> anyhow::Result<&ResourceSettings> {
        let found = self.settings.resources.get(code);
        found.with_context(|| format!("there is no resource `{code}` in the settings"))
    }

    fn current(&self, code: &ResourceCode) -> anyhow::Result<Option<Point>> {
        let resource = self.resource(code)?;
        let variables = Variables::from([("resource", code.as_str())]);
        let text = answer(&self.settings.current, &variables, &resource.env)?;
        if text.is_empty() {
            return Ok(None);
        }
        let point = text.parse();
        Ok(Some(point.context("`current` does not print a point")?))
    }

    /// Lists the commands of a move.
    fn legs<'a>(
        &'a self,
        points: &'a [Point],
        from: Option<&Point>,
        order: &'a MigrateParams,
    ) -> anyhow::Result<Vec<Leg<'a>>> {
        let target = &order.point;
        let steps = steps(points, &self.settings.irreversible(), from, target)?;
        if let Some(command) = &self.settings.migrate {
            let direction = match steps.first() {
                None => return Ok(Vec::new()),
                Some(Step::Up(_)) => "up",
                Some(Step::Down(_)) => "down",
            };
            return Ok(vec![Leg {
                command,
                point: target,
                direction,
                to: target,
            }]);
        }
        let mut legs = Vec::new();
        for step in &steps {
            let (Step::Up(point) | Step::Down(point)) = step;
            let place = points.iter().position(|known| known == point);
            let place = place.with_context(|| format!("`{point}` is on no line"))?;
            let (command, direction, to) = match step {
                Step::Up(_) => (self.settings.up_of(point), "up", points.get(place)),
                Step::Down(_) => {
                    let below = place.checked_sub(1).and_then(|below| points.get(below));
                    (self.settings.down_of(point), "down", below)
                }
            };
            legs.push(Leg {
                command: command
                    .with_context(|| format!("`{point}` has no command `{direction}`"))?,
                point: &points[place],
                direction,
                to: to.context("nothing is below the first point")?,
            });
        }
        Ok(legs)
    }
}

impl Migrator for CommandMigrator {
    fn describe(&mut self) -> Answer<MigratorDescription> {
        Ok(MigratorDescription {
            protocol: MIGRATOR_PROTOCOL,
            name: self.name.clone(),
            dependency_type: self.settings.dependency_type,
            priority: self.settings.priority,
            points: self.settings.points(),
            irreversible: self.settings.irreversible(),
        })
    }

    fn resources(&mut self) -> Answer<Vec<Resource>> {
        let resources = self.settings.resources.iter();
        let resource = |(code, settings): (&ResourceCode, &ResourceSettings)| Resource {
            code: code.clone(),
            name: settings.name.clone().unwrap_or_else(|| code.to_string()),
        };
        Ok(resources.map(resource).collect())
    }

    fn current_point(&mut self, resource: &ResourceCode) -> Answer<Option<Point>> {
        Ok(self.current(resource)?)
    }

    fn migrate(&mut self, order: &MigrateParams, progress: &mut Progress<'_>) -> Answer<()> {
        let resource = self.resource(&order.resource)?;
        let mut at = self.current(&order.resource)?;
        let points = self.settings.points();
        let legs = self.legs(&points, at.as_ref(), order)?;
        let total = legs.len() as u64;
        let fence = order.fence.to_string();
        for (done, leg) in (1..).zip(legs) {
            let what = format!(
                "{} `{}`: `{}`",
                leg.direction,
                leg.point,
                leg.command.join(" ")
            );
            if order.dry_run {
                progress.log(Level::Info, format!("would run {what}"));
                continue;
            }
            progress.log(Level::Info, what);
            let variables = Variables::from([
                ("resource", order.resource.as_str()),
                ("point", leg.point.as_str()),
                ("direction", leg.direction),
                ("from", at.as_ref().map_or("", Point::as_str)),
                ("fence", &fence),
            ]);
            run(leg.command, &variables, &resource.env, |line| {
                progress.log(Level::Info, line);
            })?;
            // A command that says it is done and is not must not be followed by the next.
            at = self.current(&order.resource)?;
            ensure_at(at.as_ref(), leg.to)?;
            progress.set(done, total);
        }
        Ok(())
    }
}

fn ensure_at(at: Option<&Point>, expected: &Point) -> anyhow::Result<()> {
    let shown = at.map_or("not created".to_owned(), |point| format!("at `{point}`"));
    ensure!(
        at == Some(expected),
        "the command has ended well, and the resource is {shown}, not at `{expected}`"
    );
    Ok(())
}
