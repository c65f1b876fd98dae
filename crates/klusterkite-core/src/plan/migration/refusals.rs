//! Refusals that several operations share.

use std::fmt;

use crate::plan::resources::{ReadError, ResourceKey, TemplateState};
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

/// Says that a resource stays where it is, and why.
pub(crate) fn not_migratable(key: &ResourceKey, why: &str) -> Refusal {
    let message = format!("resource `{key}` cannot be moved now: {why}");
    Refusal::new(ReasonCode::ResourceNotMigratable, message).with("resource", key)
}

/// Says which part of a resource's name nobody knows, and what is known in its place.
pub(crate) fn unknown_part(templates: &[TemplateState], key: &ResourceKey) -> Option<Refusal> {
    let ResourceKey {
        template,
        migrator,
        resource,
    } = key;
    let refusal = |message| {
        let refusal = Refusal::new(ReasonCode::ResourceUnknown, message);
        refusal.with("template", template)
    };
    let Some(template_state) = templates.iter().find(|known| known.code == *template) else {
        let known = listed(templates.iter().map(|known| &known.code));
        let message = format!("there is no migrator template `{template}`; there is {known}");
        return Some(refusal(message));
    };
    let migrators = &template_state.migrators;
    let Some(migrator_state) = migrators.iter().find(|known| known.type_name == *migrator) else {
        let known = listed(migrators.iter().map(|known| &known.type_name));
        let message =
            format!("migrator template `{template}` has no migrator `{migrator}`; it has {known}");
        return Some(refusal(message).with("migrator", migrator));
    };
    let resources = &migrator_state.resources;
    if resources.iter().any(|known| known.code == *resource) {
        return None;
    }
    let known = listed(resources.iter().map(|known| &known.code));
    let message = format!(
        "migrator `{migrator}` of template `{template}` has no resource `{resource}`; it has {known}"
    );
    let refusal = refusal(message).with("migrator", migrator);
    Some(refusal.with("resource", resource))
}

/// Most names in one sentence; who needs the rest looks at the state.
const NAMES_MAX: usize = 10;

fn listed<T: fmt::Display>(mut names: impl Iterator<Item = T>) -> String {
    let shown = names.by_ref().take(NAMES_MAX);
    let shown: Vec<String> = shown.map(|name| format!("`{name}`")).collect();
    match (shown.is_empty(), names.count()) {
        (true, _) => "none".to_owned(),
        (false, 0) => shown.join(", "),
        (false, more) => format!("{} and {more} more", shown.join(", ")),
    }
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
        "rollback",
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
