use klusterkite_api::access::TokenAnswer;
use klusterkite_wire::Secret;
use serde::{Deserialize, Serialize};

/// Stores a session; called with every new one.
pub type SessionKeeper = Box<dyn Fn(&Session) -> std::io::Result<()> + Send + Sync>;

/// A user who is logged in. It serialises with its secrets, for a file of mode 0600.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Origin of the manager: the tokens go nowhere else.
    pub url: String,
    /// Login.
    pub user: String,
    /// Bearer token.
    pub access_token: Secret,
    /// Token for the next session, for one use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<Secret>,
    /// End of the bearer token, Unix milliseconds of this machine.
    pub expires: u64,
}

impl Session {
    pub(super) fn new(url: &str, user: &str, answer: &TokenAnswer, now_ms: u64) -> Self {
        Self {
            url: url.to_owned(),
            user: user.to_owned(),
            access_token: answer.access_token.clone(),
            refresh_token: answer.refresh_token.clone(),
            expires: now_ms.saturating_add(answer.expires_in.saturating_mul(1000)),
        }
    }

    pub(super) fn ends_before(&self, unix_ms: u64) -> bool {
        self.expires < unix_ms
    }
}
