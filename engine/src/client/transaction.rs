//! Transactions: batches and consumer offsets that become visible together or not at all (KIP-890, second version).
//!
//! Partitions are added by writing to them. Ending a transaction gives the epoch of the next, so that whatever is still on
//! its way from this one is fenced at the partition. Whoever initialises the same transactional id later fences us:
//! [`ClientError::Fenced`] is final for the instance.
//!
//! Invariant: after a call that failed or was dropped, only `abort` (or a new `init`) is accepted; after a commit whose
//! outcome is unknown, only a new `init`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{EndTxnRequest, GroupId, ResponseKind, TransactionalId, TxnOffsetCommitRequest};

use super::admin::{text, topic_name};
use super::producer::{Pending, init_producer_id, produce};
use super::retry::{Failure, about, check};
use super::{Client, ClientError, misfit};
use crate::record::{BatchBuilder, ProducerStamp};
use crate::types::{Offset, ProducerEpoch, ProducerId, Sequence, TopicPartition};

/// Of one Produce request; larger flushes are split. Well below what a broker accepts as a frame.
const PRODUCE_BYTES_MAX: usize = 8 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was written since the last commit or abort.
    Ready,
    /// Something was written.
    Open,
    /// A call is under way, or did not end well.
    InDoubt,
    /// The same, and the call is a commit.
    CommitInDoubt,
}

/// A batch with its place in a transaction and in its partition, not staged yet.
#[derive(Debug)]
pub struct Sealed {
    partition: TopicPartition,
    epoch: ProducerEpoch,
    bytes: Bytes,
}

/// The one writer of a transactional id.
pub struct TransactionalProducer {
    client: Client,
    transactional_id: String,
    producer_id: ProducerId,
    producer_epoch: ProducerEpoch,
    sequences: BTreeMap<TopicPartition, Sequence>,
    /// Where this transaction begins in each partition, as far as the broker has said.
    firsts: BTreeMap<TopicPartition, Offset>,
    staged: Vec<(TopicPartition, Bytes)>,
    staged_bytes: usize,
    state: State,
}

impl TransactionalProducer {
    /// Takes over `transactional_id`: earlier holders are fenced, and their open transaction is aborted before this
    /// returns. `timeout`: after that the coordinator aborts a transaction that is left open.
    pub async fn init(
        client: &Client,
        transactional_id: &str,
        timeout: Duration,
    ) -> Result<TransactionalProducer, ClientError> {
        let (producer_id, producer_epoch) = init_producer_id(client, Some(transactional_id), timeout).await?;
        Ok(TransactionalProducer {
            client: client.clone(),
            transactional_id: transactional_id.to_owned(),
            producer_id,
            producer_epoch,
            sequences: BTreeMap::new(),
            firsts: BTreeMap::new(),
            staged: Vec::new(),
            staged_bytes: 0,
            state: State::Ready,
        })
    }

    pub fn transactional_id(&self) -> &str {
        &self.transactional_id
    }

    pub fn producer(&self) -> (ProducerId, ProducerEpoch) {
        (self.producer_id, self.producer_epoch)
    }

    /// Takes the builder's records as the partition's next batch of this transaction, to be sent by
    /// [`TransactionalProducer::flush`]. Nothing happens when it has none.
    pub fn stage(&mut self, partition: &TopicPartition, batch: &mut BatchBuilder) {
        if let Some(sealed) = self.seal(partition, batch) {
            self.stage_sealed(sealed);
        }
    }

    /// Takes the builder's records as the partition's next batch of this transaction, without staging it: what follows it
    /// in its partition must be staged after it. `None` when there are no records.
    #[must_use = "a sealed batch has its place in its partition"]
    pub fn seal(&mut self, partition: &TopicPartition, batch: &mut BatchBuilder) -> Option<Sealed> {
        if batch.is_empty() {
            return None;
        }
        let count = i32::try_from(batch.len()).expect("a batch has fewer than 2^31 records");
        if !self.sequences.contains_key(partition) {
            self.sequences.insert(partition.clone(), Sequence(0));
        }
        let next = self.sequences.get_mut(partition).expect("present");
        let bytes = batch.finish(ProducerStamp {
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: *next,
            transactional: true,
        });
        *next = next.plus(count);
        Some(Sealed { partition: partition.clone(), epoch: self.producer_epoch, bytes })
    }

    /// Stages a batch that was sealed in this transaction.
    pub fn stage_sealed(&mut self, sealed: Sealed) {
        let Sealed { partition, epoch, bytes } = sealed;
        assert_eq!(epoch, self.producer_epoch, "{partition}: a batch of another transaction");
        self.staged_bytes += bytes.len();
        self.staged.push((partition, bytes));
    }

    /// Bytes that are staged and not sent.
    pub fn staged_bytes(&self) -> usize {
        self.staged_bytes
    }

    /// Whether the broker may have something of an open transaction.
    pub fn is_open(&self) -> bool {
        self.state != State::Ready
    }

    /// Sends what is staged; returns when all of it is durable (and not visible).
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        if self.staged.is_empty() {
            return Ok(());
        }
        self.begin("produce in transaction", State::InDoubt)?;
        while !self.staged.is_empty() {
            let mut round = self.next_round();
            produce(&self.client, Some(&self.transactional_id), &mut round).await?;
            for batch in round {
                let base = batch.acked.expect("acknowledged, for produce succeeded");
                // A broker that knows the batch already may not say where it is.
                if base >= Offset::ZERO {
                    self.firsts.entry(batch.partition).or_insert(base);
                }
            }
        }
        self.state = State::Open;
        Ok(())
    }

    /// The offset of the first record that this transaction has in the partition; `None` before it is flushed there.
    pub fn first_offset(&self, partition: &TopicPartition) -> Option<Offset> {
        self.firsts.get(partition).copied()
    }

    /// One request's worth: at most one batch a partition, in order.
    fn next_round(&mut self) -> Vec<Pending> {
        let mut taken: BTreeSet<TopicPartition> = BTreeSet::new();
        let mut round = Vec::new();
        let mut bytes = 0;
        let mut left = Vec::new();
        for (partition, batch) in self.staged.drain(..) {
            let fits = round.is_empty() || bytes + batch.len() <= PRODUCE_BYTES_MAX;
            // One that has to wait makes the partition's later ones wait.
            if !taken.insert(partition.clone()) || !fits {
                left.push((partition, batch));
                continue;
            }
            bytes += batch.len();
            round.push(Pending::new(partition, batch));
        }
        self.staged = left;
        self.staged_bytes -= bytes;
        round
    }

    /// Writes the builder's records as one batch; durable, and not visible, when it returns.
    pub async fn send(&mut self, partition: &TopicPartition, batch: &mut BatchBuilder) -> Result<(), ClientError> {
        self.stage(partition, batch);
        self.flush().await
    }

    /// Makes the group's offsets part of the transaction.
    pub async fn send_offsets(&mut self, group: &str, offsets: &[(TopicPartition, Offset)]) -> Result<(), ClientError> {
        if offsets.is_empty() {
            return Ok(());
        }
        self.begin("commit offsets of", State::InDoubt)?;
        let about = about("commit offsets of", &group);
        let mut topics: Vec<TxnOffsetCommitRequestTopic> = Vec::new();
        for (partition, offset) in offsets {
            let entry = TxnOffsetCommitRequestPartition::default()
                .with_partition_index(partition.partition.0)
                .with_committed_offset(offset.0)
                .with_committed_leader_epoch(-1);
            match topics.iter_mut().find(|topic| topic.name.as_str() == &*partition.topic) {
                Some(topic) => topic.partitions.push(entry),
                None => topics.push(
                    TxnOffsetCommitRequestTopic::default()
                        .with_name(topic_name(&partition.topic))
                        .with_partitions(vec![entry]),
                ),
            }
        }
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(TransactionalId(text(&self.transactional_id)))
            .with_group_id(GroupId(text(group)))
            .with_producer_id(kafka_protocol::messages::ProducerId(self.producer_id.0))
            .with_producer_epoch(self.producer_epoch.0)
            .with_generation_id(-1)
            .with_topics(topics);
        let id = self.transactional_id.as_str();
        self.client
            .exchange(about, Some(id), Duration::ZERO, request.into(), |response| {
                let ResponseKind::TxnOffsetCommit(response) = response else { return Err(misfit(about, &response)) };
                let mut codes = response.topics.iter().flat_map(|topic| &topic.partitions).map(|p| p.error_code);
                codes.try_for_each(|code| check(code, None))
            })
            .await?;
        self.state = State::Open;
        Ok(())
    }

    /// Ends the transaction; when this returns, all of it is durable and decided, and visible once its markers are.
    /// Nothing happens when nothing was written.
    pub async fn commit(&mut self) -> Result<(), ClientError> {
        self.flush().await?;
        if self.state == State::Ready {
            return Ok(());
        }
        self.begin("commit", State::CommitInDoubt)?;
        self.end(true).await
    }

    /// Ends the transaction without a trace for those who read committed data. What is staged is forgotten.
    pub async fn abort(&mut self) -> Result<(), ClientError> {
        self.staged.clear();
        self.staged_bytes = 0;
        match self.state {
            State::Ready => {
                // Sequences of batches that were staged and never sent.
                self.sequences.clear();
                self.firsts.clear();
                return Ok(());
            }
            State::CommitInDoubt => {
                return Err(ClientError::InDoubt { about: format!("abort {}", self.transactional_id) });
            }
            State::Open | State::InDoubt => {}
        }
        self.state = State::InDoubt;
        self.end(false).await
    }

    async fn end(&mut self, committed: bool) -> Result<(), ClientError> {
        let id = self.transactional_id.as_str();
        let about = about(if committed { "commit transaction of" } else { "abort transaction of" }, &id);
        let request = EndTxnRequest::default()
            .with_transactional_id(TransactionalId(text(id)))
            .with_producer_id(kafka_protocol::messages::ProducerId(self.producer_id.0))
            .with_producer_epoch(self.producer_epoch.0)
            .with_committed(committed);
        let (producer_id, producer_epoch) = self
            .client
            .exchange(about, Some(id), Duration::ZERO, request.into(), |response| {
                let ResponseKind::EndTxn(response) = response else { return Err(misfit(about, &response)) };
                check(response.error_code, None)?;
                if response.producer_id.0 < 0 || response.producer_epoch < 0 {
                    return Err(Failure::Final(ClientError::Malformed {
                        about: about.to_string(),
                        reason: "it lacks the next epoch; the broker must speak transaction.version 2".to_owned(),
                    }));
                }
                Ok((ProducerId(response.producer_id.0), ProducerEpoch(response.producer_epoch)))
            })
            .await?;
        if producer_id == self.producer_id && producer_epoch <= self.producer_epoch {
            let reason = format!("the next epoch {producer_epoch} is not above {}", self.producer_epoch);
            return Err(ClientError::Malformed { about: about.to_string(), reason });
        }
        self.producer_id = producer_id;
        self.producer_epoch = producer_epoch;
        mutant!("sequences-go-on", self.sequences.clear(), ());
        self.firsts.clear();
        self.state = State::Ready;
        Ok(())
    }

    /// Marks a call as under way: should it fail or be dropped, the mark stays.
    fn begin(&mut self, verb: &'static str, mark: State) -> Result<(), ClientError> {
        if matches!(self.state, State::InDoubt | State::CommitInDoubt) {
            return Err(ClientError::InDoubt { about: about(verb, &self.transactional_id).to_string() });
        }
        self.state = mark;
        Ok(())
    }
}
