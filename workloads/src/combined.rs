//! The combined log format of Apache and nginx, one click a line.
//!
//! In: bytes of a file. Out: a [`Click`] a line, or the line, the byte column and what was expected there.
//!
//! ```text
//! 83.149.9.216 - - [17/May/2015:10:05:03 +0000] "GET /blog?page=2 HTTP/1.1" 200 203023 "http://referrer/" "agent"
//! ```
//!
//! `user_id` is the client address as it stands there, the type is always view, `event_id` is the line's byte offset in
//! the file, and `product_id` is the FNV-1a hash of the request's path without its query, in 63 bits; 0 where there is no
//! path. Quoted fields may hold `\"` and any other escape; what is inside is not looked at but for the path.
//!
//! Strict, with one leniency: servers cut long lines, so the last quote may be missing.

use std::net::IpAddr;

use crate::click::{Click, ClickType};

const MONTHS: [&[u8]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// Why a line is no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: expected {expected}, found {found}")]
pub struct LineError {
    /// The first line is 1.
    pub line: u64,
    /// In bytes; the first is 1.
    pub column: usize,
    pub expected: &'static str,
    /// What stands there, shortened.
    pub found: String,
}

/// One line of a file, without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The first line is 1.
    pub number: u64,
    /// Of its first byte in the file.
    pub offset: u64,
    /// Of the next line.
    pub next: u64,
    pub bytes: &'a [u8],
}

/// The lines of `bytes`, which stand at `offset` of their file as line `number` and those after it. A last line without
/// a line feed is a line.
pub fn lines(bytes: &[u8], offset: u64, number: u64) -> impl Iterator<Item = Line<'_>> {
    let mut at = 0usize;
    bytes.split_inclusive(|byte| *byte == b'\n').enumerate().map(move |(index, whole)| {
        let start = at;
        at += whole.len();
        let line = whole.strip_suffix(b"\n").unwrap_or(whole);
        let bytes = line.strip_suffix(b"\r").unwrap_or(line);
        Line { number: number + index as u64, offset: offset + start as u64, next: offset + at as u64, bytes }
    })
}

/// The event of a line.
///
/// # Errors
/// [`LineError`] at the first byte that does not fit.
pub fn click(line: &Line<'_>) -> Result<Click, LineError> {
    let mut cursor = Cursor { line, at: 0 };
    let address = cursor.address()?;
    cursor.space()?;
    cursor.token("the identity (or -)")?;
    cursor.space()?;
    cursor.token("the user (or -)")?;
    cursor.space()?;
    let ts = cursor.time()?;
    cursor.space()?;
    let request = cursor.quoted("the request in quotes", false)?;
    cursor.space()?;
    cursor.number(3, "a status of three digits")?;
    cursor.end_of_word("a status of three digits")?;
    cursor.space()?;
    cursor.size()?;
    cursor.space()?;
    cursor.quoted("the referrer in quotes", false)?;
    cursor.space()?;
    cursor.quoted("the user agent in quotes", true)?;
    if cursor.at < line.bytes.len() {
        return Err(cursor.error(cursor.at, "the end of the line"));
    }
    let product_id = request.split(|byte| *byte == b' ').nth(1).map_or(0, path_hash);
    Ok(Click { event_id: line.offset, ts, user_id: address.into(), product_id, kind: ClickType::View })
}

/// FNV-1a of the path up to its query, in 63 bits.
fn path_hash(target: &[u8]) -> i64 {
    let path = target.split(|byte| *byte == b'?').next().unwrap_or(target);
    let hash = path
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    (hash >> 1) as i64
}

struct Cursor<'a> {
    line: &'a Line<'a>,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn error(&self, at: usize, expected: &'static str) -> LineError {
        let rest = &self.line.bytes[at..];
        let found = if rest.is_empty() {
            "the end of the line".to_owned()
        } else {
            format!("\"{}\"", rest[..rest.len().min(24)].escape_ascii())
        };
        LineError { line: self.line.number, column: at + 1, expected, found }
    }

    fn peek(&self) -> Option<u8> {
        self.line.bytes.get(self.at).copied()
    }

    fn byte(&mut self, wanted: u8, expected: &'static str) -> Result<(), LineError> {
        if self.peek() != Some(wanted) {
            return Err(self.error(self.at, expected));
        }
        self.at += 1;
        Ok(())
    }

    fn space(&mut self) -> Result<(), LineError> {
        self.byte(b' ', "one space and the next field")
    }

    /// Everything up to the next space.
    fn token(&mut self, expected: &'static str) -> Result<&'a [u8], LineError> {
        let rest = &self.line.bytes[self.at..];
        let length = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
        if length == 0 {
            return Err(self.error(self.at, expected));
        }
        self.at += length;
        Ok(&rest[..length])
    }

    fn address(&mut self) -> Result<&'a str, LineError> {
        const EXPECTED: &str = "a client address or host name";
        let start = self.at;
        let text = std::str::from_utf8(self.token(EXPECTED)?).map_err(|_| self.error(start, EXPECTED))?;
        let is_name = || {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
            text.bytes().all(known) && text.bytes().any(|byte| byte.is_ascii_alphabetic())
        };
        // A zone, as in fe80::1%eth0, is part of the address.
        let address = text.split('%').next().unwrap_or(text);
        if address.parse::<IpAddr>().is_err() && !is_name() {
            return Err(self.error(start, EXPECTED));
        }
        Ok(text)
    }

    /// Exactly `digits` digits.
    fn number(&mut self, digits: usize, expected: &'static str) -> Result<i64, LineError> {
        let start = self.at;
        let mut value = 0;
        for _ in 0..digits {
            match self.peek() {
                Some(digit @ b'0'..=b'9') => value = value * 10 + i64::from(digit - b'0'),
                _ => return Err(self.error(start, expected)),
            }
            self.at += 1;
        }
        Ok(value)
    }

    fn end_of_word(&self, expected: &'static str) -> Result<(), LineError> {
        match self.peek() {
            None | Some(b' ') => Ok(()),
            Some(_) => Err(self.error(self.at, expected)),
        }
    }

    fn size(&mut self) -> Result<(), LineError> {
        const EXPECTED: &str = "a size in bytes (or -)";
        let start = self.at;
        let token = self.token(EXPECTED)?;
        if token != b"-" && !token.iter().all(u8::is_ascii_digit) {
            return Err(self.error(start, EXPECTED));
        }
        Ok(())
    }

    fn in_range(
        &mut self,
        digits: usize,
        range: std::ops::RangeInclusive<i64>,
        expected: &'static str,
    ) -> Result<i64, LineError> {
        let start = self.at;
        let value = self.number(digits, expected)?;
        if range.contains(&value) { Ok(value) } else { Err(self.error(start, expected)) }
    }

    /// `[17/May/2015:10:05:03 +0000]` in milliseconds since 1970.
    fn time(&mut self) -> Result<i64, LineError> {
        self.byte(b'[', "a time such as [17/May/2015:10:05:03 +0000]")?;
        let day_at = self.at;
        let day = self.in_range(2, 1..=31, "a day from 01 to 31")?;
        self.byte(b'/', "/ before the month")?;
        let month_at = self.at;
        let name = self.line.bytes.get(month_at..month_at + 3).unwrap_or_default();
        let month = MONTHS.iter().position(|month| *month == name);
        let month = month.ok_or_else(|| self.error(month_at, "a month such as May"))? as i64 + 1;
        self.at += 3;
        self.byte(b'/', "/ before the year")?;
        let year = self.in_range(4, 1..=9999, "a year of four digits")?;
        if day > days_in(year, month) {
            return Err(self.error(day_at, "a day that the month has"));
        }
        self.byte(b':', ": before the hour")?;
        let hour = self.in_range(2, 0..=23, "an hour from 00 to 23")?;
        self.byte(b':', ": before the minute")?;
        let minute = self.in_range(2, 0..=59, "a minute from 00 to 59")?;
        self.byte(b':', ": before the second")?;
        let second = self.in_range(2, 0..=59, "a second from 00 to 59")?;
        self.byte(b' ', "a space before the zone")?;
        let east = match self.peek() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return Err(self.error(self.at, "a zone such as +0200")),
        };
        self.at += 1;
        let zone_hours = self.in_range(2, 0..=23, "the zone's hours from 00 to 23")?;
        let zone_minutes = self.in_range(2, 0..=59, "the zone's minutes from 00 to 59")?;
        self.byte(b']', "] after the zone")?;
        let local = ((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
        Ok((local - east * (zone_hours * 60 + zone_minutes) * 60) * 1_000)
    }

    /// What stands between quotes, escapes as they are. `cut`: the line's end may stand for the closing quote.
    fn quoted(&mut self, expected: &'static str, cut: bool) -> Result<&'a [u8], LineError> {
        self.byte(b'"', expected)?;
        let start = self.at;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.at += 2,
                Some(_) => self.at += 1,
                None if cut => {
                    self.at = self.line.bytes.len();
                    return Ok(&self.line.bytes[start..]);
                }
                None => return Err(self.error(self.line.bytes.len(), "the closing quote")),
            }
        }
        let inside = &self.line.bytes[start..self.at];
        self.at += 1;
        Ok(inside)
    }
}

fn is_leap(year: i64) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days of the proleptic Gregorian calendar, for years from 1.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let days_before_year = before * 365 + before / 4 - before / 100 + before / 400;
    let days_before_month: i64 = (1..month).map(|earlier| days_in(year, earlier)).sum();
    days_before_year + days_before_month + day - 1 - 719_162
}

#[cfg(test)]
mod tests;
