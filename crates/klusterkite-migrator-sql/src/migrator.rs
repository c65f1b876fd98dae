//! The migrator: which scripts, in which order.

use anyhow::{Context, anyhow, bail};
use klusterkite_migrator::points::{Step, steps};
use klusterkite_migrator::{Answer, Level, Migrator, Progress, Resource};
use klusterkite_wire::migrator::{MIGRATOR_PROTOCOL, MigrateParams, MigratorDescription};
use klusterkite_wire::{Point, ResourceCode};
use tokio::runtime::Runtime;

use crate::database::{Database, Way};
use crate::history;
use crate::line::{self, Migration, Script};
use crate::settings::Settings;

/// Moves the databases of one section.
pub(crate) struct SqlMigrator {
    runtime: Runtime,
    name: String,
    settings: Settings,
    line: Vec<Migration>,
    databases: Vec<Database>,
}

impl SqlMigrator {
    pub(crate) fn load(section: &str) -> anyhow::Result<Self> {
        let settings = Settings::load(section)?;
        let databases = settings
            .databases
            .iter()
            .map(|(code, database)| Database::new(code, database, &settings));
        Ok(Self {
            databases: databases.collect::<anyhow::Result<_>>()?,
            runtime: runtime()?,
            name: settings.name.clone().unwrap_or_else(|| section.to_owned()),
            line: line::load(&settings.folder)?,
            settings,
        })
    }

    fn find(&self, code: &ResourceCode) -> anyhow::Result<&Database> {
        let found = self
            .databases
            .iter()
            .find(|database| database.code == *code);
        found.ok_or_else(|| anyhow!("there is no database `{code}` in the settings"))
    }

    fn migration(&self, point: &Point) -> anyhow::Result<&Migration> {
        let found = self.line.iter().find(|migration| migration.point == *point);
        found.with_context(|| format!("point `{point}` has no script"))
    }
}

/// Makes the runtime of a program that does one thing at a time.
pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

impl Migrator for SqlMigrator {
    fn describe(&mut self) -> Answer<MigratorDescription> {
        Ok(MigratorDescription {
            protocol: MIGRATOR_PROTOCOL,
            name: self.name.clone(),
            dependency_type: self.settings.dependency_type,
            priority: self.settings.priority,
            points: line::points(&self.line),
            irreversible: line::irreversible(&self.line),
        })
    }

    fn resources(&mut self) -> Answer<Vec<Resource>> {
        let resource = |database: &Database| Resource {
            code: database.code.clone(),
            name: database.shown(),
        };
        Ok(self.databases.iter().map(resource).collect())
    }

    fn current_point(&mut self, resource: &ResourceCode) -> Answer<Option<Point>> {
        let database = self.find(resource)?;
        let entries = self.runtime.block_on(database.read(&self.line))?;
        Ok(history::current(&entries).cloned())
    }

    fn migrate(&mut self, order: &MigrateParams, progress: &mut Progress<'_>) -> Answer<()> {
        let database = self.find(&order.resource)?;
        let fence = i64::try_from(order.fence)?;
        if order.dry_run {
            let entries = self.runtime.block_on(database.read(&self.line))?;
            for (migration, way) in self.way(&entries, &order.point, progress)? {
                let script = script_of(migration, way);
                let statements = script.map_or(0, |script| {
                    crate::statements::statements(&script.text).len()
                });
                let message = format!("would {}: {statements} statements", tell(migration, way));
                progress.log(Level::Info, message);
            }
            return Ok(());
        }
        let moved = self.runtime.block_on(async {
            let mut open = database.open(&self.line).await?;
            let steps = self.way(open.entries(), &order.point, progress)?;
            let total = steps.len() as u64;
            for (done, (migration, way)) in (1..).zip(steps) {
                progress.log(Level::Info, tell(migration, way));
                let stepped = open.step(migration, way, fence).await;
                stepped.with_context(|| {
                    let at = history::current(open.entries());
                    let at = at.map_or("not created".to_owned(), |point| format!("at `{point}`"));
                    format!(
                        "cannot {} (the last record read was {at})",
                        tell(migration, way)
                    )
                })?;
                progress.set(done, total);
            }
            open.close().await;
            anyhow::Ok(())
        });
        Ok(moved.with_context(|| database.shown())?)
    }
}

impl SqlMigrator {
    /// Lists the steps from the records of a database to a point.
    fn way(
        &self,
        entries: &[history::Entry],
        target: &Point,
        progress: &mut Progress<'_>,
    ) -> anyhow::Result<Vec<(&Migration, Way)>> {
        let points = line::points(&self.line);
        let stuck = line::irreversible(&self.line);
        let mut from = history::current(entries);
        if let Some(begun) = history::begun(entries) {
            progress.log(
                Level::Warn,
                format!("`{begun}` was begun without transaction and has not ended: its script runs again"),
            );
            let place = |point: &Point| points.iter().position(|known| known == point);
            let (Some(begun_at), Some(target_at)) = (place(begun), place(target)) else {
                bail!("`{begun}` was begun by another package, and only that one can end it");
            };
            if target_at < begun_at {
                from = Some(begun);
            }
        }
        let mut way = Vec::new();
        for step in steps(&points, &stuck, from, target)? {
            way.push(match &step {
                Step::Up(point) => (self.migration(point)?, Way::Up),
                Step::Down(point) => (self.migration(point)?, Way::Down),
            });
        }
        Ok(way)
    }
}

fn script_of(migration: &Migration, way: Way) -> Option<&Script> {
    match way {
        Way::Up => Some(&migration.up),
        Way::Down => migration.down.as_ref(),
    }
}

fn tell(migration: &Migration, way: Way) -> String {
    match way {
        Way::Up => format!("apply `{}`", migration.point),
        Way::Down => format!("take `{}` back", migration.point),
    }
}
