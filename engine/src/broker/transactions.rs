//! Ending transactions: the steps between the coordinator's decisions, and the requests that lead there.
//!
//! decision durable → markers → markers durable → completion durable → answer. Each conclusion is a task of the broker's
//! own: a client that goes away stops nothing.

use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{
    EndTxnRequest, EndTxnResponse, InitProducerIdRequest, InitProducerIdResponse, ProducerId as WireProducerId,
};

use super::BrokerError;
use super::coordinator::{End, Identity, Init};
use super::shared::Shared;
use super::topics::CONSUMER_OFFSETS;
use crate::env::Point;
use crate::log::{AppendError, Appended, Log};
use crate::record::ControlMarker;
use crate::types::{Millis, ProducerEpoch, ProducerId};

/// There is one coordinator, and it never moves.
const COORDINATOR_EPOCH: i32 = 0;
/// Longer names are refused where they come in.
pub const ID_BYTES_MAX: usize = 1024;

pub async fn init_producer_id(
    shared: Arc<Shared>,
    request: InitProducerIdRequest,
) -> Result<InitProducerIdResponse, BrokerError> {
    let answer = match &request.transactional_id {
        None => Ok(plain(&shared).await?),
        Some(id) => transactional(&shared, Arc::from(id.as_str()), &request).await?,
    };
    Ok(match answer {
        Ok(identity) => InitProducerIdResponse::default()
            .with_producer_id(WireProducerId(identity.id.0))
            .with_producer_epoch(identity.epoch.0),
        Err(error) => InitProducerIdResponse::default()
            .with_error_code(error.code())
            .with_producer_id(WireProducerId(-1))
            .with_producer_epoch(-1),
    })
}

async fn plain(shared: &Arc<Shared>) -> Result<Identity, BrokerError> {
    let (id, appended) = {
        let mut coordinator = shared.coordinator();
        let (id, records) = coordinator.allocate();
        // The record that covers the id may be another request's, under way.
        let appended = match records.is_empty() {
            false => shared.append_records(records)?,
            true => Appended { base: shared.txn_log.end(), next: shared.txn_log.end(), duplicate: false },
        };
        (id, appended)
    };
    shared.durable(&shared.txn_log, &appended).await?;
    Ok(Identity { id, epoch: ProducerEpoch(0) })
}

async fn transactional(
    shared: &Arc<Shared>,
    id: Arc<str>,
    request: &InitProducerIdRequest,
) -> Result<Result<Identity, ResponseError>, BrokerError> {
    if id.is_empty() || id.len() > ID_BYTES_MAX {
        return Ok(Err(ResponseError::InvalidRequest));
    }
    let timeout_max = i64::try_from(shared.config.txn_timeout_max.as_millis()).unwrap_or(i64::MAX);
    let timeout = i64::from(request.transaction_timeout_ms);
    if timeout <= 0 || timeout > timeout_max {
        return Ok(Err(ResponseError::InvalidTransactionTimeout));
    }
    let holder = match (request.producer_id.0, request.producer_epoch) {
        (-1, -1) => None,
        (id, epoch) if id >= 0 && epoch >= 0 => Some(Identity { id: ProducerId(id), epoch: ProducerEpoch(epoch) }),
        _ => return Ok(Err(ResponseError::InvalidRequest)),
    };
    let persisted = {
        let mut coordinator = shared.coordinator();
        match coordinator.init(&id, Millis(timeout), holder) {
            Err(error) => return Ok(Err(error)),
            Ok(Init::Ready(identity)) => return Ok(Ok(identity)),
            Ok(Init::Persist(records)) => Some(shared.append_records(records)?),
            Ok(Init::Abort(records)) => {
                let appended = shared.append_records(records)?;
                spawn_conclusion(shared, id.clone(), Some(appended));
                None
            }
        }
    };
    let Some(appended) = persisted else {
        shared.env.reach(Point::TxnTakenOver).await;
        return Ok(Err(ResponseError::ConcurrentTransactions));
    };
    shared.durable(&shared.txn_log, &appended).await?;
    Ok(Ok(shared.coordinator().initialised(&id)))
}

pub async fn end_txn(shared: Arc<Shared>, request: EndTxnRequest) -> Result<EndTxnResponse, BrokerError> {
    shared.env.reach(Point::TxnBeforeDecision).await;
    let id: Arc<str> = Arc::from(request.transactional_id.as_str());
    let identity = Identity { id: ProducerId(request.producer_id.0), epoch: ProducerEpoch(request.producer_epoch) };
    let step = {
        let mut coordinator = shared.coordinator();
        match coordinator.end(&id, identity, request.committed) {
            Ok(End::Persist(records)) => Ok(Err(shared.append_records(records)?)),
            Ok(End::Ready(next)) => Ok(Ok(next)),
            Err(error) => Err(error),
        }
    };
    let next = match step {
        Ok(Ok(next)) => next,
        Ok(Err(decided)) => conclude(&shared, &id, Some(decided)).await?,
        Err(error) => {
            return Ok(EndTxnResponse::default()
                .with_error_code(error.code())
                .with_producer_id(WireProducerId(-1))
                .with_producer_epoch(-1));
        }
    };
    Ok(EndTxnResponse::default().with_producer_id(WireProducerId(next.id.0)).with_producer_epoch(next.epoch.0))
}

/// Concludes a decided transaction in a task of its own.
pub fn spawn_conclusion(shared: &Arc<Shared>, transactional_id: Arc<str>, decided: Option<Appended>) {
    let concluding = shared.clone();
    shared.tasks.spawn(Box::pin(async move {
        // A failure has ended the broker already; the next start concludes.
        let _ = conclude(&concluding, &transactional_id, decided).await;
    }));
}

/// From the decision, whose record may still be under way, to the next identity.
async fn conclude(shared: &Shared, id: &str, decided: Option<Appended>) -> Result<Identity, BrokerError> {
    if let Some(decided) = decided {
        mutant!("decision-not-durable", shared.durable(&shared.txn_log, &decided).await, Ok(()))?;
    }
    shared.env.reach(Point::TxnDecided).await;
    let conclusion = shared.coordinator().conclusion(id);
    let mut markers: Vec<(Log, Appended)> = Vec::with_capacity(conclusion.partitions.len());
    for partition in &conclusion.partitions {
        shared.env.reach(Point::TxnBeforeMarker).await;
        let log = shared.topics().log(&partition.topic, partition.partition);
        let log = log.unwrap_or_else(|| panic!("{partition} was part of a transaction and is gone"));
        match append_marker(shared, &log, conclusion.marker, conclusion.id, conclusion.epoch) {
            Ok(appended) => markers.push((log, appended)),
            // The partition is past this transaction: recovery found it there without its record, and aborted it.
            Err(error @ (AppendError::InvalidTxnState { .. } | AppendError::InvalidProducerEpoch { .. }))
                if log.open_transactions().iter().all(|open| open.producer_id != conclusion.id) =>
            {
                shared.env.log(format_args!("{partition} takes no marker of {id}: {error}"));
            }
            Err(error) => return Err(shared.refused(&log, error)),
        }
    }
    for (log, appended) in &markers {
        mutant!("complete-before-markers", shared.durable(log, appended).await, Ok(()))?;
        if &*log.partition().topic == CONSUMER_OFFSETS {
            shared.offsets().resolve(conclusion.id, conclusion.marker);
        }
        shared.env.reach(Point::TxnMarkerWritten).await;
    }
    shared.env.reach(Point::TxnMarkersWritten).await;
    let completed = {
        let mut coordinator = shared.coordinator();
        shared.append_records(coordinator.complete(id))?
    };
    shared.durable(&shared.txn_log, &completed).await?;
    shared.env.reach(Point::TxnCompleted).await;
    Ok(shared.coordinator().completed(id))
}

/// Ends a producer's transaction in a partition.
pub fn append_marker(
    shared: &Shared,
    log: &Log,
    marker: ControlMarker,
    id: ProducerId,
    epoch: ProducerEpoch,
) -> Result<Appended, AppendError> {
    if &*log.partition().topic != CONSUMER_OFFSETS {
        return log.append_marker(marker, id, epoch, COORDINATOR_EPOCH);
    }
    // Under one lock: the table has the log's order.
    let mut offsets = shared.offsets();
    let appended = log.append_marker(marker, id, epoch, COORDINATOR_EPOCH)?;
    offsets.decide(id, marker);
    Ok(appended)
}

/// Aborts transactions that are left open, for as long as the broker runs.
pub async fn run_timeouts(shared: Arc<Shared>) {
    loop {
        let next = shared.coordinator().next_deadline();
        let due = async {
            match next {
                Some(deadline) => tokio::time::sleep_until(shared.at(deadline)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = shared.life.ended() => return,
            () = shared.deadlines.notified() => continue,
            () = due => {}
        }
        match expire(&shared) {
            Err(_) => return,
            Ok(0) => {}
            Ok(_) => shared.env.reach(Point::TxnTimedOut).await,
        }
    }
}

/// How many transactions were open for too long.
fn expire(shared: &Arc<Shared>) -> Result<usize, BrokerError> {
    let now = shared.elapsed();
    let mut coordinator = shared.coordinator();
    let mut expired = 0;
    for (id, records) in coordinator.expire(now) {
        shared.env.log(format_args!("aborts the transaction of {id}: it was open for too long"));
        let decided = shared.append_records(records)?;
        spawn_conclusion(shared, id, Some(decided));
        expired += 1;
    }
    Ok(expired)
}
