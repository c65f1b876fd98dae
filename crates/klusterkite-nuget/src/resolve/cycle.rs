//! Packages that need themselves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::ResolveLimits;
use super::problem::ResolveError;
use super::walk::{TooLarge, Walk};
use crate::PackageId;

/// How many circles are reported; after the first ones nobody reads on.
const CYCLES_MAX: usize = 16;

/// Which ids refer to which.
type Arcs<'w> = BTreeMap<&'w PackageId, BTreeSet<&'w PackageId>>;

/// Lists the circles of a walk: paths on which a package refers to an id above it, in whatever
/// version, even if something else hides that reference.
///
/// Nodes are shared between paths, so this looks at all links, not only at the path on which a
/// node was met first. `steps` counts the links with the references of the walks.
pub(super) fn cycles(
    walk: &Walk,
    limits: &ResolveLimits,
    steps: &mut usize,
) -> Result<Vec<ResolveError>, TooLarge> {
    let suspects = suspects(walk);
    let mut found: BTreeSet<Vec<PackageId>> = BTreeSet::new();
    if suspects.is_empty() {
        return Ok(Vec::new());
    }
    let references = references(walk);
    for (start, node) in walk.nodes.iter().enumerate() {
        if !suspects.contains(&node.id) {
            continue;
        }
        if found.len() == CYCLES_MAX {
            break;
        }
        let above = reach(walk, start, &suspects, limits, steps)?;
        let refers = |index: &&usize| references[**index].contains(&node.id);
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
fn references(walk: &Walk) -> Vec<BTreeSet<&PackageId>> {
    let mut references = vec![BTreeSet::new(); walk.nodes.len()];
    for edge in &walk.edges {
        if let Some(from) = edge.from {
            references[from].insert(&edge.id);
        }
    }
    references
}

/// Finds the ids that can be part of a circle: what is left without those that refer to nothing
/// or that nothing refers to, again and again. Normally that is nothing.
fn suspects(walk: &Walk) -> BTreeSet<&PackageId> {
    let mut forward = Arcs::new();
    let mut backward = Arcs::new();
    for edge in &walk.edges {
        if let Some(from) = edge.from {
            let from = &walk.nodes[from].id;
            forward.entry(from).or_default().insert(&edge.id);
            backward.entry(&edge.id).or_default().insert(from);
        }
    }
    let leads_on = without_ends(&forward, &backward);
    let comes_back = without_ends(&backward, &forward);
    leads_on.intersection(&comes_back).copied().collect()
}

/// Returns the ids from which one can go on without end.
fn without_ends<'w>(forward: &Arcs<'w>, backward: &Arcs<'w>) -> BTreeSet<&'w PackageId> {
    let mut ways: BTreeMap<&PackageId, usize> =
        forward.iter().map(|(&id, to)| (id, to.len())).collect();
    let mut ends: Vec<&PackageId> = backward
        .keys()
        .copied()
        .filter(|id| !forward.contains_key(id))
        .collect();
    while let Some(end) = ends.pop() {
        for from in backward.get(end).into_iter().flatten() {
            if let Some(left) = ways.get_mut(from) {
                *left -= 1;
                if *left == 0 {
                    ways.remove(from);
                    ends.push(from);
                }
            }
        }
    }
    ways.into_keys().collect()
}

/// Finds the nodes below one, and for each the node before it on a shortest path.
fn reach(
    walk: &Walk,
    start: usize,
    suspects: &BTreeSet<&PackageId>,
    limits: &ResolveLimits,
    steps: &mut usize,
) -> Result<BTreeMap<usize, usize>, TooLarge> {
    let mut above = BTreeMap::from([(start, start)]);
    let mut waiting = VecDeque::from([start]);
    while let Some(index) = waiting.pop_front() {
        for &target in &walk.nodes[index].links {
            *steps += 1;
            TooLarge::check("references to follow", *steps, limits.steps_max)?;
            if suspects.contains(&walk.nodes[target].id) && !above.contains_key(&target) {
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
fn is_real(walk: &Walk, references: &[BTreeSet<&PackageId>], path: &[usize]) -> bool {
    let Some((&start, below)) = path.split_first() else {
        return false;
    };
    let mut hidden: BTreeSet<&PackageId> = walk.own.iter().collect();
    for index in walk.chain_indexes(Some(start)).skip(1) {
        hidden.extend(&references[index]);
    }
    let mut parent = start;
    for &index in below {
        if hidden.contains(&walk.nodes[index].id) {
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
