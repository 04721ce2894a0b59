//! The 61 bytes before the records.

use crate::types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    #[default]
    None,
    /// The LZ4 frame format.
    Lz4,
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlMarker {
    Commit,
    Abort,
}

/// A batch's header, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: Offset,
    /// The whole batch in bytes, the 12-byte prefix included.
    pub size: usize,
    pub leader_epoch: i32,
    pub last_offset_delta: i32,
    /// The first record's timestamp.
    pub base_timestamp: Timestamp,
    pub max_timestamp: Timestamp,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub base_sequence: Sequence,
    pub count: i32,
    pub compression: Compression,
    pub transactional: bool,
    /// The batch holds a transaction marker, not data.
    pub control: bool,
    /// Every record's timestamp is `max_timestamp`.
    pub log_append_time: bool,
}

impl BatchHeader {
    pub fn last_offset(&self) -> Offset {
        self.base_offset.plus(i64::from(self.last_offset_delta))
    }

    /// The offset after the last.
    pub fn next_offset(&self) -> Offset {
        self.last_offset().plus(1)
    }

    /// The last record's sequence; [`Sequence::NONE`] without a producer.
    pub fn last_sequence(&self) -> Sequence {
        if self.base_sequence == Sequence::NONE {
            return Sequence::NONE;
        }
        self.base_sequence.plus(self.last_offset_delta)
    }
}

/// Why bytes are not a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CorruptReason {
    #[error("batch length {found} is impossible")]
    Size { found: i32 },
    #[error("magic {found}, expected 2")]
    Magic { found: i8 },
    #[error("checksum: expected {expected:#010x}, found {found:#010x}")]
    Checksum { expected: u32, found: u32 },
    #[error("header: {field} is {found}")]
    Header { field: &'static str, found: i64 },
    #[error("compression codec {found} is not supported")]
    Compression { found: i16 },
}

/// Writes the base offset and the leader epoch; neither is covered by the checksum.
pub fn patch(batch: &mut [u8], base_offset: Offset, leader_epoch: i32) {
    batch[0..8].copy_from_slice(&base_offset.0.to_be_bytes());
    batch[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
}
