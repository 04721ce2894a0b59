//! When a task's next commit is due, and whether a flush fits in before it.
//!
//! In: when commits were cut and flushes took how long. Out: a moment. A cut comes later than it is due: a round is being
//! processed, or a write is under way and only one can be. So it is due earlier than the interval ends, by a margin that
//! follows how late the last ones came: it grows at once and shrinks slowly, as the timeout of a retransmission does. The
//! first margins are wide, since of a task's first commits nothing is known, and their state is all new.
//! Invariant: from the first cut on the margin is from a quarter to three quarters of the interval.

use std::time::Duration;

use tokio::time::Instant;

/// The pace of one instance.
pub struct Pace {
    interval: Duration,
    margin: Duration,
    due: Instant,
    /// Since when input has been there that the next commit is to take along.
    waiting_since: Option<Instant>,
    /// How long the last flush took that has ended; less with every commit since.
    flush_took: Duration,
    flushing_since: Instant,
}

impl Pace {
    /// The first commit is due at once: what comes after a silence should not wait.
    pub fn new(interval: Duration, now: Instant) -> Pace {
        Pace {
            interval,
            margin: interval,
            due: now,
            waiting_since: None,
            flush_took: Duration::ZERO,
            flushing_since: now,
        }
    }

    /// When the next commit is due, if there is anything to commit then.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// A round was processed that came at `now`. With nothing `pending` the next commit has nothing to take along.
    pub fn processed(&mut self, now: Instant, pending: bool) {
        self.waiting_since = pending.then(|| self.waiting_since.unwrap_or(now));
    }

    /// A commit is cut, and there is `more` to commit already, read or not. Answers for how long there was something to
    /// commit before it: at most since the last cut.
    pub fn cut(&mut self, now: Instant, more: bool) -> Duration {
        let since = std::mem::replace(&mut self.waiting_since, more.then_some(now)).unwrap_or(now);
        let late = now.saturating_duration_since(self.due.max(since));
        let widest = self.interval * 3 / 4;
        self.margin = (late + late / 4).max(self.margin * 3 / 4).clamp(self.interval / 4, widest);
        self.due = now
            + mutant!("commits-three-times-as-often", self.interval - self.margin, (self.interval - self.margin) / 3);
        // One slow flush does not end them all.
        self.flush_took /= 2;
        now.saturating_duration_since(since)
    }

    /// Whether a flush that begins now will be done before the commit is due, which would take its outputs along: no flush
    /// must keep a commit waiting.
    pub fn flush_fits(&self, now: Instant) -> bool {
        now + self.flush_took < self.due
    }

    pub fn flush_begins(&mut self, now: Instant) {
        self.flushing_since = now;
    }

    pub fn flush_ended(&mut self, now: Instant) {
        self.flush_took = now.saturating_duration_since(self.flushing_since);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INTERVAL: Duration = Duration::from_millis(500);

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// Cuts that are always due come so late, one after the other; answers the gaps between them.
    fn gaps(lates: impl IntoIterator<Item = u64>) -> Vec<Duration> {
        let mut pace = Pace::new(INTERVAL, Instant::now());
        let cut = lates.into_iter().map(|late| {
            let now = pace.due() + millis(late);
            pace.processed(now, true);
            pace.cut(now, true)
        });
        cut.collect()
    }

    #[test]
    fn at_ease_a_commit_is_due_after_three_quarters_of_the_interval() {
        let gaps = gaps([0; 20]);
        assert_eq!(gaps[1], INTERVAL / 4, "the second commit of an instance comes soon");
        assert!(gaps.is_sorted(), "{gaps:?}");
        assert_eq!(gaps.last(), Some(&(INTERVAL * 3 / 4)));
    }

    #[test]
    fn after_one_late_commit_the_next_are_due_earlier_for_a_while() {
        let gaps = gaps([0, 0, 0, 0, 0, 0, 0, 0, 300, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(gaps[8], millis(675));
        assert_eq!(gaps[9], millis(125));
        assert!(gaps[9..].is_sorted() && gaps[15] == millis(375), "{gaps:?}");
    }

    #[test]
    fn a_silence_is_not_lateness() {
        let start = Instant::now();
        let mut pace = Pace::new(INTERVAL, start);
        assert_eq!(pace.cut(start, false), Duration::ZERO);
        let later = start + 100 * INTERVAL;
        pace.processed(later, true);
        assert_eq!(pace.cut(later + millis(3), false), millis(3));
        assert!(pace.due() > later + INTERVAL / 4, "{:?} after the cut", pace.due() - later);
    }

    #[test]
    fn no_flush_begins_that_would_outlast_the_due_commit() {
        let start = Instant::now();
        let mut pace = Pace::new(INTERVAL, start);
        pace.cut(start, true);
        assert!(pace.flush_fits(pace.due() - millis(1)));
        pace.flush_begins(start);
        pace.flush_ended(start + millis(40));
        assert!(!pace.flush_fits(pace.due() - millis(40)));
        assert!(pace.flush_fits(pace.due() - millis(41)));
        pace.cut(pace.due(), true);
        assert!(pace.flush_fits(pace.due() - millis(21)), "one slow flush counts half after a commit");
    }

    proptest! {
        /// Whatever delays come: as long as each is at most a fifth of the interval, no two cuts are further apart than it.
        #[test]
        fn small_delays_keep_the_interval(lates in prop::collection::vec(0_u64..=100, 1..50)) {
            for gap in gaps(lates) {
                prop_assert!(gap <= INTERVAL, "{gap:?}");
            }
        }

        /// Delays that repeat are learned: one no longer than the last keeps the interval, up to the widest margin.
        #[test]
        fn a_delay_like_the_last_one_keeps_the_interval(late in 0_u64..=300, before in prop::collection::vec(0_u64..=1_000, 0..20)) {
            let mut lates = before;
            lates.extend([late, late]);
            let last = *gaps(lates).last().expect("there are two");
            prop_assert!(last <= INTERVAL, "{last:?}");
        }
    }
}
