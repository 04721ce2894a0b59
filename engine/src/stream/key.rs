//! A key's bytes, kept where its slot is: most keys are short, and following a pointer for each costs more than the rest.

use xxhash_rust::xxh3::xxh3_64;

/// What fits beside the tag in 24 bytes.
const SHORT: usize = 22;

/// The bytes of a key.
pub(super) enum Key {
    Short { length: u8, bytes: [u8; SHORT] },
    Long(Box<[u8]>),
}

/// What a lookup compares before it compares bytes.
#[derive(Clone, Copy)]
pub(super) struct Sought<'k> {
    pub bytes: &'k [u8],
    /// See [`Key::prefix`].
    pub prefix: u64,
    /// The same in every process: whatever order it leads to can be repeated.
    pub hash: u64,
}

impl<'k> Sought<'k> {
    #[inline]
    pub fn new(bytes: &'k [u8]) -> Sought<'k> {
        let prefix = prefix(bytes);
        Sought { bytes, prefix, hash: hash(bytes, prefix) }
    }
}

/// The first eight bytes as a big-endian number, with zeros behind a shorter key.
#[inline]
fn prefix(bytes: &[u8]) -> u64 {
    if let Some(head) = bytes.first_chunk::<8>() {
        return u64::from_be_bytes(*head);
    }
    // Two loads that may overlap, where a loop would mispredict its end.
    let length = bytes.len();
    let bits = 8 * length as u32;
    if let (Some(head), Some(tail)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let (head, tail) = (u64::from(u32::from_be_bytes(*head)), u64::from(u32::from_be_bytes(*tail)));
        return head << 32 | tail << (64 - bits);
    }
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)).checked_shl(64 - bits).unwrap_or(0)
}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline]
fn hash(bytes: &[u8], prefix: u64) -> u64 {
    if bytes.len() > 8 {
        return xxh3_64(bytes);
    }
    // One multiplication whose halves are folded: the table looks at the top bits and at the low ones.
    let product = u128::from(prefix ^ mutant!("another-hash-seed", SEED, !SEED))
        * u128::from(0xa076_1d64_78bd_642f ^ bytes.len() as u64);
    (product >> 64) as u64 ^ product as u64
}

impl Key {
    pub fn new(key: &[u8]) -> Key {
        if key.len() > SHORT {
            return Key::Long(key.into());
        }
        let mut bytes = [0; SHORT];
        bytes[..key.len()].copy_from_slice(key);
        Key::Short { length: key.len() as u8, bytes }
    }

    #[inline]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Key::Short { length, bytes } => &bytes[..usize::from(*length)],
            Key::Long(bytes) => bytes,
        }
    }

    /// The first eight bytes as a number in the same order: most comparisons end there.
    #[inline]
    pub fn prefix(&self) -> u64 {
        let mut head = [0; 8];
        match self {
            // What follows a short key is zeros.
            Key::Short { bytes, .. } => head.copy_from_slice(&bytes[..8]),
            Key::Long(bytes) => head.copy_from_slice(&bytes[..8]),
        }
        u64::from_be_bytes(head)
    }

    /// See [`Sought::hash`].
    pub fn hash(&self) -> u64 {
        hash(self.bytes(), self.prefix())
    }

    #[inline]
    pub fn is(&self, sought: &Sought<'_>) -> bool {
        match self {
            Key::Short { length, bytes } => {
                usize::from(*length) == sought.bytes.len()
                    && self.prefix() == sought.prefix
                    && (*length <= 8 || bytes[8..usize::from(*length)] == sought.bytes[8..])
            }
            Key::Long(bytes) => **bytes == *sought.bytes,
        }
    }

    /// Memory held beside the key itself, in bytes.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Key::Short { .. } => 0,
            Key::Long(bytes) => bytes.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_key_keeps_its_bytes_and_its_prefix_never_contradicts_the_order(
            a in prop::collection::vec(0_u8..3, 0..30), b in prop::collection::vec(0_u8..3, 0..30)
        ) {
            let (one, other) = (Key::new(&a), Key::new(&b));
            prop_assert_eq!(one.bytes(), &a[..]);
            if one.prefix() != other.prefix() {
                prop_assert_eq!(one.prefix().cmp(&other.prefix()), a.cmp(&b));
            }
        }

        #[test]
        fn a_key_is_found_by_its_own_bytes_alone(
            a in prop::collection::vec(0_u8..3, 0..30), b in prop::collection::vec(0_u8..3, 0..30)
        ) {
            let (key, own, other) = (Key::new(&a), Sought::new(&a), Sought::new(&b));
            prop_assert!(key.is(&own));
            prop_assert_eq!((key.prefix(), key.hash()), (own.prefix, own.hash));
            prop_assert_eq!(key.is(&other), a == b);
        }
    }
}
