//! The replay phase: a fresh process reads a recovered log from offset 0 through a pipeline, with exactly-once commits.
//!
//! In: a data directory that an ingest filled. Out: [`ReplayOutcome`]: wall and CPU time from the first fetch to the last
//! commit, and what the output adds up to, read back from the log after the clock has stopped.
//!
//! The worker is embedded: the broker's in-process transport, the same code that the simulator gates.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::broker::{Broker, BrokerConfig};
use engine::client::{Client, ClientConfig};
use engine::env::Env;
use engine::env::real::threads;
use engine::stream::worker::{Stop, Until, WorkerSettings, WorkerSummary, prepare, run_spread};
use engine::stream::{Deployment, Pipeline};
use engine::types::Offset;
use serde::{Deserialize, Serialize};
use sim::workload::Workload;

use crate::{machine, output};

/// What one replay took, and what came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReplayOutcome {
    /// Records of the source, the end markers left out.
    pub events: u64,
    pub seconds: f64,
    pub cpu_s: f64,
    /// Of the source's bytes, the share that was in memory before it began; `None` for a cold one, and where nobody can tell.
    pub resident: Option<f64>,
    /// Events that were committed before it began: of an instance before it.
    pub events_before: u64,
    /// Of every partition of the source, whether anything was.
    pub all_begun: bool,
    /// Opening and recovering the log, before the clock starts.
    pub recovery_s: f64,
    pub commits: u64,
    pub peak_rss_bytes: u64,
    pub panes: u64,
    pub output_checksum: String,
    /// Of any task.
    pub longest_commit_gap_ms: u64,
    /// Sums over the numeric fields of the final panes.
    pub sums: BTreeMap<String, i64>,
    /// Where the tasks' time went, seconds summed over tasks.
    pub spent_s: BTreeMap<String, f64>,
    /// Until the last task had its state back.
    pub restore_s: f64,
    /// Per task the most keys with state at one of its commits, summed.
    pub keys: u64,
    /// What keyed state and remembered ids held at those commits.
    pub state_bytes: u64,
}

impl ReplayOutcome {
    /// `None` where no commit saw a key.
    pub fn state_bytes_per_key(&self) -> Option<f64> {
        (self.keys > 0).then(|| self.state_bytes as f64 / self.keys as f64)
    }
}

/// Runs the phase in this process, as version `version` of the pipeline, on `threads` threads. `started` is called when
/// the clock starts.
///
/// # Errors
/// When a task cannot go on, or the output cannot be read back.
pub fn run(
    env: &Env,
    data_dir: &Path,
    workload: &Arc<dyn Workload>,
    pipeline: Pipeline,
    version: u32,
    threads: usize,
    started: impl FnOnce(),
) -> anyhow::Result<ReplayOutcome> {
    let runtime = threads::runtime()?;
    let deployment = Deployment::new(Arc::new(pipeline), version);
    runtime.block_on(async {
        let began = Instant::now();
        let broker = Broker::start(env.clone(), BrokerConfig::new(data_dir)).await?;
        let client = Client::new(env.clone(), broker.local(), ClientConfig::default());
        let recovery_s = began.elapsed().as_secs_f64();
        prepare(&client, &deployment).await?;

        started();
        let (started, cpu_before) = (Instant::now(), machine::cpu_seconds());
        let settings = WorkerSettings::default();
        let summary =
            run_spread(env, &client, &deployment, &settings, threads, Until::EndOfInput, Stop::never()).await?;
        let seconds = started.elapsed().as_secs_f64();
        let cpu_s = machine::cpu_seconds() - cpu_before;
        let peak_rss_bytes = machine::peak_rss_bytes();

        let output = output::read(&client, &deployment.out_topic(), workload, threads).await?;
        broker.stop().await;
        Ok(ReplayOutcome {
            events: source_events(&summary),
            seconds,
            cpu_s,
            resident: None,
            // Nothing but events is below a source's end marker, and one offset is one event.
            events_before: begun_at(&summary).map(|offset| offset.0 as u64).sum(),
            all_begun: begun_at(&summary).all(|offset| offset > Offset::ZERO),
            recovery_s,
            commits: summary.commits(),
            peak_rss_bytes,
            panes: output.panes,
            output_checksum: format!("{:032x}", output.checksum),
            sums: output.sums(),
            longest_commit_gap_ms: summary
                .tasks
                .values()
                .map(|task| task.longest_commit_gap.as_millis() as u64)
                .max()
                .unwrap_or(0),
            spent_s: spent(&summary),
            restore_s: summary.tasks.values().map(|task| task.restoring.as_secs_f64()).fold(0.0, f64::max),
            keys: summary.tasks.values().map(|task| task.most_keys.keys).sum(),
            state_bytes: summary.tasks.values().map(|task| task.most_keys.state_bytes).sum(),
        })
    })
}

/// Where the first stage's tasks began to read the source: at what was committed before.
fn begun_at(summary: &WorkerSummary) -> impl Iterator<Item = Offset> {
    let source = summary.tasks.iter().filter(|(task, _)| task.stage == 0);
    source.flat_map(|(_, task)| task.began.iter().map(|(_, offset)| *offset))
}

/// Records of the first stage's tasks that are no markers.
fn source_events(summary: &WorkerSummary) -> u64 {
    let source = summary.tasks.iter().filter(|(task, _)| task.stage == 0);
    source.map(|(_, task)| task.stats.records - task.stats.markers).sum()
}

fn spent(summary: &WorkerSummary) -> BTreeMap<String, f64> {
    let sum = |part: fn(&engine::stream::worker::TaskSummary) -> Duration| -> f64 {
        summary.tasks.values().map(|task| part(task).as_secs_f64()).sum()
    };
    BTreeMap::from([
        ("waiting".to_owned(), sum(|task| task.waiting)),
        ("processing".to_owned(), sum(|task| task.processing)),
        ("committing".to_owned(), sum(|task| task.committing)),
        ("restoring".to_owned(), sum(|task| task.restoring)),
    ])
}
