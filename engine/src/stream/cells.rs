//! The keyed state of a windowed task: cells by key, their timers, and what changed since the last commit.
//!
//! In: spans with what they carry, and the minimum. Out: panes and retractions to a [`Sink`], changes for the changelog.
//!
//! Keys live in numbered slots, with their first cell inside: a hash table finds the slot, a calendar holds each slot's next
//! timer. Neither's order is seen: what fires is sorted by (end, key), what is written by key. A caller with many records
//! guesses and touches all their slots before it adds the first ([`Cells::touch`]), so that the memory's answers overlap.
//!
//! Invariant: the cells of a key are in order and more than a gap apart.
//! Invariant: `wake` of a slot is at most the due time of each of its cells, and the calendar has that entry.
//! Invariant: after [`Cells::fire`] a pane is out iff the minimum has reached its end.

use hashbrown::HashTable;

use super::aggregate::{Aggregate, CodecError};
use super::changelog::{TAG_CELLS, cells, put_cell, state_share, timer_share};
use super::content::{Content, Shrinks};
use super::few::Few;
use super::key::{Key, Sought};
use super::outbox::Outbox;
use super::sink::Sink;
use super::slab::Slab;
use super::task::TaskStats;
use super::timers::Timers;
use super::window::{Span, WindowSpec};

const NEVER: i64 = i64::MAX;
/// Slots that are asked for side by side: as many answers as the memory gives at once, and still in the nearest cache.
const AHEAD: usize = 64;
/// No guess.
pub(super) const NOWHERE: u32 = u32::MAX;

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
    /// The due time that the timers digest holds for this cell, or `NEVER`.
    armed: i64,
    row: Row,
    content: C,
}

impl<C> Cell<C> {
    fn new(span: Span, row: Row, content: C) -> Cell<C> {
        Cell { first: span.first, last: span.last, armed: NEVER, row, content }
    }
}

/// Two cache lines for a small state; in this order, so that the last field lies in the last line.
#[repr(C, align(64))]
struct Slot<C> {
    key: Key,
    wake: i64,
    /// Whether there is a key; otherwise the slot is in `Cells::free`.
    live: bool,
    /// In `Cells::dirty`. Stays when the slot is given back, and holds for its next key.
    dirty: bool,
    /// Whether the changelog has this key.
    persisted: bool,
    cells: Few<Cell<C>>,
    /// This key's share of the state digest, while `persisted`.
    share: u64,
}

// A session's state is six words.
const _: () = assert!(size_of::<Slot<[u64; 6]>>() == 128, "a slot is two cache lines");

impl<C> Slot<C> {
    /// Memory held beside the slot.
    fn heap_bytes(&self) -> usize {
        self.cells.heap_bytes() + self.key.heap_bytes()
    }
}

/// The cells of every key of a task.
pub(super) struct Cells<A: Aggregate, C, K> {
    spec: WindowSpec,
    pub aggregate: A,
    pub sink: K,
    index: HashTable<u32>,
    slots: Slab<Slot<C>>,
    free: Vec<u32>,
    timers: Timers,
    timers_digest: u64,
    state_digest: u64,
    dirty: Vec<u32>,
    /// Keys without cells that the changelog still has.
    gone: Vec<Key>,
    /// Held beside the slots by long keys, and by keys with several cells.
    heap_bytes: usize,
    /// Reused by `fire`.
    ripe: Vec<u32>,
    due: Vec<Due>,
    visited: Vec<u32>,
    record_key: Vec<u8>,
    value: Vec<u8>,
    counts: TaskStats,
}

/// A pane that fires.
#[derive(Clone, Copy)]
struct Due {
    /// (end, the key's prefix) as one number in their order.
    rank: u128,
    end: i64,
    slot: u32,
}

impl Due {
    fn new(end: i64, prefix: u64, slot: u32) -> Due {
        // The sign bit turned over: the order of i64 as that of u64.
        let rank = u128::from(end as u64 ^ (1 << 63)) << 64 | u128::from(prefix);
        Due { rank, end, slot }
    }
}

impl<A: Aggregate, C: Content<A>, K: Sink<A::State>> Cells<A, C, K> {
    pub fn new(spec: WindowSpec, aggregate: A, sink: K) -> Self {
        Cells {
            spec,
            aggregate,
            sink,
            index: HashTable::new(),
            slots: Slab::new(),
            free: Vec::new(),
            timers: Timers::new(spec.reach().0),
            timers_digest: 0,
            state_digest: 0,
            dirty: Vec::new(),
            gone: Vec::new(),
            heap_bytes: 0,
            ripe: Vec::new(),
            due: Vec::new(),
            visited: Vec::new(),
            record_key: Vec::new(),
            value: Vec::new(),
            counts: TaskStats::default(),
        }
    }

    pub fn spec(&self) -> &WindowSpec {
        &self.spec
    }

    pub fn gauge(&self, stats: &mut TaskStats) {
        debug_assert_eq!(
            self.heap_bytes,
            self.slots.iter().filter(|slot| slot.live).map(Slot::heap_bytes).sum::<usize>()
        );
        stats.keys = self.index.len() as u64;
        stats.state_bytes = self.bytes() as u64;
        stats.panes = self.counts.panes;
        stats.retractions = self.counts.retractions;
        stats.merges_after_emission = self.counts.merges_after_emission;
        stats.changes_after_emission = self.counts.changes_after_emission;
        stats.emptied = self.counts.emptied;
    }

    pub fn digests(&self) -> (u64, u64) {
        (self.timers_digest, self.state_digest)
    }

    /// Memory held by slots, index, timers, long keys and further cells of a key. Not counted: what a state itself points
    /// to, and 16 bytes a changed key while a commit puts them in order.
    fn bytes(&self) -> usize {
        self.slots.bytes()
            + self.index.allocation_size()
            + (self.free.capacity() + self.dirty.capacity() + self.visited.capacity() + self.ripe.capacity())
                * size_of::<u32>()
            + self.due.capacity() * size_of::<Due>()
            + self.gone.capacity() * size_of::<Key>()
            + self.timers.bytes()
            + self.heap_bytes
    }

    /// Where the key with this hash may be: a slot whose hash has the same few bits, without a look at its key.
    #[inline]
    pub fn guess(&self, hash: u64) -> u32 {
        self.index.find(hash, |_| true).copied().unwrap_or(NOWHERE)
    }

    /// Asks for the memory of a slot, and does nothing with it. The answers to many such questions come side by side, where
    /// those to whole additions, one after another, would be waited for one by one.
    #[inline]
    pub fn touch(&self, guess: u32) {
        touch(&self.slots, guess);
    }

    #[inline]
    fn slot(&mut self, sought: &Sought<'_>) -> u32 {
        let slots = &self.slots;
        match self.index.find(sought.hash, |id| slots[*id].key.is(sought)) {
            Some(id) => *id,
            None => self.new_slot(sought),
        }
    }

    fn new_slot(&mut self, sought: &Sought<'_>) -> u32 {
        let id = match self.free.pop() {
            Some(id) => {
                let slot = &mut self.slots[id];
                slot.key = Key::new(sought.bytes);
                slot.live = true;
                id
            }
            None => self.slots.push(Slot {
                key: Key::new(sought.bytes),
                wake: NEVER,
                live: true,
                dirty: false,
                persisted: false,
                cells: Few::None,
                share: 0,
            }),
        };
        let slots = &self.slots;
        self.heap_bytes += slots[id].heap_bytes();
        self.index.insert_unique(sought.hash, id, |id| slots[*id].key.hash());
        id
    }

    /// Joins a span to the cells that it touches (proof, step 2). `guess` is what [`Cells::guess`] said, or [`NOWHERE`].
    #[inline]
    pub fn add(
        &mut self,
        sought: &Sought<'_>,
        guess: u32,
        span: Span,
        item: C::Item<'_>,
        minimum: i64,
        out: &mut Outbox,
    ) {
        let id = match self.slots.get(guess) {
            Some(slot) if slot.live && slot.key.is(sought) => guess,
            _ => self.slot(sought),
        };
        let gap = mutant!("exact-gap-splits", self.spec.gap(), self.spec.gap() - 1);
        let slot = &mut self.slots[id];
        if !slot.dirty {
            slot.dirty = true;
            self.dirty.push(id);
        }
        // Nearly always the span touches one cell, whose pane is not out: the last, or the one before it. Then its end can
        // only move on, and the timer that it has will do.
        let cells = slot.cells.as_mut_slice();
        if let Some(at) = cells.iter().rposition(|cell| cell.first - gap <= span.last)
            && (at == 0 || cells[at - 1].last + gap < span.first)
            && let cell = &mut cells[at]
            && cell.row == Row::None
            && span.first <= cell.last + gap
        {
            cell.first = cell.first.min(span.first);
            cell.last = cell.last.max(span.last);
            cell.content.insert(&self.aggregate, item);
            return;
        }
        self.add_between(id, span, item, minimum, out);
    }

    /// [`Cells::add`] where there are several cells, or none, or panes that are out.
    fn add_between(&mut self, id: u32, span: Span, item: C::Item<'_>, minimum: i64, out: &mut Outbox) {
        let (spec, gap) = (self.spec, mutant!("exact-gap-splits", self.spec.gap(), self.spec.gap() - 1));
        let slot = &mut self.slots[id];
        self.heap_bytes -= slot.heap_bytes();
        let low = slot.cells.as_slice().partition_point(|cell| cell.last + gap < span.first);
        let touched = slot.cells.as_slice()[low..].partition_point(|cell| cell.first - gap <= span.last);
        let high = low + mutant!("bridge-joins-one-side", touched, touched.min(1));
        if low == high {
            let mut content = C::new(&self.aggregate);
            content.insert(&self.aggregate, item);
            slot.cells.insert(low, Cell::new(span, Row::None, content));
        } else {
            if slot.cells.as_slice()[low..high].iter().any(|cell| cell.row != Row::None) {
                match high - low {
                    1 => self.counts.changes_after_emission += 1,
                    _ => self.counts.merges_after_emission += 1,
                }
                self.withdraw(id, low..high, span, minimum, out);
            }
            self.join(id, low, high, span);
            let slot = &mut self.slots[id];
            slot.cells.as_mut_slice()[low].content.insert(&self.aggregate, item);
        }
        let slot = &mut self.slots[id];
        self.heap_bytes += slot.heap_bytes();
        // The cell's pane is not out, so what is due next is its end.
        let due = spec.end(slot.cells.as_slice()[low].last);
        if mutant!("due-at-birth-unfired", due < slot.wake, due < slot.wake && due > minimum) {
            slot.wake = due;
            self.timers.push(due, id);
        }
    }

    /// Makes one cell of `low..high` and the span.
    fn join(&mut self, id: u32, low: usize, high: usize, span: Span) {
        let slot = &mut self.slots[id];
        for _ in low + 1..high {
            let mut absorbed = slot.cells.remove(low + 1);
            disarm(&mut self.timers_digest, slot.key.bytes(), &mut absorbed.armed);
            let cell = &mut slot.cells.as_mut_slice()[low];
            cell.last = cell.last.max(absorbed.last);
            mutant!("absorbed-state-lost", cell.content.absorb(&self.aggregate, absorbed.content), ());
        }
        let cell = &mut slot.cells.as_mut_slice()[low];
        cell.first = cell.first.min(span.first);
        cell.last = cell.last.max(span.last);
    }

    /// Takes back the panes of cells that are about to become one with `span`. A row that the new cell's pane will surely
    /// replace at the next fire, under the same start, is left in place until then.
    #[cold]
    fn withdraw(&mut self, id: u32, touched: std::ops::Range<usize>, span: Span, minimum: i64, out: &mut Outbox) {
        let slot = &mut self.slots[id];
        let first = slot.cells.as_slice()[touched.start].first.min(span.first);
        let last = slot.cells.as_slice()[touched.end - 1].last.max(span.last);
        for cell in &mut slot.cells.as_mut_slice()[touched] {
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
                cell.row = mutant!("change-after-pane-unseen", Row::Stale, Row::Out);
            } else {
                mutant!("merge-without-retraction", self.sink.erase(slot.key.bytes(), window, out), ());
                cell.row = Row::None;
            }
        }
    }

    /// Emits the panes whose end the minimum has reached, in (end, key) order, then purges.
    pub fn fire(&mut self, minimum: i64, out: &mut Outbox) {
        debug_assert!(self.due.is_empty() && self.visited.is_empty());
        let Cells { spec, timers, slots, ripe, due, visited, .. } = self;
        timers.take_due(minimum, |id| ripe.push(id));
        for ripe in ripe.chunks(AHEAD) {
            ripe.iter().for_each(|id| touch(slots, *id));
            for &id in ripe {
                let slot = &mut slots[id];
                // Otherwise an entry that an earlier timer of this slot has overtaken, or of a key that is gone.
                if slot.wake <= minimum && slot.wake != NEVER {
                    slot.wake = NEVER;
                    visited.push(id);
                    for cell in slot.cells.as_slice() {
                        let end = spec.end(cell.last);
                        if cell.row != Row::Out && end <= minimum {
                            due.push(Due::new(end, slot.key.prefix(), id));
                        }
                    }
                }
            }
        }
        ripe.clear();
        due.sort_unstable_by_key(|due| due.rank);
        for equal in due.chunk_by_mut(|a, b| a.rank == b.rank).filter(|equal| equal.len() > 1) {
            equal.sort_unstable_by(|a, b| slots[a.slot].key.bytes().cmp(slots[b.slot].key.bytes()));
        }
        mutant!("emission-in-hash-order", {}, {
            let noise = |due: &Due| crate::mutant::noise(self.slots[due.slot].key.bytes());
            self.due.sort_unstable_by_key(noise);
        });
        let due = std::mem::take(&mut self.due);
        for due in due.chunks(AHEAD) {
            due.iter().for_each(|due| self.touch(due.slot));
            due.iter().for_each(|due| self.emit(*due, out));
        }
        self.due = due;
        self.due.clear();
        let visited = std::mem::take(&mut self.visited);
        for visited in visited.chunks(AHEAD) {
            visited.iter().for_each(|id| self.touch(*id));
            for id in visited {
                std::hint::black_box(self.guess(self.slots[*id].key.hash()));
            }
            visited.iter().for_each(|id| self.purge(*id, minimum));
        }
        self.visited = visited;
        self.visited.clear();
    }

    fn emit(&mut self, Due { end, slot: id, .. }: Due, out: &mut Outbox) {
        let slot = &mut self.slots[id];
        let (spec, sink) = (self.spec, &mut self.sink);
        let cells = slot.cells.as_mut_slice();
        // In order, and so are their ends.
        let at = cells.partition_point(|cell| spec.end(cell.last) < end);
        let cell = cells.get_mut(at).expect("a due cell is there until the purge");
        let window = spec.window(cell.first, cell.last);
        cell.content.with_state(&self.aggregate, |state| sink.emit(slot.key.bytes(), window, state, out));
        cell.row = Row::Out;
        self.counts.panes += 1;
    }

    /// Drops a slot's finished cells and sets its next timer.
    fn purge(&mut self, id: u32, minimum: i64) {
        let (spec, digest) = (self.spec, &mut self.timers_digest);
        let slot = &mut self.slots[id];
        let before = slot.cells.len();
        self.heap_bytes -= slot.heap_bytes();
        let mut next = NEVER;
        let key = slot.key.bytes();
        slot.cells.retain(|cell| {
            let due = due(&spec, cell);
            if cell.row == Row::Out {
                if due <= minimum {
                    disarm(digest, key, &mut cell.armed);
                    return false;
                }
                arm(digest, key, &mut cell.armed, due);
            }
            next = next.min(due);
            true
        });
        self.heap_bytes += slot.heap_bytes();
        if slot.cells.is_empty() {
            self.retire(id);
            return;
        }
        if slot.cells.len() < before && !slot.dirty {
            slot.dirty = true;
            self.dirty.push(id);
        }
        if next < slot.wake {
            slot.wake = next;
            self.timers.push(next, id);
        }
    }

    /// Hands over what changed since the last call, with `whole` also every other live key, in key order: record key, and
    /// value or `None` when deleted. Only after [`Cells::fire`].
    pub fn take_changes(&mut self, whole: bool, mut write: impl FnMut(&[u8], Option<&[u8]>)) {
        if mutant!("snapshot-of-the-changed", whole, false) {
            for (id, slot) in self.slots.iter_mut() {
                if !slot.dirty && !slot.cells.is_empty() {
                    slot.dirty = true;
                    self.dirty.push(id);
                }
            }
        }
        // Not kept from commit to commit: beside a large state it is large.
        let mut order: Vec<(u64, u32)> = Vec::with_capacity(self.dirty.len());
        let mut dirty = std::mem::take(&mut self.dirty);
        for dirty in dirty.chunks(AHEAD) {
            dirty.iter().for_each(|id| self.touch(*id));
            for &id in dirty {
                let slot = &mut self.slots[id];
                mutant!("key-written-once", slot.dirty = false, ());
                if !slot.live {
                    continue;
                }
                if slot.cells.is_empty() {
                    self.retire(id);
                } else {
                    order.push((slot.key.prefix(), id));
                }
            }
        }
        dirty.clear();
        self.dirty = dirty;
        let slots = &self.slots;
        order.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| slots[a.1].key.bytes().cmp(slots[b.1].key.bytes())));
        let gone = self.take_gone();
        let mut gone = gone.iter().peekable();
        for (place, (_, id)) in order.iter().enumerate() {
            if place % AHEAD == 0 {
                order[place..].iter().take(AHEAD).for_each(|(_, id)| self.touch(*id));
            }
            let slot = &mut self.slots[*id];
            while let Some(key) = gone.next_if(|key| key.bytes() < slot.key.bytes()) {
                write(put_record_key(&mut self.record_key, key), None);
            }
            put_record_key(&mut self.record_key, &slot.key);
            if slot.persisted {
                self.state_digest = self.state_digest.wrapping_sub(slot.share);
            }
            self.value.clear();
            self.value.extend_from_slice(&(slot.cells.len() as u32).to_be_bytes());
            for cell in slot.cells.as_mut_slice() {
                put_cell(cell.first, cell.last, &mut self.value, |out| cell.content.encode(&self.aggregate, out));
                let due = due(&self.spec, cell);
                arm(&mut self.timers_digest, slot.key.bytes(), &mut cell.armed, due);
            }
            slot.share = state_share(&self.record_key, &self.value);
            slot.persisted = true;
            self.state_digest = self.state_digest.wrapping_add(slot.share);
            write(&self.record_key, Some(&self.value));
        }
        for key in gone {
            write(put_record_key(&mut self.record_key, key), None);
        }
    }

    /// The keys, in order, that the changelog has and nobody else. One that came back has been changed, and is written.
    fn take_gone(&mut self) -> Vec<Key> {
        let mut gone = std::mem::take(&mut self.gone);
        mutant!("dead-key-stays", {}, gone.clear());
        let (index, slots) = (&self.index, &self.slots);
        gone.retain(|key| index.find(key.hash(), |id| slots[*id].key.bytes() == key.bytes()).is_none());
        gone.sort_unstable_by(|a, b| a.bytes().cmp(b.bytes()));
        gone
    }

    /// Ends a key: its slot is given back, and the changelog, if it has the key, is to forget it.
    fn retire(&mut self, id: u32) {
        let key = self.release(id);
        let slot = &mut self.slots[id];
        if std::mem::take(&mut slot.persisted) {
            self.state_digest = self.state_digest.wrapping_sub(slot.share);
            self.gone.push(key);
        }
    }

    /// Gives an empty slot back, and its key. Its timers stay: a later key of the slot ignores them.
    fn release(&mut self, id: u32) -> Key {
        let slot = &mut self.slots[id];
        assert!(slot.cells.is_empty(), "{} cells in a released slot", slot.cells.len());
        let hash = slot.key.hash();
        let entry =
            self.index.find_entry(hash, |other| *other == id).expect("a slot is in the index until it is released");
        entry.remove();
        self.heap_bytes -= slot.heap_bytes();
        slot.cells = Few::None;
        slot.wake = NEVER;
        slot.live = false;
        self.free.push(id);
        std::mem::replace(&mut slot.key, Key::new(&[]))
    }

    /// Takes one entry of the changelog.
    pub fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), CodecError> {
        let id = self.slot(&Sought::new(key));
        let restored = cells(value.unwrap_or(&[0; 4]))?
            .map(|cell| {
                let cell = cell?;
                let content = C::decode(&self.aggregate, cell.content)?;
                Ok(Cell::new(Span { first: cell.first, last: cell.last }, Row::None, content))
            })
            .collect::<Result<Few<_>, CodecError>>()?;
        let slot = &mut self.slots[id];
        if std::mem::take(&mut slot.persisted) {
            self.state_digest = self.state_digest.wrapping_sub(slot.share);
        }
        self.heap_bytes -= slot.heap_bytes();
        slot.cells = restored;
        self.heap_bytes += slot.heap_bytes();
        match value {
            None => {
                self.release(id);
            }
            Some(value) => {
                put_record_key(&mut self.record_key, &slot.key);
                slot.share = state_share(&self.record_key, value);
                slot.persisted = true;
                self.state_digest = self.state_digest.wrapping_add(slot.share);
            }
        }
        Ok(())
    }

    /// Rebuilds from state and minimum what the changelog does not hold: which panes are out, and the timers.
    pub fn restored(&mut self, minimum: i64) {
        for (id, slot) in self.slots.iter_mut() {
            for cell in slot.cells.as_mut_slice() {
                cell.row = if self.spec.end(cell.last) <= minimum { Row::Out } else { Row::None };
                let due = due(&self.spec, cell);
                arm(&mut self.timers_digest, slot.key.bytes(), &mut cell.armed, due);
                slot.wake = slot.wake.min(due);
            }
            if mutant!("timers-not-restored", slot.wake != NEVER, false) {
                self.timers.push(slot.wake, id);
            }
        }
    }
}

impl<A: Aggregate, C: Shrinks<A>, K: Sink<A::State>> Cells<A, C, K> {
    /// Takes an item out of the cell that holds its span; `false` when there is no such cell or item. A cell without
    /// contributors is deleted; one that no longer holds together falls into its components.
    pub fn remove(&mut self, key: &[u8], span: Span, item: C::Item<'_>, minimum: i64, out: &mut Outbox) -> bool {
        let id = self.slot(&Sought::new(key));
        let spec = self.spec;
        let slot = &mut self.slots[id];
        if !slot.dirty {
            slot.dirty = true;
            self.dirty.push(id);
        }
        let Some(at) = slot.cells.as_slice().iter().position(|cell| cell.first <= span.first && span.last <= cell.last)
        else {
            return false;
        };
        let cell = &mut slot.cells.as_mut_slice()[at];
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
        self.heap_bytes -= slot.heap_bytes();
        let Cell { first, last, mut row, content, .. } = slot.cells.remove(at);
        let parts = if content.is_empty() { Vec::new() } else { content.split(&spec, Span { first, last }) };
        self.counts.emptied += u64::from(parts.is_empty());
        let replaced = parts.first().is_some_and(|(part, _)| part.first == first && spec.end(part.last) <= minimum);
        if row == Row::Stale && !replaced {
            self.sink.erase(slot.key.bytes(), old, out);
            row = Row::None;
        }
        for (index, (part, content)) in parts.into_iter().enumerate() {
            let row = if index == 0 { row } else { Row::None };
            let due = spec.end(part.last);
            slot.cells.insert(at + index, Cell::new(part, row, content));
            if due < slot.wake {
                slot.wake = due;
                self.timers.push(due, id);
            }
        }
        self.heap_bytes += slot.heap_bytes();
        true
    }
}

#[inline]
fn touch<C>(slots: &Slab<Slot<C>>, id: u32) {
    if let Some(slot) = slots.get(id) {
        std::hint::black_box((slot.wake, slot.share));
    }
}

fn put_record_key<'o>(out: &'o mut Vec<u8>, key: &Key) -> &'o [u8] {
    out.clear();
    out.push(TAG_CELLS);
    out.extend_from_slice(key.bytes());
    out
}

fn due<C>(spec: &WindowSpec, cell: &Cell<C>) -> i64 {
    if cell.row == Row::Out { spec.purge(cell.last) } else { spec.end(cell.last) }
}

fn arm(digest: &mut u64, key: &[u8], armed: &mut i64, due: i64) {
    if *armed != due {
        disarm(digest, key, armed);
        *digest = digest.wrapping_add(timer_share(key, due));
        *armed = due;
    }
}

fn disarm(digest: &mut u64, key: &[u8], armed: &mut i64) {
    if *armed != NEVER {
        *digest = digest.wrapping_sub(timer_share(key, *armed));
        *armed = NEVER;
    }
}
