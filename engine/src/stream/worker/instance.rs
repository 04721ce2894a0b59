//! One instance of a task: restore, then read, process and commit until it is told to end, or cannot go on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::{Deployment, Outbox, TaskCore, TaskId, TaskStats};
use super::error::TaskError;
use super::reader::{Read, Reader, check_partitions};
use super::restore::restore;
use super::settings::{Stop, Until, WorkerSettings};
use crate::client::{Client, ClientError, Committed, Isolation, TransactionalProducer};
use crate::env::{Env, Point};
use crate::types::{Offset, TopicPartition};

/// What a task did, over all its instances in this process. Counts are of committed work alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskSummary {
    pub records: u64,
    pub late: u64,
    pub panes: u64,
    pub commits: u64,
    /// Instances after the first.
    pub restarts: u64,
    /// Waiting for input.
    pub waiting: Duration,
    /// Decoding and computing.
    pub processing: Duration,
    /// Writing and committing.
    pub committing: Duration,
    /// Reading the changelog, the fencing included.
    pub restoring: Duration,
    /// Of the last instance, at its last commit.
    pub stats: TaskStats,
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
        let (records, late, panes) = (summary.records, summary.late, summary.panes);
        let outcome = instance.run(stop, summary).await;
        summary.stats = instance.committed;
        summary.records = records + instance.committed.records;
        summary.late = late + instance.committed.late;
        summary.panes = panes + instance.committed.panes;
        summary.positions = instance.positions().collect();
        if let Err(error) = &outcome
            && !error.is_retryable()
            && !matches!(error, TaskError::Fenced { .. })
        {
            // Nobody will come after us to fence: do not leave a transaction that holds readers back. If this fails too,
            // the coordinator's timeout does it.
            drop(tokio::time::timeout(self.client.config().request_timeout, instance.writer.abort()).await);
        }
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
        let mut core = self.deployment.task(self.task);
        let inputs = core.inputs().to_vec();
        let expected = self.expected_partitions(&inputs);
        check_partitions(self.client, self.task, &expected).await?;
        let id = self.deployment.transactional_id(self.task);
        let writer = TransactionalProducer::init(self.client, &id, self.settings.txn_timeout).await.map_err(of)?;
        self.env.reach(Point::TaskRestoreBegin).await;
        let positions = restore(self.client, self.deployment, self.task, &mut *core, self.settings).await?;
        self.env.reach(Point::TaskRestoreEnd).await;
        let reader = Reader::start(self.client, self.task, inputs, positions.clone(), expected, self.settings);
        Ok(Instance {
            cause: self,
            group: self.deployment.group(),
            changelog: core.changelog().cloned(),
            core,
            writer,
            reader,
            outbox: Outbox::new(self.settings.compression),
            next: positions,
            scratch: Vec::new(),
            committed: TaskStats::default(),
        })
    }
}

struct Instance<'a> {
    cause: &'a Cause<'a>,
    group: String,
    changelog: Option<TopicPartition>,
    core: Box<dyn TaskCore>,
    writer: TransactionalProducer,
    reader: Reader,
    outbox: Outbox,
    /// Per input: processed up to here.
    next: Vec<Offset>,
    scratch: Vec<u8>,
    /// The core's figures at the last commit.
    committed: TaskStats,
}

impl Instance<'_> {
    async fn run(&mut self, mut stop: Stop, summary: &mut TaskSummary) -> Result<(), TaskError> {
        let env = self.cause.env;
        // The first commit is due at once: what comes after a silence should not wait.
        let mut commit_at = Instant::now();
        loop {
            if self.has_reached_its_end() {
                return self.commit(summary).await;
            }
            let waiting = Instant::now();
            let round = tokio::select! {
                biased;
                () = stop.asked() => return self.commit(summary).await,
                () = tokio::time::sleep_until(commit_at), if self.core.pending() => None,
                round = self.reader.next() => Some(round?),
            };
            summary.waiting += waiting.elapsed();
            let Some(round) = round else {
                self.commit(summary).await?;
                commit_at = Instant::now() + self.cause.settings.commit_interval;
                continue;
            };
            env.reach(Point::TaskPolled).await;
            let processing = Instant::now();
            for read in &round {
                self.process(read)?;
            }
            self.core.fire(&mut self.outbox);
            summary.processing += processing.elapsed();
            env.reach(Point::TaskProcessed).await;
            if self.outbox.size_bytes() >= self.cause.settings.flush_bytes {
                let flushing = Instant::now();
                self.flush_outputs().await?;
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

    /// The hot path: everything a round brought of one input.
    fn process(&mut self, read: &Read) -> Result<(), TaskError> {
        let task = self.cause.task;
        let partition = &self.core.inputs()[read.input].clone();
        debug_assert_eq!(self.next[read.input], read.from, "{partition}: a round begins where the last one ended");
        let mut batches = Committed::new(&read.fetched, read.from, Isolation::ReadCommitted).trusted();
        while let Some(batch) = batches.next_batch(partition).map_err(|error| TaskError::of(task, error))? {
            let at = batch.header().base_offset;
            let unreadable =
                |reason| TaskError::Client(ClientError::Unreadable { partition: partition.clone(), at, reason });
            for record in batch.records(&mut self.scratch).map_err(unreadable)? {
                let record = record.map_err(unreadable)?;
                if record.offset < read.from {
                    continue;
                }
                let processed = self.core.process(read.input, &record, &mut self.outbox);
                processed.map_err(|fault| TaskError::Fault { task, fault })?;
            }
        }
        self.core.advance_to(read.input, read.next);
        self.next[read.input] = read.next;
        Ok(())
    }

    /// Sends everything but the changelog into the open transaction.
    async fn flush_outputs(&mut self) -> Result<(), TaskError> {
        let (writer, changelog) = (&mut self.writer, self.changelog.as_ref());
        self.outbox.drain(|partition, batch| {
            if Some(partition) != changelog {
                writer.stage(partition, batch);
            }
        });
        self.writer.flush().await.map_err(|error| TaskError::of(self.cause.task, error))
    }

    /// One transaction: outputs, changelog, offsets, decision. Nothing happens when nothing is new.
    async fn commit(&mut self, summary: &mut TaskSummary) -> Result<(), TaskError> {
        if !self.core.pending() {
            return Ok(());
        }
        let began = Instant::now();
        let env = self.cause.env;
        let of = |error| TaskError::of(self.cause.task, error);
        let offsets = self.core.prepare_commit(&mut self.outbox);
        let offsets: Vec<_> = self.core.inputs().iter().cloned().zip(offsets).collect();
        self.flush_outputs().await?;
        env.reach(Point::TaskOutputsFlushed).await;
        let writer = &mut self.writer;
        self.outbox.drain(|partition, batch| writer.stage(partition, batch));
        self.writer.flush().await.map_err(of)?;
        env.reach(Point::TaskStateFlushed).await;
        self.writer.send_offsets(&self.group, &offsets).await.map_err(of)?;
        env.reach(Point::TaskOffsetsSent).await;
        self.writer.commit().await.map_err(of)?;
        env.reach(Point::TaskCommitted).await;
        self.committed = self.core.stats();
        summary.commits += 1;
        summary.committing += began.elapsed();
        Ok(())
    }
}
