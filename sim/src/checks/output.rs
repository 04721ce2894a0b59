//! What a run put out: its final table, its late set and what it rejected, read from the log.
//!
//! The final table is the last committed value per output key, a tombstone being absence. Intermediate panes may differ
//! between runs and are not kept.

use std::borrow::Cow;
use std::collections::BTreeMap;

use reports::{Cause, FirstDifference};

use super::log::{Entry, Logs};
use super::{Case, Violation};
use crate::evidence::{FromTime, RunNames};
use crate::workload::{LogRecord, Row, RowKey, Workload};

/// (source partition, offset, window start) → entries.
pub type Late = BTreeMap<(i32, i64, i64), u64>;

/// (source partition, offset) → entries.
pub type Rejected = BTreeMap<(i32, i64), u64>;

/// The header in which a rejected record's entry says why.
const REASON_HEADER: &str = "segno.reason";

/// One run's final output.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    pub table: BTreeMap<RowKey, Row>,
    pub late: Late,
    pub rejected: Rejected,
    /// Records that no output should contain, in sentences.
    pub problems: Vec<String>,
}

impl Output {
    pub fn read(logs: &Logs, names: &RunNames, workload: &dyn Workload) -> Output {
        let mut output = Output::default();
        let mut last: BTreeMap<&[u8], (i32, &Entry)> = BTreeMap::new();
        let speaks_from = names.from.map_or(i64::MIN, |from| from.speaks_from);
        let mut unasked = Vec::new();
        for (partition, log) in logs.topic(&names.out_topic) {
            for entry in log.committed() {
                if let Some(start) = entry.key.as_deref().and_then(window_start).filter(|start| *start < speaks_from) {
                    unasked.push((&names.out_topic, partition, entry.offset, start));
                }
                let Some(key) = entry.key.as_deref() else {
                    if entry.marker().is_none() {
                        output.problems.push(format!("{}[{partition}]@{} has no key", names.out_topic, entry.offset));
                    }
                    continue;
                };
                if let Some((other, _)) = last.insert(key, (partition, entry)).filter(|(other, _)| *other != partition)
                {
                    output.problems.push(format!(
                        "{}[{partition}]@{} has a key that partition {other} has too",
                        names.out_topic, entry.offset
                    ));
                }
            }
        }
        for (key, (partition, entry)) in last {
            let Some(value) = entry.value.as_deref() else { continue };
            match workload.row(key, value) {
                Ok((row_key, row)) => {
                    if output.table.insert(row_key.clone(), row).is_some() {
                        output.problems.push(format!("{}: two output keys make the row {row_key}", names.out_topic));
                    }
                }
                Err(reason) => output
                    .problems
                    .push(format!("{}[{partition}]@{} cannot be decoded: {reason}", names.out_topic, entry.offset)),
            }
        }
        for (partition, log) in logs.topic(&names.late_topic) {
            for entry in log.committed() {
                match entry.key.as_deref().and_then(late_key) {
                    Some((_, _, start)) if start < speaks_from => {
                        unasked.push((&names.late_topic, partition, entry.offset, start));
                    }
                    Some(key) => *output.late.entry(key).or_default() += 1,
                    None => output.problems.push(format!(
                        "{}[{partition}]@{} is no late record: its key must be partition, offset and window start",
                        names.late_topic, entry.offset
                    )),
                }
            }
        }
        for (partition, log) in logs.topic(&names.rejected_topic) {
            for entry in log.committed() {
                let place = || format!("{}[{partition}]@{}", names.rejected_topic, entry.offset);
                match entry.key.as_deref().and_then(rejected_key) {
                    Some(key) => *output.rejected.entry(key).or_default() += 1,
                    None => output
                        .problems
                        .push(format!("{} is no rejected record: its key must be partition and offset", place())),
                }
                if entry.header(REASON_HEADER).is_none_or(|reason| reason.trim_ascii().is_empty()) {
                    output.problems.push(format!("{} does not say why its record was rejected", place()));
                }
            }
        }
        output.problems.extend(unasked.into_iter().map(|(topic, partition, offset, start)| {
            format!(
                "{topic}[{partition}]@{offset} is of a window at {start}, and this run speaks from {speaks_from} on"
            )
        }));
        output
    }

    /// As much of it as a run with these names speaks for.
    pub fn spoken_for<'a>(table: &'a BTreeMap<RowKey, Row>, late: &'a Late, names: &RunNames) -> Spoken<'a> {
        match names.from {
            None => (Cow::Borrowed(table), Cow::Borrowed(late)),
            Some(FromTime { speaks_from, .. }) => {
                let rows = table.iter().filter(|(key, _)| key.window_start >= speaks_from);
                let entries = late.iter().filter(|((_, _, start), _)| *start >= speaks_from);
                let late: Late = entries.map(|(key, count)| (*key, *count)).collect();
                (Cow::Owned(rows.map(|(key, row)| (key.clone(), row.clone())).collect()), Cow::Owned(late))
            }
        }
    }
}

/// A table and a late set.
pub type Spoken<'a> = (Cow<'a, BTreeMap<RowKey, Row>>, Cow<'a, Late>);

/// The key of an output record ends in its window's start.
fn window_start(key: &[u8]) -> Option<i64> {
    key.last_chunk::<8>().map(|bytes| i64::from_be_bytes(*bytes))
}

fn late_key(key: &[u8]) -> Option<(i32, i64, i64)> {
    let (partition, rest) = key.split_first_chunk::<4>()?;
    let (offset, rest) = rest.split_first_chunk::<8>()?;
    let window: &[u8; 8] = rest.try_into().ok()?;
    Some((i32::from_be_bytes(*partition), i64::from_be_bytes(*offset), i64::from_be_bytes(*window)))
}

fn rejected_key(key: &[u8]) -> Option<(i32, i64)> {
    let (partition, rest) = key.split_first_chunk::<4>()?;
    let offset: &[u8; 8] = rest.try_into().ok()?;
    Some((i32::from_be_bytes(*partition), i64::from_be_bytes(*offset)))
}

/// One side of a comparison.
pub struct Side<'a> {
    pub name: &'a str,
    pub table: &'a BTreeMap<RowKey, Row>,
    pub late: &'a Late,
}

/// Compares two final outputs; says where they first differ, by (key, window), with every source record that may have
/// to do with it.
pub fn compare(property: &'static str, case: &Case<'_>, left: &Side<'_>, right: &Side<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    let keys = || left.table.keys().chain(right.table.keys().filter(|key| !left.table.contains_key(key)));
    let differs = |key: &&RowKey| left.table.get(*key) != right.table.get(*key);
    if let Some(first) = keys().filter(differs).min() {
        let rows_different = keys().filter(differs).count() as u64;
        let message = format!(
            "row {first}: {} {}, {} {}; {rows_different} of {} rows differ",
            left.name,
            show(left.table.get(first)),
            right.name,
            show(right.table.get(first)),
            keys().count(),
        );
        let mut causes = case.source.causes(first, case.workload, case.shape);
        for cause in &mut causes {
            cause.part = part(case, first, cause);
        }
        let mut violation = Violation::new(property, message);
        violation.first_difference = Some(FirstDifference {
            key: first.key.clone(),
            window_start_ms: first.window_start,
            live: case.live.table.get(first).cloned(),
            replay: case.replay.table.get(first).cloned(),
            expected: case.expected.table.get(first).filter(|_| case.workload.has_expected()).cloned(),
            rows_different,
            causes,
        });
        found.push(violation);
    }
    let late = |side: &Side<'_>, key| side.late.get(key).copied().unwrap_or(0);
    let entries = || left.late.keys().chain(right.late.keys());
    if let Some(first) = entries().filter(|key| late(left, key) != late(right, key)).min() {
        let (partition, offset, window) = first;
        found.push(Violation::new(
            property,
            format!(
                "late set: {}[{partition}]@{offset} for the window at {window} is there {} times in {} and {} times in {}",
                case.source.topic,
                late(left, first),
                left.name,
                late(right, first),
                right.name
            ),
        ));
    }
    found
}

/// How many rows and late entries [`compare`] looks at.
pub fn compared(left: &Side<'_>, right: &Side<'_>) -> u64 {
    either(left.table, right.table) + either(left.late, right.late)
}

/// How many keys are in one of the two.
pub fn either<K: Ord, V>(left: &BTreeMap<K, V>, right: &BTreeMap<K, V>) -> u64 {
    (left.len() + right.keys().filter(|&key| !left.contains_key(key)).count()) as u64
}

/// Compares which source records a run rejected with those that it had to. Of what lies before a start at a time it may have
/// read some and others not: an entry that it does not have is none that it owes.
pub fn compare_rejected(
    property: &'static str,
    case: &Case<'_>,
    (name, names, found): (&str, &RunNames, &Rejected),
    (other, due): (&str, &Rejected),
) -> Option<Violation> {
    let unread = |(partition, offset): (i32, i64)| {
        let record = case.source.at(partition, offset);
        names.from.is_some_and(|from| record.is_some_and(|record| record.timestamp < from.needs))
    };
    let entries = |of: &Rejected, key: (i32, i64)| of.get(&key).copied().unwrap_or(0);
    let differs = |key: &(i32, i64)| {
        let (found, due) = (entries(found, *key), entries(due, *key));
        found != due && !(found == 0 && unread(*key))
    };
    let first = found.keys().chain(due.keys()).copied().filter(differs).min()?;
    let (partition, offset) = first;
    let message = format!(
        "rejected records: {}[{partition}]@{offset} is there {} times in {name} and {} times in {other}",
        case.source.topic,
        entries(found, first),
        entries(due, first)
    );
    Some(Violation::new(property, message))
}

/// What a record has to do with the row of a side that is not as expected: the independent function is asked what the row
/// were without the record, and with the record twice.
fn part(case: &Case<'_>, row: &RowKey, cause: &Cause) -> String {
    let is_it = |record: &&LogRecord| (record.partition, record.offset) == (cause.partition, cause.offset);
    let rows = |copies: usize| {
        let log = case.source.records.iter().flat_map(|record| {
            let times = if is_it(&record) { copies } else { 1 };
            std::iter::repeat_n(record.clone(), times)
        });
        case.workload.expected(case.shape, &log.collect::<Vec<_>>()).table.remove(row)
    };
    let expected = case.expected.table.get(row);
    for (name, output) in [("live", &case.live), ("replay", &case.replay)] {
        let found = output.table.get(row);
        if found == expected {
            continue;
        }
        for (copies, how) in [(0, "as if it were not there"), (2, "as if it were there twice")] {
            if rows(copies).as_ref() == found {
                return format!("{name} is {how}");
            }
        }
    }
    String::new()
}

/// A row on one line: `views=3 clicks=1`, or `absent`.
pub fn show(row: Option<&Row>) -> String {
    match row {
        None => "absent".to_owned(),
        Some(row) => row.iter().map(|(field, value)| format!("{field}={value}")).collect::<Vec<_>>().join(" "),
    }
}
