//! Launchers that ask, nodes that join, report and leave.

mod asking;
mod identity;
mod orders;
mod reports;
mod session;
mod taking_in;

pub(crate) use orders::{order_message, stop_sentence};

use klusterkite_store::rows::{NodeRow, NodeRun};
use klusterkite_wire::{Incarnation, NodeId};

use crate::state::State;

/// Returns a node and its run, when this incarnation is the one that runs.
fn running<'a>(
    state: &'a State,
    id: &NodeId,
    incarnation: Incarnation,
) -> Option<(&'a NodeRow, &'a NodeRun)> {
    let node = state.nodes.get(id)?;
    let run = node
        .run
        .as_ref()
        .filter(|run| run.incarnation == incarnation)?;
    Some((node, run))
}
