//! Transactions as a client meets them.

use std::time::Duration;

use kafka_protocol::ResponseError;

use crate::world::{Client, World, Writer, batch};

/// A world with a topic `t` of two partitions.
fn with_topic(body: impl AsyncFn(&Client)) {
    let world = World::new();
    let running = world.start();
    running.run(async {
        running.client.create("t", 2).await.expect("created");
        body(&running.client).await;
    });
    running.stop();
}

#[test]
fn a_transaction_is_seen_whole_after_its_commit_and_never_after_an_abort() {
    with_topic(async |client| {
        let writer = client.init("x").await;
        let batches = vec![(0, batch(Some((writer, 0)), true, &["a"])), (1, batch(Some((writer, 0)), true, &["b"]))];
        assert_eq!(client.produce_all(Some("x"), "t", batches).await, [Ok(0), Ok(0)]);
        assert_eq!(client.values("t", 0, false).await, ["a"]);
        assert_eq!(client.values("t", 0, true).await, [""; 0]);
        assert_eq!(client.list_offset("t", 0, -1, true).await, Ok((0, -1)));
        assert_eq!(client.list_offset("t", 0, -1, false).await, Ok((1, -1)));
        let writer = client.end("x", writer, true).await.expect("committed");
        assert_eq!(client.values("t", 0, true).await, ["a"]);
        assert_eq!(client.values("t", 1, true).await, ["b"]);

        assert_eq!(client.write("x", writer, 0, "t", 0, "c").await, Ok(2));
        let writer = client.end("x", writer, false).await.expect("aborted");
        assert_eq!(client.write("x", writer, 0, "t", 0, "d").await, Ok(4));
        client.end("x", writer, true).await.expect("committed");
        assert_eq!(client.values("t", 0, true).await, ["a", "d"]);
        assert_eq!(client.values("t", 0, false).await, ["a", "c", "d"]);
    });
}

#[test]
fn a_retried_end_is_answered_alike_and_a_late_write_is_refused() {
    with_topic(async |client| {
        let old = client.init("x").await;
        client.write("x", old, 0, "t", 0, "a").await.expect("written");
        let new = client.end("x", old, true).await.expect("committed");
        assert_eq!(new, Writer { id: old.id, epoch: old.epoch + 1 });
        assert_eq!(client.end("x", old, true).await, Ok(new));
        assert_eq!(client.end("x", old, false).await, Err(ResponseError::InvalidTxnState));
        // A delayed Produce of the ended transaction, to a partition it had written to and to one it had not.
        for index in [0, 1] {
            let late = client.write("x", old, 1, "t", index, "late").await;
            assert_eq!(late, Err(ResponseError::InvalidProducerEpoch));
        }
        // And one that claims no transaction meets the marker's epoch.
        let late = client.produce(None, "t", 0, batch(Some((old, 1)), false, &["late"])).await;
        assert_eq!(late, Err(ResponseError::InvalidProducerEpoch));
        assert_eq!(client.values("t", 0, false).await, ["a"]);
        assert_eq!(client.values("t", 1, false).await, [""; 0]);
    });
}

#[test]
fn a_new_instance_fences_the_old_one_and_aborts_what_it_left() {
    with_topic(async |client| {
        let old = client.init("x").await;
        client.write("x", old, 0, "t", 0, "a").await.expect("written");
        client.commit_offset("x", old, "g", "t", 0, 7).await.expect("staged");
        assert_eq!(client.init_once(Some("x"), None).await, Err(ResponseError::ConcurrentTransactions));
        let new = client.init("x").await;
        assert!(new.epoch > old.epoch);
        assert_eq!(client.write("x", old, 1, "t", 0, "b").await, Err(ResponseError::InvalidProducerEpoch));
        assert_eq!(client.commit_offset("x", old, "g", "t", 0, 8).await, Err(ResponseError::InvalidProducerEpoch));
        assert_eq!(client.end("x", old, true).await, Err(ResponseError::ProducerFenced));
        assert_eq!(client.offset("g", "t", 0, true).await, Ok(-1));
        client.write("x", new, 0, "t", 0, "c").await.expect("written");
        client.end("x", new, true).await.expect("committed");
        assert_eq!(client.values("t", 0, true).await, ["c"]);
    });
}

#[test]
fn offsets_are_unstable_while_pending_and_change_with_the_commit() {
    with_topic(async |client| {
        let writer = client.init("x").await;
        assert_eq!(client.offset("g", "t", 0, true).await, Ok(-1));
        client.commit_offset("x", writer, "g", "t", 0, 7).await.expect("staged");
        // Again, as a retry would.
        client.commit_offset("x", writer, "g", "t", 0, 7).await.expect("staged");
        assert_eq!(client.offset("g", "t", 0, true).await, Err(ResponseError::UnstableOffsetCommit));
        assert_eq!(client.offset("g", "t", 0, false).await, Ok(-1));
        assert_eq!(client.offset("g", "t", 1, true).await, Ok(-1));
        let writer = client.end("x", writer, true).await.expect("committed");
        assert_eq!(client.offset("g", "t", 0, true).await, Ok(7));
        client.commit_offset("x", writer, "g", "t", 0, 9).await.expect("staged");
        client.end("x", writer, false).await.expect("aborted");
        assert_eq!(client.offset("g", "t", 0, true).await, Ok(7));
        let unknown = client.commit_offset("x", writer, "g", "nowhere", 0, 9).await;
        assert_eq!(unknown, Err(ResponseError::UnknownTopicOrPartition));
    });
}

#[test]
fn an_abandoned_transaction_is_aborted_and_holds_nobody_back() {
    let world = World::new();
    let running = world.start();
    running.run(async {
        let client = &running.client;
        client.create("t", 1).await.expect("created");
        let request = kafka_protocol::messages::InitProducerIdRequest::default()
            .with_transactional_id(Some(kafka_protocol::messages::TransactionalId(crate::world::text("x"))))
            .with_transaction_timeout_ms(50)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let kafka_protocol::messages::ResponseKind::InitProducerId(answer) = client.call(request).await else {
            panic!("another response");
        };
        let writer = Writer { id: answer.producer_id.0, epoch: answer.producer_epoch };
        client.write("x", writer, 0, "t", 0, "left").await.expect("written");
        client.produce(None, "t", 0, batch(None, false, &["other"])).await.expect("written");
        assert_eq!(client.values("t", 0, true).await, [""; 0]);
        while client.list_offset("t", 0, -1, true).await != Ok((3, -1)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(client.values("t", 0, true).await, ["other"]);
        // Its holder learns that it was late, and may go on after an abort.
        let late = client.write("x", writer, 1, "t", 0, "late").await;
        assert_eq!(late, Err(ResponseError::TransactionAbortable));
        assert_eq!(client.end("x", writer, true).await, Err(ResponseError::InvalidTxnState));
        let next = client.end("x", writer, false).await.expect("the same decision");
        client.write("x", next, 0, "t", 0, "on time").await.expect("written");
        client.end("x", next, true).await.expect("committed");
        assert_eq!(client.values("t", 0, true).await, ["other", "on time"]);
    });
    running.stop();
}

#[test]
fn writers_without_a_transaction_of_their_own_are_refused() {
    with_topic(async |client| {
        let writer = client.init("x").await;
        let strangers = batch(Some((writer, 0)), true, &["a"]);
        assert_eq!(client.produce(None, "t", 0, strangers.clone()).await, Err(ResponseError::InvalidRecord));
        let other = client.produce(Some("y"), "t", 0, strangers).await;
        assert_eq!(other, Err(ResponseError::InvalidProducerIdMapping));
        assert_eq!(client.end("x", writer, true).await, Err(ResponseError::InvalidTxnState));
        // Aborting nothing still moves the epoch.
        let next = client.end("x", writer, false).await.expect("aborted");
        assert_eq!(next.epoch, writer.epoch + 1);
        assert_eq!(client.init_once(Some("x"), Some(next)).await.expect("its holder").epoch, next.epoch + 1);
        assert_eq!(client.init_once(Some("x"), Some(writer)).await, Err(ResponseError::ProducerFenced));
    });
}

#[test]
fn a_caller_that_gives_up_stops_no_transaction_from_ending() {
    with_topic(async |client| {
        let writer = client.init("x").await;
        client.write("x", writer, 0, "t", 0, "a").await.expect("written");
        // It is on its way after the first poll.
        tokio::select! {
            biased;
            answered = client.end_once("x", writer, true) => panic!("{answered:?} at once"),
            () = std::future::ready(()) => {}
        }
        let next = client.end("x", writer, true).await.expect("committed");
        assert_eq!(next.epoch, writer.epoch + 1);
        assert_eq!(client.values("t", 0, true).await, ["a"]);
    });
}
