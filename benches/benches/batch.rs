//! Record batches in memory: building, checking, reading.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use engine::record::{BatchBuilder, Compression, ProducerStamp, batches, batches_trusted};
use engine::types::Timestamp;

const RECORDS: usize = 8_000;

/// Keys and values of the size of a click, with digits that change as a click's do.
fn clicks() -> Vec<(i64, String, Vec<u8>)> {
    let mut state = 42u64;
    let mut draw = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let click = |index| {
        let user = format!("user-{}", draw() % 10_000);
        let mut value = vec![0, 1, 2, 3, 4];
        value.extend_from_slice(&draw().to_be_bytes());
        value.extend_from_slice(&(index as u64 * 13).to_be_bytes());
        value.extend_from_slice(user.as_bytes());
        value.extend_from_slice(&(draw() as u16).to_be_bytes());
        (1_700_000_000_000 + index as i64 * 13, user, value)
    };
    (0..RECORDS).map(click).collect()
}

fn build(builder: &mut BatchBuilder, clicks: &[(i64, String, Vec<u8>)]) -> bytes::Bytes {
    for (timestamp, key, value) in clicks {
        builder.push(Timestamp(*timestamp), Some(key.as_bytes()), Some(value), &[]);
    }
    builder.finish(ProducerStamp::NONE)
}

fn batch(c: &mut Criterion) {
    let clicks = clicks();
    for (name, compression) in [("none", Compression::None), ("lz4", Compression::Lz4)] {
        let mut builder = BatchBuilder::new(compression);
        let bytes = build(&mut builder, &clicks);

        let mut group = c.benchmark_group("batch");
        group.throughput(Throughput::Elements(RECORDS as u64));
        group.bench_function(BenchmarkId::new("build", name), |b| b.iter(|| build(&mut builder, black_box(&clicks))));
        group.bench_function(BenchmarkId::new("decode", name), |b| {
            let mut scratch = Vec::new();
            b.iter(|| {
                let mut sum = 0;
                for batch in batches(black_box(&bytes)) {
                    let batch = batch.expect("a batch of our own");
                    for record in batch.records(&mut scratch).expect("a batch of our own") {
                        let record = record.expect("a record of our own");
                        sum += record.timestamp.0 + record.value.map_or(0, |value| i64::from(value[value.len() - 1]));
                    }
                }
                sum
            });
        });
        group.finish();

        let mut group = c.benchmark_group("scan");
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(BenchmarkId::new("checked", name), |b| b.iter(|| batches(black_box(&bytes)).count()));
        group.bench_function(BenchmarkId::new("trusted", name), |b| {
            b.iter(|| batches_trusted(black_box(&bytes)).count());
        });
        group.finish();
    }
}

criterion_group!(benches, batch);
criterion_main!(benches);
