//! From a data directory to a running broker.
//!
//! In order: the lock; the internal logs; the topics and their logs; the coordinator and the committed offsets, replayed;
//! then what the last stop left undone: open transactions that the coordinator does not know are aborted, and decided ones
//! are concluded.

use std::io;
use std::sync::Arc;

use super::codec::CodecError;
use super::coordinator::{Coordinator, Identity, Owner, Record};
use super::offsets::{OffsetRecord, Offsets};
use super::rewrite::{self, Table};
use super::shared::{Parts, Shared, partition_dir};
use super::topics::{CONSUMER_OFFSETS, METADATA, TRANSACTION_STATE, TopicRecord, Topics};
use super::{BrokerConfig, BrokerError, transactions};
use crate::env::{Env, Point};
use crate::log::{Isolation, Log, LogConfig, ReadError};
use crate::record::{self, BatchRef, ControlMarker};
use crate::types::{Offset, ProducerEpoch, TopicPartition};

const READ_BYTES: usize = 1 << 20;
/// Of the internal logs.
const SEGMENT_BYTES_MIN: u64 = 64 << 10;

pub async fn recover(env: Env, config: BrokerConfig) -> Result<Arc<Shared>, BrokerError> {
    let dir = &config.data_dir;
    let failed = |action: &'static str, source: io::Error| BrokerError::Io {
        action,
        path: dir.clone(),
        source: Arc::new(source),
    };
    env.disk().create_dir_all(dir).await.map_err(|error| failed("create", error))?;
    let lock = env.disk().lock(&dir.join("lock")).await.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => BrokerError::Locked { data_dir: dir.clone() },
        _ => failed("lock", error),
    })?;

    let metadata_log = open(&env, &config, METADATA, 0).await?;
    // Segments that are deleted whole are to be no larger than what is left of their logs.
    let segment_bytes = config.log.segment_bytes.min(config.internal_log_bytes.max(SEGMENT_BYTES_MIN));
    let own = BrokerConfig { log: LogConfig { segment_bytes, ..config.log.clone() }, ..config.clone() };
    let txn_log = open(&env, &own, TRANSACTION_STATE, 0).await?;
    let offsets_log = open(&env, &own, CONSUMER_OFFSETS, 0).await?;
    let topics = topics(&env, &config, [&metadata_log, &txn_log, &offsets_log]).await?;
    let (coordinator, txn_bytes) = coordinator(&txn_log).await?;
    let (offsets, offsets_bytes) = offsets(&offsets_log).await?;

    let parts = Parts { topics, coordinator, offsets, metadata_log, txn_log, offsets_log, lock };
    let shared = Arc::new(Shared::new(env, config, parts));
    let logs: Vec<Log> = shared.topics().iter().flat_map(|(_, logs)| logs.iter().cloned()).collect();
    for log in &logs {
        shared.spawn_writer(log);
    }
    let now = shared.elapsed();
    let concluding = shared.coordinator().recovered(now);
    shared.env.reach(Point::BrokerRecovered).await;
    abort_unknown(&shared, &logs).await?;
    for transactional_id in concluding {
        shared.env.log(format_args!("concludes the transaction of {transactional_id}, decided before the start"));
        transactions::spawn_conclusion(&shared, transactional_id, None);
    }
    shared.tasks.spawn(Box::pin(rewrite::run(shared.clone(), Table::Transactions, txn_bytes)));
    shared.tasks.spawn(Box::pin(rewrite::run(shared.clone(), Table::Offsets, offsets_bytes)));
    Ok(shared)
}

/// Opens a partition's log, or makes it.
pub async fn open(env: &Env, config: &BrokerConfig, topic: &str, index: i32) -> Result<Log, BrokerError> {
    let dir = partition_dir(&config.data_dir, topic, index);
    let partition = TopicPartition::new(topic, index);
    Log::open(env, &dir, partition.clone(), config.log.clone())
        .await
        .map_err(|source| BrokerError::Log { partition, source: Arc::new(source) })
}

async fn topics(env: &Env, config: &BrokerConfig, internal: [&Log; 3]) -> Result<Topics, BrokerError> {
    let mut records: Vec<TopicRecord> = Vec::new();
    replay(internal[0], |batch| {
        each_record(batch, |key, value| {
            records.push(TopicRecord::decode(key, value)?);
            Ok(())
        })
    })
    .await?;
    let mut topics = Topics::default();
    for log in internal {
        topics.insert(log.partition().topic.clone(), vec![log.clone()]);
    }
    for TopicRecord { name, partitions } in records {
        let mut logs = Vec::new();
        for index in 0..partitions {
            logs.push(open(env, config, &name, index).await?);
        }
        topics.insert(name, logs);
    }
    Ok(topics)
}

/// Also answers how many bytes were read.
async fn coordinator(log: &Log) -> Result<(Coordinator, u64), BrokerError> {
    let mut coordinator = Coordinator::default();
    let bytes = replay(log, |batch| {
        each_record(batch, |key, value| {
            coordinator.replay(Record::decode(key, value)?);
            Ok(())
        })
    })
    .await?;
    Ok((coordinator, bytes))
}

/// Also answers how many bytes were read.
async fn offsets(log: &Log) -> Result<(Offsets, u64), BrokerError> {
    let mut offsets = Offsets::default();
    let bytes = replay(log, |batch| {
        let header = *batch.header();
        if header.control {
            if let Some(marker) = batch.control_marker() {
                offsets.resolve(header.producer_id, marker);
            }
            return Ok(());
        }
        let mut records = Vec::new();
        each_record(batch, |key, value| {
            records.push(OffsetRecord::decode(key, value)?);
            Ok(())
        })?;
        match header.transactional {
            true => offsets.stage(header.producer_id, header.producer_epoch, header.base_sequence, records),
            false => offsets.restate(records),
        }
        Ok(())
    })
    .await?;
    Ok((offsets, bytes))
}

/// Reads all of an internal log; answers how many bytes that were.
async fn replay(log: &Log, mut take: impl FnMut(&BatchRef<'_>) -> Result<(), String>) -> Result<u64, BrokerError> {
    let mut bytes = 0;
    let partition = || log.partition().clone();
    let end = log.high_watermark();
    let mut from = log.start();
    while from < end {
        let fetched = log.read(from, READ_BYTES, Isolation::ReadUncommitted).await.map_err(|error| match error {
            ReadError::Log(source) => BrokerError::Log { partition: partition(), source: Arc::new(source) },
            error @ ReadError::OutOfRange { .. } => {
                BrokerError::Internal { partition: partition(), offset: from, reason: error.to_string() }
            }
        })?;
        let damaged = |offset: Offset, reason: String| BrokerError::Internal { partition: partition(), offset, reason };
        if fetched.next <= from {
            return Err(damaged(from, format!("nothing to read below {end}")));
        }
        // The log has checked them.
        for batch in record::batches_trusted(&fetched.bytes) {
            let batch = batch.map_err(|reason| damaged(from, reason.to_string()))?;
            take(&batch).map_err(|reason| damaged(batch.header().base_offset, reason))?;
        }
        from = fetched.next;
        bytes += fetched.bytes.len() as u64;
    }
    Ok(bytes)
}

fn each_record(
    batch: &BatchRef<'_>,
    mut take: impl FnMut(&[u8], &[u8]) -> Result<(), CodecError>,
) -> Result<(), String> {
    let mut scratch = Vec::new();
    for record in batch.records(&mut scratch).map_err(|error| error.to_string())? {
        let record = record.map_err(|error| error.to_string())?;
        let (Some(key), Some(value)) = (record.key, record.value) else {
            return Err(format!("record {} lacks a key or a value", record.offset));
        };
        take(key, value).map_err(|error| format!("record {}: {error}", record.offset))?;
    }
    Ok(())
}

/// A partition's transaction is recorded before the partition is written to. One that is nobody's would hold back its
/// readers for ever.
async fn abort_unknown(shared: &Arc<Shared>, logs: &[Log]) -> Result<(), BrokerError> {
    for log in logs {
        for open in log.open_transactions() {
            let identity = Identity { id: open.producer_id, epoch: open.epoch };
            if shared.coordinator().owner(identity, log.partition()) == Owner::Known {
                continue;
            }
            shared.env.log(format_args!(
                "{}: aborts a transaction of producer {} epoch {} that nobody knows, from offset {}",
                log.partition(),
                open.producer_id,
                open.epoch,
                open.first_offset
            ));
            let epoch = ProducerEpoch(open.epoch.0.saturating_add(1));
            let appended = transactions::append_marker(shared, log, ControlMarker::Abort, open.producer_id, epoch)
                .map_err(|error| shared.refused(log, error))?;
            shared.durable(log, &appended).await?;
            if &*log.partition().topic == CONSUMER_OFFSETS {
                shared.offsets().resolve(open.producer_id, ControlMarker::Abort);
            }
        }
    }
    Ok(())
}
