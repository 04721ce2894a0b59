//! The folder of a run: `runs/<utc>-<name>/`. It stands alone: the report, and a plan for every violation.

#![expect(clippy::disallowed_methods, reason = "the command is above the engine: it reads the clock and writes files")]

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde::Serialize;

use crate::exit::Usage;

/// A folder that was not there before.
///
/// # Errors
/// When it cannot be made.
pub fn create(base: Option<&Path>, name: &str) -> anyhow::Result<PathBuf> {
    if let Some(chosen) = base {
        std::fs::create_dir_all(chosen).with_context(|| format!("cannot make {}", chosen.display()))?;
        return Ok(chosen.to_owned());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    std::fs::create_dir_all("runs").context("cannot make the folder runs/")?;
    for attempt in 1..1_000 {
        let suffix = if attempt == 1 { String::new() } else { format!("-{attempt}") };
        let path = PathBuf::from("runs").join(format!("{}-{name}{suffix}", stamp(now)));
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("cannot make {}", path.display())),
        }
    }
    anyhow::bail!("a thousand runs began in this second")
}

/// The folder that a gate is to write into: `create`, and it must not hold another gate's run, whose plans of violations
/// would be gone.
///
/// # Errors
/// [`Usage`] when it holds one.
pub fn create_for_gate(base: Option<&Path>) -> anyhow::Result<PathBuf> {
    let Some(dir) = base else { return create(None, "gate") };
    if ["journal.ndjson", "run.json"].iter().any(|file| dir.join(file).exists()) {
        let dir = dir.display();
        return Err(Usage(format!(
            "--out {dir}: it holds a gate's run, which is not overwritten: name another folder, remove this one, or go on \
             with it by `segno gate --resume {dir}`"
        ))
        .into());
    }
    create(Some(dir), "gate")
}

/// Writes `run.json`.
///
/// # Errors
/// When it cannot be written.
pub fn write_report(dir: &Path, report: &impl Serialize) -> anyhow::Result<()> {
    let path = dir.join("run.json");
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// `20261121-031007`, in UTC.
fn stamp(seconds: u64) -> String {
    let (year, month, day) = reports::text::civil(seconds as i64 / 86_400);
    let second = seconds % 86_400;
    format!("{year:04}{month:02}{day:02}-{:02}{:02}{:02}", second / 3_600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_a_gates_run_is_not_written_over() {
        let dir = tempfile::tempdir().expect("a folder");
        let here = dir.path().join("run");
        assert_eq!(create_for_gate(Some(&here)).expect("a new one"), here);
        assert_eq!(create_for_gate(Some(&here)).expect("an empty one"), here);
        std::fs::write(here.join("run.json"), "{}").expect("a file in it");
        let error = create_for_gate(Some(&here)).expect_err("a run's");
        assert!(error.is::<Usage>() && error.to_string().contains("segno gate --resume "), "{error}");
    }

    #[test]
    fn a_stamp_is_utc_and_sorts_by_time() {
        assert_eq!(stamp(0), "19700101-000000");
        assert_eq!(stamp(1_795_230_607), "20261121-031007");
        assert_eq!(stamp(1_709_164_800), "20240229-000000");
    }
}
