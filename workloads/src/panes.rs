//! What the clickstream pipelines compute in a window, and how their panes are written.
//!
//! In: clicks of one key and window, whole ones or what a pipeline reads of them; or sessions of one outcome and hour. Out: a state; from it the bytes of a pane, Avro with the Confluent framing. A pane
//! holds its window's end; its start and its user are in the output key.
//!
//! Invariant: states are sums, minima and maxima, so they are a function of the set of clicks.

use std::fmt;
use std::marker::PhantomData;

use engine::stream::{Aggregate, CodecError, Pane, PaneEncoder, RecordTime, Window};

use crate::click::{Click, ClickType, frame, put_long, take_long};

/// The schema of a pane of `clickstream-sessions`.
pub const SESSION_SCHEMA: &str = r#"{"type":"record","name":"Session","namespace":"segno","fields":[{"name":"window_end","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"first","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"last","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"events","type":"long"},{"name":"views","type":"long"},{"name":"clicks","type":"long"},{"name":"carts","type":"long"},{"name":"purchases","type":"long"}]}"#;
/// The low 31 bits of the Rabin fingerprint of [`SESSION_SCHEMA`]'s canonical form.
pub const SESSION_SCHEMA_ID: u32 = 1_253_274_033;

/// The schema of a pane of the pipelines that count by minute.
pub const MINUTE_SCHEMA: &str = r#"{"type":"record","name":"Minute","namespace":"segno","fields":[{"name":"window_end","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"events","type":"long"}]}"#;
/// The low 31 bits of the Rabin fingerprint of [`MINUTE_SCHEMA`]'s canonical form.
pub const MINUTE_SCHEMA_ID: u32 = 2_040_964_060;

/// The schema of a pane of `clickstream-session-hours`.
pub const HOUR_SCHEMA: &str = r#"{"type":"record","name":"Hour","namespace":"segno","fields":[{"name":"window_end","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"sessions","type":"long"},{"name":"events","type":"long"},{"name":"purchases","type":"long"}]}"#;
/// The low 31 bits of the Rabin fingerprint of [`HOUR_SCHEMA`]'s canonical form.
pub const HOUR_SCHEMA_ID: u32 = 1_364_081_634;

/// The clicks of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionState {
    /// `i64::MAX` and `i64::MIN` while there is no click.
    pub first: i64,
    pub last: i64,
    /// By [`crate::click::ClickType`].
    pub kinds: [u64; 4],
}

/// An event of which the type is known.
pub trait Typed: Send + Sync + 'static {
    fn kind(&self) -> ClickType;
}

impl Typed for Click {
    #[inline]
    fn kind(&self) -> ClickType {
        self.kind
    }
}

impl Typed for ClickType {
    #[inline]
    fn kind(&self) -> ClickType {
        *self
    }
}

/// First and last event time and the number of events of each type; of clicks, or of as much of them as is read.
pub struct SessionAggregate<T = Click>(PhantomData<fn(&T)>);

impl<T: Typed> Aggregate for SessionAggregate<T> {
    type In = T;
    type State = SessionState;

    fn identity(&self) -> SessionState {
        SessionState { first: i64::MAX, last: i64::MIN, kinds: [0; 4] }
    }

    fn add(&self, state: &mut SessionState, event: &T, time: RecordTime<'_>) {
        state.first = state.first.min(time.at.0);
        state.last = state.last.max(time.at.0);
        state.kinds[event.kind() as usize] += 1;
    }

    fn merge(&self, state: &mut SessionState, other: &SessionState) {
        state.first = state.first.min(other.first);
        state.last = state.last.max(other.last);
        for (kind, more) in state.kinds.iter_mut().zip(other.kinds) {
            *kind += more;
        }
    }

    fn encode(&self, state: &SessionState, out: &mut Vec<u8>) {
        put_long(state.first, out);
        put_long(state.last, out);
        for kind in state.kinds {
            put_long(kind as i64, out);
        }
    }

    fn decode(&self, mut bytes: &[u8]) -> Result<SessionState, CodecError> {
        let mut next = || take_count(&mut bytes);
        let (first, last) = (next()?, next()?);
        let mut kinds = [0; 4];
        for kind in &mut kinds {
            *kind = next()? as u64;
        }
        ended(bytes)?;
        Ok(SessionState { first, last, kinds })
    }
}

/// The number of events, whatever they are.
pub struct CountAggregate<T = Click>(PhantomData<fn(&T)>);

/// Neither holds an event, so neither asks anything of its type.
macro_rules! plain {
    ($aggregate:ident) => {
        impl<T> $aggregate<T> {
            #[must_use]
            pub fn new() -> Self {
                $aggregate(PhantomData)
            }
        }

        impl<T> Default for $aggregate<T> {
            fn default() -> Self {
                Self::new()
            }
        }

        impl<T> Clone for $aggregate<T> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<T> Copy for $aggregate<T> {}

        impl<T> fmt::Debug for $aggregate<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($aggregate))
            }
        }
    };
}

plain!(SessionAggregate);
plain!(CountAggregate);

impl<T: Send + Sync + 'static> Aggregate for CountAggregate<T> {
    type In = T;
    type State = u64;
    const INVERTIBLE: bool = true;

    fn identity(&self) -> u64 {
        0
    }

    fn add(&self, state: &mut u64, _event: &T, _time: RecordTime<'_>) {
        *state += 1;
    }

    fn merge(&self, state: &mut u64, other: &u64) {
        *state += other;
    }

    fn subtract(&self, state: &mut u64, _event: &T, _time: RecordTime<'_>) {
        *state -= 1;
    }

    fn encode(&self, state: &u64, out: &mut Vec<u8>) {
        put_long(*state as i64, out);
    }

    fn decode(&self, mut bytes: &[u8]) -> Result<u64, CodecError> {
        let count = take_count(&mut bytes)?;
        ended(bytes)?;
        Ok(count as u64)
    }
}

/// The sessions of an outcome and an hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HourState {
    pub sessions: u64,
    pub events: u64,
    pub purchases: u64,
}

impl HourState {
    fn of(session: &SessionState) -> HourState {
        HourState { sessions: 1, events: session.kinds.iter().sum(), purchases: session.kinds[3] }
    }
}

/// Sums over sessions, with an exact inverse that the engine is told of, or not: then it keeps the sessions themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct HourAggregate<const INVERSE: bool>;

impl<const INVERSE: bool> Aggregate for HourAggregate<INVERSE> {
    type In = Pane<SessionState>;
    type State = HourState;
    const INVERTIBLE: bool = INVERSE;

    fn identity(&self) -> HourState {
        HourState::default()
    }

    fn add(&self, state: &mut HourState, session: &Pane<SessionState>, _time: RecordTime<'_>) {
        self.merge(state, &HourState::of(&session.state));
    }

    fn merge(&self, state: &mut HourState, other: &HourState) {
        state.sessions += other.sessions;
        state.events += other.events;
        state.purchases += other.purchases;
    }

    fn subtract(&self, state: &mut HourState, session: &Pane<SessionState>, _time: RecordTime<'_>) {
        let less = HourState::of(&session.state);
        state.sessions -= less.sessions;
        state.events -= less.events;
        state.purchases -= less.purchases;
    }

    fn encode(&self, state: &HourState, out: &mut Vec<u8>) {
        for count in [state.sessions, state.events, state.purchases] {
            put_long(count as i64, out);
        }
    }

    fn decode(&self, mut bytes: &[u8]) -> Result<HourState, CodecError> {
        let mut next = || take_count(&mut bytes).map(|count| count as u64);
        let state = HourState { sessions: next()?, events: next()?, purchases: next()? };
        ended(bytes)?;
        Ok(state)
    }
}

fn take_count(bytes: &mut &[u8]) -> Result<i64, CodecError> {
    take_long(bytes).ok_or_else(|| CodecError("the state ends within a number".to_owned()))
}

fn ended(bytes: &[u8]) -> Result<(), CodecError> {
    if bytes.is_empty() { Ok(()) } else { Err(CodecError(format!("{} bytes follow the state", bytes.len()))) }
}

/// Writes the panes of `clickstream-sessions`.
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionPanes;

impl PaneEncoder<SessionState> for SessionPanes {
    fn encode(&self, _key: &[u8], window: Window, state: &SessionState, out: &mut Vec<u8>) {
        frame(SESSION_SCHEMA_ID, out);
        put_long(window.end.0, out);
        put_long(state.first, out);
        put_long(state.last, out);
        put_long(state.kinds.iter().sum::<u64>() as i64, out);
        for kind in state.kinds {
            put_long(kind as i64, out);
        }
    }
}

/// Writes the panes of the pipelines that count by minute.
#[derive(Clone, Copy, Debug, Default)]
pub struct MinutePanes;

impl PaneEncoder<u64> for MinutePanes {
    fn encode(&self, _key: &[u8], window: Window, events: &u64, out: &mut Vec<u8>) {
        frame(MINUTE_SCHEMA_ID, out);
        put_long(window.end.0, out);
        put_long(*events as i64, out);
    }
}

/// Writes the panes of `clickstream-session-hours`.
#[derive(Clone, Copy, Debug, Default)]
pub struct HourPanes;

impl PaneEncoder<HourState> for HourPanes {
    fn encode(&self, _key: &[u8], window: Window, hour: &HourState, out: &mut Vec<u8>) {
        frame(HOUR_SCHEMA_ID, out);
        put_long(window.end.0, out);
        for count in [hour.sessions, hour.events, hour.purchases] {
            put_long(count as i64, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apache_avro::types::Value;
    use apache_avro::{Schema, from_avro_datum};
    use engine::stream::{Tie, laws};
    use engine::types::{Offset, Partition, Timestamp};
    use proptest::prelude::*;
    use serde_avro_fast::schema::SchemaMut;

    use crate::click::FRAME_BYTES;
    use crate::pipelines::ClickPipeline;
    use sim::workload::{Row, Workload};

    fn id(schema: &str) -> u32 {
        let ours = engine::schema::Schema::parse(schema).expect("a valid schema").id().0 as u32;
        let schema: SchemaMut = schema.parse().expect("a valid schema");
        let bytes = schema.canonical_form_rabin_fingerprint().expect("a schema without cycles");
        assert_eq!(u64::from_le_bytes(bytes) as u32 & 0x7fff_ffff, ours);
        ours
    }

    proptest! {
        #[test]
        fn the_aggregates_keep_the_laws(clicks in prop::collection::vec((-50..50i64, 0..4usize), 0..8)) {
            let records: Vec<(Click, RecordTime<'static>)> = (0..)
                .zip(clicks)
                .map(|(offset, (ts, kind))| {
                    let kind = ClickType::ALL[kind];
                    let click = Click { event_id: 1, ts, user_id: "user".into(), product_id: 2, kind };
                    let tie = Tie::Source { partition: Partition(0), offset: Offset(offset) };
                    (click, RecordTime { at: Timestamp(ts), tie })
                })
                .collect();
            laws::check(&SessionAggregate::new(), &records);
            laws::check(&CountAggregate::new(), &records);
            let kinds: Vec<(ClickType, RecordTime<'static>)> =
                records.iter().map(|(click, time)| (click.kind, *time)).collect();
            laws::check(&SessionAggregate::new(), &kinds);
            let nothing: Vec<((), RecordTime<'static>)> = records.iter().map(|(_, time)| ((), *time)).collect();
            laws::check(&CountAggregate::new(), &nothing);
            let sessions: Vec<Pane<SessionState>> = (0..)
                .zip(&records)
                .map(|(number, (click, _))| {
                    let mut state = SessionState { first: click.ts, last: click.ts, kinds: [number % 3; 4] };
                    state.kinds[click.kind as usize] += 1;
                    let window = Window { start: Timestamp(click.ts), end: Timestamp(click.ts + 11) };
                    Pane { key: format!("user-{number}").into_bytes(), window, state }
                })
                .collect();
            let sessions: Vec<(Pane<SessionState>, RecordTime<'_>)> = sessions
                .iter()
                .map(|pane| {
                    let tie = Tie::Pane { key: &pane.key, window: pane.window };
                    (pane.clone(), RecordTime { at: pane.window.pane_time(), tie })
                })
                .collect();
            laws::check(&HourAggregate::<true>, &sessions);
            laws::check(&HourAggregate::<false>, &sessions);
        }

        #[test]
        fn no_bytes_make_a_state_panic(noise: Vec<u8>) {
            let _ = SessionAggregate::<Click>::new().decode(&noise);
            let _ = CountAggregate::<Click>::new().decode(&noise);
            let _ = HourAggregate::<true>.decode(&noise);
        }
    }

    #[test]
    fn the_schema_ids_are_the_fingerprints_of_the_schemas() {
        assert_eq!((id(SESSION_SCHEMA), id(MINUTE_SCHEMA)), (SESSION_SCHEMA_ID, MINUTE_SCHEMA_ID));
        assert_eq!(id(HOUR_SCHEMA), HOUR_SCHEMA_ID);
    }

    const WINDOW: Window = Window { start: Timestamp(-5), end: Timestamp(1_800_008) };

    fn output_key() -> Vec<u8> {
        [b"user-1".as_slice(), &WINDOW.start.0.to_be_bytes()].concat()
    }

    #[track_caller]
    fn check(pipeline: ClickPipeline, schema: &str, value: &[u8], row: &[(&str, i64)], line: &str) {
        let (key, read) = pipeline.row(&output_key(), value).expect("a pane");
        assert_eq!((key.key.as_str(), key.window_start), ("user-1", -5));
        let mut wanted: Row = row.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        let key = if pipeline == ClickPipeline::SessionHours { "outcome" } else { "user_id" };
        wanted.insert(key.to_owned(), "user-1".into());
        assert_eq!(read, wanted);
        assert_eq!(pipeline.line(&read), line);
        let schema = Schema::parse_str(schema).expect("a valid schema");
        let mut left = &value[FRAME_BYTES..];
        let Value::Record(fields) = from_avro_datum(&schema, &mut left, None).expect("valid Avro") else {
            panic!("a pane is a record")
        };
        assert!(left.is_empty());
        assert_eq!(fields[0], ("window_end".to_owned(), Value::TimestampMillis(WINDOW.end.0)));
        for cut in 0..value.len() {
            assert!(pipeline.row(&output_key(), &value[..cut]).is_err(), "a pane of {cut} bytes");
        }
        assert!(pipeline.row(b"1234567", value).is_err(), "a key without a window start");
    }

    #[test]
    fn a_pane_is_read_back_field_by_field_without_the_engine() {
        let state = SessionState { first: -5, last: 7, kinds: [1, 2, 3, 400] };
        let mut value = Vec::new();
        SessionPanes.encode(b"user-1", WINDOW, &state, &mut value);
        let row = [
            ("window_end_ms", 1_800_008),
            ("first_ms", -5),
            ("last_ms", 7),
            ("events", 406),
            ("views", 1),
            ("clicks", 2),
            ("carts", 3),
            ("purchases", 400),
        ];
        let line = r#"{"user_id":"user-1","first_ms":-5,"last_ms":7,"events":406,"views":1,"clicks":2,"carts":3,"purchases":400}"#;
        check(ClickPipeline::Sessions, SESSION_SCHEMA, &value, &row, line);

        value.clear();
        MinutePanes.encode(b"user-1", WINDOW, &300, &mut value);
        let row = [("window_end_ms", 1_800_008), ("minute_ms", -5), ("events", 300)];
        let line = r#"{"user_id":"user-1","minute_ms":-5,"events":300}"#;
        check(ClickPipeline::Minutes, MINUTE_SCHEMA, &value, &row, line);

        value.clear();
        HourPanes.encode(b"user-1", WINDOW, &HourState { sessions: 2, events: 300, purchases: 1 }, &mut value);
        let row = [("window_end_ms", 1_800_008), ("hour_ms", -5), ("sessions", 2), ("events", 300), ("purchases", 1)];
        let line = r#"{"outcome":"user-1","hour_ms":-5,"sessions":2,"events":300,"purchases":1}"#;
        check(ClickPipeline::SessionHours, HOUR_SCHEMA, &value, &row, line);
    }
}
