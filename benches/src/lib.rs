//! The ingest and replay benchmark: a real log on the real disk, through the broker, then replayed from offset 0.
//!
//! Start with [`plan`], what is measured and how often; then [`ingest`] and [`replay`], whose result [`output`] adds up. Each
//! timed phase ([`phase`]) runs in a process of its own ([`process`]); [`machine`] says where, [`cache`] makes a replay cold,
//! and makes sure of it; [`interrupted`] kills one, once [`milestones`] are passed, and starts it again.
//!
//! What is absent: virtual time.

#![expect(
    clippy::disallowed_methods,
    reason = "the benchmark is above the engine: it measures wall time and reads files"
)]

pub mod bare;
pub mod cache;
pub mod dataset;
pub mod ingest;
pub mod interrupted;
pub mod machine;
pub mod milestones;
pub mod output;
pub mod percentiles;
pub mod phase;
pub mod plan;
pub mod process;
pub mod replay;
pub mod stages;
pub mod sums;
