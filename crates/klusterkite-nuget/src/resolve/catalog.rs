//! What the feed says, in the form that the resolution needs.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use super::{FeedVersion, Lookup, Need, PackageFeed};
use crate::error::Error;
use crate::v3::DependencyGroup;
use crate::{Framework, PackageId, Version, VersionRange};

/// A reference to a package.
#[derive(Clone, Debug)]
pub(super) struct Reference {
    pub(super) id: PackageId,
    /// The id's number in the [`Catalog`].
    pub(super) number: usize,
    pub(super) range: VersionRange,
    /// What it gets, once that is known: every walk asks for it.
    choice: OnceCell<Choice>,
}

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
    /// Ids are numbered in the order in which they are met: maps by number are lists.
    numbers: BTreeMap<PackageId, usize>,
    /// By number.
    packages: Vec<Package>,
    /// What was asked for and is not fetched yet.
    pub(super) needs: BTreeSet<Need>,
}

/// Tells whether a fixed range gets a higher version than the lowest one that it names.
pub(super) fn is_approximated(range: &VersionRange, version: &Version) -> bool {
    let lowest = range.min().filter(|_| range.is_min_inclusive());
    range.float().is_none() && lowest.is_some_and(|lowest| lowest != version)
}

/// What the feed said about one id.
#[derive(Default)]
struct Package {
    versions: Option<Lookup<Vec<FeedVersion>>>,
    /// Few versions of one package are asked for.
    dependencies: Vec<(Version, Dependencies)>,
}

impl<'a, F: PackageFeed> Catalog<'a, F> {
    pub(super) fn new(feed: &'a F, framework: &'a Framework) -> Self {
        Self {
            feed,
            framework,
            numbers: BTreeMap::new(),
            packages: Vec::new(),
            needs: BTreeSet::new(),
        }
    }

    /// Returns how many ids were met.
    pub(super) fn len(&self) -> usize {
        self.packages.len()
    }

    /// Makes references of the project itself.
    pub(super) fn references(
        &mut self,
        references: &BTreeMap<PackageId, VersionRange>,
    ) -> Rc<[Reference]> {
        let references = references.iter();
        references
            .map(|(id, range)| self.reference(id.clone(), range.clone()))
            .collect()
    }

    fn reference(&mut self, id: PackageId, range: VersionRange) -> Reference {
        let next = self.packages.len();
        let number = *self.numbers.entry(id.clone()).or_insert(next);
        if number == next {
            self.packages.push(Package::default());
        }
        Reference {
            id,
            number,
            range,
            choice: OnceCell::new(),
        }
    }

    /// Chooses the version that a reference asks for.
    ///
    /// A fixed range takes unlisted versions like others, so that a project gets the same when a
    /// version is withdrawn. A floating range asks for what is current: it takes unlisted
    /// versions only if nothing else fits.
    pub(super) fn choose(&mut self, reference: &Reference) -> Choice {
        if let Some(known) = reference.choice.get() {
            return known.clone();
        }
        let choice = self.look_up(reference);
        if !matches!(choice, Choice::NotFetched) {
            // It was not set a line above.
            let _ = reference.choice.set(choice.clone());
        }
        choice
    }

    fn look_up(&mut self, reference: &Reference) -> Choice {
        let Reference {
            id, number, range, ..
        } = reference;
        let known = &mut self.packages[*number].versions;
        let found = match known.get_or_insert_with(|| self.feed.versions(id)) {
            Lookup::Found(found) if !found.is_empty() => found,
            Lookup::NotFetched => {
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
    pub(super) fn dependencies(
        &mut self,
        number: usize,
        id: &PackageId,
        version: &Version,
    ) -> Dependencies {
        let known = &self.packages[number].dependencies;
        if let Some((_, known)) = known.iter().find(|(known, _)| known == version) {
            return known.clone();
        }
        let dependencies = match self.feed.dependency_groups(id, version) {
            Lookup::NotFetched => {
                let need = Need::DependencyGroups(id.clone(), version.clone());
                self.needs.insert(need);
                return Dependencies::NotFetched;
            }
            Lookup::Absent => Dependencies::Absent,
            Lookup::Found(groups) => {
                match self
                    .framework
                    .nearest_of(&groups, |group| group.target_framework.as_deref())
                {
                    Ok(None) => Dependencies::Found(Rc::new([])),
                    Ok(Some(group)) => Dependencies::Found(self.sorted(group)),
                    Err(error) => Dependencies::Unusable(Arc::new(error)),
                }
            }
        };
        let known = &mut self.packages[number].dependencies;
        known.push((version.clone(), dependencies.clone()));
        dependencies
    }

    /// Sorts references, so that nothing depends on the order in which a package lists them.
    fn sorted(&mut self, group: &DependencyGroup) -> Rc<[Reference]> {
        let dependencies = group.dependencies.iter().map(|dependency| {
            let range = dependency.range.clone();
            self.reference(
                dependency.id.clone(),
                range.unwrap_or_else(VersionRange::any),
            )
        });
        let mut references: Vec<Reference> = dependencies.collect();
        references.sort_by(|a, b| {
            let by_range = || a.range.to_string().cmp(&b.range.to_string());
            a.id.cmp(&b.id).then_with(by_range)
        });
        references.dedup_by(|a, b| a.number == b.number && a.range == b.range);
        references.into()
    }
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
