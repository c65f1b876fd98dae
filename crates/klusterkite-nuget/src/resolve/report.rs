//! The result: what was chosen, why, and what is wrong with it.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Outcome;
use super::catalog::{Dependencies, Missing, is_approximated};
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
    let mut chosen = vec![None; walk.ids];
    for node in &walk.nodes {
        chosen[node.number] = Some(&node.version);
    }
    let deciding = deciding_edges(walk, &chosen);
    let mut errors = Vec::new();
    let mut warnings = Vec::new();
    for edge in &walk.edges {
        match check(walk, edge, chosen[edge.number], deciding[edge.number]) {
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

/// What was chosen, by the number of the id.
type Chosen<'w> = [Option<&'w Version>];

/// Finds for each package the first reference that asks for the chosen version.
fn deciding_edges<'w>(walk: &'w Walk, chosen: &Chosen<'_>) -> Vec<Option<&'w Edge>> {
    let mut edges = vec![None; walk.ids];
    for edge in &walk.edges {
        if let EdgeState::Asks(version) = &edge.state
            && chosen[edge.number] == Some(version)
        {
            edges[edge.number].get_or_insert(edge);
        }
    }
    edges
}

/// Checks one reference against what was chosen.
fn check(
    walk: &Walk,
    edge: &Edge,
    chosen: Option<&Version>,
    deciding: Option<&Edge>,
) -> Option<Finding> {
    let path = || walk.path(edge);
    let chosen_by = || Box::new(walk.path(deciding.unwrap_or(edge)));
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
            (asked == chosen && is_approximated(&edge.range, asked)).then(|| {
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

fn packages(walk: &Walk, chosen: &Chosen<'_>) -> BTreeMap<PackageId, ResolvedPackage> {
    let mut packages: Vec<Option<(PackageId, ResolvedPackage)>> = Vec::new();
    packages.resize_with(walk.ids, || None);
    for node in &walk.nodes {
        packages[node.number].get_or_insert_with(|| {
            let package = ResolvedPackage {
                version: node.version.clone(),
                requests: Vec::new(),
                requests_count: 0,
                dependencies: BTreeMap::new(),
            };
            (node.id.clone(), package)
        });
    }
    for edge in &walk.edges {
        if let Some(from) = edge.from.map(|index| walk.nodes[index].number)
            && let Some((_, package)) = &mut packages[from]
        {
            let range = edge.range.clone();
            package.dependencies.entry(edge.id.clone()).or_insert(range);
        }
        if let Some((_, package)) = &mut packages[edge.number] {
            package.requests_count += 1;
            keep(package, || request(walk, edge, chosen));
        }
    }
    let packages = packages.into_iter().flatten().map(|(id, mut package)| {
        package.requests.sort_by(request_order);
        (id, package)
    });
    packages.collect()
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

fn request_order(a: &Request, b: &Request) -> Ordering {
    let first = |request: &Request| (request.verdict, request.path.packages.len());
    let by_range = || a.path.range.to_string().cmp(&b.path.range.to_string());
    first(a)
        .cmp(&first(b))
        .then_with(|| a.path.packages.cmp(&b.path.packages))
        .then_with(by_range)
}

fn request(walk: &Walk, edge: &Edge, chosen: &Chosen<'_>) -> Request {
    let (version, verdict) = match &edge.state {
        EdgeState::Asks(version) => {
            let is_chosen = chosen[edge.number] == Some(version);
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
