//! Files of a log, as the rest of it needs them: whole small files, replaced at once; segments, scanned batch by batch.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::LogError;
use super::codec::Malformed;
use crate::env::{Env, File, OpenMode, Point};
use crate::record::{self, BatchRef, CorruptReason, Scan};
use crate::types::Offset;

/// A segment is scanned in reads of this size, or of the batch that does not fit.
const CHUNK_BYTES: usize = 1 << 20;

pub(super) fn io_error<'a>(action: &'static str, file: &'a Path) -> impl FnOnce(io::Error) -> LogError + 'a {
    move |source| LogError::Io { action, file: file.to_owned(), source }
}

pub(super) fn damaged(file: &Path, position: u64, offset: Offset, why: Malformed) -> LogError {
    let Malformed { what, expected, found } = why;
    LogError::Damaged { file: file.to_owned(), position, offset, what, expected, found }
}

/// The content of a small file; `None` when it does not exist.
pub(super) async fn read_whole(env: &Env, path: &Path) -> Result<Option<Bytes>, LogError> {
    let file = match env.disk().open(path, OpenMode::Read).await {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("opening", path)(error)),
    };
    let len = file.len().await.map_err(io_error("measuring", path))?;
    let bytes = file.read_at(0, len as usize).await.map_err(io_error("reading", path))?;
    Ok(Some(bytes))
}

/// Replaces a small file at once: after a crash there is the old one or the new one. Durable on return. `written` is
/// passed when the new one is complete beside the old one.
pub(super) async fn replace_whole(
    env: &Env,
    dir: &Path,
    name: &str,
    content: Vec<u8>,
    written: Option<Point>,
) -> Result<(), LogError> {
    let beside: PathBuf = dir.join(format!("{name}.new"));
    let path = dir.join(name);
    let file = env.disk().open(&beside, OpenMode::Replace).await.map_err(io_error("creating", &beside))?;
    file.append(vec![content.into()]).await.map_err(io_error("writing", &beside))?;
    mutant!("replaced-file-unsynced", file.sync().await.map_err(io_error("syncing", &beside)), Ok(()))?;
    if let Some(point) = written {
        env.reach(point).await;
    }
    env.disk().rename(&beside, &path).await.map_err(io_error("renaming", &beside))?;
    env.disk().sync_dir(dir).await.map_err(io_error("syncing", dir))
}

/// Removes a file; fine when it is not there.
pub(super) async fn remove_if_there(env: &Env, path: &Path) -> Result<(), LogError> {
    match env.disk().remove(path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("removing", path)(error)),
        _ => Ok(()),
    }
}

/// Where a scan ended, and why.
pub(super) struct Scanned {
    pub position: u64,
    /// The offset that the next batch must have.
    pub next: Offset,
    /// `None`: at the end of the bytes, or because the visitor had enough.
    pub bad: Option<Malformed>,
}

/// Visits the batches of `file` from `position` to `end`, the first of which must begin at offset `next`. Stops at the
/// first that is damaged, cut short or out of order.
pub(super) async fn scan_file(
    file: &dyn File,
    path: &Path,
    mut position: u64,
    mut next: Offset,
    end: u64,
    visit: &mut (dyn FnMut(&BatchRef<'_>, u64) -> ControlFlow<()> + Send),
) -> Result<Scanned, LogError> {
    let mut want = CHUNK_BYTES;
    while position < end {
        let len = want.min((end - position) as usize);
        let bytes = file.read_at(position, len).await.map_err(io_error("reading", path))?;
        let mut at = 0;
        let bad = loop {
            match record::scan(&bytes[at..]) {
                Scan::Complete(batch) => {
                    if batch.header().base_offset != next {
                        break Some(out_of_order(next, batch.header().base_offset));
                    }
                    if visit(&batch, position + at as u64).is_break() {
                        return Ok(Scanned { position: position + at as u64, next, bad: None });
                    }
                    next = batch.header().next_offset();
                    at += batch.bytes().len();
                }
                Scan::Corrupt(reason) => break Some(corrupt(reason)),
                Scan::PartialTail | Scan::End => break None,
            }
        };
        position += at as u64;
        if bad.is_some() {
            return Ok(Scanned { position, next, bad });
        }
        if bytes.len() < len || position + ((bytes.len() - at) as u64) >= end {
            // There is no more. What remains of these bytes is the front of a batch.
            let rest = bytes.len() - at;
            let bad = (rest > 0 || position < end).then(|| cut_short(&bytes[at..]));
            return Ok(Scanned { position, next, bad });
        }
        // A batch that is longer than the chunk is read in one piece.
        want = record::claimed_size(&bytes[at..]).map_or(CHUNK_BYTES, |size| size.max(CHUNK_BYTES));
    }
    Ok(Scanned { position, next, bad: None })
}

pub(super) fn out_of_order(expected: Offset, found: Offset) -> Malformed {
    Malformed::new("base offset", expected, found)
}

pub(super) fn cut_short(front: &[u8]) -> Malformed {
    let expected = record::claimed_size(front).map_or("a batch".to_owned(), |size| format!("{size} bytes"));
    Malformed::new("batch cut short", expected, format!("{} bytes", front.len()))
}

pub(super) fn corrupt(reason: CorruptReason) -> Malformed {
    match reason {
        CorruptReason::Size { found } => Malformed::new("batch length", "a possible one", found),
        CorruptReason::Magic { found } => Malformed::new("magic", 2, found),
        CorruptReason::Checksum { expected, found } => {
            Malformed::new("checksum", format!("{expected:#010x}"), format!("{found:#010x}"))
        }
        CorruptReason::Header { field, found } => Malformed::new(field, "a possible one", found),
        CorruptReason::Compression { found } => Malformed::new("compression codec", "0 to 4", found),
    }
}
