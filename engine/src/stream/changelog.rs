//! The bytes of a task's changelog, version 1. Whoever checks a log from outside re-implements this page.
//!
//! A changelog has as many partitions as its stage has tasks; partition *p* is written by the stage's task *p* alone, in
//! its transactions, and never compacted. Records are read in offset order; the last one per key holds. All integers are
//! big endian. The record's timestamp is 0.
//!
//! ```text
//! key     tag u8 ‖ …                 value (null = deleted)
//! 0x00    commit                     version u16 = 1
//!                                    inputs   u32 ‖ per input: next offset to read, i64
//!                                    channels u32 ‖ per channel: watermark, i64; i64::MIN = unknown
//!                                    timers   u64   digest, see below
//!                                    outputs  u64   records of this transaction, except those in the changelog
//!                                    changes  u64   records of this transaction in the changelog, except this one
//!                                    state    u64   digest, see below
//! 0x01    ‖ key bytes                cells of one key, by first: u32 ‖ per cell:
//!                                    first i64 ‖ last i64 ‖ length u32 ‖ content
//! 0x02    ‖ id u128                  a kept record's event time, i64
//! ```
//!
//! Every transaction that carries offsets has exactly one commit record, the last of its changelog records; before it come
//! the changed keys, tag 0x01 in key order, then 0x02 in id order.
//!
//! **Offsets** are those that the same transaction sends to the group. **Channels**: a task that reads the source has one,
//! its partition's watermark; a task behind a repartition topic has one per upstream partition.
//!
//! **Content** of a cell, by stage:
//!
//! ```text
//! fed by records                     the aggregate's state
//! fed by panes, exact inverse        contributors u64 ‖ the aggregate's state
//! fed by panes, none                 panes u32 ‖ per pane, in this order: window start i64 ‖ window end i64 ‖
//!                                    upstream key (u32 length) ‖ upstream state (u32 length)
//! ```
//!
//! **State digest**: the wrapping u64 sum, over every live key of tag 0x01 and 0x02, of
//! `xxh3_64(record key, seed = xxh3_64(value))`.
//!
//! **Timers digest**: the wrapping u64 sum, over every cell of every key, of `xxh3_64(key bytes without the tag,
//! seed = due as u64)`, where *due* is the cell's end if the end is above the minimum over the channels, else the minimum
//! at which it is purged (both from `first`/`last` by the rules in `window.rs`). It can be computed from the state and the
//! watermarks; a task holds it beside its timers, so that a lost timer shows.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::aggregate::CodecError;
use super::frame::{Cursor, put_prefixed};

/// The version of the commit record that this engine writes, and the only one that it reads.
pub const COMMIT_VERSION: u16 = 1;
/// The key of a commit record.
pub const COMMIT_KEY: [u8; 1] = [TAG_COMMIT];

pub(super) const TAG_COMMIT: u8 = 0;
pub(super) const TAG_CELLS: u8 = 1;
pub(super) const TAG_ID: u8 = 2;

/// What one transaction did, in its own words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitRecord {
    /// The next offset of each input.
    pub offsets: Vec<i64>,
    /// The watermark of each channel.
    pub watermarks: Vec<i64>,
    pub timers: u64,
    pub outputs: u64,
    pub changes: u64,
    pub state: u64,
}

impl CommitRecord {
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&COMMIT_VERSION.to_be_bytes());
        out.extend_from_slice(&(self.offsets.len() as u32).to_be_bytes());
        for offset in &self.offsets {
            out.extend_from_slice(&offset.to_be_bytes());
        }
        out.extend_from_slice(&(self.watermarks.len() as u32).to_be_bytes());
        for watermark in &self.watermarks {
            out.extend_from_slice(&watermark.to_be_bytes());
        }
        for number in [self.timers, self.outputs, self.changes, self.state] {
            out.extend_from_slice(&number.to_be_bytes());
        }
    }

    /// # Errors
    /// When the bytes are not a commit record of this version.
    pub fn decode(bytes: &[u8]) -> Result<CommitRecord, CodecError> {
        let mut cursor = Cursor(bytes);
        let version = cursor.u16()?;
        if version != COMMIT_VERSION {
            return Err(CodecError(format!("commit record of version {version}; this engine reads {COMMIT_VERSION}")));
        }
        let mut offsets = Vec::new();
        for _ in 0..cursor.u32()? {
            offsets.push(cursor.i64()?);
        }
        let mut watermarks = Vec::new();
        for _ in 0..cursor.u32()? {
            watermarks.push(cursor.i64()?);
        }
        let record = CommitRecord {
            offsets,
            watermarks,
            timers: cursor.u64()?,
            outputs: cursor.u64()?,
            changes: cursor.u64()?,
            state: cursor.u64()?,
        };
        cursor.end()?;
        Ok(record)
    }
}

/// One cell of a key, as it lies in a value of tag 0x01.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CellBytes<'a> {
    pub first: i64,
    pub last: i64,
    pub content: &'a [u8],
}

/// Appends a cell.
pub(super) fn put_cell(first: i64, last: i64, out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&first.to_be_bytes());
    out.extend_from_slice(&last.to_be_bytes());
    put_prefixed(out, content);
}

/// Reads the cells of a key.
pub(super) fn cells(value: &[u8]) -> Result<Vec<CellBytes<'_>>, CodecError> {
    let mut cursor = Cursor(value);
    let mut cells = Vec::new();
    for _ in 0..cursor.u32()? {
        cells.push(CellBytes { first: cursor.i64()?, last: cursor.i64()?, content: cursor.prefixed()? });
    }
    cursor.end()?;
    Ok(cells)
}

/// A live key's share of the state digest.
pub(super) fn state_share(record_key: &[u8], value: &[u8]) -> u64 {
    xxh3_64_with_seed(record_key, xxh3_64(value))
}

/// A cell's share of the timers digest.
pub(super) fn timer_share(key: &[u8], due: i64) -> u64 {
    xxh3_64_with_seed(key, due.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_record_survives_its_bytes_and_another_version_is_refused() {
        let record = CommitRecord {
            offsets: vec![7, 0, i64::MAX],
            watermarks: vec![i64::MIN, 3, i64::MAX],
            timers: 1,
            outputs: 2,
            changes: 3,
            state: 4,
        };
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        assert_eq!(CommitRecord::decode(&bytes), Ok(record));
        for length in 0..bytes.len() {
            assert!(CommitRecord::decode(&bytes[..length]).is_err(), "{length} bytes");
        }
        bytes[1] = 2;
        assert!(CommitRecord::decode(&bytes).unwrap_err().0.contains("version 2"));
    }
}
