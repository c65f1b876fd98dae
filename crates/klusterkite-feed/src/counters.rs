//! What the feed counts beside its requests.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters since the start; they only grow.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Packages published.
    pub(crate) pushes: AtomicU64,
    /// Requests with a key that the feed does not know.
    pub(crate) wrong_keys: AtomicU64,
}

impl Counters {
    /// Lists all with name and meaning.
    pub(crate) fn all(&self) -> [(&'static str, &'static str, &AtomicU64); 2] {
        [
            ("pushes", "Packages published.", &self.pushes),
            (
                "wrong_keys",
                "Requests with a key that the feed does not know.",
                &self.wrong_keys,
            ),
        ]
    }
}

/// Counts one more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
