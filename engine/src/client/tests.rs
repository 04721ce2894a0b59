//! What the client does about unknown outcomes, refusals and fencing, against a script.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::end_txn_response::EndTxnResponse;
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, FetchResponse, FetchableTopicResponse, PartitionData,
};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, ProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{InitProducerIdResponse, ProduceRequest, RequestKind, TxnOffsetCommitResponse};

use super::admin::topic_name;
use super::script::{Script, Step, answer, with};
use super::*;
use crate::record::{BatchBuilder, Compression, ControlMarker, ProducerStamp, Scan, control_batch, patch, scan};
use crate::types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicPartition};

fn init(id: i64, epoch: i16) -> Step {
    answer(
        InitProducerIdResponse::default()
            .with_producer_id(kafka_protocol::messages::ProducerId(id))
            .with_producer_epoch(epoch),
    )
}

fn init_error(code: ResponseError) -> Step {
    answer(InitProducerIdResponse::default().with_error_code(code.code()))
}

fn ended(id: i64, epoch: i16) -> Step {
    answer(
        EndTxnResponse::default().with_producer_id(kafka_protocol::messages::ProducerId(id)).with_producer_epoch(epoch),
    )
}

/// (topic, partition, error code or 0, base offset)
fn produced(partitions: &[(&str, i32, i16, i64)]) -> Step {
    let responses = partitions
        .iter()
        .map(|(topic, partition, code, offset)| {
            let partition = PartitionProduceResponse::default()
                .with_index(*partition)
                .with_error_code(*code)
                .with_base_offset(*offset);
            TopicProduceResponse::default().with_name(topic_name(topic)).with_partition_responses(vec![partition])
        })
        .collect();
    answer(ProduceResponse::default().with_responses(responses))
}

fn tp(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

fn batch(values: &[&str]) -> BatchBuilder {
    let mut batch = BatchBuilder::new(Compression::None);
    for value in values {
        batch.push(Timestamp(1), Some(b"k"), Some(value.as_bytes()), &[]);
    }
    batch
}

fn produce_of(request: &RequestKind) -> &ProduceRequest {
    let RequestKind::Produce(request) = request else { panic!("not a produce: {request:?}") };
    request
}

/// Per partition: (topic, partition, base sequence, epoch, records).
fn stamps(request: &RequestKind) -> Vec<(String, i32, i32, i16, i32)> {
    let mut stamps = Vec::new();
    for topic in &produce_of(request).topic_data {
        for data in &topic.partition_data {
            let records = data.records.as_ref().expect("records");
            let Scan::Complete(batch) = scan(records) else { panic!("not a batch") };
            let header = batch.header();
            assert_eq!(header.size, records.len(), "one batch a partition");
            let sequence = header.base_sequence.0;
            let name = topic.name.as_str().to_owned();
            stamps.push((name, data.index, sequence, header.producer_epoch.0, header.count));
        }
    }
    stamps
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_asked_again_with_the_same_sequence() {
    let duplicate = ResponseError::DuplicateSequenceNumber.code();
    let (client, script) = Script::client(vec![
        init(7, 0),
        Step::Lose,
        Step::Hang,
        produced(&[("t", 0, duplicate, 41)]),
        produced(&[("t", 0, 0, 43)]),
    ]);
    let producer = Producer::init(&client).await.expect("init");
    assert_eq!(producer.send(&tp("t", 0), &mut batch(&["a", "b"])).await, Ok(Offset(41)));
    assert_eq!(producer.send(&tp("t", 0), &mut batch(&["c"])).await, Ok(Offset(43)));
    let seen = script.seen();
    assert_eq!(seen[1], seen[2], "byte for byte the same");
    assert_eq!(seen[1], seen[3]);
    assert_eq!(stamps(&seen[1]), [("t".to_owned(), 0, 0, 0, 2)]);
    assert_eq!(stamps(&seen[4]), [("t".to_owned(), 0, 2, 0, 1)]);
}

#[tokio::test(start_paused = true)]
async fn of_several_partitions_only_those_that_failed_are_sent_again() {
    let busy = ResponseError::NotEnoughReplicas.code();
    let (client, script) = Script::client(vec![
        init(7, 0),
        produced(&[("t", 0, 0, 5), ("t", 1, busy, -1), ("u", 0, 0, 9)]),
        produced(&[("t", 1, 0, 6)]),
    ]);
    let producer = Producer::init(&client).await.expect("init");
    let (mut a, mut b, mut c) = (batch(&["a"]), batch(&["b"]), batch(&["c"]));
    let mut batches = [(tp("t", 0), &mut a), (tp("t", 1), &mut b), (tp("u", 0), &mut c)];
    assert_eq!(producer.send_all(&mut batches).await, Ok(vec![Offset(5), Offset(6), Offset(9)]));
    let seen = script.seen();
    assert_eq!(stamps(&seen[1]).len(), 3);
    assert_eq!(stamps(&seen[2]), [("t".to_owned(), 1, 0, 0, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_batch_is_not_sent_again_and_says_what_to_do() {
    let code = ResponseError::OutOfOrderSequenceNumber;
    let (client, script) = Script::client(vec![init(7, 0), produced(&[("t", 0, code.code(), -1)])]);
    let producer = Producer::init(&client).await.expect("init");
    let error = producer.send(&tp("t", 0), &mut batch(&["a"])).await.expect_err("refused");
    assert!(matches!(&error, ClientError::Refused { code: found, .. } if *found == code), "{error}");
    assert!(error.to_string().contains("make a new producer"), "{error}");
    assert!(error.to_string().contains("t-0"), "{error}");
    assert_eq!(script.seen().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_send_that_was_dropped_is_settled_before_the_next() {
    let (client, script) =
        Script::client(vec![init(7, 0), Step::Hang, produced(&[("t", 0, 0, 3)]), produced(&[("t", 0, 0, 4)])]);
    let producer = Producer::init(&client).await.expect("init");
    let mut first = batch(&["a"]);
    let dropped = tokio::time::timeout(Duration::from_millis(5), producer.send(&tp("t", 0), &mut first)).await;
    assert!(dropped.is_err(), "dropped while it hangs");
    assert_eq!(producer.send(&tp("t", 0), &mut batch(&["b"])).await, Ok(Offset(4)));
    let seen = script.seen();
    assert_eq!(seen[1], seen[2], "the first batch, before the second");
    assert_eq!(stamps(&seen[3]), [("t".to_owned(), 0, 1, 0, 1)]);
}

#[tokio::test(start_paused = true)]
async fn time_ends_with_an_error_that_names_what_was_tried() {
    let (client, script) = Script::client((0..40).map(|_| Step::Lose).collect());
    let error = client.partitions("clicks").await.expect_err("nobody answers");
    let ClientError::GaveUp { tries, ms, .. } = &error else { panic!("{error}") };
    assert!((15..=40).contains(tries), "{tries} tries");
    assert!(*ms < 20_000, "{ms}");
    let text = error.to_string();
    assert!(text.contains("clicks") && text.contains("broke"), "{text}");
    assert_eq!(script.seen().len(), *tries as usize);
}

#[tokio::test(start_paused = true)]
async fn init_waits_while_a_transaction_is_concluded() {
    let busy = ResponseError::ConcurrentTransactions;
    let (client, script) = Script::client(vec![init_error(busy), init_error(busy), init(7, 3)]);
    let timeout = Duration::from_secs(30);
    let writer = TransactionalProducer::init(&client, "app.1.0-0", timeout).await.expect("init");
    assert_eq!(writer.producer(), (ProducerId(7), ProducerEpoch(3)));
    assert_eq!(script.seen().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_commit_with_an_unknown_outcome_is_repeated_with_its_epoch_and_the_next_transaction_has_the_next() {
    let (client, script) = Script::client(vec![
        init(7, 3),
        produced(&[("t", 0, 0, 0)]),
        answer(TxnOffsetCommitResponse::default()),
        Step::Lose,
        ended(7, 4),
        produced(&[("t", 0, 0, 5)]),
        ended(8, 0),
    ]);
    let mut writer = TransactionalProducer::init(&client, "id", Duration::from_secs(30)).await.expect("init");
    writer.send(&tp("t", 0), &mut batch(&["a", "b"])).await.expect("send");
    writer.send_offsets("group", &[(tp("in", 0), Offset(9))]).await.expect("offsets");
    writer.commit().await.expect("commit");
    writer.send(&tp("t", 0), &mut batch(&["c"])).await.expect("send");
    writer.commit().await.expect("commit");
    assert_eq!(writer.producer(), (ProducerId(8), ProducerEpoch(0)), "an exhausted epoch gives a new id");
    let seen = script.seen();
    assert_eq!(stamps(&seen[1]), [("t".to_owned(), 0, 0, 3, 2)]);
    assert_eq!(seen[3], seen[4], "the same EndTxn");
    let RequestKind::EndTxn(end) = &seen[4] else { panic!("{:?}", seen[4]) };
    assert_eq!((end.producer_epoch, end.committed), (3, true));
    assert_eq!(stamps(&seen[5]), [("t".to_owned(), 0, 0, 4, 1)], "sequences begin again with the epoch");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_committed_when_nothing_was_written() {
    let (client, script) = Script::client(vec![init(7, 3)]);
    let mut writer = TransactionalProducer::init(&client, "id", Duration::from_secs(30)).await.expect("init");
    writer.commit().await.expect("nothing to do");
    writer.abort().await.expect("nothing to do");
    assert_eq!(script.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn fencing_is_final_wherever_it_is_found() {
    let fenced = ResponseError::ProducerFenced.code();
    let epoch = ResponseError::InvalidProducerEpoch.code();
    let (client, _) = Script::client(vec![
        init(7, 3),
        produced(&[("t", 0, epoch, -1)]),
        init(7, 5),
        produced(&[("t", 0, 0, 1)]),
        answer(EndTxnResponse::default().with_error_code(fenced)),
    ]);
    let mut writer = TransactionalProducer::init(&client, "id", Duration::from_secs(30)).await.expect("init");
    let error = writer.send(&tp("t", 0), &mut batch(&["a"])).await.expect_err("fenced");
    assert!(matches!(&error, ClientError::Fenced { transactional_id, .. } if transactional_id == "id"), "{error}");
    assert!(!error.is_retryable());
    let mut writer = TransactionalProducer::init(&client, "id", Duration::from_secs(30)).await.expect("init");
    writer.send(&tp("t", 0), &mut batch(&["a"])).await.expect("send");
    let error = writer.commit().await.expect_err("fenced");
    assert!(matches!(error, ClientError::Fenced { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn after_a_failed_call_only_an_abort_follows_and_after_a_failed_commit_not_even_that() {
    let (client, script) = Script::client(vec![init(7, 3)]);
    let mut writer = TransactionalProducer::init(&client, "id", Duration::from_secs(30)).await.expect("init");
    script.then((0..40).map(|_| Step::Lose).collect());
    let error = writer.send(&tp("t", 0), &mut batch(&["a"])).await.expect_err("nobody answers");
    assert!(matches!(error, ClientError::GaveUp { .. }), "{error}");
    let error = writer.commit().await.expect_err("in doubt");
    assert!(matches!(error, ClientError::InDoubt { .. }), "{error}");

    let (client, script) = Script::client(vec![init(7, 3), Step::Hang, ended(7, 4), produced(&[("t", 0, 0, 1)])]);
    let mut writer = TransactionalProducer::init(&client, "id", Duration::from_secs(30)).await.expect("init");
    let mut first = batch(&["a"]);
    let partition = tp("t", 0);
    let send = writer.send(&partition, &mut first);
    assert!(tokio::time::timeout(Duration::from_millis(5), send).await.is_err(), "dropped while it hangs");
    assert!(matches!(writer.commit().await, Err(ClientError::InDoubt { .. })));
    writer.abort().await.expect("abort");
    writer.send(&tp("t", 0), &mut batch(&["a"])).await.expect("the next transaction");
    script.then(vec![Step::Hang]);
    assert!(tokio::time::timeout(Duration::from_millis(5), writer.commit()).await.is_err(), "dropped while it hangs");
    assert!(matches!(writer.abort().await, Err(ClientError::InDoubt { .. })), "it may be committed");
}

#[tokio::test(start_paused = true)]
async fn a_flush_sends_one_batch_a_partition_and_keeps_their_order() {
    let (client, script) =
        Script::client(vec![init(7, 0), produced(&[("t", 0, 0, 0), ("t", 1, 0, 0)]), produced(&[("t", 0, 0, 1)])]);
    let mut writer = TransactionalProducer::init(&client, "id", Duration::from_secs(30)).await.expect("init");
    writer.stage(&tp("t", 0), &mut batch(&["a"]));
    writer.stage(&tp("t", 0), &mut batch(&["b", "c"]));
    writer.stage(&tp("t", 1), &mut batch(&["d"]));
    writer.flush().await.expect("flush");
    let seen = script.seen();
    assert_eq!(stamps(&seen[1]), [("t".to_owned(), 0, 0, 0, 1), ("t".to_owned(), 1, 0, 0, 1)]);
    assert_eq!(stamps(&seen[2]), [("t".to_owned(), 0, 1, 0, 2)]);
    assert_eq!(writer.staged_bytes(), 0);
}

fn listed(offset: i64) -> Step {
    with(move |request| {
        let RequestKind::ListOffsets(request) = request else { panic!("{request:?}") };
        let topic = &request.topics[0];
        let partition = ListOffsetsPartitionResponse::default()
            .with_partition_index(topic.partitions[0].partition_index)
            .with_offset(offset);
        ListOffsetsResponse::default().with_topics(vec![
            ListOffsetsTopicResponse::default().with_name(topic.name.clone()).with_partitions(vec![partition]),
        ])
    })
}

fn fetched(code: i16, records: Bytes, aborted: &[(i64, i64)]) -> Step {
    let aborted = aborted
        .iter()
        .map(|(id, first)| {
            AbortedTransaction::default()
                .with_producer_id(kafka_protocol::messages::ProducerId(*id))
                .with_first_offset(*first)
        })
        .collect();
    let data = PartitionData::default()
        .with_partition_index(0)
        .with_error_code(code)
        .with_records(Some(records))
        .with_aborted_transactions(Some(aborted));
    let topic = FetchableTopicResponse::default().with_topic(topic_name("t")).with_partitions(vec![data]);
    answer(FetchResponse::default().with_responses(vec![topic]))
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_an_error_that_names_it_and_the_position_stays() {
    let code = ResponseError::OffsetOutOfRange.code();
    let (client, _) = Script::client(vec![fetched(code, Bytes::new(), &[]), listed(100), listed(250)]);
    let mut consumer = Consumer::new(&client, Isolation::ReadCommitted);
    consumer.assign([(tp("t", 0), Offset(40))]);
    let error = consumer.poll(Duration::ZERO).await.expect_err("gone");
    let (needed, start, end) = (Offset(40), Offset(100), Offset(250));
    assert_eq!(error, ClientError::OffsetOutOfRange { partition: tp("t", 0), needed, start, end });
    assert_eq!(consumer.position(&tp("t", 0)), Some(Offset(40)));
}

#[tokio::test(start_paused = true)]
async fn a_consumer_sees_neither_aborted_nor_control_records_and_goes_past_them() {
    let mut log = Vec::new();
    let mut next = 0;
    let mut append = |bytes: Bytes, count: i64| {
        let mut bytes = bytes.to_vec();
        patch(&mut bytes, Offset(next), 0);
        log.extend_from_slice(&bytes);
        next += count;
    };
    let stamp = |id: i64, sequence: i32| ProducerStamp {
        producer_id: ProducerId(id),
        producer_epoch: ProducerEpoch(0),
        base_sequence: Sequence(sequence),
        transactional: true,
    };
    let marker = |marker, id| control_batch(marker, ProducerId(id), ProducerEpoch(1), 0, Timestamp(1));
    append(batch(&["plain-0", "plain-1"]).finish(ProducerStamp::NONE), 2);
    append(batch(&["gone-2"]).finish(stamp(1, 0)), 1);
    append(batch(&["kept-3"]).finish(stamp(2, 0)), 1);
    append(marker(ControlMarker::Abort, 1), 1);
    append(batch(&["kept-5"]).finish(stamp(1, 1)), 1);
    append(marker(ControlMarker::Commit, 2), 1);
    append(marker(ControlMarker::Commit, 1), 1);
    let log = Bytes::from(log);
    // The reply begins below the position: whole batches.
    let (client, _) = Script::client(vec![fetched(0, log.clone(), &[(1, 2)]), fetched(0, log, &[(1, 2)])]);
    let mut consumer = Consumer::new(&client, Isolation::ReadCommitted);
    consumer.assign([(tp("t", 0), Offset(1))]);
    let polled = consumer.poll(Duration::ZERO).await.expect("poll");
    let mut values = Vec::new();
    let mut scratch = Vec::new();
    polled[0]
        .for_each::<ClientError>(&mut scratch, |record| {
            values.push((record.offset.0, String::from_utf8_lossy(record.value.expect("a value")).into_owned()));
            Ok(())
        })
        .expect("records");
    let kept = |offset, value: &str| (offset, value.to_owned());
    assert_eq!(values, [kept(1, "plain-1"), kept(3, "kept-3"), kept(5, "kept-5")]);
    assert_eq!(consumer.position(&tp("t", 0)), Some(Offset(8)));
    // A broker that sends old batches again does not move a reader back.
    assert!(consumer.poll(Duration::ZERO).await.expect("poll").is_empty());
    assert_eq!(consumer.position(&tp("t", 0)), Some(Offset(8)));
}

#[tokio::test(start_paused = true)]
async fn damaged_bytes_are_an_error_with_their_offset() {
    let mut bytes = batch(&["a"]).finish(ProducerStamp::NONE).to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let (client, _) = Script::client(vec![fetched(0, Bytes::from(bytes), &[])]);
    let mut consumer = Consumer::new(&client, Isolation::ReadCommitted);
    consumer.assign([(tp("t", 0), Offset(0))]);
    let error = consumer.poll(Duration::ZERO).await.expect_err("damaged");
    assert!(matches!(error, ClientError::Corrupt { at: Offset(0), .. }), "{error}");
}
