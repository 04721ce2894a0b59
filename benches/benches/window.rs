//! What one event costs a windowed task: finding its key, joining its window, firing, and its share of a commit.
//!
//! The records are those of the measured clickstream (100 000 users, by Zipf), of one partition, in memory. `window/*` has
//! a decoder that does nothing; `pipeline/*` is the whole pipeline, with the decoding of the Avro value. A task fires
//! after every 4096 records and commits after every 100 000.

use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use engine::record::{Compression, Record};
use engine::stream::aggregates::Count;
use engine::stream::{Deployment, Keyed, Outbox, Pipeline, Source, Window, Windowed};
use engine::types::{Millis, Offset, Timestamp};
use sim::workload::{Shape, Workload};
use workloads::click::Click;
use workloads::clickstream::{Clickstream, Settings};
use workloads::pipelines::ClickPipeline;

const EVENTS: usize = 400_000;
const FIRE_EVERY: usize = 4_096;
const COMMIT_EVERY: usize = 100_000;
const BOUND: Millis = Millis(30_000);

/// Keys and values in one buffer, as in a batch.
struct Input {
    bytes: Vec<u8>,
    /// Timestamp, where the key begins, where the value begins, where it ends.
    records: Vec<(i64, usize, usize, usize)>,
}

fn input() -> Input {
    let (mut bytes, mut records) = (Vec::new(), Vec::with_capacity(EVENTS));
    let (mut key, mut value) = (Vec::new(), Vec::new());
    for record in Clickstream::new(Settings::at_density(EVENTS as u64)).iter() {
        key.clear();
        value.clear();
        Click::encode_record(&record, true, &mut key, &mut value);
        let at = bytes.len();
        bytes.extend_from_slice(&key);
        bytes.extend_from_slice(&value);
        records.push((record.ts_ms, at, at + key.len(), bytes.len()));
    }
    Input { bytes, records }
}

/// Runs a fresh task over the whole input; returns the panes, so that nothing is left out.
fn replay(deployment: &Deployment, input: &Input) -> u64 {
    let mut task = deployment.task(deployment.tasks()[0]);
    let mut out = Outbox::new(Compression::None);
    task.restored(&[None]).expect("a fresh task");
    for (index, (timestamp, key, value, end)) in input.records.iter().enumerate() {
        let record = Record {
            offset: Offset(index as i64),
            timestamp: Timestamp(*timestamp),
            key: Some(&input.bytes[*key..*value]),
            value: Some(&input.bytes[*value..*end]),
            raw_headers: &[],
        };
        task.process(0, &[record], &mut out).expect("a good record");
        if index % FIRE_EVERY == 0 {
            task.fire(&mut out);
        }
        if index % COMMIT_EVERY == 0 {
            task.prepare_commit(&mut out);
            out.drain(|_, batch| batch.clear());
        }
    }
    task.prepare_commit(&mut out);
    task.stats().panes
}

fn bare(windows: impl FnOnce(Keyed<Undecoded>) -> Windowed<Undecoded>) -> Deployment {
    let source = Source { topic: "source".to_owned(), partitions: 1, bound: BOUND };
    let decode: fn(&Record<'_>) -> Result<(), engine::stream::DecodeError> = |_| Ok(());
    let keyed = Pipeline::named("bench").source(source, decode).key_by_record();
    let encode = |_: &[u8], _: Window, count: &u64, out: &mut Vec<u8>| out.extend_from_slice(&count.to_be_bytes());
    let pipeline = windows(keyed).aggregate("state", Count::of()).output(encode).expect("a pipeline");
    Deployment::new(Arc::new(pipeline), 1)
}

/// A decoder that looks at nothing.
type Undecoded = engine::stream::Decoder<fn(&Record<'_>) -> Result<(), engine::stream::DecodeError>>;

fn windows(criterion: &mut Criterion) {
    let input = input();
    let mut group = criterion.benchmark_group("window");
    group.throughput(Throughput::Elements(EVENTS as u64)).sample_size(10);
    let gap = Millis(30 * 60_000);
    let bare = [
        ("sessions", bare(|keyed| keyed.sessions(gap, Millis(0)))),
        ("tumbling", bare(|keyed| keyed.tumbling(Millis(60_000), Millis(0)))),
    ];
    for (name, deployment) in &bare {
        group.bench_function(BenchmarkId::from_parameter(name), |bench| bench.iter(|| replay(deployment, &input)));
    }
    group.finish();

    let mut group = criterion.benchmark_group("pipeline");
    group.throughput(Throughput::Elements(EVENTS as u64)).sample_size(10);
    let shape =
        Shape { partitions: 1, keyed_by_record: true, repartitions: 1, bound: BOUND, allowed_lateness: Millis(0) };
    for pipeline in ClickPipeline::ALL {
        let deployment = Deployment::new(Arc::new(pipeline.pipeline(&shape).expect("a pipeline")), 1);
        group.bench_function(pipeline.name(), |bench| bench.iter(|| replay(&deployment, &input)));
    }
    group.finish();
}

criterion_group!(benches, windows);
criterion_main!(benches);
