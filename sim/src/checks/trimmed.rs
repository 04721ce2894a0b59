//! What a changelog has lost is below a committed snapshot: a task deletes the beginning of its changelog only once the
//! snapshot that stands in for it is committed and known to be. The broker's own logs lose no key that the rest does not
//! state again. Nothing else loses anything.
//!
//! In: the committed snapshots of each changelog (with what was removed, so a trim does not hide itself), every request to
//! delete records, and where the logs began after each crash and at the end.

use std::collections::{BTreeMap, BTreeSet};

use engine::types::TopicPartition;

use super::changelog::{Changelog, GROUP_OFFSETS, group_offset};
use super::log::{Entry, Writer, log_starts};
use super::{Case, Check, Violation};
use crate::evidence::{Moment, TrimRecord};

const NAME: &str = "trimmed-below-snapshot";
/// Where the transactions' states are.
const TRANSACTIONS: &str = "__transaction_state";

pub const CHECK: Check = Check {
    name: NAME,
    holds_when: "a changelog begins at a committed snapshot, and what else was deleted is said again",
    examined: |case| {
        case.evidence.history.trims.len() as u64
            + case.logs.all().filter(|(_, _, log)| log.log_start > 0).count() as u64
    },
    run: check,
};

/// The committed snapshots of a changelog: first offset → who wrote it.
type Snapshots = BTreeMap<i64, Writer>;

fn check(case: &Case<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut say = |message: String| found.push(Violation::new(NAME, message));
    let second = case.evidence.second_replay.iter().map(|second| &second.names);
    let snapshots: BTreeMap<&TopicPartition, Snapshots> = case
        .runs()
        .into_iter()
        .map(|(_, names, _)| names)
        .chain(second)
        .flat_map(|names| case.changelogs(names))
        .filter_map(|(task, changelog)| Some((task.changelog.as_ref()?, of(changelog))))
        .collect();
    for trim in &case.evidence.history.trims {
        if let Some(wrong) = judge(case, trim, snapshots.get(&trim.partition)) {
            say(format!("{} was to be deleted below offset {}, {wrong}", trim.partition, trim.below));
        }
    }
    let disks = case.evidence.crashes.iter().map(|crash| (format!("after the {}", crash.kind), &crash.files));
    for (when, files) in disks.chain([("at the end".to_owned(), &case.evidence.files)]) {
        for ((topic, partition), start) in log_starts(files, &case.evidence.data_dir) {
            let name = TopicPartition::new(topic, partition);
            // One that cannot be read is damage, and `durable` says so.
            let Ok(start) = start else { continue };
            let Some(snapshots) = snapshots.get(&name) else {
                if !name.topic.starts_with("__") {
                    say(format!("{when} {name} begins at offset {start}, and it is no changelog"));
                }
                continue;
            };
            if start > 0 && !snapshots.contains_key(&start) {
                say(format!("{when} {name} begins at offset {start}, where no committed snapshot begins"));
            }
        }
    }
    for changelog in snapshots.keys() {
        // With what was removed a log is whole; otherwise something was lost, and not deleted.
        let log = case.logs.get(&changelog.topic, changelog.partition.0);
        if log.start > 0 {
            say(format!("{changelog} holds nothing below offset {}, and nobody removed it", log.start));
        }
    }
    for message in lost_offsets(case).into_iter().chain(lost_transactions(case)) {
        found.push(Violation::new(NAME, message));
    }
    found
}

/// Committed offsets that the deleted part of their log held, and the rest gives otherwise or not at all. What is in no
/// transaction is the broker's own repetition: it counts only for what is left.
fn lost_offsets(case: &Case<'_>) -> Vec<String> {
    let log = case.logs.get(GROUP_OFFSETS, 0);
    let entries = log.effective();
    let table = |counts: &dyn Fn(&Entry) -> bool| {
        let offsets = entries.iter().filter(|entry| counts(entry)).filter_map(|entry| group_offset(entry));
        offsets.map(|(group, topic, partition, offset)| ((group, topic, partition), offset)).collect::<BTreeMap<_, _>>()
    };
    let whole = table(&|entry| entry.transaction.is_some());
    let left = table(&|entry| entry.offset >= log.log_start);
    let said = |table: &BTreeMap<_, i64>, key| table.get(key).map_or("nothing".to_owned(), |offset| offset.to_string());
    let keys: BTreeSet<_> = whole.keys().chain(left.keys()).collect();
    keys.into_iter()
        .filter(|key| whole.get(*key) != left.get(*key))
        .map(|key| {
            let (group, topic, partition) = key;
            format!(
                "{GROUP_OFFSETS} from offset {} says {} of {topic}[{partition}] of {group}, and {} was committed",
                log.log_start,
                said(&left, key),
                said(&whole, key)
            )
        })
        .collect()
}

/// Transactional ids that the rest of their log does not name any more.
fn lost_transactions(case: &Case<'_>) -> Vec<String> {
    let log = case.logs.get(TRANSACTIONS, 0);
    let named = |from: i64| {
        let entries = log.committed().filter(move |entry| entry.offset >= from);
        entries.filter_map(|entry| entry.key.clone()).collect::<BTreeSet<_>>()
    };
    let (whole, left) = (named(0), named(log.log_start));
    let lost = whole.difference(&left);
    lost.map(|key| format!("{TRANSACTIONS} from offset {} says nothing of {}", log.log_start, key.escape_ascii()))
        .collect()
}

fn of(changelog: &Changelog) -> Snapshots {
    changelog.cuts.iter().filter(|cut| cut.said.snapshot).map(|cut| (cut.first, cut.writer)).collect()
}

/// What is wrong with a request, if anything.
fn judge(case: &Case<'_>, trim: &TrimRecord, snapshots: Option<&Snapshots>) -> Option<String> {
    let Some(snapshots) = snapshots else { return Some("and it is no changelog".to_owned()) };
    let Some(writer) = snapshots.get(&trim.below.0) else {
        return Some("where no committed snapshot begins".to_owned());
    };
    (!is_answered(case, *writer, trim.asked))
        .then(|| format!("before anybody was told that the snapshot of {writer} there is committed"))
}

/// Whether the commit of the transaction was answered before `at`.
fn is_answered(case: &Case<'_>, writer: Writer, at: Moment) -> bool {
    case.evidence.history.ends.iter().any(|end| {
        end.commit
            && (end.producer_id.0, end.epoch.0) == (writer.producer_id, writer.epoch)
            && end.answered.is_some_and(|answered| answered < at)
    })
}

#[cfg(test)]
mod tests {
    use engine::types::{Offset, TopicPartition};

    use super::super::kit::*;
    use crate::evidence::{Evidence, Moment, TrimRecord};

    /// A commit at offsets 0 to 3 of the changelog, a snapshot at 3 to 6 that a key has left; answered at moment 3.
    fn run() -> (Disk, Evidence) {
        let mut disk = Disk::new();
        let cells = vec![("a", 100, 104), ("b", 101, 101)];
        disk.commit((5, 0), &Commit { offset: 3, watermark: 90, cells, ..Commit::default() });
        let cells = vec![("a", 100, 104), ("b", 101, 101)];
        disk.commit((5, 1), &Commit { offset: 5, watermark: 91, cells, snapshot: true, ..Commit::default() });
        let mut evidence = evidence(&disk);
        evidence.live.tasks = vec![task()];
        evidence.history.ends = vec![end((5, 0), true, Some(1)), end((5, 1), true, Some(3))];
        (disk, evidence)
    }

    fn trim(evidence: &mut Evidence, below: i64, asked: u64) {
        let partition = TopicPartition::new(CHANGELOG, 0);
        evidence.history.trims.push(TrimRecord { partition, below: Offset(below), asked: Moment(asked) });
    }

    #[test]
    fn a_trim_at_an_answered_snapshot_passes_and_the_deleted_history_is_still_judged() {
        let (mut disk, mut evidence) = run();
        trim(&mut evidence, 4, 4);
        disk.log_start(CHANGELOG, 0, 4);
        evidence.files = disk.files();
        assert_eq!(messages(&super::CHECK, &evidence), Vec::<String>::new());
    }

    #[test]
    fn a_trim_one_record_too_far_is_caught_twice() {
        let (mut disk, mut evidence) = run();
        trim(&mut evidence, 5, 4);
        disk.log_start(CHANGELOG, 0, 5);
        evidence.files = disk.files();
        assert_eq!(
            messages(&super::CHECK, &evidence),
            [
                "app.1.sums-changelog-0 was to be deleted below offset 5, where no committed snapshot begins",
                "at the end app.1.sums-changelog-0 begins at offset 5, where no committed snapshot begins",
            ]
        );
    }

    #[test]
    fn a_trim_before_the_answer_is_caught() {
        let (_, mut evidence) = run();
        trim(&mut evidence, 4, 2);
        assert_eq!(
            messages(&super::CHECK, &evidence),
            ["app.1.sums-changelog-0 was to be deleted below offset 4, before anybody was told that the snapshot of \
              producer 5 epoch 1 there is committed"]
        );
    }

    #[test]
    fn a_rewrite_of_the_committed_offsets_that_forgets_or_goes_back_is_caught() {
        let offsets = |repeated: &[(&str, i64)]| {
            let (mut disk, mut evidence) = run();
            for (group, offset) in repeated {
                disk.plain("__consumer_offsets", 0, &[group_offset(group, SOURCE, 0, *offset)]);
            }
            // Two commits of one offset and one marker each come before.
            disk.log_start("__consumer_offsets", 0, 4);
            evidence.files = disk.files();
            messages(&super::CHECK, &evidence)
        };
        assert_eq!(offsets(&[("app.1", 5)]), Vec::<String>::new());
        let says = |what: &str| {
            format!("__consumer_offsets from offset 4 says {what} of source[0] of app.1, and 5 was committed")
        };
        assert_eq!(offsets(&[]), [says("nothing")]);
        assert_eq!(offsets(&[("app.1", 3)]), [says("3")]);
    }

    #[test]
    fn a_rewrite_that_forgets_a_transactional_id_is_caught() {
        let (mut disk, mut evidence) = run();
        for id in ["a", "b", "a"] {
            disk.plain("__transaction_state", 0, &[record(0).key(id).value("state")]);
        }
        disk.log_start("__transaction_state", 0, 2);
        evidence.files = disk.files();
        assert_eq!(messages(&super::CHECK, &evidence), ["__transaction_state from offset 2 says nothing of b"]);
    }

    #[test]
    fn a_commit_that_is_no_snapshot_and_a_topic_that_is_no_changelog_are_not_trimmed() {
        let (mut disk, mut evidence) = run();
        trim(&mut evidence, 0, 4);
        disk.plain(SOURCE, 0, &[event("a", 1, 1)]);
        disk.log_start(SOURCE, 0, 1);
        evidence.files = disk.files();
        assert_eq!(
            messages(&super::CHECK, &evidence),
            [
                "app.1.sums-changelog-0 was to be deleted below offset 0, where no committed snapshot begins",
                "at the end source-0 begins at offset 1, and it is no changelog",
            ]
        );
    }
}
