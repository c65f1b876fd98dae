//! What goes wrong in a request, and the one table that maps it to the outside.

use std::sync::Arc;
use std::time::Duration;

use klusterkite_api::privileges::Privilege;
use klusterkite_core::check::Finding;
use klusterkite_core::reason::Refusal;
use klusterkite_wire::Problem;
use klusterkite_wire::problem::FieldProblem;

/// Why a request is not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The state does not allow it now.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The object does not exist.
    #[error("there is no {kind} `{id}`")]
    NotFound {
        /// Kind of the object.
        kind: &'static str,
        /// Id that was asked for.
        id: String,
    },
    /// The input is wrong.
    #[error("{message}")]
    Invalid {
        /// Path of the field.
        field: Option<String>,
        /// What is wrong with it.
        message: String,
    },
    /// The configuration check found errors.
    #[error("the configuration has {} errors: see `errors`", .0.len())]
    CheckFailed(Vec<Finding>),
    /// No valid token.
    #[error("{0}")]
    Unauthorized(&'static str),
    /// The token lacks a privilege.
    #[error("this needs the privilege `{0}`")]
    Forbidden(Privilege),
    /// Something else forbids it for ever, for this client.
    #[error("{message}")]
    Denied {
        /// Machine code.
        code: &'static str,
        /// One sentence.
        message: String,
    },
    /// Something else stands against it.
    #[error("{message}")]
    Conflict {
        /// Machine code.
        code: &'static str,
        /// One sentence.
        message: String,
    },
    /// `If-Match` names another revision.
    #[error("{0}")]
    Precondition(String),
    /// `If-Match` is missing.
    #[error("give the revision that you have read in the header `If-Match`")]
    PreconditionMissing,
    /// A launcher has to wait.
    #[error("{message}")]
    Wait {
        /// One of [`klusterkite_wire::start::WAIT_CODES`].
        code: &'static str,
        /// One sentence.
        message: String,
        /// When to ask again.
        retry_after: Duration,
    },
    /// Too many requests.
    #[error("too many tries; try again in {} s", .retry_after.as_secs())]
    TooMany {
        /// When to try again.
        retry_after: Duration,
    },
    /// Something that the request needs does not answer.
    #[error("{message}")]
    Unavailable {
        /// Machine code.
        code: &'static str,
        /// One sentence.
        message: String,
    },
    /// The store failed; its own sentence stays in the log.
    #[error("{}", store_sentence(.0))]
    Store(Arc<klusterkite_store::Error>),
}

impl From<klusterkite_store::Error> for Fault {
    fn from(error: klusterkite_store::Error) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl Fault {
    /// Says that an object does not exist.
    pub fn not_found(kind: &'static str, id: impl ToString) -> Self {
        Self::NotFound {
            kind,
            id: id.to_string(),
        }
    }

    /// Says that a field of the input is wrong.
    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::Invalid {
            field: Some(field.to_owned()),
            message: message.into(),
        }
    }

    /// Says that something stands against the request.
    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::Conflict {
            code,
            message: message.into(),
        }
    }

    /// Maps the fault to the outside: status, code, sentence.
    pub fn problem(&self) -> Problem {
        let (status, code) = match self {
            Self::Refused(refusal) => (409, refusal.code.as_str()),
            Self::NotFound { .. } => (404, "notFound"),
            Self::Invalid { .. } => (400, "invalid"),
            Self::CheckFailed(_) => (422, "checkFailed"),
            Self::Unauthorized(_) => (401, "unauthorized"),
            Self::Forbidden(_) => (403, "forbidden"),
            Self::Denied { code, .. } => (403, *code),
            Self::Conflict { code, .. } => (409, *code),
            Self::Precondition(_) => (412, "revisionMismatch"),
            Self::PreconditionMissing => (428, "revisionMissing"),
            Self::Wait { code, .. } | Self::Unavailable { code, .. } => (503, *code),
            Self::TooMany { .. } => (429, "tooManyRequests"),
            Self::Store(error) => match **error {
                klusterkite_store::Error::Full { .. } => (507, "storageFull"),
                klusterkite_store::Error::Busy { .. } => (503, "databaseLocked"),
                klusterkite_store::Error::Fenced { .. } => (503, "notLeader"),
                _ => (503, "storeFailed"),
            },
        };
        let mut problem = Problem::new(status, code, self.to_string());
        match self {
            Self::Invalid { field, .. } => problem.field.clone_from(field),
            Self::CheckFailed(findings) => {
                problem.errors = findings.iter().map(field_problem).collect();
            }
            _ => {}
        }
        problem
    }

    /// Returns when the client may try again, if it is told.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Wait { retry_after, .. } | Self::TooMany { retry_after } => Some(*retry_after),
            _ => None,
        }
    }
}

/// Says what an operator can do about a failed store, without paths and causes.
fn store_sentence(error: &klusterkite_store::Error) -> &'static str {
    use klusterkite_store::Error;
    match error {
        Error::Full { .. } => {
            "the disk of the manager's database is full; make room and try again, nothing was changed"
        }
        Error::Busy { .. } => {
            "another program keeps the manager's database locked; end it and try again, nothing was changed"
        }
        Error::Fenced { .. } => {
            "another manager leads this cluster now; ask that one, nothing was changed"
        }
        _ => "the manager's database failed; the manager's log says how, nothing was changed",
    }
}

fn field_problem(finding: &Finding) -> FieldProblem {
    FieldProblem {
        code: finding.code.to_string(),
        field: finding.field.clone(),
        message: finding.message.clone(),
        severity: Some(finding.severity.to_string()),
        line: finding.line,
        column: finding.column,
    }
}
