//! What the input means, computed once: who is obsolete, who serves, who is on the way.

use std::collections::BTreeMap;
use std::time::Duration;

use klusterkite_wire::{ConfigurationId, NodeId, Runtime, TemplateCode};

use super::orders::{self, ClosedOrder};
use super::settled;
use super::{Node, NodeStatus, Outcome, RolloutInput, StopOrder, Target};
use crate::plan::assignment::fits;
use crate::plan::compatibility::RestartReason;
use crate::release::{Batch, NodeTemplate, Rollout};

/// Everything that the planning steps ask about the input.
pub(super) struct Facts<'a> {
    pub(super) input: &'a RolloutInput<'a>,
    pub(super) obsolete: BTreeMap<NodeId, RestartReason>,
    /// Whether nodes of a kind are obsolete: there are few kinds, and a plan asks of every node again and again.
    kinds: BTreeMap<Kind<'a>, Option<RestartReason>>,
    /// How many nodes hold each template.
    holders: BTreeMap<&'a TemplateCode, u32>,
    pub(super) closed: Vec<ClosedOrder>,
    pub(super) templates: BTreeMap<&'a TemplateCode, TemplateFacts<'a>>,
}

/// What decides whether a node is obsolete.
type Kind<'a> = (ConfigurationId, &'a TemplateCode, &'a Runtime);

/// One template with its nodes.
pub(super) struct TemplateFacts<'a> {
    pub(super) code: &'a TemplateCode,
    /// The template in the Active release; `None`: it is removed.
    pub(super) active: Option<&'a NodeTemplate>,
    /// How its nodes are replaced: as the Active release says, or else the release that knows it.
    pub(super) rollout: Rollout,
    /// True for the manager's own template, removed or not.
    pub(super) is_manager: bool,
    pub(super) nodes: Vec<&'a Node>,
    /// Ready nodes never become fewer by a voluntary act.
    pub(super) floor: u32,
    /// Nodes that serve and were not told to stop.
    pub(super) ready: u32,
    /// Nodes with an open stop order, and new ones beside obsolete ones that are not stable yet.
    pub(super) in_flight: u32,
    /// Nodes that may be in replacement at once.
    pub(super) batch: u32,
    /// Nodes that hold the template: all but those that leave it, and those that are told to become it.
    pub(super) holders: u32,
}

/// What is assumed of a template that no known release describes: one node at a time.
const UNKNOWN_ROLLOUT: Rollout = Rollout {
    batch: Batch::Count(1),
    min_stable: Duration::ZERO,
    progress_deadline: Duration::from_mins(10),
    start_deadline: Duration::from_mins(1),
    max_failed: 0,
    canary: 0,
    surge: 0,
};

impl<'a> Facts<'a> {
    pub(super) fn new(input: &'a RolloutInput<'a>) -> Self {
        let mut obsolete = BTreeMap::new();
        let mut kinds: BTreeMap<Kind<'a>, Option<RestartReason>> = BTreeMap::new();
        for node in input.nodes {
            let reason = kinds.entry(kind(node)).or_insert_with(|| {
                let of_node = (&node.template, node.configuration_id, &node.runtime);
                settled::obsolete(input.active, input.releases, of_node)
            });
            if let Some(reason) = reason {
                obsolete.insert(node.id.clone(), reason.clone());
            }
        }
        let mut facts = Self {
            input,
            obsolete,
            kinds,
            holders: BTreeMap::new(),
            closed: Vec::new(),
            templates: BTreeMap::new(),
        };
        facts.closed = orders::closed(&facts);
        facts.holders = facts.count_holders();
        facts.templates = facts.collect_templates();
        facts
    }

    /// Returns the node's stop order if it is open and stays so.
    pub(super) fn open_order(&self, node: &'a Node) -> Option<&'a StopOrder> {
        let order = node.stop.as_ref()?;
        let closes = self
            .closed
            .iter()
            .any(|closed| closed.node == node.id && closed.order_id == order.order_id);
        (!closes).then_some(order)
    }

    /// Counts the replacements of a template that did not become stable, those of this very plan included.
    pub(super) fn failures(&self, code: &TemplateCode) -> u32 {
        let before = self.input.gates.get(code).map_or(0, |gate| gate.failed);
        let given_up = self
            .closed
            .iter()
            .filter(|closed| closed.outcome == Outcome::GivenUp);
        let of_template = |closed: &&ClosedOrder| closed.target.as_ref() == Some(code);
        before.saturating_add(given_up.filter(of_template).count() as u32)
    }

    /// Tells whether the run that an open order stops is still there.
    pub(super) fn is_leaving(&self, node: &'a Node) -> bool {
        self.open_order(node)
            .is_some_and(|order| order.incarnation == node.incarnation)
    }

    /// Tells whether the node counts as ready.
    pub(super) fn is_ready(&self, node: &'a Node) -> bool {
        node.status == NodeStatus::Ready && !self.is_leaving(node)
    }

    /// Tells whether the node has been ready for long enough.
    pub(super) fn is_stable(&self, node: &Node) -> bool {
        let ready_for = self.input.now.since(node.status_since);
        node.status == NodeStatus::Ready && ready_for >= self.rollout_of(node).min_stable
    }

    /// Tells whether a node of a template with obsolete ones came as spare capacity and is not stable yet: it
    /// counts as being replaced until it has proved itself.
    fn is_unproven(&self, node: &'a Node) -> bool {
        node.status == NodeStatus::Ready
            && !self.is_obsolete(node)
            && self.open_order(node).is_none()
            && !self.is_stable(node)
    }

    /// Tells whether the node holds a slot of the template: it is one and stays one, or it becomes one.
    pub(super) fn holds(&self, node: &'a Node, code: &TemplateCode) -> bool {
        self.slot(node) == Some(code)
    }

    /// Returns the template whose slot the node holds.
    fn slot(&self, node: &'a Node) -> Option<&'a TemplateCode> {
        match self.open_order(node) {
            Some(order) if self.is_leaving(node) => {
                order.target.as_ref().map(|target| &target.template)
            }
            _ => Some(&node.template),
        }
    }

    fn count_holders(&self) -> BTreeMap<&'a TemplateCode, u32> {
        let mut holders = BTreeMap::new();
        for code in self.input.nodes.iter().filter_map(|node| self.slot(node)) {
            *holders.entry(code).or_default() += 1;
        }
        holders
    }

    pub(super) fn is_obsolete(&self, node: &Node) -> bool {
        // Asked for every node and more than once: the kinds are few, the nodes are not.
        self.kinds.get(&kind(node)).is_some_and(Option::is_some)
    }

    /// Tells whether the node hears an order and has none yet.
    pub(super) fn is_stoppable(&self, node: &'a Node) -> bool {
        let hears = matches!(
            node.status,
            NodeStatus::Starting | NodeStatus::Ready | NodeStatus::Failed
        );
        hears && self.open_order(node).is_none()
    }

    /// Returns what the node becomes after a stop that does not take its container away; `None`: it has to ask.
    pub(super) fn becomes(&self, node: &Node) -> Option<Target> {
        // Without a manager nobody could take the cordon back.
        if node.cordoned && !self.is_manager(node) {
            return None;
        }
        let active = self.input.active;
        let template = match active.node_templates.get(&node.template) {
            Some(template) => template,
            // A manager has nobody to ask while it is away, so it is told under whatever name it goes on.
            None if self.is_manager(node) => active.manager_template()?,
            None => return None,
        };
        fits(template, &node.container_type, &node.runtime).then(|| Target {
            template: template.code.clone(),
            configuration_id: active.id,
        })
    }

    pub(super) fn rollout_of(&self, node: &Node) -> Rollout {
        self.known_template(&node.template, &[node])
            .map_or(UNKNOWN_ROLLOUT, |template| template.rollout)
    }

    /// Tells whether the node runs the only manager that is there.
    pub(super) fn is_only_manager(&self, node: &Node) -> bool {
        let mut nodes = self.input.nodes.iter();
        self.is_manager(node)
            && !nodes
                .any(|other| other.id != node.id && self.is_manager(other) && self.is_ready(other))
    }

    fn is_manager(&self, node: &Node) -> bool {
        self.known_template(&node.template, &[node])
            .is_some_and(|template| template.is_manager)
    }

    /// Returns the template as the Active release describes it, or the other end of the migration, or the
    /// release of one of its nodes.
    fn known_template(&self, code: &TemplateCode, nodes: &[&Node]) -> Option<&'a NodeTemplate> {
        let Self { input, .. } = self;
        let of_nodes = nodes
            .iter()
            .filter_map(|node| input.releases.get(&node.configuration_id));
        [Some(input.active), input.other]
            .into_iter()
            .flatten()
            .chain(of_nodes)
            .find_map(|release| release.node_templates.get(code))
    }

    fn collect_templates(&self) -> BTreeMap<&'a TemplateCode, TemplateFacts<'a>> {
        let input = self.input;
        let mut nodes: BTreeMap<&'a TemplateCode, Vec<&'a Node>> = BTreeMap::new();
        let releases = [Some(input.active), input.other];
        for code in releases
            .into_iter()
            .flatten()
            .flat_map(|release| release.node_templates.keys())
        {
            nodes.entry(code).or_default();
        }
        for node in input.nodes {
            nodes.entry(&node.template).or_default().push(node);
        }
        nodes
            .into_iter()
            .map(|(code, nodes)| (code, self.template(code, nodes)))
            .collect()
    }

    fn template(&self, code: &'a TemplateCode, nodes: Vec<&'a Node>) -> TemplateFacts<'a> {
        let known = self.known_template(code, &nodes);
        let rollout = known.map_or(UNKNOWN_ROLLOUT, |template| template.rollout);
        let is_updated = nodes.iter().any(|node| self.is_obsolete(node));
        let count =
            |is: &dyn Fn(&'a Node) -> bool| nodes.iter().filter(|node| is(node)).count() as u32;
        TemplateFacts {
            code,
            active: self.input.active.node_templates.get(code),
            rollout,
            is_manager: known.is_some_and(|template| template.is_manager),
            floor: self.floor(code),
            ready: count(&|node| self.is_ready(node)),
            in_flight: count(&|node| {
                self.open_order(node).is_some() || (is_updated && self.is_unproven(node))
            }),
            batch: rollout.batch.size(nodes.len() as u32),
            holders: self.holders.get(code).copied().unwrap_or(0),
            nodes,
        }
    }

    fn floor(&self, code: &TemplateCode) -> u32 {
        let releases = [Some(self.input.active), self.input.other];
        let minimums = releases
            .into_iter()
            .flatten()
            .filter_map(|release| release.node_templates.get(code));
        minimums.map(|template| template.minimum).max().unwrap_or(0)
    }
}

impl<'a> TemplateFacts<'a> {
    /// Tells whether nodes of the template wait to be replaced or are being replaced.
    pub(super) fn is_moving(&self, facts: &Facts<'a>) -> bool {
        self.nodes
            .iter()
            .any(|node| facts.is_obsolete(node) || facts.open_order(node).is_some())
    }
}

fn kind(node: &Node) -> Kind<'_> {
    (node.configuration_id, &node.template, &node.runtime)
}
