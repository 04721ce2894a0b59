//! Reading batches and records where they lie.

use super::header::{
    BATCH_BYTES_MAX, BatchHeader, CHECKED_FROM, CHECKSUM_AT, Compression, ControlMarker, CorruptReason, HEADER_BYTES,
    PREFIX_BYTES,
};
use super::{lz4, varint};
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
pub fn scan(bytes: &[u8]) -> Scan<'_> {
    front(bytes, true)
}

/// Like [`scan`] for bytes whose checksum was checked before.
pub fn scan_trusted(bytes: &[u8]) -> Scan<'_> {
    front(bytes, false)
}

/// The size that the batch at the front of `bytes` claims; `None` when too little of it is there to say, or when what
/// is there cannot be a batch.
pub fn claimed_size(bytes: &[u8]) -> Option<usize> {
    size_of_front(bytes)?.ok()
}

/// `None`: too few bytes to tell.
#[inline]
fn size_of_front(bytes: &[u8]) -> Option<Result<usize, CorruptReason>> {
    let length = i32::from_be_bytes(bytes.get(8..PREFIX_BYTES)?.try_into().ok()?);
    if length < (HEADER_BYTES - PREFIX_BYTES) as i32 || length as usize > BATCH_BYTES_MAX - PREFIX_BYTES {
        return Some(Err(CorruptReason::Size { found: length }));
    }
    Some(Ok(PREFIX_BYTES + length as usize))
}

#[inline]
fn front(bytes: &[u8], check: bool) -> Scan<'_> {
    if bytes.is_empty() {
        return Scan::End;
    }
    let size = match size_of_front(bytes) {
        None => return Scan::PartialTail,
        Some(Err(reason)) => return Scan::Corrupt(reason),
        Some(Ok(size)) => size,
    };
    match bytes.get(16) {
        None => return Scan::PartialTail,
        Some(&magic) if magic != 2 => return Scan::Corrupt(CorruptReason::Magic { found: magic as i8 }),
        Some(_) => {}
    }
    let Some(batch) = bytes.get(..size) else { return Scan::PartialTail };
    let Some(head) = batch.first_chunk::<HEADER_BYTES>() else { return Scan::PartialTail };
    if check {
        let [a, b, c, d] = [head[CHECKSUM_AT], head[CHECKSUM_AT + 1], head[CHECKSUM_AT + 2], head[CHECKSUM_AT + 3]];
        let expected = u32::from_be_bytes([a, b, c, d]);
        let found = crc32c::crc32c(&batch[CHECKED_FROM..]);
        if expected != found {
            return Scan::Corrupt(CorruptReason::Checksum { expected, found });
        }
    }
    match BatchHeader::parse(head, size) {
        Ok(header) => Scan::Complete(BatchRef { header, bytes: batch }),
        Err(reason) => Scan::Corrupt(reason),
    }
}

/// The batches of `bytes` one after another, checksums checked; ends at a partial tail, and after the first error.
pub fn batches(bytes: &[u8]) -> Batches<'_> {
    Batches { rest: bytes, check: true }
}

/// Like [`batches`] for bytes whose checksums were checked before.
pub fn batches_trusted(bytes: &[u8]) -> Batches<'_> {
    Batches { rest: bytes, check: false }
}

/// See [`batches`].
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    rest: &'a [u8],
    check: bool,
}

impl<'a> Batches<'a> {
    /// What has not been read: a partial tail at the end, nothing after an error.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<BatchRef<'a>, CorruptReason>;

    fn next(&mut self) -> Option<Self::Item> {
        match front(self.rest, self.check) {
            Scan::Complete(batch) => {
                self.rest = &self.rest[batch.bytes.len()..];
                Some(Ok(batch))
            }
            Scan::Corrupt(reason) => {
                self.rest = &[];
                Some(Err(reason))
            }
            Scan::PartialTail | Scan::End => None,
        }
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
    pub fn records<'s>(&self, scratch: &'s mut Vec<u8>) -> Result<Records<'s>, RecordError>
    where
        'a: 's,
    {
        let packed = &self.bytes[HEADER_BYTES..];
        let rest: &'s [u8] = match self.header.compression {
            Compression::None => packed,
            Compression::Lz4 => {
                lz4::unpack(packed, scratch)?;
                scratch
            }
            Compression::Other(codec) => return Err(RecordError::Unsupported { codec }),
        };
        Ok(Records {
            rest,
            index: 0,
            count: self.header.count,
            delta_min: 0,
            delta_max: self.header.last_offset_delta,
            base_offset: self.header.base_offset,
            base_timestamp: self.header.base_timestamp.0,
            append_time: self.header.log_append_time.then_some(self.header.max_timestamp),
        })
    }

    /// The marker of a control batch; `None` for data and for control records of a kind we do not know.
    pub fn control_marker(&self) -> Option<ControlMarker> {
        if !self.header.control {
            return None;
        }
        let mut scratch = Vec::new();
        let record = self.records(&mut scratch).ok()?.next()?.ok()?;
        // Key: version i16 (any but a negative one), type i16.
        match record.key? {
            [version, _, 0, 0, ..] if *version < 0x80 => Some(ControlMarker::Abort),
            [version, _, 0, 1, ..] if *version < 0x80 => Some(ControlMarker::Commit),
            _ => None,
        }
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
    #[error("compression codec {codec} is not supported")]
    Unsupported { codec: u8 },
}

/// The records of one batch; after an error, nothing follows.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    index: i32,
    count: i32,
    /// The least offset delta that the next record may have: deltas grow.
    delta_min: i32,
    delta_max: i32,
    base_offset: Offset,
    base_timestamp: i64,
    /// Stands for every record's own timestamp.
    append_time: Option<Timestamp>,
}

impl<'a> Records<'a> {
    /// Takes the next record off; `index < count`. The error says what is wrong with it.
    #[inline]
    fn take(&mut self) -> Result<Record<'a>, &'static str> {
        let size = varint::take_i32(&mut self.rest).ok_or("no length")?;
        let mut body = take(&mut self.rest, size).ok_or("length")?;
        let body = &mut body;
        take(body, 1).ok_or("attributes")?;
        let timestamp_delta = varint::take_i64(body).ok_or("timestamp")?;
        let offset_delta = varint::take_i32(body).ok_or("offset")?;
        if offset_delta < self.delta_min || offset_delta > self.delta_max {
            return Err("offset delta out of order");
        }
        // Cannot overflow: at most delta_max, or the next record is refused.
        self.delta_min = offset_delta.wrapping_add(1);
        let key = take_nullable(body).ok_or("key")?;
        let value = take_nullable(body).ok_or("value")?;
        let header_count = varint::take_i32(body).ok_or("header count")?;
        let raw_headers = *body;
        if header_count != 0 || !body.is_empty() {
            check_headers(body, header_count)?;
        }
        Ok(Record {
            offset: self.base_offset.plus(i64::from(offset_delta)),
            timestamp: match self.append_time {
                None => Timestamp(self.base_timestamp.wrapping_add(timestamp_delta)),
                Some(at) => at,
            },
            key,
            value,
            raw_headers,
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.count {
            if self.rest.is_empty() {
                return None;
            }
            let bytes = self.rest.len();
            self.rest = &[];
            return Some(Err(RecordError::TrailingBytes { bytes }));
        }
        match self.take() {
            Ok(record) => {
                self.index += 1;
                Some(Ok(record))
            }
            Err(what) => {
                let index = self.index;
                self.rest = &[];
                self.index = self.count;
                Some(Err(RecordError::Malformed { index, what }))
            }
        }
    }
}

/// Takes `size` bytes off the front; `None` when it is negative or there are fewer.
#[inline(always)]
fn take<'a>(buf: &mut &'a [u8], size: i32) -> Option<&'a [u8]> {
    let (taken, rest) = buf.split_at_checked(usize::try_from(size).ok()?)?;
    *buf = rest;
    Some(taken)
}

/// Takes a length and that many bytes; length -1 is null.
#[inline(always)]
fn take_nullable<'a>(buf: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    match varint::take_i32(buf)? {
        -1 => Some(None),
        size => take(buf, size).map(Some),
    }
}

/// Walks the headers once, so that [`Headers`] cannot fail later.
fn check_headers(buf: &mut &[u8], count: i32) -> Result<(), &'static str> {
    if count < 0 {
        return Err("header count");
    }
    for _ in 0..count {
        take_header(buf).ok_or("headers")?;
    }
    if buf.is_empty() { Ok(()) } else { Err("bytes follow the headers") }
}

#[inline]
fn take_header<'a>(buf: &mut &'a [u8]) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    let size = varint::take_i32(buf)?;
    let key = take(buf, size)?;
    Some((key, take_nullable(buf)?))
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
        take_header(&mut self.rest)
    }
}
