//! The figures of a benchmark, one by one: what a sweep tabulates and a baseline is compared by.
//!
//! In: a [`BenchReport`]. Out: a [`Spread`] in the unit of the figure's name, computed from the raw values; none where it
//! was not measured.

use crate::BenchReport;
use crate::spread::Spread;
use crate::text::count;
use crate::text_measured::us;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    Ingest,
    IngestBytes,
    P50,
    P99,
    P999,
    Max,
    Replay,
    ReplayCold,
    ReplayBytes,
    CpuNs,
    PeakMemory,
    OpenKeys,
    BytesPerKey,
    EventBytes,
    LogBytesPerEvent,
    Lost,
    ColdToWarm,
    /// Of warm, cold and resumed replays.
    PeakMemoryOfAll,
    /// Of warm, cold and resumed replays.
    CommitGap,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    More,
    Less,
}

impl Figure {
    pub const ALL: [Figure; 19] = [
        Figure::Ingest,
        Figure::IngestBytes,
        Figure::P50,
        Figure::P99,
        Figure::P999,
        Figure::Max,
        Figure::Replay,
        Figure::ReplayCold,
        Figure::ReplayBytes,
        Figure::CpuNs,
        Figure::PeakMemory,
        Figure::OpenKeys,
        Figure::BytesPerKey,
        Figure::EventBytes,
        Figure::LogBytesPerEvent,
        Figure::Lost,
        Figure::ColdToWarm,
        Figure::PeakMemoryOfAll,
        Figure::CommitGap,
    ];

    /// For programs, with its unit at the end.
    pub fn name(self) -> &'static str {
        match self {
            Figure::Ingest => "ingest_events_per_s",
            Figure::IngestBytes => "ingest_bytes_per_s",
            Figure::P50 => "latency_p50_us",
            Figure::P99 => "latency_p99_us",
            Figure::P999 => "latency_p999_us",
            Figure::Max => "latency_max_us",
            Figure::Replay => "replay_events_per_s",
            Figure::ReplayCold => "replay_cold_events_per_s",
            Figure::ReplayBytes => "replay_bytes_per_s",
            Figure::CpuNs => "replay_cpu_ns_per_event",
            Figure::PeakMemory => "replay_peak_rss_bytes",
            Figure::OpenKeys => "open_keys",
            Figure::BytesPerKey => "state_bytes_per_key",
            Figure::EventBytes => "event_bytes",
            Figure::LogBytesPerEvent => "log_bytes_per_event",
            Figure::Lost => "recovery_lost_ms",
            Figure::ColdToWarm => "replay_cold_to_warm",
            Figure::PeakMemoryOfAll => "all_replays_peak_rss_bytes",
            Figure::CommitGap => "all_replays_longest_commit_gap_ms",
        }
    }

    /// For people: what, and in which unit [`Figure::show`] shows it.
    pub fn heading(self) -> (&'static str, &'static str) {
        match self {
            Figure::Ingest => ("ingest", "M events/s"),
            Figure::IngestBytes => ("ingest", "MB/s"),
            Figure::P50 => ("latency", "p50"),
            Figure::P99 => ("latency", "p99"),
            Figure::P999 => ("latency", "p99.9"),
            Figure::Max => ("latency", "max"),
            Figure::Replay => ("replay", "M events/s"),
            Figure::ReplayCold => ("replay cold", "M events/s"),
            Figure::ReplayBytes => ("replay", "MB/s"),
            Figure::CpuNs => ("an event", "ns of CPU"),
            Figure::PeakMemory => ("peak memory", "MiB"),
            Figure::OpenKeys => ("open keys", "at most"),
            Figure::BytesPerKey => ("a key's state", "bytes"),
            Figure::EventBytes => ("an event", "bytes"),
            Figure::LogBytesPerEvent => ("in the log", "bytes an event"),
            Figure::Lost => ("lost to a kill", "s"),
            Figure::ColdToWarm => ("cold to warm", "%"),
            Figure::PeakMemoryOfAll => ("peak memory of all", "MiB"),
            Figure::CommitGap => ("longest commit gap", "ms"),
        }
    }

    /// A number in the unit of the heading.
    pub fn show(self, number: f64) -> String {
        match self {
            Figure::Ingest | Figure::Replay | Figure::ReplayCold => format!("{:.2}", number / 1e6),
            Figure::IngestBytes | Figure::ReplayBytes => format!("{:.0}", number / 1e6),
            Figure::P50 | Figure::P99 | Figure::P999 | Figure::Max => us(number.round() as u64),
            Figure::CpuNs | Figure::BytesPerKey | Figure::EventBytes | Figure::LogBytesPerEvent => {
                format!("{number:.0}")
            }
            Figure::PeakMemory | Figure::PeakMemoryOfAll => format!("{:.0}", number / f64::from(1 << 20)),
            Figure::ColdToWarm => format!("{:.0}", number * 100.0),
            Figure::CommitGap => format!("{number:.0}"),
            Figure::OpenKeys => count(number as u64),
            Figure::Lost => format!("{:.2}", number / 1e3),
        }
    }

    /// `6.00 (5.50 to 6.20)`, or one number where the runs agree.
    pub fn show_spread(self, spread: Spread) -> String {
        if spread.least == spread.most {
            return self.show(spread.median);
        }
        format!("{} ({} to {})", self.show(spread.median), self.show(spread.least), self.show(spread.most))
    }

    pub fn better(self) -> Better {
        match self {
            Figure::Ingest
            | Figure::IngestBytes
            | Figure::Replay
            | Figure::ReplayCold
            | Figure::ReplayBytes
            | Figure::OpenKeys
            | Figure::ColdToWarm => Better::More,
            _ => Better::Less,
        }
    }

    /// Percentiles are of the merged histogram; the spread of p99 is that of the runs.
    pub fn of(self, report: &BenchReport) -> Option<Spread> {
        let per_event = |bytes: u64| (report.events > 0).then(|| Spread::only(bytes as f64 / report.events as f64));
        let known = |number: u64| (number > 0).then(|| Spread::only(number as f64));
        let (ingest, warm) = (&report.ingest, &report.replay.warm);
        match self {
            Figure::Ingest => Spread::of(&ingest.events_per_s),
            Figure::IngestBytes => Some(Spread::of(&ingest.events_per_s)?.scaled(per_event(report.bytes)?.median)),
            Figure::P50 => known(ingest.latency_us.p50),
            Figure::P99 => {
                let merged = known(ingest.latency_us.p99)?;
                let runs = Spread::of_whole(&ingest.p99_us).unwrap_or(merged);
                Some(Spread { median: merged.median, ..runs })
            }
            Figure::P999 => known(ingest.latency_us.p999),
            Figure::Max => known(ingest.latency_us.max),
            Figure::Replay => Spread::of(&warm.events_per_s),
            Figure::ReplayCold => Spread::of(&report.replay.cold.as_ref()?.events_per_s),
            Figure::ReplayBytes => Spread::of(&warm.bytes_per_s),
            Figure::CpuNs => Spread::of(&warm.cpu_ns_per_event(report.events)),
            Figure::PeakMemory => match Spread::of_whole(&warm.peak_rss_bytes_per_run) {
                None => known(warm.peak_rss_bytes),
                runs => runs,
            },
            Figure::OpenKeys => known(report.keys),
            Figure::BytesPerKey => {
                Spread::of(&report.state_bytes_per_key_per_run).or(report.state_bytes_per_key.map(Spread::only))
            }
            Figure::EventBytes => per_event(report.bytes),
            Figure::LogBytesPerEvent => per_event(report.log_bytes),
            Figure::Lost => {
                let lost: Vec<f64> = report.recovery.as_ref()?.kills.iter().map(|kill| kill.lost_ms as f64).collect();
                Spread::of(&lost)
            }
            Figure::ColdToWarm => Spread::of(&report.replay.cold_to_warm),
            Figure::PeakMemoryOfAll => Spread::of_whole(&report.peaks_of_all_replays()),
            Figure::CommitGap => {
                let gaps: Vec<u64> = report.commit_gaps().into_iter().map(|(gap, _)| gap).collect();
                Spread::of_whole(&gaps)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::Swept;
    use crate::sweep::tests::example;

    #[test]
    fn a_figure_is_computed_from_the_raw_values() {
        let report = example(Swept::Keys, [1, 2, 3]).points[0].report.clone();
        let shown = |figure: Figure| figure.of(&report).map(|spread| (spread.median, spread.least, spread.most));
        assert_eq!(shown(Figure::CpuNs), Some((320.0, 300.0, 360.0)));
        assert_eq!(shown(Figure::IngestBytes), Some((8.0e7, 7.6e7, 8.4e7)));
        assert_eq!(shown(Figure::P99), Some((1_500.0, 1_200.0, 2_500.0)));
        assert_eq!(shown(Figure::LogBytesPerEvent), Some((50.0, 50.0, 50.0)));
        assert_eq!(Figure::CpuNs.of(&BenchReport::default()), None);
    }

    #[test]
    fn memory_and_commit_gaps_are_of_every_replay() {
        use crate::bench::{Kill, Recovery, ReplayRuns};
        let mut report = BenchReport { longest_commit_gap_ms: 400, ..BenchReport::default() };
        report.replay.warm.peak_rss_bytes = 70;
        let most = |figure: Figure, report: &BenchReport| figure.of(report).map(|spread| spread.most);
        // A document from before each run was written down.
        assert_eq!(most(Figure::PeakMemoryOfAll, &report), Some(70.0));
        assert_eq!(most(Figure::CommitGap, &report), Some(400.0));
        let runs = |peak, gap| ReplayRuns {
            peak_rss_bytes: peak,
            peak_rss_bytes_per_run: vec![50, peak],
            longest_commit_gap_ms_per_run: vec![300, gap],
            ..ReplayRuns::default()
        };
        report.replay.warm = runs(70, 410);
        report.replay.cold = Some(runs(90, 520));
        assert_eq!(most(Figure::PeakMemoryOfAll, &report), Some(90.0));
        assert_eq!(most(Figure::CommitGap, &report), Some(520.0));
        let kill = Kill { peak_rss_bytes: 95, longest_commit_gap_ms: 610, ..Kill::default() };
        report.recovery = Some(Recovery { uninterrupted_ms: 0, kills: vec![kill] });
        assert_eq!(most(Figure::PeakMemoryOfAll, &report), Some(95.0));
        assert_eq!(most(Figure::CommitGap, &report), Some(610.0));
        assert_eq!(most(Figure::PeakMemory, &report), Some(70.0), "the soft limit is of the warm ones");
    }
}
