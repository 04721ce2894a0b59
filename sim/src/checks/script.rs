//! Histories by hand, and an honest one to spoil.

use std::ops::Range;

use engine::types::{Offset, Partition, ProducerEpoch, ProducerId, TopicPartition};

use super::history::{self, Reading};
use crate::evidence::{
    Ack, EndRecord, History, Moment, OffsetsRecord, PollRecord, Seen, SendRecord, TaskReader, WriteRecord,
};
use crate::plan::Host;
use crate::world::board::TaskKey;

/// `<partition>` of topic `t`.
fn partition(number: i32) -> TopicPartition {
    TopicPartition::new("t", number)
}

/// A history by hand: a send's digest is its id. The number is the moment of the last reader that began.
#[derive(Default)]
pub struct Script(pub History, u64);

impl Script {
    pub fn send(mut self, id: u64, number: i32, acked: Option<i64>) -> Script {
        self.0.sends.push(SendRecord {
            id,
            partition: partition(number),
            digest: id,
            sent: Moment(0),
            acks: acked.map(|offset| Ack { at: Moment(1), offset: Offset(offset) }).into_iter().collect(),
        });
        self
    }

    /// `seen`: (offset, digest).
    pub fn poll(mut self, reader: &str, number: i32, range: Range<i64>, seen: &[(i64, u64)]) -> Script {
        self.0.polls.push(PollRecord {
            reader: reader.into(),
            partition: partition(number),
            asked: Moment(0),
            answered: Moment(self.1 + 1),
            from: Offset(range.start),
            next: Offset(range.end),
            read_committed: reader.starts_with("committed") || self.0.task_readers.contains_key(reader),
            high_watermark: Offset(range.end),
            last_stable: Offset(range.end),
            log_start: Offset(0),
            seen: seen.iter().map(|(offset, digest)| Seen { offset: Offset(*offset), digest: *digest }).collect(),
        });
        self
    }

    /// Two records of (7, epoch), written at `base`.
    pub fn write(mut self, epoch: i16, sequence: i32, number: i32, base: i64) -> Script {
        self.0.writes.push(WriteRecord {
            partition: partition(number),
            writer: Some((ProducerId(7), ProducerEpoch(epoch))),
            transactional: true,
            sequence,
            records: 2,
            asked: Moment(0),
            answered: Some((Moment(1), Offset(base))),
        });
        self
    }

    pub fn end(mut self, epoch: i16, commit: bool) -> Script {
        self.0.ends.push(EndRecord {
            transactional_id: "x".into(),
            producer_id: ProducerId(7),
            epoch: ProducerEpoch(epoch),
            commit,
            asked: Moment(self.1 + 2),
            answered: Some(Moment(self.1 + 3)),
        });
        self
    }

    pub fn assigned(mut self, reader: &str, numbers: &[i32]) -> Script {
        self.0.assigned.insert(reader.into(), numbers.iter().map(|number| partition(*number)).collect());
        self
    }

    /// An instance of task 0-0 of version 1 starts at the moment `at`, and reads these on from there.
    pub fn begins(mut self, reader: &str, at: u64, positions: &[(i32, i64)]) -> Script {
        self.1 = at;
        let positions = positions.iter().map(|(number, offset)| (partition(*number), Offset(*offset))).collect();
        let record = TaskReader {
            task: TaskKey { version: 1, stage: 0, partition: Partition(0) },
            group: "app.1".into(),
            host: Host::Worker(1),
            instance: at,
            started: Moment(at),
            began: Moment(at),
            restores: false,
            from_time: false,
            positions,
        };
        self.0.task_readers.insert(reader.into(), record);
        self
    }

    /// The same, and reads its changelog.
    pub fn restores(self, reader: &str, at: u64, number: i32, from: i64) -> Script {
        let mut script = self.begins(reader, at, &[(number, from)]);
        script.reader(reader).restores = true;
        script
    }

    /// Its version starts at a time.
    pub fn begun_at_a_time(mut self, reader: &str) -> Script {
        self.reader(reader).from_time = true;
        self
    }

    fn reader(&mut self, reader: &str) -> &mut TaskReader {
        self.0.task_readers.get_mut(reader).expect("it began")
    }

    /// (7, epoch) adds an offset of the group's to its transaction, and is answered.
    pub fn offsets(mut self, epoch: i16, number: i32, offset: i64) -> Script {
        self.0.offsets.push(OffsetsRecord {
            group: "app.1".into(),
            producer_id: ProducerId(7),
            epoch: ProducerEpoch(epoch),
            offsets: vec![(partition(number), Offset(offset))],
            answered: true,
        });
        self
    }

    /// The last poll was told that the log starts there.
    pub fn starts_at(mut self, offset: i64) -> Script {
        self.0.polls.last_mut().expect("a poll").log_start = Offset(offset);
        self
    }

    /// The last offset was not taken.
    pub fn refused(mut self) -> Script {
        self.0.offsets.last_mut().expect("an offset").answered = false;
        self
    }

    /// Everything that is found, as `property: message`.
    pub fn found(&self) -> Vec<String> {
        let reading = Reading::of(&self.0);
        let all = history::KINDS
            .iter()
            .flat_map(|(name, find)| find(&reading).into_iter().map(move |message| format!("{name}: {message}")));
        all.collect()
    }

    /// The properties that are broken, each once.
    pub fn broken(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.found().iter().filter_map(|found| Some(found.split_once(':')?.0.to_owned())).collect();
        names.dedup();
        names
    }
}

/// Two sends and a transaction over two partitions, read by two readers.
pub fn good() -> Script {
    Script::default()
        .send(1, 0, Some(0))
        .send(2, 0, None)
        .send(3, 0, Some(2))
        .poll("raw", 0, 0..2, &[(0, 1), (1, 2)])
        .poll("raw", 0, 2..3, &[(2, 3)])
        .write(0, 0, 1, 0)
        .write(0, 0, 2, 0)
        .end(0, true)
        .write(1, 0, 1, 3)
        .end(1, false)
        .poll("committed", 1, 0..6, &[(0, 90), (1, 91)])
        .poll("committed", 2, 0..3, &[(0, 92), (1, 93)])
        .poll("raw", 1, 0..6, &[(0, 90), (1, 91), (3, 94), (4, 95)])
        .assigned("raw", &[0, 1])
        .assigned("committed", &[1, 2])
}
