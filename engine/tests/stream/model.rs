//! What a log must produce: a plain function over the whole of it. No operator, no order of processing, no state.

use std::collections::{BTreeMap, BTreeSet};

use super::shape::{Event, Second, Shape, Windows, first_row, key_of, second_key, second_row};

/// What must be there in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Output key → value.
    pub table: BTreeMap<Vec<u8>, Vec<u8>>,
    /// (source partition, offset, window start) → entries.
    pub late: BTreeMap<(i32, i64, i64), u64>,
    /// (source partition, offset).
    pub rejected: BTreeSet<(i32, i64)>,
}

/// A record that was on time.
struct Accepted {
    at: i64,
    partition: i32,
    offset: i64,
    id: u8,
    amount: i8,
}

/// A window with its members.
struct Group<'a, T> {
    start: i64,
    end: i64,
    members: Vec<&'a T>,
}

/// Sorts by time and cuts: at multiples of the size, or where the silence is longer than the gap.
fn groups<'a, T>(windows: Windows, members: &'a [T], at: impl Fn(&T) -> i64) -> Vec<Group<'a, T>> {
    let mut sorted: Vec<&T> = members.iter().collect();
    sorted.sort_by_key(|member| at(member));
    let mut groups: Vec<Group<'a, T>> = Vec::new();
    for member in sorted {
        let time = at(member);
        let (start, end, joins) = match windows {
            Windows::Tumbling(size) => {
                let start = time.div_euclid(size) * size;
                (start, start + size, groups.last().is_some_and(|group| group.start == start))
            }
            Windows::Sessions(gap) => (time, time + gap + 1, groups.last().is_some_and(|group| time < group.end)),
        };
        match groups.last_mut() {
            Some(group) if joins => {
                group.end = end;
                group.members.push(member);
            }
            _ => groups.push(Group { start, end, members: vec![member] }),
        }
    }
    groups
}

fn minus(watermark: i64, by: i64) -> i64 {
    if watermark == i64::MAX || watermark == i64::MIN { watermark } else { watermark.saturating_sub(by) }
}

fn row_key(key: &[u8], start: i64) -> Vec<u8> {
    [key, &start.to_be_bytes()].concat()
}

/// The offsets of the events of a partition, as `shape::fill` lays them.
fn offsets(count: usize) -> Vec<i64> {
    let mut next = 0;
    (0..count)
        .map(|index| {
            next += i64::from(index % 3 == 2) + 1;
            next - 1
        })
        .collect()
}

pub fn expected(shape: &Shape, partitions: &[Vec<Event>]) -> Expected {
    let mut expected = Expected::default();
    let mut accepted: BTreeMap<Vec<u8>, Vec<Accepted>> = BTreeMap::new();
    let mut watermarks = Vec::new();
    for (partition, events) in (0..).zip(partitions) {
        let mut own = i64::MIN;
        let mut kept: Vec<(u8, i64)> = Vec::new();
        for (event, offset) in events.iter().zip(offsets(events.len())) {
            match event {
                Event::Marker { watermark } => own = own.max(*watermark),
                Event::Poison { .. } => {
                    expected.rejected.insert((partition, offset));
                }
                Event::Dull { at } => own = own.max(at - shape.bound),
                Event::Click { at, key, id, amount } => {
                    let copy = shape
                        .horizon
                        .is_some_and(|horizon| kept.iter().any(|(other, time)| other == id && own < time + horizon));
                    if !copy {
                        kept.push((*id, *at));
                        let (start, end) = match shape.windows {
                            Windows::Tumbling(size) => {
                                let start = at.div_euclid(size) * size;
                                (start, start + size)
                            }
                            Windows::Sessions(gap) => (*at, at + gap + 1),
                        };
                        if own < end + shape.lateness {
                            let key = key_of(shape, partition, *key);
                            let record = Accepted { at: *at, partition, offset, id: *id, amount: *amount };
                            accepted.entry(key).or_default().push(record);
                        } else {
                            *expected.late.entry((partition, offset, start)).or_default() += 1;
                        }
                    }
                    own = own.max(at - shape.bound);
                }
            }
        }
        watermarks.push(own);
    }
    let lowest = watermarks.iter().copied().min().expect("a source has partitions");
    let minimum = |partition: i32| match shape.repartitions {
        None => watermarks[partition as usize],
        Some(_) => lowest,
    };

    // (key, start, end, clicks) of every pane that is out.
    let mut panes: Vec<(Vec<u8>, i64, i64, u64)> = Vec::new();
    for (key, records) in &accepted {
        for group in groups(shape.windows, records, |record| record.at) {
            if group.end > minimum(group.members[0].partition) {
                continue;
            }
            let place = |record: &&&Accepted| (record.at, record.partition, record.offset);
            let count = group.members.len() as u64;
            let sum = group.members.iter().map(|record| i128::from(record.amount)).sum();
            let first = group.members.iter().min_by_key(place).expect("a group has members").id;
            let last = group.members.iter().max_by_key(place).expect("a group has members").id;
            panes.push((key.clone(), group.start, group.end, count));
            expected.table.insert(row_key(key, group.start), first_row(group.end, count, sum, first, last));
        }
    }
    if let Some(second) = &shape.second {
        let held_back = shape.lateness
            + match shape.windows {
                Windows::Tumbling(_) => 0,
                Windows::Sessions(gap) => gap,
            };
        expected.table = second_table(second, minus(lowest, held_back), &panes);
    }
    expected
}

fn second_table(second: &Second, minimum: i64, panes: &[(Vec<u8>, i64, i64, u64)]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut table = BTreeMap::new();
    let mut by_key: BTreeMap<Vec<u8>, Vec<(i64, u64)>> = BTreeMap::new();
    for (_, _, end, count) in panes {
        by_key.entry(second_key(*count)).or_default().push((end - 1, *count));
    }
    for (key, panes) in by_key {
        for group in groups(second.windows, &panes, |pane| pane.0) {
            if group.end > minimum {
                continue;
            }
            let clicks = group.members.iter().map(|pane| i128::from(pane.1)).sum();
            let most = group.members.iter().map(|pane| pane.1 as i64).max().filter(|_| second.kept);
            let row = second_row(group.end, group.members.len() as u64, clicks, most);
            table.insert(row_key(&key, group.start), row);
        }
    }
    table
}
