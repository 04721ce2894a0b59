//! Taking elements out of a list, as many at a time as will go.
//!
//! In: a list and a way to ask for a part of it. Out: a part of which no single element can be taken away. All of it is
//! tried first, then halves, quarters, and so on to single elements; what can go goes at once, and the search carries on
//! behind it.

/// What became of asking for several parts: the index of the first that will do, or none.
pub type Ask<'a> = &'a mut dyn FnMut(&[Vec<usize>]) -> Option<usize>;

/// Reduces `0..len`, taking no fewer than `finest` at a time. `ask` is given the indices that would be kept, for each candidate of a step, and takes one by keeping
/// it in mind; `over` ends the search.
pub fn reduce(len: usize, finest: usize, ask: Ask<'_>, over: &dyn Fn() -> bool) -> Vec<usize> {
    let mut kept: Vec<usize> = (0..len).collect();
    let mut chunk = len.max(1);
    loop {
        let mut from = 0;
        while from < kept.len() && !over() {
            // All removals of this size from here on: whichever of them comes first is taken.
            let starts: Vec<usize> = (from..kept.len()).step_by(chunk).collect();
            let parts: Vec<Vec<usize>> = starts.iter().map(|start| without(&kept, *start, chunk)).collect();
            match ask(&parts) {
                Some(index) => {
                    from = starts[index];
                    kept.clone_from(&parts[index]);
                }
                None => break,
            }
        }
        if chunk <= finest.max(1) || kept.is_empty() || over() {
            return kept;
        }
        chunk = chunk.min(kept.len().max(2)).div_ceil(2);
    }
}

fn without(kept: &[usize], start: usize, count: usize) -> Vec<usize> {
    let end = (start + count).min(kept.len());
    kept[..start].iter().chain(&kept[end..]).copied().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reduced(len: usize, needed: &[usize]) -> (Vec<usize>, usize) {
        let mut asked = 0;
        let holds = |part: &Vec<usize>| needed.iter().all(|need| part.contains(need));
        let kept = reduce(
            len,
            1,
            &mut |parts| {
                let found = parts.iter().position(holds);
                asked += found.map_or(parts.len(), |index| index + 1);
                found
            },
            &|| false,
        );
        (kept, asked)
    }

    proptest! {
        #[test]
        fn what_is_needed_stays_and_nothing_else(len in 0usize..200, needed in prop::collection::btree_set(0usize..200, 0..8)) {
            let needed: Vec<usize> = needed.into_iter().filter(|index| *index < len).collect();
            prop_assert_eq!(reduced(len, &needed).0, needed);
        }
    }

    #[test]
    fn one_needed_element_is_found_in_a_logarithm_of_runs() {
        let (kept, asked) = reduced(1_000, &[700]);
        assert_eq!(kept, [700]);
        assert!(asked <= 25, "{asked} runs");
    }

    #[test]
    fn nothing_is_asked_when_time_is_up() {
        assert_eq!(reduce(3, 1, &mut |_| panic!("asked"), &|| true), [0, 1, 2]);
    }
}
