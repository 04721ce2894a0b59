//! Output records as rows, for the comparison with what was expected: decoded without the engine.
//!
//! A measured replay has millions of panes, and a row is a tree of strings: `session_line` and `minute_line` write a pane's
//! line straight from its bytes. The tests hold them to the rows.

use serde::Serialize;
use serde_json::json;
use sim::workload::{PaneNumbers, Row, RowKey};

use super::avro::Reader;

/// The user and the window start of an output key: the user's UTF-8, then i64 BE.
///
/// # Errors
/// If it is too short or the user is not UTF-8.
pub fn row_key(key: &[u8]) -> Result<RowKey, String> {
    let (user, window_start) = user_and_start(key)?;
    Ok(RowKey { key: user.to_owned(), window_start })
}

fn user_and_start(key: &[u8]) -> Result<(&str, i64), String> {
    let split = key.len().checked_sub(8).ok_or_else(|| format!("an output key of {} bytes", key.len()))?;
    let (user, start) = key.split_at(split);
    let window_start = start.iter().fold(0i64, |start, byte| (start << 8) | i64::from(*byte));
    Ok((std::str::from_utf8(user).map_err(|e| e.to_string())?, window_start))
}

/// A pane of the sessions, written with schema `id`.
///
/// # Errors
/// What is wrong with the bytes.
pub fn session(key: &[u8], value: &[u8], id: u32) -> Result<(RowKey, Row), String> {
    let key = row_key(key)?;
    let mut reader = Reader::framed(value, id)?;
    let mut row = Row::from([("user_id".to_owned(), json!(key.key))]);
    for field in ["window_end_ms", "first_ms", "last_ms", "events", "views", "clicks", "carts", "purchases"] {
        row.insert(field.to_owned(), json!(reader.long()?));
    }
    reader.end()?;
    Ok((key, row))
}

/// A pane of the minutes, written with schema `id`.
///
/// # Errors
/// What is wrong with the bytes.
pub fn minute(key: &[u8], value: &[u8], id: u32) -> Result<(RowKey, Row), String> {
    let key = row_key(key)?;
    let mut reader = Reader::framed(value, id)?;
    let row = Row::from([
        ("user_id".to_owned(), json!(key.key)),
        ("minute_ms".to_owned(), json!(key.window_start)),
        ("window_end_ms".to_owned(), json!(reader.long()?)),
        ("events".to_owned(), json!(reader.long()?)),
    ]);
    reader.end()?;
    Ok((key, row))
}

/// A pane of the hours, written with schema `id`.
///
/// # Errors
/// What is wrong with the bytes.
pub fn hour(key: &[u8], value: &[u8], id: u32) -> Result<(RowKey, Row), String> {
    let key = row_key(key)?;
    let mut reader = Reader::framed(value, id)?;
    let mut row = Row::from([("outcome".to_owned(), json!(key.key)), ("hour_ms".to_owned(), json!(key.window_start))]);
    for field in ["window_end_ms", "sessions", "events", "purchases"] {
        row.insert(field.to_owned(), json!(reader.long()?));
    }
    reader.end()?;
    Ok((key, row))
}

/// Appends the line of a pane of the sessions, written with schema `id`.
///
/// # Errors
/// What is wrong with the bytes; then `line` may hold a part.
pub fn session_line(key: &[u8], value: &[u8], id: u32, line: &mut Vec<u8>) -> Result<PaneNumbers, String> {
    let (user, _) = user_and_start(key)?;
    let mut reader = Reader::framed(value, id)?;
    put("{\"user_id\":", user, line);
    let _window_end = reader.long()?;
    let (first, last, events) = (reader.long()?, reader.long()?, reader.long()?);
    put(",\"first_ms\":", first, line);
    put(",\"last_ms\":", last, line);
    put(",\"events\":", events, line);
    for name in [",\"views\":", ",\"clicks\":", ",\"carts\":", ",\"purchases\":"] {
        put(name, reader.long()?, line);
    }
    reader.end()?;
    line.push(b'}');
    Ok(PaneNumbers { events, first_and_last_ms: Some((first, last)) })
}

/// Appends the line of a pane of the minutes, written with schema `id`.
///
/// # Errors
/// What is wrong with the bytes; then `line` may hold a part.
pub fn minute_line(key: &[u8], value: &[u8], id: u32, line: &mut Vec<u8>) -> Result<PaneNumbers, String> {
    let (user, start) = user_and_start(key)?;
    let mut reader = Reader::framed(value, id)?;
    let (_window_end, events) = (reader.long()?, reader.long()?);
    reader.end()?;
    put("{\"user_id\":", user, line);
    put(",\"minute_ms\":", start, line);
    put(",\"events\":", events, line);
    line.push(b'}');
    Ok(PaneNumbers { events, first_and_last_ms: None })
}

fn put(name: &str, value: impl Serialize, line: &mut Vec<u8>) {
    line.extend_from_slice(name.as_bytes());
    serde_json::to_writer(line, &value).expect("a string or a number, into memory");
}

#[cfg(test)]
mod tests {
    use engine::stream::{PaneEncoder, Window};
    use engine::types::Timestamp;
    use proptest::prelude::*;
    use sim::workload::{PaneNumbers, Workload};

    use crate::panes::{MINUTE_SCHEMA_ID, MinutePanes, SESSION_SCHEMA_ID, SessionPanes, SessionState};
    use crate::pipelines::ClickPipeline;

    /// A line, or a reason, by way of the row.
    fn by_row(pipeline: ClickPipeline, key: &[u8], value: &[u8]) -> Result<(String, PaneNumbers), String> {
        let (_, row) = pipeline.row(key, value)?;
        Ok((pipeline.line(&row), PaneNumbers::of(&row)))
    }

    fn straight(pipeline: ClickPipeline, key: &[u8], value: &[u8]) -> Result<(String, PaneNumbers), String> {
        let mut line = b"before".to_vec();
        let numbers = pipeline.pane_line(key, value, &mut line)?;
        let line = String::from_utf8(line.split_off(6)).map_err(|error| error.to_string())?;
        Ok((line, numbers))
    }

    proptest! {
        #[test]
        fn a_line_written_straight_is_the_line_of_the_row(
            user in any::<String>(), start: i64, end: i64, first: i64, last: i64, kinds in prop::array::uniform4(0..1u64 << 60),
        ) {
            let key = [user.as_bytes(), &start.to_be_bytes()].concat();
            let window = Window { start: Timestamp(start), end: Timestamp(end) };
            let mut value = Vec::new();
            SessionPanes.encode(user.as_bytes(), window, &SessionState { first, last, kinds }, &mut value);
            let line = straight(ClickPipeline::Sessions, &key, &value);
            prop_assert!(line.is_ok());
            prop_assert_eq!(line, by_row(ClickPipeline::Sessions, &key, &value));
            value.clear();
            MinutePanes.encode(user.as_bytes(), window, &kinds[0], &mut value);
            for pipeline in [ClickPipeline::Minutes, ClickPipeline::UniqueMinutes] {
                let line = straight(pipeline, &key, &value);
                prop_assert!(line.is_ok());
                prop_assert_eq!(line, by_row(pipeline, &key, &value));
            }
        }

        #[test]
        fn what_is_no_row_is_no_line_for_the_same_reason(key: Vec<u8>, noise: Vec<u8>) {
            for (pipeline, id) in
                [(ClickPipeline::Sessions, SESSION_SCHEMA_ID), (ClickPipeline::Minutes, MINUTE_SCHEMA_ID)]
            {
                let value = [[0].as_slice(), &id.to_be_bytes(), &noise].concat();
                for value in [&value, &noise] {
                    prop_assert_eq!(straight(pipeline, &key, value), by_row(pipeline, &key, value));
                }
            }
        }
    }
}
