//! The bytes of a datum, taken from the front.
//!
//! Invariant: `at` never passes the end; whatever the bytes are, a method gives a value or a [`Problem`], without a panic
//! and without looking beyond them.
//!
//! A varint is read as one word of eight bytes where there are so many: the first byte without a continuation bit is found
//! by counting zeros, and the groups of seven bits are pushed together in three steps. Its length is then known without a
//! branch that the processor would have to guess, and lengths vary from field to field. The last bytes of a value are read
//! by loading the last word of it and shifting out what was before.

/// What is wrong with a field's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("the value ends within it")]
    Ends,
    #[error("a number of more than 64 bits")]
    Long,
    #[error("a number that is no 32-bit integer")]
    Int,
    #[error("a negative length")]
    Length,
    #[error("it is not UTF-8")]
    Utf8,
    #[error("neither true nor false")]
    Boolean,
    #[error("no symbol of the writer's enum")]
    Symbol,
    #[error("a symbol that the reader's enum does not have, and it has no default")]
    StrangeSymbol,
    #[error("no branch of the writer's union")]
    Branch,
    #[error("a branch of the writer's union that cannot be read here")]
    StrangeBranch,
    #[error("a block that is not as long as it says")]
    Block,
    #[error("nested too deeply")]
    Depth,
}

pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

const CONTINUES: u64 = 0x8080_8080_8080_8080;

impl<'a> Cursor<'a> {
    #[inline(always)]
    pub fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, at: 0 }
    }

    pub fn position(&self) -> usize {
        self.at
    }

    #[inline(always)]
    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next eight bytes, the first in the lowest bits; past the end come bytes that continue for ever. `None` where the
    /// whole value is shorter than a word, or ended.
    #[inline(always)]
    fn word(&self) -> Option<u64> {
        if let Some(word) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            return Some(u64::from_le_bytes(*word));
        }
        let last = u64::from_le_bytes(*self.bytes.last_chunk::<8>()?);
        let past = 8 * (8 - self.left() as u32);
        if past >= 64 {
            return None;
        }
        Some((last >> past) | !(u64::MAX >> past))
    }

    /// The bits of a varint.
    #[inline(always)]
    fn varint(&mut self) -> Result<u64, Problem> {
        let Some(word) = self.word() else { return self.varint_bytewise() };
        let ends = !word & CONTINUES;
        if ends == 0 {
            return self.varint_wide(word);
        }
        // All bits up to and with the last byte's.
        let mask = ends ^ (ends - 1);
        self.at += (ends.trailing_zeros() as usize + 1) / 8;
        Ok(compact(word & mask))
    }

    /// Nine or ten bytes, whose first eight are `word`. Which of the two is as good as random for a hash, so nothing
    /// branches on it.
    #[inline(always)]
    fn varint_wide(&mut self, word: u64) -> Result<u64, Problem> {
        let Some([ninth, tenth]) = self.bytes.get(self.at + 8..).and_then(|rest| rest.first_chunk::<2>()) else {
            return self.varint_bytewise();
        };
        let tenth_too = ninth >> 7;
        let top = tenth & tenth_too.wrapping_neg();
        if top > 1 {
            return Err(Problem::Long);
        }
        self.at += 9 + usize::from(tenth_too);
        Ok(compact(word) | u64::from(ninth & 0x7f) << 56 | u64::from(top) << 63)
    }

    #[cold]
    #[inline(never)]
    fn varint_bytewise(&mut self) -> Result<u64, Problem> {
        let mut bits = 0;
        for (index, byte) in self.bytes[self.at..].iter().take(10).enumerate() {
            if index == 9 && *byte > 1 {
                return Err(Problem::Long);
            }
            bits |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.at += index + 1;
                return Ok(bits);
            }
        }
        Err(Problem::Ends)
    }

    #[inline(always)]
    pub fn long(&mut self) -> Result<i64, Problem> {
        let bits = self.varint()?;
        Ok((bits >> 1) as i64 ^ -((bits & 1) as i64))
    }

    #[inline(always)]
    pub fn int(&mut self) -> Result<i32, Problem> {
        i32::try_from(self.long()?).map_err(|_| Problem::Int)
    }

    /// A long that is mostly one byte.
    #[inline(always)]
    fn small(&mut self) -> Result<i64, Problem> {
        match self.bytes.get(self.at) {
            Some(byte) if *byte < 0x80 => {
                self.at += 1;
                Ok(i64::from(byte >> 1) ^ -i64::from(byte & 1))
            }
            _ => self.long(),
        }
    }

    /// The place of a symbol or a branch among `count`.
    #[inline(always)]
    pub fn index(&mut self, count: u32, problem: Problem) -> Result<u32, Problem> {
        match u32::try_from(self.small()?) {
            Ok(index) if index < count => Ok(index),
            _ => Err(problem),
        }
    }

    #[inline(always)]
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Problem> {
        let taken = self.bytes[self.at..].get(..length).ok_or(Problem::Ends)?;
        self.at += length;
        Ok(taken)
    }

    #[inline(always)]
    pub fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let chunk = self.bytes[self.at..].first_chunk::<N>().ok_or(Problem::Ends)?;
        self.at += N;
        Ok(*chunk)
    }

    /// Bytes after their length.
    #[inline(always)]
    pub fn bytes(&mut self) -> Result<&'a [u8], Problem> {
        let length = self.small()?;
        let length = usize::try_from(length).map_err(|_| Problem::Length)?;
        self.take(length)
    }

    #[inline(always)]
    pub fn string(&mut self) -> Result<&'a str, Problem> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Problem::Utf8)
    }

    /// Steps over a string, which must be one.
    #[inline(always)]
    pub fn skip_string(&mut self) -> Result<(), Problem> {
        let bytes = self.bytes()?;
        if is_ascii(bytes) || std::str::from_utf8(bytes).is_ok() { Ok(()) } else { Err(Problem::Utf8) }
    }

    pub fn boolean(&mut self) -> Result<bool, Problem> {
        match self.chunk::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Problem::Boolean),
        }
    }

    /// The number of items of the next block of an array or map, and where the block must end if it says so; `None` after
    /// the last one.
    pub fn block(&mut self) -> Result<Option<(u64, Option<usize>)>, Problem> {
        let count = self.long()?;
        if count == 0 {
            return Ok(None);
        }
        if count > 0 {
            return Ok(Some((count as u64, None)));
        }
        let size = usize::try_from(self.long()?).map_err(|_| Problem::Length)?;
        let end = self.at.checked_add(size).filter(|end| *end <= self.bytes.len()).ok_or(Problem::Ends)?;
        Ok(Some((count.unsigned_abs(), Some(end))))
    }
}

/// Pushes eight groups of seven bits together.
#[inline(always)]
fn compact(word: u64) -> u64 {
    let pairs = (word & 0x007f_007f_007f_007f) | ((word & 0x7f00_7f00_7f00_7f00) >> 1);
    let quads = (pairs & 0x0000_3fff_0000_3fff) | ((pairs & 0x3fff_0000_3fff_0000) >> 2);
    (quads & 0x0fff_ffff) | ((quads & 0x0fff_ffff_0000_0000) >> 4)
}

/// Most strings are short: a word from the front and one from the back, which may overlap.
#[inline(always)]
fn is_ascii(bytes: &[u8]) -> bool {
    match bytes.len() {
        0..8 => bytes.iter().fold(0, |all, byte| all | byte) < 0x80,
        8..=16 => {
            let front = bytes.first_chunk::<8>().map_or(u64::MAX, |word| u64::from_le_bytes(*word));
            let back = bytes.last_chunk::<8>().map_or(u64::MAX, |word| u64::from_le_bytes(*word));
            (front | back) & CONTINUES == 0
        }
        _ => bytes.is_ascii(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// By the book: seven bits a byte, the lowest first.
    fn bookish(bytes: &[u8]) -> Result<(i64, usize), Problem> {
        let mut bits = 0u128;
        for (index, byte) in bytes.iter().enumerate() {
            bits |= u128::from(byte & 0x7f) << (7 * index);
            if index == 9 && (byte & 0x80 != 0 || bits > u128::from(u64::MAX)) {
                return Err(Problem::Long);
            }
            if byte & 0x80 == 0 {
                let bits = bits as u64;
                return Ok(((bits >> 1) as i64 ^ -((bits & 1) as i64), index + 1));
            }
        }
        Err(Problem::Ends)
    }

    proptest! {
        #[test]
        fn a_long_is_read_as_by_the_book_wherever_it_stands(
            before in 0usize..20,
            bytes in prop::collection::vec(prop_oneof![Just(0x80u8), Just(0xffu8), 0..3u8, any::<u8>()], 0..24),
        ) {
            let mut all = vec![0x81; before];
            all.extend_from_slice(&bytes);
            let mut cursor = Cursor { bytes: &all, at: before };
            match (cursor.long(), bookish(&bytes)) {
                (Ok(found), Ok((value, length))) => {
                    prop_assert_eq!(found, value);
                    prop_assert_eq!(cursor.at, before + length);
                }
                (Err(_), Err(_)) => {}
                (found, expected) => prop_assert!(false, "{found:?} instead of {expected:?}"),
            }
            let mut cursor = Cursor { bytes: &all, at: before };
            let small = cursor.small();
            prop_assert_eq!(small.ok(), bookish(&bytes).ok().map(|(value, _)| value));
        }

        #[test]
        fn ascii_is_told_from_the_rest(bytes in prop::collection::vec(prop_oneof![9 => 0..0x80u8, 1 => any::<u8>()], 0..40)) {
            prop_assert_eq!(is_ascii(&bytes), bytes.is_ascii());
        }
    }
}
