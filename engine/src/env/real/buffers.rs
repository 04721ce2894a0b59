//! Buffers that reads are made into, used again.
//!
//! A fresh megabyte costs 256 page faults and a clearing, about as much as copying it from the page cache. Here a buffer
//! is cleared once in its life: when the last [`Bytes`] over it is gone it comes back, and the next read overwrites it.
//! Always: nobody sees bytes beyond what the read filled.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Smaller reads allocate: they are cheap, and a small slice must not keep a large buffer.
const SMALLEST: usize = 32 * 1024;
/// Larger buffers are not kept.
const LARGEST: usize = 8 * 1024 * 1024;
/// How many bytes wait for their next use.
const KEPT_BYTES: usize = 32 * 1024 * 1024;

#[derive(Clone, Default)]
pub(super) struct Buffers(Arc<Mutex<Idle>>);

#[derive(Default)]
struct Idle {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

/// A buffer to read into; all of it is initialised.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    filled: usize,
    home: Option<Buffers>,
}

impl Buffers {
    /// A buffer of at least `len` bytes, with whatever content.
    pub(super) fn take(&self, len: usize) -> Buffer {
        if !(SMALLEST..=LARGEST).contains(&len) {
            return Buffer { bytes: vec![0; len], filled: 0, home: None };
        }
        let size = len.next_power_of_two();
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = idle.buffers.iter().rposition(|buffer| buffer.len() == size);
        let bytes = match found {
            Some(index) => {
                idle.bytes -= size;
                idle.buffers.swap_remove(index)
            }
            None => {
                drop(idle);
                vec![0; size]
            }
        };
        Buffer { bytes, filled: 0, home: Some(self.clone()) }
    }
}

impl Buffer {
    /// Where to read to: `len` bytes from the start.
    pub(super) fn space(&mut self, len: usize) -> &mut [u8] {
        &mut self.bytes[..len]
    }

    /// The first `filled` bytes, shared without a copy.
    pub(super) fn freeze(mut self, filled: usize) -> Bytes {
        assert!(filled <= self.bytes.len(), "filled {filled} of {} bytes", self.bytes.len());
        self.filled = filled;
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(Buffers(home)) = self.home.take() else { return };
        let bytes = std::mem::take(&mut self.bytes);
        let mut idle = home.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.bytes + bytes.len() <= KEPT_BYTES {
            idle.bytes += bytes.len();
            idle.buffers.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_the_last_slice_of_it_is_gone() {
        let buffers = Buffers::default();
        let mut buffer = buffers.take(100_000);
        buffer.space(5).copy_from_slice(b"first");
        let bytes = buffer.freeze(5);
        let slice = bytes.slice(1..3);
        drop(bytes);
        assert_eq!(buffers.0.lock().expect("no panic").buffers.len(), 0);
        assert_eq!(&slice[..], b"ir");
        drop(slice);
        assert_eq!(buffers.0.lock().expect("no panic").buffers.len(), 1);
        assert_eq!(&buffers.take(70_000).freeze(0)[..], b"");
        assert_eq!(buffers.0.lock().expect("no panic").bytes, 131_072);
    }
}
