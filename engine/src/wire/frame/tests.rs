//! Every API of the table, at each of its versions, both ways; and bytes that are none of them.

use kafka_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, BrokerId, CreateTopicsRequest, CreateTopicsResponse, DeleteRecordsRequest,
    DeleteRecordsResponse, EndTxnRequest, EndTxnResponse, FetchRequest, FetchResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, GroupId, InitProducerIdRequest, InitProducerIdResponse, ListOffsetsRequest,
    ListOffsetsResponse, MetadataRequest, MetadataResponse, OffsetFetchRequest, OffsetFetchResponse, ProduceRequest,
    ProduceResponse, ProducerId, TopicName, TransactionalId, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

fn topic() -> TopicName {
    TopicName(text("clicks"))
}

/// A request with something in every field that the version has.
fn request(key: ApiKey, version: i16) -> RequestKind {
    match key {
        ApiKey::Produce => {
            let partition =
                PartitionProduceData::default().with_index(3).with_records(Some(Bytes::from_static(b"batch")));
            let data =
                TopicProduceData::default().with_name(topic()).with_partition_data(vec![partition.clone(), partition]);
            ProduceRequest::default()
                .with_transactional_id(Some(TransactionalId(text("x"))))
                .with_acks(-1)
                .with_timeout_ms(7)
                .with_topic_data(vec![data])
                .into()
        }
        ApiKey::Fetch => {
            let mut partition =
                FetchPartition::default().with_partition(1).with_fetch_offset(2).with_partition_max_bytes(3);
            if version >= 5 {
                partition.log_start_offset = 4;
            }
            if version >= 9 {
                partition.current_leader_epoch = 5;
            }
            if version >= 12 {
                partition.last_fetched_epoch = 6;
            }
            let data = FetchTopic::default().with_topic(topic()).with_partitions(vec![partition]);
            let mut request = FetchRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_max_wait_ms(1)
                .with_min_bytes(2)
                .with_max_bytes(3)
                .with_isolation_level(1)
                .with_topics(vec![data]);
            if version >= 7 {
                request.session_id = 4;
                request.session_epoch = 5;
                request.forgotten_topics_data =
                    vec![ForgottenTopic::default().with_topic(topic()).with_partitions(vec![1, 2])];
            }
            if version >= 11 {
                request.rack_id = text("rack");
            }
            if version >= 12 {
                request.cluster_id = Some(text("segno"));
            }
            request.into()
        }
        ApiKey::ListOffsets => {
            let mut partition = ListOffsetsPartition::default().with_partition_index(1).with_timestamp(-2);
            if version >= 4 {
                partition.current_leader_epoch = 9;
            }
            let data = ListOffsetsTopic::default().with_name(topic()).with_partitions(vec![partition]);
            let mut request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![data]);
            if version >= 2 {
                request.isolation_level = 1;
            }
            request.into()
        }
        ApiKey::Metadata => {
            let asked = MetadataRequestTopic::default().with_name(Some(topic()));
            let mut request = MetadataRequest::default().with_topics(Some(vec![asked]));
            if version >= 8 {
                request.include_topic_authorized_operations = true;
            }
            request.into()
        }
        ApiKey::OffsetFetch => {
            let asked = OffsetFetchRequestTopics::default().with_name(topic()).with_partition_indexes(vec![0, 1]);
            let mut group =
                OffsetFetchRequestGroup::default().with_group_id(GroupId(text("g"))).with_topics(Some(vec![asked]));
            if version >= 9 {
                group.member_id = Some(text("m"));
                group.member_epoch = 4;
            }
            let all = OffsetFetchRequestGroup::default().with_group_id(GroupId(text("all"))).with_topics(None);
            OffsetFetchRequest::default().with_groups(vec![group, all]).with_require_stable(true).into()
        }
        ApiKey::FindCoordinator if version >= 4 => {
            FindCoordinatorRequest::default().with_key_type(1).with_coordinator_keys(vec![text("x"), text("y")]).into()
        }
        ApiKey::FindCoordinator => FindCoordinatorRequest::default().with_key(text("x")).with_key_type(1).into(),
        ApiKey::ApiVersions if version >= 3 => ApiVersionsRequest::default()
            .with_client_software_name(text("segno"))
            .with_client_software_version(text("1"))
            .into(),
        ApiKey::ApiVersions => ApiVersionsRequest::default().into(),
        ApiKey::CreateTopics => {
            let assignment =
                CreatableReplicaAssignment::default().with_partition_index(1).with_broker_ids(vec![BrokerId(0)]);
            let config = CreatableTopicConfig::default().with_name(text("k")).with_value(Some(text("v")));
            let asked = CreatableTopic::default()
                .with_name(topic())
                .with_num_partitions(3)
                .with_replication_factor(1)
                .with_assignments(vec![assignment])
                .with_configs(vec![config]);
            CreateTopicsRequest::default().with_topics(vec![asked]).with_timeout_ms(9).with_validate_only(true).into()
        }
        ApiKey::DeleteRecords => {
            let partition = DeleteRecordsPartition::default().with_partition_index(1).with_offset(7);
            let data = DeleteRecordsTopic::default().with_name(topic()).with_partitions(vec![partition]);
            DeleteRecordsRequest::default().with_topics(vec![data]).with_timeout_ms(9).into()
        }
        ApiKey::InitProducerId => {
            let mut request = InitProducerIdRequest::default()
                .with_transactional_id(Some(TransactionalId(text("x"))))
                .with_transaction_timeout_ms(5);
            if version >= 3 {
                request.producer_id = ProducerId(7);
                request.producer_epoch = 8;
            }
            request.into()
        }
        ApiKey::EndTxn => EndTxnRequest::default()
            .with_transactional_id(TransactionalId(text("x")))
            .with_producer_id(ProducerId(7))
            .with_producer_epoch(8)
            .with_committed(true)
            .into(),
        ApiKey::TxnOffsetCommit => {
            let partition = TxnOffsetCommitRequestPartition::default()
                .with_partition_index(1)
                .with_committed_offset(2)
                .with_committed_leader_epoch(3)
                .with_committed_metadata(Some(text("note")));
            let data = TxnOffsetCommitRequestTopic::default().with_name(topic()).with_partitions(vec![partition]);
            TxnOffsetCommitRequest::default()
                .with_transactional_id(TransactionalId(text("x")))
                .with_group_id(GroupId(text("g")))
                .with_producer_id(ProducerId(7))
                .with_producer_epoch(8)
                .with_generation_id(-1)
                .with_member_id(text("m"))
                .with_group_instance_id(Some(text("i")))
                .with_topics(vec![data])
                .into()
        }
        other => panic!("{other:?} has no sample"),
    }
}

/// A response with something in every field that we fill in at the version.
fn response(key: ApiKey, version: i16) -> ResponseKind {
    match key {
        ApiKey::Produce => {
            let partition = PartitionProduceResponse::default()
                .with_index(3)
                .with_error_code(2)
                .with_base_offset(4)
                .with_log_append_time_ms(-1)
                .with_log_start_offset(1)
                .with_error_message(Some(text("because")));
            let topic = TopicProduceResponse::default().with_name(topic()).with_partition_responses(vec![partition]);
            ProduceResponse::default().with_responses(vec![topic]).into()
        }
        ApiKey::Fetch => {
            let aborted = AbortedTransaction::default().with_producer_id(ProducerId(4)).with_first_offset(5);
            let mut partition = PartitionData::default()
                .with_partition_index(1)
                .with_high_watermark(10)
                .with_last_stable_offset(9)
                .with_aborted_transactions(Some(vec![aborted]))
                .with_records(Some(Bytes::from_static(b"batches")));
            if version >= 5 {
                partition.log_start_offset = 2;
            }
            let topic = FetchableTopicResponse::default().with_topic(topic()).with_partitions(vec![partition]);
            let mut response = FetchResponse::default().with_responses(vec![topic]);
            if version >= 7 {
                response.error_code = 3;
            }
            response.into()
        }
        ApiKey::ListOffsets => {
            let partition =
                ListOffsetsPartitionResponse::default().with_partition_index(1).with_timestamp(-1).with_offset(44);
            let topic = ListOffsetsTopicResponse::default().with_name(topic()).with_partitions(vec![partition]);
            ListOffsetsResponse::default().with_topics(vec![topic]).into()
        }
        ApiKey::Metadata => {
            let mut partition = MetadataResponsePartition::default()
                .with_partition_index(1)
                .with_leader_id(BrokerId(0))
                .with_replica_nodes(vec![BrokerId(0)])
                .with_isr_nodes(vec![BrokerId(0)]);
            if version >= 7 {
                partition.leader_epoch = 0;
            }
            let topic = MetadataResponseTopic::default()
                .with_name(Some(topic()))
                .with_is_internal(true)
                .with_partitions(vec![partition]);
            let broker = MetadataResponseBroker::default().with_host(text("h")).with_port(9092);
            MetadataResponse::default()
                .with_brokers(vec![broker])
                .with_cluster_id(Some(text("segno")))
                .with_controller_id(BrokerId(0))
                .with_topics(vec![topic])
                .into()
        }
        ApiKey::OffsetFetch => {
            let partition = OffsetFetchResponsePartitions::default()
                .with_partition_index(1)
                .with_committed_offset(2)
                .with_committed_leader_epoch(-1)
                .with_metadata(Some(text("note")))
                .with_error_code(88);
            let topic = OffsetFetchResponseTopics::default().with_name(topic()).with_partitions(vec![partition]);
            let group = OffsetFetchResponseGroup::default().with_group_id(GroupId(text("g"))).with_topics(vec![topic]);
            OffsetFetchResponse::default().with_groups(vec![group]).into()
        }
        ApiKey::FindCoordinator if version >= 4 => {
            let found = Coordinator::default().with_key(text("x")).with_host(text("h")).with_port(9092);
            FindCoordinatorResponse::default().with_coordinators(vec![found]).into()
        }
        ApiKey::FindCoordinator => FindCoordinatorResponse::default().with_host(text("h")).with_port(9092).into(),
        ApiKey::ApiVersions => {
            let range = ApiVersion::default().with_api_key(3).with_min_version(4).with_max_version(9);
            let mut response = ApiVersionsResponse::default().with_error_code(35).with_api_keys(vec![range]);
            if version >= 3 {
                response.finalized_features_epoch = 0;
                let feature = FinalizedFeatureKey::default().with_name(text("transaction.version"));
                response.finalized_features = vec![feature.with_max_version_level(2).with_min_version_level(2)];
            }
            response.into()
        }
        ApiKey::CreateTopics => {
            let mut topic = CreatableTopicResult::default()
                .with_name(topic())
                .with_error_code(36)
                .with_error_message(Some(text("exists")));
            if version >= 5 {
                topic.num_partitions = 3;
                topic.replication_factor = 1;
            }
            CreateTopicsResponse::default().with_topics(vec![topic]).into()
        }
        ApiKey::DeleteRecords => {
            let partition = DeleteRecordsPartitionResult::default()
                .with_partition_index(1)
                .with_low_watermark(7)
                .with_error_code(1);
            let topic = DeleteRecordsTopicResult::default().with_name(topic()).with_partitions(vec![partition]);
            DeleteRecordsResponse::default().with_topics(vec![topic]).into()
        }
        ApiKey::InitProducerId => {
            InitProducerIdResponse::default().with_producer_id(ProducerId(7)).with_producer_epoch(8).into()
        }
        ApiKey::EndTxn => EndTxnResponse::default().with_producer_id(ProducerId(7)).with_producer_epoch(9).into(),
        ApiKey::TxnOffsetCommit => {
            let partition = TxnOffsetCommitResponsePartition::default().with_partition_index(1).with_error_code(51);
            let topic = TxnOffsetCommitResponseTopic::default().with_name(topic()).with_partitions(vec![partition]);
            TxnOffsetCommitResponse::default().with_topics(vec![topic]).into()
        }
        other => panic!("{other:?} has no sample"),
    }
}

fn table() -> impl Iterator<Item = (ApiKey, i16)> {
    api::TABLE.iter().flat_map(|range| (range.min..=range.max).map(|version| (range.key, version)))
}

fn body(frame: &Bytes) -> Bytes {
    let size = u32::from_be_bytes(frame[..4].try_into().expect("4 bytes")) as usize;
    assert_eq!(size, frame.len() - 4, "the length is that of the rest");
    frame.slice(4..)
}

#[test]
fn every_request_of_the_table_reads_as_it_was_written() {
    for (key, version) in table() {
        let sent = request(key, version);
        assert_eq!(request_key(&sent), Some(key));
        let frame = encode_request(-7, "client", version, &sent).unwrap_or_else(|e| panic!("{key:?} {version}: {e}"));
        let read = decode_request(body(&frame)).unwrap_or_else(|e| panic!("{key:?} {version}: {e}"));
        let expected =
            Request { correlation_id: -7, client_id: Some("client".to_owned()), api_version: version, body: sent };
        assert_eq!(read, expected, "{key:?} {version}");
    }
}

#[test]
fn every_response_of_the_table_reads_as_it_was_written() {
    for (key, version) in table() {
        let sent = response(key, version);
        assert_eq!(response_key(&sent), Some(key));
        let frame = encode_response(9, version, &sent).unwrap_or_else(|e| panic!("{key:?} {version}: {e}"));
        let read = decode_response(key, version, body(&frame)).unwrap_or_else(|e| panic!("{key:?} {version}: {e}"));
        assert_eq!(read, (9, sent), "{key:?} {version}");
    }
}

#[test]
fn the_header_of_an_api_versions_response_is_the_oldest_at_any_version() {
    for version in 0..=4 {
        let frame = encode_response(9, version, &response(ApiKey::ApiVersions, version)).expect("it encodes");
        // Correlation id, then at once the error code: no tagged fields between them.
        assert_eq!(&frame[4..10], &[0, 0, 0, 9, 0, 35], "{version}");
    }
    let frame = encode_response(9, 9, &response(ApiKey::Metadata, 9)).expect("it encodes");
    assert_eq!(&frame[4..13], &[0, 0, 0, 9, 0, 0, 0, 0, 0], "tagged fields, then the throttle time");
}

#[test]
fn what_is_not_in_the_table_is_refused_by_name() {
    let mut frame = body(&encode_request(5, "c", 9, &request(ApiKey::Metadata, 9)).expect("it encodes")).to_vec();
    frame[3] = 13;
    let refused = decode_request(frame.clone().into());
    assert!(
        matches!(
            refused,
            Err(FrameError::UnsupportedVersion { key: ApiKey::Metadata, version: 13, correlation_id: 5 })
        ),
        "{refused:?}"
    );
    frame[1] = 11;
    assert!(matches!(decode_request(frame.clone().into()), Err(FrameError::UnknownApi(11))));
    frame[0] = 99;
    assert!(matches!(decode_request(frame.into()), Err(FrameError::UnknownApi(_))));
    let old = encode_request(5, "c", 3, &request(ApiKey::Metadata, 4));
    assert!(matches!(old, Err(FrameError::UnsupportedVersion { .. })), "{old:?}");
}

#[test]
fn an_array_that_claims_more_than_the_frame_holds_is_not_allocated() {
    let metadata: RequestKind = MetadataRequest::default().with_topics(Some(Vec::new())).into();
    for claim in [i32::MAX, 1, 100_001, -2] {
        let mut frame = body(&encode_request(1, "c", 8, &metadata).expect("it encodes")).to_vec();
        let at = frame.len() - 3 - 4;
        frame[at..at + 4].copy_from_slice(&claim.to_be_bytes());
        let refused = decode_request(frame.into());
        assert!(matches!(refused, Err(FrameError::Malformed { .. })), "{claim}: {refused:?}");
    }
}

#[tokio::test]
async fn a_frame_is_read_whole_or_not_at_all() {
    let frame = encode_request(1, "c", 9, &request(ApiKey::Metadata, 9)).expect("it encodes");
    let read = read_frame(&mut &frame[..], 1000).await.expect("whole").expect("a frame");
    assert_eq!(read, frame[4..]);
    assert!(read_frame(&mut &frame[..0], 1000).await.expect("an end").is_none());
    for cut in 1..frame.len() {
        let cut_short = read_frame(&mut &frame[..cut], 1000).await;
        assert!(matches!(cut_short, Err(FrameError::CutShort { .. })), "{cut}: {cut_short:?}");
    }
    let too_large = read_frame(&mut &frame[..], 10).await;
    assert!(matches!(too_large, Err(FrameError::TooLarge { max: 10, .. })), "{too_large:?}");
    let negative = read_frame(&mut &[0xff; 8][..], 1000).await;
    assert!(matches!(negative, Err(FrameError::TooLarge { size: -1, .. })), "{negative:?}");
}

proptest! {
    #[test]
    fn a_cut_or_flipped_request_is_an_error_or_another_request_and_never_a_panic(
        pick in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
        flip in proptest::option::of((any::<prop::sample::Index>(), 1..=255u8)),
    ) {
        let all: Vec<(ApiKey, i16)> = table().collect();
        let (key, version) = all[pick.index(all.len())];
        let frame = body(&encode_request(1, "c", version, &request(key, version)).expect("it encodes"));
        let cut = cut.index(frame.len());
        prop_assert!(decode_request(frame.slice(..cut)).is_err(), "{:?} {} cut to {}", key, version, cut);
        if let Some((at, bits)) = flip {
            let mut flipped = frame.to_vec();
            flipped[at.index(frame.len())] ^= bits;
            let _ = decode_request(flipped.into());
        }
    }

    #[test]
    fn arbitrary_bytes_are_an_error_or_a_request_and_never_a_panic(
        pick in any::<prop::sample::Index>(),
        rest in vec(any::<u8>(), 0..200),
    ) {
        let all: Vec<(ApiKey, i16)> = table().collect();
        let (key, version) = all[pick.index(all.len())];
        let mut frame = (key as i16).to_be_bytes().to_vec();
        frame.extend_from_slice(&version.to_be_bytes());
        frame.extend_from_slice(&rest);
        let _ = decode_request(frame.into());
    }
}
