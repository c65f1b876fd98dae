//! What operators ask of migrations.

use klusterkite_api::cluster::Accepted;
use klusterkite_api::migrations::{
    Migration, MigrationCreate, MigrationMode, NodesRequest, OnFailure, ResourcesRequest,
};
use klusterkite_core::configuration::{ConfigurationContext, Trigger, allowed};
use klusterkite_core::plan::migration::{Ended, ended};
use klusterkite_core::plan::resources::{ResourceKey, Side};
use klusterkite_core::reason::{ReasonCode, Refusal};
use klusterkite_store::Change;
use klusterkite_store::rows::MigrationRow;

use super::view::{allow, migration_view};
use super::{Ends, log, switch_nodes};
use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::state::Draft;

impl Cluster {
    /// Starts a migration: it is analysed first, then its operations are allowed, or run.
    pub async fn migration_create(
        &self,
        request: MigrationCreate,
        actor: &str,
    ) -> Result<Migration, Fault> {
        if let Some(wanted) = &request.plan_id {
            let target = klusterkite_api::migrations::PlanRequest {
                to_configuration_id: request.to_configuration_id,
            };
            let plan = self.migration_plan(target).await?;
            if plan.plan_id != *wanted {
                let message =
                    "the cluster or the configuration changed since the plan was made; plan again";
                return Err(Fault::conflict("planChanged", message));
            }
        }
        self.transact(|draft| create(draft, &request, actor))
            .await?;
        self.migration_current().await
    }

    /// Shows the running migration.
    pub async fn migration_current(&self) -> Result<Migration, Fault> {
        let state = self.read().await;
        let row = state
            .migration
            .as_ref()
            .ok_or_else(|| Fault::not_found("running migration", "current"))?;
        Ok(migration_view(&state, row, self.now()))
    }

    /// Ends the migration at its source, when nothing has moved or everything is back.
    pub async fn migration_cancel(&self, actor: &str) -> Result<Migration, Fault> {
        self.migration_end("cancel", Side::Source, actor).await
    }

    /// Ends the migration at its destination.
    pub async fn migration_finish(&self, actor: &str) -> Result<Migration, Fault> {
        self.migration_end("finish", Side::Destination, actor).await
    }

    async fn migration_end(
        &self,
        operation: &str,
        side: Side,
        actor: &str,
    ) -> Result<Migration, Fault> {
        let ended = self
            .transact(|draft| {
                allow(draft.state, draft.now, operation)?;
                end(draft, side, actor)
            })
            .await?;
        Ok(migration_view(&*self.read().await, &ended, self.now()))
    }

    /// Holds the migration and the update of nodes.
    pub async fn migration_pause(&self, actor: &str) -> Result<Migration, Fault> {
        self.transact(|draft| {
            allow(draft.state, draft.now, "pause")?;
            let migration = draft.state.migration.clone().ok_or_else(no_migration)?;
            let id = migration.id;
            let message = format!("{actor} paused the migration");
            // What moves now ends; what was asked for after it does not begin.
            draft.remember(|volatile| volatile.moves.clear());
            log(draft, id, "paused", &message);
            draft.event("migrationPaused", actor, format!("migration:{id}"), message);
            let state = "paused".to_owned();
            draft.put(Change::MigrationPut(MigrationRow {
                state,
                reason: None,
                ..migration
            }));
            Ok(())
        })
        .await?;
        self.migration_current().await
    }

    /// Goes on, with a migration or with an update of nodes without one: failures counted so far are forgotten.
    pub async fn migration_resume(&self, actor: &str) -> Result<Accepted, Fault> {
        self.transact(|draft| {
            allow(draft.state, draft.now, "resume")?;
            goes_on(draft);
            let Some(migration) = draft.state.migration.clone() else {
                let message = format!("{actor} resumed the update of nodes");
                draft.event("updateResumed", actor, "cluster", message);
                return Ok(());
            };
            let id = migration.id;
            let message = format!("{actor} resumed the migration");
            log(draft, id, "resumed", &message);
            draft.event(
                "migrationResumed",
                actor,
                format!("migration:{id}"),
                message,
            );
            let state = "ready".to_owned();
            draft.put(Change::MigrationPut(MigrationRow {
                state,
                reason: None,
                ..migration
            }));
            Ok(())
        })
        .await?;
        Ok(Accepted {
            message: "it goes on".to_owned(),
        })
    }

    /// Sends an automatic migration back to its source.
    pub async fn migration_rollback(&self, actor: &str) -> Result<Accepted, Fault> {
        self.transact(|draft| {
            allow(draft.state, draft.now, "rollback")?;
            let migration = draft.state.migration.clone().ok_or_else(no_migration)?;
            let id = migration.id;
            let message = format!(
                "{actor} sent the migration back to configuration {}",
                migration.from
            );
            log(draft, id, "rollback", &message);
            draft.event(
                "migrationRollback",
                actor,
                format!("migration:{id}"),
                message,
            );
            goes_on(draft);
            let state = "ready".to_owned();
            let row = MigrationRow {
                goal: Side::Source,
                state,
                reason: None,
                ..migration
            };
            draft.put(Change::MigrationPut(row));
            Ok(())
        })
        .await?;
        Ok(Accepted {
            message: "the migration goes back to its source".to_owned(),
        })
    }

    /// Moves the nodes to one end.
    pub async fn migration_nodes(
        &self,
        request: NodesRequest,
        actor: &str,
    ) -> Result<Accepted, Fault> {
        let (operation, side) = match request.target {
            Side::Destination => ("updateNodesToDestination", request.target),
            Side::Source => ("updateNodesToSource", request.target),
        };
        self.transact(|draft| {
            allow(draft.state, draft.now, operation)?;
            switch_nodes(draft, side, actor)?;
            if side == Side::Source {
                end_pause(draft);
            }
            Ok(())
        })
        .await?;
        Ok(Accepted {
            message: "the nodes move, one batch after another".to_owned(),
        })
    }

    /// Moves resources of the migration.
    pub async fn migration_resources(
        &self,
        request: ResourcesRequest,
        actor: &str,
    ) -> Result<Accepted, Fault> {
        let asked = asked(&request);
        let count = asked.len();
        self.transact(|draft| {
            allow(draft.state, draft.now, "migrateResources")?;
            let ends = Ends::of(draft.state, draft.now).ok_or_else(no_migration)?;
            let resources = ends.resources(draft.state).ok_or_else(not_read)?;
            let moves = resources.moves(&asked, ends.context(draft.state))?;
            draft.remember(|volatile| volatile.moves = moves.into());
            let id = ends.migration.id;
            let message = format!("{actor} asked to move {count} resources");
            log(draft, id, "resourcesAsked", &message);
            draft.event("resourcesAsked", actor, format!("migration:{id}"), message);
            Ok(())
        })
        .await?;
        Ok(Accepted {
            message: if count == 1 {
                "1 resource moves".to_owned()
            } else {
                format!("{count} resources move, one after another")
            },
        })
    }

    /// Reads all resources again.
    pub async fn cluster_recheck(&self, actor: &str) -> Result<Accepted, Fault> {
        self.transact(|draft| {
            allow(draft.state, draft.now, "recheck")?;
            draft.remember(|volatile| volatile.recheck = true);
            draft.event(
                "recheckAsked",
                actor,
                "cluster",
                format!("{actor} asked to read all resources again"),
            );
            Ok(())
        })
        .await?;
        Ok(Accepted {
            message: "all resources are read again".to_owned(),
        })
    }

    /// Moves lagging resources to their last point without a migration (B8).
    pub async fn cluster_resources(
        &self,
        request: ResourcesRequest,
        actor: &str,
    ) -> Result<Accepted, Fault> {
        let asked = asked(&request);
        let count = asked.len();
        self.transact(|draft| {
            if draft.state.migration.is_some() {
                let message =
                    "a migration runs; move its resources by `migrations/current/resources`";
                return Err(Refusal::new(ReasonCode::MigrationRuns, message).into());
            }
            allow(draft.state, draft.now, "migrateResources")?;
            let idle = super::view::idle(draft.state).ok_or_else(not_read)?;
            let keys: Vec<_> = asked.iter().map(|(key, _)| key.clone()).collect();
            let moves = idle.moves(&keys)?;
            draft.remember(|volatile| volatile.moves = moves.into());
            let message = format!("{actor} asked to repair {count} resources");
            draft.event("resourcesAsked", actor, "cluster", message);
            Ok(())
        })
        .await?;
        Ok(Accepted {
            message: format!("{count} resources move to their last point"),
        })
    }
}

/// Forgets what went wrong so far.
fn goes_on(draft: &mut Draft<'_>) {
    draft.gates_forget();
    draft.remember(|volatile| {
        volatile.moves.clear();
        volatile.executor_deaths = 0;
    });
}

/// Who sends the nodes back does not want them held: the nodes of the pause are those that turn around.
fn end_pause(draft: &mut Draft<'_>) {
    let migration = draft.state.migration.clone();
    if let Some(migration) = migration.filter(|migration| migration.state == "paused") {
        let state = "ready".to_owned();
        draft.put(Change::MigrationPut(MigrationRow {
            state,
            reason: None,
            ..migration
        }));
    }
}

fn asked(request: &ResourcesRequest) -> Vec<(ResourceKey, Side)> {
    let keyed = request.resources.iter().map(|resource| {
        let key = ResourceKey {
            template: resource.template_code.clone(),
            migrator: resource.migrator_type_name.clone(),
            resource: resource.resource_code.clone(),
        };
        (key, resource.target.unwrap_or(Side::Destination))
    });
    keyed.collect()
}

fn create(draft: &mut Draft<'_>, request: &MigrationCreate, actor: &str) -> Result<(), Fault> {
    let state = draft.state;
    let to = request.to_configuration_id;
    let row = state
        .configurations
        .get(&to)
        .ok_or_else(|| Fault::not_found("configuration", to))?;
    allow(state, draft.now, "createMigration")?;
    let trigger = Trigger::Target {
        retry_faulted: request.retry_faulted,
    };
    allowed(row.state, trigger, &ConfigurationContext::default())?;
    let from = state.active_id().ok_or_else(not_read)?;
    let id = draft.next_migration_id();
    draft.put(Change::MigrationPut(MigrationRow {
        id,
        state: "preparing".to_owned(),
        active: true,
        from,
        to,
        automatic: request.mode == MigrationMode::Automatic,
        rollback_on_failure: request.on_failure == OnFailure::Rollback,
        goal: Side::Destination,
        started: draft.now.0,
        finished: None,
        reason: None,
    }));
    let message = format!("migration {id} from configuration {from} to {to}, started by {actor}");
    log(draft, id, "started", &message);
    draft.event(
        "migrationStarted",
        actor,
        format!("migration:{id}"),
        message,
    );
    Ok(())
}

pub(super) fn end(draft: &mut Draft<'_>, side: Side, actor: &str) -> Result<MigrationRow, Fault> {
    let migration = draft.state.migration.clone().ok_or_else(no_migration)?;
    let (state, what) = match ended(side, migration.state == "preparing") {
        Ended::Completed => ("completed", "completed"),
        Ended::Cancelled => ("failed", "cancelled"),
        Ended::RolledBack => ("rolledBack", "rolled back"),
    };
    let id = migration.id;
    let finished = Some(draft.now.0);
    let row = MigrationRow {
        state: state.to_owned(),
        active: false,
        finished,
        ..migration
    };
    draft.put(Change::MigrationPut(row.clone()));
    draft.gates_forget();
    let message = format!("migration {id} is {what}");
    log(draft, id, "finished", &message);
    draft.event(
        "migrationFinished",
        actor,
        format!("migration:{id}"),
        message,
    );
    Ok(row)
}

/// Says that no migration runs.
pub(super) fn no_migration() -> Fault {
    Refusal::new(ReasonCode::NoMigration, "no migration runs").into()
}

fn not_read() -> Fault {
    Refusal::new(
        ReasonCode::ResourcesUnknown,
        "the resources have not been read yet",
    )
    .into()
}
