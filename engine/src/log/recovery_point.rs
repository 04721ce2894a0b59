//! The recovery point: one small file that says up to where the log is known to be good, and what was known there.
//!
//! It holds the offset, the segments (with sizes, so that a lost or cut one is noticed without reading it), the index of
//! the active segment, the producers and the aborted transactions: everything that a start would otherwise have to scan
//! the whole log for. One file, so that one rename moves it all at once.
//!
//! Recovery scans from here. Below, damage is refused; above, the first bad batch is where an unlucky stop cut the log.

use std::sync::Arc;

use super::codec::{Decoder, Encoder, Malformed};
use super::producers::{AbortedIndex, ProducerTable};
use super::segment::{Segment, SparseIndex};
use crate::types::{Offset, Timestamp};

pub(super) const RECOVERY_POINT: &str = "recovery-point";
pub(super) const LOG_START: &str = "log-start";

const RECOVERY_POINT_MAGIC: &[u8; 4] = b"SGRP";
const LOG_START_MAGIC: &[u8; 4] = b"SGLS";
/// The newest form of `log-start`.
const LOG_START_VERSION: u16 = 2;

/// A segment that will not grow any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SealedSegment {
    pub base: Offset,
    pub next: Offset,
    pub size: u64,
    pub max_timestamp: Timestamp,
}

/// What was known at an offset below which everything is synced.
pub(super) struct RecoveryPoint {
    pub offset: Offset,
    pub sealed: Vec<SealedSegment>,
    /// As far as the offset.
    pub active: Segment,
    pub producers: ProducerTable,
    pub aborted: AbortedIndex,
}

impl RecoveryPoint {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new(RECOVERY_POINT_MAGIC);
        out.offset(self.offset);
        out.count(self.sealed.len());
        for segment in &self.sealed {
            out.offset(segment.base);
            out.offset(segment.next);
            out.u64(segment.size);
            out.timestamp(segment.max_timestamp);
        }
        out.offset(self.active.base);
        out.u64(self.active.size);
        out.timestamp(self.active.max_timestamp);
        match &self.active.index {
            Some(index) => index.encode(&mut out),
            None => unreachable!("the active segment's index is always in memory"),
        }
        self.producers.encode(&mut out);
        self.aborted.encode(&mut out);
        out.finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<RecoveryPoint, Malformed> {
        let mut from = Decoder::new(RECOVERY_POINT_MAGIC, bytes)?;
        let offset = from.offset()?;
        let sealed = from.list(|from| {
            Ok(SealedSegment {
                base: from.offset()?,
                next: from.offset()?,
                size: from.u64()?,
                max_timestamp: from.timestamp()?,
            })
        })?;
        let (base, size, max_timestamp) = (from.offset()?, from.u64()?, from.timestamp()?);
        let index = Some(Arc::new(SparseIndex::decode(&mut from)?));
        let active = Segment { base, next: offset, size, max_timestamp, index, file: None };
        let producers = ProducerTable::decode(&mut from)?;
        let aborted = AbortedIndex::decode(&mut from)?;
        from.end()?;
        Ok(RecoveryPoint { offset, sealed, active, producers, aborted })
    }
}

/// Where a log starts, and what it has lost with what came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LogStart {
    pub offset: Offset,
    /// The greatest timestamp of a record below; [`Timestamp::MIN`] when there was none, [`Timestamp::MAX`] when nobody
    /// knows.
    pub deleted_to: Timestamp,
}

impl LogStart {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut out = Encoder::versioned(LOG_START_MAGIC, LOG_START_VERSION);
        out.offset(self.offset);
        out.timestamp(self.deleted_to);
        out.finish()
    }

    /// Version 1, from before the timestamp was kept, ends with the offset.
    pub(super) fn decode(bytes: &[u8]) -> Result<LogStart, Malformed> {
        let (mut from, version) = Decoder::versioned(LOG_START_MAGIC, LOG_START_VERSION, bytes)?;
        let offset = from.offset()?;
        let deleted_to = if version == 1 { Timestamp::MAX } else { from.timestamp()? };
        from.end()?;
        Ok(LogStart { offset, deleted_to })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_start_of_the_first_version_is_read_and_knows_no_timestamp() {
        // `SGLS`, version 1, offset 30, its CRC32C: as it was written before there was a timestamp in it.
        let mut bytes = b"SGLS\0\x01\0\0\0\0\0\0\0\x1e".to_vec();
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_be_bytes());
        assert_eq!(LogStart::decode(&bytes).unwrap(), LogStart { offset: Offset(30), deleted_to: Timestamp::MAX });

        let now = LogStart { offset: Offset(30), deleted_to: Timestamp(-7) };
        assert_eq!(LogStart::decode(&now.encode()).unwrap(), now);
        let mut later = now.encode();
        later.truncate(later.len() - 4);
        later[5] = 3;
        later.extend_from_slice(&crc32c::crc32c(&later).to_be_bytes());
        assert_eq!(LogStart::decode(&later).unwrap_err().what, "version");
    }
}
