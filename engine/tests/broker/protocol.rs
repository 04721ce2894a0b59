//! Topics, produce, fetch, offsets: what holds without transactions, on both transports alike.

#![expect(clippy::disallowed_methods, reason = "a test runs on a runtime of its own")]

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{MetadataRequest, ResponseKind};

use crate::world::{Client, Running, Socket, World, batch};

/// Runs `body` in process, then over a socket, each in a world of its own.
fn on_both_transports(body: impl AsyncFn(&Client)) {
    let world = World::new();
    let running = world.start();
    running.run(body(&running.client));
    running.stop();

    let world = World::new();
    let running = world.start();
    running.run(over_socket(&running, |client| async move { body(&client).await }));
    running.stop();
}

async fn over_socket<F: Future<Output = ()>>(running: &Running, body: impl FnOnce(Client) -> F) {
    let bound = running.broker.bind("127.0.0.1:0").await.expect("a port");
    let address = bound.address();
    let serving = tokio::spawn(bound.serve());
    let socket = Socket::connect(&running.env, &address).await;
    body(Client { transport: Arc::new(socket) }).await;
    serving.abort();
}

#[test]
fn what_is_produced_is_fetched_with_its_offsets() {
    on_both_transports(async |client| {
        assert_eq!(client.create("t", 2).await, Ok(()));
        assert_eq!(client.create("t", 2).await, Err(ResponseError::TopicAlreadyExists));
        assert_eq!(client.produce(None, "t", 1, batch(None, false, &["a", "b"])).await, Ok(0));
        assert_eq!(client.produce(None, "t", 1, batch(None, false, &["c"])).await, Ok(2));
        assert_eq!(client.values("t", 1, false).await, ["a", "b", "c"]);
        assert_eq!(client.values("t", 1, true).await, ["a", "b", "c"]);
        assert_eq!(client.values("t", 0, true).await, [""; 0]);
        // From within a batch: the whole batch.
        let data = client.fetch("t", 1, 1, false).await;
        assert_eq!((data.high_watermark, data.log_start_offset), (3, 0));
        assert!(data.records.is_some_and(|bytes| bytes.len() > 61));
        for bad in [-1, 4] {
            assert_eq!(client.fetch("t", 1, bad, false).await.error_code, ResponseError::OffsetOutOfRange.code());
        }
        assert_eq!(client.fetch("t", 2, 0, false).await.error_code, ResponseError::UnknownTopicOrPartition.code());
        let unknown = client.produce(None, "u", 0, batch(None, false, &["a"])).await;
        assert_eq!(unknown, Err(ResponseError::UnknownTopicOrPartition));
        assert_eq!(client.list_offset("t", 1, -2, false).await, Ok((0, -1)));
        assert_eq!(client.list_offset("t", 1, -1, false).await, Ok((3, -1)));
        assert_eq!(client.list_offset("t", 1, 1001, false).await, Ok((1, 1001)));
        assert_eq!(client.list_offset("t", 1, 5000, false).await, Ok((-1, -1)));
    });
}

#[test]
fn a_retried_batch_is_written_once_and_a_gap_is_refused() {
    on_both_transports(async |client| {
        client.create("t", 1).await.expect("created");
        let writer = client.init_once(None, None).await.expect("an id");
        let first = batch(Some((writer, 0)), false, &["a", "b"]);
        assert_eq!(client.produce(None, "t", 0, first.clone()).await, Ok(0));
        assert_eq!(client.produce(None, "t", 0, first).await, Ok(0));
        let gap = batch(Some((writer, 3)), false, &["d"]);
        assert_eq!(client.produce(None, "t", 0, gap).await, Err(ResponseError::OutOfOrderSequenceNumber));
        assert_eq!(client.produce(None, "t", 0, batch(Some((writer, 2)), false, &["c"])).await, Ok(2));
        assert_eq!(client.values("t", 0, true).await, ["a", "b", "c"]);
        let other = client.init_once(None, None).await.expect("an id");
        assert_ne!(other.id, writer.id);
    });
}

#[test]
fn bad_batches_are_refused_each_for_itself() {
    on_both_transports(async |client| {
        client.create("t", 3).await.expect("created");
        let good = batch(None, false, &["a"]);
        let mut flipped = good.to_vec();
        *flipped.last_mut().expect("bytes") ^= 1;
        let mut two = good.to_vec();
        two.extend_from_slice(&good);
        let answers = client
            .produce_all(
                None,
                "t",
                vec![(0, flipped.into()), (1, good.clone()), (2, two.into()), (1, good.slice(..20)), (9, good.clone())],
            )
            .await;
        assert_eq!(
            answers,
            [
                Err(ResponseError::CorruptMessage),
                Ok(0),
                Err(ResponseError::InvalidRecord),
                Err(ResponseError::CorruptMessage),
                Err(ResponseError::UnknownTopicOrPartition),
            ]
        );
        let own = client.produce(None, "__consumer_offsets", 0, good.clone()).await;
        assert_eq!(own, Err(ResponseError::InvalidTopicException));
        assert_eq!(client.values("t", 1, true).await, ["a"]);
    });
}

#[test]
fn a_fetch_waits_for_what_is_still_to_come_and_not_for_ever() {
    on_both_transports(async |client| {
        client.create("t", 1).await.expect("created");
        let before = tokio::time::Instant::now();
        let data = client.fetch_with(Client::fetch_request("t", 0, 0, false, 50)).await;
        assert!(data.records.is_none_or(|bytes| bytes.is_empty()));
        assert!(before.elapsed() >= Duration::from_millis(50));
    });
    let world = World::new();
    let running = world.start();
    let client = running.client.clone();
    running.run(async {
        client.create("t", 1).await.expect("created");
        let waiting = client.fetch_with(Client::fetch_request("t", 0, 0, false, 15_000));
        let writing = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            client.produce(None, "t", 0, batch(None, false, &["a"])).await
        };
        let (data, written) = tokio::join!(waiting, writing);
        assert_eq!(written, Ok(0));
        assert!(data.records.is_some_and(|bytes| !bytes.is_empty()));
    });
}

#[test]
fn metadata_names_the_topics_and_where_they_are() {
    on_both_transports(async |client| {
        client.create("t", 3).await.expect("created");
        for bad in ["", "..", "a/b"] {
            assert_eq!(client.create(bad, 1).await, Err(ResponseError::InvalidTopicException), "{bad:?}");
        }
        assert_eq!(client.create("none", 0).await, Err(ResponseError::InvalidPartitions));
        assert_eq!(client.create("many", 1_000_000).await, Err(ResponseError::InvalidPartitions));
        let ResponseKind::Metadata(all) = client.call(MetadataRequest::default().with_topics(None)).await else {
            panic!("another response");
        };
        let names: Vec<(String, usize, bool)> = all
            .topics
            .iter()
            .map(|topic| {
                let name = topic.name.as_ref().expect("named").to_string();
                (name, topic.partitions.len(), topic.is_internal)
            })
            .collect();
        let expected = [("__consumer_offsets", 1, true), ("__metadata", 1, true), ("__transaction_state", 1, true)];
        let expected = expected.into_iter().chain([("t", 3, false)]);
        assert_eq!(names, expected.map(|(name, count, own)| (name.to_owned(), count, own)).collect::<Vec<_>>());
        assert_eq!(all.brokers.len(), 1);
    });
}

#[test]
fn what_was_acknowledged_is_there_after_a_crash_and_after_a_stop() {
    let world = World::new();
    let running = world.start();
    let writer = running.run(async {
        running.client.create("t", 2).await.expect("created");
        let writer = running.client.init_once(None, None).await.expect("an id");
        let first = running.client.produce(None, "t", 0, batch(Some((writer, 0)), false, &["a"])).await;
        assert_eq!(first, Ok(0));
        writer
    });
    running.crash();
    let running = world.start();
    let again = running.run(async {
        // The retry of an acknowledged batch is answered as it was.
        let retry = running.client.produce(None, "t", 0, batch(Some((writer, 0)), false, &["a"])).await;
        assert_eq!(retry, Ok(0));
        let next = running.client.produce(None, "t", 0, batch(Some((writer, 1)), false, &["b"])).await;
        assert_eq!(next, Ok(1));
        assert_eq!(running.client.create("t", 2).await, Err(ResponseError::TopicAlreadyExists));
        running.client.init_once(None, None).await.expect("an id")
    });
    assert!(again.id > writer.id, "{again:?} after {writer:?}");
    running.stop();
    let running = world.start();
    assert_eq!(running.run(running.client.values("t", 0, true)), ["a", "b"]);
    assert_eq!(running.run(running.client.values("t", 1, true)), [""; 0]);
    running.stop();
}

#[test]
fn a_data_directory_has_one_broker_and_a_stopped_one_answers_nobody() {
    let world = World::new();
    let running = world.start();
    let second = running.run(engine::broker::Broker::start(running.env.clone(), world.config.clone()));
    assert!(matches!(second, Err(engine::broker::BrokerError::Locked { .. })));
    let client = running.client.clone();
    running.run(running.broker.stop());
    let request = MetadataRequest::default().with_topics(None);
    let refused = running.run(client.transport.call(9, request.into()));
    assert!(matches!(refused, Err(engine::wire::TransportError::Refused { .. })), "{refused:?}");
    world.start().stop();
    drop(running);
}
