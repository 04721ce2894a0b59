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

/// Records of one batch, before compression: well below what a log takes as one, whatever a commit has to say.
const BATCH_BYTES: usize = 4 << 20;

/// Batches that a task has filled and nobody has written. One outbox serves one task.
#[derive(Debug)]
pub struct Outbox {
    compression: Compression,
    ports: Vec<Option<Destination>>,
}

#[derive(Debug)]
struct Destination {
    partition: TopicPartition,
    /// Of [`BATCH_BYTES`], oldest first.
    full: Vec<BatchBuilder>,
    batch: BatchBuilder,
}

impl Destination {
    fn new(partition: TopicPartition, compression: Compression) -> Destination {
        Destination { partition, full: Vec::new(), batch: BatchBuilder::new(compression) }
    }

    fn batches(&mut self) -> impl Iterator<Item = &mut BatchBuilder> {
        self.full.iter_mut().chain([&mut self.batch]).filter(|batch| !batch.is_empty())
    }
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
        let compression = self.compression;
        let to = self.ports[port.index].get_or_insert_with(|| Destination::new(port.partition.clone(), compression));
        debug_assert_eq!(to.partition, port.partition, "an outbox serves one task");
        if to.batch.size_bytes() >= BATCH_BYTES {
            to.full.push(std::mem::replace(&mut to.batch, BatchBuilder::new(compression)));
        }
        to.batch.push(timestamp, key, value, headers);
    }

    /// Hands over every batch that is not empty, in port order; a destination's in the order of its records. What `write`
    /// leaves in a builder stays for the next time.
    pub fn drain(&mut self, mut write: impl FnMut(&TopicPartition, &mut BatchBuilder)) {
        for to in self.ports.iter_mut().flatten() {
            let partition = to.partition.clone();
            to.batches().for_each(|batch| write(&partition, batch));
            to.full.retain(|batch| !batch.is_empty());
        }
    }

    pub fn is_empty(&self) -> bool {
        self.ports.iter().flatten().all(|to| to.full.is_empty() && to.batch.is_empty())
    }

    /// The bytes gathered over all destinations.
    pub fn size_bytes(&self) -> usize {
        let batches = self.ports.iter().flatten().flat_map(|to| to.full.iter().chain([&to.batch]));
        batches.map(BatchBuilder::size_bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{ProducerStamp, Scan, scan};

    #[test]
    fn no_batch_outgrows_what_a_log_takes_and_no_record_changes_its_place() {
        let mut outbox = Outbox::new(Compression::None);
        let port = Port { index: 2, partition: TopicPartition::new("t", 0) };
        let value = vec![7; 300_000];
        for index in 0..40 {
            outbox.push(&port, Timestamp(index), None, Some(&value), &[]);
        }
        assert!(outbox.size_bytes() >= 40 * value.len());
        let (mut times, mut batches) = (Vec::new(), 0);
        outbox.drain(|_, batch| {
            let bytes = batch.finish(ProducerStamp::NONE);
            assert!(bytes.len() < BATCH_BYTES + 400_000, "{}", bytes.len());
            let Scan::Complete(batch) = scan(&bytes) else { panic!("not a batch") };
            let mut scratch = Vec::new();
            times.extend(batch.records(&mut scratch).expect("records").map(|record| record.expect("one").timestamp.0));
            batches += 1;
        });
        assert_eq!(times, (0..40).collect::<Vec<_>>());
        assert_eq!(batches, 3);
        assert!(outbox.is_empty());
        outbox.drain(|_, _| panic!("nothing is left"));
    }
}
