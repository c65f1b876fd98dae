//! One walk over all references that count as long as some decisions stand.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use super::catalog::{Catalog, Choice, Dependencies, Missing, Reference};
use super::dispute::{Disputes, Ids};
use super::problem::DependencyPath;
use super::{PackageFeed, ResolveLimits};
use crate::{PackageId, Version, VersionRange};

/// What was decided so far.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    /// By the number of the id.
    pub(super) versions: BTreeMap<usize, Version>,
    /// Ids that were decided although it was open whether all who ask for them count.
    pub(super) forced: BTreeSet<usize>,
}

/// A package in one version at one place of the graph.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: PackageId,
    pub(super) number: usize,
    pub(super) version: Version,
    /// Who refers to it; `None` for the project itself.
    parent: Option<usize>,
    pub(super) depth: usize,
    /// Which ids the packages above it refer to, so that its own references to them are hidden.
    hidden: Rc<Ids>,
    /// The nodes that it refers to.
    pub(super) links: Vec<usize>,
    /// The packages from the project on to this one, once somebody wants to know.
    path: OnceCell<Arc<[(PackageId, Version)]>>,
}

/// A reference that was found on a walk.
#[derive(Debug)]
pub(super) struct Edge {
    /// The node that refers; `None` for the project.
    pub(super) from: Option<usize>,
    pub(super) id: PackageId,
    pub(super) number: usize,
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
    pub(super) own: Vec<usize>,
    /// How many ids were met so far: all numbers are lower.
    pub(super) ids: usize,
    pub(super) nodes: Vec<Node>,
    pub(super) edges: Vec<Edge>,
}

/// What is needed only while walking.
struct Walker<'a, 'c, F> {
    catalog: &'a mut Catalog<'c, F>,
    decisions: &'a Decisions,
    limits: &'a ResolveLimits,
    steps: &'a mut usize,
    disputes: &'a Disputes,
    /// The nodes of each id.
    known: Vec<Vec<usize>>,
    waiting: VecDeque<usize>,
    walk: Walk,
}

/// Follows all references breadth-first. References to packages that were decided otherwise end
/// there. `steps` counts the references over all walks.
pub(super) fn walk<F: PackageFeed>(
    references: &Rc<[Reference]>,
    catalog: &mut Catalog<'_, F>,
    decisions: &Decisions,
    disputes: &Disputes,
    limits: &ResolveLimits,
    steps: &mut usize,
) -> Result<Walk, TooLarge> {
    let mut walker = Walker {
        catalog,
        decisions,
        limits,
        steps,
        disputes,
        known: Vec::new(),
        waiting: VecDeque::new(),
        walk: Walk {
            own: references.iter().map(|own| own.number).collect(),
            ..Walk::default()
        },
    };
    walker.follow(None, references)?;
    while let Some(index) = walker.waiting.pop_front() {
        let node = &walker.walk.nodes[index];
        let found = walker
            .catalog
            .dependencies(node.number, &node.id, &node.version);
        if let Dependencies::Found(references) = found {
            walker.follow(Some(index), &references)?;
        }
    }
    walker.walk.ids = walker.catalog.len();
    Ok(walker.walk)
}

impl<F: PackageFeed> Walker<'_, '_, F> {
    /// Follows all references of a node, or of the project.
    fn follow(&mut self, from: Option<usize>, references: &[Reference]) -> Result<(), TooLarge> {
        let nothing = Rc::new(Ids::default());
        let hidden = from.map_or(nothing, |index| Rc::clone(&self.walk.nodes[index].hidden));
        let mut hidden_below = (*hidden).clone();
        for reference in references {
            hidden_below.insert(reference.number);
        }
        let hidden_below = Rc::new(hidden_below);
        for reference in references {
            *self.steps += 1;
            TooLarge::check("references to follow", *self.steps, self.limits.steps_max)?;
            let state = if self.is_above(from, reference.number) {
                EdgeState::Cycle
            } else if hidden.contains(reference.number) {
                EdgeState::Hidden
            } else {
                match self.ask(from, reference, &hidden_below)? {
                    Some(state) => state,
                    None => continue,
                }
            };
            self.walk.edges.push(Edge {
                from,
                id: reference.id.clone(),
                number: reference.number,
                range: reference.range.clone(),
                state,
            });
        }
        Ok(())
    }

    /// Tells whether the node itself or one above it is this package.
    fn is_above(&self, from: Option<usize>, number: usize) -> bool {
        self.disputes.circles.contains(number)
            && self.walk.chain(from).any(|node| node.number == number)
    }

    /// Finds the version that a reference asks for and its node; `None` if that is not known yet.
    fn ask(
        &mut self,
        from: Option<usize>,
        reference: &Reference,
        hidden: &Rc<Ids>,
    ) -> Result<Option<EdgeState>, TooLarge> {
        let number = reference.number;
        let version = match self.catalog.choose(reference) {
            Choice::Version(version) => version,
            Choice::Missing(missing) => return Ok(Some(EdgeState::Missing(missing))),
            Choice::NotFetched => return Ok(None),
        };
        let target = match self.decisions.versions.get(&number) {
            Some(decided) if *decided == version || self.decisions.forced.contains(&number) => {
                decided
            }
            Some(_) => return Ok(Some(EdgeState::Asks(version))),
            None => &version,
        };
        let dependencies = self.catalog.dependencies(number, &reference.id, target);
        if matches!(
            dependencies,
            Dependencies::Absent | Dependencies::Unusable(_)
        ) {
            return Ok(Some(EdgeState::Unreadable(target.clone(), dependencies)));
        }
        let node = self.node(from, reference, target.clone(), hidden)?;
        if let Some(from) = from {
            self.walk.nodes[from].links.push(node);
        }
        Ok(Some(EdgeState::Asks(version)))
    }

    /// Finds a node that asks for at least what a new one would ask for, or makes it. What is not
    /// disputed is asked for in one way only, whoever hides it.
    fn node(
        &mut self,
        parent: Option<usize>,
        reference: &Reference,
        version: Version,
        hidden: &Rc<Ids>,
    ) -> Result<usize, TooLarge> {
        let number = reference.number;
        if self.known.len() <= number {
            self.known.resize(self.catalog.len(), Vec::new());
        }
        let known = &mut self.known[number];
        let nodes = &mut self.walk.nodes;
        let disputed = &self.disputes.ids;
        let asks_for_all = |index: &&usize| {
            let node = &nodes[**index];
            node.version == version && node.hidden.is_subset_within(disputed, hidden)
        };
        if let Some(&index) = known.iter().find(asks_for_all) {
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
            id: reference.id.clone(),
            number,
            version,
            parent,
            depth,
            hidden: Rc::clone(hidden),
            links: Vec::new(),
            path: OnceCell::new(),
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
        let packages = edge.from.map(|index| {
            let known = self.nodes[index].path.get_or_init(|| {
                let chain = self.chain(edge.from);
                let mut packages: Vec<_> = chain
                    .map(|node| (node.id.clone(), node.version.clone()))
                    .collect();
                packages.reverse();
                packages.into()
            });
            Arc::clone(known)
        });
        DependencyPath {
            packages: packages.unwrap_or_default(),
            id: edge.id.clone(),
            range: edge.range.clone(),
        }
    }
}
