//! Logs written by hand with answers worked by hand. A script is one record a word, in order; each partition counts its
//! offsets by itself:
//!
//! - `0:a@30` partition 0, user a, event time 30, a view with an id of its own; `0:a@30#7` with id 7; `0:a@30!3` of type 3;
//! - `0:=50` a marker of 50; `0:=end` the end marker; `0:?@90` a value that does not decode, with timestamp 90.
//!
//! The gap is 10, a window 10 wide, the horizon 20.

use std::collections::BTreeMap;

use engine::types::Millis;
use sha2::{Digest as _, Sha256};
use sim::workload::{Expected, LogRecord, Row, RowKey, Shape, SourceEvent, Workload as _};

use super::{hours::hours, sessions::sessions, sums, tumbling::counts};
use crate::click::{Click, ClickType, record_key};
use crate::clickstream::{Clickstream, Settings};
use crate::pipelines::ClickPipeline;

fn log(script: &str) -> Vec<LogRecord> {
    let mut ends: BTreeMap<i32, i64> = BTreeMap::new();
    let mut log = Vec::new();
    for (index, word) in script.split_whitespace().enumerate() {
        let (partition, rest) = word.split_once(':').expect("partition:record");
        let partition = partition.parse().expect("a partition");
        let end = ends.entry(partition).or_default();
        let offset = *end;
        *end += 1;
        if let Some(marker) = rest.strip_prefix('=') {
            let watermark = if marker == "end" { i64::MAX } else { marker.parse().expect("a watermark") };
            let SourceEvent { headers, timestamp, .. } = SourceEvent::marker(0, partition, watermark);
            log.push(LogRecord { partition, offset, timestamp, key: None, value: None, headers });
            continue;
        }
        let (user, rest) = rest.split_once('@').expect("user@time");
        let (rest, kind) = rest.split_once('!').unwrap_or((rest, "0"));
        let (time, id) = rest.split_once('#').map_or((rest, None), |(time, id)| (time, Some(id)));
        let ts: i64 = time.parse().expect("a time");
        let kind = ClickType::ALL[kind.parse::<usize>().expect("a type")];
        let event_id = id.map_or(1_000 + index as u64, |id| id.parse().expect("an id"));
        let click = Click { event_id, ts, user_id: user.into(), product_id: 1, kind };
        let (mut key, mut value) = (Vec::new(), Vec::new());
        record_key(&click, true, &mut key);
        click.encode(&mut value);
        if user == "?" {
            value.pop();
        }
        log.push(LogRecord { partition, offset, timestamp: ts, key: Some(key), value: Some(value), headers: vec![] });
    }
    log
}

fn shape(bound: i64, allowed_lateness: i64) -> Shape {
    Shape {
        partitions: 2,
        keyed_by_record: true,
        repartitions: 1,
        bound: Millis(bound),
        allowed_lateness: Millis(allowed_lateness),
    }
}

/// `user[first..last]events` or `user[start]events`, then `late partition/offset@time`, `duplicates n`, `rejected n`.
fn text(expected: &Expected) -> String {
    let mut words = Vec::new();
    for (key, row) in &expected.table {
        match row.get("last_ms") {
            Some(last) => words.push(format!("{}[{}..{last}]{}", key.key, key.window_start, row["events"])),
            None => words.push(format!("{}[{}]{}", key.key, key.window_start, row["events"])),
        }
    }
    for ((partition, offset, time), entries) in &expected.late {
        assert_eq!(*entries, 1, "one entry a record and window");
        words.push(format!("late {partition}/{offset}@{time}"));
    }
    if expected.duplicates > 0 {
        words.push(format!("duplicates {}", expected.duplicates));
    }
    if expected.rejected > 0 {
        words.push(format!("rejected {}", expected.rejected));
    }
    words.join(" ")
}

#[track_caller]
fn check_sessions(bound: i64, lateness: i64, script: &str, answer: &str) {
    assert_eq!(text(&sessions(&shape(bound, lateness), &log(script), 10)), answer, "sessions of {script}");
}

#[track_caller]
fn check_counts(bound: i64, lateness: i64, script: &str, answer: &str) {
    assert_eq!(text(&counts(&shape(bound, lateness), &log(script), 10, None)), answer, "counts of {script}");
}

#[track_caller]
fn check_unique(bound: i64, lateness: i64, script: &str, answer: &str) {
    assert_eq!(text(&counts(&shape(bound, lateness), &log(script), 10, Some(20))), answer, "unique of {script}");
}

#[test]
fn events_exactly_one_gap_apart_are_one_session_and_one_further_are_two() {
    check_sessions(5, 0, "0:a@0 0:a@10", "a[0..10]2");
    check_sessions(5, 0, "0:a@0 0:a@11", "a[0..0]1 a[11..11]1");
    check_sessions(5, 0, "0:a@-10 0:a@0", "a[-10..0]2");
}

#[test]
fn a_later_event_joins_the_sessions_on_both_sides() {
    // 20 and 0 are two sessions until 10 comes, within the bound: w = 20 - 15 = 5 < 10 + 11.
    check_sessions(15, 0, "0:a@0 0:a@20 0:a@10", "a[0..20]3");
    // Of two partitions the bridge need not be in order with anything.
    check_sessions(0, 0, "0:a@0 0:a@20 1:a@10", "a[0..20]3");
}

#[test]
fn sessions_are_of_one_key_and_count_types() {
    check_sessions(5, 0, "0:a@0 0:b@5 0:a@10", "a[0..10]2 b[5..5]1");
    let expected = sessions(&shape(5, 0), &log("0:a@0!0 0:a@1!1 0:a@2!2 0:a@3!3 0:a@4!0"), 10);
    let (_, row) = expected.table.first_key_value().expect("one session");
    for (field, value) in [
        ("events", 5),
        ("views", 2),
        ("clicks", 1),
        ("carts", 1),
        ("purchases", 1),
        ("last_ms", 4),
        ("window_end_ms", 15),
    ] {
        assert_eq!(row[field], value, "{field}");
    }
}

#[test]
fn a_session_event_is_late_when_its_own_watermark_reached_its_time_plus_the_gap_and_one() {
    // Before the last record w = 30 - 5 = 25; 14 + 11 = 25 is reached, 15 + 11 = 26 is not.
    check_sessions(5, 0, "0:a@30 0:a@14", "a[30..30]1 late 0/1@14");
    check_sessions(5, 0, "0:a@30 0:a@15", "a[15..15]1 a[30..30]1");
    // Allowed lateness of 1 moves that by 1.
    check_sessions(5, 1, "0:a@30 0:a@14", "a[14..14]1 a[30..30]1");
    check_sessions(5, 1, "0:a@30 0:a@13", "a[30..30]1 late 0/1@13");
}

#[test]
fn a_late_event_bridges_nothing() {
    // 10 is late (w = 41 - 20 = 21 = 10 + 11), so 0 and 20 stay apart; with a bound one wider it bridges.
    check_sessions(20, 0, "0:a@0 0:a@20 0:b@41 0:a@10", "a[0..0]1 a[20..20]1 b[41..41]1 late 0/3@10");
    check_sessions(21, 0, "0:a@0 0:a@20 0:b@41 0:a@10", "a[0..20]3 b[41..41]1");
}

#[test]
fn lateness_is_judged_by_the_own_partition_only() {
    // Partition 1 has seen nothing, so nothing is late there however far partition 0 is.
    check_sessions(0, 0, "0:a@1000 1:a@0", "a[0..0]1 a[1000..1000]1");
    check_counts(0, 0, "0:a@1000 1:a@0", "a[0]1 a[1000]1");
}

#[test]
fn a_window_takes_a_record_until_its_own_watermark_reaches_the_end() {
    // w = 14 - 5 = 9 < 10; w = 15 - 5 = 10 is not.
    check_counts(5, 0, "0:a@14 0:a@9", "a[0]1 a[10]1");
    check_counts(5, 0, "0:a@15 0:a@9", "a[10]1 late 0/1@0");
    check_counts(5, 1, "0:a@15 0:a@9", "a[0]1 a[10]1");
    check_counts(5, 1, "0:a@16 0:a@9", "a[10]1 late 0/1@0");
}

#[test]
fn a_window_holds_its_start_and_not_its_end_also_before_zero() {
    check_counts(50, 0, "0:a@0 0:a@9 0:a@10 0:a@-1 0:a@-10 0:a@-11", "a[-20]1 a[-10]2 a[0]2 a[10]1");
}

#[test]
fn a_record_does_not_make_itself_late() {
    check_counts(0, 0, "0:a@5 0:a@15 0:a@25", "a[0]1 a[10]1 a[20]1");
    // The watermark does not move back: the highest is 30, not the last.
    check_counts(0, 0, "0:a@30 0:a@25 0:a@19", "a[30]1 late 0/1@20 late 0/2@10");
}

#[test]
fn markers_move_the_watermark_and_are_no_events() {
    check_counts(5, 0, "0:=10 0:a@9", "late 0/1@0");
    check_counts(5, 0, "0:=9 0:a@9", "a[0]1");
    // A marker is a watermark already: the bound is not taken off. The higher of marker and events counts.
    check_counts(5, 0, "0:a@12 0:=10 0:=3 0:a@9", "a[10]1 late 0/3@0");
    check_sessions(5, 0, "0:=20 0:a@9 0:a@10", "a[10..10]1 late 0/1@9");
    check_sessions(5, 0, "0:=end 0:a@9", "late 0/1@9");
    check_sessions(5, 0, "0:=end 1:=end", "");
    check_sessions(5, 0, "", "");
}

#[test]
fn what_does_not_decode_moves_no_watermark() {
    check_counts(5, 0, "0:?@1000 0:a@0", "a[0]1 rejected 1");
    check_sessions(5, 0, "0:a@0 0:?@5 0:a@11", "a[0..0]1 a[11..11]1 rejected 1");
    // 2^60 is the last event time that counts.
    check_counts(5, 0, "0:a@1152921504606846977 0:a@0 0:a@-1152921504606846977", "a[0]1 rejected 2");
}

#[test]
fn a_copy_is_a_duplicate_until_the_own_watermark_reaches_the_horizon() {
    check_unique(5, 0, "0:a@0#7 0:a@0#7 0:a@0#8", "a[0]2 duplicates 1");
    // The kept one is at 0, the horizon 20: w = 24 - 5 = 19 is below 20, w = 25 - 5 = 20 is not. A record of id 7 at 24
    // is then no longer a duplicate.
    check_unique(5, 0, "0:a@0#7 0:b@24 0:a@24#7", "a[0]1 b[20]1 duplicates 1");
    check_unique(5, 0, "0:a@0#7 0:b@25 0:a@24#7", "a[0]1 a[20]1 b[20]1");
}

#[test]
fn a_duplicate_does_not_renew_the_horizon() {
    // The copy at w = 15 is dropped; at w = 20 the first has run out, though the copy would not have.
    check_unique(5, 0, "0:a@0#7 0:b@20 0:a@20#7 0:b@25 0:a@25#7", "a[0]1 a[20]1 b[20]2 duplicates 1");
}

#[test]
fn a_late_record_and_a_duplicate_move_the_watermark_and_a_late_one_is_kept_for_its_copies() {
    // 3 is late (w = 20 - 5 = 15) and still the first of its id: its copy is a duplicate and not late twice.
    check_unique(5, 0, "0:a@20 0:a@3#7 0:a@3#7", "a[20]1 late 0/1@0 duplicates 1");
    // The copy's event time, 40, moves the watermark to 35, so that 29 is late.
    check_unique(5, 0, "0:a@20#7 0:a@40#7 0:a@29", "a[20]1 late 0/2@20 duplicates 1");
}

#[test]
fn ids_are_told_apart_by_partition() {
    check_unique(5, 0, "0:a@0#7 1:a@0#7", "a[0]2");
}

/// `outcome[window]sessions/events/purchases`, then what is late; windows are 20 wide.
#[track_caller]
fn check_hours(bound: i64, lateness: i64, script: &str, answer: &str) {
    let expected = hours(&shape(bound, lateness), &log(script), 10, 20);
    let row = |(key, row): (&RowKey, &Row)| {
        let [sessions, events, purchases] = ["sessions", "events", "purchases"].map(|field| &row[field]);
        format!("{}[{}]{sessions}/{events}/{purchases}", key.key, key.window_start)
    };
    let late = expected.late.keys().map(|(partition, offset, time)| format!("late {partition}/{offset}@{time}"));
    let words: Vec<String> = expected.table.iter().map(row).chain(late).collect();
    assert_eq!(words.join(" "), answer, "hours of {script}");
}

#[test]
fn a_session_counts_in_the_hour_of_the_last_moment_that_could_have_joined_it() {
    check_hours(5, 0, "0:a@0", "bounced[0]1/1/0");
    // The pane of 9 is of 19, that of 10 is of 20; that of -11 is of -1.
    check_hours(5, 0, "0:a@9 1:b@10", "bounced[0]1/1/0 bounced[20]1/1/0");
    check_hours(5, 0, "0:a@-11", "bounced[-20]1/1/0");
}

#[test]
fn what_became_of_a_session_decides_where_it_counts() {
    check_hours(5, 0, "0:a@0 0:b@1 0:b@2 0:c@3!3 0:d@4!3 0:d@5", "bounced[0]1/1/0 browsed[0]1/2/0 converted[0]2/3/2");
}

#[test]
fn a_session_that_grows_counts_once_and_leaves_no_row_behind() {
    // The second click comes when the first one's pane is out: w = 25 - 0, and 10 is on time until 21 + 30.
    check_hours(0, 30, "0:a@0 0:b@25 0:a@10", "bounced[20]1/1/0 browsed[20]1/2/0");
    // Late by one: it stays a session of one.
    check_hours(0, 30, "0:a@0 0:=51 0:a@10", "bounced[0]1/1/0 late 0/2@10");
}

#[test]
fn the_sums_are_those_of_the_expected_table() {
    let stream = Clickstream::new(Settings { users: 300, span_s: 20_000, dup_bp: 500, ..Settings::over_a_day(20_000) });
    let shape = Shape { bound: Millis(30_000), ..shape(0, 0) };
    let mut log = Vec::new();
    for (offset, record) in stream.iter().enumerate() {
        let click = Click::from(record);
        let (mut key, mut value) = (Vec::new(), Vec::new());
        record_key(&click, true, &mut key);
        click.encode(&mut value);
        let timestamp = click.ts;
        log.push(LogRecord {
            partition: 0,
            offset: offset as i64,
            timestamp,
            key: Some(key),
            value: Some(value),
            headers: vec![],
        });
    }
    let number = |row: &super::Row, field: &str| row[field].as_i64().expect("a number") as u64;

    let gap = 30 * 60_000;
    let table = sessions(&shape, &log, gap).table;
    let sums = sums::sessions(&stream, gap);
    assert_eq!(table.len() as u64, sums.sessions);
    assert_eq!(table.values().map(|row| number(row, "events")).sum::<u64>(), sums.events);
    let durations = table.values().map(|row| number(row, "last_ms") - number(row, "first_ms"));
    assert_eq!(durations.sum::<u64>(), sums.duration_ms);
    assert!(sums.sessions > 300 && sums.events == 20_000, "{sums:?}");
    assert_eq!(checksum(ClickPipeline::Sessions, &table), sums.checksum.0);

    for (unique, horizon) in [(false, None), (true, Some(60_000))] {
        let expected = counts(&shape, &log, 60_000, horizon);
        let sums = sums::minutes(&stream, 60_000, unique);
        assert!(expected.late.is_empty());
        assert_eq!(expected.duplicates > 0, unique);
        assert_eq!(expected.table.len() as u64, sums.panes);
        assert_eq!(expected.table.values().map(|row| number(row, "events")).sum::<u64>(), sums.events);
        assert_eq!(expected.table.values().map(|row| number(row, "events")).max(), Some(sums.max_events));
        assert_eq!(sums.events + expected.duplicates, 20_000);
        assert_eq!(checksum(ClickPipeline::Minutes, &expected.table), sums.checksum.0);
    }
}

/// Of a table, line by line.
fn checksum(pipeline: ClickPipeline, table: &BTreeMap<RowKey, Row>) -> u128 {
    let lines = table.values().map(|row| Sha256::digest(pipeline.line(row)));
    lines.fold(0, |sum, digest| sum.wrapping_add(u128::from_le_bytes(digest[..16].try_into().expect("16 of 32 bytes"))))
}
