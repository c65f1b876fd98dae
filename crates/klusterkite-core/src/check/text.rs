//! The HOCON texts of a template and of its packages, merged as the node will merge them.

use std::collections::{BTreeMap, BTreeSet};

use klusterkite_hocon::{Config, Document, Error};
use klusterkite_nuget::v3::PackageFacts;
use klusterkite_wire::MigratorName;

use super::finding::{FindingCode, Findings};
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

/// Parses the texts and, if the template has all its packages, merges them.
pub(super) fn check(
    template: &Template<'_>,
    packages: &[&PackageFacts],
    is_whole: bool,
    findings: &mut Findings,
) {
    let manifests = manifests(template, packages, findings);
    let own = match Document::parse(template.configuration, "configuration") {
        Ok(document) => document,
        Err(error) => {
            report(
                FindingCode::ConfigurationInvalid,
                template.field("configuration"),
                &error,
                findings,
            );
            return;
        }
    };
    if !is_whole {
        return;
    }
    if let Some(settings) = merge(template, own, &manifests, findings)
        && template.kind == Kind::Migrators
    {
        migrators(template, &settings, &manifests, findings);
    }
}

/// A package's parsed manifest.
struct Manifest<'a> {
    package: &'a PackageFacts,
    document: Document,
}

fn manifests<'a>(
    template: &Template<'_>,
    packages: &[&'a PackageFacts],
    findings: &mut Findings,
) -> Vec<Manifest<'a>> {
    let mut manifests = Vec::new();
    for package in packages {
        let Some(text) = &package.manifest else {
            continue;
        };
        match Document::parse(text, &format!("manifest of `{}`", package.id)) {
            Ok(document) => manifests.push(Manifest { package, document }),
            Err(error) => report(
                FindingCode::ManifestInvalid,
                manifest_field(template, package),
                &error,
                findings,
            ),
        }
    }
    manifests
}

/// Merges and resolves everything, so that a reference to nothing is found here and not on a node.
fn merge(
    template: &Template<'_>,
    own: Document,
    manifests: &[Manifest<'_>],
    findings: &mut Findings,
) -> Option<Config> {
    let start = Document::parse(START_SETTINGS, "start settings").expect("the constant is HOCON");
    let mut settings = start.with_fallback(own);
    for manifest in manifests {
        match manifest.document.section("config") {
            Ok(Some(defaults)) => settings = settings.with_fallback(defaults),
            Ok(None) => {}
            Err(error) => report(
                FindingCode::ManifestInvalid,
                manifest_field(template, manifest.package),
                &error,
                findings,
            ),
        }
    }
    // The environment is the node's; only references that must exist are looked at.
    let environment = BTreeMap::new();
    for manifest in manifests {
        let whole = manifest
            .document
            .clone()
            .without("config")
            .with_fallback(settings.clone());
        if let Err(error) = whole.resolve(&environment)
            && settings.resolve(&environment).is_ok()
        {
            report(
                FindingCode::ManifestInvalid,
                manifest_field(template, manifest.package),
                &error,
                findings,
            );
        }
    }
    match settings.resolve(&environment) {
        Ok(settings) => Some(settings),
        Err(error) => {
            report(
                FindingCode::ConfigurationInvalid,
                template.field("configuration"),
                &error,
                findings,
            );
            None
        }
    }
}

fn migrators(
    template: &Template<'_>,
    settings: &Config,
    manifests: &[Manifest<'_>],
    findings: &mut Findings,
) {
    let field = template.field("configuration");
    let names = match settings.string_list_optional(MIGRATORS) {
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
    let mut known: BTreeSet<String> = BTreeSet::new();
    for manifest in manifests {
        if let Ok(Some(section)) = manifest.document.section("migrators") {
            known.extend(section.keys().map(|(name, _)| name.to_owned()));
        }
    }
    let mut seen = BTreeSet::new();
    for name in names {
        if let Err(error) = name.parse::<MigratorName>() {
            findings.error(FindingCode::IdInvalid, field.clone(), error.to_string());
        } else if !known.contains(&name) {
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

/// Reports an error of a text; a variable that only the node's environment can bring is a warning.
fn report(code: FindingCode, field: String, error: &Error, findings: &mut Findings) {
    match error {
        Error::Unresolved {
            path, cycle: false, ..
        } if is_variable(path) => {
            let message = format!(
                "every node needs the environment variable `{path}`; write `${{?{path}}}` if it may be missing"
            );
            findings.warning(FindingCode::EnvironmentRequired, field, message);
        }
        _ => findings.error(code, field, error.to_string()),
    }
    findings.at(error.origin().line(), error.origin().column());
}

/// Tells whether a path looks like an environment variable: one upper-case name.
fn is_variable(path: &str) -> bool {
    path.bytes()
        .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

fn manifest_field(template: &Template<'_>, package: &PackageFacts) -> String {
    template.field(&format!("packageRequirements[\"{}\"]", package.id))
}
