//! The phases of a run, and what is left when they are over.
//!
//! Live: the events arrive, version 1 runs, faults strike. Heal: everything is well again. Liveness: within a bound of
//! virtual time every task has committed past the end markers and no transaction is open. Replay: version 2, a new group,
//! from offset 0 or from a time, with faults of its own; heal and liveness again. Then the disk and the histories are the
//! evidence. Some plans go on: the source loses its beginning, and version 3, which needs it, has to stop and say so
//! (unless it starts at a time, and nothing of that is gone); or it is replayed once more. In some the replay starts while
//! live still runs.
//!
//! Invariant: whatever happens, the run ends: each wait has a bound in virtual time.

use engine::log::Retention;
use engine::stream::Deployment;
use engine::types::{Offset, TopicPartition};

use crate::evidence::{AfterGap, Cut, Evidence, Gap, Keep, Liveness, RunNames, StartAboveCut, TaskNames};
use crate::plan::{Phase, Plan, TruncateBy};
use crate::world::World;
use crate::world::board::{Deleted, Deletion, GaveUp, Stage, TaskKey};
use crate::world::hosts::DATA_DIR;

/// For how long nothing may get further in a healed world. While some commit brings some group further than ever before,
/// the world is slow and not stuck: a plan may fetch and commit one event at a time, and roll a segment with each.
pub const LIVENESS_BOUND_MS: u64 = 60_000;
/// How long the readers may need for the last of it.
const LAST_READS_BOUND_MS: u64 = 10_000;
/// How long a healed world may take in all.
const SLOWEST_MS: u64 = 900_000;
/// How long the world is watched after a task has found its input cut.
const AFTER_CUT_MS: u64 = 1_000;
/// How long creating the topics may take; nothing is broken then.
const SETUP_BOUND_MS: u64 = 30_000;

/// For how long, since `from_ms`, nobody has got further than ever before.
fn stalled_ms(world: &World<'_>, from_ms: u64) -> u64 {
    world.now_ms().saturating_sub(world.board.progressed_ms().max(from_ms))
}

/// Whether this version starts at a time, and the source has events before it and from it on.
fn starts_amid(world: &World<'_>, deployment: &Deployment) -> bool {
    let amid = |time: i64| world.source_times.is_some_and(|(first, last)| first < time && time <= last);
    deployment.start().is_some_and(|start| amid(start.time().0))
}

/// Why a run stopped before its evidence was complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The software of a host ended with an error.
    Host(String),
    /// The caller's `until_ms` was reached.
    Until,
    /// A host reported what must never happen.
    Failed,
}

/// Drives a populated world through its phases.
pub struct Phases<'w, 'a> {
    pub world: &'w mut World<'a>,
    pub plan: &'a Plan,
    pub until_ms: Option<u64>,
    pub liveness: Liveness,
    pub source: &'a str,
    pub deployments: &'a [Deployment; 3],
}

impl Phases<'_, '_> {
    /// # Errors
    /// When the run cannot go on.
    pub fn run(&mut self) -> Result<(), Stop> {
        let again = self.plan.replay.twice.then_some((3, None));
        for (version, phase) in [(1, Some(Phase::Live)), (2, Some(Phase::Replay))].into_iter().chain(again) {
            self.world.board.want(version);
            let now_ms = self.world.now_ms();
            self.world.diary.phase("prepare", now_ms);
            let running = |world: &World<'_>| world.board.stage() >= Stage::Running(version);
            if !self.step_until(SETUP_BOUND_MS, running)? {
                self.fell_short(version, vec![format!("version {version} was not prepared in {SETUP_BOUND_MS} ms")]);
                if version <= 2 {
                    return Ok(());
                }
                break;
            }
            let now_ms = self.world.now_ms();
            let name = match phase {
                Some(Phase::Replay) if self.deployments[1].start().is_some() => "replay from a time",
                Some(phase) => phase.name(),
                None => "second replay",
            };
            self.world.diary.phase(name, now_ms);
            let over = phase.map_or(now_ms, |phase| self.world.schedule(phase));
            let trouble_ms = over.saturating_sub(self.world.now_ms());
            let still_to_send = match version {
                1 => self.plan.span_ms().saturating_sub(trouble_ms),
                _ => 0,
            };
            let beside_ms =
                self.plan.replay.beside_live_ms.filter(|_| version == 1).unwrap_or(trouble_ms).min(trouble_ms);
            self.step_until(beside_ms, |world| world.board.is_quiet(version))?;
            if self.plan.replay.beside_live_ms.is_some() && !self.world.board.is_quiet(1) {
                self.world.board.want(2);
            }
            self.step_until(trouble_ms - beside_ms, |world| world.board.is_quiet(version))?;
            self.world.heal();
            let healed_ms = self.world.now_ms();
            let stalled_ms = |world: &World<'_>| stalled_ms(world, healed_ms + still_to_send);
            self.step_until(SLOWEST_MS + still_to_send, |world| {
                world.board.is_quiet(version) || stalled_ms(world) >= LIVENESS_BOUND_MS
            })?;
            let quiet = self.world.board.is_quiet(version);
            let took_ms = self.world.now_ms() - healed_ms;
            self.liveness.took_virtual_ms = self.liveness.took_virtual_ms.max(took_ms.saturating_sub(still_to_send));
            if !quiet {
                self.liveness.stalled_virtual_ms = stalled_ms(self.world);
                let missing = self.missing(version);
                self.fell_short(version, missing);
                if version <= 2 {
                    return Ok(());
                }
                // Live and the first replay came to their end, and are asked all that is asked then.
                break;
            }
            match version {
                1 => self.liveness.converged = true,
                2 => {
                    self.liveness.replay_converged = true;
                    if starts_amid(self.world, &self.deployments[1]) {
                        self.world.reach("replay-from-a-timestamp");
                    }
                    if self.plan.replay.hosts.is_some_and(|hosts| hosts < self.plan.cluster.task_hosts().len() as u32) {
                        self.world.reach("replay-by-fewer-hosts");
                    }
                }
                _ if self.world.source_times.is_some() => self.world.reach("second-replay"),
                _ => {}
            }
        }
        // Who reads along gets to the end of what was acknowledged, or `unseen` says so.
        self.step_until(LAST_READS_BOUND_MS, |world| world.board.is_all_read())?;
        Ok(())
    }

    /// The source loses its beginning, and version 3 is started, which needs it. `evidence` gets what became of it.
    ///
    /// # Errors
    /// When the run cannot go on.
    pub fn run_cut(&mut self, evidence: &mut Evidence) -> Result<(), Stop> {
        let (Some(truncate), true) = (self.plan.truncate, self.liveness.replay_converged) else { return Ok(()) };
        let cut = &self.deployments[2];
        let partition = TopicPartition::new(self.source, truncate.partition);
        let names = RunNames::of(cut);
        let all: Vec<TaskKey> = names.tasks.iter().map(|task| task.key(cut.version)).collect();
        let needs = |task: &&TaskNames| task.inputs.contains(&partition);
        let keys: Vec<TaskKey> = names.tasks.iter().filter(needs).map(|task| task.key(cut.version)).collect();
        let now_ms = self.world.now_ms();
        self.world.diary.phase("cut", now_ms);
        self.world.board.want(cut.version);
        let cut_and_running = |world: &World<'_>| {
            world.board.stage() == Stage::Running(cut.version)
                && world.board.deletion().is_some_and(|deletion| deletion.start.is_some())
        };
        let started = self.step_until(SETUP_BOUND_MS, cut_and_running)?;
        let Some(log_start) = self.world.board.deletion().and_then(|deletion| deletion.start).filter(|_| started)
        else {
            let message = format!("{partition} was not cut, or version 3 not prepared, in {SETUP_BOUND_MS} ms");
            self.world.board.fail("converges", message);
            return Err(Stop::Failed);
        };
        evidence.cut = self.world.board.deletion().map(|Deletion { partition, what, start: _ }| {
            let keep = match what {
                Deleted::Below(below) => Keep::Offsets(below),
                Deleted::AllBut(Retention::From(from)) => Keep::Times(from),
                Deleted::AllBut(Retention::Bytes(bytes)) => Keep::Bytes(bytes),
            };
            Cut { partition, keep, start: log_start }
        });
        let gave_up = |world: &World<'_>| keys.iter().any(|key| world.board.gave_up(*key).is_some());
        let finished = |world: &World<'_>, keys: &[TaskKey]| {
            let finished = world.board.finished();
            keys.iter().all(|key| finished.contains_key(key))
        };
        // Who is past the cut finishes, and all others with it.
        let cut_ms = self.world.now_ms();
        self.step_until(SLOWEST_MS, |world| {
            gave_up(world) || finished(world, &all) || stalled_ms(world, cut_ms) >= LIVENESS_BOUND_MS
        })?;
        // What a task that has said so still does, and what others make of it.
        self.step_until(AFTER_CUT_MS, |_| false)?;
        match truncate.by {
            TruncateBy::Offset => {}
            TruncateBy::Time if log_start > Offset::ZERO => self.world.reach("retention-by-time"),
            TruncateBy::Size if log_start > Offset::ZERO => self.world.reach("retention-by-size"),
            TruncateBy::Time | TruncateBy::Size => {}
        }
        evidence.after_gap = Some(AfterGap { files: self.world.broker_disk().files(), names });
        let ran_into_it = truncate.after_ms.is_some();
        let from = evidence.after_gap.as_ref().and_then(|after| after.names.from);
        if let Some(from) = from {
            let gave_up: Vec<GaveUp> = keys.iter().filter_map(|key| self.world.board.gave_up(*key)).collect();
            let refused = gave_up.iter().find(|gave_up| gave_up.needed.is_none());
            let finished = finished(self.world, &all);
            evidence.start_above_cut = Some(StartAboveCut {
                group: cut.group(),
                partition: partition.clone(),
                from,
                log_start,
                ran_beside: ran_into_it,
                refused: refused.map(|gave_up| gave_up.said.clone()),
                finished: finished || gave_up.iter().any(|gave_up| gave_up.needed.is_some()),
            });
            if finished && log_start > Offset::ZERO && !ran_into_it {
                self.world.reach("start-above-a-deleted-beginning");
            }
            if refused.is_some() {
                self.world.reach("start-refused-for-what-is-gone");
                return Ok(());
            }
            if finished {
                if starts_amid(self.world, cut) {
                    self.world.reach("replay-from-a-timestamp");
                }
                self.second_replay(evidence);
                return Ok(());
            }
            if gave_up.is_empty() {
                return Ok(());
            }
        }
        if finished(self.world, &all) && (ran_into_it || log_start == Offset::ZERO) {
            if log_start > Offset::ZERO {
                self.world.reach("replay-outran-retention");
            }
            // It is a replay like any other then.
            self.second_replay(evidence);
            return Ok(());
        }
        if ran_into_it && gave_up(self.world) {
            self.world.reach("retention-under-a-running-replay");
        }
        let mut unexplained = Vec::new();
        for key in keys {
            let gave_up = self.world.board.gave_up(key);
            let needed = gave_up.as_ref().filter(|_| ran_into_it || from.is_some()).and_then(|gave_up| gave_up.needed);
            let gap = Gap {
                group: cut.group(),
                partition: partition.clone(),
                needed: needed.unwrap_or(Offset::ZERO),
                log_start,
                reported: gave_up.map(|gave_up| gave_up.said),
            };
            if gap.is_one() {
                evidence.gaps.push(gap);
            } else {
                unexplained.extend(gap.reported.map(|said| format!("{key} gave up: {said}")));
                unexplained.push(format!("{partition} starts at {log_start}, and {key} needs it from {}", gap.needed));
            }
        }
        if unexplained.is_empty() {
            return Ok(());
        }
        let (took, stalled) = ((self.world.now_ms() - cut_ms) / 1000, stalled_ms(self.world, cut_ms) / 1000);
        unexplained.extend(self.missing(cut.version));
        let message = format!(
            "version {} was not done {took} s after the cut, and nothing had got further for {stalled} s: {}",
            cut.version,
            unexplained.join("; ")
        );
        self.world.board.fail("converges", message);
        Err(Stop::Failed)
    }

    /// The third version came to its end: what it wrote is to be compared, too.
    fn second_replay(&self, evidence: &mut Evidence) {
        let files = self.world.broker_disk().files();
        evidence.second_replay = Some(AfterGap { files, names: RunNames::of(&self.deployments[2]) });
    }

    fn fell_short(&mut self, version: u32, missing: Vec<String>) {
        match version {
            1 => self.liveness.missing = missing,
            2 => self.liveness.replay_missing = missing,
            _ => self.liveness.second_replay_missing = Some(missing),
        }
    }

    fn missing(&self, version: u32) -> Vec<String> {
        let board = &self.world.board;
        let mut missing = Vec::new();
        if !board.is_produced() {
            missing.push("the producer has not sent everything".to_owned());
        }
        for task in board.unfinished(version) {
            missing.push(format!("{task} has not committed past the end markers"));
        }
        missing.extend(board.missing());
        missing
    }

    /// Steps until `holds`, at most `bound_ms`; whether it holds.
    fn step_until(&mut self, bound_ms: u64, holds: impl Fn(&World<'_>) -> bool) -> Result<bool, Stop> {
        let end_ms = self.world.now_ms() + bound_ms;
        loop {
            if holds(self.world) {
                return Ok(true);
            }
            if self.world.now_ms() >= end_ms {
                return Ok(false);
            }
            if self.until_ms.is_some_and(|until| self.world.now_ms() >= until) {
                return Err(Stop::Until);
            }
            self.world.step(self.until_ms.map_or(end_ms, |until| end_ms.min(until))).map_err(Stop::Host)?;
            if self.world.board.has_failed() {
                return Err(Stop::Failed);
            }
        }
    }

    /// What the checks may read. The world is frozen from here on.
    pub fn evidence(&mut self) -> Evidence {
        let mut evidence = Evidence {
            data_dir: DATA_DIR.into(),
            files: self.world.broker_disk().files(),
            removed: self.world.broker_disk().removed(),
            source: self.source.to_owned(),
            source_partitions: self.plan.shape.partitions,
            live: RunNames::of(&self.deployments[0]),
            replay: RunNames::of(&self.deployments[1]),
            history: self.world.board.history(),
            whole_history: None,
            crashes: self.world.take_crashes(),
            gaps: Vec::new(),
            cut: None,
            after_gap: None,
            second_replay: None,
            start_above_cut: None,
            cut_short: false,
            liveness: self.liveness.clone(),
        };
        if self.plan.replay.twice && self.world.board.is_quiet(3) {
            self.second_replay(&mut evidence);
        }
        evidence
    }
}
