//! A pipeline, put together by saying what it does.
//!
//! ```
//! use engine::stream::{Pipeline, Source, Window, aggregates::Count};
//! use engine::types::Millis;
//!
//! let pipeline = Pipeline::named("clicks-per-minute")
//!     .source(Source { topic: "clicks".into(), partitions: 4, bound: Millis(30_000) }, |record| {
//!         Ok(record.value.map(<[u8]>::len))
//!     })
//!     .filter(|length| length.is_some())
//!     .key_by_record()
//!     .tumbling(Millis(60_000), Millis(0))
//!     .aggregate("minutes", Count::of())
//!     .output(|_key: &[u8], _window: Window, count: &u64, out: &mut Vec<u8>| {
//!         out.extend_from_slice(&count.to_be_bytes());
//!     })?;
//! assert_eq!(pipeline.name(), "clicks-per-minute");
//! # Ok::<(), engine::stream::PipelineError>(())
//! ```
//!
//! The closures are compiled into one decoder, so that an event costs no call through a pointer until its key is known.

use std::sync::Arc;

use crate::record::Record;
use crate::schema::decode::{Decoders, Slot};
use crate::schema::{Schema, SchemaError};
use crate::types::Millis;

use super::aggregate::{Aggregate, CodecError, Pane, PaneRef};
use super::deployment::{Onto, Plan, StagePlan};
use super::intake::{AvroDecoder, Decode, DecodeError, Decoder, DedupBy, Filter, Map, Schemas};
use super::routed::KeyOf;
use super::sink::{PaneEncoder, Route};
use super::window::{LENGTH_MAX, WindowSpec};

/// The topic that a pipeline reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub topic: String,
    /// Fixed for a version of the pipeline.
    pub partitions: i32,
    /// How far an event may lie behind the latest of its partition and still be on time.
    pub bound: Millis,
}

/// The bytes of an event between two tasks.
pub trait PayloadCodec<T>: Send + Sync + 'static {
    fn encode(&self, event: &T, out: &mut Vec<u8>);
    /// # Errors
    /// When the bytes are not what `encode` wrote.
    fn decode(&self, bytes: &[u8]) -> Result<T, CodecError>;
}

/// A pipeline that cannot be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PipelineError {
    #[error("name {0:?}: use 1 to 100 of a-z, A-Z, 0-9, '.', '_', '-'")]
    BadName(String),
    #[error("{0:?} names two steps; each has topics of its own")]
    SameName(String),
    #[error("{what}: {partitions} partitions; at least 1")]
    NoPartitions { what: String, partitions: i32 },
    #[error("{what}: {problem}")]
    BadLength { what: String, problem: String },
    #[error(
        "deduplication horizon {} ms is shorter than {} ms, the window of {state:?} with its allowed lateness: a copy \
         could be counted twice", horizon.0, needed.0
    )]
    HorizonTooShort { horizon: Millis, needed: Millis, state: String },
    #[error("the schemas of the source: {0}")]
    Schema(String),
}

impl From<SchemaError> for PipelineError {
    fn from(error: SchemaError) -> PipelineError {
        PipelineError::Schema(error.to_string())
    }
}

/// A pipeline: what is read, what is computed, what is written. See [`super::Deployment`] for where.
pub struct Pipeline {
    pub(super) plan: Plan,
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline").field("name", &self.plan.name).finish_non_exhaustive()
    }
}

impl Pipeline {
    pub fn named(name: &str) -> Named {
        Named { name: name.to_owned() }
    }

    pub fn name(&self) -> &str {
        &self.plan.name
    }

    pub fn source(&self) -> &Source {
        &self.plan.source
    }

    /// The windows of its stages, in order.
    pub fn windows(&self) -> impl ExactSizeIterator<Item = WindowSpec> {
        self.plan.windows.iter().map(|(_, spec)| *spec)
    }

    /// For how long of event time a copy is recognised, where copies are dropped.
    pub fn horizon(&self) -> Option<Millis> {
        self.plan.horizon
    }

    /// One source record through the pipeline's own functions and nothing else of the engine: what its first windows would
    /// group it by; `None` when it is filtered. `writers`: the schemas that values may be written with.
    ///
    /// # Errors
    /// When the record is no event.
    pub fn read(&self, record: &Record<'_>, writers: &[Schema]) -> Result<Option<Reading>, DecodeError> {
        (self.plan.read)(record, writers)
    }

    /// Adds an Avro schema that readers of the output need.
    #[must_use]
    pub fn schema(mut self, json: impl Into<String>) -> Pipeline {
        self.plan.schemas.push(json.into());
        self
    }
}

/// What the first windows of a pipeline see of a source record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What it is grouped by.
    pub key: Vec<u8>,
    /// What makes copies of it known, where they are dropped.
    pub id: Option<u128>,
}

pub(super) type ReadRecord = dyn Fn(&Record<'_>, &[Schema]) -> Result<Option<Reading>, DecodeError> + Send + Sync;

/// A pipeline with a name.
pub struct Named {
    name: String,
}

impl Named {
    /// Reads a topic; `decode` turns a record into an event, or says why it is none.
    pub fn source<T, F>(self, source: Source, decode: F) -> Stream<Decoder<F>>
    where
        T: Send + 'static,
        F: Fn(&Record<'_>) -> Result<T, DecodeError> + Send + Sync + 'static,
    {
        Stream { name: self.name, source, decode: Decoder(decode) }
    }

    /// Reads a topic of framed Avro values, whatever schemas they were written with; `event` turns a row of the reader's
    /// fields into an event, or says why it is none.
    ///
    /// # Panics
    /// If the reader has another number of fields than the row.
    pub fn avro<T, F, const N: usize>(self, source: Source, decoders: Decoders, event: F) -> Stream<AvroDecoder<F, N>>
    where
        T: Send + 'static,
        F: Fn(&Record<'_>, &[Slot<'_>; N]) -> Result<T, DecodeError> + Send + Sync + 'static,
    {
        assert_eq!(decoders.slots(), N, "the reader's fields, and the row's");
        Stream { name: self.name, source, decode: AvroDecoder { decoders, event } }
    }
}

/// Events of a source.
pub struct Stream<D> {
    name: String,
    source: Source,
    decode: D,
}

impl<D: Decode> Stream<D> {
    #[must_use]
    pub fn filter<F: Fn(&D::Out) -> bool + Send + Sync + 'static>(self, keep: F) -> Stream<Filter<D, F>> {
        Stream { name: self.name, source: self.source, decode: Filter(self.decode, keep) }
    }

    #[must_use]
    pub fn map<U: Send + 'static, F: Fn(D::Out) -> U + Send + Sync + 'static>(self, to: F) -> Stream<Map<D, F>> {
        Stream { name: self.name, source: self.source, decode: Map(self.decode, to) }
    }

    /// Drops copies: records of one source partition with an id that was kept less than `horizon` of event time ago.
    #[must_use]
    pub fn dedup<F: Fn(&D::Out) -> u128 + Send + Sync + 'static>(self, id: F, horizon: Millis) -> Deduped<D> {
        Deduped { stream: self, dedup: DedupBy { id: Arc::new(id), horizon } }
    }

    /// The record's key is the key: the windows run where the source is read.
    pub fn key_by_record(self) -> Keyed<D> {
        Keyed { stream: self, dedup: None, repartition: None }
    }

    /// Sends each event to the owner of its key, through the topic `<app>.<version>.<step>-repartition`.
    pub fn key_by<F, C>(self, step: &str, partitions: i32, key: F, codec: C) -> Keyed<D>
    where
        F: Fn(&D::Out, &mut Vec<u8>) + Send + Sync + 'static,
        C: PayloadCodec<D::Out>,
    {
        let repartition = Repartition { step: step.to_owned(), partitions, key: Arc::new(key), codec: Arc::new(codec) };
        Keyed { stream: self, dedup: None, repartition: Some(repartition) }
    }
}

/// Events without copies.
pub struct Deduped<D: Decode> {
    stream: Stream<D>,
    dedup: DedupBy<D::Out>,
}

impl<D: Decode> Deduped<D> {
    /// As [`Stream::key_by_record`].
    pub fn key_by_record(self) -> Keyed<D> {
        Keyed { dedup: Some(self.dedup), ..self.stream.key_by_record() }
    }

    /// As [`Stream::key_by`].
    pub fn key_by<F, C>(self, step: &str, partitions: i32, key: F, codec: C) -> Keyed<D>
    where
        F: Fn(&D::Out, &mut Vec<u8>) + Send + Sync + 'static,
        C: PayloadCodec<D::Out>,
    {
        Keyed { dedup: Some(self.dedup), ..self.stream.key_by(step, partitions, key, codec) }
    }
}

pub(super) struct Repartition<T> {
    pub step: String,
    pub partitions: i32,
    pub key: Arc<KeyOf<T>>,
    pub codec: Arc<dyn PayloadCodec<T>>,
}

/// Events with a key.
pub struct Keyed<D: Decode> {
    stream: Stream<D>,
    dedup: Option<DedupBy<D::Out>>,
    repartition: Option<Repartition<D::Out>>,
}

impl<D: Decode> Keyed<D> {
    /// Aligned windows of `size`; a record is late once its partition's watermark reaches the window's end +
    /// `allowed_lateness`.
    pub fn tumbling(self, size: Millis, allowed_lateness: Millis) -> Windowed<D> {
        Windowed { keyed: self, spec: WindowSpec::tumbling(size, allowed_lateness) }
    }

    /// Windows that end when a key is silent for longer than `gap`.
    pub fn sessions(self, gap: Millis, allowed_lateness: Millis) -> Windowed<D> {
        Windowed { keyed: self, spec: WindowSpec::sessions(gap, allowed_lateness) }
    }
}

/// Events in windows.
pub struct Windowed<D: Decode> {
    keyed: Keyed<D>,
    spec: WindowSpec,
}

impl<D: Decode> Windowed<D> {
    /// Folds each window; `state` names the changelog.
    pub fn aggregate<A: Aggregate<In = D::Out> + Clone>(self, state: &str, aggregate: A) -> Panes<A> {
        let Keyed { stream, dedup, repartition } = self.keyed;
        let decode = Arc::new(stream.decode);
        let read = {
            let decode = Arc::clone(&decode);
            let key_of = repartition.as_ref().map(|repartition| Arc::clone(&repartition.key));
            let id_of = dedup.as_ref().map(|dedup| Arc::clone(&dedup.id));
            move |record: &Record<'_>, writers: &[Schema]| {
                let mut schemas = decode.schemas();
                writers.iter().for_each(|writer| schemas.learn(writer));
                let Some(event) = decode.decode(record, &schemas)? else { return Ok(None) };
                let key = match (&key_of, record.key) {
                    (Some(key_of), _) => {
                        let mut key = Vec::new();
                        key_of(&event, &mut key);
                        key
                    }
                    (None, Some(key)) => key.to_vec(),
                    (None, None) => return Err(DecodeError("no key".to_owned())),
                };
                Ok(Some(Reading { key, id: id_of.as_ref().map(|id_of| id_of(&event)) }))
            }
        };
        let mut plan = Plan::new(stream.name, stream.source, Box::new(read));
        let stage = match repartition {
            None => StagePlan::direct(&mut plan, state, self.spec, decode, dedup, aggregate.clone()),
            Some(repartition) => {
                StagePlan::routed(&mut plan, state, self.spec, decode, dedup, repartition, aggregate.clone())
            }
        };
        Panes { plan, stage, aggregate: Arc::new(aggregate) }
    }
}

/// The panes of a windowed stage.
pub struct Panes<A: Aggregate> {
    plan: Plan,
    stage: StagePlan<A>,
    aggregate: Arc<A>,
}

impl<A: Aggregate> Panes<A> {
    /// Writes the panes to the output table.
    ///
    /// # Errors
    /// When the pipeline cannot be right.
    pub fn output<E: PaneEncoder<A::State>>(self, encoder: E) -> Result<Pipeline, PipelineError> {
        let mut plan = self.plan;
        self.stage.onto_rows(&mut plan, Arc::new(encoder));
        validate(&plan)?;
        Ok(Pipeline { plan })
    }

    /// Hands the panes to a second windowed stage, by a new key, through the topic `<app>.<version>.<step>-repartition`.
    /// A pane that changes is taken back under the key that it had.
    pub fn panes_by<F>(self, step: &str, partitions: i32, key: F) -> PaneStream<A>
    where
        F: Fn(&PaneRef<'_, A::State>, &mut Vec<u8>) + Send + Sync + 'static,
    {
        let mut plan = self.plan;
        let route: Arc<Route<A::State>> = Arc::new(key);
        let onto = Onto { step: step.to_owned(), partitions };
        self.stage.onto_panes(&mut plan, &onto, Arc::clone(&self.aggregate), route);
        PaneStream { plan, upstream: self.aggregate, onto }
    }
}

/// Panes with a new key.
pub struct PaneStream<U: Aggregate> {
    plan: Plan,
    upstream: Arc<U>,
    onto: Onto,
}

impl<U: Aggregate> PaneStream<U> {
    /// As [`Keyed::tumbling`]; a pane's event time is its window's end − 1.
    pub fn tumbling(self, size: Millis, allowed_lateness: Millis) -> PaneWindowed<U> {
        PaneWindowed { panes: self, spec: WindowSpec::tumbling(size, allowed_lateness) }
    }

    /// As [`Keyed::sessions`].
    pub fn sessions(self, gap: Millis, allowed_lateness: Millis) -> PaneWindowed<U> {
        PaneWindowed { panes: self, spec: WindowSpec::sessions(gap, allowed_lateness) }
    }
}

/// Panes in windows.
pub struct PaneWindowed<U: Aggregate> {
    panes: PaneStream<U>,
    spec: WindowSpec,
}

impl<U: Aggregate> PaneWindowed<U> {
    /// Folds each window of panes. With an exact inverse, tumbling windows keep a state and a count; otherwise the panes.
    pub fn aggregate<A: Aggregate<In = Pane<U::State>> + Clone>(self, state: &str, aggregate: A) -> Panes<A> {
        let PaneStream { mut plan, upstream, onto } = self.panes;
        let stage = StagePlan::pane_fed(&mut plan, state, self.spec, &onto, upstream, aggregate.clone());
        Panes { plan, stage, aggregate: Arc::new(aggregate) }
    }
}

fn validate(plan: &Plan) -> Result<(), PipelineError> {
    let mut names = vec![plan.name.clone(), plan.source.topic.clone()];
    names.extend(plan.steps.iter().cloned());
    for name in &names {
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > 100 || !name.chars().all(fine) {
            return Err(PipelineError::BadName(name.clone()));
        }
    }
    let mut steps = plan.steps.clone();
    steps.sort();
    if let Some(pair) = steps.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(PipelineError::SameName(pair[0].clone()));
    }
    let mut partitions = vec![(plan.source.topic.clone(), plan.source.partitions)];
    partitions.extend(plan.stages.iter().map(|stage| (stage.name.clone(), stage.partitions)));
    if let Some((what, partitions)) = partitions.into_iter().find(|(_, partitions)| *partitions < 1) {
        return Err(PipelineError::NoPartitions { what, partitions });
    }
    let bad = |what: &str, problem: String| PipelineError::BadLength { what: what.to_owned(), problem };
    let length = |what: &str, millis: Millis| {
        let fine = (0..=LENGTH_MAX).contains(&millis.0);
        if fine { Ok(()) } else { Err(bad(what, format!("{millis} ms is outside 0..={LENGTH_MAX}"))) }
    };
    length("bound", plan.source.bound)?;
    for (state, spec) in &plan.windows {
        if let Some(problem) = spec.problem() {
            return Err(bad(state, problem));
        }
    }
    if let Some(horizon) = plan.horizon {
        length("deduplication horizon", horizon)?;
        if let Some((state, spec)) = plan.windows.iter().max_by_key(|(_, spec)| spec.reach())
            && horizon < spec.reach()
        {
            return Err(PipelineError::HorizonTooShort { horizon, needed: spec.reach(), state: state.clone() });
        }
    }
    Ok(())
}
