//! `run` and `bench` for people. Wall time only.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use crate::bench::{Kill, Recovery};
use crate::figure::Figure;
use crate::spread::{Spread, median};
use crate::text::{badge, count, duration};
use crate::{BenchReport, RunReport, Verdict, text_baseline};

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
    line("machine", machine(&report.machine));
    let build = if report.build == "dev" { ", compiled without optimisation: no figure to quote" } else { "" };
    line("commit", format!("{}{build}", report.commit));
    line("ingest", spread(&report.ingest.events_per_s));
    let latency = &report.ingest.latency_us;
    line(
        // As fast as it goes, a batch is sent when the one before is answered: how long it takes, not how late anyone is.
        if report.rate.is_some() { "  latency" } else { "  batch takes" },
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
    if let Some(least) = warm.resident_share.iter().copied().min_by(f64::total_cmp).filter(|share| *share < 0.999) {
        line("  in memory", format!("{:.1} % of the source before the start: not warm", least * 100.0));
    }
    line("  bytes", format!("{} MB/s", per_million(median(&warm.bytes_per_s))));
    line("  cpu", format!("{:.1} s", median(&warm.cpu_s)));
    let peak = warm.peak_rss_bytes;
    let any = match report.peaks_of_all_replays().into_iter().max().filter(|most| *most > peak) {
        Some(most) => format!(", {} MiB cold or resumed", most >> 20),
        None => String::new(),
    };
    line("  peak memory", format!("{} MiB{any}", peak >> 20));
    for (name, seconds) in &report.replay_spent_s {
        line(&format!("  {name}"), format!("{seconds:.2} s, summed over tasks"));
    }
    match &report.replay.cold {
        Some(cold) => {
            line("replay cold", spread(&cold.events_per_s));
            if let Some(ratio) = Figure::ColdToWarm.of(report) {
                line(
                    "  to warm",
                    format!("{} %, each by the warm one right before it", Figure::ColdToWarm.show_spread(ratio)),
                );
            }
        }
        None if report.replay.no_cold => line("replay cold", "not asked for".to_owned()),
        None => line(
            "replay cold",
            "not measured: the page cache could not be emptied, or there is no fincore to make sure".to_owned(),
        ),
    }
    if let Some(recovery) = &report.recovery {
        let (killed, back) = killed(recovery);
        line("replay killed", killed);
        line("  back", back);
    }
    if report.rate.is_none() {
        line("ratio", format!("{:.1} : 1, replay to ingest", report.ratio_replay_to_ingest));
    }
    if report.keys > 0 {
        let each = report.state_bytes_per_key.map(|bytes| format!(", {bytes:.0} bytes each")).unwrap_or_default();
        line("state", format!("{} open keys at the fullest commit{each}", count(report.keys)));
    }
    let (commits, interval) = (count(report.commits), report.commit_interval_ms);
    let (longest, kind) = report.commit_gaps().into_iter().max_by_key(|(gap, _)| *gap).unwrap_or((0, "warm"));
    line(
        "commits",
        match longest <= interval {
            true => format!("{commits}, in any replay at most {longest} ms apart, of {interval} allowed"),
            false => format!("{commits}; {longest} ms apart in a {kind} replay: MORE than the {interval} allowed"),
        },
    );
    line("log", format!("{} MB, codec {}", per_million(report.log_bytes as f64), report.codec));
    line("panes", count(report.panes));
    let sums: Vec<String> = report.output_sums.iter().map(|(name, sum)| format!("{name} {sum}")).collect();
    line("output sums", format!("{}, as expected", sums.join(", ")));
    line("checksum", report.output_checksum.clone());
    if !report.run_dir.is_empty() {
        line("all figures", format!("{}/run.json, percentiles in latency.hgrm", report.run_dir));
    }
    if let Some(comparison) = &report.comparison {
        text.push('\n');
        text.push_str(&text_baseline::baseline(comparison));
    }
    text
}

/// `once, same checksum, 0.61 s lost`, and how long it took to be back.
fn killed(recovery: &Recovery) -> (String, String) {
    let seconds = |of: fn(&Kill) -> u64| {
        let values: Vec<f64> = recovery.kills.iter().map(|kill| of(kill) as f64).collect();
        median(&values) / 1e3
    };
    let lost: Vec<f64> = recovery.kills.iter().map(|kill| kill.lost_ms as f64).collect();
    let lost = Figure::Lost.show_spread(Spread::of(&lost).unwrap_or(Spread::only(0.0)));
    let times = if recovery.kills.len() == 1 { "once".to_owned() } else { format!("{} times", recovery.kills.len()) };
    let (restart, open) = (seconds(|kill| kill.restart_ms), seconds(|kill| kill.open_ms));
    let restore = seconds(|kill| kill.restore_ms);
    let back =
        format!("running after {restart:.2} s, of which {open:.2} s opened the log, state after {restore:.2} s more");
    let span = |of: fn(&Kill) -> u64| {
        let (least, most) = (recovery.kills.iter().map(of).min(), recovery.kills.iter().map(of).max());
        match (least.unwrap_or(0), most.unwrap_or(0)) {
            (least, most) if least == most => count(least),
            (least, most) => format!("{} to {}", count(least), count(most)),
        }
    };
    let snapshots = match span(|kill| kill.snapshots_before) {
        none if none == "0" => ", none of them a snapshot".to_owned(),
        some => format!(", {some} of them snapshots"),
    };
    let (commits, left) = (span(|kill| kill.commits_before), span(|kill| kill.events_left));
    let back = format!("{back}, {left} events left");
    let beside = match span(|kill| u64::from(kill.versions_before)) {
        none if none == "0" => String::new(),
        one if one == "1" => "; the topics of one replay before it lie in the log".to_owned(),
        replays => format!("; the topics of {replays} replays before it lie in the log"),
    };
    let back = format!("{back}{beside}");
    (format!("{times} after {commits} commits{snapshots}: same checksum, {lost} s lost"), back)
}

/// `AMD EPYC, 2 cores, Linux 6.18, ext4 on vda`.
pub(crate) fn machine(machine: &BTreeMap<String, Value>) -> String {
    let field = |field: &str| match machine.get(field) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => "unknown".to_owned(),
    };
    let disk = match machine.get("filesystem").and_then(Value::as_str) {
        Some(named) if named.starts_with("tmpfs") => format!(", {named}, where a sync costs nothing"),
        Some(named) => format!(", {named}"),
        None => String::new(),
    };
    format!("{}, {} cores, {}{disk}", field("cpu"), field("cores"), field("os"))
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

/// `400 µs`, `2.1 ms`.
pub(crate) fn us(us: u64) -> String {
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
                    longest_commit_gap_ms_per_run: vec![531],
                    ..bench::ReplayRuns::default()
                },
                ..bench::Replay::default()
            },
            ratio_replay_to_ingest: 1.7,
            commits: 10,
            commit_interval_ms: 500,
            longest_commit_gap_ms: 531,
            codec: "none".to_owned(),
            log_bytes: 400_000_000,
            panes: 7,
            recovery: Some(Recovery {
                uninterrupted_ms: 2_500,
                kills: vec![
                    Kill {
                        killed_after_ms: 1_200,
                        resumed_ms: 1_910,
                        restart_ms: 50,
                        open_ms: 30,
                        versions_before: 1,
                        restore_ms: 80,
                        commits_before: 4,
                        snapshots_before: 0,
                        events_left: 3_000_000,
                        lost_ms: 610,
                        peak_rss_bytes: 190 << 20,
                        longest_commit_gap_ms: 480,
                    },
                    Kill {
                        killed_after_ms: 1_000,
                        resumed_ms: 1_900,
                        restart_ms: 40,
                        open_ms: 20,
                        versions_before: 2,
                        restore_ms: 70,
                        commits_before: 6,
                        snapshots_before: 1,
                        events_left: 3_500_000,
                        lost_ms: 400,
                        peak_rss_bytes: 210 << 20,
                        longest_commit_gap_ms: 470,
                    },
                ],
            }),
            run_dir: "runs/20261121-031007-bench".to_owned(),
            keys: 48_310,
            state_bytes_per_key: Some(133.4),
            output_sums: [("sessions".to_owned(), 7)].into(),
            output_checksum: "00".repeat(16),
            ..BenchReport::default()
        };
        insta::assert_snapshot!("bench", anstream_free(&super::bench(&report)));

        let cold = report.replay.warm.clone();
        let cold = bench::ReplayRuns { events_per_s: vec![1.5e6, 1.7e6], ..cold };
        let warm = bench::ReplayRuns { longest_commit_gap_ms_per_run: vec![450, 440], ..report.replay.warm.clone() };
        let cold = bench::ReplayRuns { longest_commit_gap_ms_per_run: vec![490, 430], ..cold };
        let replay = bench::Replay { cold: Some(cold), warm, cold_to_warm: vec![0.75, 0.85], no_cold: false };
        let with_cold = BenchReport { replay, recovery: None, ..report };
        insta::assert_snapshot!("bench-cold", anstream_free(&super::bench(&with_cold)));
        let warm_only = bench::Replay { cold: None, no_cold: true, ..with_cold.replay.clone() };
        let shown = super::bench(&BenchReport { replay: warm_only, ..with_cold });
        assert!(shown.contains("replay cold   not asked for"), "{shown}");
    }

    /// Without the colours.
    fn anstream_free(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }
}
