//! The pipelines that can be named on the command line.

use std::sync::Arc;

use sim::workload::Workload;

use crate::exit::Usage;

/// Every pipeline, by name.
pub fn all() -> Vec<Arc<dyn Workload>> {
    workloads::all()
}

/// The pipelines that `name` stands for: one, or `all`.
///
/// # Errors
/// [`Usage`] with the nearest name.
pub fn select(name: &str) -> Result<Vec<Arc<dyn Workload>>, Usage> {
    if name == "all" { Ok(all()) } else { Ok(vec![one(name)?]) }
}

/// The pipeline with this name.
///
/// # Errors
/// [`Usage`] with the nearest name.
pub fn one(name: &str) -> Result<Arc<dyn Workload>, Usage> {
    workloads::by_name(name).map_err(|error| match name == "all" || name.contains(',') {
        true => Usage(format!("{name:?} is not one pipeline; name one of {}", error.known.join(", "))),
        false => Usage(error.to_string()),
    })
}
