//! Who looks on while something reads: a test, or the simulator. In production nobody does, and a task then pays a branch
//! for up to 64 records, a reader one for a fetch, and a restore one for a record.
//!
//! In: what a reader asks for, takes and has taken. Out: nothing: whoever looks on changes nothing of what is read, and is
//! not waited for.

use super::{Fetched, Isolation};
use crate::record::Record;
use crate::types::{Offset, TopicPartition};

/// All that one fetch brought of one partition, once its reader has taken it.
#[derive(Clone, Copy, Debug)]
pub struct Taken<'a> {
    pub partition: &'a TopicPartition,
    /// What [`Witness::asks`] said before the fetch left.
    pub asked: u64,
    pub from: Offset,
    /// Where the reader reads on: past aborted and control records too.
    pub next: Offset,
    pub isolation: Isolation,
    pub fetched: &'a Fetched,
}

/// Is told of every read of a client's, in the order in which it happens. A reader that ends early leaves records that it
/// took and no [`Witness::took`] after them.
pub trait Witness: Send + Sync {
    /// A reader begins: each of `partitions` from the position beside it, and never back.
    fn begins(&self, partitions: &[TopicPartition], positions: &[Offset]);
    /// A fetch is about to leave. The number comes back with what it brings.
    fn asks(&self) -> u64;
    /// The reader takes these records, in offset order; what it passes over is not among them.
    fn takes(&self, records: &[Record<'_>]);
    /// The records that were taken since the last call are all that it took of this.
    fn took(&self, taken: &Taken<'_>);
}
