//! One cut: what a commit says of a task, and whether a restore agrees with it.
//!
//! Invariant: after a restore, offsets, watermarks, state and timers are those of one commit.

use crate::record::Record;
use crate::types::{Offset, Timestamp, TopicPartition};

use super::aggregate::CodecError;
use super::changelog::{COMMIT_KEY, CommitRecord, TAG_CELLS, TAG_COMMIT, TAG_ID};
use super::frame::Cursor;
use super::outbox::{Outbox, Port};
use super::task::TaskFault;

/// The offsets and the commit records of a task.
pub(super) struct Ledger {
    pub inputs: Vec<TopicPartition>,
    pub changelog: Port,
    next: Vec<Offset>,
    /// While restoring: the last commit record, and the records seen since.
    commit: Option<CommitRecord>,
    uncommitted: u64,
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
    pub fn new(inputs: Vec<TopicPartition>, changelog: Port) -> Ledger {
        Ledger {
            next: vec![Offset::ZERO; inputs.len()],
            inputs,
            changelog,
            commit: None,
            uncommitted: 0,
            outputs: 0,
            changes: 0,
            pending: false,
            value: Vec::new(),
        }
    }

    /// Reads one record of the changelog; a commit record is kept here.
    pub fn read<'a>(&mut self, record: &Record<'a>) -> Result<Option<Entry<'a>>, TaskFault> {
        self.parse(record).map_err(|error| self.bad_changelog(record.offset, error))
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
                self.uncommitted = 0;
                Ok(None)
            }
            TAG_CELLS => {
                self.uncommitted += 1;
                Ok(Some(Entry::Cells { key: rest, value: record.value }))
            }
            TAG_ID => {
                self.uncommitted += 1;
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

    /// Writes a change.
    pub fn change(&mut self, key: &[u8], value: Option<&[u8]>, out: &mut Outbox) {
        out.push(&self.changelog, Timestamp(0), Some(key), value, &[]);
        self.changes += 1;
    }

    /// Writes the commit record, the last record of the transaction's changelog, and returns the offsets it names.
    pub fn commit(&mut self, watermarks: &[i64], timers: u64, state: u64, out: &mut Outbox) -> Vec<Offset> {
        let record = CommitRecord {
            offsets: self.next.iter().map(|next| next.0).collect(),
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
        self.offsets()
    }
}
