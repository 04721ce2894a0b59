//! Writing batches.

use bytes::Bytes;

use super::header::{Compression, ControlMarker};
use crate::types::{ProducerEpoch, ProducerId, Sequence, Timestamp};

/// Who writes a batch, and where it stands in that producer's sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub base_sequence: Sequence,
    pub transactional: bool,
}

impl ProducerStamp {
    /// Neither idempotent nor transactional.
    pub const NONE: ProducerStamp = ProducerStamp {
        producer_id: ProducerId::NONE,
        producer_epoch: ProducerEpoch::NONE,
        base_sequence: Sequence::NONE,
        transactional: false,
    };
}

/// Gathers records into one batch; reusable.
#[derive(Debug)]
pub struct BatchBuilder {
    compression: Compression,
}

impl BatchBuilder {
    pub fn new(compression: Compression) -> BatchBuilder {
        BatchBuilder { compression }
    }

    pub fn push(
        &mut self,
        _timestamp: Timestamp,
        _key: Option<&[u8]>,
        _value: Option<&[u8]>,
        _headers: &[(&[u8], Option<&[u8]>)],
    ) {
        todo!("{:?}", self.compression)
    }

    /// Records so far.
    pub fn len(&self) -> usize {
        todo!()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The batch's size so far, before compression.
    pub fn size_bytes(&self) -> usize {
        todo!()
    }

    /// The batch, with base offset 0; the builder is empty again. Without records: no bytes.
    pub fn finish(&mut self, _stamp: ProducerStamp) -> Bytes {
        todo!()
    }

    /// Forgets the records.
    pub fn clear(&mut self) {
        todo!()
    }
}

/// A transaction marker as a batch of its own, with base offset 0.
pub fn control_batch(
    _marker: ControlMarker,
    _producer_id: ProducerId,
    _epoch: ProducerEpoch,
    _coordinator_epoch: i32,
    _now: Timestamp,
) -> Bytes {
    todo!()
}
