//! What the checks' tests are made of: logs written with the `kafka-protocol` crate's encoder, histories by hand, and a
//! workload that sums numbers per key in windows of ten.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use engine::stream::{Pipeline, PipelineError};
use engine::types::{Millis, Offset, ProducerEpoch, ProducerId, TopicPartition};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::log::{Entry, Fate, Logs, crc32c};
use super::{Case, Check, Violation};
use crate::draw::Draw;
use crate::evidence::{
    Ack, EndRecord, Evidence, Liveness, Moment, PollRecord, RunNames, Seen, SendRecord, TaskNames, WindowRule,
};
use crate::workload::{Expected, Knobs, LogRecord, Row, RowKey, Shape, SourceEvent, Workload};

pub const SOURCE: &str = "source";
pub const LIVE_OUT: &str = "app.1.out";
pub const LIVE_LATE: &str = "app.1.late";
pub const LIVE_REJECTED: &str = "app.1.rejected";
pub const REPLAY_OUT: &str = "app.2.out";
pub const REPLAY_LATE: &str = "app.2.late";
pub const REPLAY_REJECTED: &str = "app.2.rejected";
const DATA_DIR: &str = "/data";
const WINDOW: i64 = 10;

/// A record to write.
#[derive(Clone, Debug, Default)]
pub struct Rec {
    timestamp: i64,
    key: Option<Bytes>,
    value: Option<Bytes>,
    headers: Vec<(String, Bytes)>,
}

pub fn record(timestamp: i64) -> Rec {
    Rec { timestamp, ..Rec::default() }
}

impl Rec {
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Rec {
        self.key = Some(Bytes::copy_from_slice(key.as_ref()));
        self
    }

    pub fn value(mut self, value: impl AsRef<[u8]>) -> Rec {
        self.value = Some(Bytes::copy_from_slice(value.as_ref()));
        self
    }

    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Rec {
        self.headers.push((name.to_owned(), Bytes::copy_from_slice(value.as_ref())));
        self
    }

    pub fn send(self, id: u64) -> Rec {
        self.header("segno.send", id.to_be_bytes())
    }

    /// As the log's decoder would return it.
    fn digest(&self) -> u64 {
        let headers = self.headers.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect();
        let (key, value) = (self.key.clone(), self.value.clone());
        Entry { offset: 0, timestamp: self.timestamp, key, value, headers, fate: Fate::Committed, transaction: None }
            .digest()
    }
}

/// A source record: `key` gains `amount`.
pub fn event(key: &str, timestamp: i64, amount: i64) -> Rec {
    record(timestamp).key(key).value(amount.to_string())
}

pub fn watermark(at: i64) -> Rec {
    record(0).header("segno.watermark", at.to_be_bytes())
}

/// An output record: `key`'s sum in the window at `start`.
pub fn pane(key: &str, start: i64, sum: i64) -> Rec {
    retraction(key, start).value(sum.to_string())
}

pub fn retraction(key: &str, start: i64) -> Rec {
    record(start + WINDOW - 1).key([key.as_bytes(), &start.to_be_bytes()].concat())
}

pub fn late(partition: i32, offset: i64, window: i64) -> Rec {
    let key = [&partition.to_be_bytes()[..], &offset.to_be_bytes(), &window.to_be_bytes()].concat();
    record(0).key(key).value("late")
}

/// The entry of a source record that cannot be decoded.
pub fn rejected(partition: i32, offset: i64) -> Rec {
    let key = [&partition.to_be_bytes()[..], &offset.to_be_bytes()].concat();
    record(0).key(key).value("poison").header("segno.reason", "no number")
}

/// The changelog of [`task`].
pub const CHANGELOG: &str = "app.1.sums-changelog";
const OFFSETS: &str = "__consumer_offsets";
const GAP: i64 = 7;

/// The task of live that reads the source's partition 0.
pub fn task() -> TaskNames {
    TaskNames {
        stage: 0,
        partition: 0,
        inputs: vec![TopicPartition::new(SOURCE, 0)],
        changelog: Some(TopicPartition::new(CHANGELOG, 0)),
        transactional_id: "app.1.0-0".into(),
        upstream_partitions: 1,
        window: Some(WindowRule { gap: Millis(GAP), lateness: Millis(0) }),
    }
}

pub fn group_offset(group: &str, topic: &str, partition: i32, offset: i64) -> Rec {
    let text = |text: &str| [&(text.len() as i16).to_be_bytes()[..], text.as_bytes()].concat();
    let key = [1i16.to_be_bytes().to_vec(), text(group), text(topic), partition.to_be_bytes().to_vec()].concat();
    let value = [&3i16.to_be_bytes()[..], &offset.to_be_bytes(), &(-1i32).to_be_bytes(), &text(""), &[0; 8]].concat();
    record(0).key(key).value(value)
}

/// A commit of [`task`], right unless one of the last fields says otherwise.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    pub offset: i64,
    pub watermark: i64,
    /// Instead of the one watermark.
    pub channels: Option<Vec<i64>>,
    pub outputs: u64,
    /// Says that it wrote the whole state.
    pub snapshot: bool,
    /// (key, first, last): the whole state, one cell a key, written anew.
    pub cells: Vec<(&'static str, i64, i64)>,
    /// A key of `cells` that is not written, although everything else is as if it were.
    pub left_out: Option<&'static str>,
    /// The offset that is sent to the group, with [`Disk::commit_exactly`].
    pub sent: Option<i64>,
    pub changes_off: u64,
    pub state_off: u64,
    pub timers_off: u64,
    /// The minimum that the timers are computed for, if not the commit's.
    pub timers_at: Option<i64>,
}

impl Commit {
    fn records(&self) -> Vec<Rec> {
        let channels = self.channels.clone().unwrap_or_else(|| vec![self.watermark]);
        let minimum = self.timers_at.unwrap_or(channels.iter().copied().min().unwrap_or(i64::MIN));
        let (mut state, mut timers) = (0u64, 0u64);
        let mut records = Vec::new();
        for (key, first, last) in &self.cells {
            let cell = [&1u32.to_be_bytes()[..], &first.to_be_bytes(), &last.to_be_bytes(), &1u32.to_be_bytes(), &[9]]
                .concat();
            let tagged = [&[1], key.as_bytes()].concat();
            state = state.wrapping_add(xxh3_64_with_seed(&tagged, xxh3_64(&cell)));
            let due = if last + GAP + 1 > minimum { last + GAP + 1 } else { last + 2 * GAP + 1 };
            timers = timers.wrapping_add(xxh3_64_with_seed(key.as_bytes(), due as u64));
            if self.left_out != Some(*key) {
                records.push(record(0).key(tagged).value(cell));
            }
        }
        let changes = records.len() as u64 + self.changes_off;
        let kind = u8::from(self.snapshot);
        let mut value =
            [&2u16.to_be_bytes()[..], &kind.to_be_bytes(), &1u32.to_be_bytes(), &self.offset.to_be_bytes()].concat();
        value.extend((channels.len() as u32).to_be_bytes());
        value.extend(channels.iter().flat_map(|channel| channel.to_be_bytes()));
        for number in [timers.wrapping_add(self.timers_off), self.outputs, changes, state.wrapping_add(self.state_off)]
        {
            value.extend(number.to_be_bytes());
        }
        records.push(record(0).key([0]).value(value));
        records
    }
}

/// A broker's disk.
#[derive(Clone, Default)]
pub struct Disk {
    partitions: BTreeMap<(String, i32), (i64, Vec<u8>)>,
    /// The first offset of each later segment, and where in the bytes it begins.
    rolls: BTreeMap<(String, i32), Vec<(i64, usize)>>,
    starts: BTreeMap<(String, i32), i64>,
    lz4: bool,
}

impl Disk {
    pub fn new() -> Disk {
        Disk::default()
    }

    pub fn compressed() -> Disk {
        Disk { lz4: true, ..Disk::default() }
    }

    pub fn plain(&mut self, topic: &str, partition: i32, records: &[Rec]) {
        self.write(topic, partition, (-1, -1), -1, false, records);
    }

    pub fn idempotent(&mut self, topic: &str, partition: i32, writer: (i64, i16), sequence: i32, records: &[Rec]) {
        self.write(topic, partition, writer, sequence, false, records);
    }

    /// Sequences are left out: -1.
    pub fn in_transaction(&mut self, topic: &str, partition: i32, writer: (i64, i16), records: &[Rec]) {
        self.write(topic, partition, writer, -1, true, records);
    }

    fn write(
        &mut self,
        topic: &str,
        partition: i32,
        writer: (i64, i16),
        sequence: i32,
        transactional: bool,
        records: &[Rec],
    ) {
        let lz4 = self.lz4;
        let (next, bytes) = self.partitions.entry((topic.to_owned(), partition)).or_default();
        let records: Vec<Record> = records
            .iter()
            .enumerate()
            .map(|(index, rec)| {
                let mut record = blank(*next + index as i64, *next, writer, sequence);
                record.transactional = transactional;
                record.timestamp = rec.timestamp;
                record.key = rec.key.clone();
                record.value = rec.value.clone();
                for (name, value) in &rec.headers {
                    record.headers.insert(StrBytes::from_string(name.clone()), Some(value.clone()));
                }
                record
            })
            .collect();
        *next += records.len() as i64;
        bytes.extend(encode(&records, lz4));
    }

    /// A control batch of `writer`, whose epoch is the bumped one.
    pub fn marker(&mut self, topic: &str, partition: i32, writer: (i64, i16), commit: bool) {
        let (next, bytes) = self.partitions.entry((topic.to_owned(), partition)).or_default();
        let mut record = blank(*next, *next, writer, -1);
        record.transactional = true;
        record.control = true;
        record.key = Some(Bytes::copy_from_slice(&[0, 0, 0, u8::from(commit)]));
        record.value = Some(Bytes::from_static(&[0; 6]));
        *next += 1;
        bytes.extend(encode(&[record], false));
    }

    /// A commit of [`task`] with the offset it names, ended by markers in the changelog, the group's topic and live's
    /// output.
    pub fn commit(&mut self, writer: (i64, i16), commit: &Commit) {
        self.commit_exactly(writer, &Commit { sent: Some(commit.offset), ..commit.clone() });
    }

    pub fn commit_exactly(&mut self, writer: (i64, i16), commit: &Commit) {
        self.commit_record(writer, commit);
        self.end_commit((writer.0, writer.1 + 1), true);
    }

    pub fn commit_record(&mut self, writer: (i64, i16), commit: &Commit) {
        self.in_transaction(CHANGELOG, 0, writer, &commit.records());
        if let Some(sent) = commit.sent {
            self.in_transaction(OFFSETS, 0, writer, &[group_offset("app.1", SOURCE, 0, sent)]);
        }
    }

    pub fn end_commit(&mut self, marker: (i64, i16), commit: bool) {
        for topic in [CHANGELOG, OFFSETS, LIVE_OUT] {
            self.marker(topic, 0, marker, commit);
        }
    }

    /// Cuts the last `bytes` off.
    pub fn cut(&mut self, topic: &str, partition: i32, bytes: usize) {
        let (_, stored) = self.partitions.get_mut(&(topic.to_owned(), partition)).expect("a partition");
        stored.truncate(stored.len() - bytes);
    }

    /// Flips a bit of one byte.
    pub fn flip(&mut self, topic: &str, partition: i32, position: usize) {
        let (_, stored) = self.partitions.get_mut(&(topic.to_owned(), partition)).expect("a partition");
        stored[position] ^= 1;
    }

    /// What is written from here on is another segment.
    pub fn roll(&mut self, topic: &str, partition: i32) {
        let place = (topic.to_owned(), partition);
        let (next, bytes) = self.partitions.get(&place).expect("a partition");
        let begins = (*next, bytes.len());
        self.rolls.entry(place).or_default().push(begins);
    }

    /// The broker answers from this offset on.
    pub fn log_start(&mut self, topic: &str, partition: i32, start: i64) {
        self.starts.insert((topic.to_owned(), partition), start);
    }

    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let file = |(topic, partition): &(String, i32), name: &str| {
            PathBuf::from(format!("{DATA_DIR}/{topic}-{partition}/{name}"))
        };
        let segments = self.partitions.iter().flat_map(|(place, (_, bytes))| {
            let begins = std::iter::once((0, 0)).chain(self.rolls.get(place).into_iter().flatten().copied());
            let begins: Vec<(i64, usize)> = begins.collect();
            let ends = begins.iter().skip(1).map(|(_, at)| *at).chain([bytes.len()]).collect::<Vec<_>>();
            let cut = begins.into_iter().zip(ends);
            cut.map(move |((base, from), to)| (file(place, &format!("{base:020}.log")), bytes[from..to].to_vec()))
        });
        let starts = self.starts.iter().map(|(place, start)| {
            let mut bytes = [&b"SGLS\0\x01"[..], &start.to_be_bytes()].concat();
            bytes.extend(crc32c(&bytes).to_be_bytes());
            (file(place, "log-start"), bytes)
        });
        segments.chain(starts).collect()
    }
}

fn blank(offset: i64, base: i64, (producer_id, producer_epoch): (i64, i16), base_sequence: i32) -> Record {
    // The encoder cuts a batch where offset and sequence drift apart.
    let sequence = base_sequence.wrapping_add((offset - base) as i32);
    Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 0,
        producer_id,
        producer_epoch,
        timestamp_type: TimestampType::Creation,
        offset,
        sequence,
        timestamp: 0,
        key: None,
        value: None,
        headers: Default::default(),
    }
}

fn encode(records: &[Record], lz4: bool) -> Vec<u8> {
    let compression = if lz4 { Compression::Lz4 } else { Compression::None };
    let options = RecordEncodeOptions { version: 2, compression };
    let mut bytes = BytesMut::new();
    let compress = |from: &mut BytesMut, to: &mut BytesMut, compression: Compression| {
        if compression == Compression::Lz4 {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(from)?;
            to.extend_from_slice(&encoder.finish()?);
        } else {
            to.extend_from_slice(from);
        }
        Ok(())
    };
    RecordBatchEncoder::encode_with_custom_compression(&mut bytes, records, &options, Some(compress))
        .expect("the records are well formed");
    bytes.to_vec()
}

pub fn logs(disk: &Disk) -> Logs {
    Logs::decode(&disk.files(), DATA_DIR.as_ref())
}

pub fn shape() -> Shape {
    Shape { partitions: 2, keyed_by_record: true, repartitions: 2, bound: Millis(5), allowed_lateness: Millis(0) }
}

/// A run in which everything went well.
pub fn evidence(disk: &Disk) -> Evidence {
    let names = |version: u32| RunNames {
        group: format!("app.{version}"),
        out_topic: format!("app.{version}.out"),
        late_topic: format!("app.{version}.late"),
        rejected_topic: format!("app.{version}.rejected"),
        ..RunNames::default()
    };
    let liveness = Liveness { converged: true, replay_converged: true, ..Liveness::default() };
    Evidence {
        data_dir: DATA_DIR.into(),
        files: disk.files(),
        source: SOURCE.into(),
        source_partitions: 2,
        live: names(1),
        replay: names(2),
        liveness,
        ..Evidence::default()
    }
}

pub fn run(check: &Check, evidence: &Evidence) -> Vec<Violation> {
    let shape = shape();
    let found = (check.run)(&Case::new(evidence, &Sums, &shape));
    assert!(found.iter().all(|violation| violation.property == check.name), "a check speaks for another: {found:?}");
    found
}

/// What is found of the replay when others came before it.
pub fn of_another_replay(evidence: &Evidence) -> Vec<String> {
    let shape = shape();
    let found = super::run_replay(&Case::new(evidence, &Sums, &shape));
    found.into_iter().map(|violation| violation.message).collect()
}

/// How many things the check says that it was asked of.
pub fn asked(check: &Check, evidence: &Evidence) -> u64 {
    let shape = shape();
    (check.examined)(&Case::new(evidence, &Sums, &shape))
}

pub fn messages(check: &Check, evidence: &Evidence) -> Vec<String> {
    run(check, evidence).into_iter().map(|violation| violation.message).collect()
}

pub fn send(id: u64, partition: i32, rec: &Rec, acked: Option<i64>) -> SendRecord {
    SendRecord {
        id,
        partition: TopicPartition::new(SOURCE, partition),
        digest: rec.clone().send(id).digest(),
        sent: Moment(0),
        acks: acked.map(ack).into_iter().collect(),
    }
}

pub fn ack(offset: i64) -> Ack {
    Ack { at: Moment(1), offset: Offset(offset) }
}

pub fn end((producer_id, epoch): (i64, i16), commit: bool, answered: Option<u64>) -> EndRecord {
    EndRecord {
        transactional_id: "app.1.0-0".into(),
        producer_id: ProducerId(producer_id),
        epoch: ProducerEpoch(epoch),
        commit,
        asked: Moment(0),
        answered: answered.map(Moment),
    }
}

/// A committed read of the source that saw what it should.
pub fn poll(disk: &Disk, reader: &str, partition: i32, from: i64, next: i64) -> PollRecord {
    poll_of(disk, SOURCE, reader, partition, from, next)
}

pub fn poll_of(disk: &Disk, topic: &str, reader: &str, partition: i32, from: i64, next: i64) -> PollRecord {
    let logs = logs(disk);
    let log = logs.get(topic, partition);
    let passed = log.committed().filter(|entry| (from..next).contains(&entry.offset));
    PollRecord {
        reader: reader.into(),
        partition: TopicPartition::new(topic, partition),
        asked: Moment(0),
        answered: Moment(0),
        from: Offset(from),
        next: Offset(next),
        read_committed: true,
        high_watermark: Offset(log.end),
        last_stable: Offset(log.end),
        log_start: Offset(log.start),
        seen: passed.map(|entry| Seen { offset: Offset(entry.offset), digest: entry.digest() }).collect(),
    }
}

pub fn seen(disk: &Disk, partition: i32, offset: i64) -> Seen {
    let logs = logs(disk);
    let entry = logs.get(SOURCE, partition).at(offset).expect("a record at the offset");
    Seen { offset: Offset(offset), digest: entry.digest() }
}

/// Sums per key in windows of ten; late records are dropped; `poison` cannot be decoded.
pub struct Sums;

impl Workload for Sums {
    fn name(&self) -> &'static str {
        "sums"
    }

    fn source_topic(&self) -> &'static str {
        SOURCE
    }

    fn pipeline(&self, _: &Shape) -> Result<Pipeline, PipelineError> {
        unreachable!("a check runs no pipeline")
    }

    fn schemas(&self) -> Vec<String> {
        Vec::new()
    }

    fn generate(&self, _: &Knobs, _: &Shape, _: &mut Draw) -> Vec<SourceEvent> {
        Vec::new()
    }

    fn expected(&self, _: &Shape, log: &[LogRecord]) -> Expected {
        let mut sums: BTreeMap<RowKey, i64> = BTreeMap::new();
        let mut rejected = 0;
        for record in log.iter().filter(|record| record.watermark().is_none()) {
            let text =
                |bytes: &Option<Vec<u8>>| String::from_utf8(bytes.clone().unwrap_or_default()).unwrap_or_default();
            let Ok(amount) = text(&record.value).parse::<i64>() else {
                rejected += 1;
                continue;
            };
            let window_start = record.timestamp.div_euclid(WINDOW) * WINDOW;
            *sums.entry(RowKey { key: text(&record.key), window_start }).or_default() += amount;
        }
        let table = sums.into_iter().map(|(key, sum)| (key, Row::from([("sum".to_owned(), sum.into())]))).collect();
        Expected { table, rejected, ..Expected::default() }
    }

    fn row(&self, key: &[u8], value: &[u8]) -> Result<(RowKey, Row), String> {
        let (key, start) = key.split_last_chunk::<8>().ok_or("a key without a window")?;
        let key = String::from_utf8(key.to_vec()).map_err(|error| error.to_string())?;
        let text = String::from_utf8(value.to_vec()).map_err(|error| error.to_string())?;
        let sum: i64 = text.parse().map_err(|_| format!("no sum: {text}"))?;
        Ok((RowKey { key, window_start: i64::from_be_bytes(*start) }, Row::from([("sum".to_owned(), sum.into())])))
    }

    fn fields(&self) -> &'static [&'static str] {
        &["sum"]
    }
}
