//! A replay from a time: where it begins to read, what it speaks for, and why that is exact.
//!
//! In: a time *T*, the pipeline's windows, its deduplication horizon. Out: the time whose first record is read first, and
//! the window start from which on panes, retractions and late entries are written; others are not.
//!
//! # The claim
//!
//! Write *H* for the deduplication horizon (0 without one), *S* = T − H, *g* for the session gap (0 for tumbling windows).
//! A partition is read from its first record with a timestamp ≥ S; if it has none, from its last record, which is its end
//! marker if it has ended. Then, for all windows that start at or after F = T + g, the final table and the late entries are
//! those of a run from offset 0.
//!
//! It rests on what the log must promise: (a) nothing follows a partition's end marker; (b) a marker's timestamp is its
//! watermark, the end marker's alone may be any; (c) with deduplication, records of a partition that share an id lie at most
//! H of event time apart. The third is what makes a copy a copy; without it, what makes a record a duplicate may lie any
//! distance back, since duplicates do not renew a horizon, and only a run from offset 0 knows.
//!
//! # Proof
//!
//! Let *own(r)* be the watermark before record *r* in the whole log, and *own'(r)* the one that the replay computes. Let *s*
//! be where it begins in r's partition.
//!
//! 1. **Below S the two may differ, from S on they are equal.** A record before s moves the watermark to less than S: data
//!    to its timestamp less the bound, a marker to its timestamp (b), and no end marker is among them (a). So own(r) is the
//!    larger of something below S and own'(r): own'(r) ≤ own(r), and if own(r) ≥ S they are equal. Hence for every threshold
//!    θ ≥ S: own(r) < θ iff own'(r) < θ. (If the partition has no record ≥ S when the replay begins, that holds of all that
//!    it has, and whatever comes later is read.)
//!
//! 2. **Every record with a timestamp ≥ S is read**: s is at or before the first of its partition.
//!
//! 3. **Duplicates**: let r's time be ≥ T. All records of its partition with its id have times ≥ T − H = S (c), so all are
//!    read (2), and each is judged by comparing own watermarks with thresholds e + H ≥ S + H ≥ S, where e is such a record's
//!    time. By (1) the same ones are kept, in offset order, one after the other.
//!
//! 4. **Lateness**: r is accepted iff own(r) < span.last + g + 1 + L. If span.last + g + 1 + L ≥ S, which holds for every
//!    record with a time ≥ T − g, the answers are equal (1).
//!
//! 5. **Tumbling windows** that start at or after T hold records with times ≥ T only: the same are read (2), kept (3) and
//!    accepted (4), so state and late entries are the same.
//!
//! 6. **Sessions** that start at or after T + g: let C be such a session of the whole log. Its records are accepted by the
//!    replay too (2, 3, 4). A record that the replay accepts within g of C has a time ≥ T, so the whole log accepts it (3, 4),
//!    and it belongs to C already. So C is a session of the replay. The other way round, a session of the replay that starts
//!    at or after T + g has only records with times ≥ T; what the whole log accepts within g of it has a time ≥ T, is read, and
//!    accepted. So it is one of the whole log. A session that starts between T and T + g may be the rest of a longer one.
//!
//! 7. **Panes on the way**: a pane of a window that starts at or after T is out iff the minimum has reached its end, which is
//!    above S; by (1) that is the case at the same offsets.
//!
//! Panes as input are not covered: an upstream session that is half read would have to be known as such downstream. A
//! pipeline with a second windowed stage is refused.
//!
//! Invariant: a version keeps the time that it was started at; each of its tasks refuses to go on with another
//! ([`super::TaskFault::StartDiffers`]), since its committed offsets and its output are those of the first.

use crate::types::{Millis, Timestamp};

use super::window::{EVENT_TIME_MAX, WindowSpec};

/// The time that a version starts at, instead of offset 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartTime(pub(super) Timestamp);

/// A pipeline that cannot be started at a time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    #[error(
        "{pipeline} cannot start at a time: it has {stages} windowed stages, and a window that is half read upstream \
         would show downstream; start it at offset 0"
    )]
    SeveralWindows { pipeline: String, stages: usize },
    #[error("{time} is no event time: those lie between -{EVENT_TIME_MAX} and {EVENT_TIME_MAX}")]
    OutOfRange { time: Timestamp },
}

impl StartTime {
    pub(super) fn new(time: Timestamp) -> Result<StartTime, StartError> {
        match time.0.checked_abs() {
            Some(distance) if distance <= EVENT_TIME_MAX => Ok(StartTime(time)),
            _ => Err(StartError::OutOfRange { time }),
        }
    }

    pub fn time(self) -> Timestamp {
        self.0
    }

    /// *S*: a partition is read from its first record at or after this.
    pub fn reads_from(self, horizon: Option<Millis>) -> Timestamp {
        self.0.minus(mutant!("horizon-before-start-unread", horizon.unwrap_or(Millis(0)), Millis(0)))
    }

    /// *F*: windows that start before it are not written.
    pub fn speaks_from(self, windows: &WindowSpec) -> Timestamp {
        self.0.plus(Millis(mutant!("speaks-a-gap-early", windows.gap(), 0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_beyond_what_events_have_is_refused() {
        for time in [EVENT_TIME_MAX + 1, -EVENT_TIME_MAX - 1, i64::MIN, i64::MAX] {
            assert_eq!(StartTime::new(Timestamp(time)), Err(StartError::OutOfRange { time: Timestamp(time) }));
        }
        assert!(StartTime::new(Timestamp(-EVENT_TIME_MAX)).is_ok());
    }
}
