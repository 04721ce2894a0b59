//! The worker against a broker in memory: what comes out is the same, whatever is lost on the way, however often a task
//! starts again, and whoever else holds it.

#![expect(clippy::disallowed_methods, reason = "a test runs on a runtime of its own")]

mod model;
#[expect(dead_code, reason = "each test file uses its part of the support")]
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::broker::{Broker, BrokerConfig};
use engine::client::{
    Client, ClientConfig, Consumer, Isolation, OffsetSpec, Producer, SocketConfig, SocketTransport, Taken, Witness,
};
use engine::env::real::{EnvOptions, env};
use engine::env::{Env, Point};
use engine::record::{BatchBuilder, Compression, Record};
use engine::schema::decode::{Decoders, Slot};
use engine::schema::{Schema, SchemaRegistry, frame};
use engine::stream::aggregates::Count;
use engine::stream::worker::{
    Stop, TaskError, TaskSummary, Until, WorkerSettings, WorkerSummary, prepare, run_task, run_worker,
};
use engine::stream::{CodecError, DecodeError, Deployment, PayloadCodec, Pipeline, Source, TaskFault, TaskId, Window};
use engine::types::{Millis, Offset, Partition, Timestamp, TopicPartition};
use engine::wire::Transport;
use kafka_protocol::messages::{FetchRequest, RequestKind};
use model::{Fate, Model};
use proptest::prelude::*;
use support::TestDisk;
use tokio::task::AbortHandle;

const PARTITIONS: i32 = 2;

/// Records per key and ten seconds; the key is the record's, or its first letter after a repartition.
fn pipeline(rekeyed: bool) -> Arc<Pipeline> {
    let write = |_: &[u8], _: Window, count: &u64, out: &mut Vec<u8>| out.extend_from_slice(&count.to_be_bytes());
    let source = Source { topic: "events".into(), partitions: PARTITIONS, bound: Millis(2_000) };
    let pipeline = match rekeyed {
        false => Pipeline::named("counts")
            .source(source, |_| Ok(()))
            .key_by_record()
            .tumbling(Millis(10_000), Millis(0))
            .aggregate("tens", Count::of())
            .output(write),
        true => Pipeline::named("counts")
            .source(source, |record| Ok(record.key.unwrap_or_default().first().copied().unwrap_or(0)))
            .key_by("by-letter", 3, |letter: &u8, key: &mut Vec<u8>| key.push(*letter), Letter)
            .tumbling(Millis(10_000), Millis(0))
            .aggregate("tens", Count::of())
            .output(write),
    };
    Arc::new(pipeline.expect("a right pipeline"))
}

struct Letter;

impl PayloadCodec<u8> for Letter {
    fn encode(&self, letter: &u8, out: &mut Vec<u8>) {
        out.push(*letter);
    }
    fn decode(&self, bytes: &[u8]) -> Result<u8, CodecError> {
        Ok(bytes[0])
    }
}

fn quick() -> ClientConfig {
    ClientConfig {
        request_timeout: Duration::from_millis(500),
        retry_backoff: Duration::from_millis(5),
        retry_backoff_max: Duration::from_millis(50),
        retry_for: Duration::from_secs(5),
    }
}

fn settings() -> WorkerSettings {
    WorkerSettings {
        commit_interval: Duration::from_millis(20),
        fetch_bytes: 400,
        fetch_wait: Duration::from_millis(20),
        flush_bytes: 300,
        ..WorkerSettings::default()
    }
}

struct Bench {
    env: Env,
    model: Arc<Model>,
    client: Client,
    deployment: Deployment,
}

impl Bench {
    async fn new(rekeyed: bool) -> Bench {
        Bench::with(rekeyed, quick()).await
    }

    async fn with(rekeyed: bool, config: ClientConfig) -> Bench {
        let model = Model::new();
        Bench::over(Arc::clone(&model) as Arc<dyn Transport>, model, rekeyed, config).await
    }

    async fn over(transport: Arc<dyn Transport>, model: Arc<Model>, rekeyed: bool, config: ClientConfig) -> Bench {
        Bench::for_pipeline(transport, model, pipeline(rekeyed), config).await
    }

    async fn for_pipeline(
        transport: Arc<dyn Transport>,
        model: Arc<Model>,
        pipeline: Arc<Pipeline>,
        config: ClientConfig,
    ) -> Bench {
        let env = env(EnvOptions { log: false, ..EnvOptions::default() });
        let client = Client::new(env.clone(), transport, config);
        let deployment = Deployment::new(pipeline, 1);
        prepare(&client, &deployment).await.expect("prepare");
        Bench { env, model, client, deployment }
    }

    /// `count` events over both partitions and a few keys, some late; then, if asked, the end markers.
    async fn write(&self, from: i64, count: i64, end: bool) {
        let producer = Producer::init(&self.client).await.expect("init");
        for partition in 0..PARTITIONS {
            let name = TopicPartition::new("events", partition);
            let mut batch = BatchBuilder::new(Compression::None);
            for index in (from..from + count).filter(|index| partition_of(*index) == partition) {
                let late = if index % 17 == 5 { 15_000 } else { 0 };
                let key = format!("{}-{}", ["a", "b", "c"][(index % 3) as usize], index % 5);
                batch.push(Timestamp(100_000 + index * 300 - late), Some(key.as_bytes()), Some(b"v"), &[]);
                if batch.len() == 7 {
                    producer.send(&name, &mut batch).await.expect("send");
                }
            }
            if !batch.is_empty() {
                producer.send(&name, &mut batch).await.expect("send");
            }
            if end {
                let marker = i64::MAX.to_be_bytes();
                batch.push(Timestamp(0), None, None, &[(b"segno.watermark", Some(&marker))]);
                producer.send(&name, &mut batch).await.expect("send");
            }
        }
    }

    async fn run(&self, until: Until) -> WorkerSummary {
        let tasks = self.deployment.tasks();
        let stop = Stop::never();
        run_worker(&self.env, &self.client, &self.deployment, &tasks, &settings(), until, stop).await.expect("runs")
    }

    /// The final table: the last committed value per key.
    async fn table(&self) -> BTreeMap<Vec<u8>, u64> {
        let mut table = BTreeMap::new();
        for (key, value) in self.committed(&self.deployment.out_topic()).await {
            match value {
                Some(value) => table.insert(key, u64::from_be_bytes(value.try_into().expect("8 bytes"))),
                None => table.remove(&key),
            };
        }
        table
    }

    async fn committed(&self, topic: &str) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let partitions = self.client.partitions(topic).await.expect("metadata").expect("a topic");
        let mut consumer = Consumer::new(&self.client, Isolation::ReadCommitted);
        let mut ends = BTreeMap::new();
        for partition in (0..partitions).map(|partition| TopicPartition::new(topic, partition)) {
            let end = self.client.stable_end(&partition).await.expect("end");
            ends.insert(partition, end);
        }
        consumer.assign(ends.keys().map(|partition| (partition.clone(), Offset::ZERO)));
        let mut records = Vec::new();
        let mut scratch = Vec::new();
        while ends.iter().any(|(partition, end)| consumer.position(partition) < Some(*end)) {
            for polled in consumer.poll(Duration::ZERO).await.expect("poll") {
                let keep = |record: &Record<'_>| {
                    records.push((record.key.expect("a key").to_vec(), record.value.map(<[u8]>::to_vec)));
                    Ok::<(), engine::client::ClientError>(())
                };
                polled.for_each(&mut scratch, keep).expect("records");
            }
        }
        records
    }
}

/// Of the event; all events of a key are in one.
fn partition_of(index: i64) -> i32 {
    (index % 5) as i32 % PARTITIONS
}

/// The rows that differ: left, right.
fn differences(
    left: &BTreeMap<Vec<u8>, u64>,
    right: &BTreeMap<Vec<u8>, u64>,
) -> Vec<(String, Option<u64>, Option<u64>)> {
    let mut keys: Vec<_> = left.keys().chain(right.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let row = |key: &Vec<u8>| (key.escape_ascii().to_string(), left.get(key).copied(), right.get(key).copied());
    keys.into_iter().map(row).filter(|(_, left, right)| left != right).take(5).collect()
}

fn assert_same(left: &BTreeMap<Vec<u8>, u64>, right: &BTreeMap<Vec<u8>, u64>) {
    assert_eq!(differences(left, right), [], "(row, found, expected)");
}

/// What must come out, computed from what went in.
fn expected(from: i64, count: i64, rekeyed: bool) -> (BTreeMap<Vec<u8>, u64>, u64) {
    let mut table: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    let mut highest = [i64::MIN; PARTITIONS as usize];
    let mut late_count = 0;
    for index in from..from + count {
        let partition = partition_of(index) as usize;
        let late = if index % 17 == 5 { 15_000 } else { 0 };
        let time = 100_000 + index * 300 - late;
        let own = highest[partition].saturating_sub(2_000);
        highest[partition] = highest[partition].max(time);
        let start = time - time % 10_000;
        if own >= start + 10_000 {
            late_count += 1;
            continue;
        }
        let letter = ["a", "b", "c"][(index % 3) as usize];
        let mut key = if rekeyed { letter.to_owned() } else { format!("{letter}-{}", index % 5) }.into_bytes();
        key.extend_from_slice(&start.to_be_bytes());
        *table.entry(key).or_default() += 1;
    }
    (table, late_count)
}

#[tokio::test(start_paused = true)]
async fn what_went_in_comes_out_once() {
    for rekeyed in [false, true] {
        let bench = Bench::new(rekeyed).await;
        bench.write(0, 200, true).await;
        let summary = bench.run(Until::EndOfInput).await;
        let (table, late) = expected(0, 200, rekeyed);
        assert!(table.len() > 10 && late > 5, "{} rows, {late} late", table.len());
        assert_same(&bench.table().await, &table);
        let late_entries = bench.committed(&bench.deployment.late_topic()).await;
        assert_eq!(late_entries.len() as u64, late);
        assert_eq!(summary.tasks.values().map(|task| task.late).sum::<u64>(), late);
        assert!(summary.commits() >= 2, "{}", summary.commits());
        assert_eq!(summary.restarts(), 0);
        assert!(!bench.model.has_open_transactions());
        // Everything is committed: a second run has nothing to do.
        let again = bench.run(Until::EndOfInput).await;
        assert_eq!((again.commits(), again.records()), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stopped_worker_commits_and_the_next_goes_on() {
    let bench = Bench::new(false).await;
    bench.write(0, 120, false).await;
    let (stopper, stop) = Stop::new();
    let running = {
        let (env, client, deployment) = (bench.env.clone(), bench.client.clone(), bench.deployment.clone());
        tokio::spawn(async move {
            let tasks = deployment.tasks();
            run_worker(&env, &client, &deployment, &tasks, &settings(), Until::Stopped, stop).await
        })
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    stopper.stop();
    let first = running.await.expect("no panic").expect("ends well");
    assert_eq!(first.records(), 120);
    bench.write(120, 80, true).await;
    let second = bench.run(Until::EndOfInput).await;
    assert_eq!(second.records(), 80 + PARTITIONS as u64, "and the markers");
    assert_same(&bench.table().await, &expected(0, 200, false).0);
}

/// Writes down what it is told.
#[derive(Default)]
struct Notes(Mutex<Told>);

#[derive(Default)]
struct Told {
    asked: u64,
    begun: Vec<(TopicPartition, Offset)>,
    taking: Vec<Offset>,
    taken: Vec<(TopicPartition, Offset, Offset)>,
    /// Of the inputs.
    offsets: Vec<Offset>,
}

impl Witness for Notes {
    fn begins(&self, partitions: &[TopicPartition], positions: &[Offset]) {
        let begun = partitions.iter().cloned().zip(positions.iter().copied());
        self.0.lock().expect("notes").begun.extend(begun);
    }

    fn asks(&self) -> u64 {
        let mut told = self.0.lock().expect("notes");
        told.asked += 1;
        told.asked
    }

    fn takes(&self, records: &[Record<'_>]) {
        self.0.lock().expect("notes").taking.extend(records.iter().map(|record| record.offset));
    }

    fn took(&self, taken: &Taken<'_>) {
        let mut guard = self.0.lock().expect("notes");
        let told = &mut *guard;
        assert!((1..=told.asked).contains(&taken.asked), "{} of {}", taken.asked, told.asked);
        assert!(taken.next <= taken.fetched.last_stable, "{taken:?}");
        assert!(told.taking.iter().all(|offset| (taken.from..taken.next).contains(offset)), "{:?}", told.taking);
        told.taken.push((taken.partition.clone(), taken.from, taken.next));
        let offsets = std::mem::take(&mut told.taking);
        if &*taken.partition.topic == "events" {
            told.offsets.extend(offsets);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_witness_is_told_what_a_task_takes_and_a_restart_goes_on_from_its_commit() {
    let bench = Bench::new(false).await;
    bench.write(0, 120, false).await;
    let task = TaskId { stage: 0, partition: Partition(0) };
    let input = TopicPartition::new("events", 0);
    let changelog = bench.deployment.task(task).changelog().cloned().expect("it has a state");
    let half = bench.client.stable_end(&input).await.expect("end");
    let notes = Arc::new(Notes::default());
    let client = bench.client.witnessed(notes.clone());
    let settings = WorkerSettings { fetch_bytes: 300, ..settings() };
    let run = |until| run_task(&bench.env, &client, &bench.deployment, task, &settings, until, Stop::never());
    run(Until::Reached([(input.clone(), half)].into())).await.expect("ends well");
    let snapshot = bench.client.stable_end(&changelog).await.expect("end");
    bench.write(120, 80, true).await;
    run(Until::EndOfInput).await.expect("ends well");
    let end = bench.client.stable_end(&input).await.expect("end");
    let told = notes.0.lock().expect("notes");
    let zero = Offset::ZERO;
    let begun = [(&changelog, zero), (&input, zero), (&changelog, zero), (&input, half)];
    assert_eq!(told.begun.iter().map(|(partition, offset)| (partition, *offset)).collect::<Vec<_>>(), begun);
    assert_eq!(told.offsets, (0..end.0).map(Offset).collect::<Vec<_>>(), "every record, once");
    for (partition, end) in [(&input, end), (&changelog, snapshot)] {
        let mut next = zero;
        for (_, from, to) in told.taken.iter().filter(|(of, ..)| of == partition) {
            assert_eq!(*from, next, "{partition}");
            next = *to;
        }
        assert_eq!(next, end, "{partition}");
    }
    assert!(told.taken.len() > 4, "{:?}", told.taken);
}

#[tokio::test(start_paused = true)]
async fn a_task_ends_where_it_was_told_to() {
    let bench = Bench::new(false).await;
    bench.write(0, 100, false).await;
    let input = TopicPartition::new("events", 0);
    let end = bench.client.stable_end(&input).await.expect("end");
    bench.write(100, 20, false).await;
    let task = TaskId { stage: 0, partition: Partition(0) };
    let until = Until::Reached([(input.clone(), end)].into());
    let summary = run_task(&bench.env, &bench.client, &bench.deployment, task, &settings(), until, Stop::never()).await;
    let TaskSummary { positions, commits, .. } = summary.expect("ends well");
    assert!(commits > 0);
    assert_eq!(positions.len(), 1);
    assert!(positions[0].1 >= end, "{positions:?}");
    let group = bench.deployment.group();
    let committed = bench.client.committed_offsets(&group, &[input], true).await.expect("offsets");
    assert_eq!(committed, [Some(positions[0].1)]);
}

#[tokio::test(start_paused = true)]
async fn a_task_goes_on_while_its_commit_is_written_until_too_much_gathers() {
    // (flush_bytes, whether the rest of the input is processed although the first commit never ends)
    for (flush_bytes, goes_on) in [(1 << 20, true), (1, false)] {
        let bench = Bench::new(true).await;
        let moments = TestDisk::default();
        moments.hold_at(Point::TaskOffsetsSent);
        bench.write(0, 40, false).await;
        let task = TaskId { stage: 0, partition: Partition(0) };
        let running = {
            let (env, client, deployment) = (moments.env(), bench.client.clone(), bench.deployment.clone());
            let settings = WorkerSettings { flush_bytes, ..settings() };
            tokio::spawn(async move {
                run_task(&env, &client, &deployment, task, &settings, Until::Stopped, Stop::never()).await
            })
        };
        tokio::time::sleep(Duration::from_millis(500)).await;
        let before = moments.passed(Point::TaskProcessed);
        bench.write(40, 200, false).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let rounds = moments.passed(Point::TaskProcessed) - before;
        assert_eq!(moments.passed(Point::TaskOffsetsSent), 1, "one commit at a time");
        assert_eq!(rounds > 5, goes_on, "{rounds} rounds while a commit is under way, flush_bytes {flush_bytes}");
        running.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_restore_reads_is_bounded_however_long_the_history() {
    const EVERY: u32 = 4;
    const ROUND: i64 = 20;
    const ROUNDS: i64 = 150;
    let bench = Bench::new(false).await;
    let task = TaskId { stage: 0, partition: Partition(0) };
    let changelog = bench.deployment.task(task).changelog().expect("it keeps state").clone();
    let (mut most, mut instances) = (0, 0);
    for round in 0..ROUNDS {
        bench.write(round * ROUND, ROUND, false).await;
        let input = TopicPartition::new("events", 0);
        let end = bench.client.stable_end(&input).await.expect("end");
        let settings = WorkerSettings { snapshot_every: EVERY, ..settings() };
        let (env, client, deployment) = (bench.env.clone(), bench.client.clone(), bench.deployment.clone());
        let until = Until::Reached([(input, end)].into());
        let running =
            tokio::spawn(
                async move { run_task(&env, &client, &deployment, task, &settings, until, Stop::never()).await },
            );
        if round % 3 == 1 {
            // Killed somewhere in its life: while it restores, processes, commits or trims.
            tokio::time::sleep(Duration::from_millis(round as u64 % 13)).await;
            running.abort();
        } else {
            let summary = running.await.expect("no panic").expect("ends well");
            most = most.max(summary.restored);
            instances += 1;
        }
    }
    let start = bench.client.log_start(&changelog).await.expect("start");
    let end = bench.client.stable_end(&changelog).await.expect("end");
    // A round touches a few keys per window; a snapshot holds those of the windows that are open, and then come at most so
    // many commits.
    let bound = u64::from(2 * EVERY) * 2 * ROUND as u64;
    assert!(instances == 2 * ROUNDS / 3 && end.0 as u64 > 3 * bound, "{instances} instances, {end} records in all");
    assert!(most <= bound && start > Offset::ZERO, "{most} of {end} records were read, starting at {start}");
    bench.write(ROUNDS * ROUND, 0, true).await;
    bench.run(Until::EndOfInput).await;
    assert_same(&bench.table().await, &expected(0, ROUNDS * ROUND, false).0);
}

#[tokio::test(start_paused = true)]
async fn a_changelog_that_begins_with_half_a_state_is_refused() {
    let bench = Bench::new(false).await;
    bench.write(0, 100, false).await;
    let task = TaskId { stage: 0, partition: Partition(0) };
    let changelog = bench.deployment.task(task).changelog().expect("it keeps state").clone();
    let input = TopicPartition::new("events", 0);
    let end = bench.client.stable_end(&input).await.expect("end");
    let until = Until::Reached([(input, end)].into());
    let settings = settings();
    let run = |until| run_task(&bench.env, &bench.client, &bench.deployment, task, &settings, until, Stop::never());
    run(until.clone()).await.expect("ends well");
    let start = bench.client.delete_records(&changelog, Offset(1)).await.expect("deleted");
    let error = run(until).await.expect_err("half a state");
    let fault = TaskFault::NoSnapshot { changelog, start };
    assert_eq!(error, TaskError::Fault { task, fault });
}

#[tokio::test(start_paused = true)]
async fn nothing_new_is_no_commit() {
    let bench = Bench::new(false).await;
    bench.write(0, 10, false).await;
    let (stopper, stop) = Stop::new();
    let (_, summary) = tokio::join!(
        async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            stopper.stop();
        },
        async {
            let tasks = bench.deployment.tasks();
            run_worker(&bench.env, &bench.client, &bench.deployment, &tasks, &settings(), Until::Stopped, stop)
                .await
                .expect("ends well")
        }
    );
    assert!((2..=6).contains(&summary.commits()), "150 commit intervals, {} commits", summary.commits());
}

#[tokio::test(start_paused = true)]
async fn a_commit_gap_is_as_long_as_what_the_log_held_went_uncommitted_and_a_silence_is_none() {
    // Fetches of the source that are lost are tried again after 5 to 50 ms, by a draw: forty of them keep two tasks waiting.
    for (lost, pause, least, most) in [(0..0, 0, 0, 40), (0..0, 3_000, 0, 40), (5..45, 0, 400, 1_200)] {
        let bench = Bench::new(false).await;
        let (mut fetches, losing) = (0, lost.clone());
        bench.model.set_fate(move |request| {
            let of_source = |fetch: &FetchRequest| fetch.topics.iter().any(|topic| topic.topic.as_str() == "events");
            fetches += u32::from(matches!(request, RequestKind::Fetch(fetch) if of_source(fetch)));
            if losing.contains(&fetches) { Fate::LoseRequest } else { Fate::Deliver }
        });
        bench.write(0, 200, false).await;
        let rest = async {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            bench.write(200, 20, true).await;
        };
        let (summary, ()) = tokio::join!(bench.run(Until::EndOfInput), rest);
        let gap = summary.tasks.values().map(|task| task.longest_commit_gap).max().expect("tasks");
        assert_eq!(summary.restarts(), 0);
        assert!((least..=most).contains(&gap.as_millis()), "{gap:?}, fetches {lost:?} lost, {pause} ms of silence");
    }
}

#[tokio::test(start_paused = true)]
async fn the_older_of_two_instances_is_fenced_and_its_work_is_not_seen_twice() {
    let bench = Bench::new(false).await;
    bench.write(0, 100, false).await;
    let task = TaskId { stage: 0, partition: Partition(0) };
    let older = {
        let (env, client, deployment) = (bench.env.clone(), bench.client.clone(), bench.deployment.clone());
        tokio::spawn(async move {
            run_task(&env, &client, &deployment, task, &settings(), Until::EndOfInput, Stop::never()).await
        })
    };
    tokio::time::sleep(Duration::from_millis(30)).await;
    let newer = {
        let (env, client, deployment) = (bench.env.clone(), bench.client.clone(), bench.deployment.clone());
        tokio::spawn(async move {
            let tasks = deployment.tasks();
            run_worker(&env, &client, &deployment, &tasks, &settings(), Until::EndOfInput, Stop::never()).await
        })
    };
    tokio::time::sleep(Duration::from_millis(30)).await;
    bench.write(100, 100, true).await;
    let error = older.await.expect("no panic").expect_err("fenced");
    assert!(matches!(error, TaskError::Fenced { task: fenced, .. } if fenced == task), "{error}");
    newer.await.expect("no panic").expect("ends well");
    assert_same(&bench.table().await, &expected(0, 200, false).0);
}

#[tokio::test(start_paused = true)]
async fn a_missing_range_ends_the_worker_and_is_named() {
    let bench = Bench::new(false).await;
    bench.write(0, 100, true).await;
    bench.model.delete_below("events", 1, 7);
    let tasks = bench.deployment.tasks();
    let outcome =
        run_worker(&bench.env, &bench.client, &bench.deployment, &tasks, &settings(), Until::EndOfInput, Stop::never())
            .await;
    let failure = outcome.expect_err("a gap");
    let (needed, start) = (Offset(0), Offset(7));
    let gap = TaskError::MissingRange { topic: "events".to_owned(), partition: Partition(1), needed, start };
    assert_eq!(failure.error, gap);
    assert!(!bench.model.has_open_transactions(), "what could not go on was aborted");
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_grew_ends_the_worker() {
    let bench = Bench::new(false).await;
    bench.write(0, 10, false).await;
    let tasks = bench.deployment.tasks();
    let grow = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        bench.model.add_partitions("events", PARTITIONS + 1);
        bench.write(10, 50, false).await;
    };
    let settings = settings();
    let run =
        run_worker(&bench.env, &bench.client, &bench.deployment, &tasks, &settings, Until::EndOfInput, Stop::never());
    let ((), outcome) = tokio::join!(grow, run);
    let failure = outcome.expect_err("grown");
    let (expected, found) = (PARTITIONS, PARTITIONS + 1);
    assert_eq!(failure.error, TaskError::PartitionsChanged { topic: "events".to_owned(), expected, found });
}

/// Gives up so soon that losses end instances.
/// A writer's schema of one field, `n`.
fn schema_of(fields: &str) -> Schema {
    Schema::parse(&format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)).expect("a schema")
}

#[tokio::test(start_paused = true)]
async fn a_schema_that_is_registered_while_a_task_runs_is_learnt_and_a_value_without_one_is_rejected() {
    let current = schema_of(r#"{"name":"n","type":"long"}"#);
    let old = schema_of(r#"{"name":"n","type":"int"},{"name":"dropped","type":"string"}"#);
    let useless = schema_of(r#"{"name":"n","type":"string"}"#);
    let unregistered = schema_of(r#"{"name":"n","type":"int"}"#);
    let decoders = Decoders::new(&current, &current).expect("a schema reads itself");
    let source = Source { topic: "events".into(), partitions: 1, bound: Millis(2_000) };
    let pipeline = Pipeline::named("sevens")
        .avro(source, decoders, |_, [n]: &[Slot<'_>; 1]| match n {
            Slot::Long(n) => Ok(*n),
            other => Err(DecodeError(format!("{other:?}"))),
        })
        .filter(|n| *n == 7)
        .key_by_record()
        .tumbling(Millis(10_000), Millis(0))
        .aggregate("tens", Count::of())
        .output(|_: &[u8], _: Window, count: &u64, out: &mut Vec<u8>| out.extend_from_slice(&count.to_be_bytes()));
    let model = Model::new();
    let bench = Bench::for_pipeline(model.clone(), model, Arc::new(pipeline.expect("a right pipeline")), quick()).await;
    let producer = Producer::init(&bench.client).await.expect("init");
    let events = TopicPartition::new("events", 0);
    let send = async |writer: &Schema, datum: &[u8]| {
        let mut value = Vec::new();
        frame(writer.id(), &mut value);
        value.extend_from_slice(datum);
        let mut batch = BatchBuilder::new(Compression::None);
        batch.push(Timestamp(100_000), Some(b"a"), Some(&value), &[]);
        producer.send(&events, &mut batch).await.expect("send");
    };
    let running = {
        let (env, client, deployment) = (bench.env.clone(), bench.client.clone(), bench.deployment.clone());
        tokio::spawn(async move {
            let (tasks, until) = (deployment.tasks(), Until::EndOfInput);
            run_worker(&env, &client, &deployment, &tasks, &settings(), until, Stop::never()).await
        })
    };
    send(&current, &[14]).await;
    send(&unregistered, &[14]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut registry = SchemaRegistry::open(&bench.client).await.expect("schemas");
    registry.register(&old).await.expect("registers");
    registry.register(&useless).await.expect("registers");
    for _ in 0..2 {
        send(&old, &[14, 2, b'x']).await;
        send(&unregistered, &[14]).await;
        send(&useless, &[2, b'7']).await;
        send(&current, &[12]).await;
    }
    let mut end = BatchBuilder::new(Compression::None);
    end.push(Timestamp(0), None, None, &[(b"segno.watermark", Some(&i64::MAX.to_be_bytes()))]);
    producer.send(&events, &mut end).await.expect("send");
    let summary = running.await.expect("no panic").expect("ends well");
    assert_eq!(bench.table().await.into_values().collect::<Vec<_>>(), [3], "one of today's and two of the old");
    let stats: Vec<_> = summary.tasks.values().map(|task| (task.stats.rejected, task.stats.filtered)).collect();
    assert_eq!(stats, [(5, 2)], "three without a schema, two that cannot be read; two that are no seven");
    assert_eq!(bench.committed(&bench.deployment.rejected_topic()).await.len(), 5);
    assert_eq!(summary.restarts(), 0);
}

fn impatient() -> ClientConfig {
    ClientConfig { retry_for: Duration::from_millis(12), ..quick() }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_gave_up_starts_again_from_the_log() {
    for rekeyed in [false, true] {
        let bench = Bench::with(rekeyed, impatient()).await;
        bench.write(0, 200, true).await;
        let mut ends = 0;
        let mut losing = 0;
        bench.model.set_fate(move |request| {
            // Every second commit takes effect untold, and the network is gone for a while.
            ends += u64::from(matches!(request, RequestKind::EndTxn(_)));
            if matches!(request, RequestKind::EndTxn(_)) && ends % 2 == 0 {
                losing = 6;
                return Fate::LoseReply;
            }
            losing -= i32::from(losing > 0);
            if losing > 0 { Fate::LoseRequest } else { Fate::Deliver }
        });
        let summary = bench.run(Until::EndOfInput).await;
        bench.model.set_fate(|_| Fate::Deliver);
        assert!(summary.restarts() >= 3, "{} restarts", summary.restarts());
        assert_same(&bench.table().await, &expected(0, 200, rekeyed).0);
        assert!(!bench.model.has_open_transactions());
    }
}

/// The n-th request meets the n-th fate, from the moment that the worker starts.
fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        8 => Just(Fate::Deliver),
        1 => Just(Fate::LoseRequest),
        2 => Just(Fate::LoseReply),
        1 => Just(Fate::Twice),
    ];
    proptest::collection::vec(fate, 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn losses_and_repetitions_change_nothing(fates in fates(), rekeyed: bool, patient: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let bench = Bench::with(rekeyed, if patient { quick() } else { impatient() }).await;
            bench.write(0, 150, true).await;
            let mut fates = fates.into_iter();
            bench.model.set_fate(move |request| match fates.next() {
                // A repeated InitProducerId is a second instance: it fences the first, as it must.
                Some(Fate::Twice) if matches!(request, RequestKind::InitProducerId(_)) => Fate::Deliver,
                Some(fate) => fate,
                None => Fate::Deliver,
            });
            bench.run(Until::EndOfInput).await;
            bench.model.set_fate(|_| Fate::Deliver);
            assert_same(&bench.table().await, &expected(0, 150, rekeyed).0);
            assert!(!bench.model.has_open_transactions());
        });
    }
}

/// A broker on a real disk and a real socket, and the way to it: through the socket, or beside it.
async fn real_broker(dir: &Path, remote: bool) -> (Broker, AbortHandle, Arc<dyn Transport>) {
    let env = env(EnvOptions { log: false, ..EnvOptions::default() });
    let broker = Broker::start(env.clone(), BrokerConfig::new(dir)).await.expect("starts");
    let bound = broker.bind("127.0.0.1:0").await.expect("binds");
    let address = bound.address();
    let serving = tokio::spawn(bound.serve()).abort_handle();
    let transport: Arc<dyn Transport> = match remote {
        true => Arc::new(SocketTransport::new(env, address, SocketConfig::default())),
        false => broker.local(),
    };
    (broker, serving, transport)
}

/// Beside the broker and far from it, on a real disk, with kills of the worker in between.
#[test]
fn a_real_broker_changes_nothing() {
    for remote in [false, true] {
        let dir = tempfile::tempdir().expect("a directory");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (broker, serving, transport) = real_broker(dir.path(), remote).await;
            let bench = Bench::over(transport, Model::new(), true, quick()).await;
            bench.write(0, 400, true).await;
            let mut killed = 0;
            for ms in [3, 8, 15, 25] {
                let life = tokio::time::timeout(Duration::from_millis(ms), bench.run(Until::EndOfInput)).await;
                killed += i32::from(life.is_err());
            }
            assert!(killed > 0, "a worker that is done after 3 ms needs more to do");
            bench.run(Until::EndOfInput).await;
            assert_same(&bench.table().await, &expected(0, 400, true).0);
            serving.abort();
            broker.stop().await;
        });
    }
}

#[test]
fn a_version_that_starts_at_a_time_says_what_the_first_says_from_then_on() {
    for (remote, rekeyed) in [(false, true), (true, false)] {
        let dir = tempfile::tempdir().expect("a directory");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (broker, serving, transport) = real_broker(dir.path(), remote).await;
            let mut bench = Bench::over(transport, Model::new(), rekeyed, quick()).await;
            bench.write(0, 400, true).await;
            let pipeline = bench.deployment.pipeline.clone();
            let time = 150_000;
            let begins: Vec<Offset> = {
                let mut begins = Vec::new();
                for partition in 0..PARTITIONS {
                    let input = TopicPartition::new("events", partition);
                    let first =
                        bench.client.list_offset(&input, OffsetSpec::At(Timestamp(time))).await.expect("answers");
                    begins.push(first.expect("a record that late"));
                }
                begins
            };
            let mut wanted = expected(0, 400, rekeyed).0;
            wanted.retain(|key, _| i64::from_be_bytes(*key.last_chunk().expect("a start")) >= time);
            let at = |version: u32, time: i64| {
                Deployment::new(pipeline.clone(), version).starting_at(Timestamp(time)).expect("one windowed stage")
            };
            // With everything there, and with nothing that is not needed.
            for version in [2, 3] {
                bench.deployment = at(version, time);
                prepare(&bench.client, &bench.deployment).await.expect("prepares");
                let summary = bench.run(Until::EndOfInput).await;
                let read: u64 = (0..PARTITIONS)
                    .map(|partition| summary.tasks[&TaskId { stage: 0, partition: Partition(partition) }].records)
                    .sum();
                let skipped: i64 = begins.iter().map(|first| first.0).sum();
                assert_eq!(read as i64, 400 + i64::from(PARTITIONS) - skipped, "records read");
                assert_same(&bench.table().await, &wanted);
                for (partition, first) in begins.iter().enumerate() {
                    let input = TopicPartition::new("events", partition as i32);
                    bench.client.delete_records(&input, *first).await.expect("deletes");
                }
            }
            let refused = async |deployment: Deployment| {
                prepare(&bench.client, &deployment).await.expect("prepares");
                let (tasks, stop) = (deployment.tasks(), Stop::never());
                let until = Until::EndOfInput;
                run_worker(&bench.env, &bench.client, &deployment, &tasks, &settings(), until, stop)
                    .await
                    .expect_err("refuses")
                    .error
                    .to_string()
            };
            let said = refused(at(4, time - 10_000)).await;
            assert!(said.contains("needs every record from 140000 on"), "{said}");
            let said = refused(at(3, time + 10_000)).await;
            assert!(said.contains("this version was started at time 150000, and is to go on"), "{said}");
            let said = refused(Deployment::new(pipeline.clone(), 3)).await;
            assert!(said.contains("as if it had been started at offset 0"), "{said}");
            serving.abort();
            broker.stop().await;
        });
    }
}
