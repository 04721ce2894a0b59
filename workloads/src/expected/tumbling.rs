//! Tumbling windows: a key's accepted records with event time in `[n * size, (n + 1) * size)`.

use serde_json::json;
use sim::workload::{Expected, LogRecord, Row, RowKey, Shape};

use super::source::judge;

/// The counts of the log per key and window, after deduplication by event id if there is a `horizon`.
#[must_use]
pub fn counts(shape: &Shape, log: &[LogRecord], size: i64, horizon: Option<i64>) -> Expected {
    let judged = judge(shape, log, horizon);
    let mut expected = Expected { duplicates: judged.duplicates, rejected: judged.rejected, ..Expected::default() };
    for event in judged.events {
        let start = event.at.div_euclid(size) * size;
        let end = start + size;
        if !event.comes_before(end + shape.allowed_lateness.0) {
            *expected.late.entry((event.partition, event.offset, start)).or_default() += 1;
            continue;
        }
        let key = RowKey { key: event.user.clone(), window_start: start };
        let row = expected.table.entry(key).or_insert_with(|| {
            Row::from([
                ("user_id".to_owned(), json!(event.user)),
                ("minute_ms".to_owned(), json!(start)),
                ("window_end_ms".to_owned(), json!(end)),
                ("events".to_owned(), json!(0)),
            ])
        });
        let events = row["events"].as_u64().expect("a count was put there");
        row.insert("events".to_owned(), json!(events + 1));
    }
    expected
}
