//! Values of a writer's schema as rows of a reader's.
//!
//! In: two schemas, once; then the bytes of one datum after another. Out: a row, one [`Slot`] for each field of the reader's
//! record, strings and bytes borrowed; or the field and what is wrong with it.
//!
//! [`Program::compile`] does all of Avro's schema resolution beforehand, so that an old writer's values cost what today's
//! do: a field that the reader dropped is stepped over, one that it added comes from its default, a renamed one is found by
//! alias, `int` becomes `long`, `float` or `double`, `string` and `bytes` become each other, symbols are looked up in a
//! table of numbers. A pipeline that needs one field of ten is a reader of one field.
//!
//! The reader's record holds scalars, enums and unions of `null` and one of these; whatever else the writer has is stepped
//! over. [`Decoders`] keeps one program for each writer.
//!
//! Invariant: arbitrary bytes are an error, never a panic and never a read beyond them; nothing is allocated for a value
//! that decodes. Whether bytes are a value does not depend on what is read of it: what is stepped over is checked as well,
//! strings for UTF-8, numbers, symbols and branches for their ranges, blocks for their sizes, and nothing may follow. Only what
//! a reader alone can refuse, a symbol or a type that it does not know, is refused by whoever reads the field.

mod cursor;
mod resolve;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;

use cursor::Cursor;
pub use cursor::Problem;
pub use table::Decoders;

use super::SchemaId;

/// A field of a row. The logical type makes no difference: a time is its number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Slot<'a> {
    Null,
    Boolean(bool),
    Int(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    String(&'a str),
    Bytes(&'a [u8]),
    /// The place in the reader's symbols.
    Enum(u32),
}

/// Two schemas that do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: written as {writer}, read as {reader}; {remedy}")]
pub struct Incompatible {
    pub field: String,
    pub writer: String,
    pub reader: String,
    pub remedy: String,
}

/// Why bytes are not a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error("{0} bytes are too few for a framed value")]
    Unframed(usize),
    #[error("magic byte {0}, expected 0")]
    Magic(u8),
    #[error("schema {0} is not in {topic}", topic = super::SCHEMAS_TOPIC)]
    Unregistered(SchemaId),
    #[error("schema {0} cannot be read here: {1}")]
    Incompatible(SchemaId, Incompatible),
    #[error("{field}: {problem}")]
    Field { field: String, problem: Problem },
    #[error("{0} bytes follow the value")]
    Trailing(usize),
}

/// How one writer's values become one reader's rows.
pub struct Program {
    steps: Vec<Step>,
    /// Of the writer's fields, for errors; a step for each.
    fields: Vec<String>,
    /// What the writer does not have.
    constants: Vec<(u16, Constant)>,
    /// The reader's number for each of the writer's symbols.
    symbols: Vec<Box<[u32]>>,
    /// The parts of each record of the writer that is stepped over.
    records: Vec<Vec<Skip>>,
    slots: usize,
}

/// No symbol of the reader's.
const STRANGE: u32 = u32::MAX;

/// What to do about a field of the writer's. The first five are what most fields are.
enum Step {
    ReadLong(u16),
    ReadString(u16),
    /// As many symbols, the same in the same order.
    ReadEnum(u16, u32),
    SkipLong,
    SkipString,
    Read(u16, Read),
    /// A union's branch is read or strange.
    ReadUnion(u16, Box<[Option<Read>]>),
    Skip(Skip),
}

/// A scalar, and what becomes of it.
#[derive(Clone, Copy)]
enum Read {
    Null,
    Boolean,
    Int,
    IntAsLong,
    IntAsFloat,
    IntAsDouble,
    Long,
    LongAsFloat,
    LongAsDouble,
    Float,
    FloatAsDouble,
    Double,
    String,
    StringAsBytes,
    Bytes,
    BytesAsString,
    Enum { table: u16 },
}

/// What is stepped over.
#[derive(Clone)]
enum Skip {
    Nothing,
    Boolean,
    Int,
    Long,
    Fixed(usize),
    Bytes,
    String,
    Enum(u32),
    /// `None` where an item takes no bytes, however many there are.
    Array(Option<Box<Skip>>),
    Map(Box<Skip>),
    Union(Box<[Skip]>),
    Record(usize),
}

/// A default.
#[derive(Clone, Debug, PartialEq)]
enum Constant {
    Null,
    Boolean(bool),
    Int(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    String(String),
    Bytes(Vec<u8>),
    Enum(u32),
}

impl Constant {
    fn slot(&self) -> Slot<'_> {
        match self {
            Constant::Null => Slot::Null,
            Constant::Boolean(value) => Slot::Boolean(*value),
            Constant::Int(value) => Slot::Int(*value),
            Constant::Long(value) => Slot::Long(*value),
            Constant::Float(value) => Slot::Float(*value),
            Constant::Double(value) => Slot::Double(*value),
            Constant::String(value) => Slot::String(value),
            Constant::Bytes(value) => Slot::Bytes(value),
            Constant::Enum(value) => Slot::Enum(*value),
        }
    }
}

/// Values nest at most so deep, so that a schema that contains itself cannot exhaust the stack.
const DEPTH_MAX: u32 = 128;

impl Program {
    /// The number of the reader's fields.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Reads a datum, all of it. On an error the row holds whatever was read before.
    ///
    /// # Errors
    /// What is wrong, and in which field of the writer's.
    ///
    /// # Panics
    /// If the row is shorter than the reader's record.
    #[inline]
    pub fn decode<'a>(&'a self, datum: &'a [u8], row: &mut [Slot<'a>]) -> Result<(), ValueError> {
        let row = &mut row[..self.slots];
        for (slot, constant) in &self.constants {
            row[usize::from(*slot)] = constant.slot();
        }
        let mut cursor = Cursor::new(datum);
        for (index, step) in self.steps.iter().enumerate() {
            if let Err(problem) = self.step(step, &mut cursor, row) {
                return Err(self.error(index, problem));
            }
        }
        match cursor.left() {
            0 => Ok(()),
            left => Err(ValueError::Trailing(left)),
        }
    }

    #[cold]
    fn error(&self, field: usize, problem: Problem) -> ValueError {
        ValueError::Field { field: self.fields[field].clone(), problem }
    }

    #[inline(always)]
    fn step<'a>(&'a self, step: &Step, cursor: &mut Cursor<'a>, row: &mut [Slot<'a>]) -> Result<(), Problem> {
        match step {
            Step::ReadLong(slot) => row[usize::from(*slot)] = Slot::Long(cursor.long()?),
            Step::ReadString(slot) => row[usize::from(*slot)] = Slot::String(cursor.string()?),
            Step::ReadEnum(slot, count) => {
                row[usize::from(*slot)] = Slot::Enum(cursor.index(*count, Problem::Symbol)?);
            }
            Step::SkipLong => drop(cursor.long()?),
            Step::SkipString => cursor.skip_string()?,
            Step::Read(slot, read) => row[usize::from(*slot)] = self.read(*read, cursor)?,
            Step::ReadUnion(slot, branches) => {
                let branch = cursor.index(branches.len() as u32, Problem::Branch)?;
                let read = branches[branch as usize].ok_or(Problem::StrangeBranch)?;
                row[usize::from(*slot)] = self.read(read, cursor)?;
            }
            Step::Skip(skip) => self.skip(skip, cursor, 0)?,
        }
        Ok(())
    }

    #[inline]
    fn read<'a>(&'a self, read: Read, cursor: &mut Cursor<'a>) -> Result<Slot<'a>, Problem> {
        Ok(match read {
            Read::Null => Slot::Null,
            Read::Boolean => Slot::Boolean(cursor.boolean()?),
            Read::Int => Slot::Int(cursor.int()?),
            Read::IntAsLong => Slot::Long(i64::from(cursor.int()?)),
            Read::IntAsFloat => Slot::Float(cursor.int()? as f32),
            Read::IntAsDouble => Slot::Double(f64::from(cursor.int()?)),
            Read::Long => Slot::Long(cursor.long()?),
            Read::LongAsFloat => Slot::Float(cursor.long()? as f32),
            Read::LongAsDouble => Slot::Double(cursor.long()? as f64),
            Read::Float => Slot::Float(f32::from_le_bytes(cursor.chunk()?)),
            Read::FloatAsDouble => Slot::Double(f64::from(f32::from_le_bytes(cursor.chunk()?))),
            Read::Double => Slot::Double(f64::from_le_bytes(cursor.chunk()?)),
            Read::String | Read::BytesAsString => Slot::String(cursor.string()?),
            Read::StringAsBytes => {
                let text = cursor.string()?;
                Slot::Bytes(text.as_bytes())
            }
            Read::Bytes => Slot::Bytes(cursor.bytes()?),
            Read::Enum { table } => {
                let symbols = &self.symbols[usize::from(table)];
                let symbol = symbols[cursor.index(symbols.len() as u32, Problem::Symbol)? as usize];
                if symbol == STRANGE {
                    return Err(Problem::StrangeSymbol);
                }
                Slot::Enum(symbol)
            }
        })
    }

    fn skip(&self, skip: &Skip, cursor: &mut Cursor<'_>, depth: u32) -> Result<(), Problem> {
        if depth > DEPTH_MAX {
            return Err(Problem::Depth);
        }
        match skip {
            Skip::Nothing => {}
            Skip::Boolean => drop(cursor.boolean()?),
            Skip::Int => drop(cursor.int()?),
            Skip::Long => drop(cursor.long()?),
            Skip::Fixed(size) => drop(cursor.take(*size)?),
            Skip::Bytes => drop(cursor.bytes()?),
            Skip::String => cursor.skip_string()?,
            Skip::Enum(count) => drop(cursor.index(*count, Problem::Symbol)?),
            Skip::Array(items) => self.blocks(cursor, |cursor| match items {
                None => Ok(false),
                Some(item) => self.skip(item, cursor, depth + 1).map(|()| true),
            })?,
            Skip::Map(values) => self.blocks(cursor, |cursor| {
                cursor.skip_string()?;
                self.skip(values, cursor, depth + 1).map(|()| true)
            })?,
            Skip::Union(branches) => {
                let branch = cursor.index(branches.len() as u32, Problem::Branch)?;
                self.skip(&branches[branch as usize], cursor, depth + 1)?;
            }
            Skip::Record(record) => {
                for part in &self.records[*record] {
                    self.skip(part, cursor, depth + 1)?;
                }
            }
        }
        Ok(())
    }

    /// Steps over the items of all blocks; `item` says whether there can be more of them.
    fn blocks<'a>(
        &self,
        cursor: &mut Cursor<'a>,
        item: impl Fn(&mut Cursor<'a>) -> Result<bool, Problem>,
    ) -> Result<(), Problem> {
        while let Some((count, end)) = cursor.block()? {
            for _ in 0..count {
                if !item(cursor)? {
                    break;
                }
            }
            if end.is_some_and(|end| end != cursor.position()) {
                return Err(Problem::Block);
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("fields", &self.fields).field("slots", &self.slots).finish_non_exhaustive()
    }
}
