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
    /// Of the generator: how many users the events are of.
    #[serde(default = "default_users")]
    pub users: u32,
    /// What the source is keyed by: `user`, or `event`, and then a repartition by user runs in the replay.
    #[serde(default = "default_key")]
    pub key: String,
    /// Events per second that were asked for; `null` = as fast as it goes.
    #[serde(default)]
    pub rate: Option<u64>,
    /// Bytes of the events as generated, before the log's framing.
    pub bytes: u64,
    pub threads: u32,
    pub partitions: u32,
    pub machine: BTreeMap<String, Value>,
    pub commit: String,
    /// `release` or `dev`: how the program was compiled.
    #[serde(default)]
    pub build: String,
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
    /// Keys with state, where it was most: per task at one of its commits, summed over tasks.
    #[serde(default)]
    pub keys: u64,
}

fn default_users() -> u32 {
    100_000
}

fn default_key() -> String {
    "user".to_owned()
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ingest {
    pub events_per_s: Vec<f64>,
    /// From the intended send time; every run merged.
    pub latency_us: Latency,
    /// Of every run.
    #[serde(default)]
    pub p99_us: Vec<u64>,
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
    /// Of every run.
    #[serde(default)]
    pub peak_rss_bytes_per_run: Vec<u64>,
}

impl ReplayRuns {
    /// CPU time of an event in every run, ns.
    pub fn cpu_ns_per_event(&self, events: u64) -> Vec<f64> {
        self.cpu_s.iter().map(|seconds| seconds * 1e9 / events.max(1) as f64).collect()
    }
}
