//! What every record of the source log is: an event with its own watermark, a duplicate, a marker, or undecodable.
//!
//! The rules, each over one partition on its own, in offset order:
//!
//! - The own watermark of a record is the larger of (highest event time before it, less the bound) and (highest marker
//!   before it); there is none before the first.
//! - Every record that decodes moves the watermark by its event time, also a duplicate or a late one. Undecodable records
//!   do not; nor do records whose event time is further than 2^60 ms from 1970, which count as undecodable.
//! - A record is a duplicate iff an earlier kept one has its id and the record's own watermark is below that one's event
//!   time plus the horizon. Duplicates are not kept, so they do not renew it.
//!
//! Invariant: reads only the list; no partition's fate depends on another's.

use std::collections::{BTreeMap, BTreeSet};

use sim::workload::{LogRecord, Shape};

use super::avro::Reader;
use crate::click::{CLICK_OLD_SCHEMA_ID, CLICK_REFERRED_SCHEMA_ID, CLICK_SCHEMA_ID};

/// Event times beyond this on either side are refused.
const EVENT_TIME_MAX: u64 = 1 << 60;

/// A record that the pipeline's windows get to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub partition: i32,
    pub offset: i64,
    /// Event time.
    pub at: i64,
    /// `None` before the first record of its partition: earlier than every time.
    pub own_watermark: Option<i64>,
    /// What it is grouped by.
    pub user: String,
    pub event_id: i64,
    /// The index of its type: view, click, cart, purchase.
    pub kind: i64,
}

impl Event {
    /// The watermark of its partition had not reached `time` when this record came.
    #[must_use]
    pub fn comes_before(&self, time: i64) -> bool {
        self.own_watermark.is_none_or(|watermark| watermark < time)
    }
}

/// The source log, judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    pub events: Vec<Event>,
    pub duplicates: u64,
    pub rejected: u64,
}

/// Judges each record; `horizon` is that of the deduplication by event id, if the pipeline has one.
#[must_use]
pub fn judge(shape: &Shape, log: &[LogRecord], horizon: Option<i64>) -> Judged {
    let mut judged = Judged::default();
    let partitions: BTreeSet<i32> = log.iter().map(|record| record.partition).collect();
    for partition in partitions {
        let mut highest_event: Option<i64> = None;
        let mut highest_marker: Option<i64> = None;
        let mut kept: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for record in log.iter().filter(|record| record.partition == partition) {
            if let Some(watermark) = record.watermark() {
                highest_marker = highest_marker.max(Some(watermark));
                continue;
            }
            let Ok((user, event_id, kind)) = read(shape, record) else {
                judged.rejected += 1;
                continue;
            };
            let own_watermark = highest_event.map(|time| time - shape.bound.0).max(highest_marker);
            let event =
                Event { partition, offset: record.offset, at: record.timestamp, own_watermark, user, event_id, kind };
            highest_event = highest_event.max(Some(record.timestamp));
            if let Some(horizon) = horizon {
                let times = kept.entry(event_id).or_default();
                if times.iter().any(|time| event.comes_before(time + horizon)) {
                    judged.duplicates += 1;
                    continue;
                }
                times.push(event.at);
            }
            judged.events.push(event);
        }
    }
    judged
}

/// (user, event id, type) of a record. The user is the record's key where the source is keyed by it.
fn read(shape: &Shape, record: &LogRecord) -> Result<(String, i64, i64), String> {
    if record.timestamp.unsigned_abs() > EVENT_TIME_MAX {
        return Err(format!("event time {} is out of range", record.timestamp));
    }
    let value = record.value.as_deref().ok_or("no value")?;
    let (schema, mut reader) = Reader::any(value)?;
    let event_id = reader.long()?;
    let _ts = reader.long()?;
    let user = reader.string()?;
    // The three schemas differ in the product's type, in the referrer, and in the order of the types.
    let kinds = match schema {
        CLICK_SCHEMA_ID => {
            let _product = reader.long()?;
            [0, 1, 2, 3]
        }
        CLICK_OLD_SCHEMA_ID => {
            let _product = reader.int()?;
            [0, 2, 1, 3]
        }
        CLICK_REFERRED_SCHEMA_ID => {
            let _product = reader.long()?;
            let _referrer = reader.string()?;
            [0, 1, 2, 3]
        }
        other => return Err(format!("schema {other} is none of clicks")),
    };
    let kind = reader.long()?;
    reader.end()?;
    let place = usize::try_from(kind).ok().and_then(|kind| kinds.get(kind));
    let kind = *place.ok_or_else(|| format!("type {kind} is none of four"))?;
    if !shape.keyed_by_record {
        return Ok((user, event_id, kind));
    }
    let key = record.key.as_deref().ok_or("no key")?;
    Ok((std::str::from_utf8(key).map_err(|e| e.to_string())?.to_owned(), event_id, kind))
}
