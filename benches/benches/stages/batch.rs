//! Record batches in memory, of the measured clickstream: building, checking, reading.
//!
//! The framing of an event is `batch/decode/none`: header, checksum and every record's fields. `scan/checked` is the header
//! and the checksum alone.

use std::hint::black_box;

use benches::stages::Input;
use criterion::{BenchmarkId, Criterion, Throughput};
use engine::record::{BatchBuilder, Compression, ProducerStamp, Record, batches, batches_trusted};
use workloads::clickstream::Settings;

const RECORDS: usize = 8_000;

fn build(builder: &mut BatchBuilder, clicks: &Input) -> bytes::Bytes {
    for index in 0..clicks.len() {
        let Record { timestamp, key, value, .. } = clicks.record(index, 0);
        builder.push(timestamp, key, value, &[]);
    }
    builder.finish(ProducerStamp::NONE)
}

pub fn batch(c: &mut Criterion) {
    let clicks = Input::clicks(Settings::at_density(RECORDS as u64));
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
