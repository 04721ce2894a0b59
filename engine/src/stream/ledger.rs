//! One cut: what a commit says of a task, and whether a restore agrees with it.
//!
//! Invariant: what a restore begins with, where the changelog has lost its beginning, is a snapshot.
//! Invariant: after a restore, offsets, watermarks, state and timers are those of one commit.

use crate::record::Record;
use crate::types::{Offset, Timestamp, TopicPartition};

use super::aggregate::CodecError;
use super::changelog::{COMMIT_KEY, CommitRecord, TAG_CELLS, TAG_COMMIT, TAG_ID, Tally};
use super::frame::Cursor;
use super::outbox::{Outbox, Port};
use super::start::StartTime;
use super::task::{Started, TaskFault};

/// The offsets and the commit records of a task.
pub(super) struct Ledger {
    pub inputs: Vec<TopicPartition>,
    pub changelog: Port,
    /// The time that the task's version starts at.
    start: Option<StartTime>,
    next: Vec<Offset>,
    /// While restoring: the last commit record, and the records seen since.
    commit: Option<CommitRecord>,
    uncommitted: u64,
    /// While restoring: the changelog begins here, above 0, and no snapshot has come yet.
    lost_below: Option<Offset>,
    tally: Tally,
    /// Keys and values of the changes since the last commit, read or written.
    change_bytes: u64,
    /// Records written since the last commit: elsewhere, and in the changelog.
    pub outputs: u64,
    changes: u64,
    pending: bool,
    value: Vec<u8>,
}

/// One entry of the changelog that is not a commit record.
pub(super) enum Entry<'a> {
    Cells { key: &'a [u8], value: Option<&'a [u8]> },
    Id { id: u128, event_time: Option<i64> },
}

impl Ledger {
    pub fn new(inputs: Vec<TopicPartition>, changelog: Port, start: Option<StartTime>) -> Ledger {
        Ledger {
            next: vec![Offset::ZERO; inputs.len()],
            inputs,
            changelog,
            start,
            commit: None,
            uncommitted: 0,
            lost_below: None,
            tally: Tally::default(),
            change_bytes: 0,
            outputs: 0,
            changes: 0,
            pending: false,
            value: Vec::new(),
        }
    }

    /// The changelog that is about to be read begins at `start`.
    pub fn restore_from(&mut self, start: Offset) {
        self.lost_below = (start > Offset::ZERO).then_some(start);
    }

    /// Reads one record of the changelog; a commit record is kept here.
    pub fn read<'a>(&mut self, record: &Record<'a>) -> Result<Option<Entry<'a>>, TaskFault> {
        let entry = self.parse(record).map_err(|error| self.bad_changelog(record.offset, error))?;
        if entry.is_some() {
            self.uncommitted += 1;
            self.change_bytes += change_bytes(record.key, record.value);
            return Ok(entry);
        }
        let snapshot = self.commit.as_ref().is_some_and(|commit| commit.snapshot);
        if snapshot {
            self.lost_below = None;
        }
        self.check_whole()?;
        self.tally.add(snapshot, std::mem::take(&mut self.change_bytes));
        self.uncommitted = 0;
        Ok(None)
    }

    /// Whether nothing is missing before what was read.
    fn check_whole(&self) -> Result<(), TaskFault> {
        match self.lost_below {
            None => Ok(()),
            Some(start) => Err(TaskFault::NoSnapshot { changelog: self.changelog.partition.clone(), start }),
        }
    }

    pub fn bad_changelog(&self, offset: Offset, error: CodecError) -> TaskFault {
        TaskFault::BadChangelog { changelog: self.changelog.partition.clone(), offset, error }
    }

    fn parse<'a>(&mut self, record: &Record<'a>) -> Result<Option<Entry<'a>>, CodecError> {
        let (tag, rest) = record.key.and_then(<[u8]>::split_first).ok_or_else(|| CodecError("no tag".to_owned()))?;
        match *tag {
            TAG_COMMIT => {
                let value = record.value.ok_or_else(|| CodecError("a commit record without a value".to_owned()))?;
                self.commit = Some(CommitRecord::decode(value)?);
                Ok(None)
            }
            TAG_CELLS => Ok(Some(Entry::Cells { key: rest, value: record.value })),
            TAG_ID => {
                let mut cursor = Cursor(rest);
                let id = cursor.u128()?;
                cursor.end()?;
                let event_time = record.value.map(|value| Cursor(value).i64()).transpose()?;
                Ok(Some(Entry::Id { id, event_time }))
            }
            other => Err(CodecError(format!("tag {other}"))),
        }
    }

    /// Compares the last commit record with the group, and takes its offsets; returns it if there is one.
    pub fn restored(
        &mut self,
        committed: &[Option<Offset>],
        channels: usize,
    ) -> Result<Option<CommitRecord>, TaskFault> {
        self.check_whole()?;
        let changelog = || self.changelog.partition.clone();
        if self.uncommitted > 0 {
            return Err(TaskFault::TornChangelog { changelog: changelog(), changes: self.uncommitted });
        }
        let group: Vec<Option<i64>> = committed.iter().map(|offset| offset.map(|offset| offset.0)).collect();
        let agree = match &self.commit {
            None => group.iter().all(Option::is_none),
            Some(commit) => commit.offsets.iter().copied().map(Some).eq(group.iter().copied()),
        };
        if !agree || group.len() != self.inputs.len() {
            let commit = self.commit.take().map(|commit| commit.offsets);
            return Err(TaskFault::OffsetsDisagree { changelog: changelog(), commit, group });
        }
        let Some(commit) = self.commit.take() else { return Ok(None) };
        let (committed, asked) = (commit.start.map(Timestamp), self.start.map(StartTime::time));
        if committed != asked {
            return Err(TaskFault::StartDiffers {
                changelog: changelog(),
                committed: Started(committed),
                asked: Started(asked),
            });
        }
        if commit.watermarks.len() != channels {
            let error =
                CodecError(format!("{} channels in the commit record, {channels} here", commit.watermarks.len()));
            return Err(self.bad_changelog(Offset(-1), error));
        }
        self.next = commit.offsets.iter().copied().map(Offset).collect();
        Ok(Some(commit))
    }

    /// Checks one digest of a restored commit.
    pub fn check_digest(&self, what: &'static str, expected: u64, found: u64) -> Result<(), TaskFault> {
        if expected == found {
            return Ok(());
        }
        Err(TaskFault::DigestDiffers { changelog: self.changelog.partition.clone(), what, expected, found })
    }

    pub fn offsets(&self) -> Vec<Offset> {
        self.next.clone()
    }

    /// The next record of an input is this one.
    #[inline]
    pub fn take(&mut self, input: usize, offset: Offset) -> Result<(), TaskFault> {
        let next = &mut self.next[input];
        if offset < *next {
            return Err(TaskFault::WentBack { partition: self.inputs[input].clone(), offset, expected: *next });
        }
        *next = offset.plus(1);
        self.pending = true;
        Ok(())
    }

    pub fn advance_to(&mut self, input: usize, next: Offset) {
        self.next[input] = self.next[input].max(next);
    }

    pub fn pending(&self) -> bool {
        self.pending
    }

    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Writes a change.
    pub fn change(&mut self, key: &[u8], value: Option<&[u8]>, out: &mut Outbox) {
        out.push(&self.changelog, Timestamp(0), Some(key), value, &[]);
        self.changes += 1;
        self.change_bytes += change_bytes(Some(key), value);
    }

    /// Writes the commit record, the last record of the transaction's changelog, and returns the offsets it names.
    /// `digests`: timers, state.
    pub fn commit(
        &mut self,
        snapshot: bool,
        watermarks: &[i64],
        (timers, state): (u64, u64),
        out: &mut Outbox,
    ) -> Vec<Offset> {
        self.tally.add(snapshot, std::mem::take(&mut self.change_bytes));
        let record = CommitRecord {
            snapshot,
            start: self.start.map(|start| start.time().0),
            offsets: self.next.iter().map(|next| mutant!("offsets-one-too-far", next.0, next.0 + 1)).collect(),
            watermarks: watermarks.to_vec(),
            timers,
            outputs: std::mem::take(&mut self.outputs),
            changes: std::mem::take(&mut self.changes),
            state,
        };
        self.value.clear();
        record.encode(&mut self.value);
        out.push(&self.changelog, Timestamp(0), Some(&COMMIT_KEY), Some(&self.value), &[]);
        self.pending = false;
        mutant!("offsets-one-too-far", self.offsets(), self.next.iter().map(|next| next.plus(1)).collect())
    }
}

fn change_bytes(key: Option<&[u8]>, value: Option<&[u8]>) -> u64 {
    (key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len)) as u64
}
