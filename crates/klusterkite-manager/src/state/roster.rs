//! The nodes in the order in which they are listed, and how many there are, kept as they change.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use klusterkite_core::plan::rollout::NodeStatus;
use klusterkite_store::rows::NodeRow;
use klusterkite_wire::{NodeId, TemplateCode};

/// Which nodes run as which template, and on which nothing runs.
///
/// A change of one node costs the logarithm of their number, and a page of a list what is on it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Roster {
    running: BTreeMap<TemplateCode, Running>,
    empty: BTreeSet<NodeId>,
}

/// The nodes of a template.
#[derive(Debug, Default, PartialEq, Eq)]
struct Running {
    statuses: BTreeMap<NodeId, NodeStatus>,
    counts: BTreeMap<NodeStatus, u64>,
}

impl Roster {
    /// Takes over what changed about a node.
    pub fn change(&mut self, before: Option<&NodeRow>, after: Option<&NodeRow>) {
        let template = |row: Option<&NodeRow>| Some(row?.run.as_ref()?.template.clone());
        if let Some(row) = before
            && (after.is_none() || template(before) != template(after))
        {
            self.forget(row);
        }
        let Some(row) = after else {
            return;
        };
        match &row.run {
            Some(run) => {
                let nodes = self.running.entry(run.template.clone()).or_default();
                nodes.put(&row.id, run.status);
            }
            None => {
                self.empty.insert(row.id.clone());
            }
        }
    }

    fn forget(&mut self, row: &NodeRow) {
        let Some(run) = &row.run else {
            self.empty.remove(&row.id);
            return;
        };
        if let Some(nodes) = self.running.get_mut(&run.template) {
            nodes.forget(&row.id);
            if nodes.statuses.is_empty() {
                self.running.remove(&run.template);
            }
        }
    }

    /// Lists the running nodes of a template or of all, by template and id, from behind a place on.
    pub fn running<'a>(
        &'a self,
        only: Option<&'a TemplateCode>,
        after: Option<&'a (TemplateCode, NodeId)>,
    ) -> impl Iterator<Item = (&'a TemplateCode, &'a NodeId, NodeStatus)> {
        let first = after.map(|(template, _)| template);
        self.templates(only, first).flat_map(move |(code, nodes)| {
            let behind = after.filter(|(template, _)| template == code);
            let behind = behind.map_or(Bound::Unbounded, |(_, id)| Bound::Excluded(id));
            let listed = nodes
                .statuses
                .range::<NodeId, _>((behind, Bound::Unbounded));
            listed.map(move |(id, status)| (code, id, *status))
        })
    }

    /// Counts the running nodes of a template or of all by what they said last.
    pub fn counts(&self, only: Option<&TemplateCode>) -> BTreeMap<NodeStatus, u64> {
        let mut counts = BTreeMap::new();
        for (_, nodes) in self.templates(only, None) {
            for (status, count) in &nodes.counts {
                *counts.entry(*status).or_default() += count;
            }
        }
        counts
    }

    /// Lists the nodes on which nothing runs, by id, from behind one on.
    pub fn empty(&self, after: Option<&NodeId>) -> impl Iterator<Item = &NodeId> {
        let behind = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.empty.range::<NodeId, _>((behind, Bound::Unbounded))
    }

    fn templates<'a>(
        &'a self,
        only: Option<&'a TemplateCode>,
        first: Option<&'a TemplateCode>,
    ) -> impl Iterator<Item = (&'a TemplateCode, &'a Running)> {
        let from = only.max(first).map_or(Bound::Unbounded, Bound::Included);
        let to = only.map_or(Bound::Unbounded, Bound::Included);
        let is_any = only.is_none_or(|only| first.is_none_or(|first| first <= only));
        let range = is_any.then(|| self.running.range::<TemplateCode, _>((from, to)));
        range.into_iter().flatten()
    }
}

impl Running {
    fn put(&mut self, id: &NodeId, status: NodeStatus) {
        let before = match self.statuses.get_mut(id) {
            Some(known) => Some(std::mem::replace(known, status)),
            None => self.statuses.insert(id.clone(), status),
        };
        if before != Some(status) {
            *self.counts.entry(status).or_default() += 1;
            self.take_one(before);
        }
    }

    fn forget(&mut self, id: &NodeId) {
        let before = self.statuses.remove(id);
        self.take_one(before);
    }

    fn take_one(&mut self, status: Option<NodeStatus>) {
        if let Some(status) = status
            && let Some(count) = self.counts.get_mut(&status)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&status);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use klusterkite_store::rows::NodeRun;
    use klusterkite_wire::{ConfigurationId, Incarnation};

    use super::*;

    const STATUSES: [NodeStatus; 3] = [NodeStatus::Starting, NodeStatus::Ready, NodeStatus::Failed];

    fn code(text: &str) -> TemplateCode {
        text.parse().unwrap()
    }

    fn row(number: u8, runs: Option<(&str, NodeStatus)>) -> NodeRow {
        let run = |(template, status)| NodeRun {
            incarnation: Incarnation(1),
            template: code(template),
            configuration_id: ConfigurationId(1),
            status,
            reason: None,
            status_since: 0,
            started: 0,
            explanation: None,
            joined: None,
        };
        NodeRow {
            id: NodeId::from_random_bytes([number; 16]),
            secret_hash: String::new(),
            token_hash: None,
            incarnation: Incarnation(1),
            container_type: "worker".parse().unwrap(),
            runtime: "linux-x64".parse().unwrap(),
            run: runs.map(run),
            cordoned: false,
            last_template: None,
            last_crash: None,
        }
    }

    /// Any states of twenty nodes one after another, as (node, what it runs); the outer `None`: nobody knows it any more.
    fn changes() -> impl Iterator<Item = (u8, Option<Option<(&'static str, NodeStatus)>>)> {
        let mut number = 7_u32;
        let mut any = move |of: u32| {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (number >> 16) % of
        };
        std::iter::repeat_with(move || {
            let template = ["a", "b", "c"][any(3) as usize];
            let runs = (template, STATUSES[any(3) as usize]);
            let row = [None, Some(None), Some(Some(runs)), Some(Some(runs))][any(4) as usize];
            (any(20) as u8, row)
        })
    }

    #[test]
    fn a_roster_that_follows_every_change_is_one_that_is_made_anew() {
        let (mut roster, mut rows) = (Roster::default(), BTreeMap::new());
        for (number, after) in changes().take(2_000) {
            let before = rows.remove(&number);
            if let Some(runs) = after {
                rows.insert(number, row(number, runs));
            }
            roster.change(before.as_ref(), rows.get(&number));
            let mut anew = Roster::default();
            for row in rows.values() {
                anew.change(None, Some(row));
            }
            assert_eq!(roster, anew);
        }
    }

    #[test]
    fn pages_of_any_size_hold_every_node_once_and_in_order() {
        let mut rows = BTreeMap::new();
        for (number, after) in changes().take(40) {
            rows.insert(number, row(number, after.flatten()));
        }
        let mut roster = Roster::default();
        for row in rows.values() {
            roster.change(None, Some(row));
        }
        for only in [None, Some(code("a")), Some(code("b")), Some(code("none"))] {
            let run = |row: &NodeRow| {
                let run = row.run.as_ref()?;
                let is_listed = only.as_ref().is_none_or(|only| run.template == *only);
                is_listed.then(|| ((run.template.clone(), row.id.clone()), run.status))
            };
            let expected: BTreeMap<_, _> = rows.values().filter_map(run).collect();
            let counted: u64 = roster.counts(only.as_ref()).values().sum();
            assert_eq!(counted, expected.len() as u64);
            for size in 1..=expected.len() + 1 {
                let (mut seen, mut after) = (Vec::new(), None);
                loop {
                    let page = roster.running(only.as_ref(), after.as_ref()).take(size);
                    let page: Vec<_> = page
                        .map(|(template, id, status)| ((template.clone(), id.clone()), status))
                        .collect();
                    let Some((last, _)) = page.last() else {
                        break;
                    };
                    after = Some(last.clone());
                    seen.extend(page);
                }
                assert_eq!(seen, expected.clone().into_iter().collect::<Vec<_>>());
            }
        }
        // A cursor of another template: nothing of the one before it, all of the one behind it.
        let id = NodeId::from_random_bytes([0; 16]);
        let (a, b) = (code("a"), code("b"));
        let behind = (b.clone(), id.clone());
        assert_eq!(roster.running(Some(&a), Some(&behind)).count(), 0);
        let before = (a, id);
        assert_eq!(
            roster.running(Some(&b), Some(&before)).count(),
            roster.running(Some(&b), None).count()
        );
    }
}
