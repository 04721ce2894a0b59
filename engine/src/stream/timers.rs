//! When something is due: a calendar of (time, slot).
//!
//! In: due times and the slots that wait for them. Out: the entries that a minimum has reached, in no order that may be
//! seen. Event time moves forward over a span that is short beside it, so an entry is put into the slice of time that it
//! belongs to, and a slice is emptied at once: constant work an entry, where a heap would need a logarithm of cache misses.
//!
//! Invariant: an entry is in the slice of its due time, or in the first slice if that has passed, or in the heap if that is
//! too far ahead.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Slices ahead of the first; what is due later waits in the heap.
const SLICES_MAX: i64 = 1 << 12;
/// Emptied slices whose memory is kept.
const SPARE_MAX: usize = 64;

/// An entry: when, and which slot.
type Entry = (i64, u32);

struct Slice {
    least: i64,
    entries: Vec<Entry>,
}

pub(super) struct Timers {
    /// A slice is 2^shift milliseconds long.
    shift: u32,
    /// The number of the first slice.
    base: i64,
    slices: VecDeque<Slice>,
    far: BinaryHeap<Reverse<Entry>>,
    spare: Vec<Vec<Entry>>,
}

impl Timers {
    /// `horizon`: how far ahead of the minimum most entries lie, in milliseconds.
    pub fn new(horizon: i64) -> Timers {
        // About 64 slices to the horizon.
        let shift = (horizon.max(64) / 64).ilog2();
        Timers { shift, base: 0, slices: VecDeque::new(), far: BinaryHeap::new(), spare: Vec::new() }
    }

    #[inline]
    pub fn push(&mut self, due: i64, slot: u32) {
        let number = due >> self.shift;
        if self.slices.is_empty() {
            self.base = number;
        }
        let ahead = (number - self.base).max(0);
        if ahead >= SLICES_MAX {
            self.far.push(Reverse((due, slot)));
            return;
        }
        while self.slices.len() as i64 <= ahead {
            let entries = self.spare.pop().unwrap_or_default();
            self.slices.push_back(Slice { least: i64::MAX, entries });
        }
        let slice = &mut self.slices[ahead as usize];
        slice.least = slice.least.min(due);
        slice.entries.push((due, slot));
    }

    /// Takes out every entry that `minimum` has reached.
    pub fn take_due(&mut self, minimum: i64, mut each: impl FnMut(i64, u32)) {
        while let Some(slice) = self.slices.front_mut() {
            if slice.least <= minimum {
                slice.least = i64::MAX;
                slice.entries.retain(|(due, slot)| {
                    if *due <= minimum {
                        each(*due, *slot);
                        return false;
                    }
                    slice.least = slice.least.min(*due);
                    true
                });
            }
            if !slice.entries.is_empty() {
                // What is left lies above the minimum, and the later slices lie above what is left.
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
            each(due, slot);
        }
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        let slices = self.slices.iter().map(|slice| slice.entries.capacity());
        let spare = self.spare.iter().map(Vec::capacity);
        (slices.chain(spare).sum::<usize>() + self.far.capacity()) * size_of::<Entry>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a sorted list, with due times near and far, before and after the minimum.
        #[test]
        fn an_entry_comes_out_once_and_at_the_first_minimum_that_has_reached_it(
            horizon in prop_oneof![Just(0_i64), Just(60_000), Just(1 << 40)],
            steps in prop::collection::vec((prop::collection::vec((0_u32..40, any::<i64>()), 0..8), 0_i64..5_000), 1..40),
        ) {
            let mut timers = Timers::new(horizon);
            let mut model: Vec<Entry> = Vec::new();
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
                timers.take_due(minimum, |at, id| due.push((at, id)));
                due.sort_unstable();
                let (mut wanted, left): (Vec<_>, Vec<_>) = model.into_iter().partition(|(at, _)| *at <= minimum);
                wanted.sort_unstable();
                prop_assert_eq!(due, wanted);
                model = left;
            }
            let mut rest = 0;
            timers.take_due(i64::MAX, |_, _| rest += 1);
            prop_assert_eq!(rest, model.len());
        }
    }
}
