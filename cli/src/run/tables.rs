//! What a version of a pipeline has written: its final table and its late entries.
//!
//! In: the output and late topics, read as committed data up to their last stable offset. Out: the last value of each
//! key (a tombstone takes the key away), and the late entries as a multiset.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::anyhow;
use engine::client::{Client, Isolation, for_each_committed};
use engine::record::Record;
use engine::types::{Offset, TopicPartition};

use super::ingest::{REJECT_REASON_HEADER, Reject};

const FETCH_BYTES: usize = 4 << 20;

/// A version's results.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Output key → value.
    pub panes: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Late entry's key → how many.
    pub late: BTreeMap<Vec<u8>, u64>,
}

impl Tables {
    /// Reads the two topics.
    pub async fn read(client: &Client, out_topic: &str, late_topic: &str) -> anyhow::Result<Tables> {
        let mut tables = Tables::default();
        scan(client, out_topic, |record| {
            let key = record.key.ok_or_else(|| anyhow!("{out_topic}: offset {} has no key", record.offset))?;
            match record.value {
                Some(value) => tables.panes.insert(key.to_vec(), value.to_vec()),
                None => tables.panes.remove(key),
            };
            Ok(())
        })
        .await?;
        scan(client, late_topic, |record| {
            let key = record.key.ok_or_else(|| anyhow!("{late_topic}: offset {} has no key", record.offset))?;
            *tables.late.entry(key.to_vec()).or_default() += 1;
            Ok(())
        })
        .await?;
        Ok(tables)
    }

    /// Source records that were late for some window. An entry's key begins with the source partition (i32) and offset
    /// (i64).
    pub fn late_records(&self) -> u64 {
        self.late.keys().map(|key| &key[..key.len().min(12)]).collect::<BTreeSet<_>>().len() as u64
    }

    /// The first key in whose panes the two differ.
    pub fn first_difference<'a>(&'a self, other: &'a Tables) -> Option<&'a [u8]> {
        let keys: BTreeSet<&Vec<u8>> = self.panes.keys().chain(other.panes.keys()).collect();
        keys.into_iter().find(|key| self.panes.get(*key) != other.panes.get(*key)).map(Vec::as_slice)
    }
}

/// The rejected lines, in the order of the input.
pub async fn read_rejects(client: &Client, topic: &str) -> anyhow::Result<Vec<Reject>> {
    let mut rejects = Vec::new();
    scan(client, topic, |record| {
        let reason = record.header(REJECT_REASON_HEADER);
        rejects.push(Reject::decode(record.key.unwrap_or_default(), record.value.unwrap_or_default(), reason)?);
        Ok(())
    })
    .await?;
    Ok(rejects)
}

/// Counts the topic's committed records that are events: those with a value.
pub async fn count_events(client: &Client, topic: &str) -> anyhow::Result<u64> {
    let mut count = 0;
    scan(client, topic, |record| {
        count += u64::from(record.value.is_some());
        Ok(())
    })
    .await?;
    Ok(count)
}

/// Calls `each` with every committed record of every partition, up to the last stable offset of now.
async fn scan(
    client: &Client,
    topic: &str,
    mut each: impl FnMut(&Record<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let partitions = client.partitions(topic).await?.ok_or_else(|| anyhow!("there is no topic `{topic}`"))?;
    let mut scratch = Vec::new();
    for partition in 0..partitions {
        let partition = TopicPartition::new(topic, partition);
        let end = client.stable_end(&partition).await?;
        let mut next: Offset = client.log_start(&partition).await?;
        while next < end {
            let fetched = client
                .fetch(&partition, next, FETCH_BYTES, std::time::Duration::ZERO, Isolation::ReadCommitted)
                .await?;
            let after =
                for_each_committed(&partition, &fetched, next, Isolation::ReadCommitted, &mut scratch, &mut each)?;
            anyhow::ensure!(after > next, "{partition}: nothing at offset {next}, below the stable end {end}");
            next = after;
        }
    }
    Ok(())
}
