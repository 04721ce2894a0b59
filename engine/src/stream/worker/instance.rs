//! One instance of a task: restore, then read, process and commit until it is told to end, or cannot go on.
//!
//! A commit is cut between two rounds and written while the next rounds are processed (see `writer`). The task waits for
//! what is under way in two cases alone: what has gathered meanwhile outgrows [`GATHER_FLUSHES`] flushes, or it is at its
//! end. So `processing`, `committing` and `waiting` add up to the life of the instance, and an instance that mostly
//! processes is one that its disk keeps up with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

use super::super::{Deployment, Outbox, TaskCore, TaskId, TaskStats};
use super::error::TaskError;
use super::pace::Pace;
use super::reader::{Read, Reader, check_partitions};
use super::restore::{Restored, restore};
use super::schemas::Schemas;
use super::settings::{Stop, Until, WorkerSettings};
use super::writer::{Cut, Writer, Written};
use crate::client::{Client, ClientError, Committed, Isolation, Taken, TransactionalProducer};
use crate::env::{Env, Point};
use crate::record::Record;
use crate::types::{Offset, TopicPartition};

/// How many times `flush_bytes` may gather while a write is under way.
const GATHER_FLUSHES: usize = 8;
/// Records that a task takes at once: enough to look up many keys at a time, few enough to stay in the nearest cache.
const CHUNK: usize = 64;

/// What a task did, over all its instances in this process. Counts are of committed work alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskSummary {
    pub records: u64,
    pub late: u64,
    pub panes: u64,
    pub commits: u64,
    /// Instances after the first.
    pub restarts: u64,
    /// The longest from the start of one commit to the start of the next, while there was something to commit; after a
    /// silence, from when the first input came.
    pub longest_commit_gap: Duration,
    /// Waiting for input, while nothing kept the task from processing it.
    pub waiting: Duration,
    /// Decoding and computing.
    pub processing: Duration,
    /// The time in which the task could do nothing else because of writing and committing: its thread was at work on it
    /// (cuts, batches, requests, and the broker's part of them if it is in this process), or the task waited for it. What
    /// happens elsewhere while the task goes on processing is not in it.
    pub committing: Duration,
    /// Reading the changelog, the fencing included.
    pub restoring: Duration,
    /// Records of the changelog that were read for it: by the last instance.
    pub restored: u64,
    /// Of the last instance, at its last commit.
    pub stats: TaskStats,
    /// At the commit at which the most keys had state.
    pub most_keys: TaskStats,
    /// Where the first instance that came so far began to read, per input: the group's committed offsets.
    pub began: Vec<(TopicPartition, Offset)>,
    /// Where the last instance would read on, per input.
    pub positions: Vec<(TopicPartition, Offset)>,
}

/// Runs one instance of `task`.
///
/// # Errors
/// [`TaskError::is_retryable`] ones may be answered by running it again: it then starts from the log.
pub async fn run_task(
    env: &Env,
    client: &Client,
    deployment: &Deployment,
    task: TaskId,
    settings: &WorkerSettings,
    until: Until,
    stop: Stop,
) -> Result<TaskSummary, TaskError> {
    let mut summary = TaskSummary::default();
    let cause = Cause { env, client, deployment, task, settings, until: &until };
    cause.run(stop, &mut summary).await?;
    Ok(summary)
}

/// What an instance is made of before it runs.
pub(super) struct Cause<'a> {
    pub env: &'a Env,
    pub client: &'a Client,
    pub deployment: &'a Deployment,
    pub task: TaskId,
    pub settings: &'a WorkerSettings,
    pub until: &'a Until,
}

impl Cause<'_> {
    /// Runs an instance to its end; `summary` is right also when it ends badly.
    pub async fn run(&self, mut stop: Stop, summary: &mut TaskSummary) -> Result<(), TaskError> {
        let began = Instant::now();
        let started = tokio::select! {
            biased;
            () = stop.asked() => return Ok(()),
            started = self.start() => started,
        };
        summary.restoring += began.elapsed();
        let mut instance = started?;
        summary.restored = instance.restored;
        if summary.began.is_empty() {
            summary.began = instance.positions().collect();
        }
        let (records, late, panes) = (summary.records, summary.late, summary.panes);
        let outcome = instance.run(stop, summary).await;
        if let Err(error) = &outcome
            && !error.is_retryable()
            && !matches!(error, TaskError::Fenced { .. })
        {
            // Nobody will come after us to fence: do not leave a transaction that holds readers back.
            let abandoned = tokio::time::timeout(self.client.config().request_timeout, instance.writer.abandon()).await;
            if let Ok(Some(written)) = abandoned {
                instance.note(written, summary);
            }
        }
        summary.stats = instance.committed;
        summary.records = records + instance.committed.records;
        summary.late = late + instance.committed.late;
        summary.panes = panes + instance.committed.panes;
        summary.positions = instance.positions().collect();
        outcome
    }

    /// How many partitions the inputs' topics must have.
    fn expected_partitions(&self, inputs: &[TopicPartition]) -> BTreeMap<Arc<str>, i32> {
        let source = (self.deployment.source_topic().to_owned(), self.deployment.pipeline.source().partitions);
        let known: BTreeMap<String, i32> = self.deployment.topics().into_iter().chain([source]).collect();
        let of =
            |topic: &Arc<str>| *known.get(&**topic).unwrap_or_else(|| panic!("{topic} is no topic of the pipeline"));
        inputs.iter().map(|input| (Arc::clone(&input.topic), of(&input.topic))).collect()
    }

    async fn start(&self) -> Result<Instance<'_>, TaskError> {
        let of = |error| TaskError::of(self.task, error);
        let inputs = self.deployment.task(self.task).inputs().to_vec();
        let expected = self.expected_partitions(&inputs);
        check_partitions(self.client, self.task, &expected).await?;
        let id = self.deployment.transactional_id(self.task);
        let init = || TransactionalProducer::init(self.client, &id, self.settings.txn_timeout);
        let restored = || restore(self.client, self.deployment, self.task, self.settings);
        let (producer, Restored { core, positions, records }) = mutant!(
            "restored-before-fencing",
            {
                let producer = init().await.map_err(of)?;
                self.env.reach(Point::TaskRestoreBegin).await;
                (producer, restored().await?)
            },
            {
                self.env.reach(Point::TaskRestoreBegin).await;
                let restored = restored().await?;
                (init().await.map_err(of)?, restored)
            },
        );
        self.env.reach(Point::TaskRestoreEnd).await;
        let reader =
            Reader::start(self.env, self.client, self.task, inputs, positions.clone(), expected, self.settings);
        let (group, changelog) = (self.deployment.group(), core.changelog().cloned());
        Ok(Instance {
            cause: self,
            core,
            writer: Writer::new(self.env, self.client, self.task, group, changelog, producer),
            reader,
            outbox: Outbox::new(self.settings.compression),
            next: positions,
            scratch: Vec::new(),
            schemas: Schemas::default(),
            pace: Pace::new(self.settings.commit_interval, Instant::now()),
            behind: false,
            committed: TaskStats::default(),
            restored: records,
        })
    }
}

struct Instance<'a> {
    cause: &'a Cause<'a>,
    core: Box<dyn TaskCore>,
    writer: Writer,
    reader: Reader,
    outbox: Outbox,
    /// Per input: processed up to here.
    next: Vec<Offset>,
    scratch: Vec<u8>,
    schemas: Schemas,
    pace: Pace,
    /// Whether the logs held more than the last round brought, when it was read.
    behind: bool,
    /// The core's figures at the last commit.
    committed: TaskStats,
    /// Records of the changelog that made the core.
    restored: u64,
}

impl Instance<'_> {
    async fn run(&mut self, mut stop: Stop, summary: &mut TaskSummary) -> Result<(), TaskError> {
        let env = self.cause.env;
        let settings = self.cause.settings;
        loop {
            if self.has_reached_its_end() {
                return self.finish(summary).await;
            }
            mutant!("yields-more-often", {}, tokio::task::yield_now().await);
            let waiting = Instant::now();
            let committable = self.writer.is_free() && self.core.pending();
            let commit_at = self.pace.due();
            // By the clock: a runtime that is never idle looks at its timers only now and then.
            let due = committable && waiting >= commit_at;
            let next = tokio::select! {
                biased;
                written = self.writer.written() => Next::Written(written?),
                () = stop.asked() => Next::Stop,
                () = std::future::ready(()), if due => Next::Commit,
                () = tokio::time::sleep_until(commit_at), if committable => Next::Commit,
                round = self.reader.next() => Next::Round(round?),
            };
            let writing = self.writer.take_polling();
            summary.committing += writing;
            summary.waiting += waiting.elapsed().saturating_sub(writing);
            let round = match next {
                Next::Round(round) => round,
                Next::Written(written) => {
                    self.note(written, summary);
                    continue;
                }
                Next::Commit => {
                    self.cut(summary);
                    continue;
                }
                Next::Stop => {
                    env.reach(Point::TaskStopping).await;
                    return self.finish(summary).await;
                }
            };
            env.reach(Point::TaskPolled).await;
            let processing = Instant::now();
            self.schemas.round();
            for read in &round {
                while let Progress::NeedsSchemas = self.process(read)? {
                    self.load_schemas(summary).await?;
                }
            }
            self.behind = round.iter().any(|read| read.next < read.fetched.last_stable);
            // A round of markers alone leaves nothing to commit.
            self.pace.processed(processing, self.core.pending());
            mutant!("markers-before-panes", self.core.fire(&mut self.outbox), ());
            summary.processing += processing.elapsed();
            env.reach(Point::TaskProcessed).await;
            let gathered = self.outbox.size_bytes();
            if gathered >= settings.flush_bytes.saturating_mul(GATHER_FLUSHES) {
                self.settle(summary).await?;
            }
            let flush_bytes = mutant!("flushes-earlier", settings.flush_bytes, settings.flush_bytes / 4);
            let flushing = Instant::now();
            if gathered >= flush_bytes && self.writer.is_free() && self.pace.flush_fits(flushing) {
                self.pace.flush_begins(flushing);
                self.writer.flush(&mut self.outbox);
                summary.committing += flushing.elapsed();
            }
        }
    }

    fn has_reached_its_end(&self) -> bool {
        match self.cause.until {
            Until::Stopped => false,
            Until::EndOfInput => self.core.finished(),
            Until::Reached(targets) => {
                let mut named = false;
                self.positions().all(|(input, next)| {
                    let target = targets.iter().find(|(partition, _)| *partition == input);
                    named |= target.is_some();
                    target.is_none_or(|(_, target)| next >= *target)
                }) && named
            }
        }
    }

    fn positions(&self) -> impl Iterator<Item = (TopicPartition, Offset)> {
        self.core.inputs().iter().cloned().zip(self.next.iter().copied())
    }

    /// The hot path: everything a round brought of one input, or as much as can be read with the schemas that are loaded.
    fn process(&mut self, read: &Read) -> Result<Progress, TaskError> {
        let task = self.cause.task;
        let partition = &self.core.inputs()[read.input].clone();
        let from = self.next[read.input];
        debug_assert!(
            from >= read.from,
            "{partition}: a round begins at {} where the last one ended, not {from}",
            read.from
        );
        let isolation = Isolation::ReadCommitted;
        let witness = self.cause.client.witness();
        let mut batches = Committed::new(&read.fetched, read.from, isolation).trusted();
        while let Some(batch) = batches.next_batch(partition).map_err(|error| TaskError::of(task, error))? {
            let at = batch.header().base_offset;
            let unreadable =
                |reason| TaskError::Client(ClientError::Unreadable { partition: partition.clone(), at, reason });
            let mut records = batch.records(&mut self.scratch).map_err(unreadable)?;
            loop {
                let mut chunk: SmallVec<[Record<'_>; CHUNK]> = SmallVec::new();
                for record in records.by_ref().take(mutant!("chunks-of-seven", CHUNK, 7)) {
                    chunk.push(record.map_err(unreadable)?);
                }
                let (Some(first), Some(last)) = (chunk.first(), chunk.last()) else { break };
                // A broker may start below the offset that was asked for.
                let skip = match first.offset < from {
                    true if last.offset < from => continue,
                    true => chunk.partition_point(|record| record.offset < from),
                    false => 0,
                };
                let chunk = &chunk[skip..];
                if !self.schemas.teach(&mut *self.core, read.input, chunk) {
                    self.next[read.input] = chunk[0].offset;
                    return Ok(Progress::NeedsSchemas);
                }
                if let Some(witness) = witness {
                    witness.takes(chunk);
                }
                let processed = self.core.process(read.input, chunk, &mut self.outbox);
                processed.map_err(|fault| TaskError::Fault { task, fault })?;
            }
        }
        if let Some(witness) = witness {
            let Read { from, next, asked, ref fetched, .. } = *read;
            witness.took(&Taken { partition, asked, from, next, isolation, fetched });
        }
        self.core.advance_to(read.input, read.next);
        self.next[read.input] = read.next;
        Ok(Progress::Done)
    }

    /// Loads the schemas while what is under way goes on: it may hold what others wait for.
    async fn load_schemas(&mut self, summary: &mut TaskSummary) -> Result<(), TaskError> {
        let (done, loaded) = {
            let mut done = None;
            let mut loading = std::pin::pin!(self.schemas.load(self.cause.client, self.cause.task));
            loop {
                tokio::select! {
                    biased;
                    written = self.writer.written() => done = Some(written?),
                    loaded = &mut loading => break (done, loaded),
                }
            }
        };
        // Also when the load failed: what is committed is committed.
        if let Some(written) = done {
            self.note(written, summary);
        }
        loaded
    }

    /// Takes the state of this moment as a cut and begins to commit it.
    fn cut(&mut self, summary: &mut TaskSummary) {
        let cutting = Instant::now();
        let more = self.behind || self.reader.has_more();
        summary.longest_commit_gap = summary.longest_commit_gap.max(self.pace.cut(cutting, more));
        let every = self.cause.settings.snapshot_every;
        let snapshot = self.core.tally().due(mutant!("snapshots-twice-as-often", every, (every / 2).max(1)));
        let offsets = self.core.prepare_commit(&mut self.outbox, snapshot);
        let offsets = self.core.inputs().iter().cloned().zip(offsets).collect();
        self.writer.commit(&mut self.outbox, Cut { offsets, snapshot, stats: self.core.stats() });
        summary.committing += cutting.elapsed();
    }

    /// Waits until nothing is under way.
    async fn settle(&mut self, summary: &mut TaskSummary) -> Result<(), TaskError> {
        if self.writer.is_free() {
            return Ok(());
        }
        let settling = Instant::now();
        let written = self.writer.written().await;
        self.writer.take_polling();
        summary.committing += settling.elapsed();
        self.note(written?, summary);
        Ok(())
    }

    /// The last commit, if there is anything new, and its answer.
    async fn finish(&mut self, summary: &mut TaskSummary) -> Result<(), TaskError> {
        self.settle(summary).await?;
        if self.core.pending() {
            self.cut(summary);
            self.settle(summary).await?;
        }
        self.writer.trimmed().await;
        Ok(())
    }

    fn note(&mut self, written: Written, summary: &mut TaskSummary) {
        match written {
            Written::Outputs => self.pace.flush_ended(Instant::now()),
            Written::Cut(stats) => {
                self.committed = stats;
                if (stats.keys, stats.state_bytes) > (summary.most_keys.keys, summary.most_keys.state_bytes) {
                    summary.most_keys = stats;
                }
                summary.commits += 1;
            }
        }
    }
}

/// How far a round was processed.
enum Progress {
    Done,
    /// Up to a record whose schema nobody has looked for since the round was read.
    NeedsSchemas,
}

/// What an instance does next.
enum Next {
    Written(Written),
    Stop,
    Commit,
    Round(Vec<Read>),
}
