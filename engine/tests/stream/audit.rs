//! Reads every changelog by the documentation of its bytes, and holds each commit record to what its transaction wrote.

use std::collections::BTreeMap;

use engine::stream::Deployment;
use engine::stream::changelog::{COMMIT_KEY, CommitRecord};
use engine::types::TopicPartition;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::memory::Log;
use super::shape::{Shape, Windows};

pub fn every_commit_describes_its_transaction(log: &Log, shape: &Shape, deployment: &Deployment) {
    for id in deployment.tasks() {
        let core = deployment.task(id);
        let changelog: &TopicPartition = core.changelog().expect("every task has a changelog");
        let mut live: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
        let (mut changes, mut last, mut previous) = (0, None::<CommitRecord>, None::<&[u8]>);
        for record in log.records(changelog) {
            let key = record.key.as_deref().expect("a changelog record has a key");
            if key != COMMIT_KEY {
                assert!(previous.is_none_or(|previous| previous < key), "changes are in key order, each key once");
                previous = Some(key);
                changes += 1;
                match record.value.as_deref() {
                    Some(value) => live.insert(key, value),
                    None => {
                        let before = live.remove(key);
                        assert!(before.is_some(), "a tombstone for a key that the changelog never had");
                        before
                    }
                };
                continue;
            }
            let commit = CommitRecord::decode(record.value.as_deref().expect("a commit record has a value"))
                .expect("a commit record decodes");
            assert_eq!(commit.changes, changes, "{changelog}");
            let state = live.iter().map(|(key, value)| xxh3_64_with_seed(key, xxh3_64(value)));
            assert_eq!(commit.state, state.fold(0, u64::wrapping_add), "the state digest of {changelog}");
            let timers = timers(&live, rules(shape, id.stage), commit.watermarks.iter().copied().min());
            assert_eq!(commit.timers, timers, "the timers digest of {changelog}");
            if let Some(last) = &last {
                for (now, before) in commit.watermarks.iter().zip(&last.watermarks) {
                    assert!(now >= before, "a watermark moved back from {before} to {now}");
                }
                for (now, before) in commit.offsets.iter().zip(&last.offsets) {
                    assert!(now >= before, "an offset moved back from {before} to {now}");
                }
            }
            (changes, last, previous) = (0, Some(commit), None);
        }
        assert_eq!(changes, 0, "nothing follows the last commit record");
        let last = last.expect("every task has committed");
        let group: Vec<i64> = core.inputs().iter().map(|input| log.group[input].0).collect();
        assert_eq!(last.offsets, group, "commit record and group of {changelog}");
    }
}

/// Gap and allowed lateness of a stage's windows; `None` when it has none.
fn rules(shape: &Shape, stage: u16) -> Option<(i64, i64)> {
    let rule = |windows, lateness| match windows {
        Windows::Tumbling(_) => (0, lateness),
        Windows::Sessions(gap) => (gap, lateness),
    };
    match stage - u16::from(shape.repartitions.is_some()).min(stage) {
        0 if stage == 0 && shape.repartitions.is_some() => None,
        0 => Some(rule(shape.windows, shape.lateness)),
        _ => shape.second.map(|second| rule(second.windows, second.lateness)),
    }
}

/// The timers digest, from the documentation: a share per cell, by its key and what is due next.
fn timers(live: &BTreeMap<&[u8], &[u8]>, rules: Option<(i64, i64)>, minimum: Option<i64>) -> u64 {
    let mut digest = 0_u64;
    for (key, value) in live.iter().filter(|(key, _)| key[0] == 1) {
        let (gap, lateness) = rules.expect("only windows have cells");
        let number = |at: usize| i64::from_be_bytes(value[at..at + 8].try_into().expect("8 bytes"));
        let mut at = 4;
        while at < value.len() {
            let last = number(at + 8);
            let length = u32::from_be_bytes(value[at + 16..at + 20].try_into().expect("4 bytes"));
            at += 20 + length as usize;
            let end = last + gap + 1;
            let due = if Some(end) > minimum { end } else { last + 2 * gap + 1 + lateness };
            assert!(Some(due) > minimum, "a cell that should have been purged");
            digest = digest.wrapping_add(xxh3_64_with_seed(&key[1..], due as u64));
        }
    }
    digest
}
