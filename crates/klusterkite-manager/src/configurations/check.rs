//! Check, Ready and differences: where configurations meet the feed and the core's rules.

use klusterkite_api::configurations::{
    CheckResult, Configuration, ConfigurationDiff, TemplateRestart,
};
use klusterkite_core::check::{
    CheckContext, Checked, Finding, FindingCode, Severity, check, check_without_feed, names_feed,
    needed,
};
use klusterkite_core::configuration::{
    ChangeKind, ConfigurationState, FieldChange, SettingsDiff, Trigger, allowed, diff,
};
use klusterkite_core::plan::compatibility::restart_reason;
use klusterkite_core::release::Release;
use klusterkite_core::settings::Settings;
use klusterkite_store::rows::ConfigurationRow;
use klusterkite_wire::ConfigurationId;

use super::{context, event, put, row};
use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::feed::Freshness;
use crate::state::State;

/// What the check says: packages to freeze and warnings, or findings with an error among them.
type Outcome = Result<Checked, Vec<Finding>>;

impl Cluster {
    /// Checks a Draft and stores nothing.
    pub async fn configuration_check(&self, id: ConfigurationId) -> Result<CheckResult, Fault> {
        let row = self.row_if(id, Trigger::Check).await?;
        let label = label_taken(&*self.read().await, &row);
        let outcome = self.outcome(row.settings, Freshness::Remembered).await;
        let mut errors = outcome.map_or_else(|findings| findings, |checked| checked.warnings);
        errors.extend(label);
        Ok(CheckResult { errors })
    }

    /// Checks a Draft, freezes its packages and makes it Ready.
    ///
    /// The feed is asked without holding anything. So the Draft is looked at again before it is stored:
    /// what was checked is what becomes Ready.
    pub async fn configuration_ready(
        &self,
        id: ConfigurationId,
        actor: &str,
    ) -> Result<Configuration, Fault> {
        let checked_row = self.row_if(id, Trigger::SetReady).await?;
        let outcome = self.outcome(checked_row.settings, Freshness::Now).await;
        let frozen = outcome.map_err(Fault::CheckFailed)?.frozen;
        self.transact(|draft| {
            let mut row = row(draft.state, id)?.clone();
            row.state = allowed(row.state, Trigger::SetReady, &context(draft.state, &row))?;
            if row.revision != checked_row.revision {
                return Err(Fault::Precondition(format!(
                    "configuration {id} was changed while it was being checked; try again"
                )));
            }
            Release::new(id, &row.settings, &frozen).map_err(|error| {
                Fault::invalid("settings", format!("the check missed an error: {error}"))
            })?;
            row.frozen = Some(frozen);
            event(
                draft,
                "configurationReady",
                actor,
                id,
                format!("configuration {id} is Ready"),
            );
            put(draft, row);
            Ok(())
        })
        .await?;
        self.configuration_get(id).await
    }

    /// Compares a configuration with another one, by default with the Active one.
    pub async fn configuration_diff(
        &self,
        id: ConfigurationId,
        against: Option<ConfigurationId>,
    ) -> Result<ConfigurationDiff, Fault> {
        let (before, after) = {
            let state = self.read().await;
            let against = against.or_else(|| state.active_id()).ok_or_else(|| {
                Fault::conflict(
                    "noActiveConfiguration",
                    "no configuration is Active; name one in `against`",
                )
            })?;
            (row(&state, against)?.clone(), row(&state, id)?.clone())
        };
        let differences = diff(&before.settings, &after.settings);
        let releases = (self.release(&before).await, self.release(&after).await);
        let restarts = match &releases {
            (Some(from), Some(to)) => restarts(from, to),
            _ => restarts_by_settings(&differences),
        };
        Ok(ConfigurationDiff {
            against: before.id,
            diff: differences,
            restarts,
        })
    }

    async fn row_if(
        &self,
        id: ConfigurationId,
        trigger: Trigger,
    ) -> Result<ConfigurationRow, Fault> {
        let state = self.read().await;
        let row = row(&state, id)?;
        allowed(row.state, trigger, &context(&state, row))?;
        Ok(row.clone())
    }

    /// Asks the feed and runs the check; a feed that does not answer is a finding like others.
    async fn outcome(&self, settings: Settings, freshness: Freshness) -> Outcome {
        // SQLite has one writer, so there is one manager.
        let context = CheckContext {
            single_manager: true,
        };
        let facts = if names_feed(&settings) {
            let asked = self
                .feed()
                .facts(&settings.nuget_feed, needed(&settings), freshness);
            asked.await.map_err(Some)
        } else {
            Err(None)
        };
        let checked = tokio::task::spawn_blocking(move || match facts {
            Ok(facts) => check(&settings, &facts, context),
            Err(problem) => Err(check_without_feed(&settings, problem, context)),
        });
        checked
            .await
            .expect("the check takes every input without a panic")
    }

    /// Types a configuration; a Draft is checked for that. `None`: it has errors, or the feed is away.
    async fn release(&self, row: &ConfigurationRow) -> Option<Release> {
        let frozen = match &row.frozen {
            Some(frozen) => frozen.clone(),
            None => {
                self.outcome(row.settings.clone(), Freshness::Remembered)
                    .await
                    .ok()?
                    .frozen
            }
        };
        Release::new(row.id, &row.settings, &frozen).ok()
    }
}

/// Warns when people could take a configuration for another one that was Ready before.
fn label_taken(state: &State, row: &ConfigurationRow) -> Option<Finding> {
    let label = |row: &ConfigurationRow| (row.major_version, row.minor_version);
    let mut others = state.configurations.values();
    let other = others.find(|other| {
        other.id != row.id && other.state != ConfigurationState::Draft && label(other) == label(row)
    })?;
    let (major, minor) = label(row);
    Some(Finding {
        code: FindingCode::VersionLabelTaken,
        severity: Severity::Warning,
        field: Some("minorVersion".to_owned()),
        message: format!(
            "configuration {} is version {major}.{minor} too; choose another label",
            other.id
        ),
        line: None,
        column: None,
    })
}

/// Says for each template whether its nodes restart; the runtimes of a template mostly agree, the first speaks.
fn restarts(from: &Release, to: &Release) -> Vec<TemplateRestart> {
    let reasons = from.node_templates.iter().filter_map(|(code, template)| {
        let mut runtimes = template.packages.keys();
        let reason = runtimes.find_map(|runtime| restart_reason(from, to, code, runtime))?;
        Some(TemplateRestart {
            template: code.clone(),
            reason: reason.to_string(),
        })
    });
    reasons.collect()
}

/// Says which nodes restart as far as the settings tell, when packages cannot be resolved.
fn restarts_by_settings(differences: &SettingsDiff) -> Vec<TemplateRestart> {
    let reasons = differences.node_templates.iter().filter_map(|change| {
        let reason = match change.kind {
            ChangeKind::Added => return None,
            ChangeKind::Removed => "the template is not in the configuration",
            ChangeKind::Changed if !change.fields.iter().any(needs_restart) => return None,
            ChangeKind::Changed => {
                "the template changed (packages are not resolved: see the check)"
            }
        };
        Some(TemplateRestart {
            template: change.code.parse().ok()?,
            reason: reason.to_owned(),
        })
    });
    reasons.collect()
}

/// Tells whether a changed field of a template restarts its nodes: counts, priorities and names do not.
fn needs_restart(change: &FieldChange) -> bool {
    [
        "configuration",
        "entryPoint",
        "packageRequirements",
        "forceUpdate",
    ]
    .contains(&change.field.as_str())
}
