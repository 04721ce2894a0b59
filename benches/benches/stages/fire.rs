//! What a pane costs, from the timer that finds it due to its bytes in a batch; per pane.
//!
//! | bench | what is measured |
//! |---|---|
//! | `fire/sessions`, `fire/minutes` | 50 000 keys with a window each, and the watermark passes all their ends: finding what is due, ordering, emitting, purging |
//! | `output/session`, `output/minute` | writing the pane's key and Avro value, and the batch around them |
//! | `output/checksum` | the same for minutes, and the batch's header and checksum at the end |
//! | `changelog/sessions` | 50 000 keys have changed: their state as changelog records, and the commit record |
//!
//! Output encoding = `output/*`; timers = `fire` − `output`, since `fire` has the plainest of encoders, and a pane of 8
//! bytes.

use benches::stages::{Fed, Input, NOON, counted, undecoded};
use criterion::{BatchSize, Criterion, Throughput};
use engine::record::{BatchBuilder, Compression, ProducerStamp};
use engine::stream::frame::put_output_key;
use engine::stream::{Deployment, PaneEncoder as _, Window};
use engine::types::{Millis, Timestamp};
use workloads::panes::{MinutePanes, SessionPanes, SessionState};

const KEYS: u64 = 50_000;
const GAP: Millis = Millis(30 * 60_000);
const MINUTE: Millis = Millis(60_000);
/// A new batch after so many panes, as when a worker takes what is there.
const BATCH: usize = 8_192;

/// An event of every key, at the start of a minute.
fn one_each() -> Input {
    let mut input = Input::default();
    (0..KEYS).for_each(|key| input.push(NOON + (key % 1_000) as i64, key.to_string().as_bytes(), &[]));
    input
}

/// One event two hours later: no window from before is open any more.
fn much_later() -> Input {
    let mut input = Input::default();
    input.push(NOON + 2 * 3_600_000, b"later", &[]);
    input
}

pub fn fire(criterion: &mut Criterion) {
    let (each, later) = (one_each(), much_later());
    let sessions = counted(undecoded().key_by_record().sessions(GAP, Millis(0)));
    let minutes = counted(undecoded().key_by_record().tumbling(MINUTE, Millis(0)));
    let due = |deployment: &Deployment| {
        let mut fed = Fed::new(deployment);
        fed.feed(&each);
        fed.feed(&later);
        fed
    };
    let mut group = criterion.benchmark_group("fire");
    group.throughput(Throughput::Elements(KEYS)).sample_size(20);
    for (name, deployment) in [("sessions", &sessions), ("minutes", &minutes)] {
        group.bench_function(name, |bench| {
            bench.iter_batched(
                || due(deployment),
                |mut fed| {
                    fed.task.fire(&mut fed.out);
                    assert_eq!(fed.task.stats().panes, KEYS, "a pane of every key");
                    fed
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("changelog");
    group.throughput(Throughput::Elements(KEYS)).sample_size(20);
    group.bench_function("sessions", |bench| {
        let mut fed = Fed::new(&sessions);
        bench.iter_custom(|times| {
            let mut spent = std::time::Duration::ZERO;
            for _ in 0..times {
                fed.feed(&each);
                let began = now();
                fed.task.prepare_commit(&mut fed.out, false);
                spent += began.elapsed();
                fed.forget();
            }
            spent
        });
    });
    group.finish();
}

#[expect(clippy::disallowed_methods, reason = "the measurement is above the engine: it takes the time")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// Writes the value of a user's pane.
type Encode<'a> = &'a dyn Fn(&[u8], Window, &mut Vec<u8>);

pub fn output(criterion: &mut Criterion) {
    let keys: Vec<String> = (0..KEYS).map(|key| key.to_string()).collect();
    let mut group = criterion.benchmark_group("output");
    group.throughput(Throughput::Elements(KEYS)).sample_size(20);
    let mut builder = BatchBuilder::new(Compression::None);
    let (mut key, mut value) = (Vec::new(), Vec::new());
    let mut panes = |encode: Encode<'_>, finish: bool| {
        for (index, user) in keys.iter().enumerate() {
            let start = Timestamp(NOON + index as i64 % 1_000);
            let window = Window { start, end: Timestamp(start.0 + GAP.0 + 1) };
            key.clear();
            put_output_key(user.as_bytes(), start, &mut key);
            value.clear();
            encode(user.as_bytes(), window, &mut value);
            builder.push(Timestamp(window.end.0 - 1), Some(&key), Some(&value), &[]);
            if index % BATCH == BATCH - 1 {
                if finish {
                    std::hint::black_box(builder.finish(ProducerStamp::NONE));
                } else {
                    builder.clear();
                }
            }
        }
        builder.clear();
    };
    let state = SessionState { first: NOON, last: NOON + 600_000, kinds: [9, 3, 1, 0] };
    let session = |user: &[u8], window: Window, out: &mut Vec<u8>| SessionPanes.encode(user, window, &state, out);
    let minute = |user: &[u8], window: Window, out: &mut Vec<u8>| MinutePanes.encode(user, window, &3, out);
    group.bench_function("session", |bench| bench.iter(|| panes(&session, false)));
    group.bench_function("minute", |bench| bench.iter(|| panes(&minute, false)));
    group.bench_function("checksum", |bench| bench.iter(|| panes(&minute, true)));
    group.finish();
}
