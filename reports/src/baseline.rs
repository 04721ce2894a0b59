//! A benchmark beside an earlier one, and beside limits.
//!
//! In: two reports and [`Limits`]. Out: [`Comparison`]: a row per figure and limit, and whether all of them held.
//!
//! Two kinds of limit:
//! - A *hard* one is a number. It fails when the median is beyond it; those of memory, of what a kill costs and of how long
//!   a commit may wait, when any replay is, warm, cold or resumed; that of latency, when the 99th percentile of all runs
//!   together is. It fails also when nothing was measured that it could be held to.
//! - A *soft* one is a share of the baseline's median. It fails when the median is worse by more than that **and** worse than
//!   the middle half of the baseline's runs. A median within that half may be noise, and the row says so; an outlier excuses
//!   nothing, neither one of the runs now nor one of the baseline's.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::BenchReport;
use crate::figure::{Better, Figure};
use crate::spread::Spread;

/// The figures that are compared, in the order in which they are shown.
const COMPARED: [Figure; 8] = [
    Figure::Ingest,
    Figure::P99,
    Figure::Replay,
    Figure::ReplayCold,
    Figure::CpuNs,
    Figure::PeakMemory,
    Figure::BytesPerKey,
    Figure::Lost,
];
/// One machine may report a little less memory after an update.
const MEMORY_SLACK: f64 = 0.1;

/// What must hold. Rates are events per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// How much worse than the baseline a median may be, as a share.
    pub max_regression: f64,
    pub min_ingest: Option<f64>,
    pub max_p99_us: Option<f64>,
    pub min_replay: Option<f64>,
    pub max_memory_bytes: Option<f64>,
    pub max_lost_ms: Option<f64>,
    /// Of the speed of a cold replay, as a share of that of a warm one in the same minutes.
    pub min_cold_to_warm: Option<f64>,
    pub max_commit_gap_ms: Option<f64>,
}

/// What the limits came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The file and the commit of the baseline, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline_commit: Option<String>,
    /// What differs between the machines and was allowed to, and what could not be compared.
    pub notes: Vec<String>,
    /// What the baseline or a limit judges and this run did not measure: a limit that nobody looked at has not held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    pub rows: Vec<Compared>,
    pub held: bool,
}

/// One figure and one limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// With its unit at the end.
    pub metric: String,
    pub before: Option<Spread>,
    pub now: Spread,
    /// Of the medians, as a share of the one before.
    pub change: Option<f64>,
    pub limit: Limit,
    pub outcome: Outcome,
}

/// The number in a hard limit is in the unit of its metric; in a soft one it is a share.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "value")]
pub enum Limit {
    None,
    Regression(f64),
    AtLeast(f64),
    AtMost(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Held,
    /// Worse than the limit, but within the middle half of the baseline's runs.
    WithinSpread,
    Failed,
    /// Only shown.
    NotJudged,
}

/// How two benchmarks differ that were meant to differ in the code alone: a phrase a field.
pub fn unlike_runs(before: &BenchReport, now: &BenchReport) -> Vec<String> {
    let mut unlike = Vec::new();
    let mut field = |name: &str, before: String, now: String| {
        if before != now {
            unlike.push(format!("{name} was {before} and is {now}"));
        }
    };
    let rate = |report: &BenchReport| report.rate.map_or("max".to_owned(), |rate| rate.to_string());
    let size = |report: &BenchReport| report.value_bytes.map_or("as it is".to_owned(), |size| size.to_string());
    // Documents from before it was written down are of release builds.
    let build =
        |report: &BenchReport| if report.build.is_empty() { "release".to_owned() } else { report.build.clone() };
    field("pipeline", before.pipeline.clone(), now.pipeline.clone());
    field("events", before.events.to_string(), now.events.to_string());
    field("users", before.users.to_string(), now.users.to_string());
    field("key", before.key.clone(), now.key.clone());
    field("rate", rate(before), rate(now));
    field("value size", size(before), size(now));
    field("partitions", before.partitions.to_string(), now.partitions.to_string());
    field("threads", before.threads.to_string(), now.threads.to_string());
    field("commit interval", before.commit_interval_ms.to_string(), now.commit_interval_ms.to_string());
    field("codec", before.codec.clone(), now.codec.clone());
    field("build", build(before), build(now));
    let cold = |report: &BenchReport| if report.replay.no_cold { "left out" } else { "asked for" }.to_owned();
    field("replays with a cold cache", cold(before), cold(now));
    unlike
}

/// How the machines differ: a phrase a field. A kernel is not the machine.
pub fn unlike_machines(before: &BenchReport, now: &BenchReport) -> Vec<String> {
    let mut unlike = Vec::new();
    for field in ["cpu", "cores", "arch"] {
        let (before, now) = (before.machine.get(field), now.machine.get(field));
        if before != now {
            let show = |value: Option<&Value>| value.map_or("unknown".to_owned(), Value::to_string);
            unlike.push(format!("{field} was {} and is {}", show(before), show(now)));
        }
    }
    // Documents from before it was written down say nothing of their disk.
    // A device may have another name after the next boot.
    let filesystem = |report: &BenchReport| {
        let named = report.machine.get("filesystem").and_then(Value::as_str)?;
        Some(named.split(' ').next().unwrap_or(named).to_owned())
    };
    if let (Some(before), Some(now)) = (filesystem(before), filesystem(now))
        && before != now
    {
        unlike.push(format!("filesystem was {before} and is {now}"));
    }
    let memory = |report: &BenchReport| report.machine.get("memory_bytes").and_then(Value::as_f64);
    match (memory(before), memory(now)) {
        (Some(before), Some(now)) if (before - now).abs() <= before * MEMORY_SLACK => {}
        (before, now) if before == now => {}
        (before, now) => {
            let show =
                |bytes: Option<f64>| bytes.map_or("unknown".to_owned(), |bytes| format!("{:.1} GB", bytes / 1e9));
            unlike.push(format!("memory was {} and is {}", show(before), show(now)));
        }
    }
    unlike
}

/// Holds `now` to the limits, and to the baseline (its file and what it says) where there is one.
pub fn compare(baseline: Option<(&str, &BenchReport)>, now: &BenchReport, limits: &Limits) -> Comparison {
    let mut rows = Vec::new();
    let (mut notes, mut missing) = (Vec::new(), Vec::new());
    if let Some((_, before)) = baseline {
        notes.extend(unlike_machines(before, now).into_iter().map(|what| format!("another machine: {what}")));
        for figure in COMPARED {
            match soft(figure, before, now, limits.max_regression) {
                Some(row) => rows.push(row),
                None if figure.of(before).is_some() && is_judged(figure, now) => missing.push(figure.name().to_owned()),
                None if figure.of(before).is_some() => {
                    notes.push(format!("{} is not measured any more", figure.name()))
                }
                None => {}
            }
        }
    }
    let hard_limits = [
        (Figure::Ingest, limits.min_ingest.map(Limit::AtLeast)),
        (Figure::P99, limits.max_p99_us.map(Limit::AtMost)),
        (Figure::Replay, limits.min_replay.map(Limit::AtLeast)),
        (Figure::ColdToWarm, limits.min_cold_to_warm.map(Limit::AtLeast)),
        (Figure::PeakMemoryOfAll, limits.max_memory_bytes.map(Limit::AtMost)),
        (Figure::CommitGap, limits.max_commit_gap_ms.map(Limit::AtMost)),
        (Figure::Lost, limits.max_lost_ms.map(Limit::AtMost)),
    ];
    for (figure, limit) in hard_limits {
        match limit.map(|limit| hard(figure, limit, now)) {
            None => {}
            Some(Some(row)) => rows.push(row),
            Some(None) => missing.push(figure.name().to_owned()),
        }
    }
    Comparison {
        baseline: baseline.map(|(file, _)| file.to_owned()),
        baseline_commit: baseline.map(|(_, report)| report.commit.clone()),
        notes,
        held: missing.is_empty() && rows.iter().all(|row| row.outcome != Outcome::Failed),
        missing,
        rows,
    }
}

/// Whether a baseline limits it.
fn is_judged(figure: Figure, now: &BenchReport) -> bool {
    match figure {
        // The latency of batches that are sent as fast as they go says how large they are, not how late anyone would be.
        Figure::P99 => now.rate.is_some(),
        Figure::Lost => false,
        _ => true,
    }
}

fn soft(figure: Figure, before: &BenchReport, now: &BenchReport, share: f64) -> Option<Compared> {
    let judged = is_judged(figure, now);
    let (before, now) = (figure.of(before)?, figure.of(now)?);
    let change = (before.median != 0.0).then(|| now.median / before.median - 1.0);
    let (worse, reached) = match figure.better() {
        Better::More => (now.median < before.median * (1.0 - share), now.median >= before.lower_quartile),
        Better::Less => (now.median > before.median * (1.0 + share), now.median <= before.upper_quartile),
    };
    let outcome = match (judged, worse) {
        (false, _) => Outcome::NotJudged,
        (true, false) => Outcome::Held,
        (true, true) if reached => Outcome::WithinSpread,
        (true, true) => Outcome::Failed,
    };
    let limit = if judged { Limit::Regression(share) } else { Limit::None };
    Some(Compared { metric: figure.name().to_owned(), before: Some(before), now, change, limit, outcome })
}

/// `None` where it was not measured.
fn hard(figure: Figure, limit: Limit, now: &BenchReport) -> Option<Compared> {
    let now = figure.of(now)?;
    let held = match limit {
        Limit::AtLeast(least) => now.median >= least,
        // These are promises about every run.
        Limit::AtMost(most) if matches!(figure, Figure::PeakMemoryOfAll | Figure::CommitGap | Figure::Lost) => {
            now.most <= most
        }
        Limit::AtMost(most) => now.median <= most,
        Limit::None | Limit::Regression(_) => unreachable!("{limit:?} is no hard limit"),
    };
    let outcome = if held { Outcome::Held } else { Outcome::Failed };
    Some(Compared { metric: figure.name().to_owned(), before: None, now, change: None, limit, outcome })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::bench::{Ingest, Kill, Latency, Recovery, Replay, ReplayRuns};

    pub(crate) fn report(replay: &[f64]) -> BenchReport {
        BenchReport {
            pipeline: "clickstream-sessions".to_owned(),
            events: 1_000_000,
            key: "user".to_owned(),
            commit: "0123456789ab".to_owned(),
            rate: Some(200_000),
            machine: [("cpu".to_owned(), "AMD EPYC".into()), ("cores".to_owned(), 2.into())].into(),
            ingest: Ingest {
                events_per_s: vec![2.0e5],
                latency_us: Latency { p50: 700, p99: 9_000, p999: 20_000, max: 30_000 },
                p99_us: vec![8_000, 9_000, 12_000],
            },
            replay: Replay {
                cold: None,
                warm: ReplayRuns {
                    events_per_s: replay.to_vec(),
                    bytes_per_s: Vec::new(),
                    cpu_s: vec![0.3],
                    peak_rss_bytes: 90 << 20,
                    peak_rss_bytes_per_run: vec![80 << 20, 90 << 20],
                    ..ReplayRuns::default()
                },
                ..Replay::default()
            },
            ..BenchReport::default()
        }
    }

    fn soft_outcome(before: &[f64], now: &[f64], share: f64) -> Outcome {
        let limits = Limits { max_regression: share, ..Limits::default() };
        let compared = compare(Some(("before.json", &report(before))), &report(now), &limits);
        let row = compared.rows.into_iter().find(|row| row.metric == Figure::Replay.name());
        row.expect("the replay is compared").outcome
    }

    #[test]
    fn a_median_is_worse_only_beyond_its_share() {
        assert_eq!(soft_outcome(&[6.0e6], &[5.4e6], 0.1), Outcome::Held);
        assert_eq!(soft_outcome(&[6.0e6], &[5.39e6], 0.1), Outcome::Failed);
        assert_eq!(soft_outcome(&[6.0e6], &[9.0e6], 0.1), Outcome::Held);
        assert_eq!(soft_outcome(&[6.0e6], &[5.39e6], 0.2), Outcome::Held);
    }

    #[test]
    fn a_median_in_the_middle_of_the_baseline_fails_no_soft_limit_and_an_outlier_excuses_nothing() {
        assert_eq!(soft_outcome(&[4.0e6, 6.0e6, 6.1e6], &[4.8e6, 5.1e6, 6.3e6], 0.1), Outcome::WithinSpread);
        assert_eq!(soft_outcome(&[5.0e6, 6.0e6, 6.1e6], &[5.1e6, 5.1e6, 5.1e6], 0.1), Outcome::Failed);
        assert_eq!(soft_outcome(&[5.0e6, 6.0e6, 6.1e6], &[4.8e6, 4.9e6, 6.3e6], 0.1), Outcome::Failed);
        assert_eq!(soft_outcome(&[6.0e6, 6.0e6, 6.0e6], &[3.0e6, 3.0e6, 9.0e6], 0.1), Outcome::Failed);
        assert_eq!(soft_outcome(&[5.0e6, 6.0e6, 6.1e6], &[4.8e6, 4.9e6, 5.0e6], 0.1), Outcome::Failed);
        assert_eq!(soft_outcome(&[5.9e6, 6.0e6, 6.1e6], &[4.8e6, 4.9e6, 6.0e6], 0.1), Outcome::Failed);
    }

    #[test]
    fn less_is_better_for_cost_and_latency() {
        let (before, mut now) = (report(&[6.0e6]), report(&[6.0e6]));
        now.replay.warm.cpu_s = vec![0.4];
        now.ingest.latency_us.p99 = 20_000;
        now.ingest.p99_us = vec![19_000, 20_000, 21_000];
        let limits = Limits { max_regression: 0.1, ..Limits::default() };
        let failed = |before: &BenchReport, now: &BenchReport| -> Vec<String> {
            let compared = compare(Some(("before.json", before)), now, &limits);
            assert_eq!(compared.held, compared.rows.iter().all(|row| row.outcome != Outcome::Failed));
            let failed = compared.rows.into_iter().filter(|row| row.outcome == Outcome::Failed);
            failed.map(|row| row.metric).collect()
        };
        assert_eq!(failed(&before, &now), ["latency_p99_us", "replay_cpu_ns_per_event"]);
        assert!(failed(&now, &before).is_empty());
        now.rate = None;
        assert_eq!(failed(&before, &now), ["replay_cpu_ns_per_event"], "without a rate latency is not judged");
    }

    #[test]
    fn a_figure_that_the_baseline_has_and_this_run_has_not_fails() {
        let mut before = report(&[6.0e6]);
        before.replay.cold = Some(before.replay.warm.clone());
        let compared = compare(Some(("before.json", &before)), &report(&[6.0e6]), &Limits::default());
        assert_eq!((compared.missing, compared.held), (vec!["replay_cold_events_per_s".to_owned()], false));
    }

    #[test]
    fn hard_limits_need_no_baseline() {
        let outcomes = |limits: Limits| -> Vec<Outcome> {
            compare(None, &report(&[5.0e6, 6.0e6, 7.0e6]), &limits).rows.iter().map(|row| row.outcome).collect()
        };
        assert_eq!(outcomes(Limits::default()), []);
        assert_eq!(outcomes(Limits { min_replay: Some(6.0e6), ..Limits::default() }), [Outcome::Held]);
        assert_eq!(outcomes(Limits { min_replay: Some(6.1e6), ..Limits::default() }), [Outcome::Failed]);
        assert_eq!(outcomes(Limits { max_p99_us: Some(8_999.0), ..Limits::default() }), [Outcome::Failed]);
        assert_eq!(outcomes(Limits { min_ingest: Some(2.0e5), ..Limits::default() }), [Outcome::Held]);
        let of_every_run = Limits { max_memory_bytes: Some(85.0 * 1_048_576.0), ..Limits::default() };
        assert_eq!(outcomes(of_every_run), [Outcome::Failed]);
    }

    #[test]
    fn memory_and_commit_gaps_of_cold_and_resumed_replays_are_held_to_their_limits() {
        let held = |report: &BenchReport, limits: Limits| compare(None, report, &limits).held;
        let memory = Limits { max_memory_bytes: Some(100.0 * 1_048_576.0), ..Limits::default() };
        let gap = Limits { max_commit_gap_ms: Some(500.0), ..Limits::default() };
        let mut report = report(&[6.0e6, 6.0e6]);
        report.replay.warm.longest_commit_gap_ms_per_run = vec![430, 500];
        assert!(held(&report, memory) && held(&report, gap));
        let mut cold = report.clone();
        cold.replay.cold = Some(cold.replay.warm.clone());
        cold.replay.cold.as_mut().expect("it is there").peak_rss_bytes_per_run = vec![80 << 20, 101 << 20];
        cold.replay.cold.as_mut().expect("it is there").longest_commit_gap_ms_per_run = vec![501, 300];
        assert!(!held(&cold, memory) && !held(&cold, gap));
        let kill = Kill { peak_rss_bytes: 101 << 20, longest_commit_gap_ms: 501, ..Kill::default() };
        report.recovery = Some(Recovery { uninterrupted_ms: 1_000, kills: vec![Kill::default(), kill] });
        assert!(!held(&report, memory) && !held(&report, gap));
    }

    #[test]
    fn cold_is_held_to_its_share_of_warm_by_the_median_of_the_pairs() {
        let limits = Limits { min_cold_to_warm: Some(0.8), ..Limits::default() };
        let mut report = report(&[6.0e6; 3]);
        report.replay.cold_to_warm = vec![0.5, 0.81, 1.2];
        assert!(compare(None, &report, &limits).held);
        report.replay.cold_to_warm = vec![0.5, 0.79, 1.2];
        assert!(!compare(None, &report, &limits).held);
        report.replay.cold_to_warm = Vec::new();
        let unmeasured = compare(None, &report, &limits);
        assert_eq!((unmeasured.missing, unmeasured.held), (vec!["replay_cold_to_warm".to_owned()], false));
    }

    #[test]
    fn unlike_runs_and_machines_are_named() {
        let before = report(&[6.0e6]);
        let mut now = before.clone();
        assert!(unlike_runs(&before, &now).is_empty() && unlike_machines(&before, &now).is_empty());
        now.key = "event".to_owned();
        now.events = 5;
        now.build = "dev".to_owned();
        now.machine.insert("cores".to_owned(), 8.into());
        let runs = ["events was 1000000 and is 5", "key was user and is event", "build was release and is dev"];
        assert_eq!(unlike_runs(&before, &now), runs);
        assert_eq!(unlike_machines(&before, &now), ["cores was 2 and is 8"]);
    }
}
