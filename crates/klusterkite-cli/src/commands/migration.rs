use std::io::{self, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use klusterkite_api::cluster::{Accepted, ClusterState};
use klusterkite_api::migrations::{
    Migration, MigrationCreate, MigrationLogEntry, MigrationMode, MigrationPlan, MigratorLine,
    NodesRequest, OnFailure, PlanRequest, ResourceRequest, ResourcesRequest,
};
use klusterkite_api::operations::OperationId;
use klusterkite_api::page::Page;
use klusterkite_client::Kind;
use klusterkite_core::plan::resources::{ResourceKey, Side};

use super::{accepted, watch};
use crate::arguments::{FailureArgument, MigrationCommand, SideArgument};
use crate::context::Context;
use crate::exit::{Exit, Stop};
use crate::render;

/// How long a start waits for a manager that reads resources: it takes seconds, a hanging migrator may take longer.
const BUSY_MAX: Duration = Duration::from_secs(30);

/// Pause between two tries.
const BUSY_PAUSE: Duration = Duration::from_millis(300);

pub(crate) fn run(command: &MigrationCommand, context: &mut Context) -> anyhow::Result<Exit> {
    match command {
        MigrationCommand::Plan { to } => plan(
            context,
            PlanRequest {
                to_configuration_id: *to,
            },
        ),
        MigrationCommand::Start {
            to,
            automatic,
            on_failure,
            plan_id,
            retry_faulted,
            watch,
        } => {
            let new = MigrationCreate {
                to_configuration_id: *to,
                mode: if *automatic {
                    MigrationMode::Automatic
                } else {
                    MigrationMode::Manual
                },
                plan_id: plan_id.clone(),
                on_failure: match on_failure {
                    FailureArgument::Pause => OnFailure::Pause,
                    FailureArgument::Rollback => OnFailure::Rollback,
                },
                retry_faulted: *retry_faulted,
            };
            start(context, &new, *watch)
        }
        MigrationCommand::Status => status(context),
        MigrationCommand::List { limit } => list(context, *limit),
        MigrationCommand::Log { id } => log(context, *id),
        MigrationCommand::Logs {
            resource,
            migration,
            repairs,
            follow,
        } => {
            let id = match (repairs, migration) {
                (true, _) => None,
                (false, Some(id)) => Some(*id),
                (false, None) => Some(current_or_newest(context)?),
            };
            logs(context, id, resource.as_deref(), *follow)
        }
        MigrationCommand::Nodes { target, watch } => {
            let exit = nodes(context, side(*target))?;
            followed_if(context, *watch, exit)
        }
        MigrationCommand::Resources {
            resources: keys,
            to,
            watch,
        } => {
            let exit = resources(context, keys, to.map(side))?;
            followed_if(context, *watch, exit)
        }
        MigrationCommand::Pause => change(context, OperationId::MigrationPause),
        MigrationCommand::Resume => ask(context, OperationId::MigrationResume),
        MigrationCommand::Rollback => ask(context, OperationId::MigrationRollback),
        MigrationCommand::Recheck => ask(context, OperationId::ClusterRecheck),
        MigrationCommand::Cancel => change(context, OperationId::MigrationCancel),
        MigrationCommand::Finish => change(context, OperationId::MigrationFinish),
        MigrationCommand::Watch { id } => {
            let id = or_current(context, *id)?;
            watch::follow(context, id)
        }
    }
}

fn plan(context: &mut Context, request: PlanRequest) -> anyhow::Result<Exit> {
    let plan: MigrationPlan = context
        .client()?
        .operation(OperationId::MigrationPlan)
        .body(&request)
        .send()?;
    context.print(&plan, render::migration::plan)?;
    Ok(if plan.plan.blockers.is_empty() {
        Exit::Done
    } else {
        Exit::Refused
    })
}

fn start(context: &mut Context, new: &MigrationCreate, watch: bool) -> anyhow::Result<Exit> {
    let migration = create_when_idle(context, new)?;
    let sentence = |migration: &Migration| {
        let (from, to) = (
            migration.from_configuration_id,
            migration.to_configuration_id,
        );
        format!(
            "migration {} from configuration {from} to {to} has started",
            migration.id
        )
    };
    if watch {
        context.print_line(&migration, sentence)?;
        return watch::follow(context, migration.id);
    }
    context.print(&migration, |migration| sentence(migration) + "\n")?;
    Ok(Exit::Done)
}

/// Creates a migration; while resources are read, as they are right after the migration before, it waits a little.
fn create_when_idle(context: &mut Context, new: &MigrationCreate) -> anyhow::Result<Migration> {
    let begun = Instant::now();
    let mut is_told = false;
    loop {
        let call = context.client()?.operation(OperationId::MigrationCreate);
        let error = match call.body(new).send() {
            Ok(migration) => return Ok(migration),
            Err(error) => error,
        };
        let problem = error.problem();
        let is_busy = problem.is_some_and(|problem| problem.code == "busy");
        if !is_busy || begun.elapsed() > BUSY_MAX {
            return Err(error.into());
        }
        if !is_told {
            // There is nobody to tell when stderr is closed.
            let _ = writeln!(
                io::stderr(),
                "waiting until the resources of the cluster have been read"
            );
            is_told = true;
        }
        thread::sleep(BUSY_PAUSE);
    }
}

fn status(context: &mut Context) -> anyhow::Result<Exit> {
    let state: ClusterState = context
        .client()?
        .operation(OperationId::ClusterStateGet)
        .send()?;
    context.print(&state, render::cluster::migration)?;
    Ok(Exit::Done)
}

fn list(context: &mut Context, limit: u32) -> anyhow::Result<Exit> {
    let call = context.client()?.operation(OperationId::MigrationList);
    let page: Page<Migration> = call.query("limit", limit).send()?;
    context.print(&page, |page| render::migration::list(&page.items))?;
    Ok(Exit::Done)
}

fn log(context: &mut Context, id: Option<i64>) -> anyhow::Result<Exit> {
    let id = or_current(context, id)?;
    let mut entries = Vec::<MigrationLogEntry>::new();
    let mut cursor = None::<String>;
    loop {
        let call = context
            .client()?
            .operation(OperationId::MigrationLog)
            .path("id", id);
        let page: Page<MigrationLogEntry> =
            call.query_optional("cursor", cursor.as_ref()).send()?;
        entries.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    context.print(&Page::whole(entries), |page| {
        render::migration::log(&page.items)
    })?;
    Ok(Exit::Done)
}

/// Shows lines of migrators: all that there are, and those that come if asked.
fn logs(
    context: &mut Context,
    id: Option<i64>,
    resource: Option<&str>,
    follow: bool,
) -> anyhow::Result<Exit> {
    let key: Vec<&str> = resource.map_or_else(Vec::new, |resource| resource.split(':').collect());
    let (template, migrator, resource) = match key[..] {
        [] => (None, None, None),
        [resource] => (None, None, Some(resource)),
        [template, migrator, resource] => (Some(template), Some(migrator), Some(resource)),
        _ => {
            let sentence = "name a resource by its code or as TEMPLATE:MIGRATOR:RESOURCE";
            return Err(Stop::new(Exit::Usage, sentence).into());
        }
    };
    context.client()?;
    let context = &*context;
    let call = match id {
        Some(id) => context
            .logged_in()
            .operation(OperationId::MigrationLogs)
            .path("id", id),
        None => context
            .logged_in()
            .operation(OperationId::ClusterResourceLogs),
    };
    let call = call
        .query_optional("template", template)
        .query_optional("migrator", migrator)
        .query_optional("resource", resource)
        .query_optional("follow", follow.then_some(true));
    for line in call.lines::<MigratorLine>() {
        context.print_line(&line?, render::migration::line)?;
    }
    Ok(Exit::Done)
}

/// Returns the number of the running migration, or of the last one.
fn current_or_newest(context: &mut Context) -> anyhow::Result<i64> {
    let call = context.client()?.operation(OperationId::MigrationList);
    let page: Page<Migration> = call.query("limit", 1).send()?;
    let newest = page.items.first().map(|migration| migration.id);
    let stop = || Stop::new(Exit::NotFound, "there was no migration yet");
    Ok(newest.ok_or_else(stop)?)
}

fn nodes(context: &mut Context, target: Side) -> anyhow::Result<Exit> {
    let call = context.client()?.operation(OperationId::MigrationNodes);
    let answer: Accepted = call.body(&NodesRequest { target }).send()?;
    accepted(context, &answer)
}

fn resources(context: &mut Context, keys: &[String], to: Option<Side>) -> anyhow::Result<Exit> {
    let state: ClusterState = context
        .client()?
        .operation(OperationId::ClusterStateGet)
        .send()?;
    let chosen = if keys.is_empty() {
        state.migratable_resources
    } else {
        keys.iter()
            .map(|key| parse_key(key))
            .collect::<anyhow::Result<_>>()?
    };
    if chosen.is_empty() {
        return Err(Stop::new(Exit::Refused, "no resource can be moved now").into());
    }
    let operation = match (&state.migration, to) {
        (Some(_), None) => {
            let sentence =
                "a migration runs; say which end with `--to source` or `--to destination`";
            return Err(Stop::new(Exit::Usage, sentence).into());
        }
        (Some(_), Some(_)) => OperationId::MigrationResources,
        (None, _) => OperationId::ClusterResources,
    };
    let resources = chosen.into_iter().map(|key| ResourceRequest {
        template_code: key.template,
        migrator_type_name: key.migrator,
        resource_code: key.resource,
        target: to,
    });
    let request = ResourcesRequest {
        resources: resources.collect(),
    };
    let answer: Accepted = context
        .client()?
        .operation(operation)
        .body(&request)
        .send()?;
    accepted(context, &answer)
}

/// Parses `template:migrator:resource`; the resource's code may hold colons.
fn parse_key(text: &str) -> anyhow::Result<ResourceKey> {
    let mut parts = text.splitn(3, ':');
    let mut next = || parts.next().unwrap_or_default();
    let (template, migrator, resource) = (next(), next(), next());
    let unusable = |reason: String| {
        Stop::new(
            Exit::Usage,
            format!("`{text}` is not TEMPLATE:MIGRATOR:RESOURCE: {reason}"),
        )
    };
    Ok(ResourceKey {
        template: template
            .parse()
            .map_err(|error| unusable(format!("{error}")))?,
        migrator: migrator
            .parse()
            .map_err(|error| unusable(format!("{error}")))?,
        resource: resource
            .parse()
            .map_err(|error| unusable(format!("{error}")))?,
    })
}

fn change(context: &mut Context, operation: OperationId) -> anyhow::Result<Exit> {
    let migration: Migration = context.client()?.operation(operation).send()?;
    context.print(&migration, |migration| {
        format!(
            "migration {} is {}\n",
            migration.id,
            render::word(&migration.state)
        )
    })?;
    Ok(Exit::Done)
}

/// Follows what was set going, if that was asked for.
fn followed_if(context: &mut Context, watch: bool, exit: Exit) -> anyhow::Result<Exit> {
    if !watch {
        return Ok(exit);
    }
    let id = or_current(context, None)?;
    watch::follow(context, id)
}

/// Sets something going.
fn ask(context: &mut Context, operation: OperationId) -> anyhow::Result<Exit> {
    let answer: Accepted = context.client()?.operation(operation).send()?;
    accepted(context, &answer)
}

fn or_current(context: &mut Context, id: Option<i64>) -> anyhow::Result<i64> {
    if let Some(id) = id {
        return Ok(id);
    }
    let call = context.client()?.operation(OperationId::MigrationCurrent);
    match call.send::<Migration>() {
        Ok(current) => Ok(current.id),
        Err(error) if error.kind() == Kind::NotFound => {
            let sentence =
                "no migration is running; `klusterkite migration list` shows earlier ones";
            Err(Stop::new(Exit::NotFound, sentence).into())
        }
        Err(error) => Err(error.into()),
    }
}

fn side(argument: SideArgument) -> Side {
    match argument {
        SideArgument::Source => Side::Source,
        SideArgument::Destination => Side::Destination,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_named_by_three_parts() {
        let key = parse_key("hello:Hello.Db:schema:main").unwrap();
        assert_eq!(
            (key.migrator.as_str(), key.resource.as_str()),
            ("Hello.Db", "schema:main")
        );
        for text in ["", "hello", "hello:Hello.Db", "a b:c:d", "::"] {
            assert_eq!(
                Exit::of(&parse_key(text).unwrap_err()),
                Exit::Usage,
                "{text}"
            );
        }
    }
}
