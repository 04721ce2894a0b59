//! A broker of a few hundred lines, in memory: what the protocol promises, and nothing about disks. Requests and replies
//! can be lost on the way, repeated and late, by a function of the test.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use engine::env::BoxFuture;
use engine::record::{BatchHeader, ControlMarker, Scan, control_batch, patch, scan};
use engine::types::{Offset, ProducerEpoch, ProducerId, Timestamp};
use engine::wire::{Transport, TransportError};
use kafka_protocol::ResponseError as E;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::*;

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Deliver,
    /// It never arrives.
    LoseRequest,
    /// It takes effect, and nobody is told.
    LoseReply,
    /// It takes effect twice; the second answer is the one that arrives.
    Twice,
}

type Name = (String, i32);
type Decide = Box<dyn FnMut(&RequestKind) -> Fate + Send>;

pub struct Model {
    core: Mutex<Core>,
    fate: Mutex<Decide>,
}

#[derive(Default)]
struct Core {
    topics: BTreeMap<String, i32>,
    logs: BTreeMap<Name, Partition>,
    producers_next: i64,
    txns: BTreeMap<String, Txn>,
    offsets: BTreeMap<(String, Name), i64>,
}

#[derive(Default)]
struct Partition {
    batches: Vec<(BatchHeader, Bytes)>,
    start: i64,
    next: i64,
    producers: BTreeMap<i64, Sequences>,
    open: BTreeMap<i64, i64>,
    /// (producer id, first offset, offset of its marker)
    aborted: Vec<(i64, i64, i64)>,
}

struct Sequences {
    epoch: i16,
    next: i32,
    /// (base sequence, count, offset)
    last: Vec<(i32, i32, i64)>,
}

#[derive(Default)]
struct Txn {
    id: i64,
    epoch: i16,
    partitions: BTreeSet<Name>,
    offsets: BTreeMap<(String, Name), i64>,
    ended: Option<(i16, bool)>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Model {
    pub fn new() -> Arc<Model> {
        Model::with(|_| Fate::Deliver)
    }

    pub fn with(fate: impl FnMut(&RequestKind) -> Fate + Send + 'static) -> Arc<Model> {
        Arc::new(Model { core: Mutex::default(), fate: Mutex::new(Box::new(fate)) })
    }

    /// From now on every request meets what `fate` says.
    pub fn set_fate(&self, fate: impl FnMut(&RequestKind) -> Fate + Send + 'static) {
        *locked(&self.fate) = Box::new(fate);
    }

    pub fn add_partitions(&self, topic: &str, partitions: i32) {
        locked(&self.core).topics.insert(topic.to_owned(), partitions);
    }

    pub fn delete_below(&self, topic: &str, partition: i32, offset: i64) {
        locked(&self.core).logs.get_mut(&(topic.to_owned(), partition)).expect("a log").delete_below(offset);
    }

    /// Whether any transaction is open anywhere.
    pub fn has_open_transactions(&self) -> bool {
        locked(&self.core).logs.values().any(|log| !log.open.is_empty())
    }
}

impl Transport for Model {
    fn call(&self, _: i16, request: RequestKind) -> BoxFuture<'_, Result<ResponseKind, TransportError>> {
        let fate = (locked(&self.fate))(&request);
        Box::pin(async move {
            let lost = || TransportError::Broken { address: "model".to_owned(), reason: format!("{fate:?}") };
            // As if over a network: others run meanwhile.
            tokio::task::yield_now().await;
            match fate {
                Fate::LoseRequest => return Err(lost()),
                Fate::Twice => drop(self.serve(request.clone()).await),
                Fate::Deliver | Fate::LoseReply => {}
            }
            let response = self.serve(request).await;
            if fate == Fate::LoseReply { Err(lost()) } else { Ok(response) }
        })
    }
}

impl Model {
    async fn serve(&self, request: RequestKind) -> ResponseKind {
        match request {
            RequestKind::Fetch(request) => self.fetch(request).await.into(),
            RequestKind::Produce(request) => locked(&self.core).produce(request).into(),
            RequestKind::ListOffsets(request) => locked(&self.core).list_offsets(&request).into(),
            RequestKind::Metadata(request) => locked(&self.core).metadata(&request).into(),
            RequestKind::OffsetFetch(request) => locked(&self.core).offset_fetch(&request).into(),
            RequestKind::CreateTopics(request) => locked(&self.core).create_topics(&request).into(),
            RequestKind::DeleteRecords(request) => locked(&self.core).delete_records(&request).into(),
            RequestKind::InitProducerId(request) => locked(&self.core).init(&request).into(),
            RequestKind::EndTxn(request) => locked(&self.core).end(&request).into(),
            RequestKind::TxnOffsetCommit(request) => locked(&self.core).offset_commit(&request).into(),
            other => panic!("not in the model: {other:?}"),
        }
    }

    async fn fetch(&self, request: FetchRequest) -> FetchResponse {
        let mut waited = 0;
        loop {
            let (response, bytes) = locked(&self.core).fetch(&request);
            if bytes > 0 || waited >= request.max_wait_ms {
                return response;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            waited += 5;
        }
    }
}

impl Partition {
    fn stable(&self) -> i64 {
        self.open.values().copied().min().unwrap_or(self.next)
    }

    fn delete_below(&mut self, offset: i64) {
        self.start = offset;
        self.batches.retain(|(header, _)| header.next_offset().0 > offset);
    }

    fn append(&mut self, bytes: &[u8]) -> i64 {
        let mut bytes = bytes.to_vec();
        let offset = self.next;
        patch(&mut bytes, Offset(offset), 0);
        let Scan::Complete(batch) = scan(&bytes) else { panic!("not a batch") };
        let header = *batch.header();
        assert_eq!(header.size, bytes.len(), "one batch a partition");
        self.next = header.next_offset().0;
        self.batches.push((header, Bytes::from(bytes)));
        offset
    }

    /// (error, base offset)
    fn write(&mut self, bytes: &[u8]) -> (i16, i64) {
        let Scan::Complete(batch) = scan(bytes) else { return (E::CorruptMessage.code(), -1) };
        let header = *batch.header();
        let id = header.producer_id.0;
        if id >= 0 {
            let fresh = || Sequences { epoch: header.producer_epoch.0, next: 0, last: Vec::new() };
            let known = self.producers.entry(id).or_insert_with(fresh);
            if header.producer_epoch.0 < known.epoch {
                return (E::InvalidProducerEpoch.code(), -1);
            }
            if header.producer_epoch.0 > known.epoch {
                *known = fresh();
            }
            let sequence = header.base_sequence.0;
            if let Some((_, _, offset)) = known.last.iter().find(|(s, c, _)| (*s, *c) == (sequence, header.count)) {
                return (0, *offset);
            }
            if sequence != known.next {
                return (E::OutOfOrderSequenceNumber.code(), -1);
            }
        }
        let offset = self.append(bytes);
        if id >= 0 {
            let known = self.producers.get_mut(&id).expect("noted above");
            known.next += header.count;
            known.last.push((header.base_sequence.0, header.count, offset));
            if known.last.len() > 5 {
                known.last.remove(0);
            }
        }
        if header.transactional {
            self.open.entry(id).or_insert(offset);
        }
        (0, offset)
    }

    fn mark(&mut self, marker: ControlMarker, id: i64, epoch: i16) {
        let batch = control_batch(marker, ProducerId(id), ProducerEpoch(epoch), 0, Timestamp(0));
        let offset = self.append(&batch);
        let known = self.producers.entry(id).or_insert_with(|| Sequences { epoch, next: 0, last: Vec::new() });
        *known = Sequences { epoch, next: 0, last: Vec::new() };
        if let Some(first) = self.open.remove(&id)
            && marker == ControlMarker::Abort
        {
            self.aborted.push((id, first, offset));
        }
    }
}

impl Core {
    fn produce(&mut self, request: ProduceRequest) -> ProduceResponse {
        let mut topics = Vec::new();
        for topic in request.topic_data {
            let mut partitions = Vec::new();
            for data in topic.partition_data {
                let name = (topic.name.as_str().to_owned(), data.index);
                let bytes = data.records.expect("records");
                let (code, offset) = match self.may_write(request.transactional_id.as_ref(), &bytes) {
                    Err(code) => (code.code(), -1),
                    Ok(()) => match self.logs.get_mut(&name) {
                        None => (E::UnknownTopicOrPartition.code(), -1),
                        Some(log) => log.write(&bytes),
                    },
                };
                if code == 0
                    && let Some(id) = &request.transactional_id
                {
                    self.txns.get_mut(id.as_str()).expect("checked").partitions.insert(name);
                }
                partitions.push(
                    PartitionProduceResponse::default()
                        .with_index(data.index)
                        .with_error_code(code)
                        .with_base_offset(offset),
                );
            }
            topics.push(TopicProduceResponse::default().with_name(topic.name).with_partition_responses(partitions));
        }
        ProduceResponse::default().with_responses(topics)
    }

    fn may_write(&self, transactional_id: Option<&TransactionalId>, bytes: &[u8]) -> Result<(), E> {
        let Some(id) = transactional_id else { return Ok(()) };
        let Scan::Complete(batch) = scan(bytes) else { return Err(E::CorruptMessage) };
        self.holds(id.as_str(), batch.header().producer_id.0, batch.header().producer_epoch.0)
    }

    fn holds(&self, transactional_id: &str, id: i64, epoch: i16) -> Result<(), E> {
        let txn = self.txns.get(transactional_id).ok_or(E::InvalidProducerIdMapping)?;
        if txn.id != id {
            return Err(E::InvalidProducerIdMapping);
        }
        if txn.epoch == epoch { Ok(()) } else { Err(E::InvalidProducerEpoch) }
    }

    fn init(&mut self, request: &InitProducerIdRequest) -> InitProducerIdResponse {
        let Some(name) = request.transactional_id.as_ref().map(|id| id.as_str().to_owned()) else {
            self.producers_next += 1;
            return InitProducerIdResponse::default()
                .with_producer_id(self.producers_next.into())
                .with_producer_epoch(0);
        };
        if !self.txns.contains_key(&name) {
            self.producers_next += 1;
            self.txns.insert(name.clone(), Txn { id: self.producers_next, epoch: -1, ..Txn::default() });
        }
        let txn = &self.txns[&name];
        if !txn.partitions.is_empty() || !txn.offsets.is_empty() {
            self.conclude(&name, false);
        }
        let txn = self.txns.get_mut(&name).expect("present");
        txn.epoch += 1;
        txn.ended = None;
        InitProducerIdResponse::default().with_producer_id(txn.id.into()).with_producer_epoch(txn.epoch)
    }

    fn end(&mut self, request: &EndTxnRequest) -> EndTxnResponse {
        let name = request.transactional_id.as_str();
        let refused = |code: E| EndTxnResponse::default().with_error_code(code.code());
        let Some(txn) = self.txns.get(name) else { return refused(E::InvalidProducerIdMapping) };
        let repeated = txn.ended == Some((request.producer_epoch, request.committed));
        if !repeated {
            if let Err(code) = self.holds(name, request.producer_id.0, request.producer_epoch) {
                return refused(if code == E::InvalidProducerEpoch { E::ProducerFenced } else { code });
            }
            self.conclude(name, request.committed);
        }
        let txn = &self.txns[name];
        EndTxnResponse::default().with_producer_id(txn.id.into()).with_producer_epoch(txn.epoch)
    }

    fn conclude(&mut self, name: &str, committed: bool) {
        let txn = self.txns.get_mut(name).expect("present");
        txn.ended = Some((txn.epoch, committed));
        txn.epoch += 1;
        let marker = if committed { ControlMarker::Commit } else { ControlMarker::Abort };
        for partition in std::mem::take(&mut txn.partitions) {
            self.logs.get_mut(&partition).expect("written to").mark(marker, txn.id, txn.epoch);
        }
        let offsets = std::mem::take(&mut txn.offsets);
        if committed {
            self.offsets.extend(offsets);
        }
    }

    fn offset_commit(&mut self, request: &TxnOffsetCommitRequest) -> TxnOffsetCommitResponse {
        let id = request.transactional_id.as_str();
        let held = self.holds(id, request.producer_id.0, request.producer_epoch);
        let code = held.err().map_or(0, |code| code.code());
        let mut topics = Vec::new();
        for topic in &request.topics {
            let mut partitions = Vec::new();
            for partition in &topic.partitions {
                if code == 0 {
                    let name = (topic.name.as_str().to_owned(), partition.partition_index);
                    let txn = self.txns.get_mut(id).expect("held");
                    txn.offsets.insert((request.group_id.as_str().to_owned(), name), partition.committed_offset);
                }
                partitions.push(
                    TxnOffsetCommitResponsePartition::default()
                        .with_partition_index(partition.partition_index)
                        .with_error_code(code),
                );
            }
            let name = topic.name.clone();
            topics.push(TxnOffsetCommitResponseTopic::default().with_name(name).with_partitions(partitions));
        }
        TxnOffsetCommitResponse::default().with_topics(topics)
    }

    fn delete_records(&mut self, request: &DeleteRecordsRequest) -> DeleteRecordsResponse {
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                let answer = DeleteRecordsPartitionResult::default().with_partition_index(asked.partition_index);
                let Some(log) = self.logs.get_mut(&(topic.name.as_str().to_owned(), asked.partition_index)) else {
                    return answer.with_error_code(E::UnknownTopicOrPartition.code());
                };
                if asked.offset > log.next {
                    return answer.with_error_code(E::OffsetOutOfRange.code());
                }
                let start = asked.offset.min(log.stable());
                if start > log.start {
                    log.delete_below(start);
                }
                answer.with_low_watermark(log.start)
            });
            DeleteRecordsTopicResult::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
        });
        DeleteRecordsResponse::default().with_topics(topics.collect())
    }

    fn offset_fetch(&self, request: &OffsetFetchRequest) -> OffsetFetchResponse {
        let group = &request.groups[0];
        let topics = group.topics.iter().flatten().map(|topic| {
            let partitions = topic.partition_indexes.iter().map(|index| {
                let key = (group.group_id.as_str().to_owned(), (topic.name.as_str().to_owned(), *index));
                OffsetFetchResponsePartitions::default()
                    .with_partition_index(*index)
                    .with_committed_offset(self.offsets.get(&key).copied().unwrap_or(-1))
            });
            OffsetFetchResponseTopics::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
        });
        let answer =
            OffsetFetchResponseGroup::default().with_group_id(group.group_id.clone()).with_topics(topics.collect());
        OffsetFetchResponse::default().with_groups(vec![answer])
    }

    fn create_topics(&mut self, request: &CreateTopicsRequest) -> CreateTopicsResponse {
        let topics = request.topics.iter().map(|topic| {
            let name = topic.name.as_str().to_owned();
            let exists = self.topics.contains_key(&name);
            if !exists {
                self.topics.insert(name.clone(), topic.num_partitions);
                for partition in 0..topic.num_partitions {
                    self.logs.insert((name.clone(), partition), Partition::default());
                }
            }
            let code = if exists { E::TopicAlreadyExists.code() } else { 0 };
            CreatableTopicResult::default().with_name(topic.name.clone()).with_error_code(code)
        });
        CreateTopicsResponse::default().with_topics(topics.collect())
    }

    fn metadata(&self, request: &MetadataRequest) -> MetadataResponse {
        let topics = request.topics.iter().flatten().map(|topic| {
            let name = topic.name.clone().expect("a name");
            let answer = MetadataResponseTopic::default().with_name(Some(name.clone()));
            match self.topics.get(name.as_str()) {
                None => answer.with_error_code(E::UnknownTopicOrPartition.code()),
                Some(count) => {
                    let partition = |index| MetadataResponsePartition::default().with_partition_index(index);
                    answer.with_partitions((0..*count).map(partition).collect())
                }
            }
        });
        MetadataResponse::default().with_topics(topics.collect())
    }

    fn list_offsets(&self, request: &ListOffsetsRequest) -> ListOffsetsResponse {
        let topic = &request.topics[0];
        let asked = &topic.partitions[0];
        let answer = ListOffsetsPartitionResponse::default().with_partition_index(asked.partition_index);
        let answer = match self.logs.get(&(topic.name.as_str().to_owned(), asked.partition_index)) {
            None => answer.with_error_code(E::UnknownTopicOrPartition.code()),
            Some(log) => answer.with_offset(match (asked.timestamp, request.isolation_level) {
                (-2, _) => log.start,
                (-1, 0) => log.next,
                (-1, _) => log.stable(),
                (at, _) => {
                    let found = log.batches.iter().find(|(header, _)| header.max_timestamp.0 >= at);
                    found.map_or(-1, |(header, _)| header.base_offset.0)
                }
            }),
        };
        let topic = ListOffsetsTopicResponse::default().with_name(topic.name.clone()).with_partitions(vec![answer]);
        ListOffsetsResponse::default().with_topics(vec![topic])
    }

    fn fetch(&self, request: &FetchRequest) -> (FetchResponse, usize) {
        let mut total = 0;
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                let answer = PartitionData::default().with_partition_index(asked.partition);
                let Some(log) = self.logs.get(&(topic.topic.as_str().to_owned(), asked.partition)) else {
                    total += 1;
                    return answer.with_error_code(E::UnknownTopicOrPartition.code());
                };
                let (from, bound) =
                    (asked.fetch_offset, if request.isolation_level == 0 { log.next } else { log.stable() });
                if from < log.start || from > log.next {
                    total += 1;
                    return answer.with_error_code(E::OffsetOutOfRange.code());
                }
                let mut bytes = Vec::new();
                let mut end = from;
                for (header, batch) in &log.batches {
                    let visible = header.next_offset().0 > from && header.next_offset().0 <= bound;
                    let room = bytes.is_empty() || bytes.len() + batch.len() <= asked.partition_max_bytes as usize;
                    if visible && room {
                        bytes.extend_from_slice(batch);
                        end = header.next_offset().0;
                    } else if visible {
                        break;
                    }
                }
                total += bytes.len();
                let aborted = log.aborted.iter().filter(|(_, first, marker)| *marker >= from && *first < end);
                let aborted = aborted
                    .map(|(id, first, _)| {
                        AbortedTransaction::default().with_producer_id((*id).into()).with_first_offset(*first)
                    })
                    .collect();
                answer
                    .with_high_watermark(log.next)
                    .with_last_stable_offset(log.stable())
                    .with_log_start_offset(log.start)
                    .with_aborted_transactions(Some(aborted))
                    .with_records(Some(Bytes::from(bytes)))
            });
            FetchableTopicResponse::default().with_topic(topic.topic.clone()).with_partitions(partitions.collect())
        });
        let topics = topics.collect();
        (FetchResponse::default().with_responses(topics), total)
    }
}
