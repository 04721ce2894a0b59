//! The keyed state of a windowed task: cells by key, their timers, and what changed since the last commit.
//!
//! In: spans with what they carry, and the minimum. Out: panes and retractions to a [`Sink`], changes for the changelog.
//!
//! Keys live in numbered slots; a hash table finds the slot, a heap of (time, slot) holds each slot's next timer. Neither's
//! order is seen: what fires is sorted by (end, key), what is written by key.
//!
//! Invariant: the cells of a key are in order and more than a gap apart.
//! Invariant: `wake` of a slot is at most the due time of each of its cells, and the heap has that entry.
//! Invariant: after [`Cells::fire`] a pane is out iff the minimum has reached its end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use super::aggregate::{Aggregate, CodecError};
use super::changelog::{TAG_CELLS, cells, put_cell, state_share, timer_share};
use super::content::{Content, Shrinks};
use super::key::Key;
use super::outbox::Outbox;
use super::sink::Sink;
use super::task::TaskStats;
use super::window::{Span, WindowSpec};

const NEVER: i64 = i64::MAX;

/// What readers of the output have of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Row {
    /// Nothing.
    None,
    /// Its pane.
    Out,
    /// An older pane under the same window start, to be replaced by the next fire.
    Stale,
}

struct Cell<C> {
    first: i64,
    last: i64,
    row: Row,
    /// The due time that the timers digest holds for this cell.
    armed: Option<i64>,
    content: C,
}

struct Slot<C> {
    hash: u64,
    key: Key,
    cells: Vec<Cell<C>>,
    wake: i64,
    /// Changed since the last commit; then its number is in `Cells::dirty`.
    dirty: bool,
    /// This key's share of the state digest; `None` when the changelog does not have it.
    share: Option<u64>,
}

/// The cells of every key of a task.
pub(super) struct Cells<A: Aggregate, C, K> {
    spec: WindowSpec,
    pub aggregate: A,
    pub sink: K,
    index: HashTable<u32>,
    slots: Vec<Slot<C>>,
    free: Vec<u32>,
    timers: BinaryHeap<Reverse<(i64, u32)>>,
    timers_digest: u64,
    state_digest: u64,
    dirty: Vec<u32>,
    /// Reused by `fire`.
    due: Vec<(i64, u64, u32)>,
    visited: Vec<u32>,
    /// Reused by `take_changes`.
    order: Vec<(u64, u32)>,
    record_key: Vec<u8>,
    value: Vec<u8>,
    counts: TaskStats,
}

impl<A: Aggregate, C: Content<A>, K: Sink<A::State>> Cells<A, C, K> {
    pub fn new(spec: WindowSpec, aggregate: A, sink: K) -> Self {
        Cells {
            spec,
            aggregate,
            sink,
            index: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            timers: BinaryHeap::new(),
            timers_digest: 0,
            state_digest: 0,
            dirty: Vec::new(),
            due: Vec::new(),
            visited: Vec::new(),
            order: Vec::new(),
            record_key: Vec::new(),
            value: Vec::new(),
            counts: TaskStats::default(),
        }
    }

    pub fn spec(&self) -> &WindowSpec {
        &self.spec
    }

    pub fn gauge(&self, stats: &mut TaskStats) {
        stats.keys = self.index.len() as u64;
        stats.panes = self.counts.panes;
        stats.retractions = self.counts.retractions;
        stats.merges_after_emission = self.counts.merges_after_emission;
        stats.changes_after_emission = self.counts.changes_after_emission;
    }

    pub fn digests(&self) -> (u64, u64) {
        (self.timers_digest, self.state_digest)
    }

    #[inline]
    fn slot(&mut self, key: &[u8]) -> u32 {
        let hash = xxh3_64(key);
        let slots = &self.slots;
        let found = self.index.find(hash, |id| {
            let slot = &slots[*id as usize];
            slot.hash == hash && slot.key.bytes() == key
        });
        match found {
            Some(id) => *id,
            None => self.new_slot(hash, key),
        }
    }

    fn new_slot(&mut self, hash: u64, key: &[u8]) -> u32 {
        let id = match self.free.pop() {
            Some(id) => {
                let slot = &mut self.slots[id as usize];
                slot.hash = hash;
                slot.key = Key::new(key);
                id
            }
            None => {
                self.slots.push(Slot {
                    hash,
                    key: Key::new(key),
                    cells: Vec::new(),
                    wake: NEVER,
                    dirty: false,
                    share: None,
                });
                u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 keys in a task")
            }
        };
        let slots = &self.slots;
        self.index.insert_unique(hash, id, |id| slots[*id as usize].hash);
        id
    }

    /// Joins a span to the cells that it touches (proof, step 2).
    #[inline]
    pub fn add(&mut self, key: &[u8], span: Span, item: C::Item<'_>, minimum: i64, out: &mut Outbox) {
        let id = self.slot(key);
        let (spec, gap) = (self.spec, self.spec.gap());
        let slot = &mut self.slots[id as usize];
        if !slot.dirty {
            slot.dirty = true;
            self.dirty.push(id);
        }
        let low = slot.cells.partition_point(|cell| cell.last + gap < span.first);
        let high = low + slot.cells[low..].partition_point(|cell| cell.first - gap <= span.last);
        if low == high {
            let mut content = C::new(&self.aggregate);
            content.insert(&self.aggregate, item);
            let cell = Cell { first: span.first, last: span.last, row: Row::None, armed: None, content };
            slot.cells.insert(low, cell);
        } else {
            if slot.cells[low..high].iter().any(|cell| cell.row != Row::None) {
                match high - low {
                    1 => self.counts.changes_after_emission += 1,
                    _ => self.counts.merges_after_emission += 1,
                }
                self.withdraw(id, low..high, span, minimum, out);
            }
            self.join(id, low, high, span);
            let slot = &mut self.slots[id as usize];
            slot.cells[low].content.insert(&self.aggregate, item);
        }
        let slot = &mut self.slots[id as usize];
        let cell = &slot.cells[low];
        // The cell's pane is not out, so what is due next is its end.
        let due = spec.end(cell.last);
        if due < slot.wake {
            slot.wake = due;
            self.timers.push(Reverse((due, id)));
        }
    }

    /// Makes one cell of `low..high` and the span.
    #[inline]
    fn join(&mut self, id: u32, low: usize, high: usize, span: Span) {
        let slot = &mut self.slots[id as usize];
        if high - low > 1 {
            for mut absorbed in slot.cells.drain(low + 1..high).collect::<Vec<_>>() {
                disarm(&mut self.timers_digest, slot.key.bytes(), &mut absorbed.armed);
                let cell = &mut slot.cells[low];
                cell.last = cell.last.max(absorbed.last);
                cell.content.absorb(&self.aggregate, absorbed.content);
            }
        }
        let cell = &mut slot.cells[low];
        cell.first = cell.first.min(span.first);
        cell.last = cell.last.max(span.last);
    }

    /// Takes back the panes of cells that are about to become one with `span`. A row that the new cell's pane will surely
    /// replace at the next fire, under the same start, is left in place until then.
    #[cold]
    fn withdraw(&mut self, id: u32, touched: std::ops::Range<usize>, span: Span, minimum: i64, out: &mut Outbox) {
        let slot = &mut self.slots[id as usize];
        let first = slot.cells[touched.start].first.min(span.first);
        let last = slot.cells[touched.end - 1].last.max(span.last);
        for cell in &mut slot.cells[touched] {
            if cell.row == Row::None {
                continue;
            }
            let window = self.spec.window(cell.first, cell.last);
            if cell.row == Row::Out {
                self.counts.retractions += 1;
                let sink = &mut self.sink;
                cell.content.with_state(&self.aggregate, |state| sink.withdraw(slot.key.bytes(), window, state, out));
            }
            if cell.first == first && self.spec.end(last) <= minimum {
                cell.row = Row::Stale;
            } else {
                self.sink.erase(slot.key.bytes(), window, out);
                cell.row = Row::None;
            }
        }
    }

    /// Emits the panes whose end the minimum has reached, in (end, key) order, then purges.
    pub fn fire(&mut self, minimum: i64, out: &mut Outbox) {
        debug_assert!(self.due.is_empty() && self.visited.is_empty());
        while let Some(Reverse((at, id))) = self.timers.peek().copied() {
            if at > minimum {
                break;
            }
            self.timers.pop();
            let slot = &mut self.slots[id as usize];
            // Otherwise an entry that an earlier timer of this slot has overtaken.
            if slot.wake == at && at != NEVER {
                slot.wake = NEVER;
                self.visited.push(id);
                for cell in &slot.cells {
                    let end = self.spec.end(cell.last);
                    if cell.row != Row::Out && end <= minimum {
                        self.due.push((end, slot.key.prefix(), id));
                    }
                }
            }
        }
        let slots = &self.slots;
        self.due.sort_unstable_by(|a, b| {
            (a.0, a.1)
                .cmp(&(b.0, b.1))
                .then_with(|| slots[a.2 as usize].key.bytes().cmp(slots[b.2 as usize].key.bytes()))
        });
        for (end, _, id) in self.due.drain(..) {
            let slot = &mut self.slots[id as usize];
            let (spec, sink) = (self.spec, &mut self.sink);
            let cell = slot.cells.iter_mut().find(|cell| spec.end(cell.last) == end);
            let cell = cell.expect("a due cell is there until the purge below");
            let window = spec.window(cell.first, cell.last);
            cell.content.with_state(&self.aggregate, |state| sink.emit(slot.key.bytes(), window, state, out));
            cell.row = Row::Out;
            arm(&mut self.timers_digest, slot.key.bytes(), &mut cell.armed, spec.purge(cell.last));
            self.counts.panes += 1;
        }
        let mut visited = std::mem::take(&mut self.visited);
        for id in visited.drain(..) {
            self.purge(id, minimum);
        }
        self.visited = visited;
    }

    /// Drops a slot's finished cells and sets its next timer.
    fn purge(&mut self, id: u32, minimum: i64) {
        let spec = self.spec;
        let slot = &mut self.slots[id as usize];
        let before = slot.cells.len();
        slot.cells.retain_mut(|cell| {
            let keep = cell.row != Row::Out || spec.purge(cell.last) > minimum;
            if !keep {
                disarm(&mut self.timers_digest, slot.key.bytes(), &mut cell.armed);
            }
            keep
        });
        if slot.cells.len() < before && !slot.dirty {
            slot.dirty = true;
            self.dirty.push(id);
        }
        let due = slot.cells.iter().map(|cell| due(&spec, cell)).min();
        if let Some(due) = due
            && due < slot.wake
        {
            slot.wake = due;
            self.timers.push(Reverse((due, id)));
        }
    }

    /// Hands over what changed since the last call, in key order: record key, and value or `None` when deleted. Only after
    /// [`Cells::fire`].
    pub fn take_changes(&mut self, mut write: impl FnMut(&[u8], Option<&[u8]>)) {
        let mut order = std::mem::take(&mut self.order);
        let slots = &self.slots;
        order.extend(self.dirty.drain(..).map(|id| (slots[id as usize].key.prefix(), id)));
        order.sort_unstable_by(|a, b| {
            a.0.cmp(&b.0).then_with(|| slots[a.1 as usize].key.bytes().cmp(slots[b.1 as usize].key.bytes()))
        });
        for (_, id) in order.drain(..) {
            let slot = &mut self.slots[id as usize];
            slot.dirty = false;
            self.record_key.clear();
            self.record_key.push(TAG_CELLS);
            self.record_key.extend_from_slice(slot.key.bytes());
            if let Some(share) = slot.share {
                self.state_digest = self.state_digest.wrapping_sub(share);
            }
            if slot.cells.is_empty() {
                if slot.share.take().is_some() {
                    write(&self.record_key, None);
                }
                self.release(id);
                continue;
            }
            self.value.clear();
            self.value.extend_from_slice(&(slot.cells.len() as u32).to_be_bytes());
            for cell in &mut slot.cells {
                put_cell(cell.first, cell.last, &mut self.value, |out| cell.content.encode(&self.aggregate, out));
                let due = due(&self.spec, cell);
                arm(&mut self.timers_digest, slot.key.bytes(), &mut cell.armed, due);
            }
            let share = state_share(&self.record_key, &self.value);
            slot.share = Some(share);
            self.state_digest = self.state_digest.wrapping_add(share);
            write(&self.record_key, Some(&self.value));
        }
        self.order = order;
    }

    /// Gives an empty slot back. Its heap entries stay: one that meets the slot's next key early finds nothing due.
    fn release(&mut self, id: u32) {
        let slot = &mut self.slots[id as usize];
        assert!(slot.cells.is_empty(), "{} cells in a released slot", slot.cells.len());
        let entry = self
            .index
            .find_entry(slot.hash, |other| *other == id)
            .expect("a slot is in the index until it is released");
        entry.remove();
        slot.wake = NEVER;
        self.free.push(id);
    }

    /// Takes one entry of the changelog.
    pub fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), CodecError> {
        let id = self.slot(key);
        let mut restored = Vec::new();
        for cell in cells(value.unwrap_or(&[0; 4]))? {
            let content = C::decode(&self.aggregate, cell.content)?;
            restored.push(Cell { first: cell.first, last: cell.last, row: Row::None, armed: None, content });
        }
        let slot = &mut self.slots[id as usize];
        if let Some(share) = slot.share.take() {
            self.state_digest = self.state_digest.wrapping_sub(share);
        }
        slot.cells = restored;
        match value {
            None => self.release(id),
            Some(value) => {
                self.record_key.clear();
                self.record_key.push(TAG_CELLS);
                self.record_key.extend_from_slice(key);
                let share = state_share(&self.record_key, value);
                slot.share = Some(share);
                self.state_digest = self.state_digest.wrapping_add(share);
            }
        }
        Ok(())
    }

    /// Rebuilds from state and minimum what the changelog does not hold: which panes are out, and the timers.
    pub fn restored(&mut self, minimum: i64) {
        for id in 0..self.slots.len() {
            let slot = &mut self.slots[id];
            for cell in &mut slot.cells {
                cell.row = if self.spec.end(cell.last) <= minimum { Row::Out } else { Row::None };
                let due = due(&self.spec, cell);
                arm(&mut self.timers_digest, slot.key.bytes(), &mut cell.armed, due);
                slot.wake = slot.wake.min(due);
            }
            if slot.wake != NEVER {
                self.timers.push(Reverse((slot.wake, id as u32)));
            }
        }
    }
}

impl<A: Aggregate, C: Shrinks<A>, K: Sink<A::State>> Cells<A, C, K> {
    /// Takes an item out of the cell that holds its span; `false` when there is no such cell or item. A cell without
    /// contributors is deleted; one that no longer holds together falls into its components.
    pub fn remove(&mut self, key: &[u8], span: Span, item: C::Item<'_>, minimum: i64, out: &mut Outbox) -> bool {
        let id = self.slot(key);
        let spec = self.spec;
        let slot = &mut self.slots[id as usize];
        if !slot.dirty {
            slot.dirty = true;
            self.dirty.push(id);
        }
        let Some(at) = slot.cells.iter().position(|cell| cell.first <= span.first && span.last <= cell.last) else {
            return false;
        };
        let cell = &mut slot.cells[at];
        let old = spec.window(cell.first, cell.last);
        if cell.row == Row::Out {
            self.counts.retractions += 1;
            let sink = &mut self.sink;
            cell.content.with_state(&self.aggregate, |state| sink.withdraw(slot.key.bytes(), old, state, out));
            cell.row = Row::Stale;
        }
        if !cell.content.remove(&self.aggregate, item) {
            return false;
        }
        disarm(&mut self.timers_digest, slot.key.bytes(), &mut cell.armed);
        let Cell { first, last, mut row, content, .. } = slot.cells.remove(at);
        let parts = if content.is_empty() { Vec::new() } else { content.split(&spec, Span { first, last }) };
        let replaced = parts.first().is_some_and(|(part, _)| part.first == first && spec.end(part.last) <= minimum);
        if row == Row::Stale && !replaced {
            self.sink.erase(slot.key.bytes(), old, out);
            row = Row::None;
        }
        for (index, (part, content)) in parts.into_iter().enumerate() {
            let row = if index == 0 { row } else { Row::None };
            let cell = Cell { first: part.first, last: part.last, row, armed: None, content };
            let due = spec.end(cell.last);
            slot.cells.insert(at + index, cell);
            if due < slot.wake {
                slot.wake = due;
                self.timers.push(Reverse((due, id)));
            }
        }
        true
    }
}

fn due<C>(spec: &WindowSpec, cell: &Cell<C>) -> i64 {
    if cell.row == Row::Out { spec.purge(cell.last) } else { spec.end(cell.last) }
}

fn arm(digest: &mut u64, key: &[u8], armed: &mut Option<i64>, due: i64) {
    if *armed != Some(due) {
        disarm(digest, key, armed);
        *digest = digest.wrapping_add(timer_share(key, due));
        *armed = Some(due);
    }
}

fn disarm(digest: &mut u64, key: &[u8], armed: &mut Option<i64>) {
    if let Some(due) = armed.take() {
        *digest = digest.wrapping_sub(timer_share(key, due));
    }
}
