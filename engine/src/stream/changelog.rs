//! The bytes of a task's changelog, versions 2 and 3. Whoever checks a log from outside re-implements this page.
//!
//! A changelog has as many partitions as its stage has tasks; partition *p* is written by the stage's task *p* alone, in
//! its transactions, and never compacted. Records are read in offset order; the last one per key holds. All integers are
//! big endian. The record's timestamp is 0.
//!
//! ```text
//! key     tag u8 ‖ …                 value (null = deleted)
//! 0x00    commit                     version u16 = 2, or 3
//!                                    kind     u8    0 = changes, 1 = snapshot
//!                                    start    i64   in version 3 alone: the time that the task's version starts at
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
//! **Version 1** lacks the kind, and means 0. It is read, and no longer written. **Version 3** is written by a pipeline
//! version that starts at a time instead of offset 0 (`start.rs`): who starts it again must name the same time.
//!
//! **Snapshots**: a transaction whose commit record is of kind 1 holds every live key, changed or not (and may hold
//! deletions, of what changed since the commit before). Read alone it gives the whole state, so once it is committed, and
//! its writer has been told so, the writer deletes the changelog below the transaction's first record, with DeleteRecords.
//! A changelog that begins above 0 therefore begins with a snapshot; a reader that finds anything else there refuses it,
//! for half a state looks like a whole one.
//!
//! A task writes one when enough commits have passed since the last, and the changelog has grown since by twice what the
//! last one took ([`Tally::due`]). So snapshots are at most a third of what a changelog costs, and what a restore must read
//! is at most about three times the state of the last snapshot, or a few commits, however long the history.
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

/// The newest version of the commit record.
pub const COMMIT_VERSION: u16 = 3;
/// The version for a task whose pipeline version starts at offset 0.
const COMMIT_VERSION_FROM_ZERO: u16 = 2;
/// The oldest one that it reads.
const COMMIT_VERSION_MIN: u16 = 1;
/// A state whose snapshot is smaller is written as often as commits alone say.
const SMALL_BYTES: u64 = 64 << 10;
/// The key of a commit record.
pub const COMMIT_KEY: [u8; 1] = [TAG_COMMIT];

pub(super) const TAG_COMMIT: u8 = 0;
pub(super) const TAG_CELLS: u8 = 1;
pub(super) const TAG_ID: u8 = 2;

/// What one transaction did, in its own words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitRecord {
    /// The transaction holds the whole state.
    pub snapshot: bool,
    /// The time that the task's version starts at; `None`: at offset 0.
    pub start: Option<i64>,
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
        let version = if self.start.is_some() { COMMIT_VERSION } else { COMMIT_VERSION_FROM_ZERO };
        out.extend_from_slice(&version.to_be_bytes());
        out.push(u8::from(self.snapshot));
        if let Some(start) = self.start {
            out.extend_from_slice(&start.to_be_bytes());
        }
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
    /// When the bytes are not a commit record of a version that is known.
    pub fn decode(bytes: &[u8]) -> Result<CommitRecord, CodecError> {
        let mut cursor = Cursor(bytes);
        let version = cursor.u16()?;
        if !(COMMIT_VERSION_MIN..=COMMIT_VERSION).contains(&version) {
            let known = format!("{COMMIT_VERSION_MIN} to {COMMIT_VERSION}");
            return Err(CodecError(format!("commit record of version {version}; this engine reads {known}")));
        }
        let snapshot = match if version == 1 { 0 } else { cursor.u8()? } {
            0 => false,
            1 => true,
            kind => return Err(CodecError(format!("commit record of kind {kind}"))),
        };
        let start = if version == COMMIT_VERSION { Some(cursor.i64()?) } else { None };
        let mut offsets = Vec::new();
        for _ in 0..cursor.u32()? {
            offsets.push(cursor.i64()?);
        }
        let mut watermarks = Vec::new();
        for _ in 0..cursor.u32()? {
            watermarks.push(cursor.i64()?);
        }
        let record = CommitRecord {
            snapshot,
            start,
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

/// What a changelog holds since its last snapshot, committed or about to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Commits after it.
    pub commits: u64,
    /// Keys and values of the changes after it.
    pub bytes: u64,
    /// Keys and values of the snapshot; 0 when there is none.
    pub snapshot_bytes: u64,
}

impl Tally {
    /// Counts a commit with so many bytes of changes.
    pub(super) fn add(&mut self, snapshot: bool, bytes: u64) {
        if snapshot {
            *self = Tally { commits: 0, bytes: 0, snapshot_bytes: bytes };
        } else {
            self.commits += 1;
            self.bytes += bytes;
        }
    }

    /// Whether the next commit is to be a snapshot: it would be the `every`th after the last one, and a reader would have
    /// to read twice as much after the last one as in it.
    pub fn due(&self, every: u32) -> bool {
        self.commits + 1 >= u64::from(every)
            && (self.snapshot_bytes <= SMALL_BYTES || self.bytes >= 2 * self.snapshot_bytes)
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

/// Reads the cells of a key, one after another.
pub(super) fn cells(value: &[u8]) -> Result<impl Iterator<Item = Result<CellBytes<'_>, CodecError>>, CodecError> {
    let mut cursor = Cursor(value);
    let count = cursor.u32()?;
    let read = move |index| {
        if index == count {
            return std::mem::replace(&mut cursor, Cursor(&[])).end().err().map(Err);
        }
        let mut cell = || Ok(CellBytes { first: cursor.i64()?, last: cursor.i64()?, content: cursor.prefixed()? });
        Some(cell())
    };
    Ok((0..=count).filter_map(read))
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
            snapshot: true,
            start: None,
            offsets: vec![7, 0, i64::MAX],
            watermarks: vec![i64::MIN, 3, i64::MAX],
            timers: 1,
            outputs: 2,
            changes: 3,
            state: 4,
        };
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        assert_eq!(CommitRecord::decode(&bytes), Ok(record.clone()));
        for length in 0..bytes.len() {
            assert!(CommitRecord::decode(&bytes[..length]).is_err(), "{length} bytes");
        }
        let mut first = bytes.clone();
        first[1] = 1;
        first.remove(2);
        assert_eq!(CommitRecord::decode(&first), Ok(CommitRecord { snapshot: false, ..record.clone() }));
        bytes[1] = 4;
        assert!(CommitRecord::decode(&bytes).unwrap_err().0.contains("version 4"));
        bytes[1] = 2;
        bytes[2] = 2;
        assert!(CommitRecord::decode(&bytes).unwrap_err().0.contains("kind 2"));
        let record = CommitRecord { start: Some(-5), ..record };
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        assert_eq!(bytes[..2], [0, 3]);
        assert_eq!(CommitRecord::decode(&bytes), Ok(record));
    }

    #[test]
    fn a_small_state_is_written_every_few_commits_and_a_large_one_when_its_changes_outgrow_it() {
        let mut tally = Tally::default();
        let mut snapshots = Vec::new();
        for commit in 0..12 {
            let due = tally.due(4);
            if due {
                snapshots.push(commit);
            }
            tally.add(due, 100);
        }
        assert_eq!(snapshots, [3, 7, 11]);

        let state = 10 * SMALL_BYTES;
        let (mut tally, mut read, mut written, mut whole) = (Tally::default(), 0, 0, 0);
        for _ in 0..1_000 {
            let due = tally.due(4);
            tally.add(due, if due { state } else { state / 7 });
            read = read.max(tally.snapshot_bytes + tally.bytes);
            written += if due { state } else { state / 7 };
            whole += if due { state } else { 0 };
        }
        assert!(read <= 3 * state + state / 7, "a restore reads up to {read} bytes of a state of {state}");
        assert!(whole * 3 <= written + state, "{whole} of {written} bytes are snapshots");
        assert!(Tally { commits: 0, bytes: 0, snapshot_bytes: 0 }.due(1), "each commit, if that is asked for");
    }
}
