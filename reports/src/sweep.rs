//! `segno.bench-sweep/1`: one benchmark at several points, to see how its cost grows.
//!
//! In: a [`BenchReport`] a point. Out: the columns that matter for what is swept, as CSV, as a text table
//! ([`crate::text_sweep`]) and as charts ([`crate::sweep_charts`]). Every column is computed from the raw values here.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::BenchReport;
use crate::figure::Figure;
use crate::spread::Spread;

pub const SCHEMA: &str = "segno.bench-sweep/1";

/// What changes from point to point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Swept {
    /// Events per second that are sent, open loop.
    #[default]
    Rate,
    /// Users that the events are of.
    Keys,
    /// Partitions of the source.
    Partitions,
    /// Bytes of an event's value.
    EventSize,
    /// Cores that a phase may use.
    Threads,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SweepReport {
    pub schema: String,
    pub sweep: Swept,
    pub pipeline: String,
    pub runs: u32,
    pub machine: BTreeMap<String, Value>,
    pub commit: String,
    pub build: String,
    /// Ascending.
    pub points: Vec<SweepPoint>,
    /// Where `sweep.csv`, `sweep.json` and `sweep.svg` are.
    pub run_dir: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SweepPoint {
    pub value: u64,
    pub report: BenchReport,
}

impl Swept {
    pub const ALL: [Swept; 5] = [Swept::Rate, Swept::Keys, Swept::Partitions, Swept::EventSize, Swept::Threads];

    pub fn name(self) -> &'static str {
        match self {
            Swept::Rate => "rate",
            Swept::Keys => "keys",
            Swept::Partitions => "partitions",
            Swept::EventSize => "event-size",
            Swept::Threads => "threads",
        }
    }

    /// What a point's value counts, for a heading.
    pub fn unit(self) -> &'static str {
        match self {
            Swept::Rate => "events/s",
            Swept::Keys => "users",
            Swept::Partitions => "partitions",
            Swept::EventSize => "bytes",
            Swept::Threads => "threads",
        }
    }
}

impl fmt::Display for Swept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl SweepReport {
    /// A figure at every point.
    pub fn column(&self, figure: Figure) -> Vec<Option<Spread>> {
        self.points.iter().map(|point| figure.of(&point.report)).collect()
    }

    /// A line a point, three fields a figure: median, least, most. Empty where it was not measured.
    pub fn csv(&self) -> String {
        let mut text = format!("{},events,ingest_runs,replay_runs", self.sweep.name().replace('-', "_"));
        for figure in Figure::ALL {
            let name = figure.name();
            write!(text, ",{name},{name}_least,{name}_most").expect("a string takes everything");
        }
        text.push('\n');
        for point in &self.points {
            let SweepPoint { value, report } = point;
            let (ingests, replays) = (report.ingest.events_per_s.len(), report.replay.warm.events_per_s.len());
            write!(text, "{value},{},{ingests},{replays}", report.events).expect("a string takes everything");
            for figure in Figure::ALL {
                match figure.of(&point.report) {
                    Some(Spread { median, least, most, .. }) => write!(text, ",{median:.3},{least:.3},{most:.3}"),
                    None => write!(text, ",,,"),
                }
                .expect("a string takes everything");
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::bench::{Ingest, Latency, Replay, ReplayRuns};

    /// Three points whose cost grows by half each.
    pub(crate) fn example(sweep: Swept, values: [u64; 3]) -> SweepReport {
        let points = values.into_iter().enumerate().map(|(index, value)| {
            let slower = 1.5f64.powi(index as i32);
            let report = BenchReport {
                pipeline: "clickstream-sessions".to_owned(),
                events: 5_000_000,
                bytes: 200_000_000,
                log_bytes: 250_000_000,
                keys: 40_000 * 4u64.pow(index as u32),
                state_bytes_per_key: Some(133.0 + index as f64),
                ingest: Ingest {
                    events_per_s: vec![1.9e6, 2.0e6, 2.1e6],
                    latency_us: Latency {
                        p50: 700 * (index as u64 + 1),
                        p99: 1_500 * 3u64.pow(index as u32),
                        p999: 3_300 * 4u64.pow(index as u32),
                        max: 60_000,
                    },
                    p99_us: vec![
                        1_200 * 3u64.pow(index as u32),
                        1_500 * 3u64.pow(index as u32),
                        2_500 * 3u64.pow(index as u32),
                    ],
                },
                replay: Replay {
                    cold: None,
                    warm: ReplayRuns {
                        events_per_s: [5.5e6, 6.0e6, 6.2e6].map(|rate| rate / slower).to_vec(),
                        bytes_per_s: [2.2e8, 2.4e8, 2.5e8].map(|rate| rate / slower).to_vec(),
                        cpu_s: [1.8, 1.6, 1.5].map(|seconds| seconds * slower).to_vec(),
                        peak_rss_bytes: (90 << 20) * (index as u64 + 1),
                        peak_rss_bytes_per_run: vec![(80 << 20) * (index as u64 + 1), (90 << 20) * (index as u64 + 1)],
                        ..ReplayRuns::default()
                    },
                    ..Replay::default()
                },
                ..BenchReport::default()
            };
            SweepPoint { value, report }
        });
        SweepReport {
            schema: SCHEMA.to_owned(),
            sweep,
            pipeline: "clickstream-sessions".to_owned(),
            runs: 3,
            commit: "0123456789ab".to_owned(),
            points: points.collect(),
            run_dir: "runs/20261121-031007-sweep".to_owned(),
            ..SweepReport::default()
        }
    }

    #[test]
    fn csv_has_as_many_fields_in_every_line() {
        let mut report = example(Swept::Keys, [100_000, 1_000_000, 10_000_000]);
        report.points[1].report.state_bytes_per_key = None;
        report.points[0].report.ingest.events_per_s.truncate(1);
        let csv = report.csv();
        let fields: Vec<usize> = csv.lines().map(|line| line.split(',').count()).collect();
        assert_eq!(fields, [4 + 3 * Figure::ALL.len(); 4]);
        assert!(csv.starts_with("keys,events,ingest_runs,replay_runs,ingest_events_per_s,"), "{csv}");
        assert!(csv.contains("\n100000,5000000,1,3,"), "{csv}");
    }
}
