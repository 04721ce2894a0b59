//! Moving the log start.

use std::ops::ControlFlow;

use super::files::{remove_if_there, replace_whole, scan_file};
use super::recovery_point::{LOG_START, LogStart};
use super::segment::{Segment, index_name, segment_name};
use super::{Inner, LogError};
use crate::env::Point;
use crate::record::BatchRef;
use crate::types::{Offset, Timestamp};

impl Inner {
    /// See [`super::Log::delete_below`].
    ///
    /// Readers see the new start only when it is durable: what they were refused once they are refused for ever. A crash
    /// before the segments are removed leaves files that the next start removes.
    pub(super) async fn delete_below(&self, offset: Offset) -> Result<Offset, LogError> {
        let _one_at_a_time = self.retention.lock().await;
        let (start, moves) = {
            let state = self.state();
            state.check_readable()?;
            let start = state.deletable(offset);
            (start, start > state.start())
        };
        if !moves {
            return Ok(start);
        }
        let moved_to = LogStart { offset: start, deleted_to: self.greatest_below(start).await };
        mutant!("files-removed-first", {}, {
            let gone = self.state().drop_segments_below(start);
            for base in gone {
                remove_if_there(&self.env, &self.dir.join(segment_name(base))).await?;
            }
        });
        self.env.reach(Point::LogBeforeStartMoves).await;
        let moved = replace_whole(&self.env, &self.dir, LOG_START, moved_to.encode(), None);
        mutant!("log-start-not-durable", moved.await, Ok(()))?;
        self.env.reach(Point::LogStartMoved).await;
        for base in self.update(|state| state.start_moved(moved_to)) {
            remove_if_there(&self.env, &self.dir.join(index_name(base))).await?;
            remove_if_there(&self.env, &self.dir.join(segment_name(base))).await?;
        }
        self.env.reach(Point::LogSegmentsRemoved).await;
        Ok(start)
    }

    /// The greatest timestamp of a data record below `start`, deleted already or about to be: whoever reads on from a time
    /// can be told whether all that it wants is still there. At most one stretch between two entries of an index is read;
    /// what cannot be read goes away all the same, and may have been of any time.
    async fn greatest_below(&self, start: Offset) -> Timestamp {
        let (whole, cut) = {
            let state = self.state();
            let whole = state.segments().iter().filter(|segment| segment.next <= start);
            let greatest = whole.map(|segment| segment.max_timestamp).fold(state.deleted_to(), Timestamp::max);
            (greatest, state.segments().iter().find(|segment| segment.base < start && start < segment.next).cloned())
        };
        match cut {
            None => whole,
            Some(segment) => whole.max(self.greatest_within(segment, start).await.unwrap_or_else(|error| {
                self.env.log(format_args!("what {} deletes may be of any time: {error}", self.dir.display()));
                Timestamp::MAX
            })),
        }
    }

    /// As [`Inner::greatest_below`], of the segment that holds `start`.
    async fn greatest_within(&self, mut segment: Segment, start: Offset) -> Result<Timestamp, LogError> {
        if segment.index.is_none() {
            self.load_index(segment.base).await?;
            segment = self.state().segment(segment.base).cloned().unwrap_or(segment);
        }
        let entry = segment.index.as_ref().and_then(|index| index.at_offset(start));
        let (position, offset) = entry.map_or((0, segment.base), |entry| (entry.position, entry.offset));
        let mut greatest = entry.map_or(Timestamp::MIN, |entry| entry.max_timestamp_before);
        let (path, file) = self.segment_file(segment.base).await?;
        let mut scratch = Vec::new();
        let visit = &mut |batch: &BatchRef<'_>, _| {
            let header = batch.header();
            if header.base_offset >= start {
                return ControlFlow::Break(());
            }
            if !header.control {
                greatest = greatest.max(match batch.records(&mut scratch) {
                    Ok(mut records) => {
                        let below = records.by_ref().map_while(Result::ok).take_while(|record| record.offset < start);
                        below.map(|record| record.timestamp).max().unwrap_or(Timestamp::MIN)
                    }
                    // Packed in a way we do not read.
                    Err(_) => header.max_timestamp,
                });
            }
            ControlFlow::Continue(())
        };
        let scanned = scan_file(&*file, &path, position, offset, segment.size, visit).await?;
        match scanned.bad {
            Some(_) if scanned.next < start => Ok(Timestamp::MAX),
            _ => Ok(greatest),
        }
    }
}
