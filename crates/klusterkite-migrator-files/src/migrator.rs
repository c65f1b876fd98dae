//! The migrator: one step from any point to any other, because a site is replaced as a whole.

use std::path::Path;

use anyhow::Context;
use klusterkite_migrator::{Answer, Level, Migrator, Progress, Resource};
use klusterkite_wire::migrator::{MIGRATOR_PROTOCOL, MigrateParams, MigratorDescription};
use klusterkite_wire::{Point, ResourceCode};

use crate::settings::Settings;
use crate::site::{Site, published};

/// Publishes the sites of one section.
pub(crate) struct FilesMigrator {
    name: String,
    settings: Settings,
    points: Vec<Point>,
}

impl FilesMigrator {
    pub(crate) fn load(section: &str) -> anyhow::Result<Self> {
        let settings = Settings::load(section)?;
        Ok(Self {
            name: settings.name.clone().unwrap_or_else(|| section.to_owned()),
            points: settings.points()?,
            settings,
        })
    }

    fn directory(&self, code: &ResourceCode) -> anyhow::Result<&Path> {
        let site = self.settings.sites.get(code);
        let site = site.with_context(|| format!("there is no site `{code}` in the settings"))?;
        Ok(&site.directory)
    }
}

impl Migrator for FilesMigrator {
    fn describe(&mut self) -> Answer<MigratorDescription> {
        Ok(MigratorDescription {
            protocol: MIGRATOR_PROTOCOL,
            name: self.name.clone(),
            dependency_type: self.settings.dependency_type,
            priority: self.settings.priority,
            points: self.points.clone(),
            irreversible: Vec::new(),
        })
    }

    fn resources(&mut self) -> Answer<Vec<Resource>> {
        let sites = self.settings.sites.iter();
        let resource = |(code, site): (&ResourceCode, &crate::settings::SiteSettings)| Resource {
            code: code.clone(),
            name: format!("Site in `{}`", site.directory.display()),
        };
        Ok(sites.map(resource).collect())
    }

    fn current_point(&mut self, resource: &ResourceCode) -> Answer<Option<Point>> {
        Ok(published(self.directory(resource)?)?)
    }

    fn migrate(&mut self, order: &MigrateParams, progress: &mut Progress<'_>) -> Answer<()> {
        let directory = self.directory(&order.resource)?;
        let point = &order.point;
        let is_published = published(directory)?.as_ref() == Some(point);
        if order.dry_run {
            if !is_published {
                progress.log(Level::Info, format!("would publish `{point}`"));
            }
            return Ok(());
        }
        let site = Site::lock(directory, order.fence)?;
        if !is_published {
            progress.log(Level::Info, format!("publish `{point}`"));
            site.prepare(point, self.settings.content(point).as_deref())?;
            site.switch(point)?;
        }
        for point in site.collect_garbage(&self.settings.earlier, self.settings.keep)? {
            progress.log(Level::Info, format!("removed the version `{point}`"));
        }
        progress.set(1, 1);
        Ok(())
    }
}
