//! What is measured: how many events of how many users, what the log is keyed by, how large an event is.
//!
//! Invariant: two equal datasets make equal logs, so a figure names its dataset.

use std::fmt;

use serde::{Deserialize, Serialize};
use workloads::clickstream::{Clickstream, Settings};

/// The users of the published dataset.
pub const DEFAULT_USERS: u32 = 100_000;
/// What the expected sums can tell apart.
pub const MAX_USERS: u32 = 16_000_000;

/// A dataset of the published shape and density.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Dataset {
    pub events: u64,
    pub users: u32,
    pub key: Key,
    /// Every value is written with a field that the reader drops, long enough to make it this large; `None` = as it is.
    pub value_bytes: Option<u32>,
}

/// The record key of the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Key {
    /// What the pipelines group by: no repartition.
    #[default]
    User,
    /// The event id, 16 hexadecimal digits: the events go by user through a repartition topic.
    Event,
}

impl Dataset {
    pub fn settings(&self) -> Settings {
        Settings { users: self.users, ..Settings::at_density(self.events) }
    }

    pub fn stream(&self) -> Clickstream {
        Clickstream::new(self.settings())
    }
}

impl Key {
    pub fn name(self) -> &'static str {
        match self {
            Key::User => "user",
            Key::Event => "event",
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
