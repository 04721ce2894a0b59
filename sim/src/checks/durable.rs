//! After any crash the log is a valid extension of what was acknowledged: it decodes up to there, and each offset below
//! holds what was sent, read, and is there at the end. What nobody was told of may be missing, torn or new.

use std::collections::BTreeMap;

use engine::types::TopicPartition;

use super::history::describe;
use super::log::{Logs, PartitionLog};
use super::{Case, Check, Violation};
use crate::evidence::Moment;

const NAME: &str = "durable";

pub const CHECK: Check = Check {
    name: NAME,
    holds_when: "after any crash the log is a valid extension of what was acknowledged",
    examined: |case| case.evidence.crashes.iter().map(|crash| answers(case, crash.at)).sum(),
    run: check,
};

fn check(case: &Case<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    for crash in &case.evidence.crashes {
        let when = format!("after the {} at {}", crash.kind, seconds(crash.virtual_ms));
        let logs = Logs::decode(&crash.files, &case.evidence.data_dir);
        let owed = owed(case, crash.at);
        for (partition, owed) in &owed {
            let log = logs.get(&partition.topic, partition.partition.0);
            if log.end < owed.end {
                let why = log.damage.as_deref().map(|why| format!(" ({why})")).unwrap_or_default();
                let message =
                    format!("{when} {partition} ends at offset {}, and {} said {}{why}", log.end, owed.who, owed.end);
                found.push(Violation::new(NAME, message));
                continue;
            }
            let last = case.logs.get(&partition.topic, partition.partition.0);
            if let Some(offset) = first_change(log, last, owed.end) {
                let message =
                    format!("{when} {partition} held another batch at offset {offset} than it does at the end");
                found.push(Violation::new(NAME, message));
            }
        }
        for send in &case.evidence.history.sends {
            let Some(ack) = send.acks.iter().find(|ack| ack.at < crash.at) else { continue };
            let log = logs.get(&send.partition.topic, send.partition.partition.0);
            let lost = match log.at(ack.offset.0) {
                Some(entry) => entry.digest() != send.digest,
                None => ack.offset.0 >= log.start,
            };
            if lost {
                let message = format!(
                    "{when} {} no longer holds send {}, acknowledged at offset {}",
                    send.partition, send.id, ack.offset
                );
                found.push(Violation::new(NAME, message));
            }
        }
    }
    for (topic, partition, log) in case.logs.all() {
        if let Some(damage) = &log.damage {
            found.push(Violation::new(NAME, format!("at the end {topic}[{partition}] is unreadable: {damage}")));
        }
    }
    found
}

/// How many sends and batches had been acknowledged by then.
fn answers(case: &Case<'_>, before: Moment) -> u64 {
    let history = &case.evidence.history;
    let sends = history.sends.iter().filter(|send| send.acks.iter().any(|ack| ack.at < before)).count();
    let writes = history.writes.iter().filter(|write| write.answered.is_some_and(|(at, _)| at < before)).count();
    (sends + writes) as u64
}

/// How far a partition must reach, and who was told.
struct Owed {
    end: i64,
    who: String,
}

fn owed(case: &Case<'_>, before: Moment) -> BTreeMap<TopicPartition, Owed> {
    let mut owed: BTreeMap<TopicPartition, Owed> = BTreeMap::new();
    let mut claim = |partition: &TopicPartition, end: i64, who: &dyn Fn() -> String| match owed.get_mut(partition) {
        Some(known) if known.end >= end => {}
        Some(known) => *known = Owed { end, who: who() },
        None => {
            owed.insert(partition.clone(), Owed { end, who: who() });
        }
    };
    for send in &case.evidence.history.sends {
        for ack in send.acks.iter().filter(|ack| ack.at < before) {
            claim(&send.partition, ack.offset.0 + 1, &|| format!("the answer to send {}", send.id));
        }
    }
    for write in &case.evidence.history.writes {
        if let Some((_, base)) = write.answered.filter(|(at, _)| *at < before) {
            claim(&write.partition, base.0 + i64::from(write.records), &|| {
                format!("the answer to {}", describe(write))
            });
        }
    }
    for poll in case.evidence.history.polls.iter().filter(|poll| poll.answered < before) {
        claim(&poll.partition, poll.high_watermark.0, &|| format!("the high watermark that {} was told", poll.reader));
    }
    owed
}

/// The base offset of the first batch below `end` that is not the same in both logs; where one starts later than the
/// other, from there.
fn first_change(then: &PartitionLog, now: &PartitionLog, end: i64) -> Option<i64> {
    let start = then.start.max(now.start);
    let below = |log: &PartitionLog| {
        let batches = log.batches.iter().filter(|batch| batch.base_offset >= start && batch.base_offset < end);
        batches.map(|batch| (batch.base_offset, batch.crc)).collect::<Vec<_>>()
    };
    let (then, now) = (below(then), below(now));
    let different = then.iter().zip(&now).find(|(then, now)| then != now).map(|(then, _)| then.0);
    different
        .or_else(|| (then.len() != now.len()).then(|| then.get(now.len()).or(now.get(then.len())).map_or(end, |b| b.0)))
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}s", ms / 1000, ms % 1000)
}

#[cfg(test)]
mod tests {
    use engine::types::{Offset, ProducerEpoch, ProducerId, TopicPartition};

    use super::super::kit::*;
    use crate::evidence::{Crash, Evidence, Moment, WriteRecord};

    /// Two sends, the first acknowledged at moment 1; a power cut at moment 5 that leaves `then`.
    fn crashed(then: &Disk, now: &Disk) -> Evidence {
        let mut evidence = evidence(now);
        let mut first = send(10, 0, &event("a", 1, 1), Some(0));
        first.acks[0].at = Moment(1);
        evidence.history.sends = vec![first];
        evidence.crashes =
            vec![Crash { at: Moment(5), virtual_ms: 14_120, kind: "power cut".into(), files: then.files() }];
        evidence
    }

    fn disk(events: &[Rec]) -> Disk {
        let mut disk = Disk::new();
        for event in events {
            disk.plain(SOURCE, 0, std::slice::from_ref(event));
        }
        disk
    }

    #[test]
    fn what_was_acknowledged_is_kept_and_the_rest_may_be_torn() {
        let (a, b, c) = (event("a", 1, 1).send(10), event("b", 2, 2).send(11), event("c", 3, 3).send(12));
        let mut torn = disk(&[a.clone(), b]);
        torn.cut(SOURCE, 0, 5);
        assert_eq!(messages(&super::CHECK, &crashed(&torn, &disk(&[a, c]))), Vec::<String>::new());
    }

    #[test]
    fn an_acknowledged_record_in_the_torn_tail_is_caught() {
        let a = event("a", 1, 1).send(10);
        let mut torn = disk(std::slice::from_ref(&a));
        torn.cut(SOURCE, 0, 5);
        let found = messages(&super::CHECK, &crashed(&torn, &disk(&[a])));
        assert!(
            found[0].starts_with(
                "after the power cut at 14.120s source-0 ends at offset 0, and the answer to send 10 said 1"
            ),
            "{found:?}"
        );
        assert_eq!(
            found[1],
            "after the power cut at 14.120s source-0 no longer holds send 10, acknowledged at offset 0"
        );
    }

    #[test]
    fn an_acknowledgement_after_the_crash_is_not_owed_by_it() {
        let a = event("a", 1, 1).send(10);
        let mut evidence = crashed(&Disk::new(), &disk(&[a]));
        evidence.history.sends[0].acks[0].at = Moment(7);
        assert_eq!(messages(&super::CHECK, &evidence), Vec::<String>::new());
    }

    #[test]
    fn a_high_watermark_that_a_reader_was_told_is_owed_too() {
        let a = event("a", 1, 1).send(10);
        let now = disk(&[a.clone(), event("b", 2, 2)]);
        let mut evidence = crashed(&disk(&[a]), &now);
        let mut told = poll(&now, "reader", 0, 0, 2);
        told.answered = Moment(4);
        evidence.history.polls = vec![told];
        let found = messages(&super::CHECK, &evidence);
        assert_eq!(
            found,
            [
                "after the power cut at 14.120s source-0 ends at offset 1, and the high watermark that reader was told said 2"
            ]
        );
    }

    /// A batch of two records that a task wrote to partition 0 of its output.
    fn written(answered: Option<(Moment, Offset)>) -> WriteRecord {
        WriteRecord {
            partition: TopicPartition::new(LIVE_OUT, 0),
            writer: Some((ProducerId(7), ProducerEpoch(3))),
            transactional: true,
            sequence: 4,
            records: 2,
            asked: Moment(1),
            answered,
        }
    }

    #[test]
    fn what_a_task_was_acknowledged_is_owed_and_what_it_was_not_is_not() {
        let a = event("a", 1, 1).send(10);
        let mut now = disk(std::slice::from_ref(&a));
        let mut then = now.clone();
        now.in_transaction(LIVE_OUT, 0, (7, 3), &[event("x", 1, 1), event("y", 1, 1)]);
        now.marker(LIVE_OUT, 0, (7, 4), true);
        let mut evidence = crashed(&then, &now);
        for answered in [None, Some((Moment(6), Offset(0)))] {
            evidence.history.writes = vec![written(answered)];
            assert_eq!(messages(&super::CHECK, &evidence), Vec::<String>::new());
            assert_eq!(asked(&super::CHECK, &evidence), 1);
        }
        evidence.history.writes = vec![written(Some((Moment(4), Offset(0))))];
        assert_eq!(asked(&super::CHECK, &evidence), 2);
        assert_eq!(
            messages(&super::CHECK, &evidence),
            [
                "after the power cut at 14.120s app.1.out-0 ends at offset 0, and the answer to producer 7 epoch 3, 2 records \
              from sequence 4 said 2"
            ]
        );
        then.in_transaction(LIVE_OUT, 0, (7, 3), &[event("x", 1, 1), event("z", 1, 1)]);
        evidence.crashes[0].files = then.files();
        assert_eq!(
            messages(&super::CHECK, &evidence),
            ["after the power cut at 14.120s app.1.out-0 held another batch at offset 0 than it does at the end"]
        );
    }

    #[test]
    fn a_batch_that_is_another_one_later_is_caught() {
        let then = disk(&[event("a", 1, 1).send(10), event("b", 2, 2)]);
        let now = disk(&[event("a", 1, 1).send(10), event("x", 2, 2)]);
        let mut evidence = crashed(&then, &now);
        let mut told = poll(&then, "reader", 0, 0, 2);
        told.answered = Moment(4);
        evidence.history.polls = vec![told];
        let found = messages(&super::CHECK, &evidence);
        assert_eq!(
            found,
            ["after the power cut at 14.120s source-0 held another batch at offset 1 than it does at the end"]
        );
    }

    #[test]
    fn damage_at_the_end_is_caught() {
        let mut now = disk(&[event("a", 1, 1).send(10), event("b", 2, 2)]);
        let then = now.clone();
        now.flip(SOURCE, 0, 90);
        let found = messages(&super::CHECK, &crashed(&then, &now));
        assert!(found.last().is_some_and(|last| last.starts_with("at the end source[0] is unreadable")), "{found:?}");
    }
}
