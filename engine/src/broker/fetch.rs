//! Fetch and ListOffsets: from the logs to a client.
//!
//! Invariant: nothing at or beyond the high watermark is answered, nor, to readers of committed data, at or beyond the
//! last stable offset. The log's own reads hold that; nothing here reads past them.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::{
    FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, ProducerId as WireProducerId,
};
use tokio::time::Instant;

use super::BrokerError;
use super::shared::Shared;
use crate::log::{Fetched, Isolation, Log, LogError, ReadError};
use crate::types::{Offset, Partition, Timestamp};
use crate::wire::api::DELETED_TO_TAG;

/// ListOffsets' names for the two ends.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

/// One look at the logs.
struct Round {
    response: FetchResponse,
    bytes: usize,
    /// There is an error to tell at once.
    urgent: bool,
    /// Each log with its generation before it was read.
    seen: Vec<(Log, u64)>,
}

pub async fn fetch(shared: &Shared, request: FetchRequest) -> Result<FetchResponse, BrokerError> {
    // We open no fetch sessions, so nobody can have one.
    if request.session_id != 0 && request.session_epoch > 0 {
        return Ok(FetchResponse::default().with_error_code(ResponseError::FetchSessionIdNotFound.code()));
    }
    let patience = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let deadline = Instant::now() + patience;
    let bytes_max = usize::try_from(request.max_bytes).unwrap_or(0).min(shared.config.fetch_bytes_max);
    let bytes_min = usize::try_from(request.min_bytes).unwrap_or(0).min(bytes_max);
    loop {
        let round = look(shared, &request, bytes_max).await?;
        if round.bytes >= bytes_min || round.urgent || round.seen.is_empty() || Instant::now() >= deadline {
            return Ok(round.response);
        }
        if tokio::time::timeout_at(deadline, any_changed(&round.seen)).await.is_err() {
            // What has come until now, even if it is less than was asked for.
            return Ok(look(shared, &request, bytes_max).await?.response);
        }
    }
}

async fn look(shared: &Shared, request: &FetchRequest, bytes_max: usize) -> Result<Round, BrokerError> {
    let isolation = isolation(request.isolation_level);
    let mut round = Round { response: FetchResponse::default(), bytes: 0, urgent: false, seen: Vec::new() };
    for topic in &request.topics {
        let mut answers = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let answer = PartitionData::default().with_partition_index(asked.partition);
            let log = shared.topics().log(&topic.topic, Partition(asked.partition));
            let Some(log) = log else {
                round.urgent = true;
                answers.push(refused(answer, ResponseError::UnknownTopicOrPartition));
                continue;
            };
            round.seen.push((log.clone(), log.generation()));
            let room = bytes_max - round.bytes.min(bytes_max);
            let limit = usize::try_from(asked.partition_max_bytes).unwrap_or(0).min(room);
            answers.push(match read(shared, &log, Offset(asked.fetch_offset), limit, isolation).await? {
                Ok(fetched) => {
                    round.bytes += fetched.bytes.len();
                    found(answer, fetched, isolation)
                }
                Err(error) => {
                    round.urgent = true;
                    refused(answer, error).with_log_start_offset(log.start().0)
                }
            });
        }
        round
            .response
            .responses
            .push(FetchableTopicResponse::default().with_topic(topic.topic.clone()).with_partitions(answers));
    }
    Ok(round)
}

async fn read(
    shared: &Shared,
    log: &Log,
    from: Offset,
    limit: usize,
    isolation: Isolation,
) -> Result<Result<Fetched, ResponseError>, BrokerError> {
    // Without room the log would still hand out one batch: look at the ends alone.
    if limit == 0 {
        if from < log.start() || from > log.end() {
            return Ok(Err(ResponseError::OffsetOutOfRange));
        }
        return Ok(Ok(Fetched {
            bytes: bytes::Bytes::new(),
            next: from,
            high_watermark: log.high_watermark(),
            last_stable: log.last_stable(),
            log_start: log.start(),
            aborted: Vec::new(),
        }));
    }
    match log.read(from, limit, isolation).await {
        Ok(fetched) => Ok(Ok(fetched)),
        Err(ReadError::OutOfRange { .. }) => Ok(Err(ResponseError::OffsetOutOfRange)),
        Err(ReadError::Log(error)) => unreadable(shared, log, error),
    }
}

/// Damage below what is durable is this partition's alone, and is never skipped; a failed write is everyone's.
fn unreadable<T>(shared: &Shared, log: &Log, error: LogError) -> Result<Result<T, ResponseError>, BrokerError> {
    match error {
        LogError::Poisoned | LogError::Closed => Err(shared.log_failed(log, error)),
        LogError::Damaged { .. } => {
            shared.env.log(format_args!("{}: {}", log.partition(), super::shared::chain(&error)));
            Ok(Err(ResponseError::CorruptMessage))
        }
        LogError::Io { .. } => {
            shared.env.log(format_args!("{}: {}", log.partition(), super::shared::chain(&error)));
            Ok(Err(ResponseError::KafkaStorageError))
        }
    }
}

fn found(answer: PartitionData, fetched: Fetched, isolation: Isolation) -> PartitionData {
    let aborted = match isolation {
        Isolation::ReadUncommitted => None,
        Isolation::ReadCommitted => {
            let entry = |aborted: crate::log::Aborted| {
                AbortedTransaction::default()
                    .with_producer_id(WireProducerId(aborted.producer_id.0))
                    .with_first_offset(aborted.first_offset.0)
            };
            Some(fetched.aborted.into_iter().map(entry).collect())
        }
    };
    answer
        .with_high_watermark(fetched.high_watermark.0)
        .with_last_stable_offset(fetched.last_stable.0)
        .with_log_start_offset(fetched.log_start.0)
        .with_aborted_transactions(aborted)
        .with_records(Some(fetched.bytes))
}

fn refused(answer: PartitionData, error: ResponseError) -> PartitionData {
    answer.with_error_code(error.code()).with_high_watermark(-1)
}

fn isolation(level: i8) -> Isolation {
    if level == 1 { Isolation::ReadCommitted } else { Isolation::ReadUncommitted }
}

/// Resolves when any of the logs has moved since it was seen.
async fn any_changed(seen: &[(Log, u64)]) {
    let mut waiting: Vec<Pin<Box<dyn Future<Output = u64> + Send + '_>>> = Vec::with_capacity(seen.len());
    for (log, generation) in seen {
        waiting.push(Box::pin(log.changed(*generation)));
    }
    poll_fn(|context| {
        let moved = waiting.iter_mut().any(|change| change.as_mut().poll(context).is_ready());
        if moved { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

pub async fn list_offsets(shared: &Shared, request: ListOffsetsRequest) -> Result<ListOffsetsResponse, BrokerError> {
    let isolation = isolation(request.isolation_level);
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut answers = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            let answer = ListOffsetsPartitionResponse::default()
                .with_partition_index(asked.partition_index)
                .with_timestamp(-1)
                .with_offset(-1);
            let log = shared.topics().log(&topic.name, Partition(asked.partition_index));
            let found = match &log {
                None => Err(ResponseError::UnknownTopicOrPartition),
                Some(log) => find(shared, log, asked.timestamp, isolation).await?,
            };
            // Asked after the search: what was deleted while it went on counts as deleted.
            let cut = log.as_ref().filter(|log| log.start() > Offset::ZERO).map(|log| log.deleted_to().0.to_be_bytes());
            let tags = cut.map(|at| (DELETED_TO_TAG, Bytes::copy_from_slice(&at))).into_iter().collect();
            let answer = answer.with_unknown_tagged_fields(tags);
            answers.push(match found {
                Err(error) => answer.with_error_code(error.code()),
                Ok(None) => answer,
                Ok(Some((offset, at))) => answer.with_offset(offset.0).with_timestamp(at.0),
            });
        }
        topics.push(ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(answers));
    }
    Ok(ListOffsetsResponse::default().with_topics(topics))
}

async fn find(
    shared: &Shared,
    log: &Log,
    timestamp: i64,
    isolation: Isolation,
) -> Result<Result<Option<(Offset, Timestamp)>, ResponseError>, BrokerError> {
    let end = match isolation {
        Isolation::ReadUncommitted => log.high_watermark(),
        Isolation::ReadCommitted => log.last_stable(),
    };
    match timestamp {
        EARLIEST => Ok(Ok(Some((log.start(), Timestamp(-1))))),
        LATEST => Ok(Ok(Some((end, Timestamp(-1))))),
        at => match log.offset_for_time(Timestamp(at)).await {
            Ok(found) => Ok(Ok(found.filter(|(offset, _)| *offset < end))),
            Err(ReadError::OutOfRange { .. }) => Ok(Err(ResponseError::OffsetOutOfRange)),
            Err(ReadError::Log(error)) => unreadable(shared, log, error),
        },
    }
}
