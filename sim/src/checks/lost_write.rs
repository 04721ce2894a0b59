//! Every acknowledged send is in the log, committed, at the offset that was acknowledged, with the content that was
//! sent; and the log holds nothing that nobody sent.

use std::collections::BTreeMap;

use super::{Case, Check, Violation};

const NAME: &str = "lost-write";

pub const CHECK: Check = Check {
    name: NAME,
    holds_when: "every acknowledged send is in the log where the answer said",
    examined: |case| case.evidence.history.sends.iter().filter(|send| !send.acks.is_empty()).count() as u64,
    run: check,
};

fn check(case: &Case<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut sent = BTreeMap::new();
    for send in &case.evidence.history.sends {
        sent.insert(send.id, send);
        let Some(ack) = send.acks.first() else { continue };
        let log = case.logs.get(&send.partition.topic, send.partition.partition.0);
        if ack.offset.0 < log.start {
            continue; // Deleted on purpose since.
        }
        let place = format!("{}[{}]@{}", send.partition.topic, send.partition.partition, ack.offset);
        let message = match log.at(ack.offset.0) {
            None => format!(
                "send {} was acknowledged at {place}, where the log, which ends at {}, has no record",
                send.id, log.end
            ),
            Some(entry) if entry.digest() != send.digest => match entry.send_id() {
                Some(other) if other != send.id => {
                    format!("send {} was acknowledged at {place}, where send {other} is", send.id)
                }
                _ => format!("send {} was acknowledged at {place}, where other bytes are", send.id),
            },
            Some(entry) if entry.fate != super::log::Fate::Committed => {
                format!("send {} was acknowledged at {place}, where it is {:?}", send.id, entry.fate).to_lowercase()
            }
            Some(_) => continue,
        };
        found.push(Violation::new(NAME, message));
    }
    for (topic, partition, log) in case.logs.all().filter(|(topic, _, _)| *topic == case.evidence.source) {
        for entry in &log.entries {
            if let Some(id) = entry.send_id().filter(|id| !sent.contains_key(id)) {
                let place = format!("{topic}[{partition}]@{}", entry.offset);
                found.push(Violation::new(NAME, format!("{place} holds send {id}, which nobody sent")));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::kit::*;

    fn sent_and_logged() -> (Disk, crate::evidence::Evidence) {
        let mut disk = Disk::new();
        disk.plain(SOURCE, 0, &[event("a", 1, 1).send(10), event("b", 2, 2).send(11)]);
        let mut evidence = evidence(&disk);
        evidence.history.sends = vec![
            send(10, 0, &event("a", 1, 1), Some(0)),
            send(11, 0, &event("b", 2, 2), Some(1)),
            send(12, 0, &event("c", 3, 3), None),
        ];
        (disk, evidence)
    }

    #[test]
    fn what_was_acknowledged_and_is_there_passes() {
        assert_eq!(messages(&super::CHECK, &sent_and_logged().1), Vec::<String>::new());
    }

    #[test]
    fn an_acknowledged_send_that_is_gone_is_lost() {
        let (_, mut evidence) = sent_and_logged();
        evidence.history.sends.push(send(13, 0, &event("d", 4, 4), Some(2)));
        let found = messages(&super::CHECK, &evidence);
        assert_eq!(found, ["send 13 was acknowledged at source[0]@2, where the log, which ends at 2, has no record"]);
    }

    #[test]
    fn another_record_at_the_acknowledged_offset_is_a_loss() {
        let (_, mut evidence) = sent_and_logged();
        evidence.history.sends[0].acks[0].offset.0 = 1;
        let found = messages(&super::CHECK, &evidence);
        assert_eq!(found, ["send 10 was acknowledged at source[0]@1, where send 11 is"]);
    }

    #[test]
    fn changed_content_is_a_loss() {
        let (_, mut evidence) = sent_and_logged();
        evidence.history.sends[1].digest ^= 1;
        assert_eq!(
            messages(&super::CHECK, &evidence),
            ["send 11 was acknowledged at source[0]@1, where other bytes are"]
        );
    }

    #[test]
    fn an_acknowledged_send_that_was_aborted_is_lost() {
        let mut disk = Disk::new();
        disk.in_transaction(SOURCE, 0, (5, 0), &[event("a", 1, 1).send(10)]);
        disk.marker(SOURCE, 0, (5, 1), false);
        let mut evidence = evidence(&disk);
        evidence.history.sends = vec![send(10, 0, &event("a", 1, 1), Some(0))];
        assert_eq!(
            messages(&super::CHECK, &evidence),
            ["send 10 was acknowledged at source[0]@0, where it is aborted"]
        );
    }

    #[test]
    fn a_record_that_nobody_sent_is_a_violation() {
        let (mut disk, _) = sent_and_logged();
        disk.plain(SOURCE, 0, &[event("x", 9, 9).send(99)]);
        let mut evidence = evidence(&disk);
        evidence.history.sends = sent_and_logged().1.history.sends;
        assert_eq!(messages(&super::CHECK, &evidence), ["source[0]@2 holds send 99, which nobody sent"]);
    }
}
