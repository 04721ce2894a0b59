//! Fetching: whole batches as they lie in the log, and what a reader must know to judge them.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, ResponseKind};

use super::admin::topic_name;
use super::retry::{Failure, about, check};
use super::{Client, ClientError, lacks, misfit};
use crate::types::{Offset, ProducerId, TopicPartition};

/// What a reader may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Everything durable, open and aborted transactions included.
    ReadUncommitted,
    /// Up to the last stable offset; aborted transactions are still among the bytes, and listed.
    ReadCommitted,
}

impl Isolation {
    pub(crate) fn level(self) -> i8 {
        match self {
            Isolation::ReadUncommitted => 0,
            Isolation::ReadCommitted => 1,
        }
    }
}

/// An aborted transaction of one partition: it begins at `first_offset` and ends at its producer's next marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Aborted {
    pub first_offset: Offset,
    pub producer_id: ProducerId,
}

/// What one fetch brought of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Whole batches; the first may begin below the offset that was asked for. Checksums are not checked yet.
    pub bytes: Bytes,
    pub high_watermark: Offset,
    pub last_stable: Offset,
    pub log_start: Offset,
    /// Those that overlap `bytes`, in order of their first offset.
    pub aborted: Vec<Aborted>,
}

impl Client {
    /// Up to about `max_bytes` of one partition from `from` on; waits up to `max_wait` while there is nothing.
    ///
    /// # Errors
    /// [`ClientError::OffsetOutOfRange`] when the log does not hold `from`.
    pub async fn fetch(
        &self,
        partition: &TopicPartition,
        from: Offset,
        max_bytes: usize,
        max_wait: Duration,
        isolation: Isolation,
    ) -> Result<Fetched, ClientError> {
        let wanted = [(partition.clone(), from)];
        let mut fetched = self.fetch_many(&wanted, max_bytes, max_wait, isolation).await?;
        Ok(fetched.pop().expect("one partition was asked for"))
    }

    /// Up to about `max_bytes` of each partition; waits up to `max_wait` while there is nothing of any. The answers are
    /// in the order of `wanted`.
    pub async fn fetch_many(
        &self,
        wanted: &[(TopicPartition, Offset)],
        max_bytes: usize,
        max_wait: Duration,
        isolation: Isolation,
    ) -> Result<Vec<Fetched>, ClientError> {
        assert!(!wanted.is_empty(), "a fetch names at least one partition");
        let first = &wanted[0].0;
        let about = about("fetch", first);
        let bytes_max = i32::try_from(max_bytes).unwrap_or(i32::MAX);
        let mut topics: Vec<FetchTopic> = Vec::new();
        for (partition, from) in wanted {
            let asked = FetchPartition::default()
                .with_partition(partition.partition.0)
                .with_current_leader_epoch(-1)
                .with_fetch_offset(from.0)
                .with_last_fetched_epoch(-1)
                .with_log_start_offset(-1)
                .with_partition_max_bytes(bytes_max);
            match topics.iter_mut().find(|topic| topic.topic.as_str() == &*partition.topic) {
                Some(topic) => topic.partitions.push(asked),
                None => topics
                    .push(FetchTopic::default().with_topic(topic_name(&partition.topic)).with_partitions(vec![asked])),
            }
        }
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(max_wait.as_millis() as i32)
            .with_min_bytes(1)
            .with_max_bytes(bytes_max.saturating_mul(wanted.len() as i32))
            .with_isolation_level(isolation.level())
            .with_session_id(0)
            .with_session_epoch(-1)
            .with_topics(topics);
        let answer = self
            .exchange(about, None, max_wait, request.into(), |response| {
                let ResponseKind::Fetch(response) = response else { return Err(misfit(about, &response)) };
                check(response.error_code, None)?;
                wanted
                    .iter()
                    .map(|(wanted, from)| {
                        let data = response
                            .responses
                            .iter()
                            .filter(|topic| topic.topic.as_str() == &*wanted.topic)
                            .flat_map(|topic| &topic.partitions)
                            .find(|data| data.partition_index == wanted.partition.0)
                            .ok_or_else(|| lacks(about, "a partition"))?;
                        if data.error_code == ResponseError::OffsetOutOfRange.code() {
                            return Ok(Err((wanted.clone(), *from)));
                        }
                        check(data.error_code, None)?;
                        let mut aborted: Vec<Aborted> = data
                            .aborted_transactions
                            .iter()
                            .flatten()
                            .map(|aborted| Aborted {
                                first_offset: Offset(aborted.first_offset),
                                producer_id: ProducerId(aborted.producer_id.0),
                            })
                            .collect();
                        aborted.sort_unstable();
                        Ok(Ok(Fetched {
                            bytes: data.records.clone().unwrap_or_default(),
                            high_watermark: Offset(data.high_watermark),
                            last_stable: Offset(data.last_stable_offset),
                            log_start: Offset(data.log_start_offset),
                            aborted,
                        }))
                    })
                    .collect::<Result<Vec<_>, Failure>>()
            })
            .await?;
        let mut fetched = Vec::with_capacity(answer.len());
        for partition in answer {
            match partition {
                Ok(found) => fetched.push(found),
                Err((partition, needed)) => return Err(self.out_of_range(partition, needed).await),
            }
        }
        Ok(fetched)
    }

    /// Names the range that is there: an answer with the error does not carry it.
    async fn out_of_range(&self, partition: TopicPartition, needed: Offset) -> ClientError {
        let start = match self.log_start(&partition).await {
            Ok(start) => start,
            Err(error) => return error,
        };
        match self.end(&partition).await {
            Ok(end) => ClientError::OffsetOutOfRange { partition, needed, start, end },
            Err(error) => error,
        }
    }
}
