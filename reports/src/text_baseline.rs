//! A comparison for people: figure, before, now, change, limit, verdict.

use crate::baseline::{Compared, Comparison, Limit, Outcome};
use crate::figure::{Better, Figure};
use crate::text_sweep::aligned;

/// The table, after a sentence that says what came of it.
pub fn baseline(comparison: &Comparison) -> String {
    let failed = comparison.rows.iter().filter(|row| row.outcome == Outcome::Failed).count();
    let failed = failed + comparison.missing.len();
    let sentence = match failed {
        0 => "every limit held".to_owned(),
        1 => "one limit failed".to_owned(),
        more => format!("{more} limits failed"),
    };
    let against = match (&comparison.baseline, &comparison.baseline_commit) {
        (Some(file), Some(commit)) => format!(", compared with {file} of commit {commit}"),
        _ => String::new(),
    };
    let mut text = format!("{sentence}{against}\n");
    for note in &comparison.notes {
        text.push_str(&format!("  - {note}\n"));
    }
    for figure in &comparison.missing {
        text.push_str(&format!("  - {figure} FAILED: it is to be judged, and this run did not measure it\n"));
    }
    text.push('\n');
    let mut rows = vec![["figure", "before", "now", "change", "limit", "verdict"].map(str::to_owned).to_vec()];
    rows.extend(comparison.rows.iter().filter_map(row));
    text.push_str(&aligned(&rows, true));
    if comparison.rows.iter().any(|row| row.outcome == Outcome::WithinSpread) {
        text.push_str("\n  within the spread: worse than the limit, but within the middle half of the baseline's runs (between its quartiles);\n  more --runs would tell\n");
    }
    text
}

/// `None` for a metric that this version does not know.
fn row(row: &Compared) -> Option<Vec<String>> {
    let figure = Figure::ALL.into_iter().find(|figure| figure.name() == row.metric)?;
    let (what, unit) = figure.heading();
    let limit = match (row.limit, figure.better()) {
        (Limit::None, _) => "-".to_owned(),
        (Limit::Regression(share), Better::More) => format!("-{:.1} %", share * 100.0),
        (Limit::Regression(share), Better::Less) => format!("+{:.1} %", share * 100.0),
        (Limit::AtLeast(least), _) => format!("at least {}", figure.show(least)),
        (Limit::AtMost(most), _) => format!("at most {}", figure.show(most)),
    };
    let verdict = match row.outcome {
        Outcome::Held => "held",
        Outcome::WithinSpread => "within the spread",
        Outcome::Failed => "FAILED",
        Outcome::NotJudged => "not judged",
    };
    Some(vec![
        format!("{what}, {unit}"),
        row.before.map_or("-".to_owned(), |before| figure.show_spread(before)),
        figure.show_spread(row.now),
        row.change.map_or("-".to_owned(), |change| format!("{:+.1} %", change * 100.0)),
        limit,
        verdict.to_owned(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::tests::report;
    use crate::baseline::{Limits, compare};

    #[test]
    fn a_comparison_is_an_aligned_table() {
        let mut before = report(&[5.9e6, 6.0e6, 6.2e6]);
        before.replay.warm.peak_rss_bytes_per_run = vec![80 << 20, 85 << 20, 110 << 20];
        let mut now = report(&[4.7e6, 4.8e6, 5.1e6]);
        now.replay.warm.peak_rss_bytes_per_run = vec![80 << 20, 95 << 20, 120 << 20];
        now.machine.insert("cores".to_owned(), 4.into());
        let limits =
            Limits { max_regression: 0.1, min_replay: Some(6.0e6), max_p99_us: Some(5.0e4), ..Limits::default() };
        let with = compare(Some(("before.json", &before)), &now, &limits);
        let without = compare(None, &before, &limits);
        insta::assert_snapshot!("baseline", [baseline(&with), baseline(&without)].join("\n"));
    }
}
