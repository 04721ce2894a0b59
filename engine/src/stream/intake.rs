//! A source partition: decoding, its watermark, and deduplication.
//!
//! In: its committed records, in offset order. Out: for each, what it is.
//!
//! The watermark before a record is the larger of (highest event time before it, less the bound) and (highest marker before
//! it). It moves record by record, after the record was judged: also for duplicates, filtered and late ones; not for
//! undecodable ones, whose event time nobody can vouch for.

use std::sync::Arc;

use crate::record::Record;
use crate::schema::decode::{Decoders, Slot};
use crate::schema::{Schema, SchemaId};
use crate::types::{Millis, Timestamp};

use super::dedup::Dedup;
use super::frame::{Marking, marking};
use super::task::TaskStats;
use super::window::EVENT_TIME_MAX;

/// A source record that is no event: why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub String);

/// The schemas that a task's values were written with: each task has its own, and learns new ones on its way.
pub trait Schemas: Send + 'static {
    /// The schema that the record's value names, if it is not known here.
    fn unknown(&self, record: &Record<'_>) -> Option<SchemaId>;
    fn learn(&mut self, writer: &Schema);
}

/// Values that name no schema.
impl Schemas for () {
    #[inline]
    fn unknown(&self, _: &Record<'_>) -> Option<SchemaId> {
        None
    }

    fn learn(&mut self, _: &Schema) {}
}

impl Schemas for Decoders {
    #[inline]
    fn unknown(&self, record: &Record<'_>) -> Option<SchemaId> {
        Decoders::unknown(self, record.value?)
    }

    fn learn(&mut self, writer: &Schema) {
        Decoders::learn(self, writer);
    }
}

/// Turns a record into an event, or drops it.
pub trait Decode: Send + Sync + 'static {
    type Out: Send + 'static;
    type Schemas: Schemas;

    /// What a task knows of schemas when it begins.
    fn schemas(&self) -> Self::Schemas;

    /// `Ok(None)` = filtered.
    ///
    /// # Errors
    /// When the record is no event.
    fn decode(&self, record: &Record<'_>, schemas: &Self::Schemas) -> Result<Option<Self::Out>, DecodeError>;
}

/// The first link: a function.
pub struct Decoder<F>(pub(super) F);
/// The first link: a row of a reader's schema, and a function.
pub struct AvroDecoder<F, const N: usize> {
    pub(super) decoders: Decoders,
    pub(super) event: F,
}
/// Keeps what a predicate holds of.
pub struct Filter<D, F>(pub(super) D, pub(super) F);
/// Turns each event into another.
pub struct Map<D, F>(pub(super) D, pub(super) F);

impl<T: Send + 'static, F: Fn(&Record<'_>) -> Result<T, DecodeError> + Send + Sync + 'static> Decode for Decoder<F> {
    type Out = T;
    type Schemas = ();

    fn schemas(&self) {}

    #[inline]
    fn decode(&self, record: &Record<'_>, (): &()) -> Result<Option<T>, DecodeError> {
        (self.0)(record).map(Some)
    }
}

impl<T, F, const N: usize> Decode for AvroDecoder<F, N>
where
    T: Send + 'static,
    F: Fn(&Record<'_>, &[Slot<'_>; N]) -> Result<T, DecodeError> + Send + Sync + 'static,
{
    type Out = T;
    type Schemas = Decoders;

    fn schemas(&self) -> Decoders {
        self.decoders.clone()
    }

    #[inline]
    fn decode(&self, record: &Record<'_>, decoders: &Decoders) -> Result<Option<T>, DecodeError> {
        let value = record.value.ok_or_else(|| DecodeError("the record has no value".to_owned()))?;
        let mut row = [Slot::Null; N];
        decoders.decode(value, &mut row).map_err(|error| DecodeError(error.to_string()))?;
        (self.event)(record, &row).map(Some)
    }
}

impl<D: Decode, F: Fn(&D::Out) -> bool + Send + Sync + 'static> Decode for Filter<D, F> {
    type Out = D::Out;
    type Schemas = D::Schemas;

    fn schemas(&self) -> D::Schemas {
        self.0.schemas()
    }

    #[inline]
    fn decode(&self, record: &Record<'_>, schemas: &D::Schemas) -> Result<Option<D::Out>, DecodeError> {
        Ok(self.0.decode(record, schemas)?.filter(|event| (self.1)(event)))
    }
}

impl<D: Decode, U: Send + 'static, F: Fn(D::Out) -> U + Send + Sync + 'static> Decode for Map<D, F> {
    type Out = U;
    type Schemas = D::Schemas;

    fn schemas(&self) -> D::Schemas {
        self.0.schemas()
    }

    #[inline]
    fn decode(&self, record: &Record<'_>, schemas: &D::Schemas) -> Result<Option<U>, DecodeError> {
        Ok(self.0.decode(record, schemas)?.map(|event| (self.1)(event)))
    }
}

pub(super) type Identify<T> = dyn Fn(&T) -> u128 + Send + Sync;

/// How duplicates of an event are known.
pub(super) struct DedupBy<T> {
    pub id: Arc<Identify<T>>,
    pub horizon: Millis,
}

impl<T> Clone for DedupBy<T> {
    fn clone(&self) -> Self {
        DedupBy { id: Arc::clone(&self.id), horizon: self.horizon }
    }
}

/// What a source record is. `own` is the watermark before it.
pub(super) enum Judged<T> {
    Marker,
    Rejected(DecodeError),
    Filtered,
    Duplicate,
    Event { event: T, own: i64 },
}

/// One source partition.
pub(super) struct Intake<D: Decode> {
    decode: Arc<D>,
    /// Those that values were written with.
    pub schemas: D::Schemas,
    bound: Millis,
    pub watermark: i64,
    pub dedup: Option<(Arc<Identify<D::Out>>, Dedup)>,
    /// Whether a record must have a key.
    keyed: bool,
}

impl<D: Decode> Intake<D> {
    pub fn new(decode: Arc<D>, bound: Millis, dedup: Option<DedupBy<D::Out>>, keyed: bool) -> Intake<D> {
        let dedup = dedup.map(|by| (by.id, Dedup::new(by.horizon)));
        Intake { schemas: decode.schemas(), decode, bound, watermark: i64::MIN, dedup, keyed }
    }

    /// Judges the next record, then lets it move the watermark.
    #[inline]
    pub fn judge(&mut self, record: &Record<'_>) -> Judged<D::Out> {
        match marking(record) {
            Marking::Data => {}
            Marking::Marker { watermark, .. } => {
                self.watermark = mutant!("marker-sets-it-back", self.watermark.max(watermark.0), watermark.0);
                return Judged::Marker;
            }
            Marking::Malformed => return Judged::Rejected(DecodeError("a marker that is no i64".to_owned())),
        }
        let own = self.watermark;
        let event_time = record.timestamp.0;
        let event = match self.decode.decode(record, &self.schemas) {
            Ok(event) => event,
            Err(error) => return Judged::Rejected(error),
        };
        if !(-EVENT_TIME_MAX..=EVENT_TIME_MAX).contains(&event_time) {
            return Judged::Rejected(DecodeError(format!("event time {event_time} is out of range")));
        }
        if self.keyed && record.key.is_none() {
            return Judged::Rejected(DecodeError("no key".to_owned()));
        }
        self.watermark = own.max(mutant!("bound-left-out", Timestamp(event_time).minus(self.bound).0, event_time));
        let Some(event) = event else { return Judged::Filtered };
        if let Some((id, dedup)) = &mut self.dedup
            && !dedup.keep(id(&event), event_time, own)
        {
            return Judged::Duplicate;
        }
        Judged::Event { event, own }
    }

    /// The schemas that these records name and that are not known, each once.
    pub fn unknown_schemas(&self, records: &[Record<'_>], ids: &mut Vec<SchemaId>) {
        for id in records.iter().filter_map(|record| self.schemas.unknown(record)) {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
    }

    /// Adds what deduplication holds; keyed state is gauged first.
    pub fn gauge(&self, stats: &mut TaskStats) {
        if let Some((_, dedup)) = &self.dedup {
            stats.ids = dedup.len() as u64;
            stats.state_bytes += dedup.bytes() as u64;
        }
    }
}
