//! Every send is in the log at most once, acknowledged or not, however often it was retried; no partition holds one
//! producer's sequence number twice; no source record goes to the owner of its key twice, and no pane to the next windows
//! without having been taken back.

use std::collections::BTreeMap;

use super::{Case, Check, Violation, panes, source};
use crate::evidence::RunNames;

const NAME: &str = "duplicate";

pub const CHECK: Check = Check {
    name: NAME,
    holds_when: "every send is in the log at most once",
    examined: |case| case.evidence.history.sends.len() as u64,
    run: check,
};

fn check(case: &Case<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut places: BTreeMap<u64, String> = BTreeMap::new();
    for (partition, log) in case.logs.topic(&case.evidence.source) {
        for entry in log.committed() {
            let Some(id) = entry.send_id() else { continue };
            let place = format!("{}[{partition}]@{}", case.evidence.source, entry.offset);
            if let Some(first) = places.get(&id) {
                found.push(Violation::new(NAME, format!("send {id} is in the log at {first} and again at {place}")));
            } else {
                places.insert(id, place);
            }
        }
    }
    for (topic, partition, log) in case.logs.all() {
        let mut sequences = BTreeMap::new();
        for batch in log.batches.iter().filter(|batch| !batch.control && batch.base_sequence >= 0) {
            let Some(writer) = batch.writer else { continue };
            if let Some(first) = sequences.insert((writer, batch.base_sequence), batch.base_offset) {
                found.push(Violation::new(
                    NAME,
                    format!(
                        "{topic}[{partition}]: {writer} sequence {} is at offset {first} and again at {}",
                        batch.base_sequence, batch.base_offset
                    ),
                ));
            }
        }
    }
    for (run, names, _) in case.runs() {
        found.extend(between_stages(case, run, names));
    }
    found
}

/// The part of it that a replay beside the others is asked for.
pub fn of_replay(case: &Case<'_>) -> Vec<Violation> {
    between_stages(case, "replay", &case.evidence.replay)
}

/// What the topics between the stages of a run carry twice.
fn between_stages(case: &Case<'_>, run: &str, names: &RunNames) -> Vec<Violation> {
    let mut found = Vec::new();
    for topic in &names.repartition_topics {
        let mut carried = BTreeMap::new();
        for (partition, log) in case.logs.topic(topic) {
            let data = log.committed().filter(|entry| entry.marker().is_none());
            for (entry, (source, offset, _)) in data.filter_map(|entry| Some((entry, source::frame(entry)?))) {
                let place = format!("[{partition}]@{}", entry.offset);
                if let Some(first) = carried.insert((source, offset), place.clone()) {
                    let record = format!("{}[{source}]@{offset}", case.evidence.source);
                    found.push(Violation::new(
                        NAME,
                        format!("{topic} carries {record} at {first} and again at {place}"),
                    ));
                }
            }
        }
    }
    let twice = panes::counted_twice(case, run, names);
    found.extend(twice.into_iter().map(|message| Violation::new(NAME, message)));
    found
}

#[cfg(test)]
mod tests {
    use super::super::kit::*;

    #[test]
    fn one_of_each_passes_and_an_aborted_attempt_does_not_count() {
        let mut disk = Disk::new();
        disk.in_transaction(SOURCE, 0, (5, 0), &[event("a", 1, 1).send(10)]);
        disk.marker(SOURCE, 0, (5, 1), false);
        disk.plain(SOURCE, 0, &[event("a", 1, 1).send(10), event("a", 1, 1).send(11)]);
        assert_eq!(messages(&super::CHECK, &evidence(&disk)), Vec::<String>::new());
    }

    #[test]
    fn a_send_that_is_there_twice_is_named_with_both_places() {
        let mut disk = Disk::new();
        disk.plain(SOURCE, 0, &[event("a", 1, 1).send(10)]);
        disk.plain(SOURCE, 1, &[event("a", 1, 1).send(10)]);
        assert_eq!(
            messages(&super::CHECK, &evidence(&disk)),
            ["send 10 is in the log at source[0]@0 and again at source[1]@0"]
        );
    }

    #[test]
    fn a_sequence_number_that_comes_twice_is_a_duplicate_even_without_send_ids() {
        let mut disk = Disk::new();
        disk.idempotent("other", 0, (5, 0), 0, &[record(1).value("x")]);
        disk.idempotent("other", 0, (5, 0), 1, &[record(1).value("x")]);
        assert_eq!(messages(&super::CHECK, &evidence(&disk)), Vec::<String>::new());
        disk.idempotent("other", 0, (5, 0), 1, &[record(1).value("x")]);
        assert_eq!(
            messages(&super::CHECK, &evidence(&disk)),
            ["other[0]: producer 5 epoch 0 sequence 1 is at offset 1 and again at 2"]
        );
    }

    #[test]
    fn a_source_record_that_is_carried_twice_is_named() {
        let frame = |offset: i64| {
            let value = [&0i32.to_be_bytes()[..], &offset.to_be_bytes(), &0i64.to_be_bytes()].concat();
            record(1).key("k").value(value)
        };
        let mut disk = Disk::new();
        disk.plain("app.1.by-user-repartition", 0, &[frame(0), frame(1)]);
        disk.plain("app.1.by-user-repartition", 1, &[frame(1)]);
        let mut evidence = evidence(&disk);
        evidence.live.repartition_topics = vec!["app.1.by-user-repartition".into()];
        let twice = "app.1.by-user-repartition carries source[0]@1 at [0]@1 and again at [1]@0";
        assert_eq!(messages(&super::CHECK, &evidence), [twice]);
        // The same of a replay beside the others.
        std::mem::swap(&mut evidence.live.repartition_topics, &mut evidence.replay.repartition_topics);
        let found = of_another_replay(&evidence);
        assert!(found.contains(&twice.to_owned()), "{found:?}");
    }
}
