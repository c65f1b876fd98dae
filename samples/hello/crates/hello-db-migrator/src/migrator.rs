//! The migrator: which steps, in which order.

use std::path::Path;

use anyhow::Context;
use klusterkite_migrator::points::{Step, steps};
use klusterkite_migrator::{Answer, Level, Migrator, Progress, Resource, stdio};
use klusterkite_wire::migrator::{DependencyType, MigrateParams, MigratorDescription};
use klusterkite_wire::{Point, ResourceCode};
use serde_json::Value;

use crate::content::{self, Migration};
use crate::database::Database;

/// The one resource.
const CODE: &str = "hello-db";

/// Moves the database of hello.
pub(crate) struct HelloDb {
    database: Database,
    line: Vec<Migration>,
}

impl HelloDb {
    pub(crate) fn load() -> anyhow::Result<Self> {
        let settings = stdio::settings()?;
        let path = settings.pointer("/Hello/Database").and_then(Value::as_str);
        let path = path.context("the setting `Hello.Database` is missing or no text")?;
        Ok(Self {
            database: Database::new(path.into())?,
            line: content::load(Path::new(content::DIRECTORY))?,
        })
    }

    fn points(&self) -> Vec<Point> {
        let points = self.line.iter().map(|migration| migration.point.clone());
        points.collect()
    }
}

impl Migrator for HelloDb {
    fn describe(&mut self) -> Answer<MigratorDescription> {
        Ok(MigratorDescription {
            protocol: 1,
            name: "Database of hello".to_owned(),
            dependency_type: DependencyType::CodeDependsOnResource,
            priority: 10.0,
            points: self.points(),
            irreversible: Vec::new(),
        })
    }

    fn resources(&mut self) -> Answer<Vec<Resource>> {
        let name = format!("SQLite database `{}`", self.database.path().display());
        let code = CODE.parse()?;
        Ok(vec![Resource { code, name }])
    }

    fn current_point(&mut self, _: &ResourceCode) -> Answer<Option<Point>> {
        Ok(self.database.point()?)
    }

    fn migrate(&mut self, order: &MigrateParams, progress: &mut Progress<'_>) -> Answer<()> {
        let points = self.points();
        let mut at = self.database.point()?;
        let steps = steps(&points, &[], at.as_ref(), &order.point)?;
        let fence = i64::try_from(order.fence)?;
        if order.dry_run {
            for step in &steps {
                progress.log(Level::Info, format!("would {}", tell(step)));
            }
            return Ok(());
        }
        let total = steps.len() as u64;
        let mut database = self.database.open()?;
        for (done, step) in (1..).zip(&steps) {
            progress.log(Level::Info, tell(step));
            database.step(step, at.as_ref(), &self.line, fence)?;
            at = Some(match step {
                Step::Up(point) => point.clone(),
                Step::Down(point) => below(&points, point)?,
            });
            progress.set(done, total);
        }
        Ok(())
    }
}

fn tell(step: &Step) -> String {
    match step {
        Step::Up(point) => format!("apply `{point}`"),
        Step::Down(point) => format!("take `{point}` back"),
    }
}

/// Returns the point before another one; a way down never goes below the first.
fn below(points: &[Point], point: &Point) -> anyhow::Result<Point> {
    let place = points.iter().position(|known| known == point);
    let below = place.and_then(|place| points.get(place.checked_sub(1)?));
    below.cloned().context("nothing is below the first point")
}
