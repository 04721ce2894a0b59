//! A log in memory, tasks that run against it in any order, and a model that knows nothing of them.
//!
//! The log is a list per topic partition; a transaction appends all it wrote at once or nothing. Offsets have holes, where a
//! broker would have control records.

use std::collections::BTreeMap;

use engine::record::{Compression, ProducerStamp, Record, batches};
use engine::stream::changelog::CommitRecord;
use engine::stream::{Deployment, Outbox, TaskCore, TaskId};
use engine::types::{Offset, Timestamp, TopicPartition};

use super::{audit, shape};

/// One committed record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub raw_headers: Vec<u8>,
}

impl Stored {
    pub fn record(&self) -> Record<'_> {
        Record {
            offset: Offset(self.offset),
            timestamp: Timestamp(self.timestamp),
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            raw_headers: &self.raw_headers,
        }
    }
}

/// Committed records, and committed offsets.
#[derive(Clone, Default)]
pub struct Log {
    pub partitions: BTreeMap<TopicPartition, Vec<Stored>>,
    pub group: BTreeMap<TopicPartition, Offset>,
}

impl Log {
    /// Appends a batch's records after a hole of `hole` offsets.
    pub fn append(&mut self, partition: &TopicPartition, batch: &[u8], hole: i64) {
        let records = self.partitions.entry(partition.clone()).or_default();
        let next = records.last().map_or(0, |last| last.offset + 1) + hole;
        let mut scratch = Vec::new();
        for batch in batches(batch) {
            for record in batch.expect("a batch we built").records(&mut scratch).expect("a batch we built") {
                let record = record.expect("a record we built");
                records.push(Stored {
                    offset: next + record.offset.0,
                    timestamp: record.timestamp.0,
                    key: record.key.map(<[u8]>::to_vec),
                    value: record.value.map(<[u8]>::to_vec),
                    raw_headers: record.raw_headers.to_vec(),
                });
            }
        }
    }

    pub fn records(&self, partition: &TopicPartition) -> &[Stored] {
        self.partitions.get(partition).map_or(&[], Vec::as_slice)
    }

    /// Every record of a topic, by partition and offset.
    pub fn topic<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = &'a Stored> {
        self.partitions.iter().filter(move |(partition, _)| &*partition.topic == topic).flat_map(|(_, records)| records)
    }

    /// The last value per key; a tombstone is absence.
    pub fn table(&self, topic: &str) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut table = BTreeMap::new();
        for record in self.topic(topic) {
            let key = record.key.clone().expect("an output record has a key");
            match &record.value {
                Some(value) => table.insert(key, value.clone()),
                None => table.remove(&key),
            };
        }
        table
    }
}

/// A task that runs, with what its open transaction wrote.
pub struct Running {
    pub core: Box<dyn TaskCore>,
    pub outbox: Outbox,
    next: Offset,
    /// Batches in the open transaction, in order.
    open: Vec<(TopicPartition, Vec<u8>)>,
}

impl Running {
    /// Starts a task from what is committed.
    pub fn start(log: &Log, deployment: &Deployment, id: TaskId) -> Running {
        let mut core = deployment.task(id);
        let changelog = core.changelog().expect("every task has a changelog").clone();
        for record in log.records(&changelog) {
            core.restore(&record.record()).expect("a committed changelog restores");
        }
        let committed: Vec<_> = core.inputs().iter().map(|input| log.group.get(input).copied()).collect();
        let mut next = core.restored(&committed).expect("group and changelog agree")[0];
        if let (Some(time), Some(None), true) = (deployment.reads_from(), committed.first(), id.stage == 0) {
            // What the worker asks the broker for.
            let records = log.records(&core.inputs()[0]);
            let first = records.iter().find(|record| record.timestamp >= time.0).or(records.last());
            next = Offset(first.map_or(0, |record| record.offset));
            core.advance_to(0, next);
        }
        Running { core, outbox: Outbox::new(Compression::None), next, open: Vec::new() }
    }

    /// Processes up to `count` records; returns how many there were.
    pub fn process(&mut self, log: &Log, count: usize) -> usize {
        let input = self.core.inputs()[0].clone();
        let records = log.records(&input);
        let from = records.partition_point(|record| record.offset < self.next.0);
        let records = &records[from..from.saturating_add(count).min(records.len())];
        for record in records {
            self.core.process(0, &[record.record()], &mut self.outbox).expect("input is as promised");
            self.next = Offset(record.offset + 1);
        }
        records.len()
    }

    pub fn fire(&mut self) {
        self.core.fire(&mut self.outbox);
    }

    /// What a worker does when batches are full: they leave in the open transaction.
    pub fn flush(&mut self) {
        let open = &mut self.open;
        self.outbox
            .drain(|partition, batch| open.push((partition.clone(), batch.finish(ProducerStamp::NONE).to_vec())));
    }

    /// Commits the open transaction.
    pub fn commit(&mut self, log: &mut Log) {
        let offsets = self.core.prepare_commit(&mut self.outbox, false);
        self.flush();
        let mut touched: Vec<TopicPartition> = Vec::new();
        let changelog = self.core.changelog().expect("every task has a changelog").clone();
        let mut outputs = 0;
        for (partition, batch) in self.open.drain(..) {
            let first = !touched.contains(&partition);
            let before = log.records(&partition).len();
            log.append(&partition, &batch, i64::from(first));
            if partition != changelog {
                outputs += (log.records(&partition).len() - before) as u64;
            }
            touched.push(partition);
        }
        let commit =
            log.records(&changelog).last().and_then(|record| record.value.as_deref()).expect("a commit record");
        assert_eq!(
            CommitRecord::decode(commit).expect("a commit record").outputs,
            outputs,
            "records of this transaction"
        );
        for (input, offset) in self.core.inputs().iter().zip(offsets) {
            log.group.insert(input.clone(), offset);
        }
    }
}

/// A worker's doing, one step of a schedule.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    Process {
        task: usize,
        count: usize,
    },
    Fire {
        task: usize,
    },
    Flush {
        task: usize,
    },
    Commit {
        task: usize,
    },
    /// Everything since the last commit is lost; another instance takes over from the log.
    Crash {
        task: usize,
    },
}

/// Runs a schedule, then everything to the end; returns the log.
pub fn run(mut log: Log, shape: &shape::Shape, deployment: &Deployment, schedule: &[Step]) -> Log {
    let ids = deployment.tasks();
    let mut tasks: Vec<Running> = ids.iter().map(|id| Running::start(&log, deployment, *id)).collect();
    for step in schedule {
        match *step {
            Step::Process { task, count } => {
                tasks[task % ids.len()].process(&log, count);
            }
            Step::Fire { task } => tasks[task % ids.len()].fire(),
            Step::Flush { task } => tasks[task % ids.len()].flush(),
            Step::Commit { task } => tasks[task % ids.len()].commit(&mut log),
            Step::Crash { task } => {
                let task = task % ids.len();
                tasks[task] = Running::start(&log, deployment, ids[task]);
            }
        }
    }
    // Stage after stage, each once: its inputs are complete when the stage before has committed.
    for task in &mut tasks {
        while task.process(&log, usize::MAX) > 0 {}
        task.commit(&mut log);
    }
    audit::every_commit_describes_its_transaction(&log, shape, deployment);
    log
}
