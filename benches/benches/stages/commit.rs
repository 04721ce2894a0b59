//! What a commit costs: a transaction with panes, a changelog and offsets through the broker in this process, until its
//! markers are synced.
//!
//! `memory` is a directory in `/dev/shm` (what broker, client and log cost by themselves), `disk` one in the temporary
//! directory (with what a sync costs there).
//!
//! | bench | the transaction |
//! |---|---|
//! | `commit/1-record` | one pane: what every commit costs, however little it says; per commit |
//! | `commit/100k-records` | 100 000 panes in batches of 4 MiB: what a pane's way through the broker costs; per pane |
//!
//! A replay at 6 M events/s commits every 450 ms, so a commit of one of two tasks is spread over 1.4 M events.

use std::path::{Path, PathBuf};
use std::time::Duration;

use benches::stages::NOON;
use criterion::{BenchmarkId, Criterion, Throughput};
use engine::broker::{Broker, BrokerConfig};
use engine::client::{Client, ClientConfig, TransactionalProducer};
use engine::env::real::{EnvOptions, env};
use engine::record::{BatchBuilder, Compression};
use engine::types::{Offset, Timestamp, TopicPartition};

const BATCH_BYTES: usize = 4 << 20;
/// The directory is made anew after so many bytes.
const DIRECTORY_BYTES: usize = 512 << 20;

struct Place(PathBuf);

impl Place {
    fn new(root: &Path, name: &str) -> Place {
        let place = Place(root.join(format!("segno-bench-commit-{name}-{}", std::process::id())));
        place.empty();
        place
    }

    #[expect(clippy::disallowed_methods, reason = "the measurement is above the engine: it removes its own files")]
    fn empty(&self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.empty();
    }
}

/// Fills batches with panes of the minutes.
fn batches(records: usize) -> Vec<BatchBuilder> {
    let mut full = Vec::new();
    let mut batch = BatchBuilder::new(Compression::None);
    for index in 0..records {
        let start = NOON + (index / 100) as i64 * 60_000;
        let key = [(index % 100_000).to_string().as_bytes(), &start.to_be_bytes()].concat();
        batch.push(Timestamp(start + 59_999), Some(&key), Some(&[7; 12]), &[]);
        if batch.size_bytes() >= BATCH_BYTES {
            full.push(std::mem::replace(&mut batch, BatchBuilder::new(Compression::None)));
        }
    }
    full.push(batch);
    full
}

/// Sends the batches, checksums and all, and returns their bytes when the transaction is visible.
async fn commit(producer: &mut TransactionalProducer, mut batches: Vec<BatchBuilder>, at: i64) -> usize {
    let (out, source) = (TopicPartition::new("bench.1.out", 0), TopicPartition::new("source", 0));
    for batch in &mut batches {
        producer.stage(&out, batch);
    }
    let bytes = producer.staged_bytes();
    producer.flush().await.expect("the broker takes it");
    producer.send_offsets("bench.1", &[(source, Offset(at))]).await.expect("the broker takes them");
    producer.commit().await.expect("nobody else has this id");
    bytes
}

pub fn commits(criterion: &mut Criterion) {
    let runtime = engine::env::real::threads::runtime().expect("a runtime");
    let memory = PathBuf::from("/dev/shm");
    let disk = ("disk", std::env::temp_dir());
    let roots = if memory.is_dir() { vec![("memory", memory), disk] } else { vec![disk] };
    let mut group = criterion.benchmark_group("commit");
    group.sample_size(10);
    for (name, root) in roots {
        for (what, records) in [("1-record", 1), ("100k-records", 100_000)] {
            let place = Place::new(&root, name);
            group.throughput(Throughput::Elements(records as u64));
            group.bench_function(BenchmarkId::new(what, name), |bench| {
                bench.iter_custom(|times| runtime.block_on(spend(&place, records, times)));
            });
        }
    }
    group.finish();
}

/// The time of `times` commits.
async fn spend(place: &Place, records: usize, times: u64) -> Duration {
    let mut spent = Duration::ZERO;
    let mut left = times;
    while left > 0 {
        place.empty();
        let env = env(EnvOptions { log: false, ..EnvOptions::default() });
        let broker = Broker::start(env.clone(), BrokerConfig::new(&place.0)).await.expect("an empty directory");
        let client = Client::new(env, broker.local(), ClientConfig::default());
        for topic in ["source", "bench.1.out"] {
            client.create_topic(topic, 1).await.expect("a new topic");
        }
        let timeout = Duration::from_secs(60);
        let mut producer = TransactionalProducer::init(&client, "bench.1.0-0", timeout).await.expect("a free id");
        // The first finds the coordinator and the topics.
        commit(&mut producer, batches(1), 0).await;
        let (mut bytes, mut at) = (0, 0);
        while left > 0 && bytes < DIRECTORY_BYTES {
            at += 1;
            let batches = batches(records);
            let began = now();
            bytes += commit(&mut producer, batches, at).await;
            spent += began.elapsed();
            left -= 1;
        }
        broker.stop().await;
    }
    spent
}

#[expect(clippy::disallowed_methods, reason = "the measurement is above the engine: it takes the time")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}
