//! Open stop orders: when they end, what they mean meanwhile, and when too much went wrong.

use std::time::Duration;

use klusterkite_wire::{NodeId, OrderId, TemplateCode};

use super::draft::Draft;
use super::facts::{Facts, TemplateFacts};
use super::settled::sentence;
use super::{Act, Node, NodeStatus, Outcome, StopOrder, Target};
use crate::reason::{ReasonCode, Refusal};

/// An order that ends now.
pub(super) struct ClosedOrder {
    pub(super) node: NodeId,
    /// What the node was to become, if that is wanted still.
    pub(super) target: Option<TemplateCode>,
    pub(super) order_id: OrderId,
    pub(super) outcome: Outcome,
}

/// Lists the orders that end now.
pub(super) fn closed(facts: &Facts<'_>) -> Vec<ClosedOrder> {
    let close = |node: &Node| {
        let order = node.stop.as_ref()?;
        let outcome = outcome(facts, node, order)?;
        // A failure speaks against what is wanted now, not against what was left meanwhile.
        let wanted = order.target.as_ref();
        let wanted = wanted.filter(|target| target.configuration_id == facts.input.active.id);
        let target = wanted.map(|target| target.template.clone());
        Some(ClosedOrder {
            node: node.id.clone(),
            target,
            order_id: order.order_id,
            outcome,
        })
    };
    facts.input.nodes.iter().filter_map(close).collect()
}

/// Plans to close the orders that end now.
pub(super) fn close(draft: &mut Draft<'_>) {
    for closed in &draft.facts.closed {
        let ClosedOrder {
            node,
            order_id,
            outcome,
            ..
        } = closed;
        draft.acts.push(Act::CloseOrder {
            node: node.clone(),
            order_id: *order_id,
            outcome: *outcome,
        });
    }
}

/// Returns how an order ends, or `None` while it is open: until what follows is stable, not for a fixed
/// time (B32).
fn outcome(facts: &Facts<'_>, node: &Node, order: &StopOrder) -> Option<Outcome> {
    if node.status == NodeStatus::Unconfirmed {
        return None;
    }
    let is_replaced = node.incarnation != order.incarnation;
    let Some(target) = &order.target else {
        return is_replaced.then_some(Outcome::Gone);
    };
    let is_target = node.template == target.template
        && (node.configuration_id == target.configuration_id || !facts.is_obsolete(node));
    let spoke = matches!(
        node.status,
        NodeStatus::Starting | NodeStatus::Ready | NodeStatus::Failed
    );
    if is_replaced && is_target && facts.is_stable(node) {
        return Some(Outcome::Stable);
    }
    if is_replaced && !is_target && spoke {
        return Some(Outcome::GivenUp);
    }
    // While everything is held, time says nothing about a single node. An old run that does not end
    // keeps its order: forgetting that it was told to stop would count it as ready.
    let is_gone = is_replaced || node.status == NodeStatus::Assigned;
    let age = facts.input.now.since(order.ordered);
    let is_late = age >= facts.rollout_of(node).progress_deadline;
    (is_gone && is_late && facts.input.holds.is_empty()).then_some(Outcome::GivenUp)
}

/// Returns how the open order of a node ends of which nothing runs; `None` while it is waited for.
///
/// A replacement that left may still go back and say why; that it does not come at all is known after the
/// time that it had (`deadline`).
pub fn outcome_without_run(
    target: Option<&Target>,
    age: Duration,
    deadline: Duration,
) -> Option<Outcome> {
    match target {
        None => Some(Outcome::Gone),
        Some(_) => (age >= deadline).then_some(Outcome::GivenUp),
    }
}

/// Says what a running migration waits for: minimums of stable nodes, and each open order.
pub(super) fn explain(draft: &mut Draft<'_>) {
    let facts = draft.facts;
    if facts.input.other.is_some() {
        explain_minimums(draft);
    }
    for node in facts.input.nodes {
        if facts.open_order(node).is_none() {
            continue;
        }
        let code = &node.template;
        if facts.is_leaving(node) {
            let message = format!("nodes of `{code}` were told to stop and are not replaced yet");
            draft.wait(ReasonCode::Replacing, code, Some(node), message);
        } else {
            let stable = facts.rollout_of(node).min_stable.as_secs();
            let message = format!("new nodes of `{code}` have to be ready for {stable} s");
            draft.wait(ReasonCode::NotStable, code, Some(node), message);
        }
    }
}

fn explain_minimums(draft: &mut Draft<'_>) {
    let facts = draft.facts;
    for template in facts.templates.values() {
        let Some(active) = template.active else {
            continue;
        };
        let counts = |node: &&&Node| facts.is_stable(node) && !facts.is_leaving(node);
        let stable = template.nodes.iter().filter(counts).count() as u32;
        if stable < active.minimum {
            let message = sentence(template.code, stable, active.minimum);
            draft.wait(ReasonCode::BelowMinimum, template.code, None, message);
        }
    }
}

/// Tells whether updates are paused, and pauses them when too much went wrong.
pub(super) fn pause(draft: &mut Draft<'_>) -> bool {
    let facts = draft.facts;
    if let Some(refusal) = &facts.input.paused {
        if facts
            .templates
            .values()
            .any(|template| template.is_moving(facts))
        {
            draft.wait_for_all(&[refusal.clone().into()]);
        }
        return true;
    }
    let mut paused = false;
    for template in facts.templates.values() {
        // A template that lacks nodes has a deadline too while a migration leads to it.
        let deadline = facts.input.deadlines.get(template.code);
        if deadline.is_none() && !template.is_moving(facts) {
            continue;
        }
        if let Some(reason) =
            failure_gate(facts, template).or_else(|| progress_deadline(facts, template))
        {
            draft.wait(reason.code, template.code, None, reason.message.clone());
            draft.acts.push(Act::Pause {
                template: template.code.clone(),
                reason,
            });
            paused = true;
        }
    }
    paused
}

fn failure_gate(facts: &Facts<'_>, template: &TemplateFacts<'_>) -> Option<Refusal> {
    let failed = facts.failures(template.code);
    if failed <= template.rollout.max_failed {
        return None;
    }
    let gate = facts.input.gates.get(template.code);
    let last = gate
        .and_then(|gate| gate.reason.as_deref())
        .unwrap_or("it did not become stable in time");
    let message = format!(
        "{failed} of the new nodes of `{}` failed, the last one: {last}",
        template.code
    );
    Some(Refusal::new(ReasonCode::FailureGate, message).with("template", template.code))
}

fn progress_deadline(facts: &Facts<'_>, template: &TemplateFacts<'_>) -> Option<Refusal> {
    let left = facts.input.deadlines.get(template.code)?;
    if !left.is_zero() {
        return None;
    }
    let seconds = template.rollout.progress_deadline.as_secs();
    let message = format!(
        "no node of `{}` became stable within {seconds} s",
        template.code
    );
    Some(Refusal::new(ReasonCode::ProgressDeadline, message).with("template", template.code))
}
