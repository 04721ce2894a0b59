//! What comes over the socket: malformed frames, other versions, many requests at once.

#![expect(clippy::disallowed_methods, reason = "a test runs on a runtime of its own")]

use std::sync::Arc;

use engine::env::Duplex;
use engine::wire::{api, frame};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, MetadataRequest, ProduceRequest, RequestKind, ResponseKind,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{Client, Running, Socket, World, batch, text, topic_name};

async fn served(running: &Running) -> String {
    let bound = running.broker.bind("127.0.0.1:0").await.expect("a port");
    let address = bound.address();
    tokio::spawn(bound.serve());
    address
}

async fn connect(running: &Running, address: &str) -> Box<dyn Duplex> {
    running.env.network().connect(address).await.expect("a connection")
}

async fn reply(stream: &mut Box<dyn Duplex>, key: ApiKey, version: i16) -> (i32, ResponseKind) {
    let body = frame::read_frame(stream, 1 << 20).await.expect("a frame").expect("not closed");
    frame::decode_response(key, version, body).expect("a response")
}

#[test]
fn malformed_bytes_close_their_connection_and_no_other() {
    let world = World::new();
    let running = world.start();
    let (address, witness) = running.run(async {
        let address = served(&running).await;
        let witness = Client { transport: Arc::new(Socket::connect(&running.env, &address).await) };
        witness.create("t", 1).await.expect("created");
        (address, witness)
    });
    let check = |mut bytes: Vec<u8>, framed: bool| {
        if framed {
            let length = (bytes.len() as u32).to_be_bytes();
            bytes.splice(0..0, length);
        }
        running.run(async {
            let mut stream = connect(&running, &address).await;
            // The broker may have closed before it has read everything.
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            assert_eq!(witness.list_offset("t", 0, -2, false).await, Ok((0, -1)));
        });
    };
    // A length beyond the limit, a negative one, an array of 2^31 topics, a request that is cut short.
    check(i32::MAX.to_be_bytes().to_vec(), false);
    check((-5i32).to_be_bytes().to_vec(), false);
    let metadata: RequestKind = MetadataRequest::default().with_topics(Some(Vec::new())).into();
    let good = frame::encode_request(1, "c", 8, &metadata).expect("it encodes").to_vec();
    let mut huge = good[4..].to_vec();
    let at = huge.len() - 3 - 4;
    huge[at..at + 4].copy_from_slice(&i32::MAX.to_be_bytes());
    check(huge, true);
    check(good[..good.len() - 1].to_vec(), false);
    check(good[4..good.len() - 1].to_vec(), true);
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    let known = proptest::sample::select(api::TABLE);
    let bytes = (any::<bool>(), any::<bool>(), known, proptest::collection::vec(any::<u8>(), 0..80));
    runner
        .run(&bytes, |(framed, known_api, range, mut bytes)| {
            if known_api {
                // Past the header's first fields, so that the bodies are reached.
                let mut head = (range.key as i16).to_be_bytes().to_vec();
                head.extend_from_slice(&range.max.to_be_bytes());
                head.extend_from_slice(&[0, 0, 0, 1, 0xff, 0xff, 0]);
                bytes.splice(0..0, head);
            }
            check(bytes, framed);
            Ok(())
        })
        .expect("no bytes do harm");
    running.stop();
}

#[test]
fn an_unknown_version_is_told_which_ones_there_are() {
    let world = World::new();
    let running = world.start();
    running.run(async {
        let address = served(&running).await;
        let mut stream = connect(&running, &address).await;
        // ApiVersions 99: answered in the oldest form, and the connection lives.
        let mut bytes = vec![0, 0, 0, 8, 0, 18, 0, 99, 0, 0, 0, 7];
        stream.write_all(&bytes).await.expect("sent");
        let (id, ResponseKind::ApiVersions(answer)) = reply(&mut stream, ApiKey::ApiVersions, 0).await else {
            panic!("another response");
        };
        assert_eq!((id, answer.error_code), (7, ResponseError::UnsupportedVersion.code()));
        assert_eq!(answer.api_keys.len(), api::TABLE.len());
        let request: RequestKind = ApiVersionsRequest::default().into();
        stream.write_all(&frame::encode_request(8, "c", 4, &request).expect("encoded")).await.expect("sent");
        let (id, ResponseKind::ApiVersions(answer)) = reply(&mut stream, ApiKey::ApiVersions, 4).await else {
            panic!("another response");
        };
        assert_eq!((id, answer.error_code), (8, 0));
        let feature = &answer.finalized_features[0];
        assert_eq!((feature.name.as_str(), feature.max_version_level), ("transaction.version", 2));
        // Any other API: the connection ends, as Kafka's does.
        bytes[5] = 3;
        stream.write_all(&bytes).await.expect("sent");
        assert_eq!(stream.read_to_end(&mut Vec::new()).await.expect("closed"), 0);
    });
    running.stop();
}

#[test]
fn requests_that_are_sent_together_are_answered_in_order() {
    let world = World::new();
    let running = world.start();
    running.run(async {
        running.client.create("t", 1).await.expect("created");
        let writer = running.client.init_once(None, None).await.expect("an id");
        let address = served(&running).await;
        let mut stream = connect(&running, &address).await;
        let mut bytes = Vec::new();
        for sequence in 0..100 {
            let data = kafka_protocol::messages::produce_request::PartitionProduceData::default()
                .with_records(Some(batch(Some((writer, sequence)), false, &["v"])));
            let topic = kafka_protocol::messages::produce_request::TopicProduceData::default()
                .with_name(topic_name("t"))
                .with_partition_data(vec![data]);
            let request = ProduceRequest::default().with_acks(-1).with_topic_data(vec![topic]);
            bytes.extend(frame::encode_request(sequence, "c", 12, &request.into()).expect("encoded"));
        }
        let metadata: RequestKind = MetadataRequest::default().with_topics(None).into();
        bytes.extend(frame::encode_request(100, "c", 9, &metadata).expect("encoded"));
        stream.write_all(&bytes).await.expect("sent");
        for sequence in 0..100 {
            let (id, ResponseKind::Produce(answer)) = reply(&mut stream, ApiKey::Produce, 12).await else {
                panic!("another response");
            };
            let answer = &answer.responses[0].partition_responses[0];
            assert_eq!((id, answer.error_code, answer.base_offset), (sequence, 0, i64::from(sequence)));
        }
        assert_eq!(reply(&mut stream, ApiKey::Metadata, 9).await.0, 100);
    });
    running.stop();
}

/// A request that has an answer with content, in a world with topic `t`.
fn sample(key: ApiKey, version: i16) -> RequestKind {
    use kafka_protocol::messages::*;
    match key {
        ApiKey::Produce => {
            let data = produce_request::PartitionProduceData::default().with_records(Some(batch(None, false, &["v"])));
            let topic = produce_request::TopicProduceData::default()
                .with_name(topic_name("t"))
                .with_partition_data(vec![data.clone(), data.with_index(5)]);
            ProduceRequest::default().with_acks(-1).with_topic_data(vec![topic]).into()
        }
        ApiKey::Fetch => {
            let mut request = Client::fetch_request("t", 0, 0, true, 0);
            let unknown = request.topics[0].partitions[0].clone().with_partition(5);
            request.topics[0].partitions.push(unknown);
            request.into()
        }
        ApiKey::ListOffsets => {
            let asked = |index| {
                list_offsets_request::ListOffsetsPartition::default().with_partition_index(index).with_timestamp(-1)
            };
            let topic = list_offsets_request::ListOffsetsTopic::default()
                .with_name(topic_name("t"))
                .with_partitions(vec![asked(0), asked(5)]);
            ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]).into()
        }
        ApiKey::Metadata => MetadataRequest::default().with_topics(None).into(),
        ApiKey::OffsetFetch => {
            let group = offset_fetch_request::OffsetFetchRequestGroup::default()
                .with_group_id(GroupId(text("g")))
                .with_topics(None);
            OffsetFetchRequest::default().with_groups(vec![group]).into()
        }
        ApiKey::FindCoordinator if version < 4 => {
            FindCoordinatorRequest::default().with_key(text("x")).with_key_type(1).into()
        }
        ApiKey::FindCoordinator => {
            FindCoordinatorRequest::default().with_key_type(1).with_coordinator_keys(vec![text("x")]).into()
        }
        ApiKey::ApiVersions => ApiVersionsRequest::default().into(),
        ApiKey::CreateTopics => {
            let topic = create_topics_request::CreatableTopic::default()
                .with_name(topic_name(&format!("t{version}")))
                .with_num_partitions(1)
                .with_replication_factor(1);
            let again = topic.clone().with_name(topic_name("t"));
            CreateTopicsRequest::default().with_topics(vec![topic, again]).into()
        }
        ApiKey::DeleteRecords => {
            let asked = DeleteRecordsPartition::default().with_offset(-1);
            let topic = DeleteRecordsTopic::default().with_name(topic_name("t")).with_partitions(vec![asked]);
            DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(100).into()
        }
        ApiKey::InitProducerId => InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(text("x"))))
            .with_transaction_timeout_ms(1000)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1)
            .into(),
        ApiKey::EndTxn => EndTxnRequest::default().with_transactional_id(TransactionalId(text("y"))).into(),
        ApiKey::TxnOffsetCommit => {
            let partition = txn_offset_commit_request::TxnOffsetCommitRequestPartition::default();
            let topic = txn_offset_commit_request::TxnOffsetCommitRequestTopic::default()
                .with_name(topic_name("t"))
                .with_partitions(vec![partition]);
            TxnOffsetCommitRequest::default()
                .with_group_id(GroupId(text("g")))
                .with_generation_id(-1)
                .with_topics(vec![topic])
                .into()
        }
        other => panic!("{other:?} has no sample"),
    }
}

#[test]
fn every_api_is_answered_at_each_of_its_versions() {
    let world = World::new();
    let running = world.start();
    running.run(async {
        running.client.create("t", 1).await.expect("created");
        let address = served(&running).await;
        let socket = Socket::connect(&running.env, &address).await;
        for range in api::TABLE {
            for version in range.min..=range.max {
                let request = sample(range.key, version);
                let answered = engine::wire::Transport::call(&socket, version, request).await.expect("answered");
                assert_eq!(frame::response_key(&answered), Some(range.key), "version {version}");
            }
        }
    });
    running.stop();
}

#[test]
fn a_silent_produce_is_written_and_not_answered() {
    let world = World::new();
    let running = world.start();
    running.run(async {
        running.client.create("t", 1).await.expect("created");
        let address = served(&running).await;
        let mut stream = connect(&running, &address).await;
        let data = kafka_protocol::messages::produce_request::PartitionProduceData::default()
            .with_records(Some(batch(None, false, &["v"])));
        let topic = kafka_protocol::messages::produce_request::TopicProduceData::default()
            .with_name(topic_name("t"))
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default().with_acks(0).with_topic_data(vec![topic]);
        stream.write_all(&frame::encode_request(1, "c", 12, &request.into()).expect("encoded")).await.expect("sent");
        let metadata: RequestKind = MetadataRequest::default().with_topics(None).into();
        stream.write_all(&frame::encode_request(2, "c", 9, &metadata).expect("encoded")).await.expect("sent");
        assert_eq!(reply(&mut stream, ApiKey::Metadata, 9).await.0, 2);
        assert_eq!(running.client.values("t", 0, true).await, ["v"]);
    });
    running.stop();
}
