//! How many nodes may be in replacement at once.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// Size of a batch: a count, or a part of the template's nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batch {
    /// So many nodes; at least 1.
    Count(u32),
    /// So many percent of the template's nodes, rounded up; 1 to 100.
    Percent(u32),
}

impl Batch {
    /// Returns the size for a template of so many nodes: at least 1, or nothing would ever move.
    pub fn size(self, nodes: u32) -> u32 {
        match self {
            Self::Count(count) => count.max(1),
            Self::Percent(percent) => {
                let size = (u64::from(nodes) * u64::from(percent)).div_ceil(100);
                u32::try_from(size).unwrap_or(u32::MAX).max(1)
            }
        }
    }
}

impl FromStr for Batch {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = || Error::InvalidBatch {
            text: text.chars().take(64).collect(),
        };
        let digits = text.strip_suffix('%').unwrap_or(text);
        // `parse` would also take a sign.
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid());
        }
        let number: u32 = digits.parse().map_err(|_| invalid())?;
        match (text.ends_with('%'), number) {
            (true, 1..=100) => Ok(Self::Percent(number)),
            (false, 1..) => Ok(Self::Count(number)),
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_a_count_or_a_percentage() {
        assert_eq!("2".parse(), Ok(Batch::Count(2)));
        assert_eq!("10%".parse(), Ok(Batch::Percent(10)));
        for text in [
            "",
            "%",
            "0",
            "0%",
            "101%",
            "-1",
            "+1",
            "1.5",
            " 1",
            "4294967296",
            "ten",
        ] {
            assert!(text.parse::<Batch>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_part_is_rounded_up_and_never_nothing() {
        for (percent, nodes, size) in [
            (10, 0, 1),
            (10, 1, 1),
            (10, 10, 1),
            (10, 11, 2),
            (100, 7, 7),
            (1, 10_000, 100),
        ] {
            assert_eq!(
                Batch::Percent(percent).size(nodes),
                size,
                "{percent}% of {nodes}"
            );
        }
    }
}
