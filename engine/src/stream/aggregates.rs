//! The aggregates that ship. Each holds the laws of [`super::laws`].

use std::marker::PhantomData;
use std::sync::Arc;

use crate::types::{Offset, Partition, Timestamp};

use super::aggregate::{Aggregate, CodecError, RecordTime, Tie};
use super::frame::{Cursor, put_prefixed};
use super::window::Window;

/// How many records.
pub struct Count<T>(PhantomData<fn(T)>);

impl<T> Count<T> {
    #[must_use]
    pub fn of() -> Count<T> {
        Count(PhantomData)
    }
}

impl<T> Clone for Count<T> {
    fn clone(&self) -> Self {
        Count::of()
    }
}

impl<T: Send + 'static> Aggregate for Count<T> {
    type In = T;
    type State = u64;
    const INVERTIBLE: bool = true;

    fn identity(&self) -> u64 {
        0
    }
    #[inline]
    fn add(&self, state: &mut u64, _: &T, _: RecordTime<'_>) {
        *state += 1;
    }
    fn merge(&self, state: &mut u64, other: &u64) {
        *state += other;
    }
    fn subtract(&self, state: &mut u64, _: &T, _: RecordTime<'_>) {
        *state -= 1;
    }
    fn encode(&self, state: &u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&state.to_be_bytes());
    }
    fn decode(&self, bytes: &[u8]) -> Result<u64, CodecError> {
        let mut cursor = Cursor(bytes);
        let state = cursor.u64()?;
        cursor.end()?;
        Ok(state)
    }
}

/// What an aggregate looks at in a record.
type Field<T, V> = Arc<dyn Fn(&T) -> V + Send + Sync>;

/// The exact sum of a number: 2^64 records of any i64 fit.
pub struct Sum<T>(Field<T, i64>);

impl<T> Sum<T> {
    #[must_use]
    pub fn of(field: impl Fn(&T) -> i64 + Send + Sync + 'static) -> Sum<T> {
        Sum(Arc::new(field))
    }
}

impl<T> Clone for Sum<T> {
    fn clone(&self) -> Self {
        Sum(Arc::clone(&self.0))
    }
}

impl<T: Send + 'static> Aggregate for Sum<T> {
    type In = T;
    type State = i128;
    const INVERTIBLE: bool = true;

    fn identity(&self) -> i128 {
        0
    }
    fn add(&self, state: &mut i128, record: &T, _: RecordTime<'_>) {
        *state += i128::from((self.0)(record));
    }
    fn merge(&self, state: &mut i128, other: &i128) {
        *state += other;
    }
    fn subtract(&self, state: &mut i128, record: &T, _: RecordTime<'_>) {
        *state -= i128::from((self.0)(record));
    }
    fn encode(&self, state: &i128, out: &mut Vec<u8>) {
        out.extend_from_slice(&state.to_be_bytes());
    }
    fn decode(&self, bytes: &[u8]) -> Result<i128, CodecError> {
        let mut cursor = Cursor(bytes);
        let state = cursor.i128()?;
        cursor.end()?;
        Ok(state)
    }
}

/// Which end of an order is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Least,
    Greatest,
}

/// The least or the greatest of a number; `None` of no records.
pub struct Extreme<T>(Field<T, i64>, End);

impl<T> Extreme<T> {
    #[must_use]
    pub fn least(field: impl Fn(&T) -> i64 + Send + Sync + 'static) -> Extreme<T> {
        Extreme(Arc::new(field), End::Least)
    }

    #[must_use]
    pub fn greatest(field: impl Fn(&T) -> i64 + Send + Sync + 'static) -> Extreme<T> {
        Extreme(Arc::new(field), End::Greatest)
    }

    fn keep(&self, state: &mut Option<i64>, other: i64) {
        let kept = state.unwrap_or(other);
        *state = Some(if self.1 == End::Least { kept.min(other) } else { kept.max(other) });
    }
}

impl<T> Clone for Extreme<T> {
    fn clone(&self) -> Self {
        Extreme(Arc::clone(&self.0), self.1)
    }
}

impl<T: Send + 'static> Aggregate for Extreme<T> {
    type In = T;
    type State = Option<i64>;

    fn identity(&self) -> Option<i64> {
        None
    }
    fn add(&self, state: &mut Option<i64>, record: &T, _: RecordTime<'_>) {
        self.keep(state, (self.0)(record));
    }
    fn merge(&self, state: &mut Option<i64>, other: &Option<i64>) {
        if let Some(other) = other {
            self.keep(state, *other);
        }
    }
    fn encode(&self, state: &Option<i64>, out: &mut Vec<u8>) {
        if let Some(state) = state {
            out.extend_from_slice(&state.to_be_bytes());
        }
    }
    fn decode(&self, bytes: &[u8]) -> Result<Option<i64>, CodecError> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let mut cursor = Cursor(bytes);
        let state = cursor.i64()?;
        cursor.end()?;
        Ok(Some(state))
    }
}

/// A record's place in the order that every run agrees on, kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    at: Timestamp,
    tie: OwnedTie,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum OwnedTie {
    Source { partition: Partition, offset: Offset },
    Pane { key: Vec<u8>, window: Window },
}

impl Place {
    fn of(time: RecordTime<'_>) -> Place {
        let tie = match time.tie {
            Tie::Source { partition, offset } => OwnedTie::Source { partition, offset },
            Tie::Pane { key, window } => OwnedTie::Pane { key: key.to_vec(), window },
        };
        Place { at: time.at, tie }
    }

    fn time(&self) -> RecordTime<'_> {
        let tie = match &self.tie {
            OwnedTie::Source { partition, offset } => Tie::Source { partition: *partition, offset: *offset },
            OwnedTie::Pane { key, window } => Tie::Pane { key, window: *window },
        };
        RecordTime { at: self.at, tie }
    }
}

/// A field of the first or the last record, by (event time, place in the log): never by arrival.
pub struct Edge<T>(Field<T, Vec<u8>>, End);

impl<T> Edge<T> {
    #[must_use]
    pub fn first(field: impl Fn(&T) -> Vec<u8> + Send + Sync + 'static) -> Edge<T> {
        Edge(Arc::new(field), End::Least)
    }

    #[must_use]
    pub fn last(field: impl Fn(&T) -> Vec<u8> + Send + Sync + 'static) -> Edge<T> {
        Edge(Arc::new(field), End::Greatest)
    }

    fn replaces(&self, time: RecordTime<'_>, state: Option<&(Place, Vec<u8>)>) -> bool {
        state.is_none_or(|(place, _)| match self.1 {
            End::Least => time < place.time(),
            End::Greatest => time > place.time(),
        })
    }
}

impl<T> Clone for Edge<T> {
    fn clone(&self) -> Self {
        Edge(Arc::clone(&self.0), self.1)
    }
}

impl<T: Send + 'static> Aggregate for Edge<T> {
    type In = T;
    type State = Option<(Place, Vec<u8>)>;

    fn identity(&self) -> Self::State {
        None
    }
    fn add(&self, state: &mut Self::State, record: &T, time: RecordTime<'_>) {
        if self.replaces(time, state.as_ref()) {
            *state = Some((Place::of(time), (self.0)(record)));
        }
    }
    fn merge(&self, state: &mut Self::State, other: &Self::State) {
        if let Some(other) = other
            && self.replaces(other.0.time(), state.as_ref())
        {
            *state = Some(other.clone());
        }
    }
    fn encode(&self, state: &Self::State, out: &mut Vec<u8>) {
        let Some((place, value)) = state else { return };
        out.extend_from_slice(&place.at.0.to_be_bytes());
        match &place.tie {
            OwnedTie::Source { partition, offset } => {
                out.push(0);
                out.extend_from_slice(&partition.0.to_be_bytes());
                out.extend_from_slice(&offset.0.to_be_bytes());
            }
            OwnedTie::Pane { key, window } => {
                out.push(1);
                put_prefixed(out, |out| out.extend_from_slice(key));
                out.extend_from_slice(&window.start.0.to_be_bytes());
                out.extend_from_slice(&window.end.0.to_be_bytes());
            }
        }
        out.extend_from_slice(value);
    }
    fn decode(&self, bytes: &[u8]) -> Result<Self::State, CodecError> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let mut cursor = Cursor(bytes);
        let at = Timestamp(cursor.i64()?);
        let tie = match cursor.u8()? {
            0 => OwnedTie::Source { partition: Partition(cursor.i32()?), offset: Offset(cursor.i64()?) },
            1 => {
                let key = cursor.prefixed()?.to_vec();
                let window = Window { start: Timestamp(cursor.i64()?), end: Timestamp(cursor.i64()?) };
                OwnedTie::Pane { key, window }
            }
            other => return Err(CodecError(format!("tie {other}"))),
        };
        Ok(Some((Place { at, tie }, cursor.0.to_vec())))
    }
}

/// Two aggregates of the same records.
#[derive(Clone)]
pub struct Both<A, B>(pub A, pub B);

impl<A: Aggregate, B: Aggregate<In = A::In>> Aggregate for Both<A, B> {
    type In = A::In;
    type State = (A::State, B::State);
    const INVERTIBLE: bool = A::INVERTIBLE && B::INVERTIBLE;

    fn identity(&self) -> Self::State {
        (self.0.identity(), self.1.identity())
    }
    #[inline]
    fn add(&self, state: &mut Self::State, record: &A::In, time: RecordTime<'_>) {
        self.0.add(&mut state.0, record, time);
        self.1.add(&mut state.1, record, time);
    }
    fn merge(&self, state: &mut Self::State, other: &Self::State) {
        self.0.merge(&mut state.0, &other.0);
        self.1.merge(&mut state.1, &other.1);
    }
    fn subtract(&self, state: &mut Self::State, record: &A::In, time: RecordTime<'_>) {
        self.0.subtract(&mut state.0, record, time);
        self.1.subtract(&mut state.1, record, time);
    }
    fn encode(&self, state: &Self::State, out: &mut Vec<u8>) {
        put_prefixed(out, |out| self.0.encode(&state.0, out));
        self.1.encode(&state.1, out);
    }
    fn decode(&self, bytes: &[u8]) -> Result<Self::State, CodecError> {
        let mut cursor = Cursor(bytes);
        Ok((self.0.decode(cursor.prefixed()?)?, self.1.decode(cursor.0)?))
    }
}
