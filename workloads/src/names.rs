//! The workloads by name.

use std::sync::Arc;

use sim::names::{hint, nearest};
use sim::workload::Workload;

use crate::pipelines::ClickPipeline;

/// Every workload, in the order in which they are listed and run.
#[must_use]
pub fn all() -> Vec<Arc<dyn Workload>> {
    ClickPipeline::ALL.into_iter().map(|pipeline| Arc::new(pipeline) as Arc<dyn Workload>).collect()
}

/// No workload has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no pipeline is named {name:?};{} all are {}", hint(*nearest), known.join(", "))]
pub struct UnknownName {
    pub name: String,
    /// Where one is near enough to have been meant.
    pub nearest: Option<&'static str>,
    pub known: Vec<&'static str>,
}

/// The workload of this name.
///
/// # Errors
/// [`UnknownName`], with a name that it is a part of, or the one that takes the fewest changes.
pub fn by_name(name: &str) -> Result<Arc<dyn Workload>, UnknownName> {
    let all = all();
    if let Some(found) = all.iter().find(|workload| workload.name() == name) {
        return Ok(found.clone());
    }
    let known: Vec<&'static str> = all.iter().map(|workload| workload.name()).collect();
    let nearest = nearest(name, &known);
    Err(UnknownName { name: name.to_owned(), nearest, known })
}

#[cfg(test)]
mod tests {
    use super::{all, by_name};

    #[test]
    fn a_misspelt_name_is_answered_with_the_nearest() {
        for workload in all() {
            assert_eq!(by_name(workload.name()).map(|found| found.name()), Ok(workload.name()));
        }
        assert_eq!(
            by_name("clickstream-session").map(|found| found.name()).unwrap_err().nearest,
            Some("clickstream-sessions")
        );
        assert_eq!(
            by_name("unique-minutes").map(|found| found.name()).unwrap_err().nearest,
            Some("clickstream-unique-minutes")
        );
        let far = by_name("x").map(|found| found.name()).unwrap_err();
        assert_eq!(far.nearest, None);
        assert!(far.to_string().starts_with("no pipeline is named \"x\"; all are "), "{far}");
    }
}
