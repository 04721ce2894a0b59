//! What a replay of the dataset must add up to, computed from the generator alone.

use std::collections::BTreeMap;

use workloads::clickstream::{Clickstream, Settings};
use workloads::expected::sums;

const SESSION_GAP_MS: i64 = 30 * 60_000;
const MINUTE_MS: i64 = 60_000;

/// The sums of the pipeline's final panes over `events` generated events; `None` for a pipeline that is none of the
/// clickstream's.
pub fn expected(pipeline: &str, events: u64) -> Option<BTreeMap<String, i64>> {
    let stream = Clickstream::new(Settings::at_density(events));
    let minutes = |unique| {
        let sums = sums::minutes(&stream, MINUTE_MS, unique);
        vec![("panes", sums.panes), ("events", sums.events), ("max_events", sums.max_events)]
    };
    let sums = match pipeline {
        "clickstream-sessions" => {
            let sums = sums::sessions(&stream, SESSION_GAP_MS);
            vec![("sessions", sums.sessions), ("events", sums.events), ("duration_ms", sums.duration_ms)]
        }
        "clickstream-minutes" => minutes(false),
        "clickstream-unique-minutes" => minutes(true),
        _ => return None,
    };
    Some(sums.into_iter().map(|(name, sum)| (name.to_owned(), sum as i64)).collect())
}
