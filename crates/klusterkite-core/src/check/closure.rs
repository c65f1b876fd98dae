//! Everything that a template's packages need, by NuGet's rules for `PackageReference`.
//!
//! The list of the configuration pins every package, as a central list of versions with transitive
//! pinning does for a .NET project; what the template itself pins wins over it. So the resolver sees
//! a feed with one version of each package.

use std::collections::BTreeMap;

use klusterkite_nuget::resolve::{
    DependencyPath, FeedVersion, Lookup, Outcome, PackageFeed, ResolveError, ResolveLimits,
    ResolveWarning, resolve,
};
use klusterkite_nuget::v3::{Dependency, DependencyGroup};
use klusterkite_nuget::{Framework, PackageId, Version, VersionRange};

use super::Template;
use super::finding::{FindingCode, Findings};
use super::packages::{World, accepts, requirement_field};

/// Returns the places of a template's packages with everything that they need, sorted by id; what is
/// wrong with them is reported and left out.
pub(super) fn close(
    world: &World<'_>,
    template: &Template<'_>,
    required: &BTreeMap<PackageId, usize>,
    findings: &mut Findings,
) -> Vec<usize> {
    let version = |place: usize| world.packages[place].facts.version.clone();
    let references: BTreeMap<PackageId, VersionRange> = required
        .iter()
        .map(|(id, place)| (id.clone(), VersionRange::exactly(version(*place))))
        .collect();
    let mut feed = Pinned {
        world,
        required,
        only_sound: false,
    };
    let found = match run(&references, &feed) {
        Ok(found) => found,
        Err(errors) => {
            for error in &errors {
                report(world, template, error, findings);
            }
            // What is left is checked all the same.
            feed.only_sound = true;
            run(&references, &feed).unwrap_or_else(|_| Found {
                packages: required.values().copied().collect(),
                warnings: Vec::new(),
            })
        }
    };
    for warning in &found.warnings {
        report_warning(template, warning, findings);
    }
    found.packages
}

struct Found {
    packages: Vec<usize>,
    warnings: Vec<ResolveWarning>,
}

fn run(
    references: &BTreeMap<PackageId, VersionRange>,
    feed: &Pinned<'_, '_>,
) -> Result<Found, Vec<ResolveError>> {
    // The groups are chosen already.
    let any = Framework::any();
    match resolve(references, &any, feed, &ResolveLimits::STANDARD) {
        Outcome::Resolved(resolution) => {
            let places = resolution.packages.keys().filter_map(|id| feed.place(id));
            Ok(Found {
                packages: places.collect(),
                warnings: resolution.warnings,
            })
        }
        Outcome::Failed(errors) => Err(errors),
        Outcome::Incomplete(_) => {
            unreachable!("everything that the feed has was fetched before")
        }
    }
}

/// The closed world as one template sees it.
struct Pinned<'w, 'a> {
    world: &'w World<'a>,
    /// What the template requires itself.
    required: &'w BTreeMap<PackageId, usize>,
    /// Leave out what is not there or not accepted.
    only_sound: bool,
}

impl Pinned<'_, '_> {
    fn place(&self, id: &PackageId) -> Option<usize> {
        let own = self.required.get(id).copied();
        own.or_else(|| self.world.listed(id))
    }

    fn version(&self, id: &PackageId) -> Option<&Version> {
        let place = self.place(id)?;
        Some(&self.world.packages[place].facts.version)
    }

    /// A pinned pre-release is meant, so who accepts it needs not ask for pre-releases.
    fn pinned(&self, dependency: &Dependency) -> Option<Dependency> {
        let version = self.version(&dependency.id);
        let accepted = version.filter(|version| accepts(dependency, version));
        match accepted {
            None if self.only_sound => None,
            Some(version) if version.is_prerelease() => Some(Dependency {
                id: dependency.id.clone(),
                range: Some(VersionRange::exactly(version.clone())),
            }),
            _ => Some(dependency.clone()),
        }
    }
}

impl PackageFeed for Pinned<'_, '_> {
    fn versions(&self, id: &PackageId) -> Lookup<Vec<FeedVersion>> {
        self.version(id).map_or(Lookup::Absent, |version| {
            Lookup::Found(vec![FeedVersion {
                version: version.clone(),
                is_listed: true,
            }])
        })
    }

    fn dependency_groups(&self, id: &PackageId, _: &Version) -> Lookup<Vec<DependencyGroup>> {
        self.place(id).map_or(Lookup::Absent, |place| {
            let dependencies = self.world.packages[place].dependencies.iter();
            Lookup::Found(vec![DependencyGroup {
                target_framework: None,
                dependencies: dependencies
                    .filter_map(|dependency| self.pinned(dependency))
                    .collect(),
            }])
        })
    }
}

/// Reports an error on the package that needs what it does not get.
fn report(
    world: &World<'_>,
    template: &Template<'_>,
    error: &ResolveError,
    findings: &mut Findings,
) {
    match error {
        // That a listed package is not in the feed is said where it is listed.
        ResolveError::PackageUnknown { path } if world.is_listed(&path.id) => {}
        ResolveError::PackageUnknown { path } => {
            let message = format!(
                "`{path}` needs a package that is not listed; add `{}`",
                path.id
            );
            findings.error(
                FindingCode::DependencyMissing,
                field(template, path),
                message,
            );
        }
        ResolveError::VersionUnknown {
            path,
            nearest: version,
        }
        | ResolveError::OnlyPrerelease { path, version }
        | ResolveError::Conflict { path, version, .. } => {
            not_accepted(template, path, version, findings);
        }
        ResolveError::Cycle { .. } => {
            let field = template.field("packageRequirements");
            findings.error(FindingCode::DependencyCycle, field, error.to_string());
        }
        // Missing and unusable packages are never answers of `Pinned`.
        error => {
            let field = template.field("packageRequirements");
            findings.error(FindingCode::DependenciesInvalid, field, error.to_string());
        }
    }
}

fn report_warning(template: &Template<'_>, warning: &ResolveWarning, findings: &mut Findings) {
    match warning {
        ResolveWarning::Downgrade { path, version, .. }
        | ResolveWarning::OutsideRange { path, version } => {
            not_accepted(template, path, version, findings);
        }
        // That another version than the lowest one is used is what pinning is for.
        _ => {}
    }
}

fn not_accepted(
    template: &Template<'_>,
    path: &DependencyPath,
    version: &Version,
    findings: &mut Findings,
) {
    let message = format!("`{path}` does not accept version {version}, which the template gets");
    findings.error(
        FindingCode::DependencyVersion,
        field(template, path),
        message,
    );
}

/// Returns the field of the package that refers.
fn field(template: &Template<'_>, path: &DependencyPath) -> String {
    match path.packages.last() {
        Some((id, _)) => requirement_field(template, id.as_str()),
        None => requirement_field(template, path.id.as_str()),
    }
}
