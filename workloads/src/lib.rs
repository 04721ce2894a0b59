//! Event generators, the pipelines they feed, and each pipeline's expected output.
//!
//! Start with [`clickstream`], the dataset that is measured; then [`expected`], what a log of clicks must produce.
//!
//! What is absent: `expected` calls nothing of the engine.

pub mod click;
pub mod clickstream;
pub mod combined;
pub mod expected;
pub mod murmur2;
pub mod swarm;
pub mod zipf;
