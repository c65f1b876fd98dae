//! Which ids it matters to hide.
//!
//! A reference that something above hides is not followed. That changes the outcome only if it
//! would ask for something else than whoever hides it, or if it closes a circle; for all other ids
//! two paths to a package may share a node whatever they hide. Without that a graph of 1,000
//! packages that need each other crosswise has more distinct paths than there is memory for.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::catalog::{Catalog, Choice, Dependencies, Reference, is_approximated};
use super::walk::TooLarge;
use super::{PackageFeed, ResolveLimits};
use crate::Version;

/// A set of ids, one bit for the number of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ids(Vec<u64>);

impl Ids {
    pub(super) fn insert(&mut self, number: usize) {
        let word = number / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (number % 64);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(super) fn contains(&self, number: usize) -> bool {
        self.word(number / 64) & (1 << (number % 64)) != 0
    }

    /// Tells whether what this set has of `mask` is in the other one too.
    pub(super) fn is_subset_within(&self, mask: &Self, other: &Self) -> bool {
        let mut words = self.0.iter().enumerate();
        words.all(|(index, word)| word & mask.word(index) & !other.word(index) == 0)
    }

    fn word(&self, index: usize) -> u64 {
        self.0.get(index).copied().unwrap_or_default()
    }
}

/// The ids for which it matters whether something hides them.
#[derive(Debug, Default)]
pub(super) struct Disputes {
    /// Those that references ask for in different ways, and those of circles.
    pub(super) ids: Ids,
    /// Those that are part of a circle, or lie between two.
    pub(super) circles: Ids,
}

/// Follows every reference of every version once, hidden or not, and finds the ids of which
/// references ask for different things, and those that are part of a circle.
///
/// Asks the feed for nothing new: the walk does not reach what is not fetched either.
pub(super) fn disputes<F: PackageFeed>(
    references: &Rc<[Reference]>,
    catalog: &mut Catalog<'_, F>,
    limits: &ResolveLimits,
    steps: &mut usize,
) -> Result<Disputes, TooLarge> {
    let needs = std::mem::take(&mut catalog.needs);
    let found = follow(references, catalog, limits, steps);
    catalog.needs = needs;
    found
}

/// What a reference asks for: a version and whether that is not the lowest of its range; `None` if
/// it gets nothing.
type Wish = Option<(Version, bool)>;

fn follow<F: PackageFeed>(
    references: &Rc<[Reference]>,
    catalog: &mut Catalog<'_, F>,
    limits: &ResolveLimits,
    steps: &mut usize,
) -> Result<Disputes, TooLarge> {
    let mut disputes = Disputes::default();
    let mut wishes: Vec<Option<Wish>> = Vec::new();
    let mut arcs: Vec<Vec<usize>> = Vec::new();
    let mut seen: BTreeSet<(usize, Version)> = BTreeSet::new();
    let mut waiting: Vec<(Option<usize>, Rc<[Reference]>)> = vec![(None, Rc::clone(references))];
    while let Some((from, references)) = waiting.pop() {
        wishes.resize(catalog.len(), None);
        arcs.resize(catalog.len(), Vec::new());
        for reference in references.iter() {
            *steps += 1;
            TooLarge::check("references to follow", *steps, limits.steps_max)?;
            let number = reference.number;
            if let Some(from) = from {
                arcs[from].push(number);
            }
            let wish: Wish = match catalog.choose(reference) {
                Choice::NotFetched => continue,
                Choice::Missing(_) => None,
                Choice::Version(version) => {
                    if seen.insert((number, version.clone()))
                        && let Dependencies::Found(references) =
                            catalog.dependencies(number, &reference.id, &version)
                    {
                        waiting.push((Some(number), references));
                    }
                    let is_approximated = is_approximated(&reference.range, &version);
                    Some((version, is_approximated))
                }
            };
            let is_disputed = match &wishes[number] {
                Some(first) => *first != wish,
                None => wish.is_none(),
            };
            if is_disputed {
                disputes.ids.insert(number);
            }
            wishes[number] = Some(wish);
        }
    }
    arcs.resize(catalog.len(), Vec::new());
    for number in on_circles(&arcs) {
        disputes.ids.insert(number);
        disputes.circles.insert(number);
    }
    Ok(disputes)
}

/// Finds the nodes that can be part of a circle: what is left without those that lead nowhere or
/// that nothing leads to, again and again. Normally that is nothing.
fn on_circles(forward: &[Vec<usize>]) -> Vec<usize> {
    let mut backward = vec![Vec::new(); forward.len()];
    for (from, targets) in forward.iter().enumerate() {
        for &to in targets {
            backward[to].push(from);
        }
    }
    let leads_on = without_ends(forward, &backward);
    let comes_back = without_ends(&backward, forward);
    let numbers = 0..forward.len();
    numbers
        .filter(|&number| leads_on[number] && comes_back[number])
        .collect()
}

/// Tells from which nodes one can go on without end.
fn without_ends(forward: &[Vec<usize>], backward: &[Vec<usize>]) -> Vec<bool> {
    let mut ways: Vec<usize> = forward.iter().map(Vec::len).collect();
    let mut ends: Vec<usize> = (0..ways.len()).filter(|&node| ways[node] == 0).collect();
    while let Some(end) = ends.pop() {
        for &from in &backward[end] {
            ways[from] -= 1;
            if ways[from] == 0 {
                ends.push(from);
            }
        }
    }
    ways.into_iter().map(|ways| ways > 0).collect()
}
