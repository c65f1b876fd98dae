//! What is wrong with a set of references, in words.

use std::fmt;
use std::sync::Arc;

use crate::error::Error;
use crate::{PackageId, Version, VersionRange};

/// How a reference is reached: the packages from the project on, and what the last one refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DependencyPath {
    /// The packages, the project's own first; none if the project itself refers. All that a package
    /// refers to share one list.
    pub packages: Arc<[(PackageId, Version)]>,
    /// The id that is referred to.
    pub id: PackageId,
    /// The versions that will do.
    pub range: VersionRange,
}

impl fmt::Display for DependencyPath {
    /// Writes `A 1.0.0 -> B 2.0.0 -> C [1.0.0, )`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, version) in self.packages.iter() {
            write!(f, "{id} {version} -> ")?;
        }
        write!(f, "{} {}", self.id, self.range)
    }
}

/// Why there is no resolution.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The feed has no package of this id.
    #[error("package `{}` is not in the feed; `{path}` needs it", path.id)]
    PackageUnknown {
        /// Who needs it.
        path: DependencyPath,
    },
    /// The feed has no version that would do.
    #[error(
        "no version of package `{}` is in {}; `{path}` needs it, the nearest in the feed is {nearest}",
        path.id, path.range
    )]
    VersionUnknown {
        /// Who needs it.
        path: DependencyPath,
        /// A version that the feed has.
        nearest: Version,
    },
    /// The feed has only pre-releases that would do.
    #[error(
        "package `{}` has only pre-releases in {}, such as {version}; `{path}` asks for a stable version",
        path.id, path.range
    )]
    OnlyPrerelease {
        /// Who needs it.
        path: DependencyPath,
        /// The highest pre-release.
        version: Version,
    },
    /// The feed lists a version that it does not have.
    #[error("the feed lists version {version} of package `{}` but does not have it; `{path}` needs it", path.id)]
    PackageMissing {
        /// Who needs it.
        path: DependencyPath,
        /// The version.
        version: Version,
    },
    /// The dependencies of a package cannot be used.
    #[error("the dependencies of package `{}` {version} cannot be used; `{path}` needs it", path.id)]
    PackageUnusable {
        /// Who needs it.
        path: DependencyPath,
        /// The version.
        version: Version,
        /// The cause.
        #[source]
        source: Arc<Error>,
    },
    /// What was chosen is outside a range.
    #[error(
        "package `{}` gets version {version} because of `{chosen_by}`, but `{path}` does not accept that; refer to `{}` directly to decide",
        path.id, path.id
    )]
    Conflict {
        /// Who does not accept it.
        path: DependencyPath,
        /// The version that was chosen.
        version: Version,
        /// Who asked for that.
        chosen_by: Box<DependencyPath>,
    },
    /// Packages need each other in a circle.
    #[error("packages need each other in a circle: {}", circle(packages))]
    Cycle {
        /// The packages of the circle, each once, the lowest id first.
        packages: Vec<PackageId>,
    },
    /// The graph is larger than the limits allow.
    #[error("the packages were not resolved: more than {limit} {what}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

fn circle(packages: &[PackageId]) -> String {
    let ids = packages.iter().chain(packages.first());
    ids.map(PackageId::as_str).collect::<Vec<_>>().join(" -> ")
}

impl ResolveError {
    /// Returns the number under which NuGet's documentation describes the problem.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::PackageUnknown { .. } => Some("NU1101"),
            Self::VersionUnknown { .. } => Some("NU1102"),
            Self::OnlyPrerelease { .. } => Some("NU1103"),
            Self::Conflict { .. } => Some("NU1107"),
            Self::Cycle { .. } => Some("NU1108"),
            Self::PackageMissing { .. } | Self::PackageUnusable { .. } | Self::TooLarge { .. } => {
                None
            }
        }
    }
}

/// What is doubtful about a resolution.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResolveWarning {
    /// The lowest version of a range does not exist; a higher one was taken.
    Approximated {
        /// Who asked.
        path: DependencyPath,
        /// The version that was taken.
        version: Version,
    },
    /// A package gets a lower version than it needs, because something nearer to the project
    /// refers to that. .NET tools treat this as an error.
    Downgrade {
        /// Who needs the higher version.
        path: DependencyPath,
        /// The version that it gets.
        version: Version,
        /// Who asked for that.
        chosen_by: Box<DependencyPath>,
    },
    /// A package gets a higher version than it accepts, because something nearer to the project
    /// refers to that.
    OutsideRange {
        /// Who does not accept it.
        path: DependencyPath,
        /// The version that it gets.
        version: Version,
    },
}

impl ResolveWarning {
    /// Returns the number under which NuGet's documentation describes the problem.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Approximated { .. } => "NU1603",
            Self::Downgrade { .. } => "NU1605",
            Self::OutsideRange { .. } => "NU1608",
        }
    }
}

impl fmt::Display for ResolveWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Approximated { path, version } => write!(
                f,
                "`{path}` gets {version}: the feed does not have the lowest version of the range"
            ),
            Self::Downgrade {
                path,
                version,
                chosen_by,
            } => write!(
                f,
                "`{path}` gets the lower version {version}, because `{chosen_by}` is nearer"
            ),
            Self::OutsideRange { path, version } => write!(
                f,
                "`{path}` gets version {version}, which it does not accept, because something nearer refers to it"
            ),
        }
    }
}
