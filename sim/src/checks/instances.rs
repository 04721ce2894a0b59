//! Where an instance of a task begins to read. Each is a reader of its own, so that its polls are held to what any reader's
//! are by [`super::history`]; here it is held to the instances before it: it leaves out nothing that none of them read, it
//! does not go back behind what its group was told is committed, and its state is not older than that either.
//!
//! In: [`History`]. Out: messages, for the properties of [`super::history`]. An instance that sleeps through its restore may
//! begin behind what a successor has committed meanwhile, and is fenced at its first commit: so only what was answered
//! before the instance *started* binds it.

use std::collections::BTreeMap;

use engine::types::{Offset, ProducerEpoch, ProducerId, TopicPartition};

use super::history::describe;
use crate::evidence::{History, Moment, PollRecord, TaskReader};
use crate::world::board::TaskKey;

/// When the commit of each transaction was answered.
type Committed = BTreeMap<(ProducerId, ProducerEpoch), Moment>;

fn committed(history: &History) -> Committed {
    let ends = history.ends.iter().filter(|end| end.commit);
    ends.filter_map(|end| Some(((end.producer_id, end.epoch), end.answered?))).collect()
}

/// The readers of inputs, with their names.
fn of_inputs(history: &History) -> impl Iterator<Item = (&String, &TaskReader)> {
    history.task_readers.iter().filter(|(_, reader)| !reader.restores)
}

/// An instance that begins beyond everything that its predecessors had read.
pub fn skipped(history: &History) -> Vec<String> {
    // How far the instances of a task had read by a moment; a history has its polls in the order in which they were taken.
    let mut reached: BTreeMap<(TaskKey, &TopicPartition), Vec<(Moment, Offset)>> = BTreeMap::new();
    for poll in &history.polls {
        let Some(reader) = history.task_readers.get(&poll.reader) else { continue };
        let steps = reached.entry((reader.task, &poll.partition)).or_default();
        let furthest = steps.last().map_or(poll.next, |(_, before)| poll.next.max(*before));
        steps.push((poll.answered, furthest));
    }
    let mut found = Vec::new();
    for (name, reader) in of_inputs(history).filter(|(_, reader)| !reader.from_time) {
        for (partition, begins) in &reader.positions {
            let steps = reached.get(&(reader.task, partition)).map_or(&[][..], Vec::as_slice);
            let before = steps.partition_point(|(at, _)| *at < reader.began);
            let furthest = before.checked_sub(1).map_or(Offset::ZERO, |last| steps[last].1);
            if *begins > furthest {
                found.push(format!(
                    "{name} began {partition} at {begins}, and nobody before it had read that for its task beyond {furthest}"
                ));
            }
        }
    }
    found
}

/// An instance that begins before what its group had been told is committed.
pub fn went_back(history: &History) -> Vec<String> {
    let committed = committed(history);
    let mut told: BTreeMap<(&str, &TopicPartition), Vec<(Moment, Offset)>> = BTreeMap::new();
    for added in history.offsets.iter().filter(|added| added.answered) {
        let Some(at) = committed.get(&(added.producer_id, added.epoch)) else { continue };
        for (partition, offset) in &added.offsets {
            told.entry((added.group.as_str(), partition)).or_default().push((*at, *offset));
        }
    }
    let mut found = Vec::new();
    for (name, reader) in of_inputs(history) {
        for (partition, begins) in &reader.positions {
            let told = told.get(&(&*reader.group, partition)).into_iter().flatten();
            let before = told.filter(|(at, _)| *at < reader.started).map(|(_, offset)| *offset).max();
            if let Some(before) = before.filter(|before| begins < before) {
                found.push(format!(
                    "{name} began {partition} at {begins}, and before it started {} was told that {before} is committed",
                    reader.group
                ));
            }
        }
    }
    found
}

/// An instance that has not read all of its changelog.
pub fn unrestored(history: &History) -> Vec<String> {
    let committed = committed(history);
    let mut written: BTreeMap<&TopicPartition, Vec<_>> = BTreeMap::new();
    for write in history.writes.iter().filter(|write| write.transactional && write.records > 0) {
        if let (Some((_, base)), Some(writer)) = (write.answered, write.writer)
            && let Some(at) = committed.get(&writer)
        {
            written.entry(&write.partition).or_default().push((*at, base, write));
        }
    }
    let mut polls: BTreeMap<&str, &PollRecord> = BTreeMap::new();
    for poll in &history.polls {
        polls.insert(&poll.reader, poll);
    }
    // The last restore of each instance: one that was overtaken by a trim begins again.
    let mut restores: BTreeMap<u64, (&String, &TaskReader)> = BTreeMap::new();
    for (name, reader) in history.task_readers.iter().filter(|(_, reader)| reader.restores) {
        let last = restores.entry(reader.instance).or_insert((name, reader));
        if reader.began > last.1.began {
            *last = (name, reader);
        }
    }
    let mut found = Vec::new();
    for (_, reader) in of_inputs(history) {
        // It began to read its inputs: it took itself for restored.
        let Some((name, restore)) = restores.get(&reader.instance) else { continue };
        for (changelog, start) in &restore.positions {
            let position = polls.get(name.as_str()).map_or(*start, |last| last.next);
            let mut owed = written.get(changelog).into_iter().flatten().filter(|(at, ..)| *at < reader.started);
            let beyond = owed.find(|(_, base, write)| base.plus(i64::from(write.records)) > position);
            if let Some((_, base, write)) = beyond {
                found.push(format!(
                    "{name} read {changelog} up to {position} and never came to what {} wrote at {base}, the commit of \
                     which was answered before it started",
                    describe(write)
                ));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::script::{Script, good};

    /// Task 0-0 of version 1 reads partition 1 of the good history, commits and is followed by another instance.
    fn handed_over() -> Script {
        good().begins("first", 10, &[(1, 0)]).poll("first", 1, 0..6, &[(0, 90), (1, 91)]).offsets(5, 1, 6).end(5, true)
    }

    #[test]
    fn an_instance_that_goes_on_where_the_last_one_committed_passes() {
        assert_eq!(handed_over().begins("second", 20, &[(1, 6)]).found(), Vec::<String>::new());
    }

    /// The honest history, and a task that reads both partitions of the transactions: `polls` is what it is shown.
    fn read_by_a_task(polls: impl FnOnce(Script) -> Script) -> Vec<String> {
        polls(good().begins("task", 10, &[(1, 0), (2, 0)])).found()
    }

    #[test]
    fn a_task_that_is_shown_what_there_is_passes() {
        let found = read_by_a_task(|script| {
            let script = script.poll("task", 1, 0..3, &[(0, 90), (1, 91)]).poll("task", 1, 3..6, &[]);
            script.poll("task", 2, 0..3, &[(0, 92), (1, 93)])
        });
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn a_task_that_is_shown_an_aborted_record_is_caught() {
        let found = read_by_a_task(|script| script.poll("task", 1, 0..6, &[(0, 90), (1, 91), (4, 95)]));
        let message = "aborted-read: task was shown t-1@4, written by producer 7 epoch 1, 2 records from sequence 0, whose \
                       abort was answered";
        assert!(found.contains(&message.to_owned()), "{found:?}");
    }

    #[test]
    fn a_task_that_is_shown_a_part_of_a_transaction_is_caught() {
        let found = read_by_a_task(|script| script.poll("task", 1, 0..6, &[(1, 91)]));
        let message = "torn-transaction: the commit of producer 7 epoch 0 was answered; task was not shown t-1@0, and \
                       committed was shown t-1@0";
        assert!(found.contains(&message.to_owned()), "{found:?}");
    }

    #[test]
    fn a_task_that_is_shown_another_record_is_caught() {
        let found = read_by_a_task(|script| script.poll("task", 1, 0..3, &[(0, 90), (1, 99)]));
        assert_eq!(found, ["inconsistent-offset: task and committed saw different records at t-1@1"]);
    }

    #[test]
    fn a_task_that_goes_back_or_leaves_out_within_an_instance_is_caught() {
        let first = |script: Script| script.poll("task", 1, 0..2, &[(0, 90), (1, 91)]);
        let found = read_by_a_task(|script| first(script).poll("task", 1, 1..6, &[(1, 91)]));
        assert_eq!(found, ["nonmonotonic: task had read t-1 up to 2 and then read on from 1"]);
        let found = read_by_a_task(|script| first(script).poll("task", 1, 3..6, &[]));
        assert_eq!(found, ["skipped: task had read t-1 up to 2 and then read on from 3"]);
        // Its first poll is held to where it said that it begins.
        let found = read_by_a_task(|script| script.poll("task", 2, 2..3, &[]));
        assert_eq!(found, ["skipped: task had read t-2 up to 0 and then read on from 2"]);
    }

    #[test]
    fn a_task_may_not_go_on_where_the_log_starts_by_now() {
        let found = read_by_a_task(|script| script.poll("task", 2, 2..3, &[]).starts_at(2));
        assert_eq!(found, ["skipped: task had read t-2 up to 0 and then read on from 2"]);
        // Who reads along may.
        let along = good().poll("committed", 2, 5..6, &[]).starts_at(5);
        assert_eq!(along.found(), Vec::<String>::new());
    }

    #[test]
    fn what_an_instance_reads_again_was_not_committed() {
        let again = good().begins("first", 10, &[(1, 0)]).poll("first", 1, 0..6, &[(0, 90), (1, 91)]);
        let again = again.begins("second", 20, &[(1, 0)]).poll("second", 1, 0..6, &[(0, 90), (1, 91)]);
        assert_eq!(again.found(), Vec::<String>::new());
    }

    #[test]
    fn an_instance_that_begins_beyond_what_was_read_is_caught() {
        assert_eq!(
            handed_over().begins("second", 20, &[(1, 7)]).found(),
            ["skipped: second began t-1 at 7, and nobody before it had read that for its task beyond 6"]
        );
        assert_eq!(
            good().begins("first", 10, &[(1, 3)]).found(),
            ["skipped: first began t-1 at 3, and nobody before it had read that for its task beyond 0"]
        );
    }

    #[test]
    fn what_is_read_later_does_not_excuse_an_instance_that_began_beyond() {
        let late = good().begins("first", 10, &[(1, 0)]).begins("second", 20, &[(1, 6)]);
        assert_eq!(
            late.poll("first", 1, 0..6, &[(0, 90), (1, 91)]).broken(),
            ["skipped"],
            "the second began before the first had read anything"
        );
    }

    #[test]
    fn a_version_that_starts_at_a_time_is_told_by_the_log_where() {
        assert_eq!(good().begins("first", 10, &[(1, 3)]).begun_at_a_time("first").found(), Vec::<String>::new());
    }

    #[test]
    fn an_instance_that_begins_behind_what_was_committed_is_caught() {
        assert_eq!(
            handed_over().begins("second", 20, &[(1, 2)]).found(),
            ["nonmonotonic: second began t-1 at 2, and before it started app.1 was told that 6 is committed"]
        );
    }

    #[test]
    fn who_started_before_the_answer_may_have_slept_through_it() {
        let sleeper = good().begins("sleeper", 1, &[(1, 0)]).poll("sleeper", 1, 0..6, &[(0, 90), (1, 91)]);
        assert_eq!(sleeper.offsets(5, 1, 6).end(5, true).begins("other", 2, &[(1, 0)]).found(), Vec::<String>::new());
    }

    #[test]
    fn offsets_that_were_refused_or_aborted_bind_nobody() {
        let read = || good().begins("first", 10, &[(1, 0)]).poll("first", 1, 0..6, &[(0, 90), (1, 91)]);
        let aborted = read().offsets(5, 1, 6).end(5, false);
        assert_eq!(aborted.begins("second", 20, &[(1, 0)]).found(), Vec::<String>::new());
        let refused = read().offsets(5, 1, 6).refused().end(5, true);
        assert_eq!(refused.begins("second", 20, &[(1, 0)]).found(), Vec::<String>::new());
    }

    #[test]
    fn a_restore_that_ends_early_is_caught() {
        let restored = |to: i64| {
            let seen: Vec<(i64, u64)> = [(0, 92), (1, 93)].into_iter().filter(|(offset, _)| *offset < to).collect();
            good().restores("restore", 20, 2, 0).poll("restore", 2, 0..to, &seen).begins("first", 20, &[(1, 0)])
        };
        assert_eq!(restored(3).found(), Vec::<String>::new());
        assert_eq!(
            restored(1).found(),
            [
                "unseen: restore read t-2 up to 1 and never came to what producer 7 epoch 0, 2 records from sequence 0 wrote \
              at 0, the commit of which was answered before it started"
            ]
        );
        // Whoever did not get as far as its inputs has not said that it was done.
        let unfinished = good().restores("restore", 20, 2, 0).poll("restore", 2, 0..1, &[(0, 92)]);
        assert_eq!(unfinished.found(), Vec::<String>::new());
    }
}
