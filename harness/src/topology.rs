//! A user's topology as what the simulator tries: [`Workload`].
//!
//! In: the functions that the user gave. Out: a pipeline, source events, rows and what they must be.
//!
//! Invariant: what an event holds is the user's, when and where it is sent is the swarm's.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use engine::record::Record;
use engine::schema::Schema;
use engine::stream::{DecodeError, PaneEncoder, Pipeline, PipelineError, Reading, Window};
use engine::types::{Offset, Timestamp};
use serde_json::Value;
use sim::workload::{Draw, Expected, Knobs, LogRecord, Row, RowKey, Shape, SourceEvent, Workload};

use crate::{answer, swarm};

/// One event, as its producer would write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Event {
    /// An event with a key, whose partition is that of the key.
    pub fn new(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Event {
        Event { key: Some(key.into()), value: value.into(), headers: Vec::new() }
    }

    /// An event without a key; it may lie in any partition.
    pub fn unkeyed(value: impl Into<Vec<u8>>) -> Event {
        Event { key: None, value: value.into(), headers: Vec::new() }
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Event {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// Reads a record whose value is one thing in words, a number for example: `text::<i64>` is a decoder for a source.
///
/// # Errors
/// When there is no value, when it is not UTF-8, or not what `T` reads.
pub fn text<T: FromStr<Err: Display>>(record: &Record<'_>) -> Result<T, DecodeError> {
    let value = record.value.ok_or_else(|| DecodeError("the record has no value".to_owned()))?;
    let text = std::str::from_utf8(value).map_err(|error| DecodeError(format!("the value is no text: {error}")))?;
    text.parse().map_err(|error| DecodeError(format!("{text:?}: {error}")))
}

/// Writes each pane as a JSON document.
pub fn json_rows<S>(row: impl Fn(Window, &S) -> Value + Send + Sync + 'static) -> impl PaneEncoder<S> {
    move |_key: &[u8], window: Window, state: &S, out: &mut Vec<u8>| {
        out.extend_from_slice(row(window, state).to_string().as_bytes());
    }
}

pub(crate) type Build = dyn Fn(&Shape) -> Result<Pipeline, PipelineError> + Send + Sync;
pub(crate) type Make = dyn Fn(&mut Draw, Timestamp) -> Event + Send + Sync;
pub(crate) type ReadRow = dyn Fn(&[u8]) -> Result<Value, String> + Send + Sync;
pub(crate) type ExpectRow = dyn Fn(&[&LogRecord]) -> Value + Send + Sync;
pub(crate) type ExpectAll = dyn Fn(&Shape, &[LogRecord]) -> Expected + Send + Sync;

/// What must come out.
#[derive(Clone)]
pub(crate) enum Answer {
    /// Nothing is known but that live and replay agree.
    None,
    /// The row of a window that holds these records.
    Rows(Arc<ExpectRow>),
    Log(Arc<ExpectAll>),
}

pub(crate) struct Topology {
    pub name: &'static str,
    pub topic: &'static str,
    pub build: Arc<Build>,
    pub make: Arc<Make>,
    pub answer: Answer,
    pub read_row: Arc<ReadRow>,
    pub schemas: Vec<String>,
    /// The pipeline of the shape that was asked about last.
    pub built: Mutex<Option<(Shape, Arc<Pipeline>)>>,
}

impl Topology {
    fn pipeline_of(&self, shape: &Shape) -> Arc<Pipeline> {
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        match &*built {
            Some((of, pipeline)) if of == shape => pipeline.clone(),
            _ => {
                let pipeline =
                    (self.build)(shape).unwrap_or_else(|error| panic!("{} has no such shape: {error}", self.name));
                let pipeline = Arc::new(pipeline);
                *built = Some((shape.clone(), pipeline.clone()));
                pipeline
            }
        }
    }

    /// A record through the topology's own functions.
    pub fn reader(&self, shape: &Shape) -> impl Fn(&LogRecord) -> Result<Option<Reading>, DecodeError> + use<> {
        let pipeline = self.pipeline_of(shape);
        let writers: Vec<Schema> = self.schemas.iter().filter_map(|json| Schema::parse(json).ok()).collect();
        move |record| {
            if record.timestamp.unsigned_abs() > answer::EVENT_TIME_MAX {
                return Err(DecodeError(format!("event time {} is out of range", record.timestamp)));
            }
            let record = Record {
                offset: Offset(record.offset),
                timestamp: Timestamp(record.timestamp),
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                raw_headers: &[],
            };
            pipeline.read(&record, &writers)
        }
    }
}

impl Workload for Topology {
    fn name(&self) -> &'static str {
        self.name
    }

    fn source_topic(&self) -> &'static str {
        self.topic
    }

    fn schemas(&self) -> Vec<String> {
        self.schemas.clone()
    }

    fn pipeline(&self, shape: &Shape) -> Result<Pipeline, PipelineError> {
        (self.build)(shape)
    }

    fn generate(&self, knobs: &Knobs, shape: &Shape, draw: &mut Draw) -> Vec<SourceEvent> {
        let pipeline = self.pipeline_of(shape);
        let windows = pipeline.windows().next().expect("a pipeline has windows");
        swarm::generate(windows, &*self.make, &self.reader(shape), knobs, shape, draw)
    }

    fn expected(&self, shape: &Shape, log: &[LogRecord]) -> Expected {
        match &self.answer {
            Answer::Log(expected) => expected(shape, log),
            // Keys and windows are known without an answer, so that a difference can name its records.
            Answer::None => answer::of(&self.pipeline_of(shape), &self.reader(shape), shape, log, &|_| Value::Null),
            Answer::Rows(row) => answer::of(&self.pipeline_of(shape), &self.reader(shape), shape, log, &**row),
        }
    }

    fn has_expected(&self) -> bool {
        !matches!(self.answer, Answer::None)
    }

    fn is_event(&self, shape: &Shape, record: &LogRecord) -> bool {
        self.reader(shape)(record).is_ok()
    }

    fn row(&self, key: &[u8], value: &[u8]) -> Result<(RowKey, Row), String> {
        let split = key.len().checked_sub(8).ok_or_else(|| format!("an output key of {} bytes", key.len()))?;
        let (key, start) = key.split_at(split);
        let window_start = start.iter().fold(0i64, |start, byte| (start << 8) | i64::from(*byte));
        Ok((RowKey { key: words(key), window_start }, row_of((self.read_row)(value)?)))
    }

    fn fields(&self) -> &'static [&'static str] {
        &[]
    }
}

/// Bytes for people: text where it is, else hexadecimal digits.
pub(crate) fn words(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// A document as a row: an object's fields, or one that is called `value`.
pub(crate) fn row_of(document: Value) -> Row {
    match document {
        Value::Object(fields) => fields.into_iter().collect(),
        other => Row::from([("value".to_owned(), other)]),
    }
}

/// How rows are read where nobody says how: JSON, and whatever else as it is.
pub(crate) fn plain_row(value: &[u8]) -> Result<Value, String> {
    Ok(serde_json::from_slice(value).unwrap_or_else(|_| Value::String(words(value))))
}
