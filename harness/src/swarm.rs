//! When, where and how nasty: everything of a source event that is not its content.
//!
//! In: the topology's windows, its generator, how a record is read, knobs, a shape, draws. Out: [`SourceEvent`]s in sending
//! order, every partition's last one its end marker.
//!
//! Event time runs as much faster than virtual time as the windows need to open and close within the run. The walk knows
//! each partition's own watermark, so it aims at the boundaries exactly: a millisecond late, a millisecond on time, on a
//! window's edge, one gap away and one beyond it.
//!
//! Invariant: a kind is tagged by what the event turned out to be; nothing follows a partition's end marker; an event with a
//! key lies in the key's partition.

use std::collections::{BTreeMap, BTreeSet};

use engine::stream::frame::partition_of;
use engine::stream::{DecodeError, Reading, WindowSpec};
use engine::types::Timestamp;
use sim::workload::{Draw, END_OF_INPUT, EventKind, Knobs, LogRecord, Shape, SourceEvent};

use crate::topology::{Event, Make, words};

type Read<'a> = &'a dyn Fn(&LogRecord) -> Result<Option<Reading>, DecodeError>;

/// Draws until an event has the wanted key, so many times.
const TRIES: u32 = 24;

/// Generates the events of one run.
///
/// # Panics
/// If the topology rejects an event that its generator made.
pub fn generate(
    windows: WindowSpec,
    make: &Make,
    read: Read<'_>,
    knobs: &Knobs,
    shape: &Shape,
    draw: &mut Draw,
) -> Vec<SourceEvent> {
    let mut swarm = Swarm::new(windows, make, read, knobs, shape, draw);
    swarm.plan();
    while let Some(((at_ms, _), moment)) = swarm.agenda.pop_first() {
        swarm.step(at_ms, moment);
    }
    swarm.events
}

#[derive(Clone, Debug)]
enum Moment {
    Event,
    Burst,
    /// As late as can be, or as late as just not to be.
    Edge {
        late: bool,
    },
    OutOfOrder,
    Duplicate,
    EqualTimestamps,
    RepeatedValue,
    /// One gap from another event of its key, or a millisecond more; for tumbling windows the two sides of an edge.
    Neighbour {
        past: bool,
    },
    /// Two sessions of a key, and later the event that joins them.
    Bridge,
    Poison,
    /// Another event of this key at this event time.
    Exactly {
        key: Option<Vec<u8>>,
        ts: i64,
        kind: EventKind,
    },
    /// This one again.
    Copy {
        index: usize,
    },
    Heartbeat {
        partition: i32,
    },
    End {
        partition: i32,
    },
}

#[derive(Clone, Debug, Default)]
struct Lane {
    highest_event: Option<i64>,
    highest_marker: Option<i64>,
    /// Has nothing to say in these virtual milliseconds.
    idle: Option<(u64, u64)>,
    events: u32,
    ended: bool,
}

struct Swarm<'a> {
    windows: WindowSpec,
    make: &'a Make,
    read: Read<'a>,
    knobs: &'a Knobs,
    shape: &'a Shape,
    draw: &'a mut Draw,
    span_ms: u64,
    base: i64,
    scale: i64,
    agenda: BTreeMap<(u64, u32), Moment>,
    planned: u32,
    lanes: Vec<Lane>,
    used: BTreeSet<i32>,
    hot: Option<Vec<u8>>,
    events: Vec<SourceEvent>,
    /// Indices of `events` that are no markers and no poison.
    plain: Vec<usize>,
}

impl<'a> Swarm<'a> {
    fn new(
        windows: WindowSpec,
        make: &'a Make,
        read: Read<'a>,
        knobs: &'a Knobs,
        shape: &'a Shape,
        draw: &'a mut Draw,
    ) -> Swarm<'a> {
        assert!(shape.partitions > 0, "a source without partitions");
        let span_ms = knobs.span_ms.max(100);
        let unit = windows.size().map_or(windows.gap() + 1, |size| size.0);
        // Per key the events are 0.3, 1 or 2 units apart on average: long sessions, short ones, mostly single events.
        let spacing = unit.saturating_mul(*draw.pick(&[300, 1_000, 2_000])) / 1_000;
        let length = spacing.saturating_mul(i64::from(knobs.events)) / i64::from(knobs.keys.max(1));
        let length = length.clamp(unit.saturating_mul(5), 1 << 55);
        let base = match draw.below(4) {
            0 => -length / 2,
            1 => 0,
            _ => 1_700_006_400_000,
        };
        let base = base + draw.below(unit as u64) as i64;
        let mut used: BTreeSet<i32> = (0..shape.partitions).collect();
        if knobs.has(EventKind::UnusedPartition) {
            let leave = 1 + draw.below(shape.partitions as u64) as usize;
            while used.len() > leave {
                let index = draw.below(used.len() as u64) as usize;
                let partition = *used.iter().nth(index).expect("an index below the length");
                used.remove(&partition);
            }
        }
        Swarm {
            windows,
            make,
            read,
            knobs,
            shape,
            draw,
            span_ms,
            base,
            scale: (length / span_ms as i64).max(1),
            agenda: BTreeMap::new(),
            planned: 0,
            lanes: vec![Lane::default(); shape.partitions as usize],
            used,
            hot: None,
            events: Vec::new(),
            plain: Vec::new(),
        }
    }

    fn at(&mut self, at_ms: u64, moment: Moment) {
        self.planned += 1;
        self.agenda.insert((at_ms, self.planned), moment);
    }

    /// The same, before the partitions end.
    fn soon(&mut self, at_ms: u64, moment: Moment) {
        self.at(at_ms.min(self.span_ms - 1), moment);
    }

    fn time_of(&self, at_ms: u64) -> i64 {
        self.base + at_ms as i64 * self.scale
    }

    fn plan(&mut self) {
        let events = self.knobs.events;
        for partition in 0..self.shape.partitions {
            // A partition without events holds all windows open until its end marker, so some end at once.
            let early = !self.used.contains(&partition) && self.draw.chance(1, 2);
            let at = if early { self.draw.below(self.span_ms / 4) } else { self.span_ms };
            self.at(at, Moment::End { partition });
        }
        let until = self.span_ms * 9 / 10;
        for _ in 0..events {
            let at = self.draw.below(until);
            self.at(at, Moment::Event);
        }
        if events <= 1 {
            return;
        }
        if self.knobs.has(EventKind::IdlePartition) {
            let used: Vec<i32> = self.used.iter().copied().collect();
            let partition = *self.draw.pick(&used);
            let start = self.span_ms / 10 + self.draw.below(self.span_ms / 2);
            let end = start + self.span_ms / 10 + self.draw.below(self.span_ms / 3);
            self.lanes[partition as usize].idle = Some((start, end));
            let beats = 1 + self.draw.below(5);
            for beat in 1..=beats {
                self.soon(start + (end - start) * beat / (beats + 1), Moment::Heartbeat { partition });
            }
        }
        let sessions = self.windows.size().is_none();
        let troubles = [
            (EventKind::Late, Moment::Edge { late: true }),
            (EventKind::Late, Moment::Edge { late: false }),
            (EventKind::OutOfOrder, Moment::OutOfOrder),
            (EventKind::Duplicate, Moment::Duplicate),
            (EventKind::EqualTimestamps, Moment::EqualTimestamps),
            (EventKind::RepeatedValue, Moment::RepeatedValue),
            (EventKind::ExactGap, Moment::Neighbour { past: false }),
            (EventKind::PastGap, Moment::Neighbour { past: true }),
            (EventKind::Poison, Moment::Poison),
            (EventKind::Burst, Moment::Burst),
            (EventKind::Bridge, Moment::Bridge),
        ];
        for (kind, moment) in troubles {
            if self.knobs.has(kind) && (sessions || kind != EventKind::Bridge) {
                let most = if kind == EventKind::Burst { 2 } else { u64::from(events / 12) + 2 };
                for _ in 0..1 + self.draw.below(most) {
                    let at = self.span_ms / 20 + self.draw.below(until);
                    self.soon(at, moment.clone());
                }
            }
        }
    }

    fn step(&mut self, at_ms: u64, moment: Moment) {
        match moment {
            Moment::Event => {
                let _ = self.usual(at_ms, None);
            }
            Moment::Burst => {
                for _ in 0..5 + self.draw.below(20) {
                    let _ = self.usual(at_ms, Some(EventKind::Burst));
                }
            }
            Moment::Edge { late } => {
                let Some((event, partition)) = self.event(at_ms, None) else { return };
                let Some(own) = self.own(partition) else { return };
                // The last event time that is refused, or the first that is taken, or one in between.
                let (lateness, gap) = (self.windows.lateness(), self.windows.gap());
                let refused = match self.windows.size() {
                    Some(size) => (own - lateness).div_euclid(size.0) * size.0 - 1,
                    None => own - lateness - gap - 1,
                };
                let ts = match (late, self.draw.below(2)) {
                    (true, 0) => refused,
                    (true, _) => refused - self.draw.below(gap as u64 + 1_000) as i64,
                    (false, 0) => refused + 1,
                    (false, _) => self.draw.between(refused + 1, own.max(refused + 1)),
                };
                self.send(at_ms, partition, ts, event, &[]);
            }
            Moment::OutOfOrder => {
                let Some((event, partition)) = self.event(at_ms, None) else { return };
                let Some(highest) = self.lanes[partition as usize].highest_event else { return };
                let back = 1 + self.draw.below(self.shape.bound.0.max(1) as u64) as i64;
                self.send(at_ms, partition, highest - back, event, &[]);
            }
            Moment::Duplicate => {
                let Some(index) = self.usual(at_ms, None) else { return };
                for _ in 0..1 + self.draw.below(3) {
                    let longest = if self.draw.chance(1, 3) { self.span_ms / 2 } else { self.span_ms / 40 };
                    let at = at_ms + self.draw.below(longest + 1);
                    self.soon(at, Moment::Copy { index });
                }
            }
            Moment::Copy { index } => {
                let copied = self.events[index].clone();
                let event = Event { key: copied.key, value: copied.value.unwrap_or_default(), headers: copied.headers };
                if !self.lanes[copied.partition as usize].ended {
                    self.send(at_ms, copied.partition, copied.timestamp, event, &[EventKind::Duplicate]);
                }
            }
            Moment::EqualTimestamps => {
                let Some(index) = self.usual(at_ms, None) else { return };
                let (key, ts) = (self.events[index].key.clone(), self.events[index].timestamp);
                let at = at_ms + self.draw.below(self.span_ms / 50 + 1);
                self.soon(at, Moment::Exactly { key, ts, kind: EventKind::EqualTimestamps });
            }
            Moment::Neighbour { past } => {
                let Some(index) = self.usual(at_ms, None) else { return };
                let (key, ts) = (self.events[index].key.clone(), self.events[index].timestamp);
                let ts = match self.windows.size() {
                    Some(size) => (ts.div_euclid(size.0) + 1) * size.0 - i64::from(!past),
                    None => ts + self.windows.gap() + i64::from(past),
                };
                let kind = if past { EventKind::PastGap } else { EventKind::ExactGap };
                let at = at_ms + self.draw.below(self.span_ms / 20 + 1);
                self.soon(at, Moment::Exactly { key, ts, kind });
            }
            Moment::Bridge => {
                let Some(index) = self.usual(at_ms, None) else { return };
                let (key, ts) = (self.events[index].key.clone(), self.events[index].timestamp);
                let gap = self.windows.gap();
                let step = self.span_ms / 30 + 1;
                let far = ts + gap + 1 + self.draw.below(gap as u64 + 1) as i64;
                self.soon(at_ms + step, Moment::Exactly { key: key.clone(), ts: far, kind: EventKind::PastGap });
                let join = ts + gap.min(far - ts - 1);
                self.soon(at_ms + 2 * step, Moment::Exactly { key, ts: join, kind: EventKind::Bridge });
            }
            Moment::Exactly { key, ts, kind } => {
                let Some((event, partition)) = self.event_of(at_ms, key) else { return };
                self.send(at_ms, partition, ts, event, &[kind]);
            }
            Moment::RepeatedValue => {
                if self.plain.is_empty() {
                    return;
                }
                let again = *self.draw.pick(&self.plain);
                let again = self.events[again].clone();
                if !self.open(at_ms, again.partition) {
                    return;
                }
                let event = Event { key: again.key, value: again.value.unwrap_or_default(), headers: again.headers };
                let ts = self.usual_time(at_ms, again.partition);
                self.send(at_ms, again.partition, ts, event, &[EventKind::RepeatedValue]);
            }
            Moment::Poison => self.poison(at_ms),
            Moment::Heartbeat { partition } => {
                if !self.lanes[partition as usize].ended {
                    let watermark = self.time_of(at_ms) - self.shape.bound.0;
                    self.mark(at_ms, partition, watermark, EventKind::IdlePartition);
                }
            }
            Moment::End { partition } => {
                let unused = self.lanes[partition as usize].events == 0;
                let mut marker = SourceEvent::marker(at_ms, partition, END_OF_INPUT);
                if unused {
                    marker.kinds.insert(EventKind::UnusedPartition);
                }
                self.events.push(marker);
                self.lanes[partition as usize].ended = true;
            }
        }
    }

    fn mark(&mut self, at_ms: u64, partition: i32, watermark: i64, kind: EventKind) {
        let lane = &mut self.lanes[partition as usize];
        lane.highest_marker = lane.highest_marker.max(Some(watermark));
        let mut marker = SourceEvent::marker(at_ms, partition, watermark);
        marker.kinds.insert(kind);
        self.events.push(marker);
    }

    /// Whether this partition may get an event now.
    fn open(&self, at_ms: u64, partition: i32) -> bool {
        let lane = &self.lanes[partition as usize];
        let idle = lane.idle.is_some_and(|(start, end)| (start..end).contains(&at_ms));
        !lane.ended && !idle && self.used.contains(&partition)
    }

    /// The watermark of a partition.
    fn own(&self, partition: i32) -> Option<i64> {
        let lane = &self.lanes[partition as usize];
        lane.highest_event.map(|time| time - self.shape.bound.0).max(lane.highest_marker)
    }

    /// Where an event belongs; `None` when nothing may be sent there now.
    fn place(&mut self, at_ms: u64, event: &Event) -> Option<i32> {
        let partition = match &event.key {
            Some(key) => partition_of(key, self.shape.partitions).0,
            None => self.draw.below(self.shape.partitions as u64) as i32,
        };
        self.open(at_ms, partition).then_some(partition)
    }

    /// An event that can be sent now, of `wanted` key if there is one.
    fn event(&mut self, at_ms: u64, wanted: Option<&[u8]>) -> Option<(Event, i32)> {
        for _ in 0..TRIES {
            let event = (self.make)(self.draw, Timestamp(self.time_of(at_ms)));
            if wanted.is_some_and(|wanted| event.key.as_deref() != Some(wanted)) {
                continue;
            }
            if let Some(partition) = self.place(at_ms, &event) {
                return Some((event, partition));
            }
        }
        None
    }

    fn event_of(&mut self, at_ms: u64, key: Option<Vec<u8>>) -> Option<(Event, i32)> {
        self.event(at_ms, key.as_deref())
    }

    /// An event time as it usually comes: a little behind, and never back where nothing may be out of order.
    fn usual_time(&mut self, at_ms: u64, partition: i32) -> i64 {
        let now = self.time_of(at_ms);
        if self.knobs.has(EventKind::OutOfOrder) {
            now - self.draw.below(self.shape.bound.0.max(0) as u64 + 1) as i64
        } else {
            self.lanes[partition as usize].highest_event.map_or(now, |highest| highest.max(now))
        }
    }

    /// An event as it usually comes; its index.
    fn usual(&mut self, at_ms: u64, kind: Option<EventKind>) -> Option<usize> {
        let hot = self.knobs.has(EventKind::HotKey) && self.draw.chance(2, 3);
        let wanted = self.hot.clone().filter(|_| hot);
        let (event, partition) = match self.event(at_ms, wanted.as_deref()) {
            None if wanted.is_some() => self.event(at_ms, None)?,
            found => found?,
        };
        if self.hot.is_none() {
            self.hot.clone_from(&event.key);
        }
        let ts = self.usual_time(at_ms, partition);
        let hot = (self.knobs.has(EventKind::HotKey) && self.hot == event.key).then_some(EventKind::HotKey);
        let kinds: Vec<EventKind> = kind.into_iter().chain(hot).collect();
        self.send(at_ms, partition, ts, event, &kinds);
        Some(self.events.len() - 1)
    }

    /// A value that the topology refuses, if it refuses any.
    fn poison(&mut self, at_ms: u64) {
        let Some((mut event, partition)) = self.event(at_ms, None) else { return };
        let length = self.draw.below(event.value.len() as u64 + 2) as usize;
        event.value.truncate(length);
        event.value.push(0xff);
        let ts = self.usual_time(at_ms, partition);
        if (self.read)(&record(partition, ts, &event)).is_err() {
            let kinds = [EventKind::Poison].into();
            self.push(at_ms, partition, ts, event, kinds);
        }
    }

    fn send(&mut self, at_ms: u64, partition: i32, ts: i64, event: Event, kinds: &[EventKind]) {
        if let Err(error) = (self.read)(&record(partition, ts, &event)) {
            panic!(
                "the topology rejects an event that its generator made: {error} (key {:?}, value {:?}); what it refuses the \
                 simulator makes by itself",
                event.key.as_deref().map(words),
                words(&event.value)
            );
        }
        let mut kinds: BTreeSet<EventKind> = kinds.iter().copied().collect();
        let own = self.own(partition);
        let lane = &mut self.lanes[partition as usize];
        if lane.highest_event.is_some_and(|highest| ts < highest) {
            kinds.insert(EventKind::OutOfOrder);
        }
        if own.is_some_and(|own| !self.windows.accepts(Timestamp(own), self.windows.span(ts))) {
            kinds.insert(EventKind::Late);
        }
        lane.highest_event = lane.highest_event.max(Some(ts));
        lane.events += 1;
        if self.knobs.has(EventKind::OnlyRecord) {
            kinds.insert(EventKind::OnlyRecord);
        }
        self.plain.push(self.events.len());
        self.push(at_ms, partition, ts, event, kinds);
    }

    fn push(&mut self, at_ms: u64, partition: i32, timestamp: i64, event: Event, kinds: BTreeSet<EventKind>) {
        let Event { key, value, headers } = event;
        self.events.push(SourceEvent {
            at_ms,
            partition,
            timestamp,
            key,
            value: Some(value),
            headers,
            kinds,
            id: None,
        });
    }
}

/// As the topology would read it from the log. Its offset is not known yet.
fn record(partition: i32, timestamp: i64, event: &Event) -> LogRecord {
    LogRecord {
        partition,
        offset: 0,
        timestamp,
        key: event.key.clone(),
        value: Some(event.value.clone()),
        headers: event.headers.clone(),
    }
}

#[cfg(test)]
mod tests {
    use engine::types::Millis;
    use proptest::prelude::*;

    use super::*;

    fn read(record: &LogRecord) -> Result<Option<Reading>, DecodeError> {
        match (record.text().parse::<u64>(), &record.key) {
            (Ok(_), Some(key)) => Ok(Some(Reading { key: key.clone(), id: None })),
            _ => Err(DecodeError("no number".to_owned())),
        }
    }

    fn make(draw: &mut Draw, _at: Timestamp) -> Event {
        Event::new(*draw.pick(&["a", "b", "c", "d"]), draw.below(100).to_string())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn what_is_generated_can_be_run(
            seed in any::<u64>(), sessions in any::<bool>(), lateness in 0..3i64, bound in 0..3i64, partitions in 1..5i32
        ) {
            let shape = Shape {
                partitions,
                keyed_by_record: true,
                repartitions: 1,
                bound: Millis(bound * 20_000),
                allowed_lateness: Millis(lateness * 30_000),
            };
            let length = Millis(60_000);
            let windows = match sessions {
                true => WindowSpec::sessions(length, shape.allowed_lateness),
                false => WindowSpec::tumbling(length, shape.allowed_lateness),
            };
            let knobs = Knobs::draw(&mut Draw::new(seed, "knobs"), 5_000);
            let generated = || generate(windows, &make, &read, &knobs, &shape, &mut Draw::new(seed, "events"));
            let events = generated();
            prop_assert_eq!(&events, &generated(), "a function of its arguments");
            prop_assert!(events.windows(2).all(|pair| pair[0].at_ms <= pair[1].at_ms));
            for partition in 0..partitions {
                let lane: Vec<&SourceEvent> = events.iter().filter(|event| event.partition == partition).collect();
                let ends: Vec<bool> = lane.iter().map(|event| event.watermark() == Some(END_OF_INPUT)).collect();
                prop_assert_eq!(ends.iter().position(|end| *end), Some(lane.len() - 1), "the end marker is the last");
            }
            for event in events.iter().filter(|event| event.watermark().is_none()) {
                let key = event.key.as_deref().expect("a key");
                prop_assert_eq!(partition_of(key, partitions).0, event.partition);
                let sent = Event { key: event.key.clone(), value: event.value.clone().unwrap(), headers: Vec::new() };
                let refused = read(&record(event.partition, event.timestamp, &sent)).is_err();
                prop_assert_eq!(refused, event.kinds.contains(&EventKind::Poison));
                prop_assert!(knobs.events > 0);
            }
        }

    }

    #[test]
    fn the_kinds_of_trouble_come() {
        for sessions in [true, false] {
            let shape = Shape {
                partitions: 2,
                keyed_by_record: true,
                repartitions: 1,
                bound: Millis(1_000),
                allowed_lateness: Millis(30_000),
            };
            let windows = match sessions {
                true => WindowSpec::sessions(Millis(60_000), shape.allowed_lateness),
                false => WindowSpec::tumbling(Millis(60_000), shape.allowed_lateness),
            };
            let knobs = Knobs { events: 200, keys: 4, span_ms: 5_000, kinds: EventKind::ALL.into_iter().collect() };
            let mut seen = BTreeSet::new();
            for seed in 0..20 {
                let events = generate(windows, &make, &read, &knobs, &shape, &mut Draw::new(seed, "events"));
                seen.extend(events.into_iter().flat_map(|event| event.kinds));
            }
            let beyond = [EventKind::SchemaChange, EventKind::ExtendsEmitted, EventKind::BridgesEmitted];
            for kind in EventKind::ALL.into_iter().filter(|kind| !beyond.contains(kind)) {
                assert!(seen.contains(&kind) || kind == EventKind::Bridge && !sessions, "{kind} never came");
            }
        }
    }
}
