//! Reading ahead: while a task processes one round of fetches, the next is on its way.
//!
//! Invariant: each input's rounds follow on each other without a gap or an overlap.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::super::TaskId;
use super::error::TaskError;
use super::settings::WorkerSettings;
use crate::client::{Client, Committed, Fetched, Isolation, Witness};
use crate::env::Env;
use crate::types::{Offset, TopicPartition};

/// Rounds that may wait for the task, beside the one that it processes and the one that is being fetched.
const ROUNDS_AHEAD: usize = 1;

/// What a round brought of one input.
pub struct Read {
    pub input: usize,
    pub from: Offset,
    /// Where the next round begins.
    pub next: Offset,
    /// What the client's witness said before the fetch left; 0 without one.
    pub asked: u64,
    /// Checksums are checked.
    pub fetched: Fetched,
}

/// A task of its own that fetches until it is dropped.
pub struct Reader {
    rounds: mpsc::Receiver<Result<Vec<Read>, TaskError>>,
    fetching: JoinHandle<()>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.fetching.abort();
    }
}

impl Reader {
    /// Reads `inputs`, each from its position; `expected` says how many partitions their topics have.
    pub fn start(
        env: &Env,
        client: &Client,
        task: TaskId,
        inputs: Vec<TopicPartition>,
        positions: Vec<Offset>,
        expected: BTreeMap<Arc<str>, i32>,
        settings: &WorkerSettings,
    ) -> Reader {
        assert_eq!(inputs.len(), positions.len(), "one position an input");
        if let Some(witness) = client.witness() {
            witness.begins(&inputs, &positions);
        }
        let (sender, rounds) = mpsc::channel(ROUNDS_AHEAD);
        let wanted = inputs.into_iter().zip(positions).collect();
        let fetching = Fetching { client: client.clone(), task, wanted, expected, settings: settings.clone() };
        Reader { rounds, fetching: env.tasks().spawn(Box::pin(fetching.run(sender))) }
    }

    /// Whether [`next`](Reader::next) would answer at once.
    pub fn has_more(&self) -> bool {
        !self.rounds.is_empty()
    }

    /// The next round; empty when the inputs had nothing for a while. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Vec<Read>, TaskError> {
        self.rounds.recv().await.expect("the reader ends with an error, and is not asked again after it")
    }
}

struct Fetching {
    client: Client,
    task: TaskId,
    wanted: Vec<(TopicPartition, Offset)>,
    expected: BTreeMap<Arc<str>, i32>,
    settings: WorkerSettings,
}

impl Fetching {
    async fn run(mut self, rounds: mpsc::Sender<Result<Vec<Read>, TaskError>>) {
        let mut check_at = Instant::now() + self.settings.partition_check;
        loop {
            mutant!("no-round-ahead", {}, drop(rounds.reserve().await));
            let round = self.round(&mut check_at).await;
            let ended = round.is_err();
            let nothing = matches!(&round, Ok(reads) if reads.is_empty());
            if (!nothing && rounds.send(round).await.is_err()) || ended {
                return;
            }
        }
    }

    async fn round(&mut self, check_at: &mut Instant) -> Result<Vec<Read>, TaskError> {
        if Instant::now() >= *check_at {
            check_partitions(&self.client, self.task, &self.expected).await?;
            *check_at = Instant::now() + self.settings.partition_check;
        }
        let isolation = Isolation::ReadCommitted;
        let of = |error| TaskError::of(self.task, error);
        let asked = self.client.witness().map_or(0, Witness::asks);
        let answers = self
            .client
            .fetch_many(&self.wanted, self.settings.fetch_bytes, self.settings.fetch_wait, isolation)
            .await
            .map_err(of)?;
        let mut round = Vec::new();
        for (input, ((partition, position), fetched)) in self.wanted.iter_mut().zip(answers).enumerate() {
            let from = *position;
            let mut batches = Committed::new(&fetched, from, isolation);
            while batches.next_batch(partition).map_err(of)?.is_some() {}
            let next = batches.next_offset();
            assert!(next >= from, "{partition}: the position moved back from {from} to {next}");
            if next > from {
                *position = next;
                round.push(Read { input, from, next, asked, fetched });
            }
        }
        Ok(round)
    }
}

/// The partitions of every input are what the pipeline was made for.
pub async fn check_partitions(
    client: &Client,
    task: TaskId,
    expected: &BTreeMap<Arc<str>, i32>,
) -> Result<(), TaskError> {
    for (topic, expected) in expected {
        match client.partitions(topic).await.map_err(|error| TaskError::of(task, error))? {
            Some(found) if found == *expected => {}
            Some(found) => {
                return Err(TaskError::PartitionsChanged { topic: topic.to_string(), expected: *expected, found });
            }
            None => return Err(TaskError::NoTopic { topic: topic.to_string() }),
        }
    }
    Ok(())
}
