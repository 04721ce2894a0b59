//! Idempotent writes.
//!
//! Invariant: a batch is in the log at most once, however often it is sent; once it is acknowledged, exactly once.
//! Invariant: one batch per partition is in flight. Partitions do not wait for each other.
//!
//! When a send's outcome stays unknown (its future is dropped, or time is up), its batch stays with the partition and is
//! settled before the next: were its sequence given to another batch, the broker would take one for the other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{InitProducerIdRequest, ProduceRequest, ResponseKind, TransactionalId};

use super::admin::{text, topic_name};
use super::retry::{Failure, Tries, Verdict, about, check, verdict};
use super::{Client, ClientError, lacks, misfit};
use crate::record::{BatchBuilder, ProducerStamp};
use crate::types::{Offset, ProducerEpoch, ProducerId, Sequence, TopicPartition};

/// A batch on its way.
pub(crate) struct Pending {
    pub partition: TopicPartition,
    pub bytes: Bytes,
    /// Its base offset, once the broker has it.
    pub acked: Option<Offset>,
    /// The broker will not have it: it is not in the log, and never will be.
    pub refused: bool,
}

impl Pending {
    pub fn new(partition: TopicPartition, bytes: Bytes) -> Pending {
        Pending { partition, bytes, acked: None, refused: false }
    }
}

/// Asks for a producer id: of this transactional id, whose earlier holders it fences, or a new one.
pub(crate) async fn init_producer_id(
    client: &Client,
    transactional_id: Option<&str>,
    timeout: Duration,
) -> Result<(ProducerId, ProducerEpoch), ClientError> {
    let noun = transactional_id.unwrap_or("an idempotent producer");
    let about = about("init", &noun);
    let request = InitProducerIdRequest::default()
        .with_transactional_id(transactional_id.map(|id| TransactionalId(text(id))))
        .with_transaction_timeout_ms(timeout.as_millis() as i32)
        .with_producer_id(kafka_protocol::messages::ProducerId(-1))
        .with_producer_epoch(-1);
    client
        .exchange(about, transactional_id, Duration::ZERO, request.into(), |response| {
            let ResponseKind::InitProducerId(response) = response else { return Err(misfit(about, &response)) };
            check(response.error_code, None)?;
            Ok((ProducerId(response.producer_id.0), ProducerEpoch(response.producer_epoch)))
        })
        .await
}

/// Sends `batches`, at most one a partition, in one request, and those that failed again, until each is acknowledged.
/// On an error, and when dropped, `acked` says how far it came.
pub(crate) async fn produce(
    client: &Client,
    transactional_id: Option<&str>,
    batches: &mut [Pending],
) -> Result<(), ClientError> {
    let Some(first) = batches.first() else { return Ok(()) };
    let noun = first.partition.clone();
    let about = about("produce to", &noun);
    let mut tries = Tries::new(client, about);
    loop {
        let mut topics: Vec<TopicProduceData> = Vec::new();
        for batch in batches.iter().filter(|batch| batch.acked.is_none()) {
            let data = PartitionProduceData::default()
                .with_index(batch.partition.partition.0)
                .with_records(Some(batch.bytes.clone()));
            match topics.iter_mut().find(|topic| topic.name.as_str() == &*batch.partition.topic) {
                Some(topic) => topic.partition_data.push(data),
                None => topics.push(
                    TopicProduceData::default()
                        .with_name(topic_name(&batch.partition.topic))
                        .with_partition_data(vec![data]),
                ),
            }
        }
        if topics.is_empty() {
            return Ok(());
        }
        let request = ProduceRequest::default()
            .with_transactional_id(transactional_id.map(|id| TransactionalId(text(id))))
            .with_acks(-1)
            .with_timeout_ms(client.config().request_timeout.as_millis() as i32)
            .with_topic_data(topics);
        let failure = match client.attempt(request.into(), Duration::ZERO).await {
            Ok(ResponseKind::Produce(response)) => {
                let mut failures = Vec::new();
                for batch in batches.iter_mut().filter(|batch| batch.acked.is_none()) {
                    let found = response
                        .responses
                        .iter()
                        .filter(|topic| topic.name.as_str() == &*batch.partition.topic)
                        .flat_map(|topic| &topic.partition_responses)
                        .find(|found| found.index == batch.partition.partition.0);
                    let Some(found) = found else {
                        failures.push(lacks(about, "a partition"));
                        continue;
                    };
                    match check(found.error_code, found.error_message.as_deref()) {
                        Ok(()) => batch.acked = Some(Offset(found.base_offset)),
                        // An earlier try is in the log, at the offset that the broker names.
                        Err(Failure::Code(code, _)) if verdict(code) == Verdict::Duplicate => {
                            batch.acked = Some(Offset(found.base_offset));
                        }
                        Err(failure) => {
                            batch.refused = is_final(&failure);
                            failures.push(failure);
                        }
                    }
                }
                // One that is final decides; otherwise any says why to wait.
                let decisive = failures.iter().position(is_final);
                match failures.is_empty() {
                    true => return Ok(()),
                    false => failures.swap_remove(decisive.unwrap_or(0)),
                }
            }
            Ok(response) => misfit(about, &response),
            Err(failure) => mutant!("silence-taken-for-yes", failure, {
                batches.iter_mut().for_each(|batch| batch.acked = batch.acked.or(Some(Offset::ZERO)));
                return Ok(());
            }),
        };
        tries.failed(failure, transactional_id).await?;
    }
}

fn is_final(failure: &Failure) -> bool {
    match failure {
        Failure::Again(_) => false,
        Failure::Final(_) => true,
        Failure::Code(code, _) => verdict(*code) != Verdict::Retry,
    }
}

/// Writes batches exactly once, as long as it lives. Cheap to clone; its clones are one producer.
#[derive(Clone)]
pub struct Producer {
    client: Client,
    producer_id: ProducerId,
    producer_epoch: ProducerEpoch,
    partitions: Arc<Mutex<BTreeMap<TopicPartition, Arc<tokio::sync::Mutex<PartitionState>>>>>,
}

#[derive(Default)]
struct PartitionState {
    next: Sequence,
    /// Sent, with an outcome that nobody knows; and its count.
    in_doubt: Option<(Bytes, i32)>,
}

impl Producer {
    pub async fn init(client: &Client) -> Result<Producer, ClientError> {
        let (producer_id, producer_epoch) = init_producer_id(client, None, Duration::ZERO).await?;
        Ok(Producer { client: client.clone(), producer_id, producer_epoch, partitions: Arc::default() })
    }

    pub fn producer_id(&self) -> ProducerId {
        self.producer_id
    }

    /// Writes the builder's records as one batch; returns the first one's offset when it is durable. The builder is
    /// empty again.
    ///
    /// # Errors
    /// After [`ClientError::GaveUp`] the batch may be in the log, now or later, once.
    pub async fn send(&self, partition: &TopicPartition, batch: &mut BatchBuilder) -> Result<Offset, ClientError> {
        let offsets = self.send_all(&mut [(partition.clone(), batch)]).await?;
        Ok(offsets[0])
    }

    /// Writes a batch to each of several partitions in one request; sorts them by partition and returns their first
    /// offsets in that order. They do not stand or fall together.
    pub async fn send_all(
        &self,
        batches: &mut [(TopicPartition, &mut BatchBuilder)],
    ) -> Result<Vec<Offset>, ClientError> {
        batches.sort_by(|a, b| a.0.cmp(&b.0));
        assert!(batches.windows(2).all(|pair| pair[0].0 != pair[1].0), "one batch a partition");
        // Always in the order of partitions, so that two callers never wait for each other.
        let mut states = Vec::with_capacity(batches.len());
        for (partition, batch) in batches.iter() {
            assert!(!batch.is_empty(), "{partition}: a batch without records");
            states.push(self.state(partition).lock_owned().await);
        }
        for ((partition, _), state) in batches.iter().zip(&mut states) {
            if let Some((bytes, count)) = mutant!("in-doubt-batch-dropped", state.in_doubt.clone(), None) {
                let mut earlier = [Pending::new(partition.clone(), bytes)];
                let outcome = produce(&self.client, None, &mut earlier).await;
                settle(state, &earlier[0], count);
                outcome?;
            }
        }
        let mut pending = Vec::with_capacity(batches.len());
        let mut counts = Vec::with_capacity(batches.len());
        for ((partition, batch), state) in batches.iter_mut().zip(&mut states) {
            let count = batch.len() as i32;
            let bytes = batch.finish(ProducerStamp {
                producer_id: self.producer_id,
                producer_epoch: self.producer_epoch,
                base_sequence: state.next,
                transactional: false,
            });
            state.in_doubt = Some((bytes.clone(), count));
            counts.push(count);
            pending.push(Pending::new(partition.clone(), bytes));
        }
        let outcome = produce(&self.client, None, &mut pending).await;
        for ((state, batch), count) in states.iter_mut().zip(&pending).zip(counts) {
            settle(state, batch, count);
        }
        outcome?;
        Ok(pending.iter().map(|batch| batch.acked.expect("acknowledged, for produce succeeded")).collect())
    }

    fn state(&self, partition: &TopicPartition) -> Arc<tokio::sync::Mutex<PartitionState>> {
        let mut partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(partitions.entry(partition.clone()).or_default())
    }
}

/// What is known of a batch after it was sent; one that is neither acknowledged nor refused stays in doubt.
fn settle(state: &mut PartitionState, batch: &Pending, count: i32) {
    if batch.acked.is_some() {
        state.in_doubt = None;
        state.next = state.next.plus(count);
    } else if batch.refused {
        state.in_doubt = None;
    }
}
