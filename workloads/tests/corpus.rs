//! An old plan still means the same: the same events in the log, the same table and late set, the same faults.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sim::seed::run_plan;
use workloads::{by_name, corpus};

#[test]
fn every_plan_of_the_corpus_passes_and_means_what_it_meant() {
    let mut facts = String::new();
    for entry in corpus::ALL {
        let plan = entry.plan();
        let workload = by_name(&plan.pipeline).expect("a pipeline of the corpus is there");
        let report = run_plan(&*workload, &plan);
        assert!(report.violations.is_empty(), "{}: {:?}", entry.name, report.violations);
        let faults: BTreeMap<&str, u64> =
            report.faults.iter().map(|(kind, count)| (kind.as_str(), count.injected)).collect();
        let listed = plan.events.iter().flatten().count();
        writeln!(facts, "{}: {} listed", entry.name, listed).expect("a string");
        writeln!(
            facts,
            "  {} ingested, {} late, {} panes, outputs {}, faults {faults:?}",
            report.records.ingested, report.records.late, report.panes.live, report.outputs
        )
        .expect("a string");
    }
    insta::assert_snapshot!("corpus", facts);
}

#[test]
fn every_plan_says_what_it_once_found_and_lists_its_events() {
    assert!(corpus::ALL.len() >= 10, "{} plans", corpus::ALL.len());
    for entry in corpus::ALL {
        let plan = entry.plan();
        assert!(entry.about().len() > 40, "{} says {:?}", entry.name, entry.about());
        assert!(plan.events.is_some(), "{} lists no events", entry.name);
        let knobs = sim::workload::Knobs { events: 1_000, keys: 7, ..plan.knobs.clone() };
        let moved = sim::plan::Plan { knobs, ..plan.clone() };
        let workload = by_name(&plan.pipeline).expect("a pipeline");
        assert_eq!(moved.source_events(&*workload), plan.source_events(&*workload), "a generator cannot move it");
    }
}

/// That each still breaks with its mutant is for `scripts/mutants --corpus`: this build has none.
#[test]
fn most_plans_are_small_and_guard_against_a_bug_that_has_a_name() {
    let named: BTreeMap<String, BTreeMap<String, String>> =
        toml::from_str(include_str!("../../corpus/mutants.toml")).expect("a table of plans");
    let mut small = std::collections::BTreeSet::new();
    for (name, of) in &named {
        let entry = corpus::ALL.iter().find(|entry| entry.name == *name);
        let size = sim::shrink::size(&entry.unwrap_or_else(|| panic!("there is no plan {name}")).plan());
        let known = sim::checks::ALL.iter().any(|check| check.name == of["breaks"]);
        assert!(known, "{name}: there is no property {}", of["breaks"]);
        assert!(size.faults <= 3 && size.events <= 17, "{name} is not small: {}", size.words());
        assert!(small.insert(&of["mutant"]), "{} has two plans", of["mutant"]);
    }
    assert!(small.len() >= 12, "{small:?}");
    let names: Vec<&str> = corpus::ALL.iter().map(|entry| &*entry.name).collect();
    assert!(names.is_sorted(), "merged shards list what broke by name: {names:?}");
}

#[test]
fn a_plan_of_another_format_is_refused_with_both_versions() {
    let text = corpus::ALL[0].text.replacen("format = 1", "format = 2", 1);
    let error = sim::plan::Plan::parse(&text).expect_err("another format").to_string();
    assert_eq!(error, "the plan's format is 2; this build reads format 1");
}
