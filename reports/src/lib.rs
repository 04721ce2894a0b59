//! The result types, and what is made of them: JSON documents for scripts, text for people. Runs nothing.
//!
//! The field names are a public interface (`segno.gate/1`, `segno.repro/1`, `segno.run/1`, `segno.bench/1`): fields may
//! be added, none renamed or removed. Times are integers with their unit in the name; virtual and wall time never share
//! a column.

pub mod bench;
pub mod gate;
pub mod repro;
pub mod run;
pub mod seed;
pub mod text;
pub mod text_measured;
pub mod verdict;
pub mod violation;

pub use bench::BenchReport;
pub use gate::GateReport;
pub use repro::ReproReport;
pub use run::RunReport;
pub use seed::{FaultCount, PaneCounts, RecordCounts, SeedReport, Tier};
pub use verdict::Verdict;
pub use violation::{Cause, FirstDifference, Row, Violation};
