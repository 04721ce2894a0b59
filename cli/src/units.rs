//! What people write and read: durations (`30m`, `1h30m`, `500ms`), sizes (`64MiB`, `1GB`), counts (`5M`, `200k`), and
//! numbers without a unit.
//!
//! In: text of a flag. Out: a number, or an error that says what is wrong and shows what would be right.

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::time::Duration;

const DURATIONS: &[(&str, u64)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

const COUNTS: &[(&str, u64)] = &[("", 1), ("k", 1_000), ("M", 1_000_000), ("G", 1_000_000_000)];

/// A duration in units: `30m`, `1h30m`, `500ms`, `2d`. Whole milliseconds.
///
/// # Errors
/// What is wrong with the text.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = |why: &str| format!("{why}; write a duration like 30m, 1h30m, 500ms or 2d");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut ms: u64 = 0;
    if rest.is_empty() {
        return Err(wrong("nothing is written"));
    }
    while !rest.is_empty() {
        let (number, unit, after) = leading(rest).ok_or_else(|| wrong(&format!("`{rest}` begins with no number")))?;
        if unit.is_empty() {
            return Err(wrong(&format!("`{number}` has no unit")));
        }
        let factor = factor(DURATIONS, unit).ok_or_else(|| wrong(&format!("`{unit}` is no unit of time")))?;
        let part =
            scaled(number, factor).ok_or_else(|| wrong(&format!("`{number}{unit}` is no whole number of ms")))?;
        ms = ms.checked_add(part).ok_or_else(|| wrong("it is too long"))?;
        rest = after;
    }
    Ok(Duration::from_millis(ms))
}

/// A size in units: `64MiB`, `1GB`, `512B`, `512`.
///
/// # Errors
/// What is wrong with the text.
pub fn size(text: &str) -> Result<u64, String> {
    let wrong = |why: &str| format!("{why}; write a size like 64MiB, 1GB or 512B");
    single(text, SIZES, &wrong, "B")
}

/// A share: `10%`, `2.5%`; 0.1 is 10 %.
///
/// # Errors
/// What is wrong with the text.
pub fn percent(text: &str) -> Result<f64, String> {
    let share = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    match share {
        Some(percent) if (0.0..=1_000.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err(format!("`{text}` is no share; write one like 10% or 2.5%")),
    }
}

/// A count: `5M`, `200k`, `150`.
///
/// # Errors
/// What is wrong with the text.
pub fn count(text: &str) -> Result<u64, String> {
    let wrong = |why: &str| format!("{why}; write a count like 150, 200k or 5M");
    single(text, COUNTS, &wrong, "")
}

/// How many of something that there must be one of: processes, threads, failures.
///
/// # Errors
/// What is wrong with the text.
pub fn at_least_one(text: &str) -> Result<NonZeroUsize, String> {
    let number = usize::try_from(whole(text, 1..=u64::MAX, "4")?).ok().and_then(NonZeroUsize::new);
    number.ok_or_else(|| format!("`{text}` is too large; write a number like 4"))
}

/// Partitions of a topic.
///
/// # Errors
/// What is wrong with the text.
pub fn partitions(text: &str) -> Result<i32, String> {
    whole(text, 1..=1_024, "4").map(|number| number as i32)
}

/// How often something is measured.
///
/// # Errors
/// What is wrong with the text.
pub fn runs(text: &str) -> Result<u32, String> {
    whole(text, 1..=100, "3").map(|number| number as u32)
}

/// One seed.
///
/// # Errors
/// What is wrong with the text.
pub fn seed(text: &str) -> Result<u64, String> {
    whole(text, 0..=u64::MAX, "7312")
}

/// A moment of a run, in milliseconds of virtual time.
///
/// # Errors
/// What is wrong with the text.
pub fn moment(text: &str) -> Result<u64, String> {
    whole(text, 0..=u64::MAX, "14200")
}

/// A number without a unit; `like` is one that would be right.
fn whole(text: &str, range: RangeInclusive<u64>, like: &str) -> Result<u64, String> {
    match text.parse::<u64>() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ if *range.end() == u64::MAX => {
            Err(format!("`{text}` is no whole number from {} on; write one like {like}", range.start()))
        }
        _ => {
            Err(format!("`{text}` is no whole number from {} to {}; write one like {like}", range.start(), range.end()))
        }
    }
}

/// A range of seeds: `A..B` (without B), `A..=B`, or one seed.
///
/// # Errors
/// What is wrong with the text.
pub fn seeds(text: &str) -> Result<std::ops::Range<u64>, String> {
    let wrong = |why: String| format!("{why}; write seeds like 0..150, 0..=149 or 7312");
    let number = |text: &str| text.parse::<u64>().map_err(|_| wrong(format!("`{text}` is no seed")));
    let range = match text.split_once("..") {
        None => {
            let only = number(text)?;
            only..only.checked_add(1).ok_or_else(|| wrong(format!("`{text}` is too large")))?
        }
        Some((from, to)) => {
            let from = number(from)?;
            match to.strip_prefix('=') {
                Some(last) => {
                    from..number(last)?.checked_add(1).ok_or_else(|| wrong(format!("`{to}` is too large")))?
                }
                None => from..number(to)?,
            }
        }
    };
    if range.start > range.end {
        return Err(wrong(format!("`{text}` ends before it begins")));
    }
    Ok(range)
}

/// One of several parts: `I/N`, counted from 1. Returns (I − 1, N).
///
/// # Errors
/// What is wrong with the text.
pub fn shard(text: &str) -> Result<(usize, usize), String> {
    let wrong = || format!("`{text}` is no part of a whole; write 1/4 for the first of four");
    let (index, of) = text.split_once('/').ok_or_else(wrong)?;
    let (index, of): (usize, usize) = (index.parse().map_err(|_| wrong())?, of.parse().map_err(|_| wrong())?);
    if index == 0 || index > of {
        return Err(wrong());
    }
    Ok((index - 1, of))
}

fn single(text: &str, table: &[(&str, u64)], wrong: &dyn Fn(&str) -> String, bare: &str) -> Result<u64, String> {
    if text.is_empty() {
        return Err(wrong("nothing is written"));
    }
    let (number, unit, after) = leading(text).ok_or_else(|| wrong(&format!("`{text}` begins with no number")))?;
    if !after.is_empty() {
        return Err(wrong(&format!("`{after}` stands after the unit")));
    }
    let unit = if unit.is_empty() { bare } else { unit };
    let factor = factor(table, unit).ok_or_else(|| wrong(&format!("`{unit}` is no unit here")))?;
    scaled(number, factor).ok_or_else(|| wrong(&format!("`{text}` is no whole number, or too large")))
}

/// The number that `text` begins with, the letters after it, and the rest.
fn leading(text: &str) -> Option<(&str, &str, &str)> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_')).unwrap_or(text.len());
    if digits == 0 {
        return None;
    }
    let (number, rest) = text.split_at(digits);
    let letters = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(letters);
    Some((number, unit, rest))
}

fn factor(table: &[(&str, u64)], unit: &str) -> Option<u64> {
    table.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor)
}

/// `number` times `factor`, if that is a whole number: `1.5` and 1000 make 1500.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let number = number.replace('_', "");
    let (whole, fraction) = number.split_once('.').unwrap_or((&number, ""));
    let mut value = u128::from(whole.parse::<u64>().ok()?) * u128::from(factor);
    if !fraction.is_empty() {
        let scale = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let part = u128::from(fraction.parse::<u64>().ok()?) * u128::from(factor);
        if part % scale != 0 {
            return None;
        }
        value += part / scale;
    } else if number.contains('.') {
        return None;
    }
    u64::try_from(value).ok()
}

/// `41.2s`, `12m 20s`, `2h 5m`: as precise as its size asks for.
pub fn show_duration(duration: Duration) -> String {
    reports::text::duration(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// `4.0`, `12.3`, `1 234`: a rate without its unit.
pub fn show_rate(per_second: f64) -> String {
    if per_second < 100.0 { format!("{per_second:.1}") } else { reports::text::count(per_second as u64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_units() {
        let ms = |text: &str| duration(text).map(|duration| duration.as_millis());
        assert_eq!(ms("30m"), Ok(1_800_000));
        assert_eq!(ms("1h30m"), Ok(5_400_000));
        assert_eq!(ms("500ms"), Ok(500));
        assert_eq!(ms("1.5s"), Ok(1_500));
        assert_eq!(ms("0s"), Ok(0));
        assert_eq!(ms("0"), Ok(0));
        assert_eq!(ms("2d"), Ok(172_800_000));
    }

    #[test]
    fn a_wrong_duration_says_why() {
        let why = |text: &str| duration(text).expect_err("no duration");
        assert_eq!(why("30"), "`30` has no unit; write a duration like 30m, 1h30m, 500ms or 2d");
        assert!(why("").starts_with("nothing is written"));
        assert!(why("5x").starts_with("`x` is no unit of time"));
        assert!(why("m").starts_with("`m` begins with no number"));
        assert!(why("-5s").starts_with("`-5s` begins with no number"));
        assert!(why("0.0001s").starts_with("`0.0001s` is no whole number of ms"));
        assert!(why("99999999999999999999s").contains("whole number"));
    }

    #[test]
    fn sizes_and_counts_are_read_in_units() {
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert_eq!(size("1.5GB"), Ok(1_500_000_000));
        assert_eq!(size("512"), Ok(512));
        assert!(size("64mib").expect_err("no unit").starts_with("`mib` is no unit here"));
        assert_eq!(count("5M"), Ok(5_000_000));
        assert_eq!(count("1_000"), Ok(1_000));
        assert_eq!(count("200k"), Ok(200_000));
        assert!(count("5MB").is_err());
        assert!(count("1.5").is_err());
    }

    #[test]
    fn numbers_are_whole_and_within_their_range() {
        assert_eq!(
            (at_least_one("4"), partitions("1024"), runs("1")),
            (NonZeroUsize::new(4).ok_or(String::new()), Ok(1_024), Ok(1))
        );
        assert_eq!((seed("0"), moment("14200")), (Ok(0), Ok(14_200)));
        for (found, expected) in [
            (at_least_one("0").err(), "`0` is no whole number from 1 on; write one like 4"),
            (partitions("abc").err(), "`abc` is no whole number from 1 to 1024; write one like 4"),
            (partitions("1025").err(), "`1025` is no whole number from 1 to 1024; write one like 4"),
            (runs("1.5").err(), "`1.5` is no whole number from 1 to 100; write one like 3"),
            (seed("abc").err(), "`abc` is no whole number from 0 on; write one like 7312"),
            (moment("2s").err(), "`2s` is no whole number from 0 on; write one like 14200"),
        ] {
            assert_eq!(found.as_deref(), Some(expected));
        }
    }

    #[test]
    fn shares_are_read_in_percent() {
        assert_eq!(percent("10%"), Ok(0.1));
        assert_eq!(percent("2.5 %"), Ok(0.025));
        for wrong in ["10", "", "%", "-1%", "NaN%", "ten%"] {
            assert!(percent(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn seeds_are_a_half_open_range() {
        assert_eq!(seeds("0..50"), Ok(0..50));
        assert_eq!(seeds("0..=49"), Ok(0..50));
        assert_eq!(seeds("7312"), Ok(7312..7313));
        assert_eq!(seeds("5..5"), Ok(5..5));
        assert!(seeds("9..5").is_err());
        assert!(seeds("a..5").expect_err("no seed").starts_with("`a` is no seed"));
    }

    #[test]
    fn shards_count_from_one() {
        assert_eq!(shard("1/4"), Ok((0, 4)));
        assert_eq!(shard("4/4"), Ok((3, 4)));
        for wrong in ["0/4", "5/4", "4", "a/b"] {
            assert!(shard(wrong).is_err(), "{wrong}");
        }
    }
}
