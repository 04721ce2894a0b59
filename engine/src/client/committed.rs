//! From fetched bytes to committed records: control batches and aborted transactions are passed over here, by the
//! client, as the protocol has it.
//!
//! Invariant: records come in offset order, none below where the fetch began, and none of an aborted transaction.

use std::collections::BTreeSet;

use super::{ClientError, Fetched, Isolation};
use crate::record::{BatchRef, ControlMarker, Record, Scan, scan, scan_trusted};
use crate::types::{Offset, ProducerId, TopicPartition};

/// The batches of one fetch that a reader may see.
pub struct Committed<'a> {
    rest: &'a [u8],
    aborted: std::slice::Iter<'a, super::Aborted>,
    next_aborted: Option<&'a super::Aborted>,
    /// Producers whose current transaction in these bytes is an aborted one.
    aborting: BTreeSet<ProducerId>,
    isolation: Isolation,
    trusted: bool,
    next: Offset,
}

impl<'a> Committed<'a> {
    /// The batches of `fetched`, which was asked for `from`.
    pub fn new(fetched: &'a Fetched, from: Offset, isolation: Isolation) -> Committed<'a> {
        let mut aborted = fetched.aborted.iter();
        let next_aborted = aborted.next();
        Committed {
            rest: &fetched.bytes,
            aborted,
            next_aborted,
            aborting: BTreeSet::new(),
            isolation,
            trusted: false,
            next: from,
        }
    }

    /// For bytes whose checksums were checked before.
    #[must_use]
    pub fn trusted(mut self) -> Committed<'a> {
        self.trusted = true;
        self
    }

    /// Where to read on: after every batch that was passed so far, seen or not.
    pub fn next_offset(&self) -> Offset {
        self.next
    }

    /// The next batch with data that is not aborted; `None` at the end, or at a partial batch.
    ///
    /// # Errors
    /// [`ClientError::Corrupt`] at bytes that are no batch, or not where one must be.
    pub fn next_batch(&mut self, partition: &TopicPartition) -> Result<Option<BatchRef<'a>>, ClientError> {
        loop {
            let batch = match if self.trusted { scan_trusted(self.rest) } else { scan(self.rest) } {
                Scan::Complete(batch) => batch,
                Scan::PartialTail | Scan::End => return Ok(None),
                Scan::Corrupt(reason) => {
                    return Err(ClientError::Corrupt { partition: partition.clone(), at: self.next, reason });
                }
            };
            let header = *batch.header();
            self.rest = &self.rest[header.size..];
            if header.next_offset() <= self.next {
                // Wholly below where the fetch began: a broker may start at an index entry.
                continue;
            }
            self.next = header.next_offset();
            while let Some(aborted) = self.next_aborted
                && aborted.first_offset <= header.last_offset()
            {
                self.aborting.insert(aborted.producer_id);
                self.next_aborted = self.aborted.next();
            }
            if header.control {
                let aborts = batch.control_marker() == Some(ControlMarker::Abort);
                if mutant!("abort-marker-overlooked", aborts, false) {
                    self.aborting.remove(&header.producer_id);
                }
                continue;
            }
            let hidden = mutant!(
                "aborted-records-read",
                self.isolation == Isolation::ReadCommitted
                    && header.transactional
                    && self.aborting.contains(&header.producer_id),
                false,
            );
            if !hidden {
                return Ok(Some(batch));
            }
        }
    }
}

/// Calls `each` with every record of `fetched` that may be seen, from `from` on; returns where to read on. `scratch` is
/// for unpacking, and may be used again.
pub fn for_each_committed<E: From<ClientError>>(
    partition: &TopicPartition,
    fetched: &Fetched,
    from: Offset,
    isolation: Isolation,
    scratch: &mut Vec<u8>,
    mut each: impl FnMut(&Record<'_>) -> Result<(), E>,
) -> Result<Offset, E> {
    let mut batches = Committed::new(fetched, from, isolation);
    while let Some(batch) = batches.next_batch(partition)? {
        let at = batch.header().base_offset;
        let unreadable = |reason| ClientError::Unreadable { partition: partition.clone(), at, reason };
        for record in batch.records(scratch).map_err(unreadable)? {
            let record = record.map_err(unreadable)?;
            if record.offset >= from {
                each(&record)?;
            }
        }
    }
    Ok(batches.next_offset())
}
