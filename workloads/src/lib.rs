//! Event generators, the pipelines they feed, and each pipeline's expected output.
//!
//! Start with [`pipelines`], the pipelines of the clickstream; then [`expected`], what a log of clicks must produce.
//! [`clickstream`] is the dataset that is measured, [`swarm`] the one that is nasty, [`combined`] a real server's log.
//!
//! What is absent: `expected` calls nothing of the engine.

pub mod click;
pub mod clickstream;
pub mod combined;
pub mod corpus;
pub mod expected;
pub mod murmur2;
pub mod names;
pub mod panes;
pub mod pipelines;
pub mod swarm;
pub mod zipf;

pub use names::{UnknownName, all, by_name};
