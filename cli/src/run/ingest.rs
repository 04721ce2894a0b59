//! The input becomes the log, exactly once.
//!
//! In: lines of a file. Out: records of the source topic, keyed and partitioned as Kafka's own producer would; lines that
//! are not events go to the rejects topic with their reason.
//!
//! Records, rejects and the input's next byte offset commit in one transaction, so an ingest that is killed goes on where
//! its last commit stands. The offset is kept in the group `<pipeline>.input` for partition 0 of the source topic; after
//! the last line every partition gets its end marker, in a transaction that moves the offset to one past the input's
//! length: the end, too, is consumed once.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use engine::client::{Client, TransactionalProducer, partition_for_key};
use engine::record::{BatchBuilder, Compression};
use engine::types::{Offset, Timestamp, TopicPartition};
use serde_json::json;
use workloads::click::{Click, record_key};

use super::lines::{LINE_BYTES_MAX, Line, Lines};

/// Lines per transaction: one commit costs a few syncs.
const LINES_PER_COMMIT: usize = 5_000;
/// Records per batch.
const RECORDS_PER_BATCH: usize = 1_000;
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(60);
/// The header of an engine's watermark marker: i64 BE ms; the largest value ends the partition.
const WATERMARK_HEADER: &[u8] = b"segno.watermark";
pub const REJECT_REASON_HEADER: &str = "reason";

/// Turns a line into an event, or says why it is none.
pub type Parse = dyn Fn(&[u8], u64, u64) -> Result<Click, String> + Send + Sync;

pub struct Ingest<'a> {
    pub client: &'a Client,
    pub pipeline: &'a str,
    pub source_topic: &'a str,
    pub partitions: i32,
    pub input: &'a Path,
    pub parse: &'a Parse,
    /// Told the input's next byte after each commit.
    pub progress: &'a (dyn Fn(u64) + Send + Sync),
}

/// The topic of lines that are not events: key = line number i64 BE ‖ byte offset i64 BE, value = the line's bytes, header
/// `reason`.
pub fn rejects_topic(pipeline: &str) -> String {
    format!("{pipeline}.rejects")
}

/// Creates the topics that [`Ingest::run`] writes to.
pub async fn prepare(client: &Client, pipeline: &str, source_topic: &str, partitions: i32) -> anyhow::Result<()> {
    client.create_topic(source_topic, partitions).await?;
    client.create_topic(&rejects_topic(pipeline), 1).await?;
    Ok(())
}

impl Ingest<'_> {
    /// Ingests what is left of the input; returns when its end is in the log.
    pub async fn run(&self) -> anyhow::Result<()> {
        let group = format!("{}.input", self.pipeline);
        let place = TopicPartition::new(self.source_topic, 0);
        let mut producer = TransactionalProducer::init(self.client, &group, TRANSACTION_TIMEOUT).await?;
        let committed = self.client.committed_offsets(&group, std::slice::from_ref(&place), true).await?;
        let next_byte = committed[0].map_or(0, |offset| offset.0 as u64);

        let mut file = File::open(self.input).with_context(|| format!("failed to open {}", self.input.display()))?;
        let input_bytes = file.metadata()?.len();
        if next_byte > input_bytes {
            (self.progress)(input_bytes);
            return Ok(());
        }
        let lines_before = count_lines(&mut file, next_byte)?;
        file.seek(SeekFrom::Start(next_byte))?;
        let mut lines = Lines::new(BufReader::with_capacity(1 << 20, file), next_byte, lines_before);
        let mut batches = Batches::new(self.source_topic, self.partitions, &rejects_topic(self.pipeline));

        loop {
            let taken = self.fill(&mut lines, &mut batches, &mut producer)?;
            let at_end = taken < LINES_PER_COMMIT;
            if at_end {
                batches.end();
            }
            batches.stage(&mut producer);
            // One past the length says that the end markers are written.
            let next = lines.next_byte() + u64::from(at_end);
            producer.send_offsets(&group, &[(place.clone(), Offset(next as i64))]).await?;
            producer.commit().await?;
            (self.progress)(lines.next_byte());
            if at_end {
                return Ok(());
            }
        }
    }

    /// Moves up to [`LINES_PER_COMMIT`] lines into the batches; fewer only at the input's end.
    fn fill(
        &self,
        lines: &mut Lines<BufReader<File>>,
        batches: &mut Batches,
        producer: &mut TransactionalProducer,
    ) -> anyhow::Result<usize> {
        for taken in 0..LINES_PER_COMMIT {
            let line = lines.next_line().with_context(|| format!("failed to read {}", self.input.display()))?;
            let Some(line) = line else { return Ok(taken) };
            if line.bytes.is_empty() && !line.cut {
                batches.reject(&line, &format!("line {}: it is empty", line.number));
                continue;
            }
            if line.cut {
                let why =
                    format!("line {}: it has more than {LINE_BYTES_MAX} bytes; the rest is not kept", line.number);
                batches.reject(&line, &why);
                continue;
            }
            match (self.parse)(line.bytes, line.number, line.byte_offset) {
                Ok(click) => batches.accept(&click, producer),
                Err(reason) => batches.reject(&line, &reason),
            }
        }
        Ok(LINES_PER_COMMIT)
    }
}

/// What the open transaction will write.
struct Batches {
    partitions: Vec<(TopicPartition, BatchBuilder)>,
    rejects: (TopicPartition, BatchBuilder),
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Batches {
    fn new(source_topic: &str, partitions: i32, rejects_topic: &str) -> Batches {
        let builder =
            |topic: &str, partition| (TopicPartition::new(topic, partition), BatchBuilder::new(Compression::None));
        Batches {
            partitions: (0..partitions).map(|partition| builder(source_topic, partition)).collect(),
            rejects: builder(rejects_topic, 0),
            key: Vec::new(),
            value: Vec::new(),
        }
    }

    fn accept(&mut self, click: &Click, producer: &mut TransactionalProducer) {
        self.key.clear();
        self.value.clear();
        record_key(click, true, &mut self.key);
        click.encode(&mut self.value);
        let count = self.partitions.len() as i32;
        let (partition, batch) = &mut self.partitions[partition_for_key(&self.key, count).0 as usize];
        batch.push(Timestamp(click.ts), Some(&self.key), Some(&self.value), &[]);
        if batch.len() >= RECORDS_PER_BATCH {
            producer.stage(partition, batch);
        }
    }

    fn reject(&mut self, line: &Line<'_>, reason: &str) {
        self.key.clear();
        self.key.extend_from_slice(&(line.number as i64).to_be_bytes());
        self.key.extend_from_slice(&(line.byte_offset as i64).to_be_bytes());
        let headers = [(REJECT_REASON_HEADER.as_bytes(), Some(reason.as_bytes()))];
        // A reject has no event time; its topic is read in offset order and never windowed.
        self.rejects.1.push(Timestamp(0), Some(&self.key), Some(line.bytes), &headers);
    }

    /// Every partition's end marker: nothing follows.
    fn end(&mut self) {
        let end = Timestamp::MAX.0.to_be_bytes();
        for (_, batch) in &mut self.partitions {
            batch.push(Timestamp(0), None, None, &[(WATERMARK_HEADER, Some(&end))]);
        }
    }

    fn stage(&mut self, producer: &mut TransactionalProducer) {
        for (partition, batch) in self.partitions.iter_mut().chain([&mut self.rejects]) {
            producer.stage(partition, batch);
        }
    }
}

/// The lines that end before `end`.
fn count_lines(file: &mut File, end: u64) -> anyhow::Result<u64> {
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::with_capacity(1 << 20, std::io::Read::take(file, end));
    let mut count = 0;
    loop {
        let available = reader.fill_buf()?;
        if available.is_empty() {
            return Ok(count);
        }
        count += available.iter().filter(|byte| **byte == b'\n').count() as u64;
        let taken = available.len();
        reader.consume(taken);
    }
}

/// One rejected line, as the log holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    pub line: i64,
    pub byte_offset: i64,
    pub reason: String,
    pub bytes: Vec<u8>,
}

impl Reject {
    /// As a line of the rejects file, without the newline. Bytes that are not UTF-8 are kept in hexadecimal.
    pub fn line(&self) -> String {
        let mut line = json!({ "line": self.line, "byte_offset": self.byte_offset, "reason": self.reason });
        match std::str::from_utf8(&self.bytes) {
            Ok(text) => line["text"] = json!(text),
            Err(_) => {
                line["bytes_hex"] = json!(self.bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
            }
        }
        line.to_string()
    }

    /// For people: the place, the reason, and how the line begins.
    pub fn told(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        let start: String = text.chars().take(60).collect();
        let dots = if start.len() < text.len() { "…" } else { "" };
        format!("{}: {start:?}{dots}", self.reason)
    }

    /// Reads a record of the rejects topic back.
    pub fn decode(key: &[u8], value: &[u8], reason: Option<&[u8]>) -> anyhow::Result<Reject> {
        let key: [u8; 16] = key.try_into().map_err(|_| anyhow!("a reject's key has {} bytes, not 16", key.len()))?;
        let (line, byte_offset) = key.split_at(8);
        Ok(Reject {
            line: i64::from_be_bytes(line.try_into().expect("8 bytes")),
            byte_offset: i64::from_be_bytes(byte_offset.try_into().expect("8 bytes")),
            reason: String::from_utf8_lossy(reason.unwrap_or_default()).into_owned(),
            bytes: value.to_vec(),
        })
    }
}
