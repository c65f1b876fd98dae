//! A checked configuration in typed form: what runs.

mod batch;
mod build;

pub use batch::Batch;
pub(crate) use build::SECONDS_MAX;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use klusterkite_wire::start::{PackageReference, StartConfiguration};
use klusterkite_wire::{ConfigurationId, ContainerType, Runtime, TemplateCode};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::draw::Draw;
use crate::settings::{AssignmentMode, EXECUTOR_ENTRY_POINT, Settings};

/// The exact packages of every template and runtime, as the check resolved them; stored at Ready and never changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FrozenPackages {
    /// Packages of the node templates.
    pub node_templates: BTreeMap<TemplateCode, PackagesByRuntime>,
    /// Packages of the migrator templates.
    pub migrator_templates: BTreeMap<TemplateCode, PackagesByRuntime>,
}

/// Resolved packages of one template, sorted by id, for each runtime that has all of them.
pub type PackagesByRuntime = BTreeMap<Runtime, Vec<PackageReference>>;

/// A configuration that passed the check.
#[derive(Debug, Clone, PartialEq)]
pub struct Release {
    /// Number of the configuration.
    pub id: ConfigurationId,
    /// Kinds of node.
    pub node_templates: BTreeMap<TemplateCode, NodeTemplate>,
    /// Sets of migrators.
    pub migrator_templates: BTreeMap<TemplateCode, MigratorTemplate>,
    /// URL of the feed's service index.
    pub feed: String,
    /// Addresses by which services find their own cluster.
    pub seeds: Vec<String>,
    /// Runtimes for which packages were resolved.
    pub runtimes: BTreeSet<Runtime>,
    /// How a template is chosen for a container.
    pub assignment: AssignmentMode,
}

/// A kind of node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeTemplate {
    /// Key of the template.
    pub code: TemplateCode,
    /// Name for people.
    pub name: String,
    /// Top-level settings, HOCON text.
    pub configuration: String,
    /// Kinds of container that may run it.
    pub container_types: BTreeSet<ContainerType>,
    /// How many nodes there must be.
    pub minimum: u32,
    /// How many nodes there may be, if that is limited; at least `minimum`.
    pub maximum: Option<u32>,
    /// Order among templates; finite, higher wins.
    pub priority: f64,
    /// A container that had this template gets it again.
    pub persistent: bool,
    /// Two of one node must never run at once: it stops itself when its lease ends.
    pub exclusive: bool,
    /// Nodes of every other configuration need a restart.
    pub force_update: bool,
    /// Program to start.
    pub entry_point: String,
    /// Templates of another release that this one takes over from.
    pub replaces: BTreeSet<TemplateCode>,
    /// Direct packages by lower-case id, with the version that the template itself pins.
    pub requirements: BTreeMap<String, Option<String>>,
    /// Resolved packages.
    pub packages: PackagesByRuntime,
    /// How its nodes are replaced.
    pub rollout: Rollout,
    /// True for the manager's own template: it moves last.
    pub is_manager: bool,
}

/// A set of migrators.
#[derive(Debug, Clone, PartialEq)]
pub struct MigratorTemplate {
    /// Key of the template.
    pub code: TemplateCode,
    /// Name for people.
    pub name: String,
    /// Settings of the executor, HOCON text.
    pub configuration: String,
    /// Order among migrator templates; finite, higher comes first.
    pub priority: f64,
    /// Resolved packages, the executor's among them.
    pub packages: PackagesByRuntime,
}

/// How the nodes of a template are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rollout {
    /// How many nodes may be in replacement at once.
    pub batch: Batch,
    /// How long a new node has to be ready before it counts as stable.
    pub min_stable: Duration,
    /// How long an update may go without a newly stable node.
    pub progress_deadline: Duration,
    /// How long a node may take from its start until it is ready.
    pub start_deadline: Duration,
    /// How many replacements may fail before the update pauses.
    pub max_failed: u32,
    /// Size of the first wave; 0: none.
    pub canary: u32,
    /// How many nodes above the maximum an update may use as spare capacity.
    pub surge: u32,
}

impl Release {
    /// Types the settings of a configuration that passed the check, with the packages that were frozen then.
    ///
    /// Fails on settings that the check would have refused.
    pub fn new(
        id: ConfigurationId,
        settings: &Settings,
        frozen: &FrozenPackages,
    ) -> Result<Self, Error> {
        build::release(id, settings, frozen)
    }

    /// Returns what a launcher needs to start a node of the template, without a token.
    ///
    /// `draw` decides the order of the seeds. `None`: there is no such template, or not for this runtime.
    pub fn start_configuration(
        &self,
        template: &TemplateCode,
        runtime: &Runtime,
        draw: u64,
    ) -> Option<StartConfiguration> {
        let template = self.node_templates.get(template)?;
        let packages = template.packages.get(runtime)?.clone();
        let entry_point = template.entry_point.clone();
        let start = self.start(
            &template.code,
            &template.configuration,
            packages,
            entry_point,
            draw,
        );
        Some(StartConfiguration {
            start_deadline_seconds: u32::try_from(template.rollout.start_deadline.as_secs())
                .unwrap_or(u32::MAX),
            ..start
        })
    }

    /// Returns what the manager needs to assemble the executor of a migrator template.
    ///
    /// `None`: there is no such template, or not for this runtime.
    pub fn executor_configuration(
        &self,
        template: &TemplateCode,
        runtime: &Runtime,
    ) -> Option<StartConfiguration> {
        let template = self.migrator_templates.get(template)?;
        let packages = template.packages.get(runtime)?.clone();
        let entry_point = EXECUTOR_ENTRY_POINT.to_owned();
        Some(self.start(
            &template.code,
            &template.configuration,
            packages,
            entry_point,
            0,
        ))
    }

    /// Returns the manager's own template; `None` only in releases that are not a whole cluster.
    pub fn manager_template(&self) -> Option<&NodeTemplate> {
        self.node_templates
            .values()
            .find(|template| template.is_manager)
    }

    fn start(
        &self,
        template: &TemplateCode,
        configuration: &str,
        packages: Vec<PackageReference>,
        entry_point: String,
        draw: u64,
    ) -> StartConfiguration {
        let mut seeds = self.seeds.clone();
        Draw::new(draw).shuffle(&mut seeds);
        StartConfiguration {
            node_template: template.clone(),
            configuration_id: self.id,
            configuration: configuration.to_owned(),
            packages,
            package_source: self.feed.clone(),
            seeds,
            entry_point,
            start_deadline_seconds: crate::settings::RolloutSettings::default()
                .start_deadline_seconds as u32,
            node_token: None,
        }
    }
}

#[cfg(test)]
mod tests;
