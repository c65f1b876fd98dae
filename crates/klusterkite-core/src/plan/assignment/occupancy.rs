//! Slots of all nodes, counted as they change.

use std::collections::BTreeMap;

use klusterkite_wire::{NodeId, TemplateCode};

/// What one node id has to do with templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occupant<'a> {
    /// The node id.
    pub id: &'a NodeId,
    /// Template that it runs, or is about to.
    pub runs: Option<&'a TemplateCode>,
    /// Template that an open stop order of its newest run tells it to become.
    pub becomes: Option<&'a TemplateCode>,
    /// Persistent template that it had last.
    pub keeps: Option<&'a TemplateCode>,
}

impl<'a> Occupant<'a> {
    /// Returns the template that the node id counts for: what it was told to become, also while nothing of it runs.
    fn held(&self) -> Option<&'a TemplateCode> {
        self.becomes.or(self.runs)
    }

    /// Returns the template whose slot is kept for the node id.
    fn kept(&self) -> Option<&'a TemplateCode> {
        self.becomes.or(self.keeps)
    }
}

/// What others than the container that asks have taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// Slots that others hold (leased, unreachable or unconfirmed until evicted, or with an open assignment) or that
    /// are kept for them; each node id counts once, so asking again never counts twice (B33, B40).
    pub counts: BTreeMap<TemplateCode, u32>,
    /// The slot that is kept for the container that asks: it was stopped for an update, or had a persistent template
    /// last.
    pub kept: Option<TemplateCode>,
    /// Number of nodes up to which an update wants these templates filled
    /// ([`RolloutPlan::surge`](super::super::rollout::RolloutPlan)).
    pub surge: BTreeMap<TemplateCode, u32>,
    /// True while a migration runs.
    pub migrating: bool,
}

/// The slot of every node id, and how many there are of each template.
///
/// A change of one node costs the logarithm of their number, and a question nothing per node: ten thousand
/// containers may ask at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Occupancy {
    slots: BTreeMap<NodeId, Slot>,
    counts: BTreeMap<TemplateCode, u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Slot {
    /// What the node id counts for.
    counted: TemplateCode,
    /// What is kept for it.
    kept: Option<TemplateCode>,
}

impl Occupancy {
    /// Collects the slots of all node ids.
    pub fn new<'a>(occupants: impl Iterator<Item = Occupant<'a>>) -> Self {
        let mut occupancy = Self::default();
        for occupant in occupants {
            occupancy.set(occupant);
        }
        occupancy
    }

    /// Takes over what changed about a node id.
    pub fn set(&mut self, occupant: Occupant<'_>) {
        self.forget(occupant.id);
        let Some(counted) = occupant.held().or(occupant.kept()) else {
            return;
        };
        *self.counts.entry(counted.clone()).or_default() += 1;
        let slot = Slot {
            counted: counted.clone(),
            kept: occupant.kept().cloned(),
        };
        self.slots.insert(occupant.id.clone(), slot);
    }

    /// Forgets a node id.
    pub fn forget(&mut self, id: &NodeId) {
        if let Some(slot) = self.slots.remove(id) {
            take_one(&mut self.counts, &slot.counted);
        }
    }

    /// Returns what others than `asking` have taken; `surge` and `migrating` are not about nodes.
    pub fn beside(&self, asking: &NodeId) -> Taken {
        let mut taken = Taken {
            counts: self.counts.clone(),
            ..Taken::default()
        };
        if let Some(slot) = self.slots.get(asking) {
            take_one(&mut taken.counts, &slot.counted);
            taken.kept.clone_from(&slot.kept);
        }
        taken
    }
}

fn take_one(counts: &mut BTreeMap<TemplateCode, u32>, template: &TemplateCode) {
    if let Some(count) = counts.get_mut(template) {
        *count -= 1;
        if *count == 0 {
            counts.remove(template);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Draw;

    #[test]
    fn counts_that_follow_every_change_are_those_of_counting_anew() {
        let templates: Vec<TemplateCode> =
            ["a", "b", "c"].map(|code| code.parse().unwrap()).to_vec();
        let mut draw = Draw::new(7);
        let mut any = |of: u64| draw.next() % of;
        let mut known: BTreeMap<NodeId, [Option<usize>; 3]> = BTreeMap::new();
        let mut occupancy = Occupancy::default();
        for _ in 0..5_000 {
            let id = NodeId::from_random_bytes([any(20) as u8; 16]);
            if any(5) == 0 {
                known.remove(&id);
                occupancy.forget(&id);
            } else {
                let mut template = || [None, Some(0), Some(1), Some(2)][any(4) as usize];
                let state = [template(), template(), template()];
                known.insert(id.clone(), state);
                occupancy.set(occupant(&id, state, &templates));
            }
            let all = || {
                known
                    .iter()
                    .map(|(id, state)| occupant(id, *state, &templates))
            };
            assert_eq!(occupancy, Occupancy::new(all()));
            assert_eq!(occupancy.beside(&id), counted(&id, all()));
        }
    }

    /// Counts one node after another, as the rule is said: what it becomes, else what it runs, else what is kept.
    fn counted<'a>(asking: &NodeId, all: impl Iterator<Item = Occupant<'a>>) -> Taken {
        let mut taken = Taken::default();
        for occupant in all {
            let Occupant {
                runs,
                becomes,
                keeps,
                ..
            } = occupant;
            if occupant.id == asking {
                taken.kept = becomes.or(keeps).cloned();
            } else if let Some(template) = becomes.or(runs).or(keeps) {
                *taken.counts.entry(template.clone()).or_default() += 1;
            }
        }
        taken
    }

    fn occupant<'a>(
        id: &'a NodeId,
        [runs, becomes, keeps]: [Option<usize>; 3],
        templates: &'a [TemplateCode],
    ) -> Occupant<'a> {
        let template = |index: Option<usize>| index.map(|index| &templates[index]);
        Occupant {
            id,
            runs: template(runs),
            becomes: template(becomes),
            keeps: template(keeps),
        }
    }
}
