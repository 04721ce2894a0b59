//! What several runs of one thing came to: the median, and how far apart they lie.

use serde::{Deserialize, Serialize};

/// Of at least one run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
    /// The middle half lies between these; one outlier does not move them far.
    #[serde(default)]
    pub lower_quartile: f64,
    #[serde(default)]
    pub upper_quartile: f64,
}

impl Spread {
    /// `None` of no runs.
    pub fn of(values: &[f64]) -> Option<Spread> {
        let least = values.iter().copied().min_by(f64::total_cmp)?;
        let most = values.iter().copied().max_by(f64::total_cmp)?;
        let (lower_quartile, upper_quartile) = (quantile(values, 0.25), quantile(values, 0.75));
        Some(Spread { median: median(values), least, most, lower_quartile, upper_quartile })
    }

    /// Of whole numbers.
    pub fn of_whole(values: &[u64]) -> Option<Spread> {
        Spread::of(&values.iter().map(|value| *value as f64).collect::<Vec<_>>())
    }

    /// Something that is known once.
    pub fn only(value: f64) -> Spread {
        Spread { median: value, least: value, most: value, lower_quartile: value, upper_quartile: value }
    }

    #[must_use]
    pub fn scaled(self, factor: f64) -> Spread {
        Spread {
            median: self.median * factor,
            least: self.least * factor,
            most: self.most * factor,
            lower_quartile: self.lower_quartile * factor,
            upper_quartile: self.upper_quartile * factor,
        }
    }
}

/// Between the two values nearest to that share of them; of at least one.
fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

/// The middle one, or the mean of the two in the middle; 0 of none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn a_spread_has_a_middle_ends_and_quartiles() {
        assert_eq!(Spread::of(&[]), None);
        let three = Spread { median: 2.0, least: 1.0, most: 4.0, lower_quartile: 1.5, upper_quartile: 3.0 };
        assert_eq!(Spread::of(&[2.0, 1.0, 4.0]), Some(three));
    }
}
