//! What the driver and the hosts tell each other: which version's tasks shall run where, who has finished, what was sent
//! and read.
//!
//! In: the driver moves versions and tasks; hosts report. Out: hosts wait for changes; the driver reads between ticks.
//! The board belongs to the world: it survives every crash, and stands for an operator who is never wrong.
//!
//! Invariant: moments are handed out in the order in which things happen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::log::Retention;
use engine::stream::TaskStats;
use engine::types::{Offset, Partition, ProducerId, TopicPartition};
use tokio::sync::watch;

use crate::effects::FaultId;
use crate::evidence::{
    Ack, EndRecord, History, Moment, OffsetsRecord, PollRecord, SendRecord, TaskReader, TrimRecord, WriteRecord,
};
use crate::plan::Host;

/// One task of one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskKey {
    pub version: u32,
    pub stage: u16,
    pub partition: Partition,
}

impl fmt::Display for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {}-{} of version {}", self.stage, self.partition, self.version)
    }
}

/// How far the world is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Topics are being created; nothing runs.
    #[default]
    Setup,
    /// This version's tasks run.
    Running(u32),
}

/// Something that an engine had to deal with: what a fault made visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disturbance {
    pub at_ms: u64,
    pub host: Host,
}

/// A consumer group and a partition that it reads.
pub type GroupPartition = (String, TopicPartition);

/// Cheap to clone; every clone is the same board.
#[derive(Clone)]
pub struct Board(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    stage: Stage,
    /// The version that the control host shall prepare next.
    wanted: u32,
    homes: BTreeMap<TaskKey, Host>,
    started: BTreeSet<TaskKey>,
    finished: BTreeMap<TaskKey, TaskStats>,
    produced: bool,
    /// Versions of which the observer saw no open transaction and no lag, after all tasks had finished.
    quiet: BTreeSet<u32>,
    /// What each transactional id has sent and not yet committed.
    offsets_sent: BTreeMap<String, Vec<(GroupPartition, Offset)>>,
    /// The furthest that each group has committed, and when one of them last moved.
    committed: BTreeMap<GroupPartition, Offset>,
    progressed_ms: u64,
    missing: Vec<String>,
    moment: u64,
    /// Who asked for the end of each transaction in the history.
    end_hosts: Vec<Host>,
    history: History,
    /// Up to where each sequential reader has read.
    positions: BTreeMap<(String, TopicPartition), Offset>,
    disturbances: Vec<Disturbance>,
    /// Transactions that a host has written outputs into and not asked to end, by their producers.
    outputs: BTreeSet<(Host, ProducerId)>,
    /// Where instances of tasks have run.
    ran: BTreeSet<Host>,
    /// Instances of tasks, numbered from 1, and where each runs.
    instances: u64,
    alive: BTreeMap<u64, Host>,
    /// Those that ran when their host was paused, by the fault that did.
    asleep: BTreeMap<u64, FaultId>,
    /// By fault, the hosts that found after it that one of their tasks had been taken over.
    woken: BTreeMap<FaultId, BTreeSet<Host>>,
    failed: Vec<(&'static str, String)>,
    restarts: Vec<(Host, String)>,
    /// Hosts that were asked to stop, and how many of their tasks and brokers have since ended well.
    leaving: BTreeMap<Host, u64>,
    /// Files with a wrong bit.
    rotten: BTreeSet<PathBuf>,
    /// Rare states that the hosts met.
    reached: BTreeMap<&'static str, u64>,
    deletion: Option<Deletion>,
    /// Tasks that stopped because what they need was deleted, and what they said.
    gave_up: BTreeMap<TaskKey, GaveUp>,
}

/// A task stopped because what it needs was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GaveUp {
    /// The offset; `None` where a time was needed.
    pub needed: Option<Offset>,
    pub said: String,
}

/// The beginning of a log goes away while the broker runs, as retention takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    pub partition: TopicPartition,
    pub what: Deleted,
    /// Where the log starts, once it is done.
    pub start: Option<Offset>,
}

/// What is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    Below(Offset),
    /// Whole segments, but for what this keeps.
    AllBut(Retention),
}

impl Default for Board {
    fn default() -> Board {
        Board::new()
    }
}

impl Board {
    /// A board on which version 1 is wanted and nothing has happened.
    pub fn new() -> Board {
        let state = State { wanted: 1, ..State::default() };
        Board(Arc::new(Inner { state: Mutex::new(state), changed: watch::Sender::new(0) }))
    }

    /// The board's changes; a waiter sees at least the last one.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let answer = change(&mut self.lock());
        self.0.changed.send_modify(|count| *count += 1);
        answer
    }

    pub fn stage(&self) -> Stage {
        self.lock().stage
    }

    /// The driver wants this version prepared and run.
    pub fn want(&self, version: u32) {
        self.change(|state| state.wanted = version);
    }

    pub fn wanted(&self) -> u32 {
        self.lock().wanted
    }

    /// Topics and schemas of `version` are there: its tasks may run. `hosts` get them in turn.
    pub fn start(&self, version: u32, tasks: impl IntoIterator<Item = TaskKey>, hosts: &[Host], rotate: usize) {
        assert!(!hosts.is_empty(), "no host runs tasks");
        self.change(|state| {
            for (index, task) in tasks.into_iter().enumerate() {
                assert_eq!(task.version, version, "{task}");
                state.homes.insert(task, hosts[(index + rotate) % hosts.len()]);
            }
            let live = state.homes.keys().any(|key| key.version == 1 && !state.finished.contains_key(key));
            if version == 2 && live {
                *state.reached.entry("replay-beside-live").or_default() += 1;
            }
            state.stage = Stage::Running(version);
        });
    }

    /// Every task of `from` belongs to `to` from now on. Instances that run on `from` are told nothing.
    pub fn move_tasks(&self, from: Host, to: Host) -> usize {
        self.change(|state| {
            let mut moved = 0;
            for (key, home) in &mut state.homes {
                if *home == from && !state.finished.contains_key(key) {
                    *home = to;
                    moved += 1;
                }
            }
            moved
        })
    }

    /// The tasks that `host` shall run now.
    pub fn tasks_of(&self, host: Host) -> Vec<TaskKey> {
        let state = self.lock();
        let Stage::Running(version) = state.stage else { return Vec::new() };
        if state.leaving.contains_key(&host) {
            return Vec::new();
        }
        let over = |key: &TaskKey| state.finished.contains_key(key) || state.gave_up.contains_key(key);
        let due = |key: &TaskKey| key.version <= version && !over(key);
        state.homes.iter().filter(|(key, home)| **home == host && due(key)).map(|(key, _)| *key).collect()
    }

    /// An instance of the task begins on `host`; one that is not the first has something to recover from. Its number.
    pub fn starting(&self, key: TaskKey, host: Host, at_ms: u64) -> u64 {
        let mut state = self.lock();
        if !state.started.insert(key) {
            state.disturbances.push(Disturbance { at_ms, host });
        }
        state.instances += 1;
        let instance = state.instances;
        state.alive.insert(instance, host);
        state.ran.insert(host);
        instance
    }

    /// The instance has ended.
    pub fn ended(&self, instance: u64) {
        let mut state = self.lock();
        state.alive.remove(&instance);
        state.asleep.remove(&instance);
    }

    /// The process on `host` has ended, and with it its instances.
    pub fn died(&self, host: Host) {
        let mut guard = self.lock();
        let State { alive, asleep, outputs, .. } = &mut *guard;
        alive.retain(|_, of| *of != host);
        asleep.retain(|instance, _| alive.contains_key(instance));
        outputs.retain(|(of, _)| *of != host);
    }

    /// A fault pauses `host`, and with it its instances.
    pub fn slept(&self, host: Host, fault: FaultId) {
        let mut guard = self.lock();
        let State { alive, asleep, .. } = &mut *guard;
        asleep.extend(alive.iter().filter(|(_, of)| **of == host).map(|(instance, _)| (*instance, fault)));
    }

    /// The instance was fenced by a newer one; if it was paused before, it is a zombie.
    pub fn fenced(&self, instance: u64) {
        let mut guard = self.lock();
        let State { alive, asleep, woken, reached, .. } = &mut *guard;
        let (Some(host), Some(fault)) = (alive.get(&instance), asleep.get(&instance)) else { return };
        *reached.entry("zombie-fenced").or_default() += 1;
        let hosts = woken.entry(*fault).or_default();
        if hosts.insert(*host) && hosts.len() == 2 {
            *reached.entry("several-zombies-at-once").or_default() += 1;
        }
    }

    pub fn is_home(&self, key: TaskKey, host: Host) -> bool {
        let state = self.lock();
        state.homes.get(&key) == Some(&host) && !state.finished.contains_key(&key)
    }

    /// The task has committed past the end markers; what its last instance did.
    pub fn finish(&self, key: TaskKey, stats: TaskStats) {
        self.change(|state| state.finished.insert(key, stats));
    }

    pub fn finished(&self) -> BTreeMap<TaskKey, TaskStats> {
        self.lock().finished.clone()
    }

    /// Tasks of `version` that have not committed past the end markers.
    pub fn unfinished(&self, version: u32) -> Vec<TaskKey> {
        let state = self.lock();
        state.homes.keys().filter(|key| key.version == version && !state.finished.contains_key(key)).copied().collect()
    }

    /// Asks the broker's host to delete the beginning of `partition`.
    pub fn delete(&self, partition: TopicPartition, what: Deleted) {
        self.change(|state| state.deletion = Some(Deletion { partition, what, start: None }));
    }

    pub fn deletion(&self) -> Option<Deletion> {
        self.lock().deletion.clone()
    }

    pub fn deleted(&self, start: Offset) {
        self.change(|state| state.deletion.as_mut().expect("nobody deletes unasked").start = Some(start));
    }

    /// The task stopped for good: what it needs is gone.
    pub fn give_up(&self, key: TaskKey, gave_up: GaveUp) {
        self.change(|state| state.gave_up.insert(key, gave_up));
    }

    /// What the task said when it gave up.
    pub fn gave_up(&self, key: TaskKey) -> Option<GaveUp> {
        self.lock().gave_up.get(&key).cloned()
    }

    pub fn produced(&self) {
        self.change(|state| state.produced = true);
    }

    pub fn is_produced(&self) -> bool {
        self.lock().produced
    }

    /// What the observer saw: nothing missing means that the version is quiet.
    pub fn observed(&self, version: u32, missing: Vec<String>) {
        self.change(|state| {
            if missing.is_empty() {
                state.quiet.insert(version);
            }
            state.missing = missing;
        });
    }

    pub fn is_quiet(&self, version: u32) -> bool {
        self.lock().quiet.contains(&version)
    }

    /// What the observer last found missing.
    pub fn missing(&self) -> Vec<String> {
        self.lock().missing.clone()
    }

    /// An instance of `transactional_id` has added offsets to its transaction.
    pub fn offsets_sent(&self, transactional_id: String, offsets: impl IntoIterator<Item = (GroupPartition, Offset)>) {
        self.lock().offsets_sent.entry(transactional_id).or_default().extend(offsets);
    }

    /// A transaction of `transactional_id` has ended: what it had sent is committed, or void.
    pub fn transaction_ended(&self, transactional_id: &str, commit: bool, at_ms: u64) {
        let mut state = self.lock();
        let offsets = state.offsets_sent.remove(transactional_id).unwrap_or_default();
        for (partition, offset) in offsets.into_iter().filter(|_| commit) {
            let known = state.committed.entry(partition).or_insert(Offset::ZERO);
            if *known < offset {
                *known = offset;
                state.progressed_ms = at_ms;
            }
        }
    }

    /// When a commit last brought a group further than any before it.
    pub fn progressed_ms(&self) -> u64 {
        self.lock().progressed_ms
    }

    /// The last moment that there was.
    pub fn last_moment(&self) -> Moment {
        Moment(self.lock().moment)
    }

    pub fn moment(&self) -> Moment {
        let mut state = self.lock();
        state.moment += 1;
        Moment(state.moment)
    }

    /// Records a send before it leaves; the answer goes to [`Board::acked`].
    pub fn sent(&self, record: SendRecord) {
        self.lock().history.sends.push(record);
    }

    pub fn acked(&self, id: u64, ack: Ack) {
        let mut state = self.lock();
        let record = state.history.sends.iter_mut().rev().find(|record| record.id == id);
        record.unwrap_or_else(|| panic!("send {id} was acknowledged and never sent")).acks.push(ack);
    }

    /// A reader begins to read these from offset 0, and never seeks back.
    pub fn reads(&self, reader: String, partitions: Vec<TopicPartition>) {
        self.lock().history.assigned.insert(reader, partitions);
    }

    /// An instance of a task begins to read; it never seeks back either.
    pub fn task_reads(&self, reader: String, record: TaskReader) {
        let before = self.lock().history.task_readers.insert(reader.clone(), record);
        assert!(before.is_none(), "{reader} begins twice");
    }

    pub fn polled(&self, record: PollRecord) {
        let mut state = self.lock();
        // Of a task's reader nobody asks how far it is.
        if !state.history.task_readers.contains_key(&record.reader) {
            state.positions.insert((record.reader.clone(), record.partition.clone()), record.next);
        }
        state.history.polls.push(record);
    }

    /// Whether every reader has come to the end of what was acknowledged in its partitions.
    pub fn is_all_read(&self) -> bool {
        let state = self.lock();
        let mut ends: BTreeMap<&TopicPartition, Offset> = BTreeMap::new();
        let mut owe = |partition, end: Offset| {
            let known = ends.entry(partition).or_insert(end);
            *known = end.max(*known);
        };
        for send in &state.history.sends {
            send.acks.iter().for_each(|ack| owe(&send.partition, ack.offset.plus(1)));
        }
        for write in &state.history.writes {
            if let Some((_, base)) = write.answered {
                owe(&write.partition, base.plus(i64::from(write.records)));
            }
        }
        state.history.assigned.iter().all(|(reader, partitions)| {
            partitions.iter().all(|partition| match ends.get(partition) {
                None => true,
                Some(end) => {
                    state.positions.get(&(reader.clone(), partition.clone())).is_some_and(|position| position >= end)
                }
            })
        })
    }

    /// A batch leaves; its place in the history is for [`Board::write_answered`].
    pub fn write_asked(&self, record: WriteRecord) -> usize {
        let mut state = self.lock();
        state.history.writes.push(record);
        state.history.writes.len() - 1
    }

    pub fn write_answered(&self, place: usize, at: Moment, base: Offset) {
        self.lock().history.writes[place].answered = Some((at, base));
    }

    /// An output of a task on `host` is in its open transaction.
    pub fn output_written(&self, host: Host, producer: ProducerId) {
        self.lock().outputs.insert((host, producer));
    }

    /// Someone took the producer over: what it had open, on whichever host, is aborted.
    pub fn begun_anew(&self, producer: ProducerId) {
        self.lock().outputs.retain(|(_, of)| *of != producer);
    }

    /// Whether a task on `host` has an open transaction with outputs in it.
    pub fn has_outputs(&self, host: Host) -> bool {
        self.lock().outputs.iter().any(|(of, _)| *of == host)
    }

    /// The hosts that tasks have run on.
    pub fn ran(&self) -> BTreeSet<Host> {
        self.lock().ran.clone()
    }

    /// A request to end a transaction leaves; its place in the history is for [`Board::end_answered`].
    pub fn end_asked(&self, host: Host, record: EndRecord) -> usize {
        let mut state = self.lock();
        state.outputs.remove(&(host, record.producer_id));
        state.end_hosts.push(host);
        state.history.ends.push(record);
        state.history.ends.len() - 1
    }

    /// Who asked for the end of each transaction, in the order of the history.
    pub fn end_hosts(&self) -> Vec<Host> {
        self.lock().end_hosts.clone()
    }

    pub fn end_answered(&self, place: usize, at: Moment) {
        self.lock().history.ends[place].answered = Some(at);
    }

    /// A request to add offsets to a transaction leaves; its place in the history is for [`Board::offsets_answered`].
    pub fn offsets_asked(&self, record: OffsetsRecord) -> usize {
        let mut state = self.lock();
        state.history.offsets.push(record);
        state.history.offsets.len() - 1
    }

    /// All of them were taken.
    pub fn offsets_answered(&self, place: usize) {
        self.lock().history.offsets[place].answered = true;
    }

    pub fn trim_asked(&self, record: TrimRecord) {
        self.lock().history.trims.push(record);
    }

    pub fn history(&self) -> History {
        self.lock().history.clone()
    }

    /// A call of `host` failed, or a task of it started again.
    pub fn disturbed(&self, host: Host, at_ms: u64) {
        self.lock().disturbances.push(Disturbance { at_ms, host });
    }

    pub fn disturbances(&self) -> Vec<Disturbance> {
        self.lock().disturbances.clone()
    }

    /// What must never happen happened: `property` does not hold.
    pub fn fail(&self, property: &'static str, message: String) {
        self.lock().failed.push((property, message));
    }

    pub fn has_failed(&self) -> bool {
        !self.lock().failed.is_empty()
    }

    pub fn take_failed(&self) -> Vec<(&'static str, String)> {
        std::mem::take(&mut self.lock().failed)
    }

    /// Deals the unfinished tasks of the version that runs to `hosts`, in turn; how many changed hands.
    pub fn deal(&self, hosts: &[Host]) -> usize {
        assert!(!hosts.is_empty(), "no host runs tasks");
        self.change(|state| {
            let State { homes, finished, stage, .. } = state;
            let Stage::Running(version) = *stage else { return 0 };
            let mut moved = 0;
            let due = homes.iter_mut().filter(|(key, _)| key.version <= version && !finished.contains_key(key));
            for (index, (_, home)) in due.enumerate() {
                let to = hosts[index % hosts.len()];
                moved += usize::from(*home != to);
                *home = to;
            }
            moved
        })
    }

    /// The process on `host` shall stop gracefully.
    pub fn ask_to_leave(&self, host: Host) {
        self.change(|state| state.leaving.insert(host, 0));
    }

    pub fn is_leaving(&self, host: Host) -> bool {
        self.lock().leaving.contains_key(&host)
    }

    /// A task or the broker of `host` ended because it was asked to.
    pub fn left(&self, host: Host) {
        if let Some(count) = self.lock().leaving.get_mut(&host) {
            *count += 1;
        }
    }

    /// The process is asked no longer; how many of its parts have ended.
    pub fn stay(&self, host: Host) -> u64 {
        self.change(|state| state.leaving.remove(&host).unwrap_or(0))
    }

    pub fn stay_all(&self) {
        self.change(|state| state.leaving.clear());
    }

    /// These files have a wrong bit from now on.
    pub fn rot(&self, files: BTreeSet<PathBuf>) {
        self.change(|state| state.rotten = files);
    }

    pub fn rotten(&self) -> BTreeSet<PathBuf> {
        self.lock().rotten.clone()
    }

    /// Counts a rare state.
    pub fn reach(&self, state: &'static str) {
        *self.lock().reached.entry(state).or_default() += 1;
    }

    pub fn reached(&self) -> BTreeMap<&'static str, u64> {
        self.lock().reached.clone()
    }

    /// The process on `host` has to end, and asks to be started again.
    pub fn restart(&self, host: Host, why: String) {
        self.lock().restarts.push((host, why));
    }

    pub fn take_restarts(&self) -> Vec<(Host, String)> {
        std::mem::take(&mut self.lock().restarts)
    }
}

#[cfg(test)]
mod tests {
    use engine::types::ProducerEpoch;

    use super::*;

    fn task(version: u32, partition: i32) -> TaskKey {
        TaskKey { version, stage: 0, partition: Partition(partition) }
    }

    #[test]
    fn a_zombie_is_an_instance_that_was_there_at_the_pause_and_is_fenced_after_it() {
        let board = Board::new();
        let (first, second) = (Host::Worker(1), Host::Worker(2));
        let sleeper = board.starting(task(1, 0), first, 0);
        let ended = board.starting(task(1, 1), first, 0);
        let other = board.starting(task(1, 2), second, 0);
        board.slept(first, 7);
        board.ended(ended);
        let later = board.starting(task(1, 1), first, 0);
        for instance in [ended, later, other] {
            board.fenced(instance);
        }
        assert_eq!(board.reached(), BTreeMap::new(), "none of them was paused");
        board.fenced(sleeper);
        assert_eq!(board.reached(), BTreeMap::from([("zombie-fenced", 1)]));
        board.slept(second, 7);
        board.fenced(other);
        assert_eq!(board.reached(), BTreeMap::from([("several-zombies-at-once", 1), ("zombie-fenced", 2)]));
        board.died(first);
        board.fenced(sleeper);
        assert_eq!(board.reached()["zombie-fenced"], 2, "the dead are no zombies");
    }

    #[test]
    fn outputs_are_in_a_transaction_from_their_write_to_its_end_or_the_end_of_their_host() {
        let (board, here, there) = (Board::new(), Host::Worker(1), Host::Worker(2));
        board.output_written(here, ProducerId(1));
        board.output_written(here, ProducerId(2));
        assert_eq!([here, there].map(|host| board.has_outputs(host)), [true, false]);
        let end = |producer_id| EndRecord {
            transactional_id: "a".into(),
            producer_id,
            epoch: ProducerEpoch(0),
            commit: true,
            asked: board.moment(),
            answered: None,
        };
        board.end_asked(here, end(ProducerId(1)));
        assert!(board.has_outputs(here), "the other transaction is open");
        board.end_asked(here, end(ProducerId(2)));
        assert!(!board.has_outputs(here));
        board.output_written(here, ProducerId(3));
        board.begun_anew(ProducerId(3));
        assert!(!board.has_outputs(here), "another instance took it over");
        board.output_written(here, ProducerId(1));
        board.died(here);
        assert!(!board.has_outputs(here));
    }

    #[test]
    fn a_replay_is_beside_live_when_it_begins_before_live_has_finished() {
        for finished in [false, true] {
            let board = Board::new();
            board.start(1, [task(1, 0)], &[Host::Worker(1)], 0);
            if finished {
                board.finish(task(1, 0), TaskStats::default());
            }
            board.start(2, [task(2, 0)], &[Host::Worker(1)], 0);
            assert_eq!(board.reached().contains_key("replay-beside-live"), !finished);
        }
    }
}
