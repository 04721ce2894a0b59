//! What a log must produce: which records each window holds, by plain code over the list, and a row of each.
//!
//! In: the committed source records, how one is read, what a row must be. Out: [`Expected`].
//!
//! The rules are the engine's published ones, written a second time:
//!
//! - A record's own watermark is the larger of (highest event time before it in its partition, less the bound) and (highest
//!   marker before it). Every record that is an event moves it, also a filtered, a late one or a copy.
//! - A copy is dropped iff an earlier kept record of its partition has its id, and its own watermark is below that one's
//!   event time plus the horizon.
//! - A tumbling window takes a record iff own watermark < end + allowed lateness; a session iff own watermark < event time
//!   + gap + 1 + allowed lateness. Sessions are the runs of a key's records that lie at most the gap apart.
//!
//! Invariant: runs nothing of the engine but the topology's own functions, a record at a time.

use std::collections::BTreeMap;

use engine::stream::{DecodeError, Pipeline, Reading};
use serde_json::Value;
use sim::workload::{Expected, LogRecord, RowKey, Shape};

use crate::topology::{row_of, words};

/// Event times beyond this on either side are refused.
pub const EVENT_TIME_MAX: u64 = 1 << 60;

/// An accepted record and what it is grouped by.
struct Taken<'a> {
    record: &'a LogRecord,
    own: Option<i64>,
    key: Vec<u8>,
}

impl Taken<'_> {
    /// The watermark of its partition had not reached `time` when it came.
    fn before(&self, time: i64) -> bool {
        self.own.is_none_or(|own| own < time)
    }
}

/// The answer for a pipeline with one stage of windows.
pub fn of(
    pipeline: &Pipeline,
    read: &dyn Fn(&LogRecord) -> Result<Option<Reading>, DecodeError>,
    shape: &Shape,
    log: &[LogRecord],
    row: &dyn Fn(&[&LogRecord]) -> Value,
) -> Expected {
    let mut expected = Expected::default();
    let windows = pipeline.windows().next().expect("a pipeline has windows");
    let lateness = windows.lateness();
    let mut by_key: BTreeMap<Vec<u8>, Vec<&LogRecord>> = BTreeMap::new();
    for taken in judge(read, shape, log, pipeline.horizon().map(|horizon| horizon.0), &mut expected) {
        let at = taken.record.timestamp;
        let (start, end) = match windows.size() {
            Some(size) => {
                let start = at.div_euclid(size.0) * size.0;
                (start, start + size.0)
            }
            None => (at, at + windows.gap() + 1),
        };
        if taken.before(end + lateness) {
            by_key.entry(taken.key).or_default().push(taken.record);
        } else {
            *expected.late.entry((taken.record.partition, taken.record.offset, start)).or_default() += 1;
        }
    }
    for (key, mut records) in by_key {
        records.sort_by_key(|record| (record.timestamp, record.partition, record.offset));
        let together = |one: &&LogRecord, next: &&LogRecord| match windows.size() {
            Some(size) => one.timestamp.div_euclid(size.0) == next.timestamp.div_euclid(size.0),
            None => next.timestamp - one.timestamp <= windows.gap(),
        };
        for window in records.chunk_by(together) {
            let first = window[0].timestamp;
            let window_start = windows.size().map_or(first, |size| first.div_euclid(size.0) * size.0);
            expected.table.insert(RowKey { key: words(&key), window_start }, row_of(row(window)));
        }
    }
    expected
}

/// The records that windows get to see, each with its own watermark.
fn judge<'a>(
    read: &dyn Fn(&LogRecord) -> Result<Option<Reading>, DecodeError>,
    shape: &Shape,
    log: &'a [LogRecord],
    horizon: Option<i64>,
    expected: &mut Expected,
) -> Vec<Taken<'a>> {
    let mut all = Vec::new();
    let partitions: std::collections::BTreeSet<i32> = log.iter().map(|record| record.partition).collect();
    for partition in partitions {
        let mut highest_event: Option<i64> = None;
        let mut highest_marker: Option<i64> = None;
        let mut kept: BTreeMap<u128, Vec<i64>> = BTreeMap::new();
        for record in log.iter().filter(|record| record.partition == partition) {
            if let Some(watermark) = record.watermark() {
                highest_marker = highest_marker.max(Some(watermark));
                continue;
            }
            let Ok(reading) = read(record) else {
                expected.rejected += 1;
                continue;
            };
            let own = highest_event.map(|time| time - shape.bound.0).max(highest_marker);
            highest_event = highest_event.max(Some(record.timestamp));
            let Some(Reading { key, id }) = reading else { continue };
            let taken = Taken { record, own, key };
            if let (Some(horizon), Some(id)) = (horizon, id) {
                let times = kept.entry(id).or_default();
                if times.iter().any(|time| taken.before(time + horizon)) {
                    expected.duplicates += 1;
                    continue;
                }
                times.push(record.timestamp);
            }
            all.push(taken);
        }
    }
    all
}
