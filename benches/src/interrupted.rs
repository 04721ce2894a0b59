//! A replay that is killed about half way and started again: what the interruption costs.
//!
//! In: a log that was replayed before, and how long that took. Out: [`Kill`]: how long both parts took, and the output's
//! sums, which must be those of a replay that nobody disturbed.
//!
//! The first part is a process of its own that ends by SIGKILL at a random moment in the middle third of the time that a
//! replay takes, but not before two commits a partition were answered, and it counts only if each partition had one: there
//! must be something to go on from. The second is the same command for the same version of the pipeline: it recovers the
//! log, takes the transactions over, and goes on from the last commit: what it reads and what was committed before it
//! began are together every event, once. Its time counts from the moment it is started, so nothing else is done in it: the
//! source is in memory since the first part read it there before its clock started.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use reports::bench::Kill;

use crate::phase::{Pages, PhaseOutcome};
use crate::plan::Plan;
use crate::process::Launcher;
use crate::replay::ReplayOutcome;

/// How often a replay may end before it is killed.
const TRIES: u32 = 5;
/// Commits of a partition's task before the kill, on average. The first is due at once and holds next to nothing.
const COMMITS: u64 = 2;

/// Kills one replay and starts it again. `versions` are taken from `version` up, one a try.
///
/// # Errors
/// When a phase fails, or every replay is done before its kill.
pub fn kill_once(
    plan: &Plan,
    launcher: &Launcher,
    version: &mut u32,
    uninterrupted: Duration,
) -> anyhow::Result<(Kill, ReplayOutcome)> {
    for _ in 0..TRIES {
        *version += 1;
        let mut first = launcher.start(&plan.replay_phase(*version, Pages::Warm, true))?;
        let started = first.wait_for_start()?;
        let due = started + uninterrupted.mul_f64(moment());
        let Some(passed) = first.kill_at(due, COMMITS * plan.partitions as u64)? else { continue };
        let killed_after = started.elapsed();
        let mut second = launcher.start(&plan.replay_phase(*version, Pages::AsTheyAre, false))?;
        let (spawned, started) = (second.spawned, second.wait_for_start()?);
        let PhaseOutcome::Replay(outcome) = second.outcome()? else { bail!("a replay answered with something else") };
        // Everything was committed and only the output not read back yet, or a task had no commit: it proves nothing.
        if outcome.events == 0 || !outcome.all_begun {
            continue;
        }
        let restart = started - spawned;
        let resumed = restart + Duration::try_from_secs_f64(outcome.seconds).context("a replay took no time")?;
        let kill = Kill {
            killed_after_ms: ms(killed_after),
            resumed_ms: ms(resumed),
            restart_ms: ms(restart),
            open_ms: (outcome.recovery_s * 1e3) as u64,
            versions_before: *version - 1,
            restore_ms: (outcome.restore_s * 1e3) as u64,
            commits_before: passed.commits,
            snapshots_before: passed.snapshots,
            events_left: outcome.events,
            lost_ms: ms(killed_after + resumed) as i64 - ms(uninterrupted) as i64,
            peak_rss_bytes: outcome.peak_rss_bytes,
            longest_commit_gap_ms: outcome.longest_commit_gap_ms,
        };
        return Ok((kill, outcome));
    }
    bail!(
        "{TRIES} replays were done, or had not begun with each partition, when they were to be killed: take more --events"
    );
}

/// Between a third and two thirds, by the clock's last digits.
fn moment() -> f64 {
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
    let draw = u64::from(nanos).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 11;
    (1.0 + draw as f64 / (1u64 << 53) as f64) / 3.0
}

fn ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_moment_lies_in_the_middle_third() {
        for _ in 0..100 {
            let moment = super::moment();
            assert!((1.0 / 3.0..2.0 / 3.0).contains(&moment), "{moment}");
        }
    }
}
