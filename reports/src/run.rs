//! `segno.run/1`: a file through the real engine, live and replayed.

use serde::{Deserialize, Serialize};

use crate::PaneCounts;

pub const SCHEMA: &str = "segno.run/1";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunReport {
    pub schema: String,
    #[serde(default)]
    pub pipeline: String,
    pub records: RunRecords,
    /// Rows of the final tables.
    pub panes: PaneCounts,
    /// The replay's final table and late set are those of live.
    pub equal: bool,
    /// The wrapping sum over the final panes; 32 hex digits.
    pub output_checksum: String,
    pub wall_ms: u64,
    #[serde(default)]
    pub data_dir: String,
    /// Where the final panes were written; empty when nowhere.
    #[serde(default)]
    pub out: String,
    /// Where the rejected lines are; empty when there are none.
    #[serde(default)]
    pub rejects: String,
    /// Where the two tables first differ, in words; empty when they are equal.
    #[serde(default)]
    pub first_difference: String,
}

/// Counts of the log, not of the process: a resumed run gives the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecords {
    pub ingested: u64,
    pub rejected: u64,
    pub late: u64,
}
