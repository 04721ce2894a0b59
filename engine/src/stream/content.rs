//! What a cell holds: a state, a state with its number of contributors, or the contributing panes themselves.
//!
//! A cell that is fed by records only ever grows, so a state is enough. One that is fed by panes also shrinks: with an
//! exact inverse it keeps a state and a count, otherwise every pane by (upstream key, window).

use std::collections::BTreeMap;

use smallvec::SmallVec;

use crate::types::Timestamp;

use super::aggregate::{Aggregate, CodecError, Pane, RecordTime, Tie};
use super::frame::{Cursor, put_prefixed};
use super::window::{Span, Window, WindowSpec};

/// The inside of a cell.
pub(super) trait Content<A: Aggregate>: Sized + Send {
    type Item<'i>: Copy;

    fn new(aggregate: &A) -> Self;
    fn insert(&mut self, aggregate: &A, item: Self::Item<'_>);
    fn absorb(&mut self, aggregate: &A, other: Self);
    fn with_state<R>(&self, aggregate: &A, look: impl FnOnce(&A::State) -> R) -> R;
    fn encode(&self, aggregate: &A, out: &mut Vec<u8>);
    fn decode(aggregate: &A, bytes: &[u8]) -> Result<Self, CodecError>;
}

/// A content that gives back what was put in.
pub(super) trait Shrinks<A: Aggregate>: Content<A> {
    /// Takes an item out; `false` when it is not there.
    fn remove(&mut self, aggregate: &A, item: Self::Item<'_>) -> bool;
    fn is_empty(&self) -> bool;
    /// The components that are left, with their extents, in order; `whole` is the extent before.
    fn split(self, spec: &WindowSpec, whole: Span) -> Vec<(Span, Self)>;
}

/// Fed by records.
pub(super) struct Sums<S>(pub S);

/// A record for a cell.
pub(super) struct Item<'i, In> {
    pub record: &'i In,
    pub time: RecordTime<'i>,
}

impl<In> Clone for Item<'_, In> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<In> Copy for Item<'_, In> {}

impl<A: Aggregate> Content<A> for Sums<A::State> {
    type Item<'i> = Item<'i, A::In>;

    #[inline]
    fn new(aggregate: &A) -> Self {
        Sums(aggregate.identity())
    }
    #[inline]
    fn insert(&mut self, aggregate: &A, item: Self::Item<'_>) {
        aggregate.add(&mut self.0, item.record, item.time);
    }
    fn absorb(&mut self, aggregate: &A, other: Self) {
        aggregate.merge(&mut self.0, &other.0);
    }
    #[inline]
    fn with_state<R>(&self, _: &A, look: impl FnOnce(&A::State) -> R) -> R {
        look(&self.0)
    }
    fn encode(&self, aggregate: &A, out: &mut Vec<u8>) {
        aggregate.encode(&self.0, out);
    }
    fn decode(aggregate: &A, bytes: &[u8]) -> Result<Self, CodecError> {
        aggregate.decode(bytes).map(Sums)
    }
}

/// Fed by panes, with an exact inverse.
pub(super) struct Counted<S> {
    contributors: u64,
    state: S,
}

/// A pane for a cell, with its upstream state's bytes.
pub(super) struct PaneItem<'i, S> {
    pub pane: &'i Pane<S>,
    pub bytes: &'i [u8],
}

impl<S> Clone for PaneItem<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<S> Copy for PaneItem<'_, S> {}

fn pane_time(key: &[u8], window: Window) -> RecordTime<'_> {
    RecordTime { at: window.pane_time(), tie: Tie::Pane { key, window } }
}

impl<S: 'static + Send, A: Aggregate<In = Pane<S>>> Content<A> for Counted<A::State> {
    type Item<'i> = PaneItem<'i, S>;

    fn new(aggregate: &A) -> Self {
        Counted { contributors: 0, state: aggregate.identity() }
    }
    fn insert(&mut self, aggregate: &A, item: Self::Item<'_>) {
        self.contributors += 1;
        aggregate.add(&mut self.state, item.pane, pane_time(&item.pane.key, item.pane.window));
    }
    fn absorb(&mut self, aggregate: &A, other: Self) {
        self.contributors += other.contributors;
        aggregate.merge(&mut self.state, &other.state);
    }
    fn with_state<R>(&self, _: &A, look: impl FnOnce(&A::State) -> R) -> R {
        look(&self.state)
    }
    fn encode(&self, aggregate: &A, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.contributors.to_be_bytes());
        aggregate.encode(&self.state, out);
    }
    fn decode(aggregate: &A, bytes: &[u8]) -> Result<Self, CodecError> {
        let mut cursor = Cursor(bytes);
        Ok(Counted { contributors: cursor.u64()?, state: aggregate.decode(cursor.0)? })
    }
}

impl<S: 'static + Send, A: Aggregate<In = Pane<S>>> Shrinks<A> for Counted<A::State> {
    fn remove(&mut self, aggregate: &A, item: Self::Item<'_>) -> bool {
        let Some(left) = self.contributors.checked_sub(1) else { return false };
        self.contributors = left;
        aggregate.subtract(&mut self.state, item.pane, pane_time(&item.pane.key, item.pane.window));
        true
    }
    fn is_empty(&self) -> bool {
        self.contributors == 0
    }
    fn split(self, _: &WindowSpec, whole: Span) -> Vec<(Span, Self)> {
        // Only tumbling windows are kept this way, and they never split.
        vec![(whole, self)]
    }
}

/// Fed by panes, without an inverse: the panes are kept, in (event time, upstream key, window) order, and the state is
/// folded when it is looked at.
pub(super) struct Kept<S> {
    panes: BTreeMap<(Timestamp, FewBytes, Window), KeptPane<S>>,
}

struct KeptPane<S> {
    pane: Pane<S>,
    /// The state's.
    bytes: FewBytes,
}

/// Keys and states are mostly short: of at most 24 bytes they need no memory of their own, kept or looked for.
type FewBytes = SmallVec<[u8; 24]>;

fn place<S>(pane: &Pane<S>) -> (Timestamp, FewBytes, Window) {
    (pane.window.pane_time(), pane.key.as_slice().into(), pane.window)
}

/// How the states of the upstream stage are read back from the changelog.
pub(super) trait Upstream<S>: Aggregate<In = Pane<S>> {
    fn decode_upstream(&self, bytes: &[u8]) -> Result<S, CodecError>;
}

impl<S: Clone + Send + 'static, A: Upstream<S>> Content<A> for Kept<S> {
    type Item<'i> = PaneItem<'i, S>;

    fn new(_: &A) -> Self {
        Kept { panes: BTreeMap::new() }
    }
    fn insert(&mut self, _: &A, item: Self::Item<'_>) {
        self.panes.insert(place(item.pane), KeptPane { pane: item.pane.clone(), bytes: item.bytes.into() });
    }
    fn absorb(&mut self, _: &A, other: Self) {
        self.panes.extend(other.panes);
    }
    fn with_state<R>(&self, aggregate: &A, look: impl FnOnce(&A::State) -> R) -> R {
        let mut state = aggregate.identity();
        for kept in self.panes.values() {
            aggregate.add(&mut state, &kept.pane, pane_time(&kept.pane.key, kept.pane.window));
        }
        look(&state)
    }
    fn encode(&self, _: &A, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.panes.len() as u32).to_be_bytes());
        for ((_, key, window), kept) in &self.panes {
            out.extend_from_slice(&window.start.0.to_be_bytes());
            out.extend_from_slice(&window.end.0.to_be_bytes());
            put_prefixed(out, |out| out.extend_from_slice(key));
            put_prefixed(out, |out| out.extend_from_slice(&kept.bytes));
        }
    }
    fn decode(aggregate: &A, bytes: &[u8]) -> Result<Self, CodecError> {
        let mut cursor = Cursor(bytes);
        let mut panes = BTreeMap::new();
        for _ in 0..cursor.u32()? {
            let window = Window { start: Timestamp(cursor.i64()?), end: Timestamp(cursor.i64()?) };
            let key = cursor.prefixed()?.to_vec();
            let bytes = cursor.prefixed()?;
            let pane = Pane { key, window, state: aggregate.decode_upstream(bytes)? };
            panes.insert(place(&pane), KeptPane { pane, bytes: bytes.into() });
        }
        cursor.end()?;
        Ok(Kept { panes })
    }
}

impl<S: Clone + Send + 'static, A: Upstream<S>> Shrinks<A> for Kept<S> {
    fn remove(&mut self, _: &A, item: Self::Item<'_>) -> bool {
        self.panes.remove(&place(item.pane)).is_some()
    }
    fn is_empty(&self) -> bool {
        self.panes.is_empty()
    }
    fn split(self, spec: &WindowSpec, _: Span) -> Vec<(Span, Self)> {
        let mut parts: Vec<(Span, Self)> = Vec::new();
        // By event time, so each pane belongs to the last part or begins the next one.
        for (place, kept) in self.panes {
            let span = spec.span(place.0.0);
            match parts.last_mut() {
                Some((extent, part)) if span.first <= extent.last + spec.gap() => {
                    extent.last = extent.last.max(span.last);
                    part.panes.insert(place, kept);
                }
                _ => parts.push((span, Kept { panes: BTreeMap::from([(place, kept)]) })),
            }
        }
        parts
    }
}
