//! What many requests took.

use std::time::Duration;

use serde_json::{Value, json};

/// Durations of requests.
#[derive(Debug, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// Returns how many there were, the median and the 99th percentile, in milliseconds.
    pub(crate) fn summary(mut self) -> Value {
        self.0.sort_unstable();
        let at = |part: f64| {
            let last = self.0.len().saturating_sub(1);
            let time = self.0.get((last as f64 * part) as usize);
            time.map_or(0.0, |time| time.as_secs_f64() * 1000.0)
        };
        json!({ "count": self.0.len(), "p50": at(0.5), "p99": at(0.99), "max": at(1.0) })
    }
}
