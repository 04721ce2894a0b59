//! Every aggregate that ships holds the laws, and the check of the laws finds one that does not.

use engine::stream::aggregates::{Both, Count, Edge, Extreme, Sum};
use engine::stream::{Aggregate, CodecError, RecordTime, Tie, Window, laws};
use engine::types::{Offset, Partition, Timestamp};
use proptest::prelude::*;

/// Records at places that are all different, as in a log: source records and panes.
fn records() -> impl Strategy<Value = Vec<(i64, RecordTime<'static>)>> {
    prop::collection::btree_map((-2_i64..3, 0_i32..2, 0_i64..3, any::<bool>()), any::<i64>(), 0..7).prop_map(
        |records| {
            let window = |start| Window { start: Timestamp(start), end: Timestamp(start + 1) };
            let time = |(at, partition, offset, pane)| RecordTime {
                at: Timestamp(at),
                tie: match pane {
                    false => Tie::Source { partition: Partition(partition), offset: Offset(offset) },
                    true => Tie::Pane {
                        key: [&b""[..], b"a", b"ab"][offset as usize],
                        window: window(i64::from(partition)),
                    },
                },
            };
            records.into_iter().map(|(place, value)| (value, time(place))).collect()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_shipped_aggregate_holds_the_laws(records in records()) {
        let number = |value: &i64| *value;
        let bytes = |value: &i64| value.to_be_bytes().to_vec();
        laws::check(&Count::<i64>::of(), &records);
        laws::check(&Sum::of(number), &records);
        laws::check(&Extreme::least(number), &records);
        laws::check(&Extreme::greatest(number), &records);
        laws::check(&Edge::first(bytes), &records);
        laws::check(&Edge::last(bytes), &records);
        laws::check(&Both(Count::of(), Both(Sum::of(number), Edge::last(bytes))), &records);
        laws::check(&Both(Count::of(), Sum::of(number)), &records);
    }
}

/// The last record to arrive: not a function of the set.
struct LastToArrive;

impl Aggregate for LastToArrive {
    type In = i64;
    type State = i64;
    fn identity(&self) -> i64 {
        0
    }
    fn add(&self, state: &mut i64, record: &i64, _: RecordTime<'_>) {
        *state = *record;
    }
    fn merge(&self, state: &mut i64, other: &i64) {
        *state = *other;
    }
    fn encode(&self, state: &i64, out: &mut Vec<u8>) {
        out.extend_from_slice(&state.to_be_bytes());
    }
    fn decode(&self, bytes: &[u8]) -> Result<i64, CodecError> {
        bytes.try_into().map(i64::from_be_bytes).map_err(|_| CodecError("length".to_owned()))
    }
}

#[test]
#[should_panic(expected = "the reverse order")]
fn an_aggregate_that_sees_arrival_is_found() {
    let at =
        |offset| RecordTime { at: Timestamp(0), tie: Tie::Source { partition: Partition(0), offset: Offset(offset) } };
    laws::check(&LastToArrive, &[(1, at(0)), (2, at(1))]);
}
