//! The broker of this process, watched for damage.
//!
//! In: every call of the run's client. Out: the broker's own answers, and the first partition whose log it cannot read.
//!
//! To a client, damage is worth another try: it may have come about on the wire. Between this client and this broker there
//! is none, so what cannot be read stays so, and the run ends at once.

use std::sync::{Arc, Mutex, PoisonError};

use engine::env::BoxFuture;
use engine::wire::{Transport, TransportError};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{RequestKind, ResponseKind};
use tokio::sync::Notify;

/// A way to the broker that looks at what it answers.
pub struct Watched {
    broker: Arc<dyn Transport>,
    damaged: Mutex<Option<String>>,
    seen: Notify,
}

impl Watched {
    pub fn new(broker: Arc<dyn Transport>) -> Watched {
        Watched { broker, damaged: Mutex::new(None), seen: Notify::new() }
    }

    /// Waits until a log cannot be read; returns its partition. Of what is seen before, too.
    pub async fn damaged(&self) -> String {
        loop {
            let seen = self.seen.notified();
            if let Some(partition) = self.damaged.lock().unwrap_or_else(PoisonError::into_inner).clone() {
                return partition;
            }
            seen.await;
        }
    }

    fn look(&self, response: &ResponseKind) {
        let ResponseKind::Fetch(response) = response else { return };
        for topic in &response.responses {
            let damaged = |code: i16| code == ResponseError::CorruptMessage.code();
            if let Some(partition) = topic.partitions.iter().find(|partition| damaged(partition.error_code)) {
                let name = format!("{}-{}", topic.topic.0, partition.partition_index);
                self.damaged.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(name);
                self.seen.notify_one();
            }
        }
    }
}

impl Transport for Watched {
    fn call(&self, api_version: i16, request: RequestKind) -> BoxFuture<'_, Result<ResponseKind, TransportError>> {
        Box::pin(async move {
            let answer = self.broker.call(api_version, request).await;
            if let Ok(response) = &answer {
                self.look(response);
            }
            answer
        })
    }
}
