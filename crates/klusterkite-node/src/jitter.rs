//! Random pauses, so that ten thousand nodes do not knock at the same moment.

use std::time::Duration;

/// First pause after a failed round, before jitter.
const PAUSE_MIN: Duration = Duration::from_millis(500);

/// Longest pause: 10,000 nodes that come back within it are fewer than 700 connects per second.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// Makes random durations from a seed (SplitMix64): good enough for jitter, repeatable in tests.
#[derive(Debug, Clone)]
pub(crate) struct Jitter {
    state: u64,
}

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Returns a duration from `low` (inclusive) to `high` (exclusive); `low` when the range is empty.
    pub(crate) fn between(&mut self, low: Duration, high: Duration) -> Duration {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let range = u64::try_from(high.saturating_sub(low).as_nanos()).unwrap_or(u64::MAX);
        low + Duration::from_nanos(mixed.checked_rem(range).unwrap_or(0))
    }
}

/// Decorrelated back-off: each pause is random between the shortest one and three times the last one.
#[derive(Debug, Clone)]
pub(crate) struct BackOff {
    last: Duration,
}

impl BackOff {
    pub(crate) fn new() -> Self {
        Self { last: PAUSE_MIN }
    }

    /// Forgets earlier failures.
    pub(crate) fn reset(&mut self) {
        self.last = PAUSE_MIN;
    }

    /// Returns the pause after another failure.
    pub(crate) fn next(&mut self, jitter: &mut Jitter) -> Duration {
        let high = (self.last * 3).min(PAUSE_MAX);
        self.last = jitter.between(PAUSE_MIN, high);
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_but_stay_within_their_bounds() {
        let mut jitter = Jitter::new(7);
        let mut back_off = BackOff::new();
        let pauses: Vec<Duration> = (0..200).map(|_| back_off.next(&mut jitter)).collect();
        assert!(
            pauses
                .iter()
                .all(|pause| (PAUSE_MIN..PAUSE_MAX).contains(pause))
        );
        assert!(pauses[0] < PAUSE_MIN * 3);
        assert!(pauses.iter().any(|pause| *pause > Duration::from_secs(5)));
    }

    #[test]
    fn an_empty_range_gives_its_lower_end() {
        let second = Duration::from_secs(1);
        assert_eq!(Jitter::new(1).between(second, second), second);
    }
}
