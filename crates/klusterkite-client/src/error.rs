use std::io;
use std::time::Duration;

use klusterkite_wire::Problem;

/// What went wrong, and on which object.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A URL cannot be used.
    #[error("`{url}` is not a URL that can be called: {reason}")]
    Url {
        /// The URL without its user part.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There is no secure connection: the server is not whom we trust, or our own authority's file is not usable.
    #[error(transparent)]
    Tls(#[from] klusterkite_tls::Error),
    /// No answer came.
    #[error("cannot reach `{url}`")]
    Unreachable {
        /// The URL.
        url: String,
        /// The cause.
        source: Box<ureq::Error>,
    },
    /// The connection was accepted, and no whole answer came in time.
    #[error("`{url}` accepted the request and gave no whole answer within {} s", time.as_secs())]
    Silent {
        /// The URL.
        url: String,
        /// How long it was waited for.
        time: Duration,
    },
    /// The answer ended early or took too long.
    #[error("the answer of `{url}` broke off")]
    BrokenOff {
        /// The URL.
        url: String,
        /// The cause.
        source: io::Error,
    },
    /// The server refused, and said why.
    #[error("`{url}` answered {}: {}", problem.status, said(problem))]
    Refused {
        /// The URL.
        url: String,
        /// What the server said.
        problem: Box<Problem>,
    },
    /// The answer is not what the protocol says.
    #[error("`{url}` answered something that is not {expected}")]
    Answer {
        /// The URL.
        url: String,
        /// What was expected.
        expected: &'static str,
        /// The cause.
        source: serde_json::Error,
    },
    /// The answer is larger than the limit.
    #[error("the answer of `{url}` is larger than {limit} bytes")]
    TooLarge {
        /// The URL.
        url: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// The server leaves everything for another question.
    #[error("`{url}` answers questions for many packages with none of them")]
    NoProgress {
        /// URL of the service index.
        url: String,
    },
    /// The feed does not offer a resource.
    #[error("the feed `{feed}` has no resource of type `{resource}`")]
    NoResource {
        /// URL of the service index.
        feed: String,
        /// The type.
        resource: &'static str,
    },
    /// The feed holds another package under this id and version.
    #[error(
        "the feed `{feed}` already holds another package as `{package}`; published versions never change, so raise the version"
    )]
    OtherContent {
        /// URL of the service index.
        feed: String,
        /// Id and version.
        package: String,
    },
    /// A package is unusable.
    #[error("package `{package}` cannot be used")]
    Package {
        /// Path, or id and version.
        package: String,
        /// The cause.
        source: klusterkite_nuget::Error,
    },
    /// A local file cannot be used.
    #[error("cannot read `{path}`")]
    File {
        /// Path.
        path: String,
        /// The cause.
        source: io::Error,
    },
    /// A new session could not be stored; it is not used, because it would be lost.
    #[error("cannot store the session")]
    Session {
        /// The cause.
        source: io::Error,
    },
    /// A credential file is not what it should be.
    #[error("`{path}` is not a credential file: expected JSON such as {{\"apiKey\": \"…\"}}")]
    Credential {
        /// Path.
        path: String,
        /// The cause; it does not repeat the file's content.
        source: serde_json::Error,
    },
}

/// Kinds of errors, for exit codes and retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Nobody answered, or not now: 429, 502, 503, 504. Trying again later makes sense.
    Away,
    /// 401: no valid token or key.
    Unauthenticated,
    /// 403: a privilege is missing.
    Forbidden,
    /// 404: no such object.
    NotFound,
    /// 409 or 412: the object is not in a state that allows it.
    Conflict,
    /// Any other 4xx, or input that is wrong on this side.
    Invalid,
    /// The server failed, or does not speak the protocol.
    Server,
}

impl Error {
    /// Returns the kind of the error.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Unreachable { .. } | Self::Silent { .. } | Self::BrokenOff { .. } => Kind::Away,
            Self::Tls(error) if error.is_of_server() => Kind::Away,
            Self::Refused { problem, .. } => match problem.status {
                401 => Kind::Unauthenticated,
                403 => Kind::Forbidden,
                404 => Kind::NotFound,
                409 | 412 => Kind::Conflict,
                429 | 502 | 503 | 504 => Kind::Away,
                400..=499 => Kind::Invalid,
                _ => Kind::Server,
            },
            Self::OtherContent { .. } => Kind::Conflict,
            Self::Answer { .. }
            | Self::TooLarge { .. }
            | Self::NoProgress { .. }
            | Self::NoResource { .. } => Kind::Server,
            Self::Tls(_)
            | Self::Url { .. }
            | Self::Session { .. }
            | Self::Package { .. }
            | Self::File { .. }
            | Self::Credential { .. } => Kind::Invalid,
        }
    }

    /// Returns what the server said, when it refused.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused { problem, .. } => Some(problem),
            _ => None,
        }
    }
}

fn said(problem: &Problem) -> &str {
    if problem.detail.is_empty() {
        &problem.title
    } else {
        &problem.detail
    }
}
