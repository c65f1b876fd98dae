//! Deciding versions until nothing is open.

use std::collections::{BTreeMap, BTreeSet};

use super::catalog::Catalog;
use super::cycle::cycles;
use super::dispute::disputes;
use super::problem::ResolveError;
use super::walk::{Decisions, EdgeState, TooLarge, Walk, walk};
use super::{Need, PackageFeed, ResolveLimits};
use crate::{PackageId, Version, VersionRange};

/// Why there is no decision.
pub(super) enum Stop {
    Incomplete(BTreeSet<Need>),
    Failed(Vec<ResolveError>),
}

impl From<TooLarge> for Stop {
    fn from(TooLarge { what, limit }: TooLarge) -> Self {
        Self::Failed(vec![ResolveError::TooLarge { what, limit }])
    }
}

/// Decides round by round and returns the walk on which everything is decided.
///
/// An id is *disputed* while several versions of it are asked for. What is only needed below a
/// disputed package is open until that is decided: the version that needs it may lose. Each round
/// decides at least one id, so there are hardly more rounds than ids.
pub(super) fn decide<F: PackageFeed>(
    references: &BTreeMap<PackageId, VersionRange>,
    catalog: &mut Catalog<'_, F>,
    limits: &ResolveLimits,
) -> Result<Walk, Stop> {
    let mut decisions = Decisions::default();
    let mut steps = 0;
    let references = catalog.references(references);
    let disputes = disputes(&references, catalog, limits, &mut steps)?;
    let mut is_first = true;
    loop {
        let walk = walk(
            &references,
            catalog,
            &decisions,
            &disputes,
            limits,
            &mut steps,
        )?;
        if !catalog.needs.is_empty() {
            return Err(Stop::Incomplete(catalog.needs.clone()));
        }
        // The first walk follows every version, so it meets every cycle.
        if is_first {
            let cycles = cycles(&walk, &disputes.circles, limits, &mut steps)?;
            if !cycles.is_empty() {
                return Err(Stop::Failed(cycles));
            }
            is_first = false;
        }
        let asked = asked_versions(&walk, &decisions);
        // Where everybody asks for one version, deciding for it would change nothing.
        if asked.values().all(|versions| versions.len() == 1) {
            if !force_vanished(&walk, &mut decisions) {
                return Ok(walk);
            }
            continue;
        }
        let open = below_disputed(&walk, &asked);
        let mut decided = false;
        for (&number, versions) in &asked {
            if !open[number]
                && let Some(highest) = versions.last()
            {
                decisions.versions.insert(number, highest.clone());
                decided = true;
            }
        }
        if !decided {
            force(&walk, &asked, &mut decisions);
        }
    }
}

/// Collects the versions of each undecided id that are asked for, lowest first.
fn asked_versions(walk: &Walk, decisions: &Decisions) -> BTreeMap<usize, BTreeSet<Version>> {
    let mut asked: BTreeMap<usize, BTreeSet<Version>> = BTreeMap::new();
    for node in &walk.nodes {
        if !decisions.versions.contains_key(&node.number) {
            let versions = asked.entry(node.number).or_default();
            versions.insert(node.version.clone());
        }
    }
    asked
}

/// Tells by number which ids are somewhere below a disputed package.
fn below_disputed(walk: &Walk, asked: &BTreeMap<usize, BTreeSet<Version>>) -> Vec<bool> {
    let is_disputed = |number| {
        asked
            .get(&number)
            .is_some_and(|versions| versions.len() > 1)
    };
    let mut seen = vec![false; walk.nodes.len()];
    let mut waiting: Vec<usize> = Vec::new();
    for node in walk.nodes.iter().filter(|node| is_disputed(node.number)) {
        waiting.extend(&node.links);
    }
    while let Some(index) = waiting.pop() {
        if !std::mem::replace(&mut seen[index], true) {
            waiting.extend(&walk.nodes[index].links);
        }
    }
    let mut below = vec![false; walk.ids];
    for (node, seen) in walk.nodes.iter().zip(seen) {
        below[node.number] |= seen;
    }
    below
}

/// Decides the disputed id that is nearest to the project, in the highest version asked for.
///
/// This is for packages that dispute each other: a higher version of one removes who asks for the
/// higher version of the other, and the other way round. NuGet leaves those undecided; any choice
/// will do that all who remain accept, which the report checks.
fn force(walk: &Walk, asked: &BTreeMap<usize, BTreeSet<Version>>, decisions: &mut Decisions) {
    let disputed = walk.nodes.iter().filter_map(|node| {
        let versions = asked.get(&node.number)?;
        (versions.len() > 1).then_some((node.depth, &node.id, node.number))
    });
    // Without a dispute nothing is open, so all was decided; still, one decision keeps the promise
    // that every round makes one.
    let nearest = disputed.min().map(|(_, _, number)| number);
    if let Some(number) = nearest.or_else(|| asked.keys().next().copied())
        && let Some(highest) = asked.get(&number).and_then(BTreeSet::last)
    {
        decisions.versions.insert(number, highest.clone());
        decisions.forced.insert(number);
    }
}

/// Makes sure that every package that is asked for takes part. One could vanish if those who asked
/// for the version that was chosen do not count after all; then it is given to the others. Tells
/// whether there was one.
fn force_vanished(walk: &Walk, decisions: &mut Decisions) -> bool {
    let mut is_present = vec![false; walk.ids];
    for node in &walk.nodes {
        is_present[node.number] = true;
    }
    let mut found = false;
    for edge in &walk.edges {
        if matches!(edge.state, EdgeState::Asks(_)) && !is_present[edge.number] {
            found |= decisions.forced.insert(edge.number);
        }
    }
    found
}
