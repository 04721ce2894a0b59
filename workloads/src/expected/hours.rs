//! Hours of sessions: every session of the log counts once, in the window that holds the last moment at which an event
//! could still have joined it, under what became of it.

use serde_json::json;
use sim::workload::{Expected, LogRecord, Row, RowKey, Shape};

use super::sessions::sessions;

/// The sessions with this gap, counted per outcome and window of `size`. What is late is late for its session.
#[must_use]
pub fn hours(shape: &Shape, log: &[LogRecord], gap: i64, size: i64) -> Expected {
    let sessions = sessions(shape, log, gap);
    let mut expected = Expected {
        late: sessions.late,
        duplicates: sessions.duplicates,
        rejected: sessions.rejected,
        ..Expected::default()
    };
    for session in sessions.table.values() {
        let number = |field: &str| session[field].as_i64().expect("a session has its numbers");
        let (events, purchases) = (number("events"), number("purchases"));
        let outcome = match (events, purchases) {
            (_, 1..) => "converted",
            (1, _) => "bounced",
            _ => "browsed",
        };
        let start = (number("last_ms") + gap).div_euclid(size) * size;
        let key = RowKey { key: outcome.to_owned(), window_start: start };
        let row = expected.table.entry(key).or_insert_with(|| {
            Row::from([
                ("outcome".to_owned(), json!(outcome)),
                ("hour_ms".to_owned(), json!(start)),
                ("window_end_ms".to_owned(), json!(start + size)),
                ("sessions".to_owned(), json!(0)),
                ("events".to_owned(), json!(0)),
                ("purchases".to_owned(), json!(0)),
            ])
        });
        for (field, more) in [("sessions", 1), ("events", events), ("purchases", purchases)] {
            let before = row[field].as_i64().expect("a count was put there");
            row.insert(field.to_owned(), json!(before + more));
        }
    }
    expected
}
