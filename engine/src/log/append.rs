//! Whether bytes from a producer may become part of the log, as far as they alone can tell.
//!
//! A batch is stored as it came, so what is not checked here is wrong for ever: every reader would meet it.

use bytes::Bytes;

use super::{AppendError, LogConfig};
use crate::record::{self, BatchHeader, BatchRef, Scan};
use crate::types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

/// The batches of a produce request, each with its bytes. Batches of a producer id come one at a time.
pub(super) fn validate(bytes: &Bytes, config: &LogConfig) -> Result<Vec<(BatchHeader, Bytes)>, AppendError> {
    let mut batches = Vec::new();
    let mut scratch = Vec::new();
    let mut at = 0;
    loop {
        match record::scan(&bytes[at..]) {
            Scan::End => break,
            Scan::PartialTail => return Err(AppendError::Truncated),
            Scan::Corrupt(reason) => return Err(AppendError::Corrupt(reason)),
            Scan::Complete(batch) => {
                check_batch(&batch, config, &mut scratch)?;
                let header = *batch.header();
                batches.push((header, bytes.slice(at..at + header.size)));
                at += header.size;
            }
        }
    }
    if batches.is_empty() {
        return invalid("there is no batch");
    }
    if batches.len() > 1 && batches.iter().any(|(header, _)| header.producer_id != ProducerId::NONE) {
        return invalid("a producer with an id sends one batch at a time");
    }
    Ok(batches)
}

fn invalid<T>(what: &'static str) -> Result<T, AppendError> {
    Err(AppendError::InvalidBatch { what })
}

fn check_batch(batch: &BatchRef<'_>, config: &LogConfig, scratch: &mut Vec<u8>) -> Result<(), AppendError> {
    let header = batch.header();
    if header.size > config.batch_bytes_max {
        return Err(AppendError::TooLarge { size: header.size, max: config.batch_bytes_max });
    }
    if header.control {
        return invalid("only the log writes control batches");
    }
    if header.log_append_time {
        return invalid("timestamps are the producer's");
    }
    if header.count < 1 || header.last_offset_delta != header.count - 1 {
        return invalid("the number of records and the last offset delta disagree");
    }
    if header.producer_id == ProducerId::NONE {
        if header.transactional || header.base_sequence != Sequence::NONE {
            return invalid("a sequence or a transaction without a producer id");
        }
    } else if header.producer_id < ProducerId::NONE
        || header.producer_epoch < ProducerEpoch(0)
        || header.base_sequence < Sequence(0)
    {
        return invalid("a producer id with a negative epoch or sequence");
    }

    // Offset deltas grow within 0..count, so that after `count` records they are what they must be.
    let (mut next, mut max_timestamp) = (Offset::ZERO, Timestamp::MIN);
    for record in batch.records(scratch).map_err(AppendError::InvalidRecords)? {
        let record = record.map_err(AppendError::InvalidRecords)?;
        next = record.offset.plus(1);
        max_timestamp = max_timestamp.max(record.timestamp);
    }
    if next != header.next_offset() {
        return invalid("the records end before the batch does");
    }
    if max_timestamp != header.max_timestamp {
        return invalid("the greatest timestamp is not the one in the header");
    }
    Ok(())
}
