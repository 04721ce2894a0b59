//! Emptying the page cache of a log, so that a replay is cold; and making sure.
//!
//! In: a directory. Out: whether none of its files' pages is in memory. Pages that are not synced cannot be dropped, so
//! every file is synced first. Verified page by page with reads that may not wait (`RWF_NOWAIT`): where the kernel kept pages (some file
//! systems do) the caller is told that there is no cold run to be had.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};

/// Drops the pages of every file below `dir`; `true` when they are verified to be gone.
///
/// # Errors
/// When a file cannot be read or synced.
pub fn empty(dir: &Path) -> io::Result<bool> {
    let mut gone = true;
    for path in files(dir)? {
        let file = File::open(&path)?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        if bytes == 0 {
            continue;
        }
        fadvise(&file, 0, None, Advice::DontNeed)?;
        gone &= resident_pages(&file, bytes)? == 0;
    }
    Ok(gone)
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

/// How many of the file's pages are in memory, asked by reading without waiting for the disk (`RWF_NOWAIT`): a page that
/// is not there answers `EAGAIN`. One probe a page; a probe starts no read-ahead.
fn resident_pages(file: &File, bytes: u64) -> io::Result<u64> {
    const PAGE_BYTES: u64 = 4096;
    let mut resident = 0;
    let mut byte = [0u8; 1];
    for page in 0..bytes.div_ceil(PAGE_BYTES) {
        let mut buffers = [io::IoSliceMut::new(&mut byte)];
        match rustix::io::preadv2(file, &mut buffers, page * PAGE_BYTES, rustix::io::ReadWriteFlags::NOWAIT) {
            Ok(_) => resident += 1,
            Err(rustix::io::Errno::AGAIN) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(resident)
}
