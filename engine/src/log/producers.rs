//! What a partition knows of its producers: epochs, sequences, open and aborted transactions.
//!
//! In: each batch, in offset order, as it is accepted or synced or found by recovery. Out: whether a batch continues its
//! producer's sequence, and how far readers of committed data may go. Pure.
//!
//! The log keeps two tables: one of what was *accepted* (it judges the next append) and one of what is *synced* (readers
//! and the recovery point see it). Both go through [`ProducerTable::apply`], and so does recovery: live and recovered
//! state cannot differ in kind.
//!
//! A marker carries the epoch after the one whose transaction it ends (KIP-890). So a Produce that was delayed past the
//! marker is fenced here, at the partition, and a marker is told from a repetition of the one before.

use std::collections::{BTreeMap, VecDeque};

use super::codec::{Decoder, Encoder, Malformed};
use super::{AppendError, Appended, OpenTransaction};
use crate::record::{BatchHeader, ControlMarker};
use crate::types::{Aborted, Offset, ProducerEpoch, ProducerId, Sequence};

/// How many batches of a producer are remembered, to answer a retry with its first offsets: as many as a client may
/// have in flight.
const BATCHES_MAX: usize = 5;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ProducerTable {
    producers: BTreeMap<ProducerId, Producer>,
    /// First offset → producer, of every open transaction.
    open: BTreeMap<Offset, ProducerId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Producer {
    epoch: ProducerEpoch,
    /// The last batches of this epoch, oldest first; at most [`BATCHES_MAX`].
    batches: VecDeque<Written>,
    /// First offset and epoch of the open transaction.
    transaction: Option<(Offset, ProducerEpoch)>,
    /// The last marker: its epoch, its kind, its offset.
    marker: Option<(ProducerEpoch, ControlMarker, Offset)>,
}

/// A batch that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Written {
    base_sequence: Sequence,
    last_sequence: Sequence,
    base: Offset,
    next: Offset,
}

/// A transaction that a marker has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub producer_id: ProducerId,
    pub first_offset: Offset,
    pub marker: ControlMarker,
    pub marker_offset: Offset,
}

/// What to do with an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Write,
    /// It is in the log already.
    Duplicate(Appended),
}

impl ProducerTable {
    /// Whether a data batch may be appended.
    pub(super) fn check(&self, batch: &BatchHeader) -> Result<Verdict, AppendError> {
        let producer_id = batch.producer_id;
        if producer_id == ProducerId::NONE {
            return Ok(Verdict::Write);
        }
        let out_of_order =
            |expected| Err(AppendError::OutOfOrderSequence { producer_id, expected, found: batch.base_sequence });
        let Some(producer) = self.producers.get(&producer_id) else {
            // State is never forgotten while the log lives, so an unknown producer is a new one.
            return if batch.base_sequence == Sequence(0) { Ok(Verdict::Write) } else { out_of_order(Sequence(0)) };
        };
        let is_old = mutant!(
            "epochs-unchecked",
            mutant!("partitions-take-any-epoch", batch.producer_epoch < producer.epoch, false),
            false,
        );
        if is_old {
            return Err(AppendError::InvalidProducerEpoch {
                producer_id,
                current: producer.epoch,
                found: batch.producer_epoch,
            });
        }
        let wrong_state = |what| Err(AppendError::InvalidTxnState { producer_id, what });
        if batch.producer_epoch > producer.epoch {
            if producer.transaction.is_some() {
                return wrong_state("a transaction of an earlier epoch is open");
            }
            return if batch.base_sequence == Sequence(0) { Ok(Verdict::Write) } else { out_of_order(Sequence(0)) };
        }
        let last_sequence = batch.last_sequence();
        let twin =
            |written: &&Written| written.base_sequence == batch.base_sequence && written.last_sequence == last_sequence;
        let written = mutant!(
            "same-batch-appended-twice",
            mutant!("resent-batch-refused", producer.batches.iter().find(twin), None),
            None,
        );
        if let Some(written) = written {
            return Ok(Verdict::Duplicate(Appended { base: written.base, next: written.next, duplicate: true }));
        }
        let expected = producer.batches.back().map_or(Sequence(0), |written| written.last_sequence.plus(1));
        let is_out_of_order = mutant!(
            "same-batch-appended-twice",
            mutant!("old-sequences-appended", batch.base_sequence != expected, batch.base_sequence > expected),
            batch.base_sequence > expected,
        );
        if is_out_of_order {
            return out_of_order(expected);
        }
        if producer.transaction.is_some() && !batch.transactional {
            return wrong_state("a transaction is open, and the batch is not part of it");
        }
        Ok(Verdict::Write)
    }

    /// Whether a marker may be appended. The same marker again is a duplicate; its opposite is refused.
    pub(super) fn check_marker(
        &self,
        marker: ControlMarker,
        producer_id: ProducerId,
        epoch: ProducerEpoch,
    ) -> Result<Verdict, AppendError> {
        // Unknown producers get their marker too: it fences what they may still have under way.
        let Some(producer) = self.producers.get(&producer_id) else { return Ok(Verdict::Write) };
        let wrong_state = |what| Err(AppendError::InvalidTxnState { producer_id, what });
        if let Some((written_epoch, written, offset)) = producer.marker
            && written_epoch == epoch
        {
            return if written == marker {
                Ok(Verdict::Duplicate(Appended { base: offset, next: offset.plus(1), duplicate: true }))
            } else {
                wrong_state("the transaction has ended the other way")
            };
        }
        if epoch < producer.epoch {
            return Err(AppendError::InvalidProducerEpoch { producer_id, current: producer.epoch, found: epoch });
        }
        match producer.transaction {
            Some((_, open))
                if mutant!(
                    "old-epoch-markers",
                    mutant!("partitions-take-old-markers", epoch <= open, epoch < open),
                    epoch < open,
                ) =>
            {
                wrong_state("the marker does not carry the next epoch")
            }
            _ => Ok(Verdict::Write),
        }
    }

    /// Takes in a batch that has its offset. Judges nothing: what is in the log is so.
    pub(super) fn apply(&mut self, batch: &BatchHeader, marker: Option<ControlMarker>) -> Option<Ended> {
        if batch.producer_id == ProducerId::NONE {
            return None;
        }
        let producer = self.producers.entry(batch.producer_id).or_insert_with(|| Producer {
            epoch: batch.producer_epoch,
            batches: VecDeque::new(),
            transaction: None,
            marker: None,
        });
        if batch.producer_epoch > producer.epoch {
            producer.epoch = batch.producer_epoch;
            producer.batches.clear();
        }
        if batch.control {
            let marker = marker?;
            producer.marker = Some((batch.producer_epoch, marker, batch.base_offset));
            let (first_offset, _) = producer.transaction.take()?;
            self.open.remove(&first_offset);
            return Some(Ended {
                producer_id: batch.producer_id,
                first_offset,
                marker,
                marker_offset: batch.base_offset,
            });
        }
        if batch.base_sequence != Sequence::NONE {
            if producer.batches.len() == BATCHES_MAX {
                producer.batches.pop_front();
            }
            producer.batches.push_back(Written {
                base_sequence: batch.base_sequence,
                last_sequence: batch.last_sequence(),
                base: batch.base_offset,
                next: batch.next_offset(),
            });
        }
        if batch.transactional && producer.transaction.is_none() {
            producer.transaction = Some((batch.base_offset, batch.producer_epoch));
            self.open.insert(batch.base_offset, batch.producer_id);
        }
        None
    }

    /// Where the oldest open transaction begins.
    pub(super) fn first_open(&self) -> Option<Offset> {
        self.open.keys().next().copied()
    }

    pub(super) fn open_transactions(&self) -> Vec<OpenTransaction> {
        let transaction = |(&first_offset, producer_id): (&Offset, &ProducerId)| {
            let epoch = self.producers[producer_id].transaction.expect("it is in the list of open ones").1;
            OpenTransaction { producer_id: *producer_id, epoch, first_offset }
        };
        self.open.iter().map(transaction).collect()
    }

    pub(super) fn encode(&self, out: &mut Encoder) {
        out.count(self.producers.len());
        for (producer_id, producer) in &self.producers {
            out.i64(producer_id.0);
            out.i16(producer.epoch.0);
            out.count(producer.batches.len());
            for written in &producer.batches {
                out.i32(written.base_sequence.0);
                out.i32(written.last_sequence.0);
                out.offset(written.base);
                out.offset(written.next);
            }
            out.u8(u8::from(producer.transaction.is_some()));
            if let Some((first_offset, epoch)) = producer.transaction {
                out.offset(first_offset);
                out.i16(epoch.0);
            }
            out.u8(match producer.marker {
                None => 0,
                Some((_, ControlMarker::Abort, _)) => 1,
                Some((_, ControlMarker::Commit, _)) => 2,
            });
            if let Some((epoch, _, offset)) = producer.marker {
                out.i16(epoch.0);
                out.offset(offset);
            }
        }
    }

    pub(super) fn decode(from: &mut Decoder<'_>) -> Result<ProducerTable, Malformed> {
        let mut open = BTreeMap::new();
        let producers = from.list(|from| {
            let producer_id = ProducerId(from.i64()?);
            let epoch = ProducerEpoch(from.i16()?);
            let batches = from.list(|from| {
                Ok(Written {
                    base_sequence: Sequence(from.i32()?),
                    last_sequence: Sequence(from.i32()?),
                    base: from.offset()?,
                    next: from.offset()?,
                })
            })?;
            let transaction = match from.u8()? {
                0 => None,
                _ => Some((from.offset()?, ProducerEpoch(from.i16()?))),
            };
            if let Some((first_offset, _)) = transaction {
                open.insert(first_offset, producer_id);
            }
            let marker = match from.u8()? {
                0 => None,
                1 => Some(ControlMarker::Abort),
                2 => Some(ControlMarker::Commit),
                kind => return Err(Malformed::new("marker", "0, 1 or 2", kind)),
            };
            let marker = match marker {
                None => None,
                Some(marker) => Some((ProducerEpoch(from.i16()?), marker, from.offset()?)),
            };
            Ok((producer_id, Producer { epoch, batches: batches.into(), transaction, marker }))
        })?;
        Ok(ProducerTable { producers: producers.into_iter().collect(), open })
    }
}

/// The aborted transactions of a log, in the order of their markers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AbortedIndex {
    entries: Vec<AbortedTransaction>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct AbortedTransaction {
    producer_id: ProducerId,
    first: Offset,
    /// The marker's offset.
    last: Offset,
    /// The last stable offset after the marker: no later entry begins below it, so that a search may end here.
    stable: Offset,
}

impl AbortedIndex {
    /// Adds a transaction whose marker is synced. `stable`: the last stable offset with it.
    pub(super) fn push(&mut self, ended: &Ended, stable: Offset) {
        self.entries.push(AbortedTransaction {
            producer_id: ended.producer_id,
            first: ended.first_offset,
            last: ended.marker_offset,
            stable,
        });
    }

    /// The transactions with a record or the marker within `from..to`, by first offset.
    pub(super) fn within(&self, from: Offset, to: Offset) -> Vec<Aborted> {
        let skipped = self.entries.partition_point(|entry| entry.last < from);
        let mut found = Vec::new();
        for entry in &self.entries[skipped..] {
            if entry.first < to {
                found.push(Aborted { producer_id: entry.producer_id, first_offset: entry.first });
            }
            if mutant!("aborted-index-cut-short", entry.stable >= to, true) {
                break;
            }
        }
        found.sort_by_key(|aborted| (aborted.first_offset, aborted.producer_id));
        found
    }

    /// Forgets what ended below the log start.
    pub(super) fn delete_below(&mut self, start: Offset) {
        self.entries.retain(|entry| entry.last >= start);
    }

    pub(super) fn encode(&self, out: &mut Encoder) {
        out.count(self.entries.len());
        for entry in &self.entries {
            out.i64(entry.producer_id.0);
            out.offset(entry.first);
            out.offset(entry.last);
            out.offset(entry.stable);
        }
    }

    pub(super) fn decode(from: &mut Decoder<'_>) -> Result<AbortedIndex, Malformed> {
        let entries = from.list(|from| {
            Ok(AbortedTransaction {
                producer_id: ProducerId(from.i64()?),
                first: from.offset()?,
                last: from.offset()?,
                stable: from.offset()?,
            })
        })?;
        Ok(AbortedIndex { entries })
    }
}
