use super::*;

const GOOD: &str = r#"83.149.9.216 - - [17/May/2015:10:05:03 +0000] "GET /blog?page=2 HTTP/1.1" 200 203023 "http://referrer/" "agent""#;

fn parse(text: &str) -> Result<Click, LineError> {
    let line = Line { number: 7, offset: 1_000, next: 0, bytes: text.as_bytes() };
    click(&line)
}

#[track_caller]
fn refused(text: &str, message: &str) {
    let error = parse(text).expect_err(text).to_string();
    assert!(error.starts_with(message), "{text}\n  {error}\n  instead of {message}");
}

/// [`GOOD`] with its first `from` replaced.
fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from} is not in the line");
    GOOD.replacen(from, to, 1)
}

#[test]
fn a_line_is_a_view_by_its_address_at_its_time() {
    let click = parse(GOOD).expect("a good line");
    assert_eq!(click.user_id, "83.149.9.216");
    // 17 May 2015 10:05:03 UTC.
    assert_eq!(click.ts, 1_431_857_103_000);
    assert_eq!(click.event_id, 1_000);
    assert_eq!(click.kind, ClickType::View);
    assert_eq!(click.product_id, path_hash(b"/blog"), "the query is no part of the path");
    assert_ne!(click.product_id, 0);
}

#[test]
fn the_zone_offset_is_taken_off() {
    let utc = parse(GOOD).expect("a good line").ts;
    assert_eq!(parse(&with("+0000", "+0200")).expect("east").ts, utc - 2 * 3_600_000);
    assert_eq!(parse(&with("+0000", "-0730")).expect("west").ts, utc + 7 * 3_600_000 + 30 * 60_000);
    let epoch = with("17/May/2015:10:05:03 +0000", "01/Jan/1970:00:00:00 +0000");
    assert_eq!(parse(&epoch).expect("the epoch").ts, 0);
    let leap = with("17/May/2015:10:05:03 +0000", "29/Feb/2000:23:59:59 +0000");
    assert_eq!(parse(&leap).expect("a leap day").ts, 951_868_799_000);
    let early = with("17/May/2015:10:05:03 +0000", "31/Dec/1969:23:59:59 +0000");
    assert_eq!(parse(&early).expect("before 1970").ts, -1_000);
}

#[test]
fn other_addresses_names_users_sizes_and_escapes_are_read() {
    for address in ["2001:db8::8a2e:370:7334", "::1", "fe80::1%eth0", "crawl-66.example.net", "localhost"] {
        assert_eq!(parse(&with("83.149.9.216", address)).expect(address).user_id, address);
    }
    for (from, to) in [
        (" - - ", " - frank "),
        ("203023", "-"),
        ("200 ", "304 "),
        ("GET /blog?page=2 HTTP/1.1", "-"),
        ("GET /blog?page=2 HTTP/1.1", r#"GET /a\"b\\ HTTP/1.1"#),
        ("GET /blog?page=2 HTTP/1.1", r"\x16\x03\x01"),
        ("http://referrer/", ""),
        ("\"agent\"", "\"cut off in the mid"),
        ("\"agent\"", "\"cut off at an escape\\"),
    ] {
        let line = with(from, to);
        assert!(parse(&line).is_ok(), "{line}: {:?}", parse(&line));
    }
    assert_eq!(parse(&with("GET /blog?page=2 HTTP/1.1", "-")).expect("no path").product_id, 0);
}

#[test]
fn what_does_not_fit_is_named_with_line_and_column() {
    refused("", "line 7, column 1: expected a client address or host name, found the end of the line");
    refused(
        &with("83.149.9.216", "83.149.9"),
        "line 7, column 1: expected a client address or host name, found \"83.149.9 - - [17/May/201\"",
    );
    refused("1.2.3.4", "line 7, column 8: expected one space and the next field");
    refused(&with("- - ", "-  "), "line 7, column 16: expected the user (or -)");
    refused(&with("[17", "17"), "line 7, column 18: expected a time such as [17/May/2015:10:05:03 +0000]");
    refused(&with("17/May", "7/May"), "line 7, column 19: expected a day from 01 to 31");
    refused(&with("17/May", "31/Apr"), "line 7, column 19: expected a day that the month has");
    refused(&with("17/May/2015", "29/Feb/2015"), "line 7, column 19: expected a day that the month has");
    refused(&with("May", "Mai"), "line 7, column 22: expected a month such as May");
    refused(&with(":10:05", ":24:05"), "line 7, column 31: expected an hour from 00 to 23");
    refused(&with("+0000", "UTC"), "line 7, column 40: expected a zone such as +0200");
    refused(&with("\"GET", "GET"), "line 7, column 47: expected the request in quotes");
    refused(&with(" 200 ", " 2000 "), "line 7, column 78: expected a status of three digits");
    refused(&with("203023", "big"), "line 7, column 79: expected a size in bytes (or -)");
    refused(&with(" \"http://referrer/\" \"agent\"", ""), "line 7, column 85: expected one space and the next field");
    refused(&with(" \"agent\"", ""), "line 7, column 104: expected one space and the next field");
    refused(&with("http://referrer/\" \"agent\"", "http"), "line 7, column 91: expected the closing quote");
    refused(&with("\"agent\"", "\"agent\" more"), "line 7, column 112: expected the end of the line");
}

#[test]
fn lines_keep_their_place_in_the_file_whatever_ends_them() {
    let lines: Vec<Line<'_>> = lines(b"ab\r\n\nc", 100, 5).collect();
    assert_eq!(
        lines,
        vec![
            Line { number: 5, offset: 100, next: 104, bytes: b"ab" },
            Line { number: 6, offset: 104, next: 105, bytes: b"" },
            Line { number: 7, offset: 105, next: 106, bytes: b"c" },
        ]
    );
    assert_eq!(super::lines(b"", 0, 1).count(), 0);
}

#[test]
fn real_lines_are_read() {
    let file = include_bytes!("../../tests/data/access-20.log");
    let clicks: Result<Vec<Click>, LineError> = lines(file, 0, 1).map(|line| click(&line)).collect();
    let clicks = clicks.expect("every line is an event");
    assert!(clicks.len() >= 20, "{} lines", clicks.len());
    assert!(clicks.windows(2).all(|pair| pair[0].event_id < pair[1].event_id));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(noise: Vec<u8>, at in 0..GOOD.len(), byte: u8) {
        let _ = click(&Line { number: 1, offset: 0, next: 0, bytes: &noise });
        let mut flipped = GOOD.as_bytes().to_vec();
        flipped[at] = byte;
        let _ = click(&Line { number: 1, offset: 0, next: 0, bytes: &flipped });
        let _ = click(&Line { number: 1, offset: 0, next: 0, bytes: &GOOD.as_bytes()[..at] });
    }
}

#[test]
#[ignore = "by hand, on a whole file: SEGNO_TEST_ACCESS_LOG names it"]
#[expect(
    clippy::disallowed_methods,
    reason = "a test that is run by hand reads a file that the repository does not hold"
)]
fn a_whole_file_is_read_without_a_reject() {
    let path = std::env::var("SEGNO_TEST_ACCESS_LOG").expect("the path of an access log");
    let file = std::fs::read(path).expect("a readable file");
    let rejected: Vec<LineError> = lines(&file, 0, 1).filter_map(|line| click(&line).err()).collect();
    assert_eq!(rejected, vec![]);
    assert_eq!(lines(&file, 0, 1).count(), 10_000);
}
