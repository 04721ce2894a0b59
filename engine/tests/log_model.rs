//! The log against a list of batches, while its host is killed, loses power, and stops at every moment it can; and the
//! log against files that somebody has damaged.

#![expect(clippy::disallowed_methods, reason = "a test runs on a runtime of its own")]

#[expect(dead_code, reason = "each test file uses its part of the support")]
mod support;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use engine::env::Point;
use engine::log::*;
use engine::record::*;
use engine::types::*;
use proptest::prelude::*;
use support::{Dice, TestDisk};

fn config() -> LogConfig {
    LogConfig { segment_bytes: 900, index_interval_bytes: 200, recovery_point_every_bytes: 500, ..LogConfig::default() }
}

fn dir() -> PathBuf {
    PathBuf::from("/data/t-0")
}

#[derive(Clone, Debug)]
enum Op {
    Append { producer: Option<i64>, transactional: bool, records: usize, bytes: usize },
    End { producer: i64, commit: bool },
    Retry { producer: i64, back: usize },
    Settle,
    Check { max_bytes: usize },
    Time { at: i64 },
    DeleteBelow { share: u8 },
    Close,
    Crash { power: bool },
    FreezeAt { point: usize, passing: u32 },
    FreezeAfter { operations: u32 },
}

fn op() -> impl Strategy<Value = Op> {
    let append = (proptest::option::weighted(0.7, 0i64..4), any::<bool>(), 1usize..4, 0usize..200)
        .prop_map(|(producer, transactional, records, bytes)| Op::Append { producer, transactional, records, bytes });
    prop_oneof![
        12 => append,
        4 => (0i64..4, any::<bool>()).prop_map(|(producer, commit)| Op::End { producer, commit }),
        2 => (0i64..4, 0usize..7).prop_map(|(producer, back)| Op::Retry { producer, back }),
        4 => Just(Op::Settle),
        3 => (0usize..1_500).prop_map(|max_bytes| Op::Check { max_bytes }),
        1 => (-5i64..60).prop_map(|at| Op::Time { at }),
        1 => any::<u8>().prop_map(|share| Op::DeleteBelow { share }),
        1 => Just(Op::Close),
        2 => any::<bool>().prop_map(|power| Op::Crash { power }),
        1 => (0usize..9, 0u32..4).prop_map(|(point, passing)| Op::FreezeAt { point, passing }),
        1 => (0u32..60).prop_map(|operations| Op::FreezeAfter { operations }),
    ]
}

/// What the log should hold.
#[derive(Clone, Debug)]
struct Written {
    bytes: Vec<u8>,
    header: BatchHeader,
    marker: Option<ControlMarker>,
    timestamps: Vec<i64>,
}

/// A producer as its batches tell.
#[derive(Clone, Debug, Default)]
struct Client {
    epoch: i16,
    next_sequence: i32,
    open: Option<Offset>,
    last_marker: Option<(ControlMarker, Offset)>,
    batches: Vec<BatchHeader>,
}

#[derive(Default)]
struct Model {
    written: Vec<Written>,
    /// The high watermark has been seen here: it must never be lower.
    visible: Offset,
    start: Offset,
    /// A move of the start to here was under way when the host stopped.
    start_asked: Offset,
}

impl Model {
    fn end(&self) -> Offset {
        self.written.last().map_or(Offset(0), |written| written.header.next_offset())
    }

    fn client(&self, id: i64) -> Client {
        let mut client = Client::default();
        for written in self.written.iter().filter(|written| written.header.producer_id == ProducerId(id)) {
            let header = written.header;
            client.epoch = header.producer_epoch.0;
            match written.marker {
                Some(marker) => {
                    client = Client {
                        epoch: client.epoch,
                        last_marker: Some((marker, header.base_offset)),
                        ..Client::default()
                    };
                }
                None => {
                    client.next_sequence += header.count;
                    client.batches.push(header);
                    if header.transactional && client.open.is_none() {
                        client.open = Some(header.base_offset);
                    }
                }
            }
        }
        client
    }

    fn below(&self, bound: Offset) -> impl Iterator<Item = &Written> {
        self.written.iter().filter(move |written| written.header.base_offset < bound)
    }

    /// (producer, first offset, marker offset) of the transactions that `bound` knows aborted.
    fn aborted(&self, bound: Offset) -> Vec<(ProducerId, Offset, Offset)> {
        let mut open: Vec<(ProducerId, Offset)> = Vec::new();
        let mut aborted = Vec::new();
        for written in self.below(bound) {
            let header = &written.header;
            let at = open.iter().position(|(id, _)| *id == header.producer_id);
            match (written.marker, at) {
                (Some(marker), Some(at)) => {
                    let (id, first) = open.remove(at);
                    if marker == ControlMarker::Abort {
                        aborted.push((id, first, header.base_offset));
                    }
                }
                (None, None) if header.transactional => open.push((header.producer_id, header.base_offset)),
                _ => {}
            }
        }
        aborted
    }

    fn last_stable(&self, bound: Offset) -> Offset {
        let known = Model { written: self.below(bound).cloned().collect(), ..Model::default() };
        (0..4).filter_map(|id| known.client(id).open).min().unwrap_or(bound)
    }
}

/// The batches as this log writes them. No checksum covers the leader epoch, and logs of other brokers have others than 0: a
/// torn write may leave anything there.
fn without_leader_epochs(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while let Scan::Complete(batch) = scan(&bytes[at..]) {
        let (base, size) = (batch.header().base_offset, batch.bytes().len());
        patch(&mut bytes[at..], base, 0);
        at += size;
    }
    bytes
}

struct Bench {
    disk: TestDisk,
    log: Log,
    model: Model,
    dice: Dice,
    payload: u64,
}

enum Stopped {
    /// The host froze; the run goes on after a crash.
    Frozen,
}

/// Runs something that may never end, because the disk is frozen.
async fn bounded<T>(disk: &TestDisk, work: impl Future<Output = T>) -> Result<T, Stopped> {
    match tokio::time::timeout(Duration::from_secs(5), work).await {
        Ok(result) => Ok(result),
        Err(_) => {
            assert!(disk.is_frozen(), "it waits for ever although the disk works");
            Err(Stopped::Frozen)
        }
    }
}

async fn open(disk: &TestDisk) -> Result<Log, LogError> {
    let log = Log::open(&disk.env(), &dir(), TopicPartition::new("t", 0), config()).await?;
    let writer = log.clone();
    tokio::spawn(async move { writer.run().await });
    Ok(log)
}

impl Bench {
    async fn new(seed: u64) -> Bench {
        let disk = TestDisk::default();
        let log = open(&disk).await.unwrap();
        Bench { disk, log, model: Model::default(), dice: Dice(seed), payload: 0 }
    }

    async fn step(&mut self, op: &Op) {
        if matches!(self.apply(op).await, Err(Stopped::Frozen)) {
            let power = self.dice.below(2) == 0;
            self.crash(power).await;
        }
        self.model.visible = self.model.visible.max(self.log.high_watermark());
        assert!(self.log.high_watermark() <= self.model.end());
    }

    async fn apply(&mut self, op: &Op) -> Result<(), Stopped> {
        match *op {
            Op::Append { producer, transactional, records, bytes } => {
                self.append(producer, transactional, records, bytes)
            }
            Op::End { producer, commit } => self.end(producer, commit),
            Op::Retry { producer, back } => self.retry(producer, back),
            Op::Settle => {
                let all = Appended { base: Offset(0), next: self.model.end(), duplicate: false };
                bounded(&self.disk, self.log.durable(&all)).await?.unwrap();
                assert_eq!(self.log.high_watermark(), self.model.end());
            }
            Op::Check { max_bytes } => self.check(max_bytes).await?,
            Op::Time { at } => {
                let visible = self.log.high_watermark();
                let found = bounded(&self.disk, self.log.offset_for_time(Timestamp(at))).await?.unwrap();
                let expected =
                    self.model.below(visible).filter(|written| written.marker.is_none()).find_map(|written| {
                        let offsets = (0..).map(|delta| written.header.base_offset.plus(delta));
                        let mut records = offsets.zip(&written.timestamps);
                        records.find(|&(offset, &time)| offset >= self.model.start && time >= at)
                    });
                let expected = expected.map(|(offset, &time)| (offset, Timestamp(time)));
                // The watermark may have moved on while the search ran.
                if found != expected {
                    assert!(expected.is_none() && found.unwrap().0 >= visible, "{found:?}, expected {expected:?}");
                }
            }
            Op::DeleteBelow { share } => {
                let to = Offset(self.log.high_watermark().0 * i64::from(share) / 255);
                self.model.start_asked = self.model.start_asked.max(to);
                let start = bounded(&self.disk, self.log.delete_below(to)).await?.unwrap();
                assert!(start >= self.model.start && start <= self.log.last_stable());
                assert!(start == to || start == self.model.start || start < to);
                self.model.start = start;
                self.model.start_asked = start;
            }
            Op::Close => {
                bounded(&self.disk, self.log.close()).await?;
                assert_eq!(self.log.high_watermark(), self.model.end());
                self.reopen().await;
            }
            Op::Crash { power } => {
                self.disk.freeze();
                self.crash(power).await;
            }
            Op::FreezeAt { point, passing } => self.disk.freeze_at(Point::ALL[point], passing),
            Op::FreezeAfter { operations } => self.disk.freeze_after(operations),
        }
        Ok(())
    }

    fn append(&mut self, producer: Option<i64>, transactional: bool, records: usize, bytes: usize) {
        let mut builder = BatchBuilder::new(if bytes.is_multiple_of(3) { Compression::Lz4 } else { Compression::None });
        let mut timestamps = Vec::new();
        for _ in 0..records {
            self.payload += 1;
            let timestamp = (self.payload * 7 % 50) as i64;
            timestamps.push(timestamp);
            let value = [self.payload.to_be_bytes().to_vec(), vec![b'.'; bytes]].concat();
            builder.push(Timestamp(timestamp), None, Some(&value), &[]);
        }
        let stamp = producer.map_or(ProducerStamp::NONE, |id| {
            let client = self.model.client(id);
            ProducerStamp {
                producer_id: ProducerId(id),
                producer_epoch: ProducerEpoch(client.epoch),
                base_sequence: Sequence(client.next_sequence),
                transactional: transactional || client.open.is_some(),
            }
        });
        let batch = builder.finish(stamp);
        let appended = self.log.append(batch.clone()).unwrap();
        assert_eq!((appended.base, appended.duplicate), (self.model.end(), false));
        self.wrote(batch, None, timestamps, appended);
    }

    fn end(&mut self, id: i64, commit: bool) {
        let client = self.model.client(id);
        let marker = if commit { ControlMarker::Commit } else { ControlMarker::Abort };
        let (id, epoch) = (ProducerId(id), ProducerEpoch(client.epoch + 1));
        let appended = self.log.append_marker(marker, id, epoch, 3).unwrap();
        assert_eq!((appended.base, appended.duplicate), (self.model.end(), false));
        let batch = control_batch(marker, id, epoch, 3, Timestamp(1 << 50));
        self.wrote(batch, Some(marker), vec![], appended);
    }

    fn wrote(&mut self, batch: Bytes, marker: Option<ControlMarker>, timestamps: Vec<i64>, appended: Appended) {
        let mut bytes = batch.to_vec();
        patch(&mut bytes, appended.base, 0);
        let Scan::Complete(batch) = scan(&bytes) else { panic!() };
        let header = *batch.header();
        assert_eq!(header.next_offset(), appended.next);
        self.model.written.push(Written { bytes, header, marker, timestamps });
    }

    /// Sends something again: a batch among the last five, an older one, a marker, or a batch of an earlier epoch.
    fn retry(&mut self, id: i64, back: usize) {
        let client = self.model.client(id);
        if let Some((marker, offset)) = client.last_marker {
            let (id, epoch) = (ProducerId(id), ProducerEpoch(client.epoch));
            let again = self.log.append_marker(marker, id, epoch, 3).unwrap();
            assert_eq!(again, Appended { base: offset, next: offset.plus(1), duplicate: true });
            let mut builder = BatchBuilder::new(Compression::None);
            builder.push(Timestamp(0), None, None, &[]);
            let stamp = ProducerStamp {
                producer_id: id,
                producer_epoch: ProducerEpoch(client.epoch - 1),
                base_sequence: Sequence(0),
                transactional: true,
            };
            let error = self.log.append(builder.finish(stamp)).unwrap_err();
            assert!(matches!(error, AppendError::InvalidProducerEpoch { .. }), "{error}");
        }
        if let Some(&header) = client.batches.iter().rev().nth(back) {
            let written = self.model.written.iter().find(|written| written.header == header).unwrap();
            let result = self.log.append(Bytes::copy_from_slice(&written.bytes));
            if back < 5 {
                let expected = Appended { base: header.base_offset, next: header.next_offset(), duplicate: true };
                assert_eq!(result.unwrap(), expected);
            } else {
                assert!(matches!(result, Err(AppendError::OutOfOrderSequence { .. })));
            }
        }
    }

    /// Reads everything both ways and compares it with the model.
    async fn check(&mut self, max_bytes: usize) -> Result<(), Stopped> {
        for isolation in [Isolation::ReadUncommitted, Isolation::ReadCommitted] {
            let mut from = self.model.start;
            loop {
                let fetched = bounded(&self.disk, self.log.read(from, max_bytes, isolation)).await?.unwrap();
                let (visible, stable) = (fetched.high_watermark, fetched.last_stable);
                assert_eq!(stable, self.model.last_stable(visible));
                assert_eq!(fetched.log_start, self.model.start);
                let bound = if isolation == Isolation::ReadCommitted { stable } else { visible };
                assert!(fetched.next <= bound, "read up to {}, bound {bound}", fetched.next);
                assert_eq!(fetched.bytes.is_empty(), from >= bound);
                if fetched.bytes.is_empty() {
                    assert_eq!(fetched.next, from);
                    break;
                }
                let expected: Vec<u8> = self
                    .model
                    .below(fetched.next)
                    .filter(|written| written.header.next_offset() > from)
                    .flat_map(|written| written.bytes.clone())
                    .collect();
                assert_eq!(without_leader_epochs(&fetched.bytes), expected);
                let one = batches(&fetched.bytes).count() == 1;
                assert!(one || fetched.bytes.len() <= max_bytes, "{} of {max_bytes} bytes", fetched.bytes.len());
                if isolation == Isolation::ReadCommitted {
                    let aborted = self.model.aborted(visible).into_iter();
                    let within = aborted.filter(|&(_, first, marker)| marker >= from && first < fetched.next);
                    let mut expected: Vec<_> =
                        within.map(|(producer_id, first_offset, _)| Aborted { producer_id, first_offset }).collect();
                    expected.sort_by_key(|aborted| aborted.first_offset);
                    assert_eq!(fetched.aborted, expected, "from {from} to {}", fetched.next);
                }
                from = fetched.next;
            }
        }
        Ok(())
    }

    async fn crash(&mut self, power: bool) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.model.visible = self.model.visible.max(self.log.high_watermark());
        if power {
            self.disk.power_cut(&mut self.dice);
        }
        self.disk.thaw();
        // A second fault inside the recovery from the first.
        if self.dice.below(3) == 0 {
            self.disk.freeze_after(self.dice.below(12) as u32);
            match bounded(&self.disk, open(&self.disk)).await {
                Ok(log) => assert!(log.unwrap().high_watermark() >= self.model.visible),
                Err(Stopped::Frozen) => {}
            }
            self.disk.freeze();
            tokio::time::sleep(Duration::from_secs(1)).await;
            if self.dice.below(2) == 0 {
                self.disk.power_cut(&mut self.dice);
            }
            self.disk.thaw();
        }
        self.reopen().await;
    }

    async fn reopen(&mut self) {
        self.disk.thaw();
        self.log = open(&self.disk).await.unwrap();
        let (start, end) = (self.log.start(), self.log.high_watermark());
        assert_eq!(self.log.end(), end);
        assert!(end >= self.model.visible, "{end} is left, {} was visible", self.model.visible);
        self.model.written.retain(|written| written.header.base_offset < end);
        assert_eq!(self.model.end(), end);
        assert!(start == self.model.start || start > self.model.start && start <= self.model.start_asked);
        (self.model.start, self.model.start_asked) = (start, start);
        let open = |id| self.model.client(id).open.map(|first| (first, id));
        let mut expected: Vec<_> = (0..4).filter_map(open).collect();
        expected.sort();
        let found = self.log.open_transactions();
        assert_eq!(found.iter().map(|open| (open.first_offset, open.producer_id.0)).collect::<Vec<_>>(), expected);
        assert_eq!(self.log.last_stable(), self.model.last_stable(end));
    }
}

fn local<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(test)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_log_is_a_list_of_batches_whatever_happens_to_its_host(
        ops in proptest::collection::vec(op(), 1..120), seed in any::<u64>(),
    ) {
        local(async {
            let mut bench = Bench::new(seed).await;
            for op in &ops {
                bench.step(op).await;
            }
            // What stands still in a frozen disk never goes on: only a crash ends it. The last step need not have met it.
            let frozen = bench.disk.is_frozen();
            bench.disk.thaw();
            if frozen || bounded(&bench.disk, bench.log.close()).await.is_err() {
                bench.crash(true).await;
            }
            bench.reopen().await;
            let settled = bench.apply(&Op::Settle).await.and(bench.apply(&Op::Check { max_bytes: 700 }).await);
            assert!(settled.is_ok());
            for id in 0..4 {
                for back in 0..7 {
                    bench.retry(id, back);
                }
            }
        });
    }
}

/// A log with a few segments, markers, a moved start; and what was written, by offset.
async fn written_log(batches: usize) -> (TestDisk, Vec<Written>) {
    let mut bench = Bench::new(7).await;
    for n in 0..batches {
        bench.append((n % 3 != 0).then_some((n % 3) as i64), n % 2 == 0, 1 + n % 3, 10 * (n % 9));
        if n % 5 == 4 {
            bench.end(2, n % 2 == 0);
        }
        let settled = bench.apply(&Op::Settle).await;
        assert!(settled.is_ok());
    }
    bench.log.delete_below(Offset(2)).await.unwrap();
    bench.disk.freeze();
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.disk.thaw();
    (bench.disk, bench.model.written)
}

/// Reads all that can be read; whatever comes must be what was written at that offset. Says whether nothing was wrong.
async fn only_what_was_written(disk: &TestDisk, written: &[Written]) -> bool {
    let log = match open(disk).await {
        Ok(log) => log,
        Err(LogError::Damaged { .. }) => return false,
        Err(other) => panic!("{other}"),
    };
    let mut whole = true;
    let mut from = log.start();
    while from < log.high_watermark() {
        match log.read(from, 400, Isolation::ReadUncommitted).await {
            Ok(fetched) => {
                for batch in batches(&fetched.bytes) {
                    let batch = batch.expect("what is handed out is whole");
                    let base = batch.header().base_offset;
                    let original = written.iter().find(|written| written.header.base_offset == base).unwrap();
                    // The leader epoch is not covered by the checksum, and is no part of a record.
                    assert_eq!(batch.bytes()[..12], original.bytes[..12]);
                    assert_eq!(batch.bytes()[16..], original.bytes[16..]);
                }
                from = fetched.next;
            }
            Err(ReadError::Log(LogError::Damaged { offset, .. })) => {
                whole = false;
                from = match written.iter().find(|written| written.header.base_offset >= offset.max(from)) {
                    Some(written) => written.header.next_offset(),
                    None => break,
                };
            }
            Err(other) => panic!("{other}"),
        }
    }
    for at in [-1, 3, 30, 70] {
        let _ = log.offset_for_time(Timestamp(at)).await;
    }
    log.close().await;
    whole
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damaged_files_never_yield_what_was_not_written(
        which in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), 0u8..8), 0..4),
        cut in proptest::option::weighted(0.3, any::<prop::sample::Index>()),
        junk in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        local(async {
            let (disk, written) = written_log(24).await;
            let files = disk.list_files();
            let file = which.get(&files);
            disk.tamper(file, |content| {
                for (at, bit) in &changes {
                    if !content.is_empty() {
                        let at = at.index(content.len());
                        content[at] ^= 1 << bit;
                    }
                }
                if let Some(at) = cut {
                    content.truncate(at.index(content.len() + 1));
                }
                content.extend_from_slice(&junk);
            });
            only_what_was_written(&disk, &written).await;
        });
    }

    #[test]
    fn arbitrary_bytes_are_an_empty_log_or_a_refusal(
        noise in proptest::collection::vec(any::<u8>(), 0..500), name in 0usize..4,
    ) {
        let name = ["00000000000000000000.log", "recovery-point", "log-start", "00000000000000000003.log"][name];
        local(async {
            let disk = TestDisk::default();
            disk.put_file(&dir().join(name), noise);
            if let Ok(log) = open(&disk).await {
                assert_eq!(log.start(), log.high_watermark());
            }
        });
    }
}

#[test]
fn an_undamaged_log_is_read_whole() {
    local(async {
        let (disk, written) = written_log(24).await;
        assert!(only_what_was_written(&disk, &written).await);
    });
}

#[test]
fn every_single_flipped_bit_of_a_closed_segment_is_noticed() {
    local(async {
        let (disk, written) = written_log(24).await;
        let segment = disk.list_files().into_iter().find(|path| path.extension().is_some_and(|e| e == "log")).unwrap();
        let original = disk.read_file(&segment).unwrap();
        // Where each batch of that segment begins; the bytes of a leader epoch do not count, nor what lies below the start.
        let starts: Vec<usize> = batches(&original)
            .scan(0, |at, batch| {
                let begins = *at;
                *at += batch.unwrap().bytes().len();
                Some(begins)
            })
            .collect();
        let first = starts[2];
        for at in (first..original.len()).step_by(3) {
            let begins = *starts.iter().rfind(|&&begins| begins <= at).unwrap();
            if (12..16).contains(&(at - begins)) {
                continue;
            }
            disk.tamper(&segment, |content| content[at] ^= 1 << (at % 8));
            assert!(!only_what_was_written(&disk, &written).await, "a flip in byte {at} went by");
            disk.tamper(&segment, |content| content[at] ^= 1 << (at % 8));
        }
    });
}
