//! Numbered places that grow without moving: a block at a time, so that no more than a block is held to spare, and no
//! element is ever copied to make room for the next.

use std::ops::{Index, IndexMut};

/// Elements of a block, as a power of two.
const BLOCK_SHIFT: u32 = 9;
const BLOCK: usize = 1 << BLOCK_SHIFT;

pub(super) struct Slab<T> {
    /// All but the last are full.
    blocks: Vec<Vec<T>>,
}

impl<T> Slab<T> {
    pub fn new() -> Slab<T> {
        Slab { blocks: Vec::new() }
    }

    /// Appends an element and returns its number.
    pub fn push(&mut self, element: T) -> u32 {
        if self.blocks.last().is_none_or(|block| block.len() == BLOCK) {
            self.blocks.push(Vec::with_capacity(BLOCK));
        }
        let full = self.blocks.len() - 1;
        let block = &mut self.blocks[full];
        block.push(element);
        u32::try_from(full * BLOCK + block.len() - 1).expect("fewer than 2^32 elements")
    }

    #[inline]
    pub fn get(&self, number: u32) -> Option<&T> {
        self.blocks.get((number >> BLOCK_SHIFT) as usize)?.get(number as usize % BLOCK)
    }

    /// In the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.blocks.iter().flatten()
    }

    /// Each with its number, in that order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut T)> {
        (0..).zip(self.blocks.iter_mut().flatten())
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        self.blocks.len() * BLOCK * size_of::<T>() + self.blocks.capacity() * size_of::<Vec<T>>()
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    #[inline]
    fn index(&self, number: u32) -> &T {
        &self.blocks[(number >> BLOCK_SHIFT) as usize][number as usize % BLOCK]
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, number: u32) -> &mut T {
        &mut self.blocks[(number >> BLOCK_SHIFT) as usize][number as usize % BLOCK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_found_by_its_number_wherever_blocks_begin() {
        let mut slab = Slab::new();
        for number in 0..3 * BLOCK as u32 + 1 {
            assert_eq!(slab.get(number), None);
            assert_eq!(slab.push(number * 2), number);
        }
        for (number, element) in slab.iter_mut() {
            assert_eq!(*element, number * 2);
            *element += 1;
        }
        assert!(slab.iter().copied().eq((0..3 * BLOCK as u32 + 1).map(|number| number * 2 + 1)));
        slab[BLOCK as u32] = 7;
        assert_eq!((slab[BLOCK as u32], slab.get(BLOCK as u32)), (7, Some(&7)));
        assert!(slab.bytes() >= 4 * BLOCK * size_of::<u32>());
    }
}
