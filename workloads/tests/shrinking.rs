//! What shrinking leaves of a plan, asked of an oracle that runs no engine.

use engine::types::Millis;
use reports::{SeedReport, Tier};
use sim::plan::{EngineSettings, FaultSpec, FromTime, Host, Phase, Plan};
use sim::shrink::{Candidates, Found, Oracle, Outcome, shrink};
use sim::workload::{Draw, END_OF_INPUT, EventKind, SourceEvent};
use workloads::pipelines::ClickPipeline;

/// Breaks whatever keeps what is needed; no engine runs.
struct Needs<'a> {
    needed: &'a (dyn Fn(&Plan) -> bool + Sync),
    runs: u64,
    left: u64,
}

impl Oracle for Needs<'_> {
    fn first_broken(&mut self, candidates: Candidates<'_>) -> Option<Found> {
        for plan in candidates {
            if self.is_over() {
                return None;
            }
            plan.validate().expect("only what can be run is run");
            self.runs += 1;
            self.left -= 1;
            if (self.needed)(&plan) {
                let report = SeedReport::empty(plan.pipeline.clone(), plan.seed, plan.tier);
                return Some(Found { plan, report });
            }
        }
        None
    }

    fn is_over(&self) -> bool {
        self.left == 0
    }

    fn runs(&self) -> u64 {
        self.runs
    }
}

/// Three workers, three partitions, a kill among other faults, and the events of a busy seed.
fn big(seed: u64) -> Plan {
    let mut plan = Plan::expand("clickstream-minutes", seed, Some(Tier::Race));
    plan.cluster.embedded = false;
    plan.cluster.workers = 3;
    plan.shape.partitions = 3;
    plan.knobs.events = 60;
    plan.knobs.keys = 5;
    plan.truncate = None;
    let kill = sim::faults::named("kill").expect("a kind of fault");
    let kill = kill.draw(&mut Draw::new(1, "kill"), &plan.cluster, Phase::Live, 321, 77);
    let kill = FaultSpec { host: Host::Worker(3), ..kill };
    let drawn = std::mem::take(&mut plan.faults);
    let fits = |fault: &FaultSpec| Plan { faults: vec![fault.clone()], ..plan.clone() }.validate().is_ok();
    let mut faults: Vec<FaultSpec> = drawn.into_iter().filter(fits).collect();
    faults.insert(faults.len() / 2, kill);
    plan.faults = faults;
    plan.listed(&ClickPipeline::Minutes)
}

/// Two events that are no markers: one early, one late, in two partitions if `apart`.
fn two(plan: &Plan, apart: bool) -> [u64; 2] {
    let mut events = plan.events.iter().flatten().filter(|event| event.watermark().is_none());
    let first = events.next().expect("an event");
    let mut others = events.filter(|event| !apart || event.partition != first.partition);
    [first, others.next_back().expect("another")].map(|event| event.id.expect("listed events have ids"))
}

fn has(plan: &Plan, id: u64) -> bool {
    plan.events.iter().flatten().any(|event| event.id == Some(id))
}

fn ends(plan: &Plan) -> usize {
    plan.events.iter().flatten().filter(|event| event.watermark() == Some(END_OF_INPUT)).count()
}

fn shrunk(plan: &Plan, left: u64, needed: &(dyn Fn(&Plan) -> bool + Sync)) -> Option<Outcome> {
    shrink(&ClickPipeline::Minutes, plan, &mut Needs { needed, runs: 0, left })
}

#[test]
fn what_is_needed_is_all_that_is_left() {
    for seed in 0..12 {
        let plan = big(seed);
        let [one, other] = two(&plan, false);
        let needed = |plan: &Plan| {
            plan.faults.iter().any(|fault| fault.kind.0.name() == "kill") && has(plan, one) && has(plan, other)
        };
        let outcome = shrunk(&plan, 10_000, &needed).expect("it breaks");
        assert!(outcome.settled);
        let size = outcome.size;
        assert_eq!((size.faults, size.events, size.partitions, size.hosts), (1, 2, 1, 1), "seed {seed}");
        assert_eq!((size.partitions_before, size.hosts_before), (3, 4));
        let ids: Vec<Option<u64>> = outcome.plan.events.iter().flatten().map(|event| event.id).collect();
        assert_eq!(ids[..2], [Some(one), Some(other)], "what is left keeps its id");
        assert_eq!(outcome.plan.engine, EngineSettings::plain());
    }
}

#[test]
fn two_events_in_two_partitions_keep_both() {
    let plan = big(1);
    let [one, other] = two(&plan, true);
    let apart = |plan: &Plan| {
        let of = |id| plan.events.iter().flatten().find(|event| event.id == Some(id)).map(|event| event.partition);
        of(one).zip(of(other)).is_some_and(|(one, other)| one != other)
    };
    let outcome = shrunk(&plan, 10_000, &apart).expect("it breaks");
    assert_eq!((outcome.size.events, outcome.size.partitions, ends(&outcome.plan)), (2, 2, 2));
}

#[test]
fn a_plan_that_does_not_break_is_not_shrunk() {
    assert!(shrunk(&big(1), 10_000, &|_| false).is_none());
}

#[test]
fn a_budget_that_ends_gives_the_smallest_so_far_and_says_so() {
    let plan = big(3);
    let [one, _] = two(&plan, false);
    let half = shrunk(&plan, 12, &|plan| has(plan, one)).expect("it breaks");
    assert!(!half.settled);
    assert_eq!(half.size.runs, 12);
    assert!(half.size.events < half.size.events_before, "{:?}", half.size);
}

#[test]
fn shrinking_is_a_function_of_the_plan() {
    let needed = |plan: &Plan| plan.faults.iter().any(|fault| fault.host == Host::Broker) || plan.faults.len() > 4;
    for seed in 0..6 {
        let once = shrunk(&big(seed), 10_000, &needed).map(|outcome| outcome.plan);
        assert_eq!(once, shrunk(&big(seed), 10_000, &needed).map(|outcome| outcome.plan));
    }
}

#[test]
fn a_replay_from_a_time_keeps_the_patience_that_its_copies_need() {
    const COPY: u64 = 1_000_000;
    let workload = ClickPipeline::UniqueMinutes;
    let mut plan = Plan::expand("clickstream-unique-minutes", 4, Some(Tier::Race));
    plan.truncate = None;
    plan.knobs.events = 40;
    plan.shape.allowed_lateness = Millis(600_000);
    plan.replay.from = Some(FromTime { per_mille: 500, aligned: false, at_ms: None });
    let mut plan = plan.listed(&workload);
    assert!(plan.replay.from.is_some(), "the generator keeps copies together");
    let events = plan.events.as_mut().expect("they are listed");
    let is_click = |event: &SourceEvent| event.watermark().is_none() && !event.kinds.contains(&EventKind::Poison);
    let place = events.iter().position(is_click).expect("a click");
    let click = events[place].clone();
    let one = click.id.expect("listed events have ids");
    // The horizon is a minute longer than the allowed lateness.
    events.insert(place + 1, SourceEvent { id: Some(COPY), timestamp: click.timestamp + 400_000, ..click });

    let needed = |plan: &Plan| plan.replay.from.is_some() && has(plan, one) && has(plan, COPY);
    let needs = &mut Needs { needed: &needed, runs: 0, left: 10_000 };
    let outcome = shrink(&workload, &plan, needs).expect("it breaks");
    assert_eq!((outcome.size.events, outcome.plan.shape.allowed_lateness), (2, Millis(600_000)));
    assert_eq!(outcome.plan.shape.bound, Millis(0), "what does no harm still goes");
    assert!(outcome.plan.fits(&workload).is_ok());

    plan.events.as_mut().expect("they are listed")[place + 1].timestamp += 300_000;
    let said = plan.fits(&workload).expect_err("no longer").to_string();
    assert!(said.contains("two events with one id that lie 700000 ms apart"), "{said}");
    assert_eq!(plan.listed(&workload).replay.from, None);
}
