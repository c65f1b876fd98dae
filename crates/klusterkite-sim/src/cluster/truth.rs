//! What a cluster looks like, for people.

use klusterkite_core::plan::rollout::NodeStatus;
use klusterkite_core::reason::Waiting;

use super::containers::Life;
use super::store::Phase;
use super::{Cluster, ShownTarget};

impl Cluster {
    /// Describes containers, resources, configurations and migration, one line each.
    pub fn picture(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let states = self.store.configurations.iter();
        let states = states.map(|(id, row)| format!("{id} {}", row.state));
        lines.push(format!(
            "configurations: {}",
            states.collect::<Vec<_>>().join(", ")
        ));
        lines.extend(self.picture_of_migration());
        for (index, container) in self.containers.iter().enumerate() {
            let name = &self.fixed.names[index];
            let row = self.store.nodes.get(&super::node_id(index));
            let cordoned = row.is_some_and(|row| row.cordoned);
            let what = match &container.life {
                Life::Off => "is off".to_owned(),
                Life::Asking { .. } => "waits".to_owned(),
                Life::Fetching { target, .. } => format!("fetches {}", ShownTarget(target)),
                Life::Up(up) => {
                    let status = format!("{:?}", up.status).to_lowercase();
                    format!("{} {status}", ShownTarget(&up.target))
                }
            };
            let known = row.and_then(|row| row.run.as_ref()).map(|run| run.status);
            let real = container.up().map(|up| up.status);
            let seen = match known {
                Some(status) if real != Some(status) && status != NodeStatus::Assigned => {
                    format!(", seen as {}", format!("{status:?}").to_lowercase())
                }
                _ => String::new(),
            };
            let cordoned = if cordoned { ", cordoned" } else { "" };
            lines.push(format!("{name}: {what}{seen}{cordoned}"));
        }
        for (key, point) in &self.resources {
            let point = point.as_ref().map_or("not created", |point| point.as_str());
            lines.push(format!("{key}: {point}"));
        }
        lines
    }

    /// Describes the running migration.
    pub fn picture_of_migration(&self) -> Option<String> {
        let migration = self.store.migration.as_ref()?;
        let step = self
            .migration_state()
            .map(|state| state.step(self.context()));
        let step = step.map_or_else(|| "unknown".to_owned(), |step| format!("{step:?}"));
        let mode = if migration.automatic {
            "automatic"
        } else {
            "manual"
        };
        let busy = if self.is_busy() { ", busy" } else { "" };
        Some(format!(
            "migration {} → {}: {:?}, {mode}, to the {}, step {step}{busy}",
            migration.from, migration.to, migration.phase, migration.goal
        ))
    }

    /// Lists what the manager waits for, why the migration is paused before all.
    pub fn waits(&self) -> Vec<String> {
        let Some(leader) = &self.leader else {
            return vec!["no manager".to_owned()];
        };
        let migration = self.store.migration.as_ref();
        let reason = migration.and_then(|migration| migration.reason.clone());
        let mut waits: Vec<_> = reason.map(Waiting::from).into_iter().collect();
        for waiting in &leader.waiting_on {
            // The nodes that it holds wait for the same.
            if !waits.contains(waiting) {
                waits.push(waiting.clone());
            }
        }
        let line = |waiting: &Waiting| format!("{}: {}", waiting.code, waiting.message);
        waits
            .iter()
            .map(|waiting| self.named(&line(waiting)))
            .collect()
    }

    /// Returns the number of a container by its name.
    pub fn container(&self, name: &str) -> Option<usize> {
        self.fixed.names.iter().position(|other| other == name)
    }

    /// Returns how many containers there are.
    pub fn containers(&self) -> usize {
        self.containers.len()
    }

    /// Tells whether a migration runs.
    pub fn is_migrating(&self) -> bool {
        self.store.migration.is_some()
    }

    /// Tells whether the migration is held until an operator decides.
    pub fn is_held(&self) -> bool {
        let migration = self.store.migration.as_ref();
        migration.is_some_and(|migration| migration.phase == Phase::Paused)
    }

    /// Tells whether a manager runs.
    pub fn is_led(&self) -> bool {
        self.leader.is_some()
    }

    /// Tells whether an executor works.
    pub fn moves_resources(&self) -> bool {
        !self.executors.is_empty()
    }

    /// Lists the steps and phases of the running migration.
    pub fn picture_of_phases(&self) -> Vec<String> {
        let Some(state) = self.migration_state() else {
            return vec!["not read yet".to_owned()];
        };
        let names = |keys: Vec<klusterkite_core::plan::resources::ResourceKey>| {
            let names: Vec<String> = keys.iter().map(ToString::to_string).collect();
            if names.is_empty() {
                "–".to_owned()
            } else {
                names.join(", ")
            }
        };
        let steps: Vec<String> = state
            .steps()
            .iter()
            .map(|step| format!("{step:?}"))
            .collect();
        let mut lines = vec![
            format!("steps: {}", steps.join(", ")),
            format!("before nodes: {}", names(state.pre())),
            format!("after nodes: {}", names(state.post())),
        ];
        for template in &state.templates {
            for migrator in &template.migrators {
                for resource in &migrator.resources {
                    lines.push(format!(
                        "{}:{}:{} {:?}, {:?}, at {}",
                        template.code,
                        migrator.type_name,
                        resource.code,
                        migrator.direction,
                        resource.position,
                        resource
                            .current_point
                            .as_ref()
                            .map_or("–", |point| point.as_str()),
                    ));
                }
            }
        }
        lines
    }
}
