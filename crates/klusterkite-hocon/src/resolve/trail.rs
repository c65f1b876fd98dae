//! What is hidden while substitutions are followed, and what was taken over already.

use std::rc::Rc;

use super::tree::{ItemId, PathId};

/// From where something is looked at. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Context {
    pub(super) trail: Trail,
    pub(super) unfolded: Unfolded,
}

/// The substitutions that are being followed, innermost first. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Trail(Option<Rc<Step>>);

pub(super) struct Step {
    /// The path where the substitution stands.
    pub(super) path: PathId,
    /// The substitution: at that path it hides itself and every item of a lower number.
    pub(super) item: ItemId,
    /// The place in the trail, counted from 1.
    pub(super) number: u32,
    /// A set, by hash, of the first keys of all paths up to here; it answers most questions about
    /// unrelated paths at once.
    regions: u64,
    outer: Trail,
}

impl Trail {
    pub(super) fn with(&self, path: PathId, item: ItemId, region: u64) -> Self {
        Self(Some(Rc::new(Step {
            path,
            item,
            number: self.length() + 1,
            regions: self.regions() | region,
            outer: self.clone(),
        })))
    }

    pub(super) fn length(&self) -> u32 {
        self.0.as_ref().map_or(0, |step| step.number)
    }

    pub(super) fn regions(&self) -> u64 {
        self.0.as_ref().map_or(0, |step| step.regions)
    }

    /// Returns the steps, innermost first.
    pub(super) fn steps(&self) -> impl Iterator<Item = &Step> {
        std::iter::successors(self.0.as_deref(), |step| step.outer.0.as_deref())
    }
}

/// The substitutions through which an object was taken over into the value that is being evaluated.
///
/// Its fields see all of the tree again, nothing is hidden from them. But an object that would take over
/// itself, on and on, is a cycle. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Unfolded(Option<Rc<(ItemId, Unfolded)>>);

impl Unfolded {
    pub(super) fn with(&self, item: ItemId) -> Self {
        Self(Some(Rc::new((item, self.clone()))))
    }

    pub(super) fn contains(&self, item: ItemId) -> bool {
        let links = std::iter::successors(self.0.as_deref(), |link| link.1.0.as_deref());
        links.into_iter().any(|link| link.0 == item)
    }
}
