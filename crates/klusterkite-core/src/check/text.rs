//! The HOCON texts of a template and of its packages, merged by the code that merges them on the node.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use klusterkite_hocon::Error as HoconError;
use klusterkite_manifest::{Assembly, Error, Manifest, assemble_parsed};
use klusterkite_wire::MigratorName;
use klusterkite_wire::link::{STOP_DEADLINE_SECONDS, STOP_RESERVE_SECONDS};
use klusterkite_wire::start::STOP_GRACE_SECONDS;

use super::finding::{FindingCode, Findings};
use super::packages::World;
use super::{Kind, Template};

/// The setting of a migrator template that lists its migrators.
const MIGRATORS: &str = "KlusterKite.NodeManager.Migrators";

/// What a launcher adds on the node, with values of the right kind.
const START_SETTINGS: &str = r#"
    KlusterKite.NodeManager {
        ConfigurationId = 1, NodeTemplate = check, ContainerType = check, Runtime = linux-x64
        NodeId = "00000000-0000-4000-8000-000000000000", Incarnation = 1, Url = ["http://127.0.0.1"]
    }
    KlusterKite.Cluster.Seeds = ["127.0.0.1:1"]
"#;

/// The variable that every launcher gives to its node.
const DATA_VARIABLE: &str = "KLUSTERKITE_DATA";

/// How many variables of the node's environment one template may need; more are surely something else.
const VARIABLES_MAX: usize = 64;

/// The manifests of packages, each parsed when a template uses it.
pub(super) struct Manifests(Vec<Option<Result<Manifest, Error>>>);

impl Manifests {
    pub(super) fn new(world: &World<'_>) -> Self {
        Self(world.packages.iter().map(|_| None).collect())
    }

    /// Parses a template's texts and, if it has all its packages, merges them.
    pub(super) fn check(
        &mut self,
        world: &World<'_>,
        template: &Template<'_>,
        packages: &[usize],
        is_whole: bool,
        findings: &mut Findings,
    ) {
        let errors = findings.errors();
        for place in packages {
            self.parse(world, *place);
        }
        let parsed = packages.iter().filter_map(|place| self.0[*place].as_ref());
        let mut manifests = Vec::new();
        for parsed in parsed {
            match parsed {
                Ok(manifest) => manifests.push(manifest),
                Err(error) => report_assembly(template, &[], error, findings),
            }
        }
        if let Err(error) =
            klusterkite_hocon::Document::parse(template.configuration, "configuration")
        {
            report(
                FindingCode::ConfigurationInvalid,
                template.field("configuration"),
                &error,
                findings,
            );
        }
        if !is_whole || findings.errors() > errors {
            return;
        }
        let Some(assembly) = merge(template, &manifests, findings) else {
            return;
        };
        match template.kind {
            Kind::Migrators => migrators(template, &assembly, findings),
            Kind::Node => stop_time(template, &assembly, findings),
        }
    }

    fn parse(&mut self, world: &World<'_>, place: usize) {
        let facts = world.packages[place].facts;
        if let (None, Some(text)) = (&self.0[place], &facts.manifest) {
            self.0[place] = Some(klusterkite_manifest::parse(facts.id.as_str(), text));
        }
    }
}

/// Puts the node together as its host will, so that a reference to nothing is found here.
///
/// The environment is the node's: what has to come from there is a warning and taken as given.
fn merge(
    template: &Template<'_>,
    manifests: &[&Manifest],
    findings: &mut Findings,
) -> Option<Assembly> {
    let mut environment = BTreeMap::from([(DATA_VARIABLE.to_owned(), "/data".to_owned())]);
    loop {
        let assembled = assemble_parsed(
            manifests,
            template.configuration,
            START_SETTINGS,
            &environment,
        );
        let error = match assembled {
            Ok(assembly) => return Some(assembly),
            Err(error) => error,
        };
        let Some(variable) =
            required_variable(&error).filter(|_| environment.len() < VARIABLES_MAX)
        else {
            report_assembly(template, manifests, &error, findings);
            return None;
        };
        let message = format!(
            "every node needs the environment variable `{variable}`; write `${{?{variable}}}` if it may be missing"
        );
        findings.warning(
            FindingCode::EnvironmentRequired,
            template.field("configuration"),
            message,
        );
        // A number is also a text, so it fits wherever the variable is used.
        environment.insert(variable.to_owned(), "1".to_owned());
    }
}

/// Returns the name of a variable without which nothing can be resolved: one upper-case name.
fn required_variable(error: &Error) -> Option<&str> {
    let Error::Settings {
        source: HoconError::Unresolved {
            path, cycle: false, ..
        },
    } = error
    else {
        return None;
    };
    let is_variable = path
        .bytes()
        .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    is_variable.then_some(path)
}

/// Compares the longest stop of a node with the time that there is for it.
fn stop_time(template: &Template<'_>, assembly: &Assembly, findings: &mut Findings) {
    let needed = assembly.stop_time();
    let ordered = Duration::from_secs(u64::from(STOP_DEADLINE_SECONDS - STOP_RESERVE_SECONDS));
    let signalled = Duration::from_secs(u64::from(STOP_GRACE_SECONDS));
    let field = template.field("packageRequirements");
    let sum = format!(
        "a stop of a node may take {} s (the longest `stop.drain`, then the longest `stop.timeout` and `stop.grace` \
         of a process)",
        needed.as_secs_f64()
    );
    if needed > ordered {
        let limit = ordered.as_secs();
        let message = format!("{sum}, but an order to stop has {limit} s; make them shorter");
        findings.error(FindingCode::StopTooLong, field, message);
    } else if needed > signalled {
        let limit = signalled.as_secs();
        let message = format!(
            "{sum}, but a launcher that is told to stop kills after `stopGrace`, {limit} s if it is not set; set it \
             in these containers, or make the times shorter"
        );
        findings.warning(FindingCode::StopTooLong, field, message);
    }
}

fn migrators(template: &Template<'_>, assembly: &Assembly, findings: &mut Findings) {
    let field = template.field("configuration");
    let names = match assembly.settings.string_list_optional(MIGRATORS) {
        Ok(names) => names.unwrap_or_default(),
        Err(error) => {
            report(FindingCode::ConfigurationInvalid, field, &error, findings);
            return;
        }
    };
    if names.is_empty() {
        let message = format!("setting `{MIGRATORS}` lists no migrator; add one");
        findings.error(FindingCode::MigratorsMissing, field, message);
        return;
    }
    let mut seen = BTreeSet::new();
    for name in names {
        if let Err(error) = name.parse::<MigratorName>() {
            findings.error(FindingCode::IdInvalid, field.clone(), error.to_string());
        } else if !assembly.migrators.contains_key(&name) {
            let message = format!("migrator `{name}` is in no manifest of the template's packages");
            findings.error(FindingCode::MigratorNotFound, field.clone(), message);
        } else if !seen.insert(name.clone()) {
            findings.error(
                FindingCode::Duplicate,
                field.clone(),
                format!("migrator `{name}` is listed twice"),
            );
        }
    }
}

/// Reports what keeps a node from being put together, on the text that is to blame.
fn report_assembly(
    template: &Template<'_>,
    manifests: &[&Manifest],
    error: &Error,
    findings: &mut Findings,
) {
    let of_package = |package: &str| template.field(&format!("packageRequirements[\"{package}\"]"));
    match error {
        Error::Manifest { package, source } => {
            report(
                FindingCode::ManifestInvalid,
                of_package(package),
                source,
                findings,
            );
        }
        Error::Template { source } | Error::Start { source } => {
            report(
                FindingCode::ConfigurationInvalid,
                template.field("configuration"),
                source,
                findings,
            );
        }
        Error::Settings { source } => {
            // A manifest's text is named after its package.
            let text = source.origin().source();
            let named = |manifest: &&&Manifest| {
                text.strip_prefix(&manifest.package)
                    .is_some_and(|rest| rest.starts_with('/'))
            };
            match manifests.iter().find(named) {
                Some(manifest) => report(
                    FindingCode::ManifestInvalid,
                    of_package(&manifest.package),
                    source,
                    findings,
                ),
                None => report(
                    FindingCode::ConfigurationInvalid,
                    template.field("configuration"),
                    source,
                    findings,
                ),
            }
        }
        error => findings.error(
            FindingCode::ManifestInvalid,
            template.field("packageRequirements"),
            error.full_message(),
        ),
    }
}

fn report(code: FindingCode, field: String, error: &HoconError, findings: &mut Findings) {
    findings.error_at(code, field, error.to_string(), error.origin());
}
