//! A transport that remembers: every request to end a transaction or to delete records, the offsets that
//! were committed, and every call that failed.
//!
//! In: another transport. Out: the same answers; lines in the board's histories.

use std::sync::Arc;

use engine::env::BoxFuture;
use engine::types::{Offset, ProducerEpoch, ProducerId, TopicPartition};
use engine::wire::{Transport, TransportError};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{FetchResponse, RequestKind, ResponseKind};

use super::board::Board;
use crate::clock::virtual_ms;
use crate::evidence::{EndRecord, TrimRecord};
use crate::plan::Host;

pub struct Observed {
    inner: Arc<dyn Transport>,
    board: Board,
    host: Host,
}

impl Observed {
    pub fn around(inner: Arc<dyn Transport>, board: Board, host: Host) -> Arc<dyn Transport> {
        Arc::new(Observed { inner, board, host })
    }
}

impl Transport for Observed {
    fn call(&self, api_version: i16, request: RequestKind) -> BoxFuture<'_, Result<ResponseKind, TransportError>> {
        Box::pin(async move {
            let ending = match &request {
                RequestKind::EndTxn(end) => Some((
                    end.transactional_id.to_string(),
                    end.committed,
                    self.board.end_asked(
                        self.host,
                        EndRecord {
                            transactional_id: end.transactional_id.to_string(),
                            producer_id: ProducerId(end.producer_id.0),
                            epoch: ProducerEpoch(end.producer_epoch),
                            commit: end.committed,
                            asked: self.board.moment(),
                            answered: None,
                        },
                    ),
                )),
                _ => None,
            };
            if let RequestKind::TxnOffsetCommit(sent) = &request {
                let offsets = sent.topics.iter().flat_map(|topic| {
                    topic.partitions.iter().map(|partition| {
                        let of = TopicPartition::new(topic.name.as_str(), partition.partition_index);
                        ((sent.group_id.to_string(), of), Offset(partition.committed_offset))
                    })
                });
                self.board.offsets_sent(sent.transactional_id.to_string(), offsets);
            }
            if let RequestKind::DeleteRecords(deletion) = &request {
                for topic in &deletion.topics {
                    for partition in &topic.partitions {
                        self.board.trim_asked(TrimRecord {
                            partition: TopicPartition::new(topic.name.as_str(), partition.partition_index),
                            below: Offset(partition.offset),
                            asked: self.board.moment(),
                        });
                    }
                }
            }
            let answer = self.inner.call(api_version, request).await;
            match (&answer, ending) {
                (Ok(ResponseKind::EndTxn(end)), Some((id, commit, place))) if end.error_code == 0 => {
                    self.board.end_answered(place, self.board.moment());
                    self.board.transaction_ended(&id, commit, virtual_ms().unwrap_or(0));
                }
                (Ok(ResponseKind::Fetch(fetched)), _) if reports_damage(fetched) => {
                    self.board.reach("damage-refused-to-reader");
                    self.board.disturbed(self.host, virtual_ms().unwrap_or(0));
                }
                (Err(_), _) => self.board.disturbed(self.host, virtual_ms().unwrap_or(0)),
                _ => {}
            }
            answer
        })
    }
}

fn reports_damage(fetched: &FetchResponse) -> bool {
    let mut partitions = fetched.responses.iter().flat_map(|topic| &topic.partitions);
    partitions.any(|partition| partition.error_code == ResponseError::CorruptMessage.code())
}
