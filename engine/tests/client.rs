//! One body of laws for the client, held against the broker in this process, against the same broker over a socket, and
//! against the model that other tests trust.

#![expect(clippy::disallowed_methods, reason = "a test runs on a runtime of its own")]

#[expect(dead_code, reason = "each test file uses its part of the model")]
mod model;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use engine::broker::{Broker, BrokerConfig};
use engine::client::*;
use engine::env::real::{EnvOptions, env};
use engine::record::{BatchBuilder, Compression};
use engine::schema::{Schema, SchemaError, SchemaRegistry};
use engine::types::{Offset, Timestamp, TopicPartition};
use engine::wire::Transport;
use kafka_protocol::messages::RequestKind;
use model::{Fate, Model};

fn config() -> ClientConfig {
    ClientConfig { retry_for: Duration::from_secs(10), ..ClientConfig::default() }
}

fn tp(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

fn batch(values: &[&str]) -> BatchBuilder {
    let mut batch = BatchBuilder::new(Compression::Lz4);
    for (index, value) in values.iter().enumerate() {
        batch.push(Timestamp(1_000 + index as i64), Some(b"k"), Some(value.as_bytes()), &[]);
    }
    batch
}

/// Everything from `from` up to what a reader may see now.
async fn read(client: &Client, partition: &TopicPartition, from: i64, isolation: Isolation) -> Vec<(i64, String)> {
    let end = match isolation {
        Isolation::ReadCommitted => client.stable_end(partition).await.expect("end"),
        Isolation::ReadUncommitted => client.end(partition).await.expect("end"),
    };
    let mut consumer = Consumer::new(client, isolation);
    consumer.assign([(partition.clone(), Offset(from))]);
    let mut records = Vec::new();
    let mut scratch = Vec::new();
    while consumer.position(partition) < Some(end) {
        for polled in consumer.poll(Duration::from_secs(1)).await.expect("poll") {
            polled
                .for_each::<ClientError>(&mut scratch, |record| {
                    let value = String::from_utf8_lossy(record.value.expect("a value")).into_owned();
                    records.push((record.offset.0, value));
                    Ok(())
                })
                .expect("records");
        }
    }
    records
}

fn rows(rows: &[(i64, &str)]) -> Vec<(i64, String)> {
    rows.iter().map(|(offset, value)| (*offset, (*value).to_owned())).collect()
}

async fn topics_are_made_once_and_keep_their_partitions(client: &Client) {
    assert_eq!(client.partitions("made").await, Ok(None));
    client.create_topic("made", 3).await.expect("creates");
    client.create_topic("made", 3).await.expect("again is fine");
    assert_eq!(client.partitions("made").await, Ok(Some(3)));
    let other = client.create_topic("made", 4).await;
    assert_eq!(other, Err(ClientError::PartitionCount { topic: "made".to_owned(), wanted: 4, found: 3 }));
    let nowhere = client.end(&tp("never-made", 0)).await;
    assert!(matches!(nowhere, Err(ClientError::UnknownTopic { .. })), "{nowhere:?}");
    let nowhere = client.end(&tp("made", 3)).await;
    assert!(matches!(nowhere, Err(ClientError::UnknownTopic { .. })), "{nowhere:?}");
}

async fn what_is_sent_is_read_in_order(client: &Client) {
    client.create_topic("plain", 2).await.expect("creates");
    let producer = Producer::init(client).await.expect("init");
    assert_eq!(producer.send(&tp("plain", 0), &mut batch(&["a", "b"])).await, Ok(Offset(0)));
    assert_eq!(producer.send(&tp("plain", 0), &mut batch(&["c"])).await, Ok(Offset(2)));
    let (mut d, mut e) = (batch(&["d"]), batch(&["e"]));
    let mut both = [(tp("plain", 1), &mut e), (tp("plain", 0), &mut d)];
    assert_eq!(producer.send_all(&mut both).await, Ok(vec![Offset(3), Offset(0)]));
    let expected = rows(&[(0, "a"), (1, "b"), (2, "c"), (3, "d")]);
    for isolation in [Isolation::ReadUncommitted, Isolation::ReadCommitted] {
        assert_eq!(read(client, &tp("plain", 0), 0, isolation).await, expected);
        assert_eq!(read(client, &tp("plain", 0), 1, isolation).await, expected[1..], "from the middle of a batch");
    }
    assert_eq!(client.log_start(&tp("plain", 0)).await, Ok(Offset(0)));
    assert_eq!(client.end(&tp("plain", 0)).await, Ok(Offset(4)));
    let at = |ms| OffsetSpec::At(Timestamp(ms));
    assert_eq!(client.list_offset(&tp("plain", 0), at(0)).await, Ok(Some(Offset(0))));
    assert_eq!(client.list_offset(&tp("plain", 0), at(5_000)).await, Ok(None));
}

async fn concurrent_senders_lose_and_repeat_nothing(client: &Client) {
    client.create_topic("crowd", 2).await.expect("creates");
    let producer = Producer::init(client).await.expect("init");
    let mut senders = Vec::new();
    for sender in 0..4 {
        let producer = producer.clone();
        senders.push(tokio::spawn(async move {
            for turn in 0..10 {
                let value = format!("{sender}-{turn}");
                producer.send(&tp("crowd", sender % 2), &mut batch(&[&value])).await.expect("send");
            }
        }));
    }
    for sender in senders {
        sender.await.expect("no panic");
    }
    for partition in 0..2 {
        let found = read(client, &tp("crowd", partition), 0, Isolation::ReadCommitted).await;
        assert_eq!(found.len(), 20);
        let mut last: BTreeMap<&str, i32> = BTreeMap::new();
        for (_, value) in &found {
            let (sender, turn) = value.split_once('-').expect("a dash");
            let turn: i32 = turn.parse().expect("a number");
            assert_eq!(turn, last.insert(sender, turn).map_or(0, |last| last + 1), "{found:?}");
        }
    }
}

async fn a_transaction_is_seen_as_a_whole_or_not_at_all(client: &Client) {
    client.create_topic("txn", 2).await.expect("creates");
    let (zero, one) = (tp("txn", 0), tp("txn", 1));
    let group = "txn-group";
    let source = [tp("plain", 0), tp("plain", 1)];
    let mut writer = TransactionalProducer::init(client, "txn-writer", Duration::from_secs(60)).await.expect("init");
    writer.stage(&zero, &mut batch(&["a"]));
    writer.stage(&one, &mut batch(&["b"]));
    writer.flush().await.expect("flush");
    writer.send(&zero, &mut batch(&["c"])).await.expect("send");
    writer.send_offsets(group, &[(source[0].clone(), Offset(7))]).await.expect("offsets");
    assert_eq!(client.end(&zero).await, Ok(Offset(2)), "durable");
    assert_eq!(client.stable_end(&zero).await, Ok(Offset(0)), "and not stable");
    assert_eq!(read(client, &zero, 0, Isolation::ReadCommitted).await, []);
    assert_eq!(read(client, &zero, 0, Isolation::ReadUncommitted).await, rows(&[(0, "a"), (1, "c")]));
    assert_eq!(client.committed_offsets(group, &source, false).await, Ok(vec![None, None]));
    writer.commit().await.expect("commit");
    assert_eq!(read(client, &zero, 0, Isolation::ReadCommitted).await, rows(&[(0, "a"), (1, "c")]));
    assert_eq!(read(client, &one, 0, Isolation::ReadCommitted).await, rows(&[(0, "b")]));
    assert_eq!(client.stable_end(&zero).await, Ok(Offset(3)), "past the marker");
    assert_eq!(client.committed_offsets(group, &source, true).await, Ok(vec![Some(Offset(7)), None]));

    let before = writer.producer();
    writer.send(&zero, &mut batch(&["gone"])).await.expect("send");
    writer.send_offsets(group, &[(source[0].clone(), Offset(8))]).await.expect("offsets");
    writer.abort().await.expect("abort");
    assert_ne!(writer.producer(), before, "each transaction has an epoch of its own");
    writer.send(&zero, &mut batch(&["d"])).await.expect("send");
    writer.commit().await.expect("commit");
    assert_eq!(read(client, &zero, 0, Isolation::ReadCommitted).await, rows(&[(0, "a"), (1, "c"), (5, "d")]));
    assert_eq!(client.committed_offsets(group, &source, true).await, Ok(vec![Some(Offset(7)), None]));
}

async fn an_heir_fences_its_predecessor(client: &Client) {
    client.create_topic("heir", 1).await.expect("creates");
    let partition = tp("heir", 0);
    let timeout = Duration::from_secs(60);
    let mut older = TransactionalProducer::init(client, "heir-writer", timeout).await.expect("init");
    older.send(&partition, &mut batch(&["lost"])).await.expect("send");
    let mut newer = TransactionalProducer::init(client, "heir-writer", timeout).await.expect("init");
    assert_eq!(client.stable_end(&partition).await, Ok(Offset(2)), "the open transaction is aborted by now");
    let errors = [
        older.send(&partition, &mut batch(&["more"])).await.expect_err("fenced"),
        older.abort().await.expect_err("fenced"),
    ];
    for error in errors {
        assert!(matches!(error, ClientError::Fenced { .. }), "{error}");
    }
    newer.send(&partition, &mut batch(&["kept"])).await.expect("send");
    newer.commit().await.expect("commit");
    assert_eq!(read(client, &partition, 0, Isolation::ReadCommitted).await, rows(&[(2, "kept")]));
}

async fn an_offset_that_is_not_there_is_named(client: &Client) {
    client.create_topic("short", 1).await.expect("creates");
    let partition = tp("short", 0);
    let producer = Producer::init(client).await.expect("init");
    producer.send(&partition, &mut batch(&["a"])).await.expect("send");
    let beyond = client.fetch(&partition, Offset(9), 1 << 20, Duration::ZERO, Isolation::ReadCommitted).await;
    let (needed, start, end) = (Offset(9), Offset(0), Offset(1));
    assert_eq!(beyond, Err(ClientError::OffsetOutOfRange { partition, needed, start, end }));
}

async fn a_long_poll_ends_when_something_comes(client: &Client) {
    client.create_topic("poll", 1).await.expect("creates");
    let partition = tp("poll", 0);
    let producer = Producer::init(client).await.expect("init");
    let began = tokio::time::Instant::now();
    let waiting = client.fetch(&partition, Offset(0), 1 << 20, Duration::from_secs(20), Isolation::ReadCommitted);
    let mut value = batch(&["a"]);
    let sending = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        producer.send(&partition, &mut value).await.expect("send");
    };
    let (fetched, ()) = tokio::join!(waiting, sending);
    assert!(!fetched.expect("fetch").bytes.is_empty());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

async fn the_registry_holds_each_schema_once(client: &Client) {
    let schema = Schema::parse(r#"{"type":"record","name":"R","fields":[{"name":"a","type":"long"}]}"#);
    let schema = schema.expect("a schema");
    let mut registry = SchemaRegistry::open(client).await.expect("opens");
    let id = registry.register(&schema).await.expect("registers");
    assert_eq!(id, schema.id());
    let end = client.end(&tp("_schemas", 0)).await;
    let spaced = Schema::parse(&schema.json().replace(',', ", ")).expect("a schema");
    registry.register(&spaced).await.expect("the same schema");
    assert_eq!(client.end(&tp("_schemas", 0)).await, end, "nothing was added");
    let mut other = SchemaRegistry::open(client).await.expect("opens");
    assert_eq!(other.get(id), Some(&schema), "loaded at start");
    let dated = schema.json().replace(r#""long""#, r#"{"type":"long","logicalType":"timestamp-millis"}"#);
    let conflict = other.register(&Schema::parse(&dated).expect("a schema")).await;
    assert!(matches!(conflict, Err(SchemaError::Conflict { id: found, .. }) if found == id), "{conflict:?}");
}

async fn laws(client: &Client) {
    topics_are_made_once_and_keep_their_partitions(client).await;
    what_is_sent_is_read_in_order(client).await;
    concurrent_senders_lose_and_repeat_nothing(client).await;
    a_transaction_is_seen_as_a_whole_or_not_at_all(client).await;
    an_heir_fences_its_predecessor(client).await;
    an_offset_that_is_not_there_is_named(client).await;
    a_long_poll_ends_when_something_comes(client).await;
    the_registry_holds_each_schema_once(client).await;
}

/// What a transport that loses replies may add: a request that took effect twice. Every law still holds.
struct Lossy {
    inner: Arc<dyn Transport>,
    calls: std::sync::atomic::AtomicU64,
}

impl Transport for Lossy {
    fn call(
        &self,
        version: i16,
        request: RequestKind,
    ) -> engine::env::BoxFuture<'_, Result<kafka_protocol::messages::ResponseKind, engine::wire::TransportError>> {
        let call = self.calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Box::pin(async move {
            let response = self.inner.call(version, request).await?;
            if call % 3 == 1 {
                let reason = "the reply was lost".to_owned();
                return Err(engine::wire::TransportError::Broken { address: "lossy".to_owned(), reason });
            }
            Ok(response)
        })
    }
}

/// Runs `body` beside a broker on a real disk.
fn with_broker<F: Future<Output = ()>>(body: impl FnOnce(Broker) -> F) {
    let dir = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let env = env(EnvOptions { log: false, ..EnvOptions::default() });
        let broker = Broker::start(env, BrokerConfig::new(dir.path())).await.expect("starts");
        body(broker.clone()).await;
        broker.stop().await;
    });
}

fn client_over(transport: Arc<dyn Transport>) -> Client {
    Client::new(env(EnvOptions { log: false, ..EnvOptions::default() }), transport, config())
}

#[test]
fn the_laws_hold_in_process() {
    with_broker(|broker| async move { laws(&client_over(broker.local())).await });
}

#[test]
fn the_laws_hold_over_a_socket() {
    with_broker(|broker| async move {
        let bound = broker.bind("127.0.0.1:0").await.expect("binds");
        let address = bound.address();
        let serving = tokio::spawn(bound.serve());
        let env = env(EnvOptions { log: false, ..EnvOptions::default() });
        laws(&client_over(Arc::new(SocketTransport::new(env, address, SocketConfig::default())))).await;
        serving.abort();
    });
}

#[test]
fn the_laws_hold_when_every_third_reply_is_lost() {
    with_broker(|broker| async move {
        laws(&client_over(Arc::new(Lossy { inner: broker.local(), calls: 0.into() }))).await;
    });
}

#[tokio::test(start_paused = true)]
async fn the_laws_hold_in_the_model() {
    laws(&client_over(Model::new())).await;
}

#[tokio::test(start_paused = true)]
async fn the_laws_hold_in_the_model_when_every_third_reply_is_lost() {
    let mut calls = 0;
    let model = Model::with(move |_| {
        calls += 1;
        match calls % 3 {
            1 => Fate::LoseReply,
            _ => Fate::Deliver,
        }
    });
    laws(&client_over(model)).await;
}

#[test]
fn a_transaction_that_is_left_open_is_aborted_in_time_and_its_writer_may_begin_again() {
    with_broker(|broker| async move {
        let client = client_over(broker.local());
        client.create_topic("left", 1).await.expect("creates");
        let partition = tp("left", 0);
        let timeout = Duration::from_millis(100);
        let mut writer = TransactionalProducer::init(&client, "left-writer", timeout).await.expect("init");
        writer.send(&partition, &mut batch(&["a"])).await.expect("send");
        let began = tokio::time::Instant::now();
        while client.stable_end(&partition).await != Ok(Offset(2)) {
            assert!(began.elapsed() < Duration::from_secs(10), "still open");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Nobody took over: this is no fencing, and a fresh start may get further.
        let error = writer.commit().await.expect_err("it is over");
        assert!(error.is_retryable(), "{error}");
        let mut writer = TransactionalProducer::init(&client, "left-writer", timeout).await.expect("init");
        writer.send(&partition, &mut batch(&["b"])).await.expect("send");
        tokio::time::sleep(Duration::from_millis(300)).await;
        let error = writer.send(&partition, &mut batch(&["c"])).await.expect_err("it is over");
        assert!(error.is_retryable(), "{error}");
        assert_eq!(read(&client, &partition, 0, Isolation::ReadCommitted).await, []);
    });
}
