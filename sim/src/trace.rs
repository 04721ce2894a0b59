//! What happened, as one number: a rolling 128-bit hash over (step, host, kind, digest of the payload).
//!
//! In: one [`Trace::record`] per network frame, disk write, sync, point, fault and log line. Out: a hash that is equal
//! for two runs iff they did the same things in the same order, and, if asked for, the events themselves as lines.
//!
//! Invariant: nothing that differs between two processes goes in: no wall clock, no address, no process id, no order of
//! a randomly seeded map.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

use crate::clock::virtual_ms;

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    FrameSent,
    FrameReceived,
    Connect,
    Disconnect,
    DiskWrite,
    DiskSync,
    DiskChange,
    Point,
    Fault,
    Log,
    Control,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::FrameSent => "frame-sent",
            Kind::FrameReceived => "frame-received",
            Kind::Connect => "connect",
            Kind::Disconnect => "disconnect",
            Kind::DiskWrite => "disk-write",
            Kind::DiskSync => "disk-sync",
            Kind::DiskChange => "disk-change",
            Kind::Point => "point",
            Kind::Fault => "fault",
            Kind::Log => "log",
            Kind::Control => "control",
        }
    }
}

/// The world's memory of what happened. Cheap to clone; every part of the world writes to the same one.
#[derive(Clone)]
pub struct Trace(Arc<Mutex<State>>);

struct State {
    step: u64,
    tick_ms: u64,
    hash: u128,
    events: u64,
    lines: Option<String>,
    story: VecDeque<String>,
    told: Option<Vec<Told>>,
}

/// An event as a story takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub at_ms: u64,
    pub host: String,
    pub kind: Kind,
    pub what: String,
}

/// Events of a story that are kept: the last ones.
const STORY_EVENTS: usize = 24;

impl Trace {
    /// A trace of a world whose ticks are `tick_ms` virtual milliseconds. With `keep`, every event is also kept as a
    /// line for [`Trace::take_lines`].
    pub fn new(tick_ms: u64, keep: bool) -> Trace {
        let lines = keep.then(String::new);
        Trace(Arc::new(Mutex::new(State {
            step: 0,
            tick_ms,
            hash: 0,
            events: 0,
            lines,
            story: VecDeque::new(),
            told: None,
        })))
    }

    /// From now on points, faults and log lines are kept for [`Trace::take_told`]. The hash is the same.
    pub fn listen(&self) {
        self.lock().told.get_or_insert_default();
    }

    /// The driver calls this before and after each step: what is noted between two, by no host, is noted at that one.
    pub fn set_step(&self, step: u64) {
        self.lock().step = step;
    }

    pub fn step(&self) -> u64 {
        self.lock().step
    }

    /// Notes one event. `what` says it in words (a path, an address pair, a point's name); `payload` is hashed only.
    pub fn record(&self, host: &str, kind: Kind, what: &str, payload: &[u8]) {
        let mut state = self.lock();
        let digest = if payload.is_empty() { 0 } else { xxh3_64(payload) };
        // A host's own time: the driver may have let several ticks pass. A run that ends in this one ends there.
        let step = virtual_ms().map_or(state.step, |now_ms| now_ms / state.tick_ms);
        state.step = step;
        state.events += 1;
        let mut word = [0u8; 48];
        word[..16].copy_from_slice(&state.hash.to_le_bytes());
        word[16..24].copy_from_slice(&step.to_le_bytes());
        word[24..32].copy_from_slice(&digest.to_le_bytes());
        word[32..40].copy_from_slice(&xxh3_64(host.as_bytes()).to_le_bytes());
        word[40..48].copy_from_slice(&xxh3_64(what.as_bytes()).to_le_bytes());
        state.hash = xxh3_128_with_seed(&word, kind as u64);
        let at = step * state.tick_ms;
        if matches!(kind, Kind::Fault | Kind::Log | Kind::Control) {
            if state.story.len() == STORY_EVENTS {
                state.story.pop_front();
            }
            state.story.push_back(format!("{:>3}.{:03}s  {host}: {what}", at / 1000, at % 1000));
        }
        if let Some(told) = &mut state.told
            && matches!(kind, Kind::Point | Kind::Fault | Kind::Log)
        {
            told.push(Told { at_ms: at, host: host.to_owned(), kind, what: what.to_owned() });
        }
        if let Some(lines) = &mut state.lines {
            let _ = writeln!(
                lines,
                "{step} {}.{:03}s {host} {} {what} {}B {digest:016x}",
                at / 1000,
                at % 1000,
                kind.name(),
                payload.len()
            );
        }
    }

    /// 32 hex digits.
    pub fn hash(&self) -> String {
        format!("{:032x}", self.lock().hash)
    }

    /// How many events went in.
    pub fn events(&self) -> u64 {
        self.lock().events
    }

    /// What a person wants to know of the run: its last faults, restarts and log lines.
    pub fn story(&self) -> Vec<String> {
        self.lock().story.iter().cloned().collect()
    }

    /// What was kept for a story; nothing if nobody listened.
    pub fn take_told(&self) -> Vec<Told> {
        self.lock().told.take().unwrap_or_default()
    }

    /// The events as lines, if they were kept.
    pub fn take_lines(&self) -> Option<String> {
        self.lock().lines.take()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Where two traces part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Counted from 1.
    pub line: usize,
    pub left: Option<String>,
    pub right: Option<String>,
}

/// The first line in which two kept traces differ; `None` when they are equal.
pub fn first_difference(left: &str, right: &str) -> Option<Difference> {
    let (mut lefts, mut rights) = (left.lines(), right.lines());
    let mut line = 0;
    loop {
        line += 1;
        match (lefts.next(), rights.next()) {
            (None, None) => return None,
            (a, b) if a == b => {}
            (a, b) => return Some(Difference { line, left: a.map(str::to_owned), right: b.map(str::to_owned) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_events_in_another_order_give_another_hash() {
        let (one, two, three) = (Trace::new(1, true), Trace::new(1, true), Trace::new(1, false));
        for (trace, order) in [(&one, ["a", "b"]), (&two, ["b", "a"]), (&three, ["a", "b"])] {
            for host in order {
                trace.record(host, Kind::Log, "said", b"hello");
            }
        }
        assert_ne!(one.hash(), two.hash());
        assert_eq!(one.hash(), three.hash(), "keeping lines does not change the hash");
        let (one, two) = (one.take_lines().unwrap(), two.take_lines().unwrap());
        assert_eq!(first_difference(&one, &two).unwrap().line, 1);
        assert_eq!(first_difference(&one, &one), None);
    }
}
