//! Whether the broker runs, is stopped, or has failed.
//!
//! Invariant: the first end is the only one; everyone who waits learns of it.

use tokio::sync::watch;

use super::BrokerError;

pub struct Life {
    ended: watch::Sender<Option<BrokerError>>,
}

impl Life {
    pub fn new() -> Life {
        Life { ended: watch::Sender::new(None) }
    }

    /// Ends the broker. Answers whether this was the first reason.
    pub fn end(&self, reason: BrokerError) -> bool {
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            if first {
                *ended = Some(reason);
            }
            first
        })
    }

    pub fn reason(&self) -> Option<BrokerError> {
        self.ended.borrow().clone()
    }

    /// Resolves when the broker has ended.
    pub async fn ended(&self) -> BrokerError {
        let mut watch = self.ended.subscribe();
        // The sender is part of `self`: it cannot be gone.
        let reason = watch.wait_for(Option::is_some).await.expect("the sender lives");
        reason.clone().expect("it was waited for")
    }
}
