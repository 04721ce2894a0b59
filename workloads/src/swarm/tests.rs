use std::collections::{BTreeMap, BTreeSet};

use engine::types::Millis;
use proptest::prelude::*;
use sim::workload::{Draw, END_OF_INPUT, EventKind, Knobs, LogRecord, Shape, SourceEvent};

use super::{Subject, Windows, generate};
use crate::expected::{sessions::sessions, tumbling::counts};

const SESSIONS: Windows = Windows::Sessions { gap: 30 * 60_000 };
const MINUTES: Windows = Windows::Tumbling { size: 60_000 };

fn of(windows: Windows, horizon: Option<i64>) -> Subject {
    Subject { windows, horizon, onward: false }
}

fn shape(partitions: i32, keyed_by_record: bool, bound: i64, lateness: i64) -> Shape {
    let (bound, allowed_lateness) = (Millis(bound), Millis(lateness));
    Shape { partitions, keyed_by_record, repartitions: 2, bound, allowed_lateness }
}

fn as_log(events: &[SourceEvent]) -> Vec<LogRecord> {
    let mut ends: BTreeMap<i32, i64> = BTreeMap::new();
    let mut log: Vec<LogRecord> = events
        .iter()
        .cloned()
        .map(|event| {
            let end = ends.entry(event.partition).or_default();
            *end += 1;
            let SourceEvent { partition, timestamp, key, value, headers, .. } = event;
            LogRecord { partition, offset: *end - 1, timestamp, key, value, headers }
        })
        .collect();
    log.sort_by_key(|record| (record.partition, record.offset));
    log
}

fn kinds_of(events: &[SourceEvent]) -> BTreeSet<EventKind> {
    events.iter().flat_map(|event| event.kinds.iter().copied()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_partition_ends_once_and_last_and_tags_agree_with_the_expected_output(
        seed: u64, partitions in 1..6i32, keyed: bool, minutes: bool, bound in 0..40_000i64, lateness in 0..90_000i64,
    ) {
        let shape = shape(partitions, keyed, bound, lateness);
        let windows = if minutes { MINUTES } else { SESSIONS };
        let mut draw = Draw::new(seed, "knobs");
        let knobs = Knobs::draw(&mut draw, 10_000);
        let events = generate(of(windows, Some(150_000)), &knobs, &shape, &mut Draw::new(seed, "events"));
        prop_assert_eq!(&events, &generate(of(windows, Some(150_000)), &knobs, &shape, &mut Draw::new(seed, "events")));
        prop_assert!(events.is_sorted_by_key(|event| event.at_ms));
        for partition in 0..partitions {
            let marks = events.iter().filter(|event| event.partition == partition).map(SourceEvent::watermark);
            let marks: Vec<Option<i64>> = marks.collect();
            prop_assert_eq!(marks.iter().position(|mark| *mark == Some(END_OF_INPUT)), Some(marks.len() - 1));
        }
        let log = as_log(&events);
        let expected = match windows {
            Windows::Sessions { gap } => sessions(&shape, &log, gap),
            Windows::Tumbling { size } => counts(&shape, &log, size, None),
        };
        let tagged = |kind| events.iter().filter(|event| event.kinds.contains(&kind)).count();
        prop_assert_eq!(expected.late.len(), tagged(EventKind::Late));
        prop_assert_eq!(expected.rejected as usize, tagged(EventKind::Poison));
        let data = events.iter().filter(|event| event.watermark().is_none()).count();
        let counted: u64 = expected.table.values().map(|row| row["events"].as_u64().expect("a count")).sum();
        prop_assert_eq!(counted as usize + expected.late.len() + expected.rejected as usize, data);
        if knobs.events <= 1 {
            prop_assert_eq!(data, knobs.events as usize);
        }
    }

    #[test]
    fn a_kind_appears_when_its_knob_is_on(seed: u64, keyed: bool, minutes: bool, index in 0..EventKind::ALL.len()) {
        let kind = EventKind::ALL[index];
        let windows = if minutes { MINUTES } else { SESSIONS };
        let after_emission = matches!(kind, EventKind::ExtendsEmitted | EventKind::BridgesEmitted);
        prop_assume!(!(minutes && (after_emission || kind == EventKind::Bridge)));
        let mut draw = Draw::new(seed, "knobs");
        let mut knobs = Knobs::draw(&mut draw, 10_000);
        knobs.events = if kind == EventKind::OnlyRecord { 1 } else { knobs.events.max(60) };
        knobs.kinds.insert(kind);
        let shape = shape(3, keyed, 30_000, if after_emission { 30_000 } else { 0 });
        // Chance may put every try of a kind into a silent partition, hence several runs of one setting.
        let seen: BTreeSet<EventKind> = (0..4)
            .flat_map(|run| kinds_of(&generate(of(windows, Some(150_000)), &knobs, &shape, &mut Draw::new(seed ^ run, "events"))))
            .collect();
        prop_assert!(seen.contains(&kind), "{} of {:?} in {:?}", kind, windows, seen);
    }

    #[test]
    fn sessions_change_after_their_panes_in_every_run_whose_lateness_has_room(
        seed: u64, partitions in 1..5i32, keyed: bool, lateness in 8..3_000_000i64, extends: bool,
    ) {
        let kind = if extends { EventKind::ExtendsEmitted } else { EventKind::BridgesEmitted };
        let mut knobs = Knobs::draw(&mut Draw::new(seed, "knobs"), 1_500);
        knobs.events = knobs.events.max(2);
        knobs.kinds.insert(kind);
        let shape = shape(partitions, keyed, 30_000, lateness);
        let events = generate(of(SESSIONS, None), &knobs, &shape, &mut Draw::new(seed, "events"));
        prop_assert!(kinds_of(&events).contains(&kind), "{kind} is not in {knobs:?}");
    }

    #[test]
    fn where_other_windows_read_the_panes_one_is_taken_back_as_late_as_a_pane_can_be(
        seed: u64, partitions in 1..5i32, lateness in 8..3_000_000i64,
    ) {
        const GAP: i64 = 30 * 60_000;
        let mut knobs = Knobs::draw(&mut Draw::new(seed, "knobs"), 1_500);
        knobs.events = knobs.events.max(2);
        knobs.kinds.insert(EventKind::ExtendsEmitted);
        let shape = shape(partitions, true, 30_000, lateness);
        let subject = Subject { onward: true, ..of(SESSIONS, None) };
        let events = generate(subject, &knobs, &shape, &mut Draw::new(seed, "events"));
        let marks = events.iter().filter_map(SourceEvent::watermark).filter(|mark| *mark != END_OF_INPUT);
        let beyond = marks.max().expect("the scenes have markers");
        let mut users: BTreeMap<&[u8], Vec<i64>> = BTreeMap::new();
        for event in &events {
            if let Some(key) = event.key.as_deref().filter(|key| key.starts_with(b"last-")) {
                prop_assert!(!event.kinds.contains(&EventKind::Late), "{event:?}");
                users.entry(key).or_default().push(event.timestamp);
            }
        }
        prop_assert!(!users.is_empty());
        for (user, times) in users {
            let late = *times.last().expect("an event");
            let before = times.iter().copied().filter(|time| *time < late).max().expect("a session before it");
            // Its pane is of before + gap, and what may be announced by then is beyond - gap - lateness.
            let pane = before + GAP;
            prop_assert!(late - before <= GAP, "{:?}: {times:?} by {beyond}", user);
            prop_assert!((beyond - GAP - lateness..beyond - GAP).contains(&pane), "{:?}: {times:?} by {beyond}", user);
        }
    }

    #[test]
    fn without_knobs_nothing_is_late_or_poisoned_or_twice(seed: u64, keyed: bool, minutes: bool) {
        let windows = if minutes { MINUTES } else { SESSIONS };
        let knobs = Knobs { events: 100, keys: 4, span_ms: 10_000, kinds: BTreeSet::new() };
        let events = generate(of(windows, Some(150_000)), &knobs, &shape(3, keyed, 30_000, 0), &mut Draw::new(seed, "events"));
        let seen = kinds_of(&events);
        for kind in [EventKind::Late, EventKind::Poison, EventKind::Duplicate, EventKind::OutOfOrder, EventKind::Burst] {
            prop_assert!(!seen.contains(&kind), "{}", kind);
        }
    }
}
