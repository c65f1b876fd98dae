//! Following a migration to its end.

use std::thread;
use std::time::{Duration, Instant};

use klusterkite_api::cluster::ClusterState;
use klusterkite_api::migrations::{Migration, MigrationMode, MigrationStatus};
use klusterkite_api::operations::OperationId;
use klusterkite_core::plan::migration::Step;
use serde_json::json;

use super::events;
use crate::context::{Context, is_away};
use crate::exit::{Exit, Stop};
use crate::render;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// How long the manager may be away: it replaces itself at the end of a migration, and its container may
/// have to go back to the release before.
const AWAY_MAX: Duration = Duration::from_mins(5);

/// Most events that are shown for one look.
const EVENTS_MAX: u32 = 1000;

/// What was shown last.
#[derive(Default)]
struct Shown {
    /// Step and waits.
    progress: String,
    /// Last event; absent until the first look.
    event: Option<i64>,
}

/// Shows what a migration does until it ends, pauses, or waits for the next command.
pub(super) fn follow(context: &mut Context, id: i64) -> anyhow::Result<Exit> {
    let mut shown = Shown::default();
    let mut away_since = None::<Instant>;
    loop {
        match look(context, id, &mut shown) {
            Ok((migration, state)) => {
                away_since = None;
                if let Some(exit) = ended(&migration)? {
                    let sentence = render::migration::ended;
                    context.print_line(&migration, sentence)?;
                    return Ok(exit);
                }
                if waits_for_operator(&migration, &state) {
                    let next = |_: &Migration| render::cluster::next(&state);
                    context.print_line(&migration, next)?;
                    return Ok(Exit::Done);
                }
            }
            Err(error) if is_away(&error) => {
                let since = *away_since.get_or_insert_with(|| {
                    // The manager moves last and is away while it restarts.
                    let _ = context.print_line(&json!({ "away": true }), |_| {
                        "the manager does not answer, waiting for it".to_owned()
                    });
                    Instant::now()
                });
                if since.elapsed() > AWAY_MAX {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
        thread::sleep(PAUSE);
    }
}

/// Shows what is new and returns the migration, with the state of the cluster after it.
fn look(
    context: &mut Context,
    id: i64,
    shown: &mut Shown,
) -> anyhow::Result<(Migration, ClusterState)> {
    let last = match shown.event {
        Some(last) => last,
        None => events::page(context, None, 1)?
            .items
            .last()
            .map_or(0, |event| event.id),
    };
    // The migration is read before its events, so that those of its end are not missed.
    let migration: Migration = context
        .client()?
        .operation(OperationId::MigrationGet)
        .path("id", id)
        .send()?;
    let state: ClusterState = context
        .client()?
        .operation(OperationId::ClusterStateGet)
        .send()?;
    let page = events::page(context, Some(last + 1), EVENTS_MAX)?;
    shown.event = Some(page.items.last().map_or(last, |event| event.id));
    for event in &page.items {
        context.print_line(event, render::events::line)?;
    }
    let progress = render::cluster::progress(&state);
    if progress != shown.progress && migration.finished.is_none() {
        let value = json!({ "step": state.current_step, "busy": state.busy, "waitingOn": state.waiting_on });
        context.print_line(&value, |_| progress.clone())?;
        shown.progress = progress;
    }
    Ok((migration, state))
}

/// Tells whether nothing goes on until somebody gives a manual migration its next command.
fn waits_for_operator(migration: &Migration, state: &ClusterState) -> bool {
    migration.mode == MigrationMode::Manual
        && migration.state == MigrationStatus::Ready
        && state
            .migration
            .as_ref()
            .is_some_and(|current| current.id == migration.id)
        && !state.busy
        && state.waiting_on.is_empty()
        && state.current_step.is_some()
        && state.current_step != Some(Step::NodesUpdating)
}

/// Returns the exit code when there is nothing more to follow.
fn ended(migration: &Migration) -> anyhow::Result<Option<Exit>> {
    match migration.state {
        MigrationStatus::Preparing | MigrationStatus::Ready => Ok(None),
        MigrationStatus::Completed => Ok(Some(Exit::Done)),
        MigrationStatus::Paused | MigrationStatus::Failed | MigrationStatus::RolledBack => {
            Err(Stop::new(Exit::NotCompleted, render::migration::ended(migration)).into())
        }
    }
}
