//! Writing batches.

use bytes::Bytes;

use super::header::{BatchHeader, Compression, ControlMarker, HEADER_BYTES};
use super::{lz4, varint};
use crate::types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

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

/// Gathers records into one batch; reusable: its memory is kept from batch to batch.
#[derive(Debug)]
pub struct BatchBuilder {
    compression: Compression,
    /// Room for the header, then the records.
    buf: Vec<u8>,
    count: i32,
    base_timestamp: Timestamp,
    max_timestamp: Timestamp,
}

impl BatchBuilder {
    /// # Panics
    /// If `compression` is one that cannot be written.
    pub fn new(compression: Compression) -> BatchBuilder {
        assert!(!matches!(compression, Compression::Other(_)), "cannot write {compression:?}");
        BatchBuilder {
            compression,
            buf: vec![0; HEADER_BYTES],
            count: 0,
            base_timestamp: Timestamp(0),
            max_timestamp: Timestamp(0),
        }
    }

    pub fn push(
        &mut self,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) {
        if self.count == 0 {
            self.base_timestamp = timestamp;
            self.max_timestamp = timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        // Wraps, as Kafka's arithmetic does; the reader's sum wraps back.
        let timestamp_delta = timestamp.0.wrapping_sub(self.base_timestamp.0);
        let header_count = headers.len() as i32;

        let mut size = 1 + varint::size_i64(timestamp_delta) + varint::size_i32(self.count);
        size += nullable_size(key) + nullable_size(value) + varint::size_i32(header_count);
        for (name, value) in headers {
            size += nullable_size(Some(name)) + nullable_size(*value);
        }

        let buf = &mut self.buf;
        buf.reserve(size + 5);
        let before = buf.len();
        varint::put_i32(buf, length(size));
        let body = buf.len();
        buf.push(0);
        varint::put_i64(buf, timestamp_delta);
        varint::put_i32(buf, self.count);
        put_nullable(buf, key);
        put_nullable(buf, value);
        varint::put_i32(buf, header_count);
        for (name, value) in headers {
            put_nullable(buf, Some(name));
            put_nullable(buf, *value);
        }
        debug_assert_eq!(buf.len() - body, size, "the record at byte {before} says {size} bytes");
        self.count += 1;
    }

    /// Records so far.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The batch's size so far, before compression.
    pub fn size_bytes(&self) -> usize {
        self.buf.len()
    }

    /// The greatest timestamp so far.
    pub fn max_timestamp(&self) -> Option<Timestamp> {
        (self.count > 0).then_some(self.max_timestamp)
    }

    /// The batch, with base offset 0; the builder is empty again. Without records: no bytes.
    ///
    /// # Panics
    /// If the batch exceeds [`super::BATCH_BYTES_MAX`].
    pub fn finish(&mut self, stamp: ProducerStamp) -> Bytes {
        if self.is_empty() {
            return Bytes::new();
        }
        self.seal(stamp, false)
    }

    fn seal(&mut self, stamp: ProducerStamp, control: bool) -> Bytes {
        let mut header = BatchHeader {
            base_offset: Offset::ZERO,
            size: self.buf.len(),
            leader_epoch: 0,
            last_offset_delta: self.count - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: stamp.producer_id,
            producer_epoch: stamp.producer_epoch,
            base_sequence: stamp.base_sequence,
            count: self.count,
            compression: self.compression,
            transactional: stamp.transactional,
            control,
            log_append_time: false,
        };
        let batch = match self.compression {
            // One copy of the exact size: the builder's own memory stays warm, and the batch holds none to spare.
            Compression::None => {
                header.write(&mut self.buf);
                Bytes::copy_from_slice(&self.buf)
            }
            Compression::Lz4 | Compression::Other(_) => {
                let mut out = Vec::with_capacity(HEADER_BYTES + self.buf.len() / 2);
                out.resize(HEADER_BYTES, 0);
                let mut out = lz4::pack(&self.buf[HEADER_BYTES..], out).expect("writing to memory cannot fail");
                header.size = out.len();
                header.write(&mut out);
                Bytes::from(out)
            }
        };
        self.clear();
        batch
    }

    /// Forgets the records.
    pub fn clear(&mut self) {
        self.buf.truncate(HEADER_BYTES);
        self.count = 0;
    }
}

/// A transaction marker as a batch of its own, with base offset 0.
pub fn control_batch(
    marker: ControlMarker,
    producer_id: ProducerId,
    epoch: ProducerEpoch,
    coordinator_epoch: i32,
    now: Timestamp,
) -> Bytes {
    let kind = match marker {
        ControlMarker::Abort => 0,
        ControlMarker::Commit => 1,
    };
    // Key: version i16, type i16. Value: version i16, coordinator epoch i32.
    let key = [0, 0, 0, kind];
    let mut value = [0; 6];
    value[2..].copy_from_slice(&coordinator_epoch.to_be_bytes());
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(now, Some(&key), Some(&value), &[]);
    let stamp =
        ProducerStamp { producer_id, producer_epoch: epoch, base_sequence: Sequence::NONE, transactional: true };
    builder.seal(stamp, true)
}

#[inline]
fn nullable_size(bytes: Option<&[u8]>) -> usize {
    match bytes {
        None => 1,
        Some(bytes) => varint::size_i32(length(bytes.len())) + bytes.len(),
    }
}

#[inline]
fn put_nullable(buf: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint::put_i32(buf, -1),
        Some(bytes) => {
            varint::put_i32(buf, length(bytes.len()));
            buf.extend_from_slice(bytes);
        }
    }
}

#[inline]
fn length(size: usize) -> i32 {
    i32::try_from(size).expect("a record is shorter than 2 GiB")
}
