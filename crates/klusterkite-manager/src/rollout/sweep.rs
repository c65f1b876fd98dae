//! What nobody needs any more.

use std::time::Duration;

use klusterkite_store::Change;
use klusterkite_store::rows::NodeRow;

use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::state::{Draft, State};

/// How often it is looked for.
const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// A container that did not come back for so long, while this manager led, is forgotten; until then a
/// copy of its disk or another secret is refused.
const AWAY_UNTIL_FORGOTTEN: Duration = Duration::from_hours(7 * 24);

/// Containers that are not there and are remembered all the same; above it those that are away longest go.
const AWAY_MAX: usize = 20_000;

/// Events that the history keeps: some 50 MB.
const EVENTS_KEPT: i64 = 200_000;

impl Cluster {
    /// Forgets containers that never came back and the oldest events.
    pub(super) async fn sweep(&self) -> Result<(), Fault> {
        let now = self.now();
        self.transact(|draft| {
            sweep(draft);
            draft.remember(move |volatile| volatile.sweep_at = now + SWEEP_EVERY);
            Ok(())
        })
        .await
    }
}

fn sweep(draft: &mut Draft<'_>) {
    let (state, now) = (draft.state, draft.now);
    let rows = state.nodes.values().filter(|node| is_away(state, node));
    let known = &state.volatile.away;
    let since = |node: &NodeRow| known.get(&node.id).copied().unwrap_or(now);
    let mut away: Vec<_> = rows.map(|node| (since(node), &node.id)).collect();
    away.sort();
    let too_many = away.len().saturating_sub(AWAY_MAX);
    let is_forgotten =
        |index: usize, since| index < too_many || now.since(since) >= AWAY_UNTIL_FORGOTTEN;
    let mut still_away = std::collections::BTreeMap::new();
    for (index, (since, id)) in away.into_iter().enumerate() {
        if is_forgotten(index, since) {
            draft.put(Change::NodeDelete(id.clone()));
        } else {
            still_away.insert(id.clone(), since);
        }
    }
    draft.remember(move |volatile| volatile.away = still_away);
    let oldest_kept = state.last_ids.event - EVENTS_KEPT;
    if oldest_kept > 0 {
        draft.put(Change::EventsForget(oldest_kept));
    }
}

/// Tells whether nothing runs in a container and nothing has to be remembered about it.
fn is_away(state: &State, node: &NodeRow) -> bool {
    let keeps_its_place = || {
        let template = node.last_template.as_ref()?;
        let template = state.active()?.node_templates.get(template)?;
        Some(template.persistent)
    };
    node.run.is_none()
        && !node.cordoned
        && !state.volatile.waiting.contains_key(&node.id)
        && state.orders.of(&node.id).next().is_none()
        && !keeps_its_place().unwrap_or(false)
}
