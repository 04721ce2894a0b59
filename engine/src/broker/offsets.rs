//! What consumer groups have committed: a table over `__consumer_offsets-0`.
//!
//! In: offset records as they are appended, and markers once they are durable; at start, the log. Out: committed offsets,
//! and whether a transaction is about to change them. Reads no clock and does no I/O.
//!
//! Records are Kafka's own, big-endian, strings as i16 length and bytes:
//!
//! ```text
//! key    i16 version = 1, string group, string topic, i32 partition
//! value  i16 version = 3, i64 offset, i32 leader epoch (-1), string metadata, i64 commit time in ms
//! ```
//!
//! A batch that is in no transaction restates what is committed already (see `rewrite`).
//!
//! Each TxnOffsetCommit is one transactional batch. Its sequence numbers are the broker's, counted from 0 in each
//! transaction: a client has none for offsets.
//!
//! Invariant: an offset is committed exactly when the commit marker of its transaction is durable.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::broker::codec::{CodecError, Get, Put};
use crate::record::ControlMarker;
use crate::types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicPartition};

const KEY_VERSION: i16 = 1;
const VALUE_VERSION: i16 = 3;

/// Whose offset, and of what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OffsetKey {
    pub group: Arc<str>,
    pub partition: TopicPartition,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    pub offset: Offset,
    pub metadata: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetRecord {
    pub key: OffsetKey,
    pub committed: CommittedOffset,
}

impl OffsetRecord {
    pub fn encode(&self, now: Timestamp) -> (Vec<u8>, Vec<u8>) {
        let (mut key, mut value) = (Put::default(), Put::default());
        key.i16(KEY_VERSION).text(&self.key.group).partition(&self.key.partition);
        value.i16(VALUE_VERSION).i64(self.committed.offset.0).i32(-1).text(&self.committed.metadata).i64(now.0);
        (key.0, value.0)
    }

    pub fn decode(key: &[u8], value: &[u8]) -> Result<OffsetRecord, CodecError> {
        let (mut key, mut value) = (Get(key), Get(value));
        for (found, known) in [(key.i16("version")?, KEY_VERSION), (value.i16("version")?, VALUE_VERSION)] {
            if found != known {
                return Err(CodecError::Value { what: "version", found: i64::from(found) });
            }
        }
        let group = Arc::from(key.text("group")?);
        let partition = key.partition("partition")?;
        let offset = Offset(value.i64("offset")?);
        value.i32("leader epoch")?;
        let metadata = Arc::from(value.text("metadata")?);
        value.i64("commit time")?;
        key.end()?;
        value.end()?;
        Ok(OffsetRecord { key: OffsetKey { group, partition }, committed: CommittedOffset { offset, metadata } })
    }
}

/// What one transaction is about to commit.
#[derive(Clone, Debug)]
struct Pending {
    epoch: ProducerEpoch,
    next: Sequence,
    offsets: BTreeMap<OffsetKey, CommittedOffset>,
    /// The marker that is appended, and not durable yet.
    decided: Option<ControlMarker>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Offsets {
    groups: BTreeMap<Arc<str>, BTreeMap<TopicPartition, CommittedOffset>>,
    pending: BTreeMap<ProducerId, Pending>,
}

impl Offsets {
    /// The sequence that the producer's next batch begins with.
    pub fn next_sequence(&self, id: ProducerId, epoch: ProducerEpoch) -> Sequence {
        match self.pending.get(&id) {
            Some(pending) if pending.epoch == epoch => pending.next,
            _ => Sequence(0),
        }
    }

    /// Takes in a batch that was appended; its transaction is open.
    pub fn stage(&mut self, id: ProducerId, epoch: ProducerEpoch, base: Sequence, records: Vec<OffsetRecord>) {
        let pending = self.pending.entry(id).or_insert_with(|| Pending {
            epoch,
            next: Sequence(0),
            offsets: BTreeMap::new(),
            decided: None,
        });
        pending.epoch = epoch;
        pending.next = base.plus(i32::try_from(records.len()).expect("fewer than 2^31 records"));
        for OffsetRecord { key, committed } in records {
            pending.offsets.insert(key, committed);
        }
    }

    /// The producer's transaction has ended, durably.
    pub fn resolve(&mut self, id: ProducerId, marker: ControlMarker) {
        let Some(pending) = self.pending.remove(&id) else { return };
        if marker == ControlMarker::Abort {
            return;
        }
        for (OffsetKey { group, partition }, committed) in pending.offsets {
            self.groups.entry(group).or_default().insert(partition, committed);
        }
    }

    /// The marker of the producer's transaction is appended. Called under the same lock as the append.
    pub fn decide(&mut self, id: ProducerId, marker: ControlMarker) {
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.decided = Some(marker);
        }
    }

    /// Takes in, at start, what a rewrite has said again.
    pub fn restate(&mut self, records: Vec<OffsetRecord>) {
        for OffsetRecord { key: OffsetKey { group, partition }, committed } in records {
            self.groups.entry(group).or_default().insert(partition, committed);
        }
    }

    /// What the log says is committed, the markers that were appended last included.
    pub fn whole(&self) -> Vec<OffsetRecord> {
        let mut table: BTreeMap<OffsetKey, CommittedOffset> = BTreeMap::new();
        for (group, partitions) in &self.groups {
            for (partition, committed) in partitions {
                let key = OffsetKey { group: group.clone(), partition: partition.clone() };
                table.insert(key, committed.clone());
            }
        }
        let decided = |pending: &&Pending| {
            mutant!("rewrite-leaves-out-decided", pending.decided == Some(ControlMarker::Commit), false)
        };
        for pending in self.pending.values().filter(decided) {
            table.extend(pending.offsets.iter().map(|(key, committed)| (key.clone(), committed.clone())));
        }
        table.into_iter().map(|(key, committed)| OffsetRecord { key, committed }).collect()
    }

    pub fn committed(&self, group: &str, partition: &TopicPartition) -> Option<&CommittedOffset> {
        self.groups.get(group)?.get(partition)
    }

    /// Everything that the group has committed, by partition.
    pub fn of_group(&self, group: &str) -> impl Iterator<Item = (&TopicPartition, &CommittedOffset)> {
        self.groups.get(group).into_iter().flatten()
    }

    /// Whether an open transaction may change the offset.
    pub fn is_pending(&self, group: &str, partition: &TopicPartition) -> bool {
        let names = |key: &OffsetKey| &*key.group == group && key.partition == *partition;
        self.pending.values().any(|pending| pending.offsets.keys().any(names))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(group: &str, offset: i64) -> OffsetRecord {
        OffsetRecord {
            key: OffsetKey { group: group.into(), partition: TopicPartition::new("t", 3) },
            committed: CommittedOffset { offset: Offset(offset), metadata: "m".into() },
        }
    }

    #[test]
    fn a_record_reads_as_it_was_written_and_never_when_it_is_cut() {
        let record = record("g", 7);
        let (key, value) = record.encode(Timestamp(5));
        assert_eq!(OffsetRecord::decode(&key, &value), Ok(record));
        assert_eq!(key, b"\0\x01\0\x01g\0\x01t\0\0\0\x03");
        for cut in 0..value.len() {
            assert!(OffsetRecord::decode(&key, &value[..cut]).is_err(), "{cut} bytes");
        }
    }

    #[test]
    fn the_whole_is_what_the_log_says_and_not_only_what_is_known_to_be_durable() {
        let (a, b, epoch) = (ProducerId(1), ProducerId(2), ProducerEpoch(0));
        let mut offsets = Offsets::default();
        offsets.restate(vec![record("g", 7)]);
        offsets.stage(a, epoch, Sequence(0), vec![record("g", 8)]);
        offsets.stage(b, epoch, Sequence(0), vec![record("h", 1)]);
        assert_eq!(offsets.whole(), [record("g", 7)], "open");
        offsets.decide(a, ControlMarker::Commit);
        offsets.decide(b, ControlMarker::Abort);
        assert_eq!(offsets.whole(), [record("g", 8)], "the marker comes before the rewrite in the log");
        assert_eq!(offsets.committed("g", &TopicPartition::new("t", 3)).map(|it| it.offset), Some(Offset(7)));
    }

    #[test]
    fn an_offset_is_pending_until_its_marker_and_gone_with_an_abort() {
        let (id, epoch, partition) = (ProducerId(1), ProducerEpoch(4), TopicPartition::new("t", 3));
        let mut offsets = Offsets::default();
        offsets.stage(id, epoch, Sequence(0), vec![record("g", 7)]);
        assert_eq!(offsets.next_sequence(id, epoch), Sequence(1));
        assert_eq!(offsets.committed("g", &partition), None);
        assert!(offsets.is_pending("g", &partition));
        assert!(!offsets.is_pending("h", &partition));
        offsets.resolve(id, ControlMarker::Commit);
        assert!(!offsets.is_pending("g", &partition));
        assert_eq!(offsets.committed("g", &partition).map(|it| it.offset), Some(Offset(7)));
        assert_eq!(offsets.next_sequence(id, ProducerEpoch(5)), Sequence(0));
        offsets.stage(id, ProducerEpoch(5), Sequence(0), vec![record("g", 9)]);
        offsets.resolve(id, ControlMarker::Abort);
        assert_eq!(offsets.committed("g", &partition).map(|it| it.offset), Some(Offset(7)));
    }
}
