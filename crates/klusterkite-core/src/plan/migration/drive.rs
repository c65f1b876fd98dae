//! What the manager does about a migration: what follows from the decisions that are stored and from what is there.

use super::{MigrationContext, MigrationState, Next, next};
use crate::plan::resources::{ResourceMove, Side};
use crate::reason::{ReasonCode, Refusal};

/// How often an automatic migration goes on after its executor died in the middle of a move.
pub const EXECUTOR_DEATHS_MAX: u32 = 3;

/// What was decided about a migration, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Course<'a> {
    /// True when the manager releases the steps, false when an operator does.
    pub automatic: bool,
    /// True until the resources of both ends could be read for the first time.
    pub preparing: bool,
    /// True while it is held.
    pub paused: bool,
    /// Why it was held by a failure; `None` while it runs or when an operator held it.
    pub failure: Option<&'a Refusal>,
    /// True when a failure sends it back instead of holding it.
    pub rollback_on_failure: bool,
    /// The end that it leads to.
    pub goal: Side,
}

/// Names what the manager does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drive {
    /// Nothing: somebody else, or time, comes first.
    Wait,
    /// Move this resource.
    Move(ResourceMove),
    /// Make this end the Active configuration.
    Switch(Side),
    /// End the migration at this end.
    End(Side),
    /// It failed: what [`turn`] says.
    Turn(Refusal),
}

/// Says what becomes of an automatic migration that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It goes back to its source.
    Back,
    /// It is held until an operator decides.
    Hold,
}

/// Says how a migration ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ended {
    /// Everything is at the destination.
    Completed,
    /// It ended at its source after it had been analysed.
    RolledBack,
    /// It was cancelled before it had been analysed.
    Cancelled,
}

/// Chooses what the manager does next; a manual migration waits for its operator.
///
/// `resources` is `None` until both ends have been read.
pub fn drive(
    course: Course<'_>,
    resources: Option<&MigrationState>,
    context: MigrationContext,
) -> Drive {
    if !course.automatic || course.preparing {
        return Drive::Wait;
    }
    if course.paused {
        // A failure sends it back when it was started so; an operator's pause stays.
        return match (course.failure, turn(course)) {
            (Some(failure), Turn::Back) => Drive::Turn(failure.clone()),
            _ => Drive::Wait,
        };
    }
    let Some(resources) = resources else {
        return Drive::Wait;
    };
    match next(resources, context, course.goal) {
        Next::Move(planned) => Drive::Move(planned),
        Next::UpdateNodes(side) => Drive::Switch(side),
        Next::WaitForNodes => Drive::Wait,
        Next::Finish => Drive::End(course.goal),
        Next::Stuck(waiting) => Drive::Turn(Refusal {
            code: waiting.code,
            message: waiting.message,
            params: waiting.params,
        }),
    }
}

/// Says why the nodes stay as they are, whatever the Active configuration wants of them.
///
/// On the way back the destination stays Active until the resources after the nodes are back; until then no
/// more nodes go to it.
pub fn holds_nodes(course: Course<'_>, active: Side) -> Option<Refusal> {
    if course.paused {
        let by_operator = || Refusal::new(ReasonCode::Paused, "an operator paused the migration");
        return Some(course.failure.cloned().unwrap_or_else(by_operator));
    }
    let goes_back = course.automatic && !course.preparing && course.goal == Side::Source;
    (goes_back && active == Side::Destination).then(|| {
        let message = "the migration goes back; no more nodes move to its destination";
        Refusal::new(ReasonCode::Paused, message)
    })
}

/// Says what becomes of an automatic migration that failed: who is on the way back stays there.
pub fn turn(course: Course<'_>) -> Turn {
    if course.rollback_on_failure && course.goal == Side::Destination {
        Turn::Back
    } else {
        Turn::Hold
    }
}

/// Tells whether a move leads to the end that an automatic migration has left: it began before the migration was sent
/// back, and how it ends says nothing about the way to the other end.
pub fn is_left(course: Course<'_>, target: Side) -> bool {
    course.automatic && course.goal != target
}

/// Tells whether a failed move holds the migration, after so many deaths of executors in a row. What an operator holds
/// stays held by the operator.
pub fn failed_move_holds(course: Course<'_>, target: Side, deaths: u32) -> bool {
    let is_driven = course.automatic && !course.paused && !course.preparing;
    is_driven && !is_left(course, target) && deaths >= EXECUTOR_DEATHS_MAX
}

/// Counts deaths of executors in a row; an executor that says why it failed is not asked again.
pub fn executor_deaths(before: u32, died: bool) -> u32 {
    if died {
        before.saturating_add(1)
    } else {
        EXECUTOR_DEATHS_MAX
    }
}

/// Says how a migration ends at one of its ends.
pub fn ended(side: Side, preparing: bool) -> Ended {
    match side {
        Side::Destination => Ended::Completed,
        Side::Source if preparing => Ended::Cancelled,
        Side::Source => Ended::RolledBack,
    }
}
