//! The clickstream's pipelines, each with its input and its answer.
//!
//! In: a shape. Out: a [`Pipeline`] over the topic `clickstream.raw`, and everything else that a [`Workload`] is asked for.
//!
//! | pipeline | computes |
//! |---|---|
//! | `clickstream-sessions` | per user the sessions with a gap of 30 minutes |
//! | `clickstream-minutes` | per user and minute the number of events |
//! | `clickstream-unique-minutes` | the same over distinct event ids |
//!
//! The source is keyed by user, or by event; then a repartition topic by user comes in between.

use engine::record::Record;
use engine::stream::{DecodeError, Pipeline, PipelineError, Source};
use engine::types::Millis;
use sim::workload::{Draw, Expected, Knobs, LogRecord, PaneNumbers, Row, RowKey, Shape, SourceEvent, Workload};

use crate::click::{CLICK_SCHEMA, Click, ClickCodec, ClickError};
use crate::expected::{rows, sessions::sessions, tumbling::counts};
use crate::panes::{
    CountAggregate, MINUTE_SCHEMA, MINUTE_SCHEMA_ID, MinutePanes, SESSION_SCHEMA, SESSION_SCHEMA_ID, SessionAggregate,
    SessionPanes,
};
use crate::swarm::{self, Windows};

/// The topic that all of them read.
pub const SOURCE_TOPIC: &str = "clickstream.raw";
/// The longest pause within a session.
pub const SESSION_GAP: Millis = Millis(30 * 60_000);
pub const MINUTE: Millis = Millis(60_000);
/// How long a copy is recognised, when no lateness is allowed.
pub const DEDUP_HORIZON: Millis = Millis(60_000);

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClickPipeline {
    Sessions,
    Minutes,
    UniqueMinutes,
}

impl ClickPipeline {
    pub const ALL: [ClickPipeline; 3] = [ClickPipeline::Sessions, ClickPipeline::Minutes, ClickPipeline::UniqueMinutes];

    fn windows(self) -> Windows {
        match self {
            ClickPipeline::Sessions => Windows::Sessions { gap: SESSION_GAP.0 },
            ClickPipeline::Minutes | ClickPipeline::UniqueMinutes => Windows::Tumbling { size: MINUTE.0 },
        }
    }

    /// The horizon of the deduplication, if there is one. A copy must be recognised for as long as a window takes it, so
    /// allowed lateness lengthens the horizon.
    fn horizon(self, shape: &Shape) -> Option<Millis> {
        (self == ClickPipeline::UniqueMinutes).then(|| Millis(DEDUP_HORIZON.0 + shape.allowed_lateness.0))
    }
}

fn event_id(click: &Click) -> u128 {
    u128::from(click.event_id)
}

/// A source record as a click.
fn decode(record: &Record<'_>, by_user: bool) -> Result<Click, ClickError> {
    let value = record.value.ok_or(ClickError::Absent("value"))?;
    if by_user {
        let key = record.key.ok_or(ClickError::Absent("key"))?;
        std::str::from_utf8(key).map_err(|_| ClickError::Invalid("key", "UTF-8 string"))?;
    }
    Click::decode(value)
}

impl Workload for ClickPipeline {
    fn name(&self) -> &'static str {
        match self {
            ClickPipeline::Sessions => "clickstream-sessions",
            ClickPipeline::Minutes => "clickstream-minutes",
            ClickPipeline::UniqueMinutes => "clickstream-unique-minutes",
        }
    }

    fn source_topic(&self) -> &'static str {
        SOURCE_TOPIC
    }

    fn schemas(&self) -> Vec<String> {
        let panes = match self {
            ClickPipeline::Sessions => SESSION_SCHEMA,
            ClickPipeline::Minutes | ClickPipeline::UniqueMinutes => MINUTE_SCHEMA,
        };
        vec![CLICK_SCHEMA.to_owned(), panes.to_owned()]
    }

    fn pipeline(&self, shape: &Shape) -> Result<Pipeline, PipelineError> {
        let by_user = shape.keyed_by_record;
        let source = Source { topic: SOURCE_TOPIC.into(), partitions: shape.partitions, bound: shape.bound };
        let clicks = Pipeline::named(self.name())
            .source(source, move |record: &Record<'_>| decode(record, by_user).map_err(|e| DecodeError(e.to_string())));
        let (step, repartitions) = ("by-user", shape.repartitions);
        let user = |click: &Click, key: &mut Vec<u8>| key.extend_from_slice(click.user_id.as_bytes());
        let keyed = match (self.horizon(shape), by_user) {
            (None, true) => clicks.key_by_record(),
            (None, false) => clicks.key_by(step, repartitions, user, ClickCodec),
            (Some(horizon), true) => clicks.dedup(event_id, horizon).key_by_record(),
            (Some(horizon), false) => clicks.dedup(event_id, horizon).key_by(step, repartitions, user, ClickCodec),
        };
        let lateness = shape.allowed_lateness;
        let pipeline = match self {
            ClickPipeline::Sessions => {
                keyed.sessions(SESSION_GAP, lateness).aggregate("sessions", SessionAggregate).output(SessionPanes)
            }
            ClickPipeline::Minutes | ClickPipeline::UniqueMinutes => {
                keyed.tumbling(MINUTE, lateness).aggregate("minutes", CountAggregate).output(MinutePanes)
            }
        }?;
        Ok(self.schemas().into_iter().fold(pipeline, Pipeline::schema))
    }

    fn generate(&self, knobs: &Knobs, shape: &Shape, draw: &mut Draw) -> Vec<SourceEvent> {
        swarm::generate(self.windows(), self.horizon(shape).map(|horizon| horizon.0), knobs, shape, draw)
    }

    fn expected(&self, shape: &Shape, log: &[LogRecord]) -> Expected {
        match self.windows() {
            Windows::Sessions { gap } => sessions(shape, log, gap),
            Windows::Tumbling { size } => counts(shape, log, size, self.horizon(shape).map(|horizon| horizon.0)),
        }
    }

    fn row(&self, key: &[u8], value: &[u8]) -> Result<(RowKey, Row), String> {
        match self {
            ClickPipeline::Sessions => rows::session(key, value, SESSION_SCHEMA_ID),
            ClickPipeline::Minutes | ClickPipeline::UniqueMinutes => rows::minute(key, value, MINUTE_SCHEMA_ID),
        }
    }

    fn pane_line(&self, key: &[u8], value: &[u8], line: &mut Vec<u8>) -> Result<PaneNumbers, String> {
        match self {
            ClickPipeline::Sessions => rows::session_line(key, value, SESSION_SCHEMA_ID, line),
            ClickPipeline::Minutes | ClickPipeline::UniqueMinutes => {
                rows::minute_line(key, value, MINUTE_SCHEMA_ID, line)
            }
        }
    }

    fn fields(&self) -> &'static [&'static str] {
        match self {
            ClickPipeline::Sessions => {
                &["user_id", "first_ms", "last_ms", "events", "views", "clicks", "carts", "purchases"]
            }
            ClickPipeline::Minutes | ClickPipeline::UniqueMinutes => &["user_id", "minute_ms", "events"],
        }
    }
}
