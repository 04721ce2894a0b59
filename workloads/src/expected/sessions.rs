//! Sessions: the connected components of a key's accepted records, two being linked iff at most `gap` apart.

use std::collections::BTreeMap;

use serde_json::json;
use sim::workload::{Expected, LogRecord, Row, RowKey, Shape};

use super::source::{Event, judge};

/// The sessions of the log.
#[must_use]
pub fn sessions(shape: &Shape, log: &[LogRecord], gap: i64) -> Expected {
    let judged = judge(shape, log, None);
    let mut expected = Expected { duplicates: judged.duplicates, rejected: judged.rejected, ..Expected::default() };
    let mut accepted: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for event in judged.events {
        if event.comes_before(event.at + gap + 1 + shape.allowed_lateness.0) {
            accepted.entry(event.user.clone()).or_default().push(event);
        } else {
            *expected.late.entry((event.partition, event.offset, event.at)).or_default() += 1;
        }
    }
    for (user, mut events) in accepted {
        // On a line, components are runs: sorted by time, a session ends where the next event is further off than the gap.
        events.sort_by_key(|event| event.at);
        for session in events.chunk_by(|one, next| next.at - one.at <= gap) {
            let first = session[0].at;
            expected.table.insert(RowKey { key: user.clone(), window_start: first }, row(&user, session, gap));
        }
    }
    expected
}

fn row(user: &str, session: &[Event], gap: i64) -> Row {
    let first = session[0].at;
    let last = session[session.len() - 1].at;
    let of = |kind: i64| session.iter().filter(|event| event.kind == kind).count();
    Row::from([
        ("user_id".to_owned(), json!(user)),
        ("first_ms".to_owned(), json!(first)),
        ("last_ms".to_owned(), json!(last)),
        ("window_end_ms".to_owned(), json!(last + gap + 1)),
        ("events".to_owned(), json!(session.len())),
        ("views".to_owned(), json!(of(0))),
        ("clicks".to_owned(), json!(of(1))),
        ("carts".to_owned(), json!(of(2))),
        ("purchases".to_owned(), json!(of(3))),
    ])
}
