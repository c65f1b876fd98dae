//! A plan in the making, with the budget that is left.

use std::collections::{BTreeMap, BTreeSet};

use klusterkite_wire::{NodeId, TemplateCode};

use super::facts::{Facts, TemplateFacts};
use super::{Act, Node, NodeStatus, RolloutPlan, StopReason, Target};
use crate::reason::{ReasonCode, Waiting};

/// Collects acts and reasons; the only place that turns a wish to stop a node into an act.
pub(super) struct Draft<'a> {
    pub(super) facts: &'a Facts<'a>,
    budgets: BTreeMap<&'a TemplateCode, Budget>,
    /// Nodes that an act of this plan, or an earlier step's wish, is about.
    touched: BTreeSet<&'a NodeId>,
    /// Ready nodes per template that only the floor keeps from being stopped.
    pub(super) held_by_floor: BTreeMap<&'a TemplateCode, u32>,
    pub(super) surge: BTreeMap<TemplateCode, u32>,
    pub(super) acts: Vec<Act>,
    waits: BTreeMap<(TemplateCode, ReasonCode), Wait>,
    global_waits: Vec<Waiting>,
}

/// What may still be stopped of one template.
#[derive(Debug, Clone, Copy)]
struct Budget {
    floor: u32,
    ready: u32,
    in_flight: u32,
    batch: u32,
    /// Nodes that hold the template when the acts so far are carried out.
    holders: u32,
    /// Nodes of the new release, and those on the way to it: the first wave counts them.
    wave: u32,
    stable_new: u32,
}

/// One reason, for all nodes of a template that share it.
struct Wait {
    message: String,
    first_node: Option<NodeId>,
    nodes: u32,
}

/// What is wanted of one node.
#[derive(Clone)]
pub(super) struct Wish<'a> {
    pub(super) node: &'a Node,
    pub(super) reason: StopReason,
    pub(super) target: Option<Target>,
}

impl Wish<'_> {
    /// Tells whether spare capacity may be taken so that the wish can come true.
    fn grows(&self) -> bool {
        matches!(
            self.reason,
            StopReason::Update | StopReason::Restart | StopReason::Drain
        )
    }
}

impl<'a> Draft<'a> {
    pub(super) fn new(facts: &'a Facts<'a>) -> Self {
        let budgets = facts
            .templates
            .values()
            .map(|template| (template.code, Budget::new(facts, template)))
            .collect();
        Self {
            facts,
            budgets,
            touched: BTreeSet::new(),
            held_by_floor: BTreeMap::new(),
            surge: BTreeMap::new(),
            acts: Vec::new(),
            waits: BTreeMap::new(),
            global_waits: Vec::new(),
        }
    }

    pub(super) fn is_touched(&self, node: &Node) -> bool {
        self.touched.contains(&node.id)
    }

    /// Stops a node at once, as an operator insists; only a moving resource keeps the manager's node.
    pub(super) fn force(&mut self, wish: &Wish<'a>) {
        self.touched.insert(&wish.node.id);
        if self.prefetch_first(wish) || self.keep_for_resource(wish) {
            return;
        }
        self.stop(wish);
    }

    /// Stops a node if the budget of its template allows; otherwise writes down why not.
    pub(super) fn ask(&mut self, wish: &Wish<'a>) {
        self.touched.insert(&wish.node.id);
        if self.prefetch_first(wish) || self.keep_for_resource(wish) {
            return;
        }
        if let Err((code, message)) = self.permission(wish) {
            if wish.grows() && matches!(code, ReasonCode::AtMinimum | ReasonCode::BelowMinimum) {
                *self.held_by_floor.entry(&wish.node.template).or_default() += 1;
            }
            self.wait(code, &wish.node.template, Some(wish.node), message);
            return;
        }
        self.stop(wish);
    }

    /// Tells whether the budget lets a node stop now.
    pub(super) fn permits(&self, wish: &Wish<'a>) -> bool {
        self.permission(wish).is_ok()
    }

    /// Returns how many nodes hold a template when the acts so far are carried out.
    pub(super) fn holders(&self, code: &TemplateCode) -> u32 {
        self.budgets.get(code).map_or(0, |budget| budget.holders)
    }

    /// Returns how many of those are above its floor.
    pub(super) fn spare(&self, code: &TemplateCode) -> u32 {
        let floor = self.budgets.get(code).map_or(0, |budget| budget.floor);
        self.holders(code).saturating_sub(floor)
    }

    /// Gives up the floor of a removed template whose replacements are there.
    pub(super) fn waive_floor(&mut self, code: &TemplateCode) {
        if let Some(budget) = self.budgets.get_mut(code) {
            budget.floor = 0;
        }
    }

    /// Writes down what a template waits for. Nodes with the same reason are counted, not listed.
    pub(super) fn wait(
        &mut self,
        code: ReasonCode,
        template: &TemplateCode,
        node: Option<&Node>,
        message: String,
    ) {
        let first_node = node.map(|node| node.id.clone());
        let wait = self.waits.entry((template.clone(), code)).or_insert(Wait {
            message,
            first_node,
            nodes: 0,
        });
        wait.nodes += u32::from(node.is_some());
    }

    /// Writes down what several nodes of a template wait for.
    pub(super) fn wait_for_nodes(
        &mut self,
        code: ReasonCode,
        template: &TemplateCode,
        (first, nodes): (&Node, u32),
        message: String,
    ) {
        let wait = self.waits.entry((template.clone(), code)).or_insert(Wait {
            message,
            first_node: Some(first.id.clone()),
            nodes: 0,
        });
        wait.nodes += nodes;
    }

    pub(super) fn forget_wait(&mut self, code: ReasonCode, template: &TemplateCode) {
        self.waits.remove(&(template.clone(), code));
    }

    pub(super) fn wait_for_all(&mut self, reasons: &[Waiting]) {
        self.global_waits.extend_from_slice(reasons);
    }

    pub(super) fn finish(self) -> RolloutPlan {
        let mut waiting = self.global_waits;
        for ((template, code), wait) in self.waits {
            let mut reason = Waiting::new(code, wait.message).with("template", template);
            if let Some(node) = wait.first_node {
                reason = reason.with("node", node).with("nodes", wait.nodes);
            }
            waiting.push(reason);
        }
        RolloutPlan {
            acts: self.acts,
            surge: self.surge,
            obsolete: BTreeMap::new(),
            waiting,
        }
    }

    fn stop(&mut self, wish: &Wish<'a>) {
        let Wish {
            node,
            reason,
            target,
        } = wish;
        if let Some(budget) = self.budgets.get_mut(&node.template) {
            budget.ready -= u32::from(self.facts.is_ready(node));
            budget.in_flight += 1;
            if target
                .as_ref()
                .is_none_or(|target| target.template != node.template)
            {
                budget.holders = budget.holders.saturating_sub(1);
            }
            budget.wave += u32::from(*reason == StopReason::Update);
        }
        self.acts.push(Act::Stop {
            node: node.id.clone(),
            reason: *reason,
            target: target.clone(),
        });
    }

    /// Has the node fetch what it is to become, if it has not yet; stopping comes after that.
    fn prefetch_first(&mut self, wish: &Wish<'a>) -> bool {
        let Some(target) = &wish.target else {
            return false;
        };
        if wish.node.prefetched.as_ref() == Some(target) {
            return false;
        }
        self.prefetch(wish.node, target.clone());
        true
    }

    pub(super) fn prefetch(&mut self, node: &'a Node, target: Target) {
        let message = format!(
            "nodes of `{}` fetch the packages of configuration {}",
            node.template, target.configuration_id
        );
        self.wait(ReasonCode::Prefetching, &node.template, Some(node), message);
        self.acts.push(Act::Prefetch {
            node: node.id.clone(),
            target,
        });
    }

    fn keep_for_resource(&mut self, wish: &Wish<'a>) -> bool {
        let template = self.facts.templates.get(&wish.node.template);
        let keep = self.facts.input.resource_moving
            && template.is_some_and(|template| template.is_manager);
        if keep {
            let message = "the manager's node stays while it moves a resource".to_owned();
            self.wait(
                ReasonCode::ResourceMoving,
                &wish.node.template,
                Some(wish.node),
                message,
            );
        }
        keep
    }

    /// Asks gate, canary and budget, in this order.
    fn permission(&self, wish: &Wish<'a>) -> Result<(), (ReasonCode, String)> {
        let node = wish.node;
        let code = &node.template;
        let (Some(budget), Some(template)) =
            (self.budgets.get(code), self.facts.templates.get(code))
        else {
            return Ok(());
        };
        let (failed, max_failed) = (self.facts.failures(code), template.rollout.max_failed);
        if failed > max_failed {
            let message = format!(
                "{failed} of the new nodes of `{code}` failed, {max_failed} may; no more are stopped until the update is resumed"
            );
            return Err((ReasonCode::FailureGate, message));
        }
        let canary = template.rollout.canary;
        if wish.reason == StopReason::Update && budget.stable_new < canary && budget.wave >= canary
        {
            let message = format!(
                "the first wave of `{code}` has {} of {canary} stable nodes",
                budget.stable_new
            );
            return Err((ReasonCode::Canary, message));
        }
        if self.facts.is_ready(node) {
            budget.of_ready(code)
        } else {
            self.of_not_ready(budget, node)
        }
    }

    /// A node that does not serve costs nothing, but one that may be about to fill a gap gets its time.
    fn of_not_ready(&self, budget: &Budget, node: &Node) -> Result<(), (ReasonCode, String)> {
        let starting_for = self.facts.input.now.since(node.started);
        let has_time = starting_for < self.facts.rollout_of(node).start_deadline;
        if budget.ready < budget.floor && node.status == NodeStatus::Starting && has_time {
            let code = &node.template;
            let message = format!(
                "`{code}` has {} of at least {} ready nodes, and this one is starting",
                budget.ready, budget.floor
            );
            return Err((ReasonCode::BelowMinimum, message));
        }
        Ok(())
    }
}

impl Budget {
    fn new<'a>(facts: &Facts<'a>, template: &TemplateFacts<'a>) -> Self {
        let nodes = || template.nodes.iter().copied();
        let is_new = |node: &&'a Node| !facts.is_obsolete(node);
        let leaving = nodes().filter(|node| facts.is_obsolete(node) && facts.is_leaving(node));
        Self {
            floor: template.floor,
            ready: template.ready,
            in_flight: template.in_flight,
            batch: template.batch,
            holders: template.holders,
            wave: (nodes().filter(is_new).count() + leaving.count()) as u32,
            stable_new: nodes()
                .filter(is_new)
                .filter(|node| facts.is_stable(node))
                .count() as u32,
        }
    }

    /// `allow = min(batch − in flight, ready − floor)`, asked for one node (B7: what remains decides).
    fn of_ready(&self, code: &TemplateCode) -> Result<(), (ReasonCode, String)> {
        let Self {
            floor,
            ready,
            in_flight,
            batch,
            ..
        } = self;
        if ready < floor {
            let message = format!("`{code}` has {ready} of at least {floor} ready nodes");
            return Err((ReasonCode::BelowMinimum, message));
        }
        if in_flight >= batch {
            let message = format!(
                "nodes of `{code}` are being replaced: {in_flight} of {batch} that may be at once"
            );
            return Err((ReasonCode::BatchInFlight, message));
        }
        if ready == floor {
            let message = format!("`{code}` has {ready} ready nodes, exactly its minimum");
            return Err((ReasonCode::AtMinimum, message));
        }
        Ok(())
    }
}
