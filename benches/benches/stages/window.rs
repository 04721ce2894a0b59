//! What one event costs a windowed task: finding its key, joining its window, firing, and its share of a commit.
//!
//! The records are those of the measured clickstream (100 000 users, by Zipf), of one partition, in memory. `window/*` has
//! a decoder that does nothing; `pipeline/*` is the whole pipeline, with the decoding of the Avro value. A task fires
//! after every 4096 records and commits after every 100 000.

use std::sync::Arc;

use benches::stages::{BOUND, Fed, Input, counted, undecoded};
use criterion::{BenchmarkId, Criterion, Throughput};
use engine::stream::Deployment;
use engine::types::Millis;
use sim::workload::{Shape, Workload};
use workloads::clickstream::{Clickstream, Settings};
use workloads::pipelines::ClickPipeline;

const EVENTS: usize = 400_000;
const FIRE_EVERY: usize = 4_096;
/// In fires: about 100 000 events.
const COMMIT_EVERY: usize = 25;

/// The dataset in parts, after each of which the task fires.
fn inputs() -> Vec<Input> {
    let stream = Clickstream::new(Settings::at_density(EVENTS as u64));
    (0..EVENTS).step_by(FIRE_EVERY).map(|from| Input::part(&stream, from as u64, FIRE_EVERY as u64)).collect()
}

/// Runs a fresh task over the whole input; returns the panes, so that nothing is left out.
fn replay(deployment: &Deployment, inputs: &[Input]) -> u64 {
    let mut fed = Fed::new(deployment);
    for (index, input) in inputs.iter().enumerate() {
        fed.feed(input);
        fed.task.fire(&mut fed.out);
        if index % COMMIT_EVERY == 0 {
            fed.commit();
        }
    }
    fed.task.prepare_commit(&mut fed.out, false);
    let stats = fed.task.stats();
    assert_eq!((stats.rejected, stats.accepted + stats.duplicates), (0, EVENTS as u64), "every event was read");
    stats.panes
}

pub fn windows(criterion: &mut Criterion) {
    let inputs = inputs();
    let mut group = criterion.benchmark_group("window");
    group.throughput(Throughput::Elements(EVENTS as u64)).sample_size(10);
    let gap = Millis(30 * 60_000);
    let bare = [
        ("sessions", counted(undecoded().key_by_record().sessions(gap, Millis(0)))),
        ("tumbling", counted(undecoded().key_by_record().tumbling(Millis(60_000), Millis(0)))),
    ];
    for (name, deployment) in &bare {
        group.bench_function(BenchmarkId::from_parameter(name), |bench| bench.iter(|| replay(deployment, &inputs)));
    }
    group.finish();

    let mut group = criterion.benchmark_group("pipeline");
    group.throughput(Throughput::Elements(EVENTS as u64)).sample_size(10);
    let shape =
        Shape { partitions: 1, keyed_by_record: true, repartitions: 1, bound: BOUND, allowed_lateness: Millis(0) };
    for pipeline in ClickPipeline::ALL {
        let deployment = Deployment::new(Arc::new(pipeline.pipeline(&shape).expect("a pipeline")), 1);
        group.bench_function(pipeline.name(), |bench| bench.iter(|| replay(&deployment, &inputs)));
    }
    group.finish();
}
