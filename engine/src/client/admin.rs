//! Topics and offsets: what is asked of the broker as a whole.

use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, DeleteRecordsRequest, GroupId, ListOffsetsRequest, MetadataRequest,
    OffsetFetchRequest, ResponseKind, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::fetch::Isolation;
use super::retry::{Failure, about, check};
use super::{Client, ClientError, lacks, misfit};
use crate::types::{Offset, Partition, Timestamp, TopicPartition};
use crate::wire::api::DELETED_TO_TAG;

/// Which offset of a partition is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The log's start.
    Earliest,
    /// The high watermark.
    Latest,
    /// The last stable offset.
    ReadCommittedLatest,
    /// The first record with at least this timestamp; for -1 and -2, by which the protocol means the ends, with at least
    /// -3, which is no later.
    At(Timestamp),
}

/// What a broker says of an offset that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    /// `None` only for [`OffsetSpec::At`], when no record is that late.
    pub offset: Option<Offset>,
    /// The greatest timestamp of what was deleted at the log's beginning, from a broker of ours, if something was.
    pub deleted_to: Option<Timestamp>,
}

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(crate) fn topic_name(topic: &str) -> TopicName {
    TopicName(text(topic))
}

/// The partition of a key: murmur2 as Kafka's own producer has it, so that other clients agree.
pub fn partition_for_key(key: &[u8], partitions: i32) -> Partition {
    assert!(partitions > 0, "a topic has at least one partition, not {partitions}");
    Partition((murmur2(key) & 0x7fff_ffff) as i32 % partitions)
}

fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash: u32 = 0x9747_b28c ^ data.len() as u32;
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        k = k.wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

impl Client {
    /// Makes sure that the topic exists with this many partitions.
    ///
    /// # Errors
    /// [`ClientError::PartitionCount`] when it exists with another number.
    pub async fn create_topic(&self, name: &str, partitions: i32) -> Result<(), ClientError> {
        let about = about("create topic", &name);
        let timeout_ms = self.config().request_timeout.as_millis() as i32;
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(timeout_ms);
        let created = self
            .exchange(about, None, Duration::ZERO, request.into(), |response| {
                let ResponseKind::CreateTopics(response) = response else { return Err(misfit(about, &response)) };
                let topic = response.topics.first().ok_or_else(|| lacks(about, "the topic"))?;
                if topic.error_code == ResponseError::TopicAlreadyExists.code() {
                    return Ok(false);
                }
                check(topic.error_code, topic.error_message.as_deref())?;
                Ok(true)
            })
            .await?;
        if created {
            return Ok(());
        }
        match self.partitions(name).await? {
            Some(found) if found == partitions => Ok(()),
            Some(found) => Err(ClientError::PartitionCount { topic: name.to_owned(), wanted: partitions, found }),
            None => Err(ClientError::UnknownTopic { about: about.to_string(), topic: name.to_owned() }),
        }
    }

    /// How many partitions the topic has; `None` when there is no such topic.
    pub async fn partitions(&self, topic: &str) -> Result<Option<i32>, ClientError> {
        let about = about("look up topic", &topic);
        let request = MetadataRequest::default()
            .with_topics(Some(vec![MetadataRequestTopic::default().with_name(Some(topic_name(topic)))]))
            .with_allow_auto_topic_creation(false);
        self.exchange(about, None, Duration::ZERO, request.into(), |response| {
            let ResponseKind::Metadata(response) = response else { return Err(misfit(about, &response)) };
            let found = response.topics.first().ok_or_else(|| lacks(about, "the topic"))?;
            if found.error_code == ResponseError::UnknownTopicOrPartition.code() {
                return Ok(None);
            }
            check(found.error_code, None)?;
            Ok(Some(found.partitions.len() as i32))
        })
        .await
    }

    /// The offset that `spec` means; `None` only for [`OffsetSpec::At`], when no record is that late.
    pub async fn list_offset(
        &self,
        partition: &TopicPartition,
        spec: OffsetSpec,
    ) -> Result<Option<Offset>, ClientError> {
        Ok(self.listed_offset(partition, spec).await?.offset)
    }

    /// As [`Client::list_offset`], with what the broker says of the log's beginning.
    pub async fn listed_offset(
        &self,
        partition: &TopicPartition,
        spec: OffsetSpec,
    ) -> Result<ListedOffset, ClientError> {
        let about = about("list offsets of", partition);
        let (timestamp, isolation) = match spec {
            OffsetSpec::Earliest => (-2, Isolation::ReadUncommitted),
            OffsetSpec::Latest => (-1, Isolation::ReadUncommitted),
            OffsetSpec::ReadCommittedLatest => (-1, Isolation::ReadCommitted),
            OffsetSpec::At(Timestamp(-2 | -1)) => (-3, Isolation::ReadCommitted),
            OffsetSpec::At(at) => (at.0, Isolation::ReadCommitted),
        };
        let asked = ListOffsetsPartition::default()
            .with_partition_index(partition.partition.0)
            .with_current_leader_epoch(-1)
            .with_timestamp(timestamp);
        let topic = ListOffsetsTopic::default().with_name(topic_name(&partition.topic)).with_partitions(vec![asked]);
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_isolation_level(isolation.level())
            .with_topics(vec![topic]);
        self.exchange(about, None, Duration::ZERO, request.into(), |response| {
            let ResponseKind::ListOffsets(response) = response else { return Err(misfit(about, &response)) };
            let found = response.topics.first().and_then(|topic| topic.partitions.first());
            let found = found.ok_or_else(|| lacks(about, "the partition"))?;
            check(found.error_code, None)?;
            let deleted_to = found.unknown_tagged_fields.get(&DELETED_TO_TAG);
            let deleted_to = deleted_to.and_then(|bytes| <[u8; 8]>::try_from(&bytes[..]).ok());
            Ok(ListedOffset {
                offset: (found.offset >= 0).then_some(Offset(found.offset)),
                deleted_to: deleted_to.map(|bytes| Timestamp(i64::from_be_bytes(bytes))),
            })
        })
        .await
    }

    /// Where the log starts.
    pub async fn log_start(&self, partition: &TopicPartition) -> Result<Offset, ClientError> {
        self.bound(partition, OffsetSpec::Earliest).await
    }

    /// How far committed data reaches: the last stable offset.
    pub async fn stable_end(&self, partition: &TopicPartition) -> Result<Offset, ClientError> {
        self.bound(partition, OffsetSpec::ReadCommittedLatest).await
    }

    /// How far durable data reaches: the high watermark.
    pub async fn end(&self, partition: &TopicPartition) -> Result<Offset, ClientError> {
        self.bound(partition, OffsetSpec::Latest).await
    }

    async fn bound(&self, partition: &TopicPartition, spec: OffsetSpec) -> Result<Offset, ClientError> {
        self.list_offset(partition, spec).await?.ok_or_else(|| ClientError::Malformed {
            about: about("list offsets of", partition).to_string(),
            reason: format!("a log always has its {spec:?} offset"),
        })
    }

    /// Deletes the partition's records below an offset, durably; at most up to the last stable offset. Answers where the
    /// log starts now, which is never lower than before.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the log does not reach that far, or is one of the broker's own.
    pub async fn delete_records(&self, partition: &TopicPartition, below: Offset) -> Result<Offset, ClientError> {
        assert!(below >= Offset::ZERO, "{partition}: below {below}, which a broker would take for all of it");
        let about = about("delete records of", partition);
        let asked = DeleteRecordsPartition::default().with_partition_index(partition.partition.0).with_offset(below.0);
        let topic = DeleteRecordsTopic::default().with_name(topic_name(&partition.topic)).with_partitions(vec![asked]);
        let timeout_ms = self.config().request_timeout.as_millis() as i32;
        let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(timeout_ms);
        self.exchange(about, None, Duration::ZERO, request.into(), |response| {
            let ResponseKind::DeleteRecords(response) = response else { return Err(misfit(about, &response)) };
            let found = response.topics.first().and_then(|topic| topic.partitions.first());
            let found = found.ok_or_else(|| lacks(about, "the partition"))?;
            check(found.error_code, None)?;
            Ok(Offset(found.low_watermark))
        })
        .await
    }

    /// The group's committed offset of each partition, in the order of `partitions`; `None` where it has none. With
    /// `stable`, waits out transactions that are about to change them.
    pub async fn committed_offsets(
        &self,
        group: &str,
        partitions: &[TopicPartition],
        stable: bool,
    ) -> Result<Vec<Option<Offset>>, ClientError> {
        let about = about("fetch offsets of group", &group);
        let mut topics: Vec<OffsetFetchRequestTopics> = Vec::new();
        for partition in partitions {
            match topics.iter_mut().find(|topic| topic.name.as_str() == &*partition.topic) {
                Some(topic) => topic.partition_indexes.push(partition.partition.0),
                None => topics.push(
                    OffsetFetchRequestTopics::default()
                        .with_name(topic_name(&partition.topic))
                        .with_partition_indexes(vec![partition.partition.0]),
                ),
            }
        }
        let asked = OffsetFetchRequestGroup::default()
            .with_group_id(GroupId(text(group)))
            .with_member_epoch(-1)
            .with_topics(Some(topics));
        let request = OffsetFetchRequest::default().with_groups(vec![asked]).with_require_stable(stable);
        self.exchange(about, None, Duration::ZERO, request.into(), |response| {
            let ResponseKind::OffsetFetch(response) = response else { return Err(misfit(about, &response)) };
            check(response.error_code, None)?;
            let found = response.groups.first().ok_or_else(|| lacks(about, "the group"))?;
            check(found.error_code, None)?;
            partitions
                .iter()
                .map(|wanted| {
                    let topic = found.topics.iter().find(|topic| topic.name.as_str() == &*wanted.topic);
                    let partition = topic
                        .and_then(|topic| topic.partitions.iter().find(|p| p.partition_index == wanted.partition.0))
                        .ok_or_else(|| lacks(about, "a partition"))?;
                    check(partition.error_code, None)?;
                    Ok((partition.committed_offset >= 0).then_some(Offset(partition.committed_offset)))
                })
                .collect::<Result<Vec<_>, Failure>>()
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_where_kafkas_own_producer_sends_them() {
        // From the test of Kafka's `Utils.murmur2`.
        let cases: &[(&str, i32)] = &[
            ("21", -973932308),
            ("foobar", -790332482),
            ("a-little-bit-long-string", -985981536),
            ("a-little-bit-longer-string", -1486304829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
            ("abc", 479470107),
        ];
        for (key, hash) in cases {
            assert_eq!(murmur2(key.as_bytes()) as i32, *hash, "{key}");
        }
        assert_eq!(partition_for_key(b"abc", 7), Partition(479_470_107 % 7));
    }
}
