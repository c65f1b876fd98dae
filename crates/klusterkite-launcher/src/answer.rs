//! What an answer to "what should I be?" means: a pure function of status and problem code.

use std::time::Duration;

use klusterkite_wire::start::{StartConfiguration, WAIT_CODES};

/// The outcome of one request, as the cycle understands it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// This is what to be.
    Start(Box<StartConfiguration>),
    /// There is nothing to be now; ask again after the pause.
    Wait { code: String, pause: Duration },
    /// Too many requests; ask again after the pause.
    Later { pause: Duration },
    /// Asking the same way again will not help before somebody repairs something.
    Refused { reason: String },
    /// Nobody who could decide has answered at this URL.
    Away { reason: String },
}

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// The access token of the launcher.
    Token,
    /// Anything below `/api/v1`.
    Manager,
}

/// What came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply<'a> {
    /// Nothing that is HTTP: no connection, time-out, an answer that breaks off.
    Nothing,
    /// A status, with the code of the problem document, if there is one.
    Status { status: u16, code: Option<&'a str> },
}

/// The class of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Good,
    Wait,
    Later,
    Refused,
    Away,
}

/// Classifies a reply.
///
/// Only a manager that decided "nothing for you" makes the launcher wait and start nothing (B4);
/// what a load balancer or a broken manager says means that the URL is away.
pub(crate) fn classify(endpoint: Endpoint, reply: Reply<'_>) -> Verdict {
    let Reply::Status { status, code } = reply else {
        return Verdict::Away;
    };
    match (endpoint, status) {
        (_, 200) => Verdict::Good,
        (_, 429) => Verdict::Later,
        (Endpoint::Manager, 503) if code.is_some_and(|code| WAIT_CODES.contains(&code)) => {
            Verdict::Wait
        }
        (_, 500..=599) => Verdict::Away,
        _ => Verdict::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_reply_has_its_class() {
        use Endpoint::{Manager, Token};
        use Verdict::{Away, Good, Later, Refused, Wait};
        let cases = [
            (Manager, 200, None, Good),
            (Manager, 503, Some("clusterFull"), Wait),
            (Manager, 503, Some("noTemplateForContainer"), Wait),
            (Manager, 503, Some("cordoned"), Wait),
            (Manager, 503, Some("notSeeded"), Away),
            (Manager, 503, None, Away),
            (Manager, 500, None, Away),
            (Manager, 500, Some("clusterFull"), Away),
            (Manager, 502, None, Away),
            (Manager, 504, None, Away),
            (Manager, 507, None, Away),
            (Manager, 429, None, Later),
            (Manager, 429, Some("clusterFull"), Later),
            (Manager, 400, None, Refused),
            (Manager, 401, None, Refused),
            (Manager, 403, Some("containerTypeNotAllowed"), Refused),
            (Manager, 404, None, Refused),
            (Manager, 409, Some("nodeIdInUse"), Refused),
            (Manager, 409, Some("clusterFull"), Refused),
            (Manager, 201, None, Refused),
            (Manager, 302, None, Refused),
            (Token, 200, None, Good),
            (Token, 400, None, Refused),
            (Token, 401, None, Refused),
            (Token, 404, None, Refused),
            (Token, 429, None, Later),
            (Token, 500, None, Away),
            (Token, 502, None, Away),
            // A wait code of the token endpoint is no decision about the container.
            (Token, 503, Some("clusterFull"), Away),
            (Token, 504, None, Away),
        ];
        for (endpoint, status, code, expected) in cases {
            let verdict = classify(endpoint, Reply::Status { status, code });
            assert_eq!(verdict, expected, "{endpoint:?} {status} {code:?}");
        }
        assert_eq!(classify(Manager, Reply::Nothing), Away);
        assert_eq!(classify(Token, Reply::Nothing), Away);
    }
}
