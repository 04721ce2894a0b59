//! Reading many partitions in order.
//!
//! Invariant: a partition's position never moves back, except by [`Consumer::seek`].
//! Invariant: an offset that is gone is an error that names the range, never a silent reset.

use std::collections::BTreeMap;
use std::time::Duration;

use super::committed::for_each_committed;
use super::{Client, ClientError, Fetched, Isolation};
use crate::record::Record;
use crate::types::{Offset, TopicPartition};

/// A reader with a position in each of its partitions. Positions are its own: it belongs to no group.
pub struct Consumer {
    client: Client,
    isolation: Isolation,
    max_bytes: usize,
    positions: BTreeMap<TopicPartition, Offset>,
}

/// What one poll brought of one partition.
#[derive(Clone, Debug)]
pub struct Polled {
    pub partition: TopicPartition,
    /// Where the poll began.
    pub from: Offset,
    /// Where the next one begins: past aborted and control records too.
    pub next: Offset,
    pub fetched: Fetched,
    isolation: Isolation,
}

impl Polled {
    /// Calls `each` with every record, in offset order. `scratch` may be used again.
    pub fn for_each<E: From<ClientError>>(
        &self,
        scratch: &mut Vec<u8>,
        each: impl FnMut(&Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        for_each_committed(&self.partition, &self.fetched, self.from, self.isolation, scratch, each).map(drop)
    }
}

impl Consumer {
    pub fn new(client: &Client, isolation: Isolation) -> Consumer {
        Consumer { client: client.clone(), isolation, max_bytes: 1 << 20, positions: BTreeMap::new() }
    }

    /// Of one partition in one poll.
    #[must_use]
    pub fn max_bytes(mut self, max_bytes: usize) -> Consumer {
        self.max_bytes = max_bytes;
        self
    }

    /// Reads `partitions` from now on, each from the offset beside it.
    pub fn assign(&mut self, partitions: impl IntoIterator<Item = (TopicPartition, Offset)>) {
        self.positions = partitions.into_iter().collect();
    }

    /// Reads `partition` from `offset` on.
    pub fn seek(&mut self, partition: &TopicPartition, offset: Offset) {
        let position = self.positions.get_mut(partition);
        *position.unwrap_or_else(|| panic!("{partition} is not assigned")) = offset;
    }

    /// Where the next poll reads `partition`.
    pub fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.positions.get(partition).copied()
    }

    /// What there is, of all partitions that have something; waits up to `max_wait` while none has. Dropping the future
    /// moves no position.
    pub async fn poll(&mut self, max_wait: Duration) -> Result<Vec<Polled>, ClientError> {
        let wanted: Vec<_> = self.positions.iter().map(|(partition, from)| (partition.clone(), *from)).collect();
        let answer = self.client.fetch_many(&wanted, self.max_bytes, max_wait, self.isolation).await?;
        let mut polled = Vec::new();
        for ((partition, from), fetched) in wanted.into_iter().zip(answer) {
            let mut batches = super::Committed::new(&fetched, from, self.isolation);
            while batches.next_batch(&partition)?.is_some() {}
            let next = batches.next_offset();
            assert!(next >= from, "{partition}: the position moved back from {from} to {next}");
            if next > from {
                self.positions.insert(partition.clone(), next);
                polled.push(Polled { partition, from, next, fetched, isolation: self.isolation });
            }
        }
        Ok(polled)
    }
}
