//! What faults do to the hosts beyond ending them: pauses, yields, moves, wrong clocks, bad disks.
//!
//! In: the id that effects are counted under, and what is to happen. Out: rules that are armed, and moments on the calendar
//! at which it is over again.
//!
//! Invariant: whatever is begun here ends by itself, or with [`World::heal`].

use std::collections::BTreeSet;
use std::path::PathBuf;

use engine::env::Point;
use reports::story::SpanKind;

use super::{CrashKind, Due, Promise, Status, World, hosts};
use crate::entropy::counted;
use crate::plan::Host;
use crate::points::PointAction;
use crate::trace::Kind;

/// Which logs a bit is to flip in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotten {
    /// What every replay reads.
    Source,
    /// What the broker reads when it starts.
    BrokersOwn,
    /// What tasks write: changelogs, repartition topics, outputs.
    Tasks,
    /// What a task reads when it restores.
    Changelogs,
}

impl Rotten {
    /// Whether a file is of one of these logs.
    fn has(self, path: &str, source: &str) -> bool {
        let Some(name) = path.strip_prefix(hosts::DATA_DIR).and_then(|rest| rest.strip_prefix('/')) else {
            return false;
        };
        let is_source = name.strip_prefix(source).is_some_and(|rest| rest.starts_with('-'));
        match self {
            Rotten::Source => is_source,
            Rotten::BrokersOwn => name.starts_with("__"),
            // A topic that begins with an underscore is no task's: the schemas.
            Rotten::Tasks => !is_source && !name.starts_with('_'),
            Rotten::Changelogs => name.split('/').next().is_some_and(|log| log.contains("-changelog-")),
        }
    }
}

/// What a kill waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// A log holds bytes that were written and not synced.
    Bytes,
    /// A segment exists, and not durably.
    Segment,
}

/// A kill that waits for its moment, and where the power goes afterwards.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ambush {
    host: Host,
    what: Unsynced,
    point: Point,
    nth: u32,
    down_ms: u64,
}

impl World<'_> {
    /// `host` is killed as soon as its disk holds `what`; once that is so, it loses its power at the `nth` passing of
    /// `point`, and is down for `down_ms`.
    pub fn kill_and_cut(&mut self, id: usize, host: Host, what: Unsynced, point: Point, nth: u32, down_ms: u64) {
        self.ambushes.insert(id, Ambush { host, what, point, nth, down_ms });
    }

    /// Kills whom the end of a tick finds with something unsynced that somebody waits for.
    pub(super) fn spring_ambushes(&mut self) {
        let waiting: Vec<(usize, Ambush)> = self.ambushes.iter().map(|(id, ambush)| (*id, *ambush)).collect();
        for (id, Ambush { host, what, point, nth, down_ms }) in waiting {
            let state = &self.hosts[&host];
            let unsynced = match what {
                Unsynced::Bytes => state.env.disk().has_unsynced_log(),
                Unsynced::Segment => state.env.disk().has_unsynced_segment(),
            };
            if state.status != Status::Up || !unsynced {
                continue;
            }
            self.ambushes.remove(&id);
            // Who sends again, or reads on, shall meet what was found before the power goes.
            if self.crash_uncounted(host, CrashKind::Kill, (down_ms / 4).max(1)) {
                self.crash_at(id, host, point, nth, CrashKind::PowerCut, down_ms);
            }
        }
    }

    /// `host` stops for `for_ms`; meanwhile `taker` gets its tasks.
    pub fn pause(&mut self, id: usize, host: Host, taker: Option<Host>, for_ms: u64) {
        if self.pause_uncounted(id, host, taker, for_ms) {
            self.around.effects.effective(id);
        }
    }

    /// [`World::pause`] as a part of another fault; whether the host was up.
    fn pause_uncounted(&mut self, id: usize, host: Host, taker: Option<Host>, for_ms: u64) -> bool {
        let up = self.hosts[&host].status == Status::Up;
        if up {
            self.hosts[&host].env.freeze();
            self.paused(id, host, taker, for_ms);
        }
        up
    }

    /// `host` stops at the `nth` passing of `point` from now, for `for_ms`; meanwhile `taker` gets its tasks.
    pub fn pause_at(&mut self, id: usize, host: Host, point: Point, nth: u32, taker: Option<Host>, for_ms: u64) {
        self.promises.insert(id, Promise::Pause { taker, for_ms });
        self.around.points.arm(id, &self.hosts[&host].name, point, nth, PointAction::Pause);
    }

    /// At the `nth` passing of `point` by `host` from now the task yields `times` times.
    pub fn yield_at(&mut self, id: usize, host: Host, point: Point, nth: u32, times: u32) {
        self.around.points.arm(id, &self.hosts[&host].name, point, nth, PointAction::Yield(times));
    }

    /// The wall clock of `host` is wrong by `ms` for a while.
    pub fn skew_clock(&mut self, id: usize, host: Host, ms: i64, for_ms: u64) {
        self.hosts[&host].env.skew().add(id, ms);
        self.at(self.now_ms() + for_ms, Due::Lift { id });
    }

    /// The `nth` read of `host`'s disk from now fails.
    pub fn fail_read(&mut self, id: usize, host: Host, nth: u32) {
        self.hosts[&host].env.disk().fail_read(id, nth);
    }

    /// The `nth` sync of `host`'s disk from now fails and takes the bytes with it, if it is for any.
    pub fn fail_sync_for_good(&mut self, id: usize, host: Host, nth: u32) {
        self.hosts[&host].env.disk().fail_sync_for_good(id, nth);
    }

    /// The first sync of `host`'s disk from the `nth` on that is for any bytes fails and takes them with it.
    pub fn lose_pages(&mut self, id: usize, host: Host, nth: u32) {
        self.hosts[&host].env.disk().lose_pages(id, nth);
    }

    /// No write of `host` finds room for a while.
    pub fn fill_disk(&mut self, id: usize, host: Host, for_ms: u64) {
        self.hosts[&host].env.disk().fill(id);
        self.at(self.now_ms() + for_ms, Due::Lift { id });
    }

    /// A bit of a closed segment of one of these logs on `host`'s disk is wrong for a while; which, `draw` says. Whether
    /// there was a closed segment.
    pub fn rot(&mut self, id: usize, host: Host, of: Rotten, draw: u64, for_ms: u64) -> bool {
        let draw = counted(self.plan.root(), "rot", &self.hosts[&host].name, draw);
        let of = |path: &str| of.has(path, &self.source);
        let Some(path) = self.hosts[&host].env.disk().rot(id, &of, draw) else { return false };
        self.rotten.insert(id, path);
        self.tell_rot();
        self.at(self.now_ms() + for_ms, Due::Lift { id });
        true
    }

    /// The board knows which files are rotten: an operator who is told of damage there waits for the copy.
    pub(super) fn tell_rot(&mut self) {
        let files: BTreeSet<PathBuf> = self.rotten.values().cloned().collect();
        if files != self.board.rotten() {
            self.board.rot(files);
        }
    }

    /// Each connection from `from` to `to` is late by a draw of its own, up to `max_ms`, for a while.
    pub fn scatter_connections(&mut self, id: usize, from: Host, to: Host, max_ms: u64, for_ms: u64) {
        self.around.net.scatter(id, &from.to_string(), &to.to_string(), max_ms);
        self.at(self.now_ms() + for_ms, Due::Lift { id });
    }

    /// All workers but `taker` stop for `for_ms`; meanwhile `taker` gets their tasks. A single one that stops is no crowd:
    /// that does not count as an effect.
    pub fn pause_all_but(&mut self, id: usize, taker: Host, for_ms: u64) {
        let workers = self.plan.cluster.task_hosts().into_iter().filter(|host| matches!(host, Host::Worker(_)));
        let mut asleep = 0;
        for host in workers.filter(|host| *host != taker).collect::<Vec<_>>() {
            asleep += u32::from(self.pause_uncounted(id, host, Some(taker), for_ms));
        }
        if asleep >= 2 {
            self.around.effects.effective(id);
        }
    }

    /// The workers are restarted, and `hosts` of them run the tasks; after `for_ms` all do.
    pub fn rescale(&mut self, id: usize, hosts: usize, for_ms: u64) {
        self.deal_tasks(id, hosts);
        let all = self.plan.cluster.task_hosts().len();
        self.at(self.now_ms() + for_ms.max(1), Due::Rescale { id, hosts: all });
    }

    pub(super) fn deal_tasks(&mut self, id: usize, hosts: usize) {
        let all = self.plan.cluster.task_hosts();
        for host in all.iter().copied().filter(|host| matches!(host, Host::Worker(_))) {
            self.take_down(host, CrashKind::Kill, 20);
        }
        let moved = self.board.deal(&all[..hosts.clamp(1, all.len())]);
        self.trace.record("world", Kind::Fault, "tasks are dealt anew", &(moved as u64).to_le_bytes());
        if moved > 0 {
            self.around.effects.effective(id);
            self.reach("restarted-with-other-workers");
        }
    }

    /// The process on `host` is asked to stop, and gone half of `for_ms` later, when `taker` gets its tasks, if there is
    /// one; another starts after the other half.
    pub fn stop_gracefully(&mut self, id: usize, host: Host, taker: Option<Host>, for_ms: u64) {
        if self.hosts[&host].status != Status::Up {
            return;
        }
        self.board.ask_to_leave(host);
        let down_ms = (for_ms / 2).max(1);
        self.at(self.now_ms() + down_ms, Due::Leave { id, host, taker, down_ms });
    }

    pub(super) fn leave(&mut self, id: usize, host: Host, taker: Option<Host>, down_ms: u64) {
        if self.hosts[&host].status == Status::Paused {
            // It has begun to end, and gets no further before it goes on: nobody else would start another.
            self.at(self.now_ms() + down_ms, Due::Leave { id, host, taker, down_ms });
            return;
        }
        let left = self.board.stay(host);
        if self.hosts[&host].status != Status::Up {
            return;
        }
        if left > 0 {
            self.around.effects.effective(id);
            self.reach("stopped-gracefully");
        }
        if let Some(taker) = taker {
            self.board.move_tasks(host, taker);
        }
        self.take_down(host, CrashKind::Kill, down_ms);
    }

    /// The host is frozen: when it goes on, and who gets its tasks before.
    pub(super) fn paused(&mut self, id: usize, host: Host, taker: Option<Host>, for_ms: u64) {
        if self.hosts[&host].status != Status::Up {
            return;
        }
        self.board.slept(host, id);
        let turn = self.turn(host, Status::Paused);
        self.diary.stopped(self.now_ms(), host, SpanKind::Paused, "pause");
        let now = self.now_ms();
        if let Some(taker) = taker {
            self.at(now + for_ms / 4, Due::TakeOver { from: host, to: taker, turn });
        }
        self.at(now + for_ms.max(1), Due::Thaw { host, turn });
    }

    pub(super) fn thaw(&mut self, host: Host) {
        self.turn(host, Status::Up);
        self.diary.went_on(self.now_ms(), host);
        let state = &self.hosts[&host];
        self.trace.record(&state.name, Kind::Fault, "thaw", &[]);
        state.env.thaw();
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::faults;
    use crate::plan::{FaultSpec, Phase, Plan};
    use crate::trace::Trace;

    /// What comes of a fault that stops all workers but the taker, of which `down` are not running anyway.
    fn zombies(down: u32) -> u64 {
        let mut plan = Plan::expand("p", 5, Some(reports::Tier::Race));
        (plan.cluster.embedded, plan.cluster.workers) = (true, 2);
        let drawn = |kind: &str, host, at_ms| {
            let mut draw = crate::draw::Draw::new(1, "test");
            let kind = faults::named(kind).expect("it is a kind");
            FaultSpec { host, ..kind.draw(&mut draw, &plan.cluster, Phase::Live, at_ms, 100) }
        };
        let kills = (1..=down).map(|number| drawn("kill", Host::Worker(number), 10));
        let faults = kills.chain([drawn("zombies", Host::Broker, 20)]).collect();
        plan.faults = faults;
        plan.validate().expect("it is valid");
        let mut world = World::new(&plan, Trace::new(plan.tick_ms(), false));
        for host in plan.cluster.task_hosts() {
            world.add_host(host, |_| pending());
        }
        world.add_immortal(Host::Control, |_| pending());
        world.schedule(Phase::Live);
        for _ in 0..50 {
            world.step(world.now_ms() + 1).expect("nobody fails");
        }
        assert_eq!(world.fault_counts()["zombies"].injected, 1);
        world.fault_counts()["zombies"].effective
    }

    #[test]
    fn every_file_is_of_one_kind_of_log_at_most_but_for_changelogs() {
        let kinds = |path: &str| {
            let all = [Rotten::Source, Rotten::BrokersOwn, Rotten::Tasks, Rotten::Changelogs];
            all.into_iter().filter(|kind| kind.has(path, "clicks.raw")).collect::<Vec<_>>()
        };
        for (path, kind) in [
            ("/data/clicks.raw-0/00000000000000000000.log", vec![Rotten::Source]),
            ("/data/__transactions-0/00000000000000000000.log", vec![Rotten::BrokersOwn]),
            ("/data/app.1.sums-changelog-0/00000000000000000000.log", vec![Rotten::Tasks, Rotten::Changelogs]),
            ("/data/app.1.by-key-repartition-1/00000000000000000000.log", vec![Rotten::Tasks]),
            ("/data/clicks.rawer.1.out-0/00000000000000000000.log", vec![Rotten::Tasks]),
            ("/data/_schemas-0/00000000000000000000.log", vec![]),
            ("/elsewhere/app.1.out-0/00000000000000000000.log", vec![]),
        ] {
            assert_eq!(kinds(path), kind, "{path}");
        }
    }

    #[test]
    fn one_worker_that_sleeps_is_no_several_zombies() {
        assert_eq!([0, 1, 2].map(zombies), [1, 0, 0]);
    }
}
