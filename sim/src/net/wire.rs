//! The wire under one connection: a task that carries its bytes, frame by frame, and does to them what the rules say.
//!
//! In: what the engine writes, what the peer sends, the rules. Out: the same bytes at the other end, later; or not, or on
//! another connection. Always: within a connection bytes keep their order; a frame that left its connection behind
//! travels whole.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, sleep_until};

use super::frame::{Framer, Side};
use super::pipe::{WireEnd, Wish};
use super::rules::{FrameFault, Healed, NetRules, Parcel, Reach, UnderWay, Verdict};
use super::tcp::TcpStream;
use crate::effects::FaultId;
use crate::trace::Kind;

/// What waits on one side until its moment.
struct Waiting {
    due: Instant,
    bytes: Bytes,
    /// The piece begins a frame.
    begins: bool,
    /// The piece ends its frame.
    ends: bool,
    /// This frame, or one before it on this connection, was told to wait.
    delayed: Option<FaultId>,
    slow: Vec<FaultId>,
}

/// One direction of the connection.
struct Lane {
    from: String,
    to: String,
    framer: Framer,
    unframed: BytesMut,
    waiting: VecDeque<Waiting>,
    /// Of the link's connections.
    connection: u64,
    /// Nothing overtakes: the due moment of the last piece.
    last_due: Option<Instant>,
    /// The faults that kept a due piece back.
    held_by: Vec<FaultId>,
    ended: bool,
}

pub(super) struct Wire {
    rules: NetRules,
    address: String,
    pipe: WireEnd,
    out: Lane,
    back: Lane,
    /// The frame on its way out is copied, to be sent again.
    copying: Option<(FaultId, u64, BytesMut)>,
    /// The frame on its way out is delayed: until when its connection stands still.
    delayed: Option<FaultId>,
    /// The request whose reply will be lost.
    lost_reply: Option<(FaultId, i32)>,
    /// What is copied goes no other way.
    orphaning: bool,
    /// The engine's close was noticed.
    left: bool,
    over: bool,
}

enum Step {
    GoOn,
    Over,
}

impl Lane {
    fn new(rules: &NetRules, from: &str, to: &str, side: Side) -> Lane {
        Lane {
            connection: rules.connect(from, to),
            from: from.to_string(),
            to: to.to_string(),
            framer: Framer::new(side),
            unframed: BytesMut::new(),
            waiting: VecDeque::new(),
            last_due: None,
            held_by: Vec::new(),
            ended: false,
        }
    }

    fn push(&mut self, rules: &NetRules, bytes: Bytes, begins: bool, ends: bool, delayed: Option<(FaultId, u64)>) {
        let UnderWay { time, slow, scattered } = rules.latency(&self.from, &self.to, self.connection);
        let delay = Duration::from_millis(delayed.map_or(0, |(_, ms)| ms));
        let due = rules.arrival(time + delay).max(self.last_due.unwrap_or_else(Instant::now));
        self.last_due = Some(due);
        if scattered {
            rules.sent(&self.from, &self.to, due);
        }
        self.waiting.push_back(Waiting { due, bytes, begins, ends, delayed: delayed.map(|(id, _)| id), slow });
    }

    /// When the next piece wants to go; `None` when there is none, or the link must open first.
    fn next_due(&self) -> Option<Instant> {
        if self.held_by.is_empty() { self.waiting.front().map(|piece| piece.due) } else { None }
    }

    /// Whether the front piece's time has come.
    fn is_due(&self) -> bool {
        self.waiting.front().is_some_and(|piece| piece.due <= Instant::now())
    }

    /// Whether the link lets a due piece pass; `Reset` when a wait for it ended that way.
    fn passes(&mut self, rules: &NetRules) -> Option<Healed> {
        let blocks = rules.blocks(&self.from, &self.to);
        if !blocks.is_empty() {
            for id in &blocks {
                if !self.held_by.contains(id) {
                    rules.0.effects.effective(*id);
                }
            }
            self.held_by = blocks;
            return None;
        }
        if std::mem::take(&mut self.held_by).is_empty() {
            return Some(Healed::Delivered);
        }
        Some(rules.healed(&self.from, &self.to))
    }
}

impl Wire {
    pub(super) fn new(rules: NetRules, from: &str, to: &str, address: &str, pipe: WireEnd) -> Wire {
        Wire {
            address: address.to_string(),
            pipe,
            out: Lane::new(&rules, from, to, Side::Requests),
            back: Lane::new(&rules, to, from, Side::Replies),
            rules,
            copying: None,
            orphaning: false,
            delayed: None,
            lost_reply: None,
            left: false,
            over: false,
        }
    }

    /// Carries until the connection is over; then the stream is dropped, which closes it.
    pub(super) async fn carry(mut self, mut stream: TcpStream) {
        let mut arrived = BytesMut::new();
        let rules = self.rules.clone();
        loop {
            let changed = rules.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let wish = self.pipe.wish();
            self.take_from_engine(wish);
            if let Step::Over = self.send_due(&mut stream, wish) {
                break;
            }
            if let Step::Over = self.deliver_due() {
                break;
            }
            if wish == Wish::Closed && self.leave() {
                break;
            }
            let next = [self.out.next_due(), self.back.next_due()].into_iter().flatten().min();
            let reads = !self.back.ended && self.pipe.has_room() && self.back.waiting.len() < 1_000;
            tokio::select! {
                biased;
                () = self.pipe.moved() => {}
                () = &mut changed => {}
                read = stream.receive(&mut arrived), if reads => match read {
                    Ok(0) => self.peer_ended(),
                    Ok(_) => {
                        if let Step::Over = self.take_from_peer(&mut arrived) {
                            break;
                        }
                    }
                    Err(error) => {
                        self.broken(error.kind());
                        break;
                    }
                },
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
        self.over = true;
    }

    fn take_from_engine(&mut self, wish: Wish) {
        if self.out.ended {
            return;
        }
        self.pipe.take(&mut self.out.unframed);
        while let Some(piece) = self.out.framer.next(&mut self.out.unframed) {
            let begins = piece.begins.is_some();
            let mut delay_ms = 0;
            if let Some(head) = piece.begins {
                let verdict = self.rules.judge(&self.out.from, &self.out.to, head);
                if let Verdict::Struck(id, fault) = verdict {
                    self.trace(Kind::Fault, &format!("{fault:?}"), &[]);
                    match fault {
                        FrameFault::Duplicate { after_ms } => self.copying = Some((id, after_ms, BytesMut::new())),
                        FrameFault::Delay { ms } => {
                            self.delayed = Some(id);
                            delay_ms = ms;
                        }
                        FrameFault::Orphan { ms } => {
                            self.copying = Some((id, ms, BytesMut::new()));
                            self.orphaning = true;
                        }
                        FrameFault::LoseReply => self.lost_reply = head.map(|head| (id, head.correlation_id)),
                    }
                }
            }
            if let Some((_, _, copy)) = &mut self.copying {
                copy.extend_from_slice(&piece.bytes);
                if piece.ends
                    && let Some((id, delay_ms, copy)) = self.copying.take()
                {
                    let orphan = std::mem::take(&mut self.orphaning);
                    let parcel = self.parcel(vec![copy.freeze()], delay_ms, Some(id), !orphan);
                    self.rules.send(parcel);
                    if orphan {
                        self.rules.orphaned(id);
                        continue;
                    }
                }
                if self.orphaning {
                    continue;
                }
            }
            let delayed = self.delayed.map(|id| (id, delay_ms));
            self.out.push(&self.rules, piece.bytes, begins, piece.ends, delayed);
        }
        if wish != Wish::Open {
            while let Some(piece) = self.out.framer.rest(&mut self.out.unframed) {
                self.out.push(&self.rules, piece.bytes, false, false, None);
            }
            self.out.ended = true;
        }
    }

    fn send_due(&mut self, stream: &mut TcpStream, wish: Wish) -> Step {
        while self.out.is_due() {
            match self.out.passes(&self.rules) {
                None => return Step::GoOn,
                Some(Healed::Reset) => {
                    self.broken(ErrorKind::ConnectionReset);
                    return Step::Over;
                }
                Some(Healed::Delivered) => {}
            }
            let Some(piece) = self.out.waiting.pop_front() else { break };
            if let Some(id) = piece.delayed
                && piece.begins
                && self.delayed == Some(id)
            {
                self.rules.0.effects.effective(id);
                self.delayed = None;
            }
            self.trace(Kind::FrameSent, &self.out.to, &piece.bytes);
            if let Err(error) = stream.send(&piece.bytes) {
                self.broken(error.kind());
                return Step::Over;
            }
        }
        // The end of the stream is news too, and does not pass a link that is shut.
        if self.out.ended && self.out.waiting.is_empty() && wish == Wish::HalfClosed {
            match self.out.passes(&self.rules) {
                None => return Step::GoOn,
                Some(Healed::Reset) => {
                    self.broken(ErrorKind::ConnectionReset);
                    return Step::Over;
                }
                Some(Healed::Delivered) => stream.finish(),
            }
        }
        Step::GoOn
    }

    fn take_from_peer(&mut self, arrived: &mut BytesMut) -> Step {
        self.back.unframed.unsplit(arrived.split());
        while let Some(piece) = self.back.framer.next(&mut self.back.unframed) {
            if let Some(Some(head)) = piece.begins
                && let Some((id, correlation_id)) = self.lost_reply
                && head.correlation_id == correlation_id
            {
                self.rules.0.effects.effective(id);
                if self.pipe.wish() != Wish::Closed {
                    self.rules.0.effects.visible(id);
                }
                self.trace(Kind::Fault, "the reply is lost", &[]);
                self.broken(ErrorKind::ConnectionReset);
                return Step::Over;
            }
            self.back.push(&self.rules, piece.bytes, false, false, None);
        }
        Step::GoOn
    }

    fn peer_ended(&mut self) {
        while let Some(piece) = self.back.framer.rest(&mut self.back.unframed) {
            self.back.push(&self.rules, piece.bytes, false, false, None);
        }
        // The end travels like a piece.
        self.back.push(&self.rules, Bytes::new(), false, true, None);
        self.back.ended = true;
    }

    fn deliver_due(&mut self) -> Step {
        while self.back.is_due() {
            match self.back.passes(&self.rules) {
                None => return Step::GoOn,
                Some(Healed::Reset) => {
                    self.broken(ErrorKind::ConnectionReset);
                    return Step::Over;
                }
                Some(Healed::Delivered) => {}
            }
            let Some(piece) = self.back.waiting.pop_front() else { break };
            if piece.bytes.is_empty() {
                self.pipe.end();
            } else {
                self.rules.0.trace.record(&self.out.from, Kind::FrameReceived, &self.back.from, &piece.bytes);
                self.pipe.give(piece.bytes);
            }
        }
        Step::GoOn
    }

    /// The engine has closed. What it wrote is still sent; what has to wait for a fault to pass goes its own way. Whether
    /// the connection is over.
    fn leave(&mut self) -> bool {
        let blocked = !self.rules.blocks(&self.out.from, &self.out.to).is_empty();
        let waits = self.delayed.is_some() || blocked || !self.out.held_by.is_empty();
        if !std::mem::replace(&mut self.left, true) {
            // It gave up while something was on its way: the fault showed.
            let held = self.out.held_by.iter().chain(&self.back.held_by);
            let slow = self.out.waiting.iter().chain(&self.back.waiting).flat_map(|piece| &piece.slow);
            let mut seen: Vec<FaultId> = held.chain(slow).copied().collect();
            seen.sort_unstable();
            seen.dedup();
            seen.into_iter().for_each(|id| self.rules.0.effects.visible(id));
        }
        if waits {
            self.post_what_waits();
        }
        if blocked {
            // Not even the news of the close gets through. Stay until the link opens, with nothing left to say.
            self.out.held_by.clear();
            return false;
        }
        self.out.waiting.is_empty()
    }

    /// The whole frames that have not left go to the courier.
    fn post_what_waits(&mut self) {
        let now = Instant::now();
        let due = self.out.waiting.back().map_or(now, |piece| piece.due);
        self.delayed = None;
        self.post(due.duration_since(now).as_millis() as u64);
    }

    fn post(&mut self, delay_ms: u64) {
        let (mut frames, mut frame, mut whole, mut id) = (Vec::new(), BytesMut::new(), false, None);
        for piece in std::mem::take(&mut self.out.waiting) {
            if piece.begins {
                frame.clear();
                whole = true;
            }
            frame.extend_from_slice(&piece.bytes);
            id = id.or(piece.delayed);
            if piece.ends && whole {
                frames.push(frame.split().freeze());
                whole = false;
            }
        }
        if !frames.is_empty() {
            let parcel = self.parcel(frames, delay_ms, id, false);
            self.rules.send(parcel);
        }
    }

    fn parcel(&self, frames: Vec<Bytes>, delay_ms: u64, id: Option<FaultId>, duplicate: bool) -> Parcel {
        let (from, to) = (self.out.from.clone(), self.out.to.clone());
        Parcel { from, to, address: self.address.clone(), frames, delay_ms, id, duplicate }
    }

    fn broken(&mut self, kind: ErrorKind) {
        self.trace(Kind::Disconnect, &format!("{}: {kind}", self.out.to), &[]);
        self.pipe.break_off(kind);
    }

    fn trace(&self, kind: Kind, what: &str, payload: &[u8]) {
        self.rules.0.trace.record(&self.out.from, kind, what, payload);
    }
}

impl Drop for Wire {
    /// The process died under it: its kernel still sends what was written.
    fn drop(&mut self) {
        if self.over || self.rules.reach(&self.out.from) != Reach::Refusing {
            return;
        }
        self.post(0);
    }
}
