//! The next thing to do when a migration runs by itself, in either direction.

use super::phases::Phase;
use super::{Entry, MigrationContext, MigrationState, refusals};
use crate::plan::resources::{Direction, ResourceMove, ResourcePosition, Side};
use crate::reason::{ReasonCode, Refusal, Waiting};

/// Says what an automatic migration does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Move this resource, and ask again when it has moved.
    Move(ResourceMove),
    /// Make this end the Active configuration, so that the nodes move to it.
    UpdateNodes(Side),
    /// Wait until no node is obsolete and, at the destination, each template has its minimum of stable nodes.
    WaitForNodes,
    /// Everything is at the goal: complete the migration (or, at the source, end it as rolled back).
    Finish,
    /// Somebody has to look at this.
    Stuck(Waiting),
}

/// Returns what leads to the goal from where everything stands.
///
/// Toward the destination: the resources before the nodes in order, the nodes, the resources after them.
/// Toward the source: the same in reverse, so a rollback undoes the last thing first (I4). Resources that
/// the migration created stay.
pub fn next(state: &MigrationState, context: MigrationContext, goal: Side) -> Next {
    if let Some(reason) = cannot_go_on(state) {
        return Next::Stuck(reason.into());
    }
    // B13: nodes of yet another configuration go first. On the way back nobody is waited for: the obsolete
    // nodes are those that turn around.
    if goal == Side::Destination && context.active == Side::Source && context.obsolete_nodes {
        return Next::WaitForNodes;
    }
    let (first, last) = match goal {
        Side::Destination => (
            state.phase(Phase::BeforeNodes),
            state.phase(Phase::AfterNodes),
        ),
        Side::Source => (
            reversed(state.phase(Phase::AfterNodes)),
            reversed(state.phase(Phase::BeforeNodes)),
        ),
    };
    if let Some(entry) = first.iter().find(|entry| !entry.is_at(goal)) {
        return move_to(entry, goal);
    }
    if context.active != goal {
        return Next::UpdateNodes(goal);
    }
    // On the way back the source takes over as it is: who wants it does not wait for containers.
    if context.obsolete_nodes || (goal == Side::Destination && context.missing_nodes) {
        return Next::WaitForNodes;
    }
    last.iter()
        .find(|entry| !entry.is_at(goal))
        .map_or(Next::Finish, |entry| move_to(entry, goal))
}

fn move_to(entry: &Entry<'_>, goal: Side) -> Next {
    match entry.move_to(goal) {
        Ok(resource_move) => Next::Move(resource_move),
        Err(refusal) => Next::Stuck(refusal.into()),
    }
}

fn reversed(mut entries: Vec<Entry<'_>>) -> Vec<Entry<'_>> {
    entries.reverse();
    entries
}

/// Returns why nobody can move some resource.
pub(super) fn cannot_go_on(state: &MigrationState) -> Option<Refusal> {
    if let Some(error) = state.errors.first() {
        return Some(refusals::analysis_failed(error));
    }
    for template in &state.templates {
        for migrator in &template.migrators {
            if migrator.direction == Direction::Undefined {
                let message = format!(
                    "the points of migrator `{}` in the two configurations do not continue each other",
                    migrator.type_name
                );
                let refusal = Refusal::new(ReasonCode::DirectionUndefined, message);
                return Some(
                    refusal
                        .with("template", &template.code)
                        .with("migrator", &migrator.type_name),
                );
            }
        }
    }
    let lost = state
        .entries()
        .find(|entry| entry.resource.position == ResourcePosition::OutOfScope)?;
    let key = lost.key();
    let point = lost
        .resource
        .current_point
        .as_ref()
        .map_or("", klusterkite_wire::Point::as_str);
    let message =
        format!("resource `{key}` is at point `{point}`, from which no migrator can move it");
    Some(Refusal::new(ReasonCode::ResourceOutOfScope, message).with("resource", key))
}
