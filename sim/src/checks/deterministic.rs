//! The same plan gives the same trace hash, and the same results, in another process. The campaign runs some seeds twice
//! and asks here; it then looks for the first event that differs.

use reports::{SeedReport, Violation};

pub use reports::gate::DETERMINISTIC as NAME;

/// What two runs of one plan differ in; `None` when nothing. Wall time is not part of a run.
pub fn compare(first: &SeedReport, second: &SeedReport) -> Option<Violation> {
    let named = |report: &SeedReport| (report.pipeline.clone(), report.seed, report.tier);
    assert_eq!(named(first), named(second), "two runs of different plans are compared");
    let message = if first.trace_hash != second.trace_hash || first.steps != second.steps {
        format!(
            "two processes ran one plan to {} after {} steps and to {} after {}",
            first.trace_hash, first.steps, second.trace_hash, second.steps
        )
    } else if outcome(first) != outcome(second) {
        "two processes ran one plan with one trace and report different results".to_owned()
    } else {
        return None;
    };
    Some(Violation {
        property: NAME.to_owned(),
        pipeline: first.pipeline.clone(),
        seed: first.seed,
        tier: first.tier.to_string(),
        message,
        ..Violation::default()
    })
}

fn outcome(report: &SeedReport) -> impl PartialEq {
    let violations: Vec<(String, String)> =
        report.violations.iter().map(|violation| (violation.property.clone(), violation.message.clone())).collect();
    (report.virtual_ms, report.records, report.panes, report.faults.clone(), report.states.clone(), violations)
}

#[cfg(test)]
mod tests {
    use reports::Tier;

    use super::*;

    fn run(hash: &str) -> SeedReport {
        let mut report = SeedReport::empty("sums", 7, Tier::Race);
        report.trace_hash = hash.to_owned();
        report.steps = 300;
        report
    }

    #[test]
    fn equal_runs_pass_however_long_they_took() {
        let mut second = run("x");
        second.wall_ms = 99;
        assert_eq!(compare(&run("x"), &second), None);
    }

    #[test]
    fn different_hashes_are_a_mismatch() {
        let message = compare(&run("x"), &run("y")).expect("a mismatch").message;
        assert_eq!(message, "two processes ran one plan to x after 300 steps and to y after 300");
    }

    #[test]
    fn one_trace_with_two_results_is_a_mismatch() {
        let mut second = run("x");
        second.panes.live = 1;
        assert!(compare(&run("x"), &second).is_some());
    }
}
