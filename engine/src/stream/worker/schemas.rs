//! The schemas that a task's input was written with: looked up when a record names one that the task does not know.
//!
//! A schema is in the log before the first value that names it is written, so whoever loads the schemas after a round was
//! fetched knows all that the round can name. One load a round is enough, then, whatever the records hold; what is unknown
//! after it is in no log, and the record is rejected. Nothing is remembered of such an id: the next round asks again.
//!
//! Invariant, for writers that keep to that: whether a record is rejected does not depend on when the task was started or how
//! often it was. A schema that is registered after values that name it makes a replay accept what the live run rejected.

use super::super::{TaskCore, TaskId};
use super::error::TaskError;
use crate::client::Client;
use crate::record::Record;
use crate::schema::{SchemaError, SchemaId, SchemaRegistry};

/// What is known of `_schemas`, and how fresh it is.
#[derive(Default)]
pub(super) struct Schemas {
    /// Opened at the first schema that a task does not know: most never need it.
    registry: Option<SchemaRegistry>,
    /// Loaded since the round was fetched.
    fresh: bool,
    ids: Vec<SchemaId>,
}

impl Schemas {
    /// A round was fetched.
    pub fn round(&mut self) {
        self.fresh = false;
    }

    /// Teaches the task whatever schemas these records need; `false` when they must be loaded first.
    #[inline]
    pub fn teach(&mut self, core: &mut dyn TaskCore, input: usize, records: &[Record<'_>]) -> bool {
        core.unknown_schemas(input, records, &mut self.ids);
        self.ids.is_empty() || self.teach_unknown(core)
    }

    #[cold]
    fn teach_unknown(&mut self, core: &mut dyn TaskCore) -> bool {
        let registry = self.registry.as_ref().filter(|_| self.fresh);
        for id in self.ids.drain(..) {
            if let Some(schema) = registry.and_then(|registry| registry.get(id)) {
                core.learn(schema);
            }
        }
        registry.is_some()
    }

    /// Reads the schemas up to now.
    pub async fn load(&mut self, client: &Client, task: TaskId) -> Result<(), TaskError> {
        let loaded = match &mut self.registry {
            Some(registry) => registry.load().await,
            None => SchemaRegistry::open(client).await.map(|registry| self.registry = Some(registry)),
        };
        self.fresh = true;
        loaded.map_err(|error| match error {
            SchemaError::Client(error) => TaskError::of(task, error),
            error => TaskError::Schemas { task, error },
        })
    }
}
