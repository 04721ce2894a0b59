//! A click on the wire: Avro with the Confluent framing (magic 0, schema id u32 BE, binary).
//!
//! In: a record's bytes. Out: a [`Click`], or why not. Hand-written for the one schema, because this is the hot path of
//! every clickstream pipeline; the tests hold it to `apache-avro`.
//!
//! Invariant: a value that decodes has no byte to spare; what is encoded decodes to itself.

use compact_str::CompactString;
use engine::stream::{CodecError, PayloadCodec};

use crate::clickstream::ClickRecord;
pub use crate::clickstream::ClickType;

/// The schema of a click. The event id is the bits of a u64.
pub const CLICK_SCHEMA: &str = r#"{"type":"record","name":"Click","namespace":"segno","fields":[{"name":"event_id","type":"long"},{"name":"ts","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"user_id","type":"string"},{"name":"product_id","type":"long"},{"name":"type","type":{"type":"enum","name":"ClickType","symbols":["view","click","cart","purchase"]}}]}"#;

/// The low 31 bits of the Rabin fingerprint of [`CLICK_SCHEMA`]'s canonical form.
pub const CLICK_SCHEMA_ID: u32 = 708_082_593;

/// Magic byte and schema id.
pub const FRAME_BYTES: usize = 5;

/// One event of the shop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Click {
    pub event_id: u64,
    /// Event time, ms; the same as its record's timestamp.
    pub ts: i64,
    pub user_id: CompactString,
    pub product_id: i64,
    pub kind: ClickType,
}

/// Why bytes are not a click.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClickError {
    #[error("the record has no {0}")]
    Absent(&'static str),
    #[error("{0} bytes are too few for a framed value")]
    Unframed(usize),
    #[error("magic byte {0}, expected 0")]
    Magic(u8),
    #[error("schema id {found}, expected {CLICK_SCHEMA_ID}")]
    Schema { found: u32 },
    #[error("the value ends within {0}")]
    Truncated(&'static str),
    #[error("{0} is not a valid {1}")]
    Invalid(&'static str, &'static str),
    #[error("{0} bytes follow the value")]
    Trailing(usize),
}

impl From<ClickRecord> for Click {
    fn from(record: ClickRecord) -> Click {
        Click {
            event_id: record.event_id,
            ts: record.ts_ms,
            user_id: compact_str::format_compact!("{}", record.user_id),
            product_id: i64::from(record.product_id),
            kind: record.kind,
        }
    }
}

impl Click {
    /// Appends the framed value.
    pub fn encode(&self, out: &mut Vec<u8>) {
        frame(CLICK_SCHEMA_ID, out);
        put_long(self.event_id as i64, out);
        put_long(self.ts, out);
        put_long(self.user_id.len() as i64, out);
        out.extend_from_slice(self.user_id.as_bytes());
        put_long(self.product_id, out);
        put_long(self.kind as i64, out);
    }

    /// Appends the key and the framed value of a record of the measured dataset, as [`record_key`] and [`Click::encode`]
    /// would, without a click in between.
    pub fn encode_record(record: &ClickRecord, by_user: bool, key: &mut Vec<u8>, value: &mut Vec<u8>) {
        let mut digits = [0u8; 10];
        let mut start = digits.len();
        let mut left = record.user_id;
        loop {
            start -= 1;
            digits[start] = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                break;
            }
        }
        let user = &digits[start..];
        if by_user {
            key.extend_from_slice(user);
        } else {
            put_hex(record.event_id, key);
        }
        frame(CLICK_SCHEMA_ID, value);
        put_long(record.event_id as i64, value);
        put_long(record.ts_ms, value);
        put_long(user.len() as i64, value);
        value.extend_from_slice(user);
        put_long(i64::from(record.product_id), value);
        put_long(record.kind as i64, value);
    }

    /// # Errors
    /// [`ClickError`]; never panics.
    pub fn decode(value: &[u8]) -> Result<Click, ClickError> {
        if value.len() < FRAME_BYTES {
            return Err(ClickError::Unframed(value.len()));
        }
        if value[0] != 0 {
            return Err(ClickError::Magic(value[0]));
        }
        let found = u32::from_be_bytes([value[1], value[2], value[3], value[4]]);
        if found != CLICK_SCHEMA_ID {
            return Err(ClickError::Schema { found });
        }
        let mut left = &value[FRAME_BYTES..];
        let event_id = take_long(&mut left, "event_id")? as u64;
        let ts = take_long(&mut left, "ts")?;
        let length = take_long(&mut left, "user_id")?;
        let length = usize::try_from(length).map_err(|_| ClickError::Invalid("user_id", "length"))?;
        if length > left.len() {
            return Err(ClickError::Truncated("user_id"));
        }
        let (user, rest) = left.split_at(length);
        let user_id = CompactString::from_utf8(user).map_err(|_| ClickError::Invalid("user_id", "UTF-8 string"))?;
        left = rest;
        let product_id = take_long(&mut left, "product_id")?;
        let kind = match take_long(&mut left, "type")? {
            0 => ClickType::View,
            1 => ClickType::Click,
            2 => ClickType::Cart,
            3 => ClickType::Purchase,
            _ => return Err(ClickError::Invalid("type", "symbol")),
        };
        if !left.is_empty() {
            return Err(ClickError::Trailing(left.len()));
        }
        Ok(Click { event_id, ts, user_id, product_id, kind })
    }
}

/// A click on a repartition topic: as in the source.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClickCodec;

impl PayloadCodec<Click> for ClickCodec {
    fn encode(&self, click: &Click, out: &mut Vec<u8>) {
        click.encode(out);
    }

    fn decode(&self, bytes: &[u8]) -> Result<Click, CodecError> {
        Click::decode(bytes).map_err(|error| CodecError(error.to_string()))
    }
}

/// A source record's key: the user, or the event when the source is keyed by event (16 hexadecimal digits).
pub fn record_key(click: &Click, by_user: bool, out: &mut Vec<u8>) {
    if by_user {
        out.extend_from_slice(click.user_id.as_bytes());
    } else {
        put_hex(click.event_id, out);
    }
}

/// Appends 16 hexadecimal digits.
pub fn put_hex(value: u64, out: &mut Vec<u8>) {
    out.extend((0..16).rev().map(|digit| b"0123456789abcdef"[(value >> (4 * digit) & 15) as usize]));
}

/// Appends the framing of a value of schema `id`.
pub(crate) fn frame(id: u32, out: &mut Vec<u8>) {
    out.push(0);
    out.extend_from_slice(&id.to_be_bytes());
}

/// Appends an Avro long: zigzag, then seven bits a byte, the lowest first.
#[inline]
pub(crate) fn put_long(value: i64, out: &mut Vec<u8>) {
    let mut left = ((value << 1) ^ (value >> 63)) as u64;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

/// Takes an Avro long from the front of `left`.
#[inline]
pub(crate) fn take_long(left: &mut &[u8], field: &'static str) -> Result<i64, ClickError> {
    let mut bits = 0u64;
    for (index, byte) in left.iter().take(10).enumerate() {
        if index == 9 && *byte > 1 {
            return Err(ClickError::Invalid(field, "long"));
        }
        bits |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            *left = &left[index + 1..];
            return Ok((bits >> 1) as i64 ^ -((bits & 1) as i64));
        }
    }
    Err(ClickError::Truncated(field))
}

#[cfg(test)]
mod tests {
    use super::*;
    use apache_avro::types::Value;
    use apache_avro::{Schema, from_avro_datum, to_avro_datum};
    use proptest::prelude::*;
    use serde_avro_fast::schema::SchemaMut;

    fn clicks() -> impl Strategy<Value = Click> {
        (any::<u64>(), any::<i64>(), ".{0,40}", any::<i64>(), 0usize..4).prop_map(
            |(event_id, ts, user_id, product_id, kind)| Click {
                event_id,
                ts,
                user_id: user_id.into(),
                product_id,
                kind: ClickType::ALL[kind],
            },
        )
    }

    fn as_avro(click: &Click) -> Value {
        Value::Record(vec![
            ("event_id".into(), Value::Long(click.event_id as i64)),
            ("ts".into(), Value::TimestampMillis(click.ts)),
            ("user_id".into(), Value::String(click.user_id.to_string())),
            ("product_id".into(), Value::Long(click.product_id)),
            ("type".into(), Value::Enum(click.kind as u32, click.kind.name().into())),
        ])
    }

    #[test]
    fn the_schema_id_is_the_fingerprint_of_the_schema() {
        // Not apache-avro's fingerprint: its canonical form of a logical type is not the specification's.
        let schema: SchemaMut = CLICK_SCHEMA.parse().expect("a valid schema");
        let bytes = schema.canonical_form_rabin_fingerprint().expect("a schema without cycles");
        assert_eq!(u64::from_le_bytes(bytes) as u32 & 0x7fff_ffff, CLICK_SCHEMA_ID);
        let schema = engine::schema::Schema::parse(CLICK_SCHEMA).expect("a valid schema");
        assert_eq!(schema.id().0 as u32, CLICK_SCHEMA_ID);
    }

    proptest! {
        #[test]
        fn a_click_decodes_to_itself_and_apache_avro_reads_the_same(click in clicks()) {
            let mut bytes = Vec::new();
            click.encode(&mut bytes);
            prop_assert_eq!(Click::decode(&bytes), Ok(click.clone()));
            let schema = Schema::parse_str(CLICK_SCHEMA).expect("a valid schema");
            let read = from_avro_datum(&schema, &mut &bytes[FRAME_BYTES..], None).expect("valid Avro");
            prop_assert_eq!(read, as_avro(&click));
            prop_assert_eq!(&to_avro_datum(&schema, as_avro(&click)).expect("matches the schema"), &bytes[FRAME_BYTES..]);
        }

        #[test]
        fn a_record_of_the_dataset_is_written_as_its_click(
            event_id: u64, ts_ms: i64, user_id: u32, product_id: u32, kind in 0usize..4, by_user: bool,
        ) {
            let record = ClickRecord { event_id, ts_ms, user_id, product_id, kind: ClickType::ALL[kind] };
            let click = Click::from(record);
            let (mut key, mut value, mut straight) = (Vec::new(), Vec::new(), (Vec::new(), Vec::new()));
            record_key(&click, by_user, &mut key);
            click.encode(&mut value);
            prop_assert_eq!(&key, &if by_user { user_id.to_string() } else { format!("{event_id:016x}") }.into_bytes());
            Click::encode_record(&record, by_user, &mut straight.0, &mut straight.1);
            prop_assert_eq!(straight, (key, value));
        }

        #[test]
        fn no_bytes_make_it_panic_and_no_prefix_is_a_click(click in clicks(), noise: Vec<u8>, cut: prop::sample::Index) {
            let mut bytes = Vec::new();
            click.encode(&mut bytes);
            let cut = cut.index(bytes.len());
            prop_assert!(Click::decode(&bytes[..cut]).is_err());
            let mut framed = bytes[..FRAME_BYTES].to_vec();
            framed.extend_from_slice(&noise);
            if let Ok(read) = Click::decode(&framed) {
                let mut again = Vec::new();
                read.encode(&mut again);
                prop_assert!(again.len() <= framed.len());
            }
            bytes.push(0);
            prop_assert_eq!(Click::decode(&bytes), Err(ClickError::Trailing(1)));
        }
    }
}
