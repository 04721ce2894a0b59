//! The watermark of each upstream partition, and their minimum: a task's event time.
//!
//! Invariant: neither a channel nor the minimum moves back.

use crate::types::Timestamp;

/// One watermark per upstream partition.
pub(super) struct Channels {
    watermarks: Vec<i64>,
    minimum: i64,
}

impl Channels {
    pub fn new(count: usize) -> Channels {
        assert!(count > 0, "a task has at least one channel");
        Channels { watermarks: vec![i64::MIN; count], minimum: i64::MIN }
    }

    /// The watermark of a channel; `None` when there is no such channel.
    #[inline]
    pub fn get(&self, channel: i32) -> Option<i64> {
        self.watermarks.get(usize::try_from(channel).ok()?).copied()
    }

    /// Raises a channel that exists; a lower watermark changes nothing.
    #[inline]
    pub fn raise(&mut self, channel: usize, to: i64) {
        let before = self.watermarks[channel];
        if to > before {
            self.watermarks[channel] = to;
            if before == self.minimum {
                let known = self.watermarks.iter().copied();
                self.minimum = mutant!("silent-channel-left-out", known.min(), known.filter(|it| *it > i64::MIN).min())
                    .unwrap_or(i64::MIN);
            }
        }
    }

    #[inline]
    pub fn minimum(&self) -> i64 {
        self.minimum
    }

    pub fn timestamp(&self) -> Timestamp {
        Timestamp(self.minimum)
    }

    pub fn watermarks(&self) -> &[i64] {
        &self.watermarks
    }
}
