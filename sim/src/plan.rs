//! The plan: everything that a seed decides, before the first tick, as a file that can be read, edited and committed.
//!
//! In: a pipeline's name and a seed. Out: the cluster's shape, the workload's knobs, the engine's settings, and the
//! faults with their moments. Swarm style: each seed turns some kinds of fault off altogether.
//!
//! Invariant: a plan is a function of (pipeline, seed, forced tier). Every concern draws from its own stream, so that a
//! draw in one moves no other. What is drawn heals: after the last fault the run can always end.

mod error;
mod settings;
mod start;
mod validate;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use engine::env::Point;
use engine::schema::{Schema, SchemaId, unframe};
use engine::stream::window::EVENT_TIME_MAX;
use engine::types::Millis;
pub use error::PlanError;
pub use reports::Tier;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
pub use settings::EngineSettings;

use crate::draw::Draw;
use crate::faults;
use crate::workload::{Knobs, Shape, SourceEvent, Workload};

/// The version of the plan file that this build reads and writes.
pub const FORMAT: u32 = 1;

/// All of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub format: u32,
    pub pipeline: String,
    pub seed: u64,
    pub tier: Tier,
    /// Avro schemas that listed events are written with, as JSON, beside those of the workload.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schemas: Vec<String>,
    pub cluster: Cluster,
    pub shape: Shape,
    pub engine: EngineSettings,
    pub knobs: Knobs,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncate: Option<Truncate>,
    #[serde(default, skip_serializing_if = "Replay::is_plain")]
    pub replay: Replay,
    #[serde(default, rename = "fault", skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<FaultSpec>,
    /// The source events, listed; without them the workload generates them from the knobs and the seed.
    #[serde(default, rename = "event", skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<SourceEvent>>,
}

/// The hosts and what lies between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Tasks also run beside the broker, in its process, over the in-process transport.
    pub embedded: bool,
    /// Hosts that run tasks over the network. With `embedded` false at least one.
    pub workers: u32,
    /// By how much the tasks are shifted around the hosts.
    pub rotate: u32,
    pub latency_min_ms: u64,
    pub latency_max_ms: u64,
    /// How long a sync takes at least and at most; never below 1, or nothing would lie between write and sync.
    pub sync_min_ms: u64,
    pub sync_max_ms: u64,
    /// At how many of 100 passings of a point the task yields to the others of its host.
    pub yield_percent: u32,
}

/// After the replay the source loses its beginning, and a third version, which needs it, is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Truncate {
    /// Of the source.
    pub partition: i32,
    /// How much of its log is deleted, of 1000 parts; never less than one offset.
    pub per_mille: u32,
    /// What the parts are parts of.
    #[serde(default, skip_serializing_if = "TruncateBy::is_offset")]
    pub by: TruncateBy,
    /// The third version is started before: the beginning goes away so many virtual milliseconds later, under a run that
    /// may have read it or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<u64>,
}

/// How the beginning that goes away is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TruncateBy {
    /// In offsets, to the record.
    #[default]
    Offset,
    /// In event time: whole segments that are older.
    Time,
    /// In bytes: the oldest whole segments.
    Size,
}

impl TruncateBy {
    fn is_offset(&self) -> bool {
        *self == TruncateBy::Offset
    }
}

/// How the replay is run, where it is more than once from offset 0 by all hosts when live is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// It starts so many virtual milliseconds after live did, and runs beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside_live_ms: Option<u64>,
    /// Only so many hosts run it, the first of those that run tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<u32>,
    /// The log is replayed a second time, by a third version.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub twice: bool,
    /// It starts at a time instead of offset 0; beside a [`Truncate`] the third version does instead. Without meaning for
    /// a pipeline that can only start at offset 0, and where copies that it drops lie too far apart ([`Plan::fits`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<FromTime>,
}

/// A time within the event times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FromTime {
    /// How far it lies between the first event time and the last, of 1000 parts.
    pub per_mille: u32,
    /// It is moved back to where a window starts, if windows all start at multiples of their size.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub aligned: bool,
    /// The time itself, whatever the events are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<i64>,
}

impl FromTime {
    fn draw(draw: &mut Draw, truncates: bool) -> Option<FromTime> {
        let (one_in, latest) = if truncates { (3, 1_000) } else { (5, 900) };
        let per_mille = draw.below(latest + 1) as u32;
        let aligned = draw.chance(1, 2);
        draw.chance(1, one_in).then_some(FromTime { per_mille, aligned, at_ms: None })
    }

    /// The time, for a pipeline with these windows.
    pub fn time(&self, events: &[SourceEvent], window: Option<Millis>) -> i64 {
        let at = self.at_ms.unwrap_or_else(|| {
            let times = || events.iter().filter(|event| event.watermark().is_none()).map(|event| event.timestamp);
            let (first, last) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
            (i128::from(first) + (i128::from(last) - i128::from(first)) * i128::from(self.per_mille) / 1_000) as i64
        });
        let at = at.clamp(-EVENT_TIME_MAX, EVENT_TIME_MAX);
        match window {
            Some(size) if self.aligned => at - at.rem_euclid(size.0),
            _ => at,
        }
    }
}

impl Replay {
    fn is_plain(&self) -> bool {
        *self == Replay::default()
    }

    fn draw(draw: &mut Draw, cluster: &Cluster, span_ms: u64, truncates: bool) -> Replay {
        let hosts = cluster.task_hosts().len() as u64;
        let beside_live_ms = draw.chance(1, 6).then(|| draw.below(span_ms));
        let fewer = draw.chance(1, 5) && hosts > 1;
        let hosts = fewer.then(|| 1 + draw.below(hosts.saturating_sub(1)) as u32);
        let twice = draw.chance(1, 10);
        Replay { beside_live_ms, hosts, twice: twice && !truncates, from: None }
    }
}

/// Which computation a fault belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    Live,
    Replay,
}

impl Phase {
    pub fn name(self) -> &'static str {
        match self {
            Phase::Live => "live",
            Phase::Replay => "replay",
        }
    }
}

/// One fault and its moment. Which of the optional fields a kind needs, it says itself ([`faults::Fault::validate`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    pub kind: FaultKind,
    pub phase: Phase,
    /// Virtual milliseconds since the phase began.
    pub at_ms: u64,
    /// The victim, or the side that sends.
    pub host: Host,
    /// The other side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<Host>,
    /// How long it lasts: down, paused, cut, slow or held.
    pub for_ms: u64,
    /// Counted from `at_ms` on: the n-th passing of `point`, or the n-th request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nth: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point: Option<PointName>,
    /// Unsynced bytes are lost as in a power cut, and the host falls silent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub power_cut: bool,
    /// How much, or how many: by how many milliseconds a clock is wrong, how often a task yields; or which of a kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<i64>,
}

/// A kind of fault, by its name in the registry.
#[derive(Clone, Copy)]
pub struct FaultKind(pub &'static dyn faults::Fault);

/// A point of the engine, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PointName(pub Point);

/// A host of the simulated cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    Broker,
    /// Counted from 1.
    Worker(u32),
    /// Producers, readers and the observer; never a victim of crashes.
    Control,
}

impl Plan {
    /// Expands a seed for a workload.
    pub fn draw(workload: &dyn Workload, seed: u64, tier: Option<Tier>) -> Plan {
        let mut plan = Plan::expand(workload.name(), seed, tier);
        if workload.pipeline(&plan.shape).is_err() {
            // Some pipelines cannot be that patient: a deduplication horizon must cover it.
            plan.shape.allowed_lateness = Millis(0);
        }
        plan
    }

    /// Expands a seed. The tier is a function of (pipeline, seed) unless it is forced.
    pub fn expand(pipeline: &str, seed: u64, tier: Option<Tier>) -> Plan {
        let root = root(pipeline, seed);
        let tier = tier.unwrap_or_else(|| tier_of(pipeline, seed));
        let cluster = Cluster::draw(&mut Draw::new(root, "cluster"), tier);
        let shape = draw_shape(&mut Draw::new(root, "shape"));
        let engine = EngineSettings::draw(&mut Draw::new(root, "engine"), tier).within_reach_of(&cluster);
        let mut draw = Draw::new(root, "knobs");
        let span_ms = match tier {
            Tier::Race => draw.between(1_500, 5_000) as u64,
            Tier::Soak => draw.between(8_000, 30_000) as u64,
        };
        let knobs = Knobs::draw(&mut draw, span_ms);
        let mut draw = Draw::new(root, "truncate");
        let mut truncate = draw.chance(1, 6).then(|| Truncate {
            partition: draw.below(shape.partitions as u64) as i32,
            per_mille: *draw.pick(&[0, 100, 500, 900, 1_000]),
            by: TruncateBy::Offset,
            after_ms: None,
        });
        let mut draw = Draw::new(root, "retention");
        if let Some(truncate) = &mut truncate {
            truncate.by = *draw.pick(&[TruncateBy::Offset, TruncateBy::Time, TruncateBy::Size]);
            // Where there are few segments, most of them have to go if one is to go at all.
            truncate.per_mille = if truncate.by == TruncateBy::Offset { truncate.per_mille } else { 900 };
            truncate.after_ms = draw.chance(1, 3).then(|| {
                draw.below(match tier {
                    Tier::Race => 300,
                    Tier::Soak => 1_000,
                })
            });
        }
        let mut replay = Replay::draw(&mut Draw::new(root, "replay"), &cluster, span_ms, truncate.is_some());
        replay.from = FromTime::draw(&mut Draw::new(root, "from"), truncate.is_some());
        let mut faults = draw_faults(&mut Draw::new(root, "faults"), &cluster, tier, span_ms);
        draw_further_faults(root, &cluster, tier, span_ms, &mut faults);
        draw_fault_of_topics(root, &replay, tier, &mut faults);
        draw_fault_of_conclusions(root, tier, span_ms, &mut faults);
        Plan {
            format: FORMAT,
            pipeline: pipeline.to_owned(),
            seed,
            tier,
            schemas: Vec::new(),
            cluster,
            shape,
            engine,
            knobs,
            truncate,
            replay,
            faults,
            events: None,
        }
    }

    /// Which version starts at the time that the plan may name.
    pub fn version_from_a_time(&self) -> u32 {
        if self.truncate.is_some() { 3 } else { 2 }
    }

    /// The root of the streams that are drawn at run time.
    pub fn root(&self) -> u64 {
        root(&self.pipeline, self.seed)
    }

    pub fn tick_ms(&self) -> u64 {
        match self.tier {
            Tier::Race => 1,
            Tier::Soak => 10,
        }
    }

    /// When the last source event is due: virtual milliseconds from the first.
    pub fn span_ms(&self) -> u64 {
        let listed = self.events.iter().flatten().map(|event| event.at_ms);
        listed.fold(self.knobs.span_ms, u64::max)
    }

    /// The same plan with its source events listed, and the schemas of their values: it runs without a random number for
    /// the workload, and another generator cannot move it.
    pub fn listed(&self, workload: &dyn Workload) -> Plan {
        let mut listed = self.clone();
        let events = self.source_events(workload);
        let framed = |event: &SourceEvent| Some(unframe(event.value.as_deref()?).ok()?.0);
        let named: BTreeSet<SchemaId> = events.iter().filter_map(framed).collect();
        for json in workload.schemas() {
            let used = Schema::parse(&json).is_ok_and(|schema| named.contains(&schema.id()));
            if used && !listed.schemas.contains(&json) {
                listed.schemas.push(json);
            }
        }
        if listed.replay.from.is_some()
            && let Ok(pipeline) = workload.pipeline(&self.shape)
            && self.may_start_at_a_time(workload, &pipeline, &events).is_err()
        {
            // It had no meaning, and a plan file must not ask for it.
            listed.replay.from = None;
        }
        if let Some(from) = &mut listed.replay.from {
            // Fewer events would move it.
            from.at_ms = Some(FromTime { aligned: false, ..*from }.time(&events, None));
        }
        listed.events = Some(numbered(events));
        listed
    }

    /// The source events: those listed, or those generated.
    pub fn source_events(&self, workload: &dyn Workload) -> Vec<SourceEvent> {
        match &self.events {
            Some(events) => events.clone(),
            None => workload.generate(&self.knobs, &self.shape, &mut Draw::new(self.root(), "events")),
        }
    }

    /// # Errors
    /// What is wrong, with line and column.
    pub fn parse(text: &str) -> Result<Plan, PlanError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let Head { format } = toml::from_str(text).map_err(|error| PlanError::of_head(text, error))?;
        if format != FORMAT {
            return Err(PlanError::Format { found: format });
        }
        let plan: Plan = toml::from_str(text)?;
        plan.validate()?;
        Ok(plan)
    }

    /// The plan as a file.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a plan is plain data")
    }
}

/// Every event under the id of its send: its place in the list, from 1, unless it has one already.
pub fn numbered(mut events: Vec<SourceEvent>) -> Vec<SourceEvent> {
    for (index, event) in events.iter_mut().enumerate() {
        event.id.get_or_insert(index as u64 + 1);
    }
    events
}

/// The tier that the gate and `repro` draw for this seed.
pub fn tier_of(pipeline: &str, seed: u64) -> Tier {
    if Draw::new(root(pipeline, seed), "tier").chance(1, 2) { Tier::Race } else { Tier::Soak }
}

fn root(pipeline: &str, seed: u64) -> u64 {
    Draw::new(seed, pipeline).next_u64()
}

impl Cluster {
    fn draw(draw: &mut Draw, tier: Tier) -> Cluster {
        let (embedded, workers) =
            *draw.pick(&[(true, 0), (true, 1), (false, 1), (false, 2), (false, 2), (true, 2), (false, 3)]);
        let (latency_max_ms, sync_max_ms) = match tier {
            Tier::Race => (draw.between(1, 6), *draw.pick(&[1, 4, 20])),
            Tier::Soak => (draw.between(1, 30), *draw.pick(&[5, 20, 60])),
        };
        Cluster {
            embedded,
            workers,
            rotate: draw.below(4) as u32,
            latency_min_ms: 1,
            latency_max_ms: latency_max_ms as u64,
            sync_min_ms: 1,
            sync_max_ms: sync_max_ms as u64,
            yield_percent: *draw.pick(&[0, 10, 30]),
        }
    }

    /// Every host, in the order in which the world builds them.
    pub fn hosts(&self) -> Vec<Host> {
        let workers = (1..=self.workers).map(Host::Worker);
        std::iter::once(Host::Broker).chain(workers).chain([Host::Control]).collect()
    }

    /// The hosts that run tasks.
    pub fn task_hosts(&self) -> Vec<Host> {
        let embedded = self.embedded.then_some(Host::Broker);
        embedded.into_iter().chain((1..=self.workers).map(Host::Worker)).collect()
    }
}

fn draw_shape(draw: &mut Draw) -> Shape {
    Shape {
        partitions: *draw.pick(&[1, 2, 2, 3, 4]),
        keyed_by_record: draw.chance(2, 5),
        repartitions: *draw.pick(&[1, 2, 3]),
        bound: Millis(*draw.pick(&[0, 1_000, 30_000, 60_000])),
        allowed_lateness: Millis(*draw.pick(&[0, 2_400_000, 30_000, 600_000])),
    }
}

fn draw_faults(draw: &mut Draw, cluster: &Cluster, tier: Tier, span_ms: u64) -> Vec<FaultSpec> {
    let possible: Vec<_> =
        faults::ALL.iter().filter(|fault| fault.one_in().is_none() && fault.possible(cluster)).collect();
    let mut enabled: Vec<_> = possible.iter().filter(|_| draw.chance(1, 2)).collect();
    if enabled.is_empty() {
        enabled.push(draw.pick(&possible));
    }
    let mut specs = Vec::new();
    let weights: Vec<u32> = enabled.iter().map(|fault| fault.weight()).collect();
    let (live, replay) = (draw.between(1, 9) as u64, draw.between(0, 5) as u64);
    for (phase, count, span_ms) in [(Phase::Live, live, span_ms), (Phase::Replay, replay, replay_span_ms(tier))] {
        for slot in 0..count {
            let fault = enabled[draw.weighted(&weights)];
            let at_ms = span_ms * slot / count + draw.below(span_ms / count + 1);
            let unit_ms = draw_unit_ms(draw, tier);
            specs.push(fault.draw(draw, cluster, phase, at_ms, unit_ms));
        }
    }
    specs
}

/// Those whose kinds have streams of their own: a kind more moves nothing that is drawn for the others.
fn draw_further_faults(root: u64, cluster: &Cluster, tier: Tier, span_ms: u64, specs: &mut Vec<FaultSpec>) {
    for fault in faults::ALL {
        let Some(one_in) = fault.one_in() else { continue };
        let draw = &mut Draw::new(root, &format!("fault {}", fault.name()));
        if !draw.chance(1, one_in) || !fault.possible(cluster) {
            continue;
        }
        for _ in 0..draw.between(1, 2) {
            let (phase, span_ms) = match draw.chance(2, 3) {
                true => (Phase::Live, span_ms),
                false => (Phase::Replay, replay_span_ms(tier)),
            };
            let at_ms = draw.below(span_ms);
            let unit_ms = draw_unit_ms(draw, tier);
            specs.push(fault.draw(draw, cluster, phase, at_ms, unit_ms));
        }
    }
}

/// A replay that starts beside live has its topics created under fire, all others before: the broker may die with one
/// of them recorded and not made.
fn draw_fault_of_topics(root: u64, replay: &Replay, tier: Tier, specs: &mut Vec<FaultSpec>) {
    let Some(beside_ms) = replay.beside_live_ms else { return };
    let draw = &mut Draw::new(root, "fault of topics");
    if draw.chance(1, 2) {
        let unit_ms = draw_unit_ms(draw, tier);
        specs.push(faults::crash_while_creating_topics(draw, beside_ms.saturating_sub(1), unit_ms));
    }
}

/// The broker may die with a transaction decided and its markers still to be seen to: two points among many, which a gate
/// must have met.
fn draw_fault_of_conclusions(root: u64, tier: Tier, span_ms: u64, specs: &mut Vec<FaultSpec>) {
    let draw = &mut Draw::new(root, "fault of conclusions");
    if draw.chance(1, 10) {
        let at_ms = draw.below(span_ms / 2);
        let unit_ms = draw_unit_ms(draw, tier);
        specs.push(faults::crash_while_concluding(draw, at_ms, unit_ms));
    }
}

/// A replay has no producer to wait for: it reads as fast as it can, and its faults must come early to meet it.
fn replay_span_ms(tier: Tier) -> u64 {
    match tier {
        Tier::Race => 800,
        Tier::Soak => 4_000,
    }
}

/// How long a fault lasts, more or less.
fn draw_unit_ms(draw: &mut Draw, tier: Tier) -> u64 {
    let unit = match tier {
        Tier::Race => draw.between(20, 400),
        Tier::Soak => draw.between(100, 1_500),
    };
    unit as u64
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Broker => f.pad("broker"),
            Host::Worker(number) => f.pad(&format!("worker-{number}")),
            Host::Control => f.pad("control"),
        }
    }
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Host, String> {
        match text {
            "broker" => Ok(Host::Broker),
            "control" => Ok(Host::Control),
            _ => match text.strip_prefix("worker-").and_then(|number| number.parse().ok()) {
                Some(number) if number > 0 => Ok(Host::Worker(number)),
                _ => Err(format!("unknown host `{text}`, expected `broker`, `worker-N` or `control`")),
            },
        }
    }
}

impl Serialize for Host {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Host {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Host, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl fmt::Debug for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl PartialEq for FaultKind {
    fn eq(&self, other: &FaultKind) -> bool {
        self.0.name() == other.0.name()
    }
}

impl Eq for FaultKind {}

impl Serialize for FaultKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
    }
}

impl<'de> Deserialize<'de> for FaultKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<FaultKind, D::Error> {
        let name = String::deserialize(deserializer)?;
        faults::named(&name).map(FaultKind).ok_or_else(|| {
            let known = one_of(faults::ALL.iter().map(|fault| fault.name()));
            D::Error::custom(format!("unknown kind of fault `{name}`, expected {known}"))
        })
    }
}

impl Serialize for PointName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
    }
}

impl<'de> Deserialize<'de> for PointName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PointName, D::Error> {
        let name = String::deserialize(deserializer)?;
        Point::from_name(&name).map(PointName).ok_or_else(|| {
            let known = one_of(Point::ALL.iter().map(|point| point.name()));
            D::Error::custom(format!("unknown point `{name}`, expected {known}"))
        })
    }
}

/// ``one of `a`, `b` ``, as serde says it of fields and variants.
fn one_of(names: impl Iterator<Item = &'static str>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    format!("one of {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::END_OF_INPUT;

    #[test]
    fn a_plan_is_a_function_of_pipeline_and_seed_and_survives_its_file() {
        for seed in 0..200 {
            let plan = Plan::expand("p", seed, None);
            assert_eq!(plan, Plan::expand("p", seed, None));
            assert_eq!(plan.tier, tier_of("p", seed));
            let text = plan.to_toml();
            let read = Plan::parse(&text).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
            assert_eq!(plan, read, "{text}");
        }
        assert_ne!(Plan::expand("p", 1, None).to_toml(), Plan::expand("q", 1, None).to_toml());
    }

    #[test]
    fn an_id_is_a_place_in_the_list_until_it_is_given() {
        let events = vec![SourceEvent::marker(0, 0, 5), SourceEvent::marker(0, 0, END_OF_INPUT)];
        let mut events = numbered(events);
        assert_eq!(events.iter().map(|event| event.id).collect::<Vec<_>>(), [Some(1), Some(2)]);
        events.remove(0);
        assert_eq!(numbered(events)[0].id, Some(2), "what is left keeps its id");
    }

    #[test]
    fn a_plan_that_says_nothing_of_the_replay_means_one_when_live_is_over_and_a_cut_by_offset_before_it() {
        let mut plan = (0..).map(|seed| Plan::expand("p", seed, None)).find(|plan| plan.truncate.is_some());
        let plan = plan.as_mut().expect("some plan truncates");
        plan.replay = Replay::default();
        plan.truncate = Some(Truncate { partition: 0, per_mille: 500, by: TruncateBy::Offset, after_ms: None });
        let text = plan.to_toml();
        assert!(!text.contains("[replay]") && !text.contains("by =") && !text.contains("after_ms"), "{text}");
        assert_eq!(*plan, Plan::parse(&text).expect("it is a plan"));
    }

    #[test]
    fn every_kind_of_fault_and_both_tiers_are_drawn_soon() {
        let plans: Vec<Plan> = (0..300).map(|seed| Plan::expand("p", seed, None)).collect();
        for fault in faults::ALL {
            let count =
                plans.iter().flat_map(|plan| &plan.faults).filter(|spec| spec.kind.0.name() == fault.name()).count();
            assert!(count > 10, "{} is drawn {count} times in 300 seeds", fault.name());
        }
        let race = plans.iter().filter(|plan| plan.tier == Tier::Race).count();
        assert!((100..200).contains(&race), "{race} of 300 seeds are in the race tier");
    }

    #[test]
    fn every_point_is_struck_by_some_fault() {
        let plans = (0..1_000).map(|seed| Plan::expand("p", seed, None));
        let struck: BTreeSet<&str> =
            plans.flat_map(|plan| plan.faults).filter_map(|spec| spec.point).map(|point| point.0.name()).collect();
        let all: BTreeSet<&str> = Point::ALL.iter().map(|point| point.name()).collect();
        assert_eq!(struck, all);
    }

    #[test]
    fn what_is_wrong_in_a_plan_file_is_said_with_its_line() {
        let good = Plan::expand("p", 3, None).to_toml();
        assert!(good.contains("[[fault]]"), "{good}");
        for (from, to, said) in [
            ("[cluster]", "[cluster]\nembeded = 1", "unknown field `embeded`"),
            ("kind = \"", "kind = \"x", "unknown kind of fault `x"),
            ("host = \"", "host = \"y", "unknown host `y"),
            ("format = 1", "format = 9", "the plan's format is 9"),
            ("embedded = true", "embedded = \"yes\"", "invalid type"),
        ] {
            let text = good.replacen(from, to, 1);
            if text == good {
                continue;
            }
            let error = Plan::parse(&text).expect_err(&text).to_string();
            assert!(error.contains(said), "{error}");
            assert!(said.starts_with("the plan") || error.contains("at line "), "{error}");
            assert_eq!(
                said.starts_with("unknown field"),
                error.contains("a newer Segno has written this plan"),
                "{error}"
            );
        }
    }
}
