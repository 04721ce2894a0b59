//! What the benches of the stages share: records in memory as a fetch leaves them, and a task that they are fed to.
//!
//! A stage is not a function that could be called by itself; it is the difference between two tasks, of which one does a
//! little more. docs/BUDGET.md says which differences, and what each stage may cost.

use std::sync::Arc;

use engine::record::{Compression, Record};
use engine::stream::aggregates::Count;
use engine::stream::{DecodeError, Decoder, Deployment, Outbox, Pipeline, Source, Stream, TaskCore, Window};
use engine::types::{Millis, Offset, Timestamp};
use workloads::click::Click;
use workloads::clickstream::{Clickstream, Settings};

/// Records that a task is handed at once, as by a worker.
pub const CHUNK: usize = 64;
/// How far behind the latest event the watermark stays.
pub const BOUND: Millis = Millis(30_000);
/// An event time, at the start of a minute.
pub const NOON: i64 = 1_700_049_600_000;

/// Keys and values in one buffer, as in a batch.
#[derive(Default)]
pub struct Input {
    bytes: Vec<u8>,
    /// Timestamp, where the key begins, where the value begins, where it ends.
    records: Vec<(i64, usize, usize, usize)>,
}

impl Input {
    /// The measured clickstream, keyed by user.
    pub fn clicks(settings: Settings) -> Input {
        let stream = Clickstream::new(settings);
        Input::part(&stream, 0, stream.len())
    }

    /// At most `count` of its records, from the one at `from` on.
    pub fn part(stream: &Clickstream, from: u64, count: u64) -> Input {
        let mut input = Input::default();
        let (mut key, mut value) = (Vec::new(), Vec::new());
        for record in (from..stream.len().min(from + count)).map(|index| stream.record(index)) {
            key.clear();
            value.clear();
            Click::encode_record(&record, true, &mut key, &mut value);
            input.push(record.ts_ms, &key, &value);
        }
        input
    }

    /// Appends a record.
    pub fn push(&mut self, timestamp: i64, key: &[u8], value: &[u8]) {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.records.push((timestamp, at, at + key.len(), self.bytes.len()));
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The record at `index`, with `offset`.
    pub fn record(&self, index: usize, offset: i64) -> Record<'_> {
        let (timestamp, key, value, end) = self.records[index];
        Record {
            offset: Offset(offset),
            timestamp: Timestamp(timestamp),
            key: Some(&self.bytes[key..value]),
            value: Some(&self.bytes[value..end]),
            raw_headers: &[],
        }
    }
}

/// A task that is fed the same input again and again.
pub struct Fed {
    pub task: Box<dyn TaskCore>,
    pub out: Outbox,
    next: i64,
}

impl Fed {
    pub fn new(deployment: &Deployment) -> Fed {
        let mut task = deployment.task(deployment.tasks()[0]);
        task.restored(&[None]).expect("a fresh task");
        Fed { task, out: Outbox::new(Compression::None), next: 0 }
    }

    /// Hands over the whole input, chunk by chunk, without firing or committing.
    pub fn feed(&mut self, input: &Input) {
        let mut chunk = Vec::with_capacity(CHUNK);
        let mut index = 0;
        while index < input.len() {
            chunk.clear();
            let end = (index + CHUNK).min(input.len());
            chunk.extend((index..end).map(|index| {
                self.next += 1;
                input.record(index, self.next)
            }));
            self.task.process(0, &chunk, &mut self.out).expect("good records");
            index = end;
        }
    }

    /// Commits; what was to be written is forgotten.
    pub fn commit(&mut self) {
        self.task.prepare_commit(&mut self.out, false);
        self.forget();
    }

    /// Forgets what was to be written.
    pub fn forget(&mut self) {
        self.out.drain(|_, batch| batch.clear());
    }
}

/// A decoder that looks at nothing.
pub type Undecoded = Decoder<fn(&Record<'_>) -> Result<(), DecodeError>>;

/// One partition, a decoder that looks at nothing.
pub fn undecoded() -> Stream<Undecoded> {
    let source = Source { topic: "source".to_owned(), partitions: 1, bound: BOUND };
    Pipeline::named("bench").source(source, |_| Ok(()))
}

/// The events of `stream` counted by key in `windows`, with the plainest of panes.
pub fn counted<D: engine::stream::Decode>(windows: engine::stream::Windowed<D>) -> Deployment {
    let encode = |_: &[u8], _: Window, count: &u64, out: &mut Vec<u8>| out.extend_from_slice(&count.to_be_bytes());
    let pipeline = windows.aggregate("state", Count::of()).output(encode).expect("a pipeline");
    Deployment::new(Arc::new(pipeline), 1)
}

/// A stream of numbers without a pattern, the same every time.
pub struct Draws(u64);

impl Draws {
    pub fn new() -> Draws {
        Draws(42)
    }

    /// Below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

impl Default for Draws {
    fn default() -> Draws {
        Draws::new()
    }
}
