//! The writer of a task: one transaction after another, written while the task goes on.
//!
//! In: what the outbox holds when a flush or a cut is due. Out: that it is in the open transaction, or committed. What is
//! taken is taken at once and without waiting, so a cut is one moment of the task; sending it is a future that the task
//! polls between its rounds. What the task writes meanwhile gathers in its outbox and belongs to the next transaction.
//!
//! Invariant: at most one flush or commit is under way, and nothing of the next transaction is sent before the last one's
//! commit is answered: its epoch is not known earlier.
//! Once a snapshot's commit is answered, the changelog before it is deleted, at leisure: beside the next flushes and
//! commits, and whether or not it succeeds. The next snapshot's deletion includes it.
//!
//! Invariant: the future belongs to the instance. Whoever drops the instance drops it, at whatever point it is.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::super::{Outbox, TaskId, TaskStats};
use super::error::TaskError;
use crate::client::{Client, ClientError, Sealed, TransactionalProducer};
use crate::env::{BoxFuture, Env, Point};
use crate::types::{Offset, TopicPartition};

/// What became of what was under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Outputs are in the open transaction.
    Outputs,
    /// A cut is committed; these were the task's figures when it was made.
    Cut(TaskStats),
}

/// One cut of a task, taken and not yet written.
pub struct Cut {
    pub offsets: Vec<(TopicPartition, Offset)>,
    /// Its changes are the whole state.
    pub snapshot: bool,
    pub stats: TaskStats,
}

/// The one writer of a task's transactional id.
pub struct Writer {
    env: Env,
    client: Client,
    task: TaskId,
    group: String,
    changelog: Option<TopicPartition>,
    state: State,
    trimming: Option<BoxFuture<'static, ()>>,
    /// Spent in polling what is under way.
    polling: Duration,
}

enum State {
    Free(TransactionalProducer),
    Writing(Writing),
    /// Only while one of the others is made of the other.
    Between,
}

type Writing = BoxFuture<'static, (TransactionalProducer, Result<Done, ClientError>)>;

struct Done {
    written: Written,
    /// The changelog below is not needed any more.
    trim: Option<Offset>,
}

impl Writer {
    pub fn new(
        env: &Env,
        client: &Client,
        task: TaskId,
        group: String,
        changelog: Option<TopicPartition>,
        producer: TransactionalProducer,
    ) -> Writer {
        let (env, client, state) = (env.clone(), client.clone(), State::Free(producer));
        Writer { env, client, task, group, changelog, state, trimming: None, polling: Duration::ZERO }
    }

    /// Whether nothing is under way.
    pub fn is_free(&self) -> bool {
        matches!(self.state, State::Free(_))
    }

    /// Takes the outputs that are in the outbox, and begins to send them into the open transaction.
    pub fn flush(&mut self, outbox: &mut Outbox) {
        let mut producer = self.take();
        self.stage_outputs(&mut producer, outbox);
        self.state = State::Writing(Box::pin(async move {
            let flushed = producer.flush().await;
            (producer, flushed.map(|()| Done { written: Written::Outputs, trim: None }))
        }));
    }

    /// Takes all that is in the outbox, and begins to commit it with the offsets: outputs, changelog, offsets, decision.
    pub fn commit(&mut self, outbox: &mut Outbox, cut: Cut) {
        let mut producer = self.take();
        self.stage_outputs(&mut producer, outbox);
        let mut changes = Vec::new();
        outbox.drain(|partition, batch| changes.extend(producer.seal(partition, batch)));
        let (env, group) = (self.env.clone(), self.group.clone());
        let snapshot = self.changelog.clone().filter(|_| cut.snapshot);
        self.state = State::Writing(Box::pin(async move {
            let committed = commit(&env, &mut producer, &group, changes, &cut.offsets, snapshot.as_ref()).await;
            (producer, committed.map(|trim| Done { written: Written::Cut(cut.stats), trim }))
        }));
    }

    fn stage_outputs(&self, producer: &mut TransactionalProducer, outbox: &mut Outbox) {
        outbox.drain(|partition, batch| {
            if Some(partition) != self.changelog.as_ref() {
                producer.stage(partition, batch);
            }
        });
    }

    fn take(&mut self) -> TransactionalProducer {
        match std::mem::replace(&mut self.state, State::Between) {
            State::Free(producer) => producer,
            _ => panic!("task {}: a write begins while another is under way", self.task),
        }
    }

    /// Waits for what is under way; for ever when nothing is. Dropping the future loses nothing.
    pub fn written(&mut self) -> impl Future<Output = Result<Written, TaskError>> {
        std::future::poll_fn(|context| self.poll(context))
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Written, TaskError>> {
        let began = Instant::now();
        let polled = self.poll_writing(context);
        let _ = self.poll_trimming(context);
        self.polling += began.elapsed();
        polled
    }

    fn poll_writing(&mut self, context: &mut Context<'_>) -> Poll<Result<Written, TaskError>> {
        let State::Writing(writing) = &mut self.state else { return Poll::Pending };
        let Poll::Ready((producer, outcome)) = Pin::as_mut(writing).poll(context) else { return Poll::Pending };
        self.state = State::Free(producer);
        Poll::Ready(match outcome {
            Ok(Done { written, trim }) => {
                if let Some(below) = trim {
                    self.trim(below);
                }
                Ok(written)
            }
            Err(error) => Err(TaskError::of(self.task, error)),
        })
    }

    fn poll_trimming(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(trimming) = &mut self.trimming else { return Poll::Ready(()) };
        let trimmed = Pin::as_mut(trimming).poll(context);
        if trimmed.is_ready() {
            self.trimming = None;
        }
        trimmed
    }

    /// Begins to delete the changelog below a committed snapshot; an older deletion that is under way is covered by it.
    fn trim(&mut self, below: Offset) {
        let Some(changelog) = self.changelog.clone() else { return };
        let (env, client, task) = (self.env.clone(), self.client.clone(), self.task);
        self.trimming = Some(Box::pin(async move {
            match client.delete_records(&changelog, mutant!("trimmed-too-far", below, below.plus(1))).await {
                Ok(_) => env.reach(Point::TaskTrimmed).await,
                // It costs room, and nothing else; the next snapshot tries again.
                Err(error) => env.log(format_args!("task {task} could not trim its changelog: {error}")),
            }
        }));
    }

    /// Waits until nothing is being trimmed.
    pub fn trimmed(&mut self) -> impl Future<Output = ()> {
        std::future::poll_fn(|context| self.poll_trimming(context))
    }

    /// The time since the last call in which this task's thread was busy with what is under way.
    pub fn take_polling(&mut self) -> Duration {
        std::mem::take(&mut self.polling)
    }

    /// Lets what is under way come to its end, whatever that is, and aborts what is open then.
    pub async fn abandon(&mut self) -> Option<Written> {
        let written = if self.is_free() { None } else { self.written().await.ok() };
        if let State::Free(producer) = &mut self.state {
            // If this fails, the coordinator's timeout does it.
            drop(producer.abort().await);
        }
        written
    }
}

/// Answers where the `snapshot` begins in its changelog, if it is one.
async fn commit(
    env: &Env,
    producer: &mut TransactionalProducer,
    group: &str,
    changes: Vec<Sealed>,
    offsets: &[(TopicPartition, Offset)],
    snapshot: Option<&TopicPartition>,
) -> Result<Option<Offset>, ClientError> {
    env.reach(Point::TaskCut).await;
    producer.flush().await?;
    env.reach(Point::TaskOutputsFlushed).await;
    changes.into_iter().for_each(|batch| producer.stage_sealed(batch));
    producer.flush().await?;
    env.reach(Point::TaskStateFlushed).await;
    mutant!("offsets-on-their-own", producer.send_offsets(group, offsets).await, Ok(()))?;
    env.reach(Point::TaskOffsetsSent).await;
    // Asked before the commit: that begins another transaction.
    let first = snapshot.and_then(|changelog| producer.first_offset(changelog));
    producer.commit().await?;
    mutant!("offsets-on-their-own", {}, {
        producer.send_offsets(group, offsets).await?;
        producer.commit().await?;
    });
    env.reach(Point::TaskCommitted).await;
    if first.is_some() {
        env.reach(Point::TaskSnapshotCommitted).await;
    }
    Ok(first)
}
