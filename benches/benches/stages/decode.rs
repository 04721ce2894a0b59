//! What a click's value costs to read.
//!
//! The values are those of the measured clickstream, in memory, one after another. In a group `decode/<writer>`:
//! `id`, `type` and `nothing` are what the pipelines read where the source is keyed by user, `row` is every field
//! as a slot, `click` is a click with a user of its own; `serde_avro_fast` and `apache-avro` are other decoders of the same
//! values. Writers: `current`; `old`, whose field names, number types and symbols differ; `padded`, with 200 bytes that no
//! reader wants.

use criterion::{Criterion, Throughput};
use std::hint::black_box;

use engine::schema::Schema;
use engine::schema::decode::{Decoders, Slot};
use serde::Deserialize;
use workloads::click::{Click, ClickVersion, ClickView, FRAME_BYTES};
use workloads::clickstream::{Clickstream, Settings};

const EVENTS: usize = 100_000;
const PADDING: usize = 200;

/// Framed values, one behind the other as in a batch.
struct Values {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Values {
    fn of(version: ClickVersion) -> Values {
        let (mut bytes, mut ends, mut key) = (Vec::new(), Vec::new(), Vec::new());
        for record in Clickstream::new(Settings::at_density(EVENTS as u64)).iter() {
            key.clear();
            match version {
                ClickVersion::Current => Click::encode_record(&record, true, &mut key, &mut bytes),
                ClickVersion::Referred => Click::encode_padded(&record, PADDING, true, &mut key, &mut bytes),
                ClickVersion::Old => Click::from(record).encode_as(version, "", &mut bytes),
            }
            ends.push(bytes.len());
        }
        Values { bytes, ends }
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let begins = [0].into_iter().chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, end)| &self.bytes[begin..*end])
    }
}

fn decoders(view: ClickView, version: ClickVersion) -> Decoders {
    let mut decoders = view.decoders().expect("the schemas are valid");
    decoders.learn(&Schema::parse(version.schema()).expect("a valid schema"));
    decoders
}

/// Reads all values into rows of `N` slots and adds up what they hold, so that nothing is left out.
fn rows<const N: usize>(values: &Values, decoders: &Decoders) -> u64 {
    let mut sum = 0u64;
    for value in values.iter() {
        let mut row = [Slot::Null; N];
        decoders.decode(value, &mut row).expect("a click");
        for slot in &row {
            sum = sum.wrapping_add(match slot {
                Slot::Long(value) => *value as u64,
                Slot::Enum(value) => u64::from(*value),
                Slot::String(text) => text.len() as u64,
                _ => 1,
            });
        }
        sum = sum.wrapping_add(1);
    }
    sum
}

fn clicks(values: &Values, decoders: &Decoders) -> u64 {
    let mut sum = 0u64;
    for value in values.iter() {
        let mut row = [Slot::Null; 5];
        decoders.decode(value, &mut row).expect("a click");
        let click = black_box(Click::from_row(&row));
        sum = sum.wrapping_add(click.event_id);
    }
    sum
}

#[derive(Deserialize)]
struct SerdeClick<'a> {
    event_id: i64,
    ts: i64,
    #[serde(alias = "user")]
    user_id: &'a str,
    product_id: i64,
    #[serde(rename = "type")]
    kind: SerdeKind,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SerdeKind {
    View,
    Click,
    Cart,
    Purchase,
}

fn serde_avro_fast(values: &Values, schema: &Schema) -> i64 {
    let mut sum = 0i64;
    for value in values.iter() {
        let click: SerdeClick<'_> = schema.decode(value).expect("a click");
        let user = click.user_id.len() as i64;
        sum = sum.wrapping_add(click.event_id ^ click.ts ^ click.product_id ^ user ^ click.kind as i64);
    }
    sum
}

fn apache_avro(values: &Values, writer: &apache_avro::Schema, reader: &apache_avro::Schema) -> usize {
    let mut fields = 0;
    for value in values.iter().take(EVENTS / 100) {
        let read = apache_avro::from_avro_datum(writer, &mut &value[FRAME_BYTES..], Some(reader)).expect("a click");
        if let apache_avro::types::Value::Record(read) = black_box(read) {
            fields += read.len();
        }
    }
    fields
}

pub fn decode(criterion: &mut Criterion) {
    for (name, version) in
        [("current", ClickVersion::Current), ("old", ClickVersion::Old), ("padded", ClickVersion::Referred)]
    {
        let values = Values::of(version);
        let mut group = criterion.benchmark_group(format!("decode/{name}"));
        group.sample_size(30).throughput(Throughput::Elements(EVENTS as u64));
        let view = |view| decoders(view, version);
        group.bench_function("nothing", |bencher| {
            let decoders = view(ClickView::Nothing);
            bencher.iter(|| rows::<0>(&values, &decoders));
        });
        group.bench_function("id", |bencher| {
            let decoders = view(ClickView::Id);
            bencher.iter(|| rows::<1>(&values, &decoders));
        });
        group.bench_function("type", |bencher| {
            let decoders = view(ClickView::Type);
            bencher.iter(|| rows::<1>(&values, &decoders));
        });
        group.bench_function("row", |bencher| {
            let decoders = view(ClickView::Whole);
            bencher.iter(|| rows::<5>(&values, &decoders));
        });
        group.bench_function("click", |bencher| {
            let decoders = view(ClickView::Whole);
            bencher.iter(|| clicks(&values, &decoders));
        });
        group.bench_function("serde_avro_fast", |bencher| {
            let schema = Schema::parse(version.schema()).expect("a valid schema");
            bencher.iter(|| serde_avro_fast(&values, &schema));
        });
        group.sample_size(10).throughput(Throughput::Elements(EVENTS as u64 / 100));
        group.bench_function("apache-avro", |bencher| {
            let parse = |json| apache_avro::Schema::parse_str(json).expect("a valid schema");
            // It knows no aliases: the old writer's values are read under their own names.
            let (writer, reader) = (parse(version.schema()), parse(version.schema()));
            bencher.iter(|| apache_avro(&values, &writer, &reader));
        });
        group.finish();
    }
}
