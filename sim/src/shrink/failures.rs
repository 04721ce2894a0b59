//! The failures of a campaign, shrunk: one plan for each cause.
//!
//! In: a gate's report, with the plan of each violation as a file. Out: the same with smaller plans beside them. Where one
//! seed breaks several properties, only the first in the order of the checks, which is the cause, is shrunk.

#![expect(clippy::disallowed_methods, reason = "shrinking is above the engine: it reads and writes plans as files")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use reports::gate::DETERMINISTIC;
use reports::{GateReport, Violation, timeline};

use super::{Outcome, Processes, Settings, header, shrink, told};
use crate::checks;
use crate::plan::Plan;
use crate::workload::Workload;

/// Shrinks within the budget of `settings`, shared among the causes. `said` hears what is being shrunk. `stop` set ends it,
/// and the report says that it was interrupted.
pub fn shrink_failures(
    report: &mut GateReport,
    workloads: &[Arc<dyn Workload>],
    settings: &Settings,
    stop: &AtomicBool,
    said: &mut dyn FnMut(&Violation),
) {
    let ends = Instant::now() + settings.budget;
    let causes = causes(&report.violations);
    for (done, index) in causes.iter().enumerate() {
        let left = ends.saturating_duration_since(Instant::now());
        if left.is_zero() || stop.load(Ordering::Relaxed) {
            break;
        }
        let share = Settings { budget: left / (causes.len() - done) as u32, ..settings.clone() };
        let violation = &mut report.violations[*index];
        said(violation);
        let Some(outcome) = shrunk(violation, workloads, &share, stop) else { continue };
        let size = outcome.size;
        let before = (size.faults_before, size.events_before, size.partitions_before, size.hosts_before);
        if (size.faults, size.events, size.partitions, size.hosts) == before && !outcome.settled {
            // Time was up before anything went away: it would be the plan again, called shrunk.
            continue;
        }
        let path = violation.plan.replace(".plan.toml", ".shrunk.plan.toml");
        let text = header(&outcome, &violation.fingerprint()) + &outcome.plan.to_toml();
        if path != violation.plan && std::fs::write(&path, text).is_ok() {
            violation.shrunk_plan = path;
            violation.shrunk = Some(outcome.size);
            retell(violation, &outcome);
        }
    }
    report.interrupted |= !causes.is_empty() && stop.load(Ordering::Relaxed);
}

/// The violation tells the story of the smaller plan: fewer events, and every one of them matters.
fn retell(violation: &mut Violation, outcome: &Outcome) {
    let fingerprint = violation.fingerprint();
    let Some(same) = outcome.report.violations.iter().find(|same| same.fingerprint() == fingerprint) else { return };
    violation.message.clone_from(&same.message);
    violation.first_difference.clone_from(&same.first_difference);
    if let Some(story) = outcome.report.story.as_deref() {
        violation.story = timeline::lines(story);
        let mut story = story.clone();
        story.shrunk = Some(outcome.size);
        story.reproduce = format!("segno repro {}", violation.shrunk_plan);
        let file = match violation.story_file.as_str() {
            "" => violation.plan.replace(".plan.toml", ".story.json"),
            file => file.to_owned(),
        };
        let text = serde_json::to_string(&story).expect("a story is plain data");
        if std::fs::write(&file, text).is_ok() {
            violation.story_file = file;
        }
    }
}

/// The first violation of each seed in the order of the checks, one of each group, by index.
fn causes(violations: &[Violation]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..violations.len())
        .filter(|index| {
            let violation = &violations[*index];
            !violation.plan.is_empty() && violation.property != DETERMINISTIC && !violation.consequence
        })
        .collect();
    order.sort_by_key(|index| (checks::rank(&violations[*index].property), *index));
    let (mut seeds, mut groups) = (BTreeSet::new(), BTreeSet::new());
    order.retain(|index| {
        let violation = &violations[*index];
        let first_of_seed = seeds.insert((violation.pipeline.clone(), violation.run()));
        first_of_seed && groups.insert(violation.group())
    });
    order
}

fn shrunk(
    violation: &Violation,
    workloads: &[Arc<dyn Workload>],
    settings: &Settings,
    stop: &AtomicBool,
) -> Option<Outcome> {
    let workload = workloads.iter().find(|workload| workload.name() == violation.pipeline)?;
    let plan = Plan::parse(&std::fs::read_to_string(Path::new(&violation.plan)).ok()?).ok()?;
    let fingerprint = violation.fingerprint();
    let outcome = shrink(&**workload, &plan, &mut Processes::new(settings, &fingerprint, stop))?;
    Some(told(settings, outcome, stop))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_stops_it_while_failures_are_made_smaller_gets_a_report_that_was_interrupted() {
        let settings = Settings {
            worker: vec!["true".into()],
            worker_env: Vec::new(),
            jobs: 1,
            budget: Duration::from_secs(30),
            candidate_limit: Duration::from_secs(30),
        };
        let interrupted = |stop: bool, plan: Option<&str>| {
            let mut report = GateReport::new(vec!["p".into()], 1);
            let broken =
                |plan: &str| Violation { property: "durable".into(), plan: plan.into(), ..Violation::default() };
            report.violations.extend(plan.map(broken));
            shrink_failures(&mut report, &[], &settings, &AtomicBool::new(stop), &mut |_| {});
            report.interrupted
        };
        assert!(interrupted(true, Some("7.plan.toml")));
        assert!(!interrupted(false, Some("7.plan.toml")));
        assert!(!interrupted(true, None), "there was nothing left to do");
    }

    #[test]
    fn of_each_seed_the_cause_is_shrunk_and_each_failure_once() {
        let violation = |property: &str, seed: u64, plan: &str| Violation {
            property: property.into(),
            pipeline: "p".into(),
            seed,
            plan: plan.into(),
            ..Violation::default()
        };
        let violations = [
            violation("replay-equals-live", 1, "1.plan.toml"),
            violation("lost-write", 1, "1.plan.toml"),
            violation("lost-write", 2, "2.plan.toml"),
            violation("converges", 3, ""),
            violation("equals-expected", 4, "4.plan.toml"),
            violation("deterministic", 5, "5.plan.toml"),
        ];
        assert_eq!(causes(&violations), [1, 4]);
    }
}
