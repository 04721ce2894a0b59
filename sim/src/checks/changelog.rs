//! A task's changelog as the checks read it: what each committed transaction said of itself, and what it left behind.
//!
//! Re-implemented from the page at the top of `engine/src/stream/changelog.rs` (versions 1 to 3 of its bytes), and for a group's
//! offsets from `engine/src/broker/offsets.rs`; no code is shared.
//!
//! In: one changelog partition. Out: a [`Cut`] per committed transaction, in order, with the digests recomputed from the
//! state that its changes and all before it make; for a snapshot also from its own records alone, since that is all that a
//! restore may find.

use std::collections::BTreeMap;

use bytes::Bytes;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::log::{Entry, PartitionLog, Writer};
use crate::evidence::WindowRule;

/// Where groups' offsets are.
pub const GROUP_OFFSETS: &str = "__consumer_offsets";

const VERSIONS: [u16; 3] = [1, 2, 3];
const TAG_COMMIT: u8 = 0;
const TAG_CELLS: u8 = 1;
const TAG_ID: u8 = 2;

/// What a commit record says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitRecord {
    /// The transaction claims to have written the whole state. (Version 1 cannot say so.)
    pub snapshot: bool,
    /// The time that the task's version starts at, if it is not offset 0.
    pub start: Option<i64>,
    /// The next offset of each input.
    pub offsets: Vec<i64>,
    /// The watermark of each channel.
    pub watermarks: Vec<i64>,
    pub timers: u64,
    pub outputs: u64,
    pub changes: u64,
    pub state: u64,
}

/// One committed transaction of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    pub writer: Writer,
    /// Where the commit record lies in the changelog.
    pub offset: i64,
    pub said: CommitRecord,
    /// Changes that the transaction wrote.
    pub changes: u64,
    /// Where the transaction begins in the changelog.
    pub first: i64,
    /// The digest of the state after it.
    pub state: u64,
    /// The digest of what the transaction wrote, without all that came before; of snapshots.
    pub alone: Option<u64>,
    /// The digest of the timers after it; `None` where the windows' lengths are not known.
    pub timers: Option<u64>,
}

/// Everything in one changelog partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changelog {
    pub cuts: Vec<Cut>,
    /// What no changelog should hold, in sentences.
    pub problems: Vec<String>,
}

impl Changelog {
    pub fn read(log: &PartitionLog, window: Option<WindowRule>) -> Changelog {
        let mut changelog = Changelog::default();
        let mut state: BTreeMap<Bytes, Bytes> = BTreeMap::new();
        let mut pending: Option<Pending> = None;
        for entry in log.committed() {
            let Some(writer) = entry.transaction.map(|index| log.transactions[index].writer) else {
                changelog.problem(entry, "is in no transaction");
                continue;
            };
            if let Some(before) = pending.take_if(|before| before.writer != writer) {
                changelog.problems.push(before.dangling());
            }
            let open = pending.get_or_insert_with(|| Pending::new(writer, entry.offset));
            let key = entry.key.clone().unwrap_or_default();
            match key.first().copied() {
                Some(TAG_COMMIT) => {
                    let said = match entry.value.as_deref().map(CommitRecord::decode) {
                        Some(Ok(said)) => said,
                        Some(Err(why)) => {
                            changelog.problem(entry, &why);
                            continue;
                        }
                        None => {
                            changelog.problem(entry, "is a commit record without a value");
                            continue;
                        }
                    };
                    if changelog.cuts.last().is_some_and(|cut| cut.writer == writer) {
                        changelog.problem(entry, "is a second commit record of one transaction");
                    }
                    let timers = window.and_then(|window| timers(&state, &said.watermarks, window).ok());
                    let alone = said.snapshot.then(|| digest(&open.live));
                    let (first, changes) = (open.first, open.changes);
                    pending = None;
                    let state = digest(&state);
                    let offset = entry.offset;
                    changelog.cuts.push(Cut { writer, offset, said, changes, first, state, alone, timers });
                }
                Some(TAG_CELLS | TAG_ID) => {
                    open.changes += 1;
                    for state in [&mut state, &mut open.live] {
                        match entry.value.clone() {
                            Some(value) => state.insert(key.clone(), value),
                            None => state.remove(&key),
                        };
                    }
                }
                Some(other) => changelog.problem(entry, &format!("has the tag {other}, which does not exist")),
                None => changelog.problem(entry, "has no key"),
            }
        }
        changelog.problems.extend(pending.map(|open| open.dangling()));
        changelog
    }

    fn problem(&mut self, entry: &Entry, what: &str) {
        self.problems.push(format!("the record at offset {} {what}", entry.offset));
    }
}

/// A transaction whose commit record is still to come.
struct Pending {
    writer: Writer,
    first: i64,
    changes: u64,
    live: BTreeMap<Bytes, Bytes>,
}

impl Pending {
    fn new(writer: Writer, first: i64) -> Pending {
        Pending { writer, first, changes: 0, live: BTreeMap::new() }
    }

    fn dangling(&self) -> String {
        format!("the transaction of {} has {} changes after its commit record", self.writer, self.changes)
    }
}

impl CommitRecord {
    fn decode(mut bytes: &[u8]) -> Result<CommitRecord, String> {
        let bytes = &mut bytes;
        let version = u16::from_be_bytes(take(bytes)?);
        if !VERSIONS.contains(&version) {
            return Err(format!("is a commit record of version {version}, and {VERSIONS:?} are known here"));
        }
        let snapshot = match if version >= 2 { u8::from_be_bytes(take(bytes)?) } else { 0 } {
            0 => false,
            1 => true,
            other => return Err(format!("is a commit record of kind {other}")),
        };
        let start = if version >= 3 { Some(i64::from_be_bytes(take(bytes)?)) } else { None };
        let list = |bytes: &mut &[u8]| -> Result<Vec<i64>, String> {
            let length = u32::from_be_bytes(take(bytes)?);
            (0..length).map(|_| Ok(i64::from_be_bytes(take(bytes)?))).collect()
        };
        let (offsets, watermarks) = (list(bytes)?, list(bytes)?);
        let mut number = || take(bytes).map(u64::from_be_bytes);
        let record = CommitRecord {
            snapshot,
            start,
            offsets,
            watermarks,
            timers: number()?,
            outputs: number()?,
            changes: number()?,
            state: number()?,
        };
        if bytes.is_empty() {
            Ok(record)
        } else {
            Err(format!("is a commit record with {} bytes too many", bytes.len()))
        }
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], String> {
    let (head, rest) = bytes.split_first_chunk::<N>().ok_or("is a commit record that ends too early")?;
    *bytes = rest;
    Ok(*head)
}

/// The wrapping sum over live keys: it can be kept up to date one key at a time, in any order.
fn digest(state: &BTreeMap<Bytes, Bytes>) -> u64 {
    let shares = state.iter().map(|(key, value)| xxh3_64_with_seed(key, xxh3_64(value)));
    shares.fold(0, u64::wrapping_add)
}

/// The wrapping sum over the cells of every key; a cell is due at its end, or when that has passed, at its purge.
fn timers(state: &BTreeMap<Bytes, Bytes>, watermarks: &[i64], window: WindowRule) -> Result<u64, String> {
    let minimum = watermarks.iter().copied().min().unwrap_or(i64::MIN);
    let mut sum = 0u64;
    for (key, value) in state.iter().filter(|(key, _)| key.first() == Some(&TAG_CELLS)) {
        let mut rest: &[u8] = value;
        let cells = u32::from_be_bytes(take(&mut rest)?);
        for _ in 0..cells {
            let _first = i64::from_be_bytes(take(&mut rest)?);
            let last = i64::from_be_bytes(take(&mut rest)?);
            let length = u32::from_be_bytes(take(&mut rest)?) as usize;
            rest = rest.get(length..).ok_or("is a cell that ends too early")?;
            let end = last + window.gap.0 + 1;
            let purge = last + 2 * window.gap.0 + 1 + window.lateness.0;
            let due = if end > minimum { end } else { purge };
            sum = sum.wrapping_add(xxh3_64_with_seed(&key[1..], due.cast_unsigned()));
        }
    }
    Ok(sum)
}

/// A committed offset in `__consumer_offsets`, in Kafka's own bytes: group, topic, partition, offset.
///
/// ```text
/// key    i16 version = 1, string group, string topic, i32 partition
/// value  i16 version = 3, i64 offset, i32 leader epoch, string metadata, i64 commit time
/// ```
pub fn group_offset(entry: &Entry) -> Option<(&str, &str, i32, i64)> {
    let mut key = entry.key.as_deref()?;
    let mut value = entry.value.as_deref()?;
    if i16::from_be_bytes(take(&mut key).ok()?) != 1 || i16::from_be_bytes(take(&mut value).ok()?) != 3 {
        return None;
    }
    let group = text(&mut key)?;
    let topic = text(&mut key)?;
    let partition = i32::from_be_bytes(take(&mut key).ok()?);
    let offset = i64::from_be_bytes(take(&mut value).ok()?);
    Some((group, topic, partition, offset))
}

fn text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let length = usize::try_from(i16::from_be_bytes(take(bytes).ok()?)).ok()?;
    let (head, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    std::str::from_utf8(head).ok()
}
