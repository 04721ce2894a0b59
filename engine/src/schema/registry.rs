//! The topic `_schemas`: one partition; key = the id as i32 big-endian, value = the schema's JSON.
//!
//! Invariant: an id means one schema for ever. Registering twice, or from two places at once, is harmless: the topic then
//! says the same thing twice.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Schema, SchemaError, SchemaId};
use crate::client::{Client, Isolation, Producer, for_each_committed};
use crate::record::{BatchBuilder, Compression, Record};
use crate::types::{Offset, TopicPartition};

/// Where schemas are kept.
pub const SCHEMAS_TOPIC: &str = "_schemas";

const FETCH_BYTES: usize = 1 << 20;

/// All schemas that were registered before the last load.
pub struct SchemaRegistry {
    client: Client,
    partition: TopicPartition,
    schemas: BTreeMap<SchemaId, Schema>,
    next: Offset,
}

impl SchemaRegistry {
    /// Makes sure of the topic and loads it.
    pub async fn open(client: &Client) -> Result<SchemaRegistry, SchemaError> {
        client.create_topic(SCHEMAS_TOPIC, 1).await?;
        let mut registry = SchemaRegistry {
            client: client.clone(),
            partition: TopicPartition::new(SCHEMAS_TOPIC, 0),
            schemas: BTreeMap::new(),
            next: Offset::ZERO,
        };
        registry.load().await?;
        Ok(registry)
    }

    /// Reads what was registered since the last load.
    ///
    /// # Errors
    /// [`SchemaError::Conflict`] when one id has come to mean two schemas; [`SchemaError::Registry`] at what is no schema.
    pub async fn load(&mut self) -> Result<(), SchemaError> {
        let end = self.client.stable_end(&self.partition).await?;
        let mut scratch = Vec::new();
        while self.next < end {
            let isolation = Isolation::ReadCommitted;
            let fetched = self.client.fetch(&self.partition, self.next, FETCH_BYTES, Duration::ZERO, isolation).await?;
            let schemas = &mut self.schemas;
            let each = |record: &Record<'_>| note(schemas, record);
            self.next = for_each_committed(&self.partition, &fetched, self.next, isolation, &mut scratch, each)?;
        }
        Ok(())
    }

    /// The schema with this id, if it was registered before the last load.
    pub fn get(&self, id: SchemaId) -> Option<&Schema> {
        self.schemas.get(&id)
    }

    /// In order of their ids.
    pub fn schemas(&self) -> impl Iterator<Item = &Schema> {
        self.schemas.values()
    }

    /// Makes sure that the schema is in the topic, durably, before this returns.
    pub async fn register(&mut self, schema: &Schema) -> Result<SchemaId, SchemaError> {
        self.load().await?;
        if self.holds(schema)? {
            return Ok(schema.id());
        }
        let producer = Producer::init(&self.client).await?;
        let mut batch = BatchBuilder::new(Compression::None);
        let key = schema.id().0.to_be_bytes();
        batch.push(self.client.env().now(), Some(&key), Some(schema.json().as_bytes()), &[]);
        producer.send(&self.partition, &mut batch).await?;
        self.load().await?;
        assert!(self.holds(schema)?, "schema {} was acknowledged and is not in the topic", schema.id());
        Ok(schema.id())
    }

    fn holds(&self, schema: &Schema) -> Result<bool, SchemaError> {
        match self.schemas.get(&schema.id()) {
            None => Ok(false),
            Some(known) if known.means_the_same(schema) => Ok(true),
            Some(known) => Err(conflict(schema, known)),
        }
    }
}

fn note(schemas: &mut BTreeMap<SchemaId, Schema>, record: &Record<'_>) -> Result<(), SchemaError> {
    let wrong = |reason: String| SchemaError::Registry { offset: record.offset, reason };
    let json = record.value.ok_or_else(|| wrong("it has no value".to_owned()))?;
    let json = std::str::from_utf8(json).map_err(|error| wrong(error.to_string()))?;
    let schema = Schema::parse(json).map_err(|error| wrong(error.to_string()))?;
    if record.key != Some(&schema.id().0.to_be_bytes()) {
        return Err(wrong(format!("its key is not its id {}", schema.id())));
    }
    match schemas.get(&schema.id()) {
        Some(known) if !known.means_the_same(&schema) => Err(conflict(&schema, known)),
        Some(_) => Ok(()),
        None => {
            schemas.insert(schema.id(), schema);
            Ok(())
        }
    }
}

fn conflict(ours: &Schema, theirs: &Schema) -> SchemaError {
    SchemaError::Conflict { id: ours.id(), ours: ours.json().to_owned(), theirs: theirs.json().to_owned() }
}
