//! What happened to the nodes of each template since this manager leads.
//!
//! Counted from the changes that are made to the state, so that no path is forgotten; kept in memory, because a number
//! that is worth nothing after a restart is not worth a write to the store either. `/metrics` shows the same counters,
//! for whoever keeps histories.

use std::collections::BTreeMap;

use klusterkite_api::nodes::TemplateStatistics;
use klusterkite_core::plan::rollout::NodeStatus;
use klusterkite_core::time::Timestamp;
use klusterkite_store::rows::NodeRun;
use klusterkite_wire::time::rfc3339;
use klusterkite_wire::{Incarnation, NodeId, TemplateCode};

/// Counters of all templates.
#[derive(Debug, Clone, Default)]
pub struct Statistics {
    since: Timestamp,
    templates: BTreeMap<TemplateCode, TemplateStatistics>,
    /// Incarnations that were ready once: being ready again after a restart of a process is no start.
    ready: BTreeMap<NodeId, Incarnation>,
}

impl Statistics {
    /// Starts to count.
    pub fn begin(&mut self, now: Timestamp) {
        *self = Self {
            since: now,
            ..Self::default()
        };
    }

    /// Counts what a change of a node says.
    pub fn observe(&mut self, id: &NodeId, before: Option<&NodeRun>, after: Option<&NodeRun>) {
        let Some(after) = after else { return };
        let same_run = before.filter(|before| before.incarnation == after.incarnation);
        let is_starting = |status| matches!(status, NodeStatus::Assigned | NodeStatus::Starting);
        match same_run {
            None if is_starting(after.status) => self.of(&after.template).starts += 1,
            Some(before) if before.status == after.status => {}
            Some(before) if after.status == NodeStatus::Ready && is_starting(before.status) => {
                let first = self.ready.insert(id.clone(), after.incarnation);
                if first != Some(after.incarnation) {
                    let took = after.status_since.saturating_sub(after.started);
                    let counts = self.of(&after.template);
                    counts.became_ready += 1;
                    counts.time_to_ready_total_ms += took;
                    counts.time_to_ready_max_ms = counts.time_to_ready_max_ms.max(took);
                }
            }
            Some(_) if after.status == NodeStatus::Unreachable => {
                self.of(&after.template).lost += 1;
            }
            // One that was given up and is back has not started; other changes are no numbers.
            None | Some(_) => {}
        }
    }

    /// Counts a node that ended by itself.
    pub fn crashed(&mut self, template: &TemplateCode) {
        self.of(template).crashes += 1;
    }

    /// Counts a start that came to nothing.
    pub fn start_failed(&mut self, template: &TemplateCode) {
        self.of(template).failed_starts += 1;
    }

    /// Forgets a node id.
    pub fn forget(&mut self, id: &NodeId) {
        self.ready.remove(id);
    }

    /// Returns the counters of a template.
    pub fn shown(&self, template: &TemplateCode) -> TemplateStatistics {
        TemplateStatistics {
            since: rfc3339(self.since.0),
            ..self.templates.get(template).cloned().unwrap_or_default()
        }
    }

    fn of(&mut self, template: &TemplateCode) -> &mut TemplateStatistics {
        if !self.templates.contains_key(template) {
            let counts = TemplateStatistics::default();
            self.templates.insert(template.clone(), counts);
        }
        self.templates
            .get_mut(template)
            .expect("it was put there if it was missing")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(incarnation: u64, status: NodeStatus, status_since: u64) -> NodeRun {
        NodeRun {
            incarnation: Incarnation(incarnation),
            template: "hello".parse().unwrap(),
            configuration_id: klusterkite_wire::ConfigurationId(1),
            status,
            reason: None,
            status_since,
            started: 100,
            explanation: None,
            joined: None,
        }
    }

    /// Shows a node the given runs one after the other, and returns what was counted.
    fn counted(runs: &[NodeRun]) -> TemplateStatistics {
        let mut statistics = Statistics::default();
        let id = NodeId::from_random_bytes([1; 16]);
        let mut before = None;
        for run in runs {
            statistics.observe(&id, before, Some(run));
            before = Some(run);
        }
        statistics.observe(&id, before, None);
        statistics.shown(&"hello".parse().unwrap())
    }

    #[test]
    fn a_start_that_becomes_ready_is_counted_with_its_time() {
        use NodeStatus::{Assigned, Ready, Starting};
        let runs = [
            (1, Assigned, 100),
            (1, Starting, 150),
            (1, Ready, 350),
            (2, Assigned, 400),
            (2, Ready, 200),
        ];
        let counts = counted(&runs.map(|(number, status, at)| run(number, status, at)));
        assert_eq!((counts.starts, counts.became_ready), (2, 2));
        assert_eq!(counts.time_to_ready_total_ms, 350);
        assert_eq!(counts.time_to_ready_max_ms, 250);
    }

    #[test]
    fn being_ready_again_is_no_start_and_a_lost_lease_is_counted_once() {
        use NodeStatus::{Ready, Starting, Unreachable};
        let runs = [
            (1, Starting, 100),
            (1, Ready, 200),
            (1, Starting, 9000),
            (1, Ready, 9500),
            (1, Unreachable, 9600),
            (1, Unreachable, 9700),
            (1, Ready, 9800),
        ];
        let counts = counted(&runs.map(|(number, status, at)| run(number, status, at)));
        assert_eq!((counts.starts, counts.became_ready, counts.lost), (1, 1, 1));
        assert_eq!(counts.time_to_ready_max_ms, 100);
    }

    #[test]
    fn what_comes_back_ready_was_not_started() {
        assert_eq!(counted(&[run(1, NodeStatus::Ready, 200)]).starts, 0);
    }
}
