//! The result types, and what is made of them: JSON documents for scripts, text for people. Runs nothing.
//!
//! The field names are a public interface (`segno.gate/1`, `segno.repro/1`, `segno.run/1`, `segno.bench/1`,
//! `segno.bench-sweep/1`): fields may
//! be added, none renamed or removed. Times are integers with their unit in the name; virtual and wall time never share
//! a column.

pub mod annotations;
pub mod baseline;
pub mod bench;
pub mod breakdown;
pub mod chart;
pub mod figure;
pub mod format;
pub mod gate;
pub mod html;
pub mod junit;
pub mod markdown;
pub mod perfetto;
pub mod repro;
pub mod run;
#[cfg(test)]
mod sample;
pub mod seed;
pub mod seeds;
pub mod shrink;
pub mod spread;
pub mod story;
pub mod sweep;
pub mod sweep_charts;
pub mod text;
pub mod text_baseline;
pub mod text_measured;
pub mod text_sweep;
pub mod timeline;
pub mod verdict;
pub mod violation;

pub use bench::BenchReport;
pub use breakdown::{Breakdown, FaultGrid, Part, Speed};
pub use gate::{Campaign, GateReport};
pub use repro::ReproReport;
pub use run::RunReport;
pub use seed::{FaultCount, PaneCounts, RecordCounts, SeedReport, Tier};
pub use seeds::SeedSet;
pub use shrink::ShrinkReport;
pub use story::Story;
pub use sweep::SweepReport;
pub use verdict::Verdict;
pub use violation::{Cause, FirstDifference, Row, Violation};
