//! The phases of a run, and what is left when they are over.
//!
//! Live: the events arrive, version 1 runs, faults strike. Heal: everything is well again. Liveness: within a bound of
//! virtual time every task has committed past the end markers and no transaction is open. Replay: version 2, a new group,
//! from offset 0, with faults of its own; heal and liveness again. Then everything freezes, and the disk and the histories
//! are the evidence.
//!
//! Invariant: whatever happens, the run ends: each wait has a bound in virtual time.

use std::rc::Rc;

use engine::stream::Deployment;

use crate::evidence::{Evidence, Liveness, RunNames};
use crate::plan::{Phase, Plan};
use crate::world::World;
use crate::world::board::Stage;
use crate::world::hosts::DATA_DIR;

/// How long a healed world may take to come to rest.
pub const LIVENESS_BOUND_MS: u64 = 60_000;
/// How long creating the topics may take; nothing is broken then.
const SETUP_BOUND_MS: u64 = 30_000;

/// How long a healed cluster of this plan may take. A plan may fetch and commit one event at a time; then every event
/// waits for some syncs and round trips, and going on steadily is not the same as being stuck.
fn liveness_bound_ms(plan: &Plan) -> u64 {
    let event_ms = 6 * plan.cluster.sync_max_ms + 4 * plan.cluster.latency_max_ms;
    LIVENESS_BOUND_MS + u64::from(plan.knobs.events) * event_ms
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
}

impl Phases<'_, '_> {
    /// # Errors
    /// When the run cannot go on.
    pub fn run(&mut self) -> Result<(), Stop> {
        let bound_ms = liveness_bound_ms(self.plan);
        self.liveness.bound_virtual_ms = bound_ms;
        for (version, phase) in [(1, Phase::Live), (2, Phase::Replay)] {
            self.world.board.want(version);
            let running = |world: &World<'_>| world.board.stage() == Stage::Running(version);
            if !self.step_until(SETUP_BOUND_MS, running)? {
                self.fell_short(version, vec![format!("version {version} was not prepared in {SETUP_BOUND_MS} ms")]);
                return Ok(());
            }
            let over = self.world.schedule(phase);
            let trouble_ms = over.saturating_sub(self.world.now_ms());
            self.step_until(trouble_ms, |world| world.board.is_quiet(version))?;
            let still_to_send = match phase {
                Phase::Live => self.plan.span_ms().saturating_sub(trouble_ms),
                Phase::Replay => 0,
            };
            self.world.heal();
            let healed_ms = self.world.now_ms();
            let quiet = self.step_until(bound_ms + still_to_send, |world| world.board.is_quiet(version))?;
            let took_ms = self.world.now_ms() - healed_ms;
            self.liveness.took_virtual_ms = self.liveness.took_virtual_ms.max(took_ms.saturating_sub(still_to_send));
            if !quiet {
                let missing = self.missing(version);
                self.fell_short(version, missing);
                return Ok(());
            }
            match phase {
                Phase::Live => self.liveness.converged = true,
                Phase::Replay => self.liveness.replay_converged = true,
            }
        }
        Ok(())
    }

    fn fell_short(&mut self, version: u32, missing: Vec<String>) {
        match version {
            1 => self.liveness.missing = missing,
            _ => self.liveness.replay_missing = missing,
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
            self.world.step().map_err(Stop::Host)?;
            if self.world.board.has_failed() {
                return Err(Stop::Failed);
            }
        }
    }

    /// What the checks may read. The world is frozen from here on.
    pub fn evidence(&mut self, source: &str, deployments: &Rc<[Deployment; 2]>) -> Evidence {
        self.world.freeze_all();
        Evidence {
            data_dir: DATA_DIR.into(),
            files: self.world.broker_disk().files(),
            source: source.to_owned(),
            source_partitions: self.plan.shape.partitions,
            live: RunNames::of(&deployments[0]),
            replay: RunNames::of(&deployments[1]),
            history: self.world.board.take_history(),
            crashes: self.world.take_crashes(),
            gaps: Vec::new(),
            liveness: self.liveness.clone(),
        }
    }
}
