//! The journal of the manager, read from its first to its last event: what held at every instant.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use klusterkite_tests::api::Operator;
use serde_json::Value;

use super::cluster::{Limits, TEMPLATES, code};

/// Events of a page.
const PAGE: usize = 1000;

/// What the journal says about the nodes of the crowd.
pub(crate) struct Journal {
    limits: Limits,
    /// What each node holds, from its assignment on.
    held: BTreeMap<String, String>,
    holders: BTreeMap<String, usize>,
    /// What each node serves: ready, and not told to stop.
    serves: BTreeMap<String, String>,
    ready: BTreeMap<String, usize>,
    /// All templates had their minimum of ready nodes: from then on none may have less.
    complete: bool,
}

impl Journal {
    /// Reads the whole journal. No template ever had more nodes than its maximum, none got more than its minimum
    /// while another one had less, and once all had their minimum of ready nodes none ever had less.
    pub(crate) fn check(operator: &Operator, limits: Limits) -> Result<Self> {
        let none = || (0..TEMPLATES).map(|t| (code(t), 0)).collect();
        let mut journal = Self {
            limits,
            held: BTreeMap::new(),
            holders: none(),
            serves: BTreeMap::new(),
            ready: none(),
            complete: false,
        };
        let mut next = 1;
        loop {
            let page = operator.get(&format!("/events?from={next}&limit={PAGE}"))?;
            let events = page["items"].as_array().context("no events")?;
            for event in events {
                journal
                    .take(event)
                    .with_context(|| format!("at event {event}"))?;
                next = event["id"].as_i64().context("an event without id")? + 1;
            }
            if events.is_empty() {
                return Ok(journal);
            }
        }
    }

    /// Returns how many nodes were ever told what to be.
    pub(crate) fn nodes(&self) -> usize {
        self.held.len()
    }

    fn take(&mut self, event: &Value) -> Result<()> {
        let text = |name: &str| event[name].as_str().unwrap_or_default();
        let (node, message) = (text("object"), text("message"));
        // Both kinds of sentences name the node first and its template second.
        let template = message.split('`').nth(3).unwrap_or_default();
        if !self.holders.contains_key(template) {
            return Ok(());
        }
        match text("kind") {
            "nodeAssigned" => self.assigned(node, template),
            "nodeReady" => {
                self.leaves(node);
                self.serves.insert(node.to_owned(), template.to_owned());
                *self.ready.entry(template.to_owned()).or_default() += 1;
                let minimum = self.limits.minimum;
                self.complete |= self.ready.values().all(|ready| *ready >= minimum);
                Ok(())
            }
            "nodeStopOrdered" => {
                self.leaves(node);
                let (ready, minimum) = (self.ready[template], self.limits.minimum);
                ensure!(
                    !self.complete || ready >= minimum,
                    "`{template}` has {ready} ready nodes, and {minimum} at least"
                );
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn assigned(&mut self, node: &str, template: &str) -> Result<()> {
        let before = self.held.insert(node.to_owned(), template.to_owned());
        ensure!(before.is_none(), "the node has got a template before");
        *self.holders.entry(template.to_owned()).or_default() += 1;
        let Limits { minimum, maximum } = self.limits;
        let count = self.holders[template];
        let fewest = self.holders.values().min().copied().unwrap_or(0);
        ensure!(count <= maximum, "`{template}` has {count} nodes");
        ensure!(
            count <= minimum || fewest >= minimum,
            "`{template}` got node {count} while another had {fewest} of {minimum}"
        );
        Ok(())
    }

    /// A node serves no more, or not yet.
    fn leaves(&mut self, node: &str) {
        if let Some(template) = self.serves.remove(node) {
            *self.ready.entry(template).or_default() -= 1;
        }
    }
}
