//! What an operator writes: the settings of a configuration, as they travel in the API and lie in the store.
//!
//! A Draft may be incomplete or wrong, so every field has a default and ids are plain text. The check
//! says what is wrong; [`Release`](crate::release::Release) is the typed form of what passed it.

use serde::{Deserialize, Serialize};

/// Package of the service host; the check adds it to templates without an `entryPoint` of their own.
pub const SERVICE_PACKAGE: &str = "KlusterKite.Core.Service";

/// Package of the manager; a template that requires it directly is the manager's template.
pub const MANAGER_PACKAGE: &str = "KlusterKite.NodeManager";

/// Package of the executor; the check adds it to every migrator template.
pub const EXECUTOR_PACKAGE: &str = "KlusterKite.NodeManager.Migrator.Executor";

/// Program that an executor's service directory starts.
pub const EXECUTOR_ENTRY_POINT: &str = "klusterkite-executor";

/// Describes the whole cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Settings {
    /// The closed world of packages: one version each, direct and indirect.
    pub packages: Vec<PackagePin>,
    /// Kinds of node.
    pub node_templates: Vec<NodeTemplateSettings>,
    /// Sets of migrators.
    pub migrator_templates: Vec<MigratorTemplateSettings>,
    /// Addresses by which services find their own cluster.
    pub seed_addresses: Vec<String>,
    /// URL of the feed's service index.
    pub nuget_feed: String,
    /// Runtimes (RIDs) for which the check resolves packages.
    pub runtimes: Vec<String>,
    /// How a template is chosen for a container.
    pub assignment: AssignmentMode,
}

/// Pins one package to one version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PackagePin {
    /// NuGet package id.
    pub id: String,
    /// Exact version.
    pub version: String,
}

/// Says how a template is chosen among several that would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum AssignmentMode {
    /// The highest priority first, as the seed says.
    #[default]
    Strict,
    /// By chance, in proportion to the priorities, as KlusterKite's code does.
    Weighted,
}

/// Describes a kind of node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeTemplateSettings {
    /// Key of the template, unique among the node templates.
    pub code: String,
    /// Name for people.
    pub name: String,
    /// Notes for people.
    pub notes: String,
    /// Top-level settings of the node, HOCON text.
    pub configuration: String,
    /// Kinds of container that may run it.
    pub container_types: Vec<String>,
    /// How many nodes there must be.
    pub minimum_required_instances: i64,
    /// How many nodes there may be; absent: any number.
    pub maximum_needed_instances: Option<i64>,
    /// Which template comes first when several would do; higher wins.
    pub priority: f64,
    /// A container that had this template gets it again.
    pub persistent: bool,
    /// The node stops itself when its lease ends: two of it must never run at once.
    pub exclusive: bool,
    /// Nodes of every other configuration need a restart, whatever they run; a copy clears this mark.
    pub force_update: bool,
    /// Program to start; absent: the service host.
    pub entry_point: Option<String>,
    /// Codes of templates of the source that this one takes over from.
    pub replaces: Vec<String>,
    /// Direct packages.
    pub package_requirements: Vec<PackageRequirement>,
    /// How nodes are replaced.
    pub rollout: RolloutSettings,
}

/// Describes a set of migrators.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MigratorTemplateSettings {
    /// Key of the template, unique among the migrator templates.
    pub code: String,
    /// Name for people.
    pub name: String,
    /// Notes for people.
    pub notes: String,
    /// Settings of the executor, HOCON text; `KlusterKite.NodeManager.Migrators` lists the migrators.
    pub configuration: String,
    /// Order among migrator templates; higher comes first.
    pub priority: f64,
    /// Direct packages.
    pub package_requirements: Vec<PackageRequirement>,
}

/// Requires a package directly.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PackageRequirement {
    /// NuGet package id.
    pub id: String,
    /// Exact version; absent: the one that the configuration pins.
    pub specific_version: Option<String>,
}

/// Says how the nodes of a template are replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RolloutSettings {
    /// How many nodes may be in replacement at once: a count (`2`) or a part of the template's nodes (`10%`).
    pub batch: String,
    /// Seconds for which a new node has to be ready before it counts as stable.
    pub min_stable_seconds: i64,
    /// Seconds without a newly stable node after which the update pauses.
    pub progress_deadline_seconds: i64,
    /// Seconds after its start within which a node has to be ready.
    pub start_deadline_seconds: i64,
    /// How many replacements may fail before the update pauses.
    pub max_failed: i64,
    /// Size of a first wave that has to become stable before all others; 0: none.
    pub canary: i64,
    /// How many nodes above the maximum an update may use as spare capacity.
    pub surge: i64,
}

impl Default for NodeTemplateSettings {
    fn default() -> Self {
        Self {
            code: String::new(),
            name: String::new(),
            notes: String::new(),
            configuration: String::new(),
            container_types: Vec::new(),
            minimum_required_instances: 0,
            maximum_needed_instances: None,
            priority: 1.0,
            persistent: false,
            exclusive: false,
            force_update: false,
            entry_point: None,
            replaces: Vec::new(),
            package_requirements: Vec::new(),
            rollout: RolloutSettings::default(),
        }
    }
}

impl Default for MigratorTemplateSettings {
    fn default() -> Self {
        Self {
            code: String::new(),
            name: String::new(),
            notes: String::new(),
            configuration: String::new(),
            priority: 1.0,
            package_requirements: Vec::new(),
        }
    }
}

impl Default for RolloutSettings {
    fn default() -> Self {
        Self {
            batch: "10%".to_owned(),
            min_stable_seconds: 10,
            progress_deadline_seconds: 600,
            start_deadline_seconds: 60,
            max_failed: 0,
            canary: 0,
            surge: 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the protocol document: what an operator may have stored years ago.
    const DOCUMENTED: &str = r#"{
        "packages": [ { "id": "Acme.Orders", "version": "1.4.0" } ],
        "nodeTemplates": [ { "code": "orders", "name": "Orders", "notes": "", "configuration": "",
            "containerTypes": ["worker"], "minimumRequiredInstances": 2, "maximumNeededInstances": null,
            "priority": 100, "persistent": false, "exclusive": false, "forceUpdate": false,
            "entryPoint": null, "replaces": [],
            "packageRequirements": [ { "id": "Acme.Orders", "specificVersion": null } ],
            "rollout": { "batch": "10%", "minStableSeconds": 10, "progressDeadlineSeconds": 600,
                "maxFailed": 0, "canary": 0, "surge": 1 } } ],
        "migratorTemplates": [ { "code": "db", "name": "", "notes": "", "configuration": "", "priority": 1,
            "packageRequirements": [ { "id": "Acme.OrdersDb", "specificVersion": null } ] } ],
        "seedAddresses": ["10.0.0.5:3090"], "nugetFeed": "http://feed/v3/index.json",
        "runtimes": ["linux-x64"], "assignment": "strict" }"#;

    #[test]
    fn the_documented_settings_are_read_and_written_without_loss() {
        let settings: Settings = serde_json::from_str(DOCUMENTED).unwrap();
        assert_eq!(
            settings.node_templates[0].rollout,
            RolloutSettings::default()
        );
        assert_eq!(settings.node_templates[0].minimum_required_instances, 2);
        let again: Settings =
            serde_json::from_value(serde_json::to_value(&settings).unwrap()).unwrap();
        assert_eq!(again, settings);
    }

    #[test]
    fn a_draft_may_be_empty() {
        let settings: Settings = serde_json::from_str("{}").unwrap();
        assert_eq!(settings, Settings::default());
        let template: NodeTemplateSettings = serde_json::from_str("{}").unwrap();
        assert_eq!(template, NodeTemplateSettings::default());
    }
}
