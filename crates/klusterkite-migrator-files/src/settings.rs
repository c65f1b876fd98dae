//! What a section of the settings says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use klusterkite_migrator::points::numbered;
use klusterkite_wire::migrator::DependencyType;
use klusterkite_wire::{Point, ResourceCode, TemplateCode};
use serde::Deserialize;

/// Most sites of one section.
const SITES_MAX: usize = 1000;

/// A section.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Settings {
    /// Name for people; default: the path of the section.
    pub(crate) name: Option<String>,
    /// Directory of the points, in the service directory: each is a directory of its name.
    pub(crate) folder: PathBuf,
    #[serde(default = "resource_depends_on_code")]
    pub(crate) dependency_type: DependencyType,
    #[serde(default)]
    pub(crate) priority: f64,
    /// Points of earlier packages that this one does not bring: they are kept where they were published.
    #[serde(default)]
    pub(crate) earlier: Vec<Point>,
    /// How many versions stay beside the published one and the earlier points.
    #[serde(default = "default_keep")]
    pub(crate) keep: usize,
    /// The resources.
    pub(crate) sites: BTreeMap<ResourceCode, SiteSettings>,
}

/// One site.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SiteSettings {
    /// Absolute path; a web server serves `current` in it.
    pub(crate) directory: PathBuf,
}

fn resource_depends_on_code() -> DependencyType {
    DependencyType::ResourceDependsOnCode
}

/// The version before the published one and the one before that: open pages still ask for their assets.
fn default_keep() -> usize {
    2
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
        let count = self.sites.len();
        ensure!(
            (1..=SITES_MAX).contains(&count),
            "`sites` has {count} entries, not 1 to {SITES_MAX}"
        );
        let mut seen = BTreeMap::new();
        for (code, site) in &self.sites {
            let directory = &site.directory;
            ensure!(
                directory.is_absolute(),
                "`sites.{code}.directory` is `{}`, not an absolute path",
                directory.display()
            );
            let other = seen.insert(directory, code);
            ensure!(
                other.is_none(),
                "two of `sites` have the directory `{}`",
                directory.display()
            );
        }
        Ok(())
    }

    /// Lists the points, oldest first: the directories of the folder and the earlier points.
    pub(crate) fn points(&self) -> anyhow::Result<Vec<Point>> {
        let shown = self.folder.display();
        let entries = std::fs::read_dir(&self.folder)
            .with_context(|| format!("cannot read the folder of points `{shown}`"))?;
        let mut names: Vec<String> = self.earlier.iter().map(ToString::to_string).collect();
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot read the folder `{shown}`"))?;
            if !entry.file_type()?.is_dir() {
                continue;
            }
            let name = entry.file_name().into_string();
            let name = name
                .map_err(|name| anyhow::anyhow!("`{}` is no UTF-8", Path::new(&name).display()))?;
            names.push(name);
        }
        ensure!(!names.is_empty(), "`{shown}` has no directory of a point");
        for name in &names {
            // The rule for names of templates is a rule for names of files: no separator, not only dots.
            let is_name = name.parse::<TemplateCode>().is_ok() && !name.starts_with('.');
            ensure!(is_name, "`{name}` is no name of a directory");
        }
        numbered(names).with_context(|| format!("`{shown}` is no line of points"))
    }

    /// Returns the directory of a point, if this package brings it.
    pub(crate) fn content(&self, point: &Point) -> Option<PathBuf> {
        let content = self.folder.join(point.as_str());
        content.is_dir().then_some(content)
    }
}
