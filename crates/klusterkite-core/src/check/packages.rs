//! The closed world of packages: one version each, and what templates make of it.

use std::collections::{BTreeMap, BTreeSet};

use klusterkite_nuget::v3::{Dependency, PackageFacts};
use klusterkite_nuget::{PackageId, Version};

use super::finding::{FindingCode, Findings};
use super::{FactsByPackage, Template};
use crate::settings::{PackageRequirement, Settings};

/// The listed packages that exist.
pub(super) struct World<'a> {
    facts: &'a FactsByPackage,
    /// What is listed, whether the feed has it or not: one finding per cause is enough.
    listed: BTreeSet<PackageId>,
    packages: BTreeMap<PackageId, &'a PackageFacts>,
}

impl<'a> World<'a> {
    /// Looks the listed packages up.
    pub(super) fn new(
        settings: &Settings,
        facts: &'a FactsByPackage,
        findings: &mut Findings,
    ) -> Self {
        let mut world = Self {
            facts,
            listed: BTreeSet::new(),
            packages: BTreeMap::new(),
        };
        for pin in &settings.packages {
            let field = listed_field(&pin.id);
            let id: PackageId = match pin.id.parse() {
                Ok(id) => id,
                Err(error) => {
                    findings.error(FindingCode::IdInvalid, field, error.to_string());
                    continue;
                }
            };
            if !world.listed.insert(id.clone()) {
                findings.error(
                    FindingCode::Duplicate,
                    field,
                    format!("package `{id}` is listed twice"),
                );
                continue;
            }
            if let Some(found) = world.find(&id, &pin.version, &field, findings) {
                world.packages.insert(id, found);
            }
        }
        world
    }

    /// Checks that the listed packages have what they need, in versions that they accept.
    pub(super) fn check_listed(&self, findings: &mut Findings) {
        for package in self.packages.values() {
            for dependency in dependencies(package) {
                let field = listed_field(dependency.id.as_str());
                let need = sentence_of_need(package, dependency);
                match self.packages.get(&dependency.id) {
                    None if self.listed.contains(&dependency.id)
                        || findings.has(FindingCode::DependencyMissing, &field) => {}
                    None => {
                        findings.error(
                            FindingCode::DependencyMissing,
                            field,
                            format!("{need}, which is not listed; add it"),
                        );
                    }
                    Some(found)
                        if accepts(dependency, &found.version)
                            || findings.has(FindingCode::DependencyVersion, &field) => {}
                    Some(found) => {
                        let message = format!("{need}, and {} is listed", found.version);
                        findings.error(FindingCode::DependencyVersion, field, message);
                    }
                }
            }
        }
    }

    /// Returns the packages of a template with everything that they need, sorted by id.
    pub(super) fn resolve(
        &self,
        template: &Template<'_>,
        findings: &mut Findings,
    ) -> Vec<&'a PackageFacts> {
        if template.requirements.is_empty() {
            let message = "the template requires no package; add one";
            findings.error(
                FindingCode::RequirementsMissing,
                template.field("packageRequirements"),
                message,
            );
            return Vec::new();
        }
        let mut resolved: BTreeMap<PackageId, &'a PackageFacts> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for requirement in &template.requirements {
            let field = requirement_field(template, &requirement.id);
            let Some(id) = requirement_id(requirement, &field, &mut seen, findings) else {
                continue;
            };
            if let Some(package) = self.required(&id, requirement, &field, findings) {
                resolved.insert(id, package);
            }
        }
        self.close(template, &mut resolved, findings);
        resolved.into_values().collect()
    }

    /// Warns of packages that no template uses.
    pub(super) fn warn_of_unused(&self, used: &BTreeSet<PackageId>, findings: &mut Findings) {
        for id in self.packages.keys().filter(|id| !used.contains(*id)) {
            let message = format!("no template uses package `{id}`");
            findings.warning(
                FindingCode::PackageUnused,
                listed_field(id.as_str()),
                message,
            );
        }
    }

    fn required(
        &self,
        id: &PackageId,
        requirement: &PackageRequirement,
        field: &str,
        findings: &mut Findings,
    ) -> Option<&'a PackageFacts> {
        if let Some(version) = &requirement.specific_version {
            return self.find(id, version, field, findings);
        }
        let found = self.packages.get(id).copied();
        if found.is_none() && !self.listed.contains(id) {
            let message = format!(
                "package `{id}` is not listed in this configuration; add it with its version"
            );
            findings.error(FindingCode::RequirementNotListed, field, message);
        }
        found
    }

    /// Adds what the packages need; a template's own pins win over the list.
    fn close(
        &self,
        template: &Template<'_>,
        resolved: &mut BTreeMap<PackageId, &'a PackageFacts>,
        findings: &mut Findings,
    ) {
        let mut open: Vec<&'a PackageFacts> = resolved.values().copied().collect();
        while let Some(package) = open.pop() {
            for dependency in dependencies(package) {
                let known = resolved
                    .get(&dependency.id)
                    .or_else(|| self.packages.get(&dependency.id))
                    .copied();
                let field = requirement_field(template, package.id.as_str());
                let need = sentence_of_need(package, dependency);
                match known {
                    None if self.listed.contains(&dependency.id) => {}
                    None => {
                        findings.error(
                            FindingCode::DependencyMissing,
                            field,
                            format!("{need}, which is not listed"),
                        );
                    }
                    Some(found) if !accepts(dependency, &found.version) => {
                        let message = format!("{need}, and the template gets {}", found.version);
                        findings.error(FindingCode::DependencyVersion, field, message);
                    }
                    Some(found) => {
                        if resolved.insert(dependency.id.clone(), found).is_none() {
                            open.push(found);
                        }
                    }
                }
            }
        }
    }

    fn find(
        &self,
        id: &PackageId,
        version: &str,
        field: &str,
        findings: &mut Findings,
    ) -> Option<&'a PackageFacts> {
        let Ok(version) = version.parse::<Version>() else {
            let message = format!("`{version}` is not a version; write one such as `1.2.3`");
            findings.error(FindingCode::VersionInvalid, field, message);
            return None;
        };
        let found = self.facts.get(&(id.clone(), version.clone()));
        if found.is_none() {
            let message = format!(
                "package `{id}` {version} is not in the feed; push it or choose another version"
            );
            findings.error(FindingCode::PackageNotFound, field, message);
        }
        found
    }
}

/// Returns what a package needs on a node: nodes have no framework, so only groups without one count (B20).
fn dependencies(package: &PackageFacts) -> impl Iterator<Item = &Dependency> {
    let groups = package.dependency_groups.iter();
    groups
        .filter(|group| group.target_framework.is_none())
        .flat_map(|group| &group.dependencies)
}

fn accepts(dependency: &Dependency, version: &Version) -> bool {
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
        findings.error(
            FindingCode::Duplicate,
            field,
            format!("package `{id}` is required twice"),
        );
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

fn requirement_field(template: &Template<'_>, id: &str) -> String {
    template.field(&format!("packageRequirements[\"{id}\"]"))
}
