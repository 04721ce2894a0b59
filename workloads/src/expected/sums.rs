//! What the measured dataset's output must be, straight from the generator: its sums, and the checksum over the line of every
//! final pane. No log, no engine, no watermark.
//!
//! They hold where nothing is late: one partition or more keyed by user, a bound of 30 s.
//!
//! Sorting all (user, time) pairs would make every session and every minute a run, whatever the order of arrival. The
//! pairs are sorted slice by slice of event time, which is the same and takes a few MB however long the dataset: no record
//! is older than [`Clickstream::earliest_from`] of its index says, so the pairs before that are all there. A slice ends where
//! a minute ends; a session that goes on into the next slice is kept per user.

use std::io::Write as _;

use sha2::{Digest as _, Sha256};

use crate::clickstream::Clickstream;

/// Of `clickstream-sessions`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct SessionSums {
    pub sessions: u64,
    pub events: u64,
    /// The sum of last − first.
    pub duration_ms: u64,
    pub checksum: Checksum,
}

/// Of `clickstream-minutes` and `clickstream-unique-minutes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct MinuteSums {
    pub panes: u64,
    pub events: u64,
    /// The most events of one user in one minute.
    pub max_events: u64,
    pub checksum: Checksum,
}

/// The wrapping sum of the first 16 bytes (little endian) of each pane's line's SHA-256.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Checksum(pub u128);

impl Checksum {
    fn add(&mut self, line: &[u8]) {
        let digest = Sha256::digest(line);
        let first = digest[..16].try_into().map(u128::from_le_bytes);
        self.0 = self.0.wrapping_add(first.expect("16 of 32 bytes"));
    }
}

/// Bits of a time since the dataset's earliest, 8 years of milliseconds; the user is above them, up to 16 million, and the
/// kind below.
const TIME_BITS: u32 = 38;
const KIND_BITS: u32 = 2;
/// Records between two slices.
const SLICE: u64 = 1 << 20;

/// Calls `each` with all (user, time, kind), packed into a number, in sorted slices: every time of a slice is before every
/// time of the next, and no two slices share a window of `size_ms`. Times count from [`origin`].
fn sorted_slices(stream: &Clickstream, only_originals: bool, size_ms: i64, records: u64, mut each: impl FnMut(&[u64])) {
    let users = stream.settings().users;
    assert!(users < 1 << (64 - TIME_BITS - KIND_BITS), "{users} users do not fit their bits");
    let origin = origin(stream, size_ms);
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
            pairs.push((u64::from(record.user_id) << TIME_BITS | time) << KIND_BITS | record.kind as u64);
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

/// A multiple of `size_ms` that no event is before.
fn origin(stream: &Clickstream, size_ms: i64) -> i64 {
    stream.earliest_from(0).div_euclid(size_ms) * size_ms
}

fn kind_of(pair: u64) -> usize {
    (pair & ((1 << KIND_BITS) - 1)) as usize
}

fn time_of(pair: u64) -> u64 {
    (pair >> KIND_BITS) & ((1 << TIME_BITS) - 1)
}

fn user_of(pair: u64) -> usize {
    (pair >> (TIME_BITS + KIND_BITS)) as usize
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

/// A user's session that may go on.
#[derive(Clone, Copy)]
struct Open {
    first: u64,
    last: u64,
    kinds: [u32; 4],
}

fn sessions_by(stream: &Clickstream, gap_ms: i64, records: u64) -> SessionSums {
    let gap = gap_ms.unsigned_abs();
    let origin = origin(stream, 1);
    let mut sums = SessionSums::default();
    // By user, who count from 1.
    let mut open: Vec<Option<Open>> = vec![None; stream.settings().users as usize + 1];
    let mut line = Vec::new();
    let mut close = |sums: &mut SessionSums, user: usize, session: Open| {
        let Open { first, last, kinds: [views, clicks, carts, purchases] } = session;
        sums.sessions += 1;
        sums.duration_ms += last - first;
        let (first, last) = (origin + first as i64, origin + last as i64);
        let events: u32 = session.kinds.iter().sum();
        line.clear();
        write!(
            line,
            "{{\"user_id\":\"{user}\",\"first_ms\":{first},\"last_ms\":{last},\"events\":{events},\"views\":{views},\
             \"clicks\":{clicks},\"carts\":{carts},\"purchases\":{purchases}}}"
        )
        .expect("a vector takes everything");
        sums.checksum.add(&line);
    };
    sorted_slices(stream, false, 1, records, |pairs| {
        for &pair in pairs {
            let (user, time) = (user_of(pair), time_of(pair));
            if let Some(over) = open[user].take_if(|session| time - session.last > gap) {
                close(&mut sums, user, over);
            }
            let session = open[user].get_or_insert(Open { first: time, last: time, kinds: [0; 4] });
            session.last = time;
            session.kinds[kind_of(pair)] += 1;
        }
        sums.events += pairs.len() as u64;
    });
    for (user, session) in open.into_iter().enumerate() {
        if let Some(session) = session {
            close(&mut sums, user, session);
        }
    }
    sums
}

/// The sums of the tumbling windows of `size_ms`; of distinct events only, if `unique`.
#[must_use]
pub fn minutes(stream: &Clickstream, size_ms: i64, unique: bool) -> MinuteSums {
    minutes_by(stream, size_ms, unique, SLICE)
}

fn minutes_by(stream: &Clickstream, size_ms: i64, unique: bool, records: u64) -> MinuteSums {
    let origin = origin(stream, size_ms);
    let mut sums = MinuteSums::default();
    let mut line = Vec::new();
    let window = |pair: u64| (user_of(pair), time_of(pair) / size_ms.unsigned_abs());
    sorted_slices(stream, unique, size_ms, records, |pairs| {
        for pane in pairs.chunk_by(|one, next| window(*one) == window(*next)) {
            sums.panes += 1;
            sums.max_events = sums.max_events.max(pane.len() as u64);
            let (user, number) = window(pane[0]);
            let (minute, events) = (origin + number as i64 * size_ms, pane.len());
            line.clear();
            write!(line, "{{\"user_id\":\"{user}\",\"minute_ms\":{minute},\"events\":{events}}}")
                .expect("a vector takes everything");
            sums.checksum.add(&line);
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
