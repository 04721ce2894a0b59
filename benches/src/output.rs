//! What the final table of a replay adds up to: the last committed value of every key, a tombstone being absence.
//!
//! In: an output topic. Out: [`Output`]: how many panes there are, the sums of their numbers, the checksum of their lines.
//!
//! A table of 80 M panes would need many GB, so it is never built. Most keys are written once, and such a pane can be added
//! up when it passes. The topic is read twice:
//!
//! 1. Every key goes into a filter of a fixed size. One that may have been there before goes into a second filter. A filter
//!    has no false negatives, so **a key that was written twice is in the second one**.
//! 2. A record whose key is not in the second filter is the only one of its key: it is added up at once. All others, those
//!    that were written again and the few that the filters take for such, go into a table by their whole key.
//!
//! So the result is exact whatever the hash does: a collision only makes the table larger. Both filters together hold
//! [`BITS_PER_RECORD`] + [`BITS_PER_RECORD`] / [`AGAIN_SHARE`] bits a record, about 2.3 bytes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use engine::client::{Client, Isolation, for_each_committed};
use engine::env::real::threads;
use engine::record::Record;
use engine::types::{Offset, TopicPartition};
use sha2::{Digest as _, Sha256};
use sim::workload::{PaneNumbers, Workload};
use xxhash_rust::xxh3::xxh3_128;

/// At 16 bits in blocks of a cache line, one key in 600 that is new is taken for one that was there.
const BITS_PER_RECORD: u64 = 16;
/// The second filter is this much smaller than the first.
const AGAIN_SHARE: u64 = 8;
const FETCH_BYTES: usize = 4 << 20;

/// What the final table adds up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    pub panes: u64,
    /// The wrapping sum of the first 16 bytes of each line's SHA-256.
    pub checksum: u128,
    sessions: i64,
    events: i64,
    duration_ms: i64,
    max_events: i64,
}

impl Output {
    /// The sums by name, as they are published: other names for panes with a first and a last event than for others.
    pub fn sums(&self) -> BTreeMap<String, i64> {
        let counted = self.panes as i64 - self.sessions;
        let mut sums = BTreeMap::new();
        let mut name = |name: &str, sum: i64| sums.insert(name.to_owned(), sum);
        if self.panes > 0 {
            name("events", self.events);
        }
        if self.sessions > 0 {
            name("sessions", self.sessions);
            name("duration_ms", self.duration_ms);
        }
        if counted > 0 {
            name("panes", counted);
            name("max_events", self.max_events);
        }
        sums
    }

    fn add(&mut self, line: &[u8], numbers: PaneNumbers) {
        self.panes += 1;
        self.events += numbers.events;
        match numbers.first_and_last_ms {
            Some((first, last)) => {
                self.sessions += 1;
                self.duration_ms += last - first;
            }
            None => self.max_events = self.max_events.max(numbers.events),
        }
        let digest = Sha256::digest(line);
        let first = u128::from_le_bytes(digest[..16].try_into().expect("16 of 32 bytes"));
        self.checksum = self.checksum.wrapping_add(first);
    }

    fn merge(&mut self, other: &Output) {
        self.panes += other.panes;
        self.checksum = self.checksum.wrapping_add(other.checksum);
        self.sessions += other.sessions;
        self.events += other.events;
        self.duration_ms += other.duration_ms;
        self.max_events = self.max_events.max(other.max_events);
    }
}

/// Reads the committed records of `topic` and adds up its final table, partition by partition on `count` threads.
///
/// # Errors
/// When the topic cannot be read, or holds what is no pane.
pub async fn read(client: &Client, topic: &str, workload: &Arc<dyn Workload>, count: usize) -> anyhow::Result<Output> {
    let partitions = client.partitions(topic).await?.with_context(|| format!("there is no topic `{topic}`"))?;
    let mut workers = Vec::new();
    for thread in 0..count.clamp(1, partitions.max(1) as usize) {
        // A key lives in one partition.
        let share: Vec<TopicPartition> = (0..partitions)
            .skip(thread)
            .step_by(count)
            .map(|partition| TopicPartition::new(topic, partition))
            .collect();
        let (client, workload) = (client.clone(), workload.clone());
        workers.push(threads::start(&format!("output-{thread}"), None, move || async move {
            let mut output = Output::default();
            for partition in &share {
                output.merge(&read_partition(&client, partition, &*workload).await?);
            }
            anyhow::Ok(output)
        })?);
    }
    let mut output = Output::default();
    for worker in workers {
        output.merge(&worker.finished().await??);
    }
    Ok(output)
}

async fn read_partition(
    client: &Client,
    partition: &TopicPartition,
    workload: &dyn Workload,
) -> anyhow::Result<Output> {
    let end = client.stable_end(partition).await?;
    let mut fold = Fold::new(end.0.max(0) as u64);
    scan(client, partition, end, |record| fold.note(record)).await?;
    scan(client, partition, end, |record| fold.take(record, workload)).await?;
    fold.finish(workload)
}

/// Calls `each` with every committed record below `end`.
async fn scan(
    client: &Client,
    partition: &TopicPartition,
    end: Offset,
    mut each: impl FnMut(&Record<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let isolation = Isolation::ReadCommitted;
    let mut scratch = Vec::new();
    let mut next = Offset::ZERO;
    while next < end {
        let fetched = client.fetch(partition, next, FETCH_BYTES, Duration::ZERO, isolation).await?;
        let after = for_each_committed(partition, &fetched, next, isolation, &mut scratch, &mut each)?;
        anyhow::ensure!(after > next, "{partition}: nothing at offset {next}, below the stable end {end}");
        next = after;
    }
    Ok(())
}

/// The two passes over the records of one partition.
struct Fold {
    seen: Filter,
    again: Filter,
    /// The keys that may have been written more than once, and their last values.
    table: BTreeMap<Vec<u8>, Vec<u8>>,
    output: Output,
    line: Vec<u8>,
}

impl Fold {
    fn new(records: u64) -> Fold {
        Fold {
            seen: Filter::new(records * BITS_PER_RECORD),
            again: Filter::new(records * BITS_PER_RECORD / AGAIN_SHARE),
            table: BTreeMap::new(),
            output: Output::default(),
            line: Vec::new(),
        }
    }

    /// The first pass.
    fn note(&mut self, record: &Record<'_>) -> anyhow::Result<()> {
        let hash = xxh3_128(key_of(record)?);
        if self.seen.insert(hash) {
            self.again.insert(hash);
        }
        Ok(())
    }

    /// The second pass.
    fn take(&mut self, record: &Record<'_>, workload: &dyn Workload) -> anyhow::Result<()> {
        let key = key_of(record)?;
        if self.again.may_hold(xxh3_128(key)) {
            match record.value {
                Some(value) => self.table.insert(key.to_vec(), value.to_vec()),
                None => self.table.remove(key),
            };
        } else if let Some(value) = record.value {
            self.add(key, value, workload)?;
        }
        Ok(())
    }

    fn finish(mut self, workload: &dyn Workload) -> anyhow::Result<Output> {
        for (key, value) in std::mem::take(&mut self.table) {
            self.add(&key, &value, workload)?;
        }
        Ok(self.output)
    }

    fn add(&mut self, key: &[u8], value: &[u8], workload: &dyn Workload) -> anyhow::Result<()> {
        self.line.clear();
        let numbers = workload.pane_line(key, value, &mut self.line);
        self.output.add(&self.line, numbers.map_err(|reason| anyhow::anyhow!("an output record: {reason}"))?);
        Ok(())
    }
}

fn key_of<'a>(record: &Record<'a>) -> anyhow::Result<&'a [u8]> {
    record.key.context("an output record has a key")
}

/// A Bloom filter whose bits for a key lie in one block of a cache line.
struct Filter {
    blocks: Vec<[u64; 8]>,
}

impl Filter {
    /// Bits that a key sets, each of 9 of the hash's upper half.
    const SET: u32 = 6;

    fn new(bits: u64) -> Filter {
        Filter { blocks: vec![[0; 8]; (bits / 512 + 1) as usize] }
    }

    /// The block by the hash's lower half, scaled; the bits by its upper half.
    fn place(&self, hash: u128) -> (usize, [u64; 8]) {
        let block = (u128::from(hash as u64) * self.blocks.len() as u128) >> 64;
        let mut mask = [0u64; 8];
        for bit in 0..Filter::SET {
            let bit = (hash >> (64 + 9 * bit)) as usize % 512;
            mask[bit / 64] |= 1 << (bit % 64);
        }
        (block as usize, mask)
    }

    /// Whether the key may have been there before.
    fn insert(&mut self, hash: u128) -> bool {
        let (block, mask) = self.place(hash);
        let block = &mut self.blocks[block];
        let held = block.iter().zip(&mask).all(|(bits, mask)| bits & mask == *mask);
        block.iter_mut().zip(mask).for_each(|(bits, mask)| *bits |= mask);
        held
    }

    fn may_hold(&self, hash: u128) -> bool {
        let (block, mask) = self.place(hash);
        self.blocks[block].iter().zip(mask).all(|(bits, mask)| bits & mask == mask)
    }
}

#[cfg(test)]
mod tests {
    use engine::stream::{PaneEncoder as _, Window};
    use engine::types::Timestamp;
    use proptest::prelude::*;
    use workloads::panes::{MinutePanes, SessionPanes, SessionState};
    use workloads::pipelines::ClickPipeline;

    use super::*;

    /// Writes and erasures of (user, window start); a write has a number of events.
    type Writes = Vec<(u8, u8, Option<u16>)>;

    fn records(pipeline: ClickPipeline, writes: &Writes) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let record = |(user, start, events): &(u8, u8, Option<u16>)| {
            let start = i64::from(*start) * 1_000;
            let window = Window { start: Timestamp(start), end: Timestamp(start + 60_000) };
            let user = format!("user-{user}");
            let value = events.map(|events| {
                let mut value = Vec::new();
                let kinds = [u64::from(events), 1, 0, 0];
                let state = SessionState { first: start, last: start + i64::from(events), kinds };
                match pipeline {
                    ClickPipeline::Sessions => SessionPanes.encode(user.as_bytes(), window, &state, &mut value),
                    _ => MinutePanes.encode(user.as_bytes(), window, &u64::from(events), &mut value),
                }
                value
            });
            ([user.as_bytes(), &start.to_be_bytes()].concat(), value)
        };
        writes.iter().map(record).collect()
    }

    fn folded(pipeline: ClickPipeline, records: &[(Vec<u8>, Option<Vec<u8>>)], room: u64) -> Output {
        let record = |index: usize| Record {
            offset: Offset(index as i64),
            timestamp: Timestamp(0),
            key: Some(&records[index].0),
            value: records[index].1.as_deref(),
            raw_headers: &[],
        };
        let mut fold = Fold::new(room);
        (0..records.len()).for_each(|index| fold.note(&record(index)).expect("it has a key"));
        (0..records.len()).for_each(|index| fold.take(&record(index), &pipeline).expect("a pane"));
        fold.finish(&pipeline).expect("panes")
    }

    /// The same from a table of everything, row by row.
    fn by_table(pipeline: ClickPipeline, records: &[(Vec<u8>, Option<Vec<u8>>)]) -> Output {
        let mut table = BTreeMap::new();
        for (key, value) in records {
            match value {
                Some(value) => table.insert(key, value),
                None => table.remove(key),
            };
        }
        let mut output = Output::default();
        for (key, value) in table {
            let (_, row) = pipeline.row(key, value).expect("a pane");
            output.add(pipeline.line(&row).as_bytes(), PaneNumbers::of(&row));
        }
        output
    }

    proptest! {
        /// Also with filters so small that they take every key for one that was written again.
        #[test]
        fn what_is_folded_is_the_final_table(
            writes in prop::collection::vec((0..20u8, 0..10u8, prop::option::weighted(0.8, any::<u16>())), 0..400),
            roomy: bool,
        ) {
            for pipeline in [ClickPipeline::Sessions, ClickPipeline::Minutes] {
                let records = records(pipeline, &writes);
                let room = if roomy { records.len() as u64 } else { 0 };
                prop_assert_eq!(folded(pipeline, &records, room), by_table(pipeline, &records));
            }
        }
    }

    #[test]
    fn a_filter_forgets_no_key_and_takes_few_new_ones_for_old() {
        let keys = 200_000u64;
        let mut filter = Filter::new(keys * BITS_PER_RECORD);
        let mistaken = (0..keys).filter(|key| filter.insert(xxh3_128(&key.to_be_bytes()))).count();
        assert!(mistaken < 400, "{mistaken} of {keys} new keys were taken for old");
        assert!((0..keys).all(|key| filter.may_hold(xxh3_128(&key.to_be_bytes()))));
    }

    #[test]
    fn the_sums_have_the_published_names() {
        let writes = vec![(1, 0, Some(3)), (1, 0, Some(4)), (2, 9, Some(6)), (3, 0, Some(1)), (3, 0, None)];
        let sums = |pipeline| folded(pipeline, &records(pipeline, &writes), 5).sums();
        let named = |named: &[(&str, i64)]| -> BTreeMap<String, i64> {
            named.iter().map(|(name, sum)| ((*name).to_owned(), *sum)).collect()
        };
        let sessions = named(&[("sessions", 2), ("events", 12), ("duration_ms", 10)]);
        assert_eq!(sums(ClickPipeline::Sessions), sessions);
        assert_eq!(sums(ClickPipeline::Minutes), named(&[("panes", 2), ("events", 10), ("max_events", 6)]));
    }
}
