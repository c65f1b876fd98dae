//! Whether an upstream that failed is tried again: a dead one must not cost each request a timeout.

use std::time::Duration;

/// Failures in a row after which an upstream counts as away.
const FAILURES_MAX: u32 = 3;

/// How long an upstream that is away is left alone at first; each further failure doubles it.
const PAUSE_FIRST: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_mins(1);

/// What is known about an upstream's health. Times are those of any clock that never goes back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Breaker {
    failures: u32,
    /// When it may be tried again.
    paused_until: Option<Duration>,
}

impl Breaker {
    /// Tells whether the upstream may be asked now. After a pause one caller may; further ones
    /// wait for what that one finds out, at most for another pause.
    pub(crate) fn may_ask(&mut self, now: Duration) -> bool {
        match self.paused_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                self.paused_until = Some(now.saturating_add(self.pause()));
                true
            }
        }
    }

    /// Notes an answer, whatever it said.
    pub(crate) fn answered(&mut self) {
        *self = Self::default();
    }

    /// Notes that no usable answer came; returns whether the upstream counts as away from now on.
    pub(crate) fn failed(&mut self, now: Duration) -> bool {
        self.failures = self.failures.saturating_add(1);
        if self.failures < FAILURES_MAX {
            return false;
        }
        let was_away = self.paused_until.is_some();
        self.paused_until = Some(now.saturating_add(self.pause()));
        !was_away
    }

    fn pause(&self) -> Duration {
        let doublings = self.failures.saturating_sub(FAILURES_MAX).min(8);
        (PAUSE_FIRST * 2_u32.pow(doublings)).min(PAUSE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_dead_upstream_is_asked_less_and_less_often_and_again_at_once_when_it_answers() {
        let mut breaker = Breaker::default();
        for second in 0..3 {
            assert!(breaker.may_ask(at(second)));
            assert_eq!(breaker.failed(at(second)), second == 2);
        }
        let mut tries = Vec::new();
        for second in 3..400 {
            if breaker.may_ask(at(second)) {
                tries.push(second);
                assert!(!breaker.failed(at(second)), "it is said once");
            }
        }
        assert_eq!(tries, [7, 17, 37, 77, 137, 197, 257, 317, 377]);
        assert!(breaker.may_ask(at(500)));
        breaker.answered();
        assert!(breaker.may_ask(at(500)) && breaker.may_ask(at(500)));
        assert!(!breaker.failed(at(500)) && breaker.may_ask(at(500)));
    }

    #[test]
    fn after_a_pause_one_caller_tries_and_the_others_do_not_wait() {
        let mut breaker = Breaker::default();
        for _ in 0..3 {
            breaker.failed(at(0));
        }
        assert!(!breaker.may_ask(at(4)));
        let allowed = (0..100).filter(|_| breaker.may_ask(at(6))).count();
        assert_eq!(allowed, 1);
        // The caller that never came back blocks nobody for ever.
        assert!(breaker.may_ask(at(12)));
    }
}
