//! `segno.bench/1`: ingest and replay, measured. Wall time only; arrays hold every run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub const SCHEMA: &str = "segno.bench/1";

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BenchReport {
    pub schema: String,
    pub pipeline: String,
    pub events: u64,
    /// Bytes of the events as generated, before the log's framing.
    pub bytes: u64,
    pub threads: u32,
    pub partitions: u32,
    pub machine: BTreeMap<String, Value>,
    pub commit: String,
    pub ingest: Ingest,
    pub replay: Replay,
    /// Where the tasks of the median warm replay spent their time, seconds summed over tasks.
    #[serde(default)]
    pub replay_spent_s: BTreeMap<String, f64>,
    /// Transactions of one replay.
    pub commits: u64,
    pub commit_interval_ms: u64,
    pub codec: String,
    /// Bytes of the source topic's segments.
    pub log_bytes: u64,
    pub ratio_replay_to_ingest: f64,
    pub panes: u64,
    pub output_checksum: String,
    pub output_sums: BTreeMap<String, i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ingest {
    pub events_per_s: Vec<f64>,
    /// From the intended send time; every run merged.
    pub latency_us: Latency,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    pub p50: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Replay {
    /// `null` where the page cache could not be emptied.
    pub cold: Option<ReplayRuns>,
    pub warm: ReplayRuns,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReplayRuns {
    pub events_per_s: Vec<f64>,
    #[serde(default)]
    pub bytes_per_s: Vec<f64>,
    #[serde(default)]
    pub cpu_s: Vec<f64>,
    /// The maximum over the runs.
    #[serde(default)]
    pub peak_rss_bytes: u64,
}
