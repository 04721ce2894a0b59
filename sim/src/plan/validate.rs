//! Which plans can be run: a plan file is input, and what is wrong with it is said by its field, never by the engine.
//!
//! In: a plan that has been parsed. Out: nothing, or the first field that does not fit, with what would.
//!
//! Invariant: an honest engine comes to rest under every plan that passes. So no wait may be longer than the liveness
//! phase, no deadline shorter than a round trip, and every sum of two moments fits.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use engine::schema::Schema;
use engine::stream::window::EVENT_TIME_MAX;

use super::{Plan, PlanError};
use crate::workload::END_OF_INPUT;

/// No moment of a run is later, and nothing lasts longer.
const DAY_MS: u64 = 24 * 3_600 * 1_000;
/// Waits of the engine end well within the liveness phase.
const WAIT_MS: u64 = 10_000;
/// Event times may be further apart than virtual time is long, but not so far that sums of them overflow.
const EVENT_TIME_MS: i64 = 366 * DAY_MS as i64;

impl Plan {
    /// # Errors
    /// The first thing that cannot be, by its field and with the range that it must be in.
    pub fn validate(&self) -> Result<(), PlanError> {
        self.check().map_err(PlanError::Invalid)
    }

    fn check(&self) -> Result<(), String> {
        let Plan { cluster, shape, engine, knobs, .. } = self;
        if !cluster.embedded && cluster.workers == 0 {
            return Err("cluster.workers is 0 and cluster.embedded false: no host would run a task".into());
        }
        // The cost grows with the cube of hosts.
        within("cluster.workers", cluster.workers, 0..=6)?;
        within("cluster.latency_max_ms", cluster.latency_max_ms, 0..=WAIT_MS)?;
        within("cluster.latency_min_ms", cluster.latency_min_ms, 0..=cluster.latency_max_ms)
            .map_err(|said| format!("{said}, which is cluster.latency_max_ms"))?;
        within("cluster.sync_max_ms", cluster.sync_max_ms, 1..=WAIT_MS)?;
        within("cluster.sync_min_ms", cluster.sync_min_ms, 1..=cluster.sync_max_ms)
            .map_err(|said| format!("{said}, which is cluster.sync_max_ms"))?;
        within("cluster.yield_percent", cluster.yield_percent, 0..=100)?;

        within("shape.partitions", shape.partitions, 1..=64)?;
        within("shape.repartitions", shape.repartitions, 1..=64)?;
        within("shape.bound", shape.bound.0, 0..=EVENT_TIME_MS)?;
        within("shape.allowed_lateness", shape.allowed_lateness.0, 0..=EVENT_TIME_MS)?;

        within("engine.commit_interval_ms", engine.commit_interval_ms, 1..=WAIT_MS)?;
        within("engine.segment_bytes", engine.segment_bytes, 1..=1 << 40)?;
        within("engine.index_interval_bytes", engine.index_interval_bytes, 1..=1 << 30)?;
        within("engine.recovery_point_every_bytes", engine.recovery_point_every_bytes, 1..=1 << 40)?;
        within("engine.fetch_bytes", engine.fetch_bytes, 1..=1 << 30)?;
        within("engine.fetch_wait_ms", engine.fetch_wait_ms, 1..=WAIT_MS)?;
        let round_trip_ms = 2 * (cluster.latency_max_ms + cluster.sync_max_ms);
        let fetch_ms = engine.fetch_wait_ms + 2 * cluster.latency_max_ms;
        let answer_ms = round_trip_ms.max(fetch_ms).max(1);
        if engine.request_timeout_ms < answer_ms {
            return Err(format!(
                "engine.request_timeout_ms is {}; at least {answer_ms}: a fetch may wait for {} ms (engine.fetch_wait_ms), \
                 and a round trip with a sync may take {round_trip_ms} ms (cluster.latency_max_ms, cluster.sync_max_ms)",
                engine.request_timeout_ms, engine.fetch_wait_ms
            ));
        }
        within("engine.request_timeout_ms", engine.request_timeout_ms, 1..=3 * WAIT_MS)?;
        let commit_ms = engine.commit_interval_ms + engine.request_timeout_ms;
        if engine.txn_timeout_ms < commit_ms {
            return Err(format!(
                "engine.txn_timeout_ms is {}; at least {commit_ms}: a transaction is open for {} ms \
                 (engine.commit_interval_ms), and then a request may take {} ms (engine.request_timeout_ms)",
                engine.txn_timeout_ms, engine.commit_interval_ms, engine.request_timeout_ms
            ));
        }
        within("engine.txn_timeout_ms", engine.txn_timeout_ms, 1..=4 * WAIT_MS)?;
        within("engine.flush_bytes", engine.flush_bytes, 1..=1 << 40)?;
        within("engine.internal_log_bytes", engine.internal_log_bytes, 1..=1 << 40)?;
        within("engine.snapshot_every", engine.snapshot_every, 1..=1 << 20)?;
        within("engine.patience_ms", engine.patience_ms, 1..=DAY_MS)?;
        within("engine.batch_events", engine.batch_events, 1..=1 << 20)?;

        within("knobs.events", knobs.events, 0..=1_000_000)?;
        within("knobs.keys", knobs.keys, 1..=1_000_000)?;
        within("knobs.span_ms", knobs.span_ms, 1..=DAY_MS)?;
        if let Some(truncate) = &self.truncate {
            within("truncate.partition", truncate.partition, 0..=shape.partitions - 1)
                .map_err(|said| format!("{said}: shape.partitions is {}", shape.partitions))?;
            within("truncate.per_mille", truncate.per_mille, 0..=1_000)?;
            within("truncate.after_ms", truncate.after_ms.unwrap_or(0), 0..=WAIT_MS)?;
        }
        within("replay.beside_live_ms", self.replay.beside_live_ms.unwrap_or(0), 0..=DAY_MS)?;
        let hosts = cluster.task_hosts().len() as u32;
        within("replay.hosts", self.replay.hosts.unwrap_or(1), 1..=hosts)?;
        if self.replay.twice && self.truncate.is_some() {
            return Err("replay.twice is true beside a [truncate]: each needs the third version for itself".into());
        }
        if let Some(from) = self.replay.from {
            within("replay.from.per_mille", from.per_mille, 0..=1_000)?;
            let reach = EVENT_TIME_MAX;
            within("replay.from.at_ms", from.at_ms.unwrap_or(0), -reach..=reach)?;
        }
        for (index, json) in self.schemas.iter().enumerate() {
            Schema::parse(json).map_err(|error| format!("schemas[{index}] is no Avro schema: {error}"))?;
        }
        self.check_events()?;
        self.check_faults()
    }

    fn check_events(&self) -> Result<(), String> {
        let Some(events) = &self.events else { return Ok(()) };
        let partitions = self.shape.partitions;
        let mut ended = vec![false; partitions as usize];
        let mut ids = BTreeSet::new();
        for (index, event) in events.iter().enumerate() {
            let at = |what: String| format!("event {}: {what}", index + 1);
            within("at_ms", event.at_ms, 0..=DAY_MS).map_err(at)?;
            within("partition", event.partition, 0..=partitions - 1).map_err(at)?;
            let id = event.id.unwrap_or(index as u64 + 1);
            if !ids.insert(id) {
                return Err(at(format!("id is {id}, as of an event before it: a send's id is never used again")));
            }
            let ended = &mut ended[event.partition as usize];
            if *ended {
                return Err(at(format!("partition {} has ended already: its end marker is its last", event.partition)));
            }
            let watermark = event.watermark();
            *ended = watermark == Some(END_OF_INPUT);
            // What a start at a time rests on: it finds its first record by timestamps.
            if let (Some(watermark), Some(_), false) = (watermark, self.replay.from, *ended)
                && event.timestamp != watermark
            {
                return Err(at(format!(
                    "a marker of {watermark} with timestamp {}: beside a replay.from a marker's timestamp is its watermark",
                    event.timestamp
                )));
            }
        }
        match ended.iter().position(|ended| !ended) {
            Some(partition) => Err(format!("the events of partition {partition} do not end with an end marker")),
            None => Ok(()),
        }
    }

    fn check_faults(&self) -> Result<(), String> {
        for (index, spec) in self.faults.iter().enumerate() {
            let at = |what: String| format!("fault {} ({}): {what}", index + 1, spec.kind.0.name());
            within("at_ms", spec.at_ms, 0..=DAY_MS).map_err(at)?;
            within("for_ms", spec.for_ms, 0..=DAY_MS).map_err(at)?;
            if let Some(nth) = spec.nth {
                within("nth", nth, 1..=1_000_000).map_err(at)?;
            }
            for host in [Some(spec.host), spec.peer].into_iter().flatten() {
                if !self.cluster.hosts().contains(&host) {
                    return Err(at(format!("there is no host {host}: cluster.workers is {}", self.cluster.workers)));
                }
            }
            spec.kind.0.validate(spec, &self.cluster).map_err(at)?;
        }
        Ok(())
    }
}

fn within<T: PartialOrd + std::fmt::Display>(field: &str, value: T, range: RangeInclusive<T>) -> Result<(), String> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(format!("{field} is {value}; it must be from {} to {}", range.start(), range.end()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Draw;
    use crate::faults;
    use crate::plan::{FaultSpec, FromTime, Host, Phase, Truncate, TruncateBy};
    use crate::workload::SourceEvent;

    /// A plan that can be run, with one worker and one fault of this kind.
    fn good(kind: &str) -> Plan {
        let mut plan = Plan::expand("p", 3, None);
        (plan.cluster.embedded, plan.cluster.workers) = (true, 1);
        (plan.truncate, plan.replay) = (None, crate::plan::Replay::default());
        let kind = faults::named(kind).unwrap_or_else(|| panic!("no kind {kind}"));
        plan.faults = vec![FaultSpec {
            host: Host::Worker(1),
            peer: Some(Host::Broker),
            ..kind.draw(&mut Draw::new(1, "t"), &plan.cluster, Phase::Live, 1, 1)
        }];
        plan
    }

    /// What is said of `good` with one thing changed, read from its file.
    fn said(kind: &str, change: impl FnOnce(&mut Plan)) -> String {
        let mut plan = good(kind);
        Plan::parse(&plan.to_toml()).unwrap_or_else(|error| panic!("{kind}: {error}"));
        change(&mut plan);
        Plan::parse(&plan.to_toml()).expect_err("it was changed for the worse").to_string()
    }

    #[test]
    fn a_field_out_of_its_range_is_named_with_the_range() {
        let change = |change: fn(&mut Plan)| said("kill", change);
        for (found, begins) in [
            (change(|plan| plan.cluster.workers = 7), "cluster.workers is 7; it must be from 0 to 6"),
            (change(|plan| plan.cluster.yield_percent = 900), "cluster.yield_percent is 900; it must be from 0 to 100"),
            (change(|plan| plan.cluster.sync_min_ms = 0), "cluster.sync_min_ms is 0; it must be from 1 to "),
            (
                change(|plan| (plan.cluster.latency_min_ms, plan.cluster.latency_max_ms) = (50, 5)),
                "cluster.latency_min_ms is 50; it must be from 0 to 5, which is cluster.latency_max_ms",
            ),
            (change(|plan| plan.shape.partitions = 0), "shape.partitions is 0; it must be from 1 to 64"),
            (change(|plan| plan.shape.bound.0 = -5), "shape.bound is -5; it must be from 0 to "),
            (
                change(|plan| plan.shape.allowed_lateness.0 = i64::MAX),
                "shape.allowed_lateness is 9223372036854775807; ",
            ),
            (change(|plan| plan.engine.fetch_bytes = 0), "engine.fetch_bytes is 0; it must be from 1 to "),
            (change(|plan| plan.engine.request_timeout_ms = 0), "engine.request_timeout_ms is 0; at least "),
            (change(|plan| plan.engine.request_timeout_ms = 1 << 40), "engine.request_timeout_ms is 1099511627776; "),
            (change(|plan| plan.engine.txn_timeout_ms = 0), "engine.txn_timeout_ms is 0; at least "),
            (change(|plan| plan.engine.batch_events = 0), "engine.batch_events is 0; it must be from 1 to "),
            (change(|plan| plan.engine.fetch_wait_ms = 0), "engine.fetch_wait_ms is 0; it must be from 1 to 10000"),
            (
                change(|plan| plan.engine.commit_interval_ms = 0),
                "engine.commit_interval_ms is 0; it must be from 1 to ",
            ),
            (change(|plan| plan.engine.segment_bytes = 0), "engine.segment_bytes is 0; it must be from 1 to "),
            (
                change(|plan| {
                    plan.truncate =
                        Some(Truncate { partition: 9, per_mille: 0, by: TruncateBy::Offset, after_ms: None })
                }),
                "truncate.partition is 9; it must be from 0 to ",
            ),
            (change(|plan| plan.knobs.keys = 0), "knobs.keys is 0; it must be from 1 to "),
            (change(|plan| plan.knobs.span_ms = i64::MAX as u64), "knobs.span_ms is 9223372036854775807; "),
            (change(|plan| plan.faults[0].at_ms = i64::MAX as u64), "fault 1 (kill): at_ms is 9223372036854775807; "),
            (
                change(|plan| plan.faults[0].for_ms = DAY_MS + 1),
                "fault 1 (kill): for_ms is 86400001; it must be from 0",
            ),
            (
                change(|plan| plan.faults[0].host = Host::Worker(5)),
                "fault 1 (kill): there is no host worker-5: cluster.workers is 1",
            ),
        ] {
            assert!(found.starts_with(begins), "{found}, not {begins}");
        }
    }

    #[test]
    fn a_fault_of_a_request_needs_a_sender_and_counts_from_one() {
        for kind in ["delayed-request", "duplicated-request", "lost-reply", "orphaned-request"] {
            let found = said(kind, |plan| plan.faults[0].nth = Some(0));
            assert_eq!(found, format!("fault 1 ({kind}): nth is 0; it must be from 1 to 1000000"));
            let found = said(kind, |plan| plan.faults[0].host = Host::Broker);
            assert_eq!(
                found,
                format!("fault 1 ({kind}): `host` sends the request and `peer` is the broker: nobody else is asked")
            );
        }
        let found = said("crash-at-point", |plan| plan.faults[0].nth = Some(0));
        assert_eq!(found, "fault 1 (crash-at-point): nth is 0; it must be from 1 to 1000000");
    }

    #[test]
    fn what_a_fault_needs_is_asked_for_by_its_name() {
        let change = |kind: &str, change: fn(&mut Plan)| said(kind, change);
        for (found, expected) in [
            (
                change("clock-jump", |plan| plan.faults[0].amount = None),
                "fault 1 (clock-jump): `amount` is missing: by how many milliseconds the clock is wrong",
            ),
            (
                change("yield-at-point", |plan| plan.faults[0].amount = Some(0)),
                "fault 1 (yield-at-point): `amount` is 0; how often it yields must be from 1 to 10000",
            ),
            (
                change("pause-at-point", |plan| plan.faults[0].peer = Some(Host::Control)),
                "fault 1 (pause-at-point): `peer` is control, which runs no tasks",
            ),
            (
                change("pause-at-point", |plan| plan.faults[0].point = None),
                "fault 1 (pause-at-point): `point` is missing",
            ),
            (change("kill", |plan| plan.replay.hosts = Some(3)), "replay.hosts is 3; it must be from 1 to 2"),
            (
                change("kill", |plan| {
                    plan.replay.twice = true;
                    plan.truncate = Some(Truncate { partition: 0, per_mille: 0, by: TruncateBy::Size, after_ms: None });
                }),
                "replay.twice is true beside a [truncate]: each needs the third version for itself",
            ),
        ] {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn listed_events_fit_the_partitions_and_end() {
        let events = |events: Vec<SourceEvent>| {
            said("kill", |plan| {
                plan.shape.partitions = 2;
                plan.events = Some(events);
            })
        };
        let end = |partition| SourceEvent::marker(5, partition, END_OF_INPUT);
        assert_eq!(events(vec![end(0)]), "the events of partition 1 do not end with an end marker");
        assert_eq!(events(vec![end(0), end(2)]), "event 2: partition is 2; it must be from 0 to 1");
        assert_eq!(
            events(vec![end(0), SourceEvent::marker(6, 0, 7), end(1)]),
            "event 2: partition 0 has ended already: its end marker is its last"
        );
        let again = SourceEvent { id: Some(1), ..end(1) };
        assert_eq!(
            events(vec![end(0), again]),
            "event 2: id is 1, as of an event before it: a send's id is never used again"
        );
    }

    #[test]
    fn markers_beside_a_replay_from_a_time_have_their_watermark_as_timestamp() {
        let marked = |timestamp, from| {
            let mut plan = good("kill");
            plan.shape.partitions = 1;
            plan.replay.from = from;
            let marker = SourceEvent { timestamp, ..SourceEvent::marker(3, 0, 700) };
            plan.events = Some(vec![marker, SourceEvent::marker(5, 0, END_OF_INPUT)]);
            Plan::parse(&plan.to_toml()).map_err(|error| error.to_string())
        };
        let from = Some(FromTime { per_mille: 0, aligned: false, at_ms: Some(400) });
        assert_eq!(
            marked(300, from).expect_err("it would be passed over"),
            "event 1: a marker of 700 with timestamp 300: beside a replay.from a marker's timestamp is its watermark"
        );
        assert!(marked(700, from).is_ok() && marked(300, None).is_ok());
    }

    #[test]
    fn what_is_drawn_can_be_run() {
        for seed in 0..2_000 {
            let plan = Plan::expand("p", seed, None);
            assert!(plan.validate().is_ok(), "seed {seed}: {:?}", plan.validate());
        }
    }
}
