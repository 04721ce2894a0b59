//! A kill at each named moment of a transaction, and what the next start makes of it.

use std::sync::Mutex;

use engine::broker::BrokerError;
use engine::env::Point;
use engine::wire::TransportError;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{DeleteRecordsRequest, ProduceRequest, ResponseKind};

use crate::world::{Client, World, Writer, batch, topic_name};

/// A committed transaction over two partitions and an offset, frozen at the `nth` passing of `point`; then a restart, and
/// the client's retry. Answers the client after it.
fn commit_through_a_crash_at(point: Point, nth: u32) {
    let world = World::new();
    let running = world.start();
    let writer = running.run(async {
        running.client.create("t", 2).await.expect("created");
        let writer = running.client.init("x").await;
        write(&running.client, writer).await;
        writer
    });
    running.crash();

    let running = world.start_frozen_at(Some((point, nth)));
    let client = running.client.clone();
    running.crash_at_point(async { client.end("x", writer, true).await });
    drop(client);

    let running = world.start();
    running.run(async {
        let client = &running.client;
        let next = client.end("x", writer, true).await;
        assert_eq!(next, Ok(Writer { id: writer.id, epoch: writer.epoch + 1 }), "{point:?}");
        assert_eq!(client.end("x", writer, true).await, next, "{point:?}");
        assert_eq!(client.end("x", writer, false).await, Err(ResponseError::InvalidTxnState), "{point:?}");
        assert_eq!(client.values("t", 0, true).await, ["a"], "{point:?}");
        assert_eq!(client.values("t", 1, true).await, ["b"], "{point:?}");
        assert_eq!(client.offset("g", "t", 0, true).await, Ok(7), "{point:?}");
        // One marker a partition: data, marker.
        for index in [0, 1] {
            assert_eq!(client.list_offset("t", index, -1, true).await, Ok((2, -1)), "{point:?} {index}");
        }
        // And it goes on.
        let next = next.expect("committed");
        client.write("x", next, 0, "t", 0, "c").await.expect("written");
        client.end("x", next, true).await.expect("committed");
        assert_eq!(client.values("t", 0, true).await, ["a", "c"], "{point:?}");
    });
    running.stop();
}

async fn write(client: &Client, writer: Writer) {
    client.write("x", writer, 0, "t", 0, "a").await.expect("written");
    client.write("x", writer, 0, "t", 1, "b").await.expect("written");
    client.commit_offset("x", writer, "g", "t", 0, 7).await.expect("staged");
}

#[test]
fn a_commit_survives_a_kill_before_its_decision() {
    commit_through_a_crash_at(Point::TxnBeforeDecision, 1);
}

#[test]
fn a_commit_survives_a_kill_after_its_decision() {
    commit_through_a_crash_at(Point::TxnDecided, 1);
}

#[test]
fn a_commit_survives_a_kill_among_its_markers() {
    commit_through_a_crash_at(Point::TxnMarkerWritten, 1);
    commit_through_a_crash_at(Point::TxnMarkerWritten, 2);
    commit_through_a_crash_at(Point::TxnMarkersWritten, 1);
}

#[test]
fn a_commit_survives_a_kill_after_its_completion() {
    commit_through_a_crash_at(Point::TxnCompleted, 1);
}

#[test]
fn a_commit_survives_kills_within_the_recovery_from_a_kill() {
    let world = World::new();
    let running = world.start_frozen_at(Some((Point::TxnDecided, 1)));
    let client = running.client.clone();
    let writer = Writer { id: 0, epoch: 0 };
    running.crash_at_point(async {
        client.create("t", 2).await.expect("created");
        assert_eq!(client.init("x").await, writer);
        write(&client, writer).await;
        client.end("x", writer, true).await
    });
    drop(client);
    world.crash_while_starting(Point::BrokerRecovered);
    for point in [Point::TxnDecided, Point::TxnMarkerWritten, Point::TxnMarkersWritten] {
        let running = world.start_frozen_at(Some((point, 1)));
        running.crash_at_point(std::future::pending::<()>());
    }
    let running = world.start();
    running.run(async {
        assert!(running.client.end("x", writer, true).await.is_ok());
        assert_eq!(running.client.values("t", 0, true).await, ["a"]);
        assert_eq!(running.client.values("t", 1, true).await, ["b"]);
        assert_eq!(running.client.offset("g", "t", 0, true).await, Ok(7));
    });
    running.stop();
}

#[test]
fn an_open_transaction_survives_a_kill_and_its_offsets_stay_pending() {
    let world = World::new();
    let running = world.start();
    let writer = running.run(async {
        running.client.create("t", 2).await.expect("created");
        let writer = running.client.init("x").await;
        write(&running.client, writer).await;
        writer
    });
    running.crash();
    let running = world.start();
    running.run(async {
        let client = &running.client;
        assert_eq!(client.offset("g", "t", 0, true).await, Err(ResponseError::UnstableOffsetCommit));
        assert_eq!(client.values("t", 0, true).await, [""; 0]);
        // The same sequence is a retry, the next one goes on; offsets may be added.
        assert_eq!(client.write("x", writer, 0, "t", 0, "a").await, Ok(0));
        assert_eq!(client.write("x", writer, 1, "t", 0, "a2").await, Ok(1));
        client.commit_offset("x", writer, "g", "t", 0, 8).await.expect("staged");
        client.end("x", writer, true).await.expect("committed");
        assert_eq!(client.values("t", 0, true).await, ["a", "a2"]);
        assert_eq!(client.offset("g", "t", 0, true).await, Ok(8));
    });
    running.stop();
}

#[test]
fn a_new_instance_after_a_kill_aborts_what_the_old_one_left() {
    let world = World::new();
    let running = world.start();
    let old = running.run(async {
        running.client.create("t", 2).await.expect("created");
        let old = running.client.init("x").await;
        write(&running.client, old).await;
        old
    });
    running.crash();
    let running = world.start();
    running.run(async {
        let client = &running.client;
        let new = client.init("x").await;
        assert!(new.epoch > old.epoch);
        assert_eq!(client.offset("g", "t", 0, true).await, Ok(-1));
        assert_eq!(client.end("x", old, true).await, Err(ResponseError::ProducerFenced));
        client.write("x", new, 0, "t", 0, "new").await.expect("written");
        client.end("x", new, true).await.expect("committed");
        assert_eq!(client.values("t", 0, true).await, ["new"]);
    });
    running.stop();
}

#[test]
fn nothing_is_written_to_a_partition_before_its_transaction_is_recorded() {
    let world = World::new();
    let running = world.start();
    let writer = running.run(async {
        running.client.create("t", 2).await.expect("created");
        running.client.init("x").await
    });
    running.crash();
    let running = world.start_frozen_at(Some((Point::TxnBeforeOngoing, 1)));
    let client = running.client.clone();
    running.crash_at_point(async { client.write("x", writer, 0, "t", 0, "a").await });
    drop(client);
    let running = world.start();
    running.run(async {
        let client = &running.client;
        assert_eq!(client.list_offset("t", 0, -1, false).await, Ok((0, -1)));
        assert_eq!(client.write("x", writer, 0, "t", 0, "a").await, Ok(0));
        client.end("x", writer, true).await.expect("committed");
        assert_eq!(client.values("t", 0, true).await, ["a"]);
    });
    running.stop();
}

#[test]
fn a_topic_that_was_recorded_and_not_made_is_made_at_the_next_start() {
    let world = World::new();
    let running = world.start_frozen_at(Some((Point::BrokerTopicRecorded, 1)));
    let client = running.client.clone();
    running.crash_at_point(async { client.create("t", 2).await });
    drop(client);
    assert!(!world.files().contains(&"t-0".to_owned()), "{:?}", world.files());
    let running = world.start();
    assert!(world.files().contains(&"t-1".to_owned()), "{:?}", world.files());
    assert_eq!(running.run(running.client.create("t", 2)), Err(ResponseError::TopicAlreadyExists));
    assert_eq!(running.run(running.client.values("t", 1, true)), [""; 0]);
    running.stop();
}

#[test]
fn a_failed_sync_ends_the_broker_and_nothing_is_acknowledged_after_it() {
    let world = World::new();
    let (running, broken) = world.start_on_a_failing_disk();
    running.run(async {
        let client = &running.client;
        client.create("t", 1).await.expect("created");
        assert_eq!(client.produce(None, "t", 0, batch(None, false, &["a"])).await, Ok(0));
        broken.store(true, std::sync::atomic::Ordering::SeqCst);
        let request = |value| {
            let data = PartitionProduceData::default().with_records(Some(batch(None, false, &[value])));
            let topic = TopicProduceData::default().with_name(topic_name("t")).with_partition_data(vec![data]);
            ProduceRequest::default().with_acks(-1).with_topic_data(vec![topic])
        };
        let lost = client.transport.call(12, request("b").into()).await;
        assert!(matches!(lost, Err(TransportError::Broken { .. })), "{lost:?}");
        let failed = running.broker.failed().await;
        assert!(matches!(failed, BrokerError::Log { .. }), "{failed}");
        broken.store(false, std::sync::atomic::Ordering::SeqCst);
        let refused = client.transport.call(12, request("c").into()).await;
        assert!(matches!(refused, Err(TransportError::Refused { .. })), "{refused:?}");
    });
    running.crash();
    let running = world.start();
    let values = running.run(running.client.values("t", 0, true));
    assert!(values == ["a"] || values == ["a", "b"], "{values:?}");
    running.stop();
}

#[test]
fn a_transaction_that_nobody_knows_is_aborted_at_the_next_start() {
    let world = World::new();
    let running = world.start();
    running.run(async {
        running.client.create("t", 2).await.expect("created");
        let writer = running.client.init("x").await;
        write(&running.client, writer).await;
    });
    running.crash();
    world.lose("__transaction_state-0");
    let running = world.start();
    running.run(async {
        let client = &running.client;
        assert_eq!(client.list_offset("t", 0, -1, true).await, Ok((2, -1)));
        assert_eq!(client.values("t", 0, true).await, [""; 0]);
        assert_eq!(client.values("t", 0, false).await, ["a"]);
        assert_eq!(client.offset("g", "t", 0, true).await, Ok(-1));
    });
    running.stop();
}

async fn delete_records(client: &Client, topic: &str, below: i64) -> (i16, i64) {
    let asked = DeleteRecordsPartition::default().with_offset(below);
    let topic = DeleteRecordsTopic::default().with_name(topic_name(topic)).with_partitions(vec![asked]);
    let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(100);
    let ResponseKind::DeleteRecords(response) = client.call(request).await else { panic!("of another kind") };
    let answer = &response.topics[0].partitions[0];
    (answer.error_code, answer.low_watermark)
}

#[test]
fn deleted_records_stay_deleted_and_an_open_transaction_keeps_its_beginning() {
    let world = World::new();
    let running = world.start();
    let writer = running.run(async {
        let client = &running.client;
        client.create("t", 1).await.expect("created");
        for value in ["a", "b", "c"] {
            client.produce(None, "t", 0, batch(None, false, &[value])).await.expect("written");
        }
        let writer = client.init("x").await;
        client.write("x", writer, 0, "t", 0, "open").await.expect("written");
        assert_eq!(delete_records(client, "t", 2).await, (0, 2));
        assert_eq!(delete_records(client, "t", 1).await, (0, 2), "the start never moves back");
        assert_eq!(delete_records(client, "t", 5).await, (ResponseError::OffsetOutOfRange.code(), -1));
        assert_eq!(delete_records(client, "nowhere", 0).await.0, ResponseError::UnknownTopicOrPartition.code());
        let own = delete_records(client, "__transaction_state", 1).await;
        assert_eq!(own, (ResponseError::InvalidTopicException.code(), -1), "the broker's own");
        writer
    });
    running.crash();
    let running = world.start();
    running.run(async {
        let client = &running.client;
        assert_eq!(client.list_offset("t", 0, -2, false).await, Ok((2, -1)));
        assert_eq!(delete_records(client, "t", -1).await, (0, 3), "held at the open transaction");
        assert!(client.end("x", writer, true).await.is_ok());
        assert_eq!(client.fetch("t", 0, 2, true).await.error_code, ResponseError::OffsetOutOfRange.code());
        assert_eq!(client.fetch("t", 0, 3, true).await.error_code, 0);
        assert_eq!(delete_records(client, "t", -1).await, (0, 5), "the marker, too");
    });
    running.stop();
}

/// Commits offsets of `t`-1 for ever, or so many of them; `acked` holds the last one that was answered.
async fn commit_on(client: &Client, mut writer: Writer, acked: &Mutex<i64>, count: usize) -> Writer {
    for _ in 0..count {
        let offset = *acked.lock().expect("no panic") + 1;
        client.write("x", writer, 0, "t", 1, "v").await.expect("written");
        client.commit_offset("x", writer, "g", "t", 1, offset).await.expect("staged");
        writer = client.end("x", writer, true).await.expect("committed");
        *acked.lock().expect("no panic") = offset;
    }
    writer
}

async fn start_of(client: &Client, topic: &str) -> i64 {
    client.list_offset(topic, 0, -2, false).await.expect("a start").0
}

#[test]
fn the_brokers_own_logs_stay_short_and_a_kill_at_any_moment_of_it_changes_nothing() {
    let mut points = vec![None];
    for nth in [1, 2, 5] {
        points.extend([Some((Point::BrokerLogRewritten, nth)), Some((Point::LogStartMoved, nth))]);
    }
    for point in points {
        let mut world = World::new();
        world.config.internal_log_bytes = 2_000;
        let acked = Mutex::new(0);
        let running = world.start();
        // Open all the while: its offsets are in no rewrite, and must not be lost.
        let (open, writer) = running.run(async {
            let client = &running.client;
            client.create("t", 2).await.expect("created");
            let open = client.init("open").await;
            client.write("open", open, 0, "t", 0, "late").await.expect("written");
            client.commit_offset("open", open, "g", "t", 0, 77).await.expect("staged");
            let writer = client.init("x").await;
            (open, commit_on(client, writer, &acked, 40).await)
        });
        running.stop();
        if let Some(point) = point {
            let running = world.start_frozen_at(Some(point));
            let client = running.client.clone();
            running.crash_at_point(commit_on(&client, writer, &acked, usize::MAX));
        }
        let running = world.start();
        running.run(async {
            let client = &running.client;
            let known = *acked.lock().expect("no panic");
            // One may have been committed and not answered; a new instance waits for it.
            let writer = client.init("x").await;
            let found = client.offset("g", "t", 1, true).await.expect("an offset");
            assert!([known, known + 1].contains(&found), "{point:?}: {found} is committed, and {known} was answered");
            *acked.lock().expect("no panic") = found;
            assert_eq!(client.offset("g", "t", 0, true).await, Err(ResponseError::UnstableOffsetCommit));
            assert!(client.end("open", open, true).await.is_ok(), "{point:?}");
            assert_eq!(client.offset("g", "t", 0, true).await, Ok(77));
            commit_on(client, writer, &acked, 40).await;
        });
        running.stop();
        let running = world.start();
        running.run(async {
            let client = &running.client;
            assert_eq!(client.offset("g", "t", 0, true).await, Ok(77), "{point:?}");
            assert_eq!(client.offset("g", "t", 1, true).await, Ok(*acked.lock().expect("no panic")));
            for topic in ["__transaction_state", "__consumer_offsets"] {
                let (start, end) = (start_of(client, topic).await, client.list_offset(topic, 0, -1, false).await);
                let left = end.expect("an end").0 - start;
                assert!(start > 0 && left < 100, "{point:?}: {topic} from {start} still holds {left} records");
            }
        });
        running.stop();
    }
}
