//! Small files with a name, a version and a checksum: the recovery point, the log start, the index of a segment.
//!
//! ```text
//! magic [u8; 4] | version u16 | fields, big endian | CRC32C u32 of everything before
//! ```

use bytes::Buf;

use crate::types::{Offset, Timestamp};

/// Why a small file cannot be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    pub what: &'static str,
    pub expected: String,
    pub found: String,
}

impl Malformed {
    pub(super) fn new(what: &'static str, expected: impl ToString, found: impl ToString) -> Malformed {
        Malformed { what, expected: expected.to_string(), found: found.to_string() }
    }
}

/// Of files that have known one form alone.
const VERSION: u16 = 1;

/// Writes fields, then [`Encoder::finish`].
pub(super) struct Encoder(Vec<u8>);

impl Encoder {
    pub(super) fn new(magic: &[u8; 4]) -> Encoder {
        Encoder::versioned(magic, VERSION)
    }

    pub(super) fn versioned(magic: &[u8; 4], version: u16) -> Encoder {
        let mut bytes = magic.to_vec();
        bytes.extend_from_slice(&version.to_be_bytes());
        Encoder(bytes)
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn i16(&mut self, value: i16) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn offset(&mut self, value: Offset) {
        self.i64(value.0);
    }

    pub(super) fn timestamp(&mut self, value: Timestamp) {
        self.i64(value.0);
    }

    /// The number of items that follow.
    pub(super) fn count(&mut self, value: usize) {
        self.u64(value as u64);
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        let checksum = crc32c::crc32c(&self.0);
        self.0.extend_from_slice(&checksum.to_be_bytes());
        self.0
    }
}

/// Reads fields back, in the order in which they were written.
pub(super) struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    /// Checks checksum, magic and version.
    pub(super) fn new(magic: &[u8; 4], bytes: &'a [u8]) -> Result<Decoder<'a>, Malformed> {
        Ok(Decoder::versioned(magic, VERSION, bytes)?.0)
    }

    /// Checks checksum, magic, and that the version is `newest` or one before; answers which.
    pub(super) fn versioned(magic: &[u8; 4], newest: u16, bytes: &'a [u8]) -> Result<(Decoder<'a>, u16), Malformed> {
        let Some((body, checksum)) = bytes.split_last_chunk::<4>() else {
            return Err(Malformed::new("size", "at least 10", bytes.len()));
        };
        let (expected, found) = (u32::from_be_bytes(*checksum), crc32c::crc32c(body));
        if expected != found {
            return Err(Malformed::new("checksum", format!("{expected:#010x}"), format!("{found:#010x}")));
        }
        let Some(rest) = body.strip_prefix(magic) else {
            let found = &body[..body.len().min(magic.len())];
            return Err(Malformed::new("magic", magic.escape_ascii(), found.escape_ascii()));
        };
        let mut decoder = Decoder(rest);
        let version = decoder.take("version", Buf::try_get_u16)?;
        if !(1..=newest).contains(&version) {
            return Err(Malformed::new("version", format!("at most {newest}"), version));
        }
        Ok((decoder, version))
    }

    fn take<T, E>(
        &mut self,
        what: &'static str,
        get: impl FnOnce(&mut &'a [u8]) -> Result<T, E>,
    ) -> Result<T, Malformed> {
        get(&mut self.0).map_err(|_| Malformed::new(what, "more bytes", "the end"))
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.take("u8", Buf::try_get_u8)
    }

    pub(super) fn i16(&mut self) -> Result<i16, Malformed> {
        self.take("i16", Buf::try_get_i16)
    }

    pub(super) fn i32(&mut self) -> Result<i32, Malformed> {
        self.take("i32", Buf::try_get_i32)
    }

    pub(super) fn i64(&mut self) -> Result<i64, Malformed> {
        self.take("i64", Buf::try_get_i64)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.take("u64", Buf::try_get_u64)
    }

    pub(super) fn offset(&mut self) -> Result<Offset, Malformed> {
        self.i64().map(Offset)
    }

    pub(super) fn timestamp(&mut self) -> Result<Timestamp, Malformed> {
        self.i64().map(Timestamp)
    }

    /// Reads a counted list. The list grows with what is really there, whatever the count says.
    pub(super) fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Decoder<'a>) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = self.u64()?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// Nothing may follow the last field.
    pub(super) fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::new("bytes after the last field", 0, self.0.len())) }
    }
}
