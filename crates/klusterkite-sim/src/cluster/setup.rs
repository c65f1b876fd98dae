//! What a simulated cluster begins with.

use std::collections::BTreeMap;
use std::sync::Arc;

use klusterkite_core::configuration::ConfigurationState;
use klusterkite_core::plan::resources::ResourceKey;
use klusterkite_core::plan::rollout::Target;
use klusterkite_core::release::{FrozenPackages, Release};
use klusterkite_core::settings::Settings;
use klusterkite_core::time::Timestamp;
use klusterkite_wire::ids::ParseIdError;
use klusterkite_wire::migrator::DependencyType;
use klusterkite_wire::{
    ConfigurationId, ContainerType, MigratorName, Point, ResourceCode, Runtime, TemplateCode,
};
use serde_json::{Value, json};

use super::containers::{Container, Life};
use super::monitor::Monitor;
use super::store::{ConfigurationRow, Store};
use super::{Cluster, Faults, Fixed, Pace, Temper};

/// The one runtime of simulated containers.
const RUNTIME: &str = "linux-x64";

/// A cluster before its start.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Configurations by number.
    pub configurations: BTreeMap<i64, ConfigurationSetup>,
    /// The one that is Active at the start.
    pub active: i64,
    /// Name and type of each container.
    pub containers: Vec<(String, String)>,
    /// Where resources are that exist at the start.
    pub resources: Vec<(ResourceKey, Point)>,
    /// How fast things happen.
    pub pace: Pace,
    /// How patient the manager is.
    pub temper: Temper,
}

/// A configuration.
#[derive(Debug, Clone, Default)]
pub struct ConfigurationSetup {
    /// Node templates by code.
    pub templates: BTreeMap<String, TemplateSetup>,
    /// Priority and migrators of migrator templates, by code.
    pub migrators: BTreeMap<String, (f64, Vec<MigratorSetup>)>,
    /// Its state at the start, when it is not Active.
    pub state: Option<ConfigurationState>,
    /// How a template is chosen: `strict` or `weighted`.
    pub assignment: Option<String>,
}

/// A node template: its settings as in the API, without code and packages.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TemplateSetup {
    /// Fields of the settings.
    pub settings: serde_json::Map<String, Value>,
    /// Resolved packages as `id-version`.
    pub packages: Vec<String>,
}

/// A migrator with its resources.
#[derive(Debug, Clone, PartialEq)]
pub struct MigratorSetup {
    /// Its name.
    pub name: MigratorName,
    /// The side of the nodes on which its resources move.
    pub dependency: DependencyType,
    /// Order among migrators.
    pub priority: f64,
    /// Its points.
    pub points: Vec<Point>,
    /// Points that cannot be left downward.
    pub irreversible: Vec<Point>,
    /// Its resources.
    pub resources: Vec<ResourceCode>,
}

/// Says why a cluster cannot begin so.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A name is not one.
    #[error("a name of the setup is not valid")]
    Name(#[from] ParseIdError),
    /// Settings do not describe a release.
    #[error("configuration {id} is not one")]
    Release {
        /// The configuration.
        id: i64,
        /// Why not.
        source: klusterkite_core::Error,
    },
    /// Settings have a field of another kind.
    #[error("settings of configuration {id} cannot be read")]
    Settings {
        /// The configuration.
        id: i64,
        /// Why not.
        source: serde_json::Error,
    },
    /// The configuration that is to be Active is not there.
    #[error("configuration {0} is not there")]
    Missing(i64),
}

impl Cluster {
    /// Starts a cluster.
    ///
    /// # Errors
    ///
    /// Fails when a configuration is not one.
    pub fn new(setup: &Setup) -> Result<Self, SetupError> {
        let mut releases = BTreeMap::new();
        let mut migrators = BTreeMap::new();
        let mut store = Store::default();
        for (number, configuration) in &setup.configurations {
            let id = ConfigurationId(*number);
            releases.insert(id, release(*number, configuration)?);
            let mut templates = BTreeMap::new();
            for (code, (_, list)) in &configuration.migrators {
                templates.insert(code.parse::<TemplateCode>()?, list.clone());
            }
            migrators.insert(id, templates);
            let state = if *number == setup.active {
                ConfigurationState::Active
            } else {
                configuration.state.unwrap_or(ConfigurationState::Ready)
            };
            let was_left = state == ConfigurationState::Archived;
            let row = ConfigurationRow {
                state,
                was_left,
                is_stable: false,
            };
            store.configurations.insert(id, row);
        }
        let active = ConfigurationId(setup.active);
        let release = releases
            .get(&active)
            .ok_or(SetupError::Missing(setup.active))?;
        let manager = release.manager_template().map(|template| Target {
            template: template.code.clone(),
            configuration_id: active,
        });
        let manager_types = release
            .manager_template()
            .map(|template| template.container_types.clone());
        let runtime: Runtime = RUNTIME.parse()?;
        let mut containers = Vec::new();
        for (_, container_type) in &setup.containers {
            let container_type: ContainerType = container_type.parse()?;
            containers.push(Container::new(container_type, runtime.clone()));
        }
        // The manager's own container begins with its fallback configuration.
        let types = manager_types.unwrap_or_default();
        let first = containers
            .iter_mut()
            .find(|container| types.contains(&container.kind));
        if let Some(container) = first {
            container.good.clone_from(&manager);
            container.life = Life::Asking { at: Timestamp(0) };
        }
        let mut cluster = Self {
            fixed: Arc::new(Fixed {
                releases,
                migrators,
                names: setup
                    .containers
                    .iter()
                    .map(|(name, _)| name.clone())
                    .collect(),
                pace: setup.pace,
                temper: setup.temper,
                self_hosted: manager.is_some(),
            }),
            now: Timestamp(0),
            store,
            leader: None,
            containers,
            resources: setup
                .resources
                .iter()
                .map(|(key, point)| (key.clone(), Some(point.clone())))
                .collect(),
            executors: Vec::new(),
            faults: Faults::default(),
            monitor: Monitor::default(),
            mutation: None,
            trace: None,
        };
        if manager.is_none() {
            cluster.leader_start();
        }
        Ok(cluster)
    }
}

fn release(id: i64, configuration: &ConfigurationSetup) -> Result<Release, SetupError> {
    let (mut templates, mut frozen) = (Vec::new(), serde_json::Map::new());
    for (code, template) in &configuration.templates {
        let mut settings = template.settings.clone();
        settings.insert("code".to_owned(), json!(code));
        templates.push(Value::Object(settings));
        let packages: Vec<Value> = template.packages.iter().map(|text| package(text)).collect();
        frozen.insert(code.clone(), json!({ RUNTIME: packages }));
    }
    let migrators = configuration.migrators.iter();
    let migrators =
        migrators.map(|(code, (priority, _))| json!({ "code": code, "priority": priority }));
    let settings = json!({
        "nodeTemplates": templates,
        "migratorTemplates": migrators.collect::<Vec<_>>(),
        "runtimes": [RUNTIME],
        "assignment": configuration.assignment.as_deref().unwrap_or("strict"),
    });
    let frozen = json!({ "nodeTemplates": frozen });
    let unread = |source| SetupError::Settings { id, source };
    let settings: Settings = serde_json::from_value(settings).map_err(unread)?;
    let frozen: FrozenPackages = serde_json::from_value(frozen).map_err(unread)?;
    Release::new(ConfigurationId(id), &settings, &frozen)
        .map_err(|source| SetupError::Release { id, source })
}

fn package(text: &str) -> Value {
    let (id, version) = text.rsplit_once('-').unwrap_or((text, "1"));
    json!({ "id": id, "version": version, "sha512": text, "size": 1 })
}
