//! What the API shows of resources and migrations, and what it allows.

use klusterkite_api::cluster::ClusterState;
use klusterkite_api::migrations::{
    Migration, MigrationLogEntry, MigrationMode, MigrationStatus, OnFailure,
};
use klusterkite_api::page::Page;
use klusterkite_core::plan::migration::{self, operations_without_state};
use klusterkite_core::plan::resources::IdleState;
use klusterkite_core::reason::{Operation, Refusal};
use klusterkite_core::time::Timestamp;
use klusterkite_store::rows::{MigrationLogRow, MigrationRow};
use klusterkite_wire::time::rfc3339;

use super::{Ends, course, obsolete_nodes};
use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::state::State;

impl Cluster {
    /// Shows what a client polls: migration, resources, what is allowed, what is waited for.
    pub async fn cluster_state(&self) -> ClusterState {
        let (now, state) = (self.now(), self.read().await);
        let mut shown = ClusterState {
            busy: state.busy_with().is_some(),
            busy_with: state.busy_with().map(str::to_owned),
            current_step: None,
            steps: Vec::new(),
            operations: operations(&state, now),
            active_configuration_id: state.active_id(),
            migration: state
                .migration
                .as_ref()
                .map(|row| migration_view(&state, row, now)),
            migratable_resources: Vec::new(),
            templates: Vec::new(),
            resource_errors: Vec::new(),
            waiting_on: state.volatile.waiting_on.clone(),
        };
        match Ends::of(&state, now) {
            Some(ends) => {
                if let Some(resources) = ends.resources(&state) {
                    let context = ends.context(&state);
                    shown.current_step = Some(resources.step(context));
                    shown.steps = resources.steps();
                    shown.migratable_resources = resources.migratable(context);
                    shown.templates = resources.templates;
                    shown.resource_errors = resources.errors;
                }
            }
            None => {
                if let Some(idle) = idle(&state) {
                    let keys = idle.migratable.iter().map(|planned| planned.key.clone());
                    shown.migratable_resources = if shown.busy {
                        Vec::new()
                    } else {
                        keys.collect()
                    };
                    shown.templates = idle.templates;
                    shown.resource_errors = idle.errors;
                }
            }
        }
        shown
    }

    /// Lists migrations, newest first; the cursor is the id that the page starts below.
    pub async fn migration_list(
        &self,
        limit: u32,
        cursor: Option<i64>,
    ) -> Result<Page<Migration>, Fault> {
        let klusterkite_store::Page { rows, total } =
            self.store().migrations(cursor, limit).await?;
        let state = self.read().await;
        let is_full = rows.len() == limit as usize;
        let next_cursor = rows
            .last()
            .filter(|_| is_full)
            .map(|row| row.id.to_string());
        let now = self.now();
        let shown = rows.iter().map(|row| migration_view(&state, row, now));
        let items = shown.collect();
        Ok(Page {
            items,
            next_cursor,
            total,
        })
    }

    /// Shows a migration.
    pub async fn migration_get(&self, id: i64) -> Result<Migration, Fault> {
        let row = self.store().migration(id).await?;
        let row = row.ok_or_else(|| Fault::not_found("migration", id))?;
        Ok(migration_view(&*self.read().await, &row, self.now()))
    }

    /// Shows the log of a migration, oldest first; the cursor is the number that the page starts after.
    pub async fn migration_log(
        &self,
        id: i64,
        limit: u32,
        cursor: Option<i64>,
    ) -> Result<Page<MigrationLogEntry>, Fault> {
        self.store()
            .migration(id)
            .await?
            .ok_or_else(|| Fault::not_found("migration", id))?;
        let log = self
            .store()
            .migration_log(id, cursor.unwrap_or(0), limit)
            .await?;
        let klusterkite_store::Page { rows, total } = log;
        let is_full = rows.len() == limit as usize;
        let next_cursor = rows
            .last()
            .filter(|_| is_full)
            .map(|row| row.id.to_string());
        Ok(Page {
            items: rows.into_iter().map(log_entry).collect(),
            next_cursor,
            total,
        })
    }
}

/// Returns where the resources stand while no migration runs, when they have been read.
pub(super) fn idle(state: &State) -> Option<IdleState> {
    let active = state.active()?;
    let readings = state.volatile.readings.get(&active.id)?;
    Some(IdleState::new(active, readings))
}

/// Lists the operations on the cluster with the reasons why they are not allowed.
pub(super) fn operations(state: &State, now: Timestamp) -> Vec<Operation> {
    let busy = state.busy_with().is_some();
    let mut operations = match Ends::of(state, now) {
        Some(ends) => migration::operations(
            course(ends.migration),
            ends.resources(state).as_ref(),
            ends.context(state),
        ),
        None => match idle(state) {
            Some(idle) => idle.operations(busy, obsolete_nodes(state)),
            None => operations_without_state(busy, false, false),
        },
    };
    let failed = state
        .gates
        .values()
        .any(|gate| gate.failed > 0 || gate.reason.is_some());
    if state.migration.is_none() && failed {
        // An update without a migration (a restart, a node of an older configuration) was stopped by failures.
        for operation in operations
            .iter_mut()
            .filter(|operation| operation.id == "resume")
        {
            *operation = Operation::new("resume", Ok(())).recommended();
        }
    }
    operations
}

/// Refuses an operation that is not allowed now, with the reason that the list shows.
pub(super) fn allow(state: &State, now: Timestamp, id: &str) -> Result<(), Refusal> {
    let listed = operations(state, now)
        .into_iter()
        .find(|operation| operation.id == id);
    let listed = listed.expect("every operation that is asked for is in the list");
    match listed.reason {
        Some(reason) => Err(reason),
        None => Ok(()),
    }
}

/// Shows a migration.
pub(super) fn migration_view(state: &State, row: &MigrationRow, now: Timestamp) -> Migration {
    let step = Ends::of(state, now)
        .filter(|ends| ends.migration.id == row.id)
        .and_then(|ends| {
            let context = ends.context(state);
            Some(ends.resources(state)?.step(context))
        });
    Migration {
        id: row.id,
        state: status(&row.state),
        from_configuration_id: row.from,
        to_configuration_id: row.to,
        mode: if row.automatic {
            MigrationMode::Automatic
        } else {
            MigrationMode::Manual
        },
        on_failure: if row.rollback_on_failure {
            OnFailure::Rollback
        } else {
            OnFailure::Pause
        },
        goal: row.goal,
        started: rfc3339(row.started),
        finished: row.finished.map(rfc3339),
        step,
        reason: row.reason.clone(),
        operations: if row.active {
            operations(state, now)
        } else {
            Vec::new()
        },
    }
}

fn status(text: &str) -> MigrationStatus {
    match text {
        "preparing" => MigrationStatus::Preparing,
        "ready" => MigrationStatus::Ready,
        "paused" => MigrationStatus::Paused,
        "completed" => MigrationStatus::Completed,
        "rolledBack" => MigrationStatus::RolledBack,
        _ => MigrationStatus::Failed,
    }
}

fn log_entry(row: MigrationLogRow) -> MigrationLogEntry {
    MigrationLogEntry {
        id: row.id,
        migration_id: row.migration_id,
        at: rfc3339(row.at),
        kind: row.kind,
        template_code: row.template,
        migrator_type_name: row.migrator,
        resource_code: row.resource,
        from_point: row.from_point,
        to_point: row.to_point,
        message: row.message,
    }
}
