//! The check: may these settings become Ready, and which exact packages would run?
//!
//! Everything that is wrong is collected, nothing stops at the first finding. The rules are those of
//! KlusterKite, with what it forgot to check, and without its false errors (B19, B20); the table in this
//! module's tests has a row for each.

mod closure;
mod files;
mod finding;
mod packages;
mod shape;
mod text;

pub use finding::{Finding, FindingCode, Severity};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use klusterkite_nuget::v3::PackageFacts;
use klusterkite_nuget::{PackageId, Version};

use crate::release::{FrozenPackages, PackagesByRuntime};
use crate::settings::{
    EXECUTOR_PACKAGE, MigratorTemplateSettings, NodeTemplateSettings, PackageRequirement,
    SERVICE_PACKAGE, Settings,
};
use files::Files;
use finding::Findings;
use packages::World;
use text::Manifests;

/// What the feed says about packages, by exact version. A missing entry means "not in the feed".
pub type FactsByPackage = BTreeMap<(PackageId, Version), Arc<PackageFacts>>;

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

/// Why a feed did not say what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedProblem {
    /// [`FeedUnavailable`](FindingCode::FeedUnavailable), [`FeedCredential`](FindingCode::FeedCredential)
    /// or [`FeedAnswerInvalid`](FindingCode::FeedAnswerInvalid).
    pub code: FindingCode,
    /// One sentence that names the feed.
    pub message: String,
}

/// Tells whether the settings name a feed that can be asked; if not, the check says so.
pub fn names_feed(settings: &Settings) -> bool {
    shape::is_http_url(&settings.nuget_feed)
}

/// Checks settings; returns the packages to freeze, or every finding if one of them is an error.
pub fn check(
    settings: &Settings,
    packages: &FactsByPackage,
    context: CheckContext,
) -> Result<Checked, Vec<Finding>> {
    let mut findings = Findings::default();
    let frozen = run(settings, Some(packages), context, &mut findings);
    findings.conclude(frozen)
}

/// Checks what can be checked while the feed does not answer, or while the settings name none.
pub fn check_without_feed(
    settings: &Settings,
    problem: Option<FeedProblem>,
    context: CheckContext,
) -> Vec<Finding> {
    let mut findings = Findings::default();
    if let Some(FeedProblem { code, message }) = problem {
        findings.error(code, "nugetFeed", message);
    }
    run(settings, None, context, &mut findings);
    findings.into_list()
}

fn run(
    settings: &Settings,
    packages: Option<&FactsByPackage>,
    context: CheckContext,
    findings: &mut Findings,
) -> FrozenPackages {
    shape::check(settings, context, findings);
    let world = World::new(settings, packages, findings);
    world.check_listed(findings);
    let mut check = Check {
        files: Files::new(settings, &world),
        manifests: Manifests::new(&world),
        used: vec![false; world.packages.len()],
        world,
    };
    let mut frozen = FrozenPackages::default();
    for template in settings.node_templates.iter().map(Template::of_node) {
        let by_runtime = check.template(&template, findings);
        if let Ok(code) = template.code.parse() {
            frozen.node_templates.insert(code, by_runtime);
        }
    }
    for template in settings
        .migrator_templates
        .iter()
        .map(Template::of_migrators)
    {
        let by_runtime = check.template(&template, findings);
        if let Ok(code) = template.code.parse() {
            frozen.migrator_templates.insert(code, by_runtime);
        }
    }
    // A template that lacks something uses less than it says.
    if findings.errors() == 0 {
        check.world.warn_of_unused(&check.used, findings);
    }
    frozen
}

/// What is looked up once for all templates.
struct Check<'a> {
    world: World<'a>,
    files: Files,
    manifests: Manifests,
    /// Which packages a template uses.
    used: Vec<bool>,
}

impl Check<'_> {
    /// Resolves one template: packages, then texts, then files for every runtime.
    fn template(&mut self, template: &Template<'_>, findings: &mut Findings) -> PackagesByRuntime {
        let errors = findings.errors();
        let required = self.world.required(template, findings);
        let packages = required.map_or_else(Vec::new, |required| {
            closure::close(&self.world, template, &required, findings)
        });
        for place in &packages {
            self.used[*place] = true;
        }
        // Without all of its packages the texts would refer to settings that only the missing ones have.
        let is_whole = self.world.is_known() && findings.errors() == errors;
        self.manifests
            .check(&self.world, template, &packages, is_whole, findings);
        self.files
            .by_runtime(&self.world, template, &packages, findings)
    }
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

#[cfg(test)]
mod tests;
