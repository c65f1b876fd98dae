//! Reading and moving resources with executors: what runs in the background, one at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use klusterkite_core::plan::migration::{blocked, executor_deaths, failed_move_holds, is_left};
use klusterkite_core::plan::resources::{ResourceMove, TemplateReading};
use klusterkite_core::reason::{ReasonCode, Refusal};
use klusterkite_core::release::Release;
use klusterkite_core::time::Timestamp;
use klusterkite_store::Change;
use klusterkite_store::rows::{MigrationLogRow, MigrationRow};
use klusterkite_wire::migrator::{ExecutorMigrateParams, MigrateParams};
use klusterkite_wire::{ConfigurationId, chain};

use super::{Ends, course, log};
use crate::cluster::Cluster;
use crate::executors::{CallError, Executors};
use crate::fault::Fault;
use crate::migrator_logs::LineWriter;
use crate::state::{Draft, State};

/// Resources that could not be read are read again after this time.
const READ_RETRY: Duration = Duration::from_secs(10);

impl Cluster {
    /// Reads the resources of some releases and keeps what was read.
    pub(super) async fn resources_read(&self, releases: Vec<Release>) {
        let readings = self.readings(&releases).await;
        let failed = readings.values().flatten().any(has_errors);
        let now = self.now();
        self.remember(|state| {
            state.volatile.readings = readings;
            state.volatile.busy = None;
            state.volatile.recheck_at = failed.then(|| now + READ_RETRY);
            create_missing(state, now);
        })
        .await;
        if let Err(fault) = self.transact(analysed).await {
            tracing::error!("the analysis of the migration cannot be stored: {fault}");
        }
        self.nudge();
    }

    pub(super) async fn readings(
        &self,
        releases: &[Release],
    ) -> BTreeMap<ConfigurationId, Vec<TemplateReading>> {
        let executors = Executors::new(self.config());
        let mut readings = BTreeMap::new();
        for release in releases {
            readings.insert(release.id, executors.read(release).await);
        }
        executors
            .keep_only(releases.iter().map(|release| release.id).collect())
            .await;
        readings
    }

    /// Moves one resource: journal, move, journal, read again.
    pub(super) async fn resource_move(&self, planned: ResourceMove, release: Release) {
        match self.resource_move_journalled(&planned, &release).await {
            Ok(()) => {}
            Err(fault) => {
                tracing::error!("a move could not be journalled: {}", chain(&fault));
                let after = self.now() + READ_RETRY;
                self.remember(|state| {
                    state.volatile.moves.clear();
                    state.volatile.moves_after = after;
                })
                .await;
            }
        }
        let releases = {
            let state = self.read().await;
            super::releases_to_read(&state).cloned().collect()
        };
        self.resources_read(releases).await;
    }

    async fn resource_move_journalled(
        &self,
        planned: &ResourceMove,
        release: &Release,
    ) -> Result<(), Fault> {
        // The journal's number grows with each move: it is the fence.
        let fence = self
            .transact(|draft| Ok(move_started(draft, planned)))
            .await?;
        let moved = self
            .resource_move_by_executor(planned, release, fence)
            .await;
        match moved {
            Ok(()) => self.transact(|draft| move_done(draft, planned)).await?,
            Err(error) => {
                let now = self.now();
                let deaths = self
                    .remember(|state| {
                        state.volatile.moves.clear();
                        state.volatile.create_after = now + READ_RETRY;
                        let migration = state.migration.as_ref();
                        if migration.is_some_and(|row| is_left(course(row), planned.target)) {
                            return 0;
                        }
                        let died = matches!(error, CallError::Broken(_));
                        let deaths = &mut state.volatile.executor_deaths;
                        *deaths = executor_deaths(*deaths, died);
                        *deaths
                    })
                    .await;
                self.transact(|draft| move_failed(draft, planned, &error, deaths))
                    .await?;
            }
        }
        Ok(())
    }

    async fn resource_move_by_executor(
        &self,
        planned: &ResourceMove,
        release: &Release,
        fence: i64,
    ) -> Result<(), CallError> {
        let params = ExecutorMigrateParams {
            migrator: planned.key.migrator.clone(),
            migrate: MigrateParams {
                resource: planned.key.resource.clone(),
                point: planned.point.clone(),
                fence: fence as u64,
                dry_run: false,
            },
        };
        let migration_id = self.read().await.migration.as_ref().map(|row| row.id);
        let mut writer = LineWriter::start(self, migration_id, &planned.key);
        let executors = Executors::new(self.config());
        let moved = executors
            .migrate(release, &planned.key.template, &params, |said| {
                writer.write(said.stream, &said.line);
            })
            .await;
        writer.end().await;
        let result = moved?;
        if result.point != planned.point {
            return Err(CallError::Failed(format!(
                "the migrator moved it to `{}` instead of `{}`",
                result.point, planned.point
            )));
        }
        self.remember(|state| state.volatile.executor_deaths = 0)
            .await;
        Ok(())
    }
}

/// Without a migration every resource exists (seed): those that do not are created at their last point.
///
/// A resource that exists and lags behind is left to an operator: it may be a restored backup.
fn create_missing(state: &mut State, now: Timestamp) {
    if state.migration.is_some() || !state.volatile.moves.is_empty() {
        return;
    }
    let Some(idle) = super::view::idle(state) else {
        return;
    };
    let missing = |planned: &&ResourceMove| current_point(state, planned).is_none();
    let moves: Vec<_> = idle.migratable.iter().filter(missing).cloned().collect();
    if moves.is_empty() {
        return;
    }
    if now < state.volatile.create_after {
        state.volatile.recheck_at = Some(state.volatile.create_after);
    } else {
        state.volatile.moves = moves.into();
    }
}

fn has_errors(reading: &TemplateReading) -> bool {
    reading.error.is_some()
        || reading
            .migrators
            .iter()
            .any(|migrator| !migrator.errors.is_empty())
}

/// Ends the analysis of a migration that was just created.
fn analysed(draft: &mut Draft<'_>) -> Result<(), Fault> {
    let state = draft.state;
    let Some(ends) = Ends::of(state, draft.now).filter(|ends| ends.migration.state == "preparing")
    else {
        return Ok(());
    };
    let Some(resources) = ends.resources(state) else {
        return Ok(());
    };
    let migration = ends.migration.clone();
    let id = migration.id;
    // What cannot come to its end does not begin.
    if let Some(stuck) = blocked(&resources) {
        let refusal = Refusal {
            code: stuck.code,
            message: stuck.message,
            params: stuck.params,
        };
        if migration.reason.as_ref() != Some(&refusal) {
            log(draft, id, "analysisFailed", &refusal.message);
            draft.put(Change::MigrationPut(MigrationRow {
                reason: Some(refusal),
                ..migration
            }));
        }
        return Ok(());
    }
    log(
        draft,
        id,
        "analysed",
        "the resources of both configurations were read",
    );
    let state = "ready".to_owned();
    draft.put(Change::MigrationPut(MigrationRow {
        state,
        reason: None,
        ..migration
    }));
    Ok(())
}

fn move_started(draft: &mut Draft<'_>, planned: &ResourceMove) -> i64 {
    let message = format!(
        "resource `{}` moves to `{}`",
        planned.key.resource, planned.point
    );
    draft.event(
        "resourceStarted",
        "manager",
        object(planned),
        message.clone(),
    );
    move_log(draft, planned, "resourceStarted", message)
}

fn move_done(draft: &mut Draft<'_>, planned: &ResourceMove) -> Result<(), Fault> {
    let message = format!(
        "resource `{}` is at `{}`",
        planned.key.resource, planned.point
    );
    draft.event("resourceMoved", "manager", object(planned), message.clone());
    move_log(draft, planned, "resourceMoved", message);
    Ok(())
}

fn move_failed(
    draft: &mut Draft<'_>,
    planned: &ResourceMove,
    error: &CallError,
    deaths: u32,
) -> Result<(), Fault> {
    let key = &planned.key;
    let message = format!(
        "resource `{}` of migrator `{}` did not move to `{}`: {error}",
        key.resource, key.migrator, planned.point
    );
    draft.event(
        "resourceFailed",
        "manager",
        object(planned),
        message.clone(),
    );
    move_log(draft, planned, "resourceFailed", message.clone());
    let migration = draft.state.migration.clone();
    let holds = |row: &MigrationRow| failed_move_holds(course(row), planned.target, deaths);
    if let Some(migration) = migration.filter(holds) {
        let reason = Refusal::new(ReasonCode::ResourceNotMigratable, message)
            .with("resource", &key.resource)
            .with("migrator", &key.migrator);
        let state = "paused".to_owned();
        draft.put(Change::MigrationPut(MigrationRow {
            state,
            reason: Some(reason),
            ..migration
        }));
    }
    Ok(())
}

/// Appends a line about a move; returns its number.
fn move_log(draft: &mut Draft<'_>, planned: &ResourceMove, kind: &str, message: String) -> i64 {
    let id = draft.next_migration_log_id();
    draft.put(Change::MigrationLogAppend(MigrationLogRow {
        id,
        migration_id: draft.state.migration.as_ref().map(|migration| migration.id),
        at: draft.now.0,
        kind: kind.to_owned(),
        template: Some(planned.key.template.clone()),
        migrator: Some(planned.key.migrator.clone()),
        resource: Some(planned.key.resource.clone()),
        from_point: current_point(draft.state, planned),
        to_point: Some(planned.point.clone()),
        message,
    }));
    id
}

/// Returns where the resource was when it was read last.
fn current_point(state: &State, planned: &ResourceMove) -> Option<klusterkite_wire::Point> {
    let key = &planned.key;
    let readings = state.volatile.readings.values().flatten();
    let migrators = readings.filter(|reading| reading.template == key.template);
    let migrators = migrators.flat_map(|reading| &reading.migrators);
    let resources = migrators.filter(|migrator| migrator.type_name == key.migrator);
    let mut resources = resources.flat_map(|migrator| &migrator.resources);
    resources
        .find(|resource| resource.code == key.resource)?
        .current_point
        .clone()
}

fn object(planned: &ResourceMove) -> String {
    format!(
        "resource:{}/{}/{}",
        planned.key.template, planned.key.migrator, planned.key.resource
    )
}
