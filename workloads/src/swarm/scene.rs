//! The last act of a run: sessions whose panes are out are changed once more.
//!
//! In: where the partitions are when everything else has been sent. Out: events of users of their own, markers that carry
//! the partitions past the ends of these users' sessions, and a good while later, in time by the allowed lateness, events
//! that give a session an earlier start or make one of two. Then the old row's key is not the new one's, and only a
//! retraction removes it. In the run's main part the own watermark mostly passes the allowed lateness between two commits.
//! Where other windows read the panes, some sessions change as late as a session can: what a task has announced by then is
//! just below the pane that it takes back.
//!
//! Invariant: what comes late here is accepted, whichever partition it goes to: none is past `beyond`.

use sim::workload::{EventKind, Knobs, Shape};

use super::{Moment, Swarm, Windows};

/// The shortest allowed lateness in which there is room for a scene.
const LEAST_LATENESS: i64 = 8;

/// Does such a run end with scenes?
pub(super) fn wanted(windows: Windows, knobs: &Knobs, shape: &Shape) -> bool {
    matches!(windows, Windows::Sessions { .. })
        && knobs.events > 1
        && shape.allowed_lateness.0 >= LEAST_LATENESS
        && (knobs.has(EventKind::ExtendsEmitted) || knobs.has(EventKind::BridgesEmitted))
}

impl Swarm<'_> {
    /// Plans the scenes, in the time from `at_ms` on, when nothing else is sent.
    pub(super) fn scenes(&mut self, at_ms: u64) {
        let Windows::Sessions { gap } = self.windows else { return };
        let lateness = self.shape.allowed_lateness.0;
        let reached = self.lanes.iter().flat_map(|lane| [lane.highest_event, lane.highest_marker]).flatten().max();
        let start = self.time_of(at_ms).max(reached.unwrap_or(i64::MIN));
        // The watermark of all partitions when the late ones come. Nothing below begins before `start`.
        let beyond = start + 3 * (gap + 1) + lateness;
        for _ in 0..1 + self.draw.below(3) {
            if self.knobs.has(EventKind::ExtendsEmitted) {
                self.extension(at_ms, gap, lateness, beyond);
            }
            if self.knobs.has(EventKind::BridgesEmitted) {
                self.bridge_of_emitted(at_ms, gap, lateness, beyond);
            }
            if self.onward {
                self.last_moment(at_ms, gap, lateness, beyond);
            }
        }
        for partition in 0..self.shape.partitions {
            self.at(at_ms + 1, Moment::Mark { partition, watermark: beyond });
        }
    }

    /// A session of one or two events that ended by `beyond`, and an event before it.
    fn extension(&mut self, at_ms: u64, gap: i64, lateness: i64, beyond: i64) {
        // With both at most a third of the lateness, and so what is left of it, all three together are below it.
        let third = lateness / 3 - 1;
        let last = beyond - (gap + 1) - self.draw.between(0, third);
        let first = last - self.draw.between(0, third.min(gap));
        let earlier = first - self.draw.between(1, third.min(gap));
        self.enact(at_ms, "early", [first, last], earlier);
    }

    /// Two sessions that ended by `beyond`, and the event that links them.
    fn bridge_of_emitted(&mut self, at_ms: u64, gap: i64, lateness: i64, beyond: i64) {
        let third = lateness / 3 - 1;
        let second = beyond - (gap + 1) - self.draw.between(0, third);
        let between = second - self.draw.between(1, third.min(gap));
        // More than a gap before the second, at most one before the event between them.
        let first = self.draw.between(between - gap, second - gap - 1);
        self.enact(at_ms, "join", [first, second], between);
    }

    /// A session that ended long before `beyond`, and an event that goes on with it in the last moment in which it is
    /// accepted: by `beyond` the pane lies more than a gap back, and less than that and the lateness. Half of the time the
    /// event also links it to a session after it.
    fn last_moment(&mut self, at_ms: u64, gap: i64, lateness: i64, beyond: i64) {
        let third = lateness / 3 - 1;
        let spare = self.draw.between(0, third);
        let late = beyond - gap - lateness + spare;
        let last = late - self.draw.between((gap - lateness + spare + 1).max(1), gap);
        // Nothing that is sent before the markers may carry a partition so far that one of these sessions were late.
        let (from, to) = ((last + gap + 1).max(late), (late + gap).min(beyond - gap - 1));
        let links = self.draw.chance(1, 2) && from <= to;
        let other = if links { self.draw.between(from, to) } else { last - self.draw.between(0, spare) };
        self.enact(at_ms, "last", [last, other], late);
    }

    fn enact(&mut self, at_ms: u64, prefix: &str, out: [i64; 2], late: i64) {
        let user = self.new_user(prefix);
        for ts in out {
            self.at(at_ms, Moment::Exactly { user: user.clone(), ts });
        }
        // The tasks need a commit or two before the panes are out.
        let left = self.ends_ms - at_ms;
        let arrival = at_ms + 2 + left / 2 + self.draw.below(left / 3);
        self.at(arrival.min(self.ends_ms - 1), Moment::Exactly { user, ts: late });
    }
}
