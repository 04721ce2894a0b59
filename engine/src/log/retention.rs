//! Moving the log start.

use super::files::{remove_if_there, replace_whole};
use super::recovery_point::{LOG_START, encode_log_start};
use super::segment::{index_name, segment_name};
use super::{Inner, LogError};
use crate::env::Point;
use crate::types::Offset;

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
        mutant!("files-removed-first", {}, {
            let gone = self.state().drop_segments_below(start);
            for base in gone {
                remove_if_there(&self.env, &self.dir.join(segment_name(base))).await?;
            }
        });
        self.env.reach(Point::LogBeforeStartMoves).await;
        let moved = replace_whole(&self.env, &self.dir, LOG_START, encode_log_start(start), None);
        mutant!("log-start-not-durable", moved.await, Ok(()))?;
        self.env.reach(Point::LogStartMoved).await;
        for base in self.update(|state| state.start_moved(start)) {
            remove_if_there(&self.env, &self.dir.join(index_name(base))).await?;
            remove_if_there(&self.env, &self.dir.join(segment_name(base))).await?;
        }
        self.env.reach(Point::LogSegmentsRemoved).await;
        Ok(start)
    }
}
