//! The migrator: one step from any point to any other, because a site is replaced as a whole.

use std::path::PathBuf;

use anyhow::Context;
use klusterkite_migrator::{Answer, Level, Migrator, Progress, Resource, stdio};
use klusterkite_wire::migrator::{DependencyType, MigrateParams, MigratorDescription};
use klusterkite_wire::{Point, ResourceCode};
use serde_json::Value;

use crate::{content, publish};

/// The one resource.
const CODE: &str = "hello-site";

/// Publishes the sites of hello.
pub(crate) struct HelloSite {
    directory: PathBuf,
    points: Vec<Point>,
}

impl HelloSite {
    pub(crate) fn load() -> anyhow::Result<Self> {
        let settings = stdio::settings()?;
        let directory = settings.pointer("/Hello/Site/Directory");
        let directory = directory.and_then(Value::as_str);
        let directory =
            directory.context("the setting `Hello.Site.Directory` is missing or no text")?;
        Ok(Self {
            directory: directory.into(),
            points: content::load()?,
        })
    }
}

impl Migrator for HelloSite {
    fn describe(&mut self) -> Answer<MigratorDescription> {
        Ok(MigratorDescription {
            protocol: 1,
            name: "Site of hello".to_owned(),
            dependency_type: DependencyType::ResourceDependsOnCode,
            priority: 1.0,
            points: self.points.clone(),
            irreversible: Vec::new(),
        })
    }

    fn resources(&mut self) -> Answer<Vec<Resource>> {
        let name = format!("Site in `{}`", self.directory.display());
        let code = CODE.parse()?;
        Ok(vec![Resource { code, name }])
    }

    fn current_point(&mut self, _: &ResourceCode) -> Answer<Option<Point>> {
        Ok(publish::published(&self.directory)?)
    }

    fn migrate(&mut self, order: &MigrateParams, progress: &mut Progress<'_>) -> Answer<()> {
        if publish::published(&self.directory)?.as_ref() == Some(&order.point) {
            return Ok(());
        }
        if order.dry_run {
            progress.log(Level::Info, format!("would publish `{}`", order.point));
            return Ok(());
        }
        progress.log(Level::Info, format!("publish `{}`", order.point));
        publish::publish(&self.directory, &order.point, &content::site(&order.point))?;
        progress.set(1, 1);
        Ok(())
    }
}
