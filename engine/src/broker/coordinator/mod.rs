//! The transaction coordinator: KIP-890's second version, as a synchronous state machine.
//!
//! In: requests, and the news that a record is durable or that markers are. Out: answers, and records for
//! `__transaction_state-0`. Reads no clock and does no I/O; `now` is in ms since any fixed moment.
//!
//! ```text
//!           add partitions          end, time-out, fence        markers durable, completion durable
//!   Empty ───────────────▶ Ongoing ───────────────────▶ Prepare ───────────────────────────────────▶ Complete
//!     ▲                       ▲                                                                         │
//!     │                       └────────────────────────── add partitions ───────────────────────────────┤
//!     └───────────────────────────────────────── InitProducerId ────────────────────────────────────────┘
//! ```
//!
//! The shell's part: to append the records of each step in the order of the steps, each step's as one batch; to give no
//! answer before they are durable; to report durability by [`Coordinator::initialised`], [`Coordinator::complete`]
//! (markers) and [`Coordinator::completed`].
//!
//! Invariant: a decision never changes: [`State::Prepare`] is left only for [`State::Complete`] with the same [`How`].
//! Invariant: an identity (producer id, epoch) has at most one transaction. The epoch moves with the decision, so that
//! whatever is still under way from the transaction is refused, here and, by the marker, at the partition.

mod record;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka_protocol::ResponseError;

use crate::record::ControlMarker;
use crate::types::{Millis, ProducerEpoch, ProducerId, TopicPartition};
pub use record::{How, Identity, Record, State, TxnRecord};

/// Producer ids are set aside by this many, so that not each of them needs a durable record.
const PRODUCER_ID_BLOCK: i64 = 1000;
/// The last epoch that a transaction may have: its markers carry `i16::MAX`.
const EPOCH_LAST: ProducerEpoch = ProducerEpoch(i16::MAX - 1);

/// What the shell appends as one batch; empty when there is nothing to say.
pub type Records = Vec<Record>;

#[derive(Clone, Debug)]
struct Txn {
    current: Identity,
    timeout: Millis,
    state: State,
    /// While the transaction is open.
    deadline: Option<u64>,
    /// The record of an InitProducerId is not durable yet.
    initialising: bool,
    /// The record of the completion is appended, and not durable yet.
    completing: bool,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Coordinator {
    txns: BTreeMap<Arc<str>, Txn>,
    next_id: i64,
    /// Ids below are covered by a record.
    reserved: i64,
}

/// An answer to InitProducerId.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Init {
    /// It is the repetition of a request that took effect.
    Ready(Identity),
    /// When the records are durable: [`Coordinator::initialised`].
    Persist(Records),
    /// The open transaction is aborted first. Conclude it, and answer CONCURRENT_TRANSACTIONS.
    Abort(Records),
}

/// An answer to EndTxn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It is the repetition of a request that took effect: the next identity.
    Ready(Identity),
    /// The decision. When it is durable: conclude the transaction.
    Persist(Records),
}

/// The markers that end a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conclusion {
    pub marker: ControlMarker,
    pub id: ProducerId,
    /// Of the markers: the one after the transaction's.
    pub epoch: ProducerEpoch,
    pub partitions: BTreeSet<TopicPartition>,
}

/// Whose an open transaction of a partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A transaction that is open or being concluded.
    Known,
    /// Nobody's: it must be aborted there.
    Nobody,
}

impl Coordinator {
    /// Takes in a record found at start, in log order.
    pub fn replay(&mut self, record: Record) {
        match record {
            Record::ProducerIds { below } => self.reserved = self.reserved.max(below.0),
            Record::Txn(TxnRecord { transactional_id, current, timeout, state }) => {
                self.reserved = self.reserved.max(current.id.0 + 1);
                let txn = Txn { current, timeout, state, deadline: None, initialising: false, completing: false };
                self.txns.insert(transactional_id, txn);
            }
        }
    }

    /// Ends the replay: open transactions get their full timeout from `now`. Answers those that must be concluded.
    pub fn recovered(&mut self, now: u64) -> Vec<Arc<str>> {
        // What was left of the block may have been handed out.
        self.next_id = self.reserved;
        let mut concluding = Vec::new();
        for (transactional_id, txn) in &mut self.txns {
            match txn.state {
                State::Ongoing { .. } => txn.deadline = Some(deadline(now, txn.timeout)),
                State::Prepare { .. } => concluding.push(transactional_id.clone()),
                State::Empty { .. } | State::Complete { .. } => {}
            }
        }
        concluding
    }

    /// Whose the transaction is that `identity` has open in `partition`.
    pub fn owner(&self, identity: Identity, partition: &TopicPartition) -> Owner {
        let owns = |txn: &Txn| match &txn.state {
            State::Ongoing { partitions } => txn.current == identity && partitions.contains(partition),
            State::Prepare { ended, partitions, .. } => *ended == identity && partitions.contains(partition),
            State::Empty { .. } | State::Complete { .. } => false,
        };
        if self.txns.values().any(owns) { Owner::Known } else { Owner::Nobody }
    }

    /// A producer id that nobody had; valid once the records of this and all earlier steps are durable.
    pub fn allocate(&mut self) -> (ProducerId, Records) {
        let mut records = Records::new();
        if self.next_id >= self.reserved {
            self.reserved = self.next_id + PRODUCER_ID_BLOCK;
            records.push(Record::ProducerIds { below: ProducerId(self.reserved) });
        }
        let id = ProducerId(self.next_id);
        self.next_id += 1;
        (id, records)
    }

    /// InitProducerId with a transactional id. `holder`: the identity that the caller believes it has.
    pub fn init(
        &mut self,
        transactional_id: &Arc<str>,
        timeout: Millis,
        holder: Option<Identity>,
    ) -> Result<Init, ResponseError> {
        let Some(txn) = self.txns.get(transactional_id) else {
            let (id, mut records) = self.allocate();
            let current = Identity { id, epoch: ProducerEpoch(0) };
            let state = State::Empty { replaced: None };
            let txn = Txn { current, timeout, state, deadline: None, initialising: true, completing: false };
            records.push(Record::Txn(txn_record(transactional_id, &txn)));
            self.txns.insert(transactional_id.clone(), txn);
            return Ok(Init::Persist(records));
        };
        if txn.initialising {
            return Err(ResponseError::ConcurrentTransactions);
        }
        if let Some(holder) = holder
            && holder != txn.current
        {
            match &txn.state {
                State::Empty { replaced: Some(replaced) } if *replaced == holder => {
                    return Ok(Init::Ready(txn.current));
                }
                // Its EndTxn took effect, and the answer was lost; or its transaction timed out.
                State::Prepare { ended, how, .. } | State::Complete { ended, how }
                    if *ended == holder && *how != How::Fenced => {}
                _ => return Err(ResponseError::ProducerFenced),
            }
        }
        match &txn.state {
            State::Prepare { .. } => Err(ResponseError::ConcurrentTransactions),
            State::Ongoing { .. } => {
                let fenced = mutant!("takeover-commits", How::Fenced, How::Commit);
                let how = if holder.is_some() { How::Abort } else { fenced };
                Ok(Init::Abort(self.decide(transactional_id, how)))
            }
            State::Empty { .. } | State::Complete { .. } => {
                let before = txn.current;
                let (current, mut records) =
                    mutant!("takeover-keeps-epoch", self.next_identity(before), (before, Records::new()));
                let txn = self.txns.get_mut(transactional_id).expect("it was found above");
                *txn = Txn {
                    current,
                    timeout,
                    state: State::Empty { replaced: holder },
                    deadline: None,
                    initialising: true,
                    completing: false,
                };
                records.push(Record::Txn(txn_record(transactional_id, txn)));
                Ok(Init::Persist(records))
            }
        }
    }

    /// The record of [`Coordinator::init`] is durable: this is the answer.
    pub fn initialised(&mut self, transactional_id: &str) -> Identity {
        let txn = self.txns.get_mut(transactional_id).expect("it was initialised");
        assert!(txn.initialising, "{transactional_id} is told twice that it is initialised");
        txn.initialising = false;
        txn.current
    }

    /// Makes the partitions part of the transaction, which begins if none is open. Nothing may be appended to a partition
    /// before the records are durable that made it part.
    pub fn add_partitions(
        &mut self,
        transactional_id: &str,
        identity: Identity,
        partitions: &[TopicPartition],
        now: u64,
    ) -> Result<Records, ResponseError> {
        self.check_writer(transactional_id, identity)?;
        let (key, txn) = entry(&mut self.txns, transactional_id)?;
        match &mut txn.state {
            State::Prepare { .. } => return Err(ResponseError::ConcurrentTransactions),
            State::Ongoing { partitions: known } => {
                if partitions.iter().all(|partition| known.contains(partition)) {
                    return Ok(Records::new());
                }
                known.extend(partitions.iter().cloned());
            }
            State::Empty { .. } | State::Complete { .. } => {
                txn.state = State::Ongoing { partitions: partitions.iter().cloned().collect() };
                txn.deadline = Some(deadline(now, txn.timeout));
            }
        }
        Ok(vec![Record::Txn(txn_record(&key, txn))])
    }

    /// Whether [`Coordinator::add_partitions`] would answer with a record.
    pub fn would_add(&self, transactional_id: &str, partitions: &[TopicPartition]) -> bool {
        match self.txns.get(transactional_id).map(|txn| &txn.state) {
            Some(State::Ongoing { partitions: known }) => partitions.iter().any(|added| !known.contains(added)),
            _ => true,
        }
    }

    /// Whether `identity` may append to `partition` now. Where this races with the end of the transaction, the marker
    /// decides: an append before it is part of the transaction, one after it is fenced.
    pub fn verify(
        &self,
        transactional_id: &str,
        identity: Identity,
        partition: &TopicPartition,
    ) -> Result<(), ResponseError> {
        self.check_writer(transactional_id, identity)?;
        match self.txns.get(transactional_id).map(|txn| &txn.state) {
            Some(State::Ongoing { partitions }) if partitions.contains(partition) => Ok(()),
            Some(State::Prepare { .. }) => Err(ResponseError::ConcurrentTransactions),
            _ => Err(ResponseError::InvalidTxnState),
        }
    }

    fn check_writer(&self, transactional_id: &str, identity: Identity) -> Result<(), ResponseError> {
        let txn = self.txns.get(transactional_id).ok_or(ResponseError::InvalidProducerIdMapping)?;
        if txn.initialising && identity == txn.current {
            return Err(ResponseError::ConcurrentTransactions);
        }
        if is_current(identity, txn) {
            return Ok(());
        }
        match &txn.state {
            // The writer was not replaced, only late: it may abort and go on.
            State::Prepare { ended, how: How::TimedOut, .. } | State::Complete { ended, how: How::TimedOut }
                if *ended == identity =>
            {
                Err(ResponseError::TransactionAbortable)
            }
            State::Prepare { ended, .. } | State::Complete { ended, .. } if *ended == identity => {
                Err(ResponseError::InvalidProducerEpoch)
            }
            _ if identity.id != txn.current.id => Err(ResponseError::InvalidProducerIdMapping),
            // Kafka keeps PRODUCER_FENCED from writers: older clients know only this.
            _ => Err(ResponseError::InvalidProducerEpoch),
        }
    }

    /// EndTxn.
    pub fn end(&mut self, transactional_id: &str, identity: Identity, commit: bool) -> Result<End, ResponseError> {
        let (key, txn) = entry(&mut self.txns, transactional_id)?;
        let wanted = if commit { ControlMarker::Commit } else { ControlMarker::Abort };
        if is_current(identity, txn) {
            return match &txn.state {
                _ if txn.initialising => Err(ResponseError::ConcurrentTransactions),
                State::Prepare { .. } => Err(ResponseError::ConcurrentTransactions),
                State::Empty { .. } | State::Complete { .. } if commit => Err(ResponseError::InvalidTxnState),
                // Aborting nothing still moves the epoch: a Produce may be under way that the coordinator never saw.
                State::Empty { .. } | State::Complete { .. } | State::Ongoing { .. } => {
                    let how = if commit { How::Commit } else { How::Abort };
                    Ok(End::Persist(self.decide(&key, how)))
                }
            };
        }
        match &txn.state {
            State::Prepare { ended, how, .. } | State::Complete { ended, how }
                if *ended == identity && *how != How::Fenced =>
            {
                if how.marker() != wanted {
                    Err(ResponseError::InvalidTxnState)
                } else if matches!(txn.state, State::Prepare { .. }) {
                    Err(ResponseError::ConcurrentTransactions)
                } else {
                    Ok(End::Ready(txn.current))
                }
            }
            State::Prepare { ended, .. } | State::Complete { ended, .. } if *ended == identity => {
                Err(ResponseError::ProducerFenced)
            }
            _ if identity.id != txn.current.id => Err(ResponseError::InvalidProducerIdMapping),
            _ => Err(ResponseError::ProducerFenced),
        }
    }

    /// Ends what was open at its deadline. Conclude each when its records are durable.
    pub fn expire(&mut self, now: u64) -> Vec<(Arc<str>, Records)> {
        let due = |(id, txn): (&Arc<str>, &Txn)| (txn.deadline.is_some_and(|at| at <= now)).then(|| id.clone());
        let due: Vec<Arc<str>> = self.txns.iter().filter_map(due).collect();
        due.into_iter()
            .map(|id| {
                let records = self.decide(&id, mutant!("time-out-commits", How::TimedOut, How::Commit));
                (id, records)
            })
            .collect()
    }

    /// When the next open transaction ends.
    pub fn next_deadline(&self) -> Option<u64> {
        self.txns.values().filter_map(|txn| txn.deadline).min()
    }

    /// The markers of a decided transaction.
    pub fn conclusion(&self, transactional_id: &str) -> Conclusion {
        let state = self.txns.get(transactional_id).map(|txn| &txn.state);
        let Some(State::Prepare { ended, how, partitions }) = state else {
            panic!("{transactional_id} is not decided: {state:?}");
        };
        Conclusion {
            marker: how.marker(),
            id: ended.id,
            epoch: mutant!(
                "old-epoch-markers",
                mutant!("coordinator-sends-old-markers", ProducerEpoch(ended.epoch.0 + 1), ended.epoch),
                ended.epoch,
            ),
            partitions: mutant!("marker-left-out", partitions.clone(), partitions.iter().skip(1).cloned().collect()),
        }
    }

    /// All markers are durable: the record of the completion. When it is durable: [`Coordinator::completed`].
    pub fn complete(&mut self, transactional_id: &str) -> Records {
        let (key, _) = self.txns.get_key_value(transactional_id).expect("a decided transaction stays");
        let key = key.clone();
        let txn = self.txns.get_mut(&key).expect("it was found above");
        assert!(matches!(txn.state, State::Prepare { .. }), "{key} is completed and not decided: {:?}", txn.state);
        txn.completing = true;
        vec![Record::Txn(txn_record(&key, txn))]
    }

    /// The completion is durable: the next identity.
    pub fn completed(&mut self, transactional_id: &str) -> Identity {
        let txn = self.txns.get_mut(transactional_id).expect("a decided transaction stays");
        let State::Prepare { ended, how, .. } = &txn.state else {
            panic!("{transactional_id} is completed and not decided: {:?}", txn.state);
        };
        txn.state = State::Complete { ended: *ended, how: *how };
        txn.completing = false;
        txn.current
    }

    /// All that the log says by now, the last steps included: records that a replay may take in again.
    pub fn whole(&self) -> Records {
        let ids = (self.reserved > 0).then_some(Record::ProducerIds { below: ProducerId(self.reserved) });
        ids.into_iter().chain(self.txns.iter().map(|(id, txn)| Record::Txn(txn_record(id, txn)))).collect()
    }

    fn decide(&mut self, transactional_id: &Arc<str>, how: How) -> Records {
        let txn = &self.txns[transactional_id];
        let ended = txn.current;
        let (next, mut records) = self.next_identity(ended);
        let txn = self.txns.get_mut(transactional_id).expect("it was found above");
        let partitions = match &mut txn.state {
            State::Ongoing { partitions } => std::mem::take(partitions),
            State::Empty { .. } | State::Complete { .. } => BTreeSet::new(),
            State::Prepare { how, .. } => panic!("{transactional_id} is decided twice, the first time {how:?}"),
        };
        txn.current = next;
        txn.deadline = None;
        txn.state = State::Prepare { ended, how, partitions };
        records.push(Record::Txn(txn_record(transactional_id, txn)));
        records
    }

    /// The epoch after `identity`'s, or a new producer id when there is none.
    fn next_identity(&mut self, identity: Identity) -> (Identity, Records) {
        if identity.epoch < EPOCH_LAST {
            let next = Identity { id: identity.id, epoch: ProducerEpoch(identity.epoch.0 + 1) };
            return (next, Records::new());
        }
        let (id, records) = self.allocate();
        (Identity { id, epoch: ProducerEpoch(0) }, records)
    }
}

/// Whether the identity is the one that may write now.
fn is_current(identity: Identity, txn: &Txn) -> bool {
    mutant!(
        "coordinator-takes-any-epoch",
        mutant!("epochs-unchecked", identity == txn.current, identity.id == txn.current.id),
        identity.id == txn.current.id,
    )
}

fn entry<'a>(
    txns: &'a mut BTreeMap<Arc<str>, Txn>,
    transactional_id: &str,
) -> Result<(Arc<str>, &'a mut Txn), ResponseError> {
    let (key, _) = txns.get_key_value(transactional_id).ok_or(ResponseError::InvalidProducerIdMapping)?;
    let key = key.clone();
    let txn = txns.get_mut(&key).expect("it was found above");
    Ok((key, txn))
}

fn deadline(now: u64, timeout: Millis) -> u64 {
    now.saturating_add(u64::try_from(timeout.0).unwrap_or(0))
}

fn txn_record(transactional_id: &Arc<str>, txn: &Txn) -> TxnRecord {
    TxnRecord {
        transactional_id: transactional_id.clone(),
        current: txn.current,
        timeout: txn.timeout,
        state: match &txn.state {
            State::Prepare { ended, how, .. } if txn.completing => State::Complete { ended: *ended, how: *how },
            state => state.clone(),
        },
    }
}
