//! Whether a plan can be run by a workload: its shape, and the time that a replay may start at.
//!
//! In: a plan, the workload's pipeline, the events that it is run on. Out: nothing, or what does not fit.
//!
//! With deduplication a start at a time is exact if copies lie close together: records of a partition that share an id lie at
//! most the horizon of event time apart (premise (c) in `engine/src/stream/start.rs`). A generator need not keep to it: one
//! that sends a value again, whenever, sends its id again. So it is asked of the events themselves.
//!
//! Invariant: a replay is started at a time only where that is exact; everywhere else at offset 0.

use std::collections::BTreeMap;

use engine::record::Record;
use engine::schema::Schema;
use engine::stream::Pipeline;
use engine::types::{Offset, Timestamp};

use super::{Plan, PlanError};
use crate::workload::{SourceEvent, Workload};

impl Plan {
    /// # Errors
    /// If the workload's pipeline cannot have this shape, or not start at the time that the plan names.
    pub fn fits(&self, workload: &dyn Workload) -> Result<(), PlanError> {
        let pipeline = workload
            .pipeline(&self.shape)
            .map_err(|error| PlanError::Invalid(format!("{} cannot have this shape: {error}", self.pipeline)))?;
        match self.replay.from {
            Some(_) if pipeline.horizon().is_some() => {
                self.may_start_at_a_time(workload, &pipeline, &self.source_events(workload))
            }
            _ => Ok(()),
        }
    }

    /// # Errors
    /// If a version that starts at a time need not agree with one that starts at offset 0.
    pub(crate) fn may_start_at_a_time(
        &self,
        workload: &dyn Workload,
        pipeline: &Pipeline,
        events: &[SourceEvent],
    ) -> Result<(), PlanError> {
        let Some(horizon) = pipeline.horizon() else { return Ok(()) };
        let mut schemas = workload.schemas();
        schemas.extend(self.schemas.iter().cloned());
        let writers: Vec<Schema> = schemas.iter().filter_map(|json| Schema::parse(json).ok()).collect();
        // By partition and id: the first event time and the last.
        let mut times: BTreeMap<(i32, u128), (i64, i64)> = BTreeMap::new();
        for event in events.iter().filter(|event| event.watermark().is_none()) {
            let record = Record {
                offset: Offset(0),
                timestamp: Timestamp(event.timestamp),
                key: event.key.as_deref(),
                value: event.value.as_deref(),
                raw_headers: &[],
            };
            let Ok(Some(reading)) = pipeline.read(&record, &writers) else { continue };
            let Some(id) = reading.id else { continue };
            let at = event.timestamp;
            let (first, last) = times.entry((event.partition, id)).or_insert((at, at));
            (*first, *last) = (at.min(*first), at.max(*last));
            let apart = last.saturating_sub(*first);
            if apart > horizon.0 {
                return Err(PlanError::Invalid(format!(
                    "replay.from: {} drops copies within {} ms of event time, and partition {} has two events with one id \
                     that lie {apart} ms apart: a replay that starts at a time may not know the earlier; leave \
                     [replay.from] out, or bring them together",
                    self.pipeline, horizon.0, event.partition
                )));
            }
        }
        Ok(())
    }
}
