//! A key's bytes, kept where its slot is: most keys are short, and following a pointer for each costs more than the rest.

/// What fits beside the tag in 24 bytes.
const SHORT: usize = 22;

/// The bytes of a key.
pub(super) enum Key {
    Short { length: u8, bytes: [u8; SHORT] },
    Long(Box<[u8]>),
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
    pub fn prefix(&self) -> u64 {
        let mut head = [0; 8];
        match self {
            // What follows a short key is zeros.
            Key::Short { bytes, .. } => head.copy_from_slice(&bytes[..8]),
            Key::Long(bytes) => head.copy_from_slice(&bytes[..8]),
        }
        u64::from_be_bytes(head)
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
    }
}
