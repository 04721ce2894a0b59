//! What an instance of a task reads, for the history: its polls of its inputs, and of its changelog when it restores.
//!
//! In: what the engine's client tells a witness. Out: lines in the board's history, under a name that no other instance
//! has. Always: a line holds what the task took, record by record, and not what was fetched for it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use engine::client::{Isolation, Taken, Witness};
use engine::record::Record;
use engine::types::{Offset, TopicPartition};

use super::board::Board;
use crate::checks::log::digest;
use crate::evidence::{Moment, PollRecord, Seen, TaskReader};

/// Of one instance, which it lives as long as.
pub struct TaskWitness {
    board: Board,
    /// Who it is; each record it leaves says besides where that reading began.
    of: TaskReader,
    inputs: Vec<TopicPartition>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The name under which it reads now.
    reader: String,
    restores: u64,
    /// Taken since the last line.
    seen: Vec<Seen>,
}

impl TaskWitness {
    /// Of the instance `of`, which is about to start and reads `inputs` when it does not restore.
    pub fn new(board: Board, of: TaskReader, inputs: Vec<TopicPartition>) -> TaskWitness {
        TaskWitness { board, of, inputs, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Witness for TaskWitness {
    fn begins(&self, partitions: &[TopicPartition], positions: &[Offset]) {
        let mut state = self.lock();
        let restores = partitions != self.inputs;
        let mut reader = format!("{} as instance {} on {}", self.of.task, self.of.instance, self.of.host);
        if restores {
            state.restores += 1;
            reader += &format!(", restore {}", state.restores);
        }
        state.seen.clear();
        state.reader.clone_from(&reader);
        let record = TaskReader {
            began: self.board.moment(),
            restores,
            positions: partitions.iter().cloned().zip(positions.iter().copied()).collect(),
            ..self.of.clone()
        };
        self.board.task_reads(reader, record);
    }

    fn asks(&self) -> u64 {
        self.board.moment().0
    }

    fn takes(&self, records: &[Record<'_>]) {
        let text = String::from_utf8_lossy;
        self.lock().seen.extend(records.iter().map(|record| {
            let headers: Vec<_> = record.headers().map(|(name, value)| (text(name), value)).collect();
            let headers = headers.iter().map(|(name, value)| (&**name, *value));
            Seen { offset: record.offset, digest: digest(record.timestamp.0, record.key, record.value, headers) }
        }));
    }

    fn took(&self, taken: &Taken<'_>) {
        let mut state = self.lock();
        let record = PollRecord {
            reader: state.reader.clone(),
            partition: taken.partition.clone(),
            asked: Moment(taken.asked),
            answered: self.board.moment(),
            from: taken.from,
            next: taken.next,
            read_committed: taken.isolation == Isolation::ReadCommitted,
            high_watermark: taken.fetched.high_watermark,
            last_stable: taken.fetched.last_stable,
            log_start: taken.fetched.log_start,
            seen: std::mem::take(&mut state.seen),
        };
        self.board.polled(record);
    }
}
