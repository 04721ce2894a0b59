//! The topologies under the gate: what they put out live, their replay puts out again, and it is what it must be.

use std::path::Path;
use std::time::Duration;

use payments::{PAUSE, Payment, PaymentCodec, takings, visits};
use segno::prelude::*;

fn payment(draw: &mut Draw, _at: Timestamp) -> Event {
    let merchant = *draw.pick(&["bakery", "florist", "tailor", "smithy"]);
    let customer = *draw.pick(&["ada", "bob", "eve"]);
    Event::new(merchant, format!("{customer};{}", draw.between(100, 9_000)))
}

fn cents(payments: &[&LogRecord]) -> i64 {
    payments.iter().filter_map(|one| Payment::parse(one.text())).map(|payment| payment.cents).sum()
}

#[test]
fn takings_are_what_was_paid_live_and_replayed() {
    let report = segno::gate(takings).events(payment).expected(|paid| json!({ "cents": cents(paid) })).run();
    assert!(report.panes.live > 0 && report.records.late > 0 && report.records.duplicates > 0, "{report:?}");
    assert!(report.determinism.doubled >= report.seeds_run / 20, "seeds run twice, in two processes");
    assert!(report.examined["equals-expected"] > 0 && report.faults.values().any(|fault| fault.effective > 0));
}

#[test]
fn visits_are_counted_across_merchants() {
    let until = |last: &LogRecord| last.timestamp + PAUSE.0 + 1;
    segno::gate(visits)
        .events(payment)
        .expected(move |paid| json!({ "payments": paid.len(), "until": until(paid[paid.len() - 1]) }))
        .run();
}

/// Without an answer live and replay are still compared, and all else is checked.
#[test]
fn visits_replay_as_they_ran_whatever_they_should_be() {
    let report = segno::gate(visits).events(payment).seeds(8).run();
    assert_eq!(report.examined["equals-expected"], 0);
    assert!(report.examined["replay-equals-live"] > 0 && report.examined["single-cut"] > 0);
}

/// A bug of the kind that the gate is for: the last payment to arrive wins, whenever it was made.
#[derive(Clone)]
struct LastToArrive;

impl Aggregate for LastToArrive {
    type In = Payment;
    type State = i64;

    fn identity(&self) -> i64 {
        0
    }
    fn add(&self, state: &mut i64, payment: &Payment, _time: RecordTime<'_>) {
        *state = payment.cents;
    }
    fn merge(&self, state: &mut i64, other: &i64) {
        if *other != 0 {
            *state = *other;
        }
    }
    fn encode(&self, state: &i64, out: &mut Vec<u8>) {
        out.extend_from_slice(&state.to_be_bytes());
    }
    fn decode(&self, bytes: &[u8]) -> Result<i64, CodecError> {
        bytes.try_into().map(i64::from_be_bytes).map_err(|_| CodecError("not eight bytes".to_owned()))
    }
}

fn last_by_arrival(shape: &Shape) -> Result<Pipeline, PipelineError> {
    let customer = |payment: &Payment, key: &mut Vec<u8>| key.extend_from_slice(payment.customer.as_bytes());
    Pipeline::named("last-payment")
        .source(shape.source("payments"), Payment::of)
        .key_by("by-customer", shape.repartitions, customer, PaymentCodec)
        .tumbling(payments::HOUR, shape.allowed_lateness)
        .aggregate("last", LastToArrive)
        .output(json_rows(|_hour, cents: &i64| json!({ "cents": cents })))
}

/// What a panic said.
fn said(panicked: Box<dyn std::any::Any + Send>) -> String {
    *panicked.downcast::<String>().expect("a gate panics with text")
}

#[test]
fn an_aggregate_that_depends_on_the_order_of_arrival_is_caught_without_an_answer() {
    // As many seeds as it takes: a campaign in a test ends when three have failed.
    let gate = || segno::gate(last_by_arrival).events(payment).shrink_budget(Duration::from_secs(15));
    let said = said(std::panic::catch_unwind(|| gate().seeds(200).run()).expect_err("the replay differs"));
    assert!(said.contains("replay-equals-live") && said.contains("last-payment"), "{said}");
    assert!(said.contains("live") && said.contains("replay") && said.contains("cents="), "{said}");
    let reproduce = said.lines().find(|line| line.starts_with("reproduce: ")).expect("the way back");
    let name = "an_aggregate_that_depends_on_the_order_of_arrival_is_caught_without_an_answer";
    assert!(
        reproduce.contains("SEGNO_PLAN=") && reproduce.ends_with(&format!("cargo test -p payments {name} -- --exact"))
    );
    let plan = reproduce.split(['=', ' ']).nth(2).expect("the plan's file");
    assert!(std::fs::read_to_string(plan).expect("the plan is there").contains("pipeline = \"last-payment\""));
    // On a slow machine nothing may have become smaller in time; then it is the plan as it was drawn.
    assert_eq!(plan.ends_with(".shrunk.plan.toml"), said.contains("(shrunk: "), "{plan} in {said}");
    let folder = Path::new(plan).parent().expect("it lies in a folder");
    assert!(folder.join("report.html").is_file(), "the page lies beside it");
    assert!(std::fs::read_dir(folder).expect("it").any(|file| {
        file.expect("a file").file_name().to_string_lossy().ends_with(".story.json")
    }));

    // The way back leads to the same failure.
    let again = std::panic::catch_unwind(|| gate().repro(plan)).expect_err("it breaks again");
    assert!(self::said(again).contains("violation  replay-equals-live  last-payment"));
}

/// A plan of a past failure runs before any seed; here there are no seeds after it.
#[test]
fn a_committed_plan_breaks_first() {
    let gate = || segno::gate(last_by_arrival).events(payment).shrink_budget(Duration::ZERO);
    let run = || gate().corpus("tests/plans").seeds(0).run();
    let said = said(std::panic::catch_unwind(run).expect_err("the replay differs"));
    let plan = "last-payment  plan the-last-to-arrive-wins of the corpus";
    assert!(said.contains(&format!("violation  replay-equals-live  {plan}")), "{said}");
    assert!(!said.contains("violation  no-panic"), "its process lived: {said}");
}

#[test]
fn a_wrong_answer_is_caught_with_key_window_and_the_records_behind_it() {
    let rounded = |paid: &[&LogRecord]| json!({ "cents": cents(paid) / 100 * 100 });
    let short = Duration::from_secs(15);
    let gate = move || segno::gate(takings).events(payment).expected(rounded).shrink_budget(short).run();
    let said = said(std::panic::catch_unwind(gate).expect_err("it is wrong"));
    assert!(said.contains("equals-expected") && said.contains("expected  cents="), "{said}");
    assert!(said.contains("payments[") && said.contains("window from"), "{said}");
}
