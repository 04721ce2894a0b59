//! `segno.bench/1`: ingest and replay, measured. Wall time only; arrays hold every run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::baseline::Comparison;

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
    /// The longest from one commit to the next of a task, over all replays: warm, cold, and resumed after a kill.
    #[serde(default)]
    pub longest_commit_gap_ms: u64,
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
    /// Bytes that keyed state (and the ids that deduplication remembers) held at that moment, by key; left out where no
    /// commit saw a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_bytes_per_key: Option<f64>,
    /// The same of every warm run whose commits saw a key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub state_bytes_per_key_per_run: Vec<f64>,
    /// Bytes that every event's value was padded to, with a field that the reader drops; left out where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_bytes: Option<u32>,
    /// Replays that were killed on the way; left out where none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
    /// What the limits that were asked for came to; left out where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
    /// Where `run.json` and `latency.hgrm` are.
    #[serde(default)]
    pub run_dir: String,
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
    /// `null` where the page cache could not be emptied, and where no cold replay was asked for.
    pub cold: Option<ReplayRuns>,
    pub warm: ReplayRuns,
    /// The speed of each cold replay as a share of that of the warm one right before it; left out where there was none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cold_to_warm: Vec<f64>,
    /// No cold replay was asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_cold: bool,
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
    /// Of every run, the longest from one commit to the next of a task.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub longest_commit_gap_ms_per_run: Vec<u64>,
    /// Of every warm run: which share of the source's bytes was in memory before it began, as `fincore` counts it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resident_share: Vec<f64>,
}

impl ReplayRuns {
    /// CPU time of an event in every run, ns.
    pub fn cpu_ns_per_event(&self, events: u64) -> Vec<f64> {
        self.cpu_s.iter().map(|seconds| seconds * 1e9 / events.max(1) as f64).collect()
    }
}

/// Replays that were killed with SIGKILL about half way, started again as the same version, and ended with the same output.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    /// The median of the replays that nobody disturbed, from the first fetch to the last commit.
    pub uninterrupted_ms: u64,
    pub kills: Vec<Kill>,
}

/// One replay that was killed and started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kill {
    /// From the first fetch to the kill.
    pub killed_after_ms: u64,
    /// From starting the program again to its last commit.
    pub resumed_ms: u64,
    /// Of these: until the program ran, had opened and recovered the log, and had found its topics there.
    pub restart_ms: u64,
    /// Of these: opening and recovering the log.
    #[serde(default)]
    pub open_ms: u64,
    /// Replays before this one whose topics are in the log too, and are opened with it.
    #[serde(default)]
    pub versions_before: u32,
    /// Of these: until the last task had its state back, and read on.
    pub restore_ms: u64,
    /// Commits that had been answered before the kill, of all tasks.
    #[serde(default)]
    pub commits_before: u64,
    /// Of these: those that held the whole state of a task, which is what a later restore begins with.
    #[serde(default)]
    pub snapshots_before: u64,
    /// Events that were read after the kill: those after the last commit.
    pub events_left: u64,
    /// Both parts together, less what it takes undisturbed. Below zero where that varies by more.
    pub lost_ms: i64,
    /// Of the part after the kill, as of every replay.
    #[serde(default)]
    pub peak_rss_bytes: u64,
    #[serde(default)]
    pub longest_commit_gap_ms: u64,
}

impl BenchReport {
    /// Peak memory of every replay: warm, cold, and resumed after a kill. As far as it was written down.
    pub fn peaks_of_all_replays(&self) -> Vec<u64> {
        let of_runs = |runs: &ReplayRuns| match runs.peak_rss_bytes_per_run.is_empty() {
            true => vec![runs.peak_rss_bytes],
            false => runs.peak_rss_bytes_per_run.clone(),
        };
        let mut peaks = of_runs(&self.replay.warm);
        peaks.extend(self.replay.cold.iter().flat_map(of_runs));
        peaks.extend(self.kills().iter().map(|kill| kill.peak_rss_bytes));
        peaks.retain(|bytes| *bytes > 0);
        peaks
    }

    /// The longest commit gap of every replay, and which kind of replay it is; of an earlier document the longest of all.
    pub fn commit_gaps(&self) -> Vec<(u64, &'static str)> {
        let of_runs = |runs: &ReplayRuns, kind: &'static str| -> Vec<(u64, &'static str)> {
            runs.longest_commit_gap_ms_per_run.iter().map(|gap| (*gap, kind)).collect()
        };
        let mut gaps = of_runs(&self.replay.warm, "warm");
        if gaps.is_empty() {
            return vec![(self.longest_commit_gap_ms, "warm")];
        }
        gaps.extend(self.replay.cold.iter().flat_map(|cold| of_runs(cold, "cold")));
        gaps.extend(self.kills().iter().map(|kill| (kill.longest_commit_gap_ms, "resumed")));
        gaps
    }

    fn kills(&self) -> &[Kill] {
        self.recovery.as_ref().map_or(&[], |recovery| &recovery.kills)
    }
}
