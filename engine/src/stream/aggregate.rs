//! What is computed over the records of a window.
//!
//! In: records and panes, in any order. Out: a state.
//! Invariant: `add` and `merge` are commutative and associative, and `merge` has an identity, so that a state is a
//! function of the set of records; [`super::laws::check`] holds an aggregate to it.

use crate::types::{Offset, Partition, Timestamp};

use super::window::Window;

/// State bytes that do not decode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CodecError(pub String);

/// Where a record stands in the one order that every run agrees on: event time, then where it lies in the log (for
/// panes: upstream key and window).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordTime<'a> {
    pub at: Timestamp,
    pub tie: Tie<'a>,
}

/// What orders records of one event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tie<'a> {
    Source { partition: Partition, offset: Offset },
    Pane { key: &'a [u8], window: Window },
}

/// A fold over the records of a window.
pub trait Aggregate: Send + Sync + 'static {
    type In: Send + 'static;
    type State: Clone + PartialEq + std::fmt::Debug + Send + 'static;

    /// Whether [`Aggregate::subtract`] is an exact inverse of [`Aggregate::add`]. A window that is fed by panes then keeps
    /// a state and a count of contributors; otherwise it keeps the panes themselves.
    const INVERTIBLE: bool = false;

    /// The state of no records.
    fn identity(&self) -> Self::State;
    fn add(&self, state: &mut Self::State, record: &Self::In, time: RecordTime<'_>);
    fn merge(&self, state: &mut Self::State, other: &Self::State);
    /// Takes back an [`Aggregate::add`].
    ///
    /// # Panics
    /// Unless [`Aggregate::INVERTIBLE`].
    fn subtract(&self, _state: &mut Self::State, _record: &Self::In, _time: RecordTime<'_>) {
        panic!("this aggregate has no inverse");
    }
    /// Appends the state's bytes: equal states have equal bytes.
    fn encode(&self, state: &Self::State, out: &mut Vec<u8>);
    /// # Errors
    /// When the bytes are not what `encode` wrote.
    fn decode(&self, bytes: &[u8]) -> Result<Self::State, CodecError>;
}

/// A pane that is handed on: the input of a second windowed stage. Its event time is `window.end − 1`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pane<S> {
    pub key: Vec<u8>,
    pub window: Window,
    pub state: S,
}

/// A pane that is looked at.
#[derive(Debug)]
pub struct PaneRef<'a, S> {
    pub key: &'a [u8],
    pub window: Window,
    pub state: &'a S,
}
