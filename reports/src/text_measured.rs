//! `run` and `bench` for people. Wall time only.

use std::fmt::Write;

use crate::text::{badge, count, duration};
use crate::{BenchReport, RunReport, Verdict};

/// The report of a run over a file.
pub fn run(report: &RunReport) -> String {
    let (verdict, sentence) = match report.equal {
        true => (Verdict::Pass, "the replay equals the live output"),
        false => (Verdict::Violation, "the replay differs from the live output"),
    };
    let mut text = format!("{}  {sentence} in {}\n\n", badge(verdict), report.pipeline);
    let records = &report.records;
    let mut line = |name: &str, value: String| {
        writeln!(text, "  {name:<13} {value}").expect("a string takes everything");
    };
    line(
        "records",
        format!(
            "{} ingested: {} late; {} lines rejected",
            count(records.ingested),
            count(records.late),
            count(records.rejected)
        ),
    );
    line("panes", format!("{} live, {} replayed", count(report.panes.live), count(report.panes.replay)));
    line("checksum", report.output_checksum.clone());
    line("wall time", duration(report.wall_ms));
    line("panes in", report.out.clone());
    if !report.rejects.is_empty() {
        line("rejects in", report.rejects.clone());
    }
    line("data in", report.data_dir.clone());
    if !report.first_difference.is_empty() {
        write!(text, "\nfirst difference\n{}", report.first_difference).expect("a string takes everything");
    }
    text
}

/// The report of a benchmark: every figure with its spread.
pub fn bench(report: &BenchReport) -> String {
    let machine = |field: &str| match report.machine.get(field) {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => "unknown".to_owned(),
    };
    let mut text = format!(
        "{}  {} events of {} users, keyed by {}, {} partitions, {} threads\n\n",
        report.pipeline,
        count(report.events),
        count(u64::from(report.users)),
        report.key,
        report.partitions,
        report.threads
    );
    let mut line = |name: &str, value: String| {
        writeln!(text, "  {name:<13} {value}").expect("a string takes everything");
    };
    line("machine", format!("{}, {} cores, {}", machine("cpu"), machine("cores"), machine("os")));
    let build = if report.build == "dev" { ", compiled without optimisation: no figure to quote" } else { "" };
    line("commit", format!("{}{build}", report.commit));
    line("ingest", spread(&report.ingest.events_per_s));
    let latency = &report.ingest.latency_us;
    line(
        "  latency",
        format!(
            "p50 {}, p99 {}, p99.9 {}, max {}",
            us(latency.p50),
            us(latency.p99),
            us(latency.p999),
            us(latency.max)
        ),
    );
    let warm = &report.replay.warm;
    line("replay warm", spread(&warm.events_per_s));
    line("  bytes", format!("{} MB/s", per_million(median(&warm.bytes_per_s))));
    line("  cpu", format!("{:.1} s", median(&warm.cpu_s)));
    line("  peak memory", format!("{} MiB", warm.peak_rss_bytes >> 20));
    for (name, seconds) in &report.replay_spent_s {
        line(&format!("  {name}"), format!("{seconds:.2} s, summed over tasks"));
    }
    match &report.replay.cold {
        Some(cold) => line("replay cold", spread(&cold.events_per_s)),
        None => line("replay cold", "not measured: the page cache could not be emptied".to_owned()),
    }
    line("ratio", format!("{:.1} : 1, replay to ingest", report.ratio_replay_to_ingest));
    if report.keys > 0 {
        line("state", format!("{} open keys at most", count(report.keys)));
    }
    line("commits", format!("{}, at most {} ms apart", count(report.commits), report.commit_interval_ms));
    line("log", format!("{} MB, codec {}", per_million(report.log_bytes as f64), report.codec));
    line("panes", count(report.panes));
    let sums: Vec<String> = report.output_sums.iter().map(|(name, sum)| format!("{name} {sum}")).collect();
    line("output sums", format!("{}, as expected", sums.join(", ")));
    line("checksum", report.output_checksum.clone());
    text
}

/// `1.23 M events/s, 1.20 to 1.25 over 3 runs`
fn spread(rates: &[f64]) -> String {
    if rates.is_empty() {
        return "not measured".to_owned();
    }
    let least = rates.iter().copied().fold(f64::INFINITY, f64::min);
    let most = rates.iter().copied().fold(0.0, f64::max);
    let runs = if rates.len() == 1 { "1 run".to_owned() } else { format!("{} runs", rates.len()) };
    format!("{} M events/s, {} to {} over {runs}", per_million(median(rates)), per_million(least), per_million(most))
}

fn per_million(value: f64) -> String {
    format!("{:.2}", value / 1e6)
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

fn us(us: u64) -> String {
    if us < 1_000 { format!("{us} µs") } else { format!("{}.{} ms", us / 1_000, us % 1_000 / 100) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::RunRecords;
    use crate::{PaneCounts, bench};

    #[test]
    fn a_run_is_told_in_words() {
        let report = RunReport {
            schema: crate::run::SCHEMA.to_owned(),
            pipeline: "clickstream-sessions".to_owned(),
            records: RunRecords { ingested: 10_000, rejected: 2, late: 0 },
            panes: PaneCounts { live: 2_345, replay: 2_345 },
            equal: true,
            output_checksum: "00".repeat(16),
            wall_ms: 812,
            data_dir: "runs/20261121-031007-run".to_owned(),
            out: "s.ndjson".to_owned(),
            rejects: "runs/20261121-031007-run/rejects.ndjson".to_owned(),
            first_difference: String::new(),
        };
        insta::assert_snapshot!("run", anstream_free(&run(&report)));
    }

    #[test]
    fn a_benchmark_shows_median_and_spread() {
        let report = BenchReport {
            schema: bench::SCHEMA.to_owned(),
            pipeline: "clickstream-sessions".to_owned(),
            events: 5_000_000,
            users: 100_000,
            key: "user".to_owned(),
            build: "release".to_owned(),
            threads: 2,
            partitions: 2,
            commit: "0123456789ab".to_owned(),
            ingest: bench::Ingest {
                events_per_s: vec![1.1e6, 1.3e6, 1.2e6],
                latency_us: bench::Latency { p50: 400, p99: 2_150, p999: 9_000, max: 20_000 },
                p99_us: vec![2_050, 2_150, 2_250],
            },
            replay: bench::Replay {
                cold: None,
                warm: bench::ReplayRuns {
                    events_per_s: vec![2.0e6],
                    bytes_per_s: vec![1.2e8],
                    cpu_s: vec![4.0],
                    peak_rss_bytes: 200 << 20,
                    peak_rss_bytes_per_run: vec![200 << 20],
                },
            },
            ratio_replay_to_ingest: 1.7,
            commits: 10,
            commit_interval_ms: 500,
            codec: "none".to_owned(),
            log_bytes: 400_000_000,
            panes: 7,
            keys: 48_310,
            output_sums: [("sessions".to_owned(), 7)].into(),
            output_checksum: "00".repeat(16),
            ..BenchReport::default()
        };
        insta::assert_snapshot!("bench", anstream_free(&super::bench(&report)));
    }

    /// Without the colours.
    fn anstream_free(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
