//! What can go wrong with a log.

use std::io;
use std::path::PathBuf;

use crate::record::{CorruptReason, RecordError};
use crate::types::{Offset, ProducerEpoch, ProducerId, Sequence};

/// The log cannot be opened, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// What was durable is damaged. Nothing is repaired silently.
    #[error("{file} is damaged at byte {position} (offset {offset}): {what}: expected {expected}, found {found}",
        file = file.display())]
    Damaged { file: PathBuf, position: u64, offset: Offset, what: &'static str, expected: String, found: String },
    #[error("{action} {file}", file = file.display())]
    Io {
        action: &'static str,
        file: PathBuf,
        #[source]
        source: io::Error,
    },
    /// An earlier write or sync failed, so what is durable is unknown. Open the log again.
    #[error("an earlier write or sync failed; the log must be opened again")]
    Poisoned,
    #[error("the log is closed")]
    Closed,
}

/// An append was refused; the log has not changed.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error("not a batch: {0}")]
    Corrupt(CorruptReason),
    #[error("the batch is cut short")]
    Truncated,
    #[error("a batch of {size} bytes exceeds the limit of {max}")]
    TooLarge { size: usize, max: usize },
    #[error("invalid records: {0}")]
    InvalidRecords(RecordError),
    #[error("invalid batch: {what}")]
    InvalidBatch { what: &'static str },
    #[error("producer {producer_id}: expected sequence {expected}, found {found}")]
    OutOfOrderSequence { producer_id: ProducerId, expected: Sequence, found: Sequence },
    #[error("producer {producer_id}: epoch {found} is fenced by {current}")]
    InvalidProducerEpoch { producer_id: ProducerId, current: ProducerEpoch, found: ProducerEpoch },
    #[error("producer {producer_id}: {what}")]
    InvalidTxnState { producer_id: ProducerId, what: &'static str },
    #[error("an earlier write or sync failed; the log must be opened again")]
    Poisoned,
    #[error("the log is closed")]
    Closed,
}

/// A read was refused.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The asked offset is gone, or not written yet.
    #[error("offset {requested} is outside of the log, which reaches from {start} to {end}")]
    OutOfRange { requested: Offset, start: Offset, end: Offset },
    #[error(transparent)]
    Log(#[from] LogError),
}
