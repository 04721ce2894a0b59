//! The gate as a process: it is interrupted, goes on, and is run in shards.

#![expect(clippy::disallowed_methods, reason = "these tests start processes and read what they leave behind")]

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use reports::{GateReport, Verdict};
use rustix::process::{Pid, Signal, kill_process};

/// `segno gate` with one seed at a time, its report as JSON, and nothing of whoever runs the tests.
fn gate(dir: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_segno"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SEGNO_")) {
        command.env_remove(name);
    }
    command.arg("gate").args(line.split_whitespace()).args(["--jobs", "1", "--no-corpus", "--json"]).current_dir(dir);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn document(output: &Output) -> GateReport {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?} {}", String::from_utf8_lossy(&output.stderr)))
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

/// Sends `signal` to a gate of some seeds when its second one has ended; returns what it left.
fn interrupted(dir: &Path, signal: Signal) -> Output {
    let child: Child = gate(dir, "--pipeline clickstream-minutes --seeds 3..12 --out run").spawn().expect("it starts");
    let journal = dir.join("run").join("journal.ndjson");
    for _ in 0..6_000 {
        if lines(&journal) >= 3 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id")).expect("a process id");
    kill_process(pid, signal).expect("it is there");
    child.wait_with_output().expect("it ends")
}

#[test]
fn ctrl_c_leaves_the_partial_report_and_exits_130_and_the_campaign_goes_on_from_there() {
    let dir = tempfile::tempdir().expect("a folder");
    let stopped = interrupted(dir.path(), Signal::INT);
    assert_eq!(stopped.status.code(), Some(130), "{}", String::from_utf8_lossy(&stopped.stderr));
    let report = document(&stopped);
    assert!(report.interrupted && (2..9).contains(&report.seeds_run), "{} seeds", report.seeds_run);
    let written = std::fs::read_to_string(dir.path().join("run").join("run.json")).expect("the report is there");
    assert_eq!(serde_json::from_str::<GateReport>(&written).expect("it is a report"), report);
    assert!(
        !stopped.stderr.contains(&b'\x1b') && !stopped.stderr.contains(&b'\r'),
        "no terminal, no control characters"
    );

    let went_on = gate(dir.path(), "--resume run").output().expect("it runs");
    let report = document(&went_on);
    assert_eq!(went_on.status.code(), Some(0), "{report:?}");
    assert_eq!((report.seeds_run, report.verdict, report.interrupted), (9, Verdict::Pass, false));
    assert_eq!(lines(&dir.path().join("run").join("journal.ndjson")), 10);

    let refused = gate(dir.path(), "--resume run --count 5").output().expect("it runs");
    assert_eq!(refused.status.code(), Some(2));
    let refused = gate(dir.path(), "--resume elsewhere").output().expect("it runs");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("elsewhere/journal.ndjson") && said.contains("is it the folder of a gate's run?"), "{said}");
}

#[test]
fn a_termination_is_answered_as_ctrl_c_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let stopped = interrupted(dir.path(), Signal::TERM);
    assert_eq!(stopped.status.code(), Some(130), "{}", String::from_utf8_lossy(&stopped.stderr));
    assert!(document(&stopped).interrupted);
}

#[test]
fn shards_in_folders_of_their_own_are_merged_to_one_verdict() {
    let dir = tempfile::tempdir().expect("a folder");
    for shard in 1..=2 {
        let line = format!("--pipeline clickstream-minutes --seeds 0..4 --shard {shard}/2 --out shard-{shard}");
        let output = gate(dir.path(), &line).output().expect("it runs");
        assert_eq!(document(&output).seeds_run, 2);
        assert_eq!(output.status.code(), Some(0));
    }
    let merge = |line: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_segno"));
        command.args(["gate", "--json"]).args(line.split_whitespace()).current_dir(dir.path());
        command.output().expect("it runs")
    };
    let output = merge("--merge shard-1 shard-2 --out whole");
    let report = document(&output);
    assert_eq!(output.status.code(), Some(0), "{report:?}");
    assert_eq!((report.seeds_run, report.seeds_asked, report.shard), (4, 4, None));
    assert!(dir.path().join("whole").join("run.json").is_file());

    let output = merge("--merge shard-2");
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(document(&output).reasons, ["these shards are missing: 1/2"]);
    let output = merge("--merge shard-2 shard-2");
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}
