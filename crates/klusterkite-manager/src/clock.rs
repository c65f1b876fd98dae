//! Time: one clock that never goes back while the process lives.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use klusterkite_core::time::Timestamp;

/// Counts Unix milliseconds from the wall clock of its start by the monotonic clock, so that a jump of
/// the wall clock neither ends leases nor makes nodes stable.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    unix_milliseconds: u64,
}

impl Clock {
    /// Reads the wall clock once. `not_before` is the newest time in the store: times there never go back.
    pub fn start(not_before: u64) -> Self {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let unix_milliseconds = (wall.as_millis() as u64).max(not_before);
        Self {
            start: Instant::now(),
            unix_milliseconds,
        }
    }

    /// Returns Unix milliseconds.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.unix_milliseconds + self.start.elapsed().as_millis() as u64)
    }
}

/// Reads the wall clock in Unix milliseconds.
pub fn wall_clock() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_does_not_start_before_the_newest_stored_time() {
        let far = 9_999_999_999_999;
        assert!(Clock::start(far).now() >= Timestamp(far));
    }
}
