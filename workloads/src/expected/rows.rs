//! Output records as rows, for the comparison with what was expected: decoded without the engine.

use serde_json::json;
use sim::workload::{Row, RowKey};

use super::avro::Reader;

/// The user and the window start of an output key: the user's UTF-8, then i64 BE.
///
/// # Errors
/// If it is too short or the user is not UTF-8.
pub fn row_key(key: &[u8]) -> Result<RowKey, String> {
    let split = key.len().checked_sub(8).ok_or_else(|| format!("an output key of {} bytes", key.len()))?;
    let (user, start) = key.split_at(split);
    let window_start = start.iter().fold(0i64, |start, byte| (start << 8) | i64::from(*byte));
    let key = std::str::from_utf8(user).map_err(|e| e.to_string())?.to_owned();
    Ok(RowKey { key, window_start })
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
