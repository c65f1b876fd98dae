//! Configurations as the API shows them.

use klusterkite_api::configurations::Configuration;
use klusterkite_core::configuration::operations;
use klusterkite_core::reason::{Operation, ReasonCode, Refusal};
use klusterkite_store::rows::ConfigurationRow;
use klusterkite_wire::time::rfc3339;

use super::context;
use crate::state::State;

/// Shows a configuration with its settings.
pub(super) fn whole(state: &State, row: &ConfigurationRow) -> Configuration {
    Configuration {
        settings: Some(row.settings.clone()),
        ..without_settings(state, row)
    }
}

/// Shows a configuration as it stands in lists.
pub(super) fn without_settings(state: &State, row: &ConfigurationRow) -> Configuration {
    Configuration {
        id: row.id,
        name: row.name.clone(),
        major_version: row.major_version,
        minor_version: row.minor_version,
        notes: row.notes.clone(),
        state: row.state,
        is_stable: row.is_stable,
        created: rfc3339(row.created),
        started: row.started.map(rfc3339),
        finished: row.finished.map(rfc3339),
        revision: row.revision,
        settings: None,
        operations: allowed_operations(state, row),
    }
}

/// Lists what can be done; a running migration stands against another one, whatever the configuration is.
fn allowed_operations(state: &State, row: &ConfigurationRow) -> Vec<Operation> {
    let mut operations = operations(row.state, &context(state, row));
    if let Some(migration) = &state.migration {
        let runs = || {
            Refusal::new(ReasonCode::MigrationRuns, "a migration is running")
                .with("migration", migration.id)
        };
        for operation in &mut operations {
            if operation.id == "migrate" && operation.allowed {
                *operation = Operation::new::<()>("migrate", Err(runs()));
            }
        }
    }
    operations
}
