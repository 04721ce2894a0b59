//! Reading: whole batches from an offset on, and the offset of a point in time.
//!
//! One read of the file per fetch as a rule: it starts where an earlier one ended, or at an index entry, and what it
//! brings is handed out as it is, without a copy. Batches are walked by their headers, with their checksums and the
//! continuity of their offsets; records are not looked at.
//!
//! Invariant: nothing at or above the bound (high watermark or last stable offset) is handed out.
//! A reader may be dropped at any moment: it changes nothing but caches.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::codec::Malformed;
use super::files::{corrupt, cut_short, damaged, io_error, out_of_order, read_whole, scan_file};
use super::segment::{Segment, SparseIndex, index_name, segment_name};
use super::state::{ReadFrom, ReadPlan};
use super::{Fetched, Inner, LogError, ReadError};
use crate::env::{File, OpenMode};
use crate::record::{self, BatchRef, Scan};
use crate::types::{Isolation, Offset, Timestamp};

/// A read is never smaller than this: the headers and a small batch or two.
const READ_BYTES_MIN: usize = 4 << 10;

/// The part of some bytes that a reader gets.
#[derive(Debug, PartialEq, Eq)]
struct Walked {
    /// Where the first batch for the reader begins; `None` when there was none.
    first: Option<usize>,
    /// Where the walk ended.
    end: usize,
    /// The offset that begins there.
    next: Offset,
    /// It ended because the bytes did.
    short: bool,
}

/// Walks the batches of `bytes`, the first of which must begin at `next`: skips those wholly below `from`, takes about
/// `max_bytes` of those below `bound`.
fn walk(
    bytes: &[u8],
    mut next: Offset,
    from: Offset,
    bound: Offset,
    max_bytes: usize,
    verify: bool,
) -> Result<Walked, (usize, Offset, Malformed)> {
    let mut at = 0;
    let mut first = None;
    while next < bound {
        let rest = &bytes[at..];
        let scan = if verify { record::scan(rest) } else { record::scan_trusted(rest) };
        match scan {
            Scan::Complete(batch) => {
                let header = batch.header();
                if header.base_offset != next {
                    return Err((at, next, out_of_order(next, header.base_offset)));
                }
                if header.next_offset() > from {
                    let begin = *first.get_or_insert(at);
                    if begin != at && at + header.size - begin > max_bytes {
                        return Ok(Walked { first, end: at, next, short: false });
                    }
                }
                at += header.size;
                next = header.next_offset();
            }
            Scan::Corrupt(reason) => return Err((at, next, corrupt(reason))),
            Scan::PartialTail | Scan::End => return Ok(Walked { first, end: at, next, short: true }),
        }
    }
    Ok(Walked { first, end: at, next, short: false })
}

impl Inner {
    /// See [`super::Log::read`].
    pub(super) async fn read(
        &self,
        from: Offset,
        max_bytes: usize,
        isolation: Isolation,
    ) -> Result<Fetched, ReadError> {
        loop {
            let plan = self.plan(from, isolation)?;
            let read = match plan.at {
                ReadFrom::Nothing => Ok(Some((Bytes::new(), from))),
                ReadFrom::IndexMissing => self.load_index(plan.segment).await.map(|()| None),
                ReadFrom::Position(offset, position) => {
                    self.read_segment(&plan, offset, position, from, max_bytes).await.map(Some)
                }
            };
            let (bytes, next) = match read {
                Ok(Some(read)) => read,
                Ok(None) => continue,
                Err(error) => {
                    // The segment may have been deleted under the reader: then that is the answer.
                    self.plan(from, isolation)?;
                    return Err(error.into());
                }
            };
            let aborted = match isolation {
                Isolation::ReadCommitted if !bytes.is_empty() => self.state().aborted_within(from, next),
                _ => Vec::new(),
            };
            let ReadPlan { high_watermark, last_stable, log_start, .. } = plan;
            return Ok(Fetched { bytes, next, high_watermark, last_stable, log_start, aborted });
        }
    }

    fn plan(&self, from: Offset, isolation: Isolation) -> Result<ReadPlan, ReadError> {
        let mut state = self.state();
        state.check_readable()?;
        state.plan_read(from, isolation).map_err(|(start, end)| ReadError::OutOfRange { requested: from, start, end })
    }

    /// Reads on from the batch with base `offset` at `position`.
    async fn read_segment(
        &self,
        plan: &ReadPlan,
        mut offset: Offset,
        mut position: u64,
        from: Offset,
        max_bytes: usize,
    ) -> Result<(Bytes, Offset), LogError> {
        let (path, file) = self.segment_file(plan.segment).await?;
        let mut want = max_bytes.max(READ_BYTES_MIN);
        if offset != from {
            want += self.config.index_interval_bytes as usize;
        }
        loop {
            let len = want.min((plan.size - position) as usize);
            let bytes = file.read_at(position, len).await.map_err(io_error("reading", &path))?;
            let walked = walk(&bytes, offset, from, plan.bound, max_bytes, self.config.verify_reads)
                .map_err(|(at, offset, why)| damaged(&path, position + at as u64, offset, why))?;
            if let Some(first) = walked.first {
                self.state().remember(walked.next, plan.segment, position + walked.end as u64);
                return Ok((bytes.slice(first..walked.end), walked.next));
            }
            let front = &bytes[walked.end..];
            if bytes.len() < len || !walked.short || len as u64 == plan.size - position {
                // All of it was synced, and it is not there.
                return Err(damaged(&path, position + walked.end as u64, walked.next, cut_short(front)));
            }
            (offset, position) = (walked.next, position + walked.end as u64);
            want = want.max(record::claimed_size(front).unwrap_or(0));
        }
    }

    pub(super) async fn segment_file(&self, base: Offset) -> Result<(PathBuf, Arc<dyn File>), LogError> {
        let path = self.dir.join(segment_name(base));
        let open = self.state().segment(base).and_then(|segment| segment.file.clone());
        if let Some(file) = open {
            return Ok((path, file));
        }
        let file = self.env.disk().open(&path, OpenMode::Read).await.map_err(io_error("opening", &path))?;
        self.state().file_opened(base, file.clone());
        Ok((path, file))
    }

    /// Loads the index of a closed segment from its file, or builds it from the segment.
    pub(super) async fn load_index(&self, base: Offset) -> Result<(), LogError> {
        let Some(mut segment) = self.state().segment(base).cloned() else { return Ok(()) };
        let cached = read_whole(&self.env, &self.dir.join(index_name(base))).await?;
        let index = match cached.map(|bytes| segment.decode_index(&bytes)) {
            Some(Ok(index)) => index,
            Some(Err(_)) | None => {
                let (path, file) = self.segment_file(base).await?;
                let (end, size) = (segment.next, segment.size);
                segment = Segment::new(base, None);
                let interval = self.config.index_interval_bytes;
                let visit = &mut |batch: &BatchRef<'_>, _| {
                    segment.push(batch.header(), interval);
                    ControlFlow::Continue(())
                };
                let scanned = scan_file(&*file, &path, 0, base, size, visit).await?;
                if let Some(why) = scanned.bad {
                    return Err(damaged(&path, scanned.position, scanned.next, why));
                }
                if scanned.next != end {
                    let why = Malformed::new("end offset", end, scanned.next);
                    return Err(damaged(&path, scanned.position, scanned.next, why));
                }
                segment.index.take().map(|index| SparseIndex::clone(&index)).unwrap_or_default()
            }
        };
        self.state().index_loaded(base, index);
        Ok(())
    }

    /// See [`super::Log::offset_for_time`].
    pub(super) async fn offset_for_time(&self, at: Timestamp) -> Result<Option<(Offset, Timestamp)>, ReadError> {
        let mut from = Offset::ZERO;
        loop {
            let (start, segment) = {
                let state = self.state();
                state.check_readable()?;
                (state.start(), state.segment_for_time(from, at).cloned())
            };
            let Some(segment) = segment else { return Ok(None) };
            let Some(index) = &segment.index else {
                self.load_index(segment.base).await?;
                continue;
            };
            if let Some(entry) = index.at_time(at) {
                let (path, file) = self.segment_file(segment.base).await?;
                let mut found = None;
                let mut scratch = Vec::new();
                let visit = &mut |batch: &BatchRef<'_>, _| {
                    found = first_at_or_after(batch, at, start, &mut scratch);
                    if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                };
                let scanned = scan_file(&*file, &path, entry.position, entry.offset, segment.size, visit).await?;
                if let Some(why) = scanned.bad {
                    return Err(damaged(&path, scanned.position, scanned.next, why).into());
                }
                if found.is_some() {
                    return Ok(found);
                }
            }
            // The record that promised it lies below the start.
            from = segment.next;
        }
    }
}

/// The first data record of the batch at or after `at`, and not below `start`.
fn first_at_or_after(
    batch: &BatchRef<'_>,
    at: Timestamp,
    start: Offset,
    scratch: &mut Vec<u8>,
) -> Option<(Offset, Timestamp)> {
    let header = batch.header();
    if header.control || header.max_timestamp < at || header.next_offset() <= start {
        return None;
    }
    match batch.records(scratch) {
        Ok(mut records) => records.by_ref().map_while(Result::ok).find_map(|record| {
            (record.timestamp >= at && record.offset >= start).then_some((record.offset, record.timestamp))
        }),
        // Packed in a way we do not read: the batch's first record is early enough.
        Err(_) => Some((header.base_offset.max(start), header.max_timestamp)),
    }
}
