//! Values in Avro: what a schema's id is, how a value is framed, and where schemas are kept.
//!
//! A value is `0x00`, the schema's id as i32 big-endian, and the Avro datum: Confluent's framing. The id is the low 31 bits
//! of the Rabin fingerprint of the schema's canonical form, so that it needs no counter that writers would have to agree
//! on. The topic `_schemas` maps ids to schemas; a schema is in it before the first value that names it.
//!
//! - [`Schema`]: parse, id, encode, decode. [`Encoder`]: encode many values without allocating for each.
//! - [`decode`]: the hot path: an old or new writer's values as rows of the reader's schema, without allocating.
//! - [`canonical`]: the canonical form and its fingerprint, by the specification.
//! - [`SchemaRegistry`]: the topic.

pub mod canonical;
pub mod decode;
mod registry;
mod shape;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_avro_fast::ser::SerializerConfig;

use crate::client::ClientError;
pub use registry::{SCHEMAS_TOPIC, SchemaRegistry};

/// The low 31 bits of a fingerprint, so that it is never negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemaId(pub i32);

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What is wrong with a schema or a value.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SchemaError {
    #[error("not an Avro schema: {0}")]
    Invalid(String),
    #[error("a value of {found} bytes is too short for a frame")]
    Short { found: usize },
    #[error("a value begins with {found:#04x}, not with the magic 0x00")]
    Magic { found: u8 },
    #[error("a value of schema {found} where schema {expected} is expected")]
    OtherSchema { expected: SchemaId, found: SchemaId },
    #[error("the value does not fit its schema: {0}")]
    Value(String),
    #[error("schema id {id} means two schemas:\n  {ours}\n  {theirs}")]
    Conflict { id: SchemaId, ours: String, theirs: String },
    #[error("record {offset} of {SCHEMAS_TOPIC} is not a schema: {reason}")]
    Registry { offset: crate::types::Offset, reason: String },
    #[error(transparent)]
    Incompatible(#[from] decode::Incompatible),
    #[error(transparent)]
    Client(#[from] ClientError),
}

const MAGIC: u8 = 0;
const FRAME_BYTES: usize = 5;

/// An Avro schema; cheap to clone.
#[derive(Clone)]
pub struct Schema {
    inner: Arc<Inner>,
}

struct Inner {
    id: SchemaId,
    fingerprint: u64,
    canonical: String,
    meaning: String,
    json: String,
    avro: serde_avro_fast::Schema,
}

impl Schema {
    /// # Errors
    /// When `json` is not an Avro schema.
    pub fn parse(json: &str) -> Result<Schema, SchemaError> {
        let invalid = |error: String| SchemaError::Invalid(error);
        let avro: serde_avro_fast::Schema = json.parse().map_err(|error| invalid(format!("{error}")))?;
        let value: serde_json::Value = serde_json::from_str(json).map_err(|error| invalid(error.to_string()))?;
        let canonical = canonical::canonical_form(&value).map_err(invalid)?;
        let meaning = canonical::meaning(&value).map_err(invalid)?;
        let fingerprint = canonical::fingerprint(canonical.as_bytes());
        let id = SchemaId((fingerprint & 0x7fff_ffff) as i32);
        Ok(Schema { inner: Arc::new(Inner { id, fingerprint, canonical, meaning, json: value.to_string(), avro }) })
    }

    pub fn id(&self) -> SchemaId {
        self.inner.id
    }

    /// CRC-64-AVRO of the canonical form.
    pub fn fingerprint(&self) -> u64 {
        self.inner.fingerprint
    }

    /// The parsing canonical form.
    pub fn canonical(&self) -> &str {
        &self.inner.canonical
    }

    /// As it was given, without white space.
    pub fn json(&self) -> &str {
        &self.inner.json
    }

    /// Whether both read the same values the same way: the canonical forms are equal, and so are the logical types.
    pub fn means_the_same(&self, other: &Schema) -> bool {
        self.inner.meaning == other.inner.meaning
    }

    /// Appends `value`, framed, to `out`; on an error `out` is as it was. Where many values are written, an [`Encoder`]
    /// keeps its buffers.
    pub fn encode<T: Serialize + ?Sized>(&self, value: &T, out: &mut Vec<u8>) -> Result<(), SchemaError> {
        self.encoder().encode(value, out)
    }

    /// To write many values.
    pub fn encoder(&self) -> Encoder<'_> {
        Encoder { id: self.inner.id, config: SerializerConfig::new(&self.inner.avro) }
    }

    /// Reads a framed value that was written with this very schema. Strings and bytes may borrow from `framed`.
    pub fn decode<'a, T: Deserialize<'a>>(&self, framed: &'a [u8]) -> Result<T, SchemaError> {
        let (found, datum) = unframe(framed)?;
        if found != self.inner.id {
            return Err(SchemaError::OtherSchema { expected: self.inner.id, found });
        }
        self.decode_datum(datum)
    }

    /// Reads what follows the frame.
    pub fn decode_datum<'a, T: Deserialize<'a>>(&self, datum: &'a [u8]) -> Result<T, SchemaError> {
        let mut state = serde_avro_fast::de::DeserializerState::from_slice(datum, &self.inner.avro);
        let value = T::deserialize(state.deserializer()).map_err(|error| SchemaError::Value(error.to_string()))?;
        let mut rest = state.into_reader();
        match std::io::BufRead::fill_buf(&mut rest) {
            Ok([]) => Ok(value),
            Ok(rest) => Err(SchemaError::Value(format!("{} bytes follow it", rest.len()))),
            Err(error) => Err(SchemaError::Value(error.to_string())),
        }
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Schema) -> bool {
        self.means_the_same(other)
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schema").field("id", &self.inner.id).field("json", &self.inner.json).finish()
    }
}

/// Writes many values of one schema; keeps its buffers.
pub struct Encoder<'s> {
    id: SchemaId,
    config: SerializerConfig<'s>,
}

impl Encoder<'_> {
    /// Appends `value`, framed, to `out`; on an error `out` is as it was.
    pub fn encode<T: Serialize + ?Sized>(&mut self, value: &T, out: &mut Vec<u8>) -> Result<(), SchemaError> {
        let before = out.len();
        frame(self.id, out);
        match serde_avro_fast::to_datum(value, &mut *out, &mut self.config) {
            Ok(_) => Ok(()),
            Err(error) => {
                out.truncate(before);
                Err(SchemaError::Value(error.to_string()))
            }
        }
    }
}

/// Appends the frame; the datum follows.
pub fn frame(id: SchemaId, out: &mut Vec<u8>) {
    out.push(MAGIC);
    out.extend_from_slice(&id.0.to_be_bytes());
}

/// The id and the datum of a framed value.
pub fn unframe(framed: &[u8]) -> Result<(SchemaId, &[u8]), SchemaError> {
    let Some((frame, datum)) = framed.split_first_chunk::<FRAME_BYTES>() else {
        return Err(SchemaError::Short { found: framed.len() });
    };
    if frame[0] != MAGIC {
        return Err(SchemaError::Magic { found: frame[0] });
    }
    Ok((SchemaId(i32::from_be_bytes([frame[1], frame[2], frame[3], frame[4]])), datum))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLICK: &str = r#"{"type":"record","name":"Click","namespace":"segno","fields":[
        {"name":"event_id","type":"long"},
        {"name":"ts","type":{"type":"long","logicalType":"timestamp-millis"}},
        {"name":"user_id","type":"string"},
        {"name":"type","type":{"type":"enum","name":"Kind","symbols":["view","cart","buy"]}}]}"#;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Click<'a> {
        event_id: i64,
        ts: i64,
        user_id: &'a str,
        r#type: Kind,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        View,
        Cart,
        Buy,
    }

    #[test]
    fn a_value_is_framed_and_read_back_without_copying() {
        let schema = Schema::parse(CLICK).expect("a schema");
        assert_eq!(Kind::View as i32, 0);
        let click = Click { event_id: -5, ts: 1_700_000_000_000, user_id: "user-1", r#type: Kind::Cart };
        let mut out = vec![9];
        schema.encode(&click, &mut out).expect("fits");
        assert_eq!(out[1], 0);
        assert_eq!(out[2..6], schema.id().0.to_be_bytes());
        let read: Click<'_> = schema.decode(&out[1..]).expect("reads");
        assert_eq!(read, click);
        assert!(out.as_ptr_range().contains(&read.user_id.as_ptr()), "the string is borrowed");
    }

    #[test]
    fn an_encoder_writes_what_apache_avro_reads() {
        let schema = Schema::parse(CLICK).expect("a schema");
        let theirs = apache_avro::Schema::parse_str(CLICK).expect("a schema");
        let mut encoder = schema.encoder();
        let mut out = Vec::new();
        for event_id in [0, -1, i64::MAX, i64::MIN] {
            out.clear();
            encoder.encode(&Click { event_id, ts: 1, user_id: "ü", r#type: Kind::Buy }, &mut out).expect("fits");
            let value = apache_avro::from_avro_datum(&theirs, &mut &out[5..], None).expect("reads");
            let apache_avro::types::Value::Record(fields) = value else { panic!("{value:?}") };
            assert_eq!(fields[0].1, apache_avro::types::Value::Long(event_id));
            assert_eq!(fields[2].1, apache_avro::types::Value::String("ü".to_owned()));
            assert_eq!(fields[3].1, apache_avro::types::Value::Enum(2, "buy".to_owned()));
        }
    }

    #[test]
    fn what_does_not_fit_leaves_no_trace() {
        let schema = Schema::parse(r#""long""#).expect("a schema");
        let mut out = vec![1, 2];
        assert!(schema.encode("a string", &mut out).is_err());
        assert_eq!(out, [1, 2]);
    }

    #[test]
    fn a_value_of_another_schema_a_short_one_and_a_longer_one_are_refused() {
        let long = Schema::parse(r#""long""#).expect("a schema");
        let text = Schema::parse(r#""string""#).expect("a schema");
        let mut out = Vec::new();
        long.encode(&7i64, &mut out).expect("fits");
        assert_eq!(
            text.decode::<String>(&out),
            Err(SchemaError::OtherSchema { expected: text.id(), found: long.id() })
        );
        assert_eq!(long.decode::<i64>(&out[..4]), Err(SchemaError::Short { found: 4 }));
        assert!(matches!(long.decode::<i64>(&out[..5]), Err(SchemaError::Value(_))));
        out.push(0);
        assert_eq!(long.decode::<i64>(&out), Err(SchemaError::Value("1 bytes follow it".to_owned())));
        out[0] = 1;
        assert_eq!(long.decode::<i64>(&out), Err(SchemaError::Magic { found: 1 }));
    }
}
