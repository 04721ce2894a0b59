//! The pipelines' tasks, run by hand over swarm logs in memory, agree with the third computation: under any interleaving of
//! partitions, any batch boundaries and moments of commit, and with tasks that are killed and restored.

use std::collections::BTreeMap;

use bytes::BytesMut;
use engine::record::{BatchBuilder, Compression, ProducerStamp, Record, batches, patch};
use engine::schema::Schema;
use engine::stream::{Deployment, Outbox, TaskCore, TaskId};
use engine::types::{Millis, Offset, Timestamp, TopicPartition};
use proptest::prelude::*;
use sim::workload::{Draw, Expected, Knobs, LogRecord, Shape, SourceEvent, Workload};
use workloads::click::ClickVersion;
use workloads::pipelines::ClickPipeline;

/// Committed batches of every partition, with the offset after the last.
#[derive(Default)]
struct Memory(BTreeMap<TopicPartition, (Vec<BytesMut>, i64)>);

impl Memory {
    fn append(&mut self, to: &TopicPartition, batch: &mut BatchBuilder) {
        let count = batch.len() as i64;
        let mut bytes = BytesMut::from(batch.finish(ProducerStamp::NONE));
        let (batches, end) = self.0.entry(to.clone()).or_default();
        patch(&mut bytes, Offset(*end), 0);
        *end += count;
        batches.push(bytes);
    }

    /// Calls `take` with the records of `of` from offset `from` on, at most `most` of them.
    fn read(&self, of: &TopicPartition, from: Offset, most: usize, mut take: impl FnMut(&Record<'_>)) {
        let Some((stored, _)) = self.0.get(of) else { return };
        let mut left = most;
        let mut scratch = Vec::new();
        for bytes in stored {
            for batch in batches(bytes) {
                let batch = batch.expect("what was written can be read");
                if batch.header().next_offset() <= from {
                    continue;
                }
                for record in batch.records(&mut scratch).expect("a batch of ours") {
                    let record = record.expect("a record of ours");
                    if record.offset >= from && left > 0 {
                        left -= 1;
                        take(&record);
                    }
                }
            }
            if left == 0 {
                return;
            }
        }
    }
}

/// A task and the transaction that it has open.
struct Running {
    core: Box<dyn TaskCore>,
    next: Vec<Offset>,
    out: Outbox,
}

fn start(deployment: &Deployment, id: TaskId, memory: &Memory, group: &BTreeMap<TopicPartition, Offset>) -> Running {
    let mut core = deployment.task(id);
    if let Some(changelog) = core.changelog().cloned() {
        memory.read(&changelog, Offset::ZERO, usize::MAX, |record| core.restore(record).expect("a changelog of ours"));
    }
    let committed: Vec<Option<Offset>> = core.inputs().iter().map(|input| group.get(input).copied()).collect();
    let next = core.restored(&committed).expect("one cut");
    Running { core, next, out: Outbox::new(Compression::None) }
}

/// What a worker finds in the log of schemas.
fn teach(core: &mut dyn TaskCore, input: usize, record: &Record<'_>) {
    let mut ids = Vec::new();
    core.unknown_schemas(input, std::slice::from_ref(record), &mut ids);
    let versions = ClickVersion::ALL.map(|version| Schema::parse(version.schema()).expect("a valid schema"));
    versions.iter().filter(|schema| ids.contains(&schema.id())).for_each(|schema| core.learn(schema));
}

/// Runs all tasks over `memory` until every input has ended; the draws decide who reads how much, commits and dies.
fn run(deployment: &Deployment, memory: &mut Memory, draw: &mut Draw) {
    let ids = deployment.tasks();
    let mut group = BTreeMap::new();
    let mut tasks: Vec<Running> = ids.iter().map(|id| start(deployment, *id, memory, &group)).collect();
    for _ in 0..100_000 {
        let index = draw.below(tasks.len() as u64) as usize;
        let task = &mut tasks[index];
        match draw.weighted(&[12, 3, 1]) {
            0 => {
                let input = draw.below(task.core.inputs().len() as u64) as usize;
                let partition = task.core.inputs()[input].clone();
                let most = 1 + draw.below(30) as usize;
                memory.read(&partition, task.next[input], most, |record| {
                    teach(&mut *task.core, input, record);
                    task.core.process(input, &[*record], &mut task.out).expect("records of ours");
                    task.next[input] = record.offset.plus(1);
                    task.core.advance_to(input, task.next[input]);
                });
                task.core.fire(&mut task.out);
            }
            1 => {
                let offsets = task.core.prepare_commit(&mut task.out, false);
                task.out.drain(|to, batch| memory.append(to, batch));
                group.extend(task.core.inputs().iter().cloned().zip(offsets));
                if tasks.iter().all(|task| task.core.finished()) && ended(&tasks, memory, &group) {
                    return;
                }
            }
            _ => tasks[index] = start(deployment, ids[index], memory, &group),
        }
    }
    panic!("the tasks did not finish");
}

/// Everything that was written to an input was read and committed.
fn ended(tasks: &[Running], memory: &Memory, group: &BTreeMap<TopicPartition, Offset>) -> bool {
    let inputs = tasks.iter().flat_map(|task| task.core.inputs());
    inputs.into_iter().all(|input| {
        let end = memory.0.get(input).map_or(0, |(_, end)| *end);
        group.get(input).map_or(0, |offset| offset.0) == end
    })
}

/// What the output and late topics say.
fn outcome(workload: &dyn Workload, deployment: &Deployment, memory: &Memory) -> Expected {
    let mut outcome = Expected::default();
    for partition in memory.0.keys() {
        memory.read(partition, Offset::ZERO, usize::MAX, |record| {
            if *partition.topic == *deployment.out_topic() {
                let key = record.key.expect("an output has a key");
                match record.value {
                    Some(value) => {
                        let (key, row) = workload.row(key, value).expect("a pane of ours");
                        outcome.table.insert(key, row);
                    }
                    None => {
                        let key = workloads::expected::rows::row_key(key).expect("a key of ours");
                        outcome.table.remove(&key);
                    }
                }
            } else if *partition.topic == *deployment.late_topic() {
                let key = record.key.expect("a late record has a key");
                let source = i32::from_be_bytes(key[0..4].try_into().expect("4 bytes"));
                let offset = i64::from_be_bytes(key[4..12].try_into().expect("8 bytes"));
                let start = i64::from_be_bytes(key[12..20].try_into().expect("8 bytes"));
                *outcome.late.entry((source, offset, start)).or_default() += 1;
            }
        });
    }
    outcome
}

fn ingest(workload: &dyn Workload, events: &[SourceEvent], memory: &mut Memory, draw: &mut Draw) -> Vec<LogRecord> {
    let mut log = Vec::new();
    let mut open: BTreeMap<i32, (BatchBuilder, i64)> = BTreeMap::new();
    for event in events {
        let (batch, end) = open.entry(event.partition).or_insert_with(|| (BatchBuilder::new(Compression::None), 0));
        let headers: Vec<(&[u8], Option<&[u8]>)> =
            event.headers.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_slice()))).collect();
        batch.push(Timestamp(event.timestamp), event.key.as_deref(), event.value.as_deref(), &headers);
        let SourceEvent { partition, timestamp, key, value, headers, .. } = event.clone();
        log.push(LogRecord { partition, offset: *end, timestamp, key, value, headers });
        *end += 1;
        if draw.chance(1, 8) {
            memory.append(&TopicPartition::new(workload.source_topic(), partition), batch);
        }
    }
    for (partition, (mut batch, _)) in open {
        if !batch.is_empty() {
            memory.append(&TopicPartition::new(workload.source_topic(), partition), &mut batch);
        }
    }
    log.sort_by_key(|record| (record.partition, record.offset));
    log
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn the_final_table_and_the_late_set_are_the_expected_ones(
        seed: u64,
        pipeline in 0..ClickPipeline::ALL.len(),
        partitions in 1..5i32,
        keyed_by_record: bool,
        repartitions in 1..4i32,
        bound in prop_oneof![Just(0i64), 1..40_000i64],
        lateness in prop_oneof![Just(0i64), 1..120_000i64],
    ) {
        let workload = ClickPipeline::ALL[pipeline];
        let (bound, allowed_lateness) = (Millis(bound), Millis(lateness));
        let shape = Shape { partitions, keyed_by_record, repartitions, bound, allowed_lateness };
        let mut draw = Draw::new(seed, "knobs");
        let knobs = Knobs::draw(&mut draw, 10_000);
        let events = workload.generate(&knobs, &shape, &mut draw);
        let mut memory = Memory::default();
        let log = ingest(&workload, &events, &mut memory, &mut draw);
        let expected = workload.expected(&shape, &log);
        for version in 1..=2 {
            let pipeline = workload.pipeline(&shape).expect("a valid shape");
            let deployment = Deployment::new(pipeline.into(), version);
            run(&deployment, &mut memory, &mut draw);
            let outcome = outcome(&workload, &deployment, &memory);
            prop_assert_eq!(&outcome.table, &expected.table);
            prop_assert_eq!(&outcome.late, &expected.late);
        }
    }
}
