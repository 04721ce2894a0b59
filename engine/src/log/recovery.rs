//! Opening a log: what was durable is found again, what an unlucky stop left behind is cut off.
//!
//! Below the recovery point nothing is scanned (unless asked): segments must be there with their sizes, and the last
//! stretch before it must be whole. From it on every batch is checked: bounds, checksum, and that its offset continues
//! the one before, which the checksum does not cover. The first bad batch ends the log, if it lies in the last segment;
//! an earlier segment was synced whole before its successor was created, so there it is damage, and refused.
//!
//! At the end the last segment and the directory are synced: after a kill they may hold what was written and never
//! synced, and it is about to become visible.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::codec::Malformed;
use super::files::{Scanned, damaged, io_error, read_whole, remove_if_there, scan_file};
use super::recovery_point::{LOG_START, LogStart, RECOVERY_POINT, RecoveryPoint};
use super::segment::{Segment, index_name, segment_base, segment_name};
use super::state::State;
use super::{LogConfig, LogError};
use crate::env::{Env, File, OpenMode, Point};
use crate::record::BatchRef;
use crate::types::{Offset, TopicPartition};

struct Recovery<'a> {
    env: &'a Env,
    dir: &'a Path,
    partition: &'a TopicPartition,
    config: &'a LogConfig,
}

/// Opens the log in `dir`, which is created when there is none.
pub(super) async fn recover(
    env: &Env,
    dir: &Path,
    partition: &TopicPartition,
    config: &LogConfig,
) -> Result<State, LogError> {
    env.disk().create_dir_all(dir).await.map_err(io_error("creating", dir))?;
    Recovery { env, dir, partition, config }.run().await
}

impl Recovery<'_> {
    async fn run(&self) -> Result<State, LogError> {
        let log_start = self.read_log_start().await?;
        let point = self.read_recovery_point().await?;
        let names = self.env.disk().list(self.dir).await.map_err(io_error("listing", self.dir))?;
        let mut found: Vec<Offset> = names.iter().filter_map(|name| segment_base(name)).collect();
        found.sort();

        let mut state = match point {
            Some(point) => self.below_the_point(point, log_start, &mut found).await?,
            None if found.is_empty() && log_start.is_none() => return self.create().await,
            None => {
                let first = found.first().copied().unwrap_or(Offset(i64::MAX));
                if let Some(start) = log_start
                    && first > start.offset
                {
                    return Err(self.missing(start.offset));
                }
                State::new(self.config.clone(), Segment::new(first, None))
            }
        };
        self.above_the_point(&mut state, &found).await?;
        if let Some(start) = log_start {
            if start.offset > state.last_stable() {
                let why = Malformed::new("log start", format!("at most {}", state.last_stable()), start.offset);
                return Err(damaged(&self.dir.join(LOG_START), 0, start.offset, why));
            }
            state.start_recovered(start);
        }
        Ok(state)
    }

    async fn read_log_start(&self) -> Result<Option<LogStart>, LogError> {
        let path = self.dir.join(LOG_START);
        let Some(bytes) = read_whole(self.env, &path).await? else { return Ok(None) };
        LogStart::decode(&bytes).map(Some).map_err(|why| damaged(&path, 0, Offset::ZERO, why))
    }

    async fn read_recovery_point(&self) -> Result<Option<RecoveryPoint>, LogError> {
        let path = self.dir.join(RECOVERY_POINT);
        let Some(bytes) = read_whole(self.env, &path).await? else { return Ok(None) };
        RecoveryPoint::decode(&bytes).map(Some).map_err(|why| damaged(&path, 0, Offset::ZERO, why))
    }

    fn path(&self, base: Offset) -> PathBuf {
        self.dir.join(segment_name(base))
    }

    fn missing(&self, base: Offset) -> LogError {
        let why = Malformed::new("segment", format!("a file with offset {base}"), "none");
        damaged(&self.path(base), 0, base, why)
    }

    /// A new log.
    async fn create(&self) -> Result<State, LogError> {
        let path = self.path(Offset::ZERO);
        let file = self.env.disk().open(&path, OpenMode::Replace).await.map_err(io_error("creating", &path))?;
        self.env.disk().sync_dir(self.dir).await.map_err(io_error("syncing", self.dir))?;
        Ok(State::new(self.config.clone(), Segment::new(Offset::ZERO, Some(file))))
    }

    /// Takes over what the recovery point says, after a look at whether it can be true. What is left in `found` is to be
    /// scanned.
    async fn below_the_point(
        &self,
        point: RecoveryPoint,
        log_start: Option<LogStart>,
        found: &mut Vec<Offset>,
    ) -> Result<State, LogError> {
        let mut state = State::at_recovery_point(self.config.clone(), point);
        let start = log_start.map_or(state.start(), |start| start.offset);
        state.drop_segments_below(start);

        let first = state.segments()[0].base;
        if found.iter().any(|&base| base < first) {
            // After a kill the start that was found may not be durable: a power cut must not bring the old one back
            // when what it speaks of is gone.
            self.sync_names().await?;
        }
        for &base in found.iter().filter(|&&base| base < first) {
            // Deleted, and the crash came between the move of the start and the removal.
            remove_if_there(self.env, &self.dir.join(index_name(base))).await?;
            remove_if_there(self.env, &self.path(base)).await?;
        }
        found.retain(|&base| base >= first);
        let active = state.active().base;
        for &base in found.iter().filter(|&&base| base < active) {
            if state.segment(base).is_none() {
                let why = Malformed::new("segment", "none that the recovery point does not name", base);
                return Err(damaged(&self.path(base), 0, base, why));
            }
        }
        for segment in state.segments() {
            if !found.contains(&segment.base) {
                return Err(self.missing(segment.base));
            }
            self.check_sealed(segment, segment.base == active).await?;
        }
        found.retain(|&base| base >= active);
        Ok(state)
    }

    /// Looks at a segment as far as the recovery point speaks of it.
    async fn check_sealed(&self, segment: &Segment, active: bool) -> Result<(), LogError> {
        let path = self.path(segment.base);
        let file = self.env.disk().open(&path, OpenMode::Read).await.map_err(io_error("opening", &path))?;
        let len = file.len().await.map_err(io_error("measuring", &path))?;
        if len < segment.size || (len > segment.size && !active) {
            let why = Malformed::new("size", format!("{} bytes", segment.size), format!("{len} bytes"));
            return Err(damaged(&path, len.min(segment.size), segment.next, why));
        }
        let last_entry = segment.index.as_ref().and_then(|index| index.last());
        let (position, offset) = match (self.config.verify_on_open, last_entry) {
            (true, _) => (0, segment.base),
            // The last stretch only: whether the file is the one that the recovery point means.
            (false, Some(entry)) if active => (entry.position, entry.offset),
            (false, _) => return Ok(()),
        };
        let visit = &mut |_: &BatchRef<'_>, _| ControlFlow::Continue(());
        let scanned = scan_file(&*file, &path, position, offset, segment.size, visit).await?;
        if let Some(why) = scanned.bad {
            return Err(damaged(&path, scanned.position, scanned.next, why));
        }
        if scanned.next != segment.next {
            let why = Malformed::new("end offset", segment.next, scanned.next);
            return Err(damaged(&path, scanned.position, scanned.next, why));
        }
        Ok(())
    }

    /// Scans the segments in `found` from the end of the state on, and cuts the log where it is no longer whole.
    async fn above_the_point(&self, state: &mut State, found: &[Offset]) -> Result<(), LogError> {
        for (index, &base) in found.iter().enumerate() {
            let path = self.path(base);
            let last = index + 1 == found.len();
            let mode = if last { OpenMode::Append } else { OpenMode::Read };
            let file = self.env.disk().open(&path, mode).await.map_err(io_error("opening", &path))?;
            if index > 0 {
                if base != state.high_watermark() {
                    return Err(self.missing(state.high_watermark()));
                }
                state.rolled(Segment::new(base, None));
            }
            state.file_opened(base, file.clone());
            let len = file.len().await.map_err(io_error("measuring", &path))?;
            let (position, next) = (state.active().size, state.high_watermark());
            let visit = &mut |batch: &BatchRef<'_>, _| {
                state.recovered(batch.header(), batch.control_marker());
                ControlFlow::Continue(())
            };
            let scanned = scan_file(&*file, &path, position, next, len, visit).await?;
            match &scanned.bad {
                None => {}
                Some(why) if last => self.cut(&*file, &path, len, &scanned, why).await?,
                Some(why) => return Err(damaged(&path, scanned.position, scanned.next, why.clone())),
            }
            if last {
                mutant!("recovered-tail-unsynced", file.sync().await.map_err(io_error("syncing", &path)), Ok(()))?;
            }
        }
        self.sync_names().await
    }

    /// Makes the names durable that were found.
    async fn sync_names(&self) -> Result<(), LogError> {
        mutant!(
            "recovered-directory-unsynced",
            self.env.disk().sync_dir(self.dir).await.map_err(io_error("syncing", self.dir)),
            Ok(())
        )
    }

    async fn cut(
        &self,
        file: &dyn File,
        path: &Path,
        len: u64,
        scanned: &Scanned,
        why: &Malformed,
    ) -> Result<(), LogError> {
        let (position, next) = (scanned.position, scanned.next);
        self.env.log(format_args!(
            "log {}: cut {} bytes at byte {position} of {} (offset {next}): {}: expected {}, found {}",
            self.partition,
            len - position,
            path.display(),
            why.what,
            why.expected,
            why.found,
        ));
        self.env.reach(Point::LogBeforeTruncate).await;
        mutant!("torn-tail-kept", file.truncate(position).await.map_err(io_error("cutting", path)), Ok(()))?;
        self.env.reach(Point::LogTruncated).await;
        Ok(())
    }
}
