//! Kafka's record batch, version 2, byte for byte.
//!
//! In: bytes of a segment, a request or a response. Out: batches and records that borrow from them; and the reverse, a
//! builder that turns records into a batch. Nothing is allocated per record either way. Pure: no clock, no I/O.
//!
//! ```text
//!  0  base offset            i64   assigned by the log: not covered by the checksum
//!  8  batch length           i32   of everything after this field
//! 12  partition leader epoch i32   not covered by the checksum
//! 16  magic                  i8    2
//! 17  CRC32C                 u32   of everything from byte 21 on
//! 21  attributes             i16   bits 0-2 compression, 3 log-append time, 4 transactional, 5 control
//! 23  last offset delta      i32
//! 27  base timestamp         i64   of the first record
//! 35  max timestamp          i64
//! 43  producer id            i64   -1 = none
//! 51  producer epoch         i16
//! 53  base sequence          i32
//! 57  record count           i32
//! 61  records, compressed as one block if at all
//! ```
//!
//! Invariant: arbitrary bytes never panic, and never make a reader allocate by a length that they claim.
//! Invariant: a flip in bytes 0-16 is not seen by the checksum; whoever reads a log checks continuity of offsets too.

mod builder;
mod header;
mod lz4;
mod reader;
mod varint;

pub use builder::{BatchBuilder, ProducerStamp, control_batch};
pub use header::{BATCH_BYTES_MAX, BatchHeader, Compression, ControlMarker, CorruptReason, HEADER_BYTES, patch};
pub use lz4::UNPACKED_BYTES_MAX;
pub use reader::{
    BatchRef, Batches, Headers, Record, RecordError, Records, Scan, batches, batches_trusted, claimed_size, scan,
    scan_trusted,
};
