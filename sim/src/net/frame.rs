//! Cuts a byte stream into Kafka's frames: a length of four bytes, big endian, and so many bytes.
//!
//! In: bytes as they are written. Out: pieces, each within one frame, the first of a frame with its head. Always: the
//! pieces put together are the stream. A stream whose lengths make no sense is passed on as it is.

use bytes::{Bytes, BytesMut};

/// Longer frames are taken for something else than Kafka.
const LONGEST: i32 = 128 * 1024 * 1024;

/// Which end of a conversation the stream carries: the heads differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Requests,
    Replies,
}

/// What the first bytes of a frame say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// -1 for replies, which do not say it.
    pub(super) api_key: i16,
    pub(super) correlation_id: i32,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) bytes: Bytes,
    /// The piece begins a frame, and this is its head (`None` in it when the frame is too short to have one).
    pub(super) begins: Option<Option<Head>>,
    /// The piece ends its frame.
    pub(super) ends: bool,
}

pub(super) struct Framer {
    side: Side,
    /// Bytes of the present frame that are still to come.
    left: usize,
    raw: bool,
}

impl Framer {
    pub(super) fn new(side: Side) -> Framer {
        Framer { side, left: 0, raw: false }
    }

    /// Takes the next piece off the front of `data`; `None` while it takes more bytes to tell.
    pub(super) fn next(&mut self, data: &mut BytesMut) -> Option<Piece> {
        if data.is_empty() {
            return None;
        }
        if self.raw {
            return Some(Piece { bytes: data.split().freeze(), begins: None, ends: false });
        }
        let mut begins = None;
        if self.left == 0 {
            let length = i32::from_be_bytes(*data.first_chunk::<4>()?);
            if !(0..=LONGEST).contains(&length) {
                self.raw = true;
                return self.next(data);
            }
            let total = length as usize + 4;
            let head_bytes = match self.side {
                Side::Requests => 12,
                Side::Replies => 8,
            };
            if data.len() < head_bytes.min(total) {
                return None;
            }
            begins = Some((total >= head_bytes).then(|| self.head(data)));
            self.left = total;
        }
        let take = self.left.min(data.len());
        self.left -= take;
        Some(Piece { bytes: data.split_to(take).freeze(), begins, ends: self.left == 0 })
    }

    /// The stream has ended: what is left of it, although it makes no frame.
    pub(super) fn rest(&mut self, data: &mut BytesMut) -> Option<Piece> {
        self.raw = true;
        self.next(data)
    }

    fn head(&self, data: &[u8]) -> Head {
        let word = |at: usize| i32::from_be_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]]);
        match self.side {
            Side::Requests => Head { api_key: i16::from_be_bytes([data[4], data[5]]), correlation_id: word(8) },
            Side::Replies => Head { api_key: -1, correlation_id: word(4) },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(api_key: i16, correlation_id: i32, body: &[u8]) -> Vec<u8> {
        let mut frame = (8 + body.len() as i32).to_be_bytes().to_vec();
        frame.extend_from_slice(&api_key.to_be_bytes());
        frame.extend_from_slice(&7i16.to_be_bytes());
        frame.extend_from_slice(&correlation_id.to_be_bytes());
        frame.extend_from_slice(body);
        frame
    }

    proptest! {
        #[test]
        fn pieces_make_the_stream_and_each_frame_begins_and_ends_once(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
            cuts in prop::collection::vec(1usize..30, 1..40),
        ) {
            let stream: Vec<u8> = bodies.iter().enumerate().flat_map(|(i, body)| request(i as i16, i as i32, body)).collect();
            let (mut framer, mut data) = (Framer::new(Side::Requests), BytesMut::new());
            let (mut seen, mut heads, mut ends) = (Vec::new(), Vec::new(), 0);
            let (mut at, mut cut) = (0, cuts.iter().cycle());
            while at < stream.len() {
                let to = (at + cut.next().expect("cycles")).min(stream.len());
                data.extend_from_slice(&stream[at..to]);
                at = to;
                while let Some(piece) = framer.next(&mut data) {
                    seen.extend_from_slice(&piece.bytes);
                    heads.extend(piece.begins.flatten().map(|head| (head.api_key, head.correlation_id)));
                    ends += usize::from(piece.ends);
                }
            }
            prop_assert_eq!(seen, stream);
            prop_assert_eq!(ends, bodies.len());
            prop_assert_eq!(heads, (0..bodies.len()).map(|i| (i as i16, i as i32)).collect::<Vec<_>>());
        }

        #[test]
        fn bytes_that_are_no_frames_are_passed_on(noise in prop::collection::vec(any::<u8>(), 0..100)) {
            let (mut framer, mut data) = (Framer::new(Side::Replies), BytesMut::from(&noise[..]));
            let mut seen = Vec::new();
            while let Some(piece) = framer.next(&mut data) {
                seen.extend_from_slice(&piece.bytes);
            }
            while let Some(piece) = framer.rest(&mut data) {
                seen.extend_from_slice(&piece.bytes);
            }
            prop_assert_eq!(seen, noise);
        }
    }
}
