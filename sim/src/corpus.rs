//! The corpus: plans that once broke something, run before any seed.
//!
//! In: plans as text, each with its events listed. Out: what each of them breaks today; nothing, if the engine is right.
//! A campaign in shards runs each plan in one of them.
//!
//! Invariant: a plan of the corpus needs no generator: what it runs is in its file, so it is the same in every version.

#![expect(clippy::disallowed_methods, reason = "the corpus is above the engine: it holds processes, and writes plans")]

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reports::{SeedReport, Violation, timeline};

use crate::checks::{self, deterministic};
use crate::plan::{Plan, PlanError};
use crate::shrink::{self, Settings};

/// A plan of the corpus.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Of its file, without `.plan.toml`.
    pub name: Cow<'static, str>,
    /// The file.
    pub text: Cow<'static, str>,
}

/// How the names of plan files end.
const SUFFIX: &str = ".plan.toml";

/// A folder of plans that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("{0}: {1}")]
    Read(String, io::Error),
    #[error("{0}: {1}")]
    Plan(String, PlanError),
}

/// The plans in a folder that are of `pipeline`, by name.
///
/// # Errors
/// When a file cannot be read, or is no plan, of whatever pipeline.
pub fn folder(dir: &Path, pipeline: &str) -> Result<Vec<Entry>, FolderError> {
    let unread = |path: &Path| {
        let path = path.display().to_string();
        move |error| FolderError::Read(path, error)
    };
    let mut found = Vec::new();
    for file in std::fs::read_dir(dir).map_err(unread(dir))? {
        let path = file.map_err(unread(dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(SUFFIX));
        let Some(name) = name.map(str::to_owned) else { continue };
        let text = std::fs::read_to_string(&path).map_err(unread(&path))?;
        let plan = Plan::parse(&text).map_err(|error| FolderError::Plan(path.display().to_string(), error))?;
        if plan.pipeline == pipeline {
            found.push(Entry { name: name.into(), text: text.into() });
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

/// Those that a shard runs, its index counted from 0: each plan is one shard's.
pub fn part(entries: Vec<Entry>, shard: Option<(usize, usize)>) -> Vec<Entry> {
    let (index, count) = shard.unwrap_or((0, 1));
    let ours = |(place, _): &(usize, Entry)| place % count.max(1) == index;
    entries.into_iter().enumerate().filter(ours).map(|(_, entry)| entry).collect()
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
        Plan::parse(&self.text).unwrap_or_else(|error| panic!("corpus/{}.plan.toml: {error}", self.name))
    }
}

/// How long one plan may take.
const LIMIT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 180 } else { 60 });

/// Runs every plan once, in its order, several at a time; one that breaks something runs again in another process. What was
/// not run because `stop` was set is left out.
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
                    let mut report = report.unwrap_or_else(|| lost(&plan));
                    if !report.violations.is_empty() {
                        let again = shrink::run(settings, &mut None, &plan, LIMIT, false, &given_up);
                        report.violations.extend(again.and_then(|again| deterministic::compare(&report, &again)));
                    }
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((index, entry.clone(), report));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, ..)| *index);
    done.into_iter().map(|(_, entry, report)| (entry, report)).collect()
}

/// What the plans break. Each that breaks something is written into `dir` with its story, and `again` makes of its path the
/// command that shows it.
///
/// # Errors
/// When a file cannot be written.
pub fn violations(
    ran: &[(Entry, SeedReport)],
    dir: &Path,
    again: &dyn Fn(&str) -> String,
) -> io::Result<Vec<Violation>> {
    let mut found = Vec::new();
    for (entry, seed) in ran.iter().filter(|(_, seed)| !seed.violations.is_empty()) {
        let path = dir.join(format!("{}{SUFFIX}", entry.name));
        std::fs::write(&path, entry.text.as_bytes())?;
        let plan = path.display().to_string();
        let reproduce = again(&plan);
        let (mut story_file, mut lines) = (String::new(), Vec::new());
        if let Some(mut story) = seed.story.as_deref().cloned() {
            lines = timeline::lines(&story);
            story.reproduce.clone_from(&reproduce);
            let path = dir.join(format!("{}.story.json", entry.name));
            std::fs::write(&path, serde_json::to_string(&story)?)?;
            story_file = path.display().to_string();
        }
        let mut broken = seed.violations.clone();
        checks::mark_consequences(&mut broken);
        broken.sort_by_key(|violation| (violation.consequence, checks::rank(&violation.property)));
        let also = |of: &Violation| {
            let theirs =
                broken.iter().filter(|other| !of.consequence && other.consequence && other.property != of.property);
            let theirs: BTreeSet<&str> = theirs.map(|other| other.property.as_str()).collect();
            theirs.into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        for violation in &broken {
            found.push(Violation {
                also: also(violation),
                fingerprint: violation.group(),
                past: entry.name.to_string(),
                plan: plan.clone(),
                reproduce: reproduce.clone(),
                story_file: story_file.clone(),
                story: std::mem::take(&mut lines),
                ..violation.clone()
            });
        }
    }
    Ok(found)
}

fn lost(plan: &Plan) -> SeedReport {
    let message = format!("the process of this plan died, or took more than {} s", LIMIT.as_secs());
    SeedReport::broken(plan.pipeline.clone(), plan.seed, plan.tier, "no-panic", message)
}
