//! TxnOffsetCommit and OffsetFetch: a group's offsets, written within a transaction and read once they are decided.

use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{
    OffsetFetchRequest, OffsetFetchResponse, TopicName, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::BrokerError;
use super::coordinator::Identity;
use super::offsets::{CommittedOffset, OffsetKey, OffsetRecord, Offsets};
use super::produce::add_partitions;
use super::shared::Shared;
use super::transactions::ID_BYTES_MAX;
use crate::log::{AppendError, Appended};
use crate::record::{BatchBuilder, Compression, ProducerStamp};
use crate::types::{Offset, Partition, ProducerEpoch, ProducerId, TopicPartition};

/// As Kafka's `offset.metadata.max.bytes`.
const METADATA_BYTES_MAX: usize = 4096;

pub async fn txn_offset_commit(
    shared: &Arc<Shared>,
    request: TxnOffsetCommitRequest,
) -> Result<TxnOffsetCommitResponse, BrokerError> {
    let refused = match check_group(&request) {
        Some(error) => Some(error),
        None => commit(shared, &request).await?.err(),
    };
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let error = match refused {
                Some(error) => Some(error),
                None => check_partition(shared, &topic.name, partition.partition_index, &partition.committed_metadata),
            };
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(error.map_or(0, |error| error.code()))
        });
        TxnOffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    Ok(TxnOffsetCommitResponse::default().with_topics(topics.collect()))
}

fn check_group(request: &TxnOffsetCommitRequest) -> Option<ResponseError> {
    if request.group_id.is_empty() || request.group_id.len() > ID_BYTES_MAX {
        return Some(ResponseError::InvalidGroupId);
    }
    // There is no membership here: whoever claims one is mistaken about the broker.
    if request.generation_id >= 0 || !request.member_id.is_empty() {
        return Some(ResponseError::UnknownMemberId);
    }
    None
}

fn check_partition(shared: &Shared, topic: &str, index: i32, metadata: &Option<StrBytes>) -> Option<ResponseError> {
    if shared.topics().log(topic, Partition(index)).is_none() {
        return Some(ResponseError::UnknownTopicOrPartition);
    }
    let bytes = metadata.as_ref().map_or(0, |metadata| metadata.len());
    (bytes > METADATA_BYTES_MAX).then_some(ResponseError::OffsetMetadataTooLarge)
}

/// Appends the offsets that are in order as one batch, and waits until it is durable.
async fn commit(
    shared: &Arc<Shared>,
    request: &TxnOffsetCommitRequest,
) -> Result<Result<(), ResponseError>, BrokerError> {
    let group: Arc<str> = Arc::from(request.group_id.as_str());
    let mut records = Vec::new();
    for topic in &request.topics {
        let name: Arc<str> = Arc::from(topic.name.as_str());
        for partition in &topic.partitions {
            if check_partition(shared, &name, partition.partition_index, &partition.committed_metadata).is_none() {
                let metadata = partition.committed_metadata.as_ref().map_or("", |metadata| metadata.as_str());
                records.push(OffsetRecord {
                    key: OffsetKey {
                        group: group.clone(),
                        partition: TopicPartition::new(name.clone(), partition.partition_index),
                    },
                    committed: CommittedOffset {
                        offset: Offset(partition.committed_offset),
                        metadata: Arc::from(metadata),
                    },
                });
            }
        }
    }
    if records.is_empty() {
        return Ok(Ok(()));
    }
    let id = request.transactional_id.as_str();
    let writer = Identity { id: ProducerId(request.producer_id.0), epoch: ProducerEpoch(request.producer_epoch) };
    let log = &shared.offsets_log;
    let gate = shared.gate(id);
    let appended = {
        let mut added = gate.lock().await;
        let own = [log.partition().clone()];
        if let Err(error) = add_partitions(shared, id, writer, &own, &mut added).await? {
            return Ok(Err(error));
        }
        if let Err(error) = shared.coordinator().verify(id, writer, log.partition()) {
            return Ok(Err(error));
        }
        match append(shared, writer, records)? {
            Ok(appended) => appended,
            // The transaction has ended in between; the coordinator knows how.
            Err(error) => {
                let verdict = shared.coordinator().verify(id, writer, log.partition());
                return Ok(Err(verdict.err().unwrap_or(error)));
            }
        }
    };
    shared.durable(log, &appended).await?;
    Ok(Ok(()))
}

fn append(
    shared: &Shared,
    writer: Identity,
    records: Vec<OffsetRecord>,
) -> Result<Result<Appended, ResponseError>, BrokerError> {
    let now = shared.env.now();
    let mut builder = BatchBuilder::new(Compression::None);
    for record in &records {
        let (key, value) = record.encode(now);
        builder.push(now, Some(&key), Some(&value), &[]);
    }
    // Under one lock: the table has the log's order.
    let mut offsets = shared.offsets();
    let base_sequence = offsets.next_sequence(writer.id, writer.epoch);
    let stamp =
        ProducerStamp { producer_id: writer.id, producer_epoch: writer.epoch, base_sequence, transactional: true };
    match shared.offsets_log.append(builder.finish(stamp)) {
        Ok(appended) => {
            assert!(!appended.duplicate, "the broker's own sequence {base_sequence} of {writer:?} is used twice");
            offsets.stage(writer.id, writer.epoch, base_sequence, records);
            Ok(Ok(appended))
        }
        Err(AppendError::InvalidProducerEpoch { .. }) => Ok(Err(ResponseError::InvalidProducerEpoch)),
        Err(AppendError::InvalidTxnState { .. }) => Ok(Err(ResponseError::InvalidTxnState)),
        Err(error) => Err(shared.refused(&shared.offsets_log, error)),
    }
}

pub fn offset_fetch(shared: &Shared, request: &OffsetFetchRequest) -> OffsetFetchResponse {
    let offsets = shared.offsets();
    let groups = request.groups.iter().map(|group| {
        let id = group.group_id.as_str();
        let asked: Vec<(TopicName, Vec<i32>)> = match &group.topics {
            Some(topics) => topics.iter().map(|topic| (topic.name.clone(), topic.partition_indexes.clone())).collect(),
            None => all_of(&offsets, id),
        };
        let topics = asked.into_iter().map(|(name, indexes)| {
            let answer = |index| partition(&offsets, id, &name, index, request.require_stable);
            let partitions = indexes.into_iter().map(answer).collect();
            OffsetFetchResponseTopics::default().with_name(name.clone()).with_partitions(partitions)
        });
        OffsetFetchResponseGroup::default().with_group_id(group.group_id.clone()).with_topics(topics.collect())
    });
    OffsetFetchResponse::default().with_groups(groups.collect())
}

fn all_of(offsets: &Offsets, group: &str) -> Vec<(TopicName, Vec<i32>)> {
    let mut topics: Vec<(TopicName, Vec<i32>)> = Vec::new();
    for (partition, _) in offsets.of_group(group) {
        match topics.last_mut() {
            Some((name, indexes)) if name.as_str() == &*partition.topic => indexes.push(partition.partition.0),
            _ => topics
                .push((TopicName(StrBytes::from_string(partition.topic.to_string())), vec![partition.partition.0])),
        }
    }
    topics
}

fn partition(
    offsets: &Offsets,
    group: &str,
    topic: &str,
    index: i32,
    require_stable: bool,
) -> OffsetFetchResponsePartitions {
    let partition = TopicPartition::new(topic, index);
    let answer = OffsetFetchResponsePartitions::default()
        .with_partition_index(index)
        .with_committed_offset(-1)
        .with_committed_leader_epoch(-1)
        .with_metadata(Some(StrBytes::new()));
    if require_stable && offsets.is_pending(group, &partition) {
        return answer.with_error_code(ResponseError::UnstableOffsetCommit.code());
    }
    match offsets.committed(group, &partition) {
        None => answer,
        Some(committed) => answer
            .with_committed_offset(committed.offset.0)
            .with_metadata(Some(StrBytes::from_string(committed.metadata.to_string()))),
    }
}
