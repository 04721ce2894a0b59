//! Emptying the page cache of a log, so that a replay is cold, or filling it, so that it is warm; and making sure.
//!
//! In: directories. Out: how much of their files is in memory. Pages that are not synced cannot be dropped, so
//! every file is synced first. Verified with util-linux's `fincore`, which maps the files and asks `mincore`: a look that
//! reads nothing, where a probing read would start read-ahead and warm what it looks at. Where the kernel keeps pages, or
//! there is no `fincore`, the caller is told that there is no cold run to be had.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{Advice, fadvise};

/// Drops the pages of every file below `dir`; `true` when they are verified to be gone.
///
/// # Errors
/// When a file cannot be read or synced.
pub fn empty(dir: &Path) -> io::Result<bool> {
    let files = files(dir)?;
    for path in &files {
        let file = File::open(path)?;
        file.sync_all()?;
        fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(resident_bytes(&files) == Some(0))
}

/// Reads every file below `dirs`; answers which share of their bytes is in memory then. `None` when that cannot be told.
///
/// # Errors
/// When a file cannot be read.
pub fn fill(dirs: &[PathBuf]) -> io::Result<Option<f64>> {
    let mut files = Vec::new();
    for dir in dirs {
        files.extend(self::files(dir)?);
    }
    let mut bytes = 0;
    for path in &files {
        bytes += io::copy(&mut File::open(path)?, &mut io::sink())?;
    }
    // Whole pages are counted, so of small files more may be there than they hold.
    Ok(resident_bytes(&files).map(|resident| (resident as f64 / bytes.max(1) as f64).min(1.0)))
}

/// The files below `dir`, sorted.
fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() { left.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    found.sort();
    Ok(found)
}

/// Bytes of the files that are in memory; `None` when that cannot be told.
fn resident_bytes(files: &[PathBuf]) -> Option<u64> {
    let mut resident = 0;
    // Few enough names for one command line.
    for some in files.chunks(500) {
        let output = Command::new("fincore")
            .args(["--bytes", "--noheadings", "--raw", "--output", "RES"])
            .args(some)
            .output()
            .ok()?;
        if !output.status.success() {
            return None;
        }
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            resident += line.trim().parse::<u64>().ok()?;
        }
    }
    Some(resident)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_were_just_written_are_seen_in_memory() {
        let dir = std::env::temp_dir().join(format!("segno-cache-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("file");
        std::fs::write(&path, vec![7; 64 << 10]).unwrap();
        // Where there is no `fincore` nothing is claimed.
        if let Some(resident) = resident_bytes(&[path]) {
            assert!(resident >= 64 << 10, "{resident} bytes of 64 KiB are in memory right after they were written");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
