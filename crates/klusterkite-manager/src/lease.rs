//! The time that a node has unless it speaks again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use klusterkite_core::time::Timestamp;

use crate::clock::Clock;

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

/// How long leases are at present. Cheap to clone; all clones say the same.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    clock: Clock,
    seconds: Arc<AtomicU32>,
}

impl Terms {
    /// Makes terms of leases that live so many seconds.
    pub(crate) fn new(clock: Clock, seconds: u32) -> Self {
        let seconds = Arc::new(AtomicU32::new(seconds));
        Self { clock, seconds }
    }

    /// Returns the life of a lease, in seconds.
    pub(crate) fn seconds(&self) -> u32 {
        self.seconds.load(Ordering::Relaxed)
    }

    /// Changes the life of leases that are given or renewed from now on.
    pub(crate) fn set_seconds(&self, seconds: u32) {
        self.seconds.store(seconds, Ordering::Relaxed);
    }

    /// Makes a lease that begins now.
    pub(crate) fn lease(&self) -> Lease {
        Lease::until(self.end(self.seconds()))
    }

    /// Renews the lease of a node that speaks. Returns its life in seconds.
    pub(crate) fn renew(&self, lease: &Lease) -> u32 {
        let seconds = self.seconds();
        lease.renew(self.end(seconds));
        seconds
    }

    fn end(&self, seconds: u32) -> Timestamp {
        self.clock.now() + Duration::from_secs(seconds.into())
    }
}
