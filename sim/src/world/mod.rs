//! The world: hosts on one virtual clock, and what faults may do to them between two ticks.
//!
//! In: a plan, the software of each host, the simulated disk, network and points. Out: steps. The driver steps by itself:
//! before a tick it carries out what is due, after it it settles the crashes that points asked for in the tick.
//!
//! Start with [`World::step`]; then [`World::crash`], the order in which a host is taken apart.
//!
//! Invariant: a host is frozen before it crashes, so that nothing which runs while it is taken apart (a `Drop` above
//! all) reaches the disk or the network.
//! Invariant: a crash settles the fate of unsynced bytes before the host starts again.
//! Invariant: a fault that is due on a host that is down or paused does nothing; it counts as injected, not as effective.

pub mod board;
pub(crate) mod control;
pub mod hosts;
mod observe;
mod tasks;
mod trouble;
mod witness;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use engine::env::{Env, Point};
use reports::story::SpanKind;
use reports::{FaultCount, FaultGrid};

use crate::disk::{Fate, Losses, SimDisk, SyncTime};
use crate::entropy::counted;
use crate::env::{HostEnv, Surroundings};
use crate::evidence::Crash;
use crate::hosts::{Ended, Hosts};
use crate::net::{FrameFault, Latency, Which};
use crate::plan::{Host, Phase, Plan};
use crate::points::PointAction;
use crate::states;
use crate::story::{Diary, Struck};
use crate::trace::{Kind, Trace};
use board::Board;
use trouble::Ambush;
pub use trouble::{Rotten, Unsynced};

/// When every world begins: 2026-01-01 00:00:00 UTC.
pub const EPOCH_MS: i64 = 1_767_225_600_000;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashKind {
    /// The process dies; the machine keeps what was written, and closes its sockets.
    Kill,
    /// The machine dies: unsynced bytes are in doubt, and the peers hear nothing.
    PowerCut,
    /// A power cut after which no name is left that was not durable.
    NamesLost,
}

impl CrashKind {
    pub fn of(power_cut: bool) -> CrashKind {
        if power_cut { CrashKind::PowerCut } else { CrashKind::Kill }
    }

    fn name(self) -> &'static str {
        match self {
            CrashKind::Kill => "kill",
            CrashKind::PowerCut | CrashKind::NamesLost => "power-cut",
        }
    }
}

/// What the world knows of a host.
struct HostState {
    name: String,
    env: HostEnv,
    status: Status,
    /// Grows with every change of status, so that what was planned for an earlier one is left.
    turn: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Up,
    Down,
    Paused,
}

/// What the driver does before a tick.
#[derive(Clone, Copy, Debug)]
enum Due {
    Inject {
        id: usize,
    },
    Start {
        host: Host,
        turn: u64,
    },
    TakeOver {
        from: Host,
        to: Host,
        turn: u64,
    },
    Thaw {
        host: Host,
        turn: u64,
    },
    Lift {
        id: usize,
    },
    /// Every worker is killed, and the tasks are dealt to so many hosts.
    Rescale {
        id: usize,
        hosts: usize,
    },
    /// Who was asked to stop has had its time: the process goes.
    Leave {
        id: usize,
        host: Host,
        taker: Option<Host>,
        down_ms: u64,
    },
}

/// How one fault went.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    injected: bool,
    began_ms: u64,
    ended_ms: u64,
}

/// What a point was told to ask for.
#[derive(Clone, Copy, Debug)]
enum Promise {
    Crash { kind: CrashKind, down_ms: u64 },
    Pause { taker: Option<Host>, for_ms: u64 },
}

pub struct World<'a> {
    running: Hosts<'a>,
    plan: &'a Plan,
    pub trace: Trace,
    pub board: Board,
    around: Surroundings,
    hosts: BTreeMap<Host, HostState>,
    due: BTreeMap<(u64, u64), Due>,
    due_count: u64,
    steps: u64,
    accounts: Vec<Account>,
    promises: BTreeMap<usize, Promise>,
    /// Faults whose request is still to come, and whose sender dies with it.
    orphans: BTreeMap<usize, (Host, u64)>,
    /// Kills that wait for something unsynced, by fault.
    ambushes: BTreeMap<usize, Ambush>,
    /// Files with a wrong bit, by fault.
    rotten: BTreeMap<usize, PathBuf>,
    /// The name of the source topic.
    pub source: String,
    /// The first event time in it and the last.
    pub source_times: Option<(i64, i64)>,
    crashes: Vec<Crash>,
    /// For a story, should one be told.
    pub diary: Diary,
    states: BTreeMap<&'static str, u64>,
}

impl<'a> World<'a> {
    /// An empty world for `plan`: [`World::add_host`] puts hosts in.
    pub fn new(plan: &'a Plan, trace: Trace) -> World<'a> {
        let tick_ms = plan.tick_ms();
        let cluster = &plan.cluster;
        let root = plan.root();
        let mut running = Hosts::new(root, Duration::from_millis(tick_ms));
        let around = Surroundings::new(
            root,
            EPOCH_MS,
            Latency { min_ms: cluster.latency_min_ms, max_ms: cluster.latency_max_ms, grain_ms: tick_ms },
            SyncTime { min_ms: cluster.sync_min_ms, max_ms: cluster.sync_max_ms },
            cluster.yield_percent,
            trace.clone(),
        );
        around.net.add_courier(&mut running);
        World {
            running,
            plan,
            board: Board::new(),
            trace,
            around,
            hosts: BTreeMap::new(),
            due: BTreeMap::new(),
            due_count: 0,
            steps: 0,
            accounts: vec![Account::default(); plan.faults.len()],
            promises: BTreeMap::new(),
            orphans: BTreeMap::new(),
            ambushes: BTreeMap::new(),
            rotten: BTreeMap::new(),
            source: String::new(),
            source_times: None,
            crashes: Vec::new(),
            diary: Diary::default(),
            states: BTreeMap::new(),
        }
    }

    /// Adds a host that runs `software` from every start on, with the environment of that incarnation.
    pub fn add_host<F: Future<Output = Ended> + 'static>(&mut self, host: Host, software: impl Fn(Env) -> F + 'a) {
        let env = self.new_env(host);
        self.running.host(&host.to_string(), move || software(env.start()));
    }

    /// Adds a host that never crashes, whose software ends with the world.
    pub fn add_immortal<F: Future<Output = Ended> + 'static>(&mut self, host: Host, software: impl FnOnce(Env) -> F) {
        let env = self.new_env(host).start();
        self.running.immortal(&host.to_string(), software(env));
    }

    fn new_env(&mut self, host: Host) -> HostEnv {
        let env = HostEnv::new(&host.to_string(), &self.around);
        let state = HostState { name: host.to_string(), env: env.clone(), status: Status::Up, turn: 0 };
        assert!(self.hosts.insert(host, state).is_none(), "{host} was added twice");
        env
    }

    /// Virtual milliseconds since the world began.
    pub fn now_ms(&self) -> u64 {
        self.steps * self.plan.tick_ms()
    }

    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Carries out what is due, lets every host run to the end of the next tick in which one has something to do, but not
    /// past `end_ms` or the next fault, and settles what points asked for meanwhile. At least a tick.
    ///
    /// # Errors
    /// When the software of a host ended with an error.
    pub fn step(&mut self, end_ms: u64) -> Result<(), String> {
        let now = self.now_ms();
        while let Some(entry) = self.due.first_entry()
            && entry.key().0 <= now
        {
            let due = entry.remove();
            self.carry_out(due);
        }
        // What was just laid may find its prey at once, and nothing need happen before that is over.
        self.spring_ambushes();
        self.trace.set_step(self.steps);
        let end_ms = self.due.first_key_value().map_or(end_ms, |((due_ms, _), _)| end_ms.min(*due_ms));
        let (ticks, ended) = self.running.step_to_event(end_ms.saturating_sub(now).div_ceil(self.plan.tick_ms()));
        self.steps += ticks;
        self.trace.set_step(self.steps);
        ended?;
        self.diary.tick(self.board.last_moment(), self.now_ms() - self.plan.tick_ms());
        for request in self.around.points.take_requests() {
            let host = request.host.parse().unwrap_or_else(|error| panic!("a point names a host: {error}"));
            match self.promises.remove(&request.id) {
                Some(Promise::Crash { kind, down_ms }) => {
                    let state = states::of_crash(request.point, self.board.has_outputs(host));
                    // The disk tells of that, at whatever moment it comes.
                    if state != states::WRITTEN_AND_UNSYNCED {
                        self.reach(state);
                    }
                    self.diary.because(format!("at {}", request.point.name()));
                    let losses = self.strike_down(host, kind, down_ms);
                    if request.action == PointAction::CrashUncounted && losses.names > 0 {
                        self.around.effects.effective(request.id);
                    }
                }
                Some(Promise::Pause { taker, for_ms }) => {
                    self.reach(states::of_pause(request.point));
                    self.diary.because(format!("at {}", request.point.name()));
                    self.paused(request.id, host, taker, for_ms);
                }
                None => panic!("{host} froze at {} and nobody knows why", request.point.name()),
            }
            self.account_end(request.id);
        }
        for id in self.around.net.take_orphans() {
            if let Some((host, down_ms)) = self.orphans.remove(&id) {
                self.strike_down(host, CrashKind::Kill, down_ms);
                self.account_end(id);
            }
        }
        self.spring_ambushes();
        for (host, why) in self.board.take_restarts() {
            self.trace.record(&host.to_string(), Kind::Fault, "restart", why.as_bytes());
            self.diary.because(why);
            self.take_down(host, CrashKind::Kill, 50);
        }
        Ok(())
    }

    fn carry_out(&mut self, due: Due) {
        match due {
            Due::Inject { id } => {
                let spec = &self.plan.faults[id];
                let now = self.now_ms();
                self.accounts[id] = Account { injected: true, began_ms: now, ended_ms: now + spec.for_ms };
                let (plan, kind) = (self.plan, spec.kind.0);
                self.trace.record(&spec.host.to_string(), Kind::Fault, kind.name(), &[]);
                kind.inject(self, id, &plan.faults[id]);
            }
            Due::Start { host, turn } if self.hosts[&host].turn == turn => self.start(host),
            Due::TakeOver { from, to, turn } if self.hosts[&from].turn == turn => {
                let moved = self.board.move_tasks(from, to);
                self.trace.record(&to.to_string(), Kind::Fault, "take-over", &(moved as u64).to_le_bytes());
            }
            Due::Thaw { host, turn } if self.hosts[&host].turn == turn => self.thaw(host),
            Due::Lift { id } => self.lift(id),
            Due::Rescale { id, hosts } => self.deal_tasks(id, hosts),
            Due::Leave { id, host, taker, down_ms } => self.leave(id, host, taker, down_ms),
            Due::Start { .. } | Due::TakeOver { .. } | Due::Thaw { .. } => {}
        }
    }

    fn at(&mut self, at_ms: u64, due: Due) {
        self.due_count += 1;
        self.due.insert((at_ms, self.due_count), due);
    }

    /// Puts the faults of `phase`, which begins now, on the calendar. Returns when the last of them is over.
    pub fn schedule(&mut self, phase: Phase) -> u64 {
        let (plan, now) = (self.plan, self.now_ms());
        let mut over = now;
        for (id, spec) in plan.faults.iter().enumerate().filter(|(_, spec)| spec.phase == phase) {
            self.at(now + spec.at_ms, Due::Inject { id });
            over = over.max(now + spec.kind.0.over_ms(spec));
        }
        over
    }

    /// The end of all trouble: everything runs, every link and disk is well, nothing is armed and nothing is planned.
    pub fn heal(&mut self) {
        self.due.clear();
        self.around.points.disarm_all();
        self.promises.clear();
        self.orphans.clear();
        self.ambushes.clear();
        self.around.net.heal();
        let hosts: Vec<Host> = self.hosts.keys().copied().collect();
        // Whoever is about to leave goes now: it may be past the point where it could stay, and nobody would start another.
        for &host in &hosts {
            if self.board.is_leaving(host) {
                self.take_down(host, CrashKind::Kill, 1);
            }
        }
        self.board.stay_all();
        self.rotten.clear();
        self.board.rot(Default::default());
        for host in hosts {
            self.hosts[&host].env.disk().heal();
            self.hosts[&host].env.skew().heal();
            match self.hosts[&host].status {
                Status::Up => {}
                Status::Down => self.start(host),
                Status::Paused => self.thaw(host),
            }
        }
        self.trace.record("world", Kind::Fault, "heal", &[]);
        self.diary.phase("heal", self.now_ms());
    }

    /// Nothing in the world has an effect any more.
    pub fn freeze_all(&mut self) {
        for state in self.hosts.values() {
            state.env.freeze();
        }
    }

    // What faults do.

    /// `host` goes down now and starts again after `down_ms`.
    pub fn crash(&mut self, id: usize, host: Host, kind: CrashKind, down_ms: u64) {
        if self.crash_uncounted(host, kind, down_ms) {
            self.around.effects.effective(id);
        }
    }

    /// [`World::crash`] as the first half of another fault; whether the host was up.
    pub fn crash_uncounted(&mut self, host: Host, kind: CrashKind, down_ms: u64) -> bool {
        let up = self.hosts[&host].status != Status::Down;
        if up {
            self.strike_down(host, kind, down_ms);
        }
        up
    }

    /// `host` goes down at the `nth` passing of `point` from now.
    pub fn crash_at(&mut self, id: usize, host: Host, point: Point, nth: u32, kind: CrashKind, down_ms: u64) {
        self.promises.insert(id, Promise::Crash { kind, down_ms });
        let action = match kind {
            CrashKind::Kill | CrashKind::PowerCut => PointAction::Crash,
            CrashKind::NamesLost => PointAction::CrashUncounted,
        };
        self.around.points.arm(id, &self.hosts[&host].name, point, nth, action);
    }

    /// Nothing passes from `from` to `to` for a while.
    pub fn block(&mut self, id: usize, from: Host, to: Host, for_ms: u64) {
        self.around.net.block(id, &from.to_string(), &to.to_string());
        self.at(self.now_ms() + for_ms, Due::Lift { id });
    }

    /// Everything from `from` to `to` takes `extra_ms` longer for a while.
    pub fn slow_link(&mut self, id: usize, from: Host, to: Host, extra_ms: u64, for_ms: u64) {
        self.around.net.slow(id, &from.to_string(), &to.to_string(), extra_ms);
        self.at(self.now_ms() + for_ms, Due::Lift { id });
    }

    /// The `nth` request from `host` is held for `for_ms`.
    pub fn delay_request(&mut self, id: usize, host: Host, nth: u32, for_ms: u64) {
        self.arm_request(id, host, nth, FrameFault::Delay { ms: for_ms });
    }

    /// The `nth` request from `host` arrives twice, the second time `after_ms` later.
    pub fn duplicate_request(&mut self, id: usize, host: Host, nth: u32, after_ms: u64) {
        self.arm_request(id, host, nth, FrameFault::Duplicate { after_ms });
    }

    /// The `nth` request from `host` is carried out, and its reply lost.
    pub fn lose_reply(&mut self, id: usize, host: Host, nth: u32) {
        self.arm_request(id, host, nth, FrameFault::LoseReply);
    }

    /// The `nth` request from `host` is held for `hold_ms`; `host` dies in the tick in which it was sent, and is down for
    /// `down_ms`.
    pub fn orphan_request(&mut self, id: usize, host: Host, nth: u32, hold_ms: u64, down_ms: u64) {
        self.arm_request(id, host, nth, FrameFault::Orphan { ms: hold_ms });
        self.orphans.insert(id, (host, down_ms));
    }

    /// Every sync of `host` takes `extra_ms` longer for a while.
    pub fn slow_disk(&mut self, id: usize, host: Host, extra_ms: u64, for_ms: u64) {
        self.hosts[&host].env.disk().slow_syncs(id, extra_ms);
        self.at(self.now_ms() + for_ms, Due::Lift { id });
    }

    /// The next sync of `host` fails.
    pub fn fail_sync(&mut self, id: usize, host: Host) {
        self.hosts[&host].env.disk().fail_sync(id, 1);
    }

    // How it is done.

    /// Grows with every change of a host's status, so that what was planned for an earlier one is left.
    fn turn(&mut self, host: Host, status: Status) -> u64 {
        let state = self.hosts.get_mut(&host).unwrap_or_else(|| panic!("there is no host {host}"));
        state.status = status;
        state.turn += 1;
        state.turn
    }

    fn arm_request(&mut self, id: usize, host: Host, nth: u32, fault: FrameFault) {
        self.around.net.arm(id, &host.to_string(), &Host::Broker.to_string(), nth, Which::Writes, fault);
    }

    /// A fault ends the process: [`World::take_down`].
    fn strike_down(&mut self, host: Host, kind: CrashKind, down_ms: u64) -> Losses {
        let state = &self.hosts[&host];
        if host == Host::Broker && state.status != Status::Down && state.env.disk().has_unsynced_log() {
            self.reach(states::WRITTEN_AND_UNSYNCED);
        }
        self.take_down(host, kind, down_ms)
    }

    /// Freezes and crashes the host, settles its disk, and plans the start. What that took from the disk.
    fn take_down(&mut self, host: Host, kind: CrashKind, down_ms: u64) -> Losses {
        if self.hosts[&host].status == Status::Down {
            return Losses::default();
        }
        let turn = self.turn(host, Status::Down);
        self.board.died(host);
        self.diary.stopped(self.now_ms(), host, SpanKind::Down, kind.name());
        let state = &self.hosts[&host];
        let draw = counted(self.plan.root(), "power cut", &state.name, turn);
        let fate = match kind {
            CrashKind::Kill => Fate::Kill,
            CrashKind::PowerCut => Fate::PowerCut { draw },
            CrashKind::NamesLost => {
                state.env.disk().lose_names();
                Fate::PowerCut { draw }
            }
        };
        let losses = state.env.crash(&mut self.running, fate);
        if host == Host::Broker {
            let files = state.env.disk().files();
            if losses.names > 0 {
                self.reach("unsynced-names-lost");
            }
            if losses.garbage > 0 {
                self.reach("garbage-in-place-of-bytes");
            }
            if losses.cuts > 0 {
                self.reach("cut-undone-by-power-cut");
            }
            if losses.bytes > 0 && kind != CrashKind::Kill {
                self.reach("unsynced-bytes-lost");
            }
            if losses.torn > 0 {
                self.reach("torn-write");
            }
            let (at, virtual_ms) = (self.board.moment(), self.now_ms());
            self.crashes.push(Crash { at, virtual_ms, kind: kind.name().to_owned(), files });
        }
        self.at(self.now_ms() + down_ms.max(1), Due::Start { host, turn });
        losses
    }

    fn start(&mut self, host: Host) {
        self.turn(host, Status::Up);
        self.diary.went_on(self.now_ms(), host);
        self.hosts[&host].env.bounce(&mut self.running);
    }

    fn lift(&mut self, id: usize) {
        self.rotten.remove(&id);
        self.around.net.lift(id);
        for state in self.hosts.values() {
            state.env.disk().lift(id);
            state.env.skew().lift(id);
        }
        self.tell_rot();
    }

    fn account_end(&mut self, id: usize) {
        let now = self.now_ms();
        if let Some(account) = self.accounts.get_mut(id) {
            account.ended_ms = now + self.plan.faults[id].for_ms;
        }
    }

    // What is known afterwards.

    /// Counts a rare state.
    pub fn reach(&mut self, state: &'static str) {
        *self.states.entry(state).or_default() += 1;
    }

    pub fn states(&self) -> BTreeMap<String, u64> {
        let mut states: BTreeMap<String, u64> =
            self.states.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        for (name, count) in self.board.reached() {
            *states.entry(name.to_owned()).or_default() += count;
        }
        let lost_pages = self.broker_disk().lost_pages();
        if lost_pages > 0 {
            states.insert("pages-lost-by-a-failed-sync".to_owned(), lost_pages);
        }
        for ((_, point), count) in self.around.points.passings() {
            let Some(name) = states::of_passing(point) else { continue };
            *states.entry(name.to_owned()).or_default() += count;
        }
        states
    }

    /// Every host that there is.
    pub fn hosts(&self) -> Vec<Host> {
        self.hosts.keys().copied().collect()
    }

    /// The faults whose moment came.
    pub fn struck(&self) -> Vec<Struck<'a>> {
        let all = self.accounts.iter().zip(&self.plan.faults).enumerate();
        all.filter(|(_, (account, _))| account.injected)
            .map(|(id, (account, spec))| Struck {
                spec,
                began_ms: account.began_ms,
                ended_ms: account.ended_ms,
                effective: self.around.effects.get(id).effective > 0,
            })
            .collect()
    }

    pub fn take_crashes(&mut self) -> Vec<Crash> {
        std::mem::take(&mut self.crashes)
    }

    pub fn broker_disk(&self) -> &SimDisk {
        self.hosts[&Host::Broker].env.disk()
    }

    /// Injected, effective and visible, by kind.
    pub fn fault_counts(&self) -> BTreeMap<String, FaultCount> {
        let sum = |phases: BTreeMap<String, FaultCount>| {
            phases.values().fold(FaultCount::default(), |mut sum, count| {
                sum.add(count);
                sum
            })
        };
        self.faults_by_phase().into_iter().map(|(kind, phases)| (kind, sum(phases))).collect()
    }

    /// The same, also by phase. A fault is visible when its own mechanism says so, or when between its beginning and a
    /// little after its end a call failed or a task started again on a host that it touched. The latter is a
    /// coincidence in time: another fault may have been the cause.
    pub fn faults_by_phase(&self) -> FaultGrid {
        let disturbances = self.board.disturbances();
        let slack_ms = 2 * self.plan.engine.request_timeout_ms;
        let mut counts = FaultGrid::new();
        for (id, (account, spec)) in self.accounts.iter().zip(&self.plan.faults).enumerate() {
            if !account.injected {
                continue;
            }
            let effect = self.around.effects.get(id);
            let touched = |host: Host| {
                let hosts = [Some(spec.host), spec.peer];
                spec.host == Host::Broker || hosts.contains(&Some(host))
            };
            let seen = disturbances.iter().any(|disturbance| {
                (account.began_ms..=account.ended_ms + slack_ms).contains(&disturbance.at_ms)
                    && touched(disturbance.host)
            });
            let phases = counts.entry(spec.kind.0.name().to_owned()).or_default();
            let count = phases.entry(spec.phase.name().to_owned()).or_default();
            count.injected += 1;
            if effect.effective > 0 {
                count.effective += 1;
                count.visible += u64::from(effect.visible > 0 || seen);
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::path::Path;
    use std::rc::Rc;

    use engine::env::OpenMode;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::faults;
    use crate::plan::FaultSpec;

    fn plan(kind: &str, power_cut: bool) -> Plan {
        let mut plan = Plan::expand("p", 5, Some(reports::Tier::Race));
        plan.cluster.embedded = false;
        plan.cluster.workers = 1;
        plan.cluster.sync_max_ms = 5;
        let kind = faults::named(kind).unwrap();
        let mut draw = crate::draw::Draw::new(1, "test");
        let drawn = kind.draw(&mut draw, &plan.cluster, Phase::Live, 100, 200);
        plan.faults = vec![FaultSpec { host: Host::Broker, power_cut, ..drawn }];
        plan
    }

    /// A broker that appends a byte and syncs, over and over, and answers its count; a control host that asks.
    fn run(plan: &Plan) -> (String, Vec<String>, u64, BTreeMap<String, FaultCount>) {
        let said: Rc<RefCell<Vec<String>>> = Rc::default();
        let mut world = World::new(plan, Trace::new(plan.tick_ms(), false));
        let path = Path::new("/data/0.log");
        let heard = said.clone();
        world.add_host(Host::Broker, move |env| {
            let heard = heard.clone();
            async move {
                env.disk().create_dir_all(Path::new("/data")).await?;
                let file = env.disk().open(path, OpenMode::Append).await?;
                let len = file.len().await?;
                heard.borrow_mut().push(format!("started with {len}"));
                let listener = env.network().bind("0.0.0.0:1").await?;
                tokio::task::spawn_local(async move {
                    while let Ok(mut stream) = listener.accept().await {
                        let _ = stream.write_all(&[0, 0, 0, 1, 7]).await;
                    }
                });
                loop {
                    file.append(vec![bytes::Bytes::from_static(b"x")]).await?;
                    file.sync().await?;
                    env.reach(Point::LogSynced).await;
                }
            }
        });
        let heard = said.clone();
        world.add_immortal(Host::Control, move |env| async move {
            loop {
                let answer = tokio::time::timeout(Duration::from_millis(20), async {
                    let mut stream = env.network().connect("broker:1").await?;
                    let mut answer = [0; 5];
                    stream.read_exact(&mut answer).await
                })
                .await;
                let said = match answer {
                    Ok(Ok(_)) => "answered".to_owned(),
                    Ok(Err(error)) => format!("{:?}", error.kind()),
                    Err(_) => "silence".to_owned(),
                };
                if heard.borrow().last() != Some(&said) {
                    heard.borrow_mut().push(said);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        world.schedule(Phase::Live);
        while world.now_ms() < 1_000 {
            world.step(1_000).unwrap();
        }
        world.heal();
        while world.now_ms() < 1_100 {
            world.step(1_100).unwrap();
        }
        let len = world.broker_disk().read_file(path).map_or(0, |bytes| bytes.len() as u64);
        let counts = world.fault_counts();
        let (hash, said) = (world.trace.hash(), said.borrow().clone());
        (hash, said, len, counts)
    }

    #[test]
    fn a_killed_host_comes_back_with_its_disk_and_its_peers_are_refused_meanwhile() {
        let (_, said, len, counts) = run(&plan("kill", false));
        assert_eq!(said[0], "started with 0");
        assert!(said.iter().any(|line| line == "ConnectionRefused"), "{said:?}");
        let restarts = said.iter().filter(|line| line.starts_with("started")).count();
        assert_eq!(restarts, 2, "{said:?}");
        assert!(len > 100, "{len}");
        assert_eq!(counts["kill"].effective, 1);
    }

    #[test]
    fn a_power_cut_is_silent() {
        let (_, said, _, counts) = run(&plan("power-cut", true));
        assert!(said.iter().any(|line| line == "silence"), "{said:?}");
        assert!(!said.iter().any(|line| line == "ConnectionRefused"), "{said:?}");
        assert_eq!(counts["power-cut"].effective, 1);
    }

    #[test]
    fn a_crash_at_a_point_stops_the_host_in_the_same_poll() {
        let mut plan = plan("crash-at-point", true);
        plan.faults[0].point = Some(crate::plan::PointName(Point::LogSynced));
        let (_, said, _, counts) = run(&plan);
        assert_eq!(said.iter().filter(|line| line.starts_with("started")).count(), 2, "{said:?}");
        assert_eq!(counts["crash-at-point"].effective, 1);
    }

    #[test]
    fn a_power_cut_after_a_kill_comes_at_a_point_of_the_second_start() {
        for amount in [0, 1] {
            let mut plan = plan("power-cut-after-kill", true);
            plan.faults[0].amount = Some(amount);
            plan.faults[0].point = Some(crate::plan::PointName(Point::LogSynced));
            let (_, said, _, counts) = run(&plan);
            let starts: Vec<&String> = said.iter().filter(|line| line.starts_with("started")).collect();
            assert_eq!(starts.len(), 3, "{said:?}");
            assert_ne!(starts[1], "started with 0", "a kill takes nothing");
            assert_eq!(counts["power-cut-after-kill"].effective, 1);
        }
    }

    #[test]
    fn the_same_plan_leaves_the_same_trace() {
        for kind in ["kill", "power-cut", "slow-disk"] {
            let plan = plan(kind, false);
            assert_eq!(run(&plan).0, run(&plan).0, "{kind}");
        }
        assert_ne!(run(&plan("kill", false)).0, run(&plan("slow-disk", false)).0);
    }
}
