//! One partition's log on the real disk: appending until it is synced, and reading it back.
//!
//! `memory` is a directory in `/dev/shm` (what the log itself costs), `disk` one in the temporary directory (with what a
//! sync costs there).

use std::path::{Path, PathBuf};

use criterion::{BenchmarkId, Criterion, Throughput};
use engine::env::real::{EnvOptions, env};
use engine::log::{Isolation, Log, LogConfig};
use engine::record::{BatchBuilder, Compression, ProducerStamp};
use engine::types::{Offset, Timestamp, TopicPartition};
use tokio::runtime::Runtime;

const RECORDS: usize = 1_000;
/// Appends that are under way at once.
const IN_FLIGHT: usize = 16;
/// Batches in the log that is read.
const BATCHES_READ: usize = 2_000;

fn batch() -> bytes::Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for index in 0..RECORDS {
        let key = format!("user-{}", index * 7_919 % 10_000);
        builder.push(Timestamp(1_700_000_000_000 + index as i64), Some(key.as_bytes()), Some(&[7; 34]), &[]);
    }
    builder.finish(ProducerStamp::NONE)
}

struct Place(PathBuf);

impl Place {
    fn new(root: &Path, name: &str) -> Place {
        Place(root.join(format!("segno-bench-{name}-{}", std::process::id())))
    }
}

impl Drop for Place {
    #[expect(clippy::disallowed_methods, reason = "the measurement is above the engine: it removes its own files")]
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn open(runtime: &Runtime, place: &Place) -> Log {
    let env = env(EnvOptions { log: false, ..EnvOptions::default() });
    let log = Log::open(&env, &place.0, TopicPartition::new("bench", 0), LogConfig::default());
    let log = runtime.block_on(log).expect("an empty directory");
    let writer = log.clone();
    runtime.spawn(async move { writer.run().await });
    log
}

async fn append(log: &Log, batch: &bytes::Bytes, count: usize) {
    let mut last = None;
    for _ in 0..count {
        last = Some(log.append(batch.clone()).expect("a batch of our own"));
    }
    if let Some(last) = last {
        log.durable(&last).await.expect("the disk works");
    }
}

fn places() -> Vec<(&'static str, PathBuf)> {
    let memory = PathBuf::from("/dev/shm");
    let disk = ("disk", std::env::temp_dir());
    if memory.is_dir() { vec![("memory", memory), disk] } else { vec![disk] }
}

pub fn log(c: &mut Criterion) {
    let runtime = engine::env::real::threads::runtime().expect("a runtime");
    let batch = batch();
    for (name, root) in places() {
        let place = Place::new(&root, name);
        let log = open(&runtime, &place);

        let mut group = c.benchmark_group("append");
        group.sample_size(20);
        for count in [1, IN_FLIGHT] {
            group.throughput(Throughput::Elements((RECORDS * count) as u64));
            group.bench_function(BenchmarkId::new(format!("{count}-in-flight"), name), |b| {
                b.iter(|| {
                    runtime.block_on(append(&log, &batch, count));
                    // The directory stays small.
                    if log.end().0 - log.start().0 > 5_000_000 {
                        runtime.block_on(log.delete_below(log.end())).expect("the disk works");
                    }
                });
            });
        }
        group.finish();

        runtime.block_on(append(&log, &batch, BATCHES_READ));
        let from = Offset(log.end().0 - (BATCHES_READ * RECORDS) as i64);
        let mut group = c.benchmark_group("read");
        group.sample_size(20);
        group.throughput(Throughput::Bytes((batch.len() * BATCHES_READ) as u64));
        for max_bytes in [64 << 10, 1 << 20] {
            group.bench_function(BenchmarkId::new(format!("{}KiB", max_bytes >> 10), name), |b| {
                b.iter(|| {
                    runtime.block_on(async {
                        let (mut from, end) = (from, log.high_watermark());
                        while from < end {
                            let fetched = log.read(from, max_bytes, Isolation::ReadCommitted).await;
                            from = fetched.expect("the log is whole").next;
                        }
                    });
                });
            });
        }
        group.finish();
        runtime.block_on(log.close());
    }
}
