//! The test's world: a directory, brokers over it, and a client of few words.

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use engine::broker::{Broker, BrokerConfig};
use engine::env::real::{self, EnvOptions};
use engine::env::{
    BoxFuture, Clock, Disk, Duplex, Entropy, Env, File, Listener, LockGuard, Logger, Network, OpenMode, Point, Points,
};
use engine::record::{BatchBuilder, Compression, ProducerStamp, batches};
use engine::types::{ProducerEpoch, ProducerId, Sequence, Timestamp};
use engine::wire::{Transport, api, frame};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, EndTxnRequest, FetchRequest, GroupId, InitProducerIdRequest, ListOffsetsRequest,
    OffsetFetchRequest, ProduceRequest, ProducerId as WireProducerId, RequestKind, ResponseKind, TopicName,
    TransactionalId, TxnOffsetCommitRequest,
};
use kafka_protocol::protocol::StrBytes;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::Notify;

pub type Outcome<T> = Result<T, ResponseError>;

/// A directory that outlives its brokers.
pub struct World {
    dir: TempDir,
    pub config: BrokerConfig,
}

/// A broker on its own runtime.
pub struct Running {
    pub runtime: Runtime,
    pub broker: Broker,
    pub client: Client,
    pub env: Env,
    frozen: Arc<Freeze>,
}

/// Stops whoever passes the point for the n-th time, for ever.
#[derive(Default)]
struct Freeze {
    at: Option<(Point, u32)>,
    passed: Mutex<u32>,
    reached: Notify,
}

impl Points for Freeze {
    fn reach(&self, point: Point) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let Some((at, nth)) = self.at else { return };
            if at != point {
                return;
            }
            let passed = {
                let mut passed = self.passed.lock().expect("no panic");
                *passed += 1;
                *passed
            };
            if passed >= nth {
                self.reached.notify_one();
                std::future::pending::<()>().await;
            }
        })
    }
}

/// The machine, whose syncs fail when told so.
struct Failing {
    env: Env,
    broken: Arc<AtomicBool>,
}

struct FailingFile {
    file: Arc<dyn File>,
    broken: Arc<AtomicBool>,
}

impl Clock for Failing {
    fn now(&self) -> Timestamp {
        self.env.now()
    }
}

impl Entropy for Failing {
    fn next_u64(&self) -> u64 {
        self.env.next_u64()
    }
}

impl Logger for Failing {
    fn log(&self, line: std::fmt::Arguments<'_>) {
        self.env.log(line);
    }
}

impl Network for Failing {
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Duplex>>> {
        self.env.network().connect(address)
    }
    fn bind<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        self.env.network().bind(address)
    }
}

impl Disk for Failing {
    fn open<'a>(&'a self, path: &'a Path, mode: OpenMode) -> BoxFuture<'a, io::Result<Arc<dyn File>>> {
        Box::pin(async move {
            let file = self.env.disk().open(path, mode).await?;
            Ok(Arc::new(FailingFile { file, broken: self.broken.clone() }) as Arc<dyn File>)
        })
    }
    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.env.disk().rename(from, to)
    }
    fn remove<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.env.disk().remove(path)
    }
    fn list<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<Vec<String>>> {
        self.env.disk().list(dir)
    }
    fn create_dir_all<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.env.disk().create_dir_all(dir)
    }
    fn sync_dir<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.env.disk().sync_dir(dir)
    }
    fn lock<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Box<dyn LockGuard>>> {
        self.env.disk().lock(path)
    }
}

impl File for FailingFile {
    fn append(&self, data: Vec<Bytes>) -> BoxFuture<'_, io::Result<u64>> {
        self.file.append(data)
    }
    fn read_at(&self, position: u64, len: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        self.file.read_at(position, len)
    }
    fn sync(&self) -> BoxFuture<'_, io::Result<()>> {
        if self.broken.load(Ordering::SeqCst) {
            return Box::pin(async { Err(io::Error::other("the disk is broken")) });
        }
        self.file.sync()
    }
    fn truncate(&self, len: u64) -> BoxFuture<'_, io::Result<()>> {
        self.file.truncate(len)
    }
    fn len(&self) -> BoxFuture<'_, io::Result<u64>> {
        self.file.len()
    }
}

impl World {
    /// A broker whose disk breaks when the flag is set.
    pub fn start_on_a_failing_disk(&self) -> (Running, Arc<AtomicBool>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let broken = Arc::new(AtomicBool::new(false));
        let env = real::env(EnvOptions { disk_threads: 2, log: false });
        let parts = || Arc::new(Failing { env: env.clone(), broken: broken.clone() });
        let env = Env::new(parts(), parts(), parts(), parts(), None, parts());
        let broker = runtime.block_on(Broker::start(env.clone(), self.config.clone())).expect("the broker starts");
        let client = Client { transport: broker.local() };
        (Running { runtime, broker, client, env, frozen: Arc::default() }, broken)
    }

    /// Removes what a partition has on the disk.
    #[expect(clippy::disallowed_methods, reason = "the test breaks the disk from outside of the engine")]
    pub fn lose(&self, partition: &str) {
        std::fs::remove_dir_all(self.dir.path().join("data").join(partition)).expect("it was there");
    }

    pub fn new() -> World {
        let dir = tempfile::tempdir().expect("a directory");
        let config = BrokerConfig::new(dir.path().join("data"));
        World { dir, config }
    }

    pub fn files(&self) -> Vec<String> {
        #[expect(clippy::disallowed_methods, reason = "the test looks from outside of the engine")]
        let names = std::fs::read_dir(self.dir.path().join("data")).expect("the directory");
        let mut names: Vec<String> =
            names.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }

    pub fn start(&self) -> Running {
        self.start_frozen_at(None)
    }

    pub fn start_frozen_at(&self, at: Option<(Point, u32)>) -> Running {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let frozen = Arc::new(Freeze { at, ..Freeze::default() });
        let env = real::env(EnvOptions { disk_threads: 2, log: false }).with_points(frozen.clone());
        let broker = runtime.block_on(Broker::start(env.clone(), self.config.clone())).expect("the broker starts");
        let client = Client { transport: broker.local() };
        Running { runtime, broker, client, env, frozen }
    }

    /// Starts a broker that must not get past `point`: a crash within the recovery.
    pub fn crash_while_starting(&self, point: Point) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let frozen = Arc::new(Freeze { at: Some((point, 1)), ..Freeze::default() });
        let env = real::env(EnvOptions { disk_threads: 2, log: false }).with_points(frozen.clone());
        runtime.block_on(async {
            tokio::select! {
                biased;
                () = frozen.reached.notified() => {}
                _ = Broker::start(env, self.config.clone()) => panic!("{point:?} was not reached"),
            }
        });
    }
}

impl Running {
    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), work).await.expect("in time") })
    }

    /// Works until the broker freezes, then kills it.
    pub fn crash_at_point<T>(self, work: impl Future<Output = T>) {
        let reached = self.frozen.clone();
        self.run(async {
            tokio::select! {
                biased;
                () = reached.reached.notified() => {}
                _ = work => panic!("{:?} was not reached", self.frozen.at),
            }
        });
        self.crash();
    }

    pub fn crash(self) {
        drop(self.runtime);
    }

    pub fn stop(self) {
        self.run(self.broker.stop());
    }
}

/// A transport over one socket, one call at a time: frames by the codec, and nothing else.
pub struct Socket {
    stream: tokio::sync::Mutex<(Box<dyn Duplex>, i32)>,
}

impl Socket {
    pub async fn connect(env: &Env, address: &str) -> Socket {
        let stream = env.network().connect(address).await.expect("a connection");
        Socket { stream: tokio::sync::Mutex::new((stream, 0)) }
    }
}

impl Transport for Socket {
    fn call(
        &self,
        api_version: i16,
        request: RequestKind,
    ) -> BoxFuture<'_, Result<ResponseKind, engine::wire::TransportError>> {
        Box::pin(async move {
            use tokio::io::AsyncWriteExt;
            let mut guard = self.stream.lock().await;
            let (stream, correlation) = &mut *guard;
            *correlation += 1;
            let key = frame::request_key(&request).expect("one of ours");
            let sent = frame::encode_request(*correlation, "test", api_version, &request).expect("it encodes");
            stream.write_all(&sent).await.expect("it is sent");
            let reply = frame::read_frame(stream, 64 << 20).await.expect("it is answered").expect("not closed");
            let (id, response) = frame::decode_response(key, api_version, reply).expect("it decodes");
            assert_eq!(id, *correlation);
            Ok(response)
        })
    }
}

/// A client of few words: one try a call, codes as they are.
#[derive(Clone)]
pub struct Client {
    pub transport: Arc<dyn Transport>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writer {
    pub id: i64,
    pub epoch: i16,
}

pub fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

pub fn topic_name(value: &str) -> TopicName {
    TopicName(text(value))
}

fn outcome<T>(code: i16, value: T) -> Outcome<T> {
    match ResponseError::try_from_code(code) {
        None => Ok(value),
        Some(error) => Err(error),
    }
}

/// A batch of one record a value, stamped in sequence from `sequence`.
pub fn batch(writer: Option<(Writer, i32)>, transactional: bool, values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for (index, value) in values.iter().enumerate() {
        builder.push(Timestamp(1000 + index as i64), None, Some(value.as_bytes()), &[]);
    }
    let stamp = match writer {
        None => ProducerStamp::NONE,
        Some((writer, sequence)) => ProducerStamp {
            producer_id: ProducerId(writer.id),
            producer_epoch: ProducerEpoch(writer.epoch),
            base_sequence: Sequence(sequence),
            transactional,
        },
    };
    builder.finish(stamp)
}

impl Client {
    pub async fn call(&self, request: impl Into<RequestKind>) -> ResponseKind {
        let request = request.into();
        let key = frame::request_key(&request).expect("one of ours");
        self.transport.call(api::latest(key), request).await.expect("an answer")
    }

    pub async fn create(&self, topic: &str, partitions: i32) -> Outcome<()> {
        let request = CreateTopicsRequest::default().with_timeout_ms(1000).with_topics(vec![
            CreatableTopic::default()
                .with_name(topic_name(topic))
                .with_num_partitions(partitions)
                .with_replication_factor(-1),
        ]);
        let ResponseKind::CreateTopics(response) = self.call(request).await else { panic!("another response") };
        outcome(response.topics[0].error_code, ())
    }

    pub async fn init_once(&self, transactional_id: Option<&str>, holder: Option<Writer>) -> Outcome<Writer> {
        let holder = holder.unwrap_or(Writer { id: -1, epoch: -1 });
        let request = InitProducerIdRequest::default()
            .with_transactional_id(transactional_id.map(|id| TransactionalId(text(id))))
            .with_transaction_timeout_ms(60_000)
            .with_producer_id(WireProducerId(holder.id))
            .with_producer_epoch(holder.epoch);
        let ResponseKind::InitProducerId(response) = self.call(request).await else { panic!("another response") };
        outcome(response.error_code, Writer { id: response.producer_id.0, epoch: response.producer_epoch })
    }

    /// Until no transaction is in the way.
    pub async fn init(&self, transactional_id: &str) -> Writer {
        loop {
            match self.init_once(Some(transactional_id), None).await {
                Err(ResponseError::ConcurrentTransactions) => tokio::time::sleep(Duration::from_millis(1)).await,
                other => return other.expect("initialised"),
            }
        }
    }

    /// Sends batches to partitions of a topic, in one request.
    pub async fn produce_all(
        &self,
        transactional_id: Option<&str>,
        topic: &str,
        batches: Vec<(i32, Bytes)>,
    ) -> Vec<Outcome<i64>> {
        let data = batches
            .into_iter()
            .map(|(index, batch)| PartitionProduceData::default().with_index(index).with_records(Some(batch)));
        let request = ProduceRequest::default()
            .with_transactional_id(transactional_id.map(|id| TransactionalId(text(id))))
            .with_acks(-1)
            .with_timeout_ms(1000)
            .with_topic_data(vec![
                TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(data.collect()),
            ]);
        let ResponseKind::Produce(response) = self.call(request).await else { panic!("another response") };
        let answers = response.responses[0].partition_responses.iter();
        answers.map(|answer| outcome(answer.error_code, answer.base_offset)).collect()
    }

    pub async fn produce(&self, id: Option<&str>, topic: &str, index: i32, batch: Bytes) -> Outcome<i64> {
        self.produce_all(id, topic, vec![(index, batch)]).await[0]
    }

    /// A transactional batch.
    pub async fn write(
        &self,
        id: &str,
        writer: Writer,
        sequence: i32,
        topic: &str,
        index: i32,
        value: &str,
    ) -> Outcome<i64> {
        self.produce(Some(id), topic, index, batch(Some((writer, sequence)), true, &[value])).await
    }

    pub async fn end_once(&self, id: &str, writer: Writer, commit: bool) -> Outcome<Writer> {
        let request = EndTxnRequest::default()
            .with_transactional_id(TransactionalId(text(id)))
            .with_producer_id(WireProducerId(writer.id))
            .with_producer_epoch(writer.epoch)
            .with_committed(commit);
        let ResponseKind::EndTxn(response) = self.call(request).await else { panic!("another response") };
        outcome(response.error_code, Writer { id: response.producer_id.0, epoch: response.producer_epoch })
    }

    pub async fn end(&self, id: &str, writer: Writer, commit: bool) -> Outcome<Writer> {
        loop {
            match self.end_once(id, writer, commit).await {
                Err(ResponseError::ConcurrentTransactions) => tokio::time::sleep(Duration::from_millis(1)).await,
                other => return other,
            }
        }
    }

    pub async fn fetch_with(&self, request: FetchRequest) -> PartitionData {
        let ResponseKind::Fetch(response) = self.call(request).await else { panic!("another response") };
        response.responses[0].partitions[0].clone()
    }

    pub fn fetch_request(topic: &str, index: i32, from: i64, committed: bool, wait_ms: i32) -> FetchRequest {
        let partition =
            FetchPartition::default().with_partition(index).with_fetch_offset(from).with_partition_max_bytes(1 << 20);
        FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(wait_ms)
            .with_min_bytes(1)
            .with_max_bytes(8 << 20)
            .with_isolation_level(i8::from(committed))
            .with_topics(vec![FetchTopic::default().with_topic(topic_name(topic)).with_partitions(vec![partition])])
    }

    pub async fn fetch(&self, topic: &str, index: i32, from: i64, committed: bool) -> PartitionData {
        self.fetch_with(Client::fetch_request(topic, index, from, committed, 0)).await
    }

    /// The values that a reader gets to see, from the beginning.
    pub async fn values(&self, topic: &str, index: i32, committed: bool) -> Vec<String> {
        let mut from = 0;
        let mut values = Vec::new();
        loop {
            let data = self.fetch(topic, index, from, committed).await;
            assert_eq!(data.error_code, 0, "{topic}-{index} from {from}");
            let bytes = data.records.unwrap_or_default();
            if bytes.is_empty() {
                return values;
            }
            let mut aborted: Vec<(i64, i64)> = data
                .aborted_transactions
                .unwrap_or_default()
                .iter()
                .map(|aborted| (aborted.first_offset, aborted.producer_id.0))
                .collect();
            for found in batches(&bytes) {
                let found = found.expect("a whole batch");
                let header = *found.header();
                from = header.next_offset().0;
                let of_aborted = |(first, id): &(i64, i64)| {
                    *id == header.producer_id.0 && *first <= header.base_offset.0 && header.transactional
                };
                if header.control {
                    aborted.retain(|entry| !of_aborted(entry));
                    continue;
                }
                if aborted.iter().any(of_aborted) {
                    continue;
                }
                let mut scratch = Vec::new();
                for record in found.records(&mut scratch).expect("readable") {
                    let value = record.expect("a record").value.expect("a value").to_vec();
                    values.push(String::from_utf8(value).expect("UTF-8"));
                }
            }
        }
    }

    pub async fn list_offset(&self, topic: &str, index: i32, at: i64, committed: bool) -> Outcome<(i64, i64)> {
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_isolation_level(i8::from(committed))
            .with_topics(vec![ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(vec![
                ListOffsetsPartition::default().with_partition_index(index).with_timestamp(at),
            ])]);
        let ResponseKind::ListOffsets(response) = self.call(request).await else { panic!("another response") };
        let answer = &response.topics[0].partitions[0];
        outcome(answer.error_code, (answer.offset, answer.timestamp))
    }

    pub async fn commit_offset(
        &self,
        id: &str,
        writer: Writer,
        group: &str,
        topic: &str,
        index: i32,
        offset: i64,
    ) -> Outcome<()> {
        let partition =
            TxnOffsetCommitRequestPartition::default().with_partition_index(index).with_committed_offset(offset);
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(TransactionalId(text(id)))
            .with_group_id(GroupId(text(group)))
            .with_producer_id(WireProducerId(writer.id))
            .with_producer_epoch(writer.epoch)
            .with_generation_id(-1)
            .with_topics(vec![
                TxnOffsetCommitRequestTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]),
            ]);
        let ResponseKind::TxnOffsetCommit(response) = self.call(request).await else { panic!("another response") };
        outcome(response.topics[0].partitions[0].error_code, ())
    }

    pub async fn offset(&self, group: &str, topic: &str, index: i32, stable: bool) -> Outcome<i64> {
        let request = OffsetFetchRequest::default().with_require_stable(stable).with_groups(vec![
            OffsetFetchRequestGroup::default().with_group_id(GroupId(text(group))).with_topics(Some(vec![
                OffsetFetchRequestTopics::default().with_name(topic_name(topic)).with_partition_indexes(vec![index]),
            ])),
        ]);
        let ResponseKind::OffsetFetch(response) = self.call(request).await else { panic!("another response") };
        let answer = &response.groups[0].topics[0].partitions[0];
        outcome(answer.error_code, answer.committed_offset)
    }
}
