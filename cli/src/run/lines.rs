//! Lines of an input with their place in it.
//!
//! In: bytes from some byte offset on. Out: each line with its number (from 1) and the byte offset of its first byte.
//!
//! Invariant: the lines' ranges tile the input, so `next_byte` after a line is where the next one begins, and reading
//! again from there yields the rest.

use std::io::{self, BufRead};

/// A line longer than this is handed out cut, and marked so.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// One line, without its line end (`\n` or `\r\n`).
pub struct Line<'a> {
    pub number: u64,
    pub byte_offset: u64,
    pub bytes: &'a [u8],
    /// The line had more than [`LINE_BYTES_MAX`] bytes; `bytes` holds the first of them.
    pub cut: bool,
}

pub struct Lines<R> {
    reader: R,
    number: u64,
    next_byte: u64,
    buffer: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// `reader` stands at `next_byte` of the input, after `lines_before` whole lines.
    pub fn new(reader: R, next_byte: u64, lines_before: u64) -> Lines<R> {
        Lines { reader, number: lines_before, next_byte, buffer: Vec::new() }
    }

    /// Where the next line begins.
    pub fn next_byte(&self) -> u64 {
        self.next_byte
    }

    /// The next line; `None` at the end of the input. A last line without a line end counts.
    pub fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        self.buffer.clear();
        let byte_offset = self.next_byte;
        let mut cut = false;
        loop {
            let available = match self.reader.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                if self.next_byte == byte_offset {
                    return Ok(None);
                }
                break;
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(available.len(), |at| at + 1);
            let room = LINE_BYTES_MAX - self.buffer.len();
            let text = end.unwrap_or(available.len());
            cut |= text > room;
            self.buffer.extend_from_slice(&available[..text.min(room)]);
            self.reader.consume(taken);
            self.next_byte += taken as u64;
            if end.is_some() {
                break;
            }
        }
        if !cut && self.buffer.last() == Some(&b'\r') {
            self.buffer.pop();
        }
        self.number += 1;
        Ok(Some(Line { number: self.number, byte_offset, bytes: &self.buffer, cut }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &[u8]) -> Vec<(u64, u64, Vec<u8>)> {
        let mut lines = Lines::new(io::BufReader::with_capacity(3, input), 0, 0);
        let mut out = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            out.push((line.number, line.byte_offset, line.bytes.to_vec()));
        }
        assert_eq!(lines.next_byte(), input.len() as u64);
        out
    }

    #[test]
    fn lines_know_their_place() {
        let expected =
            vec![(1, 0, b"ab".to_vec()), (2, 3, b"".to_vec()), (3, 4, b"cdef".to_vec()), (4, 10, b"g".to_vec())];
        assert_eq!(read(b"ab\n\ncdef\r\ng"), expected);
        assert_eq!(read(b""), vec![]);
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_the_next_is_whole() {
        let mut input = vec![b'x'; LINE_BYTES_MAX + 5];
        input.extend_from_slice(b"\nnext\n");
        let mut lines = Lines::new(&input[..], 0, 0);
        let first = lines.next_line().unwrap().unwrap();
        assert!(first.cut);
        assert_eq!(first.bytes.len(), LINE_BYTES_MAX);
        let second = lines.next_line().unwrap().unwrap();
        assert!(!second.cut);
        assert_eq!((second.number, second.byte_offset, second.bytes), (2, LINE_BYTES_MAX as u64 + 6, &b"next"[..]));
    }
}
