//! The engine's words: offsets, partitions, timestamps, producer identities.
//!
//! Each is a newtype, because each could be swapped for another of the same width.

use std::fmt;
use std::sync::Arc;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// The position of a record in a partition; the first is 0. As a bound it names the next record.
    Offset(i64)
}
number! {
    /// The index of a partition in its topic.
    Partition(i32)
}
number! {
    /// A point in time: milliseconds since the Unix epoch, event time or wall time; may be negative.
    Timestamp(i64)
}
number! {
    /// A length of time in milliseconds.
    Millis(i64)
}
number! {
    /// Who wrote a batch: the broker hands these out.
    ProducerId(i64)
}
number! {
    /// The generation of a [`ProducerId`]; a lower one is fenced.
    ProducerEpoch(i16)
}
number! {
    /// The number of a record within (producer id, epoch, partition); wraps from `i32::MAX` to 0.
    Sequence(i32)
}

impl Offset {
    pub const ZERO: Offset = Offset(0);

    /// The offset `count` records further on.
    #[must_use]
    pub fn plus(self, count: i64) -> Offset {
        Offset(self.0 + count)
    }
}

impl Timestamp {
    pub const MIN: Timestamp = Timestamp(i64::MIN);
    /// The end marker's value: nothing will follow.
    pub const MAX: Timestamp = Timestamp(i64::MAX);

    /// `self + by`, held at the ends: [`Timestamp::MAX`] and [`Timestamp::MIN`] are infinities and absorb.
    #[must_use]
    pub fn plus(self, by: Millis) -> Timestamp {
        match self {
            Timestamp::MAX | Timestamp::MIN => self,
            _ => Timestamp(self.0.saturating_add(by.0)),
        }
    }

    /// `self - by`, held at the ends like [`Timestamp::plus`].
    #[must_use]
    pub fn minus(self, by: Millis) -> Timestamp {
        match self {
            Timestamp::MAX | Timestamp::MIN => self,
            _ => Timestamp(self.0.saturating_sub(by.0)),
        }
    }
}

impl ProducerId {
    pub const NONE: ProducerId = ProducerId(-1);
}

impl ProducerEpoch {
    pub const NONE: ProducerEpoch = ProducerEpoch(-1);
}

impl Sequence {
    pub const NONE: Sequence = Sequence(-1);

    /// The sequence `count` records further on, wrapping from `i32::MAX` to 0 as Kafka's does.
    #[must_use]
    pub fn plus(self, count: i32) -> Sequence {
        Sequence(((i64::from(self.0) + i64::from(count)) & i64::from(i32::MAX)) as i32)
    }
}

/// One partition of one topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic: Arc<str>,
    pub partition: Partition,
}

impl TopicPartition {
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition: Partition(partition) }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// What a reader may see of transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Everything below the high watermark.
    ReadUncommitted,
    /// Everything below the last stable offset; the reader drops what the list of [`Aborted`] names.
    ReadCommitted,
}

/// An aborted transaction within what was read: its records run from `first_offset` to its abort marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Aborted {
    pub producer_id: ProducerId,
    pub first_offset: Offset,
}
