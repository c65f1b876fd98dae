//! The closed world of packages: one version each, found in the feed or not.

use std::collections::{BTreeMap, BTreeSet};

use klusterkite_nuget::v3::{Dependency, PackageFacts};
use klusterkite_nuget::{PackageId, Version, node_dependencies};
use klusterkite_wire::start::PackageReference;

use super::finding::{FindingCode, Findings};
use super::{FactsByPackage, Template};
use crate::settings::{PackageRequirement, Settings};

/// A package of the feed.
pub(super) struct Package<'a> {
    pub(super) facts: &'a PackageFacts,
    /// What it needs on a node.
    pub(super) dependencies: &'a [Dependency],
    /// What is frozen of it.
    pub(super) reference: PackageReference,
}

/// The packages that settings name.
pub(super) struct World<'a> {
    /// By id, then by version; all others name packages by their place in this list.
    pub(super) packages: Vec<Package<'a>>,
    /// What is listed; `None`: it is not in the feed, which is said already.
    listed: BTreeMap<PackageId, Option<usize>>,
    places: BTreeMap<(&'a PackageId, &'a Version), usize>,
    /// False when the feed did not answer: nothing can be said about what it has.
    is_known: bool,
}

impl<'a> World<'a> {
    /// Looks the listed packages up. `None` stands for a feed that did not answer.
    pub(super) fn new(
        settings: &Settings,
        facts: Option<&'a FactsByPackage>,
        findings: &mut Findings,
    ) -> Self {
        let mut world = Self {
            packages: Vec::new(),
            listed: BTreeMap::new(),
            places: BTreeMap::new(),
            is_known: facts.is_some(),
        };
        for ((id, version), facts) in facts.into_iter().flatten() {
            // Of the groups for frameworks only the nearest one counts (B20).
            let dependencies = node_dependencies(&facts.dependency_groups);
            world.places.insert((id, version), world.packages.len());
            world.packages.push(Package {
                facts,
                dependencies: dependencies.unwrap_or_else(|error| {
                    let message =
                        format!("the dependencies of `{id}` {version} cannot be used: {error}");
                    findings.error(
                        FindingCode::DependenciesInvalid,
                        listed_field(id.as_str()),
                        message,
                    );
                    &[]
                }),
                reference: reference(facts),
            });
        }
        for pin in &settings.packages {
            let field = listed_field(&pin.id);
            let id: PackageId = match pin.id.parse() {
                Ok(id) => id,
                Err(error) => {
                    findings.error(FindingCode::IdInvalid, field, error.to_string());
                    continue;
                }
            };
            if world.listed.contains_key(&id) {
                let message = format!("package `{id}` is listed twice; remove one of the two");
                findings.error(FindingCode::Duplicate, field, message);
                continue;
            }
            let found = world.find(&id, &pin.version, &field, findings);
            world.listed.insert(id, found);
        }
        world
    }

    /// Tells whether the feed answered.
    pub(super) fn is_known(&self) -> bool {
        self.is_known
    }

    /// Returns the listed version of a package, if the feed has it.
    pub(super) fn listed(&self, id: &PackageId) -> Option<usize> {
        self.listed.get(id).copied().flatten()
    }

    /// Tells whether a package is listed, whether the feed has it or not: one finding per cause is enough.
    pub(super) fn is_listed(&self, id: &PackageId) -> bool {
        self.listed.contains_key(id)
    }

    /// Checks that the listed packages have what they need, in versions that they accept.
    pub(super) fn check_listed(&self, findings: &mut Findings) {
        for place in self.listed.values().flatten() {
            let package = &self.packages[*place];
            for dependency in package.dependencies {
                let found = match self.listed.get(&dependency.id) {
                    None => None,
                    Some(None) => continue,
                    Some(Some(found)) => Some(&self.packages[*found].facts.version),
                };
                let code = match found {
                    None => FindingCode::DependencyMissing,
                    Some(version) if accepts(dependency, version) => continue,
                    Some(_) => FindingCode::DependencyVersion,
                };
                let field = listed_field(dependency.id.as_str());
                if findings.has(code, &field) {
                    continue;
                }
                let need = sentence_of_need(package.facts, dependency);
                let message = match found {
                    None => format!("{need}, which is not listed; add it"),
                    Some(version) => format!("{need}, and {version} is listed"),
                };
                findings.error(code, field, message);
            }
        }
    }

    /// Returns the packages that a template requires itself, in the versions that it gets.
    ///
    /// `None`: the template requires nothing.
    pub(super) fn required(
        &self,
        template: &Template<'_>,
        findings: &mut Findings,
    ) -> Option<BTreeMap<PackageId, usize>> {
        if template.requirements.is_empty() {
            let message = "the template requires no package; add one";
            findings.error(
                FindingCode::RequirementsMissing,
                template.field("packageRequirements"),
                message,
            );
            return None;
        }
        let mut required = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for requirement in &template.requirements {
            let field = requirement_field(template, &requirement.id);
            let Some(id) = requirement_id(requirement, &field, &mut seen, findings) else {
                continue;
            };
            if let Some(place) = self.required_place(&id, requirement, &field, findings) {
                required.insert(id, place);
            }
        }
        Some(required)
    }

    /// Warns of packages that no template uses.
    pub(super) fn warn_of_unused(&self, used: &[bool], findings: &mut Findings) {
        for (id, place) in &self.listed {
            if place.is_some_and(|place| !used[place]) {
                let message = format!("no template uses package `{id}`");
                findings.warning(
                    FindingCode::PackageUnused,
                    listed_field(id.as_str()),
                    message,
                );
            }
        }
    }

    fn required_place(
        &self,
        id: &PackageId,
        requirement: &PackageRequirement,
        field: &str,
        findings: &mut Findings,
    ) -> Option<usize> {
        if let Some(version) = &requirement.specific_version {
            return self.find(id, version, field, findings);
        }
        if !self.is_listed(id) {
            let message = format!(
                "package `{id}` is not listed in this configuration; add it with its version"
            );
            findings.error(FindingCode::RequirementNotListed, field, message);
        }
        self.listed(id)
    }

    fn find(
        &self,
        id: &PackageId,
        version: &str,
        field: &str,
        findings: &mut Findings,
    ) -> Option<usize> {
        let Ok(version) = version.parse::<Version>() else {
            let message = format!("`{version}` is not a version; write one such as `1.2.3`");
            findings.error(FindingCode::VersionInvalid, field, message);
            return None;
        };
        let found = self.places.get(&(id, &version)).copied();
        if found.is_none() && self.is_known {
            let message = format!(
                "package `{id}` {version} is not in the feed; push it or choose another version"
            );
            findings.error(FindingCode::PackageNotFound, field, message);
        }
        found
    }
}

pub(super) fn accepts(dependency: &Dependency, version: &Version) -> bool {
    dependency
        .range
        .as_ref()
        .is_none_or(|range| range.satisfies(version))
}

fn requirement_id(
    requirement: &PackageRequirement,
    field: &str,
    seen: &mut BTreeSet<PackageId>,
    findings: &mut Findings,
) -> Option<PackageId> {
    let id: PackageId = match requirement.id.parse() {
        Ok(id) => id,
        Err(error) => {
            findings.error(FindingCode::IdInvalid, field, error.to_string());
            return None;
        }
    };
    if !seen.insert(id.clone()) {
        let message = format!("package `{id}` is required twice; remove one of the two");
        findings.error(FindingCode::Duplicate, field, message);
        return None;
    }
    Some(id)
}

fn sentence_of_need(package: &PackageFacts, dependency: &Dependency) -> String {
    let PackageFacts { id, version, .. } = package;
    match &dependency.range {
        Some(range) => format!("package `{id}` {version} needs `{}` {range}", dependency.id),
        None => format!("package `{id}` {version} needs `{}`", dependency.id),
    }
}

fn listed_field(id: &str) -> String {
    format!("packages[\"{id}\"]")
}

pub(super) fn requirement_field(template: &Template<'_>, id: &str) -> String {
    template.field(&format!("packageRequirements[\"{id}\"]"))
}

fn reference(package: &PackageFacts) -> PackageReference {
    PackageReference {
        id: package.id.to_string(),
        version: package.version.to_string(),
        sha512: package.sha512.to_string(),
        size: package.size,
    }
}
