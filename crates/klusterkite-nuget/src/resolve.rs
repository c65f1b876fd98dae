//! Which versions of which packages a project gets: NuGet's rules for `PackageReference`.
//!
//! - Every reference asks for one version: the lowest in its range that the feed has, or the
//!   highest of a floating range.
//! - *Nearest wins*: what a package or the project itself refers to hides what packages below it
//!   want of the same id, be it higher or lower.
//! - *Cousins*: of the versions that are asked for and not hidden, the highest wins. Versions that
//!   lose do not count with what they need.
//! - Then every reference that was not hidden must accept what won.
//!
//! NuGet walks a tree with a node for every path, which can be exponentially many. Here paths to
//! the same version share a node when the later one hides at least what the first one does, as far
//! as that is disputed at all, since it then cannot ask for anything new. Everything is bounded by
//! [`ResolveLimits`].
//!
//! Nothing here reads a feed: [`resolve`] asks a [`PackageFeed`] and, if that does not know yet,
//! returns what to fetch ([`Outcome::Incomplete`]). Fetch it all at once and call again.

mod catalog;
mod cycle;
mod decide;
mod dispute;
mod problem;
mod report;
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use crate::v3::DependencyGroup;
use crate::{Framework, PackageId, Version, VersionRange};

pub use problem::{DependencyPath, ResolveError, ResolveWarning};
pub use report::{Request, Resolution, ResolvedPackage, Verdict};

/// What is known about a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<T> {
    /// Nobody asked the feed yet.
    NotFetched,
    /// The feed does not have it.
    Absent,
    /// The feed's answer.
    Found(T),
}

/// A version that a feed has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedVersion {
    /// The version.
    pub version: Version,
    /// Whether it is shown in searches.
    pub is_listed: bool,
}

/// What was fetched from a feed.
///
/// Answers must not change between calls of [`resolve`], except that `NotFetched` becomes another
/// one.
pub trait PackageFeed {
    /// Returns the versions of a package in any order, unlisted ones too.
    fn versions(&self, id: &PackageId) -> Lookup<Vec<FeedVersion>>;

    /// Returns what a version of a package needs.
    fn dependency_groups(&self, id: &PackageId, version: &Version) -> Lookup<Vec<DependencyGroup>>;
}

/// Something to fetch before the resolution can go on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// The versions of a package.
    Versions(PackageId),
    /// What a version of a package needs.
    DependencyGroups(PackageId, Version),
}

/// How far a resolution may go before it is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResolveLimits {
    /// The largest number of nodes of the graph.
    pub nodes_max: usize,
    /// The largest number of references that are followed in total.
    pub steps_max: usize,
    /// The largest number of packages that need each other in a row.
    pub depth_max: usize,
}

impl ResolveLimits {
    /// The limits for services.
    ///
    /// - 20,000 nodes: the largest solutions known have about 2,000 packages; a node costs some
    ///   hundred bytes and one bit for each package.
    /// - 1,000,000 steps: every round walks the graph again, and real graphs need 2 to 5 rounds of
    ///   some thousand references.
    /// - depth 200: real graphs are less than 30 deep.
    pub const STANDARD: Self = Self {
        nodes_max: 20_000,
        steps_max: 1_000_000,
        depth_max: 200,
    };
}

/// How a resolution ended.
#[derive(Debug)]
pub enum Outcome {
    /// Every package has one version that all can live with.
    Resolved(Resolution),
    /// The feed must be asked first.
    Incomplete(BTreeSet<Need>),
    /// There is no solution; all reasons that were found, at least one.
    Failed(Vec<ResolveError>),
}

/// Chooses the versions of all packages that a project of the framework gets by its own
/// references.
///
/// The outcome depends on nothing but the arguments and the feed's answers, not on their order.
pub fn resolve(
    references: &BTreeMap<PackageId, VersionRange>,
    framework: &Framework,
    feed: &impl PackageFeed,
    limits: &ResolveLimits,
) -> Outcome {
    let mut catalog = catalog::Catalog::new(feed, framework);
    match decide::decide(references, &mut catalog, limits) {
        Ok(walk) => report::report(&walk),
        Err(decide::Stop::Incomplete(needs)) => Outcome::Incomplete(needs),
        Err(decide::Stop::Failed(errors)) => Outcome::Failed(errors),
    }
}

#[cfg(test)]
mod tests;
