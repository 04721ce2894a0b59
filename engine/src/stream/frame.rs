//! The bytes between tasks: markers, repartition frames, keys of output and late records, and who owns a key.
//!
//! All integers are big endian.
//!
//! ```text
//! marker             key, value null; header segno.watermark = i64; on repartition topics also segno.channel = i32,
//!                    the upstream partition. i64::MAX is the end marker
//! repartition        value: source partition i32 ‖ source offset i64 ‖ own watermark i64 ‖ payload
//!                    key: the new key; timestamp: the event time
//! pane repartition   value: upstream partition i32 ‖ sign u8 (1 = added, 0 = taken back) ‖ window start i64 ‖
//!                    window end i64 ‖ length of the upstream key u32 ‖ upstream key ‖ state bytes
//!                    key: the new key; timestamp: window end − 1
//! output             key: key bytes ‖ window start i64; value: the encoder's; null = retraction; timestamp: window end − 1
//! late               key: source partition i32 ‖ source offset i64 ‖ window start i64 (sessions: event time);
//!                    value: the source record's (after a repartition: the payload); timestamp: the event time
//! rejected           key: source partition i32 ‖ source offset i64; value: the source record's; header segno.reason;
//!                    timestamp: the source record's
//! ```

use crate::record::Record;
use crate::types::{Offset, Partition, Timestamp};

use super::aggregate::CodecError;
use super::outbox::{Outbox, Port};
use super::window::Window;

/// The header of a marker: a watermark, i64.
pub const WATERMARK_HEADER: &str = "segno.watermark";
/// The header of a marker on a repartition topic: the upstream partition, i32.
pub const CHANNEL_HEADER: &str = "segno.channel";
/// The header of a rejected record: why, UTF-8.
pub const REASON_HEADER: &str = "segno.reason";

/// What a record that may be a marker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marking {
    /// Not a marker.
    Data,
    Marker {
        watermark: Timestamp,
        channel: Option<Partition>,
    },
    /// It has the header, and the header's value is not an i64.
    Malformed,
}

/// Reads a record's marker, if it is one: null key and value, and the header.
#[inline]
pub fn marking(record: &Record<'_>) -> Marking {
    if record.key.is_some() || record.value.is_some() || !record.has_headers() {
        return Marking::Data;
    }
    let Some(watermark) = record.header(WATERMARK_HEADER) else { return Marking::Data };
    let Ok(watermark) = <[u8; 8]>::try_from(watermark) else { return Marking::Malformed };
    let channel = match record.header(CHANNEL_HEADER) {
        None => None,
        Some(bytes) => match <[u8; 4]>::try_from(bytes) {
            Ok(bytes) => Some(Partition(i32::from_be_bytes(bytes))),
            Err(_) => return Marking::Malformed,
        },
    };
    Marking::Marker { watermark: Timestamp(i64::from_be_bytes(watermark)), channel }
}

/// The partition that owns a key: murmur2, as Kafka's own producer has it.
pub fn partition_of(key: &[u8], partitions: i32) -> Partition {
    crate::client::partition_for_key(key, partitions)
}

/// Reads integers off the front of bytes.
pub struct Cursor<'a>(pub &'a [u8]);

macro_rules! take {
    ($($name:ident -> $int:ty),*) => {$(
        /// # Errors
        /// When fewer bytes are left.
        pub fn $name(&mut self) -> Result<$int, CodecError> {
            let (head, rest) = self.0.split_first_chunk().ok_or_else(|| short(stringify!($int), self.0.len()))?;
            self.0 = rest;
            Ok(<$int>::from_be_bytes(*head))
        }
    )*};
}

fn short(wanted: &str, left: usize) -> CodecError {
    CodecError(format!("wanted {wanted}, {left} bytes are left"))
}

impl<'a> Cursor<'a> {
    take!(u8 -> u8, u16 -> u16, u32 -> u32, u64 -> u64, i32 -> i32, i64 -> i64, u128 -> u128, i128 -> i128);

    /// # Errors
    /// When fewer bytes are left.
    pub fn bytes(&mut self, length: usize) -> Result<&'a [u8], CodecError> {
        let (head, rest) = self.0.split_at_checked(length).ok_or_else(|| short("a byte string", self.0.len()))?;
        self.0 = rest;
        Ok(head)
    }

    /// A length as u32, then so many bytes.
    ///
    /// # Errors
    /// When fewer bytes are left.
    pub fn prefixed(&mut self) -> Result<&'a [u8], CodecError> {
        let length = self.u32()? as usize;
        self.bytes(length)
    }

    /// # Errors
    /// When bytes are left.
    pub fn end(self) -> Result<(), CodecError> {
        if self.0.is_empty() { Ok(()) } else { Err(CodecError(format!("{} bytes too many", self.0.len()))) }
    }
}

/// Appends a length as u32, then what `body` appends.
pub fn put_prefixed(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// A source record on its way to the owner of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub partition: Partition,
    pub offset: Offset,
    /// The watermark of its source partition before it.
    pub own: Timestamp,
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Appends the frame's head; the payload follows.
    pub fn encode_head(partition: Partition, offset: Offset, own: Timestamp, out: &mut Vec<u8>) {
        out.extend_from_slice(&partition.0.to_be_bytes());
        out.extend_from_slice(&offset.0.to_be_bytes());
        out.extend_from_slice(&own.0.to_be_bytes());
    }

    /// # Errors
    /// When the bytes are no frame.
    pub fn decode(bytes: &'a [u8]) -> Result<Frame<'a>, CodecError> {
        let mut cursor = Cursor(bytes);
        Ok(Frame {
            partition: Partition(cursor.i32()?),
            offset: Offset(cursor.i64()?),
            own: Timestamp(cursor.i64()?),
            payload: cursor.0,
        })
    }
}

/// A pane, or the retraction of one, on its way to the owner of its new key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaneFrame<'a> {
    pub channel: Partition,
    pub added: bool,
    pub window: Window,
    pub key: &'a [u8],
    pub state: &'a [u8],
}

impl<'a> PaneFrame<'a> {
    /// Appends the frame's head; the state's bytes follow.
    pub fn encode_head(channel: Partition, added: bool, window: Window, key: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&channel.0.to_be_bytes());
        out.push(u8::from(added));
        out.extend_from_slice(&window.start.0.to_be_bytes());
        out.extend_from_slice(&window.end.0.to_be_bytes());
        put_prefixed(out, |out| out.extend_from_slice(key));
    }

    /// # Errors
    /// When the bytes are no frame.
    pub fn decode(bytes: &'a [u8]) -> Result<PaneFrame<'a>, CodecError> {
        let mut cursor = Cursor(bytes);
        let channel = Partition(cursor.i32()?);
        let added = match cursor.u8()? {
            0 => false,
            1 => true,
            sign => return Err(CodecError(format!("sign {sign} of a pane"))),
        };
        let window = Window { start: Timestamp(cursor.i64()?), end: Timestamp(cursor.i64()?) };
        let key = cursor.prefixed()?;
        Ok(PaneFrame { channel, added, window, key, state: cursor.0 })
    }
}

/// Appends an output record's key.
pub fn put_output_key(key: &[u8], start: Timestamp, out: &mut Vec<u8>) {
    out.extend_from_slice(key);
    out.extend_from_slice(&start.0.to_be_bytes());
}

/// A late record's key.
pub fn late_key(partition: Partition, offset: Offset, start: i64) -> [u8; 20] {
    let mut key = [0; 20];
    key[..4].copy_from_slice(&partition.0.to_be_bytes());
    key[4..12].copy_from_slice(&offset.0.to_be_bytes());
    key[12..].copy_from_slice(&start.to_be_bytes());
    key
}

/// A rejected record's key.
pub fn rejected_key(partition: Partition, offset: Offset) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&partition.0.to_be_bytes());
    key[4..].copy_from_slice(&offset.0.to_be_bytes());
    key
}

/// Writes a marker for a channel.
pub(super) fn push_marker(out: &mut Outbox, port: &Port, watermark: Timestamp, channel: Partition) {
    let (watermark, channel) = (watermark.0.to_be_bytes(), channel.0.to_be_bytes());
    let headers: [(&[u8], Option<&[u8]>); 2] =
        [(WATERMARK_HEADER.as_bytes(), Some(&watermark)), (CHANNEL_HEADER.as_bytes(), Some(&channel))];
    out.push(port, Timestamp(0), None, None, &headers);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_their_bytes() {
        let mut bytes = Vec::new();
        Frame::encode_head(Partition(3), Offset(-1), Timestamp::MIN, &mut bytes);
        bytes.extend_from_slice(b"payload");
        let frame = Frame { partition: Partition(3), offset: Offset(-1), own: Timestamp::MIN, payload: b"payload" };
        assert_eq!(Frame::decode(&bytes), Ok(frame));
        bytes.clear();
        let window = Window { start: Timestamp(-5), end: Timestamp(5) };
        PaneFrame::encode_head(Partition(1), true, window, b"key", &mut bytes);
        bytes.push(9);
        let pane = PaneFrame { channel: Partition(1), added: true, window, key: b"key", state: &[9] };
        assert_eq!(PaneFrame::decode(&bytes), Ok(pane));
    }
}
