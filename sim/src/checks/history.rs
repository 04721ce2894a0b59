//! What the clients saw, and nothing else: acknowledgements, reads, the ends of transactions. Readers are those that read
//! along, and every instance of every task. No log is read here, so these properties hold or fail of any broker, ours or
//! another. The vocabulary is that of Jepsen's Kafka workload.
//!
//! In: [`History`]. Out: violations under the names of the properties that the logs are held to as well, and two that only a
//! history can break: `skipped` and `unseen`.
//!
//! An outcome is known when an answer came: a send without one may be anywhere or nowhere, and is held to nothing but being
//! there at most once. A transaction is committed or aborted when its end was answered so.
//!
//! Source: `jepsen.kafka.workload` and the analyses of Redpanda 21.10 and Bufstream 0.1, which found these anomalies in the
//! field.

use std::collections::{BTreeMap, BTreeSet};

use engine::types::{ProducerEpoch, ProducerId, TopicPartition};

use super::{Case, Check, Violation, instances};
use crate::evidence::{History, PollRecord, SendRecord, WriteRecord};

pub const LOST_WRITE: Check = Check {
    name: "lost-write",
    holds_when: "no reader goes past an acknowledged record without seeing it",
    examined: |case| case.evidence.whole().sends.iter().filter(|send| !send.acks.is_empty()).count() as u64,
    run: |case| said("lost-write", lost_writes(&case.reading)),
};

pub const DUPLICATE: Check = Check {
    name: "duplicate",
    holds_when: "no send is seen at two places, and no offset is given to two batches",
    examined: |case| case.evidence.whole().sends.len() as u64,
    run: |case| said("duplicate", duplicates(&case.reading)),
};

pub const INCONSISTENT_OFFSET: Check = Check {
    name: "inconsistent-offset",
    holds_when: "whoever reads or is acknowledged an offset means the same record",
    examined: polled,
    run: |case| said("inconsistent-offset", inconsistent(&case.reading)),
};

pub const NONMONOTONIC: Check = Check {
    name: "nonmonotonic",
    holds_when: "a reader never moves back, and a later send never lies before an earlier one",
    examined: |case| (case.evidence.whole().polls.len() + case.evidence.whole().sends.len()) as u64,
    run: |case| said("nonmonotonic", nonmonotonic(&case.reading)),
};

pub const SKIPPED: Check = Check {
    name: "skipped",
    holds_when: "no reader leaves out what another saw, and nothing foreign lies between two sends",
    examined: polled,
    run: |case| said("skipped", skipped(&case.reading)),
};

pub const ABORTED_READ: Check = Check {
    name: "aborted-read",
    holds_when: "no committed read shows a record whose transaction's abort was answered",
    examined: |case| {
        let writes = case.reading.partitions.values().flat_map(|partition| &partition.writes);
        writes.filter(|(write, _)| case.reading.is_aborted(write)).count() as u64
    },
    run: |case| said("aborted-read", aborted_reads(&case.reading)),
};

pub const TORN_TRANSACTION: Check = Check {
    name: "torn-transaction",
    holds_when: "who sees a part of a transaction sees all of it",
    examined: |case| {
        transactions(&case.reading).map(|(transaction, ..)| transaction).collect::<BTreeSet<_>>().len() as u64
    },
    run: |case| said("torn-transaction", torn(&case.reading)),
};

pub const UNSEEN: Check = Check {
    name: "unseen",
    holds_when: "what was acknowledged is read by every reader in the end",
    examined: |case| if settled(case) { case.evidence.whole().assigned.len() as u64 } else { 0 },
    run: |case| {
        // A run that did not come to rest is `converges`'s.
        let found = if settled(case) { unseen(&case.reading) } else { Vec::new() };
        said("unseen", [found, instances::unrestored(case.reading.history)].concat())
    },
};

#[cfg(test)]
type Finds = fn(&Reading<'_>) -> Vec<String>;

/// What finds the violations of each property, in the order of the checks above.
#[cfg(test)]
pub(super) const KINDS: [(&str, Finds); 8] = [
    ("lost-write", lost_writes),
    ("duplicate", duplicates),
    ("inconsistent-offset", inconsistent),
    ("nonmonotonic", nonmonotonic),
    ("skipped", skipped),
    ("aborted-read", aborted_reads),
    ("torn-transaction", torn),
    ("unseen", |reading| [unseen(reading), instances::unrestored(reading.history)].concat()),
];

fn polled(case: &Case<'_>) -> u64 {
    case.evidence.whole().polls.iter().map(|poll| poll.seen.len() as u64).sum()
}

/// Whether the readers were given the time to come to the end of what was acknowledged.
fn settled(case: &Case<'_>) -> bool {
    let liveness = &case.evidence.liveness;
    liveness.converged && liveness.replay_converged && !case.evidence.cut_short
}

fn said(property: &'static str, messages: Vec<String>) -> Vec<Violation> {
    messages.into_iter().map(|message| Violation::new(property, message)).collect()
}

/// The writer of a transaction: every end bumps the epoch, so the pair names one.
type Transaction = (ProducerId, ProducerEpoch);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Committed,
    Aborted,
}

/// A history by partition.
pub struct Reading<'h> {
    history: &'h History,
    partitions: BTreeMap<&'h TopicPartition, Partition<'h>>,
    outcomes: BTreeMap<Transaction, Outcome>,
}

#[derive(Default)]
struct Partition<'h> {
    /// By reader, each in its order.
    readers: BTreeMap<&'h str, Vec<&'h PollRecord>>,
    /// Acknowledged, in the order in which they were sent.
    sends: Vec<(&'h SendRecord, i64)>,
    /// Answered.
    writes: Vec<(&'h WriteRecord, i64)>,
    /// What was first seen at an offset, and by whom.
    values: BTreeMap<i64, (u64, &'h str)>,
    /// The first committed reader that saw an offset.
    committed: BTreeMap<i64, &'h str>,
}

impl<'h> Reading<'h> {
    pub fn of(history: &'h History) -> Reading<'h> {
        let mut partitions: BTreeMap<&TopicPartition, Partition<'_>> = BTreeMap::new();
        for poll in &history.polls {
            let partition = partitions.entry(&poll.partition).or_default();
            partition.readers.entry(&poll.reader).or_default().push(poll);
            for seen in &poll.seen {
                partition.values.entry(seen.offset.0).or_insert((seen.digest, &poll.reader));
                if poll.read_committed {
                    partition.committed.entry(seen.offset.0).or_insert(&poll.reader);
                }
            }
        }
        for send in &history.sends {
            if let Some(ack) = send.acks.first() {
                partitions.entry(&send.partition).or_default().sends.push((send, ack.offset.0));
            }
        }
        for write in &history.writes {
            if let Some((_, base)) = write.answered {
                partitions.entry(&write.partition).or_default().writes.push((write, base.0));
            }
        }
        let mut outcomes = BTreeMap::new();
        for end in history.ends.iter().filter(|end| end.answered.is_some()) {
            let outcome = if end.commit { Outcome::Committed } else { Outcome::Aborted };
            outcomes.insert((end.producer_id, end.epoch), outcome);
        }
        for partition in partitions.values_mut() {
            // The id of a send is its place in the sender's order.
            partition.sends.sort_by_key(|(send, _)| send.id);
        }
        Reading { history, partitions, outcomes }
    }

    /// `None`: outside of any transaction.
    fn transaction(write: &WriteRecord) -> Option<Transaction> {
        write.writer.filter(|_| write.transactional)
    }

    /// Whether the abort of its transaction was answered.
    fn is_aborted(&self, write: &WriteRecord) -> bool {
        Self::transaction(write).is_some_and(|transaction| self.outcomes.get(&transaction) == Some(&Outcome::Aborted))
    }

    /// Whether a committed reader is owed what was written.
    fn is_owed(&self, write: &WriteRecord) -> bool {
        Self::transaction(write).is_none_or(|transaction| self.outcomes.get(&transaction) == Some(&Outcome::Committed))
    }
}

impl Partition<'_> {
    fn polls(&self) -> impl Iterator<Item = &PollRecord> {
        self.readers.values().flatten().copied()
    }

    /// The reads that went past `offset`, one a reader: of a reader that goes back, `nonmonotonic` says so.
    fn past(&self, offset: i64) -> impl Iterator<Item = &PollRecord> {
        self.readers.values().filter_map(move |polls| {
            let poll = *polls.get(polls.partition_point(|poll| poll.next.0 <= offset))?;
            (poll.from.0 <= offset).then_some(poll)
        })
    }
}

fn saw(poll: &PollRecord, offset: i64) -> Option<u64> {
    let place = poll.seen.binary_search_by_key(&offset, |seen| seen.offset.0).ok()?;
    Some(poll.seen[place].digest)
}

fn lost_writes(reading: &Reading<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, partition) in &reading.partitions {
        for (send, offset) in &partition.sends {
            for poll in partition.past(*offset).filter(|poll| saw(poll, *offset).is_none()) {
                found.push(format!(
                    "{} read {name} from {} to {} and did not see send {}, acknowledged at {offset}",
                    poll.reader, poll.from, poll.next, send.id
                ));
            }
        }
    }
    found
}

fn duplicates(reading: &Reading<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for send in &reading.history.sends {
        if let Some([first, second]) = send.acks.windows(2).find_map(|pair| {
            let offsets = [pair[0].offset, pair[1].offset];
            (offsets[0] != offsets[1]).then_some(offsets)
        }) {
            found.push(format!("send {} was acknowledged at offset {first} and again at {second}", send.id));
        }
    }
    let sends: BTreeMap<u64, &SendRecord> = reading.history.sends.iter().map(|send| (send.digest, send)).collect();
    let mut places: BTreeMap<u64, (&TopicPartition, i64)> = BTreeMap::new();
    for (name, partition) in &reading.partitions {
        for (offset, (digest, reader)) in &partition.values {
            let Some(send) = sends.get(digest).filter(|send| send.partition.topic == name.topic) else { continue };
            if let Some((first, at)) = places.insert(*digest, (name, *offset)) {
                found.push(format!("{reader} saw send {} at {name}@{offset}, and it is at {first}@{at} too", send.id));
            }
        }
        let mut given: Vec<(i64, i64, &WriteRecord)> =
            partition.writes.iter().map(|(write, base)| (*base, base + i64::from(write.records), *write)).collect();
        given.sort_by_key(|(base, end, _)| (*base, *end));
        for pair in given.windows(2) {
            let [(first, end, one), (base, _, other)] = [pair[0], pair[1]];
            // A retry of the same batch is told the same offsets.
            let again = one.writer.is_some() && (one.writer, one.sequence) == (other.writer, other.sequence);
            if base < end && !(again && base == first) {
                found.push(format!(
                    "{name}: offsets from {base} were given to {} and to {}",
                    describe(one),
                    describe(other)
                ));
            }
        }
    }
    found
}

/// Whose batch it was, for a sentence.
pub(super) fn describe(write: &WriteRecord) -> String {
    match write.writer {
        Some((id, epoch)) => {
            format!("producer {id} epoch {epoch}, {} records from sequence {}", write.records, write.sequence)
        }
        None => format!("a batch of {} records", write.records),
    }
}

fn inconsistent(reading: &Reading<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, partition) in &reading.partitions {
        for poll in partition.polls() {
            for seen in &poll.seen {
                let (first, reader) = partition.values[&seen.offset.0];
                if first != seen.digest {
                    found.push(format!("{} and {reader} saw different records at {name}@{}", poll.reader, seen.offset));
                }
            }
        }
        for (send, offset) in &partition.sends {
            if let Some((_, reader)) = partition.values.get(offset).filter(|(digest, _)| *digest != send.digest) {
                found.push(format!(
                    "send {} was acknowledged at {name}@{offset}, and {reader} saw another there",
                    send.id
                ));
            }
        }
    }
    found
}

fn nonmonotonic(reading: &Reading<'_>) -> Vec<String> {
    let mut found = instances::went_back(reading.history);
    for (name, partition) in &reading.partitions {
        for (reader, polls) in &partition.readers {
            let task = reading.history.task_readers.get(*reader);
            let mut position = task.and_then(|task| task.begins(name));
            for poll in polls {
                let from = poll.from;
                if let Some(to) = position.filter(|position| from < *position) {
                    found.push(format!("{reader} had read {name} up to {to} and then read on from {from}"));
                }
                position = Some(poll.next).max(position);
                let backwards = poll.seen.windows(2).find(|pair| pair[1].offset <= pair[0].offset).map(|pair| &pair[1]);
                let outside = poll.seen.iter().find(|seen| seen.offset < from || seen.offset >= poll.next);
                if let Some(seen) = backwards.or(outside) {
                    found.push(format!(
                        "{reader} asked {name} from {from} and got offset {} out of its turn",
                        seen.offset
                    ));
                }
            }
        }
        for pair in partition.sends.windows(2).filter(|pair| pair[1].1 <= pair[0].1) {
            let ((one, first), (other, second)) = (pair[0], pair[1]);
            found.push(format!(
                "{name}: send {} was acknowledged at {second}, and send {} before it at {first}",
                other.id, one.id
            ));
        }
        let mut last: BTreeMap<Transaction, (i32, i64)> = BTreeMap::new();
        let mut writes: Vec<_> =
            partition.writes.iter().filter_map(|(write, base)| Some((write.writer?, write, base))).collect();
        writes.sort_by_key(|(writer, write, _)| (*writer, write.sequence));
        for (writer, write, &base) in writes {
            if let Some((sequence, before)) = last.insert(writer, (write.sequence, base))
                && write.sequence > sequence
                && base <= before
            {
                found.push(format!(
                    "{name}: sequence {} of producer {} epoch {} is at {base}, and sequence {sequence} at {before}",
                    write.sequence, writer.0, writer.1
                ));
            }
        }
    }
    found
}

fn skipped(reading: &Reading<'_>) -> Vec<String> {
    let mut found = instances::skipped(reading.history);
    let ids: BTreeMap<u64, u64> = reading.history.sends.iter().map(|send| (send.digest, send.id)).collect();
    for (name, partition) in &reading.partitions {
        for (reader, polls) in &partition.readers {
            let task = reading.history.task_readers.get(*reader);
            let mut position = task.and_then(|task| task.begins(name)).map_or(0, |begins| begins.0);
            for poll in polls {
                // Who reads along and fell behind the start of the log was told so, and goes on from there. A task does not.
                if poll.from.0 > position && (task.is_some() || poll.from > poll.log_start) {
                    found
                        .push(format!("{reader} had read {name} up to {position} and then read on from {}", poll.from));
                }
                position = poll.next.0.max(position);
            }
        }
        for poll in partition.polls() {
            let mut miss = |offset: i64, reader: &str| {
                if saw(poll, offset).is_none() {
                    found.push(format!(
                        "{} read {name} from {} to {} and was not shown offset {offset}, which {reader} saw",
                        poll.reader, poll.from, poll.next
                    ));
                }
            };
            let range = poll.from.0..poll.next.0.max(poll.from.0);
            match poll.read_committed {
                true => partition.committed.range(range).for_each(|(offset, reader)| miss(*offset, reader)),
                false => partition.values.range(range).for_each(|(offset, (_, reader))| miss(*offset, reader)),
            }
        }
        for pair in partition.sends.windows(2) {
            let ((one, first), (other, second)) = (pair[0], pair[1]);
            for (offset, (digest, reader)) in partition.values.range((first + 1).min(second)..second) {
                let between = ids.get(digest).is_some_and(|id| (one.id + 1..other.id).contains(id));
                if !between {
                    found.push(format!(
                        "{reader} saw a record at {name}@{offset} between send {} at {first} and send {} at {second}, \
                         and it is of no send between them",
                        one.id, other.id
                    ));
                }
            }
        }
    }
    found
}

fn aborted_reads(reading: &Reading<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, partition) in &reading.partitions {
        for (write, base) in partition.writes.iter().filter(|(write, _)| reading.is_aborted(write)) {
            for offset in *base..base + i64::from(write.records) {
                for poll in partition.past(offset).filter(|poll| poll.read_committed && saw(poll, offset).is_some()) {
                    found.push(format!(
                        "{} was shown {name}@{offset}, written by {}, whose abort was answered",
                        poll.reader,
                        describe(write)
                    ));
                }
            }
        }
    }
    found
}

/// The answered writes of every transaction that may be committed, with the offset of the first record of each. One whose
/// end nobody answered is either there or not there: that is where torn ones are found.
fn transactions<'r, 'h>(
    reading: &'r Reading<'h>,
) -> impl Iterator<Item = (Transaction, &'h TopicPartition, &'r Partition<'h>, std::ops::Range<i64>)> {
    reading.partitions.iter().flat_map(move |(name, partition)| {
        partition.writes.iter().filter(|(write, _)| !reading.is_aborted(write)).filter_map(move |(write, base)| {
            Some((Reading::transaction(write)?, *name, partition, *base..base + i64::from(write.records)))
        })
    })
}

/// No moment is asked for: a committed reader goes past a record only when its transaction is decided, and what is decided
/// is so in every partition. What a reader has not come to, or what was deleted before it came, says nothing.
fn torn(reading: &Reading<'_>) -> Vec<String> {
    /// Where a record of a transaction was seen, and where one was left out.
    #[derive(Default)]
    struct Parts {
        seen: Option<String>,
        missing: Option<String>,
    }
    let mut parts_of: BTreeMap<Transaction, Parts> = BTreeMap::new();
    for (transaction, name, partition, offsets) in transactions(reading) {
        let parts = parts_of.entry(transaction).or_default();
        for offset in offsets {
            for poll in partition.past(offset).filter(|poll| poll.read_committed) {
                let (part, word) = match saw(poll, offset) {
                    Some(_) => (&mut parts.seen, "was shown"),
                    None => (&mut parts.missing, "was not shown"),
                };
                part.get_or_insert_with(|| format!("{} {word} {name}@{offset}", poll.reader));
            }
        }
    }
    let torn = parts_of.into_iter().filter_map(|((id, epoch), parts)| {
        let missing = parts.missing?;
        match (reading.outcomes.get(&(id, epoch)), parts.seen) {
            // It is wholly aborted.
            (None, None) => None,
            (None, Some(seen)) => {
                Some(format!("nobody was told how producer {id} epoch {epoch} ended; {missing}, and {seen}"))
            }
            (Some(_), seen) => {
                let seen = seen.map_or(String::new(), |seen| format!(", and {seen}"));
                Some(format!("the commit of producer {id} epoch {epoch} was answered; {missing}{seen}"))
            }
        }
    });
    torn.collect()
}

fn unseen(reading: &Reading<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for (reader, partitions) in &reading.history.assigned {
        for name in partitions {
            let Some(partition) = reading.partitions.get(name) else { continue };
            let polls = partition.readers.get(reader.as_str());
            let position = polls.and_then(|polls| polls.last()).map_or(0, |poll| poll.next.0);
            let send = partition.sends.iter().find(|(_, offset)| *offset >= position);
            let write = partition.writes.iter().find(|(write, base)| {
                write.records > 0 && base + i64::from(write.records) > position && reading.is_owed(write)
            });
            let what = match (send, write) {
                (Some((send, offset)), _) => format!("send {}, acknowledged at {offset}", send.id),
                (None, Some((write, base))) => format!("what {} wrote at {base}", describe(write)),
                (None, None) => continue,
            };
            found.push(format!("{reader} never came to {what} of {name}: it had read up to {position}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use engine::types::Offset;

    use super::super::kit;
    use super::super::script::{Script, good};
    use super::*;
    use crate::evidence::{Ack, Moment};

    #[test]
    fn an_honest_history_passes() {
        assert_eq!(good().found(), Vec::<String>::new());
    }

    #[test]
    fn an_acknowledged_send_that_a_reader_goes_past_is_lost() {
        let found = good().send(4, 0, Some(3)).poll("raw", 0, 3..5, &[]).found();
        assert_eq!(found, ["lost-write: raw read t-0 from 3 to 5 and did not see send 4, acknowledged at 3"]);
    }

    #[test]
    fn a_send_that_is_seen_twice_is_a_duplicate_also_when_it_was_never_acknowledged() {
        let found = good().poll("raw", 0, 3..4, &[(3, 2)]).found();
        assert_eq!(found, ["duplicate: raw saw send 2 at t-0@3, and it is at t-0@1 too"]);
    }

    #[test]
    fn two_answers_with_two_offsets_are_a_duplicate() {
        let mut script = good();
        script.0.sends[0].acks.push(Ack { at: Moment(2), offset: Offset(6) });
        assert_eq!(script.found(), ["duplicate: send 1 was acknowledged at offset 0 and again at 6"]);
    }

    #[test]
    fn offsets_that_are_given_twice_are_duplicates_unless_it_is_the_same_batch() {
        assert_eq!(good().write(0, 0, 1, 0).found(), Vec::<String>::new());
        let found = good().write(2, 0, 1, 4).found();
        assert_eq!(
            found,
            [
                "duplicate: t-1: offsets from 4 were given to producer 7 epoch 1, 2 records from sequence 0 and to producer 7 \
              epoch 2, 2 records from sequence 0"
            ]
        );
    }

    #[test]
    fn two_records_at_one_offset_are_inconsistent() {
        assert_eq!(good().poll("other", 0, 0..1, &[(0, 5)]).broken(), ["inconsistent-offset"]);
        let found = good().send(9, 0, Some(3)).poll("raw", 0, 3..4, &[(3, 77)]).found();
        assert!(
            found.contains(
                &"inconsistent-offset: send 9 was acknowledged at t-0@3, and raw saw another there".to_owned()
            ),
            "{found:?}"
        );
    }

    #[test]
    fn a_reader_that_goes_back_or_leaves_out_is_caught() {
        assert_eq!(good().poll("raw", 0, 1..3, &[(1, 2), (2, 3)]).broken(), ["nonmonotonic"]);
        let found = good().poll("raw", 0, 5..6, &[]).found();
        assert_eq!(found, ["skipped: raw had read t-0 up to 3 and then read on from 5"]);
        let found = good().poll("other", 0, 0..3, &[(0, 1), (2, 3)]).found();
        assert_eq!(found, ["skipped: other read t-0 from 0 to 3 and was not shown offset 1, which raw saw"]);
    }

    #[test]
    fn offsets_out_of_turn_are_caught() {
        let mut script = good();
        script.0.polls[0].seen.swap(0, 1);
        let found = script.found();
        assert!(
            found.contains(&"nonmonotonic: raw asked t-0 from 0 and got offset 0 out of its turn".to_owned()),
            "{found:?}"
        );
    }

    #[test]
    fn who_fell_behind_the_start_of_the_log_goes_on_from_there() {
        let mut script = good().poll("raw", 0, 5..6, &[]);
        script.0.polls.last_mut().expect("a poll").log_start = Offset(5);
        assert_eq!(script.found(), Vec::<String>::new());
    }

    #[test]
    fn a_send_before_an_earlier_one_and_a_record_of_nobody_between_two_are_caught() {
        assert_eq!(good().send(4, 0, Some(1)).broken(), ["inconsistent-offset", "nonmonotonic"]);
        let foreign = Script::default().send(1, 0, Some(0)).send(2, 0, Some(2));
        let found = foreign.poll("raw", 0, 0..3, &[(0, 1), (1, 50), (2, 2)]).found();
        assert_eq!(
            found,
            [
                "skipped: raw saw a record at t-0@1 between send 1 at 0 and send 2 at 2, and it is of no send between them"
            ]
        );
        assert_eq!(good().write(2, 0, 1, 12).write(2, 2, 1, 9).broken(), ["nonmonotonic"]);
    }

    #[test]
    fn a_committed_read_of_an_aborted_record_is_caught() {
        let found = good().poll("committed-2", 1, 0..5, &[(0, 90), (1, 91), (3, 94), (4, 95)]).found();
        assert!(
            found.contains(
                &"aborted-read: committed-2 was shown t-1@3, written by producer 7 epoch 1, 2 records from sequence 0, \
                  whose abort was answered"
                    .to_owned()
            ),
            "{found:?}"
        );
    }

    #[test]
    fn aborted_reads_are_asked_of_the_writes_whose_abort_was_answered() {
        let mut evidence = kit::evidence(&kit::Disk::new());
        evidence.history = good().write(2, 0, 2, 3).0;
        assert_eq!((evidence.history.writes.len(), kit::asked(&ABORTED_READ, &evidence)), (4, 1));
    }

    #[test]
    fn a_transaction_that_is_seen_in_part_is_torn() {
        let found = good().poll("committed-2", 2, 0..3, &[(0, 92)]).found();
        assert!(
            found.contains(
                &"torn-transaction: the commit of producer 7 epoch 0 was answered; committed-2 was not shown t-2@1, and \
                  committed was shown t-1@0"
                    .to_owned()
            ),
            "{found:?}"
        );
    }

    #[test]
    fn a_transaction_whose_end_nobody_was_told_is_seen_as_a_whole_or_not_at_all() {
        let unknown = || good().write(3, 0, 1, 6).write(3, 0, 2, 3);
        let first = |script: Script| script.poll("committed-2", 1, 0..8, &[(0, 90), (1, 91), (6, 96), (7, 97)]);
        let second: [(i64, u64); 4] = [(0, 92), (1, 93), (3, 98), (4, 99)];
        assert_eq!(
            first(unknown()).poll("committed-2", 2, 0..5, &second[..2]).found(),
            ["torn-transaction: nobody was told how producer 7 epoch 3 ended; committed-2 was not shown t-2@3, and \
              committed-2 was shown t-1@6"]
        );
        // All of it, or nothing.
        assert_eq!(first(unknown()).poll("committed-2", 2, 0..5, &second).found(), Vec::<String>::new());
        let nothing = unknown().poll("committed-2", 1, 0..8, &[(0, 90), (1, 91)]);
        assert_eq!(nothing.poll("committed-2", 2, 0..5, &second[..2]).found(), Vec::<String>::new());
        // A reader that has not come to the rest, in the middle of a batch too.
        assert_eq!(first(unknown()).poll("committed-2", 2, 0..4, &second[..3]).found(), Vec::<String>::new());
        // A reader that was too late for the rest.
        let mut late = first(unknown()).poll("committed-2", 2, 0..3, &second[..2]).poll("committed-2", 2, 5..6, &[]);
        late.0.polls.last_mut().expect("a poll").log_start = Offset(5);
        assert_eq!(late.found(), Vec::<String>::new());
        // Who reads what is uncommitted sees it before it is decided.
        assert_eq!(unknown().poll("raw", 1, 6..8, &[(6, 96), (7, 97)]).found(), Vec::<String>::new());
    }

    #[test]
    fn the_transactions_that_are_asked_about_are_those_that_may_be_committed() {
        let mut evidence = kit::evidence(&kit::Disk::new());
        evidence.history = good().write(3, 0, 1, 6).write(3, 0, 2, 3).0;
        assert_eq!(kit::asked(&TORN_TRANSACTION, &evidence), 2);
    }

    #[test]
    fn what_was_stopped_had_no_time_to_be_read() {
        let mut evidence = kit::evidence(&kit::Disk::new());
        evidence.history = good().send(4, 0, Some(3)).0;
        assert_eq!(kit::messages(&UNSEEN, &evidence).len(), 1);
        evidence.cut_short = true;
        assert_eq!(kit::messages(&UNSEEN, &evidence), Vec::<String>::new());
    }

    #[test]
    fn what_is_never_read_is_unseen_and_an_unknown_outcome_is_owed_to_nobody() {
        let found = good().send(4, 0, Some(3)).write(3, 0, 2, 3).assigned("committed", &[1, 2]).found();
        assert_eq!(found, ["unseen: raw never came to send 4, acknowledged at 3 of t-0: it had read up to 3"]);
        let found = good().write(3, 0, 2, 3).end(3, true).found();
        assert_eq!(
            found,
            [
                "unseen: committed never came to what producer 7 epoch 3, 2 records from sequence 0 wrote at 3 of t-2: it had \
              read up to 3"
            ]
        );
    }
}
