//! The words in which decisions explain themselves: refusals, waits and operations.
//!
//! Law 6 of the architecture: if the system waits, it says for what. Each explanation is made by the code
//! that enforces the rule, so it cannot disagree with what happens.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::codes::text_codes;

text_codes! {
    /// Names a reason for machines. The texts are part of the API: they are added, never changed.
    ReasonCode
    /// Only a Draft can be edited, deleted, checked or made Ready.
    NotDraft = "notDraft",
    /// Only a Ready configuration can be made Obsolete by hand.
    NotReady = "notReady",
    /// Only the Active configuration can be marked stable.
    NotActive = "notActive",
    /// Another configuration is Ready already.
    AnotherIsReady = "anotherIsReady",
    /// The configuration is the target of the running migration.
    TargetOfMigration = "targetOfMigration",
    /// The request asks for what is so already.
    NothingChanges = "nothingChanges",
    /// The cluster cannot go to a Draft.
    TargetIsDraft = "targetIsDraft",
    /// The cluster cannot go to an Obsolete configuration.
    TargetIsObsolete = "targetIsObsolete",
    /// The cluster goes to a Faulted configuration only when asked to retry it.
    TargetIsFaulted = "targetIsFaulted",
    /// The cluster is in this configuration already.
    TargetIsActive = "targetIsActive",
    /// The configuration is not in the state that this transition starts from.
    WrongState = "wrongState",

    /// An operation or an analysis of the resources is running.
    Busy = "busy",
    /// The resources have not been read yet.
    ResourcesUnknown = "resourcesUnknown",
    /// Reading the resources failed.
    AnalysisFailed = "analysisFailed",
    /// Some resource is not at the last point of its migrator.
    ResourcesLag = "resourcesLag",
    /// Some node does not run the Active configuration.
    NodesObsolete = "nodesObsolete",
    /// A migration is running.
    MigrationRuns = "migrationRuns",
    /// No migration is running.
    NoMigration = "noMigration",
    /// The migration is still being analysed.
    MigrationPreparing = "migrationPreparing",
    /// The migration is paused.
    MigrationPaused = "migrationPaused",
    /// The migration is not paused.
    MigrationNotPaused = "migrationNotPaused",
    /// The migration is automatic: the manager releases its steps.
    MigrationAutomatic = "migrationAutomatic",
    /// The migration is manual: the operator releases its steps, back as well.
    MigrationManual = "migrationManual",
    /// The operation is not possible in the current step of the migration.
    WrongStep = "wrongStep",
    /// There is no resource that could be moved.
    NothingToMigrate = "nothingToMigrate",
    /// There is no such migrator template, migrator or resource.
    ResourceUnknown = "resourceUnknown",
    /// The resource cannot be moved now.
    ResourceNotMigratable = "resourceNotMigratable",
    /// No migrator knows both the resource's point and the wanted one.
    NoExecutor = "noExecutor",
    /// The two point lists of a migrator share no line.
    DirectionUndefined = "directionUndefined",
    /// A resource is at a point that no migrator knows.
    ResourceOutOfScope = "resourceOutOfScope",
    /// The move cannot be taken back.
    Irreversible = "irreversible",

    /// The template has exactly as many ready nodes as it must have.
    AtMinimum = "atMinimum",
    /// The template has fewer ready nodes than it must have.
    BelowMinimum = "belowMinimum",
    /// As many nodes are being replaced as one batch allows.
    BatchInFlight = "batchInFlight",
    /// Nothing can stop before one more container of a fitting type asks for work.
    NeedsContainer = "needsContainer",
    /// The node fetches the packages of what it becomes next.
    Prefetching = "prefetching",
    /// The node was told to stop and has not been replaced yet.
    Replacing = "replacing",
    /// A replacement has to be ready for a while before the next node stops.
    NotStable = "notStable",
    /// The first wave of the new configuration has to prove itself.
    Canary = "canary",
    /// Too many replacements failed to become stable.
    FailureGate = "failureGate",
    /// No progress within the deadline.
    ProgressDeadline = "progressDeadline",
    /// Voluntary stops are paused.
    Paused = "paused",
    /// Too many nodes vanished at once.
    MassFailure = "massFailure",
    /// The manager has just started and has not heard of the nodes yet.
    Unconfirmed = "unconfirmed",
    /// A node is out of reach; it is replaced when it comes back, or given up.
    Unreachable = "unreachable",
    /// A node is about to start.
    Starting = "starting",
    /// The manager's own template moves after all others.
    ManagerLast = "managerLast",
    /// The only manager stays: nobody else could tell its container what to do.
    OnlyManager = "onlyManager",
    /// The manager's node stays while it moves a resource.
    ResourceMoving = "resourceMoving",
    /// The templates that replace this one are not at their minimum yet.
    ReplacementsMissing = "replacementsMissing",
    /// Nodes leave a removed template after the other templates have moved.
    RemovedLast = "removedLast",
    /// No container could hold what the template needs.
    MinimumUnreachable = "minimumUnreachable",
    /// No packages are frozen for the node's runtime.
    NoPackages = "noPackages",
    /// A package is not in the feed any more.
    PackageMissing = "packageMissing",
}

/// Says why something that was asked for is not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Refusal {
    /// Reason for machines.
    pub code: ReasonCode,
    /// One sentence for people: what is refused, on which object, what to do.
    pub message: String,
    /// The objects that the sentence names, by kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
}

impl Refusal {
    /// Makes a refusal with a code and a sentence.
    pub fn new(code: ReasonCode, message: impl Into<String>) -> Self {
        let message = message.into();
        let params = BTreeMap::new();
        Self {
            code,
            message,
            params,
        }
    }

    /// Names one object that the refusal is about.
    pub fn with(mut self, kind: &str, object: impl fmt::Display) -> Self {
        self.params.insert(kind.to_owned(), object.to_string());
        self
    }
}

/// Says what the system waits for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Waiting {
    /// Reason for machines.
    pub code: ReasonCode,
    /// One sentence for people.
    pub message: String,
    /// The objects that the sentence names, by kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
}

impl Waiting {
    /// Makes a wait with a code and a sentence.
    pub fn new(code: ReasonCode, message: impl Into<String>) -> Self {
        let message = message.into();
        let params = BTreeMap::new();
        Self {
            code,
            message,
            params,
        }
    }

    /// Names one object that the wait is about.
    pub fn with(mut self, kind: &str, object: impl fmt::Display) -> Self {
        self.params.insert(kind.to_owned(), object.to_string());
        self
    }
}

impl From<Refusal> for Waiting {
    fn from(
        Refusal {
            code,
            message,
            params,
        }: Refusal,
    ) -> Self {
        Self {
            code,
            message,
            params,
        }
    }
}

/// Says whether one operation on an object is possible now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Operation {
    /// Name of the operation.
    pub id: String,
    /// True when asking for it now would be accepted.
    pub allowed: bool,
    /// True for the operation that leads on from here.
    #[serde(default)]
    pub recommended: bool,
    /// Why it is not allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Refusal>,
}

impl Operation {
    /// Describes an operation by what enforcing it would answer.
    pub fn new<T>(id: &str, outcome: Result<T, Refusal>) -> Self {
        let reason = outcome.err();
        Self {
            id: id.to_owned(),
            allowed: reason.is_none(),
            recommended: false,
            reason,
        }
    }

    /// Marks the operation as the one that leads on, if it does and is allowed.
    pub fn recommended_if(self, leads_on: bool) -> Self {
        if leads_on { self.recommended() } else { self }
    }

    /// Marks the operation as the one that leads on, if it is allowed.
    pub fn recommended(mut self) -> Self {
        self.recommended = self.allowed;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_written_as_their_text() {
        for code in ReasonCode::ALL {
            let json = serde_json::to_string(code).unwrap();
            assert_eq!(json, format!("\"{code}\""));
            assert_eq!(serde_json::from_str::<ReasonCode>(&json).unwrap(), *code);
        }
    }

    #[test]
    fn a_code_of_a_newer_release_is_still_readable() {
        let refusal: Refusal =
            serde_json::from_str(r#"{"code":"moonPhase","message":"wait"}"#).unwrap();
        assert_eq!(refusal.code, ReasonCode::Unknown);
    }

    #[test]
    fn an_operation_is_allowed_exactly_when_nothing_refuses_it() {
        let refused = Operation::new::<()>("finish", Err(Refusal::new(ReasonCode::Busy, "busy")));
        assert!(!refused.allowed && !refused.clone().recommended().recommended);
        assert!(Operation::new("finish", Ok(())).recommended().recommended);
    }
}
