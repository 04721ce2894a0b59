//! A latency histogram as the percentile text that HdrHistogram's tools read and plot (`.hgrm`).
//!
//! In: microseconds. Out: milliseconds by percentile, ever denser towards the last event, as its Java and C versions write
//! them.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

const US_PER_MS: f64 = 1_000.0;
/// Lines for each halving of what is left above.
const TICKS_PER_HALF_DISTANCE: u32 = 5;
/// What three significant digits take.
const SUB_BUCKETS: u32 = 2_048;

/// The whole text.
pub fn hgrm(latency: &Histogram<u64>) -> String {
    let mut text = format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut total = 0;
    for step in latency.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        total += step.count_since_last_iteration();
        let (value, quantile) = (step.value_iterated_to() as f64 / US_PER_MS, step.quantile_iterated_to());
        write!(text, "{value:12.3} {quantile:1.12} {total:10}").expect("a string takes everything");
        if quantile < 1.0 {
            write!(text, " {:14.2}", 1.0 / (1.0 - quantile)).expect("a string takes everything");
        }
        text.push('\n');
    }
    let (mean, deviation) = (latency.mean() / US_PER_MS, latency.stdev() / US_PER_MS);
    writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]").expect("a string takes everything");
    let (most, count) = (latency.max() as f64 / US_PER_MS, latency.len());
    writeln!(text, "#[Max     = {most:12.3}, Total count    = {count:12}]").expect("a string takes everything");
    writeln!(text, "#[Buckets = {:12}, SubBuckets     = {SUB_BUCKETS:12}]", latency.buckets())
        .expect("a string takes everything");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_counted_and_the_last_line_is_the_largest() {
        let mut latency = crate::ingest::histogram();
        for us in 1..=10_000 {
            latency.record(us).expect("in range");
        }
        let text = hgrm(&latency);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "       Value     Percentile TotalCount 1/(1-Percentile)");
        assert_eq!(lines[1], "");
        assert_eq!(lines[2], "       0.001 0.000000000000          1           1.00");
        assert!(lines.contains(&"       5.003 0.500000000000       5003           2.00"), "{text}");
        let last = lines[lines.len() - 4];
        assert_eq!(last, "      10.007 1.000000000000      10000");
        assert!(lines[lines.len() - 2].ends_with("Total count    =        10000]"), "{text}");
    }
}
