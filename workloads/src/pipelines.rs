//! The clickstream's pipelines, each with its input and its answer.
//!
//! In: a shape. Out: a [`Pipeline`] over the topic `clickstream.raw`, and everything else that a [`Workload`] is asked for.
//!
//! | pipeline | computes |
//! |---|---|
//! | `clickstream-sessions` | per user the sessions with a gap of 30 minutes |
//! | `clickstream-minutes` | per user and minute the number of events |
//! | `clickstream-unique-minutes` | the same over distinct event ids |
//! | `clickstream-session-hours` | per outcome and hour the sessions that ended in it, with their events and purchases |
//!
//! The source is keyed by user, or by event; then a repartition topic by user comes in between. Where the source is keyed by
//! user, a click is read no further than the pipeline needs: its user is the record's key and its time the record's. Bytes
//! that are no click are rejected either way; a symbol or a type that only the reader can refuse, only where it is read. Across a repartition topic the whole click goes, in the current schema.
//!
//! The hours are fed by the panes of the sessions, through a topic of their own. A session that grows after its pane is out
//! may change its outcome and its hour: it is taken back there and counted here. Where the source is keyed by user the hours
//! keep sums, from which a session is subtracted; where it is keyed by event they keep the sessions themselves. Either way
//! is one that the engine has, and both must come to the same rows.

use engine::record::Record;
use engine::schema::decode::Slot;
use engine::stream::{DecodeError, PaneRef, Panes, Pipeline, PipelineError, Source};
use engine::types::Millis;
use sim::workload::{Draw, Expected, Knobs, LogRecord, PaneNumbers, Row, RowKey, Shape, SourceEvent, Workload};

use crate::click::{Click, ClickCodec, ClickVersion, ClickView, id_of, kind_of};
use crate::expected::{hours::hours, rows, sessions::sessions, tumbling::counts};
use crate::panes::{
    CountAggregate, HOUR_SCHEMA, HOUR_SCHEMA_ID, HourAggregate, HourPanes, MINUTE_SCHEMA, MINUTE_SCHEMA_ID,
    MinutePanes, SESSION_SCHEMA, SESSION_SCHEMA_ID, SessionAggregate, SessionPanes, SessionState, Typed,
};
use crate::swarm::{self, Subject, Windows};

/// The topic that all of them read.
pub const SOURCE_TOPIC: &str = "clickstream.raw";
/// The longest pause within a session.
pub const SESSION_GAP: Millis = Millis(30 * 60_000);
pub const MINUTE: Millis = Millis(60_000);
pub const HOUR: Millis = Millis(60 * 60_000);
/// How long a copy is recognised, when no lateness is allowed.
pub const DEDUP_HORIZON: Millis = Millis(60_000);

/// Which of the four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClickPipeline {
    Sessions,
    Minutes,
    UniqueMinutes,
    SessionHours,
}

impl ClickPipeline {
    pub const ALL: [ClickPipeline; 4] =
        [ClickPipeline::Sessions, ClickPipeline::Minutes, ClickPipeline::UniqueMinutes, ClickPipeline::SessionHours];

    /// The windows that clicks go into.
    fn windows(self) -> Windows {
        match self {
            ClickPipeline::Sessions | ClickPipeline::SessionHours => Windows::Sessions { gap: SESSION_GAP.0 },
            ClickPipeline::Minutes | ClickPipeline::UniqueMinutes => Windows::Tumbling { size: MINUTE.0 },
        }
    }

    /// The horizon of the deduplication, if there is one. A copy must be recognised for as long as a window takes it, so
    /// allowed lateness lengthens the horizon.
    fn horizon(self, shape: &Shape) -> Option<Millis> {
        (self == ClickPipeline::UniqueMinutes).then(|| ClickPipeline::dedup_horizon(shape))
    }

    fn dedup_horizon(shape: &Shape) -> Millis {
        Millis(DEDUP_HORIZON.0 + shape.allowed_lateness.0)
    }

    fn pane_schema(self) -> &'static str {
        match self {
            ClickPipeline::Sessions => SESSION_SCHEMA,
            ClickPipeline::Minutes | ClickPipeline::UniqueMinutes => MINUTE_SCHEMA,
            ClickPipeline::SessionHours => HOUR_SCHEMA,
        }
    }
}

/// What became of a session: what the hours count it under.
fn outcome(session: &SessionState) -> &'static str {
    let [_, _, _, purchases] = session.kinds;
    match (purchases, session.kinds.iter().sum::<u64>()) {
        (0, 0 | 1) => "bounced",
        (0, _) => "browsed",
        _ => "converted",
    }
}

/// Counts the sessions by outcome and hour.
fn by_hour<T: Typed>(sessions: Panes<SessionAggregate<T>>, shape: &Shape) -> Result<Pipeline, PipelineError> {
    let key =
        |pane: &PaneRef<'_, SessionState>, key: &mut Vec<u8>| key.extend_from_slice(outcome(pane.state).as_bytes());
    // Panes are never late, so there is nothing to wait for when an hour is over.
    let windows = sessions.panes_by("by-outcome", shape.repartitions, key).tumbling(HOUR, Millis(0));
    match shape.keyed_by_record {
        true => windows.aggregate("hours", HourAggregate::<true>).output(HourPanes),
        false => windows.aggregate("hours", HourAggregate::<false>).output(HourPanes),
    }
}

/// The user of a record of a source that is keyed by user.
#[inline]
fn check_user(record: &Record<'_>) -> Result<(), DecodeError> {
    match record.key {
        None => Err(DecodeError("the record has no key".to_owned())),
        Some(key) if key.is_ascii() || std::str::from_utf8(key).is_ok() => Ok(()),
        Some(_) => Err(DecodeError("the key is not UTF-8".to_owned())),
    }
}

impl Workload for ClickPipeline {
    fn name(&self) -> &'static str {
        match self {
            ClickPipeline::Sessions => "clickstream-sessions",
            ClickPipeline::Minutes => "clickstream-minutes",
            ClickPipeline::UniqueMinutes => "clickstream-unique-minutes",
            ClickPipeline::SessionHours => "clickstream-session-hours",
        }
    }

    fn source_topic(&self) -> &'static str {
        SOURCE_TOPIC
    }

    fn schemas(&self) -> Vec<String> {
        let clicks = [ClickVersion::Current, ClickVersion::Old, ClickVersion::Referred];
        let mut schemas: Vec<String> = clicks.map(|version| version.schema().to_owned()).into();
        schemas.push(self.pane_schema().to_owned());
        schemas
    }

    fn pipeline(&self, shape: &Shape) -> Result<Pipeline, PipelineError> {
        let source = Source { topic: SOURCE_TOPIC.into(), partitions: shape.partitions, bound: shape.bound };
        let lateness = shape.allowed_lateness;
        let pipeline = match (self, shape.keyed_by_record) {
            (ClickPipeline::Sessions | ClickPipeline::SessionHours, true) => {
                let types = Pipeline::named(self.name()).avro(source, ClickView::Type.decoders()?, |record, row| {
                    let [kind]: &[Slot<'_>; 1] = row;
                    check_user(record).map(|()| kind_of(kind))
                });
                let windows = types.key_by_record().sessions(SESSION_GAP, lateness);
                let sessions = windows.aggregate("sessions", SessionAggregate::new());
                if *self == ClickPipeline::SessionHours {
                    by_hour(sessions, shape)
                } else {
                    sessions.output(SessionPanes)
                }
            }
            (ClickPipeline::Minutes, true) => {
                let nothing = ClickView::Nothing.decoders()?;
                let events =
                    Pipeline::named(self.name()).avro(source, nothing, |record, _: &[Slot<'_>; 0]| check_user(record));
                let windows = events.key_by_record().tumbling(MINUTE, lateness);
                windows.aggregate("minutes", CountAggregate::new()).output(MinutePanes)
            }
            (ClickPipeline::UniqueMinutes, true) => {
                let ids = Pipeline::named(self.name()).avro(source, ClickView::Id.decoders()?, |record, row| {
                    let [id]: &[Slot<'_>; 1] = row;
                    check_user(record).map(|()| id_of(id))
                });
                let unique = ids.dedup(|id| u128::from(*id), ClickPipeline::dedup_horizon(shape));
                let windows = unique.key_by_record().tumbling(MINUTE, lateness);
                windows.aggregate("minutes", CountAggregate::new()).output(MinutePanes)
            }
            (_, false) => {
                let whole = ClickView::Whole.decoders()?;
                let clicks = Pipeline::named(self.name()).avro(source, whole, |_, row| Ok(Click::from_row(row)));
                let user = |click: &Click, key: &mut Vec<u8>| key.extend_from_slice(click.user_id.as_bytes());
                let (step, repartitions, codec) = ("by-user", shape.repartitions, ClickCodec::new()?);
                match self {
                    ClickPipeline::Sessions | ClickPipeline::SessionHours => {
                        let windows = clicks.key_by(step, repartitions, user, codec).sessions(SESSION_GAP, lateness);
                        let sessions = windows.aggregate("sessions", SessionAggregate::new());
                        match self {
                            ClickPipeline::SessionHours => by_hour(sessions, shape),
                            _ => sessions.output(SessionPanes),
                        }
                    }
                    ClickPipeline::Minutes => {
                        let windows = clicks.key_by(step, repartitions, user, codec).tumbling(MINUTE, lateness);
                        windows.aggregate("minutes", CountAggregate::new()).output(MinutePanes)
                    }
                    ClickPipeline::UniqueMinutes => {
                        let unique =
                            clicks.dedup(|click| u128::from(click.event_id), ClickPipeline::dedup_horizon(shape));
                        let windows = unique.key_by(step, repartitions, user, codec).tumbling(MINUTE, lateness);
                        windows.aggregate("minutes", CountAggregate::new()).output(MinutePanes)
                    }
                }
            }
        }?;
        Ok(pipeline.schema(ClickVersion::Current.schema()).schema(self.pane_schema()))
    }

    fn generate(&self, knobs: &Knobs, shape: &Shape, draw: &mut Draw) -> Vec<SourceEvent> {
        let subject = Subject {
            windows: self.windows(),
            horizon: self.horizon(shape).map(|horizon| horizon.0),
            onward: *self == ClickPipeline::SessionHours,
        };
        swarm::generate(subject, knobs, shape, draw)
    }

    fn expected(&self, shape: &Shape, log: &[LogRecord]) -> Expected {
        match (self, self.windows()) {
            (ClickPipeline::SessionHours, _) => hours(shape, log, SESSION_GAP.0, HOUR.0),
            (_, Windows::Sessions { gap }) => sessions(shape, log, gap),
            (_, Windows::Tumbling { size }) => counts(shape, log, size, self.horizon(shape).map(|horizon| horizon.0)),
        }
    }

    fn row(&self, key: &[u8], value: &[u8]) -> Result<(RowKey, Row), String> {
        match self {
            ClickPipeline::Sessions => rows::session(key, value, SESSION_SCHEMA_ID),
            ClickPipeline::Minutes | ClickPipeline::UniqueMinutes => rows::minute(key, value, MINUTE_SCHEMA_ID),
            ClickPipeline::SessionHours => rows::hour(key, value, HOUR_SCHEMA_ID),
        }
    }

    fn pane_line(&self, key: &[u8], value: &[u8], line: &mut Vec<u8>) -> Result<PaneNumbers, String> {
        match self {
            ClickPipeline::Sessions => rows::session_line(key, value, SESSION_SCHEMA_ID, line),
            ClickPipeline::Minutes | ClickPipeline::UniqueMinutes => {
                rows::minute_line(key, value, MINUTE_SCHEMA_ID, line)
            }
            // There are few of them.
            ClickPipeline::SessionHours => {
                let (_, row) = self.row(key, value)?;
                line.extend_from_slice(self.line(&row).as_bytes());
                Ok(PaneNumbers::of(&row))
            }
        }
    }

    fn fields(&self) -> &'static [&'static str] {
        match self {
            ClickPipeline::Sessions => {
                &["user_id", "first_ms", "last_ms", "events", "views", "clicks", "carts", "purchases"]
            }
            ClickPipeline::Minutes | ClickPipeline::UniqueMinutes => &["user_id", "minute_ms", "events"],
            ClickPipeline::SessionHours => &["outcome", "hour_ms", "sessions", "events", "purchases"],
        }
    }
}
