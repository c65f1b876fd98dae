use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use klusterkite_hocon::{Config, Document, Error as HoconError, Path, quote};

use crate::cursor::{Cursor, invalid};
use crate::decode;
use crate::error::Error;
use crate::manifest::{Manifest, parse};
use crate::spec::{CommandSpec, EndpointSpec, Limits, ProcessSpec, StopSpec};
use crate::start_order::{Unordered, in_start_order};

/// The manifest of one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestText {
    /// Id of the package.
    pub package: String,
    /// Content of its `klusterkite.hocon`.
    pub text: String,
}

/// A node, or an executor, put together.
#[derive(Debug, Clone)]
pub struct Assembly {
    /// The merged and resolved settings.
    pub settings: Config,
    /// Roles of all packages.
    pub roles: BTreeSet<String>,
    /// Processes in the order in which they start; those that need not wait for each other by package id.
    pub processes: Vec<ProcessSpec>,
    /// What the processes of one package may use together, by package id.
    pub package_limits: BTreeMap<String, Limits>,
    /// Endpoints, in the same order.
    pub endpoints: Vec<EndpointSpec>,
    /// Migrators by name.
    pub migrators: BTreeMap<String, CommandSpec>,
    /// Seeders by name.
    pub seeders: BTreeMap<String, CommandSpec>,
}

/// How many processes a node may run.
const PROCESSES_MAX: usize = 64;

/// How many endpoints a node may publish.
const ENDPOINTS_MAX: usize = 256;

/// Where the sections of manifests lie while they are resolved together with the settings.
///
/// A control character keeps it out of the way of real settings.
const SECTIONS_KEY: &str = "\u{1}manifests";

/// Puts manifests under the settings of a template and of a launcher.
///
/// Lowest first, the settings are: the `config` of the manifests by priority, equal ones by package id;
/// the template's settings; the start settings. Substitutions, also those of the manifests' other
/// sections, are resolved over the whole and then over the environment.
pub fn assemble(
    manifests: &[ManifestText],
    template: &str,
    start: &str,
    environment: &BTreeMap<String, String>,
) -> Result<Assembly, Error> {
    let manifests = parse_all(manifests)?;
    let manifests: Vec<&Manifest> = manifests.iter().collect();
    assemble_parsed(&manifests, template, start, environment)
}

/// Does what [`assemble`] does with manifests that are parsed already, one of each package.
pub fn assemble_parsed(
    manifests: &[&Manifest],
    template: &str,
    start: &str,
    environment: &BTreeMap<String, String>,
) -> Result<Assembly, Error> {
    let mut manifests = manifests.to_vec();
    manifests.sort_by_cached_key(|manifest| manifest.package.to_lowercase());
    let template = Document::parse(template, "template settings");
    let template = template.map_err(|source| Error::Template { source })?;
    let start = Document::parse(start, "start settings");
    let start = start.map_err(|source| Error::Start { source })?;
    let mut whole = start.with_fallback(template);
    let mut by_priority = manifests.clone();
    // The sort is stable: equal priorities stay in the order of package ids.
    by_priority.sort_by_key(|manifest| manifest.priority);
    for manifest in by_priority.into_iter().rev() {
        whole = whole.with_fallback(manifest.config.clone());
    }
    if let Some((_, origin)) = whole.keys().find(|(key, _)| *key == SECTIONS_KEY) {
        return Err(Error::Settings {
            source: HoconError::BadValue {
                origin: origin.clone(),
                path: quote(SECTIONS_KEY),
                problem: "is a reserved key".to_owned(),
            },
        });
    }
    for manifest in &manifests {
        whole = whole.with_fallback(hidden_sections(manifest)?);
    }
    let resolved = whole.resolve(environment);
    let resolved = resolved.map_err(|source| Error::Settings { source })?;
    let mut assembly = Assembly {
        settings: resolved.without(SECTIONS_KEY),
        roles: BTreeSet::new(),
        processes: Vec::new(),
        package_limits: BTreeMap::new(),
        endpoints: Vec::new(),
        migrators: BTreeMap::new(),
        seeders: BTreeMap::new(),
    };
    let mut processes = Vec::new();
    for manifest in manifests {
        let sections = resolved.config(&sections_path(&manifest.package));
        let sections = sections.map_err(|source| invalid(&manifest.package, source))?;
        assembly.add(manifest, sections.into_root(), &mut processes)?;
    }
    assembly.processes = in_start_order(processes)?;
    Ok(assembly)
}

/// Parses manifests and returns them in the order of package ids, which ignore case as in NuGet.
fn parse_all(texts: &[ManifestText]) -> Result<Vec<Manifest>, Error> {
    let mut manifests = BTreeMap::new();
    for ManifestText { package, text } in texts {
        let manifest = parse(package, text)?;
        if manifests.insert(package.to_lowercase(), manifest).is_some() {
            return Err(Error::DuplicatePackage {
                package: package.clone(),
            });
        }
    }
    Ok(manifests.into_values().collect())
}

fn sections_path(package: &str) -> String {
    format!("{}.{}", quote(SECTIONS_KEY), quote(package))
}

fn hidden_sections(manifest: &Manifest) -> Result<Document, Error> {
    let package = &manifest.package;
    Path::parse(&sections_path(package))
        .and_then(|path| manifest.sections.clone().nested(&path))
        .map_err(|source| invalid(package, source))
}

impl Assembly {
    /// Returns the longest time that a stop of the node may take: drain delay, hook and grace.
    pub fn stop_time(&self) -> Duration {
        let stops = || self.processes.iter().map(|process| &process.stop);
        let drain = stops().map(|stop| stop.drain).max();
        let rest = stops().map(StopSpec::time_after_drain).max();
        drain.unwrap_or_default() + rest.unwrap_or_default()
    }

    fn add(
        &mut self,
        manifest: &Manifest,
        sections: Config,
        processes: &mut Vec<Unordered>,
    ) -> Result<(), Error> {
        let cursor = Cursor::resolved(&manifest.package, sections);
        self.roles.extend(manifest.roles.iter().cloned());
        for (name, object) in cursor.named("processes")? {
            let known = processes.iter().find(|known| known.process.name == name);
            refuse_second(
                "process",
                &name,
                known.map(|known| &known.process.package),
                manifest,
            )?;
            if let Some(object) = object {
                processes.push(Unordered {
                    process: decode::process(&name, &object)?,
                    priority: manifest.priority,
                    after: decode::after(&object)?,
                });
            }
        }
        let limits = decode::limits(&cursor)?;
        if !limits.is_empty() {
            self.package_limits.insert(manifest.package.clone(), limits);
        }
        for (name, object) in cursor.named("endpoints")? {
            let known = self.endpoints.iter().find(|endpoint| endpoint.name == name);
            refuse_second(
                "endpoint",
                &name,
                known.map(|endpoint| &endpoint.package),
                manifest,
            )?;
            if let Some(object) = object {
                self.endpoints.push(decode::endpoint(&name, &object)?);
            }
        }
        add_commands("migrator", &cursor, manifest, &mut self.migrators)?;
        add_commands("seeder", &cursor, manifest, &mut self.seeders)?;
        for (count, limit, kind) in [
            (processes.len(), PROCESSES_MAX, "processes"),
            (self.endpoints.len(), ENDPOINTS_MAX, "endpoints"),
        ] {
            if count > limit {
                return Err(Error::TooMany { kind, limit });
            }
        }
        Ok(())
    }
}

fn add_commands(
    kind: &'static str,
    cursor: &Cursor<'_>,
    manifest: &Manifest,
    commands: &mut BTreeMap<String, CommandSpec>,
) -> Result<(), Error> {
    for (name, object) in cursor.named(&format!("{kind}s"))? {
        let known = commands.get(&name);
        refuse_second(kind, &name, known.map(|command| &command.package), manifest)?;
        if let Some(object) = object {
            commands.insert(name, decode::command(&object)?);
        }
    }
    Ok(())
}

fn refuse_second(
    kind: &'static str,
    name: &str,
    first: Option<&String>,
    second: &Manifest,
) -> Result<(), Error> {
    match first {
        None => Ok(()),
        Some(first) => Err(Error::Duplicate {
            kind,
            name: name.to_owned(),
            first: first.clone(),
            second: second.package.clone(),
        }),
    }
}
