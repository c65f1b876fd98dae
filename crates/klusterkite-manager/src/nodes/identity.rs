//! Who asks: container types of a client, and the secret and the history of a node id.

use klusterkite_store::rows::{ClientRow, NodeRow};
use klusterkite_wire::{ContainerType, Incarnation, Secret};

use crate::fault::Fault;
use crate::secrets::{hash, same};

pub(super) fn allowed_container_type(
    client: &ClientRow,
    container_type: &ContainerType,
) -> Result<(), Fault> {
    if client.container_types.contains(container_type) {
        return Ok(());
    }
    Err(Fault::Denied {
        code: "containerTypeNotAllowed",
        message: format!(
            "client `{}` may not ask for containers of type `{container_type}`",
            client.id
        ),
    })
}

pub(super) fn proves_identity(node: &NodeRow, secret: &Secret) -> Result<(), Fault> {
    // The row of the manager's own node is made before its launcher has spoken.
    if node.secret_hash.is_empty() || same(&node.secret_hash, &hash(secret)) {
        return Ok(());
    }
    let message = format!(
        "node id `{}` came with another secret first; give this container a `node-id` and `node-secret` of its own",
        node.id
    );
    Err(Fault::conflict("nodeIdInUse", message))
}

/// Refuses a cloned disk: it does not know the last incarnation of the original.
pub(super) fn proves_history(
    node: &NodeRow,
    incarnation: Incarnation,
    last: Option<Incarnation>,
) -> Result<(), Fault> {
    let known = node.incarnation;
    // The same incarnation again is the same start: its launcher did not hear the answer.
    let follows = incarnation > known && last.is_none_or(|last| last >= known);
    if incarnation == known || follows {
        return Ok(());
    }
    let message = format!(
        "node id `{}` has already run incarnation {known}; this container knows only {}: is its disk a copy?",
        node.id,
        last.unwrap_or(incarnation)
    );
    Err(Fault::conflict("nodeIdInUse", message))
}
