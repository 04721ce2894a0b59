//! The entry point: one request in, one response out, whichever transport brought it.

use std::sync::Arc;

use kafka_protocol::messages::{RequestKind, ResponseKind};

use super::shared::Shared;
use super::{BrokerError, cluster, committed, deletion, fetch, produce, transactions};

/// Answers `request`, which is of a version of the table.
///
/// What must not stop halfway when the caller goes away runs detached.
pub async fn answer(shared: &Arc<Shared>, version: i16, request: RequestKind) -> Result<ResponseKind, BrokerError> {
    Ok(match request {
        RequestKind::Produce(request) => produce::stage(shared, version, request).await?.finish(shared).await?.into(),
        RequestKind::Fetch(request) => fetch::fetch(shared, request).await?.into(),
        RequestKind::ListOffsets(request) => fetch::list_offsets(shared, request).await?.into(),
        RequestKind::Metadata(request) => cluster::metadata(shared, version, &request).into(),
        RequestKind::OffsetFetch(request) => committed::offset_fetch(shared, &request).into(),
        RequestKind::FindCoordinator(request) => cluster::find_coordinator(shared, version, request).into(),
        RequestKind::ApiVersions(_) => cluster::api_versions(version).into(),
        RequestKind::CreateTopics(request) => {
            shared.detached(cluster::create_topics(shared.clone(), version, request)).await?.into()
        }
        RequestKind::DeleteRecords(request) => deletion::delete_records(shared, request).await?.into(),
        RequestKind::InitProducerId(request) => {
            shared.detached(transactions::init_producer_id(shared.clone(), request)).await?.into()
        }
        RequestKind::EndTxn(request) => shared.detached(transactions::end_txn(shared.clone(), request)).await?.into(),
        RequestKind::TxnOffsetCommit(request) => committed::txn_offset_commit(shared, request).await?.into(),
        other => unreachable!("{other:?} is not in the table of APIs"),
    })
}
