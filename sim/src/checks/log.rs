//! The checks' own reading of the log: segment files in, committed, aborted and open records out.
//!
//! In: the files of a data directory. Out: for each partition its records in offset order with the fate of each, its
//! transactions with their markers, and everything that no log should contain.
//!
//! It shares no code with `engine::log`, `engine::record` or the client: batches are cut and their CRC is verified here,
//! their records are decoded by the `kafka-protocol` crate, and the pass over transaction markers is this file's own. A
//! bug of the engine's reader can therefore not hide itself.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use bytes::Bytes;
use engine::types::TopicPartition;
use kafka_protocol::records::{Compression, RecordBatchDecoder};

/// Base offset and batch length: what the length does not count.
const PREFIX_BYTES: usize = 12;
/// The smallest batch: the header without records.
const HEADER_BYTES: usize = 61;
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;
const LAST_OFFSET_DELTA_AT: usize = 23;

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its transaction committed, or it was written in none.
    Committed,
    Aborted,
    /// Its transaction has no marker in this partition.
    Open,
}

/// A data record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(String, Option<Bytes>)>,
    pub fate: Fate,
    /// The index in [`PartitionLog::transactions`] of the transaction that it was written in.
    pub transaction: Option<usize>,
}

impl Entry {
    /// The header with this name, when it has a value.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let (_, value) = self.headers.iter().find(|(header, _)| header == name)?;
        value.as_deref()
    }

    /// A header that holds an i64, big endian.
    pub fn header_i64(&self, name: &str) -> Option<i64> {
        Some(i64::from_be_bytes(self.header(name)?.try_into().ok()?))
    }

    /// A watermark marker: no key, no value, and the header.
    pub fn marker(&self) -> Option<i64> {
        if self.key.is_some() || self.value.is_some() {
            return None;
        }
        self.header_i64("segno.watermark")
    }

    /// The identity that its sender gave it.
    pub fn send_id(&self) -> Option<u64> {
        self.header_i64("segno.send").map(i64::cast_unsigned)
    }

    pub fn digest(&self) -> u64 {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
        digest(self.timestamp, self.key.as_deref(), self.value.as_deref(), headers)
    }
}

/// Who wrote, and in which generation. With transactions of the second version every end bumps the epoch, so that this
/// names one transaction across partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Writer {
    pub producer_id: i64,
    pub epoch: i16,
}

impl std::fmt::Display for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "producer {} epoch {}", self.producer_id, self.epoch)
    }
}

/// One transaction's part in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    pub writer: Writer,
    pub first: i64,
    pub last: i64,
    pub marker: Option<Marker>,
}

/// A control record that ends a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    pub offset: i64,
    pub commit: bool,
    pub epoch: i16,
}

/// A batch's place and identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchInfo {
    pub base_offset: i64,
    pub next_offset: i64,
    pub crc: u32,
    pub writer: Option<Writer>,
    pub base_sequence: i32,
    pub control: bool,
}

/// One partition, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionLog {
    /// The first offset that is stored.
    pub start: i64,
    /// The first offset that the broker still answers for: what it keeps in the file `log-start`, and 0 without it.
    pub log_start: i64,
    /// One past the last offset that is readable.
    pub end: i64,
    pub entries: Vec<Entry>,
    pub batches: Vec<BatchInfo>,
    pub transactions: Vec<Transaction>,
    /// Where reading had to stop, and why: a torn tail, or damage.
    pub damage: Option<String>,
    /// What the transaction protocol forbids, in sentences.
    pub irregular: Vec<String>,
}

impl PartitionLog {
    /// Records that a `read_committed` reader is to see, in offset order.
    pub fn committed(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.fate == Fate::Committed)
    }

    /// The same in the order in which they took effect: what a transaction wrote, where its marker lies.
    pub fn effective(&self) -> Vec<&Entry> {
        let effect = |entry: &Entry| {
            let marker = entry.transaction.and_then(|index| self.transactions[index].marker);
            (marker.map_or(entry.offset, |marker| marker.offset), entry.offset)
        };
        let mut entries: Vec<&Entry> = self.committed().collect();
        entries.sort_by_key(|entry| effect(entry));
        entries
    }

    /// The record at `offset`.
    pub fn at(&self, offset: i64) -> Option<&Entry> {
        let index = self.entries.binary_search_by_key(&offset, |entry| entry.offset).ok()?;
        Some(&self.entries[index])
    }

    /// The records of one transaction, in offset order.
    pub fn written_by(&self, writer: Writer) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .filter(move |entry| entry.transaction.is_some_and(|index| self.transactions[index].writer == writer))
    }
}

/// Every partition of a data directory.
#[derive(Clone, Debug, Default)]
pub struct Logs {
    partitions: BTreeMap<(String, i32), PartitionLog>,
    empty: PartitionLog,
}

impl Logs {
    /// Decodes what is under `data_dir`; files that are neither segments nor log starts are left alone.
    pub fn decode(files: &BTreeMap<PathBuf, Vec<u8>>, data_dir: &Path) -> Logs {
        Logs::decode_whole(files, &BTreeMap::new(), data_dir)
    }

    /// The same, with the segments that were `removed` in front of those that are left.
    pub fn decode_whole(
        files: &BTreeMap<PathBuf, Vec<u8>>,
        removed: &BTreeMap<PathBuf, Vec<u8>>,
        data_dir: &Path,
    ) -> Logs {
        let mut segments: BTreeMap<(String, i32), Segments<'_>> = BTreeMap::new();
        let mut starts = log_starts(files, data_dir);
        for (path, bytes) in files {
            if let Some((partition, base)) = segment_of(path, data_dir) {
                segments.entry(partition).or_default().push((base, bytes));
            }
        }
        let mut gone: BTreeMap<(String, i32), Segments<'_>> = BTreeMap::new();
        for (path, bytes) in removed {
            if let Some((partition, base)) = segment_of(path, data_dir) {
                gone.entry(partition).or_default().push((base, bytes));
            }
        }
        let mut partitions = BTreeMap::new();
        for (partition, mut segments) in segments {
            segments.sort_by_key(|(base, _)| *base);
            let start = starts.remove(&partition);
            let mut before = gone.remove(&partition).unwrap_or_default();
            if let Some(Ok(start)) = start {
                before.extend(split_deleted(&mut segments, start));
            }
            let mut log = read_partition(&complete(before, segments));
            match start {
                None => {}
                Some(Ok(start)) => log.log_start = start,
                Some(Err(reason)) => log.damage = log.damage.or(Some(format!("log-start: {reason}"))),
            }
            partitions.insert(partition, log);
        }
        Logs { partitions, empty: PartitionLog::default() }
    }

    /// The log of one partition; an empty one when nothing is stored under the name.
    pub fn get(&self, topic: &str, partition: i32) -> &PartitionLog {
        // A lookup by (&str, i32) would need a borrowed key type; the name is short and the checks are few.
        self.partitions.get(&(topic.to_owned(), partition)).unwrap_or(&self.empty)
    }

    /// Whether anything is stored for the partition.
    pub fn has(&self, topic: &str, partition: i32) -> bool {
        self.partitions.contains_key(&(topic.to_owned(), partition))
    }

    /// The partitions of a topic, in order.
    pub fn topic<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = (i32, &'a PartitionLog)> {
        self.all().filter(move |(name, _, _)| *name == topic).map(|(_, partition, log)| (partition, log))
    }

    /// Every partition, by (topic, number).
    pub fn all(&self) -> impl Iterator<Item = (&str, i32, &PartitionLog)> {
        self.partitions.iter().map(|((topic, partition), log)| (topic.as_str(), *partition, log))
    }
}

/// The identity of a record's content; where it is stored is not part of it.
pub fn digest<'a>(
    timestamp: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>,
) -> u64 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    let mut part = |bytes: Option<&[u8]>| match bytes {
        None => hasher.write_u64(u64::MAX),
        Some(bytes) => {
            hasher.write_u64(bytes.len() as u64);
            hasher.update(bytes);
        }
    };
    part(Some(&timestamp.to_be_bytes()));
    part(key);
    part(value);
    for (name, value) in headers {
        part(Some(name.as_bytes()));
        part(value);
    }
    hasher.digest()
}

/// `<data_dir>/<topic>-<partition>/<20 digits>.log`
fn segment_of(path: &Path, data_dir: &Path) -> Option<((String, i32), i64)> {
    let relative = path.strip_prefix(data_dir).ok()?;
    let mut parts = relative.iter();
    let dir = parts.next()?.to_str()?;
    let file = parts.next()?.to_str()?;
    if parts.next().is_some() {
        return None;
    }
    let digits = file.strip_suffix(".log").filter(|digits| digits.len() == 20)?;
    let (topic, partition) = dir.rsplit_once('-')?;
    Some(((topic.to_owned(), partition.parse().ok()?), digits.parse().ok()?))
}

/// The segments of a partition as they lie there, (first offset, bytes), in order.
pub fn segments<'f>(
    files: &'f BTreeMap<PathBuf, Vec<u8>>,
    data_dir: &Path,
    of: &TopicPartition,
) -> Vec<(i64, &'f [u8])> {
    let mut segments: Segments<'f> = files
        .iter()
        .filter_map(|(path, bytes)| {
            let ((topic, partition), base) = segment_of(path, data_dir)?;
            (topic == *of.topic && partition == of.partition.0).then_some((base, bytes.as_slice()))
        })
        .collect();
    segments.sort_by_key(|(base, _)| *base);
    segments
}

/// The starts of the logs that have moved, as their files say it.
pub fn log_starts(files: &BTreeMap<PathBuf, Vec<u8>>, data_dir: &Path) -> BTreeMap<(String, i32), Result<i64, String>> {
    files.iter().filter_map(|(path, bytes)| Some((log_start_of(path, data_dir)?, read_log_start(bytes)))).collect()
}

/// `<data_dir>/<topic>-<partition>/log-start`
fn log_start_of(path: &Path, data_dir: &Path) -> Option<(String, i32)> {
    let dir = path.strip_prefix(data_dir).ok()?.to_str()?.strip_suffix("/log-start")?;
    let (topic, partition) = dir.rsplit_once('-')?;
    Some((topic.to_owned(), partition.parse().ok()?))
}

/// `SGLS`, u16 version, i64 offset, in version 2 the greatest timestamp below it as i64, u32 CRC32C of what comes before; big
/// endian.
fn read_log_start(bytes: &[u8]) -> Result<i64, String> {
    let (body, crc) = bytes.split_last_chunk::<4>().ok_or("it is too short")?;
    if u32::from_be_bytes(*crc) != crc32c(body) {
        return Err("its CRC is wrong".to_owned());
    }
    let first = body.strip_prefix(b"SGLS\0\x01").filter(|rest| rest.len() == 8);
    let second = body.strip_prefix(b"SGLS\0\x02").filter(|rest| rest.len() == 16);
    let offset = first.or(second).and_then(|rest| <[u8; 8]>::try_from(&rest[..8]).ok());
    offset.map(i64::from_be_bytes).ok_or_else(|| format!("{} is no start of version 1 or 2", body.escape_ascii()))
}

/// (first offset, bytes), in order.
type Segments<'f> = Vec<(i64, &'f [u8])>;

/// Takes those that end below the log's start out of `segments`: they are deleted, and a power cut may bring back any of
/// them, and others not.
fn split_deleted<'f>(segments: &mut Segments<'f>, start: i64) -> Segments<'f> {
    let needed = segments.partition_point(|(base, _)| *base <= start).saturating_sub(1);
    segments.drain(..needed).collect()
}

/// The segments that are there, behind those that were deleted from the log's beginning. Others were removed too, at a
/// start that found a torn one: they begin where another reaches.
fn complete<'f>(mut removed: Segments<'f>, segments: Segments<'f>) -> Segments<'f> {
    let first = segments.first().map_or(0, |(base, _)| *base);
    removed.sort_by_key(|(base, _)| *base);
    let mut whole: Segments<'_> = Vec::new();
    let mut end = 0;
    for (base, bytes) in removed.into_iter().filter(|(base, _)| *base < first) {
        if base == end {
            let next = read_partition(&[(base, bytes)]).end;
            if next > end && next <= first {
                end = next;
                whole.push((base, bytes));
            }
        }
    }
    // A history with holes would be read as damage; what is left is judged alone then.
    if end != first {
        whole.clear();
    }
    whole.extend(segments);
    whole
}

fn read_partition(segments: &[(i64, &[u8])]) -> PartitionLog {
    let mut reader = Reader::default();
    let first = segments.first().map_or(0, |(base, _)| *base);
    reader.log.start = first;
    reader.log.end = first;
    for (index, (base, bytes)) in segments.iter().enumerate() {
        if *base != reader.log.end {
            reader.log.damage =
                Some(format!("segment {base:020} follows a log that ends at offset {}", reader.log.end));
            break;
        }
        if let Err(reason) = reader.segment(bytes) {
            let last = index + 1 == segments.len();
            let place = if last { "the last segment" } else { "a segment that others follow" };
            reader.log.damage = Some(format!("{place}, {base:020}.log: {reason:#}"));
            break;
        }
    }
    reader.log
}

#[derive(Default)]
struct Reader {
    log: PartitionLog,
    /// producer id → its open transaction's index
    open: BTreeMap<i64, usize>,
    /// producer id → the highest epoch seen in data or markers
    epochs: BTreeMap<i64, i16>,
}

impl Reader {
    fn segment(&mut self, mut bytes: &[u8]) -> anyhow::Result<()> {
        let mut position = 0;
        while !bytes.is_empty() {
            let size = self.batch(bytes).with_context(|| format!("at byte {position}"))?;
            bytes = &bytes[size..];
            position += size;
        }
        Ok(())
    }

    /// Reads the batch that `bytes` begins with; returns its size.
    fn batch(&mut self, bytes: &[u8]) -> anyhow::Result<usize> {
        ensure!(bytes.len() >= HEADER_BYTES, "{} bytes are no batch", bytes.len());
        let base_offset = i64::from_be_bytes(field(bytes, 0)?);
        let length = i32::from_be_bytes(field(bytes, 8)?);
        let size = usize::try_from(length).map_err(|_| anyhow!("a batch of {length} bytes"))? + PREFIX_BYTES;
        ensure!(size >= HEADER_BYTES, "a batch of {size} bytes");
        ensure!(bytes.len() >= size, "a batch of {size} bytes of which {} are there", bytes.len());
        let bytes = &bytes[..size];
        let stored = u32::from_be_bytes(field(bytes, CRC_AT)?);
        let computed = crc32c(&bytes[CRC_FROM..]);
        ensure!(stored == computed, "the CRC is {computed:08x} and should be {stored:08x}");
        ensure!(base_offset == self.log.end, "a batch begins at offset {base_offset} where {} is next", self.log.end);
        let delta = i32::from_be_bytes(field(bytes, LAST_OFFSET_DELTA_AT)?);
        ensure!(delta >= 0, "a batch whose last offset is {delta} from its first");

        let mut buffer = Bytes::copy_from_slice(bytes);
        let infos = RecordBatchDecoder::decode_batch_info(&mut buffer.clone()).context("batch header")?;
        let [info] = infos.as_slice() else { bail!("{} batches in the bytes of one", infos.len()) };
        let set = RecordBatchDecoder::decode_with_custom_compression(&mut buffer, Some(decompress))
            .context("records of a batch whose CRC is right")?;
        let next_offset = base_offset + i64::from(delta) + 1;
        let writer =
            (info.producer_id >= 0).then_some(Writer { producer_id: info.producer_id, epoch: info.producer_epoch });
        self.log.batches.push(BatchInfo {
            base_offset,
            next_offset,
            crc: stored,
            writer,
            base_sequence: info.base_sequence,
            control: info.control,
        });

        if info.control {
            let writer = writer.context("a control batch without a producer")?;
            for record in &set.records {
                let key = record.key.as_deref().context("a control record without a key")?;
                let commit = match i16::from_be_bytes(field(key, 2)?) {
                    0 => false,
                    1 => true,
                    other => bail!("a control record of type {other}"),
                };
                self.close(writer, record.offset, commit);
            }
        } else {
            let transaction = match writer {
                Some(writer) if info.transactional => Some(self.extend(writer, base_offset, next_offset - 1)),
                Some(writer) => {
                    self.see_epoch(writer, base_offset);
                    None
                }
                None => None,
            };
            let fate = if transaction.is_some() { Fate::Open } else { Fate::Committed };
            let mut last = base_offset - 1;
            for record in set.records {
                ensure!(record.offset > last && record.offset < next_offset, "offset {} after {last}", record.offset);
                last = record.offset;
                let headers = record.headers.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
                self.log.entries.push(Entry {
                    offset: record.offset,
                    timestamp: record.timestamp,
                    key: record.key,
                    value: record.value,
                    headers,
                    fate,
                    transaction,
                });
            }
        }
        self.log.end = next_offset;
        Ok(size)
    }

    /// A batch of `writer` in a transaction: the open one, or a new one.
    fn extend(&mut self, writer: Writer, first: i64, last: i64) -> usize {
        self.see_epoch(writer, first);
        if let Some(&index) = self.open.get(&writer.producer_id) {
            let open = &mut self.log.transactions[index];
            if open.writer == writer {
                open.last = last;
                return index;
            }
            self.log.irregular.push(format!(
                "offset {first}: {writer} writes while the transaction of epoch {} that begins at offset {} is open",
                open.writer.epoch, open.first
            ));
        }
        self.log.transactions.push(Transaction { writer, first, last, marker: None });
        let index = self.log.transactions.len() - 1;
        self.open.insert(writer.producer_id, index);
        index
    }

    /// The end of the open transaction of `marker`'s producer, if there is one.
    fn close(&mut self, marker: Writer, offset: i64, commit: bool) {
        self.see_epoch(marker, offset);
        let Some(index) = self.open.remove(&marker.producer_id) else { return };
        let transaction = &mut self.log.transactions[index];
        if marker.epoch <= transaction.writer.epoch {
            self.log.irregular.push(format!(
                "offset {offset}: the marker of {} carries epoch {}, so that a delayed write of that transaction would \
                 be accepted after it",
                transaction.writer, marker.epoch
            ));
        }
        transaction.marker = Some(Marker { offset, commit, epoch: marker.epoch });
        let fate = if commit { Fate::Committed } else { Fate::Aborted };
        let from = self.log.entries.partition_point(|entry| entry.offset < transaction.first);
        for entry in &mut self.log.entries[from..] {
            if entry.transaction == Some(index) {
                entry.fate = fate;
            }
        }
    }

    fn see_epoch(&mut self, writer: Writer, offset: i64) {
        let highest = self.epochs.entry(writer.producer_id).or_insert(writer.epoch);
        if writer.epoch < *highest {
            self.log
                .irregular
                .push(format!("offset {offset}: {writer} was accepted although epoch {highest} had fenced it"));
        }
        *highest = writer.epoch.max(*highest);
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> anyhow::Result<[u8; N]> {
    let slice = bytes.get(at..at + N).with_context(|| format!("{} bytes where {} are needed", bytes.len(), at + N))?;
    Ok(slice.try_into().expect("a slice of N bytes"))
}

fn decompress(bytes: &mut Bytes, compression: Compression) -> anyhow::Result<Bytes> {
    match compression {
        Compression::None => Ok(bytes.split_off(0)),
        Compression::Lz4 => {
            let mut records = Vec::new();
            lz4_flex::frame::FrameDecoder::new(&bytes[..]).read_to_end(&mut records).context("LZ4 frame")?;
            Ok(records.into())
        }
        other => bail!("{other:?} compression"),
    }
}

/// CRC-32C, bit by bit through a table made at compile time: independent of the engine's crate, fast enough for logs
/// of this size.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0u32; 256];
        let mut index = 0;
        while index < 256 {
            let mut value = index as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 { (value >> 1) ^ 0x82f6_3b78 } else { value >> 1 };
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    };
    let mut crc = u32::MAX;
    for byte in bytes {
        crc = (crc >> 8) ^ TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize];
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::super::kit::{Disk, event, logs, record};
    use super::*;

    fn fates(log: &PartitionLog) -> Vec<(i64, Fate)> {
        log.entries.iter().map(|entry| (entry.offset, entry.fate)).collect()
    }

    #[test]
    fn the_fate_of_a_record_is_that_of_its_transaction() {
        for mut disk in [Disk::new(), Disk::compressed()] {
            disk.in_transaction("t", 0, (1, 0), &[event("a", 1, 1), event("b", 2, 2)]);
            disk.in_transaction("t", 0, (2, 0), &[event("c", 3, 3)]);
            disk.plain("t", 0, &[event("d", 4, 4)]);
            disk.marker("t", 0, (1, 1), true);
            disk.in_transaction("t", 0, (2, 0), &[event("e", 5, 5)]);
            disk.marker("t", 0, (2, 1), false);
            disk.in_transaction("t", 0, (1, 1), &[event("f", 6, 6)]);
            let logs = logs(&disk);
            let log = logs.get("t", 0);
            assert_eq!(log.damage, None);
            assert_eq!(log.irregular, Vec::<String>::new());
            use Fate::{Aborted, Committed, Open};
            let expected = [(0, Committed), (1, Committed), (2, Aborted), (3, Committed), (5, Aborted), (7, Open)];
            assert_eq!(fates(log), expected);
            assert_eq!((log.start, log.end), (0, 8));
            assert_eq!(log.transactions[1].marker, Some(Marker { offset: 6, commit: false, epoch: 1 }));
            assert_eq!(log.written_by(Writer { producer_id: 2, epoch: 0 }).count(), 2);
        }
    }

    #[test]
    fn a_record_comes_back_with_all_its_parts() {
        let mut disk = Disk::compressed();
        let marker = record(9).header("segno.watermark", (-5i64).to_be_bytes());
        disk.plain("t", 3, &[record(-7).key("k").value("v").header("h", "x").send(12), marker]);
        let logs = logs(&disk);
        let log = logs.get("t", 3);
        let first = log.at(0).expect("a record");
        assert_eq!(
            (first.timestamp, first.key.as_deref(), first.value.as_deref()),
            (-7, Some(&b"k"[..]), Some(&b"v"[..]))
        );
        assert_eq!((first.header("h"), first.send_id(), first.marker()), (Some(&b"x"[..]), Some(12), None));
        assert_eq!(log.at(1).expect("a marker").marker(), Some(-5));
    }

    #[test]
    fn every_cut_and_every_flip_is_damage_or_a_changed_prefix_byte_and_never_a_wrong_record() {
        let mut disk = Disk::new();
        disk.plain("t", 0, &[event("a", 1, 1)]);
        disk.plain("t", 0, &[event("b", 2, 2)]);
        let whole = logs(&disk).get("t", 0).clone();
        let length = disk.files().values().next().expect("one file").len();
        for position in 0..length {
            let mut flipped = disk.clone();
            flipped.flip("t", 0, position);
            let logs = logs(&flipped);
            let log = logs.get("t", 0);
            assert!(log.entries.iter().all(|entry| whole.entries.contains(entry)), "byte {position}");
            let leader_epoch = [12..16, length / 2 + 12..length / 2 + 16].iter().any(|range| range.contains(&position));
            assert!(log.damage.is_some() || leader_epoch, "byte {position} of {length} was flipped unseen");
        }
        for cut in 1..length {
            let mut short = disk.clone();
            short.cut("t", 0, cut);
            let logs = logs(&short);
            let log = logs.get("t", 0);
            assert!(whole.entries.starts_with(&log.entries));
            assert_eq!(log.damage.is_some(), cut != length / 2);
        }
    }

    #[test]
    fn segments_continue_one_another() {
        let mut disk = Disk::new();
        disk.plain("t", 0, &[event("a", 1, 1)]);
        let mut files = disk.files();
        let bytes = files.values().next().expect("one file").clone();
        let mut second = bytes.clone();
        second[7] = 1;
        files.insert("/data/t-0/00000000000000000001.log".into(), second.clone());
        files.insert("/data/t-0/00000000000000000001.index".into(), vec![1, 2, 3]);
        let decoded = Logs::decode(&files, Path::new("/data"));
        assert_eq!((decoded.get("t", 0).end, &decoded.get("t", 0).damage), (2, &None));
        files.remove(Path::new("/data/t-0/00000000000000000001.log"));
        files.insert("/data/t-0/00000000000000000002.log".into(), second);
        let gap = Logs::decode(&files, Path::new("/data"));
        let damage = gap.get("t", 0).damage.as_deref().expect("a hole is damage");
        assert_eq!(damage, "segment 00000000000000000002 follows a log that ends at offset 1");
    }

    #[test]
    fn a_deleted_segment_that_a_power_cut_brought_back_is_no_hole() {
        let mut disk = Disk::new();
        disk.plain("t", 0, &[event("a", 1, 1)]);
        disk.log_start("t", 0, 2);
        let mut files = disk.files();
        let mut third = files[Path::new("/data/t-0/00000000000000000000.log")].clone();
        third[7] = 2;
        files.insert("/data/t-0/00000000000000000002.log".into(), third.clone());
        let decoded = Logs::decode(&files, Path::new("/data"));
        let log = decoded.get("t", 0);
        assert_eq!((log.start, log.log_start, log.end, &log.damage), (2, 2, 3, &None));
        files.insert("/data/t-0/00000000000000000004.log".into(), third);
        let hole = Logs::decode(&files, Path::new("/data"));
        assert!(hole.get("t", 0).damage.is_some(), "a hole above the start is damage");
    }
}
