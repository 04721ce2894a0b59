//! What a caller of the client has to tell apart, and what each error lets it do.

use kafka_protocol::ResponseError;

use crate::record::{CorruptReason, RecordError};
use crate::types::{Offset, TopicPartition};

/// Why a call of the client did not do what it was asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ClientError {
    /// A newer producer holds this transactional id, or the coordinator gave up on our transaction. Final for this
    /// instance: nothing of its open transaction will ever be seen.
    #[error("{about}: fenced ({code}): `{transactional_id}` is held by a newer producer")]
    Fenced { about: String, transactional_id: String, code: ResponseError },
    /// The log no longer holds, or does not hold yet, the offset that was asked for. Never skipped over.
    #[error("{partition}: offset {needed} is not in the log, which holds [{start}, {end})")]
    OffsetOutOfRange { partition: TopicPartition, needed: Offset, start: Offset, end: Offset },
    #[error("{about}: topic `{topic}` does not exist; create it first")]
    UnknownTopic { about: String, topic: String },
    #[error("topic `{topic}` has {found} partitions, not {wanted}; a topic's partitions are fixed")]
    PartitionCount { topic: String, wanted: i32, found: i32 },
    /// The broker answered, and trying again would not help.
    #[error("{about}: refused with {code}{message}; {advice}")]
    Refused { about: String, code: ResponseError, message: String, advice: &'static str },
    /// The time for trying is over. Whether the last try took effect is unknown.
    #[error("{about}: gave up after {tries} tries in {ms} ms; the last: {last}")]
    GaveUp { about: String, tries: u32, ms: u64, last: String },
    #[error("{about}: the answer makes no sense: {reason}")]
    Malformed { about: String, reason: String },
    #[error("{partition}: the fetched bytes at offset {at} are not a batch: {reason}")]
    Corrupt { partition: TopicPartition, at: Offset, reason: CorruptReason },
    #[error("{partition}: the batch at offset {at} cannot be read: {reason}")]
    Unreadable { partition: TopicPartition, at: Offset, reason: RecordError },
    /// An earlier call on this transaction failed or was dropped: only `abort` can follow.
    #[error("{about}: an earlier call of this transaction has no known outcome; abort it first")]
    InDoubt { about: String },
}

impl ClientError {
    /// Whether a fresh start from the log may get further.
    pub fn is_retryable(&self) -> bool {
        match self {
            ClientError::GaveUp { .. } | ClientError::InDoubt { .. } | ClientError::Malformed { .. } => true,
            // A sequence or a transaction that the broker does not accept ends with the producer that holds it.
            ClientError::Refused { code, .. } => matches!(
                code,
                ResponseError::OutOfOrderSequenceNumber
                    | ResponseError::UnknownProducerId
                    | ResponseError::InvalidTxnState
                    | ResponseError::TransactionAbortable
            ),
            // Bytes may be damaged on the way; damage that stays is found again and again, and reported each time.
            ClientError::Corrupt { .. } => true,
            ClientError::Fenced { .. }
            | ClientError::OffsetOutOfRange { .. }
            | ClientError::UnknownTopic { .. }
            | ClientError::PartitionCount { .. }
            | ClientError::Unreadable { .. } => false,
        }
    }
}
