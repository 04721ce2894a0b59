//! Ranks by Zipf's law with exponent 1, by inverse of the cumulative distribution.
//!
//! In: 53 uniform bits. Out: a rank in `1..=count`, the likeliest first.
//!
//! Invariant: the thresholds are those of numpy's `floor(cumsum(1 / rank) / total * 2^53)`, a sequential sum of doubles,
//! and a rank is 1 + the number of thresholds that are not above the bits.

/// Bits of the draw.
pub const DRAW_BITS: u32 = 53;
/// The index has a bucket per value of the top bits: with 100 000 ranks a bucket holds two of the rarest.
const BUCKET_BITS: u32 = 18;

/// The distribution and an index into it, so that a lookup searches a few thresholds and not all of them.
pub struct Zipf {
    thresholds: Vec<u64>,
    /// Per bucket: how many thresholds are not above its first value; then how many there are.
    first: Vec<u32>,
}

impl Zipf {
    /// # Panics
    /// If `count` is 0.
    #[must_use]
    pub fn new(count: u32) -> Zipf {
        assert!(count > 0, "a distribution over nothing");
        let mut sums = Vec::with_capacity(count as usize);
        let mut sum = 0.0f64;
        for rank in 1..=count {
            sum += 1.0 / f64::from(rank);
            sums.push(sum);
        }
        let scale = (1u64 << DRAW_BITS) as f64;
        let thresholds: Vec<u64> = sums.iter().map(|part| (part / sum * scale).floor() as u64).collect();
        let mut first = Vec::with_capacity((1 << BUCKET_BITS) + 1);
        let mut below = 0u32;
        for bucket in 0..1u64 << BUCKET_BITS {
            let start = bucket << (DRAW_BITS - BUCKET_BITS);
            while thresholds.get(below as usize).is_some_and(|threshold| *threshold <= start) {
                below += 1;
            }
            first.push(below);
        }
        first.push(count);
        Zipf { thresholds, first }
    }

    /// The rank of a draw of 53 bits.
    #[must_use]
    #[inline]
    pub fn rank(&self, draw: u64) -> u32 {
        debug_assert!(draw < 1 << DRAW_BITS, "{draw} has more than {DRAW_BITS} bits");
        let bucket = (draw >> (DRAW_BITS - BUCKET_BITS)) as usize;
        let (from, to) = (self.first[bucket] as usize, self.first[bucket + 1] as usize);
        // With millions of ranks a bucket holds a hundred of the rarest.
        let below = from + self.thresholds[from..to].partition_point(|threshold| *threshold <= draw);
        (below as u32 + 1).min(self.thresholds.len() as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::{DRAW_BITS, Zipf};

    #[test]
    fn the_index_agrees_with_a_search_at_and_beside_every_threshold() {
        for count in [1, 2, 1_000, 100_000, 1_000_000] {
            let zipf = Zipf::new(count);
            for threshold in zipf.thresholds.iter().copied() {
                for draw in [threshold.saturating_sub(1), threshold, threshold + 1] {
                    let draw = draw.min((1 << DRAW_BITS) - 1);
                    let searched = zipf.thresholds.partition_point(|other| *other <= draw) as u32 + 1;
                    assert_eq!(zipf.rank(draw), searched.min(count), "draw {draw} of {count}");
                }
            }
        }
    }
}
