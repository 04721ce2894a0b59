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
use engine::stream::worker::{Stop, TaskSummary, Until, WorkerSettings, WorkerSummary, prepare, run_spread};
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
        let read = SourceRead::of(&summary);
        Ok(ReplayOutcome {
            events: read.events,
            seconds,
            cpu_s,
            resident: None,
            events_before: read.events_before,
            all_begun: read.all_begun,
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

/// What a worker that came to the end of the source read of it, and what had been committed before.
///
/// A source's partition holds its events, one an offset, and then its end marker. So a worker that began where it also ended
/// found the marker committed; any other read it, once, whichever of a task's instances that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SourceRead {
    events: u64,
    events_before: u64,
    all_begun: bool,
}

impl SourceRead {
    fn of(summary: &WorkerSummary) -> SourceRead {
        let mut read = SourceRead { events: 0, events_before: 0, all_begun: true };
        for task in summary.tasks.iter().filter(|(task, _)| task.stage == 0).map(|(_, task)| task) {
            read.add(task);
        }
        read
    }

    fn add(&mut self, task: &TaskSummary) {
        let (mut markers, mut offsets) = (0, 0);
        for ((partition, began), (_, position)) in task.began.iter().zip(&task.positions) {
            assert!(began <= position, "{partition}: it began at {began} and would read on at {position}");
            let had_ended = began == position && *began > Offset::ZERO;
            self.events_before += began.0 as u64 - u64::from(had_ended);
            self.all_begun &= *began > Offset::ZERO;
            markers += u64::from(began < position);
            offsets += (position.0 - began.0) as u64;
        }
        // A commit whose answer was lost ends an instance that cannot count it.
        let records = if task.restarts == 0 { task.records } else { offsets };
        self.events += records.saturating_sub(markers);
    }
}

fn spent(summary: &WorkerSummary) -> BTreeMap<String, f64> {
    let sum = |part: fn(&TaskSummary) -> Duration| -> f64 {
        summary.tasks.values().map(|task| part(task).as_secs_f64()).sum()
    };
    BTreeMap::from([
        ("waiting".to_owned(), sum(|task| task.waiting)),
        ("processing".to_owned(), sum(|task| task.processing)),
        ("committing".to_owned(), sum(|task| task.committing)),
        ("restoring".to_owned(), sum(|task| task.restoring)),
    ])
}

#[cfg(test)]
mod tests {
    use engine::env::real::{self, EnvOptions};
    use engine::stream::TaskId;
    use engine::stream::worker::run_task;
    use engine::types::{Partition, TopicPartition};

    use super::*;
    use crate::dataset::{DEFAULT_USERS, Dataset, Key};
    use crate::ingest::{self, IngestSpec};
    use crate::phase::{Pages, ReplaySpec, shape};

    const EVENTS: u64 = 3_000;

    /// What a task of the first stage says that began at one offset of its partition, and would read on at another.
    fn task(partition: i32, began: i64, position: i64, records: u64) -> (TaskId, TaskSummary) {
        let (id, of) = (Partition(partition), TopicPartition::new("source", partition));
        let (began, positions) = (vec![(of.clone(), Offset(began))], vec![(of, Offset(position))]);
        (TaskId { stage: 0, partition: id }, TaskSummary { records, began, positions, ..TaskSummary::default() })
    }

    #[test]
    fn an_end_marker_is_no_event_whoever_read_it() {
        let read = |tasks: [(TaskId, TaskSummary); 3]| SourceRead::of(&WorkerSummary { tasks: tasks.into() });
        let fresh = read([task(0, 0, 11, 11), task(1, 0, 21, 21), task(2, 0, 1, 1)]);
        assert_eq!(fresh, SourceRead { events: 30, events_before: 0, all_begun: false });
        let one_had_ended = read([task(0, 11, 11, 0), task(1, 5, 21, 16), task(2, 0, 1, 1)]);
        assert_eq!(one_had_ended, SourceRead { events: 15, events_before: 15, all_begun: false });
        let but_for_a_marker = read([task(0, 10, 11, 1), task(1, 5, 21, 16), task(2, 1, 1, 0)]);
        assert_eq!(but_for_a_marker, SourceRead { events: 15, events_before: 15, all_begun: true });
    }

    /// Another instance of the task may have read most of it, and the marker.
    #[test]
    fn what_an_earlier_instance_of_a_task_read_counts() {
        // With the answers to its commits, and without.
        for records in [11, 4, 0] {
            let (id, mut summary) = task(0, 0, 11, records);
            summary.restarts = 1;
            assert_eq!((summary.stats.records, summary.stats.markers), (0, 0), "the last instance found nothing to do");
            let read = SourceRead::of(&WorkerSummary { tasks: [(id, summary)].into() });
            assert_eq!(read, SourceRead { events: 10, events_before: 0, all_begun: false });
        }
    }

    #[test]
    fn a_replay_counts_every_event_once_also_when_a_partition_had_ended_before() {
        let dir = std::env::temp_dir().join(format!("segno-replay-{}", std::process::id()));
        let env = real::env(EnvOptions::default());
        let dataset = Dataset { events: EVENTS, users: DEFAULT_USERS, key: Key::User, value_bytes: None };
        let workload = workloads::by_name("clickstream-sessions").expect("a pipeline");
        let topic = workload.source_topic().to_owned();
        let ingest = IngestSpec { topic, dataset, rate: None, partitions: 3, threads: 1 };
        ingest::run(&env, &dir, &ingest, || {}).expect("it is ingested");

        let pipeline = || {
            let pipeline = workload.name().to_owned();
            let (key, pages) = (Key::User, Pages::AsTheyAre);
            let spec = ReplaySpec { pipeline, key, partitions: 3, version: 1, threads: 1, pages, tell: false };
            workload.pipeline(&shape(&spec)).expect("a pipeline")
        };
        // Of three partitions the first comes to its end, and then the process ends.
        threads::runtime().expect("a runtime").block_on(async {
            let broker = Broker::start(env.clone(), BrokerConfig::new(&dir)).await.expect("it starts");
            let client = Client::new(env.clone(), broker.local(), ClientConfig::default());
            let deployment = Deployment::new(Arc::new(pipeline()), 1);
            prepare(&client, &deployment).await.expect("the topics are made");
            let first = TaskId { stage: 0, partition: Partition(0) };
            let settings = WorkerSettings::default();
            let ended = run_task(&env, &client, &deployment, first, &settings, Until::EndOfInput, Stop::never()).await;
            assert!(ended.expect("it ends").records > 1);
            broker.stop().await;
        });

        let replay = || run(&env, &dir, &workload, pipeline(), 1, 1, || {}).expect("it ends");
        let rest = replay();
        assert!(rest.events_before > 0 && rest.events > 0 && !rest.all_begun, "{rest:?}");
        assert_eq!(rest.events_before + rest.events, EVENTS, "{rest:?}");
        assert_eq!(rest.sums["events"], EVENTS as i64);
        let nothing = replay();
        assert_eq!((nothing.events_before, nothing.events, nothing.all_begun), (EVENTS, 0, true));
        assert_eq!(nothing.output_checksum, rest.output_checksum);
        std::fs::remove_dir_all(&dir).expect("it is removed");
    }
}
