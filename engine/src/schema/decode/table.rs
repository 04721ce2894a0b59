//! A reader's programs, one for each writer's schema.
//!
//! In: framed values, and schemas as they become known. Out: rows. It does no I/O: who reads the log asks beforehand which
//! schemas a value needs that are not known here ([`Decoders::unknown`]), finds them, and teaches them
//! ([`Decoders::learn`]).
//!
//! Most values have one writer's schema, so its frame is compared first, five bytes at once. The others are few and stand in
//! a list in order of their ids.

use std::sync::Arc;

use super::super::SchemaError;
use super::super::{FRAME_BYTES, Schema, SchemaId, frame, unframe};
use super::{Incompatible, Program, Slot, ValueError};

/// Reads framed values of any writer as rows of one reader's schema; cheap to clone.
#[derive(Clone)]
pub struct Decoders {
    reader: Schema,
    usual_frame: [u8; FRAME_BYTES],
    usual: Arc<Program>,
    /// In order of their ids.
    others: Vec<(SchemaId, Result<Arc<Program>, Incompatible>)>,
}

impl Decoders {
    /// # Errors
    /// When the values of the usual writer cannot be read so.
    pub fn new(usual: &Schema, reader: &Schema) -> Result<Decoders, Incompatible> {
        let mut head = Vec::with_capacity(FRAME_BYTES);
        frame(usual.id(), &mut head);
        let mut usual_frame = [0; FRAME_BYTES];
        usual_frame.copy_from_slice(&head);
        let program = Arc::new(Program::compile(usual, reader)?);
        Ok(Decoders { reader: reader.clone(), usual_frame, usual: program, others: Vec::new() })
    }

    /// The number of the reader's fields.
    pub fn slots(&self) -> usize {
        self.usual.slots()
    }

    /// Reads a framed value, all of it.
    ///
    /// # Errors
    /// When it is not a value of a schema that is known and can be read.
    #[inline]
    pub fn decode<'a>(&'a self, framed: &'a [u8], row: &mut [Slot<'a>]) -> Result<(), ValueError> {
        match framed.split_first_chunk::<FRAME_BYTES>() {
            Some((head, datum)) if *head == self.usual_frame => self.usual.decode(datum, row),
            _ => self.decode_other(framed, row),
        }
    }

    #[inline(never)]
    fn decode_other<'a>(&'a self, framed: &'a [u8], row: &mut [Slot<'a>]) -> Result<(), ValueError> {
        let (id, datum) = unframe(framed).map_err(|error| match error {
            SchemaError::Magic { found } => ValueError::Magic(found),
            _ => ValueError::Unframed(framed.len()),
        })?;
        let place = self.place(id).map_err(|_| ValueError::Unregistered(id))?;
        match &self.others[place].1 {
            Ok(program) => program.decode(datum, row),
            Err(incompatible) => Err(ValueError::Incompatible(id, incompatible.clone())),
        }
    }

    fn place(&self, id: SchemaId) -> Result<usize, usize> {
        self.others.binary_search_by_key(&id, |(id, _)| *id)
    }

    /// The schema that this value names, if it is not known here.
    #[inline]
    pub fn unknown(&self, framed: &[u8]) -> Option<SchemaId> {
        match framed.first_chunk::<FRAME_BYTES>() {
            Some(head) if *head == self.usual_frame => None,
            _ => self.unknown_other(framed),
        }
    }

    #[inline(never)]
    fn unknown_other(&self, framed: &[u8]) -> Option<SchemaId> {
        let (id, _) = unframe(framed).ok()?;
        self.place(id).is_err().then_some(id)
    }

    /// Takes note of a writer's schema. One that does not go with the reader's is remembered as such: its values are refused,
    /// with the reason.
    pub fn learn(&mut self, writer: &Schema) {
        let mut head = Vec::with_capacity(FRAME_BYTES);
        frame(writer.id(), &mut head);
        if head == self.usual_frame {
            return;
        }
        if let Err(place) = self.place(writer.id()) {
            let program = Program::compile(writer, &self.reader).map(Arc::new);
            self.others.insert(place, (writer.id(), program));
        }
    }
}

impl std::fmt::Debug for Decoders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let others: Vec<SchemaId> = self.others.iter().map(|(id, _)| *id).collect();
        f.debug_struct("Decoders").field("reader", &self.reader).field("others", &others).finish_non_exhaustive()
    }
}
