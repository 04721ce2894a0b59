//! Event generators, the pipelines they feed, and each pipeline's expected output.
//!
//! Start with [`clickstream`], the dataset that is measured.

pub mod clickstream;
pub mod zipf;
