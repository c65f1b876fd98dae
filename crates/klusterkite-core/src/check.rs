//! The check: may these settings become Ready, and which exact packages would run?
//!
//! Everything that is wrong is collected, nothing stops at the first finding. The rules are those of the
//! original's section 4, with what it forgot to check, and without its false errors (B19, B20).

mod files;
mod finding;
mod packages;
mod shape;
mod text;

pub use finding::{Finding, FindingCode, Severity};

use std::collections::{BTreeMap, BTreeSet};

use klusterkite_nuget::v3::PackageFacts;
use klusterkite_nuget::{PackageId, Version};

use crate::release::FrozenPackages;
use crate::settings::{
    EXECUTOR_PACKAGE, MigratorTemplateSettings, NodeTemplateSettings, PackageRequirement,
    SERVICE_PACKAGE, Settings,
};
use finding::Findings;
use packages::World;

/// What the feed says about packages, by exact version. A missing entry means "not in the feed".
pub type FactsByPackage = BTreeMap<(PackageId, Version), PackageFacts>;

/// What besides the settings decides about the check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckContext {
    /// True when the manager's store is a SQLite file: there can be one manager only.
    pub single_manager: bool,
}

/// What passed the check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The exact packages of every template and runtime.
    pub frozen: FrozenPackages,
    /// What is allowed and looks wrong.
    pub warnings: Vec<Finding>,
}

/// Lists the packages whose facts the check needs: all that are listed, and those that templates pin themselves.
///
/// Texts that are no package id or version are left out; the check reports them.
pub fn needed(settings: &Settings) -> BTreeSet<(PackageId, Version)> {
    let listed = settings
        .packages
        .iter()
        .map(|pin| (pin.id.as_str(), pin.version.as_str()));
    let requirements = settings
        .node_templates
        .iter()
        .flat_map(|template| &template.package_requirements)
        .chain(
            settings
                .migrator_templates
                .iter()
                .flat_map(|template| &template.package_requirements),
        );
    let pinned = requirements.filter_map(|requirement| {
        Some((
            requirement.id.as_str(),
            requirement.specific_version.as_deref()?,
        ))
    });
    let parse = |(id, version): (&str, &str)| Some((id.parse().ok()?, version.parse().ok()?));
    listed.chain(pinned).filter_map(parse).collect()
}

/// Checks settings; returns the packages to freeze, or every finding if one of them is an error.
pub fn check(
    settings: &Settings,
    packages: &FactsByPackage,
    context: CheckContext,
) -> Result<Checked, Vec<Finding>> {
    let mut findings = Findings::default();
    shape::check(settings, context, &mut findings);
    let world = World::new(settings, packages, &mut findings);
    world.check_listed(&mut findings);
    let mut frozen = FrozenPackages::default();
    let mut used = BTreeSet::new();
    for template in settings.node_templates.iter().map(Template::of_node) {
        let Some((code, by_runtime)) =
            check_template(settings, &world, &template, &mut used, &mut findings)
        else {
            continue;
        };
        frozen.node_templates.insert(code, by_runtime);
    }
    for template in settings
        .migrator_templates
        .iter()
        .map(Template::of_migrators)
    {
        let Some((code, by_runtime)) =
            check_template(settings, &world, &template, &mut used, &mut findings)
        else {
            continue;
        };
        frozen.migrator_templates.insert(code, by_runtime);
    }
    world.warn_of_unused(&used, &mut findings);
    findings.conclude(frozen)
}

/// What node templates and migrator templates have in common.
struct Template<'a> {
    kind: Kind,
    code: &'a str,
    configuration: &'a str,
    requirements: Vec<PackageRequirement>,
    entry_point: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Node,
    Migrators,
}

impl<'a> Template<'a> {
    fn of_node(template: &'a NodeTemplateSettings) -> Self {
        let host = template.entry_point.is_none().then_some(SERVICE_PACKAGE);
        Self {
            kind: Kind::Node,
            code: &template.code,
            configuration: &template.configuration,
            requirements: with_package(&template.package_requirements, host),
            entry_point: template
                .entry_point
                .as_deref()
                .unwrap_or(klusterkite_wire::start::DEFAULT_ENTRY_POINT),
        }
    }

    fn of_migrators(template: &'a MigratorTemplateSettings) -> Self {
        Self {
            kind: Kind::Migrators,
            code: &template.code,
            configuration: &template.configuration,
            requirements: with_package(&template.package_requirements, Some(EXECUTOR_PACKAGE)),
            entry_point: crate::settings::EXECUTOR_ENTRY_POINT,
        }
    }

    /// Returns the path of one of its settings.
    fn field(&self, name: &str) -> String {
        let list = match self.kind {
            Kind::Node => "nodeTemplates",
            Kind::Migrators => "migratorTemplates",
        };
        format!("{list}[\"{}\"].{name}", self.code)
    }
}

/// Adds a package of ours to the requirements of a template, unless it is there or there are none at all.
fn with_package(
    requirements: &[PackageRequirement],
    package: Option<&str>,
) -> Vec<PackageRequirement> {
    let mut all = requirements.to_vec();
    if let Some(package) = package
        && !all.is_empty()
        && !all
            .iter()
            .any(|requirement| requirement.id.eq_ignore_ascii_case(package))
    {
        all.push(PackageRequirement {
            id: package.to_owned(),
            specific_version: None,
        });
    }
    all
}

/// Resolves one template: packages, then files for every runtime, then texts.
fn check_template<'a>(
    settings: &Settings,
    world: &World<'a>,
    template: &Template<'_>,
    used: &mut BTreeSet<PackageId>,
    findings: &mut Findings,
) -> Option<(
    klusterkite_wire::TemplateCode,
    crate::release::PackagesByRuntime,
)> {
    let errors = findings.errors();
    let resolved: Vec<&'a PackageFacts> = world.resolve(template, findings);
    used.extend(resolved.iter().map(|facts| facts.id.clone()));
    // Without all of its packages the texts would refer to settings that only the missing ones have.
    let is_whole = findings.errors() == errors;
    text::check(template, &resolved, is_whole, findings);
    let by_runtime = files::by_runtime(settings, template, &resolved, findings);
    Some((template.code.parse().ok()?, by_runtime))
}

#[cfg(test)]
mod tests;
