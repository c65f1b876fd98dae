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
        let error = error.downcast_ref::<Error>();
        if let Some(Error::File { .. } | Error::Session { .. }) = error {
            return Self::Failed;
        }
        match error.map(Error::kind) {
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
    pub(crate) fn hint(self, error: &anyhow::Error) -> Option<&'static str> {
        let is_login = error.downcast_ref::<LoginFailed>().is_some();
        let error = error.downcast_ref::<Error>();
        let hint = match (self, error) {
            (Self::Unauthenticated, Some(error)) if is_of_feed(error) => {
                "name the file with the feed's key: `--feed-key-file` or KLUSTERKITE_FEED_KEY_FILE"
            }
            (Self::Unauthenticated, _) if is_login => {
                "is the user right (`--user`, KLUSTERKITE_USER), and the password (`--password-file`, \
                 KLUSTERKITE_PASSWORD_FILE, KLUSTERKITE_PASSWORD)?"
            }
            (Self::Unauthenticated, _) => "log in with `klusterkite login`",
            // Whoever answers has said what is wrong, and who is not trusted is named with what to do.
            (Self::Away, Some(Error::Refused { .. } | Error::Tls(_))) => return None,
            (Self::Away, Some(error)) if is_of_feed(error) => {
                "is `--feed` (KLUSTERKITE_FEED) right, and does the feed run?"
            }
            (Self::Away, _) => "is `--url` (KLUSTERKITE_URL) right, and does the manager run?",
            (Self::Refused, Some(error)) if is_refusal(error, "revisionMismatch") => {
                "somebody changed it meanwhile; edit it again"
            }
            (Self::Refused, Some(error)) if is_refusal(error, "targetIsFaulted") => {
                "start it with `--retry-faulted`"
            }
            _ => return None,
        };
        Some(hint)
    }
}

/// Returns an error as an operator reads it: where the manager refused, its sentence says all, and the address
/// of the call would only hide it.
pub(crate) fn sentence(error: &anyhow::Error) -> String {
    let parts = error
        .chain()
        .map(|cause| match cause.downcast_ref::<Error>() {
            Some(Error::Refused { url, problem })
                if problem.status < 500
                    && !problem.detail.is_empty()
                    && !url.contains(FEED_PATH) =>
            {
                problem.detail.clone()
            }
            _ => cause.to_string(),
        });
    parts.collect::<Vec<_>>().join(": ")
}

/// Every address of a feed has this in it.
const FEED_PATH: &str = "/v3/";

fn is_of_feed(error: &Error) -> bool {
    url_of(error).contains(FEED_PATH)
}

fn is_refusal(error: &Error, code: &str) -> bool {
    error.problem().is_some_and(|problem| problem.code == code)
}

fn url_of(error: &Error) -> &str {
    match error {
        Error::Unreachable { url, .. }
        | Error::BrokenOff { url, .. }
        | Error::Refused { url, .. } => url,
        _ => "",
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Stands above the error of a login, so that the hint does not ask for what was just done.
#[derive(Debug)]
pub(crate) struct LoginFailed {
    /// Whose manager it is.
    pub(crate) url: String,
    /// Who wanted in.
    pub(crate) user: String,
}

impl fmt::Display for LoginFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot log in to `{}` as `{}`", self.url, self.user)
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
    fn the_managers_refusal_is_its_sentence_alone() {
        assert_eq!(sentence(&refused(409)), "detail");
        assert_eq!(
            sentence(&refused(409).context("cannot do it")),
            "cannot do it: detail"
        );
        let server = sentence(&refused(500));
        assert!(server.contains("`http://m` answered 500"), "{server}");
    }

    #[test]
    fn a_hint_names_who_is_to_blame() {
        let refused_at = |url: &str, status| {
            let problem = Box::new(Problem::new(status, "code", "detail"));
            let url = url.to_owned();
            anyhow::Error::from(Error::Refused { url, problem })
        };
        let cases = [
            ("http://m/api/v1/nodes", 401, Some("klusterkite login")),
            ("http://f/v3/index.json", 401, Some("--feed-key-file")),
            ("http://m/api/v1/nodes", 503, None),
            ("http://m/api/v1/nodes", 409, None),
        ];
        for (url, status, expected) in cases {
            let error = refused_at(url, status);
            let hint = Exit::of(&error).hint(&error);
            assert_eq!(hint.is_some(), expected.is_some(), "{url} {status}");
            let expected = expected.unwrap_or_default();
            assert!(hint.unwrap_or_default().contains(expected), "{hint:?}");
        }
        let (url, user) = ("http://m".to_owned(), "admin".to_owned());
        let login = refused(401).context(LoginFailed { url, user });
        let hint = Exit::of(&login).hint(&login).unwrap_or_default();
        assert!(hint.contains("KLUSTERKITE_PASSWORD_FILE"), "{hint}");
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
