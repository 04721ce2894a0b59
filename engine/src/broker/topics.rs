//! The topics and their logs, and the records of `__metadata-0` that name them.
//!
//! Big-endian, strings as i16 length and bytes:
//!
//! ```text
//! key    u8 1, string topic          value  u8 1, i32 partitions
//! ```
//!
//! Invariant: a topic is recorded durably before any directory of it exists, so that a directory is never without a topic.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::broker::codec::{CodecError, Get, Put};
use crate::log::Log;
use crate::types::Partition;

const VERSION: u8 = 1;
/// As Kafka's: a directory has the topic's name and its index.
const NAME_BYTES_MAX: usize = 249;

pub const METADATA: &str = "__metadata";
pub const TRANSACTION_STATE: &str = "__transaction_state";
pub const CONSUMER_OFFSETS: &str = "__consumer_offsets";

/// Whether the topic is the broker's own: clients may read it, and not write to it.
pub fn is_internal(topic: &str) -> bool {
    matches!(topic, METADATA | TRANSACTION_STATE | CONSUMER_OFFSETS)
}

/// Why a topic cannot have this name.
pub fn check_name(name: &str) -> Result<(), String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    match name {
        "" => Err("a topic has a name".to_owned()),
        "." | ".." => Err(format!("{name:?} is no topic name")),
        _ if name.len() > NAME_BYTES_MAX => {
            Err(format!("a name of {} bytes; the limit is {NAME_BYTES_MAX}", name.len()))
        }
        _ if !name.bytes().all(legal) => {
            Err(format!("{name:?} has characters other than letters, digits, '.', '_', '-'"))
        }
        _ => Ok(()),
    }
}

/// A record of `__metadata-0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRecord {
    pub name: Arc<str>,
    pub partitions: i32,
}

impl TopicRecord {
    pub fn encode(&self) -> (Vec<u8>, Vec<u8>) {
        let (mut key, mut value) = (Put::default(), Put::default());
        key.u8(VERSION).text(&self.name);
        value.u8(VERSION).i32(self.partitions);
        (key.0, value.0)
    }

    pub fn decode(key: &[u8], value: &[u8]) -> Result<TopicRecord, CodecError> {
        let (mut key, mut value) = (Get(key), Get(value));
        for found in [key.u8("version")?, value.u8("version")?] {
            if found != VERSION {
                return Err(CodecError::Value { what: "version", found: i64::from(found) });
            }
        }
        let record = TopicRecord { name: Arc::from(key.text("topic")?), partitions: value.i32("partitions")? };
        key.end()?;
        value.end()?;
        Ok(record)
    }
}

/// See the module.
#[derive(Default)]
pub struct Topics {
    logs: BTreeMap<Arc<str>, Vec<Log>>,
    partitions: usize,
}

impl Topics {
    pub fn insert(&mut self, name: Arc<str>, logs: Vec<Log>) {
        self.partitions += logs.len();
        let before = self.logs.insert(name, logs);
        assert!(before.is_none(), "a topic is made once");
    }

    pub fn contains(&self, name: &str) -> bool {
        self.logs.contains_key(name)
    }

    pub fn log(&self, topic: &str, partition: Partition) -> Option<Log> {
        let index = usize::try_from(partition.0).ok()?;
        self.logs.get(topic)?.get(index).cloned()
    }

    /// Name and count of partitions.
    pub fn get(&self, name: &str) -> Option<usize> {
        self.logs.get(name).map(Vec::len)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Vec<Log>)> {
        self.logs.iter()
    }

    /// Partitions of all topics together.
    pub fn partitions(&self) -> usize {
        self.partitions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_as_it_was_written_and_never_when_it_is_cut() {
        let record = TopicRecord { name: "clicks".into(), partitions: 4 };
        let (key, value) = record.encode();
        assert_eq!(TopicRecord::decode(&key, &value), Ok(record));
        assert!(TopicRecord::decode(&key, &value[..4]).is_err());
        assert!(TopicRecord::decode(&key[..3], &value).is_err());
    }

    #[test]
    fn a_name_that_is_no_directory_is_refused() {
        for bad in ["", ".", "..", "a/b", "a b", "ä", &"x".repeat(250)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "clicks.v1_x-y", "...", &"x".repeat(249)] {
            assert_eq!(check_name(good), Ok(()), "{good:?}");
        }
    }
}
