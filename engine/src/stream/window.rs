//! Event-time windows, and why their panes do not depend on the order of arrival.
//!
//! In: event times, a record's own watermark, a task's minimum. Out: which records a window takes, when its pane fires,
//! how long its state is kept, and what a task may promise downstream. Four small functions; everything else follows.
//!
//! # One rule for both kinds
//!
//! A record occupies a [`Span`] of event time: for sessions the one instant of the record, for tumbling windows the whole
//! aligned window it falls into. Spans of a key are *linked* iff their distance is at most the gap, and a **cell** is a
//! connected component of linked spans. Tumbling windows are the case gap = 0: two aligned windows are equal (distance 0,
//! linked) or at least 1 apart (never linked). So a tumbling window is a session of gap 0 over aligned spans, and what
//! follows is proved once. Write *g* for the gap, *L* for the allowed lateness, [first, last] for a cell's extent.
//!
//! | | rule | function |
//! |---|---|---|
//! | end | last + g + 1 | [`WindowSpec::end`] |
//! | accepted | own watermark < span.last + g + 1 + L | [`WindowSpec::accepts`] |
//! | fires | minimum ≥ end | [`WindowSpec::end`] |
//! | purged | minimum ≥ last + 2g + 1 + L | [`WindowSpec::purge`] |
//! | promised downstream | minimum − g − L | [`WindowSpec::promise`] |
//!
//! # Proof
//!
//! Let *own(r)* be the source watermark of the record's partition before it, a number that is fixed in the log, and *M*
//! the task's minimum. Two facts come from how watermarks travel: (a) M never falls; (b) when *r* is processed,
//! M ≤ own(r), for M is at most what *r*'s channel has announced, and a channel announces only watermarks that *r*'s
//! partition had reached before *r*. (Without a repartition M *is* own(r).)
//!
//! 1. **The set of accepted records is a function of the log**: `accepts` sees nothing but own(r) and the event time.
//!
//! 2. **Cells are a function of the set of accepted spans.** Adding a span *s* to a set of components joins *s* and every
//!    component linked to it into one; that is the definition of connected components of the larger set, so by induction
//!    the cells are the components of the set, whatever the order. A cell is linked to *s* iff first − g ≤ s.last and
//!    s.first ≤ last + g, since a component has no inner gap above g. The state of a cell is the `merge` of its records'
//!    states: `add` and `merge` are commutative and associative, so it is a function of the set too.
//!    But this needs every cell that *s* touches to be still there:
//!
//! 3. **No accepted record touches a purged cell.** If *s* touches a cell, s.first ≤ last + g, and as spans that are linked
//!    for tumbling are equal, s.last ≤ last + g as well. If *r* is accepted, M ≤ own(r) < s.last + g + 1 + L
//!    ≤ last + 2g + 1 + L, so by (a) the cell was not purged. (With a shorter bound, last + g + 1 + L, a record that is
//!    accepted may lie up to g after `last`, find nothing, and start a second session within the gap of the first.)
//!    Keeping a cell for longer than that is harmless, so the moment of purging, once a batch, is not seen.
//!
//! 4. **Which panes are out is a function of cells and M.** A pane is out iff M ≥ end, after each [`fire`]: a cell whose
//!    end M has passed fires; a change of a cell whose pane is out withdraws it, and the new cell, whose end may lie later,
//!    fires by the same rule. So at M = MAX, or when nothing more can change, the table is the set of final cells: the
//!    same for every interleaving, batch boundary, commit moment and restart.
//!
//! 5. **The promise holds.** A pane's event time is its end − 1 = last + g. Downstream must see no pane, and no retraction
//!    of one, with an event time below what was promised. A cell that fires for the first time has end > the M of the last
//!    promise, so its time is ≥ M. A change by *r* at M means M < s.last + g + 1 + L: the new cell has
//!    last ≥ s.last, so its pane's time is last + g ≥ s.last + g ≥ M − L; a withdrawn cell has last ≥ s.last − g (it is
//!    linked; for tumbling g = 0), so its pane's time last + g ≥ s.last ≥ M − g − L. All are ≥ M − g − L. The promise is
//!    written after the panes and retractions that M caused, so a channel's order keeps it.
//!    Hence **panes are never late**: a window downstream that contains a pane's time e has end > e ≥ its minimum.
//!
//! 6. **Duplicates** cannot separate: a copy's own watermark is at least its original's, so if a copy is accepted by a
//!    window its own watermark is below event time + window + L ≤ event time + horizon, and it was recognised. Which of
//!    the copies is kept is a matter of offsets in one source partition.
//!
//! [`fire`]: super::task::TaskCore::fire

use crate::types::{Millis, Timestamp};

/// Event times beyond ± this are refused as undecodable, so that no sum below can overflow.
pub const EVENT_TIME_MAX: i64 = 1 << 60;
/// The longest window, gap, lateness or horizon.
pub const LENGTH_MAX: i64 = 1 << 50;

const _: () = assert!(EVENT_TIME_MAX.checked_add(4 * LENGTH_MAX).is_some());

/// A window's extent, `start ≤ t < end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    pub start: Timestamp,
    pub end: Timestamp,
}

impl Window {
    /// The event time of a pane of this window, and the timestamp of its record.
    #[must_use]
    pub fn pane_time(self) -> Timestamp {
        Timestamp(self.end.0 - 1)
    }
}

/// The event times that a record occupies, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub first: i64,
    pub last: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tumbling { size: i64 },
    Sessions { gap: i64 },
}

/// The windows of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSpec {
    kind: Kind,
    /// 0 for tumbling windows.
    gap: i64,
    lateness: i64,
}

impl WindowSpec {
    pub fn tumbling(size: Millis, allowed_lateness: Millis) -> WindowSpec {
        WindowSpec { kind: Kind::Tumbling { size: size.0 }, gap: 0, lateness: allowed_lateness.0 }
    }

    pub fn sessions(gap: Millis, allowed_lateness: Millis) -> WindowSpec {
        WindowSpec { kind: Kind::Sessions { gap: gap.0 }, gap: gap.0, lateness: allowed_lateness.0 }
    }

    /// What is wrong with the lengths, if anything.
    pub(super) fn problem(&self) -> Option<String> {
        let (name, length, least) = match self.kind {
            Kind::Tumbling { size } => ("window size", size, 1),
            Kind::Sessions { gap } => ("session gap", gap, 0),
        };
        [(name, length, least), ("allowed lateness", self.lateness, 0)].into_iter().find_map(|(name, length, least)| {
            (length < least || length > LENGTH_MAX)
                .then(|| format!("{name} {length} ms is outside {least}..={LENGTH_MAX}"))
        })
    }

    /// The span of a record with this event time.
    #[inline]
    pub fn span(&self, event_time: i64) -> Span {
        match self.kind {
            Kind::Tumbling { size } => {
                let first =
                    event_time - mutant!("negative-times-truncated", event_time.rem_euclid(size), event_time % size);
                Span { first, last: first + (size - 1) }
            }
            Kind::Sessions { .. } => Span { first: event_time, last: event_time },
        }
    }

    #[inline]
    pub fn gap(&self) -> i64 {
        self.gap
    }

    /// The size of tumbling windows; `None` for sessions.
    pub fn size(&self) -> Option<Millis> {
        match self.kind {
            Kind::Tumbling { size } => Some(Millis(size)),
            Kind::Sessions { .. } => None,
        }
    }

    /// Whether a cell stays one when a record is taken out of it.
    pub(super) fn never_splits(&self) -> bool {
        matches!(self.kind, Kind::Tumbling { .. })
    }

    #[inline]
    pub fn lateness(&self) -> i64 {
        self.lateness
    }

    /// Whether a record with this span and own watermark is on time.
    #[inline]
    pub fn accepts(&self, own: Timestamp, span: Span) -> bool {
        own.0
            < span.last
                + self.gap
                + mutant!("late-from-the-next", 1, 2)
                + mutant!("no-allowed-lateness", self.lateness, 0)
    }

    /// The end of a cell whose last moment is `last`; its pane fires when the minimum reaches it.
    #[inline]
    pub fn end(&self, last: i64) -> i64 {
        last + self.gap + 1
    }

    /// The minimum at which no accepted record can touch a cell any more.
    #[inline]
    pub fn purge(&self, last: i64) -> i64 {
        last + mutant!("purged-a-gap-early", 2 * self.gap, self.gap) + 1 + self.lateness
    }

    /// The watermark that a task with this minimum may announce for its panes.
    pub fn promise(&self, minimum: Timestamp) -> Timestamp {
        minimum.minus(Millis(self.gap + mutant!("promise-without-lateness", self.lateness, 0)))
    }

    /// How long after its event time a record may still be accepted: no deduplication horizon may be shorter.
    pub fn reach(&self) -> Millis {
        Millis(match self.kind {
            Kind::Tumbling { size } => size + self.lateness,
            Kind::Sessions { gap } => gap + 1 + self.lateness,
        })
    }

    pub(super) fn window(&self, first: i64, last: i64) -> Window {
        Window { start: Timestamp(first), end: Timestamp(self.end(last)) }
    }
}
