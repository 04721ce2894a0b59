//! Nothing that a partition says of itself goes back: not its high watermark, stable offset or start; nor do the offsets
//! that a group commits. "Later" means that the second question was asked after the first answer had come. (A reader's own
//! position is [`super::history`]'s.)

use std::collections::BTreeMap;

use engine::types::{Offset, TopicPartition};

use super::changelog::{GROUP_OFFSETS, group_offset};
use super::{Case, Check, Violation};
use crate::evidence::PollRecord;

const NAME: &str = "nonmonotonic";

/// One of the offsets that a partition says of itself.
type Bound = fn(&PollRecord) -> Offset;

pub const CHECK: Check = Check {
    name: NAME,
    holds_when: "a reader never moves back, nor does what a partition says of itself",
    examined: |case| case.evidence.whole().polls.len() as u64,
    run: check,
};

fn check(case: &Case<'_>) -> Vec<Violation> {
    let mut found = groups(case);
    let mut partitions: BTreeMap<&TopicPartition, Vec<&PollRecord>> = BTreeMap::new();
    for poll in &case.evidence.whole().polls {
        partitions.entry(&poll.partition).or_default().push(poll);
    }
    for (partition, polls) in partitions {
        let bounds: [(&str, Bound); 3] = [
            ("high watermark", |poll| poll.high_watermark),
            ("last stable offset", |poll| poll.last_stable),
            ("log start", |poll| poll.log_start),
        ];
        for (name, bound) in bounds {
            found.extend(went_back(partition, &polls, name, bound));
        }
    }
    found
}

/// The offsets that groups committed, in the order in which they took effect: what the broker says again of them in its
/// log comes before the marker of a transaction that was open then.
fn groups(case: &Case<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut last: BTreeMap<(&str, &str, i32), i64> = BTreeMap::new();
    for (_, log) in case.logs.topic(GROUP_OFFSETS) {
        for entry in log.effective() {
            let Some((group, topic, partition, offset)) = group_offset(entry) else { continue };
            let before = last.entry((group, topic, partition)).or_insert(offset);
            if offset < *before {
                let message = format!("group {group} commits {topic}[{partition}] at {offset} after {before}");
                found.push(Violation::new(NAME, message));
            }
            *before = offset.max(*before);
        }
    }
    found
}

fn went_back(partition: &TopicPartition, polls: &[&PollRecord], name: &str, bound: Bound) -> Option<Violation> {
    let mut by_answer = polls.to_vec();
    by_answer.sort_by_key(|poll| poll.answered);
    let mut by_question = polls.to_vec();
    by_question.sort_by_key(|poll| poll.asked);
    let mut answers = by_answer.into_iter().peekable();
    let mut highest: Option<&PollRecord> = None;
    for poll in by_question {
        while let Some(answer) = answers.next_if(|answer| answer.answered < poll.asked) {
            if highest.is_none_or(|highest| bound(answer) > bound(highest)) {
                highest = Some(answer);
            }
        }
        if let Some(earlier) = highest.filter(|earlier| bound(earlier) > bound(poll)) {
            let message = format!(
                "the {name} of {partition} was {} for {} and later {} for {}",
                bound(earlier),
                earlier.reader,
                bound(poll),
                poll.reader
            );
            return Some(Violation::new(NAME, message));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::kit::*;
    use crate::evidence::{Moment, PollRecord};

    fn polls(change: impl FnOnce(&mut Vec<PollRecord>)) -> Vec<String> {
        let mut disk = Disk::new();
        disk.plain(SOURCE, 0, &[event("a", 1, 1), event("b", 2, 2), event("c", 3, 3)]);
        let mut polls = vec![poll(&disk, "r", 0, 0, 2), poll(&disk, "r", 0, 2, 3)];
        (polls[0].asked, polls[0].answered) = (Moment(1), Moment(2));
        (polls[1].asked, polls[1].answered) = (Moment(3), Moment(4));
        change(&mut polls);
        let mut evidence = evidence(&disk);
        evidence.history.polls = polls;
        messages(&super::CHECK, &evidence)
    }

    #[test]
    fn a_reader_that_goes_on_passes() {
        assert_eq!(polls(|_| {}), Vec::<String>::new());
    }

    #[test]
    fn a_group_that_commits_a_lower_offset_is_caught_unless_it_was_aborted() {
        let mut disk = Disk::new();
        for (epoch, offset, commit) in [(0, 4, true), (1, 2, false), (2, 4, true), (3, 3, true)] {
            disk.in_transaction("__consumer_offsets", 0, (5, epoch), &[group_offset("app.1", SOURCE, 0, offset)]);
            disk.marker("__consumer_offsets", 0, (5, epoch + 1), commit);
        }
        assert_eq!(messages(&super::CHECK, &evidence(&disk)), ["group app.1 commits source[0] at 3 after 4"]);
    }

    #[test]
    fn what_the_broker_says_again_before_a_marker_is_no_step_back() {
        let mut disk = Disk::new();
        let offset = |offset| [group_offset("app.1", SOURCE, 0, offset)];
        disk.in_transaction("__consumer_offsets", 0, (5, 0), &offset(4));
        disk.marker("__consumer_offsets", 0, (5, 1), true);
        disk.in_transaction("__consumer_offsets", 0, (5, 1), &offset(6));
        disk.plain("__consumer_offsets", 0, &offset(4));
        disk.marker("__consumer_offsets", 0, (5, 2), true);
        assert_eq!(messages(&super::CHECK, &evidence(&disk)), Vec::<String>::new());
        disk.plain("__consumer_offsets", 0, &offset(4));
        assert_eq!(messages(&super::CHECK, &evidence(&disk)), ["group app.1 commits source[0] at 4 after 6"]);
    }

    #[test]
    fn a_high_watermark_that_goes_back_is_caught_but_not_between_overlapping_questions() {
        let lower = |polls: &mut Vec<PollRecord>| polls[1].high_watermark.0 = 2;
        assert_eq!(polls(lower), ["the high watermark of source-0 was 3 for r and later 2 for r"]);
        let overlapping = |polls: &mut Vec<PollRecord>| {
            polls[1].high_watermark.0 = 2;
            polls[1].asked = Moment(1);
        };
        assert_eq!(polls(overlapping), Vec::<String>::new());
    }
}
