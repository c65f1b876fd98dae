//! Resolves substitutions, lazily: by paths, never by whole objects where one key is wanted.
//!
//! # How
//!
//! The merged tree is first laid out flat ([`tree`]): every value becomes an item with a number, in the
//! order of priority, so that of two items at one path the one with the lower number lies above.
//!
//! Asking for a path ([`walk`]) gathers a *view*: the elements that make up the value there, highest
//! priority first, up to the first one that lets nothing show through. A substitution in the way is
//! replaced by the view of the path that it names. Views become values in [`evaluate`].
//!
//! # Looking back, and cycles
//!
//! A substitution that is being followed hides, at its own path, itself and everything above it. So
//! `a = ${a} [2]` sees what `a` was before, and a cycle ends where a substitution would meet itself:
//! there is nothing left at that path. What is hidden is a [`trail::Trail`]. A value that was found without
//! meeting anything that was hidden from outside is the same wherever it is asked for, and is remembered
//! by its path.
//!
//! The fields of an object that a substitution brings see the whole tree again (`base { y = ${child.x} }`,
//! `child = ${base} { x = 1 }`), so that what is hidden cannot end the circle of an object that brings
//! itself. That is what [`trail::Unfolded`] does.

mod evaluate;
mod joined;
mod trail;
mod tree;
mod walk;

use std::collections::{BTreeMap, HashMap, HashSet};

use foldhash::fast::RandomState;

use crate::error::Error;
use crate::limits::{
    EXPANDED_SIZE_BYTES_MAX, RESOLVE_DEPTH_MAX, RESOLVE_STEPS_BASE, RESOLVE_STEPS_PER_VALUE,
};
use crate::node::ObjectNode;
use crate::origin::Origin;
use crate::resolve::trail::Trail;
use crate::resolve::tree::{ItemId, PathId, Tree};
use crate::value::Value;

/// Resolves a whole tree.
pub(crate) fn resolve(
    origin: &Origin,
    root: &ObjectNode,
    environment: &BTreeMap<String, String>,
) -> Result<Value, Error> {
    let tree = Tree::new(origin, root);
    let steps_left = RESOLVE_STEPS_BASE + RESOLVE_STEPS_PER_VALUE * tree.item_count() as u64;
    let mut resolver = Resolver {
        tree,
        environment,
        known: Vec::new(),
        occurrences: HashMap::default(),
        void: HashSet::new(),
        shallowest_hit: u32::MAX,
        steps_left,
        bytes_left: EXPANDED_SIZE_BYTES_MAX,
        depth: 0,
    };
    resolver.root()
}

struct Resolver<'a> {
    tree: Tree<'a>,
    environment: &'a BTreeMap<String, String>,
    /// What does not depend on anything hidden, by the number of the path.
    known: Vec<Option<Known>>,
    /// Values of substitutions and joined values, by occurrence. In cycles that end well they keep an
    /// occurrence from having several values, depending on who asked first.
    occurrences: HashMap<ItemId, Value, RandomState>,
    /// Optional substitutions that have no value because they would contain themselves.
    void: HashSet<ItemId>,
    /// The shallowest step of a trail that has hidden something since this was last reset.
    shallowest_hit: u32,
    steps_left: u64,
    /// How much may still be copied together by joined values.
    bytes_left: u64,
    depth: u32,
}

/// Why a value cannot be evaluated.
enum Stop {
    Failed(Error),
    /// It contains a substitution that is being followed. The innermost substitution on the way there has
    /// no value, which only an optional one may.
    Cycle(ItemId),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// What is known about a path.
#[derive(Clone)]
enum Known {
    Value(Value),
    Nothing,
}

impl Known {
    fn of(found: Option<Value>) -> Self {
        found.map_or(Self::Nothing, Self::Value)
    }

    fn value(self) -> Option<Value> {
        match self {
            Self::Value(value) => Some(value),
            Self::Nothing => None,
        }
    }
}

impl Resolver<'_> {
    /// Runs something one level deeper, within the limits.
    fn deeper<T, E: From<Error>>(
        &mut self,
        origin: &Origin,
        run: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        if self.depth >= RESOLVE_DEPTH_MAX {
            return Err(E::from(Error::Limit {
                origin: origin.clone(),
                problem: format!(
                    "more than {RESOLVE_DEPTH_MAX} values depend on each other in a row"
                ),
            }));
        }
        self.depth += 1;
        let result = run(self);
        self.depth -= 1;
        result
    }

    fn steps(&mut self, origin: &Origin, count: usize) -> Result<(), Error> {
        match self.steps_left.checked_sub(count as u64) {
            Some(left) => {
                self.steps_left = left;
                Ok(())
            }
            None => Err(Error::Limit {
                origin: origin.clone(),
                problem: "the substitutions are too entangled to be resolved".to_owned(),
            }),
        }
    }

    /// Accounts for something that is copied together.
    fn copy(&mut self, origin: &Origin, size_bytes: usize) -> Result<(), Error> {
        match self.bytes_left.checked_sub(size_bytes as u64) {
            Some(left) => {
                self.bytes_left = left;
                Ok(())
            }
            None => Err(Error::Limit {
                origin: origin.clone(),
                problem: format!(
                    "joined values add up to more than {EXPANDED_SIZE_BYTES_MAX} bytes"
                ),
            }),
        }
    }

    /// Returns what is known about a path, unless something hidden could change it.
    fn known(&self, path: PathId, trail: &Trail) -> Option<Known> {
        let known = self.known.get(path.index())?.as_ref()?;
        let undisturbed = !self.tree.hides_around(trail, path);
        undisturbed.then(|| known.clone())
    }

    /// Finds the value of a path and remembers it if it does not depend on the trail.
    fn remembering(
        &mut self,
        path: PathId,
        trail: &Trail,
        find: impl FnOnce(&mut Self) -> Result<Option<Value>, Stop>,
    ) -> Result<Option<Value>, Stop> {
        if let Some(known) = self.known(path, trail) {
            return Ok(known.value());
        }
        let outer_hit = std::mem::replace(&mut self.shallowest_hit, u32::MAX);
        let found = find(self);
        if let (Ok(found), true) = (&found, self.shallowest_hit > trail.length()) {
            self.remember(path, Known::of(found.clone()));
        }
        self.shallowest_hit = self.shallowest_hit.min(outer_hit);
        found
    }

    fn remember(&mut self, path: PathId, known: Known) {
        if self.known.len() <= path.index() {
            self.known.resize(self.tree.path_count(), None);
        }
        self.known[path.index()] = Some(known);
    }
}
