//! A `read_committed` reader is never shown a record of an aborted transaction, nor one whose transaction is undecided.

use engine::types::Offset;

use super::log::Fate;
use super::{Case, Check, Violation};
use crate::evidence::PollRecord;

const NAME: &str = "aborted-read";

pub const CHECK: Check = Check {
    name: NAME,
    holds_when: "no committed read shows a record of an aborted or undecided transaction",
    examined: |case| {
        let committed = case.evidence.history.polls.iter().filter(|poll| poll.read_committed);
        committed.filter(|poll| had_to_withhold(case, poll)).count() as u64
    },
    run: check,
};

/// Whether the read went past a record of an aborted transaction or of one without an end, or stopped at one that was
/// undecided then: only such a read can go wrong.
fn had_to_withhold(case: &Case<'_>, poll: &PollRecord) -> bool {
    let log = case.logs.get(&poll.partition.topic, poll.partition.partition.0);
    let place = |offset: Offset| log.entries.partition_point(|entry| entry.offset < offset.0);
    let passed = log.entries.get(place(poll.from)..place(poll.next)).unwrap_or_default();
    let held_back = poll.next == poll.last_stable && poll.last_stable < poll.high_watermark;
    held_back || passed.iter().any(|entry| entry.fate != Fate::Committed)
}

fn check(case: &Case<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    for poll in case.evidence.history.polls.iter().filter(|poll| poll.read_committed) {
        let log = case.logs.get(&poll.partition.topic, poll.partition.partition.0);
        for seen in &poll.seen {
            let place = format!("{}[{}]@{}", poll.partition.topic, poll.partition.partition, seen.offset);
            if seen.offset >= poll.last_stable {
                let message = format!(
                    "{} was shown {place}, at or past the last stable offset {}",
                    poll.reader, poll.last_stable
                );
                found.push(Violation::new(NAME, message));
                continue;
            }
            let Some(entry) = log.at(seen.offset.0) else { continue }; // `inconsistent-offset` says so.
            let state = match entry.fate {
                Fate::Committed => continue,
                Fate::Aborted => "aborted",
                Fate::Open => "undecided to this day",
            };
            let writer = entry.transaction.map(|index| log.transactions[index].writer.to_string()).unwrap_or_default();
            let message = format!("{} was shown {place}, whose transaction ({writer}) is {state}", poll.reader);
            found.push(Violation::new(NAME, message));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::kit::*;

    fn disk() -> Disk {
        let mut disk = Disk::new();
        disk.in_transaction(SOURCE, 0, (5, 0), &[event("a", 1, 1)]);
        disk.marker(SOURCE, 0, (5, 1), false);
        disk.in_transaction(SOURCE, 0, (5, 1), &[event("b", 2, 2)]);
        disk.marker(SOURCE, 0, (5, 2), true);
        disk
    }

    #[test]
    fn a_filtered_read_passes() {
        let disk = disk();
        let mut evidence = evidence(&disk);
        evidence.history.polls = vec![poll(&disk, "r", 0, 0, 4)];
        assert_eq!(messages(&super::CHECK, &evidence), Vec::<String>::new());
    }

    #[test]
    fn it_is_asked_of_reads_that_had_something_to_withhold() {
        let disk = disk();
        let mut evidence = evidence(&disk);
        let asked_of = |evidence: &crate::evidence::Evidence| super::super::kit::asked(&super::CHECK, evidence);
        let mut asked = |polls| {
            evidence.history.polls = polls;
            asked_of(&evidence)
        };
        assert_eq!(asked(vec![poll(&disk, "r", 0, 0, 4)]), 1, "past an aborted record");
        assert_eq!(asked(vec![poll(&disk, "r", 0, 1, 4), poll(&disk, "r", 0, 4, 4)]), 0, "past committed ones alone");
        let mut held_back = poll(&disk, "r", 0, 2, 2);
        held_back.last_stable.0 = 2;
        assert_eq!(asked(vec![held_back.clone()]), 1, "up to an undecided one");
        held_back.read_committed = false;
        assert_eq!(asked(vec![held_back]), 0);
        let mut open = Disk::new();
        open.in_transaction(SOURCE, 0, (5, 0), &[event("a", 1, 1)]);
        let mut evidence = super::super::kit::evidence(&open);
        evidence.history.polls = vec![poll(&open, "r", 0, 0, 1)];
        assert_eq!(asked_of(&evidence), 1, "past one without an end");
    }

    #[test]
    fn a_record_of_an_aborted_transaction_is_caught() {
        let disk = disk();
        let mut evidence = evidence(&disk);
        let mut bad = poll(&disk, "r", 0, 0, 4);
        bad.seen.insert(0, seen(&disk, 0, 0));
        evidence.history.polls = vec![bad];
        let found = messages(&super::CHECK, &evidence);
        assert_eq!(found, ["r was shown source[0]@0, whose transaction (producer 5 epoch 0) is aborted"]);
        evidence.history.polls[0].read_committed = false;
        assert_eq!(messages(&super::CHECK, &evidence), Vec::<String>::new());
    }

    #[test]
    fn a_record_past_the_stable_offset_is_caught_although_it_committed_later() {
        let disk = disk();
        let mut evidence = evidence(&disk);
        let mut early = poll(&disk, "r", 0, 0, 3);
        early.last_stable.0 = 2;
        evidence.history.polls = vec![early];
        assert_eq!(
            messages(&super::CHECK, &evidence),
            ["r was shown source[0]@2, at or past the last stable offset 2"]
        );
    }
}
