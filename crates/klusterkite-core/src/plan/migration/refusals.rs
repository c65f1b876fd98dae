//! Refusals that several operations share.

use crate::plan::resources::{ReadError, ResourceKey};
use crate::reason::{Operation, ReasonCode, Refusal};

pub(crate) fn busy() -> Refusal {
    Refusal::new(
        ReasonCode::Busy,
        "resources are being read or moved; try again when that has ended",
    )
}

pub(crate) fn nodes_obsolete() -> Refusal {
    let message =
        "some nodes do not run the Active configuration yet; wait until they are replaced";
    Refusal::new(ReasonCode::NodesObsolete, message)
}

pub(crate) fn nodes_missing() -> Refusal {
    let message =
        "some template has fewer stable nodes than its minimum; see what the cluster waits for";
    Refusal::new(ReasonCode::BelowMinimum, message)
}

pub(crate) fn nothing_to_migrate() -> Refusal {
    Refusal::new(ReasonCode::NothingToMigrate, "no resource can be moved now")
}

pub(crate) fn not_migratable(key: &ResourceKey) -> Refusal {
    let message =
        format!("resource `{key}` cannot be moved now; see the list of migratable resources");
    Refusal::new(ReasonCode::ResourceNotMigratable, message).with("resource", key)
}

pub(crate) fn analysis_failed(error: &ReadError) -> Refusal {
    let ReadError {
        side,
        template,
        migrator,
        message,
    } = error;
    let object = match migrator {
        Some(migrator) => format!("migrator `{migrator}` of template `{template}`"),
        None => format!("migrator template `{template}`"),
    };
    let message =
        format!("{object} of the {side} could not be read: {message}; repair it and recheck");
    Refusal::new(ReasonCode::AnalysisFailed, message).with("template", template)
}

pub(crate) fn resources_unknown() -> Refusal {
    Refusal::new(
        ReasonCode::ResourcesUnknown,
        "the resources have not been read yet",
    )
}

pub(crate) fn migration_runs() -> Refusal {
    Refusal::new(
        ReasonCode::MigrationRuns,
        "a migration is running; finish or cancel it first",
    )
}

/// Lists the operations that only a running migration has, as refused.
pub(crate) fn without_migration() -> Vec<Operation> {
    let ids = [
        "updateNodesToDestination",
        "updateNodesToSource",
        "cancel",
        "finish",
        "pause",
        "resume",
    ];
    let refused = || {
        Err::<(), _>(Refusal::new(
            ReasonCode::NoMigration,
            "no migration is running",
        ))
    };
    ids.into_iter()
        .map(|id| Operation::new(id, refused()))
        .collect()
}
