//! The 61 bytes before the records.

use crate::types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

/// Bytes before the records.
pub const HEADER_BYTES: usize = 61;
/// Bytes that the length field does not count: base offset and the length itself.
pub(super) const PREFIX_BYTES: usize = 12;
/// Where the checksum is, and from where on it counts.
pub(super) const CHECKSUM_AT: usize = 17;
pub(super) const CHECKED_FROM: usize = 21;
/// A longer batch is not believed, so that a flipped length cannot make a reader allocate gigabytes.
pub const BATCH_BYTES_MAX: usize = 128 << 20;

const LOG_APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    #[default]
    None,
    /// The LZ4 frame format.
    Lz4,
    /// gzip (1), snappy (2) or zstd (4): a log may hold such batches and passes them on, but does not unpack them.
    Other(u8),
}

impl Compression {
    fn from_attributes(attributes: i16) -> Option<Compression> {
        match attributes & 0b111 {
            0 => Some(Compression::None),
            3 => Some(Compression::Lz4),
            codec @ (1 | 2 | 4) => Some(Compression::Other(codec as u8)),
            _ => None,
        }
    }

    fn attributes(self) -> i16 {
        match self {
            Compression::None => 0,
            Compression::Lz4 => 3,
            Compression::Other(codec) => i16::from(codec),
        }
    }
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
    /// Reads the header of a batch whose size and magic are already known to be right.
    #[inline]
    pub(super) fn parse(bytes: &[u8; HEADER_BYTES], size: usize) -> Result<BatchHeader, CorruptReason> {
        let attributes = i16::from_be_bytes(field(bytes, 21));
        let compression =
            Compression::from_attributes(attributes).ok_or(CorruptReason::Compression { found: attributes & 0b111 })?;
        let header = BatchHeader {
            base_offset: Offset(i64::from_be_bytes(field(bytes, 0))),
            size,
            leader_epoch: i32::from_be_bytes(field(bytes, 12)),
            last_offset_delta: i32::from_be_bytes(field(bytes, 23)),
            base_timestamp: Timestamp(i64::from_be_bytes(field(bytes, 27))),
            max_timestamp: Timestamp(i64::from_be_bytes(field(bytes, 35))),
            producer_id: ProducerId(i64::from_be_bytes(field(bytes, 43))),
            producer_epoch: ProducerEpoch(i16::from_be_bytes(field(bytes, 51))),
            base_sequence: Sequence(i32::from_be_bytes(field(bytes, 53))),
            count: i32::from_be_bytes(field(bytes, 57)),
            compression,
            transactional: attributes & TRANSACTIONAL != 0,
            control: attributes & CONTROL != 0,
            log_append_time: attributes & LOG_APPEND_TIME != 0,
        };
        let bad = |field, found| Err(CorruptReason::Header { field, found });
        if header.base_offset.0 < 0 || header.base_offset.0 > i64::MAX - (1 << 32) {
            return bad("base offset", header.base_offset.0);
        }
        if header.last_offset_delta < 0 {
            return bad("last offset delta", i64::from(header.last_offset_delta));
        }
        if header.count < 0 {
            return bad("record count", i64::from(header.count));
        }
        Ok(header)
    }

    /// Writes the header over the front of `batch`, the checksum last: the records must be there.
    pub(super) fn write(&self, batch: &mut [u8]) {
        assert_eq!(batch.len(), self.size, "a batch of {} bytes says that it has {}", batch.len(), self.size);
        assert!(self.size <= BATCH_BYTES_MAX, "a batch of {} bytes exceeds {BATCH_BYTES_MAX}", self.size);
        let mut attributes = self.compression.attributes();
        for (set, bit) in
            [(self.log_append_time, LOG_APPEND_TIME), (self.transactional, TRANSACTIONAL), (self.control, CONTROL)]
        {
            if set {
                attributes |= bit;
            }
        }
        let mut put = |at: usize, value: &[u8]| batch[at..at + value.len()].copy_from_slice(value);
        put(0, &self.base_offset.0.to_be_bytes());
        put(8, &((self.size - PREFIX_BYTES) as i32).to_be_bytes());
        put(12, &self.leader_epoch.to_be_bytes());
        put(16, &[2]);
        put(21, &attributes.to_be_bytes());
        put(23, &self.last_offset_delta.to_be_bytes());
        put(27, &self.base_timestamp.0.to_be_bytes());
        put(35, &self.max_timestamp.0.to_be_bytes());
        put(43, &self.producer_id.0.to_be_bytes());
        put(51, &self.producer_epoch.0.to_be_bytes());
        put(53, &self.base_sequence.0.to_be_bytes());
        put(57, &self.count.to_be_bytes());
        let checksum = crc32c::crc32c(&batch[CHECKED_FROM..]);
        batch[CHECKSUM_AT..CHECKED_FROM].copy_from_slice(&checksum.to_be_bytes());
    }

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

#[inline]
fn field<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&bytes[at..at + N]);
    value
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
    #[error("compression codec {found} does not exist")]
    Compression { found: i16 },
}

/// Writes the base offset and the leader epoch; neither is covered by the checksum.
pub fn patch(batch: &mut [u8], base_offset: Offset, leader_epoch: i32) {
    batch[0..8].copy_from_slice(&base_offset.0.to_be_bytes());
    batch[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
}
