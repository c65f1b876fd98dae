//! What the course of a migration allows (its mode, its pause, its goal), on top of what its step allows.

use super::{Course, MigrationContext, MigrationState, operations_without_state};
use crate::plan::resources::Side;
use crate::reason::{Operation, ReasonCode, Refusal};

/// Lists the operations on the cluster during a migration.
///
/// `resources` is `None` until both ends have been read.
pub fn operations(
    course: Course<'_>,
    resources: Option<&MigrationState>,
    context: MigrationContext,
) -> Vec<Operation> {
    let of_step = match resources {
        Some(resources) => resources.operations(context),
        None => operations_without_state(context.busy, true, course.preparing),
    };
    let narrowed = of_step.into_iter().map(|operation| {
        let refused = match resources {
            Some(_) if course.preparing => unless_analysed(course, &operation),
            _ if course.preparing => None,
            _ => unless_held(course, &operation),
        };
        match refused {
            Some(reason) => Operation::new::<()>(&operation.id, Err(reason)),
            None => operation,
        }
    });
    narrowed
        .chain([Operation::new("rollback", may_roll_back(course))])
        .collect()
}

/// Tells whether an automatic migration may be sent back to its source.
pub fn may_roll_back(course: Course<'_>) -> Result<(), Refusal> {
    let refuse = |code, message: &str| Err(Refusal::new(code, message));
    if !course.automatic {
        let message = "the migration is manual; release its steps toward the source one by one";
        return refuse(ReasonCode::MigrationManual, message);
    }
    if course.goal == Side::Source {
        return refuse(
            ReasonCode::NothingChanges,
            "the migration goes back already",
        );
    }
    if course.preparing {
        let message = "the migration is being analysed; cancel it";
        return refuse(ReasonCode::MigrationPreparing, message);
    }
    Ok(())
}

/// A migration whose analysis did not succeed can only be cancelled, or analysed again.
fn unless_analysed(course: Course<'_>, operation: &Operation) -> Option<Refusal> {
    if ["cancel", "recheck", "createMigration"].contains(&operation.id.as_str()) {
        return None;
    }
    Some(course.failure.cloned().unwrap_or_else(|| {
        let message = "the migration is still being analysed";
        Refusal::new(ReasonCode::MigrationPreparing, message)
    }))
}

/// Who releases the steps moves the nodes: in an automatic migration that is the manager, and its goal says to which
/// end. While a manual one is paused no node moves; sending them back ends the pause.
fn unless_held(course: Course<'_>, operation: &Operation) -> Option<Refusal> {
    let moves_nodes = operation.id.starts_with("updateNodesTo");
    if course.automatic && moves_nodes {
        let message =
            "the migration is automatic: `resume` leads its nodes on, `rollback` leads them back";
        return Some(Refusal::new(ReasonCode::MigrationAutomatic, message));
    }
    if course.automatic && !course.paused && operation.id == "migrateResources" {
        let message = "the migration is automatic; pause it to move resources by hand";
        return Some(Refusal::new(ReasonCode::MigrationAutomatic, message));
    }
    let leads_on = operation.id == "updateNodesToDestination";
    (course.paused && leads_on && operation.allowed).then(|| {
        let message = "the migration is paused: no node would move; resume it first";
        Refusal::new(ReasonCode::MigrationPaused, message)
    })
}
