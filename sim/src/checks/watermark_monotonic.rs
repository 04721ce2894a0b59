//! Watermarks never move back, and never pass a record that was on time: what a task committed is what the log below its
//! offsets makes of it, and no channel announced more than its records had reached.

use std::collections::BTreeMap;

use super::log::{Entry, PartitionLog};
use super::{Case, Check, Violation, panes, source};
use crate::evidence::{RunNames, TaskNames};

const NAME: &str = "watermark-monotonic";
const CHANNEL_HEADER: &str = "segno.channel";

pub const CHECK: Check = Check {
    name: NAME,
    holds_when: "watermarks never move back and never pass a record that was on time",
    examined: |case| case.cuts(),
    run: check,
};

fn check(case: &Case<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    for (run, names, _) in case.runs() {
        for (task, changelog) in case.changelogs(names) {
            let name = format!("{run} task {}-{}", task.stage, task.partition);
            let mut last: Option<&Vec<i64>> = None;
            for cut in &changelog.cuts {
                let watermarks = &cut.said.watermarks;
                let before = last.filter(|last| last.len() == watermarks.len());
                let back =
                    before.and_then(|last| (0..last.len()).find(|channel| watermarks[*channel] < last[*channel]));
                if let (Some(channel), Some(last)) = (back, before) {
                    let message = format!(
                        "{name}: the commit at offset {} moves channel {channel} back from {} to {}",
                        cut.offset, last[channel], watermarks[channel]
                    );
                    found.push(Violation::new(NAME, message));
                }
                last = Some(watermarks);
                let Some(due) = from_the_log(case, task, &cut.said.offsets) else { continue };
                for (channel, (said, due)) in watermarks.iter().zip(&due).enumerate() {
                    if !may_be(names, task, *said, *due) {
                        let which = if said > due { "passes records that are on time: " } else { "is behind: " };
                        let message = format!(
                            "{name}: the commit at offset {} {which}channel {channel} is at {}, and the log below the offsets \
                             {:?} makes {}",
                            cut.offset,
                            show(*said),
                            cut.said.offsets,
                            show(*due)
                        );
                        found.push(Violation::new(NAME, message));
                    }
                }
            }
        }
        found.extend(repartition(case, run, names));
        let announced = panes::announcements(case, run, names);
        found.extend(announced.into_iter().map(|message| Violation::new(NAME, message)));
    }
    found
}

/// The watermark of each channel of a task that has read its inputs up to `offsets`; `None` for inputs that are not ours.
fn from_the_log(case: &Case<'_>, task: &TaskNames, offsets: &[i64]) -> Option<Vec<i64>> {
    let ([input], [offset]) = (&task.inputs[..], offsets) else { return None };
    if *input.topic == *case.evidence.source {
        return Some(vec![case.source.watermark_before(input.partition.0, *offset)]);
    }
    let log = case.logs.get(&input.topic, input.partition.0);
    let channels = task.upstream_partitions;
    let mut watermarks = vec![i64::MIN; usize::try_from(channels).ok()?];
    for (_, channel, watermark) in markers(log).take_while(|(entry, _, _)| entry.offset < *offset) {
        let slot = watermarks.get_mut(usize::try_from(channel).ok()?)?;
        *slot = watermark.max(*slot);
    }
    Some(watermarks)
}

fn markers(log: &PartitionLog) -> impl Iterator<Item = (&Entry, i32, i64)> {
    log.committed().filter_map(|entry| {
        let channel = i32::from_be_bytes(entry.header(CHANNEL_HEADER)?.try_into().ok()?);
        Some((entry, channel, entry.marker()?))
    })
}

/// Markers and frames of the topics that carry source records to the owners of their keys.
fn repartition(case: &Case<'_>, run: &str, names: &RunNames) -> Vec<Violation> {
    let mut found = Vec::new();
    for topic in &names.repartition_topics {
        for (partition, log) in case.logs.topic(topic) {
            let mut announced: BTreeMap<i32, i64> = BTreeMap::new();
            for entry in log.committed() {
                let place = format!("{run}: {topic}[{partition}]@{}", entry.offset);
                if let Some(watermark) = entry.marker() {
                    let Some(channel) = entry.header(CHANNEL_HEADER).and_then(|bytes| bytes.try_into().ok()) else {
                        found.push(Violation::new(NAME, format!("{place} is a marker without a channel")));
                        continue;
                    };
                    let before = announced.entry(i32::from_be_bytes(channel)).or_insert(watermark);
                    if watermark < *before {
                        let message =
                            format!("{place} moves its channel back from {} to {}", show(*before), show(watermark));
                        found.push(Violation::new(NAME, message));
                    }
                    *before = watermark.max(*before);
                    continue;
                }
                match source::frame(entry) {
                    None => {
                        found.push(Violation::new(NAME, format!("{place} is neither a marker nor a framed record")))
                    }
                    Some((origin, offset, own)) => {
                        let due = case.source.watermark_before(origin, offset);
                        let from = format!("{}[{origin}]@{offset}", case.source.topic);
                        if case.source.at(origin, offset).is_none() {
                            let message = format!("{place} carries {from}, which is no committed record");
                            found.push(Violation::new(NAME, message));
                        } else if !equal_where_known(names, own, due) {
                            let message = format!(
                                "{place} carries {from} with the watermark {}, and the log makes {}",
                                show(own),
                                show(due)
                            );
                            found.push(Violation::new(NAME, message));
                        }
                        if let Some(announced) = announced.get(&origin).filter(|announced| **announced > own) {
                            let message = format!(
                                "{place} carries {from}, whose watermark is {}, after its channel announced {}",
                                show(own),
                                show(*announced)
                            );
                            found.push(Violation::new(NAME, message));
                        }
                    }
                }
            }
        }
    }
    found
}

/// Whether a commit may say `said` where the whole log makes `due`.
fn may_be(names: &RunNames, task: &TaskNames, said: i64, due: i64) -> bool {
    if task.stage == 0 { equal_where_known(names, said, due) } else { said == due }
}

/// A run from a time has not read what came before, so below that time its watermark may be behind; from then on it is that
/// of the whole log.
fn equal_where_known(names: &RunNames, said: i64, due: i64) -> bool {
    said == due || names.from.is_some_and(|from| due < from.needs && said < due)
}

fn show(watermark: i64) -> String {
    match watermark {
        i64::MIN => "unknown".to_owned(),
        i64::MAX => "the end".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::kit::*;

    const REPARTITION: &str = "app.1.by-user-repartition";

    fn source(disk: &mut Disk) {
        disk.plain(SOURCE, 0, &[event("a", 100, 1), event("a", 120, 1), watermark(130), watermark(i64::MAX)]);
        disk.plain(SOURCE, 1, &[event("b", 50, 1)]);
    }

    fn commits(commits: &[(i64, i64)]) -> Vec<String> {
        let mut disk = Disk::new();
        source(&mut disk);
        for (epoch, (offset, watermark)) in commits.iter().enumerate() {
            let commit = Commit { offset: *offset, watermark: *watermark, ..Commit::default() };
            disk.commit((5, epoch as i16), &commit);
        }
        let mut evidence = evidence(&disk);
        evidence.live.tasks = vec![task()];
        messages(&super::CHECK, &evidence)
    }

    #[test]
    fn watermarks_that_the_log_makes_pass() {
        assert_eq!(commits(&[(0, i64::MIN), (1, 95), (2, 115), (3, 130), (4, i64::MAX)]), Vec::<String>::new());
    }

    #[test]
    fn a_watermark_that_is_ahead_of_its_offsets_passes_a_record_and_is_caught() {
        let found = commits(&[(1, 115)]);
        assert_eq!(
            found,
            [
                "live task 0-0: the commit at offset 0 passes records that are on time: channel 0 is at 115, and the log below \
              the offsets [1] makes 95"
            ]
        );
    }

    #[test]
    fn a_watermark_that_moves_back_is_caught() {
        let found = commits(&[(2, 115), (2, 95)]);
        assert!(found[0].contains("moves channel 0 back from 115 to 95"), "{found:?}");
        assert!(found[1].contains("is behind: channel 0 is at 95"), "{found:?}");
    }

    fn frame(partition: i32, offset: i64, own: i64) -> Rec {
        let value = [&partition.to_be_bytes()[..], &offset.to_be_bytes(), &own.to_be_bytes(), b"payload"].concat();
        record(0).key("k").value(value)
    }

    fn marker(channel: i32, at: i64) -> Rec {
        watermark(at).header("segno.channel", channel.to_be_bytes())
    }

    fn repartitioned(records: &[Rec], commit: Option<(i64, [i64; 2])>) -> Vec<String> {
        let mut disk = Disk::new();
        source(&mut disk);
        disk.plain(REPARTITION, 0, records);
        if let Some((offset, watermarks)) = commit {
            let commit = Commit { offset, channels: Some(watermarks.to_vec()), ..Commit::default() };
            disk.commit((5, 0), &commit);
        }
        let mut evidence = evidence(&disk);
        evidence.live.repartition_topics = vec![REPARTITION.into()];
        let mut task = task();
        task.inputs = vec![engine::types::TopicPartition::new(REPARTITION, 0)];
        task.upstream_partitions = 2;
        evidence.live.tasks = vec![task];
        messages(&super::CHECK, &evidence)
    }

    #[test]
    fn frames_and_markers_that_agree_with_the_source_pass() {
        let records = [frame(0, 0, i64::MIN), marker(0, 95), frame(0, 1, 95), frame(1, 0, i64::MIN), marker(1, 45)];
        assert_eq!(repartitioned(&records, Some((5, [95, 45]))), Vec::<String>::new());
    }

    #[test]
    fn a_committed_minimum_from_a_marker_that_was_not_read_is_caught() {
        let found = repartitioned(&[marker(0, 95), marker(1, 45)], Some((1, [95, 45])));
        assert!(found[0].contains("passes records that are on time: channel 1 is at 45"), "{found:?}");
        assert!(found[0].contains("makes unknown"), "{found:?}");
    }

    #[test]
    fn a_frame_with_another_watermark_than_its_records_is_caught() {
        let found = repartitioned(&[frame(0, 1, 115)], None);
        assert_eq!(
            found,
            ["live: app.1.by-user-repartition[0]@0 carries source[0]@1 with the watermark 115, and the log makes 95"]
        );
    }

    #[test]
    fn a_marker_that_goes_back_or_was_written_too_early_is_caught() {
        let found = repartitioned(&[marker(0, 95), marker(0, 90)], None);
        assert!(found[0].contains("moves its channel back from 95 to 90"), "{found:?}");
        let found = repartitioned(&[marker(0, 115), frame(0, 1, 95)], None);
        assert!(found[0].contains("whose watermark is 95, after its channel announced 115"), "{found:?}");
    }

    #[test]
    fn a_frame_of_no_record_is_caught() {
        let found = repartitioned(&[frame(0, 99, 0), record(0).key("k").value("short")], None);
        assert!(found[0].contains("carries source[0]@99, which is no committed record"), "{found:?}");
        assert!(found[1].contains("is neither a marker nor a framed record"), "{found:?}");
    }
}
