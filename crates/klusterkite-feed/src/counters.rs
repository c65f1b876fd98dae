//! What the feed counts beside its requests.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters since the start; they only grow.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Packages published.
    pub(crate) pushes: AtomicU64,
    /// Requests with a key that the feed does not know.
    pub(crate) wrong_keys: AtomicU64,
    /// Symbols published.
    pub(crate) symbols: AtomicU64,
    /// Packages fetched from upstreams.
    pub(crate) upstream_fetches: AtomicU64,
    /// Requests for which an upstream did not answer.
    pub(crate) upstream_failures: AtomicU64,
    /// Versions that rules of retention removed.
    pub(crate) retention_removals: AtomicU64,
}

impl Counters {
    /// Lists all with name and meaning.
    pub(crate) fn all(&self) -> [(&'static str, &'static str, &AtomicU64); 6] {
        [
            ("pushes", "Packages published.", &self.pushes),
            (
                "wrong_keys",
                "Requests with a key that the feed does not know.",
                &self.wrong_keys,
            ),
            ("symbols", "Symbols published.", &self.symbols),
            (
                "upstream_fetches",
                "Packages fetched from upstreams.",
                &self.upstream_fetches,
            ),
            (
                "upstream_failures",
                "Requests for which an upstream did not answer.",
                &self.upstream_failures,
            ),
            (
                "retention_removals",
                "Versions that rules of retention removed.",
                &self.retention_removals,
            ),
        ]
    }
}

/// Counts one more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
