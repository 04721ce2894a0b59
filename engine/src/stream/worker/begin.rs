//! Where a version that starts at a time begins to read a partition.
//!
//! In: a partition, a time. Out: the offset of its first record at or after the time; if it has none, of its last record,
//! which is its end marker if it has ended. To begin earlier would be as right, and slower; never later.
//!
//! Invariant: if a record at or after the time was deleted, or may have been, there is no answer but an error.

use std::time::Duration;

use super::super::TaskId;
use super::error::TaskError;
use crate::client::{Client, ClientError, Isolation, ListedOffset, OffsetSpec, for_each_committed};
use crate::record::Record;
use crate::types::{Offset, Timestamp, TopicPartition};

pub async fn begin_at(
    client: &Client,
    task: TaskId,
    input: &TopicPartition,
    time: Timestamp,
    fetch_bytes: usize,
) -> Result<Offset, TaskError> {
    let of = |error| TaskError::of(task, error);
    loop {
        let before = client.log_start(input).await.map_err(of)?;
        // First, so that a record which is not found at or after the time lies beyond it.
        let end = client.stable_end(input).await.map_err(of)?;
        let ListedOffset { offset, deleted_to } =
            client.listed_offset(input, OffsetSpec::At(time)).await.map_err(of)?;
        let start = client.log_start(input).await.map_err(of)?;
        if start != before {
            // Retention went by: what was asked for may be of two logs.
            continue;
        }
        let gone = || TaskError::MissingTime {
            topic: input.topic.to_string(),
            partition: input.partition,
            needed: time,
            deleted_to,
            start,
        };
        let all_there = start == Offset::ZERO || deleted_to.is_some_and(|to| to < time);
        if mutant!("deleted-times-overlooked", !all_there, false) {
            return Err(gone());
        }
        let found = match offset {
            Some(first) => Ok(Some(first)),
            None => last_before(client, input, start, end, fetch_bytes).await,
        };
        return match found {
            Ok(Some(first)) => Ok(mutant!("starts-one-late", first, first.plus(1))),
            Ok(None) if start == Offset::ZERO => Ok(start),
            // Nothing is left: its end may be among what is gone.
            Ok(None) => Err(gone()),
            Err(ClientError::OffsetOutOfRange { .. }) => continue,
            Err(error) => Err(of(error)),
        };
    }
}

/// The last committed record below `end`, from ever further back.
async fn last_before(
    client: &Client,
    input: &TopicPartition,
    start: Offset,
    end: Offset,
    fetch_bytes: usize,
) -> Result<Option<Offset>, ClientError> {
    let mut scratch = Vec::new();
    let mut back = 1;
    let mut before = end;
    while before > start {
        let from = Offset(end.0.saturating_sub(back)).max(start);
        let (mut next, mut last) = (from, None);
        while next < before {
            let isolation = Isolation::ReadCommitted;
            let fetched = client.fetch(input, next, fetch_bytes, Duration::ZERO, isolation).await?;
            let each = |record: &Record<'_>| {
                last = Some(record.offset).filter(|offset| *offset < end).or(last);
                Ok::<_, ClientError>(())
            };
            let read = for_each_committed(input, &fetched, next, isolation, &mut scratch, each)?;
            if read == next {
                break;
            }
            next = read;
        }
        if last.is_some() {
            return Ok(last);
        }
        (before, back) = (from, back.saturating_mul(4));
    }
    Ok(None)
}
