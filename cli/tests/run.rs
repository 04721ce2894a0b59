//! `segno run` as a process: what it refuses, and what it says of a damaged log.

#![expect(clippy::disallowed_methods, reason = "these tests start processes and read what they leave behind")]

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// An exit code, and what was said on stderr.
fn run(dir: &Path, line: &str) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_segno"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SEGNO_")) {
        command.env_remove(name);
    }
    let output = command
        .args(["run", "--pipeline", "clickstream-minutes", "--json"])
        .args(line.split_whitespace())
        .current_dir(dir)
        .output()
        .expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn access_log(dir: &Path) {
    let mut text = String::new();
    for minute in 0..50 {
        writeln!(
            text,
            r#"10.0.0.{} - - [21/Nov/2026:10:{minute:02}:00 +0000] "GET / HTTP/1.1" 200 5 "-" "x""#,
            minute % 7
        )
        .expect("a string takes everything");
    }
    std::fs::write(dir.join("access.log"), text).expect("a file");
}

#[test]
fn a_file_without_an_event_is_wrong_use_and_nothing_is_made_of_it() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("notes.md"), "# Notes\n\nNot a log.\n").expect("a file");
    let (code, said) = run(dir.path(), "--input notes.md --data-dir data");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("notes.md: none of its 3 lines is an event; line 1, column 1"), "{said}");
    assert!(!dir.path().join("data").exists(), "the right file is not refused for the wrong one");
    access_log(dir.path());
    let (code, said) = run(dir.path(), "--input access.log --data-dir data --out nowhere/panes.ndjson");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--out nowhere/panes.ndjson: there is no folder nowhere"), "{said}");
}

#[test]
fn a_damaged_log_ends_the_run_at_once_with_the_folder_to_remove_and_a_finished_run_is_said_to_be_one() {
    let dir = tempfile::tempdir().expect("a folder");
    access_log(dir.path());
    let line = "--input access.log --data-dir data";
    let (code, said) = run(dir.path(), line);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.matches(" bytes (").count(), 1, "only the ingest counts bytes: {said}");
    assert!(said.contains("\nreplaying the log\n") && said.contains("\ncomparing live and replay\n"), "{said}");
    let (code, said) = run(dir.path(), line);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("data holds the result of this very run, which is shown again"), "{said}");

    std::fs::remove_file(dir.path().join("data/result.json")).expect("it was there");
    // The replay reads the source again.
    let version = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().contains(".v2.");
    for entry in std::fs::read_dir(dir.path().join("data/log")).expect("logs").flatten().filter(version) {
        std::fs::remove_dir_all(entry.path()).expect("it was there");
    }
    let log = dir.path().join("data/log/clickstream.raw-0/00000000000000000000.log");
    let whole = std::fs::read(&log).expect("the source's log");
    for at in [0, whole.len() / 2] {
        let mut damaged = whole.clone();
        damaged[at..at + 8].copy_from_slice(b"XXXXXXXX");
        std::fs::write(&log, damaged).expect("it is ours");
        let began = std::time::Instant::now();
        let (code, said) = run(dir.path(), line);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("the log data/log/clickstream.raw-0 is damaged"), "byte {at}: {said}");
        assert!(said.contains("remove data, or name another --data-dir"), "{said}");
        assert!(said.matches("is damaged at byte").count() <= 4, "{said}");
        assert!(began.elapsed().as_secs() < 40, "it tried for as long as a client does");
    }
}
