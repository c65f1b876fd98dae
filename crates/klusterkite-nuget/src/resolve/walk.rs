//! One walk over all references that count as long as some decisions stand.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use super::catalog::{Catalog, Choice, Dependencies, Missing, Reference};
use super::problem::DependencyPath;
use super::{PackageFeed, ResolveLimits};
use crate::{PackageId, Version, VersionRange};

/// What was decided so far.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    pub(super) versions: BTreeMap<PackageId, Version>,
    /// Ids that were decided although it was open whether all who ask for them count.
    pub(super) forced: BTreeSet<PackageId>,
}

/// A package in one version at one place of the graph.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: PackageId,
    pub(super) version: Version,
    /// Who refers to it; `None` for the project itself.
    parent: Option<usize>,
    pub(super) depth: usize,
    /// Which ids the packages above it refer to, so that its own references to them are hidden.
    hidden: Rc<Ids>,
    /// The nodes that it refers to.
    pub(super) links: Vec<usize>,
}

/// A reference that was found on a walk.
#[derive(Debug)]
pub(super) struct Edge {
    /// The node that refers; `None` for the project.
    pub(super) from: Option<usize>,
    pub(super) id: PackageId,
    pub(super) range: VersionRange,
    pub(super) state: EdgeState,
}

/// What became of a reference.
#[derive(Debug)]
pub(super) enum EdgeState {
    /// It asks for this version.
    Asks(Version),
    /// Something above refers to the same id.
    Hidden,
    /// There is nothing that it could get.
    Missing(Missing),
    /// It leads back to a package above.
    Cycle,
    /// The package that it gets cannot be read.
    Unreadable(Version, Dependencies),
}

/// The graph is larger than the limits allow.
#[derive(Debug)]
pub(super) struct TooLarge {
    pub(super) what: &'static str,
    pub(super) limit: usize,
}

impl TooLarge {
    pub(super) fn check(what: &'static str, actual: usize, limit: usize) -> Result<(), Self> {
        if actual > limit {
            return Err(Self { what, limit });
        }
        Ok(())
    }
}

/// The result of a walk.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// The ids that the project itself refers to.
    pub(super) own: Vec<PackageId>,
    pub(super) nodes: Vec<Node>,
    pub(super) edges: Vec<Edge>,
}

/// A set of ids, one bit for each number of [`Numbers`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ids(Vec<u64>);

impl Ids {
    fn insert(&mut self, number: usize) {
        let word = number / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (number % 64);
    }

    fn contains(&self, number: usize) -> bool {
        let word = self.0.get(number / 64).copied().unwrap_or_default();
        word & (1 << (number % 64)) != 0
    }

    fn is_subset(&self, other: &Self) -> bool {
        let mut words = self.0.iter().enumerate();
        words.all(|(index, word)| word & !other.0.get(index).copied().unwrap_or_default() == 0)
    }
}

/// Numbers for ids in the order in which they are met.
#[derive(Default)]
struct Numbers(BTreeMap<PackageId, usize>);

impl Numbers {
    fn of(&mut self, id: &PackageId) -> usize {
        let next = self.0.len();
        *self.0.entry(id.clone()).or_insert(next)
    }
}

/// What is needed only while walking.
struct Walker<'a, 'c, F> {
    catalog: &'a mut Catalog<'c, F>,
    decisions: &'a Decisions,
    limits: &'a ResolveLimits,
    steps: &'a mut usize,
    numbers: Numbers,
    /// The nodes of each package.
    known: BTreeMap<(PackageId, Version), Vec<usize>>,
    waiting: VecDeque<usize>,
    walk: Walk,
}

/// Follows all references breadth-first. References to packages that were decided otherwise end
/// there. `steps` counts the references over all walks.
pub(super) fn walk<F: PackageFeed>(
    references: &BTreeMap<PackageId, VersionRange>,
    catalog: &mut Catalog<'_, F>,
    decisions: &Decisions,
    limits: &ResolveLimits,
    steps: &mut usize,
) -> Result<Walk, TooLarge> {
    let mut walker = Walker {
        catalog,
        decisions,
        limits,
        steps,
        numbers: Numbers::default(),
        known: BTreeMap::new(),
        waiting: VecDeque::new(),
        walk: Walk {
            own: references.keys().cloned().collect(),
            ..Walk::default()
        },
    };
    let own: Vec<Reference> = references
        .iter()
        .map(|(id, range)| (id.clone(), range.clone()))
        .collect();
    walker.follow(None, &own)?;
    while let Some(index) = walker.waiting.pop_front() {
        let node = &walker.walk.nodes[index];
        let (id, version) = (node.id.clone(), node.version.clone());
        if let Dependencies::Found(references) = walker.catalog.dependencies(&id, &version) {
            walker.follow(Some(index), &references)?;
        }
    }
    Ok(walker.walk)
}

impl<F: PackageFeed> Walker<'_, '_, F> {
    /// Follows all references of a node, or of the project.
    fn follow(&mut self, from: Option<usize>, references: &[Reference]) -> Result<(), TooLarge> {
        let nothing = Rc::new(Ids::default());
        let hidden = from.map_or(nothing, |index| Rc::clone(&self.walk.nodes[index].hidden));
        let mut hidden_below = (*hidden).clone();
        for (id, _) in references {
            hidden_below.insert(self.numbers.of(id));
        }
        let hidden_below = Rc::new(hidden_below);
        for (id, range) in references {
            *self.steps += 1;
            TooLarge::check("references to follow", *self.steps, self.limits.steps_max)?;
            let state = if self.is_above(from, id) {
                EdgeState::Cycle
            } else if hidden.contains(self.numbers.of(id)) {
                EdgeState::Hidden
            } else {
                match self.ask(from, id, range, &hidden_below)? {
                    Some(state) => state,
                    None => continue,
                }
            };
            self.walk.edges.push(Edge {
                from,
                id: id.clone(),
                range: range.clone(),
                state,
            });
        }
        Ok(())
    }

    /// Tells whether the node itself or one above it is this package.
    fn is_above(&self, from: Option<usize>, id: &PackageId) -> bool {
        self.walk.chain(from).any(|node| node.id == *id)
    }

    /// Finds the version that a reference asks for and its node; `None` if that is not known yet.
    fn ask(
        &mut self,
        from: Option<usize>,
        id: &PackageId,
        range: &VersionRange,
        hidden: &Rc<Ids>,
    ) -> Result<Option<EdgeState>, TooLarge> {
        let version = match self.catalog.choose(id, range) {
            Choice::Version(version) => version,
            Choice::Missing(missing) => return Ok(Some(EdgeState::Missing(missing))),
            Choice::NotFetched => return Ok(None),
        };
        let target = match self.decisions.versions.get(id) {
            Some(decided) if *decided == version || self.decisions.forced.contains(id) => decided,
            Some(_) => return Ok(Some(EdgeState::Asks(version))),
            None => &version,
        };
        let dependencies = self.catalog.dependencies(id, target);
        if matches!(
            dependencies,
            Dependencies::Absent | Dependencies::Unusable(_)
        ) {
            return Ok(Some(EdgeState::Unreadable(target.clone(), dependencies)));
        }
        let node = self.node(from, id, target.clone(), hidden)?;
        if let Some(from) = from {
            self.walk.nodes[from].links.push(node);
        }
        Ok(Some(EdgeState::Asks(version)))
    }

    /// Finds a node that asks for at least what a new one would ask for, or makes it.
    fn node(
        &mut self,
        parent: Option<usize>,
        id: &PackageId,
        version: Version,
        hidden: &Rc<Ids>,
    ) -> Result<usize, TooLarge> {
        let key = (id.clone(), version.clone());
        let known = self.known.entry(key).or_default();
        let nodes = &mut self.walk.nodes;
        if let Some(&index) = known
            .iter()
            .find(|&&index| nodes[index].hidden.is_subset(hidden))
        {
            return Ok(index);
        }
        let index = nodes.len();
        let depth = parent.map_or(1, |parent| nodes[parent].depth + 1);
        for (what, actual, limit) in [
            ("nodes of the graph", index + 1, self.limits.nodes_max),
            ("packages in a row", depth, self.limits.depth_max),
        ] {
            TooLarge::check(what, actual, limit)?;
        }
        known.push(index);
        nodes.push(Node {
            id: id.clone(),
            version,
            parent,
            depth,
            hidden: Rc::clone(hidden),
            links: Vec::new(),
        });
        self.waiting.push_back(index);
        Ok(index)
    }
}

impl Walk {
    /// Lists a node and those above it, the project excepted.
    pub(super) fn chain(&self, from: Option<usize>) -> impl Iterator<Item = &Node> {
        self.chain_indexes(from).map(|index| &self.nodes[index])
    }

    pub(super) fn chain_indexes(&self, from: Option<usize>) -> impl Iterator<Item = usize> {
        std::iter::successors(from, |&index| self.nodes[index].parent)
    }

    /// Writes down how a reference is reached.
    pub(super) fn path(&self, edge: &Edge) -> DependencyPath {
        let chain = self.chain(edge.from);
        let mut packages: Vec<(PackageId, Version)> = chain
            .map(|node| (node.id.clone(), node.version.clone()))
            .collect();
        packages.reverse();
        DependencyPath {
            packages,
            id: edge.id.clone(),
            range: edge.range.clone(),
        }
    }
}
