//! What a client asks first: ApiVersions, Metadata, FindCoordinator; and CreateTopics.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiVersionsResponse, BrokerId, CreateTopicsRequest, CreateTopicsResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, MetadataRequest, MetadataResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::shared::Shared;
use super::topics::{TopicRecord, check_name, is_internal};
use super::{BrokerError, recovery};
use crate::env::Point;
use crate::wire::api;

/// There is one broker.
const NODE: BrokerId = BrokerId(0);
const CLUSTER: &str = "segno";
const TRANSACTION_VERSION: &str = "transaction.version";
/// KIP-890's second version.
const TRANSACTION_VERSION_LEVEL: i16 = 2;

pub fn api_versions(version: i16) -> ApiVersionsResponse {
    let keys = api::TABLE.iter().map(|range| {
        ApiVersion::default().with_api_key(range.key as i16).with_min_version(range.min).with_max_version(range.max)
    });
    let response = ApiVersionsResponse::default().with_api_keys(keys.collect());
    if version < 3 {
        return response;
    }
    let name = StrBytes::from_static_str(TRANSACTION_VERSION);
    response
        .with_supported_features(vec![
            SupportedFeatureKey::default()
                .with_name(name.clone())
                .with_min_version(TRANSACTION_VERSION_LEVEL)
                .with_max_version(TRANSACTION_VERSION_LEVEL),
        ])
        .with_finalized_features_epoch(0)
        .with_finalized_features(vec![
            FinalizedFeatureKey::default()
                .with_name(name)
                .with_min_version_level(TRANSACTION_VERSION_LEVEL)
                .with_max_version_level(TRANSACTION_VERSION_LEVEL),
        ])
}

/// The answer to a version of ApiVersions that is not spoken: in the oldest form, which everyone reads.
pub fn api_versions_unsupported() -> ApiVersionsResponse {
    api_versions(0).with_error_code(ResponseError::UnsupportedVersion.code())
}

/// Host and port that clients are sent to.
fn endpoint(shared: &Shared) -> (StrBytes, i32) {
    let address = shared.advertised();
    let (host, port) = super::split_address(&address).expect("the address was checked at the start");
    (StrBytes::from_string(host.to_owned()), i32::from(port))
}

pub fn metadata(shared: &Shared, version: i16, request: &MetadataRequest) -> MetadataResponse {
    let (host, port) = endpoint(shared);
    let topics = shared.topics();
    let found = |name: TopicName, count: Option<usize>| {
        let answer = MetadataResponseTopic::default().with_is_internal(is_internal(&name)).with_name(Some(name));
        let Some(count) = count else {
            return answer.with_error_code(ResponseError::UnknownTopicOrPartition.code());
        };
        let partitions = (0..count).map(|index| {
            let partition = MetadataResponsePartition::default()
                .with_partition_index(i32::try_from(index).expect("fewer than 2^31 partitions"))
                .with_leader_id(NODE)
                .with_replica_nodes(vec![NODE])
                .with_isr_nodes(vec![NODE]);
            if version >= 7 { partition.with_leader_epoch(0) } else { partition }
        });
        answer.with_partitions(partitions.collect())
    };
    let all = |(name, logs): (&Arc<str>, &Vec<crate::log::Log>)| {
        found(TopicName(StrBytes::from_string(name.to_string())), Some(logs.len()))
    };
    let answers = match &request.topics {
        None => topics.iter().map(all).collect(),
        Some(asked) => asked
            .iter()
            .filter_map(|topic| topic.name.clone())
            .map(|name| {
                let count = topics.get(&name);
                found(name, count)
            })
            .collect(),
    };
    MetadataResponse::default()
        .with_brokers(vec![MetadataResponseBroker::default().with_node_id(NODE).with_host(host).with_port(port)])
        .with_cluster_id(Some(StrBytes::from_static_str(CLUSTER)))
        .with_controller_id(NODE)
        .with_topics(answers)
}

pub fn find_coordinator(shared: &Shared, version: i16, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    let (host, port) = endpoint(shared);
    // Groups and transactions; share groups are not here.
    let error = if matches!(request.key_type, 0 | 1) { 0 } else { ResponseError::InvalidRequest.code() };
    if version < 4 {
        return FindCoordinatorResponse::default()
            .with_error_code(error)
            .with_node_id(NODE)
            .with_host(host)
            .with_port(port);
    }
    let coordinators = request.coordinator_keys.into_iter().map(|key| {
        Coordinator::default()
            .with_key(key)
            .with_error_code(error)
            .with_node_id(NODE)
            .with_host(host.clone())
            .with_port(port)
    });
    FindCoordinatorResponse::default().with_coordinators(coordinators.collect())
}

/// Makes topics: recorded, then made, then known. One request at a time.
pub async fn create_topics(
    shared: Arc<Shared>,
    version: i16,
    request: CreateTopicsRequest,
) -> Result<CreateTopicsResponse, BrokerError> {
    let _turn = shared.creating.lock().await;
    let mut answers = Vec::with_capacity(request.topics.len());
    let mut records: Vec<TopicRecord> = Vec::new();
    let mut asked: BTreeSet<&str> = BTreeSet::new();
    let mut room = shared.config.partitions_max.saturating_sub(shared.topics().partitions());
    for topic in &request.topics {
        let answer = CreatableTopicResult::default().with_name(topic.name.clone());
        let checked = if asked.insert(&topic.name) {
            check_topic(&shared, topic, room)
        } else {
            Err((ResponseError::InvalidRequest, "the request names it twice".to_owned()))
        };
        answers.push(match checked {
            Err((error, message)) => {
                answer.with_error_code(error.code()).with_error_message(Some(StrBytes::from_string(message)))
            }
            Ok(partitions) => {
                room -= partitions as usize;
                records.push(TopicRecord { name: Arc::from(topic.name.as_str()), partitions });
                match version {
                    5.. => answer.with_num_partitions(partitions).with_replication_factor(1),
                    _ => answer,
                }
            }
        });
    }
    if !request.validate_only && !records.is_empty() {
        make(&shared, records).await?;
    }
    Ok(CreateTopicsResponse::default().with_topics(answers))
}

fn check_topic(shared: &Shared, topic: &CreatableTopic, room: usize) -> Result<i32, (ResponseError, String)> {
    check_name(&topic.name).map_err(|reason| (ResponseError::InvalidTopicException, reason))?;
    if shared.topics().contains(&topic.name) {
        return Err((ResponseError::TopicAlreadyExists, format!("topic {} exists", topic.name.as_str())));
    }
    if !topic.assignments.is_empty() {
        return Err((ResponseError::InvalidReplicaAssignment, "there is one broker: nothing to assign".to_owned()));
    }
    if !matches!(topic.replication_factor, -1 | 1) {
        let reason = format!("{} replicas on one broker", topic.replication_factor);
        return Err((ResponseError::InvalidReplicationFactor, reason));
    }
    if let Some(config) = topic.configs.first() {
        let reason = format!("{} cannot be set for a topic here", config.name.as_str());
        return Err((ResponseError::InvalidConfig, reason));
    }
    match topic.num_partitions {
        -1 if room >= 1 => Ok(1),
        count if count >= 1 && count as usize <= room => Ok(count),
        count if count >= 1 => {
            let max = shared.config.partitions_max;
            Err((ResponseError::InvalidPartitions, format!("more than {max} partitions in all")))
        }
        count => Err((ResponseError::InvalidPartitions, format!("{count} partitions"))),
    }
}

async fn make(shared: &Arc<Shared>, records: Vec<TopicRecord>) -> Result<(), BrokerError> {
    let encoded: Vec<(Vec<u8>, Vec<u8>)> = records.iter().map(TopicRecord::encode).collect();
    let appended = shared.append_internal(&shared.metadata_log, &encoded)?;
    shared.durable(&shared.metadata_log, &appended).await?;
    shared.env.reach(Point::BrokerTopicRecorded).await;
    for TopicRecord { name, partitions } in records {
        let mut logs = Vec::new();
        for index in 0..partitions {
            let log = recovery::open(&shared.env, &shared.config, &name, index).await;
            // Recorded and not made: the next start makes it.
            let log = log.map_err(|error| shared.failed(error))?;
            shared.spawn_writer(&log);
            logs.push(log);
        }
        shared.topics().insert(name, logs);
    }
    Ok(())
}
