//! Migrators and resources in a few words.

use klusterkite_core::plan::migration::{MigrationContext, MigrationState, Step};
use klusterkite_core::plan::resources::{ResourceKey, ResourceState, Side, TemplateReading};
use klusterkite_core::release::{FrozenPackages, Release};
use klusterkite_core::settings::Settings;
use klusterkite_wire::ConfigurationId;
use klusterkite_wire::migrator::DescribedMigrator;
use serde_json::{Value, json};

/// One migrator as one configuration sees it: type name, dependency, priority, points, resources with their points.
#[derive(Debug, Clone)]
pub(crate) struct Migrator {
    pub(crate) name: &'static str,
    pub(crate) after_nodes: bool,
    pub(crate) priority: f64,
    pub(crate) points: &'static str,
    pub(crate) irreversible: &'static str,
    pub(crate) resources: Vec<(&'static str, Option<String>)>,
}

/// Describes a migrator of resources that the code depends on; points are words, `-` stands for "not created".
pub(crate) fn schema(
    name: &'static str,
    points: &'static str,
    resources: &[(&'static str, &str)],
) -> Migrator {
    let point = |point: &str| (point != "-").then(|| point.to_owned());
    Migrator {
        name,
        after_nodes: false,
        priority: 1.0,
        points,
        irreversible: "",
        resources: resources
            .iter()
            .map(|(code, current)| (*code, point(current)))
            .collect(),
    }
}

/// Describes a migrator of resources that depend on the code.
pub(crate) fn site(
    name: &'static str,
    points: &'static str,
    resources: &[(&'static str, &str)],
) -> Migrator {
    Migrator {
        after_nodes: true,
        ..schema(name, points, resources)
    }
}

impl Migrator {
    pub(crate) fn priority(self, priority: f64) -> Self {
        Self { priority, ..self }
    }

    pub(crate) fn irreversible(self, irreversible: &'static str) -> Self {
        Self {
            irreversible,
            ..self
        }
    }

    fn described(&self) -> DescribedMigrator {
        let words =
            |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
        let resources: Vec<Value> = self
            .resources
            .iter()
            .map(|(code, current)| json!({ "code": code, "name": code, "currentPoint": current }))
            .collect();
        let dependency = if self.after_nodes {
            "resourceDependsOnCode"
        } else {
            "codeDependsOnResource"
        };
        serde_json::from_value(json!({ "typeName": self.name, "resources": resources, "description": {
            "protocol": 1, "name": self.name, "dependencyType": dependency, "priority": self.priority,
            "points": words(self.points), "irreversible": words(self.irreversible) } }))
        .unwrap()
    }
}

/// Makes the reading of the one template `db`.
pub(crate) fn reading(migrators: &[Migrator]) -> Vec<TemplateReading> {
    vec![TemplateReading {
        template: "db".parse().unwrap(),
        migrators: migrators.iter().map(Migrator::described).collect(),
        error: None,
    }]
}

/// Makes a release with migrator templates of these codes and priorities.
pub(crate) fn release(id: i64, templates: &[(&str, f64)]) -> Release {
    let templates: Vec<Value> = templates
        .iter()
        .map(|(code, priority)| json!({ "code": code, "priority": priority }))
        .collect();
    let settings: Settings =
        serde_json::from_value(json!({ "migratorTemplates": templates })).unwrap();
    Release::new(ConfigurationId(id), &settings, &FrozenPackages::default()).unwrap()
}

/// Compares two readings of the template `db`.
pub(crate) fn state(source: &[Migrator], destination: &[Migrator]) -> MigrationState {
    let release = |id| release(id, &[("db", 1.0)]);
    MigrationState::new(
        &release(1),
        &release(2),
        &reading(source),
        &reading(destination),
    )
}

/// Compares the same migrators and resources with two lines of points.
pub(crate) fn moved(
    migrator: &Migrator,
    source: &'static str,
    destination: &'static str,
) -> MigrationState {
    let with = |points| Migrator {
        points,
        ..migrator.clone()
    };
    state(&[with(source)], &[with(destination)])
}

pub(crate) fn key(migrator: &str, resource: &str) -> ResourceKey {
    ResourceKey {
        template: "db".parse().unwrap(),
        migrator: migrator.parse().unwrap(),
        resource: resource.parse().unwrap(),
    }
}

/// Returns the only resource of a state.
pub(crate) fn only(state: &MigrationState) -> &ResourceState {
    &state.templates[0].migrators[0].resources[0]
}

pub(crate) fn names(keys: &[ResourceKey]) -> Vec<String> {
    keys.iter().map(|key| key.resource.to_string()).collect()
}

pub(crate) fn context(active: Side, obsolete_nodes: bool) -> MigrationContext {
    MigrationContext {
        active,
        obsolete_nodes,
        missing_nodes: false,
        busy: false,
        paused: false,
        preparing: false,
    }
}

/// Lists the operations that are allowed, in alphabetical order, without those that always are.
pub(crate) fn allowed(state: &MigrationState, context: MigrationContext) -> Vec<String> {
    let operations = state
        .operations(context)
        .into_iter()
        .filter(|operation| operation.allowed);
    let mut ids: Vec<String> = operations.map(|operation| operation.id).collect();
    ids.retain(|id| id != "recheck" && id != "pause");
    ids.sort();
    ids
}

pub(crate) fn text(step: Step) -> String {
    serde_json::to_value(step)
        .unwrap()
        .as_str()
        .unwrap()
        .to_owned()
}
