//! Zigzag varints, as in protocol buffers: the integers inside a record.

/// The bytes that `value` takes.
#[inline]
pub fn size_i32(value: i32) -> usize {
    size_u64(u64::from(zigzag_i32(value)))
}

/// The bytes that `value` takes.
#[inline]
pub fn size_i64(value: i64) -> usize {
    size_u64(zigzag_i64(value))
}

#[inline]
fn size_u64(value: u64) -> usize {
    // ceil(significant bits / 7), and one byte for zero.
    (((63 - (value | 1).leading_zeros()) / 7) + 1) as usize
}

#[inline]
fn zigzag_i32(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)) as u32
}

#[inline]
fn zigzag_i64(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[inline]
pub fn put_i32(buf: &mut Vec<u8>, value: i32) {
    put_u64(buf, u64::from(zigzag_i32(value)));
}

#[inline]
pub fn put_i64(buf: &mut Vec<u8>, value: i64) {
    put_u64(buf, zigzag_i64(value));
}

#[inline]
fn put_u64(buf: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        buf.push(value as u8 | 0x80);
        value >>= 7;
    }
    buf.push(value as u8);
}

/// Takes an `i32` off the front; `None` when there is none. Bits beyond the 32nd are dropped, as Kafka does.
#[inline(always)]
pub fn take_i32(buf: &mut &[u8]) -> Option<i32> {
    let (&first, rest) = buf.split_first()?;
    let raw = if first < 0x80 {
        *buf = rest;
        u32::from(first)
    } else {
        take_long(buf, 5)? as u32
    };
    Some((raw >> 1) as i32 ^ -((raw & 1) as i32))
}

/// Takes an `i64` off the front; `None` when there is none.
#[inline(always)]
pub fn take_i64(buf: &mut &[u8]) -> Option<i64> {
    let (&first, rest) = buf.split_first()?;
    let raw = if first < 0x80 {
        *buf = rest;
        u64::from(first)
    } else {
        take_long(buf, 10)?
    };
    Some((raw >> 1) as i64 ^ -((raw & 1) as i64))
}

#[inline]
fn take_long(buf: &mut &[u8], bytes_max: usize) -> Option<u64> {
    let mut raw = 0u64;
    for (index, &byte) in buf.iter().take(bytes_max).enumerate() {
        raw |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            *buf = &buf[index + 1..];
            return Some(raw);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_number_comes_back_and_takes_the_size_that_was_said(wide in any::<i64>(), shift in 0u32..64, tail in any::<u8>()) {
            let value = wide >> shift;
            let mut buf = Vec::new();
            put_i64(&mut buf, value);
            prop_assert_eq!(buf.len(), size_i64(value));
            buf.push(tail);
            let mut rest = &buf[..];
            prop_assert_eq!(take_i64(&mut rest), Some(value));
            prop_assert_eq!(rest, &[tail][..]);

            let value = value as i32;
            let mut buf = Vec::new();
            put_i32(&mut buf, value);
            prop_assert_eq!(buf.len(), size_i32(value));
            let mut rest = &buf[..];
            prop_assert_eq!(take_i32(&mut rest), Some(value));
            prop_assert!(rest.is_empty());
        }
    }

    #[test]
    fn an_endless_number_is_no_number() {
        assert_eq!(take_i32(&mut &[0xff; 5][..]), None);
        assert_eq!(take_i64(&mut &[0xff; 10][..]), None);
        assert_eq!(take_i32(&mut &[0x80; 2][..]), None);
        assert_eq!(take_i64(&mut &[][..]), None);
    }
}
