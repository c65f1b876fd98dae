//! What outlives the launcher.

use klusterkite_wire::start::{CrashReport, StartConfiguration, StartFailure};
use klusterkite_wire::{Incarnation, OrderId};
use serde::{Deserialize, Serialize};

/// Numbers a service directory below `releases/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct ReleaseNumber(pub(crate) u64);

/// What outlives the launcher: the content of `state.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct State {
    /// The newest incarnation; stored before anybody hears of it.
    pub(crate) incarnation: Option<Incarnation>,
    /// The one before.
    pub(crate) last_incarnation: Option<Incarnation>,
    /// What ran last.
    pub(crate) release: Option<ReleaseNumber>,
    /// What was ready last.
    pub(crate) good: Option<Good>,
    /// How the last run ended, until a manager has heard it.
    pub(crate) crash: Option<CrashReport>,
    /// A `next` that failed, until a manager has heard it.
    pub(crate) failure: Option<StartFailure>,
    /// The last pause after a crash.
    pub(crate) backoff_milliseconds: u64,
    /// When the node ended by itself lately, oldest first.
    pub(crate) crashes_unix_milliseconds: Vec<u64>,
    /// When that pause ends.
    pub(crate) retry_at_unix_milliseconds: Option<u64>,
}

/// The last-known-good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Good {
    pub(crate) release: ReleaseNumber,
    pub(crate) last_ran_unix_milliseconds: u64,
}

/// What to start without asking: the content of `next.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Next {
    /// The order that brought it.
    pub(crate) order_id: OrderId,
    pub(crate) start: StartConfiguration,
    /// What runs again if this does not become ready.
    pub(crate) back_to: Option<ReleaseNumber>,
    /// How often it was tried.
    #[serde(default)]
    pub(crate) tries: u32,
}
