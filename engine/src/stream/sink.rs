//! Where panes go: to the output table, or on to a second windowed stage.

use std::sync::Arc;

use super::aggregate::{Aggregate, PaneRef};
use super::frame::{PaneFrame, partition_of, put_output_key};
use super::outbox::{Outbox, Port};
use super::window::Window;
use crate::types::{Partition, Timestamp};

/// Writes an output row's value.
pub trait PaneEncoder<S>: Send + Sync + 'static {
    fn encode(&self, key: &[u8], window: Window, state: &S, out: &mut Vec<u8>);
}

impl<S, F: Fn(&[u8], Window, &S, &mut Vec<u8>) + Send + Sync + 'static> PaneEncoder<S> for F {
    fn encode(&self, key: &[u8], window: Window, state: &S, out: &mut Vec<u8>) {
        self(key, window, state, out);
    }
}

/// Takes the panes of a task. Each method writes at most one record.
pub(super) trait Sink<S>: Send {
    /// The pane is out from now on.
    fn emit(&mut self, key: &[u8], window: Window, state: &S, out: &mut Outbox);
    /// The pane no longer holds; `state` is what it was emitted with.
    fn withdraw(&mut self, key: &[u8], window: Window, state: &S, out: &mut Outbox);
    /// No pane will replace a withdrawn one under its start.
    fn erase(&mut self, key: &[u8], window: Window, out: &mut Outbox);
    /// The watermark that holds for everything written after this.
    fn promise(&mut self, watermark: Timestamp, out: &mut Outbox);
    /// After a restore: what the last commit promised.
    fn restored(&mut self, promised: Timestamp);
    /// Records written since the last call.
    fn take_written(&mut self) -> u64;
}

/// The output table: an upsert per pane, a tombstone per row that is gone.
pub(super) struct Rows<E> {
    pub encoder: Arc<E>,
    pub port: Port,
    /// Windows that start before are not written.
    speaks_from: Timestamp,
    key: Vec<u8>,
    value: Vec<u8>,
    written: u64,
}

impl<E> Rows<E> {
    pub fn new(encoder: Arc<E>, port: Port, speaks_from: Timestamp) -> Rows<E> {
        Rows { encoder, port, speaks_from, key: Vec::new(), value: Vec::new(), written: 0 }
    }
}

impl<S, E: PaneEncoder<S>> Sink<S> for Rows<E> {
    fn emit(&mut self, key: &[u8], window: Window, state: &S, out: &mut Outbox) {
        if window.start < self.speaks_from {
            return;
        }
        self.key.clear();
        put_output_key(key, window.start, &mut self.key);
        self.value.clear();
        self.encoder.encode(key, window, state, &mut self.value);
        out.push(&self.port, window.pane_time(), Some(&self.key), Some(&self.value), &[]);
        self.written += 1;
    }
    fn withdraw(&mut self, _: &[u8], _: Window, _: &S, _: &mut Outbox) {}
    fn erase(&mut self, key: &[u8], window: Window, out: &mut Outbox) {
        if window.start < self.speaks_from {
            return;
        }
        self.key.clear();
        put_output_key(key, window.start, &mut self.key);
        out.push(&self.port, window.pane_time(), Some(&self.key), None, &[]);
        self.written += 1;
    }
    fn promise(&mut self, _: Timestamp, _: &mut Outbox) {}
    fn restored(&mut self, _: Timestamp) {}
    fn take_written(&mut self) -> u64 {
        std::mem::take(&mut self.written)
    }
}

/// The key of a pane downstream.
pub(super) type Route<S> = dyn Fn(&PaneRef<'_, S>, &mut Vec<u8>) + Send + Sync;

/// The panes' own repartition topic: a pane is added, and taken back under the key that it was added under.
pub(super) struct Onward<A: Aggregate> {
    pub aggregate: Arc<A>,
    pub route: Arc<Route<A::State>>,
    pub markers: Markers,
    key: Vec<u8>,
    value: Vec<u8>,
    written: u64,
}

impl<A: Aggregate> Onward<A> {
    pub fn new(aggregate: Arc<A>, route: Arc<Route<A::State>>, markers: Markers) -> Onward<A> {
        Onward { aggregate, route, markers, key: Vec::new(), value: Vec::new(), written: 0 }
    }

    fn send(&mut self, key: &[u8], window: Window, state: &A::State, added: bool, out: &mut Outbox) {
        self.key.clear();
        (self.route)(&PaneRef { key, window, state }, &mut self.key);
        self.value.clear();
        PaneFrame::encode_head(self.markers.channel, added, window, key, &mut self.value);
        self.aggregate.encode(state, &mut self.value);
        let port = self.markers.port_of(&self.key);
        out.push(port, window.pane_time(), Some(&self.key), Some(&self.value), &[]);
        self.written += 1;
    }
}

impl<A: Aggregate> Sink<A::State> for Onward<A> {
    fn emit(&mut self, key: &[u8], window: Window, state: &A::State, out: &mut Outbox) {
        self.send(key, window, state, true, out);
    }
    fn withdraw(&mut self, key: &[u8], window: Window, state: &A::State, out: &mut Outbox) {
        self.send(key, window, state, false, out);
    }
    fn erase(&mut self, _: &[u8], _: Window, _: &mut Outbox) {}
    fn promise(&mut self, watermark: Timestamp, out: &mut Outbox) {
        self.written += self.markers.announce(watermark, out);
    }
    fn restored(&mut self, promised: Timestamp) {
        self.markers.restored(promised);
    }
    fn take_written(&mut self) -> u64 {
        std::mem::take(&mut self.written)
    }
}

/// A task's way onto a repartition topic: one port per partition, and the watermark that it has announced there.
pub(super) struct Markers {
    pub channel: Partition,
    pub ports: Vec<Port>,
    announced: Timestamp,
}

impl Markers {
    pub fn new(channel: Partition, ports: Vec<Port>) -> Markers {
        Markers { channel, ports, announced: Timestamp::MIN }
    }

    pub fn port_of(&self, key: &[u8]) -> &Port {
        &self.ports[partition_of(key, self.ports.len() as i32).0 as usize]
    }

    /// After a restore: what the last commit announced.
    pub fn restored(&mut self, announced: Timestamp) {
        self.announced = announced;
    }

    /// Writes a marker to every partition if the watermark moved; returns how many.
    pub fn announce(&mut self, watermark: Timestamp, out: &mut Outbox) -> u64 {
        assert!(watermark >= self.announced, "a promise of {} was followed by {watermark}", self.announced);
        if watermark == self.announced {
            return 0;
        }
        self.announced = watermark;
        for port in &self.ports {
            super::frame::push_marker(out, port, watermark, self.channel);
        }
        self.ports.len() as u64
    }
}

impl<S> Sink<S> for Box<dyn Sink<S>> {
    fn emit(&mut self, key: &[u8], window: Window, state: &S, out: &mut Outbox) {
        (**self).emit(key, window, state, out);
    }
    fn withdraw(&mut self, key: &[u8], window: Window, state: &S, out: &mut Outbox) {
        (**self).withdraw(key, window, state, out);
    }
    fn erase(&mut self, key: &[u8], window: Window, out: &mut Outbox) {
        (**self).erase(key, window, out);
    }
    fn promise(&mut self, watermark: Timestamp, out: &mut Outbox) {
        (**self).promise(watermark, out);
    }
    fn restored(&mut self, promised: Timestamp) {
        (**self).restored(promised);
    }
    fn take_written(&mut self) -> u64 {
        (**self).take_written()
    }
}
