//! When a slot wants to be looked at: a calendar of slots.
//!
//! In: due times and the slots that wait for them. Out: slots, once the minimum has reached their time, in no order that may
//! be seen. Event time moves forward over a span that is short beside it, so a slot is put into the slice of time that it
//! belongs to, and a slice is emptied at once: constant work, where a heap would need a logarithm of cache misses. A place in
//! a slice and a slot's number make eight bytes.
//!
//! Invariant: an entry is in the slice of its due time, or, when that is too far ahead, in the heap.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Slices from the first to the last; what is due outside them waits in the heap.
const SLICES_MAX: i64 = 1 << 12;
/// Emptied slices whose memory is kept.
const SPARE_MAX: usize = 8;

/// A due time as a distance from its slice's beginning, and the slot.
type Entry = (u32, u32);

struct Slice {
    least: u32,
    entries: Vec<Entry>,
}

pub(super) struct Timers {
    /// A slice is 2^shift milliseconds long; at most 2^32.
    shift: u32,
    /// The number of the first slice.
    base: i64,
    slices: VecDeque<Slice>,
    far: BinaryHeap<Reverse<(i64, u32)>>,
    /// The minimum that was reached last: what is due before it is due at it.
    reached: i64,
    spare: Vec<Vec<Entry>>,
}

impl Timers {
    /// `horizon`: how far ahead of the minimum most due times lie, in milliseconds.
    pub fn new(horizon: i64) -> Timers {
        // About 64 slices to the horizon.
        let shift = (horizon.max(64) / 64).ilog2().min(32);
        let (slices, far, spare) = (VecDeque::new(), BinaryHeap::new(), Vec::new());
        Timers { shift, base: 0, slices, far, reached: i64::MIN, spare }
    }

    #[inline]
    pub fn push(&mut self, due: i64, slot: u32) {
        let due = due.max(self.reached);
        let number = due >> self.shift;
        if self.slices.is_empty() {
            self.base = number;
        }
        let ahead = number.saturating_sub(self.base);
        if ahead >= self.slices.len() as i64 || ahead < 0 {
            self.push_outside(due, number, slot);
            return;
        }
        let delta = (due - (number << self.shift)) as u32;
        let slice = &mut self.slices[ahead as usize];
        slice.least = slice.least.min(delta);
        slice.entries.push((delta, slot));
    }

    /// Makes room for a slice, or gives up on it.
    #[cold]
    fn push_outside(&mut self, due: i64, number: i64, slot: u32) {
        let (first, last) = (self.base.min(number), number.max(self.base + self.slices.len() as i64 - 1));
        if last.saturating_sub(first) >= SLICES_MAX {
            self.far.push(Reverse((due, slot)));
            return;
        }
        while self.base > first {
            let slice = self.empty_slice();
            self.slices.push_front(slice);
            self.base -= 1;
        }
        while self.base + (self.slices.len() as i64) <= last {
            let slice = self.empty_slice();
            self.slices.push_back(slice);
        }
        self.push(due, slot);
    }

    fn empty_slice(&mut self) -> Slice {
        Slice { least: u32::MAX, entries: self.spare.pop().unwrap_or_default() }
    }

    /// Takes out every slot whose time `minimum` has reached.
    pub fn take_due(&mut self, minimum: i64, mut each: impl FnMut(u32)) {
        self.reached = self.reached.max(minimum);
        while let Some(slice) = self.slices.front_mut() {
            let begins = self.base << self.shift;
            if begins > minimum {
                break;
            }
            let into = u32::try_from(minimum.saturating_sub(begins)).unwrap_or(u32::MAX);
            if slice.least <= into {
                slice.least = u32::MAX;
                slice.entries.retain(|(delta, slot)| {
                    if *delta <= into {
                        each(*slot);
                        return false;
                    }
                    slice.least = slice.least.min(*delta);
                    true
                });
            }
            if !slice.entries.is_empty() {
                break;
            }
            let emptied = self.slices.pop_front().expect("the front is there");
            self.base += 1;
            if self.spare.len() < SPARE_MAX {
                self.spare.push(emptied.entries);
            }
        }
        while let Some(Reverse((due, slot))) = self.far.peek().copied() {
            if due > minimum {
                break;
            }
            self.far.pop();
            each(slot);
        }
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        let slices = self.slices.iter().map(|slice| slice.entries.capacity());
        let spare = self.spare.iter().map(Vec::capacity);
        slices.chain(spare).sum::<usize>() * size_of::<Entry>() + self.far.capacity() * size_of::<(i64, u32)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a sorted list, with due times near and far, before and after the minimum.
        #[test]
        fn a_slot_comes_out_once_and_at_the_first_minimum_that_has_reached_its_time(
            horizon in prop_oneof![Just(0_i64), Just(60_000), Just(1 << 40), Just(1 << 50)],
            steps in prop::collection::vec((prop::collection::vec((0_u32..40, any::<i64>()), 0..8), 0_i64..5_000), 1..40),
        ) {
            let mut timers = Timers::new(horizon);
            let mut model: Vec<(i64, u32)> = Vec::new();
            let (mut minimum, mut slot) = (-20_000_i64, 0);
            for (pushes, step) in steps {
                for (shift, raw) in pushes {
                    let due = minimum + (raw >> (24 + shift));
                    timers.push(due, slot);
                    model.push((due, slot));
                    slot += 1;
                }
                minimum += step;
                let mut due = Vec::new();
                timers.take_due(minimum, |id| due.push(id));
                due.sort_unstable();
                let (wanted, left): (Vec<_>, Vec<_>) = model.into_iter().partition(|(at, _)| *at <= minimum);
                let mut wanted: Vec<u32> = wanted.into_iter().map(|(_, id)| id).collect();
                wanted.sort_unstable();
                prop_assert_eq!(due, wanted);
                model = left;
            }
            let mut rest = 0;
            timers.take_due(i64::MAX, |_| rest += 1);
            prop_assert_eq!(rest, model.len());
        }
    }
}
