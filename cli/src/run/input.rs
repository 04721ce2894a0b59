//! Whether a file is what it is taken for, before anything is made of it.
//!
//! In: a file and what turns a line into an event. Out: nothing, if a line is an event; otherwise what the file looks like.
//! A file without an event would pass: nothing in it can differ.

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;

use anyhow::Context as _;

use super::ingest::Parse;
use super::lines::Lines;
use crate::exit::Usage;

/// How compressed files begin, and what makes text of them.
const COMPRESSED: [(&[u8], &str, &str); 4] = [
    (b"\x1f\x8b", "gzip", "gunzip -k"),
    (b"\x28\xb5\x2f\xfd", "zstd", "unzstd"),
    (b"\xfd7zXZ\0", "xz", "unxz -k"),
    (b"BZh", "bzip2", "bunzip2 -k"),
];

/// Reads up to the first event. `format` is what a line should be, in words.
///
/// # Errors
/// [`Usage`] when no line is an event, with the reason of the first that is none.
pub fn has_an_event(path: &Path, parse: &Parse, format: &str) -> anyhow::Result<()> {
    let failed = || format!("failed to read {}", path.display());
    let mut start = Vec::new();
    File::open(path).and_then(|file| file.take(8).read_to_end(&mut start)).with_context(failed)?;
    if start.is_empty() {
        return Err(Usage(format!("{} is empty: there is nothing to run", path.display())).into());
    }
    if let Some((_, name, command)) = COMPRESSED.iter().find(|(magic, ..)| start.starts_with(magic)) {
        let problem = format!("{} is compressed with {name}", path.display());
        return Err(Usage(format!("{problem}: `{command} {}` first, and name what comes of it", path.display())).into());
    }
    let file = File::open(path).with_context(failed)?;
    let mut lines = Lines::new(BufReader::with_capacity(1 << 20, file), 0, 0);
    let (mut count, mut first) = (0u64, None);
    while let Some(line) = lines.next_line().with_context(failed)? {
        count += 1;
        if line.cut || line.bytes.is_empty() {
            continue;
        }
        match parse(line.bytes, line.number, line.byte_offset) {
            Ok(_) => return Ok(()),
            Err(reason) => first = first.or(Some(reason)),
        }
    }
    let first = first.map(|reason| format!("; {reason}")).unwrap_or_default();
    let lines = if count == 1 {
        "its one line is no event".to_owned()
    } else {
        format!("none of its {count} lines is an event")
    };
    Err(Usage(format!("{}: {lines}{first}\nwhat is wanted is {format}", path.display())).into())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use workloads::combined;

    use super::*;

    /// What is said of a file with this in it, where `event` is one.
    fn said(bytes: &[u8]) -> Option<String> {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(bytes).expect("it takes this");
        let event = br#"::1 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 5 "-" "x""#;
        let click = combined::Line { number: 1, offset: 0, next: event.len() as u64, bytes: event };
        let parse = move |line: &[u8], number, _| match line {
            b"event" => combined::click(&click).map_err(|error| error.to_string()),
            _ => Err(format!("line {number} is none")),
        };
        let error = has_an_event(file.path(), &parse, "events").err()?;
        assert!(error.is::<Usage>(), "{error:?}");
        Some(error.to_string().replace(&file.path().display().to_string(), "FILE"))
    }

    #[test]
    fn a_file_without_an_event_is_refused_and_one_event_is_enough() {
        assert_eq!(said(b"no\n\nevent\nno\n"), None);
        let none = "FILE: none of its 3 lines is an event; line 2 is none\nwhat is wanted is events";
        assert_eq!(said(b"\n# Segno\nx").as_deref(), Some(none));
        assert_eq!(said(b"").as_deref(), Some("FILE is empty: there is nothing to run"));
        let zipped = "FILE is compressed with gzip: `gunzip -k FILE` first, and name what comes of it";
        assert_eq!(said(b"\x1f\x8b\x08\0\0").as_deref(), Some(zipped));
    }
}
