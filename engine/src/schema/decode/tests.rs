//! Rows against `apache-avro`'s resolution, over random schemas, evolutions, values and damage.
//!
//! Where the oracle departs from the specification, and ours does not follow:
//!
//! - `from_avro_datum` resolves values, not schemas: it ignores the aliases of fields. It is given the writer's schema with
//!   the reader's names.
//! - It reads a long as an int and a double as a float, by cutting; a string as an enum; a fixed as a string. These pairs are
//!   refused here, as by its own `SchemaCompatibility`.
//! - `SchemaCompatibility` refuses an enum that has a symbol less than the writer's even if it has a default, and a union of
//!   which one branch cannot be read. The specification calls both an error of the value, not of the schema.
//! - It takes a value that ends within a string, a boolean or a union for null, ignores the bits of a number beyond the
//!   64th, and does not look at the size of a block.

use apache_avro::schema_compatibility::SchemaCompatibility;
use apache_avro::types::Value;
use apache_avro::{from_avro_datum, to_avro_datum};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::schema::{Schema, frame};

/// Choices from a list of numbers; the first choice once they run out, so that a shorter list is a simpler case.
#[derive(Debug)]
struct Dice {
    numbers: std::vec::IntoIter<u64>,
    names: usize,
}

impl Dice {
    fn number(&mut self) -> u64 {
        self.numbers.next().unwrap_or(0)
    }

    fn below(&mut self, count: usize) -> usize {
        (self.number() % count as u64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == count - 1
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("N{}", self.names)
    }
}

fn dice() -> impl Strategy<Value = Dice> {
    let number = prop_oneof![4 => 0..1_000u64, 1 => any::<u64>()];
    prop::collection::vec(number, 0..400).prop_map(|numbers| Dice { numbers: numbers.into_iter(), names: 0 })
}

#[derive(Clone, Debug, PartialEq)]
enum Ty {
    Primitive(&'static str),
    Fixed(String, usize),
    Enum(String, Vec<&'static str>, Option<&'static str>),
    Record(String, Vec<(String, Ty)>),
    Array(Box<Ty>),
    Map(Box<Ty>),
    Union(Vec<Ty>),
}

const SCALARS: [&str; 7] = ["long", "string", "int", "boolean", "bytes", "double", "float"];
const SYMBOLS: [&str; 6] = ["A", "B", "C", "D", "E", "F"];

impl Ty {
    fn json(&self) -> Json {
        match self {
            Ty::Primitive(name) => json!(name),
            Ty::Fixed(name, size) => json!({"type": "fixed", "name": name, "size": size}),
            Ty::Enum(name, symbols, None) => json!({"type": "enum", "name": name, "symbols": symbols}),
            Ty::Enum(name, symbols, Some(default)) => {
                json!({"type": "enum", "name": name, "symbols": symbols, "default": default})
            }
            Ty::Record(name, fields) => {
                let fields: Vec<Json> =
                    fields.iter().map(|(name, ty)| json!({"name": name, "type": ty.json()})).collect();
                json!({"type": "record", "name": name, "fields": fields})
            }
            Ty::Array(items) => json!({"type": "array", "items": items.json()}),
            Ty::Map(values) => json!({"type": "map", "values": values.json()}),
            Ty::Union(branches) => branches.iter().map(Ty::json).collect(),
        }
    }

    fn scalar(dice: &mut Dice) -> Ty {
        match dice.below(9) {
            8 => {
                let count = 1 + dice.below(SYMBOLS.len());
                let default = dice.one_in(2).then_some(SYMBOLS[0]);
                Ty::Enum(dice.name(), SYMBOLS[..count].to_vec(), default)
            }
            choice => Ty::Primitive(SCALARS[choice % SCALARS.len()]),
        }
    }

    fn nullable(self, dice: &mut Dice) -> Ty {
        match dice.below(4) {
            0 | 1 => self,
            2 => Ty::Union(vec![Ty::Primitive("null"), self]),
            _ => Ty::Union(vec![self, Ty::Primitive("null")]),
        }
    }

    /// Anything that a writer may have.
    fn any(dice: &mut Dice, depth: usize) -> Ty {
        match dice.below(if depth == 0 { 2 } else { 8 }) {
            0 => Ty::scalar(dice),
            1 => Ty::Fixed(dice.name(), 1 + dice.below(20)),
            2 => Ty::Array(Box::new(Ty::any(dice, depth - 1))),
            3 => Ty::Map(Box::new(Ty::any(dice, depth - 1))),
            4 => {
                let name = dice.name();
                let count = 1 + dice.below(3);
                Ty::Record(name, (0..count).map(|field| (format!("g{field}"), Ty::any(dice, depth - 1))).collect())
            }
            5 => Ty::scalar(dice).nullable(dice),
            _ => {
                // One branch of a kind, and no union in it.
                let mut branches = vec![Ty::Primitive("null"), Ty::Array(Box::new(Ty::any(dice, depth - 1)))];
                branches.push(Ty::Primitive(SCALARS[dice.below(SCALARS.len())]));
                branches.push(Ty::Map(Box::new(Ty::scalar(dice))));
                branches.rotate_left(dice.below(4));
                Ty::Union(branches)
            }
        }
    }

    fn value(&self, dice: &mut Dice) -> Value {
        match self {
            Ty::Primitive("null") => Value::Null,
            Ty::Primitive("boolean") => Value::Boolean(dice.one_in(2)),
            Ty::Primitive("int") => Value::Int(dice.number() as i32),
            Ty::Primitive("long") => Value::Long(dice.number() as i64 >> dice.below(64)),
            Ty::Primitive("float") => Value::Float(dice.number() as i32 as f32 / 8.0),
            Ty::Primitive("double") => Value::Double(dice.number() as i64 as f64 / 8.0),
            Ty::Primitive("string") => Value::String(text(dice)),
            Ty::Primitive("bytes") => Value::Bytes(text(dice).into_bytes()),
            Ty::Primitive(other) => panic!("no such primitive: {other}"),
            Ty::Fixed(_, size) => Value::Fixed(*size, (0..*size).map(|_| dice.number() as u8).collect()),
            Ty::Enum(_, symbols, _) => {
                let place = dice.below(symbols.len());
                Value::Enum(place as u32, symbols[place].to_owned())
            }
            Ty::Record(_, fields) => {
                Value::Record(fields.iter().map(|(name, ty)| (name.clone(), ty.value(dice))).collect())
            }
            Ty::Array(items) => Value::Array((0..dice.below(4)).map(|_| items.value(dice)).collect()),
            Ty::Map(values) => Value::Map((0..dice.below(4)).map(|_| (text(dice), values.value(dice))).collect()),
            Ty::Union(branches) => {
                let place = dice.below(branches.len());
                Value::Union(place as u32, Box::new(branches[place].value(dice)))
            }
        }
    }

    fn default(&self, dice: &mut Dice) -> Json {
        match self {
            Ty::Primitive("null") => Json::Null,
            Ty::Primitive("boolean") => json!(true),
            Ty::Primitive("int") => json!(dice.number() as i32),
            Ty::Primitive("long") => json!(dice.number() as i64),
            Ty::Primitive("float" | "double") => json!(1.5),
            Ty::Primitive(_) => json!("text"),
            Ty::Enum(_, symbols, _) => json!(symbols[dice.below(symbols.len())]),
            Ty::Union(branches) => branches[0].default(dice),
            other => panic!("no default for {other:?}"),
        }
    }
}

fn text(dice: &mut Dice) -> String {
    let length = if dice.one_in(4) { dice.below(70) } else { dice.below(12) };
    let strange = dice.one_in(4);
    (0..length).map(|_| if strange && dice.one_in(3) { 'ü' } else { char::from(b'a' + dice.below(26) as u8) }).collect()
}

/// A reader, a writer that it evolved from or will evolve to, and what the oracle takes the writer for.
#[derive(Debug)]
struct Evolution {
    reader: Json,
    writer: Json,
    /// With the reader's names for fields that are found by alias.
    renamed: Json,
    written: Ty,
    /// A union or an enum is read: the oracle's schemas are stricter than the specification.
    lenient: bool,
}

fn evolution(dice: &mut Dice) -> Evolution {
    let (mut read, mut written, mut lenient) = (Vec::new(), Vec::new(), false);
    for number in 0..1 + dice.below(6) {
        let name = format!("f{number}");
        let plain = Ty::scalar(dice);
        let reader = plain.clone().nullable(dice);
        let mut field = json!({"name": name, "type": reader.json()});
        if dice.one_in(2) {
            field["default"] = reader.default(dice);
        }
        let mut writes = name.clone();
        if dice.one_in(4) {
            writes = format!("old_{name}");
            field["aliases"] = json!(["never", writes]);
        }
        let writer = match dice.below(10) {
            0..3 => reader.clone(),
            3..5 => narrower(&plain, dice),
            5 => narrower(&plain, dice).nullable(dice),
            6 => plain,
            7 => other_symbols(&plain, dice),
            8 => Ty::any(dice, 1),
            _ => {
                read.push(field);
                continue;
            }
        };
        lenient |= matches!(writer, Ty::Union(_) | Ty::Enum(..));
        read.push(field);
        written.push((writes, name, writer));
    }
    for number in 0..dice.below(4) {
        let (name, ty) = (format!("x{number}"), Ty::any(dice, 3));
        written.insert(dice.below(written.len() + 1), (name.clone(), name, ty));
    }
    let record = |fields: Vec<(String, Ty)>| Ty::Record("R".to_owned(), fields);
    let renamed = record(written.iter().map(|(_, name, ty)| (name.clone(), ty.clone())).collect()).json();
    let written = record(written.into_iter().map(|(writes, _, ty)| (writes, ty)).collect());
    Evolution {
        reader: json!({"type": "record", "name": "other.space.R", "fields": read}),
        writer: written.json(),
        renamed,
        written,
        lenient,
    }
}

/// What a type may have been before it was promoted.
fn narrower(ty: &Ty, dice: &mut Dice) -> Ty {
    let before: &[&'static str] = match ty {
        Ty::Primitive("long") => &["int"],
        Ty::Primitive("float") => &["int", "long"],
        Ty::Primitive("double") => &["int", "long", "float"],
        Ty::Primitive("string") => &["bytes"],
        Ty::Primitive("bytes") => &["string"],
        other => return other.clone(),
    };
    Ty::Primitive(before[dice.below(before.len())])
}

fn other_symbols(ty: &Ty, dice: &mut Dice) -> Ty {
    let Ty::Enum(name, ..) = ty else { return ty.clone() };
    let mut symbols = SYMBOLS.to_vec();
    symbols.rotate_left(dice.below(SYMBOLS.len()));
    symbols.truncate(1 + dice.below(SYMBOLS.len()));
    Ty::Enum(name.clone(), symbols, None)
}

/// The oracle's value as a row. Its enums name the reader's symbols.
fn as_row(value: &Value) -> Vec<String> {
    let Value::Record(fields) = value else { panic!("no record: {value:?}") };
    fields.iter().map(|(_, value)| as_slot(value)).collect()
}

fn as_slot(value: &Value) -> String {
    let slot = match value {
        Value::Null => Slot::Null,
        Value::Boolean(value) => Slot::Boolean(*value),
        Value::Int(value) => Slot::Int(*value),
        Value::Long(value) => Slot::Long(*value),
        Value::Float(value) => Slot::Float(*value),
        Value::Double(value) => Slot::Double(*value),
        Value::String(value) => Slot::String(value),
        Value::Bytes(value) => Slot::Bytes(value),
        Value::Enum(place, _) => Slot::Enum(*place),
        Value::Union(_, value) => return as_slot(value),
        other => panic!("no slot: {other:?}"),
    };
    format!("{slot:?}")
}

fn ours(program: &Program, datum: &[u8]) -> Result<Vec<String>, ValueError> {
    let mut row = vec![Slot::Null; program.slots()];
    program.decode(datum, &mut row)?;
    Ok(row.iter().map(|slot| format!("{slot:?}")).collect())
}

fn schema(json: &Json) -> Schema {
    Schema::parse(&json.to_string()).expect("a schema")
}

fn theirs(json: &Json) -> apache_avro::Schema {
    apache_avro::Schema::parse(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

/// Whether apache-avro reads what the specification forbids: then its answer says nothing.
fn lax(error: &ValueError) -> bool {
    matches!(error, ValueError::Field { problem: Problem::StrangeBranch, .. })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_row_is_what_apache_avro_resolves_and_what_is_refused_it_refuses_too(mut dice in dice()) {
        let case = evolution(&mut dice);
        let (reader, renamed) = (theirs(&case.reader), theirs(&case.renamed));
        let compatible = SchemaCompatibility::can_read(&theirs(&case.writer), &reader);
        let program = match Program::compile(&schema(&case.writer), &schema(&case.reader)) {
            Ok(program) => program,
            Err(refused) => {
                prop_assert!(compatible.is_err(), "only ours refuses: {refused}\n{case:#?}");
                return Ok(());
            }
        };
        prop_assert!(case.lenient || compatible.is_ok(), "only theirs refuses: {compatible:?}\n{case:#?}");
        for _ in 0..4 {
            let value = case.written.value(&mut dice);
            let datum = to_avro_datum(&theirs(&case.writer), value.clone()).expect("a value of the writer's");
            let resolved = from_avro_datum(&renamed, &mut datum.as_slice(), Some(&reader));
            match (ours(&program, &datum), resolved) {
                (Ok(row), Ok(resolved)) => prop_assert_eq!(row, as_row(&resolved), "{:?} of {:#?}", value, case),
                (Err(_), Err(_)) => {}
                (Err(error), Ok(_)) if lax(&error) => {}
                (row, resolved) => prop_assert!(false, "{row:?} instead of {resolved:?} for {value:?} of {case:#?}"),
            }
        }
    }

    #[test]
    fn damage_is_an_error_or_the_value_that_apache_avro_reads(
        mut dice in dice(), cut: prop::sample::Index, flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        more in prop::collection::vec(any::<u8>(), 0..3),
    ) {
        let case = evolution(&mut dice);
        let Ok(program) = Program::compile(&schema(&case.writer), &schema(&case.reader)) else { return Ok(()) };
        let value = case.written.value(&mut dice);
        let whole = to_avro_datum(&theirs(&case.writer), value).expect("a value of the writer's");
        for length in 0..whole.len() {
            let prefix = ours(&program, &whole[..length]);
            prop_assert!(prefix.is_err(), "{length} of {} bytes are a value: {prefix:?}", whole.len());
        }
        let mut datum = whole;
        datum.truncate(datum.len() - if cut.index(3) == 0 { cut.index(datum.len() + 1) } else { 0 });
        datum.extend_from_slice(&more);
        for (place, byte) in flips {
            if !datum.is_empty() {
                let place = place.index(datum.len());
                datum[place] = byte;
            }
        }
        // Theirs may reserve gigabytes for a damaged count, so it is asked only for what ours takes.
        if let Ok(row) = ours(&program, &datum) {
            let mut left = datum.as_slice();
            let resolved = from_avro_datum(&theirs(&case.renamed), &mut left, Some(&theirs(&case.reader)));
            prop_assert_eq!(row, as_row(&resolved.expect("theirs takes more")));
            prop_assert!(left.is_empty(), "{} bytes are left", left.len());
        }
    }

    #[test]
    fn what_is_read_does_not_decide_what_is_a_value(mut dice in dice(), flip in any::<(prop::sample::Index, u8)>()) {
        let fields = (0..1 + dice.below(5)).map(|number| (format!("f{number}"), Ty::scalar(&mut dice).nullable(&mut dice)));
        let whole: Vec<(String, Ty)> = fields.collect();
        let part: Vec<(String, Ty)> = whole.iter().filter(|_| dice.one_in(2)).cloned().collect();
        let (whole, part) = (Ty::Record("R".to_owned(), whole), Ty::Record("R".to_owned(), part));
        let writer = schema(&whole.json());
        let all = Program::compile(&writer, &writer).expect("a schema reads itself");
        let some = Program::compile(&writer, &schema(&part.json())).expect("a reader of fewer fields");
        let mut datum = to_avro_datum(&theirs(&whole.json()), whole.value(&mut dice)).expect("a value");
        if !datum.is_empty() {
            let place = flip.0.index(datum.len());
            datum[place] = flip.1;
        }
        prop_assert_eq!(ours(&all, &datum).err(), ours(&some, &datum).err());
    }
}

fn compile(writer: &Json, reader: &Json) -> Result<Program, Incompatible> {
    Program::compile(&schema(writer), &schema(reader))
}

fn record(fields: &Json) -> Json {
    json!({"type": "record", "name": "R", "fields": fields})
}

#[track_caller]
fn refused(writer: &Json, reader: &Json) -> String {
    compile(&record(writer), &record(reader)).expect_err("they do not go together").to_string()
}

#[test]
fn a_refusal_names_field_types_and_remedy() {
    let long = json!([{"name": "a", "type": "long"}]);
    let cases = [
        (json!([{"name": "a", "type": "string"}]), long.clone()),
        (long.clone(), json!([{"name": "a", "type": "int"}])),
        (long.clone(), json!([{"name": "b", "type": "int"}])),
        (long.clone(), json!([{"name": "b", "type": "int", "default": "x"}])),
        (long.clone(), json!([{"name": "a", "type": {"type": "array", "items": "long"}}])),
        (
            json!([{"name": "a", "type": {"type": "long", "logicalType": "timestamp-micros"}}]),
            json!([{"name": "a", "type": {"type": "long", "logicalType": "timestamp-millis"}}]),
        ),
        (
            json!([{"name": "a", "type": {"type": "enum", "name": "E", "symbols": ["X"]}}]),
            json!([{"name": "a", "type": {"type": "enum", "name": "F", "symbols": ["X"]}}]),
        ),
        (
            json!([{"name": "a", "type": {"type": "enum", "name": "E", "symbols": ["X"]}}]),
            json!([{"name": "a", "type": {"type": "enum", "name": "E", "symbols": ["Y"]}}]),
        ),
        (long.clone(), json!([{"name": "b", "type": "long", "aliases": ["a"]}, {"name": "a", "type": "long"}])),
    ];
    let said: Vec<String> = cases.iter().map(|(writer, reader)| refused(writer, reader)).collect();
    let expected = [
        "a: written as string, read as long; read it as string, or under a name that is not written, with a default",
        "a: written as long, read as int; read it as long, or under a name that is not written, with a default",
        "b: written as nothing, read as int; give it a default, or an alias that is written",
        "b: written as nothing, read as int; its default \"x\" is no such value",
        "a: written as nothing, read as array of long; a row holds scalars, enums and unions of null and one of these: \
         leave the field out",
        "a: written as long (timestamp-micros), read as long (timestamp-millis); their numbers mean different things: read \
         it as it is written, or without the logical type",
        "a: written as enum E, read as enum F; give the reader's type the alias \"E\"",
        "a: written as enum E, read as enum E; no symbol is common to both: give the reader's enum a default",
        "b: written as long, read as long; \"a\" reads it already: remove the alias",
    ];
    assert_eq!(said, expected);
    let named =
        compile(&record(&long), &json!({"type": "record", "name": "S", "fields": []})).expect_err("names differ");
    assert_eq!(
        named.to_string(),
        "the value: written as record R, read as record S; give the reader's record the alias \"R\""
    );
    let aliased = json!({"type": "record", "name": "S", "aliases": ["R"], "fields": []});
    assert!(compile(&record(&long), &aliased).is_ok());
}

#[test]
fn bytes_of_a_default_are_its_characters_numbers_as_the_specification_has_it() {
    let reader = record(&json!([{"name": "a", "type": "bytes", "default": "\u{00ff}\u{0001}"}]));
    let program = compile(&record(&json!([])), &reader).expect("it has a default");
    assert_eq!(ours(&program, &[]), Ok(vec!["Bytes([255, 1])".to_owned()]));
    let program = refused(&json!([]), &json!([{"name": "a", "type": "bytes", "default": "\u{0100}"}]));
    assert!(program.contains("no such value"), "{program}");
}

/// A writer of one field `x`, read by a reader of none.
fn skipping(x: &Json) -> Program {
    compile(&record(&json!([{"name": "x", "type": x}])), &record(&json!([]))).expect("anything is stepped over")
}

#[track_caller]
fn wrong(program: &Program, datum: &[u8]) -> String {
    ours(program, datum).expect_err("no value").to_string()
}

#[test]
fn blocks_may_say_their_size_and_must_then_have_it() {
    let array = skipping(&json!({"type": "array", "items": "int"}));
    assert_eq!(ours(&array, &[3, 4, 2, 4, 2, 6, 0]), Ok(vec![]), "two items in two bytes, then one of no stated size");
    assert_eq!(wrong(&array, &[3, 6, 2, 4, 6, 0]), "x: a block that is not as long as it says");
    assert_eq!(wrong(&array, &[3, 90, 2, 4, 0]), "x: the value ends within it");
    assert_eq!(wrong(&array, &[3, 1, 2, 4, 0]), "x: a negative length");
    let map = skipping(&json!({"type": "map", "values": "null"}));
    assert_eq!(ours(&map, &[1, 4, 2, b'a', 0]), Ok(vec![]));
    assert_eq!(wrong(&map, &[2, 2, 0xff, 0]), "x: it is not UTF-8");
}

#[test]
fn items_of_no_bytes_cost_nothing_however_many_they_are() {
    let empty = json!({"type": "record", "name": "E", "fields": [{"name": "n", "type": "null"}]});
    let nulls = skipping(&json!({"type": "array", "items": empty}));
    // i64::MAX items.
    let mut datum = vec![0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    datum.push(0);
    assert_eq!(ours(&nulls, &datum), Ok(vec![]));
    // The same of ints: the bytes end first.
    assert_eq!(wrong(&skipping(&json!({"type": "array", "items": "int"})), &datum), "x: the value ends within it");
}

#[test]
fn a_schema_within_itself_ends_with_an_error_and_not_the_stack() {
    let list = json!({"type": "record", "name": "L", "fields": [{"name": "next", "type": ["null", "L"]}]});
    let program = skipping(&list);
    assert_eq!(ours(&program, &[2, 2, 2, 0]), Ok(vec![]));
    assert_eq!(wrong(&program, &vec![2; 100_000]), "x: nested too deeply");
}

#[test]
fn an_error_names_the_writers_field() {
    let writer = record(&json!([
        {"name": "a", "type": "long"}, {"name": "b", "type": "string"}, {"name": "c", "type": "boolean"},
        {"name": "d", "type": {"type": "enum", "name": "E", "symbols": ["X", "Y"]}}, {"name": "e", "type": ["null", "int"]}]));
    let program = compile(&writer, &writer).expect("a schema reads itself");
    let cases: [(&[u8], &str); 12] = [
        (&[], "a: the value ends within it"),
        (&[0x80], "a: the value ends within it"),
        (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0], "a: a number of more than 64 bits"),
        (&[0, 1], "b: a negative length"),
        (&[0, 4, b'a'], "b: the value ends within it"),
        (&[0, 2, 0xff], "b: it is not UTF-8"),
        (&[0, 0, 2], "c: neither true nor false"),
        (&[0, 0, 1, 4], "d: no symbol of the writer's enum"),
        (&[0, 0, 1, 1], "d: no symbol of the writer's enum"),
        (&[0, 0, 1, 2, 4], "e: no branch of the writer's union"),
        (&[0, 0, 1, 2, 2, 0xfe, 0xff, 0xff, 0xff, 0x1f], "e: a number that is no 32-bit integer"),
        (&[0, 0, 1, 2, 0, 0, 0], "2 bytes follow the value"),
    ];
    for (datum, said) in cases {
        assert_eq!(wrong(&program, datum), said, "{datum:?}");
    }
}

#[test]
fn an_unknown_schema_is_asked_for_and_a_known_one_that_cannot_be_read_is_refused_with_the_reason() {
    let usual = schema(&record(&json!([{"name": "a", "type": "long"}])));
    let old = schema(&record(&json!([{"name": "a", "type": "int"}])));
    let other = schema(&record(&json!([{"name": "a", "type": "string"}])));
    let mut decoders = Decoders::new(&usual, &usual).expect("a schema reads itself");
    let framed = |schema: &Schema, datum: &[u8]| {
        let mut value = Vec::new();
        frame(schema.id(), &mut value);
        value.extend_from_slice(datum);
        value
    };
    fn read(decoders: &Decoders, value: &[u8]) -> Result<String, String> {
        let mut row = [Slot::Null];
        decoders.decode(value, &mut row).map(|()| format!("{row:?}")).map_err(|error| error.to_string())
    }
    assert_eq!(read(&decoders, &framed(&usual, &[4])), Ok("[Long(2)]".to_owned()));
    let value = framed(&old, &[6]);
    assert_eq!(decoders.unknown(&value), Some(old.id()));
    assert_eq!(read(&decoders, &value), Err(format!("schema {} is not in _schemas", old.id())));
    decoders.learn(&old);
    decoders.learn(&other);
    decoders.learn(&usual);
    assert_eq!(decoders.unknown(&value), None);
    assert_eq!(read(&decoders, &value), Ok("[Long(3)]".to_owned()));
    let refused = read(&decoders, &framed(&other, &[0])).expect_err("a string is no number");
    assert!(refused.contains("a: written as string, read as long"), "{refused}");
    for short in [&[][..], &[0, 1, 2, 3], &[1, 0, 0, 0, 0]] {
        assert_eq!(decoders.unknown(short), None);
        assert!(read(&decoders, short).is_err());
    }
}
