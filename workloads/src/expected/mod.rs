//! What each pipeline's output must be, computed from the whole source log as one list: the third computation, with
//! which live and replay are compared. Obviously right rather than fast, and written without a line of the engine.
//!
//! In: the committed records of the source, per partition in offset order. Out: [`Expected`].
//!
//! Start with [`source::judge`], which decides what each record is; then [`sessions`] and [`tumbling`], and [`hours`] of sessions.

pub mod avro;
pub mod hours;
pub mod rows;
pub mod sessions;
pub mod source;
pub mod sums;
pub mod tumbling;

#[cfg(test)]
mod tests;

pub use sim::workload::{Expected, LogRecord, Row, RowKey};
