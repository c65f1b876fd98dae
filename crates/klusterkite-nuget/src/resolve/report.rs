//! The result: what was chosen, why, and what is wrong with it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Outcome;
use super::catalog::{Dependencies, Missing};
use super::problem::{DependencyPath, ResolveError, ResolveWarning};
use super::walk::{Edge, EdgeState, Walk};
use crate::{PackageId, Version, VersionRange};

/// How many requests for one package are kept to explain it, shortest paths first; nobody reads
/// more.
const REQUESTS_MAX: usize = 16;

/// The packages that a project gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolution {
    /// The packages, the project's own and all that they need.
    pub packages: BTreeMap<PackageId, ResolvedPackage>,
    /// What is doubtful, in the order of paths.
    pub warnings: Vec<ResolveWarning>,
}

/// A package that a project gets, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedPackage {
    /// The version that was chosen.
    pub version: Version,
    /// Who asked for the package: at most 16, those who decided first, then shortest paths first.
    pub requests: Vec<Request>,
    /// How many requests there were in all.
    pub requests_count: usize,
    /// What the package itself needs.
    pub dependencies: BTreeMap<PackageId, VersionRange>,
}

/// One reference to a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who refers, and to which range.
    pub path: DependencyPath,
    /// The version that it asks for; `None` if something nearer decides anyway.
    pub version: Option<Version>,
    /// What became of it.
    pub verdict: Verdict,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It asks for the version that was chosen.
    Decides,
    /// Another one asks for a higher version.
    Outvoted,
    /// Something nearer to the project refers to the same package.
    Overridden,
}

impl Resolution {
    /// Says in a few lines why a package has its version; `None` if it is not part of the result.
    pub fn explain(&self, id: &PackageId) -> Option<String> {
        let package = self.packages.get(id)?;
        let mut text = format!("{id} {}", package.version);
        for request in &package.requests {
            let path = &request.path;
            let verdict = match (request.verdict, &request.version) {
                (Verdict::Decides, _) if path.packages.is_empty() => {
                    "decides: the project itself refers to it".to_owned()
                }
                (Verdict::Decides, _) => "decides: nothing asks for a higher version".to_owned(),
                (Verdict::Outvoted, Some(version)) => {
                    format!("asks for {version}, another one for a higher version")
                }
                (Verdict::Outvoted, None) | (Verdict::Overridden, _) => {
                    "does not count: something nearer refers to it".to_owned()
                }
            };
            let _ = write!(text, "\n  {path}: {verdict}");
        }
        let hidden = package.requests_count - package.requests.len();
        if hidden > 0 {
            let _ = write!(text, "\n  and {hidden} more");
        }
        Some(text)
    }
}

/// Makes the result of the last walk.
pub(super) fn report(walk: &Walk) -> Outcome {
    let chosen: BTreeMap<&PackageId, &Version> = walk
        .nodes
        .iter()
        .map(|node| (&node.id, &node.version))
        .collect();
    let deciding = deciding_paths(walk, &chosen);
    let mut errors = Vec::new();
    let mut warnings = Vec::new();
    for edge in &walk.edges {
        let version = chosen.get(&edge.id).copied();
        match check(walk, edge, version, deciding.get(&edge.id)) {
            Some(Finding::Error(error)) => errors.push(error),
            Some(Finding::Warning(warning)) => warnings.push(warning),
            None => {}
        }
    }
    if !errors.is_empty() {
        return Outcome::Failed(errors);
    }
    Outcome::Resolved(Resolution {
        packages: packages(walk, &chosen),
        warnings,
    })
}

enum Finding {
    Error(ResolveError),
    Warning(ResolveWarning),
}

/// Finds for each package the first reference that asks for the chosen version.
fn deciding_paths(
    walk: &Walk,
    chosen: &BTreeMap<&PackageId, &Version>,
) -> BTreeMap<PackageId, DependencyPath> {
    let mut paths = BTreeMap::new();
    for edge in &walk.edges {
        if let EdgeState::Asks(version) = &edge.state
            && chosen.get(&edge.id).copied() == Some(version)
        {
            paths
                .entry(edge.id.clone())
                .or_insert_with(|| walk.path(edge));
        }
    }
    paths
}

/// Checks one reference against what was chosen.
fn check(
    walk: &Walk,
    edge: &Edge,
    chosen: Option<&Version>,
    deciding: Option<&DependencyPath>,
) -> Option<Finding> {
    let path = || walk.path(edge);
    let chosen_by = || Box::new(deciding.cloned().unwrap_or_else(path));
    let is_accepted = |version: &Version| edge.range.satisfies(version);
    match &edge.state {
        EdgeState::Missing(missing) => Some(Finding::Error(missing_error(missing, path()))),
        EdgeState::Unreadable(version, dependencies) => {
            let (path, version) = (path(), version.clone());
            Some(Finding::Error(match dependencies {
                Dependencies::Unusable(source) => ResolveError::PackageUnusable {
                    path,
                    version,
                    source: source.clone(),
                },
                _ => ResolveError::PackageMissing { path, version },
            }))
        }
        EdgeState::Cycle => None,
        EdgeState::Asks(asked) => {
            let chosen = chosen?;
            if !is_accepted(chosen) {
                return Some(Finding::Error(ResolveError::Conflict {
                    path: path(),
                    version: chosen.clone(),
                    chosen_by: chosen_by(),
                }));
            }
            let lowest = edge.range.min().filter(|_| edge.range.is_min_inclusive());
            let is_approximated = edge.range.float().is_none()
                && asked == chosen
                && lowest.is_some_and(|lowest| lowest != asked);
            is_approximated.then(|| {
                Finding::Warning(ResolveWarning::Approximated {
                    path: path(),
                    version: chosen.clone(),
                })
            })
        }
        EdgeState::Hidden => {
            let chosen = chosen.filter(|chosen| !is_accepted(chosen))?;
            let is_lower = edge.range.min().is_some_and(|min| chosen <= min);
            let (path, version) = (path(), chosen.clone());
            Some(Finding::Warning(if is_lower {
                ResolveWarning::Downgrade {
                    path,
                    version,
                    chosen_by: chosen_by(),
                }
            } else {
                ResolveWarning::OutsideRange { path, version }
            }))
        }
    }
}

fn missing_error(missing: &Missing, path: DependencyPath) -> ResolveError {
    match missing {
        Missing::Package => ResolveError::PackageUnknown { path },
        Missing::Version(nearest) => ResolveError::VersionUnknown {
            path,
            nearest: nearest.clone(),
        },
        Missing::Stable(version) => ResolveError::OnlyPrerelease {
            path,
            version: version.clone(),
        },
    }
}

fn packages(
    walk: &Walk,
    chosen: &BTreeMap<&PackageId, &Version>,
) -> BTreeMap<PackageId, ResolvedPackage> {
    let mut packages: BTreeMap<PackageId, ResolvedPackage> = chosen
        .iter()
        .map(|(&id, &version)| {
            let package = ResolvedPackage {
                version: version.clone(),
                requests: Vec::new(),
                requests_count: 0,
                dependencies: BTreeMap::new(),
            };
            (id.clone(), package)
        })
        .collect();
    for edge in &walk.edges {
        if let Some(from) = edge.from.map(|index| &walk.nodes[index])
            && let Some(package) = packages.get_mut(&from.id)
        {
            let range = edge.range.clone();
            package.dependencies.entry(edge.id.clone()).or_insert(range);
        }
        if let Some(package) = packages.get_mut(&edge.id) {
            package.requests_count += 1;
            keep(package, || request(walk, edge, chosen));
        }
    }
    for package in packages.values_mut() {
        package.requests.sort_by_cached_key(request_order);
    }
    packages
}

/// Keeps a request, in the place of a less telling one if there are too many. The walk meets short
/// paths first.
fn keep(package: &mut ResolvedPackage, make: impl FnOnce() -> Request) {
    if package.requests.len() < REQUESTS_MAX {
        package.requests.push(make());
        return;
    }
    let decides = |request: &Request| request.verdict == Verdict::Decides;
    if !package.requests.iter().any(decides) {
        let request = make();
        if decides(&request) {
            package.requests.pop();
            package.requests.push(request);
        }
    }
}

fn request_order(request: &Request) -> (Verdict, usize, String) {
    let path = &request.path;
    (request.verdict, path.packages.len(), path.to_string())
}

fn request(walk: &Walk, edge: &Edge, chosen: &BTreeMap<&PackageId, &Version>) -> Request {
    let (version, verdict) = match &edge.state {
        EdgeState::Asks(version) => {
            let is_chosen = chosen.get(&edge.id).copied() == Some(version);
            let verdict = if is_chosen {
                Verdict::Decides
            } else {
                Verdict::Outvoted
            };
            (Some(version.clone()), verdict)
        }
        _ => (None, Verdict::Overridden),
    };
    Request {
        path: walk.path(edge),
        version,
        verdict,
    }
}
