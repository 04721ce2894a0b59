//! What the coordinator writes to `__transaction_state-0`: the last record of a key is its state.
//!
//! All fields big-endian, strings as i16 length and bytes.
//!
//! ```text
//! key    0                     value  1, i64     producer ids below this are handed out or set aside
//! key    1, transactional id   value  1, i64 producer id, i16 epoch, i64 timeout in ms, u8 state, then
//!     0 empty     u8 0 | 1 (i64, i16: the identity that the last InitProducerId replaced, if its holder asked)
//!     1 ongoing   i32 count, partitions (string topic, i32 index)
//!     2 prepare   i64, i16: the identity that is ended; u8 how; i32 count, partitions
//!     3 complete  i64, i16: the identity that was ended; u8 how
//! how    0 commit, 1 abort, 2 timed out (abort), 3 fenced (abort)
//! ```
//!
//! Producer id and epoch are those of the *next* transaction once one is ending. Markers carry the ended identity's
//! producer id, and its epoch plus one.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::broker::codec::{CodecError, Get, Put};
use crate::record::ControlMarker;
use crate::types::{Millis, ProducerEpoch, ProducerId, TopicPartition};

const VERSION: u8 = 1;
const KEY_PRODUCER_IDS: u8 = 0;
const KEY_TRANSACTION: u8 = 1;

/// A producer id with its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
}

/// How a transaction ends, and at whose wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Commit,
    Abort,
    /// Aborted because it was left open too long. Its holder may abort it, too, and go on.
    TimedOut,
    /// Aborted because another instance initialised the transactional id. Its holder must not go on.
    Fenced,
}

impl How {
    pub fn marker(self) -> ControlMarker {
        match self {
            How::Commit => ControlMarker::Commit,
            How::Abort | How::TimedOut | How::Fenced => ControlMarker::Abort,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Empty { replaced: Option<Identity> },
    Ongoing { partitions: BTreeSet<TopicPartition> },
    Prepare { ended: Identity, how: How, partitions: BTreeSet<TopicPartition> },
    Complete { ended: Identity, how: How },
}

/// All that is durable of a transactional id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnRecord {
    pub transactional_id: Arc<str>,
    pub current: Identity,
    pub timeout: Millis,
    pub state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    ProducerIds { below: ProducerId },
    Txn(TxnRecord),
}

impl Record {
    pub fn encode(&self) -> (Vec<u8>, Vec<u8>) {
        let (mut key, mut value) = (Put::default(), Put::default());
        value.u8(VERSION);
        match self {
            Record::ProducerIds { below } => {
                key.u8(KEY_PRODUCER_IDS);
                value.i64(below.0);
            }
            Record::Txn(txn) => {
                key.u8(KEY_TRANSACTION).text(&txn.transactional_id);
                put_identity(&mut value, txn.current);
                value.i64(txn.timeout.0);
                match &txn.state {
                    State::Empty { replaced } => {
                        value.u8(0).u8(u8::from(replaced.is_some()));
                        if let Some(identity) = replaced {
                            put_identity(&mut value, *identity);
                        }
                    }
                    State::Ongoing { partitions } => put_partitions(value.u8(1), partitions),
                    State::Prepare { ended, how, partitions } => {
                        put_identity(value.u8(2), *ended);
                        put_partitions(value.u8(how_code(*how)), partitions);
                    }
                    State::Complete { ended, how } => {
                        put_identity(value.u8(3), *ended);
                        value.u8(how_code(*how));
                    }
                }
            }
        }
        (key.0, value.0)
    }

    pub fn decode(key: &[u8], value: &[u8]) -> Result<Record, CodecError> {
        let (mut key, mut value) = (Get(key), Get(value));
        let version = value.u8("version")?;
        if version != VERSION {
            return Err(CodecError::Value { what: "version", found: i64::from(version) });
        }
        let record = match key.u8("kind of key")? {
            KEY_PRODUCER_IDS => Record::ProducerIds { below: ProducerId(value.i64("producer ids")?) },
            KEY_TRANSACTION => Record::Txn(TxnRecord {
                transactional_id: Arc::from(key.text("transactional id")?),
                current: get_identity(&mut value)?,
                timeout: Millis(value.i64("timeout")?),
                state: get_state(&mut value)?,
            }),
            kind => return Err(CodecError::Value { what: "kind of key", found: i64::from(kind) }),
        };
        key.end()?;
        value.end()?;
        Ok(record)
    }
}

fn how_code(how: How) -> u8 {
    match how {
        How::Commit => 0,
        How::Abort => 1,
        How::TimedOut => 2,
        How::Fenced => 3,
    }
}

fn get_how(value: &mut Get<'_>) -> Result<How, CodecError> {
    match value.u8("decision")? {
        0 => Ok(How::Commit),
        1 => Ok(How::Abort),
        2 => Ok(How::TimedOut),
        3 => Ok(How::Fenced),
        code => Err(CodecError::Value { what: "decision", found: i64::from(code) }),
    }
}

fn put_identity(value: &mut Put, identity: Identity) {
    value.i64(identity.id.0).i16(identity.epoch.0);
}

fn get_identity(value: &mut Get<'_>) -> Result<Identity, CodecError> {
    Ok(Identity { id: ProducerId(value.i64("producer id")?), epoch: ProducerEpoch(value.i16("epoch")?) })
}

fn put_partitions(value: &mut Put, partitions: &BTreeSet<TopicPartition>) {
    value.i32(i32::try_from(partitions.len()).expect("fewer than 2^31 partitions"));
    for partition in partitions {
        value.partition(partition);
    }
}

fn get_partitions(value: &mut Get<'_>) -> Result<BTreeSet<TopicPartition>, CodecError> {
    let count = value.i32("count of partitions")?;
    (0..count).map(|_| value.partition("partition")).collect()
}

fn get_state(value: &mut Get<'_>) -> Result<State, CodecError> {
    Ok(match value.u8("state")? {
        0 => State::Empty {
            replaced: match value.u8("whether an identity was replaced")? {
                0 => None,
                _ => Some(get_identity(value)?),
            },
        },
        1 => State::Ongoing { partitions: get_partitions(value)? },
        2 => {
            let (ended, how) = (get_identity(value)?, get_how(value)?);
            State::Prepare { ended, how, partitions: get_partitions(value)? }
        }
        3 => State::Complete { ended: get_identity(value)?, how: get_how(value)? },
        code => return Err(CodecError::Value { what: "state", found: i64::from(code) }),
    })
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    use super::*;

    fn identity() -> impl Strategy<Value = Identity> {
        (any::<i64>(), any::<i16>())
            .prop_map(|(id, epoch)| Identity { id: ProducerId(id), epoch: ProducerEpoch(epoch) })
    }

    fn how() -> impl Strategy<Value = How> {
        prop_oneof![Just(How::Commit), Just(How::Abort), Just(How::TimedOut), Just(How::Fenced)]
    }

    fn partitions() -> impl Strategy<Value = BTreeSet<TopicPartition>> {
        btree_set(("[a-z]{1,4}", any::<i32>()).prop_map(|(topic, index)| TopicPartition::new(topic, index)), 0..4)
    }

    fn state() -> impl Strategy<Value = State> {
        prop_oneof![
            proptest::option::of(identity()).prop_map(|replaced| State::Empty { replaced }),
            partitions().prop_map(|partitions| State::Ongoing { partitions }),
            (identity(), how(), partitions()).prop_map(|(ended, how, partitions)| State::Prepare {
                ended,
                how,
                partitions
            }),
            (identity(), how()).prop_map(|(ended, how)| State::Complete { ended, how }),
        ]
    }

    fn record() -> impl Strategy<Value = Record> {
        prop_oneof![
            any::<i64>().prop_map(|below| Record::ProducerIds { below: ProducerId(below) }),
            ("\\PC{0,8}", identity(), any::<i64>(), state()).prop_map(|(id, current, timeout, state)| {
                Record::Txn(TxnRecord { transactional_id: id.into(), current, timeout: Millis(timeout), state })
            }),
        ]
    }

    proptest! {
        #[test]
        fn a_record_reads_as_it_was_written_and_never_when_it_is_cut(record in record(), cut in any::<usize>()) {
            let (key, value) = record.encode();
            prop_assert_eq!(&Record::decode(&key, &value), &Ok(record));
            let short = &value[..cut % value.len()];
            prop_assert!(Record::decode(&key, short).is_err());
        }

        #[test]
        fn arbitrary_bytes_are_no_panic(key in vec(any::<u8>(), 0..20), value in vec(any::<u8>(), 0..60)) {
            let _ = Record::decode(&key, &value);
        }
    }
}
