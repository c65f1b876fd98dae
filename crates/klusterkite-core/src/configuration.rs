//! The states of a configuration and what may be done in each.
//!
//! ```text
//! Draft ──setReady──► Ready ──activate──► Active ──leave──► Archived ──activate──► Active
//!                       │                    │
//!                   setObsolete           turnBack
//!                       ▼                    ▼
//!                   Obsolete              Faulted ──activate (retryFaulted)──► Active
//! ```
//!
//! A configuration that is not a Draft never changes (B3); what happened to it is its state.

mod diff;

pub use diff::{ChangeKind, FieldChange, PackageChange, SettingsDiff, TemplateChange, diff};

use std::fmt;

use klusterkite_wire::ConfigurationId;
use serde::{Deserialize, Serialize};

use crate::reason::{Operation, ReasonCode, Refusal};

/// Says where a configuration is in its life.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ConfigurationState {
    /// It is being written.
    #[default]
    Draft,
    /// It passed the check and waits to be applied; exact packages are frozen.
    Ready,
    /// It is in force.
    Active,
    /// It was Active and has been replaced.
    Archived,
    /// It was discarded by hand while it was Ready.
    Obsolete,
    /// It was being applied when the cluster was turned back.
    Faulted,
}

impl fmt::Display for ConfigurationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Draft => "Draft",
            Self::Ready => "Ready",
            Self::Active => "Active",
            Self::Archived => "Archived",
            Self::Obsolete => "Obsolete",
            Self::Faulted => "Faulted",
        })
    }
}

/// Names what is to be done with a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// Change its settings or labels.
    Update,
    /// Remove it.
    Delete,
    /// Run the check and store nothing.
    Check,
    /// Run the check and freeze it.
    SetReady,
    /// Discard it.
    SetObsolete,
    /// Mark it as stable or not.
    SetStable(bool),
    /// Make it the destination of a migration.
    Target {
        /// A Faulted configuration may be tried again.
        retry_faulted: bool,
    },
    /// Nodes start to move to it: it becomes the one in force.
    Activate,
    /// Nodes start to move away from it to another configuration.
    Leave,
    /// Nodes start to move back from it to where the migration came from.
    TurnBack {
        /// What it was before it was activated.
        before: ConfigurationState,
    },
}

/// What besides the state decides about a trigger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConfigurationContext {
    /// Its mark "stable".
    pub is_stable: bool,
    /// Another configuration that is Ready, if there is one.
    pub other_ready: Option<ConfigurationId>,
    /// True while a running migration leads to it.
    pub is_migration_target: bool,
}

/// Returns the state after the trigger, or why it is refused.
///
/// `Update`, `Delete`, `Check`, `SetStable` and `Target` leave the state as it is. The content of a
/// configuration (does it pass the check?) is not looked at here.
pub fn allowed(
    state: ConfigurationState,
    trigger: Trigger,
    context: &ConfigurationContext,
) -> Result<ConfigurationState, Refusal> {
    use ConfigurationState::{Active, Archived, Draft, Faulted, Obsolete, Ready};
    match trigger {
        Trigger::Update => only_draft(state, "changed").map(|()| Draft),
        Trigger::Delete => only_draft(state, "deleted").map(|()| Draft),
        Trigger::Check => only_draft(state, "checked").map(|()| Draft),
        Trigger::SetReady => {
            only_draft(state, "made ready")?;
            no_other_ready(context).map(|()| Ready)
        }
        Trigger::SetObsolete => obsolete(state, context).map(|()| Obsolete),
        Trigger::SetStable(stable) => stable_mark(state, stable, context).map(|()| Active),
        Trigger::Target { retry_faulted } => target(state, retry_faulted).map(|()| state),
        Trigger::Activate => match state {
            Ready | Archived | Faulted => Ok(Active),
            Draft | Active | Obsolete => Err(wrong_state(state, "become Active")),
        },
        // B21: going back from a configuration that had run well before does not make it Faulted.
        Trigger::Leave | Trigger::TurnBack { before: Archived } if state == Active => Ok(Archived),
        Trigger::Leave => Err(wrong_state(state, "be archived")),
        Trigger::TurnBack { .. } if state == Active => Ok(Faulted),
        Trigger::TurnBack { .. } => Err(wrong_state(state, "be turned back")),
    }
}

/// Lists the operations on a configuration as the API shows them.
pub fn operations(state: ConfigurationState, context: &ConfigurationContext) -> Vec<Operation> {
    let ask = |id, trigger| Operation::new(id, allowed(state, trigger, context));
    let migrate = ask(
        "migrate",
        Trigger::Target {
            retry_faulted: true,
        },
    );
    vec![
        ask("update", Trigger::Update),
        ask("delete", Trigger::Delete),
        ask("check", Trigger::Check),
        ask("setReady", Trigger::SetReady).recommended(),
        if state == ConfigurationState::Ready {
            migrate.recommended()
        } else {
            migrate
        },
        ask("setObsolete", Trigger::SetObsolete),
        ask("setStable", Trigger::SetStable(!context.is_stable)),
    ]
}

fn only_draft(state: ConfigurationState, done: &str) -> Result<(), Refusal> {
    if state == ConfigurationState::Draft {
        return Ok(());
    }
    let message = format!(
        "only a Draft can be {done}, and this configuration is {state}; copy it to get a Draft"
    );
    Err(Refusal::new(ReasonCode::NotDraft, message).with("state", state))
}

fn no_other_ready(context: &ConfigurationContext) -> Result<(), Refusal> {
    let Some(other) = context.other_ready else {
        return Ok(());
    };
    let message =
        format!("configuration {other} is Ready already; apply it or make it obsolete first");
    Err(Refusal::new(ReasonCode::AnotherIsReady, message).with("configuration", other))
}

fn obsolete(state: ConfigurationState, context: &ConfigurationContext) -> Result<(), Refusal> {
    if state != ConfigurationState::Ready {
        let message =
            format!("only a Ready configuration can be made obsolete, and this one is {state}");
        return Err(Refusal::new(ReasonCode::NotReady, message).with("state", state));
    }
    if context.is_migration_target {
        let message =
            "the running migration leads to this configuration; cancel the migration first";
        return Err(Refusal::new(ReasonCode::TargetOfMigration, message));
    }
    Ok(())
}

fn stable_mark(
    state: ConfigurationState,
    stable: bool,
    context: &ConfigurationContext,
) -> Result<(), Refusal> {
    if state != ConfigurationState::Active {
        let message = format!(
            "only the Active configuration can be marked as stable, and this one is {state}"
        );
        return Err(Refusal::new(ReasonCode::NotActive, message).with("state", state));
    }
    if context.is_stable == stable {
        let mark = if stable { "stable" } else { "not stable" };
        let message = format!("the configuration is marked as {mark} already");
        return Err(Refusal::new(ReasonCode::NothingChanges, message));
    }
    Ok(())
}

fn target(state: ConfigurationState, retry_faulted: bool) -> Result<(), Refusal> {
    let (code, message) = match state {
        ConfigurationState::Ready | ConfigurationState::Archived => return Ok(()),
        ConfigurationState::Faulted if retry_faulted => return Ok(()),
        ConfigurationState::Faulted => (
            ReasonCode::TargetIsFaulted,
            "the cluster was turned back from this configuration before; ask with `retryFaulted` to try it again",
        ),
        ConfigurationState::Draft => (
            ReasonCode::TargetIsDraft,
            "the cluster cannot migrate to a Draft; make the configuration ready first",
        ),
        ConfigurationState::Obsolete => (
            ReasonCode::TargetIsObsolete,
            "the cluster cannot migrate to an Obsolete configuration; copy it to get a Draft",
        ),
        ConfigurationState::Active => (
            ReasonCode::TargetIsActive,
            "the cluster is in this configuration already",
        ),
    };
    Err(Refusal::new(code, message).with("state", state))
}

fn wrong_state(state: ConfigurationState, step: &str) -> Refusal {
    let message = format!("a configuration that is {state} cannot {step}");
    Refusal::new(ReasonCode::WrongState, message).with("state", state)
}

#[cfg(test)]
mod tests;
