//! What a task wants written, gathered into batches per destination.
//!
//! Invariant: destinations come out in the order of their ports, which the task fixes; so the same processing fills the
//! same batches in the same order.

use crate::record::{BatchBuilder, Compression};
use crate::types::{Timestamp, TopicPartition};

/// One destination of a task: its place in the outbox, and its name.
#[derive(Clone, Debug)]
pub(super) struct Port {
    pub index: usize,
    pub partition: TopicPartition,
}

/// Batches that a task has filled and nobody has written. One outbox serves one task.
#[derive(Debug)]
pub struct Outbox {
    compression: Compression,
    ports: Vec<Option<(TopicPartition, BatchBuilder)>>,
}

impl Outbox {
    pub fn new(compression: Compression) -> Outbox {
        Outbox { compression, ports: Vec::new() }
    }

    pub(super) fn push(
        &mut self,
        port: &Port,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) {
        if port.index >= self.ports.len() {
            self.ports.resize_with(port.index + 1, || None);
        }
        let (partition, batch) =
            self.ports[port.index].get_or_insert_with(|| (port.partition.clone(), BatchBuilder::new(self.compression)));
        debug_assert_eq!(*partition, port.partition, "an outbox serves one task");
        batch.push(timestamp, key, value, headers);
    }

    /// Hands over every batch that is not empty, in port order. What `write` leaves in a builder stays for the next time.
    pub fn drain(&mut self, mut write: impl FnMut(&TopicPartition, &mut BatchBuilder)) {
        for (partition, batch) in self.ports.iter_mut().flatten() {
            if !batch.is_empty() {
                write(partition, batch);
            }
        }
    }

    /// Every batch that is not empty, in port order.
    pub fn batches(&mut self) -> impl Iterator<Item = (&TopicPartition, &mut BatchBuilder)> {
        self.ports
            .iter_mut()
            .flatten()
            .filter(|(_, batch)| !batch.is_empty())
            .map(|(partition, batch)| (&*partition, batch))
    }

    pub fn is_empty(&self) -> bool {
        self.ports.iter().flatten().all(|(_, batch)| batch.is_empty())
    }

    /// The bytes gathered over all destinations.
    pub fn size_bytes(&self) -> usize {
        self.ports.iter().flatten().map(|(_, batch)| batch.size_bytes()).sum()
    }
}
