//! The log's state, without its I/O.
//!
//! In: appends, what the writer has synced, what recovery has found, a moved start. Out: offsets, verdicts, where to read
//! and how far. Pure: the async shell around it does the reading and writing and holds it behind a mutex.
//!
//! Invariant: `start <= last stable offset <= high watermark <= end`.
//! Invariant: segments are in order and without gaps; the last one is active, and only its bookkeeping grows.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::producers::{AbortedIndex, ProducerTable, Verdict};
use super::recovery_point::{LogStart, RecoveryPoint, SealedSegment};
use super::segment::Segment;
use super::{AppendError, Appended, LogConfig, LogError, Retention};
use crate::record::{self, BatchHeader, ControlMarker};
use crate::types::{Isolation, Offset, Timestamp};

/// Where recent reads ended, so that the next one starts there without a walk.
const CURSORS_MAX: usize = 32;
/// Closed segments whose files stay open.
const OPEN_FILES_MAX: usize = 8;
/// One write takes no more than this, unless a single batch does.
const GROUP_BYTES_MAX: usize = 16 << 20;
/// There is one leader, ever.
const LEADER_EPOCH: i32 = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Open,
    /// No more appends; the writer finishes what is queued.
    Closing,
    Closed,
    /// A write or a sync failed.
    Poisoned,
}

/// A batch that has its offset.
pub(super) struct Pending {
    pub header: BatchHeader,
    pub marker: Option<ControlMarker>,
    pub bytes: Bytes,
}

/// What the writer does next.
pub(super) enum Work {
    /// Write these to the active segment, whose size is given, and sync.
    Write(Vec<Pending>, u64),
    /// Start the segment with this base first.
    Roll(Offset),
    Wait,
    /// Everything is written, and the log is closing.
    Finish,
}

/// Where a read starts.
#[derive(Clone, Debug)]
pub(super) struct ReadPlan {
    /// The segment's base.
    pub segment: Offset,
    /// The end of what is synced in it.
    pub size: u64,
    pub at: ReadFrom,
    /// No batch at or above this is visible.
    pub bound: Offset,
    pub high_watermark: Offset,
    pub last_stable: Offset,
    pub log_start: Offset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadFrom {
    /// There is nothing to read.
    Nothing,
    /// A batch with this base offset begins at this position.
    Position(Offset, u64),
    /// The segment's index must be loaded first.
    IndexMissing,
}

pub(super) struct State {
    config: LogConfig,
    pub status: Status,
    /// Somebody is in [`super::Log::run`].
    pub writer: bool,
    start: Offset,
    /// See [`LogStart::deleted_to`].
    deleted_to: Timestamp,
    end: Offset,
    high_watermark: Offset,
    last_stable: Offset,
    pub generation: u64,
    /// Of all batches that have an offset.
    accepted: ProducerTable,
    /// Of all that are synced.
    synced: ProducerTable,
    aborted: AbortedIndex,
    segments: Vec<Segment>,
    queue: VecDeque<Pending>,
    /// Durable: recovery starts here.
    recovery_point: Offset,
    /// The segment that the durable recovery point names as the active one: it and what follows must be there at a start.
    recovery_segment: Offset,
    bytes_since_recovery_point: u64,
    /// Of all batches since the log was opened.
    appended_bytes: u64,
    /// (offset, segment, position), the latest last.
    cursors: VecDeque<(Offset, Offset, u64)>,
    /// Closed segments with an open file, by base; the latest used last.
    open_files: VecDeque<Offset>,
}

impl State {
    /// The state of a log that holds nothing, and whose active segment is `segment`.
    pub(super) fn new(config: LogConfig, segment: Segment) -> State {
        let base = segment.base;
        State {
            config,
            status: Status::Open,
            writer: false,
            start: base,
            // A log that begins higher lost something before anybody took note of it.
            deleted_to: if base > Offset::ZERO { Timestamp::MAX } else { Timestamp::MIN },
            end: base,
            high_watermark: base,
            last_stable: base,
            generation: 0,
            accepted: ProducerTable::default(),
            synced: ProducerTable::default(),
            aborted: AbortedIndex::default(),
            segments: vec![segment],
            queue: VecDeque::new(),
            appended_bytes: 0,
            recovery_point: base,
            recovery_segment: base,
            bytes_since_recovery_point: 0,
            cursors: VecDeque::new(),
            open_files: VecDeque::new(),
        }
    }

    /// The state at a recovery point; what lies above it follows through [`State::recovered`].
    pub(super) fn at_recovery_point(config: LogConfig, point: RecoveryPoint) -> State {
        let mut state = State::new(config, point.active);
        let sealed = point.sealed.into_iter().map(|sealed| Segment {
            base: sealed.base,
            next: sealed.next,
            size: sealed.size,
            max_timestamp: sealed.max_timestamp,
            index: None,
            file: None,
        });
        state.segments = sealed.chain(state.segments).collect();
        state.start = state.segments[0].base;
        state.deleted_to = if state.start > Offset::ZERO { Timestamp::MAX } else { Timestamp::MIN };
        state.end = point.offset;
        state.high_watermark = point.offset;
        state.recovery_point = point.offset;
        state.accepted = point.producers.clone();
        state.synced = point.producers;
        state.aborted = point.aborted;
        state.move_last_stable();
        state
    }

    pub(super) fn start(&self) -> Offset {
        self.start
    }

    pub(super) fn deleted_to(&self) -> Timestamp {
        self.deleted_to
    }

    pub(super) fn end(&self) -> Offset {
        self.end
    }

    pub(super) fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    pub(super) fn last_stable(&self) -> Offset {
        self.last_stable
    }

    pub(super) fn appended_bytes(&self) -> u64 {
        self.appended_bytes
    }

    pub(super) fn recovery_point(&self) -> Offset {
        self.recovery_point
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    pub(super) fn active(&self) -> &Segment {
        self.segments.last().expect("there is always an active segment")
    }

    pub(super) fn open_transactions(&self) -> Vec<super::OpenTransaction> {
        self.accepted.open_transactions()
    }

    /// Poisoned logs answer nothing else.
    pub(super) fn check_readable(&self) -> Result<(), LogError> {
        match self.status {
            Status::Poisoned => Err(LogError::Poisoned),
            Status::Open | Status::Closing | Status::Closed => Ok(()),
        }
    }

    fn check_writable(&self) -> Result<(), AppendError> {
        match self.status {
            Status::Open => Ok(()),
            Status::Closing | Status::Closed => Err(AppendError::Closed),
            Status::Poisoned => Err(AppendError::Poisoned),
        }
    }

    // Appending.

    /// Judges validated data batches, gives them offsets and queues them.
    pub(super) fn append(&mut self, batches: Vec<(BatchHeader, Bytes)>) -> Result<Appended, AppendError> {
        self.check_writable()?;
        // Several batches at once come without a producer, so that none can be refused after another was taken.
        for (header, _) in &batches {
            if let Verdict::Duplicate(appended) = self.accepted.check(header)? {
                return Ok(appended);
            }
        }
        let base = self.end;
        for (header, bytes) in batches {
            self.enqueue(header, None, BytesMut::from(&bytes[..]));
        }
        Ok(Appended { base, next: self.end, duplicate: false })
    }

    /// Judges a marker and queues it, built only if it must be written.
    pub(super) fn append_marker(
        &mut self,
        marker: ControlMarker,
        producer_id: crate::types::ProducerId,
        epoch: crate::types::ProducerEpoch,
        build: impl FnOnce() -> Bytes,
    ) -> Result<Appended, AppendError> {
        self.check_writable()?;
        if let Verdict::Duplicate(appended) = self.accepted.check_marker(marker, producer_id, epoch)? {
            return Ok(appended);
        }
        let bytes = build();
        let record::Scan::Complete(batch) = record::scan_trusted(&bytes) else {
            unreachable!("a control batch of our own is whole");
        };
        let header = *batch.header();
        let base = self.end;
        self.enqueue(header, Some(marker), BytesMut::from(&bytes[..]));
        Ok(Appended { base, next: self.end, duplicate: false })
    }

    fn enqueue(&mut self, mut header: BatchHeader, marker: Option<ControlMarker>, mut bytes: BytesMut) {
        record::patch(&mut bytes, self.end, LEADER_EPOCH);
        header.base_offset = self.end;
        header.leader_epoch = LEADER_EPOCH;
        self.accepted.apply(&header, marker);
        self.end = header.next_offset();
        self.appended_bytes += bytes.len() as u64;
        self.queue.push_back(Pending { header, marker, bytes: bytes.freeze() });
    }

    // Writing.

    /// The next thing for the writer to do.
    pub(super) fn next_work(&mut self) -> Work {
        let Some(first) = self.queue.front() else {
            return if self.status == Status::Closing { Work::Finish } else { Work::Wait };
        };
        let size = self.active().size;
        if size > 0 && size + first.bytes.len() as u64 > self.config.segment_bytes {
            return Work::Roll(self.high_watermark);
        }
        let room = self.config.segment_bytes.saturating_sub(size);
        let mut taken = 0u64;
        let mut group = Vec::new();
        while let Some(pending) = self.queue.front() {
            let with = taken + pending.bytes.len() as u64;
            let most = mutant!("small-groups", GROUP_BYTES_MAX as u64, 512);
            if !group.is_empty() && (with > room || with > most) {
                break;
            }
            taken = with;
            group.extend(self.queue.pop_front());
        }
        Work::Write(group, size)
    }

    /// The group is synced: readers may see it.
    pub(super) fn wrote(&mut self, group: &[Pending]) {
        for pending in group {
            self.take_in(&pending.header, pending.marker);
        }
        self.move_last_stable();
        self.generation += 1;
        self.check();
    }

    /// Recovery found this batch, whole and in its place.
    pub(super) fn recovered(&mut self, header: &BatchHeader, marker: Option<ControlMarker>) {
        self.take_in(header, marker);
        mutant!("producers-forgotten", self.accepted.apply(header, marker), None);
        self.end = self.high_watermark;
        self.move_last_stable();
    }

    fn take_in(&mut self, header: &BatchHeader, marker: Option<ControlMarker>) {
        let interval = self.config.index_interval_bytes;
        self.segments.last_mut().expect("there is always an active segment").push(header, interval);
        self.high_watermark = header.next_offset();
        self.bytes_since_recovery_point += header.size as u64;
        if let Some(ended) = self.synced.apply(header, marker)
            && ended.marker == ControlMarker::Abort
        {
            let stable = self.synced.first_open().unwrap_or(self.high_watermark);
            self.aborted.push(&ended, stable);
        }
    }

    /// The last stable offset: the high watermark, or the first offset of the oldest transaction without a synced marker.
    fn move_last_stable(&mut self) {
        self.last_stable = mutant!(
            "open-transactions-readable",
            self.synced.first_open().map_or(self.high_watermark, |first| first.min(self.high_watermark)),
            self.high_watermark,
        );
    }

    fn check(&self) {
        let (start, stable) = (self.start, self.last_stable);
        assert!(start <= stable, "the start {start} is above the last stable offset {stable}");
        assert!(stable <= self.high_watermark, "{stable} is stable, {} is the high watermark", self.high_watermark);
        assert!(self.high_watermark <= self.end, "{} is synced, {} is the end", self.high_watermark, self.end);
        assert_eq!(self.active().next, self.high_watermark, "the active segment ends at the high watermark");
    }

    /// The next segment exists.
    pub(super) fn rolled(&mut self, segment: Segment) {
        let active = self.active();
        assert_eq!(segment.base, active.next, "segment {} follows segment {}", segment.base, active.base);
        let base = active.base;
        self.segments.push(segment);
        self.used_file(base);
    }

    /// Whether the recovery point should move now.
    pub(super) fn recovery_point_due(&self) -> bool {
        self.bytes_since_recovery_point >= self.config.recovery_point_every_bytes
    }

    /// The recovery point at the high watermark, as it would be written now.
    pub(super) fn make_recovery_point(&self) -> RecoveryPoint {
        let (active, sealed) = self.segments.split_last().expect("there is always an active segment");
        let sealed = sealed.iter().map(|segment| SealedSegment {
            base: segment.base,
            next: segment.next,
            size: segment.size,
            max_timestamp: segment.max_timestamp,
        });
        RecoveryPoint {
            offset: self.high_watermark,
            sealed: sealed.collect(),
            active: Segment { file: None, ..active.clone() },
            producers: mutant!("unsynced-batches-known", self.synced.clone(), self.accepted.clone()),
            aborted: self.aborted.clone(),
        }
    }

    /// The recovery point is durable.
    pub(super) fn recovery_point_moved(&mut self, point: &RecoveryPoint) {
        let (before, now) = (self.recovery_point, point.offset);
        assert!(now >= before, "the recovery point moved back from {before} to {now}");
        self.recovery_point = now;
        self.recovery_segment = point.active.base;
        self.bytes_since_recovery_point = 0;
    }

    // Reading.

    /// Where to read from, and how far; `Err` when `from` is outside of the log.
    pub(super) fn plan_read(&mut self, from: Offset, isolation: Isolation) -> Result<ReadPlan, (Offset, Offset)> {
        if from < self.start || from > self.end {
            return Err((self.start, self.high_watermark));
        }
        let bound = match isolation {
            Isolation::ReadUncommitted => self.high_watermark,
            Isolation::ReadCommitted => self.last_stable,
        };
        let segment = &self.segments[self.segment_of(from)];
        let (base, size) = (segment.base, segment.size);
        let at = if from >= bound {
            ReadFrom::Nothing
        } else if from == base {
            ReadFrom::Position(base, 0)
        } else if let Some(at) = self.cursors.iter().rposition(|cursor| (cursor.0, cursor.1) == (from, base)) {
            let (_, _, position) = self.cursors.remove(at).expect("it was just found");
            ReadFrom::Position(from, position)
        } else {
            match &segment.index {
                None => ReadFrom::IndexMissing,
                Some(index) => {
                    let entry = index.at_offset(from).expect("an index begins with its segment");
                    ReadFrom::Position(entry.offset, entry.position)
                }
            }
        };
        Ok(ReadPlan {
            segment: base,
            size,
            at,
            bound,
            high_watermark: self.high_watermark,
            last_stable: self.last_stable,
            log_start: self.start,
        })
    }

    /// The index of the segment that holds `offset`, or would.
    fn segment_of(&self, offset: Offset) -> usize {
        self.segments.partition_point(|segment| segment.base <= offset).max(1) - 1
    }

    /// Remembers where a read ended: the batch at `offset` begins at `position` of `segment`.
    pub(super) fn remember(&mut self, offset: Offset, segment: Offset, position: u64) {
        if self.cursors.len() == CURSORS_MAX {
            self.cursors.pop_front();
        }
        self.cursors.push_back((offset, segment, position));
    }

    pub(super) fn aborted_within(&self, from: Offset, to: Offset) -> Vec<crate::types::Aborted> {
        self.aborted.within(from, to)
    }

    pub(super) fn segment(&self, base: Offset) -> Option<&Segment> {
        let at = self.segments.binary_search_by_key(&base, |segment| segment.base).ok()?;
        self.segments.get(at)
    }

    fn segment_mut(&mut self, base: Offset) -> Option<&mut Segment> {
        let at = self.segments.binary_search_by_key(&base, |segment| segment.base).ok()?;
        self.segments.get_mut(at)
    }

    pub(super) fn index_loaded(&mut self, base: Offset, index: super::segment::SparseIndex) {
        if let Some(segment) = self.segment_mut(base) {
            segment.index.get_or_insert_with(|| Arc::new(index));
        }
    }

    /// The segment's file is open; others are let go when there are too many.
    pub(super) fn file_opened(&mut self, base: Offset, file: Arc<dyn crate::env::File>) {
        if let Some(segment) = self.segment_mut(base) {
            segment.file = Some(file);
            self.used_file(base);
        }
    }

    fn used_file(&mut self, base: Offset) {
        self.open_files.retain(|&open| open != base);
        self.open_files.push_back(base);
        while self.open_files.len() > OPEN_FILES_MAX {
            let oldest = self.open_files.pop_front().expect("there are too many");
            let active = self.active().base;
            if let Some(segment) = self.segment_mut(oldest)
                && oldest != active
            {
                segment.file = None;
            }
        }
    }

    /// The first segment from `from` on that holds a visible record at or after `at`, judged by its greatest timestamp.
    pub(super) fn segment_for_time(&self, from: Offset, at: Timestamp) -> Option<&Segment> {
        let visible = |segment: &&Segment| segment.base >= from && segment.next > self.start;
        self.segments.iter().filter(visible).find(|segment| segment.size > 0 && segment.max_timestamp >= at)
    }

    // Deleting.

    /// Where the start would go.
    pub(super) fn deletable(&self, offset: Offset) -> Offset {
        offset.min(self.last_stable).max(self.start)
    }

    /// See [`super::Log::retained_from`].
    pub(super) fn retained_from(&self, keep: Retention) -> Offset {
        let (_, closed) = self.segments.split_last().expect("a log has an active segment");
        let kept = match keep {
            Retention::From(at) => {
                closed.iter().position(|segment| segment.max_timestamp >= at).unwrap_or(closed.len())
            }
            Retention::Bytes(bytes) => {
                let mut held = 0;
                let enough = |segment: &Segment| {
                    held += segment.size;
                    held >= bytes
                };
                self.segments.iter().rposition(enough).unwrap_or(0)
            }
        };
        let first = mutant!("retention-one-too-many", kept, (kept + 1).min(closed.len()));
        let first = &self.segments[mutant!("retention-one-too-few", first, first.saturating_sub(1))];
        first.base.max(self.start)
    }

    /// The start has moved durably. Answers the segments that are gone with it; their files may be removed.
    pub(super) fn start_moved(&mut self, to: LogStart) -> Vec<Offset> {
        let start = to.offset;
        assert!(start >= self.start, "the start moved back from {} to {start}", self.start);
        self.start = start;
        self.deleted_to = to.deleted_to;
        self.aborted.delete_below(start);
        self.generation += 1;
        self.check();
        self.drop_segments_below(start)
    }

    /// Lets go of the segments wholly below `start`; but not of the one in which recovery begins, nor of later ones.
    pub(super) fn drop_segments_below(&mut self, start: Offset) -> Vec<Offset> {
        let unneeded = |segment: &&Segment| segment.next <= start && segment.base < self.recovery_segment;
        let gone = self.segments.iter().take_while(unneeded).count();
        self.segments.drain(..gone).map(|segment| segment.base).collect()
    }

    /// The start as recovery found it, after all that is in the log.
    pub(super) fn start_recovered(&mut self, found: LogStart) {
        self.start = found.offset;
        self.deleted_to = found.deleted_to;
        self.aborted.delete_below(found.offset);
        self.check();
    }
}
