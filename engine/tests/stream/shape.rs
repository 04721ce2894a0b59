//! The pipelines under test: every combination of keying, windows, deduplication and a second stage.

use std::sync::Arc;

use engine::record::{BatchBuilder, Compression, ProducerStamp, Record};
use engine::stream::aggregates::{Both, Count, Edge, Extreme, Sum};
use engine::stream::frame::WATERMARK_HEADER;
use engine::stream::{
    CodecError, Decode, DecodeError, Deployment, Keyed, Pane, PaneRef, PayloadCodec, Pipeline, Source, Window,
};
use engine::types::{Millis, Timestamp, TopicPartition};

use super::memory::Log;

pub const TOPIC: &str = "source";

/// What lies in the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Click {
        at: i64,
        key: u8,
        id: u8,
        amount: i8,
    },
    /// Decodes, and is filtered.
    Dull {
        at: i64,
    },
    Poison {
        at: i64,
    },
    Marker {
        watermark: i64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Windows {
    Tumbling(i64),
    Sessions(i64),
}

/// The second stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Second {
    pub partitions: i32,
    pub windows: Windows,
    pub lateness: i64,
    /// With an aggregate that has no inverse.
    pub kept: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub partitions: i32,
    pub bound: i64,
    /// `None`: by the record's key.
    pub repartitions: Option<i32>,
    pub horizon: Option<i64>,
    pub windows: Windows,
    pub lateness: i64,
    pub second: Option<Second>,
}

/// The key of a click: where the source is keyed by the record, a key has one partition.
pub fn key_of(shape: &Shape, partition: i32, key: u8) -> Vec<u8> {
    match shape.repartitions {
        None => format!("p{partition}k{key}").into_bytes(),
        Some(_) => format!("k{key}").into_bytes(),
    }
}

/// The key of a pane in the second stage: it depends on the state, so that a changed pane moves.
pub fn second_key(count: u64) -> Vec<u8> {
    format!("parity{}", count % 2).into_bytes()
}

#[derive(Clone)]
pub struct Click {
    key: Vec<u8>,
    id: u8,
    amount: i8,
    dull: bool,
}

fn decode(record: &Record<'_>) -> Result<Click, DecodeError> {
    match record.value {
        Some([kind @ (0 | 1), id, amount]) => {
            Ok(Click { key: record.key.unwrap_or_default().to_vec(), id: *id, amount: *amount as i8, dull: *kind == 1 })
        }
        other => Err(DecodeError(format!("{other:?}"))),
    }
}

struct ClickCodec;

impl PayloadCodec<Click> for ClickCodec {
    fn encode(&self, click: &Click, out: &mut Vec<u8>) {
        out.extend_from_slice(&[click.id, click.amount as u8]);
        out.extend_from_slice(&click.key);
    }
    fn decode(&self, bytes: &[u8]) -> Result<Click, CodecError> {
        match bytes {
            [id, amount, key @ ..] => Ok(Click { key: key.to_vec(), id: *id, amount: *amount as i8, dull: false }),
            _ => Err(CodecError(format!("{bytes:?}"))),
        }
    }
}

type First = Both<Count<Click>, Both<Sum<Click>, Both<Edge<Click>, Edge<Click>>>>;

fn first() -> First {
    let amount = |click: &Click| i64::from(click.amount);
    let id = |click: &Click| vec![click.id];
    Both(Count::of(), Both(Sum::of(amount), Both(Edge::first(id), Edge::last(id))))
}

type FirstState = <First as engine::stream::Aggregate>::State;

/// The bytes of a first stage's row, as the model writes them too.
pub fn first_row(end: i64, count: u64, sum: i128, first: u8, last: u8) -> Vec<u8> {
    format!("end {end} count {count} sum {sum} first {first} last {last}").into_bytes()
}

/// The bytes of a second stage's row.
pub fn second_row(end: i64, panes: u64, clicks: i128, most: Option<i64>) -> Vec<u8> {
    format!("end {end} panes {panes} clicks {clicks} most {most:?}").into_bytes()
}

fn encode_first(_: &[u8], window: Window, state: &FirstState, out: &mut Vec<u8>) {
    let (count, (sum, (first, last))) = state;
    let value = |edge: &Option<(_, Vec<u8>)>| edge.as_ref().expect("a row has contributors").1[0];
    out.extend_from_slice(&first_row(window.end.0, *count, *sum, value(first), value(last)));
}

pub fn deployment(shape: &Shape) -> Deployment {
    let source = Source { topic: TOPIC.to_owned(), partitions: shape.partitions, bound: Millis(shape.bound) };
    let stream = Pipeline::named("app").source(source, decode).filter(|click| !click.dull).map(|click| click);
    let key = |click: &Click, key: &mut Vec<u8>| key.extend_from_slice(&click.key);
    let pipeline = match (shape.horizon, shape.repartitions) {
        (None, None) => finish(shape, stream.key_by_record()),
        (None, Some(partitions)) => finish(shape, stream.key_by("by-key", partitions, key, ClickCodec)),
        (Some(horizon), repartitions) => {
            let stream = stream.dedup(|click| u128::from(click.id), Millis(horizon));
            match repartitions {
                None => finish(shape, stream.key_by_record()),
                Some(partitions) => finish(shape, stream.key_by("by-key", partitions, key, ClickCodec)),
            }
        }
    };
    Deployment::new(Arc::new(pipeline), 1)
}

fn finish<D: Decode<Out = Click>>(shape: &Shape, keyed: Keyed<D>) -> Pipeline {
    let lateness = Millis(shape.lateness);
    let windowed = match shape.windows {
        Windows::Tumbling(size) => keyed.tumbling(Millis(size), lateness),
        Windows::Sessions(gap) => keyed.sessions(Millis(gap), lateness),
    };
    let panes = windowed.aggregate("first", first());
    let Some(second) = shape.second else { return panes.output(encode_first).expect("a pipeline") };
    let route = |pane: &PaneRef<'_, FirstState>, key: &mut Vec<u8>| key.extend_from_slice(&second_key(pane.state.0));
    let panes = panes.panes_by("by-parity", second.partitions, route);
    let windowed = match second.windows {
        Windows::Tumbling(size) => panes.tumbling(Millis(size), Millis(second.lateness)),
        Windows::Sessions(gap) => panes.sessions(Millis(gap), Millis(second.lateness)),
    };
    let clicks = |pane: &Pane<FirstState>| pane.state.0 as i64;
    let invertible = Both(Count::of(), Sum::of(clicks));
    let pipeline = if second.kept {
        windowed.aggregate("second", Both(invertible, Extreme::greatest(clicks))).output(
            |_: &[u8], window: Window, state: &((u64, i128), Option<i64>), out: &mut Vec<u8>| {
                out.extend_from_slice(&second_row(window.end.0, state.0.0, state.0.1, state.1));
            },
        )
    } else {
        windowed.aggregate("second", invertible).output(
            |_: &[u8], window: Window, state: &(u64, i128), out: &mut Vec<u8>| {
                out.extend_from_slice(&second_row(window.end.0, state.0, state.1, None));
            },
        )
    };
    pipeline.expect("a pipeline")
}

/// Puts events into a source partition; every third offset is a hole.
pub fn fill(log: &mut Log, shape: &Shape, events: &[Vec<Event>]) {
    for (partition, events) in events.iter().enumerate() {
        let target = TopicPartition::new(TOPIC, partition as i32);
        for (index, event) in events.iter().enumerate() {
            let mut batch = BatchBuilder::new(Compression::None);
            match event {
                Event::Click { at, key, id, amount } => {
                    let key = key_of(shape, partition as i32, *key);
                    batch.push(Timestamp(*at), Some(&key), Some(&[0, *id, *amount as u8]), &[]);
                }
                Event::Dull { at } => batch.push(Timestamp(*at), Some(b"dull"), Some(&[1, 0, 0]), &[]),
                Event::Poison { at } => batch.push(Timestamp(*at), Some(b"poison"), Some(b"poison"), &[]),
                Event::Marker { watermark } => {
                    let bytes = watermark.to_be_bytes();
                    let at = if *watermark == i64::MAX { 0 } else { *watermark };
                    batch.push(Timestamp(at), None, None, &[(WATERMARK_HEADER.as_bytes(), Some(&bytes))]);
                }
            }
            log.append(&target, &batch.finish(ProducerStamp::NONE), i64::from(index % 3 == 2));
        }
    }
}
