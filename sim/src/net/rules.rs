//! What the network does to whom: shared by every host's [`SimNetwork`](super::SimNetwork) and the world.
//!
//! In: faults, armed and lifted by the world under their ids. Out: for each frame a [`Verdict`], for each link whether it
//! is open and how slow it is. Always: latencies and outcomes are functions of (seed, link, ordinal); effects are noted
//! where they happen.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::frame::Head;
use super::tcp::Sockets;
use crate::clock::virtual_ms;
use crate::effects::{Effects, FaultId};
use crate::entropy::{counted, counted_between};
use crate::trace::Trace;

/// How long a frame is under way, at least and at most, in virtual milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    pub min_ms: u64,
    pub max_ms: u64,
    /// Frames arrive at multiples of this.
    pub grain_ms: u64,
}

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameFault {
    /// It is sent again on a second connection so much later, and that reply is thrown away.
    Duplicate { after_ms: u64 },
    /// It and all behind it wait so long; past the client's close they arrive on a connection of their own.
    Delay { ms: u64 },
    /// It arrives and is answered; the reply is lost and the connection reset.
    LoseReply,
    /// It leaves its connection and arrives so much later on one of its own, whatever becomes of the sender. The world is
    /// told ([`NetRules::take_orphans`]) and can end the sender meanwhile.
    Orphan { ms: u64 },
}

/// Which requests count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Any,
    /// Those that change something at the broker: a second arrival of any other could not matter.
    Writes,
    Api(i16),
}

impl Which {
    fn has(self, head: Head) -> bool {
        /// Fetch, ListOffsets, Metadata, OffsetFetch, FindCoordinator, ApiVersions.
        const READS: &[i16] = &[1, 2, 3, 9, 10, 18];
        match self {
            Which::Any => true,
            Which::Writes => !READS.contains(&head.api_key),
            Which::Api(key) => head.api_key == key,
        }
    }
}

/// Whether a host can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    Up,
    /// Its process is dead: its kernel refuses connections, and still sends what was written.
    Refusing,
    /// It has no power.
    Silent,
}

/// The rules of a whole world. Cheap to clone; every clone is the same.
#[derive(Clone)]
pub struct NetRules(pub(super) Arc<Inner>);

pub(super) struct Inner {
    seed: u64,
    latency: Latency,
    pub(super) trace: Trace,
    pub(super) effects: Effects,
    /// Links opened or shut, hosts came or went.
    pub(super) changed: Notify,
    /// There are parcels.
    pub(super) parcels: Notify,
    pub(super) sockets: Sockets,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By who sends and who receives.
    links: BTreeMap<Box<str>, BTreeMap<Box<str>, Link>>,
    hosts: BTreeMap<String, Reach>,
    queue: VecDeque<Parcel>,
    orphans: Vec<FaultId>,
}

#[derive(Default)]
struct Link {
    /// Its name in the draws.
    place: Box<str>,
    blocks: Vec<FaultId>,
    slow: Vec<(FaultId, u64)>,
    /// Faults that make each connection slow by a draw of its own, up to so many milliseconds.
    scattered: Vec<(FaultId, u64)>,
    connections: u64,
    /// The latest moment at which a piece of any connection is due.
    latest_due: Option<Instant>,
    armed: Vec<Armed>,
    requests: u64,
    pieces: u64,
    heals: u64,
}

struct Armed {
    id: FaultId,
    left: u32,
    which: Which,
    fault: FrameFault,
}

/// How a piece travels.
pub(super) struct UnderWay {
    pub(super) time: Duration,
    /// The faults that make it slow.
    pub(super) slow: Vec<FaultId>,
    /// Each connection of its link has a slowness of its own.
    pub(super) scattered: bool,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    Struck(FaultId, FrameFault),
}

/// What becomes of a connection that had something to send while its link was blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Healed {
    /// It was sent again, and arrives.
    Delivered,
    /// One side had given up.
    Reset,
}

/// Requests that travel without their connection.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) address: String,
    pub(super) frames: Vec<Bytes>,
    pub(super) delay_ms: u64,
    pub(super) id: Option<FaultId>,
    pub(super) duplicate: bool,
}

impl NetRules {
    pub fn new(seed: u64, latency: Latency, trace: Trace, effects: Effects) -> NetRules {
        let Latency { min_ms, max_ms, grain_ms } = latency;
        assert!(min_ms <= max_ms && grain_ms > 0, "a latency of {min_ms} to {max_ms} ms in steps of {grain_ms}");
        NetRules(Arc::new(Inner {
            seed,
            latency,
            trace,
            effects,
            changed: Notify::new(),
            parcels: Notify::new(),
            sockets: Sockets::default(),
            state: Mutex::default(),
        }))
    }

    /// The `nth` request (from 1, from now) that `which` counts on the link meets `fault`, once.
    pub fn arm(&self, id: FaultId, from: &str, to: &str, nth: u32, which: Which, fault: FrameFault) {
        self.lock().link(from, to).armed.push(Armed { id, left: nth.max(1), which, fault });
    }

    /// Nothing passes from `from` to `to` until `id` is lifted. What waits then arrives, or its connection is reset: a
    /// draw decides. Both ways: block both.
    pub fn block(&self, id: FaultId, from: &str, to: &str) {
        self.lock().link(from, to).blocks.push(id);
        self.0.changed.notify_waiters();
    }

    /// Everything from `from` to `to` takes `extra_ms` longer until `id` is lifted.
    pub fn slow(&self, id: FaultId, from: &str, to: &str, extra_ms: u64) {
        self.lock().link(from, to).slow.push((id, extra_ms));
    }

    /// Each connection from `from` to `to` has a latency of its own, up to `max_ms`, until `id` is lifted.
    pub fn scatter(&self, id: FaultId, from: &str, to: &str, max_ms: u64) {
        self.lock().link(from, to).scattered.push((id, max_ms));
    }

    /// When something arrives that leaves now and is `time` under way.
    pub(super) fn arrival(&self, time: Duration) -> Instant {
        let now_ms = virtual_ms().expect("only a host's tasks send");
        let at_ms = (now_ms + time.as_millis() as u64).next_multiple_of(self.0.latency.grain_ms);
        Instant::now() + Duration::from_millis(at_ms - now_ms)
    }

    /// The number of a new connection.
    pub(super) fn connect(&self, from: &str, to: &str) -> u64 {
        let mut state = self.lock();
        let link = state.link(from, to);
        link.connections += 1;
        link.connections
    }

    /// A piece was sent that will arrive at `due`. If it overtakes another of the link, that is the effect of what scatters
    /// its connections.
    pub(super) fn sent(&self, from: &str, to: &str, due: Instant) {
        let mut state = self.lock();
        let link = state.link(from, to);
        let overtakes = link.latest_due.is_some_and(|latest| due < latest);
        link.latest_due = link.latest_due.max(Some(due));
        let ids: Vec<FaultId> = link.scattered.iter().map(|(id, _)| *id).filter(|_| overtakes).collect();
        drop(state);
        ids.iter().for_each(|id| self.0.effects.effective(*id));
    }

    /// Ends what is in force or armed under `id`. What is under way stays under way.
    pub fn lift(&self, id: FaultId) {
        self.lift_where(|other| other == id);
    }

    /// Ends everything.
    pub fn heal(&self) {
        self.lift_where(|_| true);
    }

    fn lift_where(&self, lifted: impl Fn(FaultId) -> bool) {
        for link in self.lock().links.values_mut().flat_map(BTreeMap::values_mut) {
            link.blocks.retain(|id| !lifted(*id));
            link.slow.retain(|(id, _)| !lifted(*id));
            link.scattered.retain(|(id, _)| !lifted(*id));
            link.armed.retain(|armed| !lifted(armed.id));
        }
        self.0.changed.notify_waiters();
    }

    /// Requests sent over a link so far.
    pub fn requests(&self, from: &str, to: &str) -> u64 {
        self.lock().link(from, to).requests
    }

    pub(crate) fn set_reach(&self, host: &str, reach: Reach) {
        self.0.sockets.power(host, reach != Reach::Silent);
        self.lock().hosts.insert(host.to_string(), reach);
        self.0.changed.notify_waiters();
    }

    pub(crate) fn reach(&self, host: &str) -> Reach {
        self.lock().hosts.get(host).copied().unwrap_or(Reach::Up)
    }

    /// The faults that shut the link; none when it is open.
    pub(super) fn blocks(&self, from: &str, to: &str) -> Vec<FaultId> {
        self.lock().link(from, to).blocks.clone()
    }

    /// How long the next piece of the connection is under way.
    pub(super) fn latency(&self, from: &str, to: &str, connection: u64) -> UnderWay {
        let mut state = self.lock();
        let link = state.link(from, to);
        link.pieces += 1;
        let Latency { min_ms, max_ms, .. } = self.0.latency;
        let ms = counted_between(self.0.seed, "latency", &link.place, link.pieces, min_ms, max_ms);
        let extra: u64 = link.slow.iter().map(|(_, extra)| extra).sum();
        let late =
            |(_, max_ms): &(FaultId, u64)| counted_between(self.0.seed, "scatter", &link.place, connection, 0, *max_ms);
        let (scattered, late): (bool, u64) = (!link.scattered.is_empty(), link.scattered.iter().map(late).sum());
        let ids: Vec<FaultId> = link.slow.iter().map(|(id, _)| *id).collect();
        drop(state);
        ids.iter().for_each(|id| self.0.effects.effective(*id));
        UnderWay { time: Duration::from_millis(ms + extra + late), slow: ids, scattered }
    }

    /// Counts a request; what becomes of it.
    pub(super) fn judge(&self, from: &str, to: &str, head: Option<Head>) -> Verdict {
        let mut state = self.lock();
        let link = state.link(from, to);
        link.requests += 1;
        let Some(head) = head else { return Verdict::Pass };
        let mut verdict = Verdict::Pass;
        link.armed.retain_mut(|armed| {
            if !armed.which.has(head) {
                return true;
            }
            if armed.left > 1 {
                armed.left -= 1;
                return true;
            }
            // One fault strikes a request; another that is due waits for the next.
            let due = verdict == Verdict::Pass;
            if due {
                verdict = Verdict::Struck(armed.id, armed.fault);
            }
            !due
        });
        verdict
    }

    /// What becomes of a connection that waited for the link to open.
    pub(super) fn healed(&self, from: &str, to: &str) -> Healed {
        let mut state = self.lock();
        let link = state.link(from, to);
        link.heals += 1;
        match counted(self.0.seed, "heal", &link.place, link.heals) % 4 {
            0 => Healed::Reset,
            _ => Healed::Delivered,
        }
    }

    pub(super) fn orphaned(&self, id: FaultId) {
        self.lock().orphans.push(id);
    }

    /// The faults that made an orphan since the last call.
    pub fn take_orphans(&self) -> Vec<FaultId> {
        std::mem::take(&mut self.lock().orphans)
    }

    pub(super) fn send(&self, parcel: Parcel) {
        self.lock().queue.push_back(parcel);
        self.0.parcels.notify_one();
    }

    pub(super) fn take_parcel(&self) -> Option<Parcel> {
        self.lock().queue.pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn link(&mut self, from: &str, to: &str) -> &mut Link {
        // Twice over, so that a link that is known costs no allocation.
        if !self.links.get(from).is_some_and(|links| links.contains_key(to)) {
            let link = Link { place: format!("{from}>{to}").into(), ..Link::default() };
            self.links.entry(from.into()).or_default().insert(to.into(), link);
        }
        self.links.get_mut(from).and_then(|links| links.get_mut(to)).expect("the link was just made")
    }
}
