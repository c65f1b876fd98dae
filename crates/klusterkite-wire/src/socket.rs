//! Service host ↔ launcher: line-delimited JSON on `launcher.sock` in the service directory.

use serde::{Deserialize, Serialize};

use crate::OrderId;
use crate::start::StartConfiguration;

/// Largest line that either side accepts, in bytes.
pub const LINE_BYTES_MAX: usize = 4 << 20;

/// What the service host says to the launcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum HostMessage {
    /// All processes are ready: the release is good.
    Ready,
    /// Asks to fetch the packages of a start configuration into the content store.
    Prefetch {
        /// Order that asked for it; comes back in the answer.
        order_id: OrderId,
        /// What to fetch.
        next: Box<StartConfiguration>,
    },
    /// The node was told to stop and is going to exit. The launcher stores `next` durably and answers `stopping`
    /// before the host stops anything.
    Stopping {
        /// Order that said so.
        order_id: OrderId,
        /// What to start afterwards without asking; absent: ask.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next: Option<Box<StartConfiguration>>,
    },
    /// Takes a `stopping` back that was stored too late: the host has refused the order meanwhile, and goes on.
    Stays {
        /// The order.
        order_id: OrderId,
    },
}

/// What the launcher says to the service host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum LauncherMessage {
    /// The packages of a `prefetch` are in the content store, or could not be fetched.
    Prefetched {
        /// The order.
        order_id: OrderId,
        /// Why it failed; absent when it worked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// Download progress of a `prefetch`.
    Progress {
        /// The order.
        order_id: OrderId,
        /// Bytes done.
        bytes: u64,
        /// Bytes to do.
        total: u64,
    },
    /// `stopping` is stored.
    Stopping {
        /// The order.
        order_id: OrderId,
        /// Why it could not be stored; the host then refuses the order.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
}
