//! Big-endian fields of the records in internal topics, written and read in order.
//!
//! Invariant: reading arbitrary bytes is an error or a value, never a panic.

use std::sync::Arc;

use crate::types::TopicPartition;

/// The bytes are not what this version writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("{what}: {missing} bytes are missing")]
    Short { what: &'static str, missing: usize },
    #[error("{what}: {found}")]
    Value { what: &'static str, found: i64 },
    #[error("{what}: no UTF-8")]
    Text { what: &'static str },
    #[error("{left} bytes too many")]
    Rest { left: usize },
}

/// Appends fields.
#[derive(Default)]
pub struct Put(pub Vec<u8>);

impl Put {
    pub fn u8(&mut self, value: u8) -> &mut Put {
        self.0.push(value);
        self
    }

    pub fn i16(&mut self, value: i16) -> &mut Put {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub fn i32(&mut self, value: i32) -> &mut Put {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub fn i64(&mut self, value: i64) -> &mut Put {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// The length as an i16, then the bytes, as Kafka's strings.
    ///
    /// # Panics
    /// If `value` has more than `i16::MAX` bytes: names are checked where they come in.
    pub fn text(&mut self, value: &str) -> &mut Put {
        let length = i16::try_from(value.len()).unwrap_or_else(|_| panic!("a name of {} bytes", value.len()));
        self.i16(length);
        self.0.extend_from_slice(value.as_bytes());
        self
    }

    pub fn partition(&mut self, value: &TopicPartition) -> &mut Put {
        self.text(&value.topic).i32(value.partition.0)
    }
}

/// Takes fields off the front.
pub struct Get<'a>(pub &'a [u8]);

impl<'a> Get<'a> {
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], CodecError> {
        let (taken, rest) =
            self.0.split_first_chunk::<N>().ok_or_else(|| CodecError::Short { what, missing: N - self.0.len() })?;
        self.0 = rest;
        Ok(*taken)
    }

    pub fn u8(&mut self, what: &'static str) -> Result<u8, CodecError> {
        Ok(u8::from_be_bytes(self.array(what)?))
    }

    pub fn i16(&mut self, what: &'static str) -> Result<i16, CodecError> {
        Ok(i16::from_be_bytes(self.array(what)?))
    }

    pub fn i32(&mut self, what: &'static str) -> Result<i32, CodecError> {
        Ok(i32::from_be_bytes(self.array(what)?))
    }

    pub fn i64(&mut self, what: &'static str) -> Result<i64, CodecError> {
        Ok(i64::from_be_bytes(self.array(what)?))
    }

    pub fn text(&mut self, what: &'static str) -> Result<&'a str, CodecError> {
        let length = self.i16(what)?;
        let length = usize::try_from(length).map_err(|_| CodecError::Value { what, found: i64::from(length) })?;
        if self.0.len() < length {
            return Err(CodecError::Short { what, missing: length - self.0.len() });
        }
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        std::str::from_utf8(taken).map_err(|_| CodecError::Text { what })
    }

    pub fn partition(&mut self, what: &'static str) -> Result<TopicPartition, CodecError> {
        let topic: Arc<str> = Arc::from(self.text(what)?);
        Ok(TopicPartition::new(topic, self.i32(what)?))
    }

    pub fn end(self) -> Result<(), CodecError> {
        if self.0.is_empty() { Ok(()) } else { Err(CodecError::Rest { left: self.0.len() }) }
    }
}
