//! Whether a download is too slow to be waited for: one that drips would hold its place for days.

use std::time::Duration;

/// How long a download may take however slow it is.
const GRACE: Duration = Duration::from_secs(15);

/// What it has to bring from then on, on average: a gigabyte in a little over a day of a modem
/// would be less.
const BYTES_PER_SECOND_MIN: u64 = 16 << 10;

/// Tells whether so many bytes in such a time are enough.
pub(crate) fn is_fast_enough(bytes: u64, elapsed: Duration) -> bool {
    elapsed <= GRACE || bytes >= elapsed.as_secs().saturating_mul(BYTES_PER_SECOND_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_may_start_slowly_and_then_has_to_move() {
        for (bytes, seconds, expected) in [
            (0, 0, true),
            (0, 15, true),
            (1000, 16, false),
            (16 * (16 << 10), 16, true),
            (1 << 30, 3600, true),
            (1 << 20, 3600, false),
        ] {
            let elapsed = Duration::from_secs(seconds);
            assert_eq!(
                is_fast_enough(bytes, elapsed),
                expected,
                "{bytes} in {seconds}"
            );
        }
    }
}
