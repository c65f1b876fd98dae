//! Configurations and packages.

use klusterkite_core::check::Finding;
use klusterkite_core::configuration::{ConfigurationState, SettingsDiff};
use klusterkite_core::reason::Operation;
use klusterkite_core::settings::Settings;
use klusterkite_wire::{ConfigurationId, TemplateCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A configuration of the whole cluster. Lists show it without `settings`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Configuration {
    /// Id.
    pub id: ConfigurationId,
    /// Name for people.
    pub name: String,
    /// Major version label.
    pub major_version: i64,
    /// Minor version label.
    pub minor_version: i64,
    /// Notes for people.
    pub notes: String,
    /// State.
    pub state: ConfigurationState,
    /// Marked as known to work well.
    pub is_stable: bool,
    /// When it was created, RFC 3339.
    pub created: String,
    /// When the cluster first moved to it, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// When the cluster last moved away from it, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<String>,
    /// Grows with each change; `If-Match` of a patch names it.
    pub revision: i64,
    /// What the cluster is; absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Settings>,
    /// What can be done with it now (`update`, `delete`, `check`, `setReady`, `migrate`, `setObsolete`, `setStable`).
    #[serde(default)]
    pub operations: Vec<Operation>,
}

/// Makes a Draft.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigurationCreate {
    /// Take the settings of this one; without it and without `settings` the Draft is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_of: Option<ConfigurationId>,
    /// Set every package to the newest version in the feed.
    #[serde(default)]
    pub newest_packages: bool,
    /// Name; default: that of the original.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Notes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// Major version; default: that of the original.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub major_version: Option<i64>,
    /// Minor version; default: one more than that of the original.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minor_version: Option<i64>,
    /// Settings; not together with `copyOf`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Settings>,
}

/// Changes a Draft: only present fields are written; `settings` is replaced as a whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigurationPatch {
    /// Name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Notes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// Major version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub major_version: Option<i64>,
    /// Minor version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minor_version: Option<i64>,
    /// Settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Settings>,
}

/// Marks the Active configuration (B2: the wanted value is in the request).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StableRequest {
    /// Wanted value.
    pub is_stable: bool,
}

/// Result of a check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckResult {
    /// Findings; the configuration can be made Ready when none has severity `error`.
    pub errors: Vec<Finding>,
}

/// Differences between two configurations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigurationDiff {
    /// The older side.
    pub against: ConfigurationId,
    /// What differs.
    pub diff: SettingsDiff,
    /// Templates whose nodes would restart, with the reason.
    pub restarts: Vec<TemplateRestart>,
}

/// Says why the nodes of a template restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateRestart {
    /// The template.
    pub template: TemplateCode,
    /// One sentence.
    pub reason: String,
}

/// A package of the feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Package {
    /// Package id.
    pub id: String,
    /// Newest listed version.
    pub version: String,
    /// All listed versions, oldest first.
    pub versions: Vec<String>,
    /// Description.
    pub description: String,
}
