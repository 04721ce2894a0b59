//! Each commit of a task is one cut: its commit record agrees with everything that the same transaction wrote (offsets,
//! output, changelog) and with the state and the timers that the changelog adds up to. A
//! snapshot agrees with its state by itself.
//!
//! A transaction is known across partitions by its writer, whose epoch every end bumps.

use std::collections::{BTreeMap, BTreeSet};

use super::changelog::{Cut, GROUP_OFFSETS, group_offset};
use super::log::Writer;
use super::{Case, Check, Violation};
use crate::evidence::{RunNames, TaskNames};

const NAME: &str = "single-cut";

pub const CHECK: Check = Check {
    name: NAME,
    holds_when: "each commit record agrees with what the same transaction wrote",
    examined: |case| case.cuts(),
    run: check,
};

/// What a transaction wrote outside of its changelog.
#[derive(Default)]
struct Wrote {
    /// (group, topic, partition) → offset
    offsets: BTreeMap<(String, String, i32), i64>,
    /// topic[partition] → records
    outputs: BTreeMap<String, u64>,
    twice: Option<String>,
}

fn check(case: &Case<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    let wrote = wrote(case);
    let undecided = undecided(case);
    for (run, names, _) in case.runs() {
        let mut described = BTreeSet::new();
        for (task, changelog) in case.changelogs(names) {
            let name = format!("{run} task {}-{}", task.stage, task.partition);
            let mut say = |message: String| found.push(Violation::new(NAME, format!("{name}: {message}")));
            for problem in &changelog.problems {
                say(format!("changelog: {problem}"));
            }
            let nothing = Wrote::default();
            for cut in &changelog.cuts {
                described.insert(cut.writer);
                if undecided.contains(&cut.writer) {
                    continue;
                }
                for problem in disagreements(names, task, cut, wrote.get(&cut.writer).unwrap_or(&nothing)) {
                    say(format!("the commit record at offset {} says {problem}", cut.offset));
                }
            }
        }
        for (writer, wrote) in &wrote {
            if described.contains(writer)
                || undecided.contains(writer)
                || names.tasks.iter().any(|task| task.changelog.is_none())
            {
                continue;
            }
            let touched: Vec<&str> =
                wrote.outputs.keys().map(String::as_str).filter(|place| names.owns(place)).collect();
            let offsets = wrote.offsets.keys().any(|(group, _, _)| *group == names.group);
            if !touched.is_empty() || offsets {
                let what = if touched.is_empty() { "offsets".to_owned() } else { touched.join(", ") };
                let message = format!("{run}: a transaction of {writer} committed {what} without a commit record");
                found.push(Violation::new(NAME, message));
            }
        }
    }
    found
}

/// Transactions that a run that was stopped in the middle left concluded in some of their partitions.
fn undecided(case: &Case<'_>) -> BTreeSet<Writer> {
    let all = case.logs.all().filter(|_| case.evidence.cut_short).flat_map(|(_, _, log)| &log.transactions);
    all.filter(|transaction| transaction.marker.is_none()).map(|transaction| transaction.writer).collect()
}

/// Everything that committed transactions wrote, changelogs left out.
fn wrote(case: &Case<'_>) -> BTreeMap<Writer, Wrote> {
    let changelogs: BTreeSet<(&str, i32)> = case
        .runs()
        .iter()
        .flat_map(|(_, names, _)| &names.tasks)
        .filter_map(|task| task.changelog.as_ref())
        .map(|changelog| (&*changelog.topic, changelog.partition.0))
        .collect();
    let mut all: BTreeMap<Writer, Wrote> = BTreeMap::new();
    for (topic, partition, log) in case.logs.all() {
        if changelogs.contains(&(topic, partition)) {
            continue;
        }
        for entry in log.committed() {
            let Some(index) = entry.transaction else { continue };
            let wrote = all.entry(log.transactions[index].writer).or_default();
            if topic != GROUP_OFFSETS {
                *wrote.outputs.entry(format!("{topic}[{partition}]")).or_default() += 1;
            } else if let Some((group, topic, partition, offset)) = group_offset(entry) {
                let before = wrote.offsets.insert((group.to_owned(), topic.to_owned(), partition), offset);
                if before.is_some_and(|before| before != offset) {
                    wrote.twice = Some(format!("{topic}[{partition}] of {group}"));
                }
            }
        }
    }
    all
}

fn disagreements(names: &RunNames, task: &TaskNames, cut: &Cut, wrote: &Wrote) -> Vec<String> {
    let said = &cut.said;
    let mut wrong = Vec::new();
    if said.offsets.len() != task.inputs.len() {
        wrong.push(format!("{} offsets, and the task has {} inputs", said.offsets.len(), task.inputs.len()));
    }
    let from = names.from.map(|from| from.time);
    if said.start != from {
        wrong.push(format!("that its version starts at {:?}, and it starts at {from:?}", said.start));
    }
    for (input, offset) in task.inputs.iter().zip(&said.offsets) {
        let place = (names.group.clone(), input.topic.to_string(), input.partition.0);
        match wrote.offsets.get(&place) {
            Some(sent) if sent == offset => {}
            Some(sent) => {
                wrong.push(format!("offset {offset} of {input}, and its transaction sent {sent} to the group"))
            }
            None => wrong.push(format!("offset {offset} of {input}, and its transaction sent none to the group")),
        }
    }
    if let Some(place) = &wrote.twice {
        wrong.push(format!("one offset, and its transaction sent several for {place}"));
    }
    let outputs: u64 = wrote.outputs.values().sum();
    if said.outputs != outputs {
        wrong.push(format!("{} records of output, and its transaction wrote {outputs}", said.outputs));
    }
    if said.changes != cut.changes {
        wrong.push(format!("{} changes, and its transaction wrote {}", said.changes, cut.changes));
    }
    if said.state != cut.state {
        wrong.push(format!("state {:016x}, and the changelog adds up to {:016x}", said.state, cut.state));
    }
    if let Some(alone) = cut.alone.filter(|alone| *alone != said.state) {
        wrong.push(format!("snapshot of state {:016x}, and what it wrote adds up to {alone:016x}", said.state));
    }
    if let Some(timers) = cut.timers.filter(|timers| *timers != said.timers) {
        wrong.push(format!("timers {:016x}, and state and watermarks make {timers:016x}", said.timers));
    }
    wrong
}

impl RunNames {
    /// Whether `topic[partition]` belongs to this run.
    fn owns(&self, place: &str) -> bool {
        let topic = place.rsplit_once('[').map_or(place, |(topic, _)| topic);
        topic == self.out_topic
            || topic == self.late_topic
            || topic == self.rejected_topic
            || self.repartition_topics.iter().any(|name| name == topic)
            || self.pane_topics.iter().any(|between| between.name == topic)
    }
}

#[cfg(test)]
mod tests {
    use super::super::kit::*;
    use super::super::log::Writer;

    /// A task that committed twice: two panes, one cell, offsets 3 then 5.
    fn committed() -> (Disk, Commit) {
        let mut disk = Disk::new();
        let first = Commit { offset: 3, watermark: 90, outputs: 2, cells: vec![("a", 100, 104)], ..Commit::default() };
        disk.in_transaction(LIVE_OUT, 0, (5, 0), &[pane("a", 100, 1), pane("b", 100, 1)]);
        disk.commit((5, 0), &first);
        (disk, Commit { offset: 5, watermark: 120, outputs: 0, cells: vec![("a", 100, 104)], ..Commit::default() })
    }

    fn found(disk: &Disk) -> Vec<String> {
        let mut evidence = evidence(disk);
        evidence.live.tasks = vec![task()];
        messages(&super::CHECK, &evidence)
    }

    #[test]
    fn commits_that_describe_their_transactions_pass() {
        let (mut disk, second) = committed();
        disk.commit((5, 1), &second);
        assert_eq!(found(&disk), Vec::<String>::new());
    }

    #[test]
    fn an_aborted_commit_is_not_looked_at() {
        let (mut disk, second) = committed();
        disk.commit_record((5, 1), &Commit { outputs: 9, ..second.clone() });
        disk.end_commit((5, 2), false);
        disk.commit((5, 2), &second);
        assert_eq!(found(&disk), Vec::<String>::new());
    }

    #[test]
    fn every_disagreement_is_caught() {
        type Change = fn(&mut Commit);
        let cases: [(&str, Change); 6] = [
            ("says offset 5 of source-0, and its transaction sent 4 to the group", |commit| commit.sent = Some(4)),
            ("says offset 5 of source-0, and its transaction sent none to the group", |commit| commit.sent = None),
            ("says 1 records of output, and its transaction wrote 0", |commit| commit.outputs = 1),
            ("says 3 changes, and its transaction wrote 1", |commit| commit.changes_off = 2),
            ("and the changelog adds up to", |commit| commit.state_off = 1),
            ("and state and watermarks make", |commit| commit.timers_off = 1),
        ];
        for (expected, change) in cases {
            let (mut disk, mut second) = committed();
            second.sent = Some(second.offset);
            change(&mut second);
            disk.commit_exactly((5, 1), &second);
            let found = found(&disk);
            assert_eq!(found.len(), 1, "{expected}: {found:?}");
            assert!(found[0].contains(expected), "{expected}: {found:?}");
            assert!(found[0].starts_with("live task 0-0: the commit record at offset"), "{found:?}");
        }
    }

    #[test]
    fn offsets_in_a_transaction_of_their_own_are_caught_from_both_sides() {
        let (mut disk, mut second) = committed();
        disk.in_transaction("__consumer_offsets", 0, (5, 1), &[group_offset("app.1", SOURCE, 0, 5)]);
        disk.marker("__consumer_offsets", 0, (5, 2), true);
        second.sent = None;
        disk.commit_exactly((5, 2), &second);
        let found = found(&disk);
        assert!(found.iter().any(|message| message.contains("its transaction sent none to the group")), "{found:?}");
        assert!(
            found.contains(
                &"live: a transaction of producer 5 epoch 1 committed offsets without a commit record".to_owned()
            ),
            "{found:?}"
        );
    }

    #[test]
    fn output_without_a_commit_record_is_caught() {
        let (mut disk, _) = committed();
        disk.in_transaction(LIVE_OUT, 0, (5, 1), &[pane("c", 100, 1)]);
        disk.marker(LIVE_OUT, 0, (5, 2), true);
        let writer = Writer { producer_id: 5, epoch: 1 };
        let message = format!("live: a transaction of {writer} committed {LIVE_OUT}[0] without a commit record");
        assert_eq!(found(&disk), [message]);
    }

    #[test]
    fn a_snapshot_that_misses_a_key_is_caught_although_the_whole_changelog_adds_up() {
        let mut disk = Disk::new();
        let cells = vec![("a", 100, 104), ("b", 101, 101)];
        disk.commit((5, 0), &Commit { offset: 3, watermark: 90, cells: cells.clone(), ..Commit::default() });
        let whole = Commit { offset: 5, watermark: 90, cells, snapshot: true, ..Commit::default() };
        let mut missing = disk.clone();
        disk.commit((5, 1), &whole);
        assert_eq!(found(&disk), Vec::<String>::new());
        // The state stays what it was: a snapshot that leaves out a key that nobody changed.
        missing.commit((5, 1), &Commit { left_out: Some("b"), ..whole });
        let found = found(&missing);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("snapshot of state") && found[0].contains("adds up to"), "{found:?}");
    }

    #[test]
    fn a_timer_that_is_due_is_another_than_one_that_is_not() {
        // The first commit's cell ends at 105 + gap; the second's watermark has passed that, and it waits for its purge.
        let (mut disk, mut second) = committed();
        second.timers_at = Some(90);
        second.sent = Some(5);
        disk.commit_exactly((5, 1), &second);
        assert_eq!(found(&disk).len(), 1);
    }
}
