//! The time that a node has unless it speaks again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use klusterkite_core::time::Timestamp;

/// When a node's lease ends. Its link and the state share it, so that a heartbeat waits for no lock.
///
/// A link of which the state does not know any more renews a lease at which nobody looks.
#[derive(Debug, Clone)]
pub struct Lease(Arc<AtomicU64>);

impl Lease {
    /// Makes a lease that ends then.
    pub fn until(end: Timestamp) -> Self {
        Self(Arc::new(AtomicU64::new(end.0)))
    }

    /// Says when it ends from now on.
    pub fn renew(&self, end: Timestamp) {
        // One number that nothing else is read with.
        self.0.store(end.0, Ordering::Relaxed);
    }

    /// Returns when it ends.
    pub fn end(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}
