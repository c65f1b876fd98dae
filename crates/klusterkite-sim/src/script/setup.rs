//! The lines before `start`.

use std::str::FromStr;
use std::time::Duration;

use klusterkite_core::configuration::ConfigurationState;
use klusterkite_wire::migrator::DependencyType;
use serde_json::{Value, json};

use crate::cluster::{ConfigurationSetup, MigratorSetup, Setup};

use super::parse::{key, parsed};

/// Reads a setup line by line.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) setup: Setup,
    current: Option<i64>,
}

impl Reader {
    /// Reads one line; returns true when the cluster is to start.
    pub(super) fn read(&mut self, line: &str) -> Result<bool, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["start", id] => {
                self.setup.active = parsed(id, "the number of a configuration")?;
                return Ok(true);
            }
            ["configuration", rest @ ..] => self.configuration(rest)?,
            ["node", code, rest @ ..] => self.node(code, rest)?,
            ["no", "node", code] => {
                self.current()?.templates.remove(*code);
            }
            ["no", "migrators", code] => {
                self.current()?.migrators.remove(*code);
            }
            ["no", "migrator", code, name] => {
                if let Some((_, migrators)) = self.current()?.migrators.get_mut(*code) {
                    migrators.retain(|migrator| migrator.name.as_str() != *name);
                }
            }
            ["assignment", mode] => self.current()?.assignment = Some((*mode).to_owned()),
            ["migrators", code, rest @ ..] => {
                let priority = number(rest, "priority")?.unwrap_or(1.0);
                let entry = self.current()?.migrators.entry((*code).to_owned());
                entry.or_default().0 = priority;
            }
            ["migrator", template, name, rest @ ..] => self.migrator(template, name, rest)?,
            ["containers", container_type, names @ ..] => {
                for name in names {
                    for name in expanded(name)? {
                        let container_type = (*container_type).to_owned();
                        self.setup.containers.push((name, container_type));
                    }
                }
            }
            ["resource", name, point] => {
                let resource = (key(name)?, parsed(point, "a point")?);
                self.setup.resources.push(resource);
            }
            ["temper", rest @ ..] => self.temper(rest)?,
            ["pace", rest @ ..] => self.pace(rest)?,
            _ => return Err("no line of a setup; see docs/proof.md".to_owned()),
        }
        Ok(false)
    }

    fn current(&mut self) -> Result<&mut ConfigurationSetup, String> {
        let id = self.current.ok_or("a `configuration` comes first")?;
        Ok(self.setup.configurations.entry(id).or_default())
    }

    fn configuration(&mut self, words: &[&str]) -> Result<(), String> {
        let [id, rest @ ..] = words else {
            return Err("give its number".to_owned());
        };
        let id: i64 = parsed(id, "a number")?;
        let mut new = ConfigurationSetup::default();
        let mut rest = rest;
        if let ["from", before, more @ ..] = rest {
            let before: i64 = parsed(before, "a number")?;
            let known = self.setup.configurations.get(&before);
            new.clone_from(known.ok_or("no such configuration")?);
            new.state = None;
            rest = more;
        }
        new.state = match rest {
            [] => None,
            ["draft"] => Some(ConfigurationState::Draft),
            ["ready"] => Some(ConfigurationState::Ready),
            ["archived"] => Some(ConfigurationState::Archived),
            ["faulted"] => Some(ConfigurationState::Faulted),
            ["obsolete"] => Some(ConfigurationState::Obsolete),
            _ => return Err("draft, ready, archived, faulted or obsolete".to_owned()),
        };
        self.setup.configurations.insert(id, new);
        self.current = Some(id);
        Ok(())
    }

    fn node(&mut self, code: &str, words: &[&str]) -> Result<(), String> {
        let configuration = self.current()?;
        let template = configuration.templates.entry(code.to_owned()).or_default();
        let settings = &mut template.settings;
        settings
            .entry("containerTypes")
            .or_insert_with(|| json!(["worker"]));
        // Seconds that suit a simulation; a scenario that is about them says so.
        let rollout = settings
            .entry("rollout")
            .or_insert_with(|| json!({ "batch": "1", "minStableSeconds": 3, "progressDeadlineSeconds": 120, "startDeadlineSeconds": 30 }));
        for word in words {
            let (name, value) = word.split_once('=').ok_or("NAME=VALUE")?;
            let whole = || parsed::<i64>(value, "a whole number").map(|number| json!(number));
            match name {
                "batch" => rollout["batch"] = json!(value),
                "stable" => rollout["minStableSeconds"] = whole()?,
                "deadline" => rollout["progressDeadlineSeconds"] = whole()?,
                "begin" => rollout["startDeadlineSeconds"] = whole()?,
                "failed" => rollout["maxFailed"] = whole()?,
                "canary" => rollout["canary"] = whole()?,
                "surge" => rollout["surge"] = whole()?,
                _ => {}
            }
        }
        let rollout = rollout.clone();
        settings.insert("rollout".to_owned(), rollout);
        for word in words {
            let (name, value) = word.split_once('=').ok_or("NAME=VALUE")?;
            let whole = || parsed::<i64>(value, "a whole number").map(|number| json!(number));
            let list = || {
                let items = value.split(',').filter(|item| !item.is_empty());
                json!(items.collect::<Vec<_>>())
            };
            let field = match name {
                "min" => ("minimumRequiredInstances", whole()?),
                "max" if value == "none" => ("maximumNeededInstances", Value::Null),
                "max" => ("maximumNeededInstances", whole()?),
                "types" => ("containerTypes", list()),
                "priority" => ("priority", json!(parsed::<f64>(value, "a number")?)),
                "text" => ("configuration", json!(value)),
                "replaces" => ("replaces", list()),
                "persistent" => ("persistent", json!(value == "yes")),
                "force" => ("forceUpdate", json!(value == "yes")),
                "entry" => ("entryPoint", json!(value)),
                "requires" => ("packageRequirements", requirements(value)),
                "manager" => (
                    "packageRequirements",
                    json!([{ "id": "KlusterKite.NodeManager" }]),
                ),
                "packages" => {
                    let items = value.split(',').map(str::to_owned);
                    template.packages = items.collect();
                    continue;
                }
                "batch" | "stable" | "deadline" | "begin" | "failed" | "canary" | "surge" => {
                    continue;
                }
                other => return Err(format!("`{other}` is no field of a node template")),
            };
            settings.insert(field.0.to_owned(), field.1);
        }
        Ok(())
    }

    fn migrator(&mut self, template: &str, name: &str, words: &[&str]) -> Result<(), String> {
        let entry = self.current()?.migrators.entry(template.to_owned());
        let (_, migrators) = entry.or_insert_with(|| (1.0, Vec::new()));
        let known = migrators
            .iter()
            .position(|migrator| migrator.name.as_str() == name);
        let index = if let Some(index) = known {
            index
        } else {
            migrators.push(MigratorSetup {
                name: parsed(name, "the name of a migrator")?,
                dependency: DependencyType::CodeDependsOnResource,
                priority: 1.0,
                points: Vec::new(),
                irreversible: Vec::new(),
                resources: Vec::new(),
            });
            migrators.len() - 1
        };
        let migrator = &mut migrators[index];
        for word in words {
            match word.split_once('=') {
                None if *word == "before" => {
                    migrator.dependency = DependencyType::CodeDependsOnResource;
                }
                None if *word == "after" => {
                    migrator.dependency = DependencyType::ResourceDependsOnCode;
                }
                Some(("priority", value)) => migrator.priority = parsed(value, "a number")?,
                Some(("points", value)) => migrator.points = list(value, "a point")?,
                Some(("irreversible", value)) => migrator.irreversible = list(value, "a point")?,
                Some(("resources", value)) => migrator.resources = list(value, "a resource")?,
                _ => return Err(format!("`{word}` says nothing about a migrator")),
            }
        }
        Ok(())
    }

    fn temper(&mut self, words: &[&str]) -> Result<(), String> {
        let temper = &mut self.setup.temper;
        for word in words {
            let (name, value) = word.split_once('=').ok_or("NAME=VALUE")?;
            if name == "mass" {
                temper.mass_failure_part = parsed(value, "a part of 1")?;
                continue;
            }
            let seconds = Duration::from_secs(parsed(value, "seconds")?);
            match name {
                "lease" => temper.lease = seconds,
                "join" => temper.patience.join_timeout = seconds,
                "failover" => temper.patience.failover_lease = seconds,
                "evict" => temper.patience.evict_after = seconds,
                "retry" => temper.retry = seconds,
                _ => return Err("lease, join, failover, evict, retry or mass".to_owned()),
            }
        }
        Ok(())
    }

    fn pace(&mut self, words: &[&str]) -> Result<(), String> {
        let pace = &mut self.setup.pace;
        for word in words {
            let (name, value) = word.split_once('=').ok_or("NAME=VALUE")?;
            let seconds = Duration::from_secs(parsed(value, "seconds")?);
            match name {
                "fetch" => pace.fetch = seconds,
                "start" => pace.start = seconds,
                "stop" => pace.stop = seconds,
                "retry" => pace.retry = seconds,
                "point" => pace.point = seconds,
                "orphan" => pace.orphan = seconds,
                _ => return Err("fetch, start, stop, retry, point or orphan".to_owned()),
            }
        }
        Ok(())
    }
}

fn number(words: &[&str], name: &str) -> Result<Option<f64>, String> {
    let mut values = words.iter().filter_map(|word| word.split_once('='));
    let value = values.find(|(key, _)| *key == name);
    value
        .map(|(_, value)| parsed(value, "a number"))
        .transpose()
}

fn list<T: FromStr>(text: &str, what: &str) -> Result<Vec<T>, String> {
    let items = text.split(',').filter(|item| !item.is_empty());
    items.map(|item| parsed(item, what)).collect()
}

/// Reads `lib-1.0,other`: a version pins the requirement.
fn requirements(text: &str) -> Value {
    let items = text.split(',').filter(|item| !item.is_empty());
    let items = items.map(|item| match item.split_once('-') {
        Some((id, version)) => json!({ "id": id, "specificVersion": version }),
        None => json!({ "id": item }),
    });
    json!(items.collect::<Vec<_>>())
}

/// Reads `w1..w5` as five names.
fn expanded(text: &str) -> Result<Vec<String>, String> {
    let Some((first, last)) = text.split_once("..") else {
        return Ok(vec![text.to_owned()]);
    };
    let stem = first.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let from: u32 = parsed(&first[stem.len()..], "a number at its end")?;
    let to: u32 = parsed(last.trim_start_matches(stem), "a number at its end")?;
    Ok((from..=to)
        .map(|number| format!("{stem}{number}"))
        .collect())
}
