//! Seeded draws. In: a root seed and the name of a concern. Out: one ChaCha stream per concern.
//!
//! Invariant: a draw in one concern moves no other; a stream is the same on every machine and in every process.
//! Decisions are integer ratios, so that none hangs on floating point.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use xxhash_rust::xxh3::xxh3_128;

/// One stream of draws.
pub struct Draw(ChaCha8Rng);

impl Draw {
    /// The stream of `concern` under the root `seed`.
    #[must_use]
    pub fn new(seed: u64, concern: &str) -> Draw {
        let mut bytes = [0u8; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..24].copy_from_slice(&xxh3_128(concern.as_bytes()).to_le_bytes());
        Draw(ChaCha8Rng::from_seed(bytes))
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in `0..bound`; 0 when the bound is 0. (The bias of the multiplication is below 2^-32 for small bounds.)
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Uniform in `low..=high`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        assert!(low <= high, "an empty range: {low}..={high}");
        let width = u128::from(high.abs_diff(low)) + 1;
        let step = (u128::from(self.next_u64()) * width) >> 64;
        (i128::from(low) + step as i128) as i64
    }

    /// True `times` in `of`.
    pub fn chance(&mut self, times: u64, of: u64) -> bool {
        self.below(of) < times
    }

    /// One of `items`, each as likely.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        assert!(!items.is_empty(), "picked from nothing");
        &items[self.below(items.len() as u64) as usize]
    }

    /// An index of `weights`, each as likely as its weight says.
    pub fn weighted(&mut self, weights: &[u32]) -> usize {
        let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        assert!(total > 0, "all weights are zero");
        let mut left = self.below(total);
        for (index, weight) in weights.iter().enumerate() {
            if left < u64::from(*weight) {
                return index;
            }
            left -= u64::from(*weight);
        }
        unreachable!("{left} is left of {total}")
    }
}

#[cfg(test)]
mod tests {
    use super::Draw;

    #[test]
    fn a_stream_is_a_function_of_seed_and_concern() {
        let take = |seed, concern: &str| {
            let mut draw = Draw::new(seed, concern);
            (draw.next_u64(), draw.next_u64())
        };
        assert_eq!(take(7, "faults"), take(7, "faults"));
        assert_ne!(take(7, "faults"), take(7, "events"));
        assert_ne!(take(7, "faults"), take(8, "faults"));
    }

    #[test]
    fn draws_stay_in_their_range_and_reach_its_ends() {
        let mut draw = Draw::new(1, "range");
        let drawn: std::collections::BTreeSet<i64> = (0..1_000).map(|_| draw.between(-2, 2)).collect();
        assert_eq!(drawn, (-2..=2).collect());
        assert_eq!(draw.below(0), 0);
        assert_eq!(draw.between(i64::MAX, i64::MAX), i64::MAX);
        assert!((0..1_000).all(|_| draw.weighted(&[0, 3, 0]) == 1));
    }
}
