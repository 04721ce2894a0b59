//! The corpus: plans that once broke something, run before any seed.
//!
//! In: plans as text, each with its events listed. Out: what each of them breaks today; nothing, if the engine is right.
//!
//! Invariant: a plan of the corpus needs no generator: what it runs is in its file, so it is the same in every version.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reports::SeedReport;

use crate::plan::Plan;
use crate::shrink::{self, Settings};

/// A plan of the corpus.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Of its file, without `.plan.toml`.
    pub name: &'static str,
    /// The file.
    pub text: &'static str,
}

impl Entry {
    /// What it once found: the comment that the file begins with.
    pub fn about(&self) -> String {
        let comment = self.text.lines().map_while(|line| line.strip_prefix('#'));
        comment.map(str::trim).collect::<Vec<_>>().join(" ")
    }

    /// # Panics
    /// If the plan cannot be read: it is part of this build, and a test reads them all.
    pub fn plan(&self) -> Plan {
        Plan::parse(self.text).unwrap_or_else(|error| panic!("corpus/{}.plan.toml: {error}", self.name))
    }
}

/// How long one plan may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs every plan once, in its order, several at a time. What was not run because `stop` was set is left out.
#[expect(clippy::disallowed_methods, reason = "the corpus is above the engine: it holds processes, a thread each")]
pub fn run(settings: &Settings, entries: &[Entry], stop: &AtomicBool) -> Vec<(Entry, SeedReport)> {
    let queue = Mutex::new(entries.iter().enumerate());
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..settings.jobs.max(1) {
            scope.spawn(|| {
                let mut lane = None;
                let given_up = || stop.load(Ordering::Relaxed);
                while !given_up() {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some((index, entry)) = next else { return };
                    let plan = entry.plan();
                    let report = shrink::run(settings, &mut lane, &plan, LIMIT, true, &given_up);
                    if report.is_none() && given_up() {
                        return;
                    }
                    let report = report.unwrap_or_else(|| lost(&plan));
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((index, *entry, report));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, ..)| *index);
    done.into_iter().map(|(_, entry, report)| (entry, report)).collect()
}

fn lost(plan: &Plan) -> SeedReport {
    let message = format!("the process of this plan died, or took more than {} s", LIMIT.as_secs());
    SeedReport::broken(plan.pipeline.clone(), plan.seed, plan.tier, "no-panic", message)
}
