//! What a phase says on its way, so that its parent can wait for more than a moment of the clock.
//!
//! In: the points that the engine passes. Out: a line for each commit that was answered, and for each that held the whole
//! state. Only a replay that is about to be killed says them.

use engine::env::{BoxFuture, Point, Points};

/// A commit was answered.
pub const COMMITTED: &str = "committed";
/// It held the whole state; what the changelog held before is no longer needed.
pub const SNAPSHOT: &str = "snapshot";

/// Points that tell of commits.
pub struct Milestones<S>(pub S);

impl<S: Fn(&'static str) + Send + Sync> Points for Milestones<S> {
    fn reach(&self, point: Point) -> BoxFuture<'_, ()> {
        match point {
            Point::TaskCommitted => (self.0)(COMMITTED),
            Point::TaskSnapshotCommitted => (self.0)(SNAPSHOT),
            _ => {}
        }
        Box::pin(std::future::ready(()))
    }
}
