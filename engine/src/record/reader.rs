//! Reading batches and records where they lie.

use super::header::{BatchHeader, ControlMarker, CorruptReason};
use crate::types::{Offset, Timestamp};

/// What stands at the front of some bytes.
#[derive(Clone, Copy, Debug)]
pub enum Scan<'a> {
    /// A whole batch with a right checksum.
    Complete(BatchRef<'a>),
    /// The beginning of something longer than the bytes.
    PartialTail,
    /// Not a batch.
    Corrupt(CorruptReason),
    /// No bytes.
    End,
}

/// The first batch of `bytes`; its checksum is checked.
pub fn scan(_bytes: &[u8]) -> Scan<'_> {
    todo!()
}

/// Like [`scan`] for bytes whose checksum was checked before.
pub fn scan_trusted(_bytes: &[u8]) -> Scan<'_> {
    todo!()
}

/// The batches of `bytes` one after another, checksums checked; ends at a partial tail, and after the first error.
pub fn batches(_bytes: &[u8]) -> Batches<'_> {
    todo!()
}

/// See [`batches`].
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<BatchRef<'a>, CorruptReason>;
    fn next(&mut self) -> Option<Self::Item> {
        todo!("{}", self.rest.len())
    }
}

/// A whole batch, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct BatchRef<'a> {
    header: BatchHeader,
    bytes: &'a [u8],
}

impl<'a> BatchRef<'a> {
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The records in offset order. A compressed batch is unpacked into `scratch`, which is emptied first and may be
    /// used again for the next batch.
    pub fn records<'s>(&self, _scratch: &'s mut Vec<u8>) -> Result<Records<'s>, RecordError>
    where
        'a: 's,
    {
        todo!()
    }

    /// The marker of a control batch; `None` for data and for control records of a kind we do not know.
    pub fn control_marker(&self) -> Option<ControlMarker> {
        todo!()
    }
}

/// Why a record cannot be read although the batch's checksum is right: its writer was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("record {index} is malformed: {what}")]
    Malformed { index: i32, what: &'static str },
    #[error("{bytes} bytes follow the last record")]
    TrailingBytes { bytes: usize },
    #[error("the compressed records cannot be unpacked")]
    Decompress,
    #[error("the records unpack to more than {max} bytes")]
    TooLarge { max: usize },
}

/// The records of one batch; after an error, nothing follows.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;
    fn next(&mut self) -> Option<Self::Item> {
        todo!("{}", self.rest.len())
    }
}

/// One record, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub offset: Offset,
    pub timestamp: Timestamp,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    /// Headers as they lie in the batch, without their count; checked when the record was read.
    pub raw_headers: &'a [u8],
}

impl<'a> Record<'a> {
    pub fn headers(&self) -> Headers<'a> {
        Headers { rest: self.raw_headers }
    }

    /// The value of the first header with this name; `None` when absent or null.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers().find(|(key, _)| *key == name.as_bytes()).and_then(|(_, value)| value)
    }

    pub fn has_headers(&self) -> bool {
        !self.raw_headers.is_empty()
    }
}

/// The headers of one record.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);
    fn next(&mut self) -> Option<Self::Item> {
        todo!("{}", self.rest.len())
    }
}
