//! What was to go from the beginning of a log went, and nothing else: a deletion below an offset takes exactly that, one by
//! age or by size takes whole segments, every one that it may take and none with what it was to keep.
//!
//! In: the log before, as it lies in its segments; what was asked, and where the log was said to start then; the disk after.
//! The rule is `engine::log::Retention`'s, computed here from the files.

use engine::types::TopicPartition;

use super::log::{Logs, PartitionLog, segments};
use super::{Case, Check, Violation};
use crate::evidence::{Cut, Keep};

const NAME: &str = "retention-as-asked";

pub const CHECK: Check = Check {
    name: NAME,
    holds_when: "a log loses what retention was asked to take, whole segments of it, and nothing else",
    examined: |case| u64::from(case.evidence.cut.is_some()),
    run: check,
};

fn check(case: &Case<'_>) -> Vec<Violation> {
    let Some(cut) = &case.evidence.cut else { return Vec::new() };
    let TopicPartition { topic, partition } = &cut.partition;
    let log = case.logs.get(topic, partition.0);
    // What cannot be read is `durable`'s.
    if log.damage.is_some() {
        return Vec::new();
    }
    let files = segments(&case.evidence.files, &case.evidence.data_dir, &cut.partition);
    let segments = Segment::of(log, files.into_iter().map(|(base, bytes)| (base, bytes.len() as u64)));
    let mut found = asked(cut, log, &segments);
    if let Some(after) = &case.evidence.after_gap {
        let logs = Logs::decode(&after.files, &case.evidence.data_dir);
        found.extend(kept(cut, log, logs.get(topic, partition.0)));
    }
    found.into_iter().map(|wrong| Violation::new(NAME, format!("{}, {wrong}", request(cut)))).collect()
}

fn request(cut: &Cut) -> String {
    let Cut { partition, keep, start } = cut;
    match keep {
        Keep::Offsets(from) => format!("{partition} was to keep its offsets from {from} and starts at {start}"),
        Keep::Times(from) => {
            format!("{partition} was to keep what is of time {} or later and starts at {start}", from.0)
        }
        Keep::Bytes(bytes) => format!("{partition} was to keep its last {bytes} bytes and starts at {start}"),
    }
}

/// A segment that the log answers from.
#[derive(Clone, Copy, Debug)]
struct Segment {
    base: i64,
    next: i64,
    bytes: u64,
}

impl Segment {
    /// In order. One that a roll has created and nobody has written to is none: there may be nothing behind it.
    fn of(log: &PartitionLog, files: impl Iterator<Item = (i64, u64)>) -> Vec<Segment> {
        let files: Vec<(i64, u64)> = files.filter(|(_, bytes)| *bytes > 0).collect();
        let nexts = files.iter().skip(1).map(|(base, _)| *base).chain([log.end]);
        let all = files.iter().zip(nexts).map(|((base, bytes), next)| Segment { base: *base, next, bytes: *bytes });
        all.filter(|segment| segment.next > log.log_start).collect()
    }
}

/// What is wrong with where the log starts.
fn asked(cut: &Cut, log: &PartitionLog, segments: &[Segment]) -> Vec<String> {
    let start = cut.start.0;
    // What an open transaction began with is kept, whoever asks.
    let open = log.transactions.iter().filter(|open| open.marker.is_none()).map(|open| open.first).min();
    let stable = open.unwrap_or(log.end);
    let mut found = Vec::new();
    if let Keep::Offsets(from) = cut.keep {
        let right = from.0.min(stable).max(log.log_start);
        if start != right {
            found.push(format!("not at {right}"));
        }
        return found;
    }
    let first = segments.iter().position(|segment| segment.base >= start);
    let is_boundary = first.is_some_and(|first| segments[first].base == start) || start == log.end;
    if !is_boundary && start != log.log_start && start != stable {
        found.push("in the middle of a segment".to_owned());
    }
    // At the beginning of a log that never was cut, the first segment is kept from within it, too.
    let kept = match first {
        _ if start == log.log_start => segments,
        Some(first) => &segments[first..],
        None => &[],
    };
    // The last one is being written to.
    let needless = kept.split_first().filter(|(_, rest)| !rest.is_empty() && start != stable);
    let bytes = |of: &[Segment]| of.iter().map(|segment| segment.bytes).sum::<u64>();
    match cut.keep {
        Keep::Offsets(_) => {}
        Keep::Times(from) => {
            let young = |range: std::ops::Range<i64>| {
                log.entries.iter().find(|entry| range.contains(&entry.offset) && entry.timestamp >= from.0)
            };
            if let Some(entry) = young(log.log_start..start) {
                found.push(format!("and offset {} of time {} is gone", entry.offset, entry.timestamp));
            } else if let Some((first, _)) = needless.filter(|(first, _)| young(first.base..first.next).is_none()) {
                found.push(format!("and all of the segment from {} to {} is older", first.base, first.next - 1));
            }
        }
        Keep::Bytes(least) => {
            let all = bytes(segments);
            if bytes(kept) < least.min(all) {
                found.push(format!("and of its {all} bytes {} are left", bytes(kept)));
            }
            if let Some((first, rest)) = needless.filter(|(_, rest)| bytes(rest) >= least) {
                let (base, last) = (first.base, first.next - 1);
                found.push(format!("and without the segment from {base} to {last} there are {} bytes", bytes(rest)));
            }
        }
    }
    found
}

/// What of the rest is not there any more, and whether the disk agrees with the answer.
fn kept(cut: &Cut, before: &PartitionLog, after: &PartitionLog) -> Vec<String> {
    let start = cut.start.0;
    let mut found = Vec::new();
    if after.log_start != start {
        found.push(format!("and the disk says {}", after.log_start));
    }
    let left = before.batches.iter().filter(|batch| batch.next_offset > start);
    let mut lost = left.filter(|batch| {
        let place = after.batches.binary_search_by_key(&batch.base_offset, |after| after.base_offset);
        place.map_or(true, |place| after.batches[place].crc != batch.crc)
    });
    if let Some(batch) = lost.next() {
        found.push(format!("and no longer holds the batch at offset {}", batch.base_offset));
    }
    found
}

#[cfg(test)]
mod tests {
    use engine::types::{Offset, Timestamp, TopicPartition};

    use super::super::kit::*;
    use crate::evidence::{AfterGap, Cut, Evidence, Keep, RunNames};

    /// Segments from offsets 0, 2, 4 and 6 with two records each, the last one being written to.
    fn log() -> Disk {
        let mut disk = Disk::new();
        for (index, times) in [[10, 30], [20, 25], [50, 40], [35, 60]].into_iter().enumerate() {
            if index > 0 {
                disk.roll(SOURCE, 0);
            }
            disk.plain(SOURCE, 0, &times.map(|time| event("a", time, 1)));
        }
        disk
    }

    /// The size of one segment of [`log`]: all are alike.
    fn segment_bytes() -> u64 {
        let files = log().files();
        let mut sizes = files.values().map(|bytes| bytes.len() as u64);
        let size = sizes.next().expect("a segment");
        assert!(sizes.all(|other| other == size), "the segments differ in size");
        size
    }

    fn cut(keep: Keep, start: i64) -> Evidence {
        let disk = log();
        let mut evidence = evidence(&disk);
        evidence.cut = Some(Cut { partition: TopicPartition::new(SOURCE, 0), keep, start: Offset(start) });
        let mut after = disk;
        after.log_start(SOURCE, 0, start);
        evidence.after_gap = Some(AfterGap { files: after.files(), names: RunNames::default() });
        evidence
    }

    fn found(keep: Keep, start: i64) -> Vec<String> {
        messages(&super::CHECK, &cut(keep, start))
    }

    const FINE: [&str; 0] = [];

    #[test]
    fn a_deletion_below_an_offset_is_exact_and_ends_at_the_end() {
        assert_eq!(found(Keep::Offsets(Offset(3)), 3), FINE);
        assert_eq!(found(Keep::Offsets(Offset(99)), 8), FINE);
        assert_eq!(
            found(Keep::Offsets(Offset(3)), 4),
            ["source-0 was to keep its offsets from 3 and starts at 4, not at 3"]
        );
        assert_eq!(
            found(Keep::Offsets(Offset(3)), 0),
            ["source-0 was to keep its offsets from 3 and starts at 0, not at 3"]
        );
    }

    #[test]
    fn an_open_transaction_holds_a_deletion_back() {
        let mut evidence = cut(Keep::Offsets(Offset(9)), 8);
        let mut disk = log();
        disk.in_transaction(SOURCE, 0, (5, 1), &[event("a", 1, 1), event("b", 1, 1)]);
        evidence.files = disk.files();
        disk.log_start(SOURCE, 0, 8);
        evidence.after_gap = Some(AfterGap { files: disk.files(), names: RunNames::default() });
        assert_eq!(messages(&super::CHECK, &evidence), FINE);
    }

    #[test]
    fn by_age_whole_segments_go_up_to_the_first_with_something_to_keep() {
        let times = |from: i64| Keep::Times(Timestamp(from));
        for (from, start) in [(0, 0), (30, 0), (31, 4), (50, 4), (51, 6), (99, 6)] {
            assert_eq!(found(times(from), start), FINE, "from {from}");
        }
        // One too many, one too few, none, all, half of one.
        assert_eq!(
            found(times(30), 2),
            ["source-0 was to keep what is of time 30 or later and starts at 2, and offset 1 of time 30 is gone"]
        );
        let older = |start: i64, base: i64| {
            format!(
                "source-0 was to keep what is of time 31 or later and starts at {start}, and all of the segment from {base} \
                 to {} is older",
                base + 1
            )
        };
        assert_eq!(found(times(31), 2), [older(2, 2)]);
        assert_eq!(found(times(31), 0), [older(0, 0)]);
        assert_eq!(
            found(times(31), 8),
            ["source-0 was to keep what is of time 31 or later and starts at 8, and offset 4 of time 50 is gone"]
        );
        assert_eq!(
            found(times(31), 3),
            ["source-0 was to keep what is of time 31 or later and starts at 3, in the middle of a segment"]
        );
    }

    #[test]
    fn by_size_the_fewest_segments_stay_that_hold_enough() {
        let one = segment_bytes();
        for (bytes, start) in [(0, 6), (1, 6), (one, 6), (one + 1, 4), (4 * one, 0), (9 * one, 0)] {
            assert_eq!(found(Keep::Bytes(bytes), start), FINE, "{bytes} bytes");
        }
        let (least, all) = (one + 1, 4 * one);
        assert_eq!(
            found(Keep::Bytes(least), 6),
            [format!(
                "source-0 was to keep its last {least} bytes and starts at 6, and of its {all} bytes {one} are left"
            )]
        );
        let needless = |start: i64, left: u64| {
            let last = start + 1;
            format!(
                "source-0 was to keep its last {least} bytes and starts at {start}, and without the segment from {start} to \
                 {last} there are {left} bytes"
            )
        };
        assert_eq!(found(Keep::Bytes(least), 2), [needless(2, 2 * one)]);
        assert_eq!(found(Keep::Bytes(least), 0), [needless(0, 3 * one)]);
    }

    #[test]
    fn a_segment_that_nobody_has_written_to_yet_may_be_all_that_is_left() {
        let mut evidence = cut(Keep::Times(Timestamp(99)), 8);
        let mut disk = log();
        disk.roll(SOURCE, 0);
        evidence.files = disk.files();
        assert_eq!(messages(&super::CHECK, &evidence), FINE);
        evidence.cut.as_mut().expect("a cut").start = Offset(6);
        disk.log_start(SOURCE, 0, 6);
        evidence.after_gap.as_mut().expect("a disk").files = disk.files();
        assert_eq!(messages(&super::CHECK, &evidence), FINE);
    }

    #[test]
    fn what_was_to_stay_is_there_and_the_disk_agrees_with_the_answer() {
        let mut evidence = cut(Keep::Offsets(Offset(4)), 4);
        let mut after = log();
        after.log_start(SOURCE, 0, 2);
        evidence.after_gap.as_mut().expect("a disk").files = after.files();
        assert_eq!(
            messages(&super::CHECK, &evidence),
            ["source-0 was to keep its offsets from 4 and starts at 4, and the disk says 2"]
        );
        after.log_start(SOURCE, 0, 4);
        let mut files = after.files();
        files.retain(|path, _| !path.ends_with("00000000000000000006.log"));
        evidence.after_gap.as_mut().expect("a disk").files = files;
        assert_eq!(
            messages(&super::CHECK, &evidence),
            ["source-0 was to keep its offsets from 4 and starts at 4, and no longer holds the batch at offset 6"]
        );
    }

    #[test]
    fn nothing_is_asked_where_nothing_was_deleted() {
        assert_eq!((asked(&super::CHECK, &evidence(&log())), asked(&super::CHECK, &cut(Keep::Bytes(0), 6))), (0, 1));
    }
}
