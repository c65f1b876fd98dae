//! A template below its minimum and no free container: one that is needed less becomes it (the seed's
//! "redistribute roles among containers").

use std::collections::BTreeMap;

use super::draft::{Draft, Wish};
use super::facts::{Facts, TemplateFacts};
use super::update::least_missed_first;
use super::{Node, StopReason, Target};
use crate::plan::assignment::fits;
use crate::reason::ReasonCode;
use crate::release::NodeTemplate;

/// Tells nodes of less important templates to become what is missing, highest priority first.
pub(super) fn fill(draft: &mut Draft<'_>) {
    let facts = draft.facts;
    let mut preparing = BTreeMap::new();
    for (wanted, template) in below_minimum(facts) {
        let message = format!(
            "`{}` has {} of at least {} nodes",
            wanted.code, template.holders, wanted.minimum
        );
        draft.wait(ReasonCode::BelowMinimum, template.code, None, message);
        if has_failed(facts, template) {
            continue;
        }
        let target = Target {
            template: wanted.code.clone(),
            configuration_id: facts.input.active.id,
        };
        let mut missing =
            (wanted.minimum - template.holders).saturating_sub(free_containers(facts, wanted));
        for node in donors(draft, wanted, &target) {
            if missing == 0 {
                break;
            }
            // Those that are told to prepare are given away too, though they have not left yet.
            let preparing = preparing.entry(&node.template).or_insert(0);
            if draft.spare(&node.template) <= *preparing {
                continue;
            }
            missing -= 1;
            *preparing += u32::from(node.prefetched.as_ref() != Some(&target));
            draft.ask(&Wish {
                node,
                reason: StopReason::Redistribution,
                target: Some(target.clone()),
            });
        }
        if missing > 0 {
            let message = format!(
                "`{}` needs {missing} more containers that no other template can spare",
                wanted.code
            );
            draft.wait(ReasonCode::NeedsContainer, template.code, None, message);
        }
    }
}

fn below_minimum<'a, 'f>(facts: &'f Facts<'a>) -> Vec<(&'a NodeTemplate, &'f TemplateFacts<'a>)> {
    let mut below = Vec::new();
    for template in facts.templates.values() {
        if let Some(active) = template.active
            && template.holders < active.minimum
        {
            below.push((active, template));
        }
    }
    below.sort_by(|(one, _), (other, _)| {
        other
            .priority
            .total_cmp(&one.priority)
            .then_with(|| one.code.cmp(&other.code))
    });
    below
}

/// Tells whether new nodes of the template fail: more containers would be wasted on it.
fn has_failed(facts: &Facts<'_>, template: &TemplateFacts<'_>) -> bool {
    facts.failures(template.code) > template.rollout.max_failed
}

/// Counts containers that become the template as soon as they ask.
fn free_containers(facts: &Facts<'_>, wanted: &NodeTemplate) -> u32 {
    let waiting = facts.input.waiting.iter();
    waiting
        .filter(|container| fits(wanted, &container.container_type, &container.runtime))
        .count() as u32
}

/// Lists nodes that could become the template: those that prepared for it, then those of the least
/// important template.
fn donors<'a>(draft: &Draft<'a>, wanted: &NodeTemplate, target: &Target) -> Vec<&'a Node> {
    let facts = draft.facts;
    let mut donors: Vec<&'a Node> = Vec::new();
    for template in facts.templates.values() {
        // A persistent node's container holds its data, and a manager is never spare.
        let stays = template.is_manager || template.active.is_some_and(|active| active.persistent);
        if stays || *template.code == wanted.code {
            continue;
        }
        donors.extend(template.nodes.iter().copied().filter(|node| {
            facts.is_stoppable(node)
                && !node.cordoned
                && !draft.is_touched(node)
                && fits(wanted, &node.container_type, &node.runtime)
        }));
    }
    let importance = |node: &Node| {
        let template = facts.input.active.node_templates.get(&node.template);
        template.map_or(f64::NEG_INFINITY, |template| template.priority)
    };
    least_missed_first(facts, &mut donors);
    donors.sort_by(|one, other| {
        importance(one)
            .total_cmp(&importance(other))
            .then_with(|| one.template.cmp(&other.template))
    });
    donors.sort_by_key(|node| node.prefetched.as_ref() != Some(target));
    donors
}
