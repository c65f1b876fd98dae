//! Chance as a value: the caller draws one number, everything else follows from it.

/// Generates a repeatable sequence from one number (SplitMix64).
///
/// Good enough to spread load; nothing secret may come from it.
#[derive(Debug, Clone)]
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next number of the sequence.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number from 0 up to, but without, 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        // The upper 53 bits are what an `f64` holds exactly.
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Puts the items into an order that only the seed decides (Fisher–Yates).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = (self.next() % (last as u64 + 1)) as usize;
            items.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_keeps_every_item_and_repeats_for_the_same_seed() {
        let shuffled = |seed| {
            let mut items: Vec<u32> = (0..20).collect();
            Draw::new(seed).shuffle(&mut items);
            items
        };
        let mut sorted = shuffled(1);
        assert_eq!(sorted, shuffled(1));
        assert_ne!(sorted, shuffled(2));
        sorted.sort_unstable();
        assert_eq!(sorted, (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn a_fraction_is_below_one() {
        let mut draw = Draw::new(u64::MAX);
        assert!((0..1000).all(|_| (0.0..1.0).contains(&draw.fraction())));
    }
}
