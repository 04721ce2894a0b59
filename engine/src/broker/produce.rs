//! Produce: batches from a client to the logs.
//!
//! In two steps, so that a connection may read on while batches become durable: [`stage`] appends, in the order of the
//! requests; [`Staged::finish`] waits and answers. Errors are per partition.

use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::BrokerError;
use super::coordinator::Identity;
use super::shared::{Gate, Shared};
use super::topics::is_internal;
use crate::env::Point;
use crate::log::{AppendError, Appended, Log, LogError};
use crate::record::{BatchHeader, Scan, scan_trusted};
use crate::types::{Partition, TopicPartition};

/// From this version on a Produce adds its partitions to the transaction.
const ADDS_PARTITIONS: i16 = 12;

/// A partition's batch on its way.
struct Item {
    topic: usize,
    index: i32,
    /// `None` once it is appended, or refused.
    batch: Option<(Log, BatchHeader, bytes::Bytes)>,
    result: Result<(Log, Appended), Refusal>,
}

#[derive(Clone, Debug)]
struct Refusal {
    error: ResponseError,
    message: Option<String>,
}

impl From<ResponseError> for Refusal {
    fn from(error: ResponseError) -> Refusal {
        Refusal { error, message: None }
    }
}

/// Appended and not yet durable.
pub struct Staged {
    topics: Vec<TopicName>,
    items: Vec<Item>,
    /// The client wants no answer.
    pub silent: bool,
}

/// Appends what can be appended.
pub async fn stage(shared: &Arc<Shared>, version: i16, request: ProduceRequest) -> Result<Staged, BrokerError> {
    let mut staged = Staged { topics: Vec::new(), items: Vec::new(), silent: request.acks == 0 };
    let bad_acks = !matches!(request.acks, -1..=1);
    for (topic, data) in request.topic_data.into_iter().enumerate() {
        for partition in data.partition_data {
            let batch = match bad_acks {
                true => Err(Refusal::from(ResponseError::InvalidRequiredAcks)),
                false => examine(shared, &data.name, partition.index, partition.records),
            };
            let not_yet = Err(Refusal::from(ResponseError::UnknownServerError));
            let (batch, result) = match batch {
                Ok(batch) => (Some(batch), not_yet),
                Err(refusal) => (None, Err(refusal)),
            };
            staged.items.push(Item { topic, index: partition.index, batch, result });
        }
        staged.topics.push(data.name);
    }

    let transactional_id = request.transactional_id.as_ref().map(|id| id.as_str());
    let transactional = |item: &Item| item.batch.as_ref().is_some_and(|(_, header, _)| header.transactional);
    match transactional_id {
        Some(id) if staged.items.iter().any(transactional) => {
            let gate = shared.gate(id);
            stage_transactional(shared, version, id, gate, &mut staged.items).await?;
        }
        Some(_) | None => {
            for item in staged.items.iter_mut().filter(|item| transactional(item)) {
                item.batch = None;
                item.result = Err(refuse(ResponseError::InvalidRecord, "a transactional batch, and no transaction"));
            }
        }
    }
    for item in &mut staged.items {
        append(shared, item, |_, _| None)?;
    }
    Ok(staged)
}

/// Makes the batches' partitions part of the transaction, durably, then appends them.
async fn stage_transactional(
    shared: &Arc<Shared>,
    version: i16,
    transactional_id: &str,
    gate: Gate,
    items: &mut [Item],
) -> Result<(), BrokerError> {
    let mut added = gate.lock().await;
    let writers = items.iter().filter_map(|item| item.batch.as_ref()).filter(|(_, header, _)| header.transactional);
    let identities: std::collections::BTreeSet<Identity> = writers.map(|(_, header, _)| identity(header)).collect();
    for writer in identities {
        let mine = |item: &Item| item.batch.as_ref().is_some_and(|(_, header, _)| identity(header) == writer);
        let partitions: Vec<TopicPartition> = items
            .iter()
            .filter(|item| mine(item))
            .filter_map(|item| item.batch.as_ref().map(|(log, _, _)| log.partition().clone()))
            .collect();
        if version >= ADDS_PARTITIONS
            && let Err(error) = add_partitions(shared, transactional_id, writer, &partitions, &mut added).await?
        {
            for item in items.iter_mut().filter(|item| mine(item)) {
                item.batch = None;
                item.result = Err(error.into());
            }
            continue;
        }
        for item in items.iter_mut().filter(|item| mine(item)) {
            append(shared, item, |shared, log| {
                shared.coordinator().verify(transactional_id, writer, log.partition()).err()
            })?;
        }
    }
    Ok(())
}

/// Makes the partitions part of the transaction; when this returns, that is durable.
pub async fn add_partitions(
    shared: &Arc<Shared>,
    transactional_id: &str,
    writer: Identity,
    partitions: &[TopicPartition],
    added: &mut Option<Appended>,
) -> Result<Result<(), ResponseError>, BrokerError> {
    if shared.coordinator().would_add(transactional_id, partitions) {
        shared.env.reach(Point::TxnBeforeOngoing).await;
    }
    {
        let now = shared.elapsed();
        let mut coordinator = shared.coordinator();
        match coordinator.add_partitions(transactional_id, writer, partitions, now) {
            Err(error) => return Ok(Err(error)),
            Ok(records) if records.is_empty() => {}
            Ok(records) => {
                *added = Some(shared.append_records(records)?);
                shared.deadlines.notify_one();
            }
        }
    }
    if let Some(added) = added {
        mutant!("ongoing-not-durable", shared.durable(&shared.txn_log, added).await, Ok(()))?;
    }
    Ok(Ok(()))
}

fn identity(header: &BatchHeader) -> Identity {
    Identity { id: header.producer_id, epoch: header.producer_epoch }
}

fn refuse(error: ResponseError, message: impl Into<String>) -> Refusal {
    Refusal { error, message: Some(message.into()) }
}

/// What can be said of a batch before it meets the log.
fn examine(
    shared: &Shared,
    topic: &str,
    index: i32,
    records: Option<bytes::Bytes>,
) -> Result<(Log, BatchHeader, bytes::Bytes), Refusal> {
    let log = shared.topics().log(topic, Partition(index)).ok_or(ResponseError::UnknownTopicOrPartition)?;
    if is_internal(topic) {
        return Err(refuse(ResponseError::InvalidTopicException, "the topic is the broker's own"));
    }
    let records = records.unwrap_or_default();
    let header = match scan_trusted(&records) {
        Scan::Complete(batch) => *batch.header(),
        Scan::PartialTail => return Err(refuse(ResponseError::CorruptMessage, "the batch is cut short")),
        Scan::Corrupt(reason) => return Err(refuse(ResponseError::CorruptMessage, reason.to_string())),
        Scan::End => return Err(refuse(ResponseError::InvalidRecord, "no batch")),
    };
    if header.size != records.len() {
        return Err(refuse(ResponseError::InvalidRecord, "a partition takes one batch a request"));
    }
    if header.control {
        return Err(refuse(ResponseError::InvalidRecord, "control batches are the broker's own"));
    }
    Ok((log, header, records))
}

/// Appends an item's batch, unless `verify` refuses. It is asked again when the log's producer state refuses: the
/// transaction may have ended in between, and the coordinator knows how.
fn append(
    shared: &Shared,
    item: &mut Item,
    verify: impl Fn(&Shared, &Log) -> Option<ResponseError>,
) -> Result<(), BrokerError> {
    let Some((log, _, records)) = item.batch.take() else { return Ok(()) };
    if let Some(error) = verify(shared, &log) {
        item.result = Err(error.into());
        return Ok(());
    }
    item.result = match log.append(records) {
        Ok(appended) => Ok((log, appended)),
        Err(error) => {
            let code = match &error {
                AppendError::Corrupt(_) | AppendError::Truncated => ResponseError::CorruptMessage,
                AppendError::TooLarge { .. } => ResponseError::MessageTooLarge,
                AppendError::InvalidRecords(_) | AppendError::InvalidBatch { .. } => ResponseError::InvalidRecord,
                AppendError::OutOfOrderSequence { .. } => ResponseError::OutOfOrderSequenceNumber,
                AppendError::InvalidProducerEpoch { .. } => {
                    verify(shared, &log).unwrap_or(ResponseError::InvalidProducerEpoch)
                }
                AppendError::InvalidTxnState { .. } => verify(shared, &log).unwrap_or(ResponseError::InvalidTxnState),
                AppendError::Poisoned => return Err(shared.log_failed(&log, LogError::Poisoned)),
                AppendError::Closed => return Err(shared.log_failed(&log, LogError::Closed)),
            };
            Err(refuse(code, error.to_string()))
        }
    };
    Ok(())
}

impl Staged {
    /// Waits until everything that was appended is durable.
    pub async fn finish(self, shared: &Shared) -> Result<ProduceResponse, BrokerError> {
        let mut responses: Vec<TopicProduceResponse> =
            self.topics.into_iter().map(|name| TopicProduceResponse::default().with_name(name)).collect();
        for Item { topic, index, result, .. } in self.items {
            let answer = PartitionProduceResponse::default().with_index(index).with_log_append_time_ms(-1);
            let answer = match result {
                Ok((log, appended)) => {
                    shared.durable(&log, &appended).await?;
                    answer.with_base_offset(appended.base.0).with_log_start_offset(log.start().0)
                }
                Err(Refusal { error, message }) => answer
                    .with_error_code(error.code())
                    .with_base_offset(-1)
                    .with_log_start_offset(-1)
                    .with_error_message(message.map(StrBytes::from_string)),
            };
            responses[topic].partition_responses.push(answer);
        }
        Ok(ProduceResponse::default().with_responses(responses))
    }
}
