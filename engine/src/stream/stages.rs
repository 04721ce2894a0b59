//! The four kinds of task, each a few lines over the same parts.
//!
//! | reads | does | kind |
//! |---|---|---|
//! | the source | judges, windows | [`Direct`] |
//! | the source | judges, sends to the owner of the key | [`Router`](super::routed::Router) |
//! | framed records | windows | [`Framed`](super::routed::Framed) |
//! | panes | windows | [`PaneFed`](super::routed::PaneFed) |
//!
//! [`Task`] is what they share: offsets, restore, the order of a commit.

use crate::record::Record;
use crate::schema::{Schema, SchemaId};
use crate::types::{Offset, Partition, Timestamp, TopicPartition};

use super::aggregate::{Aggregate, CodecError, RecordTime, Tie};
use super::cells::{Cells, NOWHERE};
use super::changelog::Tally;
use super::content::{Item, Sums};
use super::frame::{REASON_HEADER, late_key, rejected_key};
use super::intake::{Decode, DecodeError, Intake, Judged, Schemas};
use super::key::Sought;
use super::ledger::{Entry, Ledger};
use super::outbox::{Outbox, Port};
use super::sink::Sink;
use super::task::{TaskCore, TaskFault, TaskStats};
use super::window::Span;

/// What differs between the kinds of task.
pub(super) trait Work: Send {
    fn restore(&mut self, entry: Entry<'_>) -> Result<(), CodecError>;
    /// The state is complete; these are the watermarks of its commit.
    fn restored(&mut self, watermarks: &[i64]);
    /// Takes records of an input that the ledger has taken.
    fn process(
        &mut self,
        records: &[Record<'_>],
        ledger: &mut Ledger,
        stats: &mut TaskStats,
        out: &mut Outbox,
    ) -> Result<(), TaskFault>;
    /// As [`TaskCore::unknown_schemas`]; values of a repartition topic name none.
    fn unknown_schemas(&self, _records: &[Record<'_>], _ids: &mut Vec<SchemaId>) {}
    fn learn(&mut self, _writer: &Schema) {}
    fn fire(&mut self, out: &mut Outbox);
    /// Writes the markers that are due, and returns the records written to sinks since the last commit.
    fn promise(&mut self, out: &mut Outbox) -> u64;
    /// Writes the changed state; with `snapshot` the whole state.
    fn changes(&mut self, snapshot: bool, ledger: &mut Ledger, out: &mut Outbox);
    fn watermarks(&self) -> &[i64];
    /// Timers, state.
    fn digests(&self) -> (u64, u64);
    fn gauge(&self, stats: &mut TaskStats);
}

/// A task of any kind.
pub(super) struct Task<W> {
    pub ledger: Ledger,
    pub stats: TaskStats,
    pub work: W,
}

impl<W: Work> TaskCore for Task<W> {
    fn inputs(&self) -> &[TopicPartition] {
        &self.ledger.inputs
    }

    fn changelog(&self) -> Option<&TopicPartition> {
        Some(&self.ledger.changelog.partition)
    }

    fn restore_from(&mut self, start: Offset) {
        self.ledger.restore_from(start);
    }

    fn restore(&mut self, record: &Record<'_>) -> Result<(), TaskFault> {
        match self.ledger.read(record)? {
            None => Ok(()),
            Some(entry) => self.work.restore(entry).map_err(|error| self.ledger.bad_changelog(record.offset, error)),
        }
    }

    fn restored(&mut self, committed: &[Option<Offset>]) -> Result<Vec<Offset>, TaskFault> {
        if let Some(commit) = self.ledger.restored(committed, self.work.watermarks().len())? {
            self.work.restored(&commit.watermarks);
            let (timers, state) = self.work.digests();
            self.ledger.check_digest("state", commit.state, state)?;
            self.ledger.check_digest("timers", commit.timers, timers)?;
        }
        Ok(self.ledger.offsets())
    }

    fn process(&mut self, input: usize, records: &[Record<'_>], out: &mut Outbox) -> Result<(), TaskFault> {
        for record in records {
            self.ledger.take(input, record.offset)?;
        }
        self.stats.records += records.len() as u64;
        self.work.process(records, &mut self.ledger, &mut self.stats, out)
    }

    fn unknown_schemas(&self, _input: usize, records: &[Record<'_>], ids: &mut Vec<SchemaId>) {
        self.work.unknown_schemas(records, ids);
    }

    fn learn(&mut self, writer: &Schema) {
        self.work.learn(writer);
    }

    fn advance_to(&mut self, input: usize, next: Offset) {
        self.ledger.advance_to(input, next);
    }

    fn fire(&mut self, out: &mut Outbox) {
        self.work.fire(out);
    }

    fn pending(&self) -> bool {
        self.ledger.pending()
    }

    fn prepare_commit(&mut self, out: &mut Outbox, snapshot: bool) -> Vec<Offset> {
        mutant!("markers-before-panes", self.work.fire(out), self.ledger.outputs += self.work.promise(out));
        // After the panes and retractions that this minimum caused.
        self.ledger.outputs += mutant!("markers-before-panes", self.work.promise(out), {
            self.work.fire(out);
            self.work.promise(out)
        });
        self.work.changes(snapshot, &mut self.ledger, out);
        self.ledger.commit(snapshot, self.work.watermarks(), self.work.digests(), out)
    }

    fn tally(&self) -> Tally {
        self.ledger.tally()
    }

    fn finished(&self) -> bool {
        self.work.watermarks().iter().all(|watermark| *watermark == i64::MAX)
    }

    fn stats(&self) -> TaskStats {
        let mut stats = self.stats;
        stats.watermark = Timestamp(self.work.watermarks().iter().copied().min().unwrap_or(i64::MIN));
        self.work.gauge(&mut stats);
        stats
    }
}

/// Where records go that are in no window.
pub(super) struct Side {
    /// The partition of the source, for rejected records.
    pub partition: Partition,
    pub late: LatePort,
    pub rejected: Port,
}

impl Side {
    #[cold]
    pub fn reject(&self, record: &Record<'_>, error: &DecodeError, ledger: &mut Ledger, out: &mut Outbox) {
        let key = rejected_key(self.partition, record.offset);
        let headers: [(&[u8], Option<&[u8]>); 1] = [(REASON_HEADER.as_bytes(), Some(error.0.as_bytes()))];
        let headers: &[(&[u8], Option<&[u8]>)] = mutant!("reason-left-out", &headers, &[]);
        out.push(&self.rejected, record.timestamp, Some(&key), record.value, headers);
        ledger.outputs += 1;
    }
}

/// Where late records go.
pub(super) struct LatePort {
    pub port: Port,
    /// Entries of windows that start before are not written.
    pub speaks_from: Timestamp,
}

/// Writes a late record's entry, unless it is none of ours.
#[cold]
pub(super) fn push_late(
    late: &LatePort,
    (partition, offset): (Partition, Offset),
    start: i64,
    event_time: Timestamp,
    value: Option<&[u8]>,
    ledger: &mut Ledger,
    out: &mut Outbox,
) {
    if start < mutant!("late-before-start-written", late.speaks_from.0, i64::MIN) {
        return;
    }
    out.push(&late.port, event_time, Some(&late_key(partition, offset, start)), value, &[]);
    ledger.outputs += 1;
}

/// Reads the source and windows by the record's key: the task's minimum is its partition's watermark.
pub(super) struct Direct<D: Decode, A: Aggregate<In = D::Out>, K> {
    pub intake: Intake<D>,
    pub cells: Cells<A, Sums<A::State>, K>,
    pub side: Side,
    pub accepted: Accepted<D::Out>,
}

/// Events on their way into windows. Reused.
pub(super) struct Accepted<T>(Vec<Event<T>>);

/// An event that a window takes.
struct Event<T> {
    /// Of its record among those at hand.
    record: usize,
    event: T,
    span: Span,
    tie: (Partition, Offset),
    /// The minimum after its record was judged.
    minimum: i64,
    prefix: u64,
    hash: u64,
    /// See [`Cells::guess`].
    guess: u32,
}

impl<T> Default for Accepted<T> {
    fn default() -> Self {
        Accepted(Vec::new())
    }
}

impl<T: Send + 'static> Accepted<T> {
    #[inline]
    pub fn push(
        &mut self,
        (index, record): (usize, &Record<'_>),
        event: T,
        span: Span,
        tie: (Partition, Offset),
        minimum: i64,
    ) {
        let Sought { prefix, hash, .. } = Sought::new(record.key.unwrap_or_default());
        self.0.push(Event { record: index, event, span, tie, minimum, prefix, hash, guess: NOWHERE });
    }

    /// Adds all to the cells: first every slot is asked for, which the memory answers side by side, then each is joined.
    pub fn add_to<A: Aggregate<In = T>, K: Sink<A::State>>(
        &mut self,
        cells: &mut Cells<A, Sums<A::State>, K>,
        records: &[Record<'_>],
        out: &mut Outbox,
    ) {
        let sought = |event: &Event<T>| {
            let bytes = records[event.record].key.unwrap_or_default();
            Sought { bytes, prefix: event.prefix, hash: event.hash }
        };
        for event in &mut self.0 {
            event.guess = cells.guess(event.hash);
        }
        for event in &self.0 {
            cells.touch(event.guess);
        }
        for event in self.0.drain(..) {
            let tie = Tie::Source { partition: event.tie.0, offset: event.tie.1 };
            let time = RecordTime { at: records[event.record].timestamp, tie };
            let item = Item { record: &event.event, time };
            cells.add(&sought(&event), event.guess, event.span, item, event.minimum, out);
        }
    }
}

impl<D: Decode, A: Aggregate<In = D::Out>, K: Sink<A::State>> Work for Direct<D, A, K> {
    fn restore(&mut self, entry: Entry<'_>) -> Result<(), CodecError> {
        match entry {
            Entry::Cells { key, value } => self.cells.restore(key, value),
            Entry::Id { id, event_time } => restore_id(&mut self.intake, id, event_time),
        }
    }

    fn restored(&mut self, watermarks: &[i64]) {
        mutant!("watermark-not-restored", self.intake.watermark = watermarks[0], ());
        self.cells.restored(watermarks[0]);
        let promise = self.cells.spec().promise(Timestamp(watermarks[0]));
        self.cells.sink.restored(promise);
    }

    fn process(
        &mut self,
        records: &[Record<'_>],
        ledger: &mut Ledger,
        stats: &mut TaskStats,
        out: &mut Outbox,
    ) -> Result<(), TaskFault> {
        let spec = *self.cells.spec();
        for (index, record) in records.iter().enumerate() {
            match self.intake.judge(record) {
                Judged::Event { event, own } => {
                    let span = spec.span(record.timestamp.0);
                    let place = (self.side.partition, record.offset);
                    if spec.accepts(Timestamp(own), span) {
                        stats.accepted += 1;
                        self.accepted.push((index, record), event, span, place, self.intake.watermark);
                    } else {
                        stats.late += 1;
                        push_late(&self.side.late, place, span.first, record.timestamp, record.value, ledger, out);
                    }
                }
                other => count(&other, &self.side, record, ledger, stats, out),
            }
        }
        self.accepted.add_to(&mut self.cells, records, out);
        Ok(())
    }

    fn unknown_schemas(&self, records: &[Record<'_>], ids: &mut Vec<SchemaId>) {
        self.intake.unknown_schemas(records, ids);
    }

    fn learn(&mut self, writer: &Schema) {
        self.intake.schemas.learn(writer);
    }

    fn fire(&mut self, out: &mut Outbox) {
        self.cells.fire(self.intake.watermark, out);
    }

    fn promise(&mut self, out: &mut Outbox) -> u64 {
        let promise = self.cells.spec().promise(Timestamp(self.intake.watermark));
        self.cells.sink.promise(promise, out);
        self.cells.sink.take_written()
    }

    fn changes(&mut self, snapshot: bool, ledger: &mut Ledger, out: &mut Outbox) {
        self.cells.take_changes(snapshot, |key, value| ledger.change(key, value, out));
        id_changes(&mut self.intake, snapshot, ledger, out);
    }

    fn watermarks(&self) -> &[i64] {
        std::slice::from_ref(&self.intake.watermark)
    }

    fn digests(&self) -> (u64, u64) {
        let (timers, state) = self.cells.digests();
        (timers, state.wrapping_add(id_digest(&self.intake)))
    }

    fn gauge(&self, stats: &mut TaskStats) {
        self.cells.gauge(stats);
        self.intake.gauge(stats);
    }
}

/// Counts a record that is no event, and keeps it if it was rejected.
#[cold]
pub(super) fn count<T>(
    judged: &Judged<T>,
    side: &Side,
    record: &Record<'_>,
    ledger: &mut Ledger,
    stats: &mut TaskStats,
    out: &mut Outbox,
) {
    match judged {
        Judged::Marker => stats.markers += 1,
        Judged::Filtered => stats.filtered += 1,
        Judged::Duplicate => stats.duplicates += 1,
        Judged::Rejected(error) => {
            stats.rejected += 1;
            mutant!("reject-not-written", side.reject(record, error, ledger, out), ());
        }
        Judged::Event { .. } => unreachable!("events are not counted here"),
    }
}

pub(super) fn restore_id<D: Decode>(
    intake: &mut Intake<D>,
    id: u128,
    event_time: Option<i64>,
) -> Result<(), CodecError> {
    let (_, dedup) = intake.dedup.as_mut().ok_or_else(|| CodecError("an id, and no deduplication".to_owned()))?;
    dedup.restore(id, event_time);
    Ok(())
}

pub(super) fn id_changes<D: Decode>(intake: &mut Intake<D>, snapshot: bool, ledger: &mut Ledger, out: &mut Outbox) {
    if let Some((_, dedup)) = &mut intake.dedup {
        dedup.take_changes(intake.watermark, snapshot, |change| {
            let value = change.event_time.map(i64::to_be_bytes);
            ledger.change(&change.key, value.as_ref().map(<[u8; 8]>::as_slice), out);
        });
    }
}

pub(super) fn id_digest<D: Decode>(intake: &Intake<D>) -> u64 {
    intake.dedup.as_ref().map_or(0, |(_, dedup)| dedup.digest)
}
