//! A pipeline under a version: the names of its group and topics, and its tasks.
//!
//! ```text
//! group             <app>.<version>
//! output            <app>.<version>.out
//! late, rejected    <app>.<version>.late, <app>.<version>.rejected
//! changelogs        <app>.<version>.<state>-changelog, one per stage (a stage that only routes: its step's name)
//! repartitions      <app>.<version>.<step>-repartition
//! transactional id  <app>.<version>.<stage>-<partition>, one per task, never per worker
//! ```
//!
//! Stage *k* has one task per partition of its input; its changelog has as many partitions. So have the late topic (of the
//! first windowed stage) and the output (of the last stage).

use std::sync::Arc;

use crate::types::{Millis, Partition, Timestamp, TopicPartition};

use super::aggregate::{Aggregate, CodecError, Pane, RecordTime};
use super::cells::Cells;
use super::channels::Channels;
use super::content::{Counted, Kept, Upstream};
use super::intake::{Decode, DedupBy, Intake};
use super::ledger::Ledger;
use super::outbox::Port;
use super::pipeline::{Pipeline, ReadRecord, Repartition, Source};
use super::routed::{Framed, PaneFed, Router};
use super::sink::{Markers, Onward, PaneEncoder, Route, Rows, Sink};
use super::stages::{Accepted, Direct, LatePort, Side, Task};
use super::start::{StartError, StartTime};
use super::task::{TaskCore, TaskId, TaskStats};
use super::window::WindowSpec;

/// A pipeline under a version.
#[derive(Clone, Debug)]
pub struct Deployment {
    pub pipeline: Arc<Pipeline>,
    pub version: u32,
    start: Option<StartTime>,
}

impl Deployment {
    pub fn new(pipeline: Arc<Pipeline>, version: u32) -> Deployment {
        Deployment { pipeline, version, start: None }
    }

    /// The same version, started at a time instead of offset 0: it begins to read where it must, and speaks only for
    /// windows from then on (see the head of `start.rs`). A version that has been started goes on with the same time alone.
    ///
    /// # Errors
    /// When the pipeline, or the time, allows no exact answer.
    pub fn starting_at(self, time: Timestamp) -> Result<Deployment, StartError> {
        let stages = self.pipeline.plan.windows.len();
        if stages > 1 {
            return Err(StartError::SeveralWindows { pipeline: self.app().to_owned(), stages });
        }
        Ok(Deployment { start: Some(StartTime::new(time)?), ..self })
    }

    /// `None`: it starts at offset 0.
    pub fn start(&self) -> Option<StartTime> {
        self.start
    }

    /// The event time from which on the source is read; `None`: from offset 0.
    pub fn reads_from(&self) -> Option<Timestamp> {
        self.start.map(|start| start.reads_from(self.pipeline.horizon()))
    }

    pub fn app(&self) -> &str {
        self.pipeline.name()
    }

    pub fn group(&self) -> String {
        format!("{}.v{}", self.app(), self.version)
    }

    pub fn source_topic(&self) -> &str {
        &self.pipeline.source().topic
    }

    pub fn out_topic(&self) -> String {
        format!("{}.out", self.group())
    }

    pub fn late_topic(&self) -> String {
        format!("{}.late", self.group())
    }

    pub fn rejected_topic(&self) -> String {
        format!("{}.rejected", self.group())
    }

    pub fn changelog(&self, state: &str) -> String {
        format!("{}.{state}-changelog", self.group())
    }

    pub fn repartition(&self, step: &str) -> String {
        format!("{}.{step}-repartition", self.group())
    }

    pub fn transactional_id(&self, task: TaskId) -> String {
        format!("{}.{task}", self.group())
    }

    /// Every topic that the pipeline writes, with its partitions; the source is not among them.
    pub fn topics(&self) -> Vec<(String, i32)> {
        let plan = &self.pipeline.plan;
        let mut topics = Vec::new();
        for stage in &plan.stages {
            if let Input::Repartition(step) = &stage.input {
                topics.push((self.repartition(step), stage.partitions));
            }
            topics.push((self.changelog(&stage.name), stage.partitions));
        }
        topics.push((self.out_topic(), plan.stages.last().map_or(1, |stage| stage.partitions)));
        topics.push((self.late_topic(), plan.late_partitions()));
        topics.push((self.rejected_topic(), plan.source.partitions));
        topics
    }

    /// Every task, by stage and partition.
    pub fn tasks(&self) -> Vec<TaskId> {
        let stages = self.pipeline.plan.stages.iter().zip(0_u16..);
        stages
            .flat_map(|(stage, number)| {
                (0..stage.partitions).map(move |partition| TaskId { stage: number, partition: Partition(partition) })
            })
            .collect()
    }

    /// The windows of a stage; `None` for one that only routes.
    pub fn window(&self, stage: u16) -> Option<WindowSpec> {
        let name = &self.pipeline.plan.stages.get(usize::from(stage))?.name;
        self.pipeline.plan.windows.iter().find(|(state, _)| state == name).map(|(_, spec)| *spec)
    }

    /// The Avro schemas that readers of the output need.
    pub fn schemas(&self) -> Vec<String> {
        self.pipeline.plan.schemas.clone()
    }

    /// A fresh task, to be restored.
    ///
    /// # Panics
    /// If the pipeline has no such task.
    pub fn task(&self, id: TaskId) -> Box<dyn TaskCore> {
        let stage = &self.pipeline.plan.stages[usize::from(id.stage)];
        assert!((0..stage.partitions).contains(&id.partition.0), "no task {id} in {}", self.app());
        (stage.build)(&Wiring { deployment: self, stage, partition: id.partition })
    }
}

/// What a stage reads.
#[derive(Clone, Debug)]
pub(super) enum Input {
    Source,
    Repartition(String),
}

/// A stage, its types forgotten.
pub(super) struct Stage {
    /// Of its changelog.
    pub name: String,
    pub input: Input,
    pub partitions: i32,
    build: Box<Build>,
}

type Build = dyn Fn(&Wiring<'_>) -> Box<dyn TaskCore> + Send + Sync;

/// All that a pipeline is, in order of its stages.
pub(super) struct Plan {
    pub name: String,
    pub source: Source,
    pub stages: Vec<Stage>,
    /// Every name that topics are called after.
    pub steps: Vec<String>,
    pub windows: Vec<(String, WindowSpec)>,
    pub horizon: Option<Millis>,
    pub schemas: Vec<String>,
    pub read: Box<ReadRecord>,
}

impl Plan {
    pub fn new(name: String, source: Source, read: Box<ReadRecord>) -> Plan {
        Plan {
            name,
            source,
            stages: Vec::new(),
            steps: Vec::new(),
            windows: Vec::new(),
            horizon: None,
            schemas: Vec::new(),
            read,
        }
    }

    /// The tasks that judge lateness: the first windowed stage's.
    fn late_partitions(&self) -> i32 {
        let first = self.windows.first().map(|(state, _)| state);
        self.stages.iter().find(|stage| Some(&stage.name) == first).map_or(1, |stage| stage.partitions)
    }
}

/// Where a task's records come from and go.
pub(super) struct Wiring<'a> {
    deployment: &'a Deployment,
    stage: &'a Stage,
    partition: Partition,
}

// The order of a task's ports: what readers see, then state. Repartition partitions follow.
const PORT_OUT: usize = 0;
const PORT_LATE: usize = 1;
const PORT_REJECTED: usize = 2;
const PORT_FIRST_REPARTITION: usize = 3;

impl Wiring<'_> {
    fn port(&self, index: usize, topic: String) -> Port {
        Port { index, partition: TopicPartition::new(topic, self.partition.0) }
    }

    fn out(&self) -> Port {
        self.port(PORT_OUT, self.deployment.out_topic())
    }

    /// Windows that start before it are not written.
    fn speaks_from(&self) -> Timestamp {
        match (self.deployment.start, self.deployment.pipeline.plan.windows.last()) {
            (Some(start), Some((_, windows))) => start.speaks_from(windows),
            _ => Timestamp::MIN,
        }
    }

    fn late(&self) -> LatePort {
        LatePort { port: self.port(PORT_LATE, self.deployment.late_topic()), speaks_from: self.speaks_from() }
    }

    fn side(&self) -> Side {
        let rejected = self.port(PORT_REJECTED, self.deployment.rejected_topic());
        Side { partition: self.partition, late: self.late(), rejected }
    }

    fn markers(&self, onto: &Onto) -> Markers {
        let topic: Arc<str> = self.deployment.repartition(&onto.step).into();
        let port = |partition: i32| Port {
            index: PORT_FIRST_REPARTITION + partition as usize,
            partition: TopicPartition::new(Arc::clone(&topic), partition),
        };
        Markers::new(self.partition, (0..onto.partitions).map(port).collect())
    }

    /// A task over these parts; `onto` tells how many ports come before the changelog's.
    fn task<W: super::stages::Work + 'static>(&self, onto: Option<&Onto>, work: W) -> Box<dyn TaskCore> {
        let topic = match &self.stage.input {
            Input::Source => self.deployment.source_topic().to_owned(),
            Input::Repartition(step) => self.deployment.repartition(step),
        };
        let last = PORT_FIRST_REPARTITION + onto.map_or(0, |onto| onto.partitions as usize);
        let changelog = self.port(last, self.deployment.changelog(&self.stage.name));
        let ledger = Ledger::new(vec![TopicPartition::new(topic, self.partition.0)], changelog, self.deployment.start);
        Box::new(Task { ledger, stats: TaskStats::default(), work })
    }
}

/// A repartition topic that a stage writes.
#[derive(Clone, Debug)]
pub(super) struct Onto {
    pub step: String,
    pub partitions: i32,
}

/// A windowed stage that does not know yet where its panes go. Each way makes the function that builds a task.
pub(super) struct StagePlan<A: Aggregate> {
    name: String,
    input: Input,
    partitions: i32,
    windowed: Box<dyn WindowedStage<A>>,
}

/// How a windowed stage becomes tasks, once its sink's type is known. Two methods and not one generic one, since this is
/// a trait object.
trait WindowedStage<A: Aggregate>: Send + Sync {
    fn with_sink(&self, wiring: &Wiring<'_>, onto: Option<&Onto>, sink: BoxSink<A::State>) -> Box<dyn TaskCore>;
}

type BoxSink<S> = Box<dyn Sink<S>>;

impl<A: Aggregate + Clone> StagePlan<A> {
    /// Windows where the source is read.
    pub fn direct<D: Decode>(
        plan: &mut Plan,
        state: &str,
        spec: WindowSpec,
        decode: Arc<D>,
        dedup: Option<DedupBy<D::Out>>,
        aggregate: A,
    ) -> StagePlan<A>
    where
        A: Aggregate<In = D::Out>,
    {
        plan.horizon = dedup.as_ref().map(|dedup| dedup.horizon);
        plan.windows.push((state.to_owned(), spec));
        let (bound, partitions) = (plan.source.bound, plan.source.partitions);
        let windowed = DirectStage { spec, bound, decode, dedup, aggregate };
        StagePlan { name: state.to_owned(), input: Input::Source, partitions, windowed: Box::new(windowed) }
    }

    /// Adds the stage that routes, and windows behind it.
    pub fn routed<D: Decode>(
        plan: &mut Plan,
        state: &str,
        spec: WindowSpec,
        decode: Arc<D>,
        dedup: Option<DedupBy<D::Out>>,
        repartition: Repartition<D::Out>,
        aggregate: A,
    ) -> StagePlan<A>
    where
        A: Aggregate<In = D::Out>,
    {
        plan.horizon = dedup.as_ref().map(|dedup| dedup.horizon);
        plan.windows.push((state.to_owned(), spec));
        let Repartition { step, partitions, key, codec } = repartition;
        let onto = Onto { step: step.clone(), partitions };
        let (bound, channels) = (plan.source.bound, plan.source.partitions);
        let route_codec = Arc::clone(&codec);
        plan.push_stage(step.clone(), Input::Source, channels, move |wiring| {
            let router = Router {
                intake: Intake::new(Arc::clone(&decode), bound, dedup.clone(), false),
                key_of: Arc::clone(&key),
                codec: Arc::clone(&route_codec),
                markers: wiring.markers(&onto),
                side: wiring.side(),
                key: Vec::new(),
                value: Vec::new(),
            };
            wiring.task(Some(&onto), router)
        });
        let windowed = FramedStage { spec, channels: channels as usize, codec, aggregate };
        StagePlan { name: state.to_owned(), input: Input::Repartition(step), partitions, windowed: Box::new(windowed) }
    }

    /// Windows the panes that `upstream` computes.
    pub fn pane_fed<U: Aggregate>(
        plan: &mut Plan,
        state: &str,
        spec: WindowSpec,
        onto: &Onto,
        upstream: Arc<U>,
        aggregate: A,
    ) -> StagePlan<A>
    where
        A: Aggregate<In = Pane<U::State>>,
    {
        plan.windows.push((state.to_owned(), spec));
        let channels = plan.stages.last().map_or(0, |stage| stage.partitions.max(0) as usize);
        let windowed = PaneFedStage { spec, channels, aggregate: FedBy { aggregate, upstream } };
        StagePlan {
            name: state.to_owned(),
            input: Input::Repartition(onto.step.clone()),
            partitions: onto.partitions,
            windowed: Box::new(windowed),
        }
    }
}

impl<A: Aggregate> StagePlan<A> {
    /// Ends in the output table.
    pub fn onto_rows<E: PaneEncoder<A::State>>(self, plan: &mut Plan, encoder: Arc<E>) {
        let windowed = self.windowed;
        plan.push_stage(self.name, self.input, self.partitions, move |wiring| {
            windowed.with_sink(
                wiring,
                None,
                Box::new(Rows::new(Arc::clone(&encoder), wiring.out(), wiring.speaks_from())),
            )
        });
    }

    /// Ends in another repartition topic.
    pub fn onto_panes(self, plan: &mut Plan, onto: &Onto, aggregate: Arc<A>, route: Arc<Route<A::State>>) {
        let (windowed, onto) = (self.windowed, onto.clone());
        plan.steps.push(onto.step.clone());
        plan.push_stage(self.name, self.input, self.partitions, move |wiring| {
            let onward = Onward::new(Arc::clone(&aggregate), Arc::clone(&route), wiring.markers(&onto));
            windowed.with_sink(wiring, Some(&onto), Box::new(onward))
        });
    }
}

impl Plan {
    fn push_stage(
        &mut self,
        name: String,
        input: Input,
        partitions: i32,
        build: impl Fn(&Wiring<'_>) -> Box<dyn TaskCore> + Send + Sync + 'static,
    ) {
        self.steps.push(name.clone());
        self.stages.push(Stage { name, input, partitions, build: Box::new(build) });
    }
}

struct DirectStage<D: Decode, A> {
    spec: WindowSpec,
    bound: Millis,
    decode: Arc<D>,
    dedup: Option<DedupBy<D::Out>>,
    aggregate: A,
}

impl<D: Decode, A: Aggregate<In = D::Out> + Clone> WindowedStage<A> for DirectStage<D, A> {
    fn with_sink(&self, wiring: &Wiring<'_>, onto: Option<&Onto>, sink: BoxSink<A::State>) -> Box<dyn TaskCore> {
        let intake = Intake::new(Arc::clone(&self.decode), self.bound, self.dedup.clone(), true);
        let cells = Cells::new(self.spec, self.aggregate.clone(), sink);
        wiring.task(onto, Direct { intake, cells, side: wiring.side(), accepted: Accepted::default() })
    }
}

struct FramedStage<T, A> {
    spec: WindowSpec,
    channels: usize,
    codec: Arc<dyn super::pipeline::PayloadCodec<T>>,
    aggregate: A,
}

impl<T: Send + 'static, A: Aggregate<In = T> + Clone> WindowedStage<A> for FramedStage<T, A> {
    fn with_sink(&self, wiring: &Wiring<'_>, onto: Option<&Onto>, sink: BoxSink<A::State>) -> Box<dyn TaskCore> {
        let channels = Channels::new(self.channels);
        let cells = Cells::new(self.spec, self.aggregate.clone(), sink);
        let (codec, accepted) = (Arc::clone(&self.codec), Accepted::default());
        wiring.task(onto, Framed { channels, codec, cells, late: wiring.late(), accepted })
    }
}

struct PaneFedStage<A, U> {
    spec: WindowSpec,
    channels: usize,
    aggregate: FedBy<A, U>,
}

impl<U: Aggregate, A: Aggregate<In = Pane<U::State>> + Clone> WindowedStage<A> for PaneFedStage<A, U> {
    fn with_sink(&self, wiring: &Wiring<'_>, onto: Option<&Onto>, sink: BoxSink<A::State>) -> Box<dyn TaskCore> {
        let channels = Channels::new(self.channels);
        let aggregate = self.aggregate.clone();
        if A::INVERTIBLE && self.spec.never_splits() {
            let cells: Cells<_, Counted<A::State>, _> = Cells::new(self.spec, aggregate, sink);
            wiring.task(onto, PaneFed { channels, cells, restored: 0 })
        } else {
            let cells: Cells<_, Kept<U::State>, _> = Cells::new(self.spec, aggregate, sink);
            wiring.task(onto, PaneFed { channels, cells, restored: 0 })
        }
    }
}

/// An aggregate of panes, with the one that made them: it reads their states back.
struct FedBy<A, U> {
    aggregate: A,
    upstream: Arc<U>,
}

impl<A: Clone, U> Clone for FedBy<A, U> {
    fn clone(&self) -> Self {
        FedBy { aggregate: self.aggregate.clone(), upstream: Arc::clone(&self.upstream) }
    }
}

impl<U: Aggregate, A: Aggregate<In = Pane<U::State>>> Aggregate for FedBy<A, U> {
    type In = A::In;
    type State = A::State;
    const INVERTIBLE: bool = A::INVERTIBLE;

    fn identity(&self) -> A::State {
        self.aggregate.identity()
    }
    fn add(&self, state: &mut A::State, record: &A::In, time: RecordTime<'_>) {
        self.aggregate.add(state, record, time);
    }
    fn merge(&self, state: &mut A::State, other: &A::State) {
        self.aggregate.merge(state, other);
    }
    fn subtract(&self, state: &mut A::State, record: &A::In, time: RecordTime<'_>) {
        self.aggregate.subtract(state, record, time);
    }
    fn encode(&self, state: &A::State, out: &mut Vec<u8>) {
        self.aggregate.encode(state, out);
    }
    fn decode(&self, bytes: &[u8]) -> Result<A::State, CodecError> {
        self.aggregate.decode(bytes)
    }
}

impl<U: Aggregate, A: Aggregate<In = Pane<U::State>>> Upstream<U::State> for FedBy<A, U> {
    fn decode_upstream(&self, bytes: &[u8]) -> Result<U::State, CodecError> {
        self.upstream.decode(bytes)
    }
}
