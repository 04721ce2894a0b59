//! The stream engine: event time, windows, keyed state and commits, as functions of what is in the log.
//!
//! In: committed records, in offset order per partition. Out: records for other partitions, in an [`Outbox`].
//! Start with [`window`], the rules and the proof that order does not matter; then [`task`], the boundary to whoever
//! reads and writes the log; then [`changelog`], the bytes of state and of a commit.
//!
//! What is absent, but for [`worker`], the shell: clocks, I/O, `async`, randomness. All a task learns comes in as arguments.

pub mod aggregate;
pub mod aggregates;
mod cells;
pub mod changelog;
mod channels;
mod content;
mod dedup;
mod deployment;
mod few;
pub mod frame;
mod intake;
mod key;
pub mod laws;
mod ledger;
mod outbox;
mod pipeline;
mod routed;
mod sink;
mod slab;
mod stages;
mod start;
pub mod task;
mod timers;
pub mod window;
pub mod worker;

pub use aggregate::{Aggregate, CodecError, Pane, PaneRef, RecordTime, Tie};
pub use deployment::Deployment;
pub use intake::{AvroDecoder, Decode, DecodeError, Decoder, Filter, Map, Schemas};
pub use outbox::Outbox;
pub use pipeline::{
    Keyed, PaneStream, Panes, PayloadCodec, Pipeline, PipelineError, Reading, Source, Stream, Windowed,
};
pub use sink::PaneEncoder;
pub use start::{StartError, StartTime};
pub use task::{TaskCore, TaskFault, TaskId, TaskStats};
pub use window::{Window, WindowSpec};
