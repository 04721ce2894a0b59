//! The writer: one loop that writes what is queued, syncs it, and only then lets it be seen.
//!
//! Group commit without a timer: while a sync is in flight appends gather, and the next round takes them all.
//!
//! A write or a sync that fails leaves the file's tail unknown, so it is fatal: the log is poisoned, and nothing that
//! was not acknowledged ever will be.

use super::files::{io_error, replace_whole};
use super::recovery_point::RECOVERY_POINT;
use super::segment::{Segment, index_name, segment_name};
use super::state::{Pending, State, Status, Work};
use super::{Inner, LogError};
use crate::env::{OpenMode, Point};
use crate::types::Offset;

impl Inner {
    /// See [`super::Log::run`].
    pub(super) async fn run(&self) -> Result<(), LogError> {
        let Some(mut turn) = Turn::take(self).await? else { return Ok(()) };
        let ended = self.write_until_closed(&mut turn).await;
        turn.end(if ended.is_ok() { Status::Closed } else { Status::Poisoned });
        ended
    }

    async fn write_until_closed(&self, turn: &mut Turn<'_>) -> Result<(), LogError> {
        loop {
            let queued = self.work.notified();
            let work = self.state().next_work();
            match work {
                Work::Write(group, size) => {
                    mutant!("yields-more-often", {}, tokio::task::yield_now().await);
                    turn.writing = true;
                    self.write(&group, size).await?;
                    mutant!("high-watermark-before-sync", self.update(|state| state.wrote(&group)), ());
                    turn.writing = false;
                    if self.state().recovery_point_due() {
                        self.move_recovery_point().await?;
                    }
                }
                Work::Roll(base) => self.roll(base).await?,
                Work::Finish => return self.move_recovery_point().await,
                Work::Wait => queued.await,
            }
        }
    }

    async fn write(&self, group: &[Pending], size: u64) -> Result<(), LogError> {
        let (base, file) = {
            let state = self.state();
            let active = state.active();
            (active.base, active.file.clone().expect("the active segment's file is open"))
        };
        let path = self.dir.join(segment_name(base));
        self.env.reach(Point::LogBeforeWrite).await;
        let batches = group.iter().map(|pending| pending.bytes.clone()).collect();
        let position = file.append(batches).await.map_err(io_error("writing", &path))?;
        if position != size {
            // Somebody else writes to our file.
            return Err(LogError::Damaged {
                file: path,
                position,
                offset: group[0].header.base_offset,
                what: "size of the active segment",
                expected: size.to_string(),
                found: position.to_string(),
            });
        }
        mutant!("high-watermark-before-sync", {}, self.update(|state| state.wrote(group)));
        self.env.reach(Point::LogWritten).await;
        mutant!("sync-left-out", file.sync().await.map_err(io_error("syncing", &path)), Ok(()))?;
        self.env.reach(Point::LogSynced).await;
        Ok(())
    }

    /// Starts the segment at `base`; the one before it is synced.
    async fn roll(&self, base: Offset) -> Result<(), LogError> {
        self.env.reach(Point::LogBeforeRoll).await;
        let path = self.dir.join(segment_name(base));
        // Replace: an earlier attempt may have come as far as to create it.
        let file = self.env.disk().open(&path, OpenMode::Replace).await.map_err(io_error("creating", &path))?;
        self.env.disk().sync_dir(&self.dir).await.map_err(io_error("syncing", &self.dir))?;
        let (sealed, index) = {
            let mut state = self.state();
            let sealed = (state.active().base, state.active().encode_index());
            state.rolled(Segment::new(base, Some(file)));
            sealed
        };
        self.env.reach(Point::LogRolled).await;
        if let Some(index) = index {
            // A cache: not synced, and built anew when it is missing or wrong.
            let path = self.dir.join(index_name(sealed));
            let file = self.env.disk().open(&path, OpenMode::Replace).await.map_err(io_error("creating", &path))?;
            file.append(vec![index.into()]).await.map_err(io_error("writing", &path))?;
            self.env.reach(Point::LogIndexWritten).await;
        }
        self.move_recovery_point().await
    }

    /// Moves the recovery point to the high watermark.
    async fn move_recovery_point(&self) -> Result<(), LogError> {
        let point = self.state().make_recovery_point();
        let written = Some(Point::LogRecoveryPointWritten);
        replace_whole(&self.env, &self.dir, RECOVERY_POINT, point.encode(), written).await?;
        self.state().recovery_point_moved(&point);
        Ok(())
    }

    /// Changes the state and tells those who wait for it.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state());
        self.changed.notify_waiters();
        result
    }
}

/// The right to write. Dropped in the middle of a write, it poisons the log: the file's tail is then unknown.
struct Turn<'a> {
    inner: &'a Inner,
    writing: bool,
    ended: bool,
}

impl<'a> Turn<'a> {
    /// Waits until no other writer is at work; `None` when the log is closed.
    async fn take(inner: &'a Inner) -> Result<Option<Turn<'a>>, LogError> {
        loop {
            let changed = inner.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut state = inner.state();
                match state.status {
                    Status::Closed => return Ok(None),
                    Status::Poisoned => return Err(LogError::Poisoned),
                    Status::Open | Status::Closing if !state.writer => {
                        state.writer = true;
                        return Ok(Some(Turn { inner, writing: false, ended: false }));
                    }
                    Status::Open | Status::Closing => {}
                }
            }
            changed.await;
        }
    }

    fn end(&mut self, status: Status) {
        self.ended = true;
        self.inner.update(|state| {
            state.writer = false;
            state.status = status;
            state.generation += 1;
        });
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let writing = self.writing;
        self.inner.update(|state| {
            state.writer = false;
            if writing {
                state.status = Status::Poisoned;
                state.generation += 1;
            }
        });
    }
}
