//! What faults do to the hosts beyond ending them: pauses, yields, moves.
//!
//! In: the id that effects are counted under, and what is to happen. Out: rules that are armed, and moments on the calendar
//! at which it is over again.
//!
//! Invariant: whatever is begun here ends by itself, or with [`World::heal`].

use engine::env::Point;

use super::{Due, Promise, Status, World};
use crate::plan::Host;
use crate::points::PointAction;
use crate::trace::Kind;

impl World<'_> {
    /// `host` stops for `for_ms`; meanwhile `taker` gets its tasks.
    pub fn pause(&mut self, id: usize, host: Host, taker: Option<Host>, for_ms: u64) {
        if self.hosts[&host].status != Status::Up {
            return;
        }
        self.hosts[&host].env.freeze();
        self.around.effects.effective(id);
        self.paused(host, taker, for_ms);
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

    /// The host is frozen: when it goes on, and who gets its tasks before.
    pub(super) fn paused(&mut self, host: Host, taker: Option<Host>, for_ms: u64) {
        if self.hosts[&host].status != Status::Up {
            return;
        }
        let turn = self.turn(host, Status::Paused);
        let now = self.now_ms();
        if let Some(taker) = taker {
            self.at(now + for_ms / 4, Due::TakeOver { from: host, to: taker, turn });
        }
        self.at(now + for_ms.max(1), Due::Thaw { host, turn });
    }

    pub(super) fn thaw(&mut self, host: Host) {
        self.turn(host, Status::Up);
        let state = &self.hosts[&host];
        self.trace.record(&state.name, Kind::Fault, "thaw", &[]);
        state.env.thaw();
    }
}
