//! What the feed says, in the form that the resolution needs.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use super::{FeedVersion, Lookup, Need, PackageFeed};
use crate::error::Error;
use crate::v3::DependencyGroup;
use crate::{Framework, PackageId, Version, VersionRange};

/// A reference to a package.
pub(super) type Reference = (PackageId, VersionRange);

/// What a package of one version needs under the project's framework.
#[derive(Clone, Debug)]
pub(super) enum Dependencies {
    /// Sorted by id and range.
    Found(Rc<[Reference]>),
    /// The feed lists the version, but does not have it.
    Absent,
    /// The package cannot be used.
    Unusable(Arc<Error>),
    /// The feed must be asked first.
    NotFetched,
}

/// The version that one reference asks for.
#[derive(Clone, Debug)]
pub(super) enum Choice {
    Version(Version),
    Missing(Missing),
    /// The feed must be asked first.
    NotFetched,
}

/// Why a reference gets no version.
#[derive(Clone, Debug)]
pub(super) enum Missing {
    /// The feed does not know the id.
    Package,
    /// The feed has other versions; the nearest one is named.
    Version(Version),
    /// The only versions in the range are pre-releases, which it does not ask for.
    Stable(Version),
}

/// A feed whose answers are remembered, sorted and checked.
pub(super) struct Catalog<'a, F> {
    feed: &'a F,
    framework: &'a Framework,
    versions: BTreeMap<PackageId, Lookup<Vec<FeedVersion>>>,
    dependencies: BTreeMap<(PackageId, Version), Dependencies>,
    /// What was asked for and is not fetched yet.
    pub(super) needs: BTreeSet<Need>,
}

impl<'a, F: PackageFeed> Catalog<'a, F> {
    pub(super) fn new(feed: &'a F, framework: &'a Framework) -> Self {
        Self {
            feed,
            framework,
            versions: BTreeMap::new(),
            dependencies: BTreeMap::new(),
            needs: BTreeSet::new(),
        }
    }

    /// Chooses the version that a reference asks for.
    ///
    /// A fixed range takes unlisted versions like others, so that a project gets the same when a
    /// version is withdrawn. A floating range asks for what is current: it takes unlisted
    /// versions only if nothing else fits.
    pub(super) fn choose(&mut self, id: &PackageId, range: &VersionRange) -> Choice {
        if !self.versions.contains_key(id) {
            self.versions.insert(id.clone(), self.feed.versions(id));
        }
        let found = match self.versions.get(id) {
            Some(Lookup::Found(found)) if !found.is_empty() => found,
            Some(Lookup::NotFetched) => {
                self.needs.insert(Need::Versions(id.clone()));
                return Choice::NotFetched;
            }
            _ => return Choice::Missing(Missing::Package),
        };
        let all = || found.iter().map(|found| &found.version);
        let listed = found.iter().filter(|found| found.is_listed);
        let best = if range.float().is_some() {
            range
                .best_match(listed.map(|found| &found.version))
                .or_else(|| range.best_match(all()))
        } else {
            range.best_match(all())
        };
        if let Some(version) = best {
            return Choice::Version(version.clone());
        }
        let in_range = all().filter(|version| range.satisfies(version)).max();
        let missing = match (in_range, nearest(range, all())) {
            (Some(version), _) => Missing::Stable(version.clone()),
            (None, Some(version)) => Missing::Version(version.clone()),
            (None, None) => Missing::Package,
        };
        Choice::Missing(missing)
    }

    /// Returns what a package needs.
    pub(super) fn dependencies(&mut self, id: &PackageId, version: &Version) -> Dependencies {
        let key = (id.clone(), version.clone());
        if let Some(known) = self.dependencies.get(&key) {
            return known.clone();
        }
        let dependencies = match self.feed.dependency_groups(id, version) {
            Lookup::NotFetched => {
                let (id, version) = key.clone();
                self.needs.insert(Need::DependencyGroups(id, version));
                Dependencies::NotFetched
            }
            Lookup::Absent => Dependencies::Absent,
            Lookup::Found(groups) => {
                match self
                    .framework
                    .nearest_of(&groups, |group| group.target_framework.as_deref())
                {
                    Ok(None) => Dependencies::Found(Rc::new([])),
                    Ok(Some(group)) => Dependencies::Found(sorted(group)),
                    Err(error) => Dependencies::Unusable(Arc::new(error)),
                }
            }
        };
        self.dependencies.insert(key, dependencies.clone());
        dependencies
    }
}

/// Sorts references, so that nothing depends on the order in which a package lists them.
fn sorted(group: &DependencyGroup) -> Rc<[Reference]> {
    let mut references: Vec<Reference> = group
        .dependencies
        .iter()
        .map(|dependency| {
            let range = dependency.range.clone();
            (
                dependency.id.clone(),
                range.unwrap_or_else(VersionRange::any),
            )
        })
        .collect();
    references.sort_by_cached_key(|(id, range)| (id.lower(), range.to_string()));
    references.dedup();
    references.into()
}

/// Finds a version to name to someone whose range has none: the lowest above it, else the highest.
fn nearest<'v>(
    range: &VersionRange,
    versions: impl Iterator<Item = &'v Version> + Clone,
) -> Option<&'v Version> {
    let above = versions
        .clone()
        .filter(|version| range.max().is_some_and(|max| *version >= max))
        .min();
    above.or_else(|| versions.max())
}
