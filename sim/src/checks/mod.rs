//! The checks: one property a file.
//!
//! In: [`Evidence`]. Out: [`Violation`]s. They read logs and histories, draw nothing, call neither `engine::log` nor
//! the client, and run after the world has ended. A new property costs one file and its two lines here.

pub mod log;

use reports::FirstDifference;

use crate::evidence::Evidence;
use crate::workload::{Shape, Workload};
use log::Logs;

/// What a property's check found broken.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    pub property: &'static str,
    /// What was seen, in one sentence.
    pub message: String,
    pub first_difference: Option<FirstDifference>,
}

impl Violation {
    pub fn new(property: &'static str, message: impl Into<String>) -> Violation {
        Violation { property, message: message.into(), first_difference: None }
    }
}

/// The evidence of one seed with what every check needs of it, decoded once.
pub struct Case<'a> {
    pub evidence: &'a Evidence,
    pub workload: &'a dyn Workload,
    pub shape: &'a Shape,
    /// The final disk.
    pub logs: Logs,
}

/// A property and how it is judged.
pub struct Check {
    /// The name in reports, `lost-write` for one.
    pub name: &'static str,
    /// The property in words.
    pub holds_when: &'static str,
    pub run: fn(&Case<'_>) -> Vec<Violation>,
}

/// Every check, in the order in which violations are shown.
pub const ALL: &[Check] = &[];

/// Runs every check.
pub fn run_all(evidence: &Evidence, workload: &dyn Workload, shape: &Shape) -> Vec<Violation> {
    let case = Case { evidence, workload, shape, logs: Logs::decode(&evidence.files, &evidence.data_dir) };
    ALL.iter().flat_map(|check| (check.run)(&case)).collect()
}
