//! The source topic as the checks see it: its committed records, and the watermark before each.
//!
//! Invariant: a partition's watermark before an offset is a function of the committed, decodable records before it. Which
//! ones are, is asked of the workload.

use std::collections::{BTreeMap, BTreeSet};

use reports::Cause;

use super::log::{Entry, Logs};
use crate::evidence::Evidence;
use crate::workload::{LogRecord, RowKey, Shape, Workload};

/// Contributing records shown with a difference.
const CAUSES_SHOWN: usize = 12;

/// The committed source records, by (partition, offset).
#[derive(Clone, Debug, Default)]
pub struct Source {
    pub topic: String,
    pub records: Vec<LogRecord>,
    /// (partition, offset) of those that are neither event nor marker.
    pub rejected: BTreeSet<(i32, i64)>,
    /// partition → (offset, the watermark before it), for every committed record and one past the last.
    watermarks: BTreeMap<i32, Vec<(i64, i64)>>,
}

impl Source {
    pub fn read(logs: &Logs, evidence: &Evidence, workload: &dyn Workload, shape: &Shape) -> Source {
        let mut source = Source { topic: evidence.source.clone(), ..Source::default() };
        for partition in 0..evidence.source_partitions {
            let mut watermark = i64::MIN;
            let mut steps = Vec::new();
            for entry in logs.get(&evidence.source, partition).committed() {
                let headers =
                    entry.headers.iter().filter_map(|(name, value)| Some((name.clone(), value.as_ref()?.to_vec())));
                let record = LogRecord {
                    partition,
                    offset: entry.offset,
                    timestamp: entry.timestamp,
                    key: entry.key.as_deref().map(<[u8]>::to_vec),
                    value: entry.value.as_deref().map(<[u8]>::to_vec),
                    headers: headers.collect(),
                };
                steps.push((record.offset, watermark));
                if let Some(marker) = record.watermark() {
                    watermark = watermark.max(marker);
                } else if workload.is_event(shape, &record) {
                    watermark = watermark.max(record.timestamp.saturating_sub(shape.bound.0));
                } else {
                    source.rejected.insert((partition, record.offset));
                }
                source.records.push(record);
            }
            steps.push((steps.last().map_or(0, |(offset, _)| offset + 1), watermark));
            source.watermarks.insert(partition, steps);
        }
        source
    }

    /// The watermark of `partition` before `offset`: from the records below it. `i64::MIN` before the first.
    pub fn watermark_before(&self, partition: i32, offset: i64) -> i64 {
        let Some(steps) = self.watermarks.get(&partition) else { return i64::MIN };
        let next = steps.partition_point(|(at, _)| *at < offset).min(steps.len() - 1);
        steps[next].1
    }

    /// The record at (partition, offset).
    pub fn at(&self, partition: i32, offset: i64) -> Option<&LogRecord> {
        let found = self.records.binary_search_by_key(&(partition, offset), |record| (record.partition, record.offset));
        Some(&self.records[found.ok()?])
    }

    /// One past the last committed record of `partition`.
    pub fn end(&self, partition: i32) -> i64 {
        self.watermarks.get(&partition).and_then(|steps| steps.last()).map_or(0, |(offset, _)| *offset)
    }

    /// The records that make rows of `row`'s key, those nearest to its window, in log order. Which key a record makes is
    /// asked of the independent function, one record at a time; and where no record makes it alone, because the row is made
    /// of other rows, which records it were another without.
    pub fn causes(&self, row: &RowKey, workload: &dyn Workload, shape: &Shape) -> Vec<Cause> {
        let events = || self.records.iter().filter(|record| record.watermark().is_none());
        let makes = |record: &&LogRecord| {
            let alone = workload.expected(shape, std::slice::from_ref(record));
            alone.table.keys().any(|made| made.key == row.key)
        };
        let mut makers: Vec<&LogRecord> = events().filter(makes).collect();
        if makers.is_empty() {
            let whole = workload.expected(shape, &self.records).table.remove(row);
            let matters = |record: &&LogRecord| {
                let is_it = |other: &&LogRecord| (other.partition, other.offset) == (record.partition, record.offset);
                let others: Vec<LogRecord> = self.records.iter().filter(|other| !is_it(other)).cloned().collect();
                workload.expected(shape, &others).table.remove(row) != whole
            };
            makers = events().filter(matters).collect();
        }
        let mut near: Vec<(u64, Cause)> = Vec::new();
        for record in makers {
            let watermark = self.watermark_before(record.partition, record.offset);
            let cause = Cause {
                topic: self.topic.clone(),
                partition: record.partition,
                offset: record.offset,
                event_time_ms: record.timestamp,
                part: String::new(),
                behind_watermark_ms: (watermark != i64::MIN).then(|| watermark.saturating_sub(record.timestamp)),
            };
            near.push((record.timestamp.abs_diff(row.window_start), cause));
        }
        near.sort_by_key(|(distance, cause)| (*distance, cause.partition, cause.offset));
        near.truncate(CAUSES_SHOWN);
        near.sort_by_key(|(_, cause)| (cause.partition, cause.offset));
        near.into_iter().map(|(_, cause)| cause).collect()
    }
}

/// What a repartition topic carries of a source record: partition, offset, and the watermark before it.
///
/// ```text
/// source partition i32 ‖ source offset i64 ‖ own watermark i64 ‖ payload
/// ```
pub fn frame(entry: &Entry) -> Option<(i32, i64, i64)> {
    let (partition, rest) = entry.value.as_deref()?.split_first_chunk::<4>()?;
    let (offset, rest) = rest.split_first_chunk::<8>()?;
    let (own, _) = rest.split_first_chunk::<8>()?;
    Some((i32::from_be_bytes(*partition), i64::from_be_bytes(*offset), i64::from_be_bytes(*own)))
}

#[cfg(test)]
mod tests {
    use super::super::kit::*;
    use super::*;

    #[test]
    fn the_watermark_moves_after_a_record_and_only_with_committed_decodable_ones() {
        let mut disk = Disk::new();
        disk.plain(SOURCE, 0, &[event("a", 100, 1)]);
        disk.in_transaction(SOURCE, 0, (7, 0), &[event("a", 900, 1)]);
        disk.marker(SOURCE, 0, (7, 1), false);
        disk.plain(SOURCE, 0, &[record(5_000).key("a").value("poison"), event("a", 120, 1)]);
        disk.plain(SOURCE, 0, &[watermark(130), event("a", 90, 1)]);
        let evidence = evidence(&disk);
        let source = Source::read(&logs(&disk), &evidence, &Sums, &shape());
        let before: Vec<i64> = (0..8).map(|offset| source.watermark_before(0, offset)).collect();
        let bound = shape().bound.0;
        let first = 100 - bound;
        assert_eq!(before, [i64::MIN, first, first, first, first, 120 - bound, 130, 130]);
        assert_eq!(source.end(0), 7);
        assert_eq!(source.rejected, BTreeSet::from([(0, 3)]));
        assert_eq!(source.watermark_before(1, 0), i64::MIN);
    }
}
