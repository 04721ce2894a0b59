//! The ingest phase: generated events become a real log on the real disk, through the broker.
//!
//! In: how many events, at which rate. Out: [`IngestOutcome`]: wall time and the latency of every event, from the moment
//! it was meant to be sent until its acknowledgement, which comes after its sync.
//!
//! The clock starts when every sender has its tables and its producer id.
//!
//! Open loop: at a rate, event *i* is meant to leave at `start + i / rate` whether or not the earlier ones were
//! acknowledged; so a stall is charged to every event that it delays. At `max` an event is meant to leave when its batch
//! is full, and the latency is that of the batch.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use engine::broker::{Broker, BrokerConfig};
use engine::client::{Client, ClientConfig, Producer, partition_for_key};
use engine::env::Env;
use engine::env::real::threads;
use engine::record::{BatchBuilder, Compression};
use engine::schema::{Schema, SchemaRegistry};
use engine::types::{Timestamp, TopicPartition};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::sync::Barrier;
use workloads::click::{CLICK_REFERRED_SCHEMA, CLICK_SCHEMA, Click, put_hex};
use workloads::clickstream::{ClickRecord, Clickstream};

use crate::dataset::{Dataset, Key};

/// Records per batch, unless an open loop runs out of events that are due, or the batch is as large as it may be.
pub const RECORDS_PER_BATCH: usize = 1_000;
/// A batch of so many bytes is full too: of large values 1 000 are more than a broker takes at once.
pub const BATCH_BYTES: usize = 4 << 20;
/// The largest value that can be asked for. A batch that lacks a byte to be full and takes one more is far below what a
/// log takes, 16 MiB.
pub const MAX_VALUE_BYTES: u32 = 1 << 20;
/// How long an open loop gathers events before it sends what is due.
const LINGER: Duration = Duration::from_millis(2);
const WATERMARK_HEADER: &[u8] = b"segno.watermark";

/// What to ingest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IngestSpec {
    pub topic: String,
    pub dataset: Dataset,
    /// Events per second; `None` = as fast as it goes.
    pub rate: Option<u64>,
    pub partitions: i32,
    pub threads: usize,
}

/// What one ingest took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IngestOutcome {
    pub events: u64,
    pub seconds: f64,
    /// Bytes of keys and values, before the log's framing.
    pub bytes: u64,
    /// (microseconds, events): the recorded histogram, so that runs can be merged.
    pub latency_us: Vec<(u64, u64)>,
}

/// Runs the phase in this process.
///
/// `started` is called when the first sender's clock starts.
///
/// # Errors
/// When the broker refuses or the disk fails.
pub fn run(
    env: &Env,
    data_dir: &Path,
    spec: &IngestSpec,
    started: impl Fn() + Send + Sync + 'static,
) -> anyhow::Result<IngestOutcome> {
    let runtime = threads::runtime()?;
    let (env, spec, data_dir) = (env.clone(), spec.clone(), data_dir.to_owned());
    runtime.block_on(async move {
        let broker = Broker::start(env.clone(), BrokerConfig::new(&data_dir)).await?;
        let client = Client::new(env, broker.local(), ClientConfig::default());
        client.create_topic(&spec.topic, spec.partitions).await?;
        // A schema is in the log before its first use.
        let schema = if spec.dataset.value_bytes.is_some() { CLICK_REFERRED_SCHEMA } else { CLICK_SCHEMA };
        SchemaRegistry::open(&client).await?.register(&Schema::parse(schema)?).await?;
        let start = Arc::new(Start { ready: Barrier::new(spec.threads), at: OnceLock::new(), said: Box::new(started) });
        let mut workers = Vec::new();
        for thread in 0..spec.threads {
            let (client, spec, start) = (client.clone(), spec.clone(), start.clone());
            workers.push(threads::start(&format!("ingest-{thread}"), Some(thread), move || async move {
                let sender = Sender::new(&client, &spec, thread).await;
                // Before a failure is told: the others wait here.
                let start = start.together().await;
                sender?.run(start).await
            })?);
        }
        let mut latency = histogram();
        let mut bytes = 0;
        for worker in workers {
            let (part, part_bytes) = worker.finished().await??;
            latency.add(part).context("two histograms of one shape")?;
            bytes += part_bytes;
        }
        let seconds = start.at.get().context("no sender has started")?.elapsed().as_secs_f64();
        let mut stored = 0;
        for partition in 0..spec.partitions {
            stored += client.stable_end(&TopicPartition::new(spec.topic.as_str(), partition)).await?.0;
        }
        let sent = spec.dataset.events as i64 + i64::from(spec.partitions);
        anyhow::ensure!(
            stored == sent,
            "the log holds {stored} records of {sent}, end markers included: no speed of that"
        );
        broker.stop().await;
        let latency_us =
            latency.iter_recorded().map(|value| (value.value_iterated_to(), value.count_at_value())).collect();
        Ok(IngestOutcome { events: spec.dataset.events, seconds, bytes, latency_us })
    })
}

/// One moment for all senders.
struct Start {
    ready: Barrier,
    at: OnceLock<Instant>,
    said: Box<dyn Fn() + Send + Sync>,
}

impl Start {
    async fn together(&self) -> Instant {
        self.ready.wait().await;
        *self.at.get_or_init(|| {
            (self.said)();
            Instant::now()
        })
    }
}

/// Microseconds from 1 to 10 minutes, three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("the bounds are fixed and valid")
}

/// A record's key and value; with a size, by a newer writer whose additional field makes the value that large. A value that
/// is larger by itself stays as it is.
fn encode(dataset: &Dataset, record: &ClickRecord, key: &mut Vec<u8>, value: &mut Vec<u8>) {
    let by_user = dataset.key == Key::User;
    let Some(size) = dataset.value_bytes else {
        Click::encode_record(record, by_user, key, value);
        return;
    };
    Click::encode_padded(record, 0, by_user, key, value);
    let room = (size as usize).saturating_sub(value.len());
    // The field's length is a varint of its double: one byte is in the value already.
    let padding = match room {
        0..64 => room,
        64..8_193 => room - 1,
        _ => room - 2,
    };
    key.clear();
    value.clear();
    Click::encode_padded(record, padding, by_user, key, value);
}

/// One thread's share: every `threads`-th partition. Each thread walks all events in arrival order and skips those of
/// other partitions, so that a partition keeps arrival order whatever the number of threads.
struct Sender<'a> {
    producer: Producer,
    spec: &'a IngestSpec,
    stream: Clickstream,
    /// The partition of each user's key; empty when the log is keyed by event.
    partition_of: Vec<i32>,
    lanes: Vec<Lane>,
    thread: usize,
    latency: Histogram<u64>,
    bytes: u64,
}

/// One partition's open batch, and when its events were meant to leave.
struct Lane {
    partition: TopicPartition,
    batch: BatchBuilder,
    intended: Vec<Instant>,
}

impl Lane {
    fn is_full(&self) -> bool {
        self.batch.len() >= RECORDS_PER_BATCH || self.batch.size_bytes() >= BATCH_BYTES
    }
}

impl<'a> Sender<'a> {
    async fn new(client: &Client, spec: &'a IngestSpec, thread: usize) -> anyhow::Result<Sender<'a>> {
        let stream = spec.dataset.stream();
        let partition_of = match spec.dataset.key {
            Key::User => (0..=spec.dataset.users)
                .map(|user| partition_for_key(user.to_string().as_bytes(), spec.partitions).0)
                .collect(),
            Key::Event => Vec::new(),
        };
        let lanes = (0..spec.partitions)
            .map(|partition| Lane {
                partition: TopicPartition::new(spec.topic.as_str(), partition),
                batch: BatchBuilder::new(Compression::None),
                intended: Vec::with_capacity(RECORDS_PER_BATCH),
            })
            .collect();
        Ok(Sender {
            producer: Producer::init(client).await?,
            spec,
            stream,
            partition_of,
            lanes,
            thread,
            latency: histogram(),
            bytes: 0,
        })
    }

    fn is_mine(&self, partition: i32) -> bool {
        partition as usize % self.spec.threads == self.thread
    }

    /// Where a record goes; its key is in `key` when it is the event's.
    fn partition(&self, record: &ClickRecord, key: &mut Vec<u8>) -> i32 {
        match self.spec.dataset.key {
            Key::User => self.partition_of[record.user_id as usize],
            Key::Event => {
                key.clear();
                put_hex(record.event_id, key);
                partition_for_key(key, self.spec.partitions).0
            }
        }
    }

    async fn run(mut self, start: Instant) -> anyhow::Result<(Histogram<u64>, u64)> {
        let (mut key, mut value) = (Vec::with_capacity(16), Vec::with_capacity(64));
        let mut due_until = 0;
        for index in 0..self.spec.dataset.events {
            if let Some(rate) = self.spec.rate
                && index >= due_until
            {
                due_until = self.wait_for(start, index, rate).await?;
            }
            let record = self.stream.record(index);
            let partition = self.partition(&record, &mut key);
            if !self.is_mine(partition) {
                continue;
            }
            let intended = match self.spec.rate {
                Some(rate) => start + Duration::from_secs_f64(index as f64 / rate as f64),
                None => Instant::now(),
            };
            key.clear();
            value.clear();
            encode(&self.spec.dataset, &record, &mut key, &mut value);
            let lane = &mut self.lanes[partition as usize];
            lane.batch.push(Timestamp(record.ts_ms), Some(&key), Some(&value), &[]);
            lane.intended.push(intended);
            self.bytes += (key.len() + value.len()) as u64;
            if lane.is_full() {
                self.flush(Lane::is_full).await?;
            }
        }
        self.flush(|lane| !lane.batch.is_empty()).await?;
        self.end().await?;
        Ok((self.latency, self.bytes))
    }

    /// Sends what is gathered, then waits until event `index` is due; returns how many events are due by then.
    async fn wait_for(&mut self, start: Instant, index: u64, rate: u64) -> anyhow::Result<u64> {
        self.flush(|lane| !lane.batch.is_empty()).await?;
        let intended = start + Duration::from_secs_f64(index as f64 / rate as f64);
        let now = Instant::now();
        if intended + LINGER > now {
            tokio::time::sleep(intended + LINGER - now).await;
        }
        let due = (start.elapsed().as_secs_f64() * rate as f64) as u64;
        Ok(due.max(index + 1))
    }

    /// Sends every batch that is ready in one request.
    async fn flush(&mut self, is_ready: fn(&Lane) -> bool) -> anyhow::Result<()> {
        let mut ready: Vec<&mut Lane> = self.lanes.iter_mut().filter(|lane| is_ready(lane)).collect();
        if ready.is_empty() {
            return Ok(());
        }
        let mut batches: Vec<_> = ready.iter_mut().map(|lane| (lane.partition.clone(), &mut lane.batch)).collect();
        self.producer.send_all(&mut batches).await?;
        drop(batches);
        let acknowledged = Instant::now();
        for lane in ready {
            for intended in lane.intended.drain(..) {
                let us = acknowledged.saturating_duration_since(intended).as_micros() as u64;
                self.latency.saturating_record(us.max(1));
            }
        }
        Ok(())
    }

    /// Writes the end marker of each of this thread's partitions.
    async fn end(&mut self) -> anyhow::Result<()> {
        let end = Timestamp::MAX.0.to_be_bytes();
        for index in 0..self.lanes.len() {
            if !self.is_mine(index as i32) {
                continue;
            }
            let lane = &mut self.lanes[index];
            lane.batch.push(Timestamp(0), None, None, &[(WATERMARK_HEADER, Some(&end))]);
            self.producer.send(&lane.partition, &mut lane.batch).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::DEFAULT_USERS;

    #[test]
    fn values_are_as_large_as_was_asked_for() {
        let sizes = [40, 64, 95, 96, 97, 128, 1_024, 8_191, 8_230, 20_000, MAX_VALUE_BYTES];
        for value_bytes in sizes {
            let dataset = Dataset { events: 10, users: DEFAULT_USERS, key: Key::User, value_bytes: Some(value_bytes) };
            for record in dataset.stream().iter() {
                let (mut key, mut value) = (Vec::new(), Vec::new());
                encode(&dataset, &record, &mut key, &mut value);
                let off = i64::from(value_bytes) - value.len() as i64;
                // A length of 64 takes a byte more than one of 63, so one size in between cannot be had.
                assert!((0..=1).contains(&off), "{} bytes for {value_bytes}", value.len());
            }
        }
    }

    #[test]
    fn the_largest_values_that_can_be_asked_for_are_taken() {
        let dir = std::env::temp_dir().join(format!("segno-large-{}", std::process::id()));
        let env = engine::env::real::env(engine::env::real::EnvOptions::default());
        let dataset = Dataset { events: 24, users: DEFAULT_USERS, key: Key::User, value_bytes: Some(MAX_VALUE_BYTES) };
        let spec = IngestSpec { topic: "source".to_owned(), dataset, rate: None, partitions: 1, threads: 1 };
        let outcome = run(&env, &dir, &spec, || {}).expect("it is ingested");
        assert!(outcome.bytes >= 23 << 20, "{} bytes", outcome.bytes);
        let most = engine::log::LogConfig::default().batch_bytes_max;
        assert!(BATCH_BYTES + MAX_VALUE_BYTES as usize + 1_024 <= most, "a log takes {most} bytes");
        std::fs::remove_dir_all(&dir).expect("it is removed");
    }
}
