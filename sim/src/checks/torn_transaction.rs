//! A transaction is whole: at quiescence every partition that it touched holds the same marker, what was answered
//! "committed" is never aborted, no stable offset ever lay inside it, and no fenced producer wrote beside it.
//!
//! Every end bumps the epoch, so (producer id, epoch) names one transaction across partitions.

use std::collections::BTreeMap;

use super::log::Writer;
use super::{Case, Check, Violation};

const NAME: &str = "torn-transaction";

pub const CHECK: Check = Check {
    name: NAME,
    holds_when: "every partition that a transaction touched holds the same marker, and it is the one that was answered",
    examined: |case| case.logs.all().map(|(_, _, log)| log.transactions.len() as u64).sum(),
    run: check,
};

fn check(case: &Case<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut say = |message: String| found.push(Violation::new(NAME, message));
    // A run that did not come to rest has open transactions, and `converges` or what stopped it says so.
    let quiescent = case.evidence.is_at_rest();
    // The first partition in which each transaction ended, and how.
    let mut ends: BTreeMap<Writer, (bool, String)> = BTreeMap::new();
    for (topic, partition, log) in case.logs.all() {
        let name = format!("{topic}[{partition}]");
        for irregular in &log.irregular {
            say(format!("{name} {irregular}"));
        }
        for transaction in &log.transactions {
            let writer = transaction.writer;
            let Some(marker) = transaction.marker else {
                if quiescent {
                    say(format!(
                        "{name}: the transaction of {writer}, offsets {} to {}, has no marker",
                        transaction.first, transaction.last
                    ));
                }
                continue;
            };
            let (commit, first) = ends.entry(writer).or_insert_with(|| (marker.commit, name.clone()));
            if *commit != marker.commit {
                say(format!(
                    "the transaction of {writer} is {} in {first} and {} in {name}",
                    word(*commit),
                    word(marker.commit)
                ));
            }
        }
    }
    for end in case.evidence.history.ends.iter().filter(|end| end.answered.is_some()) {
        let writer = Writer { producer_id: end.producer_id.0, epoch: end.epoch.0 };
        if let Some((commit, partition)) = ends.get(&writer).filter(|(commit, _)| *commit != end.commit) {
            say(format!(
                "{}: the end of the transaction of {writer} was answered as {} and it is {} in {partition}",
                end.transactional_id,
                word(end.commit),
                word(*commit)
            ));
        }
    }
    for poll in &case.evidence.history.polls {
        let log = case.logs.get(&poll.partition.topic, poll.partition.partition.0);
        for transaction in log.transactions.iter().filter(|transaction| transaction.first < poll.last_stable.0) {
            // Below the stable offset a transaction is decided: its marker was there to be read.
            let marker = transaction.marker.map_or(i64::MAX, |marker| marker.offset);
            if transaction.first >= log.start && marker >= poll.high_watermark.0 {
                say(format!(
                    "{} was told that {} is stable up to {} while the transaction that begins at {} was open (high \
                     watermark {})",
                    poll.reader, poll.partition, poll.last_stable, transaction.first, poll.high_watermark
                ));
            }
        }
    }
    found
}

fn word(commit: bool) -> &'static str {
    if commit { "committed" } else { "aborted" }
}

#[cfg(test)]
mod tests {
    use super::super::kit::*;

    fn whole() -> Disk {
        let mut disk = Disk::new();
        disk.in_transaction("out", 0, (5, 0), &[record(1).value("x")]);
        disk.in_transaction("out", 1, (5, 0), &[record(1).value("y")]);
        disk.marker("out", 0, (5, 1), true);
        disk.marker("out", 1, (5, 1), true);
        disk
    }

    #[test]
    fn a_whole_transaction_passes() {
        let mut evidence = evidence(&whole());
        evidence.history.ends = vec![end((5, 0), true, Some(3))];
        assert_eq!(messages(&super::CHECK, &evidence), Vec::<String>::new());
    }

    #[test]
    fn a_partition_without_the_marker_is_torn() {
        let mut disk = whole();
        disk.in_transaction("out", 2, (5, 0), &[record(1).value("z")]);
        assert_eq!(
            messages(&super::CHECK, &evidence(&disk)),
            ["out[2]: the transaction of producer 5 epoch 0, offsets 0 to 0, has no marker"]
        );
    }

    #[test]
    fn what_is_still_under_way_explains_a_marker_that_is_missing_and_nothing_else() {
        let mut disk = whole();
        disk.in_transaction("out", 2, (5, 0), &[record(1).value("z")]);
        let mut evidence = evidence(&disk);
        evidence.cut_short = true;
        assert_eq!(messages(&super::CHECK, &evidence), Vec::<String>::new());
        evidence.cut_short = false;
        evidence.liveness.second_replay_missing = Some(Vec::new());
        assert_eq!(messages(&super::CHECK, &evidence), Vec::<String>::new());
        disk.marker("out", 2, (5, 1), false);
        evidence.files = disk.files();
        evidence.cut_short = true;
        evidence.history.ends = vec![end((5, 0), false, Some(3))];
        assert_eq!(messages(&super::CHECK, &evidence).len(), 2);
    }

    #[test]
    fn different_markers_are_torn() {
        let mut disk = whole();
        disk.in_transaction("out", 2, (5, 0), &[record(1).value("z")]);
        disk.marker("out", 2, (5, 1), false);
        assert_eq!(
            messages(&super::CHECK, &evidence(&disk)),
            ["the transaction of producer 5 epoch 0 is committed in out[0] and aborted in out[2]"]
        );
    }

    #[test]
    fn an_answered_commit_that_is_aborted_is_caught() {
        let mut evidence = evidence(&whole());
        evidence.history.ends = vec![end((5, 0), false, Some(3))];
        assert_eq!(
            messages(&super::CHECK, &evidence),
            [
                "app.1.0-0: the end of the transaction of producer 5 epoch 0 was answered as aborted and it is committed in \
              out[0]"
            ]
        );
        evidence.history.ends = vec![end((5, 0), false, None)];
        assert_eq!(messages(&super::CHECK, &evidence), Vec::<String>::new());
    }

    #[test]
    fn a_marker_with_the_old_epoch_is_caught() {
        let mut disk = Disk::new();
        disk.in_transaction("out", 0, (5, 3), &[record(1).value("x")]);
        disk.marker("out", 0, (5, 3), true);
        let found = messages(&super::CHECK, &evidence(&disk));
        assert!(found[0].contains("out[0] offset 1: the marker of producer 5 epoch 3 carries epoch 3"), "{found:?}");
    }

    #[test]
    fn a_write_of_a_fenced_epoch_is_caught() {
        let mut disk = whole();
        disk.in_transaction("out", 0, (5, 0), &[record(1).value("delayed")]);
        disk.marker("out", 0, (5, 2), true);
        let found = messages(&super::CHECK, &evidence(&disk));
        assert_eq!(found, ["out[0] offset 2: producer 5 epoch 0 was accepted although epoch 1 had fenced it"]);
    }

    #[test]
    fn a_stable_offset_inside_an_open_transaction_is_caught() {
        let disk = whole();
        let mut evidence = evidence(&disk);
        let mut early = poll_of(&disk, "out", "r", 0, 0, 1);
        early.high_watermark.0 = 1;
        early.last_stable.0 = 1;
        evidence.history.polls = vec![early];
        let found = messages(&super::CHECK, &evidence);
        assert!(
            found[0].contains("r was told that out-0 is stable up to 1 while the transaction that begins at 0"),
            "{found:?}"
        );
    }
}
