//! A needed offset that is gone stops the run or is reported; it is never skipped.

use super::changelog::{GROUP_OFFSETS, group_offset};
use super::log::Logs;
use super::{Case, Check, Violation};
use engine::types::Offset;

use crate::evidence::{AfterGap, Gap, StartAboveCut};
use crate::workload::END_OF_INPUT;

const NAME: &str = "loud-gap";

pub const CHECK: Check = Check {
    name: NAME,
    holds_when: "a needed offset that is gone stops the run or is reported",
    examined: |case| gaps(case).count() as u64 + u64::from(case.evidence.start_above_cut.is_some()),
    run: check,
};

fn check(case: &Case<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    for gap in gaps(case) {
        let range = format!("{} offsets {} to {}", gap.partition, gap.needed, gap.log_start.0 - 1);
        match gap.reported.as_deref() {
            None => {
                found.push(Violation::new(NAME, format!("{} went on without {range}, and said nothing", gap.group)))
            }
            // A report that does not say which offsets are missing helps nobody.
            Some(text) if !text.contains(&names_range(gap)) => {
                let message = format!("{} lost {range} and its report does not name them: {text}", gap.group);
                found.push(Violation::new(NAME, message));
            }
            Some(_) => {}
        }
    }
    if let Some(after) = &case.evidence.after_gap {
        let logs = Logs::decode(&after.files, &case.evidence.data_dir);
        for gap in gaps(case) {
            found.extend(past(gap, after, &logs).into_iter().map(|message| Violation::new(NAME, message)));
        }
    }
    found.extend(start_above_cut(case).map(|message| Violation::new(NAME, message)));
    for poll in &case.evidence.whole().polls {
        if poll.from < poll.log_start {
            let message = format!(
                "{} asked {} from {} and was answered although the log starts at {}",
                poll.reader, poll.partition, poll.from, poll.log_start
            );
            found.push(Violation::new(NAME, message));
        }
    }
    found
}

/// What a report of the gap says, word for word: any number is in some text by chance.
fn names_range(Gap { partition, needed, log_start, .. }: &Gap) -> String {
    format!("{partition}: offsets {needed} to {log_start} are gone")
}

/// Where something that is needed is gone.
fn gaps<'a>(case: &'a Case<'_>) -> impl Iterator<Item = &'a Gap> {
    case.evidence.gaps.iter().filter(|gap| gap.is_one())
}

/// A start at a time needs every record from a time on, and the end marker; it refuses if one was deleted, and only then.
fn start_above_cut(case: &Case<'_>) -> Option<String> {
    let StartAboveCut { group, partition, from, log_start, ran_beside, refused, finished } =
        case.evidence.start_above_cut.as_ref()?;
    let deleted = case
        .source
        .records
        .iter()
        .filter(|record| record.partition == partition.partition.0 && record.offset < log_start.0);
    let needed =
        deleted.clone().find(|record| record.timestamp >= from.needs || record.watermark() == Some(END_OF_INPUT));
    let cut = format!("{partition} starts at {log_start}");
    match (needed, refused) {
        (None, Some(said)) => {
            Some(format!("{group} refused to start at {}, and nothing that it needs is gone: {cut}: {said}", from.time))
        }
        (Some(_), Some(said)) if !said.contains(&format!("offsets 0 to {log_start}, which are gone")) => {
            Some(format!("{group} could not start at {}, and does not name the range: {cut}: {said}", from.time))
        }
        (Some(needed), None) if !ran_beside => Some(format!(
            "{group} started at {} although it needs offset {} of time {}, which is gone: {cut}",
            from.time, needed.offset, needed.timestamp
        )),
        (_, None) if !finished => {
            Some(format!("{group} started at {}, came to no end and said nothing: {cut}", from.time))
        }
        _ => None,
    }
}

/// What says that the run went on past the gap: an offset of the partition that its group has committed, or anything
/// in a topic of a task that reads the partition.
fn past(gap: &Gap, after: &AfterGap, logs: &Logs) -> Vec<String> {
    let mut found = Vec::new();
    let (group, partition) = (gap.group.as_str(), &gap.partition);
    for entry in logs.topic(GROUP_OFFSETS).flat_map(|(_, log)| log.committed()) {
        if let Some((of, topic, index, offset)) = group_offset(entry)
            && (of, topic, index) == (group, &*partition.topic, partition.partition.0)
            // What it had read before the gap came, it may have committed.
            && offset > gap.needed.0
        {
            found.push(format!(
                "{group} has committed offset {offset} of {partition}, which starts at {}",
                gap.log_start
            ));
        }
    }
    for task in after.names.tasks.iter().filter(|task| task.inputs.contains(partition)) {
        if gap.needed == Offset::ZERO
            && let Some(changelog) = &task.changelog
            && let Some(entry) = logs.get(&changelog.topic, changelog.partition.0).committed().next()
        {
            found.push(format!("{group} wrote {changelog} at offset {} without {partition}", entry.offset));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use engine::types::{Offset, TopicPartition};

    use super::super::kit::*;
    use crate::evidence::{AfterGap, FromTime, Gap, RunNames, StartAboveCut};

    fn gap(reported: Option<&str>) -> Vec<String> {
        gap_with(&Disk::new(), reported)
    }

    fn gap_with(after: &Disk, reported: Option<&str>) -> Vec<String> {
        let mut evidence = evidence(&Disk::new());
        let names = RunNames { tasks: vec![task()], ..RunNames::default() };
        evidence.after_gap = Some(AfterGap { files: after.files(), names });
        evidence.gaps = vec![Gap {
            group: "app.2".into(),
            partition: TopicPartition::new(SOURCE, 0),
            needed: Offset(0),
            log_start: Offset(40),
            reported: reported.map(str::to_owned),
        }];
        messages(&super::CHECK, &evidence)
    }

    #[test]
    fn a_gap_that_is_named_passes() {
        assert_eq!(gap(Some("source-0: offsets 0 to 40 are gone; the log starts at 40")), Vec::<String>::new());
    }

    #[test]
    fn a_run_that_says_so_and_goes_on_is_caught() {
        let said = Some("source-0: offsets 0 to 40 are gone; the log starts at 40");
        let mut disk = Disk::new();
        disk.in_transaction("__consumer_offsets", 0, (5, 1), &[group_offset("app.2", SOURCE, 0, 41)]);
        disk.marker("__consumer_offsets", 0, (5, 2), true);
        assert_eq!(gap_with(&disk, said), ["app.2 has committed offset 41 of source-0, which starts at 40"]);
        let mut disk = Disk::new();
        disk.in_transaction(CHANGELOG, 0, (5, 1), &[event("a", 1, 1)]);
        disk.marker(CHANGELOG, 0, (5, 2), true);
        assert_eq!(gap_with(&disk, said), ["app.2 wrote app.1.sums-changelog-0 at offset 0 without source-0"]);
    }

    #[test]
    fn a_log_that_has_lost_nothing_that_is_needed_is_no_gap() {
        let mut evidence = evidence(&Disk::new());
        let whole = Gap {
            group: "app.3".into(),
            partition: TopicPartition::new(SOURCE, 0),
            needed: Offset(0),
            log_start: Offset(0),
            reported: None,
        };
        assert!(!whole.is_one());
        evidence.gaps = vec![whole];
        assert_eq!(messages(&super::CHECK, &evidence), Vec::<String>::new());
        evidence.gaps[0].log_start = Offset(1);
        assert_eq!(
            messages(&super::CHECK, &evidence),
            ["app.3 went on without source-0 offsets 0 to 0, and said nothing"]
        );
    }

    #[test]
    fn a_gap_that_is_skipped_is_caught() {
        assert_eq!(gap(None), ["app.2 went on without source-0 offsets 0 to 39, and said nothing"]);
    }

    #[test]
    fn a_report_without_the_range_is_caught() {
        assert_eq!(
            gap(Some("something is missing")),
            ["app.2 lost source-0 offsets 0 to 39 and its report does not name them: something is missing"]
        );
        // Each number is there, and not what it should be of.
        assert_eq!(gap(Some("source-0: 10 attempts in 40 s")).len(), 1);
        assert_eq!(gap(Some("source-1: offsets 0 to 40 are gone")).len(), 1);
    }

    fn started_above_a_cut(log_start: i64, refused: Option<&str>, finished: bool) -> Vec<String> {
        let mut disk = Disk::new();
        disk.plain(SOURCE, 0, &[event("a", 10, 1), event("a", 60, 1), event("a", 40, 1), event("a", 70, 1)]);
        disk.plain(SOURCE, 0, &[watermark(i64::MAX)]);
        let mut evidence = evidence(&disk);
        evidence.start_above_cut = Some(StartAboveCut {
            group: "app.3".into(),
            partition: TopicPartition::new(SOURCE, 0),
            from: FromTime { time: 55, needs: 50, speaks_from: 55 },
            log_start: Offset(log_start),
            ran_beside: false,
            refused: refused.map(str::to_owned),
            finished,
        });
        messages(&super::CHECK, &evidence)
    }

    #[test]
    fn a_start_at_a_time_is_refused_when_something_that_it_needs_is_gone_and_only_then() {
        let said = Some("source-0: the log starts at 2, and some of offsets 0 to 2, which are gone, may be needed");
        assert_eq!(started_above_a_cut(2, said, false), Vec::<String>::new());
        assert_eq!(
            started_above_a_cut(2, None, true),
            ["app.3 started at 55 although it needs offset 1 of time 60, which is gone: source-0 starts at 2"]
        );
        assert_eq!(started_above_a_cut(1, None, true), Vec::<String>::new());
        assert_eq!(
            started_above_a_cut(1, Some("no"), false),
            ["app.3 refused to start at 55, and nothing that it needs is gone: source-0 starts at 1: no"]
        );
        assert_eq!(
            started_above_a_cut(2, Some("no"), false),
            ["app.3 could not start at 55, and does not name the range: source-0 starts at 2: no"]
        );
        assert_eq!(
            started_above_a_cut(1, None, false),
            ["app.3 started at 55, came to no end and said nothing: source-0 starts at 1"]
        );
    }

    #[test]
    fn an_answer_to_a_fetch_below_the_start_is_caught() {
        let mut disk = Disk::new();
        disk.plain(SOURCE, 0, &[event("a", 1, 1), event("b", 1, 1)]);
        let mut evidence = evidence(&disk);
        let mut poll = poll(&disk, "r", 0, 0, 2);
        poll.log_start = Offset(1);
        evidence.history.polls = vec![poll];
        assert_eq!(
            messages(&super::CHECK, &evidence),
            ["r asked source-0 from 0 and was answered although the log starts at 1"]
        );
    }
}
