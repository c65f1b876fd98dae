//! The choice among candidates.

use klusterkite_wire::TemplateCode;

use super::{Ask, Candidate, Rule, Taken};
use crate::draw::Draw;
use crate::release::Release;
use crate::settings::AssignmentMode;

/// Returns the template, the rule, and whether it was a slot kept for this container.
pub(super) fn choose(
    release: &Release,
    ask: &Ask,
    taken: &Taken,
    candidates: &[Candidate],
) -> Option<(TemplateCode, Rule, bool)> {
    for rule in [Rule::BelowMinimum, Rule::Surge, Rule::Spare] {
        let stage: Vec<&Candidate> = candidates
            .iter()
            .filter(|candidate| open(rule, candidate, taken))
            .collect();
        if stage.is_empty() {
            continue;
        }
        let kept = taken.kept.as_ref();
        if let Some(kept) = stage
            .iter()
            .find(|candidate| Some(&candidate.template) == kept)
        {
            return Some((kept.template.clone(), rule, true));
        }
        let chosen = match release.assignment {
            AssignmentMode::Strict => strict(&stage),
            AssignmentMode::Weighted => weighted(&stage, ask.draw),
        };
        return chosen.map(|candidate| (candidate.template.clone(), rule, false));
    }
    None
}

/// Tells whether a candidate takes part in a stage.
fn open(rule: Rule, candidate: &Candidate, taken: &Taken) -> bool {
    match rule {
        Rule::BelowMinimum => candidate.count < candidate.minimum,
        Rule::Surge => taken
            .surge
            .get(&candidate.template)
            .is_some_and(|wanted| candidate.count < *wanted),
        Rule::Spare => candidate
            .maximum
            .is_none_or(|maximum| candidate.count < maximum),
        Rule::Full | Rule::NoCandidate | Rule::Cordoned => false,
    }
}

fn strict<'a>(stage: &[&'a Candidate]) -> Option<&'a Candidate> {
    let shortage = |candidate: &Candidate| candidate.minimum.saturating_sub(candidate.count);
    stage.iter().copied().min_by(|one, other| {
        other
            .priority
            .total_cmp(&one.priority)
            .then_with(|| shortage(other).cmp(&shortage(one)))
            .then_with(|| one.template.cmp(&other.template))
    })
}

/// Picks with a probability in proportion to the priority; equally when no candidate has one.
fn weighted<'a>(stage: &[&'a Candidate], draw: u64) -> Option<&'a Candidate> {
    let mut draw = Draw::new(draw);
    let sum: f64 = stage.iter().map(|candidate| candidate.priority).sum();
    if sum <= 0.0 || !sum.is_finite() {
        return stage
            .get((draw.next() % stage.len().max(1) as u64) as usize)
            .copied();
    }
    let mut left = draw.fraction() * sum;
    for candidate in stage {
        left -= candidate.priority;
        if left < 0.0 {
            return Some(candidate);
        }
    }
    // Rounding may leave a remainder; the last candidate with a chance takes it.
    stage
        .iter()
        .rev()
        .copied()
        .find(|candidate| candidate.priority > 0.0)
}

pub(super) fn sentence(
    template: &TemplateCode,
    rule: Rule,
    kept_slot: bool,
    candidates: &[Candidate],
) -> String {
    let Some(chosen) = candidates
        .iter()
        .find(|candidate| candidate.template == *template)
    else {
        return String::new();
    };
    let Candidate {
        count,
        minimum,
        priority,
        ..
    } = chosen;
    let because = match (rule, chosen.maximum) {
        (Rule::BelowMinimum, _) => format!("it has {count} of at least {minimum} nodes"),
        (Rule::Surge, _) => format!("its update needs spare capacity beside its {count} nodes"),
        (_, Some(maximum)) => format!("it has {count} of at most {maximum} nodes"),
        (_, None) => format!("it has {count} nodes and no maximum"),
    };
    let among = if kept_slot {
        "the slot was kept for this container".to_owned()
    } else if candidates.len() == 1 {
        "no other template was a candidate".to_owned()
    } else {
        format!(
            "its priority {priority} decided among {} candidates",
            candidates.len()
        )
    };
    format!("{because}; {among}")
}
