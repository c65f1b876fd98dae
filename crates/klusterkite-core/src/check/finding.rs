//! What the check says.

use std::collections::BTreeSet;
use std::fmt;

use klusterkite_hocon::Origin;
use serde::{Deserialize, Serialize};

use super::Checked;
use crate::codes::text_codes;
use crate::release::FrozenPackages;

/// How many errors, and how many warnings, are reported; more than an operator reads at once would only slow the page down.
const FINDINGS_MAX: usize = 500;

text_codes! {
    /// Names a finding for machines. The texts are part of the API: they are added, never changed.
    FindingCode
    /// There is no node template.
    NodeTemplatesMissing = "nodeTemplatesMissing",
    /// There is no package.
    PackagesMissing = "packagesMissing",
    /// There is no seed address.
    SeedAddressesMissing = "seedAddressesMissing",
    /// A seed address is not `host:port`.
    SeedAddressInvalid = "seedAddressInvalid",
    /// There is no feed, or it is not an HTTP URL.
    NugetFeedInvalid = "nugetFeedInvalid",
    /// The feed does not answer.
    FeedUnavailable = "feedUnavailable",
    /// The feed refuses the manager's key.
    FeedCredential = "feedCredential",
    /// What answers is no NuGet V3 feed, or a package of it cannot be read.
    FeedAnswerInvalid = "feedAnswerInvalid",
    /// There is no runtime to resolve packages for.
    RuntimesMissing = "runtimesMissing",
    /// A text is not a valid id.
    IdInvalid = "idInvalid",
    /// Two of a kind have the same key.
    Duplicate = "duplicate",
    /// A number lies outside its range.
    OutOfRange = "outOfRange",
    /// The maximum is lower than the minimum.
    MaximumBelowMinimum = "maximumBelowMinimum",
    /// A template names no container type.
    ContainerTypesMissing = "containerTypesMissing",
    /// The entry point is not a path below the service directory.
    EntryPointInvalid = "entryPointInvalid",
    /// No package brings the entry point.
    EntryPointMissing = "entryPointMissing",
    /// A template replaces one that is in the same configuration.
    ReplacesPresent = "replacesPresent",
    /// Minimum equals maximum and there is no surge: no node could ever be replaced.
    NoRoomForUpdate = "noRoomForUpdate",
    /// A setting that this release does not carry out yet.
    NotSupported = "notSupported",
    /// The progress deadline ends before a node can become stable.
    DeadlineTooShort = "deadlineTooShort",
    /// There is no template of the manager, or more than one.
    ManagerTemplateCount = "managerTemplateCount",
    /// The manager's template allows more than one manager on a SQLite store.
    SingleManager = "singleManager",
    /// A version cannot be parsed.
    VersionInvalid = "versionInvalid",
    /// A package is not in the feed.
    PackageNotFound = "packageNotFound",
    /// A package needs one that is not listed.
    DependencyMissing = "dependencyMissing",
    /// A package needs another version of one that is listed.
    DependencyVersion = "dependencyVersion",
    /// Packages need each other in a circle.
    DependencyCycle = "dependencyCycle",
    /// What a package needs cannot be read, or is too much.
    DependenciesInvalid = "dependenciesInvalid",
    /// A template requires no package.
    RequirementsMissing = "requirementsMissing",
    /// A template requires a package that is not listed.
    RequirementNotListed = "requirementNotListed",
    /// No template uses a package.
    PackageUnused = "packageUnused",
    /// A package's files cannot be used.
    FilesInvalid = "filesInvalid",
    /// Two packages bring the same file with different content.
    FileCollision = "fileCollision",
    /// A package brings a file whose name belongs to the launcher or the host.
    FileReserved = "fileReserved",
    /// A settings text cannot be parsed or merged.
    ConfigurationInvalid = "configurationInvalid",
    /// A settings text refers to a variable of the node's environment that has to exist.
    EnvironmentRequired = "environmentRequired",
    /// A manifest cannot be parsed or merged.
    ManifestInvalid = "manifestInvalid",
    /// A migrator template lists no migrator.
    MigratorsMissing = "migratorsMissing",
    /// A migrator is in none of the template's packages.
    MigratorNotFound = "migratorNotFound",
    /// A stop of a node may take longer than there is time for it.
    StopTooLong = "stopTooLong",
    /// Another configuration has the same version label.
    VersionLabelTaken = "versionLabelTaken",
    /// There were more findings than are shown.
    MoreFindings = "moreFindings",
}

/// Says how bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Severity {
    /// The configuration cannot become Ready.
    Error,
    /// It can, and somebody should look.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// Says what is wrong with one part of the settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Finding {
    /// What it is.
    pub code: FindingCode,
    /// How bad it is.
    pub severity: Severity,
    /// Path of the setting that is to blame, such as `nodeTemplates["web"].rollout.batch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// One sentence: what is wrong and what to do.
    pub message: String,
    /// Line in the text of the field, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Column in that line, in characters from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
}

/// Collects findings, of each severity no more than are shown.
#[derive(Debug, Default)]
pub(super) struct Findings {
    found: Vec<Finding>,
    /// What was found in which field, for those who say a thing once.
    seen: BTreeSet<(FindingCode, String)>,
    errors: usize,
    warnings: usize,
}

impl Findings {
    pub(super) fn error(
        &mut self,
        code: FindingCode,
        field: impl Into<String>,
        message: impl Into<String>,
    ) {
        self.errors += 1;
        if self.errors <= FINDINGS_MAX {
            self.add(Severity::Error, code, field.into(), message.into());
        }
    }

    pub(super) fn warning(
        &mut self,
        code: FindingCode,
        field: impl Into<String>,
        message: impl Into<String>,
    ) {
        self.warnings += 1;
        if self.warnings <= FINDINGS_MAX {
            self.add(Severity::Warning, code, field.into(), message.into());
        }
    }

    /// Reports an error at a place of the field's text.
    pub(super) fn error_at(
        &mut self,
        code: FindingCode,
        field: String,
        message: String,
        place: &Origin,
    ) {
        let shown = self.found.len();
        self.error(code, field, message);
        if let Some(finding) = self.found.get_mut(shown) {
            (finding.line, finding.column) = (place.line(), place.column());
        }
    }

    /// Reports an error unless the field has one of this kind already.
    pub(super) fn error_once(
        &mut self,
        code: FindingCode,
        field: String,
        message: impl FnOnce() -> String,
    ) {
        if !self.has(code, &field) {
            self.error(code, field, message());
        }
    }

    /// Tells whether this was found in this field already; one per field and kind is enough.
    pub(super) fn has(&self, code: FindingCode, field: &str) -> bool {
        self.seen.contains(&(code, field.to_owned()))
    }

    /// Counts the errors so far.
    pub(super) fn errors(&self) -> usize {
        self.errors
    }

    pub(super) fn conclude(self, frozen: FrozenPackages) -> Result<Checked, Vec<Finding>> {
        let has_errors = self.errors > 0;
        let found = self.into_list();
        if has_errors {
            return Err(found);
        }
        Ok(Checked {
            frozen,
            warnings: found,
        })
    }

    /// Returns what was found, and how much of it is not shown.
    pub(super) fn into_list(mut self) -> Vec<Finding> {
        let hidden =
            self.errors.saturating_sub(FINDINGS_MAX) + self.warnings.saturating_sub(FINDINGS_MAX);
        if hidden > 0 {
            let message = format!("{hidden} more findings are not shown");
            self.add(
                Severity::Warning,
                FindingCode::MoreFindings,
                String::new(),
                message,
            );
        }
        self.found
    }

    fn add(&mut self, severity: Severity, code: FindingCode, field: String, message: String) {
        self.seen.insert((code, field.clone()));
        let field = Some(field).filter(|field| !field.is_empty());
        self.found.push(Finding {
            code,
            severity,
            field,
            message,
            line: None,
            column: None,
        });
    }
}
