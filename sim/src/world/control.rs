//! The control host: everything outside of the cluster. It creates the topics, sends the source events, reads along, and
//! observes whether a version has come to rest.
//!
//! In: the plan's events, the board. Out: histories of every send and every read on the board.
//!
//! Invariant: a send's id is never used again, whatever becomes of it. Within a partition events are sent in the plan's
//! order, and the end marker last, once everything before it is settled.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use engine::client::{Client, ClientConfig, ClientError, Consumer, Isolation, OffsetSpec, Producer};
use engine::env::Env;
use engine::log::Retention;
use engine::record::{BatchBuilder, Compression};
use engine::schema::{Schema, SchemaId, SchemaRegistry, unframe};
use engine::stream::Deployment;
use engine::stream::worker::prepare;
use engine::types::{Offset, Timestamp, TopicPartition};
use engine::wire::Transport;
use tokio::sync::watch;
use tokio::time::Instant;

use super::board::{Board, Deleted, Stage, TaskKey};
use crate::checks::changelog::GROUP_OFFSETS;
use crate::checks::log::digest;
use crate::evidence::{Ack, PollRecord, Seen, SendRecord};
use crate::plan::{Host, Replay, Truncate, TruncateBy};
use crate::workload::SourceEvent;

/// The header that carries a send's id, u64 BE.
pub const SEND_HEADER: &str = "segno.send";

/// What the control host is built from.
pub struct Control {
    pub env: Env,
    pub board: Board,
    pub transport: Arc<dyn Transport>,
    pub client: ClientConfig,
    pub source: String,
    pub partitions: i32,
    pub events: Vec<SourceEvent>,
    /// What the events' values are written with, until it is registered.
    pub schemas: RefCell<BTreeMap<SchemaId, Schema>>,
    pub batch_events: usize,
    pub compression: Compression,
    /// A send that takes longer is left to its fate, and the next goes ahead.
    pub patience: Duration,
    pub task_hosts: Vec<Host>,
    pub rotate: usize,
    pub deployments: Rc<[Deployment; 3]>,
    pub truncate: Option<Truncate>,
    pub replay: Replay,
}

impl Control {
    /// Runs until the world ends.
    pub async fn run(self) {
        let this = Rc::new(self);
        let client = Client::new(this.env.clone(), this.transport.clone(), this.client.clone());
        this.keep_trying("create the source topic", || client.create_topic(&this.source, this.partitions)).await;
        let mut changed = this.board.watch();
        let [live, replay, third] = &*this.deployments;
        let again = this.replay.twice.then_some(third);
        for deployment in [live, replay].into_iter().chain(again) {
            this.wanted(&mut changed, deployment.version).await;
            this.start(&client, deployment).await;
            if deployment.version == live.version {
                this.start_producing(&client).await;
            }
            this.start_readers(&client, deployment);
            let (this, client, deployment) = (this.clone(), client.clone(), deployment.clone());
            tokio::task::spawn_local(async move { this.observe(&client, &deployment).await });
        }
        if let Some(truncate) = this.truncate {
            this.wanted(&mut changed, third.version).await;
            if let Some(after_ms) = truncate.after_ms {
                this.start(&client, third).await;
                tokio::time::sleep(Duration::from_millis(after_ms)).await;
            }
            this.cut_source(&client, &mut changed, truncate).await;
            if truncate.after_ms.is_none() {
                this.start(&client, third).await;
            }
        }
        std::future::pending::<()>().await;
    }

    async fn wanted(&self, changed: &mut watch::Receiver<u64>, version: u32) {
        while self.board.wanted() < version {
            if changed.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    async fn start(&self, client: &Client, deployment: &Deployment) {
        self.keep_trying("prepare a version", || prepare(client, deployment)).await;
        let version = deployment.version;
        let keys = deployment.tasks().into_iter().map(|task| TaskKey {
            version,
            stage: task.stage,
            partition: task.partition,
        });
        let hosts = match self.replay.hosts {
            Some(count) if version > 1 => &self.task_hosts[..count as usize],
            _ => &self.task_hosts[..],
        };
        self.board.start(version, keys, hosts, self.rotate);
    }

    /// The source loses its beginning; back when it has.
    async fn cut_source(&self, client: &Client, changed: &mut watch::Receiver<u64>, truncate: Truncate) {
        let partition = TopicPartition::new(self.source.as_str(), truncate.partition);
        let end = self
            .keep_trying("find the end of the source", || {
                client.list_offset(&partition, OffsetSpec::ReadCommittedLatest)
            })
            .await;
        let end = end.map_or(0, |end| end.0);
        let of =
            self.events.iter().filter(|event| event.partition == truncate.partition && event.watermark().is_none());
        let (times, bytes): (Vec<i64>, Vec<u64>) = of.map(|event| (event.timestamp, event.size_bytes())).unzip();
        let part = |whole: i64| whole / 1_000 * i64::from(truncate.per_mille);
        let what = match (truncate.by, times.iter().min(), times.iter().max()) {
            (TruncateBy::Time, Some(first), Some(last)) => {
                Deleted::AllBut(Retention::From(Timestamp(first + part(last - first))))
            }
            (TruncateBy::Size, ..) => {
                let bytes: u64 = bytes.iter().sum();
                Deleted::AllBut(Retention::Bytes(bytes * u64::from(1_000 - truncate.per_mille) / 1_000))
            }
            _ => Deleted::Below(Offset((end * i64::from(truncate.per_mille) / 1_000).max(1))),
        };
        self.board.delete(partition, what);
        while self.board.deletion().is_some_and(|deletion| deletion.start.is_none()) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    async fn keep_trying<T, E: std::fmt::Display, F: Future<Output = Result<T, E>>>(
        &self,
        what: &str,
        attempt: impl Fn() -> F,
    ) -> T {
        loop {
            match attempt().await {
                Ok(value) => return value,
                Err(error) => self.env.log(format_args!("could not {what}: {error}")),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// One sender a partition; the board hears when all have sent everything.
    async fn start_producing(self: &Rc<Self>, client: &Client) {
        let producer = self.keep_trying("start the producer", || Producer::init(client)).await;
        let started = Instant::now();
        let mut senders = Vec::new();
        for partition in 0..self.partitions {
            let (this, producer) = (self.clone(), producer.clone());
            let client = client.clone();
            senders.push(tokio::task::spawn_local(async move {
                this.send_partition(&client, &producer, partition, started).await;
            }));
        }
        let board = self.board.clone();
        tokio::task::spawn_local(async move {
            for sender in senders {
                // A panic in a task ends the run by itself.
                let _ = sender.await;
            }
            board.produced();
        });
    }

    async fn send_partition(&self, client: &Client, producer: &Producer, partition: i32, started: Instant) {
        let target = TopicPartition::new(self.source.as_str(), partition);
        let mut builder = BatchBuilder::new(self.compression);
        // An event's id is given, or its place in the plan, from 1: a function of the plan, unique, never reused.
        let mut events = self.events.iter().enumerate().filter(|(_, event)| event.partition == partition).peekable();
        let mut ids: Vec<u64> = Vec::new();
        while let Some(due_ms) = events.peek().map(|(_, event)| event.at_ms).or((!ids.is_empty()).then_some(0)) {
            tokio::time::sleep_until(started + Duration::from_millis(due_ms)).await;
            let now_ms = started.elapsed().as_millis() as u64;
            while ids.len() < self.batch_events
                && let Some((index, event)) = events.next_if(|(_, event)| event.at_ms <= now_ms)
            {
                let id = event.id.unwrap_or(index as u64 + 1);
                self.register_schema_of(client, event).await;
                self.push(&mut builder, &target, id, event);
                ids.push(id);
            }
            let sent = match events.peek() {
                Some(_) => tokio::time::timeout(self.patience, producer.send(&target, &mut builder)).await,
                // The end marker is waited for.
                None => Ok(producer.send(&target, &mut builder).await),
            };
            match sent {
                Ok(Ok(base)) => {
                    let at = self.board.moment();
                    for (delta, id) in ids.iter().enumerate() {
                        self.board.acked(*id, Ack { at, offset: base.plus(delta as i64) });
                    }
                }
                Ok(Err(error)) => {
                    self.env.log(format_args!("{target}: {} events in doubt: {error}", ids.len()));
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(_) => self.env.log(format_args!("{target}: {} events left in doubt", ids.len())),
            }
            // Records that stay in the builder were not sent: an earlier batch has to be settled before them.
            if builder.is_empty() {
                ids.clear();
            }
        }
    }

    /// A schema is in the log before the first value that names it.
    async fn register_schema_of(&self, client: &Client, event: &SourceEvent) {
        let Some(Ok((id, _))) = event.value.as_deref().map(unframe) else { return };
        let Some(schema) = self.schemas.borrow().get(&id).cloned() else { return };
        let schema = &schema;
        let register = || async move { SchemaRegistry::open(client).await?.register(schema).await };
        self.keep_trying("register a schema", register).await;
        self.schemas.borrow_mut().remove(&id);
    }

    fn push(&self, builder: &mut BatchBuilder, target: &TopicPartition, id: u64, event: &SourceEvent) {
        let stamp = id.to_be_bytes();
        let headers: Vec<(&[u8], Option<&[u8]>)> = event
            .headers
            .iter()
            .map(|(name, value)| (name.as_bytes(), Some(value.as_slice())))
            .chain([(SEND_HEADER.as_bytes(), Some(stamp.as_slice()))])
            .collect();
        let named = event.headers.iter().map(|(name, value)| (name.as_str(), Some(value.as_slice())));
        let digest = digest(
            event.timestamp,
            event.key.as_deref(),
            event.value.as_deref(),
            named.chain([(SEND_HEADER, Some(stamp.as_slice()))]),
        );
        builder.push(Timestamp(event.timestamp), event.key.as_deref(), event.value.as_deref(), &headers);
        let sent = self.board.moment();
        self.board.sent(SendRecord { id, partition: target.clone(), digest, sent, acks: Vec::new() });
    }

    /// Two readers of what a version writes, one of each isolation, and for the first version of the source too.
    fn start_readers(self: &Rc<Self>, client: &Client, deployment: &Deployment) {
        let mut partitions: Vec<TopicPartition> = Vec::new();
        let mut topics = deployment.topics();
        if deployment.version == 1 {
            topics.push((self.source.clone(), self.partitions));
        }
        for (topic, count) in topics {
            partitions.extend((0..count).map(|partition| TopicPartition::new(topic.as_str(), partition)));
        }
        partitions.sort();
        partitions.dedup();
        for isolation in [Isolation::ReadCommitted, Isolation::ReadUncommitted] {
            let (this, client, partitions) = (self.clone(), client.clone(), partitions.clone());
            let reader = format!("{isolation:?}-{}", deployment.version);
            tokio::task::spawn_local(async move { this.read_along(&client, reader, partitions, isolation).await });
        }
    }

    async fn read_along(&self, client: &Client, reader: String, partitions: Vec<TopicPartition>, isolation: Isolation) {
        let mut consumer = Consumer::new(client, isolation);
        self.board.reads(reader.clone(), partitions.clone());
        consumer.assign(partitions.into_iter().map(|partition| (partition, Offset::ZERO)));
        let mut scratch = Vec::new();
        loop {
            let asked = self.board.moment();
            match consumer.poll(Duration::from_millis(200)).await {
                Ok(polled) => {
                    let answered = self.board.moment();
                    for polled in polled {
                        let mut seen = Vec::new();
                        let walked = polled.for_each(&mut scratch, |record| {
                            let headers = record.headers().map(|(name, value)| (text(name), value)).collect::<Vec<_>>();
                            let headers = headers.iter().map(|(name, value)| (name.as_str(), *value));
                            let digest = digest(record.timestamp.0, record.key, record.value, headers);
                            seen.push(Seen { offset: record.offset, digest });
                            Ok::<_, ClientError>(())
                        });
                        if let Err(error) = walked {
                            self.board.fail("inconsistent-offset", format!("{reader} cannot read a batch: {error}"));
                        }
                        self.board.polled(PollRecord {
                            reader: reader.clone(),
                            partition: polled.partition.clone(),
                            asked,
                            answered,
                            from: polled.from,
                            next: polled.next,
                            read_committed: isolation == Isolation::ReadCommitted,
                            high_watermark: polled.fetched.high_watermark,
                            last_stable: polled.fetched.last_stable,
                            log_start: polled.fetched.log_start,
                            seen,
                        });
                    }
                }
                Err(error) => {
                    self.env.log(format_args!("{reader}: {error}"));
                    if let ClientError::OffsetOutOfRange { partition, needed, start, end } = &error {
                        if needed > end {
                            let message = format!("{reader} had read {partition} up to {needed}, and it ends at {end}");
                            self.board.fail("durable", message);
                        }
                        // Trimmed: this reader wants whatever is there.
                        consumer.seek(partition, (*start).max(*needed));
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Once every task of the version has finished: until no transaction is open anywhere.
    async fn observe(&self, client: &Client, deployment: &Deployment) {
        let mut changed = self.board.watch();
        while !self.board.is_quiet(deployment.version) {
            if self.board.stage() >= Stage::Running(deployment.version)
                && self.board.unfinished(deployment.version).is_empty()
                && self.board.is_produced()
            {
                let missing = match self.missing(client, deployment).await {
                    Ok(missing) => missing,
                    Err(error) => vec![format!("the observer could not ask: {error}")],
                };
                self.board.observed(deployment.version, missing);
                tokio::time::sleep(Duration::from_millis(20)).await;
            } else if changed.changed().await.is_err() {
                return;
            }
        }
    }

    async fn missing(&self, client: &Client, deployment: &Deployment) -> Result<Vec<String>, ClientError> {
        let mut missing = Vec::new();
        let mut topics = deployment.topics();
        topics.push((self.source.clone(), self.partitions));
        topics.push((GROUP_OFFSETS.to_owned(), 1));
        for (topic, count) in topics {
            for partition in 0..count {
                let partition = TopicPartition::new(topic.as_str(), partition);
                let end = client.list_offset(&partition, OffsetSpec::Latest).await?;
                let stable = client.list_offset(&partition, OffsetSpec::ReadCommittedLatest).await?;
                if end != stable {
                    missing.push(format!("{partition}: a transaction is open ({stable:?} of {end:?} is stable)"));
                }
            }
        }
        Ok(missing)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
