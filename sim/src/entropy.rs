//! Draws that are functions of a counter.
//!
//! In: the plan's root seed, a concern, a host or link, an ordinal. Out: 64 bits. Always: one draw more or less in one
//! place moves none in another, which a stream shared by them would.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine::env::Entropy;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The draw of `concern` at `place`, the `ordinal`-th.
#[must_use]
pub fn counted(seed: u64, concern: &str, place: &str, ordinal: u64) -> u64 {
    let (concern, place) = (concern.as_bytes(), place.as_bytes());
    let end = concern.len() + 1 + place.len() + 1 + 8;
    // A draw is made for every frame: names that are short, as most are, cost no allocation.
    let (mut room, mut more) = ([0; 96], Vec::new());
    let words = match room.get_mut(..end) {
        Some(words) => words,
        None => {
            more.resize(end, 0);
            &mut more[..]
        }
    };
    words[..concern.len()].copy_from_slice(concern);
    words[concern.len() + 1..][..place.len()].copy_from_slice(place);
    words[end - 8..].copy_from_slice(&ordinal.to_le_bytes());
    xxh3_64_with_seed(words, seed)
}

/// [`counted`], uniform in `low..=high`.
#[must_use]
pub fn counted_between(seed: u64, concern: &str, place: &str, ordinal: u64, low: u64, high: u64) -> u64 {
    assert!(low <= high, "an empty range: {low}..={high}");
    let width = u128::from(high - low) + 1;
    low + ((u128::from(counted(seed, concern, place, ordinal)) * width) >> 64) as u64
}

/// A host's random bits; the counter goes on over restarts, so that no incarnation draws what another drew.
#[derive(Clone)]
pub struct SimEntropy {
    seed: u64,
    host: Arc<str>,
    drawn: Arc<AtomicU64>,
}

impl SimEntropy {
    pub fn new(seed: u64, host: &str) -> SimEntropy {
        SimEntropy { seed, host: host.into(), drawn: Arc::default() }
    }
}

impl Entropy for SimEntropy {
    fn next_u64(&self) -> u64 {
        counted(self.seed, "entropy", &self.host, self.drawn.fetch_add(1, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_length_draw_by_all_their_bytes() {
        for len in [0, 1, 80, 84, 85, 86, 87, 249, 5_000] {
            let place = "p".repeat(len);
            let words = [b"concern\0", place.as_bytes(), b"\0", &7_u64.to_le_bytes()].concat();
            assert_eq!(counted(3, "concern", &place, 7), xxh3_64_with_seed(&words, 3), "{len} bytes");
        }
    }

    #[test]
    fn a_draw_depends_on_seed_concern_place_and_ordinal_and_on_nothing_else() {
        let base = counted(1, "yield", "worker-1", 3);
        assert_eq!(base, counted(1, "yield", "worker-1", 3));
        for other in [
            counted(2, "yield", "worker-1", 3),
            counted(1, "latency", "worker-1", 3),
            counted(1, "yield", "worker-2", 3),
            counted(1, "yield", "worker-1", 4),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn a_restarted_host_does_not_draw_the_same_bits_again() {
        let entropy = SimEntropy::new(5, "broker");
        let restarted = entropy.clone();
        assert_ne!(entropy.next_u64(), restarted.next_u64());
    }
}
