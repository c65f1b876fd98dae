//! Packages that need themselves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::ResolveLimits;
use super::dispute::Ids;
use super::problem::ResolveError;
use super::walk::{TooLarge, Walk};
use crate::PackageId;

/// How many circles are reported; after the first ones nobody reads on.
const CYCLES_MAX: usize = 16;

/// Lists the circles of a walk: paths on which a package refers to an id above it, in whatever
/// version, even if something else hides that reference.
///
/// Nodes are shared between paths, so this looks at all links, not only at the path on which a
/// node was met first. `steps` counts the links with the references of the walks.
pub(super) fn cycles(
    walk: &Walk,
    suspects: &Ids,
    limits: &ResolveLimits,
    steps: &mut usize,
) -> Result<Vec<ResolveError>, TooLarge> {
    let mut found: BTreeSet<Vec<PackageId>> = BTreeSet::new();
    if suspects.is_empty() {
        return Ok(Vec::new());
    }
    let references = references(walk);
    for (start, node) in walk.nodes.iter().enumerate() {
        if !suspects.contains(node.number) {
            continue;
        }
        if found.len() == CYCLES_MAX {
            break;
        }
        let above = reach(walk, start, suspects, limits, steps)?;
        let refers = |index: &&usize| references[**index].contains(&node.number);
        let closing = above.keys().filter(refers);
        let paths = closing.map(|&end| path(&above, start, end));
        if let Some(path) = paths
            .into_iter()
            .find(|path| is_real(walk, &references, path))
        {
            let ids = path.iter().map(|&index| walk.nodes[index].id.clone());
            found.insert(rotated(ids.collect()));
        }
    }
    let errors = found.into_iter();
    Ok(errors
        .map(|packages| ResolveError::Cycle { packages })
        .collect())
}

/// Collects the ids that each node refers to.
fn references(walk: &Walk) -> Vec<BTreeSet<usize>> {
    let mut references = vec![BTreeSet::new(); walk.nodes.len()];
    for edge in &walk.edges {
        if let Some(from) = edge.from {
            references[from].insert(edge.number);
        }
    }
    references
}

/// Finds the nodes below one, and for each the node before it on a shortest path.
fn reach(
    walk: &Walk,
    start: usize,
    suspects: &Ids,
    limits: &ResolveLimits,
    steps: &mut usize,
) -> Result<BTreeMap<usize, usize>, TooLarge> {
    let mut above = BTreeMap::from([(start, start)]);
    let mut waiting = VecDeque::from([start]);
    while let Some(index) = waiting.pop_front() {
        for &target in &walk.nodes[index].links {
            *steps += 1;
            TooLarge::check("references to follow", *steps, limits.steps_max)?;
            if suspects.contains(walk.nodes[target].number) && !above.contains_key(&target) {
                above.insert(target, index);
                waiting.push_back(target);
            }
        }
    }
    Ok(above)
}

fn path(above: &BTreeMap<usize, usize>, start: usize, end: usize) -> Vec<usize> {
    let next = |index: &usize| above.get(index).copied().filter(|_| *index != start);
    let mut path: Vec<usize> = std::iter::successors(Some(end), next).collect();
    path.reverse();
    path
}

/// Tells whether nothing on the way hides a part of it: a link to a shared node may stand for a
/// path on which less is asked for.
fn is_real(walk: &Walk, references: &[BTreeSet<usize>], path: &[usize]) -> bool {
    let Some((&start, below)) = path.split_first() else {
        return false;
    };
    let mut hidden: BTreeSet<usize> = walk.own.iter().copied().collect();
    for index in walk.chain_indexes(Some(start)).skip(1) {
        hidden.extend(&references[index]);
    }
    let mut parent = start;
    for &index in below {
        if hidden.contains(&walk.nodes[index].number) {
            return false;
        }
        hidden.extend(&references[parent]);
        parent = index;
    }
    true
}

/// Starts a circle at its lowest id: the same one is found from several sides.
fn rotated(mut ids: Vec<PackageId>) -> Vec<PackageId> {
    let lowest = ids.iter().enumerate().min_by_key(|(_, id)| *id);
    let lowest = lowest.map_or(0, |(index, _)| index);
    ids.rotate_left(lowest);
    ids
}
