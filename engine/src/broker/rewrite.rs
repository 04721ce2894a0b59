//! The broker's own logs, kept short: when one has outgrown what it says, all of that is written anew behind it, and what
//! came before is deleted. A start then reads a bounded log, however long the history.
//!
//! In: the state of the coordinator and of the committed offsets, each as its log has it at that moment. Out: ordinary
//! records, which say nothing new: to read them twice, or only some of them, changes nothing. So a crash at any moment
//! leaves a log that means the same.
//!
//! Invariant: nothing is deleted before what stands in for it is durable.
//! Invariant: a transaction that was open when the state was written keeps its records: they are not part of it yet.

use std::sync::Arc;

use super::shared::Shared;
use super::{BrokerError, deletion};
use crate::env::Point;
use crate::log::{Appended, Log};
use crate::types::Offset;

/// Of one batch of records, about.
const BATCH_BYTES: usize = 1 << 20;
/// A log is rewritten when it is as many times as large as what it says.
const GROWTH: u64 = 4;

/// One of the broker's logs that are rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    Transactions,
    Offsets,
}

/// What a log holds beside what it says.
struct Growth {
    /// [`Log::appended_bytes`] at the last rewrite; what a start has read counts as appended since.
    since: u64,
    read: u64,
    limit: u64,
}

impl Growth {
    fn bytes(&self, log: &Log) -> u64 {
        self.read + (log.appended_bytes() - self.since)
    }
}

/// Rewrites the log of `table` whenever it is worth it, for as long as the broker runs. `read`: bytes that the start has
/// read of it.
pub async fn run(shared: Arc<Shared>, table: Table, read: u64) {
    let log = match table {
        Table::Transactions => shared.txn_log.clone(),
        Table::Offsets => shared.offsets_log.clone(),
    };
    let mut growth = Growth { since: log.appended_bytes(), read, limit: shared.config.internal_log_bytes };
    loop {
        let seen = log.generation();
        if growth.bytes(&log) >= growth.limit && rewrite(&shared, table, &log, &mut growth).await.is_err() {
            // The broker has ended; it says why elsewhere.
            return;
        }
        tokio::select! {
            biased;
            _ = shared.life.ended() => return,
            _ = log.changed(seen) => {}
        }
    }
}

async fn rewrite(shared: &Arc<Shared>, table: Table, log: &Log, growth: &mut Growth) -> Result<(), BrokerError> {
    let Some(rewritten) = append(shared, table, log, growth)? else { return Ok(()) };
    shared.durable(log, &rewritten.last).await?;
    shared.env.reach(Point::BrokerLogRewritten).await;
    deletion::delete_below(shared, log, rewritten.needed_from).await?;
    Ok(())
}

struct Rewritten {
    last: Appended,
    /// Records below say nothing that the later ones do not say.
    needed_from: Offset,
}

/// Appends the state, unless it is too large for the log that it would replace; all of it before anything else can be
/// decided or appended.
fn append(shared: &Shared, table: Table, log: &Log, growth: &mut Growth) -> Result<Option<Rewritten>, BrokerError> {
    let least = shared.config.internal_log_bytes;
    let mut write = |records: Vec<(Vec<u8>, Vec<u8>)>, oldest_open: Option<Offset>| {
        let live: u64 = records.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum();
        growth.limit = least.max(GROWTH * live);
        if records.is_empty() || growth.bytes(log) < growth.limit {
            return Ok(None);
        }
        growth.read = 0;
        growth.since = log.appended_bytes();
        let mut appended = Vec::new();
        for batch in batches(records) {
            appended.push(shared.append_internal(log, &batch)?);
        }
        // As it lies in the log: a small state has batches that are larger than their records, and is not to be written
        // again for that alone.
        growth.limit = least.max(GROWTH * growth.bytes(log));
        let (Some(first), Some(last)) = (appended.first(), appended.last()) else { return Ok(None) };
        let needed_from = oldest_open.map_or(first.base, |open| open.min(first.base));
        Ok(Some(Rewritten { last: *last, needed_from }))
    };
    match table {
        Table::Transactions => {
            let coordinator = shared.coordinator();
            let records = coordinator.whole();
            write(records.iter().map(super::coordinator::Record::encode).collect(), None)
        }
        Table::Offsets => {
            let offsets = shared.offsets();
            let now = shared.env.now();
            let oldest_open = log.open_transactions().iter().map(|open| open.first_offset).min();
            write(offsets.whole().iter().map(|record| record.encode(now)).collect(), oldest_open)
        }
    }
}

fn batches(records: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut batches = vec![Vec::new()];
    let mut bytes = 0;
    for record in records {
        let size = record.0.len() + record.1.len();
        if bytes > 0 && bytes + size > BATCH_BYTES {
            batches.push(Vec::new());
            bytes = 0;
        }
        bytes += size;
        batches.last_mut().expect("there is one").push(record);
    }
    batches
}
