//! What each error code means to us: the one table, and the one way of trying again.
//!
//! Every request of ours may be sent twice: a Produce carries sequences, EndTxn an epoch that ends with it, and the
//! others set or read what they name. So an unknown outcome is always answered by asking again, within a deadline.

use std::fmt;
use std::time::Duration;

use kafka_protocol::ResponseError;
use tokio::time::Instant;

use super::{Client, ClientError};

/// What to do about an error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The broker is busy, starting, or concluding a transaction: ask again.
    Retry,
    /// A batch with this sequence is in the log: an earlier try took effect.
    Duplicate,
    /// Final for this producer.
    Fenced,
    UnknownTopic,
    OutOfRange,
    /// Asking again would be answered the same way; the text says what to do instead.
    Refuse(&'static str),
}

/// The table.
pub(crate) fn verdict(code: ResponseError) -> Verdict {
    use ResponseError as E;
    match code {
        E::RequestTimedOut
        | E::NetworkException
        | E::CorruptMessage
        | E::LeaderNotAvailable
        | E::NotLeaderOrFollower
        | E::BrokerNotAvailable
        | E::CoordinatorLoadInProgress
        | E::CoordinatorNotAvailable
        | E::NotCoordinator
        | E::NotEnoughReplicas
        | E::NotEnoughReplicasAfterAppend
        | E::KafkaStorageError
        | E::OffsetNotAvailable
        | E::UnstableOffsetCommit
        | E::ThrottlingQuotaExceeded
        | E::ConcurrentTransactions => Verdict::Retry,
        E::DuplicateSequenceNumber => Verdict::Duplicate,
        E::InvalidProducerEpoch | E::ProducerFenced | E::InvalidProducerIdMapping => Verdict::Fenced,
        E::UnknownTopicOrPartition => Verdict::UnknownTopic,
        E::OffsetOutOfRange => Verdict::OutOfRange,
        E::OutOfOrderSequenceNumber => Verdict::Refuse(
            "a batch before this one is not in the log: make a new producer and send again from the last acknowledged",
        ),
        E::UnknownProducerId => Verdict::Refuse("the broker forgot this producer: make a new one"),
        E::InvalidTxnState | E::TransactionAbortable => {
            Verdict::Refuse("the transaction cannot go on: abort it and begin again from the committed offsets")
        }
        E::InvalidTransactionTimeout => Verdict::Refuse("ask for a transaction timeout that the broker allows"),
        E::MessageTooLarge | E::RecordListTooLarge => Verdict::Refuse("send smaller batches"),
        E::InvalidTopicException | E::InvalidPartitions | E::InvalidReplicationFactor => {
            Verdict::Refuse("the topic cannot be as it was asked for")
        }
        E::InvalidRecord => Verdict::Refuse("the batch is not one that the broker can store: a bug of its writer"),
        E::UnsupportedVersion | E::InvalidRequest => {
            Verdict::Refuse("broker and client do not speak the same version of the protocol")
        }
        _ => Verdict::Refuse("this client has no answer to that"),
    }
}

/// What a request is about, for messages: `about("fetch", &partition)`. Costs nothing until it is printed.
#[derive(Clone, Copy)]
pub(crate) struct About<'a> {
    pub verb: &'static str,
    pub noun: &'a (dyn fmt::Display + Sync),
}

pub(crate) fn about<'a>(verb: &'static str, noun: &'a (dyn fmt::Display + Sync)) -> About<'a> {
    About { verb, noun }
}

impl fmt::Display for About<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.noun)
    }
}

/// Why one try failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Of a request without effect, or of one whose effect is unknown: try again.
    Again(String),
    /// The broker's answer.
    Code(ResponseError, String),
    /// No answer that we understand, and none would follow.
    Final(ClientError),
}

/// The failure for `code`, unless it is 0. `message` is the broker's own text, where it sent one.
pub(crate) fn check(code: i16, message: Option<&str>) -> Result<(), Failure> {
    match ResponseError::try_from_code(code) {
        None => Ok(()),
        Some(code) => Err(Failure::Code(code, message.map(|text| format!(" ({text})")).unwrap_or_default())),
    }
}

/// The tries of one request: waits between them, and ends them in time.
pub(crate) struct Tries<'a> {
    client: &'a Client,
    about: About<'a>,
    began: Instant,
    tries: u32,
    wait: Duration,
}

impl<'a> Tries<'a> {
    pub fn new(client: &'a Client, about: About<'a>) -> Tries<'a> {
        Tries { client, about, began: Instant::now(), tries: 0, wait: client.config().retry_backoff }
    }

    /// Takes note of a failed try and waits before the next.
    ///
    /// # Errors
    /// When the failure is final, or the time for trying is over.
    pub async fn failed(&mut self, failure: Failure, transactional_id: Option<&str>) -> Result<(), ClientError> {
        self.tries += 1;
        let last = match failure {
            Failure::Final(error) => return Err(error),
            Failure::Again(why) => why,
            Failure::Code(code, message) => match (verdict(code), transactional_id) {
                (Verdict::Retry, _) => format!("{code}{message}"),
                (Verdict::Fenced, Some(transactional_id)) => {
                    return Err(ClientError::Fenced {
                        about: self.about.to_string(),
                        transactional_id: transactional_id.to_owned(),
                        code,
                    });
                }
                (Verdict::UnknownTopic, _) => {
                    return Err(ClientError::UnknownTopic {
                        about: self.about.to_string(),
                        topic: self.about.noun.to_string(),
                    });
                }
                (verdict, _) => {
                    let advice = match verdict {
                        Verdict::Refuse(advice) => advice,
                        Verdict::Fenced => "make a new producer: this one's epoch is over",
                        _ => "this answer does not fit the request",
                    };
                    return Err(ClientError::Refused { about: self.about.to_string(), code, message, advice });
                }
            },
        };
        let config = self.client.config();
        let spent = self.began.elapsed();
        // Half of the wait is drawn, so that those who failed together do not come back together.
        let half = self.wait.as_micros() as u64 / 2;
        let drawn = mutant!(
            "machine-jitter",
            self.client.env().next_u64(),
            crate::mutant::noise(&self.began.elapsed().as_micros().to_be_bytes()),
        );
        let wait = Duration::from_micros(half + drawn % (half + 1));
        if spent + wait >= config.retry_for {
            let ms = spent.as_millis() as u64;
            return Err(ClientError::GaveUp { about: self.about.to_string(), tries: self.tries, ms, last });
        }
        tokio::time::sleep(wait).await;
        self.wait = (self.wait * 2).min(config.retry_backoff_max);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_retried_and_what_will_not_is_not() {
        assert_eq!(verdict(ResponseError::ConcurrentTransactions), Verdict::Retry);
        assert_eq!(verdict(ResponseError::ProducerFenced), Verdict::Fenced);
        assert_eq!(verdict(ResponseError::InvalidProducerEpoch), Verdict::Fenced);
        assert_eq!(verdict(ResponseError::OffsetOutOfRange), Verdict::OutOfRange);
        assert!(matches!(verdict(ResponseError::OutOfOrderSequenceNumber), Verdict::Refuse(_)));
        assert!(matches!(verdict(ResponseError::Unknown(12_345)), Verdict::Refuse(_)));
    }
}
