//! What happens when the engine passes a named moment.
//!
//! In: rules ("crash worker-1 at its third passing of task-state-flushed from now") and a share of passings at which the
//! task lets others go first. Out: a frozen host and a request to the driver; counts of passings.
//!
//! A crash acts in the same poll: the host's gate shuts, so that nothing the host does later in this tick has an effect;
//! the driver then crashes it between ticks. Yields explore orders inside a host, which otherwise runs first in, first
//! out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::env::{BoxFuture, Point, Points};

use crate::effects::{Effects, FaultId};
use crate::entropy::{counted, counted_between};
use crate::gate::Gate;
use crate::trace::{Kind, Trace};

/// What a rule does at its passing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointAction {
    /// The host freezes; the driver crashes it after this tick.
    Crash,
    /// The same; the driver says whether it took effect, when it knows what was lost.
    CrashUncounted,
    /// The host freezes; the driver thaws it when it sees fit.
    Pause,
    /// The task goes to the end of the queue so many times.
    Yield(u32),
}

/// A host froze at a point; the driver has to act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointRequest {
    pub id: FaultId,
    pub host: String,
    pub point: Point,
    pub action: PointAction,
}

/// The rules and counts of a whole world. Cheap to clone; every clone is the same.
#[derive(Clone)]
pub struct PointRules(Arc<Inner>);

struct Inner {
    seed: u64,
    yield_percent: u32,
    trace: Trace,
    effects: Effects,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    armed: Vec<Armed>,
    hosts: BTreeMap<String, Passings>,
    requests: Vec<PointRequest>,
}

/// Of one host.
struct Passings {
    /// In the order of [`Point::ALL`].
    of: Vec<u64>,
    /// Passings of any point: the ordinal of the yield draw.
    ordinal: u64,
}

impl Default for Passings {
    fn default() -> Passings {
        Passings { of: vec![0; Point::ALL.len()], ordinal: 0 }
    }
}

struct Armed {
    id: FaultId,
    host: String,
    point: Point,
    left: u32,
    action: PointAction,
}

impl PointRules {
    /// At `yield_percent` of 100 passings a task yields up to three times.
    pub fn new(seed: u64, yield_percent: u32, trace: Trace, effects: Effects) -> PointRules {
        PointRules(Arc::new(Inner { seed, yield_percent, trace, effects, state: Mutex::default() }))
    }

    /// At the `nth` passing of `point` by `host`, counted from now and from 1, `action` happens, once.
    pub fn arm(&self, id: FaultId, host: &str, point: Point, nth: u32, action: PointAction) {
        assert!(nth > 0, "passings are counted from 1");
        self.lock().armed.push(Armed { id, host: host.to_string(), point, left: nth, action });
    }

    /// Takes back everything.
    pub fn disarm_all(&self) {
        self.lock().armed.clear();
    }

    /// What the driver has to do, in the order in which it was asked for; each is told once.
    pub fn take_requests(&self) -> Vec<PointRequest> {
        std::mem::take(&mut self.lock().requests)
    }

    /// How often each host passed each point, without those that it never passed.
    pub fn passings(&self) -> BTreeMap<(String, Point), u64> {
        let state = self.lock();
        let of = |(host, passings): (&String, &Passings)| {
            let counts: Vec<_> = Point::ALL.iter().copied().zip(passings.of.iter().copied()).collect();
            let host = host.clone();
            counts.into_iter().map(move |(point, count)| ((host.clone(), point), count))
        };
        state.hosts.iter().flat_map(of).filter(|(_, count)| *count > 0).collect()
    }

    /// How many points `host` has passed.
    fn ordinal(&self, host: &str) -> u64 {
        self.lock().hosts.get(host).map_or(0, |passings| passings.ordinal)
    }

    /// The points as one incarnation of `host` meets them.
    pub fn of_host(&self, host: &str, gate: Gate) -> Arc<dyn Points> {
        Arc::new(SimPoints { rules: self.clone(), host: host.to_string(), gate })
    }

    /// Counts the passing; which rule strikes, and how often the task yields.
    fn pass(&self, host: &str, point: Point) -> (Option<(FaultId, PointAction)>, u64) {
        let mut state = self.lock();
        if !state.hosts.contains_key(host) {
            state.hosts.insert(host.to_string(), Passings::default());
        }
        let passings = state.hosts.get_mut(host).expect("it was put there");
        passings.of[point as usize] += 1;
        passings.ordinal += 1;
        let ordinal = passings.ordinal;
        let mut struck = None;
        state.armed.retain_mut(|armed| {
            if armed.host != host || armed.point != point {
                return true;
            }
            if armed.left > 1 {
                armed.left -= 1;
                return true;
            }
            // One rule strikes at a passing; another that is due waits for the next.
            let due = struck.is_none();
            if due {
                struck = Some((armed.id, armed.action));
            }
            !due
        });
        if let Some((id, action)) = struck
            && action_freezes(action)
        {
            state.requests.push(PointRequest { id, host: host.to_string(), point, action });
        }
        let yields = counted(self.0.seed, "yield?", host, ordinal) % 100 < u64::from(self.0.yield_percent);
        let yields = if yields { counted_between(self.0.seed, "yields", host, ordinal, 1, 3) } else { 0 };
        (struck, yields)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn action_freezes(action: PointAction) -> bool {
    matches!(action, PointAction::Crash | PointAction::CrashUncounted | PointAction::Pause)
}

struct SimPoints {
    rules: PointRules,
    host: String,
    gate: Gate,
}

impl Points for SimPoints {
    fn reach(&self, point: Point) -> BoxFuture<'_, ()> {
        Box::pin(self.gate.hold(async move {
            let (struck, mut yields) = self.rules.pass(&self.host, point);
            let inner = &self.rules.0;
            inner.trace.record(&self.host, Kind::Point, point.name(), &[]);
            if let Some((id, action)) = struck {
                if action != PointAction::CrashUncounted {
                    inner.effects.effective(id);
                }
                if action_freezes(action) {
                    inner.trace.record(&self.host, Kind::Fault, "frozen at a point", point.name().as_bytes());
                    self.gate.freeze();
                    // For a crash this is the end: the gate of a crashed host never opens again.
                    self.gate.open().await;
                }
                if let PointAction::Yield(times) = action {
                    yields += u64::from(times);
                }
            }
            let before = self.rules.ordinal(&self.host);
            for _ in 0..yields {
                tokio::task::yield_now().await;
            }
            // What it let go first got somewhere.
            if let Some((id, PointAction::Yield(_))) = struck
                && self.rules.ordinal(&self.host) > before
            {
                inner.effects.visible(id);
            }
        }))
    }
}
