//! The sums of the measured dataset's output, straight from the generator: no log, no engine, no watermark.
//!
//! They hold where nothing is late: one partition or more keyed by user, a bound of 30 s. Sorting all (user, time) pairs
//! makes every session and every minute a run, whatever the order of arrival.

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

/// All (user, time) as sorted numbers; `time` maps an event time to what is kept of it. 8 bytes an event.
fn sorted(stream: &Clickstream, only_originals: bool, time: impl Fn(i64) -> i64) -> Vec<u64> {
    let settings = stream.settings();
    let earliest = settings.t0 - settings.late_ms.max(500) as i64;
    let origin = time(earliest);
    assert!(settings.users < 1 << (64 - TIME_BITS), "{} users do not fit {} bits", settings.users, 64 - TIME_BITS);
    let mut seen = Originals::new(stream);
    let mut pairs: Vec<u64> = (0..stream.len())
        .filter(|index| !only_originals || seen.is_first(stream.original(*index)))
        .map(|index| {
            let record = stream.record(index);
            let since = u64::try_from(time(record.ts_ms) - origin).expect("no event is before the earliest");
            assert!(since < 1 << TIME_BITS, "{since} ms do not fit {TIME_BITS} bits");
            (u64::from(record.user_id) << TIME_BITS) | since
        })
        .collect();
    pairs.sort_unstable();
    pairs
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
    let pairs = sorted(stream, false, |time| time);
    let gap = gap_ms.unsigned_abs();
    let mut sums = SessionSums { events: pairs.len() as u64, ..SessionSums::default() };
    // Users lie 2^40 ms apart, so a step to the next user is a step beyond any gap.
    for session in pairs.chunk_by(|one, next| next - one <= gap && next >> TIME_BITS == one >> TIME_BITS) {
        sums.sessions += 1;
        sums.duration_ms += session[session.len() - 1] - session[0];
    }
    sums
}

/// The sums of the tumbling windows of `size_ms`; of distinct events only, if `unique`.
#[must_use]
pub fn minutes(stream: &Clickstream, size_ms: i64, unique: bool) -> MinuteSums {
    let pairs = sorted(stream, unique, |time| time.div_euclid(size_ms));
    let mut sums = MinuteSums { events: pairs.len() as u64, ..MinuteSums::default() };
    for pane in pairs.chunk_by(|one, next| one == next) {
        sums.panes += 1;
        sums.max_events = sums.max_events.max(pane.len() as u64);
    }
    sums
}
