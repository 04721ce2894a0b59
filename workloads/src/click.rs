//! A click on the wire: Avro with the Confluent framing (magic 0, schema id u32 BE, binary), in three schemas.
//!
//! In: a record's bytes. Out: a [`Click`], or as much of one as a pipeline needs, or why not. The engine's decoder does it
//! ([`engine::schema::decode`]); what is here are the schemas that clicks are and were written with, and the readers' views.
//!
//! | writer | differs from today's in |
//! |---|---|
//! | [`ClickVersion::Current`] | nothing |
//! | [`ClickVersion::Old`] | `user_id` was called `user`, `product_id` was an int, the symbols stood in another order |
//! | [`ClickVersion::Referred`] | has a string `referrer` more, which no pipeline reads yet |
//!
//! Invariant: a value that decodes has no byte to spare, whichever of its fields are read; what is encoded decodes to itself.

use compact_str::CompactString;
use engine::schema::decode::{Decoders, Slot, ValueError};
use engine::schema::{Schema, SchemaError};
use engine::stream::{CodecError, PayloadCodec};

use crate::clickstream::ClickRecord;
pub use crate::clickstream::ClickType;

/// The schema of a click. The event id is the bits of a u64.
pub const CLICK_SCHEMA: &str = r#"{"type":"record","name":"Click","namespace":"segno","fields":[{"name":"event_id","type":"long"},{"name":"ts","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"user_id","type":"string"},{"name":"product_id","type":"long"},{"name":"type","type":{"type":"enum","name":"ClickType","symbols":["view","click","cart","purchase"]}}]}"#;
/// The low 31 bits of the Rabin fingerprint of [`CLICK_SCHEMA`]'s canonical form.
pub const CLICK_SCHEMA_ID: u32 = 708_082_593;

/// What clicks were written with before.
pub const CLICK_OLD_SCHEMA: &str = r#"{"type":"record","name":"Click","namespace":"segno","fields":[{"name":"event_id","type":"long"},{"name":"ts","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"user","type":"string"},{"name":"product_id","type":"int"},{"name":"type","type":{"type":"enum","name":"ClickType","symbols":["view","cart","click","purchase"]}}]}"#;
/// Of [`CLICK_OLD_SCHEMA`].
pub const CLICK_OLD_SCHEMA_ID: u32 = 718_150_717;

/// What newer writers write: with a referrer of any length.
pub const CLICK_REFERRED_SCHEMA: &str = r#"{"type":"record","name":"Click","namespace":"segno","fields":[{"name":"event_id","type":"long"},{"name":"ts","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"user_id","type":"string"},{"name":"product_id","type":"long"},{"name":"referrer","type":"string"},{"name":"type","type":{"type":"enum","name":"ClickType","symbols":["view","click","cart","purchase"]}}]}"#;
/// Of [`CLICK_REFERRED_SCHEMA`].
pub const CLICK_REFERRED_SCHEMA_ID: u32 = 848_949_365;

/// All of a click, for who sends it on.
const WHOLE_READER: &str = r#"{"type":"record","name":"Click","namespace":"segno","fields":[{"name":"event_id","type":"long"},{"name":"ts","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"user_id","aliases":["user"],"type":"string"},{"name":"product_id","type":"long"},{"name":"type","type":{"type":"enum","name":"ClickType","symbols":["view","click","cart","purchase"]}}]}"#;
/// Its type, for who has the user from the record's key and the time from the record.
const TYPE_READER: &str = r#"{"type":"record","name":"Click","namespace":"segno","fields":[{"name":"type","type":{"type":"enum","name":"ClickType","symbols":["view","click","cart","purchase"]}}]}"#;
/// Its id alone.
const ID_READER: &str =
    r#"{"type":"record","name":"Click","namespace":"segno","fields":[{"name":"event_id","type":"long"}]}"#;
/// Only whether it is one.
const NOTHING_READER: &str = r#"{"type":"record","name":"Click","namespace":"segno","fields":[]}"#;

/// Magic byte and schema id.
pub const FRAME_BYTES: usize = 5;

/// Which of the schemas a value is written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClickVersion {
    Old,
    Current,
    Referred,
}

impl ClickVersion {
    pub const ALL: [ClickVersion; 3] = [ClickVersion::Old, ClickVersion::Current, ClickVersion::Referred];

    #[must_use]
    pub fn schema(self) -> &'static str {
        match self {
            ClickVersion::Old => CLICK_OLD_SCHEMA,
            ClickVersion::Current => CLICK_SCHEMA,
            ClickVersion::Referred => CLICK_REFERRED_SCHEMA,
        }
    }

    #[must_use]
    pub fn schema_id(self) -> u32 {
        match self {
            ClickVersion::Old => CLICK_OLD_SCHEMA_ID,
            ClickVersion::Current => CLICK_SCHEMA_ID,
            ClickVersion::Referred => CLICK_REFERRED_SCHEMA_ID,
        }
    }
}

/// How much of a click is read. Bytes that are no click are refused by each of them alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClickView {
    /// Five slots: [`Click::from_row`].
    Whole,
    /// One slot: [`kind_of`].
    Type,
    /// One slot: [`id_of`].
    Id,
    /// None.
    Nothing,
}

impl ClickView {
    pub const ALL: [ClickView; 4] = [ClickView::Whole, ClickView::Type, ClickView::Id, ClickView::Nothing];

    /// Reads values of the current schema, and learns others.
    ///
    /// # Errors
    /// Never, as long as the schemas above are.
    pub fn decoders(self) -> Result<Decoders, SchemaError> {
        let reader = match self {
            ClickView::Whole => WHOLE_READER,
            ClickView::Type => TYPE_READER,
            ClickView::Id => ID_READER,
            ClickView::Nothing => NOTHING_READER,
        };
        Ok(Decoders::new(&Schema::parse(CLICK_SCHEMA)?, &Schema::parse(reader)?)?)
    }
}

/// The type in a slot.
#[inline]
#[must_use]
pub fn kind_of(slot: &Slot<'_>) -> ClickType {
    match slot {
        Slot::Enum(0) => ClickType::View,
        Slot::Enum(1) => ClickType::Click,
        Slot::Enum(2) => ClickType::Cart,
        Slot::Enum(3) => ClickType::Purchase,
        other => unreachable!("the reader has four types, not {other:?}"),
    }
}

/// The event id in a slot.
#[inline]
#[must_use]
pub fn id_of(slot: &Slot<'_>) -> u64 {
    match slot {
        Slot::Long(id) => *id as u64,
        other => unreachable!("the reader's event id is a long, not {other:?}"),
    }
}

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
        self.encode_as(ClickVersion::Current, "", out);
    }

    /// Appends the value as a writer of that version would; only the newest has a referrer.
    ///
    /// # Panics
    /// If the old version cannot hold the product id.
    pub fn encode_as(&self, version: ClickVersion, referrer: &str, out: &mut Vec<u8>) {
        frame(version.schema_id(), out);
        put_long(self.event_id as i64, out);
        put_long(self.ts, out);
        put_string(self.user_id.as_bytes(), out);
        put_long(self.product_id, out);
        match version {
            ClickVersion::Old => {
                assert!(i32::try_from(self.product_id).is_ok(), "product {} is no int", self.product_id);
                let old = match self.kind {
                    ClickType::Click => ClickType::Cart,
                    ClickType::Cart => ClickType::Click,
                    same => same,
                };
                put_long(old as i64, out);
            }
            ClickVersion::Current => put_long(self.kind as i64, out),
            ClickVersion::Referred => {
                put_string(referrer.as_bytes(), out);
                put_long(self.kind as i64, out);
            }
        }
    }

    /// Appends the key and the framed value of a record of the measured dataset, as [`record_key`] and [`Click::encode`]
    /// would, without a click in between.
    pub fn encode_record(record: &ClickRecord, by_user: bool, key: &mut Vec<u8>, value: &mut Vec<u8>) {
        Click::encode_version(record, None, by_user, key, value);
    }

    /// As [`Click::encode_record`], by a writer of [`CLICK_REFERRED_SCHEMA`]: with a referrer of `padding` bytes, so that
    /// events of any size can be measured.
    pub fn encode_padded(record: &ClickRecord, padding: usize, by_user: bool, key: &mut Vec<u8>, value: &mut Vec<u8>) {
        Click::encode_version(record, Some(padding), by_user, key, value);
    }

    fn encode_version(
        record: &ClickRecord,
        padding: Option<usize>,
        by_user: bool,
        key: &mut Vec<u8>,
        value: &mut Vec<u8>,
    ) {
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
        frame(if padding.is_some() { CLICK_REFERRED_SCHEMA_ID } else { CLICK_SCHEMA_ID }, value);
        put_long(record.event_id as i64, value);
        put_long(record.ts_ms, value);
        put_string(user, value);
        put_long(i64::from(record.product_id), value);
        if let Some(padding) = padding {
            put_long(padding as i64, value);
            value.extend(REFERRER.iter().cycle().take(padding));
        }
        put_long(record.kind as i64, value);
    }

    /// The row of [`ClickView::Whole`].
    #[inline]
    #[must_use]
    pub fn from_row([event_id, ts, user_id, product_id, kind]: &[Slot<'_>; 5]) -> Click {
        match (ts, user_id, product_id) {
            (Slot::Long(ts), Slot::String(user_id), Slot::Long(product_id)) => Click {
                event_id: id_of(event_id),
                ts: *ts,
                user_id: CompactString::from(*user_id),
                product_id: *product_id,
                kind: kind_of(kind),
            },
            other => unreachable!("the reader's row is otherwise: {other:?}"),
        }
    }
}

const REFERRER: &[u8] = b"https://shop.example/search?q=running+shoes&page=2&";

/// A click on a repartition topic: all of it, in the current schema, whatever it was written with.
#[derive(Clone, Debug)]
pub struct ClickCodec(Decoders);

impl ClickCodec {
    /// # Errors
    /// As [`ClickView::decoders`].
    pub fn new() -> Result<ClickCodec, SchemaError> {
        ClickView::Whole.decoders().map(ClickCodec)
    }

    /// Reads a framed value.
    ///
    /// # Errors
    /// When it is none of the current schema.
    pub fn read(&self, value: &[u8]) -> Result<Click, ValueError> {
        let mut row = [Slot::Null; 5];
        self.0.decode(value, &mut row)?;
        Ok(Click::from_row(&row))
    }
}

impl PayloadCodec<Click> for ClickCodec {
    fn encode(&self, click: &Click, out: &mut Vec<u8>) {
        click.encode(out);
    }

    fn decode(&self, bytes: &[u8]) -> Result<Click, CodecError> {
        self.read(bytes).map_err(|error| CodecError(error.to_string()))
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

#[inline]
fn put_string(text: &[u8], out: &mut Vec<u8>) {
    put_long(text.len() as i64, out);
    out.extend_from_slice(text);
}

/// Takes an Avro long from the front of `left`; `None` where there is none.
#[inline]
pub(crate) fn take_long(left: &mut &[u8]) -> Option<i64> {
    let mut bits = 0u64;
    for (index, byte) in left.iter().take(10).enumerate() {
        if index == 9 && *byte > 1 {
            return None;
        }
        bits |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            *left = &left[index + 1..];
            return Some((bits >> 1) as i64 ^ -((bits & 1) as i64));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use apache_avro::types::Value;
    use apache_avro::{Schema as Theirs, from_avro_datum, to_avro_datum};
    use proptest::prelude::*;
    use serde_avro_fast::schema::SchemaMut;

    fn clicks() -> impl Strategy<Value = Click> {
        (any::<u64>(), any::<i64>(), ".{0,40}", any::<i32>(), 0usize..4).prop_map(
            |(event_id, ts, user_id, product_id, kind)| Click {
                event_id,
                ts,
                user_id: user_id.into(),
                product_id: i64::from(product_id),
                kind: ClickType::ALL[kind],
            },
        )
    }

    fn versions() -> impl Strategy<Value = ClickVersion> {
        prop::sample::select(ClickVersion::ALL.to_vec())
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

    /// Knows every version.
    fn learned(view: ClickView) -> Decoders {
        let mut decoders = view.decoders().expect("the schemas are valid");
        for version in ClickVersion::ALL {
            decoders.learn(&Schema::parse(version.schema()).expect("a valid schema"));
        }
        decoders
    }

    fn read(decoders: &Decoders, value: &[u8]) -> Result<Vec<String>, ValueError> {
        let mut row = vec![Slot::Null; decoders.slots()];
        decoders.decode(value, &mut row).map(|()| row.iter().map(|slot| format!("{slot:?}")).collect())
    }

    #[test]
    fn the_schema_ids_are_the_fingerprints_of_the_schemas() {
        for version in ClickVersion::ALL {
            // Not apache-avro's fingerprint: its canonical form of a logical type is not the specification's.
            let schema: SchemaMut = version.schema().parse().expect("a valid schema");
            let bytes = schema.canonical_form_rabin_fingerprint().expect("a schema without cycles");
            assert_eq!(u64::from_le_bytes(bytes) as u32 & 0x7fff_ffff, version.schema_id(), "{version:?}");
            let schema = Schema::parse(version.schema()).expect("a valid schema");
            assert_eq!(schema.id().0 as u32, version.schema_id(), "{version:?}");
        }
    }

    proptest! {
        #[test]
        fn a_click_decodes_to_itself_and_apache_avro_reads_the_same(click in clicks(), wide: i64) {
            let click = Click { product_id: wide, ..click };
            let mut bytes = Vec::new();
            click.encode(&mut bytes);
            let codec = ClickCodec::new().expect("the schemas are valid");
            prop_assert_eq!(codec.read(&bytes), Ok(click.clone()));
            let schema = Theirs::parse_str(CLICK_SCHEMA).expect("a valid schema");
            let read = from_avro_datum(&schema, &mut &bytes[FRAME_BYTES..], None).expect("valid Avro");
            prop_assert_eq!(read, as_avro(&click));
            prop_assert_eq!(&to_avro_datum(&schema, as_avro(&click)).expect("matches the schema"), &bytes[FRAME_BYTES..]);
        }

        #[test]
        fn every_version_of_a_click_is_the_same_click_to_every_reader(click in clicks(), version in versions(), referrer: String) {
            let mut bytes = Vec::new();
            click.encode_as(version, &referrer, &mut bytes);
            let mut row = [Slot::Null; 5];
            let decoders = learned(ClickView::Whole);
            decoders.decode(&bytes, &mut row).expect("a click");
            prop_assert_eq!(Click::from_row(&row), click.clone());
            let kind = format!("Enum({})", click.kind as u32);
            prop_assert_eq!(read(&learned(ClickView::Type), &bytes), Ok(vec![kind]));
            prop_assert_eq!(read(&learned(ClickView::Id), &bytes), Ok(vec![format!("Long({})", click.event_id as i64)]));
            prop_assert_eq!(read(&learned(ClickView::Nothing), &bytes), Ok(vec![]));
            let written = Theirs::parse_str(version.schema()).expect("a valid schema");
            let mut left = &bytes[FRAME_BYTES..];
            let theirs = from_avro_datum(&written, &mut left, None).expect("valid Avro");
            prop_assert!(left.is_empty());
            let Value::Record(fields) = theirs else { panic!("a click is a record") };
            prop_assert_eq!(&fields.last().expect("the type").1, &{
                let symbols: &[&str] = match version {
                    ClickVersion::Old => &["view", "cart", "click", "purchase"],
                    _ => &["view", "click", "cart", "purchase"],
                };
                let place = symbols.iter().position(|symbol| *symbol == click.kind.name()).expect("a symbol");
                Value::Enum(place as u32, click.kind.name().into())
            });
        }

        #[test]
        fn a_record_of_the_dataset_is_written_as_its_click(
            event_id: u64, ts_ms: i64, user_id: u32, product_id: u32, kind in 0usize..4, by_user: bool, padding in 0usize..300,
        ) {
            let record = ClickRecord { event_id, ts_ms, user_id, product_id, kind: ClickType::ALL[kind] };
            let click = Click::from(record);
            let (mut key, mut value, mut straight) = (Vec::new(), Vec::new(), (Vec::new(), Vec::new()));
            record_key(&click, by_user, &mut key);
            click.encode(&mut value);
            prop_assert_eq!(&key, &if by_user { user_id.to_string() } else { format!("{event_id:016x}") }.into_bytes());
            Click::encode_record(&record, by_user, &mut straight.0, &mut straight.1);
            prop_assert_eq!(&straight, &(key.clone(), value.clone()));
            let mut padded = (Vec::new(), Vec::new());
            Click::encode_padded(&record, padding, by_user, &mut padded.0, &mut padded.1);
            prop_assert_eq!(&padded.0, &key);
            let mut row = [Slot::Null; 5];
            let decoders = learned(ClickView::Whole);
            decoders.decode(&padded.1, &mut row).expect("a click");
            prop_assert_eq!(Click::from_row(&row), click);
            prop_assert!((padding + 1..padding + 3).contains(&(padded.1.len() - value.len())));
        }

        #[test]
        fn no_bytes_make_it_panic_no_prefix_is_a_click_and_all_readers_refuse_the_same(
            click in clicks(), version in versions(), noise: Vec<u8>, cut: prop::sample::Index, flip: u8,
        ) {
            let mut bytes = Vec::new();
            click.encode_as(version, "https://example.org/ü", &mut bytes);
            let mut trailing = bytes.clone();
            trailing.push(0);
            let mut noisy = bytes[..FRAME_BYTES].to_vec();
            noisy.extend_from_slice(&noise);
            let mut flipped = bytes.clone();
            flipped[cut.index(bytes.len())] = flip;
            let whole = learned(ClickView::Whole);
            prop_assert!(read(&whole, &bytes[..cut.index(bytes.len())]).is_err());
            prop_assert_eq!(read(&whole, &trailing), Err(ValueError::Trailing(1)));
            for bytes in [&trailing, &noisy, &flipped] {
                for view in ClickView::ALL {
                    prop_assert_eq!(read(&learned(view), bytes).err(), read(&whole, bytes).err(), "{:?}", view);
                }
            }
        }
    }
}
