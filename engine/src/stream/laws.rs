//! The laws of an aggregate, as a function that fails with what broke: for tests of shipped aggregates and of yours.

use super::aggregate::{Aggregate, RecordTime};

/// Holds an aggregate to its laws over these records, in this order and every rotation and reversal of it:
/// the fold does not depend on the order; splitting the records anywhere, folding the parts and merging them, in either
/// order, gives the same; the identity is one; bytes come back as the state that wrote them; and an exact inverse is one.
///
/// # Panics
/// When a law does not hold, with the states that differ.
pub fn check<A: Aggregate>(aggregate: &A, records: &[(A::In, RecordTime<'_>)]) {
    let fold = |records: &mut dyn Iterator<Item = &(A::In, RecordTime<'_>)>| {
        let mut state = aggregate.identity();
        for (record, time) in records {
            aggregate.add(&mut state, record, *time);
        }
        state
    };
    let merge = |a: &A::State, b: &A::State| {
        let mut merged = a.clone();
        aggregate.merge(&mut merged, b);
        merged
    };
    let whole = fold(&mut records.iter());
    assert_eq!(fold(&mut records.iter().rev()), whole, "the reverse order");
    for at in 0..=records.len() {
        let (head, tail) = records.split_at(at);
        assert_eq!(fold(&mut tail.iter().chain(head)), whole, "rotated by {at}");
        let (head, tail) = (fold(&mut head.iter()), fold(&mut tail.iter()));
        assert_eq!(merge(&head, &tail), whole, "merged at {at}");
        assert_eq!(merge(&tail, &head), whole, "merged at {at}, the other way");
        for further in at..=records.len() {
            let (middle, end) = (fold(&mut records[at..further].iter()), fold(&mut records[further..].iter()));
            assert_eq!(merge(&merge(&head, &middle), &end), whole, "merged at {at} and {further}, left first");
            assert_eq!(merge(&head, &merge(&middle, &end)), whole, "merged at {at} and {further}, right first");
        }
    }
    assert_eq!(merge(&whole, &aggregate.identity()), whole, "the identity on the right");
    assert_eq!(merge(&aggregate.identity(), &whole), whole, "the identity on the left");

    for state in [&whole, &aggregate.identity()] {
        let mut bytes = Vec::new();
        aggregate.encode(state, &mut bytes);
        assert_eq!(aggregate.decode(&bytes).as_ref(), Ok(state), "bytes {bytes:?}");
    }

    if A::INVERTIBLE {
        for skip in 0..records.len() {
            let mut state = whole.clone();
            aggregate.subtract(&mut state, &records[skip].0, records[skip].1);
            let without = fold(&mut records[..skip].iter().chain(&records[skip + 1..]));
            assert_eq!(state, without, "record {skip} taken back");
        }
    }
}
