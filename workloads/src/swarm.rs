//! Source events for the simulator: few, and as nasty as the knobs allow.
//!
//! In: the windows that the pipeline has ([`Subject`]), knobs, a shape, draws. Out: [`SourceEvent`]s in sending order, every partition's
//! last one its end marker.
//!
//! Events are sent over the span's virtual milliseconds while event time runs as much faster as the windows need to open
//! and close within it. An agenda of moments is walked in order; a moment may put others on it (a copy, a neighbour one gap
//! away, a bridge). Because the walk knows each partition's own watermark, it can aim at the boundaries exactly. What has to
//! wait until panes are out has the end of the run to itself ([`scene`]).
//!
//! Invariant: a kind is tagged by what the event turned out to be, not by what was meant, so a report counts the truth.
//! Invariant: nothing follows a partition's end marker, and an event's partition is that of its key.

use std::collections::{BTreeMap, BTreeSet};

use sim::workload::{Draw, END_OF_INPUT, EventKind, Knobs, Shape, SourceEvent};

use crate::click::{Click, ClickType, ClickVersion, record_key};
use crate::murmur2::partition;

/// What the pipeline's windows are, as far as trouble can be made with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Windows {
    Sessions { gap: i64 },
    Tumbling { size: i64 },
}

impl Windows {
    /// The length of time in which something ends.
    fn unit(self) -> i64 {
        match self {
            Windows::Sessions { gap } => gap + 1,
            Windows::Tumbling { size } => size,
        }
    }

    /// The highest event time that is too late at this own watermark.
    fn latest_late(self, watermark: i64, lateness: i64) -> i64 {
        match self {
            Windows::Sessions { gap } => watermark - lateness - gap - 1,
            Windows::Tumbling { size } => (watermark - lateness).div_euclid(size) * size - 1,
        }
    }
}

/// The pipeline that is to be troubled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    pub windows: Windows,
    /// For how long it recognises a copy, if it does.
    pub horizon: Option<i64>,
    /// Whether other windows read the panes of these.
    pub onward: bool,
}

/// Generates the events of one run.
#[must_use]
pub fn generate(subject: Subject, knobs: &Knobs, shape: &Shape, draw: &mut Draw) -> Vec<SourceEvent> {
    let mut swarm = Swarm::new(subject.windows, knobs, shape, draw);
    swarm.horizon = subject.horizon;
    swarm.onward = subject.onward;
    swarm.plan_moments();
    while let Some(((at_ms, _), moment)) = swarm.agenda.pop_first() {
        swarm.step(at_ms, moment);
    }
    swarm.events
}

/// What is to happen at a moment.
#[derive(Clone, Debug)]
enum Moment {
    Event,
    Burst,
    Late,
    OutOfOrder,
    Duplicate,
    /// Starts two events of one key, one gap (`past`: and a millisecond) apart.
    Edge {
        past: bool,
    },
    EqualTimestamps,
    RepeatedValue,
    Poison,
    /// Starts two sessions and the event that joins them.
    Bridge,
    /// An event of this user at this event time.
    Exactly {
        user: String,
        ts: i64,
    },
    /// The event with this index once more; `aimed`: when its partition's watermark is at the horizon or just below.
    Copy {
        index: usize,
        aimed: bool,
    },
    /// Another event under the id of the one with this index, so much later: it must not renew the horizon.
    Namesake {
        index: usize,
        later: i64,
    },
    Heartbeat {
        partition: i32,
    },
    /// The partition's watermark moves by a marker.
    Mark {
        partition: i32,
        watermark: i64,
    },
    /// Everything else has been sent; sessions whose panes are out change once more.
    Scenes,
    End {
        partition: i32,
    },
}

/// What a partition has seen.
#[derive(Clone, Debug, Default)]
struct Lane {
    highest_event: Option<i64>,
    highest_marker: Option<i64>,
    /// Has nothing to say in these virtual milliseconds.
    idle: Option<(u64, u64)>,
    beat: bool,
    events: u32,
    ended: bool,
}

struct Swarm<'a> {
    windows: Windows,
    horizon: Option<i64>,
    onward: bool,
    knobs: &'a Knobs,
    shape: &'a Shape,
    draw: &'a mut Draw,
    /// Until when events are sent, but for the scenes at the end.
    span_ms: u64,
    /// When the partitions end.
    ends_ms: u64,
    /// From when on some clicks are written with another schema.
    changes_ms: u64,
    /// Event time at virtual 0, and event milliseconds in a virtual one.
    base: i64,
    scale: i64,
    agenda: BTreeMap<(u64, u32), Moment>,
    planned: u32,
    lanes: Vec<Lane>,
    /// Partitions that may get events.
    used: BTreeSet<i32>,
    users: Vec<String>,
    named: u32,
    events: Vec<SourceEvent>,
    /// The clicks behind the events, by index in `events`.
    clicks: BTreeMap<usize, Click>,
    /// Accepted event times by user.
    accepted: BTreeMap<String, BTreeSet<i64>>,
}

impl<'a> Swarm<'a> {
    fn new(windows: Windows, knobs: &'a Knobs, shape: &'a Shape, draw: &'a mut Draw) -> Swarm<'a> {
        assert!(shape.partitions > 0, "a source without partitions");
        let ends_ms = knobs.span_ms.max(100);
        let span_ms = if scene::wanted(windows, knobs, shape) { ends_ms * 6 / 10 } else { ends_ms };
        let keys = i64::from(knobs.keys.max(1));
        // Per key the events are 0.3, 1 or 2 units apart on average: long sessions, short ones, mostly single events.
        let spacing = windows.unit() * *draw.pick(&[300, 1_000, 2_000]) / 1_000;
        let length = (spacing * i64::from(knobs.events) / keys).max(windows.unit() * 5);
        let base = match draw.below(4) {
            0 => -length / 2,
            1 => 0,
            _ => 1_700_006_400_000,
        };
        let base = base + draw.below(windows.unit() as u64) as i64;
        let mut used: BTreeSet<i32> = (0..shape.partitions).collect();
        if knobs.has(EventKind::UnusedPartition) {
            for _ in 0..draw.below(shape.partitions as u64).max(1) {
                if used.len() > 1 {
                    let index = draw.below(used.len() as u64) as usize;
                    used.remove(&used.iter().copied().nth(index).expect("an index below the length"));
                }
            }
        }
        let mut swarm = Swarm {
            windows,
            horizon: None,
            onward: false,
            knobs,
            shape,
            draw,
            span_ms,
            ends_ms,
            changes_ms: u64::MAX,
            base,
            scale: (length / span_ms as i64).max(1),
            agenda: BTreeMap::new(),
            planned: 0,
            lanes: vec![Lane::default(); shape.partitions as usize],
            used,
            users: Vec::new(),
            named: 0,
            events: Vec::new(),
            clicks: BTreeMap::new(),
            accepted: BTreeMap::new(),
        };
        if knobs.has(EventKind::SchemaChange) {
            swarm.changes_ms = swarm.draw.below(span_ms / 2);
        }
        swarm.users = (0..keys).map(|_| swarm.new_user("user")).collect();
        swarm
    }

    /// A user that nobody was yet, of a partition that may get events.
    fn new_user(&mut self, prefix: &str) -> String {
        loop {
            let user = format!("{prefix}-{}", self.named);
            self.named += 1;
            if !self.shape.keyed_by_record || self.used.contains(&partition(user.as_bytes(), self.shape.partitions)) {
                return user;
            }
        }
    }

    fn at(&mut self, at_ms: u64, moment: Moment) {
        self.planned += 1;
        self.agenda.insert((at_ms, self.planned), moment);
    }

    fn time_of(&self, at_ms: u64) -> i64 {
        self.base + at_ms as i64 * self.scale
    }

    /// The first virtual millisecond at which event time has reached `ts`, no later than the events of a run go.
    fn moment_of(&self, ts: i64) -> u64 {
        let at = (ts - self.base).div_euclid(self.scale) + 1;
        (at.max(0) as u64).min(self.span_ms * 95 / 100)
    }

    fn plan_moments(&mut self) {
        let events = self.knobs.events;
        for lane in 0..self.shape.partitions {
            // A partition without events would hold all windows open until its end marker, so some end at once.
            let early = !self.used.contains(&lane) && self.draw.chance(1, 2);
            let at = if early { self.draw.below(self.span_ms / 4) } else { self.ends_ms };
            self.at(at, Moment::End { partition: lane });
        }
        if events > 1 && self.knobs.has(EventKind::IdlePartition) {
            self.plan_idleness();
        }
        let until = self.span_ms * 9 / 10;
        for _ in 0..events {
            let at = self.draw.below(until);
            self.at(at, Moment::Event);
        }
        if events <= 1 {
            return;
        }
        let troubles = [
            (EventKind::Late, Moment::Late),
            (EventKind::OutOfOrder, Moment::OutOfOrder),
            (EventKind::Duplicate, Moment::Duplicate),
            (EventKind::ExactGap, Moment::Edge { past: false }),
            (EventKind::PastGap, Moment::Edge { past: true }),
            (EventKind::EqualTimestamps, Moment::EqualTimestamps),
            (EventKind::RepeatedValue, Moment::RepeatedValue),
            (EventKind::Poison, Moment::Poison),
            (EventKind::Bridge, Moment::Bridge),
        ];
        for (kind, moment) in troubles {
            if self.knobs.has(kind) {
                for _ in 0..1 + self.draw.below(u64::from(events / 12) + 2) {
                    let at = self.span_ms / 20 + self.draw.below(until);
                    self.at(at.min(self.span_ms * 95 / 100), moment.clone());
                }
            }
        }
        if scene::wanted(self.windows, self.knobs, self.shape) {
            // By then the last idle partition is back.
            self.at(self.span_ms * 21 / 20, Moment::Scenes);
        }
        if self.knobs.has(EventKind::Burst) {
            for _ in 0..1 + self.draw.below(3) {
                let at = self.draw.below(until);
                self.at(at, Moment::Burst);
            }
        }
    }

    fn plan_idleness(&mut self) {
        let idle: Vec<i32> = self.used.iter().copied().collect();
        for _ in 0..1 + self.draw.below(2) {
            let lane = *self.draw.pick(&idle);
            let start = self.span_ms / 10 + self.draw.below(self.span_ms / 2);
            let end = start + self.span_ms / 10 + self.draw.below(self.span_ms / 3);
            self.lanes[lane as usize].idle = Some((start, end));
            // Now and then one is silent without a word; everyone waits for it.
            let beats = if self.draw.chance(1, 4) { 1 } else { 3 + self.draw.below(4) };
            for beat in 1..=beats {
                let at = start + (end - start) * beat / (beats + 1);
                self.at(at.min(self.span_ms - 1), Moment::Heartbeat { partition: lane });
            }
        }
    }

    fn step(&mut self, at_ms: u64, moment: Moment) {
        match moment {
            Moment::Event => {
                let user = self.pick_user(at_ms);
                self.usual(at_ms, user, &[]);
            }
            Moment::Burst => {
                for _ in 0..5 + self.draw.below(20) {
                    let user = self.pick_user(at_ms);
                    self.usual(at_ms, user, &[EventKind::Burst]);
                }
            }
            Moment::Late => self.late(at_ms),
            Moment::OutOfOrder => self.out_of_order(at_ms),
            Moment::Duplicate => {
                let user = self.pick_user(at_ms);
                if let Some(index) = self.usual(at_ms, user, &[]) {
                    let longest = if self.draw.chance(1, 3) { self.span_ms / 2 } else { self.span_ms / 40 };
                    let copies = 1 + self.draw.below(3);
                    for _ in 0..copies {
                        let at = (at_ms + self.draw.below(longest + 1)).min(self.span_ms - 1);
                        self.at(at, Moment::Copy { index, aimed: false });
                    }
                    if let Some(horizon) = self.horizon
                        && self.draw.chance(1, 2)
                    {
                        let ts = self.events[index].timestamp;
                        let at = self.moment_of(ts + horizon).max(at_ms);
                        if self.draw.chance(1, 2) {
                            let later = self.draw.between(1, horizon / 2);
                            let meanwhile = self.moment_of(ts + later).clamp(at_ms, at);
                            self.at(meanwhile, Moment::Namesake { index, later });
                        }
                        self.at(at, Moment::Copy { index, aimed: true });
                    }
                }
            }
            Moment::Copy { index, aimed } => self.copy(at_ms, index, aimed),
            Moment::Namesake { index, later } => {
                if let Some(click) = self.clicks.get(&index).cloned() {
                    self.emit(at_ms, Click { ts: click.ts + later, ..click }, &[EventKind::Duplicate]);
                }
            }
            Moment::Edge { past } => self.edge(at_ms, i64::from(past)),
            Moment::EqualTimestamps => {
                let user = self.pick_user(at_ms);
                if let Some(index) = self.usual(at_ms, user.clone(), &[]) {
                    let ts = self.events[index].timestamp;
                    let at = (at_ms + self.draw.below(self.span_ms / 50 + 1)).min(self.span_ms - 1);
                    self.at(at, Moment::Exactly { user, ts });
                }
            }
            Moment::RepeatedValue => {
                let user = self.pick_user(at_ms);
                let last = self.clicks.values().rev().find(|click| click.user_id == user.as_str()).cloned();
                let first = match last {
                    Some(click) => click,
                    None => self.click(&user, self.time_of(at_ms)),
                };
                let ts = self.time_of(at_ms) + 1;
                let click = Click { event_id: self.event_id(at_ms), ts, ..first };
                self.emit(at_ms, click, &[EventKind::RepeatedValue]);
            }
            Moment::Poison => self.poison(at_ms),
            Moment::Bridge => self.bridge(at_ms),
            Moment::Exactly { user, ts } => {
                let mut click = self.click(&user, ts);
                click.event_id = self.event_id(at_ms);
                self.emit(at_ms, click, &[]);
            }
            Moment::Heartbeat { partition } => self.heartbeat(at_ms, partition),
            Moment::Mark { partition, watermark } => {
                if !self.lanes[partition as usize].ended {
                    self.mark(at_ms, partition, watermark);
                }
            }
            Moment::Scenes => self.scenes(at_ms),
            Moment::End { partition } => {
                let mut event = SourceEvent::marker(at_ms, partition, END_OF_INPUT);
                let lane = &mut self.lanes[partition as usize];
                lane.ended = true;
                if lane.events == 0 {
                    event.kinds.insert(EventKind::UnusedPartition);
                }
                self.events.push(event);
            }
        }
    }

    fn is_open(&self, lane: i32, at_ms: u64) -> bool {
        let state = &self.lanes[lane as usize];
        let idle = state.idle.is_some_and(|(start, end)| (start..end).contains(&at_ms));
        self.used.contains(&lane) && !state.ended && !idle
    }

    fn pick_user(&mut self, at_ms: u64) -> String {
        if self.knobs.has(EventKind::HotKey) && self.draw.chance(2, 3) {
            return self.users[0].clone();
        }
        let index = self.draw.below(self.users.len() as u64) as usize;
        // A user whose partition is idle gives way to the next whose is not.
        let open = |user: &String| {
            !self.shape.keyed_by_record || self.is_open(partition(user.as_bytes(), self.shape.partitions), at_ms)
        };
        let turned = self.users.iter().cycle().skip(index).take(self.users.len());
        turned.clone().find(|user| open(user)).unwrap_or(&self.users[index]).clone()
    }

    /// A fresh event id; if the source is keyed by event, of a partition that takes events now, if there is one.
    fn event_id(&mut self, at_ms: u64) -> u64 {
        for _ in 0..64 {
            let id = self.draw.next_u64();
            let lane = partition(format!("{id:016x}").as_bytes(), self.shape.partitions);
            if self.shape.keyed_by_record || self.is_open(lane, at_ms) {
                return id;
            }
        }
        self.draw.next_u64()
    }

    fn click(&mut self, user: &str, ts: i64) -> Click {
        let kind = ClickType::ALL[self.draw.weighted(&[6, 3, 2, 1])];
        let product_id = self.draw.below(5) as i64;
        Click { event_id: self.draw.next_u64(), ts, user_id: user.into(), product_id, kind }
    }

    /// An event as the clock has it; in order within its partition.
    fn usual(&mut self, at_ms: u64, user: String, kinds: &[EventKind]) -> Option<usize> {
        let mut click = self.click(&user, self.time_of(at_ms));
        click.event_id = self.event_id(at_ms);
        click.ts += self.draw.below(self.scale as u64) as i64;
        let lane = &self.lanes[self.lane_of(&click) as usize];
        click.ts = click.ts.max(lane.highest_event.unwrap_or(click.ts));
        self.emit(at_ms, click, kinds)
    }

    fn lane_of(&self, click: &Click) -> i32 {
        let mut key = Vec::new();
        record_key(click, self.shape.keyed_by_record, &mut key);
        partition(&key, self.shape.partitions)
    }

    fn own_watermark(&self, lane: i32) -> Option<i64> {
        let lane = &self.lanes[lane as usize];
        lane.highest_event.map(|time| time - self.shape.bound.0).max(lane.highest_marker)
    }

    /// Too late by nothing, a little or a lot; or in time by one millisecond.
    fn late(&mut self, at_ms: u64) {
        let user = self.pick_user(at_ms);
        let mut click = self.click(&user, self.time_of(at_ms));
        click.event_id = self.event_id(at_ms);
        if let Some(watermark) = self.own_watermark(self.lane_of(&click)) {
            let latest = self.windows.latest_late(watermark, self.shape.allowed_lateness.0);
            click.ts = match self.draw.weighted(&[3, 2, 3, 2]) {
                0 => latest,
                1 => latest - 1 - self.draw.below(10) as i64,
                2 => latest - self.draw.below(2 * self.windows.unit() as u64) as i64,
                _ => latest + 1,
            };
        }
        self.emit(at_ms, click, &[]);
    }

    fn out_of_order(&mut self, at_ms: u64) {
        let user = self.pick_user(at_ms);
        let mut click = self.click(&user, self.time_of(at_ms));
        click.event_id = self.event_id(at_ms);
        if let Some(highest) = self.lanes[self.lane_of(&click) as usize].highest_event {
            click.ts = highest - self.draw.between(1, self.shape.bound.0.max(2));
        }
        self.emit(at_ms, click, &[]);
    }

    fn copy(&mut self, at_ms: u64, index: usize, aimed: bool) {
        let Some(click) = self.clicks.get(&index).cloned() else { return };
        let lane = self.lane_of(&click);
        if !self.is_open(lane, at_ms) {
            return;
        }
        if aimed && let Some(horizon) = self.horizon {
            let watermark = click.ts + horizon - self.draw.below(2) as i64;
            // Unless that would promise what is still to come.
            if self.own_watermark(lane) < Some(watermark) && watermark <= self.time_of(at_ms) {
                self.mark(at_ms, lane, watermark);
            }
        }
        self.emit(at_ms, click, &[EventKind::Duplicate]);
    }

    /// Two events of a key exactly a gap apart, or on both sides of a window's edge; with `past`, a millisecond further.
    fn edge(&mut self, at_ms: u64, past: i64) {
        let user = if self.draw.chance(2, 3) { self.new_user("edge") } else { self.pick_user(at_ms) };
        let (first, second) = match self.windows {
            Windows::Sessions { gap } => {
                let first = self.time_of(at_ms);
                (first, first + gap + past)
            }
            Windows::Tumbling { size } => {
                let end = (self.time_of(at_ms).div_euclid(size) + 1) * size;
                (end - 1, end + past)
            }
        };
        for ts in [first, second] {
            let at = self.moment_of(ts).max(at_ms);
            self.at(at, Moment::Exactly { user: user.clone(), ts });
        }
    }

    /// Two sessions of a key more than a gap and at most two apart; then the event between them, when the first one's pane
    /// may be out and the event is still accepted.
    fn bridge(&mut self, at_ms: u64) {
        let Windows::Sessions { gap } = self.windows else { return };
        let user = if self.draw.chance(2, 3) { self.new_user("bridge") } else { self.pick_user(at_ms) };
        let first = self.time_of(at_ms);
        let between = first + self.draw.between(gap / 2, gap);
        let second = self.draw.between(first + gap + 1, between + gap);
        let accepted_until = between + gap + self.shape.bound.0 + self.shape.allowed_lateness.0;
        let fired_from = first + gap + 1 + self.shape.bound.0;
        let arrival = self.draw.between(fired_from.min(accepted_until), accepted_until).max(second);
        let moments = [(first, at_ms), (second, self.moment_of(second)), (between, self.moment_of(arrival))];
        let mut earliest = at_ms;
        for (ts, at) in moments {
            earliest = earliest.max(at);
            self.at(earliest, Moment::Exactly { user: user.clone(), ts });
        }
    }

    fn heartbeat(&mut self, at_ms: u64, lane: i32) {
        if self.lanes[lane as usize].ended {
            return;
        }
        let back = self.draw.below(self.shape.bound.0.max(0) as u64 + 1) as i64;
        self.mark(at_ms, lane, self.time_of(at_ms) - back);
        self.events.last_mut().expect("the marker").kinds.insert(EventKind::IdlePartition);
        self.lanes[lane as usize].beat = true;
    }

    fn mark(&mut self, at_ms: u64, lane: i32, watermark: i64) {
        self.events.push(SourceEvent::marker(at_ms, lane, watermark));
        let state = &mut self.lanes[lane as usize];
        state.highest_marker = state.highest_marker.max(Some(watermark));
    }

    /// A record that no reader can make sense of, with a time that would do harm if it counted.
    fn poison(&mut self, at_ms: u64) {
        let user = self.pick_user(at_ms);
        let mut click = self.click(&user, self.time_of(at_ms));
        click.event_id = self.event_id(at_ms);
        let lane = self.lane_of(&click);
        if !self.is_open(lane, at_ms) {
            return;
        }
        let (mut key, mut value) = (Vec::new(), Vec::new());
        record_key(&click, self.shape.keyed_by_record, &mut key);
        self.write(at_ms, &click, &mut value);
        let value = match self.draw.below(6) {
            0 => None,
            1 => Some(Vec::new()),
            2 => {
                value.truncate(self.draw.below(value.len() as u64) as usize);
                Some(value)
            }
            3 => {
                value[0] = 1;
                Some(value)
            }
            4 => {
                value[4] ^= 0xff;
                Some(value)
            }
            _ => {
                value.push(0);
                Some(value)
            }
        };
        let timestamp = click.ts + self.draw.between(0, 10) * self.windows.unit();
        self.events.push(SourceEvent {
            id: None,
            at_ms,
            partition: lane,
            timestamp,
            key: Some(key),
            value,
            headers: Vec::new(),
            kinds: [EventKind::Poison].into(),
        });
    }

    /// Writes a click with the schema of today, or with another once the log has changed.
    fn write(&mut self, at_ms: u64, click: &Click, value: &mut Vec<u8>) -> ClickVersion {
        let mut version = ClickVersion::Current;
        if at_ms >= self.changes_ms && self.draw.chance(1, 2) {
            version = *self.draw.pick(&[ClickVersion::Old, ClickVersion::Referred]);
        }
        let referrer = match version {
            ClickVersion::Referred => *self.draw.pick(&["", "a page", "a page that ünicode named"]),
            ClickVersion::Old | ClickVersion::Current => "",
        };
        click.encode_as(version, referrer, value);
        version
    }

    /// Puts the event into the log of its partition, unless that takes none now, and finds out what it is.
    fn emit(&mut self, at_ms: u64, click: Click, meant: &[EventKind]) -> Option<usize> {
        let lane = self.lane_of(&click);
        if !self.is_open(lane, at_ms) {
            return None;
        }
        let mut kinds: BTreeSet<EventKind> = meant.iter().copied().collect();
        let copy = kinds.contains(&EventKind::Duplicate);
        let user = click.user_id.to_string();
        if self.knobs.has(EventKind::HotKey) && user == self.users[0] {
            kinds.insert(EventKind::HotKey);
        }
        if self.knobs.events == 1 {
            kinds.insert(EventKind::OnlyRecord);
        }
        if self.lanes[lane as usize].beat {
            kinds.insert(EventKind::IdlePartition);
        }
        if self.lanes[lane as usize].highest_event.is_some_and(|highest| click.ts < highest) {
            kinds.insert(EventKind::OutOfOrder);
        }
        let lateness = self.shape.allowed_lateness.0;
        let watermark = self.own_watermark(lane);
        if watermark.is_some_and(|watermark| click.ts <= self.windows.latest_late(watermark, lateness)) {
            kinds.insert(EventKind::Late);
        } else if !copy {
            self.tag_neighbours(&user, click.ts, &mut kinds);
            self.tag_change_of_emitted(&user, lane, click.ts, &mut kinds);
            self.accepted.entry(user).or_default().insert(click.ts);
        }
        let (mut key, mut value) = (Vec::new(), Vec::new());
        record_key(&click, self.shape.keyed_by_record, &mut key);
        if self.write(at_ms, &click, &mut value) != ClickVersion::Current {
            kinds.insert(EventKind::SchemaChange);
        }
        let state = &mut self.lanes[lane as usize];
        state.highest_event = state.highest_event.max(Some(click.ts));
        state.events += 1;
        state.beat = false;
        let index = self.events.len();
        self.events.push(SourceEvent {
            id: None,
            at_ms,
            partition: lane,
            timestamp: click.ts,
            key: Some(key),
            value: Some(value),
            headers: Vec::new(),
            kinds,
        });
        self.clicks.insert(index, click);
        Some(index)
    }

    /// How an accepted event lies to those of its user before it.
    fn tag_neighbours(&self, user: &str, ts: i64, kinds: &mut BTreeSet<EventKind>) {
        let Some(times) = self.accepted.get(user) else { return };
        if times.contains(&ts) {
            kinds.insert(EventKind::EqualTimestamps);
        }
        match self.windows {
            Windows::Tumbling { size } => {
                let past = ts.rem_euclid(size);
                if past <= 1 && times.contains(&(ts - past - 1)) {
                    kinds.insert(if past == 0 { EventKind::ExactGap } else { EventKind::PastGap });
                }
            }
            Windows::Sessions { gap } => {
                let before = times.range(..=ts).next_back();
                let after = times.range(ts..).next();
                for distance in before.map(|time| ts - time).into_iter().chain(after.map(|time| time - ts)) {
                    if distance == gap {
                        kinds.insert(EventKind::ExactGap);
                    }
                    if distance == gap + 1 {
                        kinds.insert(EventKind::PastGap);
                    }
                }
                if let (Some(before), Some(after)) = (before, after)
                    && ts - before <= gap
                    && after - ts <= gap
                    && after - before > gap
                {
                    kinds.insert(EventKind::Bridge);
                }
            }
        }
    }

    /// Whether an accepted event gives a session whose end has been passed another start, and how.
    fn tag_change_of_emitted(&self, user: &str, lane: i32, ts: i64, kinds: &mut BTreeSet<EventKind>) {
        let Windows::Sessions { gap } = self.windows else { return };
        let Some(times) = self.accepted.get(user) else { return };
        let Some(first) = times.range(ts..).next().copied() else { return };
        let before = times.range(..ts).next_back().copied();
        if first == ts || first - ts > gap || before.is_some_and(|before| first - before <= gap) {
            return;
        }
        let mut last = first;
        for time in times.range(first..) {
            if time - last > gap {
                break;
            }
            last = *time;
        }
        if self.minimum(lane).is_some_and(|minimum| minimum > last + gap) {
            // A session before it ended before it.
            let joined = before.is_some_and(|before| ts - before <= gap);
            kinds.insert(if joined { EventKind::BridgesEmitted } else { EventKind::ExtendsEmitted });
        }
    }

    /// What the minimum of the task that gets this partition's events can have reached.
    fn minimum(&self, lane: i32) -> Option<i64> {
        if self.shape.keyed_by_record {
            return self.own_watermark(lane);
        }
        let watermark =
            |lane| if self.lanes[lane as usize].ended { Some(END_OF_INPUT) } else { self.own_watermark(lane) };
        (0..self.shape.partitions).map(watermark).min().flatten()
    }
}

mod scene;
#[cfg(test)]
mod tests;
