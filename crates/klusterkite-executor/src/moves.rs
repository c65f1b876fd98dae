//! What the manager can ask for: describe everything, read one point, move one resource.

use klusterkite_migrator::chain;
use klusterkite_wire::migrator::{
    CurrentPointParams, DescribedMigrator, ExecutorCurrentPointParams, ExecutorMigrateParams,
    MigrateParams, MigrateResult,
};
use klusterkite_wire::{MigratorName, Point, ResourceCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

use crate::Error;
use crate::answer::resources;
use crate::journal::{self, Event, Journal, Record, unix_milliseconds};
use crate::lock::{MoveLock, Tried, try_lock};
use crate::session::Session;

/// How often a lock that another executor holds is tried again.
const LOCK_POLL: Duration = Duration::from_millis(50);

/// Carries out one request of the manager.
pub(crate) fn call(session: &mut Session, method: &str, params: Value) -> Result<Value, Error> {
    let result = match method {
        "describe" => serde_json::to_value(describe(session)?),
        "currentPoint" => {
            let params: ExecutorCurrentPointParams = read_params(method, params)?;
            check_known(session, &params.migrator)?;
            serde_json::to_value(current_point(session, &params.migrator, &params.resource)?)
        }
        "migrate" => {
            let params: ExecutorMigrateParams = read_params(method, params)?;
            check_known(session, &params.migrator)?;
            serde_json::to_value(migrate(session, &params)?)
        }
        _ => {
            let method = method.chars().take(100).collect();
            return Err(Error::UnknownMethod(method));
        }
    };
    result.map_err(|error| Error::BadParams {
        method: method.to_owned(),
        problem: error.to_string(),
    })
}

fn read_params<T: DeserializeOwned>(method: &str, params: Value) -> Result<T, Error> {
    serde_json::from_value(params).map_err(|error| Error::BadParams {
        method: method.to_owned(),
        problem: error.to_string(),
    })
}

fn check_known(session: &Session, migrator: &MigratorName) -> Result<(), Error> {
    let migrators = &session.settings()?.migrators;
    if migrators.iter().any(|(name, _)| name == migrator) {
        return Ok(());
    }
    Err(session.unknown(migrator))
}

/// Asks every migrator; what one of them does wrong is an error of that one.
fn describe(session: &mut Session) -> Result<Vec<DescribedMigrator>, Error> {
    let names = session.settings()?.migrators.iter();
    let names: Vec<MigratorName> = names.map(|(name, _)| name.clone()).collect();
    let mut described = Vec::new();
    for type_name in names {
        let mut item = DescribedMigrator {
            type_name,
            description: None,
            resources: Vec::new(),
            errors: Vec::new(),
        };
        match describe_one(session, &mut item) {
            Err(error) if error.is_end() => return Err(error),
            Err(error) => item.errors.push(chain(&error)),
            Ok(()) => {}
        }
        described.push(item);
    }
    Ok(described)
}

fn describe_one(session: &mut Session, item: &mut DescribedMigrator) -> Result<(), Error> {
    let migrator = item.type_name.clone();
    item.description = Some(session.start(&migrator)?);
    let limit = session.settings()?.call_timeout;
    let answer = session.ask(&migrator, "resources", Value::Null, limit)?;
    let (resources, errors) = resources(answer);
    item.resources = resources;
    let errors = errors.into_iter();
    item.errors = errors
        .map(|error| format!("migrator `{migrator}`: {error}"))
        .collect();
    Ok(())
}

fn current_point(
    session: &mut Session,
    migrator: &MigratorName,
    resource: &ResourceCode,
) -> Result<Option<Point>, Error> {
    let read = |session: &mut Session| {
        session.start(migrator)?;
        let limit = session.settings()?.call_timeout;
        let resource = resource.clone();
        let params = json!(CurrentPointParams { resource });
        session.ask(migrator, "currentPoint", params, limit)
    };
    read(session).map_err(|source| Error::CurrentPoint {
        migrator: migrator.clone(),
        resource: resource.clone(),
        source: Box::new(source),
    })
}

fn migrate(session: &mut Session, params: &ExecutorMigrateParams) -> Result<MigrateResult, Error> {
    let moved = if params.migrate.dry_run {
        dry_run(session, params)
    } else {
        move_alone(session, params)
    };
    moved.map_err(|source| Error::Move {
        migrator: params.migrator.clone(),
        resource: params.migrate.resource.clone(),
        point: params.migrate.point.clone(),
        source: Box::new(source),
    })
}

fn dry_run(session: &mut Session, params: &ExecutorMigrateParams) -> Result<MigrateResult, Error> {
    start(session, params)?;
    order(session, &params.migrator, &params.migrate)
}

/// Starts the migrator and sees that the asked point is on its line.
fn start(session: &mut Session, params: &ExecutorMigrateParams) -> Result<(), Error> {
    let description = session.start(&params.migrator)?;
    if description.points.contains(&params.migrate.point) {
        return Ok(());
    }
    Err(Error::Target {
        migrator: params.migrator.clone(),
        source: klusterkite_migrator::Error::UnknownPoint {
            point: params.migrate.point.clone(),
            known: description.points,
        },
    })
}

/// Moves under the lock with a process of its own for this move: when the lock is given back nothing of it runs.
fn move_alone(
    session: &mut Session,
    params: &ExecutorMigrateParams,
) -> Result<MigrateResult, Error> {
    let lock = lock(session)?;
    // One that was started to be asked does not hold the lock.
    session.retire(&params.migrator)?;
    session.lock = Some(lock);
    let moved = start(session, params).and_then(|()| move_journalled(session, params));
    let retired = match &moved {
        // The manager is gone: the move stays begun in the journal, and the lock ours, until its processes are dead.
        Err(error) if error.is_end() => {
            session.kill_all();
            Ok(())
        }
        _ => session.retire(&params.migrator),
    };
    // What could not be killed has it still.
    session.lock = None;
    let moved = moved?;
    retired?;
    Ok(moved)
}

fn move_journalled(
    session: &mut Session,
    params: &ExecutorMigrateParams,
) -> Result<MigrateResult, Error> {
    let ExecutorMigrateParams { migrator, migrate } = params;
    let lock_file = session.settings()?.lock_file.clone();
    let path = journal::path_beside(&lock_file);
    let unwritable = |source| Error::Write {
        path: path.clone(),
        source,
    };
    let mut journal = Journal::open(&path).map_err(unwritable)?;
    if let Some(record) = journal.cut_off() {
        let text = format!(
            "the move of resource `{}` of migrator `{}` to `{}` was cut off before",
            record.resource, record.migrator, record.to
        );
        session.log("warn", text);
    }
    let from = current_point(session, migrator, &migrate.resource)?;
    let mut record = Record {
        at: unix_milliseconds(),
        executor: std::process::id(),
        event: Event::Started,
        migrator: migrator.clone(),
        resource: migrate.resource.clone(),
        from,
        to: migrate.point.clone(),
        fence: migrate.fence,
        error: None,
    };
    journal.append(&record).map_err(unwritable)?;
    let moved = order_and_verify(session, migrator, migrate);
    if moved.as_ref().is_err_and(Error::is_end) {
        return moved;
    }
    record.at = unix_milliseconds();
    record.event = Event::Finished;
    record.error = moved.as_ref().err().map(|error| chain(error));
    journal.append(&record).map_err(unwritable)?;
    moved
}

/// Moves, and then looks where the resource is: an answer alone proves nothing.
fn order_and_verify(
    session: &mut Session,
    migrator: &MigratorName,
    migrate: &MigrateParams,
) -> Result<MigrateResult, Error> {
    let answered = order(session, migrator, migrate)?;
    let reached = current_point(session, migrator, &migrate.resource)?;
    if reached.as_ref() == Some(&migrate.point) {
        return Ok(answered);
    }
    Err(Error::OtherPoint {
        migrator: migrator.clone(),
        said: "shows after the move",
        reached: reached.map_or("not created".to_owned(), |point| format!("at `{point}`")),
    })
}

fn order(
    session: &mut Session,
    migrator: &MigratorName,
    migrate: &MigrateParams,
) -> Result<MigrateResult, Error> {
    let limit = session.settings()?.migrate_timeout;
    let answered: MigrateResult = session.ask(migrator, "migrate", json!(migrate), limit)?;
    if answered.point == migrate.point {
        return Ok(answered);
    }
    Err(Error::OtherPoint {
        migrator: migrator.clone(),
        said: "answers",
        reached: format!("at `{}`", answered.point),
    })
}

/// Takes the lock, waiting for another executor's move, but not for ever.
fn lock(session: &mut Session) -> Result<MoveLock, Error> {
    let settings = session.settings()?;
    let path = settings.lock_file.clone();
    let limit = settings.lock_timeout;
    let deadline = Instant::now() + limit;
    let mut told = false;
    loop {
        let tried = try_lock(&path).map_err(|source| Error::Lock {
            path: path.clone(),
            source,
        })?;
        let holder = match tried {
            Tried::Locked(lock) => return Ok(lock),
            Tried::HeldBy(holder) => holder,
        };
        // Its guards do that; this is for those that were killed with it.
        holder.end_left_overs().map_err(|source| Error::Lock {
            path: path.clone(),
            source,
        })?;
        if Instant::now() >= deadline {
            return Err(Error::Locked {
                path,
                holder: holder.to_string(),
                limit,
            });
        }
        if !std::mem::replace(&mut told, true) {
            session.log(
                "info",
                format!("waiting for another executor's move ({holder})"),
            );
        }
        session.pause(LOCK_POLL)?;
    }
}
