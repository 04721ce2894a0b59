//! A set of seeds, written short: `0..=147 step 3, 200`.
//!
//! In: seeds. Out: text in which those at equal distances are one range; a document holds it as that text.
//! Always: what is read of the text is the set that was written.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Fewer seeds than this at equal distances are written one by one.
const RANGE_MIN: usize = 3;

/// A range of more seeds is no campaign's.
const SEEDS_MAX: u64 = 10_000_000;

/// Which seeds ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SeedSet(BTreeSet<u64>);

impl SeedSet {
    pub fn one(seed: u64) -> SeedSet {
        SeedSet(BTreeSet::from([seed]))
    }

    pub fn merge(&mut self, other: &SeedSet) {
        self.0.extend(&other.0);
    }
}

impl fmt::Display for SeedSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seeds: Vec<u64> = self.0.iter().copied().collect();
        let mut left = &seeds[..];
        while let [first, rest @ ..] = left {
            let step = rest.first().map_or(1, |second| second - first);
            let steps = left.windows(2).take_while(|pair| pair[1] - pair[0] == step).count();
            let taken = if steps + 1 < RANGE_MIN { 1 } else { steps + 1 };
            match (taken, step, left[taken - 1]) {
                (1, ..) => write!(out, "{first}")?,
                (_, 1, last) => write!(out, "{first}..={last}")?,
                (_, step, last) => write!(out, "{first}..={last} step {step}")?,
            }
            left = &left[taken..];
            if !left.is_empty() {
                out.write_str(", ")?;
            }
        }
        Ok(())
    }
}

impl FromStr for SeedSet {
    type Err = String;

    fn from_str(text: &str) -> Result<SeedSet, String> {
        let wrong = || format!("{text:?} is no set of seeds; one is written like 0..=147 step 3, 200");
        let number = |digits: &str| digits.parse::<u64>().map_err(|_| wrong());
        let mut seeds = BTreeSet::new();
        for part in text.split(", ").filter(|part| !part.is_empty()) {
            let (range, step) = part.split_once(" step ").unwrap_or((part, "1"));
            let (first, last) = range.split_once("..=").unwrap_or((range, range));
            let (first, last) = (number(first)?, number(last)?);
            let step = usize::try_from(number(step)?).ok().filter(|step| *step > 0).ok_or_else(wrong)?;
            // Nobody runs more; a document that is wrong must not fill memory.
            if first > last || (last - first) / step as u64 > SEEDS_MAX {
                return Err(wrong());
            }
            seeds.extend((first..=last).step_by(step));
        }
        Ok(SeedSet(seeds))
    }
}

impl From<SeedSet> for String {
    fn from(seeds: SeedSet) -> String {
        seeds.to_string()
    }
}

impl TryFrom<String> for SeedSet {
    type Error = String;

    fn try_from(text: String) -> Result<SeedSet, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(seeds: impl IntoIterator<Item = u64>) -> SeedSet {
        SeedSet(seeds.into_iter().collect())
    }

    #[test]
    fn seeds_at_equal_distances_are_a_range() {
        for (seeds, text) in [
            (set([]), ""),
            (set([7]), "7"),
            (set([7, 9]), "7, 9"),
            (set(0..5), "0..=4"),
            (set((0..150).step_by(3)), "0..=147 step 3"),
            (
                set((1..150).step_by(3).chain([200, 201, 202, u64::MAX])),
                "1..=148 step 3, 200..=202, 18446744073709551615",
            ),
        ] {
            assert_eq!(seeds.to_string(), text);
            assert_eq!(text.parse(), Ok(seeds));
        }
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for text in ["x", "1..=", "1..=9 step 0", "-1", "1,2", "9..=1", "0..=18446744073709551615"] {
            assert!(text.parse::<SeedSet>().is_err_and(|error| error.contains(text)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(seeds in prop::collection::btree_set(0_u64..200, 0..60)) {
            let seeds = SeedSet(seeds);
            prop_assert_eq!(seeds.to_string().parse(), Ok(seeds));
        }
    }
}
