//! What an event costs between its decoder and the end of its window's update: handing over and judging, finding its key,
//! updating the window. Nothing fires and nothing is committed.
//!
//! | bench | what the task does with an event |
//! |---|---|
//! | `judge` | takes it, moves the watermark, drops it: a filter keeps nothing |
//! | `update/sessions`, `update/minutes` | also finds the one key there is, always in cache, and joins its window |
//! | `lookup/50k-zipf` | the same sessions, of the measured clickstream's 100 000 users on two partitions |
//! | `lookup/50k`, `lookup/5M` | the same sessions, of that many keys drawn evenly: at 5 M most should be cache misses |
//! | `lookup/50k-uuid` | as `lookup/50k`, with keys of 36 bytes, which are kept and compared in another way |
//!
//! So window update = `update` − `judge`, key lookup = `lookup` − `update/sessions`. The events lie within 30 s, so that
//! state neither grows nor shrinks while it is measured; each key has its session before the clock starts.

use benches::stages::{Draws, Fed, Input, NOON, counted, undecoded};
use criterion::{BenchmarkId, Criterion, Throughput};
use engine::stream::Deployment;
use engine::types::Millis;
use workloads::clickstream::{Clickstream, Settings};

const EVENTS: usize = 1 << 20;
const NO_LATENESS: Millis = Millis(0);
const GAP: Millis = Millis(30 * 60_000);

/// `EVENTS` of the keys that `key` names, at times within 30 s in no order.
fn events(mut key: impl FnMut() -> u64) -> Input {
    named(|| key().to_string())
}

/// The same, of whole keys.
fn named(mut key: impl FnMut() -> String) -> Input {
    let (mut input, mut times) = (Input::default(), Draws::new());
    for _ in 0..EVENTS {
        input.push(NOON + times.below(30_000) as i64, key().as_bytes(), &[]);
    }
    input
}

/// A number as a UUID: 36 bytes that differ from the first on.
fn uuid(number: u64) -> String {
    let mixed = (u128::from(number) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    let hex = format!("{mixed:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

fn bench(criterion: &mut Criterion, group: &str, name: &str, deployment: &Deployment, input: &Input, first: &Input) {
    let mut group = criterion.benchmark_group(group);
    group.throughput(Throughput::Elements(input.len() as u64)).sample_size(10);
    let mut fed = Fed::new(deployment);
    fed.feed(first);
    fed.feed(input);
    group.bench_function(BenchmarkId::from_parameter(name), |bench| bench.iter(|| fed.feed(input)));
    group.finish();
}

pub fn stages(criterion: &mut Criterion) {
    let none = Input::default();
    let one = events(|| 7);
    let sessions = counted(undecoded().key_by_record().sessions(GAP, NO_LATENESS));
    let minutes = counted(undecoded().key_by_record().tumbling(Millis(60_000), NO_LATENESS));
    let dropped = counted(undecoded().filter(|()| false).key_by_record().sessions(GAP, NO_LATENESS));
    bench(criterion, "judge", "dropped", &dropped, &one, &none);
    bench(criterion, "update", "sessions", &sessions, &one, &none);
    bench(criterion, "update", "minutes", &minutes, &one, &none);

    // Every second user is another partition's.
    let stream = Clickstream::new(Settings::at_density(4 * EVENTS as u64));
    let mut users = stream.iter().map(|click| u64::from(click.user_id)).filter(|user| user % 2 == 0);
    let zipf = events(|| users.next().expect("half of four times as many"));
    bench(criterion, "lookup", "50k-zipf", &sessions, &zipf, &none);
    for (name, keys) in [("50k", 50_000), ("5M", 5_000_000)] {
        let mut first = Input::default();
        (0..keys).for_each(|key: u64| first.push(NOON, key.to_string().as_bytes(), &[]));
        let mut draws = Draws::new();
        let even = events(|| draws.below(keys));
        bench(criterion, "lookup", name, &sessions, &even, &first);
    }

    let (mut first, mut draws) = (Input::default(), Draws::new());
    (0..50_000).for_each(|key| first.push(NOON, uuid(key).as_bytes(), &[]));
    let even = named(|| uuid(draws.below(50_000)));
    bench(criterion, "lookup", "50k-uuid", &sessions, &even, &first);
}
