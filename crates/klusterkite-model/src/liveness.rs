//! L1: from every state the migration ends, or is held, or the cluster comes to rest.
//!
//! The checker's own `eventually` looks at single ways and leaves out those that meet a known state, loops and
//! joins alike; the graph of this model is full of both, as whatever fails is tried again. So the model notes its
//! graph while it is searched, and the question is asked of all of it.

use std::collections::{HashMap, HashSet};

/// What was seen of the graph: states by their keys, and what happens by itself.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// From which states each is reached by itself.
    before: HashMap<u64, Vec<u64>>,
    expanded: HashSet<u64>,
    /// States that come to rest when they are left alone, and those in which the migration has ended or is held.
    ends: HashSet<u64>,
    at_rest: usize,
}

impl Graph {
    pub(crate) fn is_expanded(&mut self, state: u64, ends: bool) {
        if self.expanded.insert(state) && ends {
            self.ends.insert(state);
        }
    }

    pub(crate) fn goes_on(&mut self, from: u64, to: u64) {
        self.before.entry(to).or_default().push(from);
    }

    pub(crate) fn rests(&mut self, state: u64) {
        self.ends.insert(state);
        self.at_rest += 1;
    }

    /// Number of states from which the graph goes on.
    pub(crate) fn expanded(&self) -> usize {
        self.expanded.len()
    }

    pub(crate) fn at_rest(&self) -> usize {
        self.at_rest
    }

    /// Returns the states that lead to no end.
    pub(crate) fn restless(&self) -> HashSet<u64> {
        let mut restless = self.expanded.clone();
        let mut open: Vec<u64> = self.ends.iter().copied().collect();
        while let Some(state) = open.pop() {
            if restless.remove(&state) {
                open.extend(self.before.get(&state).into_iter().flatten());
            }
        }
        restless
    }
}
