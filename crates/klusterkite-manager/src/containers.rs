//! What the API shows of containers in which nothing runs.

use std::ops::Bound;

use klusterkite_api::nodes::{Container, ContainerState};
use klusterkite_api::page::Page;
use klusterkite_store::rows::NodeRow;
use klusterkite_wire::NodeId;

use crate::cluster::Cluster;
use crate::operations::operations;
use crate::state::{State, WaitingContainer};
use crate::views::crash_text;

/// Which containers are listed.
pub struct ContainerQuery {
    /// Only those in this state.
    pub state: Option<ContainerState>,
    /// Only those behind this place.
    pub after: Option<NodeId>,
    /// As many as this.
    pub limit: usize,
}

impl Cluster {
    /// Lists the containers in which nothing runs, by id. Only those of the page are described.
    pub async fn container_list(&self, query: &ContainerQuery) -> Page<Container> {
        let state = self.read().await;
        let is_asked = |empty: &Empty<'_>| query.state.is_none_or(|of| empty.state() == of);
        let count = known(&state, None).filter(is_asked).count()
            + strange(&state, None).filter(is_asked).count();
        // Each is in the order of ids: the page is among the first of both.
        let (after, most) = (query.after.as_ref(), query.limit + 1);
        let mut found: Vec<_> = known(&state, after).filter(is_asked).take(most).collect();
        found.extend(strange(&state, after).filter(is_asked).take(most));
        found.sort_unstable_by_key(Empty::id);
        let has_more = found.len() > query.limit;
        found.truncate(query.limit);
        let last = found.last().filter(|_| has_more);
        Page {
            items: found.iter().map(|empty| empty.shown(&state)).collect(),
            next_cursor: last.map(|empty| empty.id().to_string()),
            total: count as u64,
        }
    }
}

/// Lists the containers in which something ran before, by id, from behind one on.
fn known<'a>(state: &'a State, after: Option<&NodeId>) -> impl Iterator<Item = Empty<'a>> {
    let rows = state.roster.empty(after);
    let rows = rows.filter_map(|id| state.nodes.get(id));
    rows.map(|row| Empty::Known(row, state.volatile.waiting.get(&row.id)))
}

/// Lists the containers that have never got anything, by id, from behind one on.
fn strange<'a>(state: &'a State, after: Option<&NodeId>) -> impl Iterator<Item = Empty<'a>> {
    let behind = after.map_or(Bound::Unbounded, Bound::Excluded);
    let waiting = &state.volatile.waiting;
    let waiting = waiting.range::<NodeId, _>((behind, Bound::Unbounded));
    let strange = waiting.filter(|(id, _)| !state.nodes.contains_key(*id));
    strange.map(|(id, waiting)| Empty::Strange(id, waiting))
}

/// A container in which nothing runs.
enum Empty<'a> {
    /// Something ran there; its launcher asks, or does not.
    Known(&'a NodeRow, Option<&'a WaitingContainer>),
    /// Its launcher asks and has never got anything.
    Strange(&'a NodeId, &'a WaitingContainer),
}

impl<'a> Empty<'a> {
    fn id(&self) -> &'a NodeId {
        match *self {
            Self::Known(row, _) => &row.id,
            Self::Strange(id, _) => id,
        }
    }

    fn state(&self) -> ContainerState {
        match self {
            Self::Known(row, _) if row.cordoned => ContainerState::Cordoned,
            Self::Known(_, None) => ContainerState::Away,
            Self::Known(_, Some(_)) | Self::Strange(..) => ContainerState::Waiting,
        }
    }

    fn shown(&self, state: &State) -> Container {
        let (node_id, reason) = (self.id().clone(), self.reason());
        match self {
            Self::Known(row, _) => Container {
                node_id,
                container_type: row.container_type.clone(),
                runtime: row.runtime.clone(),
                state: self.state(),
                reason,
                last_template: row.last_template.clone(),
                last_crash: row.last_crash.as_ref().map(crash_text),
                operations: operations(state, row),
            },
            Self::Strange(_, waiting) => Container {
                node_id,
                container_type: waiting.container_type.clone(),
                runtime: waiting.runtime.clone(),
                state: self.state(),
                reason,
                last_template: None,
                last_crash: None,
                operations: Vec::new(),
            },
        }
    }

    fn reason(&self) -> String {
        match self {
            Self::Known(row, _) if row.cordoned => {
                "it is out of service; `uncordon` it to give it work again".to_owned()
            }
            Self::Known(_, Some(waiting)) | Self::Strange(_, waiting) => waiting.why.clone(),
            Self::Known(_, None) => "its launcher does not ask for work".to_owned(),
        }
    }
}
