//! JUnit from a campaign: what a CI server shows of it.
//!
//! In: a [`GateReport`]. Out: one XML document. A suite is a pipeline, a case one property of it, with the pipeline's
//! seeds. A property that was never asked is skipped, not passed. What concerns the campaign as a whole (that
//! everything was tried, that a plan gives one trace, how fast it went) is the last suite's.

use std::collections::BTreeSet;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite, XmlString};

use crate::breakdown::Part;
use crate::gate::DETERMINISTIC;
use crate::text;
use crate::{GateReport, Violation};

/// Every seed is asked whether it panicked; no check counts that.
const NO_PANIC: &str = "no-panic";

/// The document.
pub fn document(report: &GateReport) -> String {
    let mut junit = Report::new("segno gate");
    junit.set_time(Duration::from_millis(report.wall_ms));
    let nothing = Part::default();
    for pipeline in &report.pipelines {
        let part = report.breakdown.pipelines.get(pipeline).unwrap_or(&nothing);
        junit.add_test_suite(suite(report, pipeline, part));
    }
    junit.add_test_suite(campaign(report));
    let mut xml = Vec::new();
    junit.serialize(&mut xml).expect("a vector takes everything");
    String::from_utf8(xml).expect("XML is written as UTF-8")
}

fn suite(report: &GateReport, pipeline: &str, part: &Part) -> TestSuite {
    let mut suite = TestSuite::new(pipeline);
    suite.set_time(Duration::from_millis(part.seed_wall_ms));
    suite.add_property(property("seeds-run", part.seeds_run));
    suite.add_property(property("virtual-ms", part.virtual_ms));
    suite.add_property(property("records-ingested", part.records_ingested));
    let broken: Vec<&Violation> = report
        .violations
        .iter()
        .filter(|violation| violation.pipeline == pipeline && violation.property != DETERMINISTIC)
        .collect();
    let asked = report.examined.keys().map(String::as_str);
    let names: BTreeSet<&str> =
        asked.chain(broken.iter().map(|violation| violation.property.as_str())).chain([NO_PANIC]).collect();
    for name in names {
        let asked = match name {
            NO_PANIC => part.seeds_run,
            name => part.examined.get(name).copied().unwrap_or(0),
        };
        let broken: Vec<&Violation> = broken.iter().copied().filter(|violation| violation.property == name).collect();
        let mut status = if broken.is_empty() && asked == 0 {
            let mut skipped = TestCaseStatus::skipped();
            skipped.set_message("never asked of anything in these seeds");
            skipped
        } else {
            TestCaseStatus::success()
        };
        if let Some(first) = broken.first() {
            status = failure(name, &headline(first, broken.len()), &broken);
        }
        let mut case = TestCase::new(name, status);
        case.set_classname(pipeline);
        if part.seeds_run > 0 {
            case.add_property(property("seeds", &part.seeds));
        }
        case.add_property(property("asked", asked));
        add_ways_back(&mut case, &broken);
        suite.add_test_case(case);
    }
    suite
}

/// What no pipeline alone can answer for.
fn campaign(report: &GateReport) -> TestSuite {
    let mut suite = TestSuite::new("campaign");
    let rates = [
        ("virtual-seconds-per-wall-second", report.speed.virtual_per_wall),
        ("seeds-per-minute", report.speed.seeds_per_minute),
        ("records-per-second", report.speed.records_per_second),
    ];
    for (name, rate) in rates {
        suite.add_property(property(name, format!("{rate:.1}")));
    }
    let mut status = TestCaseStatus::success();
    let asked = report.shard.is_none() && report.campaign.as_ref().is_some_and(|campaign| campaign.whole);
    if !report.reasons.is_empty() {
        status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_type("inconclusive").set_message(XmlString::new(report.reasons.join("; ")));
    } else if !asked {
        status = TestCaseStatus::skipped();
        status.set_message("asked of the default gate alone");
    }
    let mut case = TestCase::new("everything-was-tried", status);
    case.set_classname("campaign");
    case.add_property(property("seeds-asked", report.seeds_asked));
    case.add_property(property("seeds-run", report.seeds_run));
    suite.add_test_case(case);

    let parted: Vec<&Violation> =
        report.violations.iter().filter(|violation| violation.property == DETERMINISTIC).collect();
    let mut status = TestCaseStatus::success();
    if let Some(first) = parted.first() {
        status = failure(DETERMINISTIC, &headline(first, parted.len()), &parted);
    } else if report.determinism.doubled == 0 {
        status = TestCaseStatus::skipped();
        status.set_message("no seed ran twice");
    }
    let mut case = TestCase::new(DETERMINISTIC, status);
    case.set_classname("campaign");
    case.add_property(property("asked", report.determinism.doubled));
    add_ways_back(&mut case, &parted);
    suite.add_test_case(case);
    suite
}

fn failure(kind: &str, message: &str, broken: &[&Violation]) -> TestCaseStatus {
    let stories: Vec<String> = broken.iter().map(|violation| text::plain(&text::story(violation))).collect();
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status.set_type(kind).set_message(message).set_description(stories.join("\n"));
    status
}

fn headline(first: &Violation, violations: usize) -> String {
    let more = match violations {
        1 => String::new(),
        more => format!(" (and {} more)", more - 1),
    };
    format!("{}: {}{more}", first.run(), first.message)
}

fn add_ways_back(case: &mut TestCase, broken: &[&Violation]) {
    if broken.is_empty() {
        return;
    }
    let of_seeds = broken.iter().filter(|violation| violation.past.is_empty());
    let alike = of_seeds.flat_map(|violation| violation.seeds.iter().copied().chain([violation.seed]));
    let seeds: BTreeSet<u64> = alike.collect();
    if !seeds.is_empty() {
        let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
        case.add_property(property("failing-seeds", seeds.join(" ")));
    }
    let plans: BTreeSet<&str> = broken.iter().map(|violation| violation.past.as_str()).collect();
    let plans: Vec<&str> = plans.into_iter().filter(|past| !past.is_empty()).collect();
    if !plans.is_empty() {
        case.add_property(property("failing-corpus-plans", plans.join(" ")));
    }
    for violation in broken {
        case.add_property(property("reproduce", &violation.reproduce));
    }
}

fn property(name: &str, value: impl ToString) -> Property {
    Property::new(name, value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn a_pass_is_a_case_for_each_pipeline_and_property() {
        insta::assert_snapshot!("junit-pass", document(&sample::pass()));
    }

    #[test]
    fn a_violation_fails_its_case_with_seeds_and_the_way_back() {
        insta::assert_snapshot!("junit-violation", document(&sample::violated()));
    }

    #[test]
    fn that_everything_was_tried_is_claimed_only_where_it_was_asked() {
        let case = |report: &GateReport| {
            let xml = document(report);
            let from = xml.find("<testcase name=\"everything-was-tried\"").expect("a case for it");
            let to = from + xml[from..].find("</testcase>").expect("its end");
            xml[from..to].to_owned()
        };
        let mut report = sample::pass();
        assert!(!case(&report).contains("<skipped"));
        report.shard = Some("1/2".into());
        assert!(case(&report).contains("<skipped message=\"asked of the default gate alone\""), "{}", case(&report));
        report.shard = None;
        report.campaign.as_mut().expect("a campaign").whole = false;
        assert!(case(&report).contains("<skipped"), "one pipeline, one tier, or a few seeds");
        report.inconclusive("1 of 2 seeds ran before the time budget ended");
        assert!(case(&report).contains("<failure"), "what was asked for and not run is said");
    }

    #[test]
    fn what_a_plan_of_the_corpus_broke_is_no_failing_seed() {
        let mut report = sample::violated();
        report.violations[0].past = "torn-tail".into();
        let xml = document(&report);
        assert!(xml.contains("message=\"plan torn-tail of the corpus: row user-17"), "{xml}");
        assert!(xml.contains("name=\"failing-corpus-plans\" value=\"torn-tail\""), "{xml}");
        assert!(!xml.contains("failing-seeds") && !xml.contains("seed 7312:"), "{xml}");
    }

    #[test]
    fn a_property_that_was_never_asked_is_skipped_and_not_passed() {
        let xml = document(&sample::pass());
        let never = "<testcase name=\"loud-gap\" classname=\"clickstream-minutes\">";
        let after = &xml[xml.find(never).expect("a case for it")..];
        assert!(after[..after.find("</testcase>").unwrap()].contains("<skipped"), "{xml}");
    }
}
