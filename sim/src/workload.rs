//! What the simulator asks of a pipeline that it shall try: [`Workload`].
//!
//! In: the shape of a cluster, knobs, a stream of draws. Out: a pipeline, its source events, and what its output must be.
//! The simulator names no workload; a user's own topology enters by this door.
//!
//! Invariant: `generate` is a function of its arguments. `expected` and `row` run no engine code: they are the third
//! computation that live and replay are compared with.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use engine::stream::{Pipeline, PipelineError, Source};
use engine::types::Millis;
use serde::{Deserialize, Serialize};

pub use crate::draw::Draw;

/// The header of a marker, a record without key and value: its value is the watermark, i64 BE milliseconds.
pub const WATERMARK_HEADER: &str = "segno.watermark";
/// The watermark of the end marker: the partition will have no further record.
pub const END_OF_INPUT: i64 = i64::MAX;

/// A topology, its input and its answer.
pub trait Workload: Send + Sync {
    fn name(&self) -> &'static str;

    fn source_topic(&self) -> &'static str;

    /// The topology for this shape.
    ///
    /// # Errors
    /// If the shape makes no valid pipeline.
    fn pipeline(&self, shape: &Shape) -> Result<Pipeline, PipelineError>;

    /// The Avro schemas that its records may be written with, as JSON; the source's first. A producer registers one before
    /// the first value that names it.
    fn schemas(&self) -> Vec<String>;

    /// The source events of a run, in the order in which they are to be sent: ascending `at_ms`, and within a partition
    /// the order of the list is the order of the log. The last of every partition is its end marker.
    fn generate(&self, knobs: &Knobs, shape: &Shape, draw: &mut Draw) -> Vec<SourceEvent>;

    /// What the output must be for this source log. `log`: committed records only, per partition in offset order.
    fn expected(&self, shape: &Shape, log: &[LogRecord]) -> Expected;

    /// Whether [`Workload::expected`] is an answer; without one, live and replay are compared with each other only.
    fn has_expected(&self) -> bool {
        true
    }

    /// Whether a record is an event: those that are none do not move the watermark.
    fn is_event(&self, shape: &Shape, record: &LogRecord) -> bool {
        self.expected(shape, std::slice::from_ref(record)).rejected == 0
    }

    /// An output record, decoded without the engine.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    fn row(&self, key: &[u8], value: &[u8]) -> Result<(RowKey, Row), String>;

    /// The fields of a row in the order in which a person or a file wants them.
    fn fields(&self) -> &'static [&'static str];

    /// A row as one line of JSON, without the newline: only the [`Workload::fields`], in their order.
    fn line(&self, row: &Row) -> String {
        let mut line = String::from("{");
        for (index, field) in self.fields().iter().enumerate() {
            let value = row.get(*field).unwrap_or(&serde_json::Value::Null);
            let comma = if index == 0 { "" } else { "," };
            line.push_str(&format!("{comma}{}:{value}", serde_json::Value::from(*field)));
        }
        line.push('}');
        line
    }

    /// Appends the line of an output record, without the newline, and returns its numbers: what [`Workload::row`] and
    /// [`Workload::line`] give. A workload with many panes may write the same line straight from the bytes.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    fn pane_line(&self, key: &[u8], value: &[u8], line: &mut Vec<u8>) -> Result<PaneNumbers, String> {
        let (_, row) = self.row(key, value)?;
        line.extend_from_slice(self.line(&row).as_bytes());
        Ok(PaneNumbers::of(&row))
    }
}

/// What a pane adds to the sums of its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaneNumbers {
    pub events: i64,
    /// First and last event time of a pane that has them: a session.
    pub first_and_last_ms: Option<(i64, i64)>,
}

impl PaneNumbers {
    #[must_use]
    pub fn of(row: &Row) -> PaneNumbers {
        let number = |field: &str| row.get(field).and_then(serde_json::Value::as_i64);
        PaneNumbers {
            events: number("events").unwrap_or(0),
            first_and_last_ms: number("first_ms").zip(number("last_ms")),
        }
    }
}

/// How the source is laid out, and how patient the pipeline is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Partitions of the source topic.
    pub partitions: i32,
    /// The source is keyed by what the pipeline groups by; else by event, and a repartition topic comes in between.
    pub keyed_by_record: bool,
    /// Partitions of the repartition topic; without meaning when keyed by record.
    pub repartitions: i32,
    /// How far behind the highest event time the watermark stays.
    pub bound: Millis,
    pub allowed_lateness: Millis,
}

impl Shape {
    /// The source of this shape.
    #[must_use]
    pub fn source(&self, topic: &str) -> Source {
        Source { topic: topic.to_owned(), partitions: self.partitions, bound: self.bound }
    }
}

/// What makes an event hard for an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// Its window is closed for its partition when it comes.
    Late,
    /// Its event time is before that of a record before it in its partition, within the bound.
    OutOfOrder,
    /// A copy of an earlier event of its partition.
    Duplicate,
    /// One of many that are sent in the same millisecond.
    Burst,
    /// Of the key that gets most of the events.
    HotKey,
    /// A marker: the partition has nothing to say for a while, or resumes after it.
    IdlePartition,
    /// The end marker of a partition that never had an event.
    UnusedPartition,
    /// Exactly as far from another event of its key as still makes one session, or on a window's edge.
    ExactGap,
    /// One millisecond further than [`EventKind::ExactGap`].
    PastGap,
    /// Comes after the two sessions that it joins.
    Bridge,
    /// Comes before the first event of a session whose end every watermark has passed, in time by the allowed lateness.
    ExtendsEmitted,
    /// Joins two sessions whose ends every watermark has passed, in time by the allowed lateness.
    BridgesEmitted,
    /// Same key and event time as another event, not a copy of it.
    EqualTimestamps,
    /// The same value as another event of its key, but for identity and time.
    RepeatedValue,
    /// A value that cannot be decoded.
    Poison,
    /// Written with another schema than the first records were.
    SchemaChange,
    /// The whole log is this one event.
    OnlyRecord,
}

impl EventKind {
    pub const ALL: [EventKind; 17] = [
        EventKind::Late,
        EventKind::OutOfOrder,
        EventKind::Duplicate,
        EventKind::Burst,
        EventKind::HotKey,
        EventKind::IdlePartition,
        EventKind::UnusedPartition,
        EventKind::ExactGap,
        EventKind::PastGap,
        EventKind::Bridge,
        EventKind::EqualTimestamps,
        EventKind::RepeatedValue,
        EventKind::Poison,
        EventKind::ExtendsEmitted,
        EventKind::BridgesEmitted,
        EventKind::OnlyRecord,
        EventKind::SchemaChange,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            EventKind::Late => "late",
            EventKind::OutOfOrder => "out-of-order",
            EventKind::Duplicate => "duplicate",
            EventKind::Burst => "burst",
            EventKind::HotKey => "hot-key",
            EventKind::IdlePartition => "idle-partition",
            EventKind::UnusedPartition => "unused-partition",
            EventKind::ExactGap => "exact-gap",
            EventKind::PastGap => "past-gap",
            EventKind::Bridge => "bridge",
            EventKind::ExtendsEmitted => "extends-emitted",
            EventKind::BridgesEmitted => "bridges-emitted",
            EventKind::EqualTimestamps => "equal-timestamps",
            EventKind::RepeatedValue => "repeated-value",
            EventKind::Poison => "poison",
            EventKind::SchemaChange => "schema-change",
            EventKind::OnlyRecord => "only-record",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How much is generated, and which kinds of trouble. Swarm style: a plan turns some off altogether.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Knobs {
    /// Events before the kinds add theirs; 0 leaves end markers only.
    pub events: u32,
    /// Distinct keys; at least 1.
    pub keys: u32,
    /// Virtual milliseconds from the first event to the last end marker.
    pub span_ms: u64,
    pub kinds: BTreeSet<EventKind>,
}

impl Knobs {
    /// Knobs for one seed: mostly 20 to 400 events with about two thirds of the kinds; now and then an empty log or a
    /// log of one record.
    #[must_use]
    pub fn draw(draw: &mut Draw, span_ms: u64) -> Knobs {
        let events = match draw.weighted(&[2, 2, 40, 40, 16]) {
            0 => 0,
            1 => 1,
            2 => draw.between(20, 80),
            3 => draw.between(80, 200),
            _ => draw.between(200, 400),
        };
        let keys = *draw.pick(&[1, 2, 3, 5, 8, 13]);
        let mut kinds: BTreeSet<EventKind> = EventKind::ALL.into_iter().filter(|_| draw.chance(2, 3)).collect();
        if events == 1 {
            kinds.insert(EventKind::OnlyRecord);
        } else {
            kinds.remove(&EventKind::OnlyRecord);
        }
        Knobs { events: events as u32, keys, span_ms, kinds }
    }

    #[must_use]
    pub fn has(&self, kind: EventKind) -> bool {
        self.kinds.contains(&kind)
    }
}

/// One record that a producer shall write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceEvent {
    /// The id of its send; its place in the list, from 1, where none is given. So an event keeps its id when others are
    /// taken out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// When it is sent: virtual milliseconds since the start of the run.
    pub at_ms: u64,
    pub partition: i32,
    /// Event time, the record's timestamp.
    pub timestamp: i64,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hex_option")]
    pub key: Option<Vec<u8>>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hex_option")]
    pub value: Option<Vec<u8>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "hex_headers")]
    pub headers: Vec<(String, Vec<u8>)>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub kinds: BTreeSet<EventKind>,
}

impl SourceEvent {
    /// About how many bytes it takes in a log.
    pub fn size_bytes(&self) -> u64 {
        let parts = self.key.iter().chain(&self.value).map(Vec::len).sum::<usize>();
        (parts + self.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() + 40) as u64
    }

    /// A marker: `partition`'s event time has reached `watermark`, whatever its records say.
    #[must_use]
    pub fn marker(at_ms: u64, partition: i32, watermark: i64) -> SourceEvent {
        SourceEvent {
            id: None,
            at_ms,
            partition,
            timestamp: if watermark == END_OF_INPUT { 0 } else { watermark },
            key: None,
            value: None,
            headers: vec![(WATERMARK_HEADER.to_owned(), watermark.to_be_bytes().to_vec())],
            kinds: BTreeSet::new(),
        }
    }

    /// The watermark that this record sets, if it is a marker.
    #[must_use]
    pub fn watermark(&self) -> Option<i64> {
        marker_watermark(self.key.as_deref(), self.value.as_deref(), &self.headers)
    }
}

/// A committed source record as the checks read it from the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    pub partition: i32,
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
}

impl LogRecord {
    /// The value as text; empty where there is none or it is not UTF-8.
    #[must_use]
    pub fn text(&self) -> &str {
        self.value.as_deref().and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default()
    }

    /// The watermark that this record sets, if it is a marker.
    #[must_use]
    pub fn watermark(&self) -> Option<i64> {
        marker_watermark(self.key.as_deref(), self.value.as_deref(), &self.headers)
    }
}

fn marker_watermark(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(String, Vec<u8>)]) -> Option<i64> {
    if key.is_some() || value.is_some() {
        return None;
    }
    let (_, bytes) = headers.iter().find(|(name, _)| name == WATERMARK_HEADER)?;
    Some(i64::from_be_bytes(bytes.as_slice().try_into().ok()?))
}

/// Which row: the grouping key and the start of its window.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RowKey {
    pub key: String,
    pub window_start: i64,
}

impl fmt::Display for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} @ {}", self.key, self.window_start)
    }
}

/// A row of the final table, field by field.
pub type Row = BTreeMap<String, serde_json::Value>;

/// What a log must produce.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    pub table: BTreeMap<RowKey, Row>,
    /// (source partition, offset, window start; for sessions the event time) → entries in the late topic.
    pub late: BTreeMap<(i32, i64, i64), u64>,
    /// Records that deduplication dropped.
    pub duplicates: u64,
    /// Records that could not be decoded.
    pub rejected: u64,
}

/// Bytes as hexadecimal, so that a plan stays a file that can be read.
fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return Err(format!("an odd number of hexadecimal digits: {}", digits.len()));
    }
    let digit =
        |byte: u8| (byte as char).to_digit(16).ok_or_else(|| format!("not a hexadecimal digit: {:?}", byte as char));
    digits.chunks_exact(2).map(|pair| Ok((digit(pair[0])? * 16 + digit(pair[1])?) as u8)).collect()
}

mod hex_option {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => serializer.serialize_str(&super::to_hex(bytes)),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| super::from_hex(&text)).transpose().map_err(D::Error::custom)
    }
}

mod hex_headers {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub fn serialize<S: Serializer>(headers: &[(String, Vec<u8>)], serializer: S) -> Result<S::Ok, S::Error> {
        let pairs: Vec<(&str, String)> =
            headers.iter().map(|(name, value)| (name.as_str(), super::to_hex(value))).collect();
        pairs.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, Vec<u8>)>, D::Error> {
        let pairs = Vec::<(String, String)>::deserialize(deserializer)?;
        pairs.into_iter().map(|(name, value)| Ok((name, super::from_hex(&value).map_err(D::Error::custom)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_survives_the_plan_file() {
        let event = SourceEvent {
            id: Some(7),
            at_ms: 3,
            partition: 1,
            timestamp: -5,
            key: Some(vec![0, 255]),
            value: None,
            headers: vec![("segno.send".into(), vec![1, 2])],
            kinds: [EventKind::Late, EventKind::OutOfOrder].into(),
        };
        let text = toml::to_string(&event).expect("an event is plain data");
        assert_eq!(toml::from_str::<SourceEvent>(&text).expect("what was written can be read"), event);
    }

    #[test]
    fn only_a_record_without_key_and_value_is_a_marker() {
        let mut event = SourceEvent::marker(0, 0, -7);
        assert_eq!(event.watermark(), Some(-7));
        event.value = Some(Vec::new());
        assert_eq!(event.watermark(), None);
        let mut short = SourceEvent::marker(0, 0, 7);
        short.headers[0].1.pop();
        assert_eq!(short.watermark(), None);
    }
}
