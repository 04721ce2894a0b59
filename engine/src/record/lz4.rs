//! The LZ4 frame format, as Kafka writes it: independent blocks of at most 64 KiB, no checksums of its own.

use std::io::{self, Read, Write};

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::reader::RecordError;

/// Records that unpack to more are refused, whatever their frame claims.
pub const UNPACKED_BYTES_MAX: usize = 128 << 20;

/// Appends the packed form of `raw` to `out`.
pub fn pack(raw: &[u8], out: Vec<u8>) -> io::Result<Vec<u8>> {
    let info = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(raw)?;
    encoder.finish().map_err(io::Error::other)
}

/// Replaces the content of `out` with the unpacked form of `packed`. `out` grows with what is really there, never by a
/// length that the frame claims.
pub fn unpack(packed: &[u8], out: &mut Vec<u8>) -> Result<(), RecordError> {
    out.clear();
    let limit = UNPACKED_BYTES_MAX as u64 + 1;
    let read = FrameDecoder::new(packed).take(limit).read_to_end(out);
    match read {
        Err(_) => Err(RecordError::Decompress),
        Ok(size) if size > UNPACKED_BYTES_MAX => Err(RecordError::TooLarge { max: UNPACKED_BYTES_MAX }),
        Ok(_) => Ok(()),
    }
}
