//! Exit codes: the one table that maps what happened to what a script sees.

use std::fmt;
use std::process::ExitCode;

use klusterkite_client::{Error, Kind};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what was asked.
    Done = 0,
    /// Something failed that is none of the others: the server, a local file.
    Failed = 1,
    /// The arguments or the input cannot be used. `clap` ends with this code too.
    Usage = 2,
    /// Not logged in, or a wrong password or key.
    Unauthenticated = 3,
    /// A privilege is missing.
    Forbidden = 4,
    /// No such object.
    NotFound = 5,
    /// Refused in the present state: a conflict, findings of a check, blockers of a plan.
    Refused = 6,
    /// The manager or the feed does not answer.
    Away = 7,
    /// The migration that was watched did not complete.
    NotCompleted = 8,
}

impl Exit {
    /// All codes with their meanings, as the help shows them.
    pub const TABLE: &'static [(Self, &'static str)] = &[
        (Self::Done, "done"),
        (Self::Failed, "failed: the server or a local file"),
        (Self::Usage, "unusable arguments or input"),
        (
            Self::Unauthenticated,
            "not logged in, or wrong password or key",
        ),
        (Self::Forbidden, "a privilege is missing"),
        (Self::NotFound, "no such object"),
        (
            Self::Refused,
            "refused in the present state: conflict, findings, blockers",
        ),
        (Self::Away, "manager or feed do not answer"),
        (Self::NotCompleted, "the watched migration did not complete"),
    ];

    /// Returns the code for an error.
    pub fn of(error: &anyhow::Error) -> Self {
        if let Some(stop) = error.downcast_ref::<Stop>() {
            return stop.exit;
        }
        if is_closed_pipe(error) {
            return Self::Done;
        }
        match error.downcast_ref::<Error>().map(Error::kind) {
            Some(Kind::Away) => Self::Away,
            Some(Kind::Unauthenticated) => Self::Unauthenticated,
            Some(Kind::Forbidden) => Self::Forbidden,
            Some(Kind::NotFound) => Self::NotFound,
            Some(Kind::Conflict) => Self::Refused,
            Some(Kind::Invalid) => Self::Usage,
            Some(Kind::Server) | None => Self::Failed,
        }
    }

    /// Returns what to do, when that is not part of the error.
    pub(crate) fn hint(self, error: &anyhow::Error) -> Option<String> {
        let refused_by = |code: &str| {
            let problem = error.downcast_ref::<Error>().and_then(Error::problem);
            problem.is_some_and(|problem| problem.code == code)
        };
        match self {
            Self::Unauthenticated => Some("log in with `klusterkite login`".to_owned()),
            Self::Away => {
                Some("is `--url` (KLUSTERKITE_URL) right, and does the manager run?".to_owned())
            }
            Self::Refused if refused_by("revisionMismatch") => {
                Some("somebody changed it meanwhile; edit it again".to_owned())
            }
            _ => None,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Ends a command with a sentence and a code of its own.
#[derive(Debug)]
pub(crate) struct Stop {
    exit: Exit,
    sentence: String,
}

impl Stop {
    pub(crate) fn new(exit: Exit, sentence: impl Into<String>) -> Self {
        Self {
            exit,
            sentence: sentence.into(),
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Stop {}

/// A reader that has seen enough, such as `head`, is no failure.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use klusterkite_wire::Problem;

    use super::*;

    fn refused(status: u16) -> anyhow::Error {
        let problem = Box::new(Problem::new(status, "code", "detail"));
        Error::Refused {
            url: "http://m".to_owned(),
            problem,
        }
        .into()
    }

    #[test]
    fn each_kind_of_error_has_its_code() {
        let cases = [
            (400, 2),
            (401, 3),
            (403, 4),
            (404, 5),
            (409, 6),
            (412, 6),
            (422, 2),
            (429, 7),
            (500, 1),
            (502, 7),
            (503, 7),
        ];
        for (status, code) in cases {
            assert_eq!(Exit::of(&refused(status)) as u8, code, "{status}");
            let wrapped = refused(status).context("while doing something");
            assert_eq!(Exit::of(&wrapped) as u8, code, "{status} in a chain");
        }
        assert_eq!(Exit::of(&anyhow::anyhow!("other")), Exit::Failed);
        assert_eq!(
            Exit::of(&Stop::new(Exit::NotCompleted, "paused").into()),
            Exit::NotCompleted
        );
    }

    #[test]
    fn the_table_names_every_code_once_in_order() {
        let codes: Vec<u8> = Exit::TABLE.iter().map(|(exit, _)| *exit as u8).collect();
        assert_eq!(codes, (0..9).collect::<Vec<_>>());
    }

    #[test]
    fn a_reader_that_has_seen_enough_is_no_failure() {
        let error = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert_eq!(Exit::of(&error.into()), Exit::Done);
    }
}
