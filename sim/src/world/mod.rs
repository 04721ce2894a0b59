//! The world: hosts on turmoil's virtual time, and what faults may do to them between two ticks.
//!
//! In: a plan, the software of each host, the simulated disk, network and points. Out: steps. The driver steps by itself:
//! before a tick it carries out what is due, after it it settles the crashes that points asked for in the tick.
//!
//! Invariant: a host is frozen before it crashes, so that nothing which runs while it is taken apart (a `Drop` above
//! all) reaches the disk or the network.
//! Invariant: a crash settles the fate of unsynced bytes before the host starts again.

use crate::plan::Host;
use engine::env::Point;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashKind {
    /// The process dies; the machine keeps what was written, and closes its sockets.
    Kill,
    /// The machine dies: unsynced bytes are in doubt, and the peers hear nothing.
    PowerCut,
}

impl CrashKind {
    pub fn of(power_cut: bool) -> CrashKind {
        if power_cut { CrashKind::PowerCut } else { CrashKind::Kill }
    }
}

pub struct World<'a>(std::marker::PhantomData<&'a ()>);

impl World<'_> {
    pub fn crash(&mut self, _id: usize, _host: Host, _kind: CrashKind, _down_ms: u64) {}
    pub fn crash_uncounted(&mut self, _host: Host, _kind: CrashKind, _down_ms: u64) -> bool {
        false
    }
    pub fn crash_at(&mut self, _id: usize, _host: Host, _point: Point, _nth: u32, _kind: CrashKind, _down_ms: u64) {}
    pub fn pause(&mut self, _id: usize, _host: Host, _taker: Host, _for_ms: u64) {}
    pub fn block(&mut self, _id: usize, _from: Host, _to: Host, _for_ms: u64) {}
    pub fn slow_link(&mut self, _id: usize, _from: Host, _to: Host, _extra_ms: u64, _for_ms: u64) {}
    pub fn delay_request(&mut self, _id: usize, _host: Host, _nth: u32, _for_ms: u64) {}
    pub fn duplicate_request(&mut self, _id: usize, _host: Host, _nth: u32) {}
    pub fn lose_reply(&mut self, _id: usize, _host: Host, _nth: u32) {}
    pub fn slow_disk(&mut self, _id: usize, _host: Host, _extra_ms: u64, _for_ms: u64) {}
    pub fn fail_sync(&mut self, _id: usize, _host: Host, _down_ms: u64) {}
}
