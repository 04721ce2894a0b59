//! The writer of a task: one transaction after another, written while the task goes on.
//!
//! In: what the outbox holds when a flush or a cut is due. Out: that it is in the open transaction, or committed. What is
//! taken is taken at once and without waiting, so a cut is one moment of the task; sending it is a future that the task
//! polls between its rounds. What the task writes meanwhile gathers in its outbox and belongs to the next transaction.
//!
//! Invariant: at most one flush or commit is under way, and nothing of the next transaction is sent before the last one's
//! commit is answered: its epoch is not known earlier.
//! Invariant: the future belongs to the instance. Whoever drops the instance drops it, at whatever point it is.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::super::{Outbox, TaskId, TaskStats};
use super::error::TaskError;
use crate::client::{ClientError, Sealed, TransactionalProducer};
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
    pub stats: TaskStats,
}

/// The one writer of a task's transactional id.
pub struct Writer {
    env: Env,
    task: TaskId,
    group: String,
    changelog: Option<TopicPartition>,
    state: State,
    /// Spent in polling what is under way.
    polling: Duration,
}

enum State {
    Free(TransactionalProducer),
    Writing(Writing),
    /// Only while one of the others is made of the other.
    Between,
}

type Writing = BoxFuture<'static, (TransactionalProducer, Result<Written, ClientError>)>;

impl Writer {
    pub fn new(
        env: &Env,
        task: TaskId,
        group: String,
        changelog: Option<TopicPartition>,
        producer: TransactionalProducer,
    ) -> Writer {
        Writer { env: env.clone(), task, group, changelog, state: State::Free(producer), polling: Duration::ZERO }
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
            (producer, flushed.map(|()| Written::Outputs))
        }));
    }

    /// Takes all that is in the outbox, and begins to commit it with the offsets: outputs, changelog, offsets, decision.
    pub fn commit(&mut self, outbox: &mut Outbox, cut: Cut) {
        let mut producer = self.take();
        self.stage_outputs(&mut producer, outbox);
        let mut changes = Vec::new();
        outbox.drain(|partition, batch| changes.extend(producer.seal(partition, batch)));
        let (env, group) = (self.env.clone(), self.group.clone());
        self.state = State::Writing(Box::pin(async move {
            let committed = commit(&env, &mut producer, &group, changes, &cut.offsets).await;
            (producer, committed.map(|()| Written::Cut(cut.stats)))
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
        let State::Writing(writing) = &mut self.state else { return Poll::Pending };
        let began = Instant::now();
        let polled = Pin::as_mut(writing).poll(context);
        self.polling += began.elapsed();
        let Poll::Ready((producer, outcome)) = polled else { return Poll::Pending };
        self.state = State::Free(producer);
        Poll::Ready(outcome.map_err(|error| TaskError::of(self.task, error)))
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

async fn commit(
    env: &Env,
    producer: &mut TransactionalProducer,
    group: &str,
    changes: Vec<Sealed>,
    offsets: &[(TopicPartition, Offset)],
) -> Result<(), ClientError> {
    producer.flush().await?;
    env.reach(Point::TaskOutputsFlushed).await;
    changes.into_iter().for_each(|batch| producer.stage_sealed(batch));
    producer.flush().await?;
    env.reach(Point::TaskStateFlushed).await;
    producer.send_offsets(group, offsets).await?;
    env.reach(Point::TaskOffsetsSent).await;
    producer.commit().await?;
    env.reach(Point::TaskCommitted).await;
    Ok(())
}
