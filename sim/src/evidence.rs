//! What a run leaves behind for the checks: the broker's disk, and the histories of what was sent, acknowledged and read.
//!
//! In: the world fills it while it runs. Out: the checks read it; they draw nothing and ask nobody.
//!
//! Moments are ordinals of one counter over the whole world ([`Moment`]): if the answer to A was received before B was
//! asked, then A's moment is smaller. That is what lets a check say "after".

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use engine::stream::Deployment;
use engine::types::{Millis, Offset, Partition, ProducerEpoch, ProducerId, Timestamp, TopicPartition};

use crate::plan::Host;
use crate::world::board::TaskKey;

/// A position in the world's history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

/// Everything that the checks may read.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The broker's data directory; segments are `<data_dir>/<topic>-<partition>/<20 digits>.log`.
    pub data_dir: PathBuf,
    /// The broker's disk when everything was over.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    /// What was removed from it, as it was then.
    pub removed: BTreeMap<PathBuf, Vec<u8>>,
    /// The source topic and its number of partitions.
    pub source: String,
    pub source_partitions: i32,
    pub live: RunNames,
    pub replay: RunNames,
    pub history: History,
    /// The same, and what was seen of a version that found its input cut; `None` when there was none. The files are older.
    pub whole_history: Option<History>,
    /// Every crash of the broker, in order.
    pub crashes: Vec<Crash>,
    /// Every time that a needed offset was deleted under a run.
    pub gaps: Vec<Gap>,
    /// The start at a time of a version whose source was cut.
    pub start_above_cut: Option<StartAboveCut>,
    /// What was deleted from the source when everything else was over.
    pub cut: Option<Cut>,
    /// What the run that needed them left; the rest of the evidence is from before.
    pub after_gap: Option<AfterGap>,
    /// What a third version left that came to its end, if there was one: it is compared with live like the replay.
    pub second_replay: Option<AfterGap>,
    pub liveness: Liveness,
    /// The run was stopped before this was taken: a transaction may be concluded in one partition and not yet in another.
    pub cut_short: bool,
}

impl Evidence {
    /// What was seen from beginning to end. What is compared with `files` belongs to [`history`](Evidence::history).
    pub fn whole(&self) -> &History {
        self.whole_history.as_ref().unwrap_or(&self.history)
    }

    /// Whether nothing was under way any more when the files were taken: every transaction has all of its markers then.
    pub fn is_at_rest(&self) -> bool {
        let Liveness { converged, replay_converged, second_replay_missing, .. } = &self.liveness;
        *converged && *replay_converged && second_replay_missing.is_none() && !self.cut_short
    }
}

/// The names of one version of the pipeline: where it wrote what.
#[derive(Clone, Debug, Default)]
pub struct RunNames {
    pub group: String,
    pub out_topic: String,
    pub late_topic: String,
    pub rejected_topic: String,
    /// Those that carry source records to the owners of their keys; topics of panes are not among them.
    pub repartition_topics: Vec<String>,
    pub pane_topics: Vec<PaneTopic>,
    pub tasks: Vec<TaskNames>,
    /// `None`: it starts at offset 0.
    pub from: Option<FromTime>,
}

/// What a version that starts at a time promises, by the rules and not by the engine's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FromTime {
    pub time: i64,
    /// Every source record at or after this is needed: a deduplication horizon before `time`.
    pub needs: i64,
    /// It writes of windows that start at or after this, and of no other: a gap after `time`.
    pub speaks_from: i64,
}

/// A topic that carries the panes of one stage's windows to those of the next.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PaneTopic {
    pub name: String,
    /// Whose tasks write it: its channels.
    pub from_stage: u16,
}

/// One task: what it reads and where its commit records are.
#[derive(Clone, Debug)]
pub struct TaskNames {
    pub stage: u16,
    pub partition: i32,
    pub inputs: Vec<TopicPartition>,
    pub changelog: Option<TopicPartition>,
    pub transactional_id: String,
    /// Channels of a task behind a repartition topic: partitions of the stage before it. 1 for a task that reads the
    /// source.
    pub upstream_partitions: i32,
    /// The lengths of the task's windows; `None` for a task without windows, or when they are not known.
    pub window: Option<WindowRule>,
}

impl TaskNames {
    pub fn key(&self, version: u32) -> TaskKey {
        TaskKey { version, stage: self.stage, partition: Partition(self.partition) }
    }
}

impl RunNames {
    /// The names and rules of a deployment. Only what is configured is asked of the engine, nothing that it computed.
    pub fn of(deployment: &Deployment) -> RunNames {
        let ids = deployment.tasks();
        let size = |stage: u16| ids.iter().filter(|id| id.stage == stage).count() as i32;
        let (mut repartition_topics, mut pane_topics) = (BTreeSet::new(), BTreeSet::new());
        let mut tasks = Vec::new();
        for id in &ids {
            let task = deployment.task(*id);
            let before = id.stage.checked_sub(1);
            let inputs = task.inputs().iter().map(|input| input.topic.to_string());
            match before {
                None => {}
                Some(before) if deployment.window(before).is_none() => repartition_topics.extend(inputs),
                Some(from_stage) => pane_topics.extend(inputs.map(|name| PaneTopic { name, from_stage })),
            }
            tasks.push(TaskNames {
                stage: id.stage,
                partition: id.partition.0,
                inputs: task.inputs().to_vec(),
                changelog: task.changelog().cloned(),
                transactional_id: deployment.transactional_id(*id),
                upstream_partitions: before.map_or(1, size),
                window: deployment
                    .window(id.stage)
                    .map(|spec| WindowRule { gap: Millis(spec.gap()), lateness: Millis(spec.lateness()) }),
            });
        }
        let from = deployment.start().map(|start| {
            let (time, horizon) = (start.time().0, deployment.pipeline.horizon().map_or(0, |horizon| horizon.0));
            let gap = tasks.iter().filter_map(|task| task.window).map(|window| window.gap.0).max().unwrap_or(0);
            FromTime { time, needs: time - horizon, speaks_from: time + gap }
        });
        RunNames {
            from,
            group: deployment.group(),
            out_topic: deployment.out_topic(),
            late_topic: deployment.late_topic(),
            rejected_topic: deployment.rejected_topic(),
            repartition_topics: repartition_topics.into_iter().collect(),
            pane_topics: pane_topics.into_iter().collect(),
            tasks,
        }
    }
}

/// What decides when a cell fires and when it is purged. Tumbling windows are the case of gap 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowRule {
    pub gap: Millis,
    pub lateness: Millis,
}

/// What the clients asked and were answered.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub sends: Vec<SendRecord>,
    pub polls: Vec<PollRecord>,
    pub ends: Vec<EndRecord>,
    pub trims: Vec<TrimRecord>,
    /// Batches that tasks wrote.
    pub writes: Vec<WriteRecord>,
    /// Offsets that tasks added to their transactions.
    pub offsets: Vec<OffsetsRecord>,
    /// What the readers read, from offset 0.
    pub assigned: BTreeMap<String, Vec<TopicPartition>>,
    /// By name, the readers that are instances of tasks: their polls are among [`History::polls`].
    pub task_readers: BTreeMap<String, TaskReader>,
}

/// A source record that somebody tried to write. Its identity is the header `segno.send`, never reused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendRecord {
    pub id: u64,
    pub partition: TopicPartition,
    /// Of timestamp, key, value and headers: [`crate::checks::log::digest`].
    pub digest: u64,
    pub sent: Moment,
    /// One per acknowledgement that arrived; several when a retry was answered too.
    pub acks: Vec<Ack>,
}

/// The broker said that a record is at `offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    pub at: Moment,
    pub offset: Offset,
}

/// One answered fetch of one partition, by a reader that never seeks back: a smaller `from` than its last `next` is an error.
/// Readers are those of the control host, and every instance of every task ([`TaskReader`]), which goes back to what its
/// group has committed and so begins anew. Of a task it holds what the task took, when it had taken it: a fetch that it
/// never came to is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollRecord {
    pub reader: String,
    pub partition: TopicPartition,
    pub asked: Moment,
    pub answered: Moment,
    pub from: Offset,
    /// One past the last record that was returned, visible or not; `from` when nothing was.
    pub next: Offset,
    pub read_committed: bool,
    pub high_watermark: Offset,
    pub last_stable: Offset,
    pub log_start: Offset,
    /// What the reader may see of it: data records, without those of aborted transactions when `read_committed`.
    pub seen: Vec<Seen>,
}

/// A record as a reader saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub offset: Offset,
    pub digest: u64,
}

/// An instance of a task began to read its inputs, or its changelog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskReader {
    pub task: TaskKey,
    pub group: String,
    pub host: Host,
    /// Of the task; numbered over the whole world.
    pub instance: u64,
    /// Before the instance did anything.
    pub started: Moment,
    /// It knew its positions.
    pub began: Moment,
    /// It reads its changelog, from where that begins; several times if it is trimmed meanwhile.
    pub restores: bool,
    /// Of a version that starts at a time: without a commit the log says where.
    pub from_time: bool,
    pub positions: Vec<(TopicPartition, Offset)>,
}

impl TaskReader {
    /// Where it began to read `partition`.
    pub fn begins(&self, partition: &TopicPartition) -> Option<Offset> {
        self.positions.iter().find(|(of, _)| of == partition).map(|(_, position)| *position)
    }
}

/// A request to add a group's offsets to a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetsRecord {
    pub group: String,
    pub producer_id: ProducerId,
    pub epoch: ProducerEpoch,
    pub offsets: Vec<(TopicPartition, Offset)>,
    /// Success was answered, for all of them.
    pub answered: bool,
}

/// A request to end a transaction, and whether it was answered with success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndRecord {
    pub transactional_id: String,
    pub producer_id: ProducerId,
    /// The epoch that the transaction wrote with.
    pub epoch: ProducerEpoch,
    pub commit: bool,
    pub asked: Moment,
    pub answered: Option<Moment>,
}

/// A batch that a client asked the broker to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteRecord {
    pub partition: TopicPartition,
    /// Of an idempotent producer.
    pub writer: Option<(ProducerId, ProducerEpoch)>,
    pub transactional: bool,
    /// Of the first record.
    pub sequence: i32,
    pub records: i32,
    pub asked: Moment,
    /// When success was answered, and the first record's offset.
    pub answered: Option<(Moment, Offset)>,
}

/// A task's request to delete the beginning of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrimRecord {
    pub partition: TopicPartition,
    /// Records below are no longer wanted.
    pub below: Offset,
    pub asked: Moment,
}

/// The broker's host went down; its disk as it was once the fate of the unsynced bytes was settled.
#[derive(Clone, Debug, Default)]
pub struct Crash {
    pub at: Moment,
    pub virtual_ms: u64,
    /// `kill` or `power-cut`.
    pub kind: String,
    pub files: BTreeMap<PathBuf, Vec<u8>>,
}

/// A task needed `needed`, and the log began at `log_start` by then, which is above it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    pub group: String,
    pub partition: TopicPartition,
    pub needed: Offset,
    pub log_start: Offset,
    /// What the run said of it; `None` when it went on as if nothing were missing.
    pub reported: Option<String>,
}

impl Gap {
    /// Whether anything is missing: who needs nothing that is gone has another reason to come to no end.
    pub fn is_one(&self) -> bool {
        self.needed < self.log_start
    }
}

/// A version started at a time, and the source had lost its beginning, or was about to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartAboveCut {
    pub group: String,
    pub partition: TopicPartition,
    pub from: FromTime,
    pub log_start: Offset,
    /// It had begun to read when the beginning went away.
    pub ran_beside: bool,
    /// What it said when it refused to start.
    pub refused: Option<String>,
    pub finished: bool,
}

/// The beginning of a log was to go, but for what was to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    pub partition: TopicPartition,
    pub keep: Keep,
    /// Where the log starts since, as the broker said it.
    pub start: Offset,
}

/// What is to be kept of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The records from this on.
    Offsets(Offset),
    /// The first segment with a record at or after this, and all that follow.
    Times(Timestamp),
    /// The last segments that together hold at least so many bytes.
    Bytes(u64),
}

/// The end of a run whose input had lost its beginning.
#[derive(Clone, Debug, Default)]
pub struct AfterGap {
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    pub names: RunNames,
}

/// How the liveness phase ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Liveness {
    /// Lag was zero, no transaction open and the watermark past the last event.
    pub converged: bool,
    pub took_virtual_ms: u64,
    /// How long nothing had got further when it was given up.
    pub stalled_virtual_ms: u64,
    /// What was still missing when it was given up.
    pub missing: Vec<String>,
    /// The replay ended too.
    pub replay_converged: bool,
    pub replay_missing: Vec<String>,
    /// What a second replay lacked that came to no end; `None` when it did, or there was none.
    pub second_replay_missing: Option<Vec<String>>,
}
