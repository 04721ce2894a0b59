//! Schema resolution, by the specification, before the first value.
//!
//! In: a writer's and a reader's schema. Out: a [`Program`], or the field, both types and the remedy.
//!
//! Stricter than the specification in four places, each because the alternative is a wrong value without a word: two
//! different logical types on one primitive (a time in seconds is none in milliseconds), two fields of the reader that claim
//! one of the writer's, an enum of which no symbol can be read, and a default that is none.

use serde_json::Value;

use super::super::Schema;
use super::super::shape::{Definition, Field, Kind, Primitive, Shape, Shapes, unqualified};
use super::{Constant, Incompatible, Program, Read, STRANGE, Skip, Step};

impl Program {
    /// Compiles what `writer` writes into rows of `reader`'s fields, in the reader's order.
    ///
    /// # Errors
    /// When they do not go together, or the reader asks for what a row cannot hold.
    pub fn compile(writer: &Schema, reader: &Schema) -> Result<Program, Incompatible> {
        let parse = |schema: &Schema| Shapes::parse(schema.json());
        let broken = |side: &str, problem: String| Incompatible {
            field: "the value".to_owned(),
            writer: writer.id().to_string(),
            reader: reader.id().to_string(),
            remedy: format!("the {side}'s schema is broken: {problem}"),
        };
        let writer = parse(writer).map_err(|problem| broken("writer", problem))?;
        let reader = parse(reader).map_err(|problem| broken("reader", problem))?;
        Compiler { widths: vec![None; writer.named.len()], writer: &writer, reader: &reader, symbols: Vec::new() }.run()
    }
}

struct Compiler<'s> {
    writer: &'s Shapes,
    reader: &'s Shapes,
    /// Whether each named type of the writer takes no bytes.
    widths: Vec<Option<bool>>,
    symbols: Vec<Box<[u32]>>,
}

fn definition<'s>(shapes: &'s Shapes, shape: &Shape) -> Option<&'s Definition> {
    match shape {
        Shape::Named(index) => Some(shapes.definition(*index)),
        _ => None,
    }
}

fn record<'s>(shapes: &'s Shapes, shape: &Shape) -> Option<(&'s Definition, &'s [Field])> {
    let definition = definition(shapes, shape)?;
    match &definition.kind {
        Kind::Record { fields } => Some((definition, fields)),
        _ => None,
    }
}

/// Whether the reader means this type of the writer.
fn same_name(writer: &Definition, reader: &Definition) -> bool {
    let name = unqualified(&writer.name);
    unqualified(&reader.name) == name || reader.aliases.iter().any(|alias| unqualified(alias) == name)
}

impl Compiler<'_> {
    fn incompatible(&self, field: &str, writer: Option<&Shape>, reader: &Shape, remedy: String) -> Incompatible {
        Incompatible {
            field: field.to_owned(),
            writer: writer.map_or_else(|| "nothing".to_owned(), |writer| self.writer.describe(writer)),
            reader: self.reader.describe(reader),
            remedy,
        }
    }

    fn run(mut self) -> Result<Program, Incompatible> {
        let (writer, reader) = (self.writer, self.reader);
        let root = |remedy: &str| self.incompatible("the value", Some(&writer.root), &reader.root, remedy.to_owned());
        let written = record(writer, &writer.root).ok_or_else(|| root("only records are read into rows"))?;
        let read = record(reader, &reader.root).ok_or_else(|| root("a row is read as a record"))?;
        if !same_name(written.0, read.0) {
            let remedy = format!("give the reader's record the alias {:?}", unqualified(&written.0.name));
            return Err(root(&remedy));
        }
        let (written, read) = (written.1, read.1);
        let matched = self.match_fields(written, read)?;
        let mut constants = Vec::new();
        for (slot, field) in read.iter().enumerate() {
            self.check_readable(field)?;
            if !matched.contains(&Some(slot)) {
                constants.push((slot as u16, self.constant(field)?));
            }
        }
        let mut steps = Vec::with_capacity(written.len());
        for (field, slot) in written.iter().zip(&matched) {
            steps.push(match slot {
                Some(slot) => self.read_step(*slot as u16, field, &read[*slot])?,
                None => match self.skip(&field.shape) {
                    Skip::Long => Step::SkipLong,
                    Skip::String => Step::SkipString,
                    skip => Step::Skip(skip),
                },
            });
        }
        let records = (0..writer.named.len()).map(|index| self.skip_record(index)).collect();
        Ok(Program {
            steps,
            fields: written.iter().map(|field| field.name.clone()).collect(),
            constants,
            symbols: self.symbols,
            records,
            slots: read.len(),
        })
    }

    /// The reader's field for each of the writer's: first by name; then by alias, among those that no name took.
    fn match_fields(&self, written: &[Field], read: &[Field]) -> Result<Vec<Option<usize>>, Incompatible> {
        let mut matched: Vec<Option<usize>> =
            written.iter().map(|field| read.iter().position(|reader| reader.name == field.name)).collect();
        for (slot, field) in read.iter().enumerate() {
            if matched.contains(&Some(slot)) {
                continue;
            }
            let found = field.aliases.iter().find_map(|alias| written.iter().position(|field| field.name == *alias));
            let Some(place) = found else { continue };
            if let Some(other) = matched[place] {
                let remedy = format!("{:?} reads it already: remove the alias", read[other].name);
                return Err(self.incompatible(&field.name, Some(&written[place].shape), &field.shape, remedy));
            }
            matched[place] = Some(slot);
        }
        Ok(matched)
    }

    /// The scalar that a field of the reader's is, and whether it may be null.
    fn scalar<'f>(&self, shape: &'f Shape) -> Option<(&'f Shape, bool)> {
        let is_null = |shape: &Shape| matches!(shape, Shape::Primitive { primitive: Primitive::Null, .. });
        let (inner, nullable) = match shape {
            Shape::Union(branches) => match branches.as_slice() {
                [one] => (one, is_null(one)),
                [one, other] if is_null(one) != is_null(other) => (if is_null(one) { other } else { one }, true),
                _ => return None,
            },
            shape => (shape, is_null(shape)),
        };
        let scalar = match inner {
            Shape::Primitive { .. } => true,
            Shape::Named(_) => matches!(definition(self.reader, inner)?.kind, Kind::Enum { .. }),
            _ => false,
        };
        scalar.then_some((inner, nullable))
    }

    fn check_readable(&self, field: &Field) -> Result<(), Incompatible> {
        let refuse = |remedy: &str| Err(self.incompatible(&field.name, None, &field.shape, remedy.to_owned()));
        let Some((inner, _)) = self.scalar(&field.shape) else {
            return refuse("a row holds scalars, enums and unions of null and one of these: leave the field out");
        };
        if let Some(Definition { kind: Kind::Enum { symbols, default: Some(default) }, .. }) =
            definition(self.reader, inner)
            && !symbols.contains(default)
        {
            return refuse(&format!("the enum's default {default:?} must be one of its symbols"));
        }
        Ok(())
    }

    fn read_step(&mut self, slot: u16, written: &Field, read: &Field) -> Result<Step, Incompatible> {
        let (reader, nullable) = self.scalar(&read.shape).unwrap_or((&read.shape, false));
        if let Shape::Union(branches) = &written.shape {
            let branches: Vec<Option<Read>> =
                branches.iter().map(|branch| self.read(branch, reader, nullable)).collect();
            if branches.iter().any(Option::is_some) {
                return Ok(Step::ReadUnion(slot, branches.into()));
            }
        } else if let Some(read) = self.read(&written.shape, reader, nullable) {
            return Ok(match read {
                Read::Long => Step::ReadLong(slot),
                Read::String => Step::ReadString(slot),
                Read::Enum { table } if is_identity(&self.symbols[usize::from(table)]) => {
                    Step::ReadEnum(slot, self.symbols[usize::from(table)].len() as u32)
                }
                read => Step::Read(slot, read),
            });
        }
        let remedy = self.remedy(&written.shape, reader);
        Err(self.incompatible(&read.name, Some(&written.shape), &read.shape, remedy))
    }

    fn remedy(&self, writer: &Shape, reader: &Shape) -> String {
        match (definition(self.writer, writer), definition(self.reader, reader)) {
            (Some(writer), Some(reader)) if !same_name(writer, reader) => {
                format!("give the reader's type the alias {:?}", unqualified(&writer.name))
            }
            (Some(Definition { kind: Kind::Enum { .. }, .. }), Some(_)) => {
                "no symbol is common to both: give the reader's enum a default".to_owned()
            }
            _ => match (writer, reader) {
                (Shape::Primitive { primitive: one, logical }, Shape::Primitive { primitive: other, .. })
                    if one == other && logical.is_some() =>
                {
                    "their numbers mean different things: read it as it is written, or without the logical type"
                        .to_owned()
                }
                _ => format!(
                    "read it as {}, or under a name that is not written, with a default",
                    self.writer.describe(writer)
                ),
            },
        }
    }

    /// How a written type that is no union is read as a scalar, if it can be.
    fn read(&mut self, writer: &Shape, reader: &Shape, nullable: bool) -> Option<Read> {
        if let (Shape::Named(_), Shape::Named(_)) = (writer, reader) {
            return self.read_enum(writer, reader);
        }
        let Shape::Primitive { primitive: written, logical: written_as } = writer else { return None };
        if *written == Primitive::Null {
            return nullable.then_some(Read::Null);
        }
        let Shape::Primitive { primitive: read, logical: read_as } = reader else { return None };
        if let (Some(one), Some(other)) = (written_as, read_as)
            && one != other
        {
            return None;
        }
        use Primitive::{Boolean, Bytes, Double, Float, Int, Long, String};
        Some(match (written, read) {
            (Boolean, Boolean) => Read::Boolean,
            (Int, Int) => Read::Int,
            (Int, Long) => Read::IntAsLong,
            (Int, Float) => Read::IntAsFloat,
            (Int, Double) => Read::IntAsDouble,
            (Long, Long) => Read::Long,
            (Long, Float) => Read::LongAsFloat,
            (Long, Double) => Read::LongAsDouble,
            (Float, Float) => Read::Float,
            (Float, Double) => Read::FloatAsDouble,
            (Double, Double) => Read::Double,
            (String, String) => Read::String,
            (String, Bytes) => Read::StringAsBytes,
            (Bytes, Bytes) => Read::Bytes,
            (Bytes, String) => Read::BytesAsString,
            _ => return None,
        })
    }

    fn read_enum(&mut self, writer: &Shape, reader: &Shape) -> Option<Read> {
        let (writer, reader) = (definition(self.writer, writer)?, definition(self.reader, reader)?);
        let Kind::Enum { symbols: written, .. } = &writer.kind else { return None };
        let Kind::Enum { symbols: read, default } = &reader.kind else { return None };
        if !same_name(writer, reader) {
            return None;
        }
        let place = |symbol: &String| read.iter().position(|known| known == symbol).map(|place| place as u32);
        let default = default.as_ref().and_then(place);
        let table: Box<[u32]> = written.iter().map(|symbol| place(symbol).or(default).unwrap_or(STRANGE)).collect();
        if table.iter().all(|symbol| *symbol == STRANGE) {
            return None;
        }
        self.symbols.push(table);
        Some(Read::Enum { table: (self.symbols.len() - 1) as u16 })
    }

    /// The default of a field that is not written.
    fn constant(&self, field: &Field) -> Result<Constant, Incompatible> {
        let refuse = |remedy: String| Err(self.incompatible(&field.name, None, &field.shape, remedy));
        let Some(default) = &field.default else {
            return refuse("give it a default, or an alias that is written".to_owned());
        };
        let branches = match &field.shape {
            Shape::Union(branches) => branches.as_slice(),
            shape => std::slice::from_ref(shape),
        };
        match branches.iter().find_map(|branch| self.constant_of(branch, default)) {
            Some(constant) => Ok(constant),
            None => refuse(format!("its default {default} is no such value")),
        }
    }

    fn constant_of(&self, shape: &Shape, default: &Value) -> Option<Constant> {
        if let Some(Definition { kind: Kind::Enum { symbols, .. }, .. }) = definition(self.reader, shape) {
            let place = symbols.iter().position(|symbol| Some(symbol.as_str()) == default.as_str())?;
            return Some(Constant::Enum(place as u32));
        }
        let Shape::Primitive { primitive, .. } = shape else { return None };
        match primitive {
            Primitive::Null => default.is_null().then_some(Constant::Null),
            Primitive::Boolean => default.as_bool().map(Constant::Boolean),
            Primitive::Int => default.as_i64().and_then(|value| i32::try_from(value).ok()).map(Constant::Int),
            Primitive::Long => default.as_i64().map(Constant::Long),
            Primitive::Float => default.as_f64().map(|value| Constant::Float(value as f32)),
            Primitive::Double => default.as_f64().map(Constant::Double),
            Primitive::String => default.as_str().map(|text| Constant::String(text.to_owned())),
            // Each character stands for the byte with its number.
            Primitive::Bytes => {
                let bytes: Option<Vec<u8>> =
                    default.as_str()?.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
                bytes.map(Constant::Bytes)
            }
        }
    }

    fn skip(&mut self, shape: &Shape) -> Skip {
        if self.is_empty(shape) {
            return Skip::Nothing;
        }
        match shape {
            Shape::Primitive { primitive, .. } => match primitive {
                Primitive::Null => Skip::Nothing,
                Primitive::Boolean => Skip::Boolean,
                Primitive::Int => Skip::Int,
                Primitive::Long => Skip::Long,
                Primitive::Float => Skip::Fixed(4),
                Primitive::Double => Skip::Fixed(8),
                Primitive::Bytes => Skip::Bytes,
                Primitive::String => Skip::String,
            },
            Shape::Array(items) if self.is_empty(items) => Skip::Array(None),
            Shape::Array(items) => Skip::Array(Some(Box::new(self.skip(items)))),
            Shape::Map(values) => Skip::Map(Box::new(self.skip(values))),
            Shape::Union(branches) => Skip::Union(branches.iter().map(|branch| self.skip(branch)).collect()),
            Shape::Named(index) => match &self.writer.definition(*index).kind {
                Kind::Record { .. } => Skip::Record(*index),
                Kind::Enum { symbols, .. } => Skip::Enum(symbols.len() as u32),
                Kind::Fixed { size } => Skip::Fixed(*size),
            },
        }
    }

    fn skip_record(&mut self, index: usize) -> Vec<Skip> {
        let writer = self.writer;
        let Kind::Record { fields } = &writer.definition(index).kind else { return Vec::new() };
        fields.iter().map(|field| self.skip(&field.shape)).filter(|skip| !matches!(skip, Skip::Nothing)).collect()
    }

    /// Whether values of a type of the writer's take no bytes; a type inside itself is taken to need some.
    fn is_empty(&mut self, shape: &Shape) -> bool {
        let writer = self.writer;
        match shape {
            Shape::Primitive { primitive, .. } => *primitive == Primitive::Null,
            Shape::Array(_) | Shape::Map(_) | Shape::Union(_) => false,
            Shape::Named(index) => {
                if let Some(known) = self.widths[*index] {
                    return known;
                }
                self.widths[*index] = Some(false);
                let empty = match &writer.definition(*index).kind {
                    Kind::Record { fields } => fields.iter().all(|field| self.is_empty(&field.shape)),
                    Kind::Enum { .. } => false,
                    Kind::Fixed { size } => *size == 0,
                };
                self.widths[*index] = Some(empty);
                empty
            }
        }
    }
}

fn is_identity(table: &[u32]) -> bool {
    table.iter().zip(0..).all(|(symbol, place)| *symbol == place)
}
