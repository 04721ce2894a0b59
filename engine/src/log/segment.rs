//! A segment and its sparse index, in memory.
//!
//! A segment is a file of batches without gaps, named by its first offset. The index holds every so many bytes where a
//! batch begins and the greatest timestamp before it, so that an offset or a time is found by walking few batches.
//!
//! Where indexes come from: the active segment's is kept in memory and, up to the recovery point, in the recovery-point
//! file; a closed segment's is written beside it once, as `<base offset>.index`. That file is a cache: never synced,
//! checksummed, read when it is first needed, and built anew from the segment when it is missing or wrong. So a start
//! reads no segment below the recovery point, and no index can lead a reader astray.

use std::sync::Arc;

use super::codec::{Decoder, Encoder, Malformed};
use crate::env::File;
use crate::record::BatchHeader;
use crate::types::{Offset, Timestamp};

const INDEX_MAGIC: &[u8; 4] = b"SGIX";

/// The name of the segment that begins at `base`.
pub(super) fn segment_name(base: Offset) -> String {
    format!("{:020}.log", base.0)
}

/// The name of that segment's index.
pub(super) fn index_name(base: Offset) -> String {
    format!("{:020}.index", base.0)
}

/// The base offset of a segment's name; `None` for other files.
pub(super) fn segment_base(name: &str) -> Option<Offset> {
    let digits = name.strip_suffix(".log")?;
    if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(Offset)
}

/// Where a batch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IndexEntry {
    pub offset: Offset,
    pub position: u64,
    /// The greatest timestamp in the segment before this batch.
    pub max_timestamp_before: Timestamp,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SparseIndex {
    entries: Vec<IndexEntry>,
}

impl SparseIndex {
    /// Takes note of a batch at `position`, if the last entry is far enough away.
    fn observe(&mut self, entry: IndexEntry, interval: u32) {
        let due = match self.entries.last() {
            None => true,
            Some(last) => entry.position - last.position >= u64::from(interval),
        };
        if due {
            self.entries.push(entry);
        }
    }

    /// The last entry at or below `offset`.
    pub(super) fn at_offset(&self, offset: Offset) -> Option<IndexEntry> {
        let above = self.entries.partition_point(|entry| entry.offset <= offset);
        self.entries[..above].last().copied()
    }

    /// The last entry before which every timestamp is below `at`.
    pub(super) fn at_time(&self, at: Timestamp) -> Option<IndexEntry> {
        let above = self.entries.partition_point(|entry| entry.max_timestamp_before < at);
        self.entries[..above.max(1).min(self.entries.len())].last().copied()
    }

    pub(super) fn last(&self) -> Option<IndexEntry> {
        self.entries.last().copied()
    }

    pub(super) fn encode(&self, out: &mut Encoder) {
        out.count(self.entries.len());
        for entry in &self.entries {
            out.offset(entry.offset);
            out.u64(entry.position);
            out.timestamp(entry.max_timestamp_before);
        }
    }

    pub(super) fn decode(from: &mut Decoder<'_>) -> Result<SparseIndex, Malformed> {
        let entries = from.list(|from| {
            Ok(IndexEntry { offset: from.offset()?, position: from.u64()?, max_timestamp_before: from.timestamp()? })
        })?;
        Ok(SparseIndex { entries })
    }
}

/// A segment's bookkeeping. Counts synced batches only.
#[derive(Clone)]
pub(super) struct Segment {
    pub base: Offset,
    /// The offset after the last record.
    pub next: Offset,
    pub size: u64,
    /// Of data records; [`Timestamp::MIN`] without any.
    pub max_timestamp: Timestamp,
    /// `None`: not loaded yet.
    pub index: Option<Arc<SparseIndex>>,
    /// `None`: not open.
    pub file: Option<Arc<dyn File>>,
}

impl Segment {
    pub(super) fn new(base: Offset, file: Option<Arc<dyn File>>) -> Segment {
        Segment { base, next: base, size: 0, max_timestamp: Timestamp::MIN, index: Some(Arc::default()), file }
    }

    /// Takes in a batch that lies at the end.
    pub(super) fn push(&mut self, batch: &BatchHeader, interval: u32) {
        assert_eq!(
            batch.base_offset, self.next,
            "a batch at offset {} follows offset {}",
            batch.base_offset, self.next
        );
        if let Some(index) = &mut self.index {
            let entry =
                IndexEntry { offset: batch.base_offset, position: self.size, max_timestamp_before: self.max_timestamp };
            // Copies only while a reader holds the index at this very moment.
            Arc::make_mut(index).observe(entry, interval);
        }
        if !batch.control {
            self.max_timestamp = self.max_timestamp.max(batch.max_timestamp);
        }
        self.size += batch.size as u64;
        self.next = batch.next_offset();
    }

    /// The content of the `.index` file of this segment, which is complete.
    pub(super) fn encode_index(&self) -> Option<Vec<u8>> {
        let index = self.index.as_ref()?;
        let mut out = Encoder::new(INDEX_MAGIC);
        out.offset(self.base);
        out.offset(self.next);
        out.u64(self.size);
        index.encode(&mut out);
        Some(out.finish())
    }

    /// Reads a `.index` file back; an error unless it is whole and speaks of this segment.
    pub(super) fn decode_index(&self, bytes: &[u8]) -> Result<SparseIndex, Malformed> {
        let mut from = Decoder::new(INDEX_MAGIC, bytes)?;
        let (base, next, size) = (from.offset()?, from.offset()?, from.u64()?);
        if (base, next, size) != (self.base, self.next, self.size) {
            return Err(Malformed::new(
                "segment",
                format!("{}..{} in {} bytes", self.base, self.next, self.size),
                format!("{base}..{next} in {size} bytes"),
            ));
        }
        let index = SparseIndex::decode(&mut from)?;
        from.end()?;
        Ok(index)
    }
}
