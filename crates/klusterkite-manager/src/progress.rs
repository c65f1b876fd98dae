//! How long the update of a template may go without a newly stable node.
//!
//! The deadline is stored as the time that is left and counted on the monotonic clock, so that neither a
//! restart of the manager nor a pause uses it up.

use std::collections::BTreeSet;
use std::time::Duration;

use klusterkite_core::plan::progress;
use klusterkite_core::plan::rollout::{Act, Outcome};
use klusterkite_core::time::Timestamp;
use klusterkite_store::rows::{GateRow, OrderRowKind};
use klusterkite_wire::TemplateCode;

use crate::migrations::short_templates;
use crate::state::{Draft, State};

/// The time that is left is stored when it has changed by this much.
const STORED_EVERY: Duration = Duration::from_secs(10);

/// Counts the time that passed since the last call, for every template whose update runs and is not held.
pub(crate) fn count(state: &mut State, now: Timestamp, held: bool) {
    let passed = now.since(state.volatile.progress_at);
    state.volatile.progress_at = now;
    let moving = moving(state, now);
    let passed = if held { Duration::ZERO } else { passed };
    let mut counted = std::mem::take(&mut state.volatile.progress);
    progress::count(&mut counted, moving, passed, |template| {
        left(state, template)
    });
    state.volatile.progress = counted;
}

/// Returns the templates that are being updated: nodes were told to become them, or the migration that has
/// brought them waits for their minimum.
fn moving(state: &State, now: Timestamp) -> BTreeSet<TemplateCode> {
    let targets = state.orders.open().filter_map(|order| match &order.kind {
        OrderRowKind::Stop { target, .. } => target.as_ref(),
        OrderRowKind::Prefetch { .. } => None,
    });
    let mut moving: BTreeSet<_> = targets.map(|target| target.template.clone()).collect();
    let migration = state.migration.as_ref();
    if migration.is_some_and(|migration| state.active_id() == Some(migration.to)) {
        moving.extend(short_templates(state, now));
    }
    moving
}

/// Returns the time that a template has left when this manager counts it for the first time.
fn left(state: &State, template: &TemplateCode) -> Duration {
    let stored = state
        .gates
        .get(template)
        .and_then(|gate| gate.progress_left_ms);
    stored.map_or_else(|| whole(state, template), Duration::from_millis)
}

/// Returns the time that the update of a template has without a newly stable node.
pub(crate) fn whole(state: &State, template: &TemplateCode) -> Duration {
    let active = state
        .active()
        .and_then(|release| release.node_templates.get(template));
    active.map_or(Duration::from_mins(10), |template| {
        template.rollout.progress_deadline
    })
}

/// Returns the templates that have a newly stable node.
pub(crate) fn stable(state: &State, acts: &[Act]) -> BTreeSet<TemplateCode> {
    let stable = |act: &Act| match act {
        Act::CloseOrder {
            node,
            outcome: Outcome::Stable,
            ..
        } => {
            let run = state.nodes.get(node)?.run.as_ref()?;
            Some(run.template.clone())
        }
        _ => None,
    };
    acts.iter().filter_map(stable).collect()
}

/// Writes the time that is left, and all of it after a newly stable node.
pub(crate) fn write(draft: &mut Draft<'_>, stable: &BTreeSet<TemplateCode>) {
    let state = draft.state;
    for (template, left) in &state.volatile.progress {
        let gate = draft.gate(template);
        let is_stable = stable.contains(template);
        let left = if is_stable {
            whole(state, template)
        } else {
            *left
        };
        let stored = gate.progress_left_ms.map(Duration::from_millis);
        let is_stored = stored.is_some_and(|stored| stored.abs_diff(left) < STORED_EVERY);
        if is_stored && !is_stable {
            continue;
        }
        draft.gate_put(GateRow {
            progress_left_ms: Some(left.as_millis() as u64),
            ..gate
        });
    }
}
