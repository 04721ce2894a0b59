//! The coordinator against a small world: a transaction log and partitions that lose their unsynced tails, instances that
//! retry, lag behind and fence each other, and crashes at any step.
//!
//! The world is the shell in miniature: it keeps the shell's part of the contract and nothing more.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const PARTITIONS: usize = 3;

fn partition(index: usize) -> TopicPartition {
    TopicPartition::new("t", index as i32)
}

fn identity(id: i64, epoch: i16) -> Identity {
    Identity { id: ProducerId(id), epoch: ProducerEpoch(epoch) }
}

/// An append-only file: what lies beyond `synced` may be lost.
struct Tape<T> {
    entries: Vec<T>,
    synced: usize,
}

impl<T> Default for Tape<T> {
    fn default() -> Tape<T> {
        Tape { entries: Vec::new(), synced: 0 }
    }
}

impl<T> Tape<T> {
    fn push(&mut self, entry: T) -> usize {
        self.entries.push(entry);
        self.entries.len()
    }
    fn crash(&mut self, kept: usize) {
        let len = self.synced + kept.min(self.entries.len() - self.synced);
        self.entries.truncate(len);
        self.synced = len;
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Entry {
    Data(Identity),
    Marker(Identity, ControlMarker),
}

/// Something that waits for durability.
enum Waiting {
    Init { instance: usize, id: Arc<str>, at: usize },
    Produce { instance: usize, id: Arc<str>, identity: Identity, partition: usize, at: usize },
    Decided { id: Arc<str>, at: usize, ended: Option<(usize, Identity, bool)> },
    Markers { id: Arc<str>, at: Vec<(usize, usize)>, ended: Option<(usize, Identity, bool)> },
    Completed { id: Arc<str>, at: usize, ended: Option<(usize, Identity, bool)> },
}

#[derive(Default)]
struct World {
    coordinator: Coordinator,
    log: Tape<Records>,
    partitions: [Tape<Entry>; PARTITIONS],
    waiting: Vec<Waiting>,
    now: u64,
    /// Two instances of each of two transactional ids: what each believes it is.
    instances: [Option<Identity>; 4],
    /// The last EndTxn of an instance, to be sent again.
    last_end: [Option<(Identity, bool)>; 4],
    // What was promised.
    answered: BTreeMap<Identity, (bool, Identity)>,
    acknowledged: BTreeMap<Identity, Vec<usize>>,
    markers: BTreeMap<Identity, ControlMarker>,
    given: Vec<Identity>,
    ids: Vec<ProducerId>,
}

fn transactional_id(instance: usize) -> Arc<str> {
    Arc::from(["a", "b"][instance / 2])
}

impl World {
    fn append(&mut self, records: Records) -> usize {
        if records.is_empty() { self.log.entries.len() } else { self.log.push(records) }
    }

    fn init(&mut self, instance: usize, as_holder: bool) {
        let id = transactional_id(instance);
        let holder = self.instances[instance].filter(|_| as_holder);
        match self.coordinator.init(&id, Millis(50), holder) {
            Err(_) => {}
            Ok(Init::Ready(identity)) => self.instances[instance] = Some(identity),
            Ok(Init::Persist(records)) => {
                let at = self.append(records);
                self.waiting.push(Waiting::Init { instance, id, at });
            }
            Ok(Init::Abort(records)) => {
                let at = self.append(records);
                self.waiting.push(Waiting::Decided { id, at, ended: None });
            }
        }
    }

    fn produce(&mut self, instance: usize, index: usize) {
        let Some(identity) = self.instances[instance] else { return };
        let id = transactional_id(instance);
        let Ok(records) = self.coordinator.add_partitions(&id, identity, &[partition(index)], self.now) else { return };
        let at = self.append(records);
        self.waiting.push(Waiting::Produce { instance, id, identity, partition: index, at });
    }

    fn end(&mut self, instance: usize, again: bool, commit: bool) {
        let wish = if again { self.last_end[instance] } else { self.instances[instance].map(|it| (it, commit)) };
        let Some((identity, commit)) = wish else { return };
        self.last_end[instance] = Some((identity, commit));
        let id = transactional_id(instance);
        match self.coordinator.end(&id, identity, commit) {
            Err(_) => {}
            Ok(End::Ready(next)) => self.answer_end(instance, identity, commit, next),
            Ok(End::Persist(records)) => {
                let at = self.append(records);
                self.waiting.push(Waiting::Decided { id, at, ended: Some((instance, identity, commit)) });
            }
        }
    }

    fn answer_end(&mut self, instance: usize, identity: Identity, commit: bool, next: Identity) {
        let first = *self.answered.entry(identity).or_insert((commit, next));
        assert_eq!(first, (commit, next), "two answers to the end of {identity:?}");
        if self.instances[instance] == Some(identity) {
            self.instances[instance] = Some(next);
        }
    }

    fn expire(&mut self, by: u64) {
        self.now += by;
        for (id, records) in self.coordinator.expire(self.now) {
            let at = self.append(records);
            self.waiting.push(Waiting::Decided { id, at, ended: None });
        }
    }

    fn marker(&mut self, index: usize, identity: Identity, marker: ControlMarker) -> usize {
        let first = *self.markers.entry(identity).or_insert(marker);
        assert_eq!(first, marker, "two decisions for {identity:?}");
        let tape = &mut self.partitions[index];
        match tape.entries.iter().position(|entry| *entry == Entry::Marker(identity, marker)) {
            Some(found) => found + 1,
            None => tape.push(Entry::Marker(identity, marker)),
        }
    }

    /// Does what the `pick`-th waiting thing waits for, if that is durable.
    fn advance(&mut self, pick: usize) {
        if self.waiting.is_empty() {
            return;
        }
        let pick = pick % self.waiting.len();
        let ready = match &self.waiting[pick] {
            Waiting::Init { at, .. }
            | Waiting::Produce { at, .. }
            | Waiting::Decided { at, .. }
            | Waiting::Completed { at, .. } => *at <= self.log.synced,
            Waiting::Markers { at, .. } => at.iter().all(|(index, at)| *at <= self.partitions[*index].synced),
        };
        if !ready {
            return;
        }
        match self.waiting.remove(pick) {
            Waiting::Init { instance, id, .. } => {
                let identity = self.coordinator.initialised(&id);
                assert!(!self.given.contains(&identity), "{identity:?} is given twice");
                self.given.push(identity);
                self.instances[instance] = Some(identity);
            }
            Waiting::Produce { instance, id, identity, partition: index, .. } => {
                if self.coordinator.verify(&id, identity, &partition(index)).is_err() {
                    return;
                }
                let fenced = |entry: &Entry| match entry {
                    Entry::Data(by) | Entry::Marker(by, _) => by.id == identity.id && by.epoch > identity.epoch,
                };
                let tape = &mut self.partitions[index];
                assert!(!tape.entries.iter().any(fenced), "{identity:?} is verified and fenced");
                tape.push(Entry::Data(identity));
                // Acknowledged at once when lucky: synced now.
                tape.synced = tape.entries.len();
                self.acknowledged.entry(identity).or_default().push(index);
                let _ = instance;
            }
            Waiting::Decided { id, ended, .. } => {
                let Conclusion { marker, id: producer, epoch, partitions } = self.coordinator.conclusion(&id);
                let identity = Identity { id: producer, epoch };
                let at = partitions.iter().map(|tp| tp.partition.0 as usize);
                let at = at.map(|index| (index, self.marker(index, identity, marker))).collect();
                self.waiting.push(Waiting::Markers { id, at, ended });
            }
            Waiting::Markers { id, ended, .. } => {
                let records = self.coordinator.complete(&id);
                let at = self.append(records);
                self.waiting.push(Waiting::Completed { id, at, ended });
            }
            Waiting::Completed { id, ended, .. } => {
                let next = self.coordinator.completed(&id);
                if let Some((instance, identity, commit)) = ended {
                    self.answer_end(instance, identity, commit, next);
                }
            }
        }
    }

    fn sync(&mut self, which: usize) {
        match which % (PARTITIONS + 1) {
            0 => self.log.synced = self.log.entries.len(),
            index => self.partitions[index - 1].synced = self.partitions[index - 1].entries.len(),
        }
    }

    fn crash(&mut self, kept: usize) {
        self.log.crash(kept);
        for (index, tape) in self.partitions.iter_mut().enumerate() {
            tape.crash(kept >> index);
        }
        self.waiting.clear();
        self.coordinator = Coordinator::default();
        for record in self.log.entries.iter().flatten() {
            let (key, value) = record.encode();
            self.coordinator.replay(Record::decode(&key, &value).expect("it was written so"));
        }
        for id in self.coordinator.recovered(self.now) {
            let at = self.log.entries.len();
            self.waiting.push(Waiting::Decided { id, at, ended: None });
        }
        for index in 0..PARTITIONS {
            for identity in self.open(index) {
                let owner = self.coordinator.owner(identity, &partition(index));
                assert_eq!(owner, Owner::Known, "{identity:?} was appended before it was recorded");
            }
        }
    }

    /// Who has a transaction open in the partition.
    fn open(&self, index: usize) -> Vec<Identity> {
        let mut open = Vec::new();
        for entry in &self.partitions[index].entries {
            match entry {
                Entry::Data(identity) if !open.contains(identity) => open.push(*identity),
                Entry::Data(_) => {}
                Entry::Marker(by, _) => {
                    open.retain(|identity: &Identity| identity.id != by.id);
                }
            }
        }
        open
    }

    fn settle(&mut self) {
        // Everything open times out, and everything decided is concluded.
        for _ in 0..8 {
            self.expire(1000);
            for which in 0..=PARTITIONS {
                self.sync(which);
            }
            for pick in (0..self.waiting.len()).rev() {
                self.advance(pick);
            }
        }
        assert!(self.waiting.is_empty(), "{} things wait for ever", self.waiting.len());
        for index in 0..PARTITIONS {
            assert_eq!(self.open(index), [], "partition {index} has open transactions");
        }
        for (identity, (commit, next)) in &self.answered {
            let wanted = if *commit { ControlMarker::Commit } else { ControlMarker::Abort };
            for index in self.acknowledged.get(identity).into_iter().flatten() {
                let tape = &self.partitions[*index].entries;
                let last = tape.iter().rposition(|entry| *entry == Entry::Data(*identity)).expect("acknowledged");
                let bumped = Identity { id: identity.id, epoch: ProducerEpoch(identity.epoch.0 + 1) };
                let marker = tape.iter().position(|entry| *entry == Entry::Marker(bumped, wanted));
                assert!(marker.is_some_and(|at| at > last), "{identity:?}, answered {wanted:?}, in {tape:?}");
            }
            assert!(next.id != identity.id || next.epoch > identity.epoch, "{identity:?} is followed by {next:?}");
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Init(usize, bool),
    Produce(usize, usize),
    End(usize, bool, bool),
    Allocate,
    Sync(usize),
    Advance(usize),
    Expire(u64),
    Crash(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let instance = 0..4usize;
    prop_oneof![
        2 => (instance.clone(), any::<bool>()).prop_map(|(instance, holder)| Op::Init(instance, holder)),
        5 => (instance.clone(), 0..PARTITIONS).prop_map(|(instance, index)| Op::Produce(instance, index)),
        4 => (instance, any::<bool>(), any::<bool>()).prop_map(|(instance, again, commit)| Op::End(instance, again, commit)),
        1 => Just(Op::Allocate),
        6 => (0..=PARTITIONS).prop_map(Op::Sync),
        10 => any::<usize>().prop_map(Op::Advance),
        1 => (0..40u64).prop_map(Op::Expire),
        1 => (0..8usize).prop_map(Op::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_decision_is_lost_or_changed_by_retries_fencing_timeouts_and_crashes(ops in vec(op(), 0..120)) {
        let mut world = World::default();
        for op in ops {
            match op {
                Op::Init(instance, holder) => world.init(instance, holder),
                Op::Produce(instance, index) => world.produce(instance, index),
                Op::End(instance, again, commit) => world.end(instance, again, commit),
                Op::Allocate => {
                    let (id, records) = world.coordinator.allocate();
                    world.append(records);
                    // It is answered once durable.
                    world.sync(0);
                    assert!(!world.ids.contains(&id), "{id} is given twice");
                    world.ids.push(id);
                }
                Op::Sync(which) => world.sync(which),
                Op::Advance(pick) => world.advance(pick),
                Op::Expire(by) => world.expire(by),
                Op::Crash(kept) => world.crash(kept),
            }
        }
        world.settle();
    }
}

/// A coordinator whose records are durable at once.
struct Plain(Coordinator);

impl Plain {
    fn new() -> Plain {
        Plain(Coordinator::default())
    }
    fn init(&mut self, id: &str, holder: Option<Identity>) -> Result<Identity, ResponseError> {
        match self.0.init(&Arc::from(id), Millis(100), holder)? {
            Init::Ready(identity) => Ok(identity),
            Init::Persist(_) => Ok(self.0.initialised(id)),
            Init::Abort(_) => {
                self.conclude(id);
                Err(ResponseError::ConcurrentTransactions)
            }
        }
    }
    fn add(&mut self, id: &str, identity: Identity) -> Result<(), ResponseError> {
        self.0.add_partitions(id, identity, &[partition(0)], 0).map(drop)
    }
    fn conclude(&mut self, id: &str) -> Identity {
        self.0.conclusion(id);
        self.0.complete(id);
        self.0.completed(id)
    }
    fn end(&mut self, id: &str, identity: Identity, commit: bool) -> Result<Identity, ResponseError> {
        match self.0.end(id, identity, commit)? {
            End::Ready(identity) => Ok(identity),
            End::Persist(_) => Ok(self.conclude(id)),
        }
    }
}

#[test]
fn a_retried_end_gets_the_same_next_epoch_until_the_next_transaction_begins() {
    let mut plain = Plain::new();
    let first = plain.init("x", None).expect("new");
    plain.add("x", first).expect("open");
    let next = plain.end("x", first, true).expect("commit");
    assert_eq!(next, identity(first.id.0, 1));
    assert_eq!(plain.end("x", first, true), Ok(next));
    assert_eq!(plain.end("x", first, false), Err(ResponseError::InvalidTxnState));
    assert_eq!(plain.add("x", first), Err(ResponseError::InvalidProducerEpoch));
    plain.add("x", next).expect("open again");
    assert_eq!(plain.end("x", first, true), Err(ResponseError::ProducerFenced));
    assert_eq!(plain.end("x", next, true), Ok(identity(first.id.0, 2)));
}

#[test]
fn a_new_instance_aborts_the_open_transaction_and_fences_its_holder() {
    let mut plain = Plain::new();
    let old = plain.init("x", None).expect("new");
    plain.add("x", old).expect("open");
    assert_eq!(plain.init("x", None), Err(ResponseError::ConcurrentTransactions));
    let new = plain.init("x", None).expect("concluded");
    assert!(new.epoch > old.epoch);
    assert_eq!(plain.end("x", old, true), Err(ResponseError::ProducerFenced));
    assert_eq!(plain.end("x", old, false), Err(ResponseError::ProducerFenced));
    assert_eq!(plain.add("x", old), Err(ResponseError::InvalidProducerEpoch));
    assert_eq!(plain.init("x", Some(old)), Err(ResponseError::ProducerFenced));
    assert_eq!(plain.init("x", Some(new)), Ok(identity(new.id.0, new.epoch.0 + 1)));
    // The answer was lost.
    assert_eq!(plain.init("x", Some(new)), Ok(identity(new.id.0, new.epoch.0 + 1)));
}

#[test]
fn while_a_transaction_is_concluded_everything_else_waits() {
    let mut plain = Plain::new();
    let first = plain.init("x", None).expect("new");
    plain.add("x", first).expect("open");
    assert!(matches!(plain.0.end("x", first, true), Ok(End::Persist(_))));
    let busy = Err(ResponseError::ConcurrentTransactions);
    assert_eq!(plain.end("x", first, true), busy);
    assert_eq!(plain.init("x", None), busy);
    assert_eq!(plain.add("x", identity(first.id.0, 1)).map(|()| first), busy);
    let conclusion = plain.0.conclusion("x");
    assert_eq!((conclusion.marker, conclusion.epoch), (ControlMarker::Commit, ProducerEpoch(1)));
    assert_eq!(plain.conclude("x"), identity(first.id.0, 1));
}

#[test]
fn an_abandoned_transaction_is_aborted_and_its_late_holder_may_abort_it_too_and_go_on() {
    let mut plain = Plain::new();
    let first = plain.init("x", None).expect("new");
    plain.add("x", first).expect("open");
    assert_eq!(plain.0.next_deadline(), Some(100));
    assert!(plain.0.expire(99).is_empty());
    assert_eq!(plain.0.expire(100).len(), 1);
    assert_eq!(plain.0.next_deadline(), None);
    assert_eq!(plain.add("x", first), Err(ResponseError::TransactionAbortable));
    plain.conclude("x");
    assert_eq!(plain.end("x", first, true), Err(ResponseError::InvalidTxnState));
    let next = plain.end("x", first, false).expect("the same decision");
    plain.add("x", next).expect("open again");
}

#[test]
fn the_last_epoch_is_followed_by_a_new_producer_id() {
    let mut plain = Plain::new();
    let first = plain.init("x", None).expect("new");
    plain.0.txns.get_mut("x").expect("known").current.epoch = EPOCH_LAST;
    let last = Identity { id: first.id, epoch: EPOCH_LAST };
    plain.add("x", last).expect("open");
    assert!(matches!(plain.0.end("x", last, true), Ok(End::Persist(_))));
    assert_eq!(plain.0.conclusion("x").epoch, ProducerEpoch(i16::MAX));
    let next = plain.conclude("x");
    assert_eq!((next.id > first.id, next.epoch), (true, ProducerEpoch(0)));
    assert_eq!(plain.end("x", last, true), Ok(next));
    assert_eq!(plain.end("x", identity(first.id.0, 3), true), Err(ResponseError::InvalidProducerIdMapping));
}

#[test]
fn unknown_writers_are_refused() {
    let mut plain = Plain::new();
    let stranger = identity(7, 0);
    assert_eq!(plain.add("x", stranger), Err(ResponseError::InvalidProducerIdMapping));
    assert_eq!(plain.end("x", stranger, true), Err(ResponseError::InvalidProducerIdMapping));
    let known = plain.init("x", None).expect("new");
    assert_eq!(plain.end("x", known, true), Err(ResponseError::InvalidTxnState), "a commit of nothing");
    assert_eq!(plain.0.verify("x", known, &partition(0)), Err(ResponseError::InvalidTxnState));
    assert_eq!(plain.add("x", identity(known.id.0, 9)), Err(ResponseError::InvalidProducerEpoch));
}
