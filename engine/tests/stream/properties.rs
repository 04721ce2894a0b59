//! The output is a function of the log: whatever the interleaving of tasks, the size of batches, the moments of commits and
//! crashes, the final table and the late multiset are those of a plain function over the source.

use std::collections::{BTreeMap, BTreeSet};

use engine::types::Timestamp;
use proptest::prelude::*;

use super::memory::{Log, Step, run};
use super::model::{Expected, expected};
use super::shape::{Event, Second, Shape, Windows, deployment, fill};

/// Multiples of 5 with a little noise: gaps of exactly 10, and one more or less, are common.
fn time() -> impl Strategy<Value = i64> {
    (-4_i64..12, prop_oneof![6 => Just(0_i64), 1 => Just(1), 1 => Just(-1)]).prop_map(|(step, noise)| step * 5 + noise)
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        24 => (time(), prop_oneof![3 => Just(0_u8), 1 => Just(1)], 0_u8..12, any::<i8>())
            .prop_map(|(at, key, id, amount)| Event::Click { at, key, id, amount }),
        2 => time().prop_map(|at| Event::Dull { at }),
        1 => time().prop_map(|at| Event::Poison { at }),
        1 => time().prop_map(|watermark| Event::Marker { watermark }),
    ]
}

/// Mostly forward in time with stragglers: sorted but for some swaps, so that windows fire while events still come.
fn partition() -> impl Strategy<Value = Vec<Event>> {
    let events = prop::collection::vec(event(), 0..20);
    let swaps = prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..4);
    (events, swaps, 0_u8..4, any::<bool>()).prop_map(|(mut events, swaps, end, sort)| {
        if sort {
            events.sort_by_key(|event| match event {
                Event::Click { at, .. } | Event::Dull { at } | Event::Poison { at } => *at,
                Event::Marker { watermark } => *watermark,
            });
        }
        for (a, b) in swaps {
            if !events.is_empty() {
                let (a, b) = (a.index(events.len()), b.index(events.len()));
                events.swap(a, b);
            }
        }
        if end > 1 {
            events.push(Event::Marker { watermark: i64::MAX });
        }
        if end == 2 {
            // After the end everything is late.
            events.push(Event::Click { at: 0, key: 0, id: 9, amount: 1 });
        }
        events
    })
}

fn windows() -> impl Strategy<Value = Windows> {
    prop_oneof![
        prop_oneof![Just(1), Just(10), Just(15)].prop_map(Windows::Tumbling),
        prop_oneof![Just(0), Just(5), Just(10)].prop_map(Windows::Sessions),
    ]
}

fn lateness() -> impl Strategy<Value = i64> {
    prop_oneof![1 => Just(0), 1 => Just(5), 2 => Just(30)]
}

fn second() -> impl Strategy<Value = Second> {
    (
        1..3,
        prop_oneof![Just(Windows::Tumbling(20)), Just(Windows::Sessions(10)), Just(Windows::Sessions(15))],
        lateness(),
        any::<bool>(),
    )
        .prop_map(|(partitions, windows, lateness, kept)| Second { partitions, windows, lateness, kept })
}

fn shape(
    repartitions: impl Strategy<Value = Option<i32>>,
    second: impl Strategy<Value = Option<Second>>,
) -> impl Strategy<Value = Shape> {
    let bound = prop_oneof![2 => Just(0), 1 => Just(3), 1 => Just(10), 1 => Just(40)];
    (1..4, bound, repartitions, prop::option::of(0_i64..30), windows(), lateness(), second).prop_map(
        |(partitions, bound, repartitions, dedup, windows, lateness, second)| {
            let reach = |windows, lateness| match windows {
                Windows::Tumbling(size) => size + lateness,
                Windows::Sessions(gap) => gap + 1 + lateness,
            };
            let least = second.map_or(0, |second: Second| reach(second.windows, second.lateness));
            let horizon = dedup.map(|more| reach(windows, lateness).max(least) + more);
            Shape { partitions, bound, repartitions, horizon, windows, lateness, second }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let task = 0_usize..60;
    prop_oneof![
        8 => (task.clone(), 1_usize..4).prop_map(|(task, count)| Step::Process { task, count }),
        8 => task.clone().prop_map(|task| Step::Fire { task }),
        1 => task.clone().prop_map(|task| Step::Flush { task }),
        4 => task.clone().prop_map(|task| Step::Commit { task }),
        2 => task.prop_map(|task| Step::Crash { task }),
    ]
}

fn observed(log: &Log, deployment: &engine::stream::Deployment) -> Expected {
    let mut late = BTreeMap::new();
    for record in log.topic(&deployment.late_topic()) {
        let key: [u8; 20] = record.key.as_deref().and_then(|key| key.try_into().ok()).expect("a late key");
        let i32_at = i32::from_be_bytes(key[..4].try_into().expect("4 bytes"));
        let i64_at = |at: usize| i64::from_be_bytes(key[at..at + 8].try_into().expect("8 bytes"));
        *late.entry((i32_at, i64_at(4), i64_at(12))).or_default() += 1;
    }
    let rejected_topic = deployment.rejected_topic();
    let entries = log.topic(&rejected_topic).map(|record| {
        let key = record.key.as_deref().expect("a rejected key");
        let (partition, offset) = key.split_at(4);
        (
            i32::from_be_bytes(partition.try_into().expect("4 bytes")),
            i64::from_be_bytes(offset.try_into().expect("8 bytes")),
        )
    });
    let entries: Vec<_> = entries.collect();
    let rejected: BTreeSet<_> = entries.iter().copied().collect();
    assert_eq!(rejected.len(), entries.len(), "each rejected record has one entry");
    Expected { table: log.table(&deployment.out_topic()), late, rejected }
}

fn output_is_a_function_of_the_log(shape: Shape, mut partitions: Vec<Vec<Event>>, schedules: &[Vec<Step>]) {
    partitions.truncate(shape.partitions as usize);
    partitions.resize(shape.partitions as usize, vec![Event::Marker { watermark: i64::MAX }]);
    let deployment = deployment(&shape);
    let mut source = Log::default();
    fill(&mut source, &shape, &partitions);
    let expected = expected(&shape, &partitions);
    for schedule in schedules {
        let log = run(source.clone(), &shape, &deployment, schedule);
        let observed = observed(&log, &deployment);
        assert_eq!(readable(&observed), readable(&expected));
    }
}

/// What may be asked of windows that start at or after a time: ids name one event each, within a horizon, and nothing follows
/// an end marker.
fn as_promised(shape: &Shape, partitions: &mut [Vec<Event>]) {
    for events in partitions {
        if let Some(end) = events.iter().position(|event| *event == Event::Marker { watermark: i64::MAX }) {
            events.truncate(end + 1);
        }
        for event in events {
            if let (Event::Click { at, id, .. }, Some(horizon)) = (event, shape.horizon) {
                *id = *id % 3 + 3 * (at.div_euclid(horizon + 1) + 40) as u8;
            }
        }
    }
}

fn a_start_at_a_time_says_what_the_whole_log_says(
    shape: Shape,
    mut partitions: Vec<Vec<Event>>,
    time: i64,
    schedules: &[Vec<Step>],
) {
    partitions.truncate(shape.partitions as usize);
    partitions.resize(shape.partitions as usize, vec![Event::Marker { watermark: i64::MAX }]);
    as_promised(&shape, &mut partitions);
    let deployment = deployment(&shape).starting_at(Timestamp(time)).expect("one windowed stage");
    let mut source = Log::default();
    fill(&mut source, &shape, &partitions);
    let floor = match shape.windows {
        Windows::Tumbling(_) => time,
        Windows::Sessions(gap) => time + gap,
    };
    let start_of = |key: &[u8]| i64::from_be_bytes(key[key.len() - 8..].try_into().expect("8 bytes"));
    let mut expected = expected(&shape, &partitions);
    expected.table.retain(|key, _| start_of(key) >= floor);
    expected.late.retain(|(_, _, start), _| *start >= floor);
    for schedule in schedules {
        let log = run(source.clone(), &shape, &deployment, schedule);
        let observed = observed(&log, &deployment);
        assert!(observed.rejected.is_subset(&expected.rejected));
        expected.rejected.clone_from(&observed.rejected);
        assert_eq!(readable(&observed), readable(&expected));
        for record in log.topic(&deployment.out_topic()).chain(log.topic(&deployment.late_topic())) {
            let start = start_of(record.key.as_deref().expect("a key"));
            assert!(start >= floor, "a window that starts at {start} was written, and {floor} is the first");
        }
    }
}

fn readable(expected: &Expected) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for (key, value) in &expected.table {
        let (key, start) = key.split_at(key.len() - 8);
        let start = i64::from_be_bytes(start.try_into().expect("8 bytes"));
        let (key, value) = (String::from_utf8_lossy(key), String::from_utf8_lossy(value));
        writeln!(text, "{key} @{start}: {value}").expect("a string grows");
    }
    writeln!(text, "late {:?}", expected.late).expect("a string grows");
    writeln!(text, "rejected {:?}", expected.rejected).expect("a string grows");
    text
}

fn partitions() -> impl Strategy<Value = Vec<Vec<Event>>> {
    prop::collection::vec(partition(), 1..4)
}

fn schedules() -> impl Strategy<Value = Vec<Vec<Step>>> {
    prop::collection::vec(prop::collection::vec(step(), 0..120), 1..3)
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn one_stage_keyed_by_the_record(shape in shape(Just(None), Just(None)), partitions in partitions(), schedules in schedules()) {
        output_is_a_function_of_the_log(shape, partitions, &schedules);
    }

    #[test]
    fn one_stage_behind_a_repartition(
        shape in shape((1_i32..4).prop_map(Some), Just(None)), partitions in partitions(), schedules in schedules()
    ) {
        output_is_a_function_of_the_log(shape, partitions, &schedules);
    }

    #[test]
    fn a_start_at_a_time_keyed_by_the_record(
        shape in shape(Just(None), Just(None)), partitions in partitions(), time in -25_i64..60, schedules in schedules()
    ) {
        a_start_at_a_time_says_what_the_whole_log_says(shape, partitions, time, &schedules);
    }

    #[test]
    fn a_start_at_a_time_behind_a_repartition(
        shape in shape((1_i32..4).prop_map(Some), Just(None)), partitions in partitions(), time in -25_i64..60,
        schedules in schedules()
    ) {
        a_start_at_a_time_says_what_the_whole_log_says(shape, partitions, time, &schedules);
    }

    #[test]
    fn two_stages_keyed_by_the_record(
        shape in shape(Just(None), second().prop_map(Some)), partitions in partitions(), schedules in schedules()
    ) {
        output_is_a_function_of_the_log(shape, partitions, &schedules);
    }

    #[test]
    fn two_stages_behind_a_repartition(
        shape in shape((1_i32..4).prop_map(Some), second().prop_map(Some)), partitions in partitions(), schedules in schedules()
    ) {
        output_is_a_function_of_the_log(shape, partitions, &schedules);
    }
}
