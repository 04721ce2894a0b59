//! Tasks before and behind a repartition topic.
//!
//! Invariant: a channel announces a watermark only after everything that was below it; the reader checks that.

use std::sync::Arc;

use crate::record::Record;
use crate::schema::{Schema, SchemaId};
use crate::types::{Partition, Timestamp};

use super::aggregate::{Aggregate, CodecError, Pane};
use super::cells::{Cells, NOWHERE};
use super::channels::Channels;
use super::content::{Content, PaneItem, Shrinks, Sums, Upstream};
use super::frame::{Frame, Marking, PaneFrame, marking};
use super::intake::{Decode, Intake, Judged, Schemas};
use super::key::Sought;
use super::ledger::{Entry, Ledger};
use super::outbox::Outbox;
use super::pipeline::PayloadCodec;
use super::sink::{Markers, Sink};
use super::stages::{Accepted, LatePort, Side, Work, count, id_changes, id_digest, push_late, restore_id};
use super::task::{TaskFault, TaskStats};

pub(super) type KeyOf<T> = dyn Fn(&T, &mut Vec<u8>) + Send + Sync;

/// Reads the source and sends each event to the owner of its key.
pub(super) struct Router<D: Decode> {
    pub intake: Intake<D>,
    pub key_of: Arc<KeyOf<D::Out>>,
    pub codec: Arc<dyn PayloadCodec<D::Out>>,
    pub markers: Markers,
    pub side: Side,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

impl<D: Decode> Work for Router<D> {
    fn restore(&mut self, entry: Entry<'_>) -> Result<(), CodecError> {
        match entry {
            Entry::Cells { .. } => Err(CodecError("a window's state, and no window".to_owned())),
            Entry::Id { id, event_time } => restore_id(&mut self.intake, id, event_time),
        }
    }

    fn restored(&mut self, watermarks: &[i64]) {
        self.intake.watermark = watermarks[0];
        self.markers.restored(Timestamp(watermarks[0]));
    }

    fn process(
        &mut self,
        records: &[Record<'_>],
        ledger: &mut Ledger,
        stats: &mut TaskStats,
        out: &mut Outbox,
    ) -> Result<(), TaskFault> {
        for record in records {
            match self.intake.judge(record) {
                Judged::Event { event, own } => {
                    stats.routed += 1;
                    self.key.clear();
                    (self.key_of)(&event, &mut self.key);
                    self.value.clear();
                    Frame::encode_head(self.side.partition, record.offset, Timestamp(own), &mut self.value);
                    self.codec.encode(&event, &mut self.value);
                    let port = self.markers.port_of(&self.key);
                    out.push(port, record.timestamp, Some(&self.key), Some(&self.value), &[]);
                    ledger.outputs += 1;
                }
                other => count(&other, &self.side, record, ledger, stats, out),
            }
        }
        Ok(())
    }

    fn unknown_schemas(&self, records: &[Record<'_>], ids: &mut Vec<SchemaId>) {
        self.intake.unknown_schemas(records, ids);
    }

    fn learn(&mut self, writer: &Schema) {
        self.intake.schemas.learn(writer);
    }

    fn fire(&mut self, _: &mut Outbox) {}

    fn promise(&mut self, out: &mut Outbox) -> u64 {
        self.markers.announce(Timestamp(self.intake.watermark), out)
    }

    fn changes(&mut self, snapshot: bool, ledger: &mut Ledger, out: &mut Outbox) {
        id_changes(&mut self.intake, snapshot, ledger, out);
    }

    fn watermarks(&self) -> &[i64] {
        std::slice::from_ref(&self.intake.watermark)
    }

    fn digests(&self) -> (u64, u64) {
        (0, id_digest(&self.intake))
    }

    fn gauge(&self, stats: &mut TaskStats) {
        self.intake.gauge(stats);
    }
}

/// The input side of a task behind a repartition topic.
fn marker(
    record: &Record<'_>,
    channels: &mut Channels,
    ledger: &Ledger,
    stats: &mut TaskStats,
) -> Result<bool, TaskFault> {
    match marking(record) {
        Marking::Data => return Ok(false),
        Marking::Marker { watermark, channel: Some(channel) } => {
            let before = channels.get(channel.0).ok_or_else(|| unknown_channel(record, ledger, channel))?;
            broken_if(watermark.0 < before, record, ledger, channel, before, watermark.0)?;
            channels.raise(channel.0 as usize, watermark.0);
        }
        Marking::Marker { channel: None, .. } | Marking::Malformed => {
            return Err(bad(record, ledger, CodecError("a marker without its channel".to_owned())));
        }
    }
    stats.markers += 1;
    Ok(true)
}

#[cold]
fn bad(record: &Record<'_>, ledger: &Ledger, error: CodecError) -> TaskFault {
    TaskFault::BadRecord { partition: ledger.inputs[0].clone(), offset: record.offset, error }
}

#[cold]
fn unknown_channel(record: &Record<'_>, ledger: &Ledger, channel: Partition) -> TaskFault {
    bad(record, ledger, CodecError(format!("no upstream partition {channel}")))
}

/// What a channel sends must not lie below what it announced.
#[inline]
fn broken_if(
    broken: bool,
    record: &Record<'_>,
    ledger: &Ledger,
    channel: Partition,
    watermark: i64,
    found: i64,
) -> Result<(), TaskFault> {
    if !broken {
        return Ok(());
    }
    Err(TaskFault::PromiseBroken {
        partition: ledger.inputs[0].clone(),
        offset: record.offset,
        channel: channel.0,
        watermark: Timestamp(watermark),
        found: Timestamp(found),
    })
}

/// Windows framed source records. Lateness is judged by the record's own watermark, which the frame carries: the minimum
/// here depends on which channel was read first.
pub(super) struct Framed<T, A: Aggregate<In = T>, K> {
    pub channels: Channels,
    pub codec: Arc<dyn PayloadCodec<T>>,
    pub cells: Cells<A, Sums<A::State>, K>,
    pub late: LatePort,
    pub accepted: Accepted<T>,
}

impl<T: Send + 'static, A: Aggregate<In = T>, K: Sink<A::State>> Work for Framed<T, A, K> {
    fn restore(&mut self, entry: Entry<'_>) -> Result<(), CodecError> {
        restore_cells(&mut self.cells, entry)
    }

    fn restored(&mut self, watermarks: &[i64]) {
        restore_channels(&mut self.channels, &mut self.cells, watermarks);
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
            if marker(record, &mut self.channels, ledger, stats)? {
                continue;
            }
            let frame = Frame::decode(record.value.unwrap_or_default()).map_err(|error| bad(record, ledger, error))?;
            let announced =
                self.channels.get(frame.partition.0).ok_or_else(|| unknown_channel(record, ledger, frame.partition))?;
            broken_if(frame.own.0 < announced, record, ledger, frame.partition, announced, frame.own.0)?;
            let span = spec.span(record.timestamp.0);
            let place = (frame.partition, frame.offset);
            if !spec.accepts(mutant!("lateness-by-minimum", frame.own, Timestamp(self.channels.minimum())), span) {
                stats.late += 1;
                push_late(&self.late, place, span.first, record.timestamp, Some(frame.payload), ledger, out);
                continue;
            }
            stats.accepted += 1;
            let event = self.codec.decode(frame.payload).map_err(|error| bad(record, ledger, error))?;
            self.accepted.push((index, record), event, span, place, self.channels.minimum());
        }
        self.accepted.add_to(&mut self.cells, records, out);
        Ok(())
    }

    fn fire(&mut self, out: &mut Outbox) {
        self.cells.fire(self.channels.minimum(), out);
    }

    fn promise(&mut self, out: &mut Outbox) -> u64 {
        promise(&mut self.cells, &self.channels, out)
    }

    fn changes(&mut self, snapshot: bool, ledger: &mut Ledger, out: &mut Outbox) {
        self.cells.take_changes(snapshot, |key, value| ledger.change(key, value, out));
    }

    fn watermarks(&self) -> &[i64] {
        self.channels.watermarks()
    }

    fn digests(&self) -> (u64, u64) {
        self.cells.digests()
    }

    fn gauge(&self, stats: &mut TaskStats) {
        self.cells.gauge(stats);
    }
}

/// Windows the panes of the stage before. They are never late (proof, step 5); a retraction finds what it takes back,
/// since its channel added it before.
pub(super) struct PaneFed<A: Aggregate, C, K> {
    pub channels: Channels,
    pub cells: Cells<A, C, K>,
    /// Channels whose watermark was restored.
    pub restored: u64,
}

impl<S, A, C, K> Work for PaneFed<A, C, K>
where
    S: Send + 'static,
    A: Upstream<S> + Aggregate<In = Pane<S>>,
    C: for<'i> Content<A, Item<'i> = PaneItem<'i, S>> + Shrinks<A>,
    K: Sink<A::State>,
{
    fn restore(&mut self, entry: Entry<'_>) -> Result<(), CodecError> {
        restore_cells(&mut self.cells, entry)
    }

    fn restored(&mut self, watermarks: &[i64]) {
        self.restored = watermarks.iter().filter(|watermark| **watermark > i64::MIN).count() as u64;
        restore_channels(&mut self.channels, &mut self.cells, watermarks);
    }

    fn process(
        &mut self,
        records: &[Record<'_>],
        ledger: &mut Ledger,
        stats: &mut TaskStats,
        out: &mut Outbox,
    ) -> Result<(), TaskFault> {
        // One key's space for all panes of the chunk.
        let mut space = Vec::new();
        for record in records {
            if marker(record, &mut self.channels, ledger, stats)? {
                continue;
            }
            let frame =
                PaneFrame::decode(record.value.unwrap_or_default()).map_err(|error| bad(record, ledger, error))?;
            let announced =
                self.channels.get(frame.channel.0).ok_or_else(|| unknown_channel(record, ledger, frame.channel))?;
            let time = frame.window.pane_time();
            broken_if(time.0 < announced, record, ledger, frame.channel, announced, time.0)?;
            let state =
                self.cells.aggregate.decode_upstream(frame.state).map_err(|error| bad(record, ledger, error))?;
            space.clear();
            space.extend_from_slice(frame.key);
            let pane = Pane { key: std::mem::take(&mut space), window: frame.window, state };
            let item = PaneItem { pane: &pane, bytes: frame.state };
            let (key, span) = (record.key.unwrap_or_default(), self.cells.spec().span(time.0));
            stats.accepted += 1;
            let minimum = self.channels.minimum();
            if frame.added {
                self.cells.add(&Sought::new(key), NOWHERE, span, item, minimum, out);
            } else if !self.cells.remove(key, span, item, minimum, out) {
                return Err(TaskFault::UnknownPane { partition: ledger.inputs[0].clone(), offset: record.offset });
            }
            space = pane.key;
        }
        Ok(())
    }

    fn fire(&mut self, out: &mut Outbox) {
        self.cells.fire(self.channels.minimum(), out);
    }

    fn promise(&mut self, out: &mut Outbox) -> u64 {
        promise(&mut self.cells, &self.channels, out)
    }

    fn changes(&mut self, snapshot: bool, ledger: &mut Ledger, out: &mut Outbox) {
        self.cells.take_changes(snapshot, |key, value| ledger.change(key, value, out));
    }

    fn watermarks(&self) -> &[i64] {
        self.channels.watermarks()
    }

    fn digests(&self) -> (u64, u64) {
        self.cells.digests()
    }

    fn gauge(&self, stats: &mut TaskStats) {
        self.cells.gauge(stats);
        stats.pane_channels_restored = self.restored;
    }
}

fn restore_cells<A: Aggregate, C: Content<A>, K: Sink<A::State>>(
    cells: &mut Cells<A, C, K>,
    entry: Entry<'_>,
) -> Result<(), CodecError> {
    match entry {
        Entry::Cells { key, value } => cells.restore(key, value),
        Entry::Id { .. } => Err(CodecError("an id, and no deduplication".to_owned())),
    }
}

fn restore_channels<A: Aggregate, C: Content<A>, K: Sink<A::State>>(
    channels: &mut Channels,
    cells: &mut Cells<A, C, K>,
    watermarks: &[i64],
) {
    for (channel, watermark) in watermarks.iter().enumerate() {
        channels.raise(channel, *watermark);
    }
    cells.restored(channels.minimum());
    let promise = cells.spec().promise(channels.timestamp());
    cells.sink.restored(promise);
}

fn promise<A: Aggregate, C: Content<A>, K: Sink<A::State>>(
    cells: &mut Cells<A, C, K>,
    channels: &Channels,
    out: &mut Outbox,
) -> u64 {
    let promise = cells.spec().promise(channels.timestamp());
    cells.sink.promise(promise, out);
    cells.sink.take_written()
}
