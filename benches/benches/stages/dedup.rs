//! What deduplication adds to an event: the measured clickstream's ids, 1 % of them copies, with the horizon of 60 s that
//! `clickstream-unique-minutes` has.
//!
//! | bench | what the task does with an event |
//! |---|---|
//! | `dedup/without` | reads 8 bytes of the value as the id, counts the event by user and minute |
//! | `dedup/with` | also looks for the id among those of the last 60 s and keeps it |
//!
//! Deduplication = `with` − `without`. Each run is a fresh task over 1 M events, committed after every 64 Ki: only then may
//! it forget ids, and only then is its memory that of a replay.

use benches::stages::{BOUND, Fed, Input, counted};
use criterion::{Criterion, Throughput};
use engine::record::Record;
use engine::stream::{DecodeError, Decoder, Deployment, Pipeline, Source, Stream};
use engine::types::Millis;
use workloads::clickstream::{Clickstream, Settings};

const EVENTS: u64 = 1 << 20;
const COMMIT_EVERY: usize = 1 << 16;
const HORIZON: Millis = Millis(60_000);

type Ids = Decoder<fn(&Record<'_>) -> Result<u64, DecodeError>>;

fn ids() -> Stream<Ids> {
    let source = Source { topic: "source".to_owned(), partitions: 1, bound: BOUND };
    Pipeline::named("bench").source(source, |record| {
        let id = record.value.and_then(|value| value.try_into().ok()).map(u64::from_le_bytes);
        id.ok_or_else(|| DecodeError("no id".to_owned()))
    })
}

/// The dataset in parts of a commit each.
fn inputs() -> Vec<Input> {
    let stream = Clickstream::new(Settings::at_density(EVENTS));
    let clicks: Vec<_> = stream.iter().collect();
    let part = |clicks: &[workloads::clickstream::ClickRecord]| {
        let mut input = Input::default();
        for click in clicks {
            input.push(click.ts_ms, click.user_id.to_string().as_bytes(), &click.event_id.to_le_bytes());
        }
        input
    };
    clicks.chunks(COMMIT_EVERY).map(part).collect()
}

fn replay(deployment: &Deployment, inputs: &[Input]) -> u64 {
    let mut fed = Fed::new(deployment);
    for input in inputs {
        fed.feed(input);
        fed.commit();
    }
    fed.task.stats().duplicates
}

pub fn dedup(criterion: &mut Criterion) {
    let inputs = inputs();
    let minute = Millis(60_000);
    let without = counted(ids().key_by_record().tumbling(minute, Millis(0)));
    let with = counted(ids().dedup(|id| u128::from(*id), HORIZON).key_by_record().tumbling(minute, Millis(0)));
    assert_eq!(replay(&without, &inputs), 0);
    let copies = replay(&with, &inputs);
    assert!((9_000..12_000).contains(&copies), "{copies} copies of a million");
    let mut group = criterion.benchmark_group("dedup");
    group.throughput(Throughput::Elements(EVENTS)).sample_size(10);
    group.bench_function("without", |bench| bench.iter(|| replay(&without, &inputs)));
    group.bench_function("with", |bench| bench.iter(|| replay(&with, &inputs)));
    group.finish();
}
