//! The shape of each request: where its strings and arrays are, and how long they claim to be.
//!
//! In: a request frame. Out: whether the crate's decoder can take it without allocating for elements that are not there.
//! Follows Kafka's message definitions; the round trips beside [`super::frame`] hold it to the crate's encoder, version
//! by version.
//!
//! Invariant: after [`check_request`], every array of the request has as many elements as it claims, and all of them
//! together are at most [`ELEMENTS_MAX`].

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;

/// Of all arrays of a request. A decoded element takes up to about 100 bytes, however short it was.
pub const ELEMENTS_MAX: usize = 100_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    #[error("byte {at}: {missing} bytes are missing")]
    Short { at: usize, missing: usize },
    #[error("byte {at}: a length of {length}")]
    Length { at: usize, length: i64 },
    #[error("byte {at}: no UTF-8")]
    Text { at: usize },
    #[error("more than {ELEMENTS_MAX} elements")]
    Elements,
    #[error("byte {at}: {left} bytes too many")]
    Rest { at: usize, left: usize },
}

type Step = Result<(), ShapeError>;

/// Walks the header from byte `at` (after the correlation id) and the body. Answers the client id and where the body
/// begins.
pub fn check_request(
    key: ApiKey,
    version: i16,
    flexible: bool,
    frame: &Bytes,
    at: usize,
) -> Result<(Option<String>, usize), ShapeError> {
    // The client id is never compact, whatever the header's version.
    let mut walk = Walk { bytes: frame, at, flexible: false, elements: 0 };
    let client_id = walk.text()?.map(str::to_owned);
    walk.flexible = flexible;
    walk.tags()?;
    let body = walk.at;
    walk.body(key, version)?;
    match walk.bytes.len() - walk.at {
        0 => Ok((client_id, body)),
        left => Err(ShapeError::Rest { at: walk.at, left }),
    }
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Lengths are varints, more by one than they say, and each structure ends in tagged fields.
    flexible: bool,
    elements: usize,
}

impl<'a> Walk<'a> {
    fn body(&mut self, key: ApiKey, v: i16) -> Step {
        match key {
            ApiKey::Produce => {
                self.text()?; // transactional id
                self.skip(2 + 4)?; // acks, timeout
                self.array(|topic| {
                    topic.text()?;
                    topic.array(|partition| {
                        partition.skip(4)?;
                        partition.blob()?;
                        partition.tags()
                    })?;
                    topic.tags()
                })?;
            }
            ApiKey::Fetch => {
                // Replica, wait, least and most bytes, isolation; session and its epoch.
                self.skip(4 + 4 + 4 + 4 + 1 + if v >= 7 { 8 } else { 0 })?;
                self.array(|topic| {
                    topic.text()?;
                    topic.array(|partition| {
                        partition.skip(4)?;
                        partition.skip(if v >= 9 { 4 } else { 0 })?; // leader epoch
                        partition.skip(8)?;
                        partition.skip(if v >= 12 { 4 } else { 0 })?; // last fetched epoch
                        partition.skip(if v >= 5 { 8 } else { 0 })?; // log start
                        partition.skip(4)?;
                        partition.tags()
                    })?;
                    topic.tags()
                })?;
                if v >= 7 {
                    self.array(|forgotten| {
                        forgotten.text()?;
                        forgotten.array(|partition| partition.skip(4))?;
                        forgotten.tags()
                    })?;
                }
                if v >= 11 {
                    self.text()?; // rack
                }
            }
            ApiKey::ListOffsets => {
                self.skip(4 + if v >= 2 { 1 } else { 0 })?;
                self.array(|topic| {
                    topic.text()?;
                    topic.array(|partition| {
                        partition.skip(4 + if v >= 4 { 4 } else { 0 } + 8)?;
                        partition.tags()
                    })?;
                    topic.tags()
                })?;
            }
            ApiKey::Metadata => {
                self.array(|topic| {
                    topic.text()?;
                    topic.tags()
                })?;
                self.skip(1 + if v >= 8 { 2 } else { 0 })?;
            }
            ApiKey::OffsetFetch => {
                self.array(|group| {
                    group.text()?;
                    if v >= 9 {
                        group.text()?; // member
                        group.skip(4)?; // its epoch
                    }
                    group.array(|topic| {
                        topic.text()?;
                        topic.array(|partition| partition.skip(4))?;
                        topic.tags()
                    })?;
                    group.tags()
                })?;
                self.skip(1)?;
            }
            ApiKey::FindCoordinator if v >= 4 => {
                self.skip(1)?;
                self.array(|key| key.text().map(drop))?;
            }
            ApiKey::FindCoordinator => {
                self.text()?;
                self.skip(1)?;
            }
            ApiKey::ApiVersions => {
                if v >= 3 {
                    self.text()?;
                    self.text()?;
                }
            }
            ApiKey::CreateTopics => {
                self.array(|topic| {
                    topic.text()?;
                    topic.skip(4 + 2)?;
                    topic.array(|assignment| {
                        assignment.skip(4)?;
                        assignment.array(|broker| broker.skip(4))?;
                        assignment.tags()
                    })?;
                    topic.array(|config| {
                        config.text()?;
                        config.text()?;
                        config.tags()
                    })?;
                    topic.tags()
                })?;
                self.skip(4 + 1)?;
            }
            ApiKey::DeleteRecords => {
                self.array(|topic| {
                    topic.text()?;
                    topic.array(|partition| {
                        partition.skip(4 + 8)?;
                        partition.tags()
                    })?;
                    topic.tags()
                })?;
                self.skip(4)?;
            }
            ApiKey::InitProducerId => {
                self.text()?;
                self.skip(4 + if v >= 3 { 8 + 2 } else { 0 })?;
            }
            ApiKey::EndTxn => {
                self.text()?;
                self.skip(8 + 2 + 1)?;
            }
            ApiKey::TxnOffsetCommit => {
                self.text()?; // transactional id
                self.text()?; // group
                self.skip(8 + 2 + 4)?; // producer, epoch, generation
                self.text()?; // member
                self.text()?; // instance
                self.array(|topic| {
                    topic.text()?;
                    topic.array(|partition| {
                        partition.skip(4 + 8 + 4)?;
                        partition.text()?;
                        partition.tags()
                    })?;
                    topic.tags()
                })?;
            }
            _ => unreachable!("{key:?} is not in the table of APIs"),
        }
        self.tags()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], ShapeError> {
        let left = self.bytes.len() - self.at;
        if left < count {
            return Err(ShapeError::Short { at: self.at, missing: count - left });
        }
        let taken = &self.bytes[self.at..self.at + count];
        self.at += count;
        Ok(taken)
    }

    fn skip(&mut self, count: usize) -> Step {
        self.take(count).map(drop)
    }

    fn varint(&mut self) -> Result<u32, ShapeError> {
        let at = self.at;
        let mut value = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| ShapeError::Length { at, length: value as i64 });
            }
        }
        Err(ShapeError::Length { at, length: value as i64 })
    }

    /// A length of `width` bytes, or a varint less one; `None` is null.
    fn length(&mut self, width: usize) -> Result<Option<usize>, ShapeError> {
        let at = self.at;
        let length = if self.flexible {
            i64::from(self.varint()?) - 1
        } else {
            match *self.take(width)? {
                [a, b] => i64::from(i16::from_be_bytes([a, b])),
                [a, b, c, d] => i64::from(i32::from_be_bytes([a, b, c, d])),
                _ => unreachable!("lengths have 2 or 4 bytes"),
            }
        };
        match length {
            -1 => Ok(None),
            0.. => Ok(Some(length as usize)),
            _ => Err(ShapeError::Length { at, length }),
        }
    }

    fn text(&mut self) -> Result<Option<&'a str>, ShapeError> {
        let Some(length) = self.length(2)? else { return Ok(None) };
        let at = self.at;
        std::str::from_utf8(self.take(length)?).map(Some).map_err(|_| ShapeError::Text { at })
    }

    fn blob(&mut self) -> Step {
        match self.length(4)? {
            None => Ok(()),
            Some(length) => self.skip(length),
        }
    }

    fn array(&mut self, mut element: impl FnMut(&mut Walk<'a>) -> Step) -> Step {
        let count = self.length(4)?.unwrap_or(0);
        self.elements = self.elements.saturating_add(count);
        if self.elements > ELEMENTS_MAX {
            return Err(ShapeError::Elements);
        }
        for _ in 0..count {
            element(self)?;
        }
        Ok(())
    }

    fn tags(&mut self) -> Step {
        if !self.flexible {
            return Ok(());
        }
        let count = self.varint()? as usize;
        self.elements = self.elements.saturating_add(count);
        if self.elements > ELEMENTS_MAX {
            return Err(ShapeError::Elements);
        }
        for _ in 0..count {
            self.varint()?;
            let length = self.varint()? as usize;
            self.skip(length)?;
        }
        Ok(())
    }
}
