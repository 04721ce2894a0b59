//! Shards of one campaign, put together: one verdict.
//!
//! In: the reports of shards. Out: the report that the whole campaign would have given, but for wall time.
//!
//! Invariant: reports of two campaigns or two builds are never merged, no shard counts twice, and one that is missing makes
//! the verdict inconclusive. What must have been tried is asked of the whole.

use std::collections::BTreeMap;

use reports::{GateReport, Verdict, Violation};

use super::failures::Failures;
use super::untried;

/// Reports that are no shards of one campaign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    #[error("there is nothing to merge")]
    Nothing,
    #[error("{0} is no shard's report: run the parts with --shard 1/N to --shard N/N")]
    NoShard(String),
    #[error("{one} and {other} are both shard {shard}: each shard counts once")]
    Twice { shard: String, one: String, other: String },
    #[error("{one} and {other} are of different campaigns: {what} differ ({ours}, and {theirs})")]
    Different { one: String, other: String, what: &'static str, ours: String, theirs: String },
}

/// Merges reports; each has a name that errors use, its folder for one.
///
/// # Errors
/// When they are no shards of one campaign.
pub fn merge(parts: &[(String, GateReport)]) -> Result<GateReport, MergeError> {
    let (first_name, first) = parts.first().ok_or(MergeError::Nothing)?;
    let campaign = first.campaign.clone().ok_or_else(|| MergeError::NoShard(first_name.clone()))?;
    let mut shards: BTreeMap<usize, &(String, GateReport)> = BTreeMap::new();
    let mut count = 0;
    for part in parts {
        let (name, report) = part;
        let no_shard = || MergeError::NoShard(name.clone());
        let theirs = report.campaign.as_ref().ok_or_else(no_shard)?;
        let (index, of) = report.shard.as_deref().and_then(parse).ok_or_else(no_shard)?;
        let different = |what, ours: String, theirs: String| {
            let (one, other) = (first_name.clone(), name.clone());
            Err(MergeError::Different { one, other, what, ours, theirs })
        };
        if count != 0 && count != of {
            return different("the numbers of shards", count.to_string(), of.to_string());
        }
        count = of;
        if campaign.build != theirs.build {
            return different("the builds", campaign.build, theirs.build.clone());
        }
        if campaign != *theirs {
            return different("the seeds", describe(&campaign), describe(theirs));
        }
        if let Some((other, _)) = shards.insert(index, part) {
            let shard = format!("{index}/{of}");
            return Err(MergeError::Twice { shard, one: other.clone(), other: name.clone() });
        }
    }
    let mut whole = GateReport::new(campaign.pipelines.clone(), 0);
    let mut failures = Failures::default();
    let mut past: Vec<Violation> = Vec::new();
    for (index, (_, report)) in &shards {
        whole.add_shard(report);
        whole.reasons.extend(report.reasons.iter().map(|reason| format!("shard {index}/{count}: {reason}")));
        for violation in &report.violations {
            match violation.past.as_str() {
                "" => failures.add_grouped(violation.clone()),
                _ => past.push(violation.clone()),
            }
        }
    }
    let missing: Vec<String> =
        (1..=count).filter(|index| !shards.contains_key(index)).map(|index| format!("{index}/{count}")).collect();
    if !missing.is_empty() {
        whole.seeds_asked = campaign.seed_end - campaign.seed_first;
        whole.inconclusive(format!("these shards are missing: {}", missing.join(", ")));
    }
    if campaign.whole {
        untried(&mut whole);
    }
    whole.campaign = Some(campaign);
    whole.seeds_failed = failures.seeds() as u64;
    whole.violations = failures.finish();
    if !whole.violations.is_empty() {
        whole.verdict = whole.verdict.max(Verdict::Violation);
    }
    // As a campaign in one piece has them. How many plans ran, the shards have said.
    past.sort_by(|one, other| one.past.cmp(&other.past));
    whole.add_past(0, past);
    whole.finish();
    Ok(whole)
}

fn parse(shard: &str) -> Option<(usize, usize)> {
    let (index, of) = shard.split_once('/')?;
    Some((index.parse().ok()?, of.parse().ok()?))
}

fn describe(campaign: &reports::Campaign) -> String {
    let tier = campaign.tier.map_or_else(String::new, |tier| format!(" {tier}"));
    let whole = if campaign.whole { ", the whole gate" } else { "" };
    format!("{}..{}{tier} of {}{whole}", campaign.seed_first, campaign.seed_end, campaign.pipelines.join(", "))
}
