//! A list that is nearly always of one: the first element lies where the list does.
//!
//! Elements keep their places as in a `Vec`; only a list of two or more has memory of its own.

/// The cells of a key.
pub(super) enum Few<T> {
    None,
    One(T),
    /// Two or more.
    Many(Vec<T>),
}

impl<T> Few<T> {
    #[inline]
    pub fn as_slice(&self) -> &[T] {
        match self {
            Few::None => &[],
            Few::One(one) => std::slice::from_ref(one),
            Few::Many(many) => many,
        }
    }

    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        match self {
            Few::None => &mut [],
            Few::One(one) => std::slice::from_mut(one),
            Few::Many(many) => many,
        }
    }

    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    pub fn insert(&mut self, at: usize, element: T) {
        assert!(at <= self.len(), "place {at} of {}", self.len());
        *self = match std::mem::replace(self, Few::None) {
            Few::None => Few::One(element),
            Few::One(one) if at == 0 => Few::Many(vec![element, one]),
            Few::One(one) => Few::Many(vec![one, element]),
            Few::Many(mut many) => {
                many.insert(at, element);
                Few::Many(many)
            }
        };
    }

    pub fn remove(&mut self, at: usize) -> T {
        assert!(at < self.len(), "place {at} of {}", self.len());
        match std::mem::replace(self, Few::None) {
            Few::None => unreachable!("there is no place in an empty list"),
            Few::One(one) => one,
            Few::Many(mut many) => {
                let removed = many.remove(at);
                *self = Few::Many(many);
                self.shrink();
                removed
            }
        }
    }

    /// Keeps what `keep` holds of, in order.
    pub fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        match self {
            Few::None => {}
            Few::One(one) => {
                if !keep(one) {
                    *self = Few::None;
                }
            }
            Few::Many(many) => {
                many.retain_mut(keep);
                self.shrink();
            }
        }
    }

    /// A list of one lies here again.
    fn shrink(&mut self) {
        if let Few::Many(many) = self
            && many.len() < 2
        {
            *self = many.pop().map_or(Few::None, Few::One);
        }
    }

    /// Memory held beside the list, in bytes.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Few::None | Few::One(_) => 0,
            Few::Many(many) => many.capacity() * size_of::<T>(),
        }
    }
}

impl<T> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Few<T> {
        let mut few = Few::None;
        for element in elements {
            few.insert(few.len(), element);
        }
        few
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_few_are_what_a_vec_would_be(
            start in prop::collection::vec(any::<u8>(), 0..3),
            steps in prop::collection::vec((0_u8..3, any::<prop::sample::Index>(), any::<u8>()), 0..20),
        ) {
            let mut model = start.clone();
            let mut few: Few<u8> = start.into_iter().collect();
            for (step, at, value) in steps {
                match step {
                    0 => {
                        let at = at.index(model.len() + 1);
                        model.insert(at, value);
                        few.insert(at, value);
                    }
                    1 if !model.is_empty() => {
                        let at = at.index(model.len());
                        prop_assert_eq!(few.remove(at), model.remove(at));
                    }
                    _ => {
                        model.retain(|element| element & 1 == value & 1);
                        few.retain(|element| *element & 1 == value & 1);
                    }
                }
                prop_assert_eq!(few.as_slice(), &model[..]);
                prop_assert_eq!(few.as_mut_slice(), &mut model[..]);
                prop_assert_eq!(few.heap_bytes() > 0, model.len() > 1, "one element needs no heap");
            }
        }
    }
}
