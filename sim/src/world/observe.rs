//! A transport that remembers: every batch, every request to end a transaction, to add offsets to it or to delete records,
//! and every call that failed.
//!
//! In: another transport. Out: the same answers; lines in the board's histories.

use std::sync::Arc;

use engine::env::BoxFuture;
use engine::types::{Offset, ProducerEpoch, ProducerId, TopicPartition};
use engine::wire::{Transport, TransportError};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{
    FetchResponse, ProduceRequest, ProduceResponse, RequestKind, ResponseKind, TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
};

use super::board::Board;
use crate::clock::virtual_ms;
use crate::evidence::{EndRecord, OffsetsRecord, TrimRecord, WriteRecord};
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
            let mut adding = None;
            if let RequestKind::TxnOffsetCommit(sent) = &request {
                let record = offsets_of(sent);
                let offsets = record
                    .offsets
                    .iter()
                    .map(|(partition, offset)| ((record.group.clone(), partition.clone()), *offset));
                self.board.offsets_sent(sent.transactional_id.to_string(), offsets);
                adding = Some(self.board.offsets_asked(record));
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
            let writes = match &request {
                RequestKind::Produce(produce) => self.writes(produce),
                _ => Vec::new(),
            };
            let answer = self.inner.call(api_version, request).await;
            if let Ok(ResponseKind::Produce(produced)) = &answer {
                self.written(&writes, produced);
            }
            if let (Ok(ResponseKind::TxnOffsetCommit(added)), Some(place)) = (&answer, adding)
                && takes_all(added)
            {
                self.board.offsets_answered(place);
            }
            match (&answer, ending) {
                (Ok(ResponseKind::EndTxn(end)), Some((id, commit, place))) if end.error_code == 0 => {
                    self.board.end_answered(place, self.board.moment());
                    self.board.transaction_ended(&id, commit, virtual_ms().unwrap_or(0));
                }
                (Ok(ResponseKind::Fetch(fetched)), _) if damaged(fetched).next().is_some() => {
                    self.board.reach("damage-refused-to-reader");
                    // The control host reads along everywhere, and restores nothing.
                    for topic in damaged(fetched).filter(|_| self.host != Host::Control) {
                        if is_changelog(topic) {
                            self.board.reach("damage-refused-to-restore");
                        } else if topic.ends_with("-repartition") {
                            self.board.reach("damage-refused-downstream");
                        }
                    }
                    self.board.disturbed(self.host, virtual_ms().unwrap_or(0));
                }
                (Ok(ResponseKind::InitProducerId(begun)), _) if begun.error_code == 0 => {
                    self.board.begun_anew(ProducerId(begun.producer_id.0));
                }
                (Err(_), _) => self.board.disturbed(self.host, virtual_ms().unwrap_or(0)),
                _ => {}
            }
            answer
        })
    }
}

impl Observed {
    /// The batches of a request, each with its place in the history.
    fn writes(&self, request: &ProduceRequest) -> Vec<Write> {
        let mut writes = Vec::new();
        for topic in &request.topic_data {
            for data in &topic.partition_data {
                let partition = TopicPartition::new(topic.name.as_str(), data.index);
                let Some(header) = data.records.as_deref().and_then(BatchHeader::read) else { continue };
                let place = self.board.write_asked(WriteRecord {
                    partition: partition.clone(),
                    writer: header.writer,
                    transactional: header.transactional,
                    sequence: header.sequence,
                    records: header.records,
                    asked: self.board.moment(),
                    answered: None,
                });
                let transaction = header.writer.filter(|_| header.transactional).map(|(producer, _)| producer);
                writes.push(Write { partition, place, transaction });
            }
        }
        writes
    }

    fn written(&self, writes: &[Write], response: &ProduceResponse) {
        for topic in &response.responses {
            for answer in topic.partition_responses.iter().filter(|answer| answer.error_code == 0) {
                let partition = TopicPartition::new(topic.name.as_str(), answer.index);
                for write in writes.iter().filter(|write| write.partition == partition) {
                    self.board.write_answered(write.place, self.board.moment(), Offset(answer.base_offset));
                    if let Some(producer) = write.transaction.filter(|_| !is_changelog(&partition.topic)) {
                        self.board.output_written(self.host, producer);
                    }
                }
            }
        }
    }
}

/// A batch that is under way.
struct Write {
    partition: TopicPartition,
    /// In the history.
    place: usize,
    /// Whose transaction it is part of.
    transaction: Option<ProducerId>,
}

fn is_changelog(topic: &str) -> bool {
    topic.ends_with("-changelog")
}

/// What a record batch says of itself, in the layout of its version 2; read without the engine, as the checks do.
struct BatchHeader {
    writer: Option<(ProducerId, ProducerEpoch)>,
    transactional: bool,
    sequence: i32,
    records: i32,
}

impl BatchHeader {
    /// `None` for anything but one batch.
    fn read(bytes: &[u8]) -> Option<BatchHeader> {
        let length = i32::from_be_bytes(bytes.get(8..12)?.try_into().ok()?);
        if usize::try_from(length).ok()? + 12 != bytes.len() {
            return None;
        }
        let attributes = i16::from_be_bytes(bytes.get(21..23)?.try_into().ok()?);
        let id = i64::from_be_bytes(bytes.get(43..51)?.try_into().ok()?);
        let epoch = i16::from_be_bytes(bytes.get(51..53)?.try_into().ok()?);
        Some(BatchHeader {
            writer: (id >= 0).then_some((ProducerId(id), ProducerEpoch(epoch))),
            transactional: attributes & 1 << 4 != 0,
            sequence: i32::from_be_bytes(bytes.get(53..57)?.try_into().ok()?),
            records: i32::from_be_bytes(bytes.get(57..61)?.try_into().ok()?),
        })
    }
}

fn offsets_of(request: &TxnOffsetCommitRequest) -> OffsetsRecord {
    let partitions = request.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| {
            let of = TopicPartition::new(topic.name.as_str(), partition.partition_index);
            (of, Offset(partition.committed_offset))
        })
    });
    OffsetsRecord {
        group: request.group_id.to_string(),
        producer_id: ProducerId(request.producer_id.0),
        epoch: ProducerEpoch(request.producer_epoch),
        offsets: partitions.collect(),
        answered: false,
    }
}

fn takes_all(response: &TxnOffsetCommitResponse) -> bool {
    response.topics.iter().flat_map(|topic| &topic.partitions).all(|partition| partition.error_code == 0)
}

/// The topics of which a reader was refused what is damaged.
fn damaged(fetched: &FetchResponse) -> impl Iterator<Item = &str> {
    let is_damaged = |partition: &PartitionData| partition.error_code == ResponseError::CorruptMessage.code();
    let topics = fetched.responses.iter().filter(move |topic| topic.partitions.iter().any(is_damaged));
    topics.map(|topic| topic.topic.as_str())
}
