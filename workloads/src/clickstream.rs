//! The clickstream that is measured: an endless-looking shop in which every record is a pure function of (seed, index).
//!
//! In: [`Settings`]. Out: [`ClickRecord`]s in arrival order, by index or as an iterator.
//!
//! The definition, with `h(k) = splitmix64(seed * 0x9E37_79B9_7F4A_7C15 + i * 8 + k)`:
//!
//! | k | field |
//! |---|---|
//! | 0 | user: its rank by [`Zipf`] of the top 53 bits |
//! | 1 | product: `h % products` |
//! | 2 | type: of 100, 70 views, 18 clicks, 9 carts, 3 purchases |
//! | 3 | delay: 3 in 10 up to `late_ms`, the others up to 500 ms |
//! | 4 | duplicate: `dup_bp` in 10 000 records are a copy of the original of one of the records just before |
//! | 5 | event id: `h` |
//!
//! Event time is `t0 + i * span / n - delay`. A delay is below 27 s and a copy trails its original by at most 2.5 s, so a
//! watermark bound of 30 s drops nothing within one partition by user.
//!
//! Invariant: equal to the published definition to the byte; the tests hold it to its checksums.

use crate::zipf::Zipf;

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
/// Events a day at the density of the benchmark.
const EVENTS_PER_DAY: u64 = 20_000_000;
const SECONDS_PER_DAY: u64 = 86_400;

/// What defines a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub events: u64,
    pub seed: u64,
    pub users: u32,
    pub products: u32,
    pub span_s: u64,
    pub late_ms: u64,
    /// Duplicates in 10 000 records.
    pub dup_bp: u64,
    /// The time of the first record before its delay, ms.
    pub t0: i64,
}

impl Settings {
    /// `events` of the default dataset's users spread over a day.
    #[must_use]
    pub fn over_a_day(events: u64) -> Settings {
        Settings {
            events,
            seed: 42,
            users: 100_000,
            products: 20_000,
            span_s: SECONDS_PER_DAY,
            late_ms: 27_000,
            dup_bp: 100,
            t0: 1_700_006_400_000,
        }
    }

    /// `events` at the benchmark's density of 20 M a day; at least a second.
    #[must_use]
    pub fn at_density(events: u64) -> Settings {
        let span_s = u128::from(SECONDS_PER_DAY) * u128::from(events) / u128::from(EVENTS_PER_DAY);
        Settings { span_s: (span_s as u64).max(1), ..Settings::over_a_day(events) }
    }
}

/// What a user did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ClickType {
    View = 0,
    Click = 1,
    Cart = 2,
    Purchase = 3,
}

impl ClickType {
    pub const ALL: [ClickType; 4] = [ClickType::View, ClickType::Click, ClickType::Cart, ClickType::Purchase];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ClickType::View => "view",
            ClickType::Click => "click",
            ClickType::Cart => "cart",
            ClickType::Purchase => "purchase",
        }
    }
}

/// One record of the dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClickRecord {
    pub event_id: u64,
    pub ts_ms: i64,
    pub user_id: u32,
    pub product_id: u32,
    pub kind: ClickType,
}

impl ClickRecord {
    /// The bytes that the dataset's checksum is made of.
    #[must_use]
    pub fn packed(&self) -> [u8; 32] {
        let mut bytes = [0u8; 32];
        bytes[0..8].copy_from_slice(&self.event_id.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.ts_ms.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.user_id.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.product_id.to_le_bytes());
        bytes[24] = self.kind as u8;
        bytes
    }
}

/// A dataset: a few tables, no records in memory.
pub struct Clickstream {
    settings: Settings,
    zipf: Zipf,
    base: u64,
    span_ms: u64,
    dup_distance: u64,
}

impl Clickstream {
    /// # Panics
    /// If the settings hold no user or product, or so many events that an index times the span overflows 64 bits.
    #[must_use]
    pub fn new(settings: Settings) -> Clickstream {
        assert!(settings.products > 0 && settings.span_s > 0 && settings.late_ms > 0, "empty settings: {settings:?}");
        let span_ms = settings.span_s * 1_000;
        assert!(settings.events.checked_mul(span_ms).is_some_and(|top| top < 1 << 63), "too many events: {settings:?}");
        let dup_distance = (2.5 * settings.events as f64 / settings.span_s as f64) as u64;
        Clickstream {
            zipf: Zipf::new(settings.users),
            base: settings.seed.wrapping_mul(GOLDEN),
            span_ms,
            dup_distance: dup_distance.clamp(1, 500),
            settings,
        }
    }

    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    #[must_use]
    pub fn len(&self) -> u64 {
        self.settings.events
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.settings.events == 0
    }

    /// How many records back a duplicate's original lies at most.
    #[must_use]
    pub fn dup_distance(&self) -> u64 {
        self.dup_distance
    }

    /// No record from `index` on is of an event time before this; it grows with `index`.
    #[must_use]
    pub fn earliest_from(&self, index: u64) -> i64 {
        let origin = index.saturating_sub(self.dup_distance);
        let sent = origin * self.span_ms / self.settings.events.max(1);
        self.settings.t0 + sent as i64 - self.settings.late_ms.max(500) as i64
    }

    #[inline]
    fn hash(&self, index: u64, field: u64) -> u64 {
        splitmix64(self.base.wrapping_add(index.wrapping_mul(8)).wrapping_add(field))
    }

    /// The index whose original record `index` carries: its own unless it is a duplicate.
    #[must_use]
    #[inline]
    pub fn original(&self, index: u64) -> u64 {
        let hash = self.hash(index, 4);
        if hash % 10_000 >= self.settings.dup_bp {
            return index;
        }
        let back = 1 + (hash >> 16) % self.dup_distance;
        if index >= back { index - back } else { index }
    }

    /// The record at `index` in arrival order.
    #[must_use]
    #[inline]
    pub fn record(&self, index: u64) -> ClickRecord {
        let origin = self.original(index);
        let delay = self.hash(origin, 3);
        let most = if delay % 10 < 3 { self.settings.late_ms } else { 500 };
        let delay = (delay >> 8) % most;
        let sent = origin * self.span_ms / self.settings.events;
        ClickRecord {
            event_id: self.hash(origin, 5),
            ts_ms: self.settings.t0 + sent as i64 - delay as i64,
            user_id: self.zipf.rank(self.hash(origin, 0) >> 11),
            product_id: (self.hash(origin, 1) % u64::from(self.settings.products)) as u32,
            kind: match self.hash(origin, 2) % 100 {
                0..70 => ClickType::View,
                70..88 => ClickType::Click,
                88..97 => ClickType::Cart,
                _ => ClickType::Purchase,
            },
        }
    }

    /// All records in arrival order.
    pub fn iter(&self) -> impl Iterator<Item = ClickRecord> + '_ {
        (0..self.len()).map(|index| self.record(index))
    }
}

/// Mixes 64 bits; a bijection, so event ids of different indexes differ.
#[inline]
fn splitmix64(x: u64) -> u64 {
    let z = x.wrapping_add(GOLDEN);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::{Clickstream, Settings};
    use sha2::{Digest, Sha256};

    fn checksum(settings: Settings) -> String {
        let stream = Clickstream::new(settings);
        let mut hash = Sha256::new();
        for record in stream.iter() {
            hash.update(record.packed());
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_million_records_have_the_published_checksum() {
        let expected = "af0432e08cfe86e3a6410c4fcc3d4cf01c92d401043643124a6924c8be28d1cf";
        assert_eq!(checksum(Settings::over_a_day(1_000_000)), expected);
    }

    #[test]
    fn five_million_records_at_the_benchmarks_density_have_the_published_checksum() {
        let settings = Settings::at_density(5_000_000);
        assert_eq!(settings.span_s, 21_600);
        assert_eq!(checksum(settings), "749650392bee5eb21ce79872a4c9388eb93d2de6f5f927e565a80662a088d968");
    }

    #[test]
    #[ignore = "a second or more, and the five million above walk the same code"]
    fn twenty_million_records_have_the_published_checksum() {
        let settings = Settings::at_density(20_000_000);
        assert_eq!(checksum(settings), "94d6d93e5bb691e8fd88e9a80967128739eb7cbfc09a479c2752a9847b312457");
    }

    #[test]
    fn duplicates_trail_their_original_by_less_than_the_bound() {
        let stream = Clickstream::new(Settings::at_density(200_000));
        let copies = (0..stream.len()).filter(|index| stream.original(*index) != *index).count();
        assert!((1_800..2_200).contains(&copies), "{copies} of 200 000 are duplicates");
        let mut highest = i64::MIN;
        for record in stream.iter() {
            assert!(
                record.ts_ms > highest.saturating_sub(30_000),
                "{record:?} is late by the bound; highest {highest}"
            );
            highest = highest.max(record.ts_ms);
        }
    }
}
