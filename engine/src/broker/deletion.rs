//! DeleteRecords: a log gives up its beginning.
//!
//! In: how far. Out: where the log starts then. Held at the last stable offset: what a transaction that is still open began
//! with is kept, whoever asks.
//!
//! Invariant: an answer without an error is durable. The internal topics are the broker's own: nobody else deletes there.

use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use super::BrokerError;
use super::shared::Shared;
use super::topics::is_internal;
use crate::log::Log;
use crate::types::{Offset, Partition};

/// Asks for everything up to the high watermark.
const ALL: i64 = -1;

pub async fn delete_records(
    shared: &Arc<Shared>,
    request: DeleteRecordsRequest,
) -> Result<DeleteRecordsResponse, BrokerError> {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut answers = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let answer = DeleteRecordsPartitionResult::default().with_partition_index(asked.partition_index);
            let log = shared.topics().log(&topic.name, Partition(asked.partition_index));
            answers.push(match checked(log, &topic.name, asked.offset) {
                Err(error) => answer.with_low_watermark(-1).with_error_code(error.code()),
                Ok((log, below)) => answer.with_low_watermark(delete_below(shared, &log, below).await?.0),
            });
        }
        topics.push(DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(answers));
    }
    Ok(DeleteRecordsResponse::default().with_topics(topics))
}

/// The log, and up to where it is to be deleted.
fn checked(log: Option<Log>, topic: &str, offset: i64) -> Result<(Log, Offset), ResponseError> {
    let log = log.ok_or(ResponseError::UnknownTopicOrPartition)?;
    if is_internal(topic) {
        return Err(ResponseError::InvalidTopicException);
    }
    let end = log.high_watermark();
    match offset {
        ALL => Ok((log, end)),
        below if (0..=end.0).contains(&below) => Ok((log, Offset(below))),
        _ => Err(ResponseError::OffsetOutOfRange),
    }
}

/// Moves the start of `log`, not to be left halfway when the caller goes away.
pub async fn delete_below(shared: &Arc<Shared>, log: &Log, below: Offset) -> Result<Offset, BrokerError> {
    let (failing, log) = (shared.clone(), log.clone());
    let moved = async move { log.delete_below(below).await.map_err(|error| failing.log_failed(&log, error)) };
    shared.detached(moved).await
}
