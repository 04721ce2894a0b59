//! The sums of the measured dataset's output, straight from the generator: no log, no engine, no watermark.
//!
//! They hold where nothing is late: one partition or more keyed by user, a bound of 30 s.
//!
//! Sorting all (user, time) pairs would make every session and every minute a run, whatever the order of arrival. The
//! pairs are sorted slice by slice of event time, which is the same and takes a few MB however long the dataset: no record
//! is older than [`Clickstream::earliest_from`] of its index says, so the pairs before that are all there. A slice ends where
//! a minute ends; a session that goes on into the next slice is kept per user.

use crate::clickstream::Clickstream;

/// Of `clickstream-sessions`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct SessionSums {
    pub sessions: u64,
    pub events: u64,
    /// The sum of last − first.
    pub duration_ms: u64,
}

/// Of `clickstream-minutes` and `clickstream-unique-minutes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct MinuteSums {
    pub panes: u64,
    pub events: u64,
    /// The most events of one user in one minute.
    pub max_events: u64,
}

/// Bits of a time since the dataset's earliest, 34 years of milliseconds; the user is above them, up to 16 million.
const TIME_BITS: u32 = 40;
/// Records between two slices.
const SLICE: u64 = 1 << 20;

/// Calls `each` with all (user << `TIME_BITS` | time) in sorted slices: every time of a slice is before every time of the
/// next, and no two slices share a window of `size_ms`. Times count from a multiple of `size_ms`.
fn sorted_slices(stream: &Clickstream, only_originals: bool, size_ms: i64, records: u64, mut each: impl FnMut(&[u64])) {
    let users = stream.settings().users;
    assert!(users < 1 << (64 - TIME_BITS), "{users} users do not fit {} bits", 64 - TIME_BITS);
    let origin = stream.earliest_from(0).div_euclid(size_ms) * size_ms;
    let since = |time: i64| u64::try_from(time - origin).expect("no event is before the earliest");
    let mut seen = Originals::new(stream);
    let (mut pairs, mut later): (Vec<u64>, Vec<u64>) = (Vec::new(), Vec::new());
    let mut from = 0;
    while from < stream.len() {
        let to = (from + records).min(stream.len());
        for index in from..to {
            if only_originals && !seen.is_first(stream.original(index)) {
                continue;
            }
            let record = stream.record(index);
            let time = since(record.ts_ms);
            assert!(time < 1 << TIME_BITS, "{time} ms do not fit {TIME_BITS} bits");
            pairs.push((u64::from(record.user_id) << TIME_BITS) | time);
        }
        if to < stream.len() {
            let cut = since(stream.earliest_from(to).div_euclid(size_ms) * size_ms);
            pairs.retain(|pair| {
                let complete = time_of(*pair) < cut;
                if !complete {
                    later.push(*pair);
                }
                complete
            });
        }
        pairs.sort_unstable();
        each(&pairs);
        pairs.clear();
        std::mem::swap(&mut pairs, &mut later);
        from = to;
    }
}

fn time_of(pair: u64) -> u64 {
    pair & ((1 << TIME_BITS) - 1)
}

fn user_of(pair: u64) -> usize {
    (pair >> TIME_BITS) as usize
}

/// Which originals have come: a copy lies at most 500 records behind, so a ring of 1024 remembers enough.
struct Originals {
    ring: Vec<u64>,
}

impl Originals {
    fn new(stream: &Clickstream) -> Originals {
        let size = (stream.dup_distance() * 2 + 2).next_power_of_two();
        Originals { ring: vec![u64::MAX; size as usize] }
    }

    fn is_first(&mut self, original: u64) -> bool {
        let size = self.ring.len() as u64;
        let slot = &mut self.ring[(original % size) as usize];
        let first = *slot != original;
        *slot = original;
        first
    }
}

/// The sums of the sessions with this gap.
#[must_use]
pub fn sessions(stream: &Clickstream, gap_ms: i64) -> SessionSums {
    sessions_by(stream, gap_ms, SLICE)
}

fn sessions_by(stream: &Clickstream, gap_ms: i64, records: u64) -> SessionSums {
    let gap = gap_ms.unsigned_abs();
    let mut sums = SessionSums::default();
    // Per user: the time of the event before; users count from 1.
    let mut before: Vec<Option<u64>> = vec![None; stream.settings().users as usize + 1];
    sorted_slices(stream, false, 1, records, |pairs| {
        for pair in pairs {
            let (before, time) = (&mut before[user_of(*pair)], time_of(*pair));
            // A session is as long as the steps between its events.
            match before.replace(time) {
                Some(before) if time - before <= gap => sums.duration_ms += time - before,
                _ => sums.sessions += 1,
            }
        }
        sums.events += pairs.len() as u64;
    });
    sums
}

/// The sums of the tumbling windows of `size_ms`; of distinct events only, if `unique`.
#[must_use]
pub fn minutes(stream: &Clickstream, size_ms: i64, unique: bool) -> MinuteSums {
    minutes_by(stream, size_ms, unique, SLICE)
}

fn minutes_by(stream: &Clickstream, size_ms: i64, unique: bool, records: u64) -> MinuteSums {
    let mut sums = MinuteSums::default();
    let window = |pair: u64| (user_of(pair), time_of(pair) / size_ms.unsigned_abs());
    sorted_slices(stream, unique, size_ms, records, |pairs| {
        for pane in pairs.chunk_by(|one, next| window(*one) == window(*next)) {
            sums.panes += 1;
            sums.max_events = sums.max_events.max(pane.len() as u64);
        }
        sums.events += pairs.len() as u64;
    });
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clickstream::Settings;

    /// Five hours of a hundred users: sessions and minutes that many slices cut.
    fn stream() -> Clickstream {
        let settings = Settings { users: 100, span_s: 20_000, dup_bp: 500, ..Settings::over_a_day(30_000) };
        Clickstream::new(settings)
    }

    #[test]
    fn the_slices_do_not_show() {
        let stream = stream();
        let gap = 5 * 60_000;
        let whole = sessions_by(&stream, gap, u64::MAX / 2);
        assert!(whole.sessions > 1_000 && whole.events == 30_000, "{whole:?}");
        for records in [1, 7, 1_000, 29_999] {
            assert_eq!(sessions_by(&stream, gap, records), whole, "slices of {records} records");
            for unique in [false, true] {
                let whole = minutes_by(&stream, 60_000, unique, u64::MAX / 2);
                assert_eq!(minutes_by(&stream, 60_000, unique, records), whole, "slices of {records} records");
            }
        }
    }

    #[test]
    fn no_record_is_older_than_is_said_of_its_index() {
        let stream = stream();
        for (index, record) in (0..).zip(stream.iter()) {
            let earliest = stream.earliest_from(index);
            assert!(earliest <= record.ts_ms, "record {index} is of {}, not before {earliest}", record.ts_ms);
        }
        assert!((1..stream.len()).all(|index| stream.earliest_from(index - 1) <= stream.earliest_from(index)));
    }
}
